"""Functions that move elements or select them."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlc.compiler.build import current, ints, op, private
from dlc.compiler.elaborate.context import Elaborator
from dlc.compiler.elaborate.entities import describe
from dlc.compiler.elaborate.kinds import Axes, Axis, Count, Extents, Integers, Tensor
from dlc.compiler.elaborate.library.functions import axes_of, axis_of, function, tensor_of
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value
from dlc.compiler.types import Dim, Polynomial, product


@function("size")
def size(x: Tensor, axis: Axis) -> Dim:
    """The size of an axis: a compile-time number, or the dimension's name."""
    return x.shape[axis_of(x, axis)]


@function("same_shape")
def same_shape(a: Tensor, b: Tensor) -> bool:
    """Do two tensors agree in every dimension?"""
    return a.shape == b.shape


@function("flatten")
def flatten(x: Tensor) -> Value:
    """All but the first axis in one: `[B, C, H, W]` is `[B, C * H * W]`."""
    if not x.shape:
        raise Problem("E0301", "`flatten` needs an axis to keep", f"this is {x.type}")
    return private.ReshapeTo(x, shape=(x.shape[0], product(x.shape[1:])))


@function("reshape")
def reshape(x: Tensor, shape: Extents) -> Value:
    """The same elements in another shape: `reshape(x, [B, 4, 7])`."""
    held, asked = x.type.size, product(shape)
    if held != asked:
        text = f"{x.type} cannot take that shape"
        raise Problem("E0301", text, f"it holds {held} elements, not {asked}", argument="shape")
    return private.ReshapeTo(x, shape=tuple(shape))


@function("squeeze")
def squeeze(x: Tensor, axis: Axes) -> Value:
    """x without axes that are 1."""
    axes = axes_of(x, axis) or ()
    for each in axes:
        if x.shape[each] != 1:
            raise Problem("E0301", f"axis {each} of {x.type} is {x.shape[each]}, not 1", argument="axis")
    return op.Squeeze(x, ints(*axes))


@function("transpose")
def transpose(x: Tensor, axes: Axes | None = None) -> Value:
    """The axes in another order; without one, the last two change places."""
    order = list(range(x.type.rank))
    if axes is None:
        if len(order) < 2:
            raise Problem("E0301", "`transpose` needs two axes", f"this is {x.type}")
        order[-2:] = order[:-3:-1]
    else:
        order = [axis_of(x, each, "axes") for each in (axes if isinstance(axes, list | tuple) else [axes])]
        if sorted(order) != list(range(x.type.rank)):
            text = f"an order of {x.type.rank} axes is wanted"
            raise Problem("E0303", text, f"this is {order}", argument="axes")
    return op.Transpose(x, perm=tuple(order))


@function("concat")
def concat(x: Any, axis: Axis = -1) -> Value:
    """The tensors of a list one behind the other along an axis."""
    parts = _list_of(x, "concat")
    return op.Concat(*parts, axis=axis_of(parts[0], axis))


@function("stack")
def stack(x: Any, axis: int = 0) -> Value:
    """The tensors of a list side by side along a new axis."""
    return stacked(x, axis, "stack")


def stacked(x: Any, axis: int, what: str) -> Value:
    """`stack`, as a part of the function `what`; raises Problem."""
    parts = _list_of(x, what)
    rank = parts[0].type.rank + 1
    if isinstance(axis, Polynomial) or not -rank <= axis < rank:
        raise Problem("E0303", f"there is no axis {axis} to stack along", f"there will be {rank}", argument="axis")
    at = axis % rank
    return op.Concat(*(op.Unsqueeze(part, ints(at)) for part in parts), axis=at)


def _list_of(x: Any, what: str) -> list[Value]:
    if not isinstance(x, list | tuple) or not x:
        raise Problem("E0302", f"`{what}` wants a list of one tensor or more", f"this is {describe(x)}")
    parts = [tensor_of(each, what) for each in x]
    for part in parts[1:]:
        if part.dtype != parts[0].dtype or part.type.rank != parts[0].type.rank:
            raise Problem("E0301", f"`{what}` joins tensors of one kind", f"{parts[0].type} and {part.type}")
    return parts


@function("split")
def split(x: Tensor, n: Count, axis: Axis = -1) -> tuple[Value, ...]:
    """n equal parts."""
    at = axis_of(x, axis)
    whole = x.shape[at]
    if not isinstance(whole, int) or whole % n or (n > 1 and n > whole):
        text = f"axis {at} of {x.type} cannot be split into {n} equal parts"
        raise Problem("E0301", text, argument="n")
    return (x,) if n == 1 else tuple(op.Split(x, ints(*[whole // n] * n), axis=at, outputs=n))


@function("gather")
def gather(e: Elaborator, x: Tensor, index: Integers) -> Value:
    """Rows of x: `[V, D]` at `i64[...]` is `[..., D]`."""
    if not x.shape:
        raise Problem("E0301", "`gather` needs an axis to select along", f"this is {x.type}", argument="x")
    e.looked_up("gather", index, x.shape[0])
    return op.Gather(x, index, axis=0)


@function("one_hot")
def one_hot(e: Elaborator, index: Integers, count: Count) -> Value:
    """`i64[...]` as `[..., count]`: 1 at the index, 0 elsewhere."""
    e.looked_up("one_hot", index, count)
    values = current().constant(np.array([0, 1], np.float64), e.mode.working)
    return op.OneHot(index, current().constant(count, "i64"), values, axis=-1)


@function("on_axis")
def on_axis(x: Tensor, bias: Tensor, axis: Axis) -> Value:
    """x + bias, with bias along one axis of x."""
    at = axis_of(x, axis)
    wanted = x.type.with_shape(x.shape[at : at + 1])
    if bias.type != wanted:
        raise Problem("E0301", f"`on_axis` {at} of {x.type} adds {wanted}", f"this is {bias.type}", argument="bias")
    behind = x.type.rank - at - 1
    return x + (private.ReshapeTo(bias, shape=(*bias.shape, *[1] * behind)) if behind else bias)
