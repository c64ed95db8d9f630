"""Constants fitted on the training split: mean and standard deviation over examples, in float64."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from .errors import DataError
from .plan import Fitted, Plan, TensorType, dtype_name
from .records import Array

Float = NDArray[np.float64]


class Moments:
    """Running mean and squared deviations of equally shaped blocks [rows, ...], merged pairwise, which is stable
    where a sum of squares is not: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing
    sample variances", 1979."""

    def __init__(self) -> None:
        self.n = 0
        self.mean: Float = np.zeros(())
        self.squares: Float = np.zeros(())
        self.low: Float = np.zeros(())
        self.high: Float = np.zeros(())

    def add(self, block: Float) -> None:
        rows = len(block)
        mean = block.mean(axis=0)
        squares = np.square(block - mean).sum(axis=0)
        low, high = block.min(axis=0), block.max(axis=0)
        if self.n == 0:
            self.n, self.mean, self.squares, self.low, self.high = rows, mean, squares, low, high
            return
        total = self.n + rows
        delta = mean - self.mean
        self.squares = self.squares + squares + np.square(delta) * (self.n * rows / total)
        self.mean = self.mean + delta * (rows / total)
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)
        self.n = total


def fit(plan: Plan, blocks: Iterable[Mapping[str, Array]]) -> dict[str, Array]:
    """The plan's fitted constants from blocks {value: [rows, ...]} over the training split.

    A standard deviation is that of the population (divisor n). Where a value is the same in every example it is 1, as
    it is where it would round to 0: dividing by it then does nothing. Raises DataError for infinite values, and for a
    declared shape that the value cannot be reduced to.
    """
    moments: dict[tuple[str, str], Moments] = {}
    for block in blocks:
        for name, fitted in plan.fitted.items():
            key = (fitted.of, str(fitted.type.shape))
            moments.setdefault(key, Moments()).add(_reducible(name, fitted, block[fitted.of]))
    return {name: _statistic(f, moments[f.of, str(f.type.shape)]) for name, f in plan.fitted.items()}


def _reducible(name: str, fitted: Fitted, block: Array) -> Float:
    """[rows, ...] in float64, with every axis that the declared type shrinks to 1 moved into the rows: the rest has the
    declared shape."""
    values = block.astype(np.float64)
    if not np.isfinite(values).all():
        raise DataError(f"`{name}` cannot be fitted: `{fitted.of}` is infinite in some example of the training split")
    if fitted.type.shape is None:
        return values
    inner = values.shape[1:]
    shape = tuple(f if d is None else d for d, f in zip(_widened(fitted.type.shape, len(inner)), inner, strict=False))
    if len(shape) != len(inner) or any(s not in (1, f) for s, f in zip(shape, inner, strict=True)):
        raise DataError(f"`{name}` is declared {fitted.type}, but `{fitted.of}` is [{', '.join(map(str, inner))}]")
    pooled = [k for k, (s, f) in enumerate(zip(shape, inner, strict=True)) if s != f]
    moved = np.moveaxis(values, [k + 1 for k in pooled], range(1, 1 + len(pooled)))
    kept = shape if len(fitted.type.shape) == len(shape) else shape[len(shape) - len(fitted.type.shape) :]
    return moved.reshape(-1, *kept)


def _widened(shape: tuple[int | None, ...], rank: int) -> tuple[int | None, ...]:
    return (1,) * (rank - len(shape)) + shape


def _statistic(fitted: Fitted, moments: Moments) -> Array:
    dtype = fitted.type.numpy
    if fitted.statistic == "mean":
        return np.asarray(moments.mean, dtype)
    deviation = np.asarray(np.sqrt(moments.squares / moments.n), dtype)
    return np.where((moments.low == moments.high) | (deviation == 0), np.ones((), dtype), deviation)


def check_given(plan: Plan, given: Mapping[str, Array]) -> dict[str, Array]:
    """The plan's constants out of saved ones. Raises DataError if one is missing or has another shape."""
    constants: dict[str, Array] = {}
    for name, fitted in plan.fitted.items():
        if name not in given:
            raise DataError(f"the saved constants lack `{name}`, which this data section fits")
        array, shape = np.asarray(given[name]), fitted.type.shape
        fits = shape is None or (
            array.ndim == len(shape) and all(d in (None, f) for d, f in zip(shape, array.shape, strict=True))
        )
        if not fits or array.dtype != fitted.type.numpy:
            found = TensorType(dtype_name(array.dtype), array.shape)
            raise DataError(f"the saved constant `{name}` is {found}, but {fitted.type} is expected")
        constants[name] = array
    return constants
