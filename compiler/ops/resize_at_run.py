"""Resize where only a run tells sizes, scales or the region: the map of each axis is computed in the graph.

Row i of a map holds the weights of the input elements that output element i is made of, as in `resize`. Places beyond
the axis are computed too, as far as a window reaches, and added to the outermost elements.
"""

from __future__ import annotations

import numpy as np

from dlc.compiler.build import current, ints, op, private
from dlc.compiler.dims import Dim, Shape, product
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.rules import mask, where

_MARGIN = 2  # elements beyond what a window reaches: coordinates lie up to one element outside of the axis


def undone(g: Value, x: Value, node: Node) -> Value:
    """The cotangent of what was resized: each axis by its transposed map."""
    for index, axis in enumerate(_axes(node, x)):
        rows, _ = _map(node, x, index, axis)
        g = _along(g, axis, op.Transpose(rows, perm=(1, 0)), x.shape[axis])
    return g


def resized(x: Value, node: Node) -> Value:
    """The result by its maps, for forms that the runtime has no kernel for."""
    y = x
    outside: Value | None = None
    for index, axis in enumerate(_axes(node, x)):
        rows, inside = _map(node, x, index, axis)
        y = _along(y, axis, rows, node.output.shape[axis])
        if inside is not None:
            beyond = op.Unsqueeze(op.Not(inside), ints(*(i for i in range(x.type.rank) if i != axis)))
            outside = beyond if outside is None else op.Or(outside, beyond)
    if outside is None:
        return y
    return where(outside, current().constant(node.attributes.get("extrapolation_value", 0.0), x.dtype), y)


def _axes(node: Node, x: Value) -> list[int]:
    given = node.attributes.get("axes")
    return [int(axis) % x.type.rank for axis in (range(x.type.rank) if given is None else given)]


def _along(x: Value, axis: int, rows: Value, size: Dim) -> Value:
    """A matrix [size, n] times each line of x along an axis."""
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    lines = private.ReshapeTo(x, shape=(product(before), x.shape[axis], product(after)))
    value: Value = private.ReshapeTo(op.MatMul(rows, lines), shape=(*before, size, *after))
    return value


def _input(node: Node, index: int) -> Value | None:
    """An optional input; an empty tensor is a missing one."""
    value = node.inputs[index] if index < len(node.inputs) else None
    return None if value is None or value.shape == (0,) else value


def _map(node: Node, x: Value, index: int, axis: int) -> tuple[Value, Value | None]:
    """The map of an axis, [after, before], and which rows lie inside of the axis, bool[after], if that matters."""
    attributes = node.attributes
    mode = attributes.get("mode") or "nearest"
    dtype = "f32" if mode == "nearest" else x.dtype  # the runtime rounds in f32
    n, m = x.shape[axis], node.output.shape[axis]
    scale = op.Cast(_scale(node, x, index, axis), to=dtype)
    places = _places(node, index, (_number(n, dtype), _number(m, dtype)), m, scale)
    inside = None
    if attributes.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        inside = op.And(places >= 0.0, places <= _number(n, dtype) - 1.0)
    rows = _nearest(node, places, n) if mode == "nearest" else _smooth(node, mode, places, scale, n, (m, n))
    rows = rows if rows.dtype == x.dtype else op.Cast(rows, to=x.dtype)
    return rows if inside is None else rows * op.Unsqueeze(mask(inside, rows), ints(1)), inside


def _number(dim: Dim, dtype: str) -> Value:
    value: Value = op.Cast(private.Size(dim=dim), to=dtype)
    return value


def _counted(dim: Dim, dtype: str) -> Value:
    value: Value = op.Cast(op.Range(np.array(0), private.Size(dim=dim), np.array(1)), to=dtype)
    return value


def _scale(node: Node, x: Value, index: int, axis: int) -> Value:
    scales, sizes = _input(node, 2), _input(node, 3)
    if scales is not None:
        one: Value = op.Gather(scales, np.array(index))
        return one
    wide = "f64"  # sizes are whole numbers: their ratio is rounded once
    policy = node.attributes.get("keep_aspect_ratio_policy") or "stretch"
    if policy == "stretch":
        ratio: Value = _number(node.output.shape[axis], wide) / _number(x.shape[axis], wide)
        return ratio
    befores = op.Concat(*(op.Unsqueeze(_number(x.shape[i], wide), ints(0)) for i in _axes(node, x)), axis=0)
    ratios = op.Cast(sizes, to=wide) / befores
    chosen: Value = (op.ReduceMin if policy == "not_larger" else op.ReduceMax)(ratios, keepdims=0)
    return chosen


def _places(node: Node, index: int, sizes: tuple[Value, Value], after: Dim, scale: Value) -> Value:
    """Where the output's elements lie on the input's axis."""
    (n, m), dtype = sizes, scale.dtype
    i = _counted(after, dtype)
    way = node.attributes.get("coordinate_transformation_mode") or "half_pixel"
    steps = op.Max(m - 1.0, _constant(1.0, dtype))
    if way == "align_corners":
        return i * (n - 1.0) / steps
    if way == "asymmetric":
        return i / scale
    if way == "tf_half_pixel_for_nn":
        return where(op.Equal(scale, 1.0), i, (i + 0.5) / scale)  # what keeps its size stays as it is
    if way == "tf_crop_and_resize":
        region = _input(node, 1)
        count = len(node.attributes.get("axes") or ()) or node.output.type.rank
        start, end = (op.Cast(op.Gather(region, np.array(place)), to=dtype) for place in (index, count + index))
        several = start * (n - 1.0) + i * ((end - start) * (n - 1.0)) / steps
        return where(m > 1.0, several, i + 0.5 * (start + end) * (n - 1.0))
    places = (i + 0.5) / scale - 0.5
    if way == "pytorch_half_pixel":
        return where(m > 1.0, places, i)
    if way == "half_pixel_symmetric":
        return places + n / 2.0 * (1.0 - m / (scale * n))
    return places


def _constant(number: float, dtype: str) -> Value:
    return current().constant(number, dtype)


def _nearest(node: Node, places: Value, n: Dim) -> Value:
    half = {"round_prefer_floor": op.Ceil(places - 0.5), "round_prefer_ceil": op.Floor(places + 0.5),
            "floor": op.Floor(places), "ceil": op.Ceil(places)}  # fmt: skip
    found = half[node.attributes.get("nearest_mode") or "round_prefer_floor"]
    last = _number(n, places.dtype) - 1.0
    kept = op.Unsqueeze(op.Max(op.Min(found, last), _constant(0.0, places.dtype)), ints(1))
    return mask(op.Equal(kept, op.Unsqueeze(_counted(n, places.dtype), ints(0))), places)


def _smooth(node: Node, mode: str, places: Value, scale: Value, n: Dim, shape: Shape) -> Value:
    """Linear or cubic weights by the distance; those beyond the axis are added to its outermost elements."""
    attributes, dtype = node.attributes, places.dtype
    reach = 1.0 if mode == "linear" else 2.0
    shrink = op.Min(scale, _constant(1.0, dtype)) if attributes.get("antialias", 0) else _constant(1.0, dtype)
    beyond = op.Cast(op.Ceil(reach / shrink), to="i64") + _MARGIN
    every = op.Range(-beyond, private.Size(dim=n) + beyond, np.array(1))
    j = op.Unsqueeze(op.Cast(every, to=dtype), ints(0))
    away = op.Abs(j - op.Unsqueeze(places, ints(1))) * shrink
    if mode == "linear":
        weights = op.Max(1.0 - away, _constant(0.0, dtype))
    else:
        weights = _cubic(away, float(attributes.get("cubic_coeff_a", -0.75)))
    if attributes.get("exclude_outside", 0):
        weights = where(op.And(j >= 0.0, j <= _number(n, dtype) - 1.0), weights, 0.0)
    weights = weights / op.ReduceSum(weights, ints(1), keepdims=1)
    kept = op.Max(op.Min(every, private.Size(dim=n) - 1), np.array(0))
    value: Value = private.ScatterAdd(weights, kept, axis=1, shape=shape)
    return value


def _cubic(away: Value, a: float) -> Value:
    """Keys's kernel at distances."""
    near = ((a + 2) * away - (a + 3)) * away * away + 1.0
    far = ((a * away - 5 * a) * away + 8 * a) * away - 4 * a
    return where(away <= 1.0, near, where(away < 2.0, far, 0.0))


__all__ = ["resized", "undone"]
