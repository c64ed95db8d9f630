"""What a reader is asked for and what it gives: named arrays, first axis the examples."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import DataError, count, nearest
from .pictures import Pictures
from .plan import Plan, TensorType, dtype_name

Array = NDArray[Any]
Say = Callable[[str], None]
Progress = Callable[[str, int, int], None]
"""Called as progress(what, done, total)."""


def silent(*_: object) -> None:
    """The default of `say` and `progress`."""


@dataclass(frozen=True)
class Request:
    """What a reader gets before its own arguments.

    `wanted` maps each array that the data section uses to the element type it feeds (None: left open). A reader of a
    fixed record may ignore it; one whose file holds any number of columns reads only these.
    """

    folder: Path
    wanted: Mapping[str, str | None] = field(default_factory=dict)
    say: Say = silent
    progress: Progress = silent
    cache: Path | None = None

    def file(self, path: object, *, endings: tuple[str, ...] = ()) -> Path:
        """The file that `path` names, relative to the `.net` file's folder; with any of `endings` appended if there is
        none of that very name. Raises DataError."""
        if not isinstance(path, str) or not path or "\0" in path:
            raise DataError(f"expected the path of a file, found {path!r}")
        full = self.folder / Path(path).expanduser()
        try:
            for ending in ("", *endings):
                candidate = full.with_name(full.name + ending)
                if candidate.is_file():
                    return candidate
            if full.is_dir():
                raise DataError(f"{full}: expected a file, found a folder")
            siblings = [p.name for p in full.parent.iterdir()] if full.parent.is_dir() else None
        except (OSError, ValueError) as error:
            raise DataError(f"{full}: cannot be opened: {error}") from error
        if siblings is None:
            raise DataError(f"{full}: no such file; the folder {full.parent} does not exist")
        raise DataError(f"{full}: no such file; {nearest(full.name, siblings)}")


@dataclass(frozen=True)
class Records:
    """Decoded records: `arrays[name]` is [n, ...] with the same n for all, or a column of pictures of any size.

    `source` names where they came from, `licence` under what terms; `place(i)` says where example i stands, for
    messages (default: its number in `source`). `classes[name]` are the names of what a record of whole numbers counts.
    """

    arrays: Mapping[str, Array | Pictures]
    source: str
    licence: str | None = None
    place: Callable[[int], str] | None = None
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.arrays:
            raise DataError(f"{self.source}: nothing was read")
        for name, array in self.arrays.items():
            if not isinstance(array, Pictures) and (not isinstance(array, np.ndarray) or array.ndim == 0):
                raise DataError(f"{self.source}: expected `{name}` to be an array whose first axis is the examples")
        lengths = {name: len(array) for name, array in self.arrays.items()}
        if len(set(lengths.values())) > 1:
            shown = ", ".join(f"`{name}` has {n:,}" for name, n in lengths.items())
            raise DataError(f"{self.source}: the arrays do not hold the same number of examples: {shown}")

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def where(self, i: int) -> str:
        """Where example i stands, for a message."""
        return self.place(i) if self.place else f"{self.source}, example {i} (from 0)"

    def take(self, rows: NDArray[np.int64]) -> Records:
        """The examples `rows`, ascending; the arrays themselves when that is all of them."""
        if len(rows) == len(self):
            return self
        arrays = {name: array[rows] for name, array in self.arrays.items()}
        return Records(arrays, self.source, self.licence, lambda i: self.where(int(rows[i])), self.classes)

    @property
    def sha256(self) -> str:
        """Hash of names, types, shapes and values; of pictures, that of their files."""
        digest = hashlib.sha256()
        for name in sorted(self.arrays):
            column = self.arrays[name]
            if isinstance(column, Pictures):
                digest.update(f"{name}\0".encode())
                column.hash_into(digest)
                continue
            array = np.ascontiguousarray(column)
            digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
            digest.update(array.reshape(-1).view(np.uint8).data)
        return digest.hexdigest()


def conform(records: Records, plan: Plan) -> Records:
    """The arrays that the plan's records need, in the types it declares: columns gathered, leading 1s added, values
    cast only where each keeps its meaning. Raises DataError."""
    if len(records) == 0:
        raise DataError(f"{records.source}: expected examples, found none")
    arrays: dict[str, Array | Pictures] = {}
    for name, type_ in plan.records.items():
        found = records.arrays.get(name)
        if isinstance(found, Pictures):
            arrays[name] = _pictures(found, name, type_, records)
            continue
        parts = plan.columns.get(name)
        if parts is None:
            array = _cast(_shaped(_array(records, name), name, type_, records), name, type_, records)
        else:
            scalar = TensorType(type_.dtype, ())
            gathered = [_cast(_shaped(_array(records, p), p, scalar, records), p, scalar, records) for p in parts]
            array = _shaped(np.stack(gathered, axis=-1), name, type_, records)
        arrays[name] = array
    return Records(arrays or records.arrays, records.source, records.licence, records.place, records.classes)


def _pictures(column: Pictures, name: str, type_: TensorType, records: Records) -> Pictures:
    shape = type_.shape or ()
    if type_.dtype != "u8" or len(shape) != 3:
        raise DataError(f"{records.source}: `{name}` is a picture, u8[C, H, W], but {type_} was declared")
    return column.of(shape[0])


def _array(records: Records, name: str) -> Array:
    if name not in records.arrays:
        raise DataError(f"{records.source}: there is no record `{name}`; {nearest(name, records.arrays)}")
    found = records.arrays[name]
    if isinstance(found, Pictures):
        raise DataError(f"{records.source}: `{name}` is a picture, and a column is made of numbers")
    return found


def _shaped(array: Array, name: str, type_: TensorType, records: Records) -> Array:
    if type_.shape is None:
        return array
    found, wanted = array.shape[1:], type_.shape
    ones = len(wanted) - len(found)
    padded = (1,) * max(ones, 0) + found
    if len(padded) != len(wanted) or any(w not in (None, f) for w, f in zip(wanted, padded, strict=True)):
        raise DataError(
            f"{records.where(0)}: `{name}` is {dtype_name(array.dtype)}[{', '.join(map(str, found))}], "
            f"but {type_} was declared"
        )
    return array.reshape(array.shape[:1] + padded)


def _cast(array: Array, name: str, type_: TensorType, records: Records) -> Array:
    """Values in the declared type, native byte order. NaN is refused, integers must be whole and in range, bools 0 or
    1."""
    if array.dtype.kind not in "biuf":
        raise DataError(f"{records.source}: `{name}` holds {array.dtype}, but only numbers can be read")
    if array.dtype.kind == "f":
        _refuse(np.isnan(array), array, name, records, "not a number: expected a value for every example")
    target = array.dtype.newbyteorder("=") if type_.dtype is None else type_.numpy
    if array.dtype == target:
        return np.ascontiguousarray(array)
    if target.kind == "b":
        _refuse((array != 0) & (array != 1), array, name, records, "not a bool: expected 0 or 1")
    elif target.kind in "iu" and array.dtype.kind in "iuf":
        if array.dtype.kind == "f":
            array = array.astype(np.float64)
            _refuse(array != np.floor(array), array, name, records, f"not a whole number, but `{name}` is {type_}")
        low, high = int(np.iinfo(target).min), int(np.iinfo(target).max)
        # A float64 holds -2^63 exactly but not 2^63 - 1, so the upper bound is compared as `< high + 1`.
        outside = (array < low) | (array >= high + 1.0) if array.dtype.kind == "f" else (array < low) | (array > high)
        _refuse(outside, array, name, records, f"outside {low} to {high}, but `{name}` is {type_}")
    with np.errstate(over="ignore"):
        cast = array.astype(target)
    if target.kind == "f" and array.dtype.kind == "f":
        _refuse(np.isinf(cast) & ~np.isinf(array), array, name, records, f"too large for {type_.dtype}")
    return cast


def _refuse(bad: NDArray[np.bool_], array: Array, name: str, records: Records, why: str) -> None:
    if not bad.any():
        return
    at = np.unravel_index(int(np.argmax(bad)), bad.shape)
    inside = f" at [{', '.join(str(int(k)) for k in at[1:])}]" if len(at) > 1 else ""
    n = int(np.count_nonzero(bad))
    more = f" ({count(n, 'such value')})" if n > 1 else ""
    raise DataError(f"{records.where(int(at[0]))}: `{name}`{inside} is {array[at]}, {why}{more}")
