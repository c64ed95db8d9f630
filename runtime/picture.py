"""A picture file as an input of a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dlc.runtime.checkpoint import Array
from dlc.runtime.data.errors import DataError
from dlc.runtime.data.pictures import MODES, decode
from dlc.runtime.data.plan import dtype_name
from dlc.runtime.errors import InputError


def read_picture(
    path: Path, name: str, dtype: np.dtype[Any], record: tuple[int | str | None, ...], note: Callable[[str], None]
) -> Array:
    """The picture as `record`, [channels, height, width] or [height, width], in u8, as the readers of data decode it.

    A record's open dimensions are as the picture has them. `note` is told where it is resized. Raises InputError: an
    input that takes no pictures, a file that is none.
    """
    if dtype != np.uint8:
        raise InputError(
            f"`{name}` is {dtype_name(dtype)} and takes no picture: its values must be prepared as for training",
            "a model exported without --raw takes pictures; prepared values can be given as .npy",
        )
    if len(record) not in (2, 3) or (len(record) == 3 and isinstance(record[0], int) and record[0] not in MODES):
        shape = ", ".join(map(str, record))
        raise InputError(
            f"`{name}` takes no picture: an example of it is [{shape}], expected [height, width] or "
            "[channels, height, width] with 1, 3 or 4 channels"
        )
    channels = record[0] if len(record) == 3 else 1
    try:
        picture = decode(path, channels if isinstance(channels, int) else None)
    except DataError as error:
        raise InputError(str(error)) from error
    own_size = picture.shape[1:]
    height, width = (dim if isinstance(dim, int) else own for dim, own in zip(record[-2:], own_size, strict=True))
    if own_size != (height, width):
        note(f"{path}: {own_size[1]}x{own_size[0]} is resized to {width}x{height} for `{name}`")
        picture = _resized(picture, height, width)
    return picture if len(record) == 3 else picture[0]


def _resized(picture: Array, height: int, width: int) -> Array:
    from PIL import Image

    pixels = picture[0] if len(picture) == 1 else np.moveaxis(picture, 0, 2)
    made = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))
    return made[None] if made.ndim == 2 else np.ascontiguousarray(np.moveaxis(made, 2, 0))
