"""The private operators, which gradient rules use so that they need not choose a form; `lower` removes them all.

ExpandTo, SumTo and ReshapeTo `at_run` time go between shapes of which the graph does not know that they fit: two
different symbolic sizes may be one number, and one of them may be 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dlc.compiler.build import current, ints, op, private
from dlc.compiler.dims import Dim, Polynomial, Shape, product, quotient
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.rules import expect, flag, show, stretches
from dlc.compiler.registry import Call, IllTyped, define, evaluate, gradient, lower, no_gradient
from dlc.compiler.types import FLOATS, Array, Type


def _gradient(call: Call) -> list[Type]:
    loss, w = call.type(0), call.type(1)
    if loss.shape or not loss.is_float:
        raise IllTyped(f"the gradient of {loss}: a loss is a float scalar")
    return [w]


define("dlc.Gradient", _gradient)
no_gradient("differentiate replaces it, inner ones first", "dlc.Gradient")

define("dlc.Detach", lambda call: [call.type(0)])
no_gradient("it stops gradients", "dlc.Detach")


@evaluate("dlc.Detach")
def _(x: Array) -> Array:
    return x


@lower("dlc.Detach")
def _(lowering: Any, node: Node, x: Value) -> Value:
    return x


# What a gradient is asked by inside a graph: the passes leave it where it is, and equal nodes apart.
define("dlc.Point", lambda call: [call.type(0)])


@gradient("dlc.Point")
def _(g: Value) -> Value:
    return g


@evaluate("dlc.Point")
def _(x: Array, *, site: int = 0) -> Array:
    return x


@lower("dlc.Point")
def _(lowering: Any, node: Node, x: Value) -> Value:
    return x


def _sum_to(call: Call) -> list[Type]:
    x, target = call.type(0), call.type(0).with_shape(call.attributes["shape"])
    if not stretches(target.shape, x.shape, flag(call, "at_run")):
        raise IllTyped(f"dlc.SumTo: {target} does not stretch to {x}")
    return [target]


define("dlc.SumTo", _sum_to)


@gradient("dlc.SumTo")
def _(g: Value, x: Value, *, at_run: int | None = None) -> Any:
    return private.ExpandTo(g, shape=x.shape, at_run=at_run)


def _stretched_axes(small: Shape, large: Shape) -> tuple[int, ...]:
    """The axes of `large` along which `small` is stretched for certain."""
    ahead = len(large) - len(small)
    return (*range(ahead), *(ahead + i for i, dim in enumerate(small) if dim == 1 and large[ahead + i] != 1))


@evaluate("dlc.SumTo")
def _(x: Array, *, shape: tuple[int, ...], at_run: int = 0) -> Array:
    return np.reshape(x.sum(_stretched_axes(shape, x.shape), dtype=x.dtype), shape)


@lower("dlc.SumTo")
def _(lowering: Any, node: Node, x: Value) -> Any:
    shape: Shape = node.attributes["shape"]
    axes = _stretched_axes(shape, x.shape)
    ahead = x.type.rank - len(shape)
    if any(dim not in (1, x.shape[ahead + i]) for i, dim in enumerate(shape)):
        return _sum_at_run(lowering, x, shape, axes)
    if not axes:
        return x
    if axes == (0,) and ahead == 1 and x.type.rank == 2 and x.dtype in ("f32", "f64") and lowering.knows(x.shape[0]):
        # The gradient of a bias. A session of [64, 256] alone: 5 us instead of 12 (bench/forms/dense.py).
        return private.ExpandTo(np.ones((), x.type.numpy), shape=x.shape[:1]) @ x
    summed: Value = op.ReduceSum(x, ints(*axes), keepdims=int(len(axes) > ahead))
    return op.Squeeze(summed, ints(*range(ahead))) if 0 < ahead < len(axes) else summed


def _sum_at_run(lowering: Any, x: Value, shape: Shape, certain: Sequence[int]) -> Any:
    """A sum over the axes that turn out to be stretched: where the target's size is 1."""
    ahead = x.type.rank - len(shape)
    open_axes = [ahead + i for i, dim in enumerate(shape) if not isinstance(dim, int) and dim != x.shape[ahead + i]]
    axes: Any = ints(*certain)
    if open_axes:
        ones = op.Equal(lowering.shape([shape[axis - ahead] for axis in open_axes]), ints(1))
        found = op.Compress(ints(*open_axes), ones)
        axes = op.Concat(axes, found, axis=0) if certain else found
    kept = x.type.with_shape((*(1,) * ahead, *shape))
    summed: Value = op.ReduceSum(x, axes, keepdims=1, noop_with_empty_axes=1, declared=(kept,))
    return op.Squeeze(summed, ints(*range(ahead))) if ahead else summed


def _expand_to(call: Call) -> list[Type]:
    x, target = call.type(0), call.type(0).with_shape(call.attributes["shape"])
    if not stretches(x.shape, target.shape, flag(call, "at_run")):
        raise IllTyped(f"dlc.ExpandTo: {x} does not stretch to {target}")
    return [target]


define("dlc.ExpandTo", _expand_to)


@gradient("dlc.ExpandTo")
def _(g: Value, x: Value, *, at_run: int | None = None) -> Any:
    return private.SumTo(g, shape=x.shape, at_run=at_run)


@evaluate("dlc.ExpandTo")
def _(x: Array, *, shape: tuple[int, ...], at_run: int = 0) -> Array:
    return np.broadcast_to(x, shape)


@lower("dlc.ExpandTo")
def _(lowering: Any, node: Node, x: Value) -> Any:
    shape: Shape = node.attributes["shape"]
    if x.shape == shape:
        return x
    declared = (node.output.type,) if node.attributes.get("at_run") else None
    return op.Expand(x, lowering.shape(shape), declared=declared)


def _reshape_to(call: Call) -> list[Type]:
    x, target = call.type(0), call.type(0).with_shape(call.attributes["shape"])
    known = not flag(call, "at_run") or (x.is_static and target.is_static)
    if known and x.size != target.size:
        raise IllTyped(f"{x} has {x.size} elements, {show(target.shape)} has {target.size}")
    return [target]


define("dlc.ReshapeTo", _reshape_to)


@gradient("dlc.ReshapeTo")
def _(g: Value, x: Value, *, at_run: int | None = None) -> Any:
    return private.ReshapeTo(g, shape=x.shape, at_run=at_run)


@evaluate("dlc.ReshapeTo")
def _(x: Array, *, shape: tuple[int, ...], at_run: int = 0) -> Array:
    return x.reshape(shape)


@lower("dlc.ReshapeTo")
def _(lowering: Any, node: Node, x: Value) -> Any:
    """The shape is a constant if at most one dimension is neither a number nor the input's in that place."""
    shape: Shape = node.attributes["shape"]
    if x.shape == shape:
        return x
    if node.attributes.get("at_run"):
        return op.Reshape(x, lowering.shape(shape), allowzero=1, declared=(node.output.type,))
    if node.output.type.is_static:
        return op.Reshape(x, ints(*node.output.type.static_shape()), allowzero=1 if 0 in shape else None)
    if 0 in shape:
        return op.Reshape(x, lowering.shape(shape), allowzero=1)
    target = [_dim_code(dim, x.shape[i : i + 1]) for i, dim in enumerate(shape)]
    if target.count(-1) == 1 and not _divides(x.type.size, shape, target):
        return op.Reshape(x, lowering.shape(shape), allowzero=1, declared=(node.output.type,))
    if target.count(-1) > 1:
        return op.Reshape(x, lowering.shape(shape), allowzero=1)
    return op.Reshape(x, ints(*target))


def _divides(size: Dim, shape: Shape, target: Sequence[int]) -> bool:
    """Whether the number of elements says what the one dimension without a code is."""
    others = product([dim for dim, code in zip(shape, target, strict=True) if code != -1])
    return others != 0 and quotient(size, others) * others == size


def _dim_code(dim: Dim, same_place: Shape) -> int:
    """What Reshape takes for a dimension: itself, 0 to copy the input's, or -1 for the rest."""
    if isinstance(dim, int):
        return dim
    return 0 if same_place == (dim,) else -1


def _size(call: Call) -> list[Type]:
    if not isinstance(call.attributes["dim"], int | Polynomial):
        raise IllTyped("dlc.Size needs a dimension")
    return [Type("i64", ())]


define("dlc.Size", _size)
no_gradient("its result is an integer", "dlc.Size")


@evaluate("dlc.Size")
def _(*, dim: int) -> Array:
    return np.array(dim, np.int64)


@lower("dlc.Size")
def _(lowering: Any, node: Node) -> Any:
    return lowering.dim(node.attributes["dim"])


def _scatter_add(call: Call) -> list[Type]:
    updates, indices = call.type(0), expect(call, 1, frozenset({"i32", "i64"}))
    axis, shape = call.attributes["axis"], call.attributes["shape"]
    gathered = (*shape[:axis], *indices.shape, *shape[axis + 1 :])
    if not 0 <= axis < len(shape) or updates.shape != gathered:
        raise IllTyped(f"dlc.ScatterAdd of {updates} by {indices} along axis {axis} of {show(shape)}")
    return [updates.with_shape(shape)]


define("dlc.ScatterAdd", _scatter_add)


@gradient("dlc.ScatterAdd")
def _(g: Value, updates: Value, indices: Value, *, axis: int, shape: Shape) -> tuple[Value, None]:
    return op.Gather(g, indices, axis=axis), None


@evaluate("dlc.ScatterAdd")
def _(updates: Array, indices: Array, *, axis: int, shape: tuple[int, ...]) -> Array:
    result = np.zeros(shape, updates.dtype)
    place: Any = (*(slice(None),) * axis, indices)
    np.add.at(result, place, updates)
    return result


@lower("dlc.ScatterAdd")
def _(lowering: Any, node: Node, updates: Value, indices: Value) -> Any:
    """ScatterElements, whose CPU kernel adds duplicates in order; ScatterND's races on them."""
    axis: int = node.attributes["axis"]
    shape: Shape = node.attributes["shape"]
    flat = (*shape[:axis], indices.type.size, *shape[axis + 1 :])
    column = tuple(indices.type.size if i == axis else 1 for i in range(len(shape)))
    rows, places = private.ReshapeTo(updates, shape=flat), private.ReshapeTo(indices, shape=column)
    zero = private.ExpandTo(np.zeros((), updates.type.numpy), shape=shape)
    every = private.ExpandTo(places, shape=flat)
    return op.ScatterElements(zero, every, rows, axis=axis, reduction="add")


def _finite(call: Call) -> list[Type]:
    for index in range(len(call.inputs)):
        expect(call, index, FLOATS)
    return [Type("bool", ())]


define("dlc.Finite", _finite)
no_gradient("its result is a truth value", "dlc.Finite")


@evaluate("dlc.Finite")
def _(*values: Array) -> Array:
    return np.array(all(np.isfinite(value).all() for value in values))


@lower("dlc.Finite")
def _(lowering: Any, node: Node, *values: Value) -> Any:
    """One sum a value and one test of their total: an infinity or NaN anywhere makes the total one.

    A sum that overflows counts as not finite: values of that size are past saving.
    """
    if not values:
        return current().constant(True, "bool")
    wide = "f64" if any(value.dtype == "f64" for value in values) else "f32"
    sums = []
    for value in values:
        short = value.dtype in ("f16", "bf16")  # their sums overflow at harmless values
        total = op.Cast(value, to="f32") if short else value
        if value.shape:
            total = op.ReduceSum(total, keepdims=0)
        sums.append(total if total.dtype == wide else op.Cast(total, to=wide))
    total = sums[0] if len(sums) == 1 else op.Sum(*sums)
    return op.Equal(total - total, 0.0)
