"""Integer tensors whose elements are dimensions: read from the graph, and built into it.

A shape that a model computes (`Concat(Shape(x)[0:1], [10])`) is known symbolically, so that Reshape, Expand, Range and
their like are typed although the numbers come at run time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from dlc.compiler.build import current, ints, op, private
from dlc.compiler.dims import Dim, quotient, stretched
from dlc.compiler.graph import Node, Value

_DEPTH = 32  # no shape is computed in more steps; a longer chain is simply not known
_LONGEST = 64  # no tensor has so many dimensions
_ARITHMETIC: dict[str, Callable[[Dim, Dim], Dim]] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": lambda a, b: quotient(a, b),
}


def extents(value: Value | None) -> tuple[Dim, ...] | None:
    """The elements of an integer scalar or vector as dimensions; None where they are not known."""
    return None if value is None else _extents(value, _DEPTH, {})


def extent_vector(dims: Sequence[Dim]) -> Value:
    """The i64 vector of dimensions: a constant, or joined from `dlc.Size` where one is symbolic."""
    parts: list[Value] = []
    fixed: list[int] = []
    for dim in dims:
        if isinstance(dim, int):
            fixed.append(dim)
            continue
        if fixed:
            parts.append(current().constant(ints(*fixed)))
            fixed = []
        parts.append(op.Unsqueeze(private.Size(dim=dim), ints(0)))
    if fixed or not parts:
        parts.append(current().constant(ints(*fixed)))
    joined: Value = parts[0] if len(parts) == 1 else op.Concat(*parts, axis=0)
    return joined


def _extents(value: Value, depth: int, seen: dict[Value, tuple[Dim, ...] | None]) -> tuple[Dim, ...] | None:
    if value not in seen:
        node = value.node
        known = node is not None and depth > 0 and value.dtype in ("i64", "i32") and value.type.rank <= 1
        seen[value] = _read(node, depth - 1, seen) if known and node is not None else None
    return seen[value]


def _read(node: Node, depth: int, seen: dict[Value, tuple[Dim, ...] | None]) -> tuple[Dim, ...] | None:
    if node.op == "Constant":
        return tuple(int(element) for element in np.atleast_1d(node.attributes["value"]))
    if node.op == "dlc.Size":
        return (node.attributes["dim"],)
    source = node.inputs[0] if node.inputs else None
    if node.op == "Shape" and source is not None:
        return source.shape[slice(node.attributes.get("start", 0), node.attributes.get("end"))]
    if node.op == "Size" and source is not None:
        return (source.type.size,)
    if node.op == "Where":
        return _chosen(node, depth, seen)
    if node.op not in _ARITHMETIC and node.op not in _MOVES:
        return None
    inputs = [None if value is None else _extents(value, depth, seen) for value in node.inputs]
    if any(dims is None for dims in inputs):
        return None
    known = [dims for dims in inputs if dims is not None]
    if node.op in _ARITHMETIC:
        left, right = known
        n = max(len(left), len(right))
        pairs = zip(left * (n if len(left) == 1 else 1), right * (n if len(right) == 1 else 1), strict=True)
        try:
            return tuple(_ARITHMETIC[node.op](a, b) for a, b in pairs)
        except ZeroDivisionError:
            return None
    return _MOVES[node.op](node, known)


def _chosen(node: Node, depth: int, seen: dict[Value, tuple[Dim, ...] | None]) -> tuple[Dim, ...] | None:
    """`other` where `size` is 1, and else `size`: what the two broadcast to."""
    test, other, size = node.inputs
    if test is None or other is None or size is None or test.node is None or test.node.op != "Equal":
        return None
    left, one = test.node.inputs
    dims, others = _extents(size, depth, seen), _extents(other, depth, seen)
    if left is not size or one is None or one.constant is None or (one.constant != 1).any():
        return None
    if dims is None or others is None or len(dims) != len(others):
        return None
    return tuple(stretched(a, b) for a, b in zip(dims, others, strict=True))


def _concat(_: Node, inputs: list[tuple[Dim, ...]]) -> tuple[Dim, ...] | None:
    return tuple(dim for dims in inputs for dim in dims)


def _same(_: Node, inputs: list[tuple[Dim, ...]]) -> tuple[Dim, ...] | None:
    return inputs[0]


def _gather(_: Node, inputs: list[tuple[Dim, ...]]) -> tuple[Dim, ...] | None:
    data, indices = inputs
    if not all(isinstance(index, int) and -len(data) <= index < len(data) for index in indices):
        return None
    return tuple(data[index] for index in indices if isinstance(index, int))


def _slice(_: Node, inputs: list[tuple[Dim, ...]]) -> tuple[Dim, ...] | None:
    data, *bounds = inputs
    starts, ends, steps = bounds[0], bounds[1], bounds[3] if len(bounds) > 3 else (1,)
    start, end, step = starts[0], ends[0], steps[0]
    if not isinstance(start, int) or not isinstance(end, int) or step != 1:
        return None
    return data[start:end]


def _expanded(node: Node, inputs: list[tuple[Dim, ...]]) -> tuple[Dim, ...] | None:
    size = node.output.shape[0] if node.output.shape else 1
    if not isinstance(size, int) or size > _LONGEST:
        return None
    return inputs[0] * size if len(inputs[0]) == 1 else inputs[0]


_MOVES: dict[str, Callable[[Node, list[tuple[Dim, ...]]], tuple[Dim, ...] | None]] = {
    "Concat": _concat,
    "Gather": _gather,
    "Slice": _slice,
    "Identity": _same,
    "Cast": _same,
    "Squeeze": _same,
    "Unsqueeze": _same,
    "Reshape": _same,
    "dlc.ReshapeTo": _same,
    "dlc.ExpandTo": _expanded,
    "Expand": _expanded,
}
