"""Operators that read or write at computed places, and those that make integer tensors of shapes and positions."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlc.compiler.build import current, op, private
from dlc.compiler.graph import Value
from dlc.compiler.ops.extents import extents
from dlc.compiler.ops.rules import axis_of, expect, fixed, reduce_sum, zeros
from dlc.compiler.ops.shape import known
from dlc.compiler.registry import Call, IllTyped, define, gradient, no_gradient
from dlc.compiler.types import Dim, Type, dtype_of, product, quotient

INDEX = frozenset({"i32", "i64"})


def _gather(call: Call) -> list[Type]:
    data, indices = call.type(0), expect(call, 1, INDEX)
    axis = axis_of(call, 0, data.rank)
    places, length = call.constant(1), data.shape[axis]
    if places is not None and isinstance(length, int) and places.size and not (
        -length <= places.min() and places.max() < length
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
    _beside(call.op, data, indices, axis)
    return [data.with_shape(indices.shape)]


def _beside(name: str, data: Type, indices: Type, axis: int) -> None:
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


def _scatter_elements(call: Call) -> list[Type]:
    data, indices, updates = call.type(0), expect(call, 1, INDEX), call.type(2)
    axis = axis_of(call, 0, data.rank)
    _beside(call.op, data, indices, axis)
    if updates != data.with_shape(indices.shape):
        raise IllTyped(f"ScatterElements of {updates} by {indices} into {data}: updates and indices differ")
    if call.get("reduction", "none") not in ("none", "add"):
        raise IllTyped(f'ScatterElements with reduction "{call.get("reduction")}": dlc has none and add')
    return [data]


define("ScatterElements", _scatter_elements)


@gradient("ScatterElements")
def _(
    g: Value, data: Value, indices: Value, updates: Value, *, axis: int = 0, reduction: str = "none"
) -> tuple[Value, None, Value]:
    to_updates: Value = op.GatherElements(g, indices, axis=axis)
    if reduction == "add":
        return g, None, to_updates
    return op.ScatterElements(g, indices, zeros(updates.type), axis=axis), None, to_updates


def _tuples(call: Call, data: Type, indices: Type) -> int:
    """How many axes of the data an index tuple of GatherND or ScatterND names."""
    if not indices.rank or not isinstance(indices.shape[-1], int) or not 0 < indices.shape[-1] <= data.rank:
        raise IllTyped(f"{call.op} by {indices}: its last axis must hold between 1 and {data.rank} places in {data}")
    return indices.shape[-1]


def _gather_nd(call: Call) -> list[Type]:
    data, indices = call.type(0), expect(call, 1, frozenset({"i64"}))
    if call.get("batch_dims", 0):
        raise IllTyped("GatherND with batch_dims is not supported")
    return [data.with_shape((*indices.shape[:-1], *data.shape[_tuples(call, data, indices) :]))]


define("GatherND", _gather_nd)


@gradient("GatherND")
def _(g: Value, data: Value, indices: Value) -> Any:
    """The tuples become places in the data with their axes made one, for duplicates to add up safely."""
    depth = indices.shape[-1]
    assert isinstance(depth, int)
    rows, rest = data.shape[:depth], data.shape[depth:]
    place: Value | None = None
    for i, dim in enumerate(rows):
        size: Value = current().constant(dim) if isinstance(dim, int) else private.Size(dim=dim)
        index = op.Gather(indices, np.array(i, np.int64), axis=-1)
        index = op.Where(index < 0, index + size, index)
        place = index if place is None else place * size + index
    shape = (product(rows), *rest)
    return private.ReshapeTo(private.ScatterAdd(g, place, axis=0, shape=shape), shape=data.shape)


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


@gradient("OneHot")
def _(g: Value, indices: Value, depth: Value, values: Value, *, axis: int = -1) -> tuple[None, None, Value]:
    unit = op.OneHot(indices, depth, np.array([0, 1], values.type.numpy), axis=axis)
    every = range(g.type.rank)
    on = reduce_sum(g * unit, *every, keepdims=False)
    off = reduce_sum(g, *every, keepdims=False) - on
    return None, None, op.Concat(private.ReshapeTo(off, shape=(1,)), private.ReshapeTo(on, shape=(1,)), axis=0)


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
    start = call.type(0)
    if any(call.type(i) != Type(start.dtype, ()) for i in range(3)):
        raise IllTyped(f"Range of {', '.join(str(call.type(i)) for i in range(3))}: three scalars of one type")
    return [Type(start.dtype, (_steps(call),))]


def _steps(call: Call) -> Dim:
    if call.type(0).is_float:
        first, limit, delta = (fixed(call, i, "bounds") for i in range(3))
        assert first is not None and limit is not None and delta is not None
        if delta == 0:
            raise IllTyped("Range with a step of 0")
        return max(int(np.ceil((limit - first) / delta)), 0)
    bounds = [extents(call.inputs[i]) for i in range(3)]
    if any(bound is None for bound in bounds) or bounds[2] == (0,):
        raise IllTyped("Range: its bounds depend on data, so the length of the result is not known")
    low, high, step = (bound[0] for bound in bounds if bound is not None)
    count = quotient(high - low, step) if step in (1, -1) else quotient(high - low, step, ceiling=True)
    return max(count, 0) if isinstance(count, int) else count


define("Range", _range)
no_gradient("it reads a shape, not the elements", "Shape", "Size", "ConstantOfShape")
no_gradient("it is an even sequence of constants", "Range")


def _non_zero(call: Call) -> list[Type]:
    raise IllTyped("NonZero: how many elements it gives depends on data; dlc needs to know every dimension")


define("NonZero", _non_zero)
no_gradient("its result is positions", "NonZero")
