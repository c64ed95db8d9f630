"""Running products along an axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlc.compiler.build import ints, op, private
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.indexing import INDEX, counted
from dlc.compiler.ops.rules import NUMBERS, expect, fixed, normal_axis
from dlc.compiler.registry import Call, IllTyped, define, evaluate, expansion, lower
from dlc.compiler.types import Array, Type


def _cum_prod(call: Call) -> list[Type]:
    x, axis = expect(call, 0, NUMBERS), fixed(call, 1, "axes")
    if axis is None or axis.size != 1 or call.type(1).dtype not in INDEX:
        raise IllTyped("CumProd needs one axis as its second input")
    normal_axis("CumProd", int(axis.item()), x.rank)
    return [x]


define("CumProd", _cum_prod)


@expansion("CumProd")
def _running(x: Value, axis: Value, *, exclusive: int = 0, reverse: int = 0) -> Value:
    """Products of neighbours, then of pairs, of fours, ...: no division, so that zeros do no harm to derivatives.

    Along an axis of unknown length: for each place, the product of what lies up to it.
    """
    assert axis.constant is not None
    place = int(axis.constant.item()) % x.type.rank
    length = x.shape[place]
    if exclusive:
        x = _shifted(x, place, 1, reverse)
    if not isinstance(length, int):
        return _by_places(x, place, reverse)
    step = 1
    while step < length:
        x = x * _shifted(x, place, step, reverse)
        step *= 2
    return x


def _shifted(x: Value, axis: int, by: int, reverse: int) -> Value:
    """The elements moved along an axis, ones where none comes from."""
    length = x.shape[axis]
    by = min(by, length) if isinstance(length, int) else by
    before, after = np.zeros((2, x.type.rank), np.int64)
    before[axis], after[axis] = (-by, by) if reverse else (by, -by)
    value: Value = op.Pad(x, np.concatenate([before, after]), np.ones((), x.type.numpy))
    return value


def _by_places(x: Value, axis: int, reverse: int) -> Value:
    length, rank = x.shape[axis], x.type.rank
    places = counted(length)
    to, since = (private.ReshapeTo(places, shape=shape) for shape in ((length, 1), (1, length)))
    reached = to <= since if reverse else since <= to
    beside = (*(1,) * axis, length, length, *(1,) * (rank - axis - 1))
    every = private.ReshapeTo(x, shape=(*x.shape[:axis], 1, *x.shape[axis:]))
    factors = op.Where(private.ReshapeTo(reached, shape=beside), every, np.ones((), x.type.numpy))
    value: Value = op.ReduceProd(factors, ints(axis + 1), keepdims=0)
    return value


@lower("CumProd")
def _(lowering: Any, node: Node, x: Value, axis: Value) -> Any:
    return _running(x, axis, **node.attributes)


@evaluate("CumProd")
def _(x: Array, axis: Array, *, exclusive: int = 0, reverse: int = 0) -> Array:
    turned = np.moveaxis(x, int(axis.item()), 0)
    turned = turned[::-1] if reverse else turned
    if exclusive:
        turned = np.concatenate([np.ones_like(turned[:1]), turned[:-1]])
    products = np.cumprod(turned, 0, dtype=x.dtype)
    return np.moveaxis(products[::-1] if reverse else products, 0, int(axis.item()))
