"""Rules for operators that move elements: transpositions and reshapes."""

from __future__ import annotations

from dlc.compiler.build import op, private
from dlc.compiler.graph import Node, Value
from dlc.compiler.passes.match import Sole, argument, attributes, rule
from dlc.compiler.types import Shape

_RESHAPES = ("Reshape", "Squeeze", "Unsqueeze", "Flatten", "dlc.ReshapeTo")


def permutation(value: Value) -> tuple[int, ...]:
    """The `perm` of the Transpose that makes a value."""
    given = attributes(value).get("perm")
    return tuple(given) if given is not None else tuple(reversed(range(value.type.rank)))


@rule("Transpose")
def transpose(node: Node, x: Value) -> Value | None:
    """Two transpositions are one, and one that keeps the order is none."""
    order = permutation(node.output)
    if order == tuple(range(len(order))):
        return x
    inner = argument(x, "Transpose")
    if inner is not None:
        first = permutation(x)
        return op.Transpose(inner, perm=tuple(first[axis] for axis in order))
    copied = argument(x, "dlc.ExpandTo")
    if copied is not None and not copied.shape:
        return private.ExpandTo(copied, shape=node.output.shape)
    return None


@rule("Transpose")
def transpose_of_units(node: Node, x: Value) -> Value | None:
    """Moving only axes of size 1 keeps the elements in order: a reshape, which copies nothing."""
    moved = [axis for axis in permutation(node.output) if x.shape[axis] != 1]
    shape = node.output.shape
    return private.ReshapeTo(x, shape=shape) if moved == sorted(moved) and _is_easy(shape) else None


@rule(*_RESHAPES)
def reshape(node: Node, x: Value, *_: Value) -> Value | None:
    """Reshapes to the same type; the first of two; a scalar, stretched or not, is stretched to the new shape.

    Two become one only where the result has at most one symbolic dimension, so that its shape is a constant. One that
    may fail `at_run` time stays.
    """
    shape = node.output.shape
    if x.shape == shape:
        return x
    source = x
    at_run = attributes(node.output).get("at_run")
    while source.op in _RESHAPES and source.node is not None and source.node.inputs[0] is not None:
        if "declared" in source.node.attributes or source.node.attributes.get("at_run"):
            break
        source = source.node.inputs[0]
    if source.shape == shape:
        return source
    copied = source if not source.shape else argument(source, "dlc.ExpandTo")
    if copied is not None and not copied.shape:
        return private.ExpandTo(copied, shape=shape)
    return private.ReshapeTo(source, shape=shape, at_run=at_run) if source is not x and _is_easy(shape) else None


def _is_easy(shape: Shape) -> bool:
    return sum(not isinstance(dim, int) for dim in shape) <= 1


@rule(*_RESHAPES)
def reshaped_sum(node: Node, x: Value, *_: Value, sole: Sole) -> Value | None:
    """A sum that is reshaped only to keep its axes, or to drop them, does so itself."""
    if x.op not in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceSumSquare") or x.node is None or not sole(x):
        return None
    kept = attributes(x) | {"keepdims": 0 if attributes(x).get("keepdims", 1) else None}
    summed: Value = op[x.op](*x.node.inputs, **kept)
    return summed
