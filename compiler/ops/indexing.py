"""Operators that read or write at computed places, and those that make integer tensors of shapes and positions."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlc.compiler.build import current, ints, op, private
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.extents import extents
from dlc.compiler.ops.rules import NUMBERS, axis_of, expect, reduce_sum, zeros
from dlc.compiler.ops.shape import known
from dlc.compiler.registry import Call, IllTyped, define, gradient, no_gradient
from dlc.compiler.types import Dim, Shape, Type, dtype_of, product, quotient, unknown

INDEX = frozenset({"i32", "i64"})
_LONGEST = 1 << 20  # positions that are held; more are counted at run time


def _gather(call: Call) -> list[Type]:
    data, indices = call.type(0), expect(call, 1, INDEX)
    axis = axis_of(call, 0, data.rank)
    places, length = call.constant(1), data.shape[axis]
    if (
        places is not None
        and isinstance(length, int)
        and places.size
        and not (-length <= places.min() and places.max() < length)
    ):
        raise IllTyped(f"Gather from {data} along axis {axis}: the place {places.max()} is outside of it")
    return [data.with_shape((*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :]))]


define("Gather", _gather)


@gradient("Gather")
def _(g: Value, data: Value, indices: Value, *, axis: int = 0) -> Any:
    axis %= data.type.rank
    return private.ScatterAdd(g, indices, axis=axis, shape=data.shape)


def _gather_elements(call: Call) -> list[Type]:
    data, indices = call.type(0), expect(call, 1, INDEX)
    axis = axis_of(call, 0, data.rank)
    beside(call.op, data, indices, axis)
    return [data.with_shape(indices.shape)]


def beside(name: str, data: Type, indices: Type, axis: int) -> None:
    """Beside the axis, indices may reach less far than the data, never farther."""
    if data.rank != indices.rank:
        raise IllTyped(f"{name} of {data} by {indices}: the ranks differ")
    for i, (have, want) in enumerate(zip(data.shape, indices.shape, strict=True)):
        if i != axis and have != want and not (isinstance(have, int) and isinstance(want, int) and want <= have):
            raise IllTyped(f"{name} of {data} by {indices} along axis {axis}: axis {i} has {have} against {want}")


define("GatherElements", _gather_elements)


@gradient("GatherElements")
def _(g: Value, data: Value, indices: Value, *, axis: int = 0) -> Any:
    return op.ScatterElements(zeros(data.type), indices, g, axis=axis, reduction="add")


def depth_of(call: Call, data: Type, indices: Type) -> int:
    """How many axes of the data an index tuple of GatherND or ScatterND names."""
    if not indices.rank or not isinstance(indices.shape[-1], int) or not 0 < indices.shape[-1] <= data.rank:
        raise IllTyped(f"{call.op} by {indices}: its last axis must hold between 1 and {data.rank} places in {data}")
    return indices.shape[-1]


def _gather_nd(call: Call) -> list[Type]:
    data, indices = call.type(0), expect(call, 1, frozenset({"i64"}))
    batch: int = call.get("batch_dims", 0)
    if not 0 <= batch < min(data.rank, max(indices.rank, 1)) or data.shape[:batch] != indices.shape[:batch]:
        raise IllTyped(f"GatherND of {data} by {indices} with batch_dims = {batch}: the first axes of both must agree")
    depth = depth_of(call, data.with_shape(data.shape[batch:]), indices)
    return [data.with_shape((*indices.shape[:-1], *data.shape[batch + depth :]))]


define("GatherND", _gather_nd)


@gradient("GatherND")
def _(g: Value, data: Value, indices: Value, *, batch_dims: int = 0) -> Any:
    """The tuples become places in the data with their axes made one, for duplicates to add up safely."""
    places, count = flat_places(indices, data.shape, batch_dims)
    shape = (count, *data.shape[batch_dims + _depth(indices) :])
    return private.ReshapeTo(private.ScatterAdd(g, places, axis=0, shape=shape), shape=data.shape)


def flat_places(indices: Value, shape: Shape, batch: int = 0) -> tuple[Value, Dim]:
    """Index tuples into `shape` as places in it with the axes that they name, and the `batch` before, made one axis.

    Gives the places, of shape `indices.shape[:-1]`, and the length of that axis.
    """
    rows = shape[batch : batch + _depth(indices)]
    place: Value | None = None
    for i, dim in enumerate(rows):
        index = op.Gather(indices, np.array(i, np.int64), axis=-1)
        index = op.Where(index < 0, index + extent(dim), index)
        place = index if place is None else place * extent(dim) + index
    assert place is not None
    if batch:
        turns = counted(product(shape[:batch])) * extent(product(rows))
        place = place + private.ReshapeTo(turns, shape=(*shape[:batch], *(1,) * (place.type.rank - batch)))
    return place, product(shape[:batch]) * product(rows)


def _depth(indices: Value) -> int:
    depth = indices.shape[-1]
    assert isinstance(depth, int), "the type rule has seen to it"
    return depth


def extent(dim: Dim) -> Value:
    """A dimension as i64[]."""
    value: Value = current().constant(dim, "i64") if isinstance(dim, int) else private.Size(dim=dim)
    return value


def counted(dim: Dim) -> Value:
    """0, 1, 2, ... as i64[dim]."""
    if isinstance(dim, int) and dim <= _LONGEST:
        return current().constant(np.arange(dim))
    value: Value = op.Range(0, extent(dim), 1)
    return value


def _one_hot(call: Call) -> list[Type]:
    indices, depth, values = call.type(0), known(call, 1), call.type(2)
    if len(depth) != 1 or values.shape != (2,):
        raise IllTyped("OneHot takes one depth, and two values: off and on")
    axis = call.get("axis", -1)
    if not -indices.rank - 1 <= axis <= indices.rank:
        raise IllTyped(f"OneHot along axis {axis} of {indices}")
    axis %= indices.rank + 1
    return [values.with_shape((*indices.shape[:axis], depth[0], *indices.shape[axis:]))]


define("OneHot", _one_hot)


@gradient("OneHot", at_run=True)
def _(g: Value, node: Node, indices: Value, depth: Value, values: Value, *, axis: int = -1) -> tuple[None, None, Value]:
    declared = (g.type,) if "declared" in node.attributes else None
    unit = op.OneHot(indices, depth, np.array([0, 1], values.type.numpy), axis=axis, declared=declared)
    every = range(g.type.rank)
    on = reduce_sum(g * unit, *every, keepdims=False)
    off = reduce_sum(g, *every, keepdims=False) - on
    return None, None, op.Concat(op.Unsqueeze(off, ints(0)), op.Unsqueeze(on, ints(0)), axis=0)


def _shape(call: Call) -> list[Type]:
    return [Type("i64", (len(call.type(0).shape[slice(call.get("start", 0), call.get("end"))]),))]


define("Shape", _shape)


def _size(call: Call) -> list[Type]:
    call.type(0)
    return [Type("i64", ())]


define("Size", _size)


def _constant_of_shape(call: Call) -> list[Type]:
    value = call.get("value")
    return [Type("f32" if value is None else dtype_of(value), known(call, 0))]


define("ConstantOfShape", _constant_of_shape)


def _range(call: Call) -> list[Type]:
    start = expect(call, 0, NUMBERS - {"i8", "u8", "u16", "u32", "u64"})
    if any(call.type(i) != Type(start.dtype, ()) for i in range(3)):
        raise IllTyped(f"Range of {', '.join(str(call.type(i)) for i in range(3))}: three scalars of one type")
    return [Type(start.dtype, (_steps(call),))]


def _steps(call: Call) -> Dim:
    """The length of a Range: data may decide it."""
    if call.type(0).is_float:
        first, limit, delta = (call.constant(i) for i in range(3))
        if delta is not None and delta == 0:
            raise IllTyped("Range with a step of 0")
        if first is None or limit is None or delta is None:
            return unknown()
        return max(int(np.ceil((limit - first) / delta)), 0)
    bounds = [extents(call.inputs[i]) for i in range(3)]
    if bounds[2] == (0,):
        raise IllTyped("Range with a step of 0")
    if any(bound is None for bound in bounds):
        return unknown()
    low, high, step = (bound[0] for bound in bounds if bound is not None)
    count = quotient(high - low, step) if step in (1, -1) else quotient(high - low, step, ceiling=True)
    return max(count, 0) if isinstance(count, int) else count


define("Range", _range)
no_gradient("it reads a shape, not the elements", "Shape", "Size", "ConstantOfShape")


@gradient("Range")
def _(g: Value, y: Value, start: Value, limit: Value, delta: Value) -> tuple[Value, None, Value]:
    """Element i is start + i * delta; the limit only decides how many there are."""
    place = op.Round((y - start) / delta)
    return op.ReduceSum(g, ints(0), keepdims=0), None, op.ReduceSum(g * place, ints(0), keepdims=0)
