"""The reader of NumPy archives (`.npz`). Nothing is unpickled, nothing is unpacked to disk."""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import DataError, nearest
from .files import refuse_bomb
from .readers import reader
from .records import Records, Request


@reader("npz")
def npz(request: Request, path: str, part: str = "") -> Records:
    """The arrays that the data section names. With a part such as "train", `image` is the array `train_image`, or else
    `image_train`."""
    file = request.file(path)
    try:
        with zipfile.ZipFile(file) as archive:
            members = {name.removesuffix(".npy"): name for name in archive.namelist() if name.endswith(".npy")}
            chosen = {name: _choose(file, members, name, part) for name in request.wanted}
            arrays = {name: _array(file, archive, members[key]) for name, key in chosen.items()}
    except zipfile.BadZipFile as error:
        raise DataError(f"{file}: not a whole .npz archive (a zip of .npy arrays): {error}") from error
    return Records(arrays, source=str(file))


def _choose(file: Path, members: dict[str, str], name: str, part: str) -> str:
    keys = [f"{part}_{name}", f"{name}_{part}"] if part else [name]
    for key in keys:
        if key in members:
            return key
    raise DataError(f"{file}: has no array {' or '.join(f'`{k}`' for k in keys)}; {nearest(keys[0], members)}")


def _array(file: Path, archive: zipfile.ZipFile, member: str) -> NDArray[Any]:
    """One array, after its header has been checked against the bytes that the archive says it has."""
    where = f"{file}: array `{member.removesuffix('.npy')}`"
    try:
        info = archive.getinfo(member)
        refuse_bomb(where, info.compress_size, info.file_size)
        with archive.open(member) as stream:
            version = np.lib.format.read_magic(stream)
            if version not in ((1, 0), (2, 0)):
                raise DataError(f"{where} is in version {version} of the format; expected 1.0 or 2.0")
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = header(stream)
            if dtype.hasobject:
                raise DataError(f"{where} holds pickled Python objects, which are never loaded; save plain numbers")
            expected = math.prod(shape) * dtype.itemsize
            held = info.file_size - stream.tell()
            if expected != held:
                raise DataError(f"{where} announces {list(shape)} of {dtype}, {expected:,} bytes, but holds {held:,}")
            stream.seek(0)
            array = np.lib.format.read_array(stream, allow_pickle=False)
    except (ValueError, EOFError, zlib.error, RuntimeError, NotImplementedError, OverflowError) as error:
        raise DataError(f"{where} cannot be read: {error}") from error
    except MemoryError as error:
        raise DataError(f"{where} does not fit into memory") from error
    if array.ndim == 0:
        raise DataError(f"{where} is a single number; expected an array whose first axis is the examples")
    return array
