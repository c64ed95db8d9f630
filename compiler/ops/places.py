"""What undoes the moving of elements where only a run tells how far they were moved.

An operator that moves elements moves the numbers of their places in the same way: each element's cotangent then goes
back to the place that it came from. Where the amounts can be computed, as of a Slice with step 1, zeros are set around
instead, which costs less.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dlc.compiler.build import current, ints, op, private
from dlc.compiler.dims import Dim
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.extents import extent_vector, extents
from dlc.compiler.ops.rules import as_shape, reduce_sum


def by_places(g: Value, node: Node, x: Value) -> Value:
    """The cotangent of `x`, the first input of a node that moves and copies its elements."""
    count = x.type.size
    places = op.Range(0, private.Size(dim=count), 1)
    numbers = private.ReshapeTo(places, shape=x.shape)
    declared = (node.output.type.with_dtype("i64"),)
    moved = current().add(node.op, (numbers, *node.inputs[1:]), {**node.attributes, "declared": declared}).output
    flat = (g.type.size,)
    scattered = private.ScatterAdd(
        private.ReshapeTo(g, shape=flat), private.ReshapeTo(moved, shape=flat), axis=0, shape=(count,)
    )
    value: Value = private.ReshapeTo(scattered, shape=x.shape)
    return value


def taken_by_places(node: Node, x: Value) -> Value:
    """The result of a node that moves elements of `x`, its first input, and sets zeros beside them."""
    count = x.type.size
    numbers = private.ReshapeTo(op.Range(0, private.Size(dim=count), 1) + 1, shape=x.shape)  # 0 is where none is
    declared = (node.output.type.with_dtype("i64"),)
    moved = current().add(node.op, (numbers, *node.inputs[1:]), {**node.attributes, "declared": declared}).output
    flat = op.Concat(np.zeros(1, x.type.numpy), private.ReshapeTo(x, shape=(count,)), axis=0)
    value: Value = op.Gather(flat, moved, axis=0)
    return value


def sliced_at_run(g: Value, node: Node, x: Value) -> Value:
    """Of a Slice whose bounds, or what they reach, depend on data."""
    starts, _, axes, steps = (*node.inputs[1:], None, None)[:4]
    assert starts is not None
    length = starts.shape[0]
    along = extents(axes) if axes is not None else tuple(range(length)) if isinstance(length, int) else None
    plain = steps is None or (steps.constant is not None and (steps.constant == 1).all())
    if along is None or not plain:
        return by_places(g, node, x)
    before: list[Value | None] = [None] * x.type.rank
    for i, axis in enumerate(along):
        assert isinstance(axis, int), "axes are numbers"
        place = axis % x.type.rank
        size = private.Size(dim=x.shape[place])
        start = op.Cast(op.Gather(starts, np.array(i)), to="i64")
        before[place] = op.Max(op.Min(op.Where(start < 0, start + size, start), size), np.array(0))
    return _surrounded(g, before, x)


def _surrounded(g: Value, before: Sequence[Value | None], x: Value) -> Value:
    """`g` at places of `x`, zeros around it."""
    first: list[Value] = []
    last: list[Value] = []
    for axis, start in enumerate(before):
        if start is None:
            first.append(current().constant(ints(0)))
            last.append(current().constant(ints(0)))
            continue
        rest = _size(x.shape[axis]) - _size(g.shape[axis]) - start
        first.append(op.Unsqueeze(start, ints(0)))
        last.append(op.Unsqueeze(rest, ints(0)))
    value: Value = op.Pad(g, op.Concat(*first, *last, axis=0), declared=(x.type,))
    return value


def _size(dim: Dim) -> Value:
    value: Value = private.Size(dim=dim)
    return value


def cut_at_run(g: Value, node: Node, x: Value) -> Value:
    """Of a Pad with numbers, whose amounts depend on data: what it set around is cut off."""
    amounts, axes = node.inputs[1], node.inputs[3] if len(node.inputs) > 3 else None
    assert amounts is not None
    value: Value = op.Pad(g, -amounts, None, axes, declared=(x.type,))
    return value


def untiled_at_run(g: Value, node: Node, x: Value) -> Value:
    """Of a Tile whose numbers of repeats depend on data: the copies are added up."""
    repeats = node.inputs[1]
    assert repeats is not None
    rank = x.type.rank
    pairs = op.Concat(op.Unsqueeze(repeats, ints(1)), op.Unsqueeze(extent_vector(x.shape), ints(1)), axis=1)
    shape = [dim for size in x.shape for dim in (current().unknown(), size)]
    apart = op.Reshape(g, op.Reshape(pairs, ints(-1)), allowzero=1, declared=(g.type.with_shape(shape),))
    return as_shape(reduce_sum(apart, *range(0, 2 * rank, 2)), x.shape)


__all__ = ["by_places", "cut_at_run", "sliced_at_run", "taken_by_places", "untiled_at_run"]
