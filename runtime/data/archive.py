"""NumPy's files: the reader of archives (`.npz`), and single arrays. Nothing is unpickled or unpacked to disk."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

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
    with _opened(file) as archive:
        keys = {name: [f"{part}_{name}", f"{name}_{part}"] if part else [name] for name in request.wanted}
        arrays = {name: _member(file, archive, spellings) for name, spellings in keys.items()}
    for name, array in arrays.items():
        if array.ndim == 0:
            raise DataError(
                f"{file}: array `{name}` is a single number; expected an array whose first axis is the examples"
            )
    return Records(arrays, source=str(file))


def load_npz(file: Path, name: str) -> NDArray[Any]:
    """The array `name` of an archive, or the only one that it holds. Raises DataError."""
    with _opened(file) as archive:
        names = _names(archive)
        return _member(file, archive, names if len(names) == 1 else [name])


def load_npy(file: Path) -> NDArray[Any]:
    """The array of a `.npy` file. Raises DataError."""
    try:
        with file.open("rb") as stream:
            return _array(f"{file}:", stream, file.stat().st_size)
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}") from error


@contextmanager
def _opened(file: Path) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(file)
    except Exception as error:  # a damaged directory of members raises whatever its parser stumbles over
        raise DataError(f"{file}: not a whole .npz archive (a zip of .npy arrays): {error}") from error
    with archive:
        yield archive


def _names(archive: zipfile.ZipFile) -> list[str]:
    return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


def _member(file: Path, archive: zipfile.ZipFile, spellings: list[str]) -> NDArray[Any]:
    """The array with the first of these names that the archive has."""
    names = _names(archive)
    name = next((each for each in spellings if each in names), None)
    if name is None:
        wanted = " or ".join(f"`{each}`" for each in spellings)
        raise DataError(f"{file}: has no array {wanted}; {nearest(spellings[0], names)}")
    if names.count(name) > 1:
        raise DataError(f"{file}: holds {names.count(name)} arrays called `{name}`; nothing says which is meant")
    where = f"{file}: array `{name}`"
    info = archive.getinfo(f"{name}.npy")
    refuse_bomb(where, info.compress_size, info.file_size)
    try:
        with archive.open(info) as stream:
            return _array(where, stream, info.file_size)
    except DataError:
        raise
    except Exception as error:  # each way of packing has exceptions of its own for what is damaged
        raise DataError(f"{where} cannot be read: {error}") from error


def _array(where: str, stream: IO[bytes], size: int) -> NDArray[Any]:
    """The array in a stream of `size` bytes, after its header has been checked against them."""
    shape, dtype = _header(where, stream)
    if dtype.hasobject:
        text = "it holds pickled Python objects, which are never loaded; save plain numbers"
        raise DataError(f"{where} cannot be read: {text}")
    expected, held = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if expected != held:
        raise DataError(f"{where} announces {list(shape)} of {dtype}, {expected:,} bytes, but holds {held:,}")
    stream.seek(0)
    try:
        return np.lib.format.read_array(stream, allow_pickle=False)
    except MemoryError as error:
        raise DataError(f"{where} does not fit into memory") from error
    except ValueError as error:
        raise DataError(f"{where} cannot be read: {error}") from error


def _header(where: str, stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise DataError(f"{where} is in version {version} of the format; expected 1.0 or 2.0")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
    except DataError:
        raise
    except Exception as error:  # NumPy reads a header as Python text, and that fails in many ways
        text = f"expected the header of a NumPy array, found {str(error)[:200] or type(error).__name__}"
        raise DataError(f"{where} cannot be read: {text}") from error
    if any(isinstance(n, bool) or n < 0 for n in shape):
        raise DataError(f"{where} announces the shape {list(shape)}; expected sizes of 0 or more")
    return shape, dtype
