"""A picture file as an input of a model."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dlc.runtime.checkpoint import Array
from dlc.runtime.data.plan import dtype_name
from dlc.runtime.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".pgm", ".ppm", ".tif", ".tiff")
MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def read_picture(
    path: Path, name: str, dtype: np.dtype[Any], record: tuple[int | str | None, ...], note: Callable[[str], None]
) -> Array:
    """The picture as `record`, [channels, height, width] or [height, width], in u8, the way up it was taken.

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
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as file:
                if file.mode.startswith(("I", "F")):
                    raise InputError(f"{path}: expected a picture of 8 bits a channel, found the mode {file.mode}")
                picture = ImageOps.exif_transpose(file)
                plain = "L" if file.mode in ("1", "L", "LA") else "RGB"
                channels = record[0] if len(record) == 3 else 1
                picture = picture.convert(MODES[channels] if isinstance(channels, int) else plain)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{path}: not a picture that can be read: {error}") from error
    own_size = (picture.height, picture.width)
    height, width = (dim if isinstance(dim, int) else own for dim, own in zip(record[-2:], own_size, strict=True))
    if picture.size != (width, height):
        note(f"{path}: {picture.width}x{picture.height} is resized to {width}x{height} for `{name}`")
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    array = np.asarray(picture)
    if len(record) == 2:
        return array
    return array[None] if array.ndim == 2 else np.ascontiguousarray(np.moveaxis(array, 2, 0))
