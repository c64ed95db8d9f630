"""Reading tensors between their elements: GridSample and AffineGrid, and what deformable convolution shares with them.

A place is a float coordinate along each axis, in elements. Its value is a sum over the elements around it, each with a
weight that depends on the place, so that gradients in the tensor and in the places are those of gathers and products.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product as combinations
from typing import Any

import numpy as np

from dlc.compiler.build import current, op, private
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.parts import by_parts
from dlc.compiler.ops.reduction import count
from dlc.compiler.ops.rules import expect, mask, show, where
from dlc.compiler.ops.shape import known
from dlc.compiler.registry import Call, IllTyped, define, expansion, lower
from dlc.compiler.types import FLOATS, Dim, Shape, Type, product

_MODES = {"bilinear": "linear", "linear": "linear", "nearest": "nearest", "bicubic": "cubic", "cubic": "cubic"}
_PADDINGS = ("zeros", "border", "reflection")
_KEYS = -0.75  # the coefficient of the cubic kernel

Tap = tuple[Value, Value]  # an index along an axis as float[N, P], and its weight


def gathered(x: Value, taps: Sequence[Sequence[Tap]]) -> Value:
    """The sum over combinations of one tap an axis of weight times element: [N, C, P] from x[N, C, S...].

    Indices must lie inside of x.
    """
    n, c, *extents = x.shape
    places = taps[0][0][0].shape[1]
    flat = private.ReshapeTo(x, shape=(n, c, product(extents)))
    total: Value | None = None
    for chosen in combinations(*taps):
        index, weight = op.Cast(chosen[0][0], to="i64"), chosen[0][1]
        for (further, factor), extent in zip(chosen[1:], extents[1:], strict=True):
            index = index * whole(extent) + op.Cast(further, to="i64")
            weight = weight * factor
        rows = private.ReshapeTo(index, shape=(n, 1, places))
        part = op.GatherElements(flat, private.ExpandTo(rows, shape=(n, c, places)), axis=2)
        part = part * private.ReshapeTo(weight, shape=(n, 1, places))
        total = part if total is None else total + part
    assert total is not None, "a tensor has axes"
    return total


def whole(extent: Dim) -> Value:
    """A dimension as i64[]."""
    value: Value = current().constant(extent, "i64") if isinstance(extent, int) else private.Size(dim=extent)
    return value


def linear_taps(place: Value, extent: Dim) -> list[Tap]:
    """The two elements around each place of float[N, P] on one axis; outside of it they count as zeros."""
    low = op.Floor(place)
    return [_inside(low, 1 - (place - low), extent), _inside(low + 1.0, place - low, extent)]


def _inside(index: Value, weight: Value | None, extent: Dim) -> Tap:
    """A tap whose weight is 0 where its index is outside of the axis."""
    last = _last(extent, index)
    within = mask(op.And(index >= 0.0, index <= last), index)
    return _clipped(index, extent), within if weight is None else weight * within


def _last(extent: Dim, like: Value) -> Value | float:
    total = count(extent, like)
    return total - 1.0


def _clipped(place: Value, extent: Dim) -> Value:
    value: Value = op.Clip(place, 0.0, _last(extent, place))
    return value


def _reflected(place: Value, extent: Dim, align_corners: int) -> Value:
    """Thrown back at the middles of the outermost elements, or at their outer edges, as often as it takes."""
    if align_corners and extent == 1:
        return _clipped(place, extent)
    low = 0.0 if align_corners else -0.5
    span = _last(extent, place) if align_corners else count(extent, place)
    if isinstance(span, Value):
        span = op.Max(span, 1.0)
    away = op.Abs(place - low)
    turns = op.Floor(away / span)
    rest = away - turns * span
    odd = turns - 2.0 * op.Floor(turns / 2.0)
    return _clipped(op.Where(op.Equal(odd, 0.0), rest + low, span - rest + low), extent)


def _keys(t: Value) -> list[Value]:
    """The weights of Keys's cubic kernel for the elements at -1, 0, 1 and 2 from one that lies t before the place."""
    a = _KEYS

    def near(x: Value) -> Value:
        return ((a + 2) * x - (a + 3)) * x * x + 1.0

    def far(x: Value) -> Value:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return [far(t + 1.0), near(t), near(1 - t), far(2 - t)]


def _taps(place: Value, extent: Dim, mode: str, padding: str, align_corners: int) -> list[Tap]:
    def brought_in(x: Value) -> Value:
        if padding == "border":
            return _clipped(x, extent)
        return _reflected(x, extent, align_corners) if padding == "reflection" else x

    def tap(index: Value, weight: Value) -> Tap:
        return _inside(index, weight, extent) if padding == "zeros" else (op.Round(brought_in(index)), weight)

    if mode == "cubic":
        low = op.Floor(place)
        return [tap(low + float(k - 1), weight) for k, weight in enumerate(_keys(place - low))]
    place = brought_in(place)
    if mode == "nearest":
        return [_inside(op.Round(place), None, extent)]
    return linear_taps(place, extent)


def _grid_sample(call: Call) -> list[Type]:
    x, grid = expect(call, 0, FLOATS), expect(call, 1, FLOATS)
    if x.rank < 3 or grid.rank != x.rank or grid.shape[-1] != x.rank - 2 or grid.shape[0] != x.shape[0]:
        raise IllTyped(
            f"GridSample of {x} at {grid}: [N, C, spatial...] and [N, places..., coordinates] of one rank are expected"
        )
    if grid.dtype != x.dtype:
        raise IllTyped(f"GridSample of {x} at {grid}: the element types differ")
    if call.get("mode", "linear") not in _MODES:
        raise IllTyped(f"GridSample: mode = {call.get('mode')}: linear, nearest or cubic is expected")
    if call.get("padding_mode", "zeros") not in _PADDINGS:
        raise IllTyped(f"GridSample: padding_mode = {call.get('padding_mode')}: {', '.join(_PADDINGS)} are there")
    return [x.with_shape((*x.shape[:2], *grid.shape[1:-1]))]


define("GridSample", _grid_sample)


@expansion("GridSample")
def _sampled(
    x: Value, grid: Value, *, mode: str = "linear", padding_mode: str = "zeros", align_corners: int = 0
) -> Value:
    """A grid's coordinates run from -1 to 1, between the middles of the outermost elements (`align_corners`) or between
    their outer edges, and the last axis comes first."""
    n, places = x.shape[0], product(grid.shape[1:-1])
    axes = len(x.shape) - 2
    flat = private.ReshapeTo(grid, shape=(n, places, axes))
    taps = []
    for axis, extent in enumerate(x.shape[2:]):
        along = op.Gather(flat, np.array(axes - 1 - axis), axis=2)
        size = count(extent, along)
        place = (along + 1.0) * (0.5 * (size - 1.0)) if align_corners else ((along + 1.0) * size - 1.0) * 0.5
        taps.append(_taps(place, extent, _MODES[mode], padding_mode, align_corners))
    value: Value = private.ReshapeTo(gathered(x, taps), shape=(*x.shape[:2], *grid.shape[1:-1]))
    return value


@lower("GridSample")
def _(lowering: Any, node: Node, x: Value, grid: Value) -> Value | None:
    """By its parts where the runtime has no kernel: of one axis or more than three, and cubic but over images."""
    cubic = _MODES[node.attributes.get("mode", "linear")] == "cubic"
    return None if x.type.rank == 4 or (x.type.rank == 5 and not cubic) else _sampled(x, grid, **node.attributes)


def _affine_grid(call: Call) -> list[Type]:
    theta, size = expect(call, 0, FLOATS), known(call, 1)
    axes = len(size) - 2
    if axes not in (2, 3):
        raise IllTyped(f"AffineGrid of size {show(size)}: [N, C, H, W] or [N, C, D, H, W] is expected")
    if theta.shape != (size[0], axes, axes + 1):
        raise IllTyped(f"AffineGrid of {theta}: {theta.with_shape((size[0], axes, axes + 1))} is expected")
    return [theta.with_shape((size[0], *size[2:], axes))]


define("AffineGrid", _affine_grid)


@expansion("AffineGrid")
def _affine(node: Node, theta: Value, *, align_corners: int = 0) -> Value:
    """Each place of an even grid, the last axis first and a 1 behind, times the matrix of its image."""
    extents: Shape = node.output.shape[1:-1]
    axes = len(extents)
    parts = []
    for axis in reversed(range(axes)):
        line = _even(extents[axis], align_corners, theta)
        column = private.ReshapeTo(line, shape=(*(extents[i] if i == axis else 1 for i in range(axes)), 1))
        parts.append(private.ExpandTo(column, shape=(*extents, 1)))
    ones = private.ExpandTo(current().constant(1.0, theta.dtype), shape=(*extents, 1))
    base = private.ReshapeTo(op.Concat(*parts, ones, axis=-1), shape=(product(extents), axes + 1))
    value: Value = private.ReshapeTo(base @ op.Transpose(theta, perm=(0, 2, 1)), shape=node.output.shape)
    return value


def _even(extent: Dim, align_corners: int, like: Value) -> Value:
    """The coordinates of an axis's elements, from -1 to 1; one element alone lies at 0."""
    if isinstance(extent, int):
        steps = np.arange(extent)
        line = 2 * steps / (extent - 1) - 1 if align_corners and extent > 1 else (2 * steps + 1) / max(extent, 1) - 1
        return current().constant(line, like.dtype)
    places = op.Cast(op.Range(np.array(0), private.Size(dim=extent), np.array(1)), to=like.dtype)
    size = count(extent, like)
    even: Value = (2.0 * places + 1.0) / size - 1.0
    if align_corners:
        aligned = places * (2.0 / op.Max(size - 1.0, 1.0)) - 1.0
        return where(op.Equal(size, 1.0), even, aligned)
    return even


@lower("AffineGrid")
def _(lowering: Any, node: Node, theta: Value, size: Value) -> Value | None:
    """The runtime puts the only element of an aligned axis at an end."""
    single = node.attributes.get("align_corners", 0) and 1 in node.output.shape[1:-1]
    return _affine(node, theta, **node.attributes) if single else None


by_parts("GridSample", "AffineGrid")

__all__ = ["gathered", "linear_taps", "whole"]
