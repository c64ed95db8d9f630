"""Augmentation: random changes of a batch of pictures, drawn for each row from the step's own streams."""

from __future__ import annotations

from typing import Any

from dlc.compiler.build import current, ints, op, private
from dlc.compiler.elaborate.context import Elaborator
from dlc.compiler.elaborate.entities import describe
from dlc.compiler.elaborate.library.functions import floating, function
from dlc.compiler.elaborate.library.random import uniform_bits
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value
from dlc.compiler.types import Dim

BITS = 2**31


def _pictures(e: Elaborator, x: Any, what: str) -> Value:
    """A batch `[B, C, H, W]` in an `augment` section; raises Problem."""
    if not e.augmenting:
        raise Problem("E0206", f"`{what}` belongs into the `augment` section of data", "it draws anew at every step")
    value = floating(x, what)
    if value.type.rank != 4 or not all(isinstance(dim, int) for dim in value.shape[1:]):
        raise Problem("E0301", f"`{what}` wants pictures `[B, C, H, W]` of one size", f"this is {value.type}")
    return value


def _per_row(e: Elaborator, x: Value) -> Value:
    """One draw in (0, 1) for each row, as `[B, 1, 1, 1]`."""
    bits = uniform_bits(e, x.shape[:1])
    return private.ReshapeTo((op.Cast(bits, to=x.dtype) + 0.5) * (1.0 / BITS), shape=(x.shape[0], 1, 1, 1))


@function("random_flip")
def random_flip(e: Elaborator, x: Any, chance: Any = 0.5) -> Value:
    """Each picture is mirrored left to right with probability `chance`."""
    value = _pictures(e, x, "random_flip")
    if isinstance(chance, bool) or not isinstance(chance, int | float) or not 0 <= chance <= 1:
        raise Problem("E0303", "a chance lies between 0 and 1", f"this is {describe(chance)}")
    mirrored = op.Slice(value, ints(-1), ints(-(2**62)), ints(3), ints(-1))
    return op.Where(_per_row(e, value) < float(chance), mirrored, value)


@function("random_crop")
def random_crop(e: Elaborator, x: Any, size: Any, pad: Any = 0) -> Value:
    """Each picture is padded with zeros on every side and cut to `size` x `size` at a place of its own."""
    value = _pictures(e, x, "random_crop")
    for name, number, least in (("size", size, 1), ("pad", pad, 0)):
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            raise Problem("E0303", f"`{name}` is an integer of {least} or more", f"this is {describe(number)}")
    if pad:
        value = op.Pad(value, ints(0, 0, pad, pad, 0, 0, pad, pad))
    rows, channels, height, width = value.shape
    assert isinstance(height, int) and isinstance(width, int)
    if size > height or size > width:
        raise Problem("E0301", f"a crop of {size} does not fit into {height} x {width}", f"this is {value.type}")
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


@function("color_jitter")
def color_jitter(e: Elaborator, x: Any, strength: Any) -> Value:
    """Brightness and contrast of each picture are scaled by factors of their own in 1 +- `strength`."""
    value = _pictures(e, x, "color_jitter")
    if isinstance(strength, bool) or not isinstance(strength, int | float) or not 0 <= strength < 1:
        raise Problem("E0303", "a strength is at least 0 and below 1", f"this is {describe(strength)}")
    brightness, contrast = ((_per_row(e, value) * 2.0 - 1.0) * float(strength) + 1.0 for _ in range(2))
    bright = value * brightness
    middle = op.ReduceMean(bright, ints(1, 2, 3), keepdims=1)
    return (bright - middle) * contrast + middle


