"""One training step after another: two sets of buffers, two bindings, and nothing else between two runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dlc.compiler.manifest import KEY, Manifest, ManifestError, from_json
from dlc.runtime.checkpoint import Array, Signature
from dlc.runtime.errors import InputError, RunError
from dlc.runtime.session import CPU, Device, open_session, reason

if TYPE_CHECKING:
    import onnxruntime  # type: ignore[import-untyped]

SCALARS = ("step", "seed", "epoch", "steps", "steps_per_epoch")
ALIGNMENT = 64  # bytes: vector kernels split a sum by where it lies, so equal alignment is part of equal bits
TYPES = {
    "float16": np.float16, "float": np.float32, "double": np.float64, "bool": np.bool_,
    "int8": np.int8, "int16": np.int16, "int32": np.int32, "int64": np.int64,
    "uint8": np.uint8, "uint16": np.uint16, "uint32": np.uint32, "uint64": np.uint64,
}  # fmt: skip


def manifest_of(session: onnxruntime.InferenceSession, what: str = "the model") -> Manifest:
    """The manifest in the metadata of the session's model. Raises InputError where there is none of this version."""
    text = session.get_modelmeta().custom_metadata_map.get(KEY)
    if text is None:
        raise InputError(f"{what} has no manifest (metadata {KEY}): dlc did not write it")
    try:
        return from_json(text)
    except ManifestError as error:
        raise InputError(f"{what}: {error}") from error


def aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Zeros whose memory begins at a multiple of 64 bytes."""
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    raw = np.zeros(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size].view(dtype).reshape(shape)


class Stepper:
    """The step model of a run on a device.

    A step reads the carried values from one set of buffers and writes their successors into the other; then the sets
    change places. So no weight is copied, no buffer is both read and written, and a step that goes wrong leaves the
    values before it as they were. Values that nothing feeds back lie in one buffer that both sets share.

    batch: field -> the memory that a step reads its batch from, [batch, ...]; fill it in place.
    scalars: name -> int64[]; write them in place (`scalars["step"][...] = 7`). All five are there, bound or not.
    reports: name -> float32[], what the last step reported: `loss`, and the metrics. `values` is float32[reports],
        the same memory in the order of `reports`.
    signature: address -> (dtype, shape) of each carried value. `roles`: address -> role.

    `sizes` are those of the named dimensions of the data. Raises InputError for a model that is no step, or whose
    inputs keep an unknown size once the batch and those are known.
    """

    def __init__(
        self, model: bytes | Path, device: Device = CPU, batch: int = 32, threads: int = 0,
        manifest: Manifest | None = None, sizes: Mapping[str, int] = {},
    ) -> None:  # fmt: skip
        known = {**sizes, "B": batch}
        session = open_session(model, device, threads, known)
        self.manifest = manifest or manifest_of(session)
        self._device = device
        self._run = session.run_with_iobinding
        inputs = {each.name: signature(each, known) for each in session.get_inputs()}
        outputs = {each.name: signature(each, known) for each in session.get_outputs()}
        for name in (*self.manifest.carried, *self.manifest.batch, *self.manifest.scalars):
            if name not in inputs:
                raise InputError(f"the step has no input {name}, which its manifest lists")
        self.signature: dict[str, Signature] = {name: inputs[name] for name in self.manifest.carried}
        self.roles = {name: each.role for name, each in self.manifest.carried.items()}
        self.batch = {name: aligned(inputs[name][1], inputs[name][0]) for name in self.manifest.batch}
        self.scalars = {name: aligned((), np.dtype(np.int64)) for name in SCALARS}
        for name, scalar in self.manifest.scalars.items():
            self.scalars[name] = aligned((), inputs[name][0])
            self.scalars[name][...] = scalar.default or 0
        self.values: np.ndarray[Any, np.dtype[np.float32]] = np.zeros(len(self.manifest.reports), np.float32)
        self.reports: dict[str, Array] = {}
        for at, name in enumerate(self.manifest.reports):
            if outputs.get(name) != (np.dtype(np.float32), ()):
                raise InputError(f"the step's report {name} is not an output of one float32")
            self.reports[name] = self.values[at : at + 1].reshape(())
        self._finite = np.ones((), np.bool_)
        self._sets = self._make_sets()
        self._bindings = [self._bind(session, "finite" in outputs, at) for at in (0, 1)]
        self._current = 0
        # A binding copies what lies in another memory once, when it is made; on CUDA a batch has to be bound each time.
        fed = {**self.batch, **{name: self.scalars[name] for name in self.manifest.scalars}}
        self._moved = {} if device.name == "cpu" else fed

    def _make_sets(self) -> tuple[dict[str, _Buffer], dict[str, _Buffer]]:
        first = {name: _Buffer(*each, self._device) for name, each in self.signature.items()}
        second = {
            name: first[name] if self.manifest.carried[name].output is None else _Buffer(*each, self._device)
            for name, each in self.signature.items()
        }
        return first, second

    def _bind(self, session: onnxruntime.InferenceSession, has_finite: bool, at: int) -> onnxruntime.IOBinding:
        from onnxruntime import OrtValue

        binding = session.io_binding()
        before, after = self._sets[at], self._sets[1 - at]
        for name, each in self.manifest.carried.items():
            binding.bind_ortvalue_input(name, before[name].value)
            if each.output is not None:
                binding.bind_ortvalue_output(each.output, after[name].value)
        for name in self.manifest.batch:
            binding.bind_ortvalue_input(name, OrtValue.ortvalue_from_numpy(self.batch[name]))
        for name in self.manifest.scalars:
            binding.bind_ortvalue_input(name, OrtValue.ortvalue_from_numpy(self.scalars[name]))
        for name, array in self.reports.items():
            binding.bind_ortvalue_output(name, OrtValue.ortvalue_from_numpy(array))
        if has_finite:
            binding.bind_ortvalue_output("finite", OrtValue.ortvalue_from_numpy(self._finite))
        return binding

    def step(self) -> bool:
        """Runs a step on `batch` and `scalars`. True: `reports` are there, and the carried values are the new ones.

        False: the loss or a gradient was not finite; the carried values are still those before the step. Raises
        RunError if ONNX Runtime cannot run the model.
        """
        binding = self._bindings[self._current]
        try:
            for name, array in self._moved.items():
                binding.bind_cpu_input(name, array)
            self._run(binding)
        except Exception as error:  # ONNX Runtime's exceptions have no other common base
            raise RunError(f"ONNX Runtime cannot run the step: {reason(error)}") from error
        if not self._finite:
            return False
        self._current ^= 1
        return True

    def load(self, tensors: Mapping[str, Array]) -> None:
        """Takes carried values by address. Raises InputError if one is missing or of another type or shape."""
        for name, (dtype, shape) in self.signature.items():
            array = tensors.get(name)
            if array is None:
                raise InputError(f"there is no value for {name}, which the step carries")
            if (array.dtype, array.shape) != (dtype, shape):
                found = f"{array.dtype}{list(array.shape)}"
                raise InputError(f"{name}: the step carries {dtype}{list(shape)}, found {found}")
            self._sets[self._current][name].write(array)

    def tensors(self) -> dict[str, Array]:
        """Copies of the carried values."""
        return {name: buffer.read() for name, buffer in self._sets[self._current].items()}

    def inputs(self) -> dict[str, Array]:
        """Copies of everything that the next step would read, by the names of the model's inputs."""
        scalars = {name: self.scalars[name] for name in self.manifest.scalars}
        return self.tensors() | {name: np.array(array) for name, array in (self.batch | scalars).items()}


class _Buffer:
    """The memory of a carried value: `value` for ONNX Runtime, `array` where NumPy sees the same memory."""

    def __init__(self, dtype: np.dtype[Any], shape: tuple[int, ...], device: Device) -> None:
        from onnxruntime import OrtValue

        self.array: Array | None = None
        if device.name == "cpu":
            self.array = aligned(shape, dtype)
            self.value = OrtValue.ortvalue_from_numpy(self.array)
        else:
            self.value = OrtValue.ortvalue_from_numpy(np.zeros(shape, dtype), device.name, 0)

    def write(self, array: Array) -> None:
        if self.array is not None:
            self.array[...] = array
        else:
            # np.ascontiguousarray would turn rank 0 into rank 1.
            self.value.update_inplace(np.asarray(array, order="C"))

    def read(self) -> Array:
        return np.array(self.array if self.array is not None else self.value.numpy())


def signature(value: Any, known: Mapping[str, int] = {}) -> Signature:
    """The type and shape of a session's input or output, given the sizes that are known by name. Raises InputError for
    one without a size."""
    kind = value.type.removeprefix("tensor(").removesuffix(")")
    if kind not in TYPES:
        raise InputError(f"{value.name} is a {value.type}, which a step cannot carry")
    sizes = tuple(known.get(dim, dim) for dim in value.shape)
    unknown = [dim for dim in sizes if not isinstance(dim, int)]
    if unknown:
        raise InputError(f"{value.name} has the size {unknown[0] or '?'}, which is not known before a step runs")
    return np.dtype(TYPES[kind]), sizes


__all__ = ["SCALARS", "Stepper", "aligned", "manifest_of", "signature"]
