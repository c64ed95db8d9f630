"""Picture files: decoding them, and columns of them that are decoded one at a time."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".pgm", ".ppm")
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "PPM")
"""What is decoded, whatever a file is called: no format that runs programs (EPS) or is rarely met."""
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_GREY = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N")
_EVERY = 256


def decode(path: Path, channels: int | None) -> NDArray[np.uint8]:
    """A picture as u8[channels, height, width], the way up it was taken.

    channels: 1 is grey (Pillow's `L`, ITU-R BT.601), 3 red, green and blue, 4 with opacity; None: 1 or 3, as it is in
    the file. Palettes become colours, opacity that is not wanted is left out, 16 bits are rounded to 8, of an animation
    the first picture is taken. Raises DataError, which names the file: not a picture of a known format, damaged, cut
    short, or larger than Pillow's limit for decompression bombs (89 million pixels).
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata are nothing that a user can act on
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as file:
                file.load()
                upright = ImageOps.exif_transpose(file)
                found = np.asarray(_in_mode(upright, channels))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        most = (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise DataError(f"{path}: announces more than {most} million pixels, which is refused: {error}") from error
    except UnidentifiedImageError:
        raise DataError(f"{path}: {_unknown(path)}") from None
    except OSError as error:
        raise DataError(f"{path}: not a picture that can be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise DataError(f"{path}: the picture does not fit into memory") from error
    except Exception as error:  # decoders of damaged files raise whatever they stumble over
        raise DataError(f"{path}: not a picture that can be read: {error}") from error
    made = found[None] if found.ndim == 2 else np.moveaxis(found, 2, 0)
    return np.ascontiguousarray(made, np.uint8)


def _in_mode(picture: Any, channels: int | None) -> Any:
    if picture.mode == "F":
        raise ValueError("expected 8 or 16 bits a channel, found floating point")
    grey = picture.mode in _GREY
    wanted = MODES[channels] if channels is not None else "L" if grey else "RGB"
    if picture.mode.startswith("I"):
        from PIL import Image

        wide = np.clip(np.asarray(picture).astype(np.int64), 0, 65535)
        picture = Image.fromarray(((wide + 128) // 257).astype(np.uint8))
    if picture.mode == "P":
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    return picture if picture.mode == wanted else picture.convert(wanted)


def _unknown(path: Path) -> str:
    try:
        head = path.open("rb").read(8)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    found = f"found a file that begins {head.hex(' ')}" if head else "found an empty file"
    return f"expected a picture ({', '.join(each.lower() for each in FORMATS)}), {found}"


@dataclass(frozen=True)
class Pictures:
    """A column of pictures, one a file, of any sizes: `column[i]` decodes, `column[rows]` is the column of those.

    `channels` as in `decode`; `progress` is called while the files are hashed.
    """

    files: tuple[Path, ...]
    channels: int | None = None
    progress: Callable[[str, int, int], None] | None = None

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, int | np.integer):
            return decode(self.files[at], self.channels)
        return replace(self, files=tuple(self.files[int(row)] for row in at))

    def of(self, channels: int | None) -> Pictures:
        return replace(self, channels=channels)

    def hash_into(self, digest: Any) -> None:
        """The bytes of the files, not of the pictures: every start would have to decode them all. Raises DataError."""
        digest.update(f"pictures\0{self.channels}\0{len(self)}\0".encode())
        for at, path in enumerate(self.files):
            try:
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
            except OSError as error:
                raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
            if self.progress is not None and (at % _EVERY == 0 or at + 1 == len(self)):
                self.progress("checking pictures", at + 1, len(self))
