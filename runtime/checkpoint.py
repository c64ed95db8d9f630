"""Weights and checkpoints: tensors and text in safetensors, written atomically, verified when read. Never pickle."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dlc.runtime.atomic import disk_error, write_atomically
from dlc.runtime.errors import InputError

Array = npt.NDArray[Any]
Signature = tuple[np.dtype[Any], tuple[int, ...]]

HASH = "dlc.sha256"
FORMAT = "dlc.format"
WEIGHT_ROLES = ("parameter", "state", "frozen", "fitted")

# NumPy's names of types and those of safetensors.
_TYPES = {
    "bool": "BOOL",
    "int8": "I8",
    "int16": "I16",
    "int32": "I32",
    "int64": "I64",
    "uint8": "U8",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
    "float16": "F16",
    "float32": "F32",
    "float64": "F64",
    "bfloat16": "BF16",
}
_NAMES = {code: name for name, code in _TYPES.items()}


def save_tensors(path: Path, tensors: Mapping[str, npt.ArrayLike], metadata: Mapping[str, str]) -> None:
    """Writes `tensors` and `metadata` to `path` as safetensors, atomically, with a SHA-256 of the whole content.

    Types and shapes are kept, rank 0 included. Equal content gives equal bytes: the library's own writer orders the
    metadata at random and takes non-contiguous arrays as if they were contiguous, so the header is written here.
    Raises RunError if the file cannot be written; what stood at `path` is then untouched.
    """
    # np.ascontiguousarray would turn rank 0 into rank 1.
    arrays = {name: np.asarray(value, order="C") for name, value in tensors.items()}
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    chunks = []
    offset = 0
    # Wide types first, so that each tensor is aligned in the file.
    for name in sorted(arrays, key=lambda name: (-arrays[name].itemsize, name)):
        array = arrays[name]
        if array.dtype.name not in _TYPES:
            raise ValueError(f"{name}: a tensor of {array.dtype} cannot be saved")
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        chunks.append(little.reshape(-1).view(np.uint8).data)
        offsets = [offset, offset + array.nbytes]
        header[name] = {"dtype": _TYPES[array.dtype.name], "shape": list(array.shape), "data_offsets": offsets}
        offset += array.nbytes
    header["__metadata__"][HASH] = _content_hash(header, chunks)
    text = _canonical(header)
    text += b" " * (-len(text) % 8)
    write_atomically(path, [len(text).to_bytes(8, "little"), text, *chunks])


def load_tensors(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    """The tensors of a safetensors file, writable, and its metadata.

    The content hash is verified; files of other programs, without metadata of dlc, need not have one. Raises InputError
    if the file is missing, unreadable, truncated, changed since it was written, or not safetensors.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: expected a .safetensors file, found a folder") from None
    except OSError as error:
        raise InputError(disk_error("read", path, error).message) from error
    header, raw = _parse(path, content)
    metadata: dict[str, str] = dict(header.get("__metadata__", {}))
    stored = metadata.pop(HASH, None)
    if stored is not None:
        start = 8 + int.from_bytes(content[:8], "little")
        header["__metadata__"].pop(HASH)
        if _content_hash(header, [memoryview(content)[start:]]) != stored:
            raise InputError(f"{path}: damaged: its content does not match the SHA-256 stored in it")
    elif any(key.startswith("dlc.") for key in metadata):
        raise InputError(f"{path}: damaged: the SHA-256 of its content is missing")
    tensors = {}
    for name, view in raw:
        code = view["dtype"]
        if code not in _NAMES:
            raise InputError(f"{path}: tensor {name} has type {code}, expected one of {', '.join(_NAMES)}")
        dtype = np.dtype(_bfloat16() if code == "BF16" else _NAMES[code])
        tensors[name] = np.frombuffer(view["data"], dtype=dtype).reshape(view["shape"])
    return tensors, metadata


def _parse(path: Path, content: bytes) -> tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]:
    import safetensors

    # The library's stubs leave this function without types.
    deserialize: Callable[[bytes], list[tuple[str, dict[str, Any]]]] = safetensors.deserialize
    try:
        raw = deserialize(content)
    except safetensors.SafetensorError as error:
        reason = str(error).removeprefix("Error while deserializing: ")
        size = int.from_bytes(content[:8], "little")
        # A safetensors file starts with the header's length and the header's brace.
        if content[8:9] == b"{" and (len(content) < 8 + size or "not fully covered" in reason):
            raise InputError(f"{path}: truncated or damaged: {len(content):,} bytes are not the whole file") from None
        if not content:
            raise InputError(f"{path}: expected a safetensors file, found an empty file") from None
        raise InputError(f"{path}: expected a safetensors file, found something else ({reason})") from None
    header: dict[str, Any] = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return header, raw


def _bfloat16() -> Any:
    from ml_dtypes import bfloat16

    return bfloat16


def _canonical(header: Mapping[str, Any]) -> bytes:
    return json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _content_hash(header: Mapping[str, Any], chunks: Sequence[Any]) -> str:
    digest = hashlib.sha256(_canonical(header))
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


@dataclass(frozen=True)
class Best:
    """The best value of the metric that `keep` names, and the number of steps done when it was measured."""

    value: float
    step: int
    metric: str


@dataclass(frozen=True, eq=False)  # Arrays have no single truth to compare by.
class Checkpoint:
    """All that a run needs to go on bit-exactly.

    `step` is the number of steps done, so the index of the next; `position` is the next step's index within `epoch`.
    `tensors` has every carried value by its address. `patience` and `schedule` are JSON that their owners understand.
    `versions` says what computed it: dlc, onnxruntime, provider, processor, threads; `splits` how many examples each
    split of the data has, and their hash, as `Dataset.content` does.
    """

    step: int
    epoch: int
    position: int
    tensors: Mapping[str, Array]
    seed: int
    graph_hash: str
    data_hash: str
    best: Best | None = None
    patience: Any = None
    schedule: Any = None
    versions: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, Any] = field(default_factory=dict)

    def check_resumable(
        self, carried: Mapping[str, Signature], data_hash: str, graph_hash: str, versions: Mapping[str, str],
        splits: Mapping[str, Any],
    ) -> list[str]:  # fmt: skip
        """Compares with the run that wants to go on from here, whose step carries `carried`: address to (dtype, shape).

        Raises InputError if addresses, types, shapes or the data differ. Returns notes on what differs without
        forbidding to go on, but makes the run differ from an uninterrupted one.
        """
        problems = _signature_differences(self.tensors, carried)
        if problems:
            raise InputError(
                "the checkpoint does not fit the model:\n" + "\n".join(f"  {line}" for line in problems),
                "train the changed model into another folder with -o; `dlc weights rename` moves renamed weights",
            )
        if data_hash != self.data_hash:
            raise InputError(
                f"the data changed since the checkpoint was written: {data_differences(self.splits, splits)}",
                "restore the data, or start a new run on the new data with another -o",
            )
        notes = []
        if graph_hash != self.graph_hash:
            notes.append("the compiled graph changed since the checkpoint; the run goes on with the new one")
        for name in sorted({*versions, *self.versions}):
            old, new = self.versions.get(name, "unknown"), versions.get(name, "unknown")
            if old != new:
                notes.append(f"{name} was {old} and is {new}: results may differ in the last bits")
        return notes

    def save(self, path: Path) -> None:
        """Writes the checkpoint to `path`. Raises RunError as `save_tensors` does."""
        content = {name: value for name, value in vars(self).items() if name != "tensors"}
        content["best"] = None if self.best is None else asdict(self.best)
        content["versions"] = dict(self.versions)
        content["splits"] = dict(self.splits)
        # JSON as Python writes it gives every float back bit for bit, infinities included.
        metadata = {FORMAT: "checkpoint 1", "dlc.checkpoint": json.dumps(content, sort_keys=True)}
        save_tensors(path, self.tensors, metadata)

    @staticmethod
    def load(path: Path) -> Checkpoint:
        """Reads what `save` wrote. Raises InputError if the file is damaged or is something else."""
        tensors, metadata = load_tensors(path)
        found = metadata.get(FORMAT, "no format of dlc")
        if found != "checkpoint 1":
            raise InputError(f"{path}: expected a checkpoint of dlc (checkpoint 1), found {found}")
        try:
            content = json.loads(metadata["dlc.checkpoint"])
            if content["best"] is not None:
                content["best"] = Best(**content["best"])
            return Checkpoint(tensors=tensors, **content)
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise InputError(f"{path}: what it says of its run cannot be read: {error}") from None


def _signature_differences(tensors: Mapping[str, Array], carried: Mapping[str, Signature]) -> list[str]:
    """One line a difference, at most ten and a count of the rest."""
    lines = []
    for name in sorted({*tensors, *carried}):
        if name not in tensors:
            lines.append(f"{name}: in the model, not in the checkpoint")
        elif name not in carried:
            lines.append(f"{name}: in the checkpoint, not in the model")
        else:
            (dtype, shape), array = carried[name], tensors[name]
            if (array.dtype, array.shape) != (dtype, tuple(shape)):
                expected, found = f"{dtype}{list(shape)}", f"{array.dtype}{list(array.shape)}"
                lines.append(f"{name}: the model has {expected}, the checkpoint {found}")
    return lines if len(lines) <= 10 else [*lines[:10], f"and {len(lines) - 10} more"]


def data_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """In words; both as `Dataset.content` gives them."""
    told = []
    for name in sorted({*before, *now}):
        if name not in now or name not in before:
            told.append(f"the split `{name}` {'is new' if name in now else 'is gone'}")
        elif before[name][0] != now[name][0]:
            told.append(f"the split `{name}` had {before[name][0]:,} examples and has {now[name][0]:,}")
        elif before[name] != now[name]:
            told.append(f"the split `{name}` has other values or another order in its {now[name][0]:,} examples")
    return "; ".join(told)


def _print_note(text: str) -> None:
    print(text, file=sys.stderr)


class Checkpoints:
    """The checkpoints of a run in `run_folder/checkpoints`, the newest two, and the weight files beside that folder.

    `note` is called with a line for people when a damaged file is passed over.
    """

    def __init__(self, run_folder: Path, note: Callable[[str], None] = _print_note) -> None:
        self._run = run_folder
        self._folder = run_folder / "checkpoints"
        self._note = note

    def steps(self) -> list[int]:
        """The steps that a checkpoint file stands for, ascending."""
        if not self._folder.is_dir():
            return []
        matches = (re.fullmatch(r"step-(\d+)\.safetensors", path.name) for path in self._folder.iterdir())
        return sorted(int(match[1]) for match in matches if match)

    def path(self, step: int) -> Path:
        return self._folder / f"step-{step:09d}.safetensors"

    def save(self, checkpoint: Checkpoint) -> Path:
        """Writes the checkpoint, then removes all but it and the one before it.

        Later ones are removed too: a run goes on from an earlier step only when the later file could not be read.
        Raises RunError if it cannot be written; every older checkpoint is then still there.
        """
        try:
            self._folder.mkdir(exist_ok=True)
        except OSError as error:
            raise disk_error("create", self._folder, error) from error
        path = self.path(checkpoint.step)
        checkpoint.save(path)
        before = [step for step in self.steps() if step < checkpoint.step]
        for step in self.steps():
            if step not in (checkpoint.step, *before[-1:]):
                # A leftover costs only space, and the next save tries again.
                with contextlib.suppress(OSError):
                    self.path(step).unlink()
        return path

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint that can be read; None if none was ever written.

        Notes each damaged one that it passes over. Raises InputError if there are some and none can be read.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                checkpoint = Checkpoint.load(self.path(step))
            except InputError as error:
                self._note(error.message if step == steps[0] else f"{error.message}; trying the checkpoint before it")
                continue
            if step != steps[-1]:
                self._note(f"going on from the older checkpoint at step {checkpoint.step}")
            return checkpoint
        if steps:
            which = f"none of the {len(steps)} checkpoints" if len(steps) > 1 else "the only checkpoint"
            raise InputError(
                f"{self._folder}: {which} can{'' if len(steps) > 1 else 'not'} be read",
                "best.safetensors and last.safetensors may still be good; otherwise start again with another -o",
            )
        return None

    def save_weights(
        self, name: str, tensors: Mapping[str, Array], roles: Mapping[str, str], metadata: Mapping[str, str]
    ) -> Path:
        """Writes `NAME.safetensors` ("best" or "last"): of `tensors` what evaluation and export need.

        `roles` are the manifest's, by address; optimizer state is left out, and the roles of the rest are written as
        JSON under the metadata key `dlc.roles`. Save the best weights before the checkpoint that records them as the
        best. Raises RunError if the file cannot be written; the one before it is then untouched.
        """
        kept = {address: array for address, array in tensors.items() if roles[address] in WEIGHT_ROLES}
        told = json.dumps({address: roles[address] for address in kept}, sort_keys=True)
        path = self._run / f"{name}.safetensors"
        save_tensors(path, kept, {**metadata, FORMAT: "weights 1", "dlc.roles": told})
        return path
