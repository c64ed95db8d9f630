"""The tensors of a model as arrays. External data is read from regular files inside the model's folder only."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from dlc.compiler.importing.errors import BadModel, Reason, Refused
from dlc.compiler.types import NUMPY_NAME, ONNX_NUMBER, Array, from_onnx_number, numpy_dtype

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

_REFUSED: Mapping[str, Reason] = {"str": Reason.STRING, "c64": Reason.COMPLEX, "c128": Reason.COMPLEX}
_KNOWN = {*NUMPY_NAME, "bf16"}
_LARGEST = 1 << 62


def element_type(number: int, where: str) -> str:
    """The name here of one of ONNX's element types; raises BadModel, and Refused for one that dlc does not have."""
    if number in ONNX_NUMBER.values():
        dtype = from_onnx_number(number)
        if dtype in _REFUSED:
            raise Refused(_REFUSED[dtype], f"{where} is a tensor of {_REFUSED[dtype].value}, which dlc does not have")
        return dtype
    from onnx import TensorProto

    names = {value: name for name, value in TensorProto.DataType.items()}
    if number == 0 or number not in names:
        raise BadModel(f"{where} has no element type (its number is {number})")
    raise Refused(Reason.SMALL_TYPE, f"{where} is a tensor of {names[number]}, which dlc does not have")


def array_of(tensor: TensorProto, folder: Path | None, where: str) -> Array:
    """A tensor's elements. Raises BadModel: bytes and dimensions differ, or external data is not as it must be."""
    from onnx import TensorProto, numpy_helper

    dtype = element_type(tensor.data_type, where)
    if any(dim < 0 for dim in tensor.dims):
        raise BadModel(f"{where} has the dimensions {list(tensor.dims)}")
    count = math.prod(tensor.dims)
    if tensor.data_location == TensorProto.EXTERNAL:
        return _external(tensor, folder, dtype, count, where)
    size = numpy_dtype(dtype).itemsize
    if tensor.HasField("raw_data") and len(tensor.raw_data) != count * size:
        found = len(tensor.raw_data)
        raise BadModel(f"{where}: {list(tensor.dims)} of {dtype} takes {count * size} bytes, found {found}")
    try:
        array: Array = np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError) as error:
        raise BadModel(f"{where}: its elements do not fill {list(tensor.dims)} of {dtype} ({error})") from None
    return array if array.dtype == numpy_dtype(dtype) else array.astype(numpy_dtype(dtype))


def external_files(model: ModelProto) -> list[str]:
    """Where a model says that its tensors are, wherever they stand in it: paths inside its folder."""
    from google.protobuf.message import Message  # type: ignore[import-untyped]
    from onnx import TensorProto

    found: set[str] = set()
    waiting: list[Any] = [model]
    while waiting:
        message = waiting.pop()
        if isinstance(message, TensorProto):
            if message.data_location == TensorProto.EXTERNAL:
                found.update(entry.value for entry in message.external_data if entry.key == "location")
            continue
        for field, value in message.ListFields():
            if field.message_type is not None:
                waiting.extend([value] if isinstance(value, Message) else value)
    return sorted(found)


def _external(tensor: TensorProto, folder: Path | None, dtype: str, count: int, where: str) -> Array:
    """The mapped bytes of a file: nothing is read until it is used, so that models may be larger than memory."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    if not isinstance(location, str):  # protobuf gives bytes for what is no UTF-8
        raise BadModel(f"{where}: the place of its external data is no text")
    if folder is None:
        raise BadModel(f"{where} is in the file {location!r}, but the model was given without a folder")
    size = count * numpy_dtype(dtype).itemsize
    offset, length = _number(entries, "offset", 0, where), _number(entries, "length", size, where)
    if length != size:
        raise BadModel(f"{where}: {list(tensor.dims)} of {dtype} takes {size} bytes, its external data {length}")
    descriptor = _open(folder, location, where)
    try:
        found = os.fstat(descriptor)
        _check_plain(found, location, where)  # once more: another file may have taken its place
        if offset + size > found.st_size:
            raise BadModel(
                f"{where}: its external data ends at byte {offset + size} of {location!r}, which has {found.st_size}"
            )
        if size == 0:
            return np.zeros(tuple(tensor.dims), numpy_dtype(dtype))
        with os.fdopen(os.dup(descriptor), "rb") as file:
            raw: Any = np.memmap(file, np.uint8, "r", offset, (size,))
    finally:
        os.close(descriptor)
    array: Array = raw.view(numpy_dtype(dtype)).reshape(tuple(tensor.dims))
    return array


def _number(entries: Mapping[str, str], key: str, default: int, where: str) -> int:
    text = entries.get(key)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or int(text) > _LARGEST:
        raise BadModel(f"{where}: the {key} of its external data is {text[:40]!r}, no number of bytes")
    return int(text)


def _open(folder: Path, location: str, where: str) -> int:
    """Open a file inside the folder, following no link on the way; raises BadModel."""
    parts = PurePosixPath(location).parts
    if not location or "\0" in location or "\\" in location or ":" in location or ".." in parts or location[0] == "/":
        raise BadModel(f"{where}: its external data is at {location!r}; a path inside the model's folder is expected")
    place = folder
    for part in parts:
        place = place / part
        if place.is_symlink():
            raise BadModel(f"{where}: its external data {location!r} leads through the link {part!r}")
    try:
        _check_plain(os.lstat(place), location, where)  # before it is opened: what a hard link leads to, or a device
        return os.open(place, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        raise BadModel(f"{where}: its external data {location!r} cannot be read: {error.strerror}") from None


def _check_plain(found: os.stat_result, location: str, where: str) -> None:
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        raise BadModel(f"{where}: its external data {location!r} is a link or no regular file")


__all__ = ["array_of", "element_type", "external_files"]
