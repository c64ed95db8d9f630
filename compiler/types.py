"""Types of the graph: an element type and a shape whose dimensions are integers or symbolic expressions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlc.compiler.dims import (
    Dim,
    Polynomial,
    Shape,
    is_unknown,
    product,
    quotient,
    sizes_of,
    stretched,
    substitute,
    symbol,
    symbols,
    unknown,
)

Array = NDArray[Any]

# Element types, with onnx's numbers for them (TensorProto.DataType); numpy's name where numpy has the type.
ONNX_NUMBER: Mapping[str, int] = {
    "f32": 1, "u8": 2, "i8": 3, "u16": 4, "i16": 5, "i32": 6, "i64": 7, "str": 8, "bool": 9, "f16": 10,
    "f64": 11, "u32": 12, "u64": 13, "c64": 14, "c128": 15, "bf16": 16,
}  # fmt: skip
NUMPY_NAME: Mapping[str, str] = {
    "f32": "float32", "u8": "uint8", "i8": "int8", "u16": "uint16", "i16": "int16", "i32": "int32", "i64": "int64",
    "str": "object", "bool": "bool", "f16": "float16", "f64": "float64", "u32": "uint32", "u64": "uint64",
    "c64": "complex64", "c128": "complex128",
}  # fmt: skip
FLOATS = frozenset({"f16", "bf16", "f32", "f64"})
INTEGERS = frozenset({"u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64"})
_FROM_NUMPY = {name: dtype for dtype, name in NUMPY_NAME.items()}
_FROM_ONNX = {number: dtype for dtype, number in ONNX_NUMBER.items()}


def numpy_dtype(dtype: str) -> np.dtype[Any]:
    """The numpy element type of `dtype`; bf16 comes from ml_dtypes, which onnx installs."""
    if dtype == "bf16":
        import ml_dtypes

        bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return bfloat16
    return np.dtype(NUMPY_NAME[dtype])


def dtype_of(array: Array) -> str:
    """The element type's name here for a numpy array; raises KeyError for one that tensors cannot have."""
    return "bf16" if array.dtype.name == "bfloat16" else _FROM_NUMPY[array.dtype.name]


def from_onnx_number(number: int) -> str:
    return _FROM_ONNX[number]


@dataclass(frozen=True, slots=True)
class Type:
    """A tensor's type; `str` gives it as in graph text, `f32[B, 3]`."""

    dtype: str
    shape: Shape

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> Dim:
        return product(self.shape)

    @property
    def is_float(self) -> bool:
        return self.dtype in FLOATS

    @property
    def is_static(self) -> bool:
        return all(isinstance(dim, int) for dim in self.shape)

    @property
    def numpy(self) -> np.dtype[Any]:
        return numpy_dtype(self.dtype)

    def with_shape(self, shape: Sequence[Dim]) -> Type:
        return Type(self.dtype, tuple(shape))

    def with_dtype(self, dtype: str) -> Type:
        return Type(dtype, self.shape)

    def static_shape(self) -> tuple[int, ...]:
        """The shape as integers; raises ValueError where a dimension is symbolic."""
        if not self.is_static:
            raise ValueError(f"{self} has a symbolic dimension")
        return tuple(dim for dim in self.shape if isinstance(dim, int))

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


def broadcast(left: Sequence[Dim], right: Sequence[Dim], *, at_run: bool = False) -> Shape:
    """The shape of an elementwise operator on two tensors, by ONNX's rule; raises ValueError.

    Two different symbolic sizes broadcast only `at_run` time, when one of them may turn out to be 1.

    >>> broadcast((symbol("B"), 1, 4), (3, 1))
    (B, 3, 4)
    >>> broadcast((symbol("M"), symbol("N")), (symbol("N"), 3), at_run=True)
    (broadcast(M, N), 3)
    """
    rank = max(len(left), len(right))
    a: Shape = (1,) * (rank - len(left)) + tuple(left)
    b: Shape = (1,) * (rank - len(right)) + tuple(right)
    result: list[Dim] = []
    for m, n in zip(a, b, strict=True):
        if m == 1 or n == 1 or m == n:
            result.append(n if m == 1 else m)
            continue
        one, other = set(sizes_of(m)), set(sizes_of(n))
        if not (at_run or one <= other or other <= one) or (isinstance(m, int) and isinstance(n, int)):
            raise ValueError(f"[{', '.join(map(str, left))}] and [{', '.join(map(str, right))}] do not broadcast")
        result.append(stretched(m, n))
    return tuple(result)


__all__ = [
    "FLOATS", "INTEGERS", "NUMPY_NAME", "ONNX_NUMBER", "Array", "Dim", "Polynomial", "Shape", "Type", "broadcast",
    "dtype_of", "from_onnx_number", "is_unknown", "numpy_dtype", "product", "quotient", "substitute", "symbol",
    "symbols", "unknown",
]  # fmt: skip
