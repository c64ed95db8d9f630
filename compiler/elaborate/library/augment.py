"""Augmentation: random changes of a batch of pictures, drawn for each row from the step's own streams."""

from __future__ import annotations

import math
from typing import Any

from dlc.compiler.build import current, ints, op, private
from dlc.compiler.elaborate.context import Elaborator
from dlc.compiler.elaborate.entities import describe
from dlc.compiler.elaborate.kinds import Count, Floats, Fraction, Natural, Share, Side
from dlc.compiler.elaborate.library.functions import function
from dlc.compiler.elaborate.library.random import uniform_bits
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value
from dlc.compiler.types import Dim

BITS = 2**31


def _pictures(e: Elaborator, value: Value, what: str) -> Value:
    """A batch `[B, C, H, W]` in an `augment` section; raises Problem."""
    if not e.augmenting:
        raise Problem("E0206", f"`{what}` belongs into the `augment` section of data", "it draws anew at every step")
    if value.type.rank != 4 or not all(isinstance(dim, int) for dim in value.shape[1:]):
        raise Problem("E0301", f"`{what}` wants pictures `[B, C, H, W]` of one size", f"this is {value.type}")
    return value


def _per_row(e: Elaborator, x: Value) -> Value:
    """One draw in (0, 1) for each row, as `[B, 1, 1, 1]`."""
    bits = uniform_bits(e, x.shape[:1])
    return private.ReshapeTo((op.Cast(bits, to=x.dtype) + 0.5) * (1.0 / BITS), shape=(x.shape[0], 1, 1, 1))


@function("random_flip")
def random_flip(e: Elaborator, x: Floats, chance: Share = 0.5) -> Value:
    """Each picture is mirrored left to right with probability `chance`."""
    value = _pictures(e, x, "random_flip")
    mirrored = op.Slice(value, ints(-1), ints(-(2**62)), ints(3), ints(-1))
    return op.Where(_per_row(e, value) < float(chance), mirrored, value)


@function("random_crop")
def random_crop(e: Elaborator, x: Floats, size: Count, pad: Natural = 0) -> Value:
    """Each picture is padded with zeros on every side and cut to `size` x `size` at a place of its own."""
    value = _pictures(e, x, "random_crop")
    if pad:
        value = op.Pad(value, ints(0, 0, pad, pad, 0, 0, pad, pad))
    rows, channels, height, width = value.shape
    assert isinstance(height, int) and isinstance(width, int)
    if size > height or size > width:
        text = f"a crop of {size} does not fit into {height} x {width}"
        raise Problem("E0301", text, f"this is {value.type}", argument="size")
    down, right = _offsets(e, rows, height - size), _offsets(e, rows, width - size)
    steps = current().constant(range(size), "i64")
    place = (down + private.ReshapeTo(steps, shape=(size, 1))) * width + (right + steps)  # [B, size, size]
    index = private.ExpandTo(
        private.ReshapeTo(place, shape=(rows, 1, size * size)), shape=(rows, channels, size * size)
    )
    flat = private.ReshapeTo(value, shape=(rows, channels, height * width))
    return private.ReshapeTo(op.GatherElements(flat, index, axis=2), shape=(rows, channels, size, size))


def _offsets(e: Elaborator, rows: Dim, most: int) -> Value:
    """For each row a whole number from 0 to `most`, as i64[B, 1, 1]."""
    bits = uniform_bits(e, (rows,))
    return private.ReshapeTo(bits % (most + 1), shape=(rows, 1, 1))


@function("random_resized_crop")
def random_resized_crop(
    e: Elaborator, x: Floats, size: Side, scale: Any = (0.08, 1), ratio: Any = (3 / 4, 4 / 3)
) -> Value:
    """A part of each picture, resized to `size` x `size` as `resize` does it (Szegedy et al., 2014, section 6).

    The part's share of the area is uniform in `scale`, its width by its height is in `ratio`, uniform by logarithm. A
    side that would be longer than the picture's becomes as long as that.
    """
    value = _pictures(e, x, "random_resized_crop")
    low, high = _bounds("scale", scale, 1.0)
    narrow, wide = (math.log(each) for each in _bounds("ratio", ratio, math.inf))
    height, width = value.shape[2:]
    assert isinstance(height, int) and isinstance(width, int)
    area = (_per_row(e, value) * (high - low) + low) * float(height * width)
    shape = op.Exp(_per_row(e, value) * (wide - narrow) + narrow)
    down = _part(e, value, height, op.Sqrt(area / shape), size)
    across = _part(e, value, width, op.Sqrt(area * shape), size)
    cropped: Value = (down @ value) @ op.Transpose(across, perm=(0, 1, 3, 2))
    return cropped


def _bounds(name: str, value: Any, most: float) -> tuple[float, float]:
    """Two numbers above 0 in ascending order; raises Problem."""
    numbers = list(value) if isinstance(value, list | tuple) else []
    if len(numbers) != 2 or not all(isinstance(each, int | float) and 0 < each <= most for each in numbers):
        limit = " up to 1" if most == 1 else ""
        text = f"`{name}` is a list of two numbers above 0{limit}"
        raise Problem("E0303", text, f"this is {describe(value)}", argument=name)
    if numbers[0] > numbers[1]:
        text = f"`{name}` begins with the lesser number"
        raise Problem("E0303", text, f"this is {describe(value)}", argument=name)
    return float(numbers[0]), float(numbers[1])


def _part(e: Elaborator, value: Value, length: int, wanted: Value, size: int) -> Value:
    """Of each row, the weights [B, 1, size, length] that resize a part, about `wanted` long, at a place of its own."""

    def number(each: float) -> Value:
        return current().constant(each, value.dtype)

    extent = op.Min(op.Max(op.Floor(wanted + 0.5), number(1.0)), number(float(length)))
    start = op.Floor(_per_row(e, value) * (float(length) + 1.0 - extent))
    step = extent * (1.0 / size)
    centers = current().constant([[i + 0.5] for i in range(size)], value.dtype) * step + start
    places = current().constant([i + 0.5 for i in range(length)], value.dtype)
    triangle = op.Max(1.0 - op.Abs(places - centers) / op.Max(step, number(1.0)), number(0.0))
    inside = op.And(op.Greater(places, start), op.Less(places, start + extent))
    weights = op.Where(inside, triangle, number(0.0))
    return weights / op.ReduceSum(weights, ints(-1), keepdims=1)


@function("color_jitter")
def color_jitter(e: Elaborator, x: Floats, strength: Fraction) -> Value:
    """Brightness and contrast of each picture are scaled by factors of their own in 1 +- `strength`."""
    value = _pictures(e, x, "color_jitter")
    brightness, contrast = ((_per_row(e, value) * 2.0 - 1.0) * float(strength) + 1.0 for _ in range(2))
    bright = value * brightness
    middle = op.ReduceMean(bright, ints(1, 2, 3), keepdims=1)
    return (bright - middle) * contrast + middle
