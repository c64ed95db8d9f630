"""Tensors in a file beside a model's: one protobuf message holds 2 GB, and the arrays need not be copied into it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from dlc.compiler.types import ONNX_NUMBER, Array, dtype_of

if TYPE_CHECKING:
    from onnx import TensorProto

_LEAST = 1024  # bytes; smaller tensors stay in the model, where shape inference reads them
_ALIGNED = 4096  # bytes at which a tensor begins, so that it can be mapped


class Beside:
    """Collects tensors for the file `location`, which must lie in the model's folder; `chunks` is its content."""

    def __init__(self, location: str) -> None:
        self.location = location
        self._arrays: list[Array] = []
        self._offset = 0

    def __bool__(self) -> bool:
        return bool(self._arrays)

    def takes(self, array: Array) -> bool:
        """Whether a tensor is large enough, and of elements that have bytes."""
        return array.dtype != object and array.nbytes >= _LEAST

    def tensor(self, name: str, array: Array) -> TensorProto:
        """The tensor as a reference to its bytes in the file."""
        from onnx import TensorProto

        proto = TensorProto(name=name, dims=array.shape, data_type=ONNX_NUMBER[dtype_of(array)])
        proto.data_location = TensorProto.EXTERNAL
        entries = {"location": self.location, "offset": self._offset, "length": array.nbytes}
        for key, value in entries.items():
            proto.external_data.add(key=key, value=str(value))
        self._arrays.append(array)
        self._offset += array.nbytes + _gap(array)
        return proto

    def chunks(self) -> Iterator[Any]:
        """The bytes of the file, tensor by tensor, none copied that lies in order."""
        for array in self._arrays:
            little = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
            yield little.reshape(-1).view(np.uint8).data
            yield bytes(_gap(array))


def _gap(array: Array) -> int:
    return -array.nbytes % _ALIGNED


__all__ = ["Beside"]
