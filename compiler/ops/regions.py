"""Pooling over regions of interest: RoiAlign (He et al. 2017) and MaxRoiPool (Girshick 2015)."""

from __future__ import annotations

import numpy as np

from dlc.compiler.build import current, ints, op, private
from dlc.compiler.graph import Value
from dlc.compiler.ops.parts import by_parts
from dlc.compiler.ops.reduction import count
from dlc.compiler.ops.rules import expect, mask, where
from dlc.compiler.ops.sampling_grid import whole
from dlc.compiler.registry import Call, IllTyped, define, expansion
from dlc.compiler.types import FLOATS, Dim, Type


def _image(call: Call, columns: int) -> tuple[Type, Type]:
    x, rois = expect(call, 0, FLOATS), expect(call, 1, FLOATS)
    if x.rank != 4 or rois.rank != 2 or rois.shape[1] != columns or rois.dtype != x.dtype:
        raise IllTyped(f"{call.op} of {x} in {rois}: [N, C, H, W] and [regions, {columns}] of one type are expected")
    return x, rois


def _roi_align(call: Call) -> list[Type]:
    x, rois = _image(call, 4)
    if call.type(2) != Type("i64", rois.shape[:1]):
        raise IllTyped(f"RoiAlign: the images of {rois} are {call.type(2)}, {Type('i64', rois.shape[:1])} is expected")
    if call.get("mode", "avg") not in ("avg", "max"):
        raise IllTyped(f"RoiAlign: mode = {call.get('mode')}: avg or max is expected")
    if call.get("coordinate_transformation_mode", "half_pixel") not in ("half_pixel", "output_half_pixel"):
        found = call.get("coordinate_transformation_mode")
        raise IllTyped(
            f"RoiAlign: coordinate_transformation_mode = {found}: half_pixel or output_half_pixel is expected"
        )
    return [x.with_shape((rois.shape[0], x.shape[1], call.get("output_height", 1), call.get("output_width", 1)))]


define("RoiAlign", _roi_align)


@expansion("RoiAlign")
def _(
    x: Value, rois: Value, images: Value,
    *, mode: str = "avg", output_height: int = 1, output_width: int = 1, sampling_ratio: int = 0,
    spatial_scale: float = 1.0, coordinate_transformation_mode: str = "half_pixel",
) -> Value:  # fmt: skip
    """Samples of each bin, each between four elements of the image.

    Regions are taken as given: nothing flows to them, as in the detectors that use the operator, where a head proposes
    them and is trained by a loss of its own. In mode max it is the largest of the weighted four, as in the runtime.
    Without a sampling_ratio a bin has about one sample an element: as many are computed as the largest bin has, and of
    each bin those count that it has.
    """
    n, c, height, width = x.shape
    regions = rois.shape[0]
    offset = 0.5 if coordinate_transformation_mode == "half_pixel" else 0.0
    edges = private.Detach(rois) * spatial_scale - offset
    sides = [op.Gather(edges, np.array([i]), axis=1) for i in range(4)]
    along: list[list[tuple[Value, Value]]] = []
    grids: list[Value] = []  # how many samples a bin of each region has, without a sampling_ratio
    samples: list[Dim] = []
    for low, high, parts, extent in ((1, 3, output_height, height), (0, 2, output_width, width)):
        length = sides[high] - sides[low]
        if not offset:
            length = op.Max(length, 1.0)
        grid = None if sampling_ratio > 0 else op.Ceil(length / float(parts))
        steps, most = _steps(parts, sampling_ratio, grid, x.dtype)
        along.append(_linear(sides[low] + length * steps, extent))
        if grid is not None:
            grids.append(grid)
        samples.append(most)
    rows = private.ReshapeTo(op.Transpose(x, perm=(0, 2, 3, 1)), shape=(n * height * width, c))
    first = private.ReshapeTo(images, shape=(regions, 1, 1)) * whole(height)
    terms = [
        _weighted(rows, (first + op.Unsqueeze(i, ints(2))) * whole(width) + op.Unsqueeze(j, ints(1)), a, b)
        for i, a in along[0]
        for j, b in along[1]
    ]
    bins = (regions, output_height, samples[0], output_width, samples[1], c)
    every = private.ReshapeTo(op.Sum(*terms) if mode == "avg" else op.Max(*terms), shape=bins)
    if grids:
        pooled = _of_those(every, grids[0], grids[1], samples, mode)
    else:
        pooled = (op.ReduceMean if mode == "avg" else op.ReduceMax)(every, ints(2, 4), keepdims=0)
    value: Value = op.Transpose(pooled, perm=(0, 3, 1, 2))
    return value


def _steps(parts: int, ratio: int, grid: Value | None, dtype: str) -> tuple[Value, Dim]:
    """Where the samples lie along a region, as parts of its length, [regions or 1, parts * samples], and how many a
    bin has: `ratio`, or as many as the largest of `grid`, [regions, 1]."""
    if grid is None:
        even = (np.arange(parts * ratio) + 0.5)[None] / (ratio * parts)
        return current().constant(even, dtype), ratio
    flat, one = private.ReshapeTo(grid, shape=grid.shape[:1]), np.ones(1, grid.type.numpy)
    largest = op.ReduceMax(op.Concat(flat, one, axis=0), keepdims=0)
    line = op.Range(np.array(0), op.Cast(largest, to="i64"), np.array(1))
    most = line.shape[0]
    within = (op.Cast(line, to=dtype) + 0.5) / op.Max(grid, np.ones((), grid.type.numpy))
    starts = current().constant(np.arange(parts)[None, :, None], dtype)
    steps = (starts + op.Unsqueeze(within, ints(1))) / float(parts)
    return private.ReshapeTo(steps, shape=(grid.shape[0], most * parts)), most


def _of_those(every: Value, down: Value, across: Value, samples: list[Dim], mode: str) -> Value:
    """What a bin is of the samples that it has; 0 without one."""
    shown = []
    for grid, most, axis in ((down, samples[0], 2), (across, samples[1], 4)):
        line = op.Cast(op.Range(np.array(0), private.Size(dim=most), np.array(1)), to=grid.dtype)
        shown.append(op.Unsqueeze(line < grid, ints(*(i for i in range(1, 6) if i != axis))))
    counted = op.And(*shown)
    if mode == "avg":
        number = op.Max(down, np.zeros((), down.type.numpy)) * op.Max(across, np.zeros((), down.type.numpy))
        total = op.ReduceSum(where(counted, every, 0.0), ints(2, 4), keepdims=0)
        return total / op.Unsqueeze(op.Max(number, np.ones((), down.type.numpy)), ints(2, 3))
    some = op.And(op.Unsqueeze(down > 0.0, ints(2, 3)), op.Unsqueeze(across > 0.0, ints(2, 3)))
    return where(some, op.ReduceMax(op.Where(counted, every, _lowest(every)), ints(2, 4), keepdims=0), 0.0)


def _lowest(like: Value) -> Value:
    """What is below every other number."""
    return current().constant(np.finfo(np.float32 if like.dtype == "bf16" else like.type.numpy).min, like.dtype)


def _linear(place: Value, extent: Dim) -> list[tuple[Value, Value]]:
    """The two elements around each place with their weights. An element's width outside of the axis the outermost
    element is taken, farther out nothing."""
    last = count(extent, place) - 1.0
    within = mask(op.And(place >= -1.0, place <= last + 1.0), place)
    inner = op.Clip(place, 0.0, last)
    low = op.Floor(inner)
    high = op.Min(low + 1.0, last)
    part = inner - low  # 0 outside of the axis
    return [(op.Cast(low, to="i64"), (1 - part) * within), (op.Cast(high, to="i64"), part)]


def _weighted(rows: Value, index: Value, a: Value, b: Value) -> Value:
    """Rows at [regions, Y, X], times the weights [regions, Y] and [regions, X]: [regions, Y, X, channels]."""
    weight = op.Unsqueeze(a, ints(2)) * op.Unsqueeze(b, ints(1))
    value: Value = op.Gather(rows, index, axis=0) * op.Unsqueeze(weight, ints(3))
    return value


def _max_roi_pool(call: Call) -> list[Type]:
    x, rois = _image(call, 5)
    shape = call.get("pooled_shape")
    if shape is None or len(shape) != 2 or min(shape) < 1:
        raise IllTyped(f"MaxRoiPool: pooled_shape = {shape}: two numbers, at least 1, are expected")
    return [x.with_shape((rois.shape[0], x.shape[1], *shape))]


define("MaxRoiPool", _max_roi_pool)


@expansion("MaxRoiPool")
def _(x: Value, rois: Value, *, pooled_shape: tuple[int, int], spatial_scale: float = 1.0) -> Value:
    """The maximum along one axis, then along the other, over what lies in each bin; an empty bin has 0. A bin's edges
    are rounded to elements, so that nothing flows to the regions."""
    fixed = private.Detach(rois)
    images = op.Cast(op.Gather(fixed, np.array(0), axis=1), to="i64")
    scaled = fixed * spatial_scale
    edges = op.Sign(scaled) * op.Floor(op.Abs(scaled) + 0.5)
    height, width = x.shape[2:]
    across, some_across = _bins(edges, (1, 3), pooled_shape[1], width)
    down, some_down = _bins(edges, (2, 4), pooled_shape[0], height)
    seen = op.Unsqueeze(op.Gather(x, images, axis=0), ints(3))
    lowest = _lowest(x)
    rows = op.ReduceMax(op.Where(op.Unsqueeze(across, ints(1, 2)), seen, lowest), ints(4), keepdims=0)
    turned = op.Unsqueeze(op.Transpose(rows, perm=(0, 1, 3, 2)), ints(2))
    y = op.ReduceMax(op.Where(op.Unsqueeze(down, ints(1, 3)), turned, lowest), ints(4), keepdims=0)
    some = op.And(op.Unsqueeze(some_down, ints(1, 3)), op.Unsqueeze(some_across, ints(1, 2)))
    return where(some, y, 0.0)


def _bins(edges: Value, columns: tuple[int, int], parts: int, extent: Dim) -> tuple[Value, Value]:
    """Which elements of an axis each bin of each region holds, bool[regions, parts, extent], and whether it has any."""
    first, last = (op.Gather(edges, np.array([column]), axis=1) for column in columns)
    length = op.Max(last - first + 1.0, 1.0) / float(parts)
    steps = np.arange(parts)[None]
    size = count(extent, edges)
    low = op.Clip(op.Floor(length * current().constant(steps, edges.dtype)) + first, 0.0, size)
    high = op.Clip(op.Ceil(length * current().constant(steps + 1, edges.dtype)) + first, 0.0, size)
    places = op.Cast(op.Range(np.array(0), whole(extent), np.array(1)), to=edges.dtype)
    inside = op.And(places >= op.Unsqueeze(low, ints(2)), places < op.Unsqueeze(high, ints(2)))
    return inside, high > low


by_parts("MaxRoiPool")
