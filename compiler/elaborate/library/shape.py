"""Functions that move elements or select them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dlc.compiler.build import current, ints, op, private
from dlc.compiler.elaborate.context import Elaborator
from dlc.compiler.elaborate.entities import describe
from dlc.compiler.elaborate.library.functions import axes_of, axis_of, function, tensor_of
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value
from dlc.compiler.types import Dim, Polynomial, product


@function("size")
def size(x: Any, axis: Any) -> Dim:
    """The size of an axis: a compile-time number, or the dimension's name."""
    value = tensor_of(x, "size")
    return value.shape[axis_of(value, axis)]


@function("same_shape")
def same_shape(a: Any, b: Any) -> bool:
    """Do two tensors agree in every dimension?"""
    return tensor_of(a, "same_shape").shape == tensor_of(b, "same_shape").shape


@function("flatten")
def flatten(x: Any) -> Value:
    """All but the first axis in one: `[B, C, H, W]` is `[B, C * H * W]`."""
    value = tensor_of(x, "flatten")
    if not value.shape:
        raise Problem("E0301", "`flatten` needs an axis to keep", f"this is {value.type}")
    return private.ReshapeTo(value, shape=(value.shape[0], product(value.shape[1:])))


@function("reshape")
def reshape(x: Any, shape: Sequence[Any]) -> Value:
    value = tensor_of(x, "reshape")
    dims = tuple(dimension(each) for each in shape)
    if product(dims) != value.type.size:
        held, asked = value.type.size, product(dims)
        raise Problem("E0301", f"{value.type} cannot take that shape", f"it holds {held} elements, not {asked}")
    return private.ReshapeTo(value, shape=dims)


def dimension(value: Any) -> Dim:
    if isinstance(value, bool) or not isinstance(value, int | Polynomial):
        raise Problem("E0302", "a dimension is an integer", f"this is {describe(value)}")
    return value


@function("squeeze")
def squeeze(x: Any, axis: Any) -> Value:
    value = tensor_of(x, "squeeze")
    axes = axes_of(value, axis) or ()
    for each in axes:
        if value.shape[each] != 1:
            raise Problem("E0301", f"axis {each} of {value.type} is {value.shape[each]}, not 1")
    return op.Squeeze(value, ints(*axes))


@function("transpose")
def transpose(x: Any, axes: Sequence[int] | None = None) -> Value:
    """The axes in another order; without one, the last two change places."""
    value = tensor_of(x, "transpose")
    order = list(range(value.type.rank))
    if axes is None:
        if len(order) < 2:
            raise Problem("E0301", "`transpose` needs two axes", f"this is {value.type}")
        order[-2:] = order[:-3:-1]
    else:
        order = [axis_of(value, each) for each in axes]
        if sorted(order) != list(range(value.type.rank)):
            raise Problem("E0303", f"an order of {value.type.rank} axes is wanted", f"this is {list(axes)}")
    return op.Transpose(value, perm=tuple(order))


@function("concat")
def concat(x: Any, axis: int = -1) -> Value:
    parts = _list_of(x, "concat")
    return op.Concat(*parts, axis=axis_of(parts[0], axis))


@function("stack")
def stack(x: Any, axis: int = 0) -> Value:
    parts = _list_of(x, "stack")
    at = axis if axis >= 0 else axis + parts[0].type.rank + 1
    return op.Concat(*(op.Unsqueeze(part, ints(at)) for part in parts), axis=at)


def _list_of(x: Any, what: str) -> list[Value]:
    if not isinstance(x, list | tuple) or not x:
        raise Problem("E0302", f"`{what}` joins a list of tensors", f"this is {describe(x)}")
    parts = [tensor_of(each, what) for each in x]
    for part in parts[1:]:
        if part.dtype != parts[0].dtype or part.type.rank != parts[0].type.rank:
            raise Problem("E0301", f"`{what}` joins tensors of one kind", f"{parts[0].type} and {part.type}")
    return parts


@function("split")
def split(x: Any, n: int, axis: int = -1) -> tuple[Value, ...]:
    """n equal parts."""
    value = tensor_of(x, "split")
    at = axis_of(value, axis)
    whole = value.shape[at]
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise Problem("E0303", "`split` makes a number of parts, 1 or more", f"this is {describe(n)}")
    if not isinstance(whole, int) or whole % n:
        raise Problem("E0301", f"axis {at} of {value.type} cannot be split into {n} equal parts")
    return tuple(op.Split(value, ints(*[whole // n] * n), axis=at, outputs=n))


@function("gather")
def gather(x: Any, index: Any) -> Value:
    """Rows of x: `[V, D]` at `i64[...]` is `[..., D]`."""
    value, at = tensor_of(x, "gather"), tensor_of(index, "gather")
    if at.dtype not in ("i64", "i32"):
        raise Problem("E0302", "`gather` selects by integers", f"the index is {at.type}")
    return op.Gather(value, at, axis=0)


@function("one_hot")
def one_hot(e: Elaborator, index: Any, count: int) -> Value:
    at = tensor_of(index, "one_hot")
    values = current().constant(np.array([0, 1], np.float64), e.mode.working)
    return op.OneHot(at, current().constant(count, "i64"), values, axis=-1)


@function("on_axis")
def onaxis_of(x: Any, bias: Any, axis: int) -> Value:
    """x + bias, with bias along one axis of x."""
    value, each = tensor_of(x, "on_axis"), tensor_of(bias, "on_axis")
    return value + _along(each, value, axis_of(value, axis))


def _along(vector: Value, x: Value, axis: int) -> Value:
    behind = x.type.rank - axis - 1
    if not behind:
        return vector
    return private.ReshapeTo(vector, shape=(*vector.shape, *[1] * behind))
