"""Arrays as pictures inside a page: PNG in data URIs."""

from __future__ import annotations

import base64
import io
import math

import numpy as np

from dlc.runtime.checkpoint import Array

LARGEST = 80  # pixels of a side; a larger picture is made smaller


def is_picture(shape: tuple[int, ...]) -> bool:
    """Is an array of this shape a picture, [1 or 3, height, width]?"""
    return len(shape) == 3 and shape[0] in (1, 3) and min(shape[1:]) >= 4


def picture(array: Array, low: float, high: float) -> str:
    """The data URI of [1 or 3, height, width]; `low` is black and `high` white."""
    from PIL import Image

    shown = np.moveaxis(_bytes(array, low, high), 0, 2)
    image = Image.fromarray(np.ascontiguousarray(shown[:, :, 0] if shown.shape[2] == 1 else shown))
    if max(image.size) > LARGEST:
        image.thumbnail((LARGEST, LARGEST))
    return _uri(image)


def png(pixels: Array) -> str:
    """The data URI of u8 [height, width] or [height, width, 3]."""
    from PIL import Image

    return _uri(Image.fromarray(np.ascontiguousarray(pixels)))


def tiles(filters: Array) -> tuple[str, int, int]:
    """All of [n, 1 or 3, height, width] side by side, and the picture's width and height in pixels.

    Each is scaled by its own largest size, and 0 is in the middle: white between blue (negative) and red for one
    channel, grey for three.
    """
    from PIL import Image

    count, channels, height, width = filters.shape
    columns = min(count, max(1, math.ceil(math.sqrt(count * 2))))
    rows = math.ceil(count / columns)
    sheet = np.full((rows * (height + 1) + 1, columns * (width + 1) + 1, 4), 0, np.uint8)
    for at, each in enumerate(filters):
        top, left = (at // columns) * (height + 1) + 1, (at % columns) * (width + 1) + 1
        share = each / (np.abs(each).max() or 1.0)
        colours = diverging(share[0]) if channels == 1 else np.moveaxis(_bytes(share, -1, 1), 0, 2)
        sheet[top : top + height, left : left + width, :3] = colours
        sheet[top : top + height, left : left + width, 3] = 255
    return _uri(Image.fromarray(sheet)), sheet.shape[1], sheet.shape[0]


def diverging(share: Array) -> Array:
    """Colours u8 [..., 3] of numbers from -1 (blue) over 0 (white) to 1 (red)."""
    size = np.abs(np.clip(share, -1, 1))[..., None]
    end = np.where(share[..., None] < 0, [33.0, 102.0, 172.0], [178.0, 24.0, 43.0])
    colours: Array = np.rint(250 + (end - 250) * size).astype(np.uint8)
    return colours


def _bytes(array: Array, low: float, high: float) -> Array:
    scaled = (np.asarray(array, np.float64) - low) / ((high - low) or 1.0)
    return np.rint(np.clip(np.nan_to_num(scaled), 0, 1) * 255).astype(np.uint8)


def _uri(image: object) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)  # type: ignore[attr-defined]
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


__all__ = ["diverging", "is_picture", "picture", "png", "tiles"]
