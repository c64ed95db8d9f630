"""Running a compiled graph of the data section over records, one example at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dlc.runtime.session import runtime

from .errors import DataError
from .plan import TensorType, dtype_name
from .records import Array, Progress, Records

if TYPE_CHECKING:
    import onnxruntime  # type: ignore[import-untyped]

_BLOCK_BYTES = 4 << 20


@dataclass(frozen=True)
class Graph:
    """`prepare` or `fit` of a data section: (constants, one record) -> named outputs."""

    session: onnxruntime.InferenceSession
    what: str

    @staticmethod
    def load(model: bytes, what: str) -> Graph:
        """Raises DataError if ONNX Runtime refuses the model."""
        ort = runtime()
        options = ort.SessionOptions()
        options.log_severity_level = 3
        # One example is little work: a second thread would only spin, and one gives the same bits on every machine.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        try:
            session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions have no other common base
            raise DataError(f"the {what} graph cannot be loaded: {error}") from error
        return Graph(session, what)

    @property
    def outputs(self) -> list[str]:
        return [output.name for output in self.session.get_outputs()]

    def blocks(
        self,
        records: Records,
        constants: Mapping[str, Array],
        outputs: Mapping[str, TensorType],
        name: str,
        progress: Progress,
    ) -> Iterator[dict[str, Array]]:
        """The outputs for every example, stacked in blocks of a few megabytes: {output: [rows, ...]}.

        Raises DataError where an example fails, gives another type than declared, or gives a NaN.
        """
        # The field `image` is made of the record `raw.image`: a graph cannot call an input and an output the same.
        raw = {f"raw.{name}": array for name, array in records.arrays.items()}
        records = replace(records, arrays={**raw, **records.arrays})
        inputs = [i.name for i in self.session.get_inputs()]
        for missing in (i for i in inputs if i not in records.arrays and i not in constants):
            raise DataError(f"the {self.what} graph reads `{missing}`, which is neither a record nor a fitted constant")
        for missing in (o for o in outputs if o not in self.outputs):
            raise DataError(f"the {self.what} graph has no output `{missing}`")
        n, names = len(records), list(outputs)
        fed = {i: constants[i] for i in inputs if i in constants and i not in records.arrays}
        varying = {i: records.arrays[i] for i in inputs if i in records.arrays}
        types = dict(outputs)
        done, rows = 0, 1
        while done < n:
            rows = min(rows, n - done)
            block: dict[str, Array] = {}
            for k in range(rows):
                record = {i: np.asarray(a[done + k]) for i, a in varying.items()}
                values = self._run(names, fed | record, records, done + k)
                for output, value in zip(names, values, strict=True):
                    if output not in block:
                        types[output] = _settle(types[output], value)
                        block[output] = np.empty((rows, *value.shape), value.dtype)
                        _check(output, value, types[output], records, done + k)
                    rows_of = block[output]
                    if value.shape != rows_of.shape[1:] or value.dtype != rows_of.dtype:
                        _check(output, value, types[output], records, done + k)
                    rows_of[k] = value
            _refuse_nan(block, records, done)
            yield block
            done += rows
            progress(name, done, n)
            rows = max(1, min(4096, _BLOCK_BYTES // max(1, sum(a[0].nbytes for a in block.values()))))

    def _run(self, names: list[str], feeds: dict[str, Array], records: Records, at: int) -> list[Array]:
        try:
            values: list[Array] = self.session.run(names, feeds)
        except Exception as error:  # as in load
            shapes = ", ".join(
                f"`{name.removeprefix('raw.')}` is {dtype_name(value.dtype)}[{', '.join(map(str, value.shape))}]"
                for name, value in feeds.items()
                if name in records.arrays
            )
            raise DataError(
                f"{records.where(at)}: the {self.what} graph fails on this example ({shapes}): {error}"
            ) from error
        return values


def _settle(declared: TensorType, first: Array) -> TensorType:
    """What was left open is as the first example has it."""
    shape = declared.shape or (None,) * first.ndim if declared.shape != () else ()
    if len(shape) == first.ndim:
        shape = tuple(f if d is None else d for d, f in zip(shape, first.shape, strict=True))
    return TensorType(declared.dtype or dtype_name(first.dtype), shape)


def _check(name: str, value: Array, type_: TensorType, records: Records, at: int) -> None:
    if value.shape != type_.shape or dtype_name(value.dtype) != type_.dtype:
        found = TensorType(dtype_name(value.dtype), value.shape)
        raise DataError(f"{records.where(at)}: `{name}` is {found}, but {type_} was expected of every example")


def _refuse_nan(block: dict[str, Array], records: Records, start: int) -> None:
    for name, array in block.items():
        if array.dtype.kind == "f" and np.isnan(array).any():
            bad = int(np.argmax(np.isnan(array).reshape(len(array), -1).any(axis=1)))
            raise DataError(f"{records.where(start + bad)}: `{name}` is not a number (NaN) after preparation")
