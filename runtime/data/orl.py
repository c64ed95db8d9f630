"""The reader of the ORL faces: 400 raw PGM pictures (Netpbm's pgm(5)), joined in one file by people and numbers.

The package carries 152 of them damaged: something took them for text and made a carriage return and a line feed of
each byte 10. Undone, 150 have their size again. In the two others one such pair was in the picture before; it is the
one with which the picture is smoothest.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from .errors import DataError
from .fetch import fetch, registry
from .files import opened
from .readers import reader
from .records import Records, Request

PEOPLE, EACH, HEIGHT, WIDTH = 40, 10, 112, 92
_HEADER = re.compile(rb"P5\r?\n92 112\r?\n255(\r?)\n")


@reader("orl_faces")
def orl_faces(request: Request) -> Records:
    """`image` u8[1, 112, 92] grey, `label` i64[] the person, 0 to 39, `number` i64[] of the photograph, 1 to 10."""
    (file,) = fetch("orl_faces", say=request.say, progress=request.progress, cache=request.cache)
    with opened(file) as stream:
        images = read_faces(file, stream)
    place, item = np.arange(PEOPLE * EACH), registry()["orl_faces"]
    return Records(
        {"image": images[:, None], "label": place // EACH, "number": place % EACH + 1},
        source=item.source,
        licence=item.licence,
        place=lambda i: f"{file}, person {i // EACH + 1}, number {i % EACH + 1}",
        classes={"label": tuple(f"person {n + 1}" for n in range(PEOPLE))},
    )


def read_faces(path: Path, stream: BinaryIO) -> NDArray[np.uint8]:
    """u8[400, 112, 92]. Raises DataError for anything else."""
    _, *parts = _HEADER.split(stream.read())
    pairs = zip(parts[::2], parts[1::2], strict=True)
    rasters = [_repaired(raster) if returns else raster for returns, raster in pairs]
    sizes = {len(raster) for raster in rasters}
    if len(rasters) != PEOPLE * EACH or sizes != {HEIGHT * WIDTH}:
        raise DataError(f"{path}: expected {PEOPLE * EACH} PGM pictures of {WIDTH} x {HEIGHT}, found {len(rasters)}")
    return np.frombuffer(b"".join(rasters), np.uint8).reshape(-1, HEIGHT, WIDTH)


def _repaired(raster: bytes) -> bytes:
    whole = raster.replace(b"\r\n", b"\n")
    if len(whole) != HEIGHT * WIDTH - 1:
        return whole
    pairs = [found.start() for found in re.finditer(b"\r\n", raster)]
    halves = ((raster[:at], raster[at + 2 :]) for at in pairs)
    choices = [b"\r\n".join(half.replace(b"\r\n", b"\n") for half in each) for each in halves]
    return min(choices, key=_roughness)


def _roughness(raster: bytes) -> int:
    picture = np.frombuffer(raster, np.uint8).reshape(HEIGHT, WIDTH).astype(np.int64)
    return int(np.abs(np.diff(picture, axis=0)).sum() + np.abs(np.diff(picture, axis=1)).sum())
