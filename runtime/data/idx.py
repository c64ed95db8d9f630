"""The reader of IDX files: `00 00 TYPE RANK`, RANK big-endian uint32 dimensions, then the values, big-endian.

Format: the page of the MNIST database of handwritten digits, "THE IDX FILE FORMAT".
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from .errors import DataError, count
from .files import opened
from .readers import reader
from .records import Records, Request

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_BLOCK = 1 << 20


@reader("idx")
def idx(request: Request, images: str, labels: str) -> Records:
    """`image` from the first file, `label` from the second; either may be gzip, with or without `.gz` in the name."""
    picture_file = request.file(images, endings=(".gz",))
    label_file = request.file(labels, endings=(".gz",))
    pictures = read_idx(picture_file)
    classes = read_idx(label_file)
    if classes.ndim != 1:
        raise DataError(f"{label_file}: expected one label an example, found rank {classes.ndim}: {_shape(classes)}")
    if pictures.ndim < 2:
        raise DataError(
            f"{picture_file}: expected pictures, found one number an example: {_shape(pictures)}; "
            "the pictures are idx's first argument, the labels its second"
        )
    if len(pictures) != len(classes):
        raise DataError(f"{picture_file} holds {len(pictures):,} pictures, but {label_file} {len(classes):,} labels")
    return Records({"image": pictures, "label": classes}, source=str(picture_file))


def read_idx(path: Path) -> NDArray[Any]:
    """The array of one IDX file, in native byte order. Raises DataError unless the bytes are exactly those
    announced."""
    with opened(path) as file:
        head = file.read(4)
        if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in TYPES or head[3] == 0:
            raise DataError(
                f"{path}: not an IDX file: expected it to begin 00 00, a type (08, 09, 0b, 0c, 0d or 0e) and a rank; "
                f"found {head.hex(' ') or 'an empty file'}"
            )
        dtype, rank = np.dtype(TYPES[head[2]]), head[3]
        sizes = file.read(4 * rank)
        if len(sizes) < 4 * rank:
            raise DataError(f"{path}: cut short: its header announces {count(rank, 'dimension')} and ends within them")
        shape = struct.unpack(f">{rank}I", sizes)
        expected = math.prod(shape) * dtype.itemsize
        data = _read_up_to(file, expected + 1)
    if len(data) != expected:
        found = f"only {len(data):,} follow: the file is cut short" if len(data) < expected else "more follow"
        raise DataError(f"{path}: its header announces {list(shape)}, {expected:,} bytes, but {found}")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _read_up_to(file: BinaryIO, limit: int) -> bytearray:
    """At most `limit` bytes, in blocks: a false header must not make us allocate what the file does not hold."""
    data = bytearray()
    while len(data) < limit and (block := file.read(min(_BLOCK, limit - len(data)))):
        data += block
    return data


def _shape(array: NDArray[Any]) -> str:
    return f"[{', '.join(map(str, array.shape))}]"
