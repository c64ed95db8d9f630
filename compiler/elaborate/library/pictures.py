"""Pictures of one size or of any: resize, center_crop, grayscale, over the last two axes (`grayscale`: the third last).

Resizing is bilinear with antialiasing, as Pillow and PyTorch do it for shrinking: each row (then each column) of the
result is a weighted mean of those of the picture, by a triangle that is two result pixels wide but never narrower than
two source pixels. That is a product with a matrix of weights on either side, which is right for a size that is known
only when a picture comes, and on every processor.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dlc.compiler.build import current, ints, op, private
from dlc.compiler.elaborate.context import Elaborator
from dlc.compiler.elaborate.entities import PictureFile
from dlc.compiler.elaborate.kinds import Floats, Side
from dlc.compiler.elaborate.library.functions import floating, function, tensor_of
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value
from dlc.compiler.types import Dim

LUMA = (0.299, 0.587, 0.114)
"""Red, green and blue in the brightness Y of ITU-R BT.601, which is what Pillow's mode `L` is."""


@function("resize")
def resize(e: Elaborator, x: Any, height: Side, width: Side | None = None) -> Value:
    """`resize(h, w)` stretches a picture to h x w. `resize(n)` keeps its proportions: it is scaled until the shorter
    side is n, and the middle n x n of that is taken. A file of the record is decoded first."""
    if isinstance(x, PictureFile):
        x = e.records.decoded(e, x.record)
    value = _picture(x, "resize")
    if width is not None:
        sides = [_whole_side(dim, n) for dim, n in zip(value.shape[-2:], (height, width), strict=True)]
    else:
        sides = _middle_sides(value.shape[-2], value.shape[-1], height)
    down, across = (_cast(side, value.dtype) for side in sides)
    order = (*range(across.type.rank - 2), across.type.rank - 1, across.type.rank - 2)
    return (down @ value) @ op.Transpose(across, perm=order)


@function("center_crop")
def center_crop(x: Any, height: Side, width: Side | None = None) -> Value:
    """The middle `height` x `width` of a picture (`center_crop(n)`: n x n); a smaller picture is an error."""
    value = _picture(x, "center_crop")
    wanted = (height, height if width is None else width)
    for axis, size in zip((-2, -1), wanted, strict=True):
        length = value.shape[axis]
        if isinstance(length, int) and length < size:
            raise Problem("E0301", f"a crop of {size} does not fit into {length}", f"the picture is {value.type}")
    for axis, size in zip((-2, -1), wanted, strict=True):
        rows = current().constant(np.arange(size), "i64")
        # A picture that is too small has its last row below 0 or past the end, at which Gather fails.
        value = op.Gather(value, rows + _margin(_length(value.shape[axis]), size), axis=axis)
    return value


@function("grayscale")
def grayscale(x: Floats) -> Value:
    """The brightness of a picture of red, green and blue: [3, H, W] to [1, H, W] (ITU-R BT.601)."""
    if x.type.rank < 3 or x.shape[-3] not in (1, 3):
        raise Problem("E0301", "`grayscale` wants a picture [3, H, W]", f"this is {x.type}")
    if x.shape[-3] == 1:
        return x
    parts = current().constant(np.reshape(LUMA, (3, 1, 1)), x.dtype)
    return op.ReduceSum(x * parts, ints(-3), keepdims=1)


def _picture(x: Any, what: str) -> Value:
    """A picture, or a batch of them; raises Problem."""
    if isinstance(x, PictureFile):
        help = f"decode it first: `decode_image(raw.{x.record}) -> {what}(...)`"
        raise Problem("E0302", f"`{what}` wants a picture", "this is a file", help=help)
    value = tensor_of(x, what)
    if value.type.rank < 2:
        raise Problem("E0301", f"`{what}` wants a picture [..., H, W]", f"this is {value.type}")
    return floating(value, what) if what == "resize" else value


def _length(dim: Dim) -> Value:
    """A size as i64[], read at run time where it is not known."""
    return current().constant(dim, "i64") if isinstance(dim, int) else private.Size(dim=dim)


def _cast(x: Value, dtype: str) -> Value:
    return x if x.dtype == dtype else op.Cast(x, to=dtype)


def _margin(length: Value, size: int) -> Value:
    """What is left out before the middle `size` of `length`: half of the rest, a half rounded to even, as
    torchvision's center_crop has it."""
    rest = length - size
    half = op.Div(rest, current().constant(2, "i64"))
    return half + op.Mod(rest, current().constant(2, "i64")) * op.Mod(half, current().constant(2, "i64"))


def _whole_side(dim: Dim, size: int) -> Value:
    if isinstance(dim, int):
        return current().constant(_known_weights(dim, size), "f32")
    return _weights(dim, _length(dim), current().constant(size, "i64"), size, None)


def _middle_sides(height: Dim, width: Dim, size: int) -> list[Value]:
    """The weights of the rows and of the columns. The longer side becomes `size` times long by short, rounded down."""
    lengths = [_length(height), _length(width)]
    shorter = op.Min(*lengths)
    sides = []
    for dim, length in zip((height, width), lengths, strict=True):
        scaled = op.Div(length * size, shorter)
        sides.append(_weights(dim, length, scaled, size, _margin(scaled, size)))
    return sides


def _weights(dim: Dim, length: Value, scaled: Value, size: int, first: Value | None) -> Value:
    """f32[size, dim]: the part of each source row in the result rows `first`, `first + 1`, ... of `scaled` in all."""
    step = _cast(length, "f32") / _cast(scaled, "f32")
    rows = current().constant(np.arange(size), "i64")
    rows = private.ReshapeTo(rows if first is None else rows + first, shape=(size, 1))
    centers = (_cast(rows, "f32") + 0.5) * step
    zero, one = (current().constant(n, "i64") for n in (0, 1))
    places = _cast(op.Range(zero, private.Size(dim=dim) if not isinstance(dim, int) else length, one), "f32") + 0.5
    distance = op.Abs(places - centers) / op.Max(step, current().constant(1.0, "f32"))
    triangle = op.Max(1.0 - distance, current().constant(0.0, "f32"))
    return triangle / op.ReduceSum(triangle, ints(-1), keepdims=1)


def _known_weights(length: int, size: int) -> np.ndarray[Any, Any]:
    """The same for a size that is known while compiling."""
    step = length / size
    centers = (np.arange(size)[:, None] + 0.5) * step
    triangle = np.maximum(1 - np.abs(np.arange(length) + 0.5 - centers) / max(step, 1), 0)
    weights: np.ndarray[Any, Any] = triangle / triangle.sum(axis=1, keepdims=True)
    return weights
