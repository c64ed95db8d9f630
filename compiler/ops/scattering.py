"""Operators that write at computed places.

ONNX Runtime's ScatterND runs over its updates in parallel, so that a reduction over duplicate places races on the CPU;
ScatterElements goes through them in order. A ScatterND that reduces is therefore lowered to ScatterElements.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dlc.compiler.build import op, private
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.indexing import INDEX, beside, counted, depth_of, extent, flat_places
from dlc.compiler.ops.rules import axis_of, expect, factor_of_zeros, mask, show, where, zeros
from dlc.compiler.registry import Call, IllTyped, cotangents, define, evaluate, expansion, gradient, lower
from dlc.compiler.types import Array, Type, product

REDUCTIONS = ("none", "add", "mul", "max", "min")


def _reduction(call: Call) -> None:
    if call.get("reduction", "none") not in REDUCTIONS:
        raise IllTyped(f'{call.op} with reduction "{call.get("reduction")}": {", ".join(REDUCTIONS)} are known')


def _scatter_elements(call: Call) -> list[Type]:
    data, indices, updates = call.type(0), expect(call, 1, INDEX), call.type(2)
    beside(call.op, data, indices, axis_of(call, 0, data.rank))
    if updates != data.with_shape(indices.shape):
        raise IllTyped(f"{call.op} of {updates} by {indices} into {data}: updates and indices differ")
    _reduction(call)
    return [data]


define("ScatterElements", _scatter_elements)


@gradient("ScatterElements")
def _(
    g: Value, y: Value, data: Value, indices: Value, updates: Value, *, axis: int = 0, reduction: str = "none"
) -> tuple[Value, None, Value]:
    if reduction == "mul":
        return _of_products(g, data, indices, updates, axis)
    if reduction in ("max", "min"):
        return _of_extremes(g, y, data, indices, updates, axis)
    to_updates: Value = op.GatherElements(g, indices, axis=axis)
    if reduction == "add":
        return g, None, to_updates
    return op.ScatterElements(g, indices, zeros(updates.type), axis=axis), None, to_updates


def _of_products(g: Value, data: Value, indices: Value, updates: Value, axis: int) -> tuple[Value, None, Value]:
    """Each factor gets the product of the others, right where factors are zero too, as in ReduceProd."""
    none = [mask(op.Equal(x, 0.0), x) for x in (data, updates)]
    filled = [where(op.Equal(x, 0.0), 1.0, x) for x in (data, updates)]
    zero = [where(op.Equal(x, 0.0), x, 0.0) for x in (data, updates)]
    count, total = (op.ScatterElements(x, indices, u, axis=axis, reduction="add") for x, u in (none, zero))
    whole = g * op.ScatterElements(filled[0], indices, filled[1], axis=axis, reduction="mul")
    there = [op.GatherElements(x, indices, axis=axis) for x in (count, total, whole)]
    to_data, to_updates = (
        scaled * factor_of_zeros(counted - none[i], added - zero[i]) / filled[i]
        for i, (counted, added, scaled) in enumerate(((count, total, whole), there))
    )
    return to_data, None, to_updates


def _of_extremes(
    g: Value, y: Value, data: Value, indices: Value, updates: Value, axis: int
) -> tuple[Value, None, Value]:
    """Ties share the cotangent in equal parts, as in PyTorch."""
    wins = mask(op.Equal(data, y), g)
    won = mask(op.Equal(updates, op.GatherElements(y, indices, axis=axis)), g)
    share = g / op.ScatterElements(wins, indices, won, axis=axis, reduction="add")
    return share * wins, None, op.GatherElements(share, indices, axis=axis) * won


def _scatter(call: Call) -> list[Type]:
    if "reduction" in call.attributes:
        raise IllTyped("Scatter has no reduction: use ScatterElements")
    return _scatter_elements(call)


define("Scatter", _scatter)  # ScatterElements as it was called before opset 11


@expansion("Scatter")
def _(data: Value, indices: Value, updates: Value, *, axis: int = 0) -> Any:
    return op.ScatterElements(data, indices, updates, axis=axis)


@lower("Scatter")
def _(lowering: Any, node: Node, data: Value, indices: Value, updates: Value) -> Any:
    return op.ScatterElements(data, indices, updates, axis=node.attributes.get("axis", 0))


def _scatter_nd(call: Call) -> list[Type]:
    data, indices, updates = call.type(0), expect(call, 1, frozenset({"i64"})), call.type(2)
    wanted = data.with_shape((*indices.shape[:-1], *data.shape[depth_of(call, data, indices) :]))
    if updates != wanted:
        raise IllTyped(f"ScatterND of {updates} by {indices} into {data}: the updates must be {wanted}")
    _reduction(call)
    return [data]


define("ScatterND", _scatter_nd)


@gradient("ScatterND")
def _(g: Value, data: Value, indices: Value, updates: Value, *, reduction: str = "none") -> tuple[Value, None, Value]:
    to_updates: Value = op.GatherND(g, indices)
    if reduction == "add":
        return g, None, to_updates
    if reduction == "none":
        return op.ScatterND(g, indices, zeros(updates.type)), None, to_updates
    flat = _flattened(data, indices, updates, reduction)
    assert flat.node is not None
    to_data, _, to_rows = cotangents(flat.node, [private.ReshapeTo(g, shape=flat.shape)])
    return private.ReshapeTo(to_data, shape=data.shape), None, private.ReshapeTo(to_rows, shape=updates.shape)


@lower("ScatterND")
def _(lowering: Any, node: Node, data: Value, indices: Value, updates: Value) -> Any:
    reduction = node.attributes.get("reduction", "none")
    if reduction == "none":
        return None
    return private.ReshapeTo(_flattened(data, indices, updates, reduction), shape=data.shape)


def _flattened(data: Value, indices: Value, updates: Value, reduction: str) -> Value:
    """The same as ScatterElements over rows of the data with the named axes made one."""
    depth = indices.shape[-1]
    assert isinstance(depth, int)
    places, rows = flat_places(indices, data.shape)
    count, width = places.type.size, product(data.shape[depth:])
    every = private.ExpandTo(private.ReshapeTo(places, shape=(count, 1)), shape=(count, width))
    taken = private.ReshapeTo(data, shape=(rows, width))
    written = private.ReshapeTo(updates, shape=(count, width))
    value: Value = op.ScatterElements(taken, every, written, axis=0, reduction=reduction)
    return value


def _tensor_scatter(call: Call) -> list[Type]:
    past, update = call.type(0), call.type(1)
    axis = axis_of(call, -2, past.rank)
    rest = (*past.shape[:axis], *past.shape[axis + 1 :])
    if update.dtype != past.dtype or (*update.shape[:axis], *update.shape[axis + 1 :]) != rest or axis == 0:
        raise IllTyped(f"TensorScatter of {update} into {past} along axis {axis}: they may differ only there, not in 0")
    have, room = update.shape[axis], past.shape[axis]
    if isinstance(have, int) and isinstance(room, int) and have > room:
        raise IllTyped(f"TensorScatter of {update} into {past}: {have} elements along axis {axis} into {room}")
    if call.has(2) and call.type(2) != Type("i64", past.shape[:1]):
        raise IllTyped(f"TensorScatter: i64{show(past.shape[:1])} places are expected, not {call.type(2)}")
    if call.get("mode", "linear") not in ("linear", "circular"):
        raise IllTyped(f'TensorScatter in mode "{call.get("mode")}": linear or circular is expected')
    return [past]


define("TensorScatter", _tensor_scatter)


@expansion("TensorScatter")
def _written(past: Value, update: Value, start: Value | None, *, mode: str = "linear", axis: int = -2) -> Any:
    """Batch row b is written from place start[b] on; in a circular cache the places wrap around."""
    rank = past.type.rank
    axis %= rank
    places = private.ReshapeTo(
        counted(update.shape[axis]), shape=tuple(update.shape[axis] if i == axis else 1 for i in range(rank))
    )
    if start is not None:
        places = places + private.ReshapeTo(start, shape=(*past.shape[:1], *(1,) * (rank - 1)))
    if mode == "circular":
        places = places % extent(past.shape[axis])
    return op.ScatterElements(past, private.ExpandTo(places, shape=update.shape), update, axis=axis)


@lower("TensorScatter")
def _(lowering: Any, node: Node, past: Value, update: Value, start: Value | None = None) -> Any:
    return _written(past, update, start, **node.attributes)


@evaluate("TensorScatter")
def _(past: Array, update: Array, start: Array | None = None, *, mode: str = "linear", axis: int = -2) -> Array:
    result = past.copy()
    rows, written = np.moveaxis(result, axis, 1), np.moveaxis(update, axis, 1)
    for row, (into, new) in enumerate(zip(rows, written, strict=True)):
        places = np.arange(len(new)) + (0 if start is None else start[row])
        into[places % len(into) if mode == "circular" else places] = new
    return result
