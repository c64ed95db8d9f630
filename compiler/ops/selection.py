"""Operators whose result is as long as the data says, and the reversal of sequences by their lengths."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlc.compiler.build import current, ints, op, private
from dlc.compiler.graph import Value
from dlc.compiler.ops.rules import BOOL, expect, normal_axis, replaced, show
from dlc.compiler.registry import Call, IllTyped, define, evaluate, gradient, no_gradient
from dlc.compiler.types import Array, Dim, Type, unknown


def _non_zero(call: Call) -> list[Type]:
    x, constant = call.type(0), call.constant(0)
    if not x.rank:
        raise IllTyped(f"NonZero of {x}: a scalar has no places")
    return [Type("i64", (x.rank, unknown() if constant is None else int(np.count_nonzero(constant))))]


define("NonZero", _non_zero)
no_gradient("its result is positions", "NonZero")


def _compress(call: Call) -> list[Type]:
    x, condition = call.type(0), expect(call, 1, BOOL)
    axis = call.get("axis")
    along = x.size if axis is None else x.shape[normal_axis("Compress", axis, x.rank)]
    length = condition.shape[0] if condition.rank == 1 else None
    if length is None or (isinstance(length, int) and isinstance(along, int) and length > along):
        raise IllTyped(f"Compress of {x} by {condition}: a vector of at most {along} is expected")
    constant = call.constant(1)
    count = unknown() if constant is None else int(np.count_nonzero(constant))
    return [x.with_shape((count,) if axis is None else replaced(x.shape, axis % x.rank, count))]


define("Compress", _compress)


@gradient("Compress")
def _(g: Value, x: Value, condition: Value, *, axis: int | None = None) -> Any:
    """What was kept goes back to its place; the rest has zeros."""
    axis, shape = (0, (x.type.size,)) if axis is None else (axis % x.type.rank, x.shape)
    length = g.shape[axis]
    declared = None if isinstance(length, int) else (Type("i64", (1, length)),)
    kept = op.Squeeze(op.NonZero(condition, declared=declared), ints(0))
    return private.ReshapeTo(private.ScatterAdd(g, kept, axis=axis, shape=shape), shape=x.shape)


def _unique(call: Call) -> list[Type]:
    x, axis, constant = call.type(0), call.get("axis"), call.constant(0)
    if axis is not None:
        axis = normal_axis("Unique", axis, x.rank)
    count: Dim = unknown() if constant is None else np.unique(constant, axis=axis).shape[axis or 0]
    along = x.size if axis is None else x.shape[axis]
    y = x.with_shape((count,) if axis is None else replaced(x.shape, axis, count))
    return [y, *(Type("i64", (dim,)) for dim in (count, along, count))][: call.outputs]


define("Unique", _unique)


@gradient("Unique")
def _(gs: list[Value | None], node: Any, x: Value, *, axis: int | None = None) -> Any:
    """An element that occurs once moves; one that occurs more often belongs to its first occurrence."""
    g = gs[0]
    if g is None:
        return None
    axis, shape = (0, (x.type.size,)) if axis is None else (axis % x.type.rank, x.shape)
    found = node
    if len(node.outputs) == 1:
        types = (g.type, Type("i64", g.shape[axis : axis + 1]))
        found = current().add("Unique", (x,), {**node.attributes, "declared": types}, outputs=2)
    return private.ReshapeTo(private.ScatterAdd(g, found.outputs[1], axis=axis, shape=shape), shape=x.shape)


@evaluate("Unique")
def _(x: Array, *, axis: int | None = None, sorted: int = 1) -> list[Array]:
    y, first, inverse, counts = np.unique(x, True, True, True, axis=axis)
    inverse = inverse.reshape(-1)
    if not sorted:  # in the order of first occurrence
        order = np.argsort(first)
        y, first, counts = np.take(y, order, axis or 0), first[order], counts[order]
        inverse = np.argsort(order)[inverse]
    return [y, first, inverse, counts]


def _reverse_sequence(call: Call) -> list[Type]:
    x, lengths = call.type(0), expect(call, 1, frozenset({"i64"}))
    batch, time = call.get("batch_axis", 1), call.get("time_axis", 0)
    if {batch, time} != {0, 1} or x.rank < 2:
        raise IllTyped(f"ReverseSequence of {x}: batch_axis and time_axis are 0 and 1, in either order")
    if lengths.shape != (x.shape[batch],):
        raise IllTyped(f"ReverseSequence of {x}: {show((x.shape[batch],))} lengths are expected, not {lengths}")
    return [x]


define("ReverseSequence", _reverse_sequence)


@gradient("ReverseSequence")
def _(g: Value, x: Value, lengths: Value, *, batch_axis: int = 1, time_axis: int = 0) -> Any:
    return op.ReverseSequence(g, lengths, batch_axis=batch_axis, time_axis=time_axis)


def _non_max_suppression(call: Call) -> list[Type]:
    boxes, scores = expect(call, 0, frozenset({"f32"})), expect(call, 1, frozenset({"f32"}))
    if boxes.rank != 3 or boxes.shape[2] != 4 or scores.rank != 3:
        raise IllTyped(f"NonMaxSuppression of {boxes} and {scores}: [N, boxes, 4] and [N, classes, boxes] are expected")
    if boxes.shape[0] != scores.shape[0] or boxes.shape[1] != scores.shape[2]:
        raise IllTyped(f"NonMaxSuppression of {boxes} and {scores}: as many images and boxes are expected in both")
    return [Type("i64", (unknown(), 3))]


define("NonMaxSuppression", _non_max_suppression)
no_gradient("its result is positions", "NonMaxSuppression")
