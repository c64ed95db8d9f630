"""Random graphs: elements that change their places and are otherwise left alone, and reductions over axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from graph_maker import RECIPES, Maker, Unfit, recipe

from dlc.compiler.graph import Value

Array = np.ndarray[Any, Any]
i64 = np.int64


@recipe
def reshape(m: Maker) -> None:
    """To a shape in numbers; a symbolic first dimension stays, or joins the others."""
    x = m.any()
    kept = [0] if x.shape and not isinstance(x.shape[0], int) and m.coin() else []
    size, shape = (int(np.prod(m.whole(x)[:]))) if not kept and x.type.is_static else 1, list(kept)
    if kept:
        size = int(np.prod([m.extent(x, axis) for axis in range(1, x.type.rank)]))
    while size > 1 and len(shape) < 3:
        divisors = [d for d in range(1, size + 1) if size % d == 0]
        shape.append(int(m.rng.choice(divisors)))
        size //= shape[-1]
    m.keep(m.one("Reshape", x, np.array([*shape, -1], i64)))


@recipe
def reshape_as_read(m: Maker) -> None:
    """To a shape that the graph reads: (a, b, ...) to (b, ..., a)."""
    x = m.any(least=2)
    parts = m.one("Shape", x, start=1), m.one("Shape", x, end=1)
    m.keep(m.one("Reshape", x, m.one("Concat", *parts, axis=0)))


@recipe
def transpose(m: Maker) -> None:
    x = m.any(least=1)
    m.keep(m.one("Transpose", x, perm=tuple(int(axis) for axis in m.rng.permutation(x.type.rank))))


@recipe
def stretch(m: Maker) -> None:
    x = m.any(most=3)
    grown = m.one("Unsqueeze", x, np.array([int(m.rng.integers(-x.type.rank - 1, x.type.rank + 1))], i64))
    if m.coin(0.3):
        m.keep(m.one("Squeeze", grown, *([] if x.type.is_static else [np.array([grown.shape.index(1)])])))
        return
    shape = [int(m.rng.integers(2, 4)) if dim == 1 else dim if isinstance(dim, int) else 1 for dim in grown.shape]
    m.keep(m.one("Expand", grown, np.array(shape, i64)))


@recipe
def stretch_as_read(m: Maker) -> None:
    x = m.any(least=1)
    small = m.one("ReduceMean", x, np.array([m.axis(x)]), keepdims=1)
    m.keep(m.one("Expand", small, m.one("Shape", x)))


@recipe
def flatten(m: Maker) -> None:
    x = m.any(least=1)
    m.keep(m.one("Flatten", x, axis=int(m.rng.integers(-x.type.rank, x.type.rank + 1))))


@recipe
def join(m: Maker) -> None:
    x = m.any(least=1)
    axis = m.axis(x) % x.type.rank
    dims = [int(m.rng.integers(1, 4)) if i == axis else dim for i, dim in enumerate(x.shape)]
    m.keep(m.one("Concat", x, m.numbers(*dims), x, axis=axis - x.type.rank if m.coin() else axis))


@recipe
def part(m: Maker) -> None:
    x = m.any(least=1)
    axis = m.axis(x) % x.type.rank
    size = m.extent(x, axis)
    if size < 2:
        raise Unfit
    first = int(m.rng.integers(0 if m.coin(0.1) else 1, size))
    m.keep(*m.add("Split", x, np.array([first, size - first], i64), outputs=2, axis=axis))


@recipe
def cut(m: Maker) -> None:
    """Every element or every second, forward or backward; of a known size also a part, at times an empty one."""
    x = m.any(least=1)
    axis = m.axis(x)
    step = int(m.rng.choice([1, 2, -1, -2]))
    bounds = (0, 2**31) if step > 0 else (-1, -(2**31))
    if isinstance(x.shape[axis], int) and m.coin():
        bounds = tuple(int(each) for each in np.sort(m.rng.integers(0, m.extent(x, axis) + 1, 2)))
        step = abs(step)
    m.keep(m.one("Slice", x, *(np.array([each], i64) for each in (*bounds, axis, step))))


@recipe
def cut_as_read(m: Maker) -> None:
    """All but the last, by a size that the graph reads."""
    x = m.any(least=1)
    axis = m.axis(x) % x.type.rank
    if m.at(x).shape[axis] < 2 or not isinstance(x.shape[axis], int):
        raise Unfit
    end = m.one("Sub", m.one("Shape", x, start=axis, end=axis + 1), np.array([1]))
    m.keep(m.one("Slice", x, np.array([0]), end, np.array([axis])))


@recipe
def tile(m: Maker) -> None:
    x = m.any(least=1, most=3)
    m.keep(m.one("Tile", x, m.rng.integers(1, 3, x.type.rank)))


@recipe
def pad(m: Maker) -> None:
    x = m.any(least=1, most=4)
    mode = m.pick("constant", "reflect", "edge", "wrap")
    most = [0 if not isinstance(dim, int) else min(2, dim - 1 if mode == "reflect" else dim) for dim in x.shape]
    if mode != "constant" and min(m.at(x).shape) < 1:
        raise Unfit
    ends = [int(m.rng.integers(0, limit + 1)) for limit in (*most, *most)]
    value = [np.array(0.3)] if mode == "constant" and m.coin() else []
    m.keep(m.one("Pad", x, np.array(ends, i64), *value, mode=mode))


@recipe
def centre(m: Maker) -> None:
    x = m.any(least=1)
    axis = m.axis(x)
    m.extent(x, axis)
    m.keep(m.one("CenterCropPad", x, np.array([int(m.rng.integers(1, 6))], i64), axes=(axis,)))


@recipe
def triangle(m: Maker) -> None:
    m.keep(m.one("Trilu", m.any(least=2), np.array(int(m.rng.integers(-1, 2))), upper=int(m.coin())))


@recipe
def backwards(m: Maker) -> None:
    x = m.any(least=2)
    m.keep(m.one("ReverseSequence", x, m.integers(1, m.extent(x, 0) + 1, x.shape[1]), time_axis=0, batch_axis=1))


@recipe
def running(m: Maker) -> None:
    x = m.any(least=1)
    flags = {"exclusive": int(m.coin()), "reverse": int(m.coin())}
    m.keep(m.one(m.pick("CumSum", "CumProd"), x, np.array(m.axis(x)), **flags))


# Reductions.


def _axes(m: Maker, x: Value) -> Array:
    rank = x.type.rank
    axes = m.rng.permutation(rank)[: int(m.rng.integers(1, rank + 1))]
    return np.array([axis - rank if m.coin(0.3) else axis for axis in axes], i64)


def _reduce(name: str, prepare: Callable[[Maker, Value], Value] = lambda m, x: x) -> None:
    def make(m: Maker) -> None:
        x = prepare(m, m.any(least=1))
        m.keep(m.one(name, x, _axes(m, x), keepdims=int(m.coin())))

    RECIPES.append(make)


for _name in ("ReduceSum", "ReduceMean", "ReduceSumSquare", "ReduceLogSumExp"):
    _reduce(_name)
_reduce("ReduceL1", lambda m, x: m.apart(x, 0.0))
_reduce("ReduceL2", lambda m, x: m.positive(x))
_reduce("ReduceLogSum", lambda m, x: m.positive(x))
_reduce("ReduceProd")
_reduce("ReduceMax", lambda m, x: m.untied(x))
_reduce("ReduceMin", lambda m, x: m.untied(x))
