"""Resize: along each axis a linear map of its own, known when its size is.

Row i of an axis's map holds the weights of the input elements that output element i is made of: one for the nearest,
two for linear and four for cubic interpolation, more where `antialias` widens the filter. The gradient goes through the
transposed maps. Formulas: the operator's text in ONNX, and R. Keys, "Cubic convolution interpolation for digital image
processing" (1981).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from dlc.compiler.build import current, op, private
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops import resize_at_run
from dlc.compiler.ops.extents import extents
from dlc.compiler.ops.rules import NUMBERS, expect, fixed, reduce_sum, show
from dlc.compiler.registry import Call, IllTyped, define, evaluate, gradient, lower
from dlc.compiler.types import Array, Dim, Shape, Type, product, quotient

_DENSE = 1 << 18  # elements of a map: a larger one is applied by its few weights a row
_LONGEST = 1 << 20  # elements of an axis whose weights are constants
_EXACT = 1 << 10  # the largest divisor of a scale along an axis of unknown size
MODES = ("nearest", "linear", "cubic")
_TRANSFORMATIONS = (
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
    "tf_half_pixel_for_nn", "tf_crop_and_resize",
)  # fmt: skip
_NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
_POLICIES = ("stretch", "not_larger", "not_smaller")


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis that is resized: its size before and after, the scale between them, and the region of it that is read
    (from `start` to `end`, as parts of the axis)."""

    before: Dim
    after: Dim
    scale: float
    start: float
    end: float


def choice(call: Call, name: str, allowed: Sequence[str]) -> str:
    value: str = call.get(name) or allowed[0]
    if value not in allowed:
        raise IllTyped(f"{call.op}: {name} = {value}: one of {', '.join(allowed)} is expected")
    return value


def _resize(call: Call) -> list[Type]:
    x = expect(call, 0, NUMBERS)
    choice(call, "mode", MODES)
    choice(call, "nearest_mode", _NEAREST)
    choice(call, "keep_aspect_ratio_policy", _POLICIES)
    crops = choice(call, "coordinate_transformation_mode", _TRANSFORMATIONS) == "tf_crop_and_resize"
    roi = fixed(call, 1, "a region (roi)") if crops else None
    if crops and roi is None:
        raise IllTyped("Resize: tf_crop_and_resize needs a region (roi)")
    scales, sizes = fixed(call, 2, "scales"), extents(call.inputs[3]) if call.has(3) else None
    if call.has(3) and sizes is None:
        raise IllTyped("Resize: its sizes depend on data, so the shape of the result is not known")
    scales = scales if scales is not None and scales.size else None  # an empty tensor is a missing one
    sizes = sizes or None
    if (scales is None) == (sizes is None):
        raise IllTyped("Resize needs either scales or sizes")
    shape = list(x.shape)
    for axis, found in plan(x.shape, call.attributes, roi, scales, sizes).items():
        shape[axis] = found.after
    return [x.with_shape(shape)]


def plan(
    shape: Shape, attributes: Mapping[str, Any], roi: Array | None, scales: Array | None, sizes: Shape | None
) -> dict[int, Axis]:
    """What is resized, by axis; raises IllTyped."""
    rank = len(shape)
    given = attributes.get("axes")
    chosen = tuple(range(rank)) if given is None else tuple(int(axis) for axis in given)
    if any(not -rank <= axis < rank for axis in chosen) or len({axis % rank for axis in chosen}) < len(chosen):
        raise IllTyped(f"Resize: axes = {list(chosen)} of a tensor of rank {rank}")
    crops = attributes.get("coordinate_transformation_mode") == "tf_crop_and_resize"
    region = np.array([0.0, 1.0]).repeat(len(chosen)) if roi is None or not crops else roi.astype(np.float64)
    wanted: Sequence[Any] = list(sizes or ()) if scales is None else scales.tolist()
    if len(wanted) != len(chosen) or len(region) != 2 * len(chosen):
        raise IllTyped(f"Resize of {show(shape)}: {len(wanted)} scales or sizes for {len(chosen)} axes")
    befores = tuple(shape[axis] for axis in chosen)
    if scales is None:
        sized = _by_sizes(befores, wanted, attributes.get("keep_aspect_ratio_policy") or "stretch")
    else:
        sized = [(_scaled(before, scale), scale) for before, scale in zip(befores, wanted, strict=True)]
    result = {}
    for i, (axis, before, (after, scale)) in enumerate(zip(chosen, befores, sized, strict=True)):
        start, end = float(region[i]), float(region[len(chosen) + i])
        if scale != 1 or (start, end) != (0.0, 1.0):
            result[axis % rank] = Axis(before, after, scale, start, end)
    return result


def _scaled(before: Dim, scale: float) -> Dim:
    if not scale > 0:
        raise IllTyped(f"Resize: a scale of {scale}: it must be positive")
    if isinstance(before, int):
        return int(np.floor(np.float32(before) * np.float32(scale)))
    ratio = Fraction(scale)
    if ratio.denominator > _EXACT:
        raise IllTyped(f"Resize by {scale} along an axis of unknown size {before}: give the size, or a plain fraction")
    return quotient(before * ratio.numerator, ratio.denominator)


def _by_sizes(befores: Shape, sizes: Sequence[Dim], policy: str) -> list[tuple[Dim, float]]:
    if policy == "stretch":
        return [(after, _ratio(before, after)) for before, after in zip(befores, sizes, strict=True)]
    if not all(_are_known(before, after) for before, after in zip(befores, sizes, strict=True)):
        raise IllTyped(f"Resize: keep_aspect_ratio_policy = {policy} needs known sizes, not {show(befores)}")
    ratios = [_ratio(before, after) for before, after in zip(befores, sizes, strict=True)]
    scale = float(min(ratios) if policy == "not_larger" else max(ratios))
    return [(int(np.floor(scale * before + 0.5)), scale) for before in befores]  # type: ignore[operator]


def _ratio(before: Dim, after: Dim) -> float:
    """The scale between two sizes; not a number where it is not known."""
    if isinstance(before, int) and isinstance(after, int):
        if before < 1:
            raise IllTyped(f"Resize of an axis of size {before}")
        return after / before
    whole = quotient(after, before) if before != 0 else 0
    return float(whole) if isinstance(whole, int) and whole * before == after else float("nan")


def _are_known(before: Dim, after: Dim) -> bool:
    return isinstance(before, int) and isinstance(after, int)


def _are_small(axis: Axis) -> bool:
    """Whether the sizes are known, and no larger than what a map of constants may be made for."""
    return all(isinstance(size, int) and size <= _LONGEST for size in (axis.before, axis.after))


def taps(axis: Axis, attributes: Mapping[str, Any]) -> tuple[Array, Array, Array]:
    """Where each output element reads, with which weights (both [after, taps]), and whether it lies inside of the axis
    (outside of it, tf_crop_and_resize gives a fixed value: the weights are zeros). Raises IllTyped.

    The nearest element is found in float32, as the runtime does: rounding decides at the middle between two.
    """
    n, m = axis.before, axis.after
    if not isinstance(n, int) or not isinstance(m, int):
        raise IllTyped(f"Resize from {n} to {m} elements: the gradient and this form need known sizes")
    mode = attributes.get("mode") or "nearest"
    transformation = attributes.get("coordinate_transformation_mode") or "half_pixel"
    places = _coordinates(axis, n, m, transformation, np.float32 if mode == "nearest" else np.float64)
    inside = np.ones(m, bool)
    if transformation == "tf_crop_and_resize":
        inside = (places >= 0) & (places <= n - 1)
    if mode == "nearest":
        indices = _round(places, attributes.get("nearest_mode") or "round_prefer_floor")[:, None]
        weights = np.ones((m, 1))
    else:
        shrink = min(axis.scale, 1.0) if attributes.get("antialias", 0) else 1.0
        reach = int(np.ceil((1 if mode == "linear" else 2) / shrink))
        indices = np.floor(places).astype(np.int64)[:, None] + np.arange(1 - reach, reach + 1)
        away = np.abs(indices - places[:, None]) * shrink
        a = float(attributes.get("cubic_coeff_a", -0.75))
        weights = np.maximum(1 - away, 0) if mode == "linear" else _cubic(away, a)
        if attributes.get("exclude_outside", 0):
            weights = np.where((indices >= 0) & (indices < n), weights, 0)
        weights /= weights.sum(1, keepdims=True)
    return np.clip(indices, 0, n - 1), weights * inside[:, None], inside


def _coordinates(axis: Axis, n: int, m: int, transformation: str, dtype: Any) -> Array:
    """Where the output's elements lie on the input's axis."""
    i, scale, half = np.arange(m, dtype=dtype), dtype(axis.scale), dtype(0.5)
    start, end = dtype(axis.start), dtype(axis.end)
    if transformation == "align_corners":
        return i * dtype(n - 1) / dtype(m - 1) if m > 1 else np.zeros(m, dtype)
    if transformation == "asymmetric":
        return np.asarray(i / scale)
    if transformation == "tf_half_pixel_for_nn":
        return np.asarray((i + half) / scale)
    if transformation == "tf_crop_and_resize":
        if m == 1:
            return np.full(1, half * (start + end) * dtype(n - 1))
        return np.asarray(start * dtype(n - 1) + i * (end - start) * dtype(n - 1) / dtype(m - 1))
    if transformation == "pytorch_half_pixel" and m == 1:
        return np.zeros(1, dtype)
    places = np.asarray((i + half) / scale - half)
    if transformation == "half_pixel_symmetric":
        return np.asarray(dtype(n) / 2 * (1 - dtype(m) / (scale * dtype(n))) + places)
    return places


def _round(places: Array, mode: str) -> Array:
    functions: dict[str, Callable[[Array], Array]] = {
        "round_prefer_floor": lambda x: np.ceil(x - 0.5), "round_prefer_ceil": lambda x: np.floor(x + 0.5),
        "floor": np.floor, "ceil": np.ceil,
    }  # fmt: skip
    return np.asarray(functions[mode](places), np.int64)


def _cubic(away: Array, a: float) -> Array:
    """Keys's kernel at distances."""
    near = ((a + 2) * away - (a + 3)) * away * away + 1
    far = ((a * away - 5 * a) * away + 8 * a) * away - 4 * a
    return np.asarray(np.where(away <= 1, near, np.where(away < 2, far, 0)))


def matrix(indices: Array, weights: Array, size: int) -> Array:
    """The map of an axis: [after, before]."""
    result = np.zeros((len(indices), size))
    np.add.at(result, (np.arange(len(indices))[:, None], indices), weights)
    return result


define("Resize", _resize)


def _plan_of(node: Node) -> dict[int, Axis]:
    roi, scales = (None if value is None else value.constant for value in (*node.inputs, None, None)[1:3])
    sizes = extents(node.inputs[3]) if len(node.inputs) > 3 else None
    x = node.inputs[0]
    assert x is not None, "the type rule asked for it"
    scales = scales if scales is not None and scales.size else None
    return plan(x.shape, node.attributes, roi, scales, sizes or None)


@evaluate("Resize")
def meaning(
    x: Array, roi: Array | None = None, scales: Array | None = None, sizes: Array | None = None, **attributes: Any
) -> Array:
    scales = scales if scales is not None and scales.size else None
    y, outside = x.astype(np.float64), np.zeros((1,) * x.ndim, bool)
    wanted = tuple(sizes.tolist()) if sizes is not None else None
    for axis, found in plan(x.shape, attributes, roi, scales, wanted).items():
        indices, weights, inside = taps(found, attributes)
        rows = matrix(indices, weights, x.shape[axis])
        y = np.moveaxis(np.tensordot(rows, y, (1, axis)), 0, axis)
        outside = outside | ~inside.reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    return np.where(outside, attributes.get("extrapolation_value", 0.0), y).astype(x.dtype)


@gradient("Resize", at_run=True)
def _(g: Value, x: Value, node: Node) -> Value:
    if "declared" in node.attributes:
        return resize_at_run.undone(g, x, node)
    every = _plan_of(node)
    repeats = _repeats(every, node.attributes)
    if repeats is not None:
        return _summed(g, x.shape, repeats)
    if not all(_are_small(found) for found in every.values()):
        return resize_at_run.undone(g, x, node)
    for axis, found in every.items():
        indices, weights, _ = taps(found, node.attributes)
        n = found.before
        assert isinstance(n, int), "taps asked for it"
        if n * len(weights) <= _DENSE:
            g = _along(g, axis, matrix(indices, weights, n).T)
        else:
            g = _spread(g, axis, indices, weights, n)
    return g


def _repeats(found: Mapping[int, Axis], attributes: Mapping[str, Any]) -> dict[int, int] | None:
    """How often each element comes along each axis, if Resize does nothing but repeat elements.

    With a whole scale the pattern is the same at every element, so that one size tells of all, but for align_corners.
    """
    if (attributes.get("mode") or "nearest") != "nearest":
        return None
    result = {}
    for index, axis in found.items():
        if not axis.scale >= 1 or axis.scale != int(axis.scale):
            return None
        times = int(axis.scale)
        known = isinstance(axis.before, int)
        if axis.after != axis.before * times or not (known or _even(attributes)):
            return None
        sample = axis if known else Axis(5, 5 * times, axis.scale, axis.start, axis.end)
        indices, weights, _ = taps(sample, attributes)
        if (indices[:, 0] != np.arange(len(indices)) // times).any() or not weights.all():
            return None
        result[index] = times
    return result


def _even(attributes: Mapping[str, Any]) -> bool:
    return attributes.get("coordinate_transformation_mode") not in ("align_corners", "tf_crop_and_resize")


def _summed(g: Value, shape: Shape, repeats: Mapping[int, int]) -> Value:
    """What was repeated is added up: an average over each block times the number of its elements."""
    if repeats and min(repeats) >= 2:
        whole = tuple(repeats.get(axis, 1) for axis in range(2, len(shape)))
        return op.AveragePool(g, kernel_shape=whole, strides=whole) * float(np.prod(whole))
    split: list[Dim] = []
    sums = []
    for axis, dim in enumerate(shape):
        split.append(dim)
        if axis in repeats:
            sums.append(len(split))
            split.append(repeats[axis])
    return reduce_sum(private.ReshapeTo(g, shape=tuple(split)), *sums, keepdims=False)


def _along(x: Value, axis: int, rows: Array) -> Value:
    """A matrix [m, n] times each line of x along an axis."""
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    factor = current().constant(rows, x.dtype)
    if product(after) == 1:
        flat = private.ReshapeTo(x, shape=(product(before), rows.shape[1]))
        made = op.MatMul(flat, current().constant(rows.T, x.dtype))
    else:
        made = op.MatMul(factor, private.ReshapeTo(x, shape=(product(before), rows.shape[1], product(after))))
    value: Value = private.ReshapeTo(made, shape=(*before, rows.shape[0], *after))
    return value


def _spread(g: Value, axis: int, indices: Array, weights: Array, size: int) -> Value:
    """The transposed map by its weights: each output element hands its share to the elements that it was made of."""
    shape = (*g.shape[:axis], size, *g.shape[axis + 1 :])
    column = (len(indices), *(1,) * (g.type.rank - axis - 1))
    parts = [
        private.ScatterAdd(g * current().constant(share.reshape(column), g.dtype), place, axis=axis, shape=shape)
        for place, share in zip(indices.T, weights.T, strict=True)
    ]
    return parts[0] if len(parts) == 1 else op.Sum(*parts)


@lower("Resize")
def _(lowering: Any, node: Node, x: Value, *_: Value | None) -> Value | None:
    """By its maps where the runtime's kernel lacks the form."""
    found = _plan_of(node)
    if not x.type.is_float or _has_kernel(node, x.type.rank, found):
        return None
    if not all(_are_small(each) for each in found.values()):
        return resize_at_run.resized(x, node)
    y = x
    outside = np.zeros((1,) * x.type.rank, bool)
    for axis, each in found.items():
        indices, weights, inside = taps(each, node.attributes)
        assert isinstance(each.before, int), "taps asked for it"
        y = _along(y, axis, matrix(indices, weights, each.before))
        outside = outside | ~inside.reshape([-1 if i == axis else 1 for i in range(x.type.rank)])
    if not outside.any():
        return y
    fill = current().constant(node.attributes.get("extrapolation_value", 0.0), x.dtype)
    return op.Where(current().constant(outside), fill, y)


def _has_kernel(node: Node, rank: int, found: Mapping[int, Axis]) -> bool:
    """The nearest element at every rank; linear over up to three axes, the last of an image or volume; cubic over an
    image's."""
    mode = node.attributes.get("mode") or "nearest"
    first = min(found, default=rank)
    if mode == "nearest":
        return True
    if mode == "cubic":
        return rank == 4 and first >= 2
    return rank in (2, 3) or (rank in (4, 5) and first >= 2)


__all__ = ["MODES", "choice", "meaning", "plan"]
