"""Types of the graph: an element type and a shape whose dimensions are integers or symbolic expressions.

A symbolic dimension is an integer polynomial over dimension names, in which a floor or ceiling division that does not
come out even is one opaque term. It is held in normal form, so that two dimensions are equal exactly when their normal
forms are: equality is decided, never guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
class Quotient:
    """`numerator // divisor`, or rounded up if `ceiling`: an opaque term of a dimension."""

    numerator: Polynomial
    divisor: Polynomial | int
    ceiling: bool = False

    @property
    def key(self) -> str:
        return str(self)

    def __str__(self) -> str:
        divisor = str(self.divisor) if _is_name(self.divisor) else f"({self.divisor})"
        if self.ceiling:
            return f"ceil({self.numerator}, {self.divisor})"
        numerator = str(self.numerator) if _is_plain(self.numerator) else f"({self.numerator})"
        return f"{numerator}//{divisor}"


Atom = str | Quotient
Monomial = tuple[tuple[Atom, int], ...]  # atoms with their powers, in order; () is the constant term


@dataclass(frozen=True)
class Polynomial:
    """A symbolic dimension: coefficients of monomials, in order, none zero. Make one with `symbol` and arithmetic."""

    terms: tuple[tuple[Monomial, int], ...]

    def __add__(self, other: Dim) -> Dim:
        total = dict(self.terms)
        for monomial, coefficient in _terms(other):
            total[monomial] = total.get(monomial, 0) + coefficient
        return _normal(total)

    __radd__ = __add__

    def __neg__(self) -> Dim:
        return self * -1

    def __sub__(self, other: Dim) -> Dim:
        return self + other * -1

    def __rsub__(self, other: Dim) -> Dim:
        return self * -1 + other

    def __mul__(self, other: Dim) -> Dim:
        total: dict[Monomial, int] = {}
        for left, a in self.terms:
            for right, b in _terms(other):
                powers: dict[Atom, int] = dict(left)
                for atom, power in right:
                    powers[atom] = powers.get(atom, 0) + power
                monomial = tuple(sorted(powers.items(), key=lambda item: _atom_key(item[0])))
                total[monomial] = total.get(monomial, 0) + a * b
        return _normal(total)

    __rmul__ = __mul__

    def __floordiv__(self, divisor: Dim) -> Dim:
        return quotient(self, divisor)

    def __rfloordiv__(self, numerator: int) -> Dim:
        return quotient(numerator, self)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash(self.terms)

    @cached_property
    def _text(self) -> str:
        text = ""
        for monomial, coefficient in sorted(self.terms, key=lambda term: (not term[0], _monomial_key(term[0]))):
            size = abs(coefficient)
            alone = len(monomial) == 1 and monomial[0][1] == 1 and size == 1
            factors = [
                (str(atom) if alone else _atom_text(atom)) + (f"^{power}" if power > 1 else "")
                for atom, power in monomial
            ]
            product = "*".join(([str(size)] if size != 1 or not factors else []) + factors)
            sign = "-" if coefficient < 0 else "+"
            text += f" {sign} {product}" if text else (f"-{product}" if coefficient < 0 else product)
        return text

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return self._text


Dim = int | Polynomial
Shape = tuple[Dim, ...]


def symbol(name: str) -> Polynomial:
    """The dimension called `name`."""
    return Polynomial(((((name, 1),), 1),))


_UNKNOWN = count()


def unknown() -> Polynomial:
    """A dimension that depends on data: a new name `?N`, equal to no dimension but itself."""
    return symbol(f"?{next(_UNKNOWN)}")


def is_unknown(name: str) -> bool:
    """Whether a dimension's name is one that `unknown` gave."""
    return name.startswith("?")


def quotient(numerator: Dim, divisor: Dim, ceiling: bool = False) -> Dim:
    """Floor (or ceiling) division. What divides evenly is taken out; the rest stays opaque.

    Raises ZeroDivisionError.

    >>> B = symbol("B")
    >>> quotient(4 * B + 6, 4), quotient(B, 2), quotient(B * B, B)
    (B + 1, B//2, B)
    """
    if divisor == 0:
        raise ZeroDivisionError("a dimension divided by 0")
    if isinstance(numerator, int) and isinstance(divisor, int):
        return -(-numerator // divisor) if ceiling else numerator // divisor
    if isinstance(divisor, int) and ceiling:
        return quotient(numerator + (divisor - 1), divisor)  # one form for one number, so that equality is decided
    if isinstance(divisor, int):
        # Whole multiples of the divisor come out, so that (H - 2)//2 + 1 and H//2 are one form.
        even = {m: c // divisor for m, c in _terms(numerator)}
        rest = {m: c % divisor for m, c in _terms(numerator)}
        remainder = _normal(rest)
        if isinstance(remainder, int):
            return _normal(even) + quotient(remainder, divisor, ceiling)
        return _normal(even) + Polynomial(((((Quotient(remainder, divisor, ceiling), 1),), 1),))
    exact = _divide_exactly(numerator, divisor)
    if exact is not None:
        return exact
    whole = numerator if isinstance(numerator, Polynomial) else Polynomial((((), numerator),))
    return Polynomial(((((Quotient(whole, divisor, ceiling), 1),), 1),))


def product(dims: Sequence[Dim]) -> Dim:
    """How many elements a shape has."""
    total: Dim = 1
    for dim in dims:
        total = total * dim
    return total


def symbols(dim: Dim) -> Iterator[str]:
    """The names in a dimension, those inside divisions too."""
    for monomial, _ in _terms(dim):
        for atom, _power in monomial:
            if isinstance(atom, str):
                yield atom
            else:
                yield from symbols(atom.numerator)
                yield from symbols(atom.divisor)


def substitute(dim: Dim, values: Mapping[str, Dim]) -> Dim:
    """`dim` with names replaced; names that `values` lacks stay.

    >>> substitute(symbol("B") * 3 + 1, {"B": 4})
    13
    """
    if isinstance(dim, int):
        return dim
    total: Dim = 0
    for monomial, coefficient in dim.terms:
        term: Dim = coefficient
        for atom, power in monomial:
            if isinstance(atom, str):
                factor = values.get(atom, symbol(atom))
            else:
                factor = quotient(substitute(atom.numerator, values), substitute(atom.divisor, values), atom.ceiling)
            for _ in range(power):
                term = term * factor
        total = total + term
    return total


def _is_plain(dim: Dim) -> bool:
    return isinstance(dim, int) or (len(dim.terms) == 1 and dim.terms[0][1] == 1 and len(dim.terms[0][0]) == 1)


def _is_name(dim: Dim) -> bool:
    return isinstance(dim, int) or (_is_plain(dim) and isinstance(dim.terms[0][0][0][0], str))


def _terms(dim: Dim) -> tuple[tuple[Monomial, int], ...]:
    return dim.terms if isinstance(dim, Polynomial) else ((((), dim),) if dim else ())


def _normal(total: Mapping[Monomial, int]) -> Dim:
    kept = {monomial: coefficient for monomial, coefficient in total.items() if coefficient}
    if not kept:
        return 0
    if len(kept) == 1 and () in kept:
        return kept[()]
    return Polynomial(tuple(sorted(kept.items(), key=lambda term: _monomial_key(term[0]))))


def _divide_exactly(numerator: Dim, divisor: Polynomial) -> Dim | None:
    """Division by one monomial where every term contains it; None where it does not come out."""
    if len(divisor.terms) != 1:
        return 1 if numerator == divisor else None
    below, scale = divisor.terms[0]
    total: dict[Monomial, int] = {}
    for monomial, coefficient in _terms(numerator):
        powers = dict(monomial)
        for atom, power in below:
            if powers.get(atom, 0) < power:
                return None
            powers[atom] -= power
        if coefficient % scale:
            return None
        total[tuple((atom, power) for atom, power in powers.items() if power)] = coefficient // scale
    return _normal(total)


def _atom_key(atom: Atom) -> str:
    return atom if isinstance(atom, str) else atom.key


def _atom_text(atom: Atom) -> str:
    return atom if isinstance(atom, str) else str(atom) if atom.ceiling else f"({atom})"


def _monomial_key(monomial: Monomial) -> tuple[tuple[str, int], ...]:
    return tuple((_atom_key(atom), power) for atom, power in monomial)


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


def broadcast(left: Sequence[Dim], right: Sequence[Dim]) -> Shape:
    """The shape of an elementwise operator on two tensors, by ONNX's rule; raises ValueError.

    >>> broadcast((symbol("B"), 1, 4), (3, 1))
    (B, 3, 4)
    """
    rank = max(len(left), len(right))
    a: Shape = (1,) * (rank - len(left)) + tuple(left)
    b: Shape = (1,) * (rank - len(right)) + tuple(right)
    result: list[Dim] = []
    for m, n in zip(a, b, strict=True):
        if m != n and m != 1 and n != 1:
            raise ValueError(f"[{', '.join(map(str, left))}] and [{', '.join(map(str, right))}] do not broadcast")
        result.append(n if m == 1 else m)
    return tuple(result)
