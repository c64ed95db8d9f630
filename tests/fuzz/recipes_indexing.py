"""Random graphs: elements taken from places and put into places."""

from __future__ import annotations

import numpy as np
from graph_maker import Maker, Unfit, recipe

from dlc.compiler.graph import Value

i64 = np.int64


def _places(m: Maker, x: Value, axis: int, *dims: object) -> Value:
    """Places along an axis; along a symbolic one the first and the last, which every size has."""
    dim = x.shape[axis]
    low, high = (-dim, dim) if isinstance(dim, int) else (-1, 1)
    if not high:
        raise Unfit
    return m.integers(low, high, *dims)


@recipe
def take(m: Maker) -> None:
    x = m.any(least=1, most=3)
    axis = m.axis(x)
    m.keep(m.one("Gather", x, _places(m, x, axis, *m.pick((3,), (2, 2), ())), axis=axis))


@recipe
def take_each(m: Maker) -> None:
    x = m.any(least=1, most=3)
    axis = m.axis(x)
    m.keep(m.one("GatherElements", x, _places(m, x, axis, *x.shape), axis=axis))


@recipe
def take_places(m: Maker) -> None:
    x = m.any(least=2, most=4)
    depth = int(m.rng.integers(1, x.type.rank))
    places = np.stack([m.rng.integers(0, m.extent(x, axis), 4) for axis in range(depth)], -1)
    m.keep(m.one("GatherND", x, places))


@recipe
def take_of_each_row(m: Maker) -> None:
    x = m.any(least=2, most=4)
    size = m.extent(x, 1)
    if not m.size(x):
        raise Unfit
    m.keep(m.one("GatherND", x, m.integers(-size, size, x.shape[0], 3, 1), batch_dims=1))


@recipe
def put_each(m: Maker) -> None:
    x = m.any(least=1, most=3)
    axis = m.axis(x)
    size = m.extent(x, axis)
    kind = m.pick("none", "none", "add", "mul")
    indices = m.integers(0, size, *x.shape)
    if kind == "none":  # each place once
        indices = m.constant(np.argsort(m.rng.random(m.whole(x)), axis=axis))
    name = "ScatterElements" if kind != "none" or m.coin() else "Scatter"
    more = {} if name == "Scatter" else {"reduction": kind}
    m.keep(m.one(name, x, indices, m.numbers(*x.shape), axis=axis, **more))


@recipe
def put_extreme(m: Maker) -> None:
    """The larger of what is there and what comes: no two may be equal."""
    x = m.any(rank=1)
    size = m.extent(x, 0)
    updates = m.numbers(size)
    m.untied(m.one("Concat", x, updates, axis=0))
    m.keep(m.one("ScatterElements", x, m.rng.integers(0, size, size), updates, axis=0, reduction=m.pick("max", "min")))


@recipe
def put_places(m: Maker) -> None:
    x = m.any(least=1, most=3)
    size = m.extent(x, 0)
    kind = m.pick("none", "add", "mul")
    places = m.rng.permutation(size)[: int(m.rng.integers(1, size + 1))].reshape(-1, 1)
    if kind != "none":
        places = m.rng.integers(0, size, (3, 1))
    m.keep(m.one("ScatterND", x, places, m.numbers(len(places), *x.shape[1:]), reduction=kind))


@recipe
def put_in_cache(m: Maker) -> None:
    past = m.any(rank=4) if m.coin(0.3) else m.cut(2, 2, 4, 3)
    length = m.extent(past, 2)
    count = int(m.rng.integers(1, length + 1))
    mode = m.pick("linear", "circular")
    first = m.integers(0, length - count + 1 if mode == "linear" else length, past.shape[0])
    update = m.numbers(past.shape[0], past.shape[1], count, past.shape[3])
    m.keep(m.one("TensorScatter", past, update, first, axis=2, mode=mode))


@recipe
def best(m: Maker) -> None:
    x = m.any(least=1)
    axis = m.axis(x)
    count = np.array([int(m.rng.integers(1, m.extent(x, axis) + 1))], i64)
    m.keep(*m.add("TopK", m.untied(x, axis), count, outputs=2, axis=axis, largest=int(m.coin())))


@recipe
def hot(m: Maker) -> None:
    x = m.any(rank=0)
    pair = [m.one("Unsqueeze", each, np.array([0])) for each in (x, m.one("Neg", x))]
    m.keep(m.one("OneHot", m.integers(0, 3, 2, 2), np.array(3), m.one("Concat", *pair, axis=0)))
