"""The readers of pictures in files: a folder, one subfolder a class, its pairs and triplets, and single pictures."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import DataError, count, nearest
from .pictures import SUFFIXES, Pictures
from .readers import reader
from .records import Records, Request
from .splits import words_of

_NOT_OURS = "__MACOSX"  # what macOS leaves in archives


@reader("folder")
def folder(request: Request, path: str) -> Records:
    """`file` and `image` (pictures), `label` and `class` (the number of the subfolder, in the order of sorted names).

    Hidden files and those of other kinds are passed over and counted. Symbolic links to folders are followed for
    classes, not below them.
    """
    found = _classes(request, path)
    column = Pictures(found.files, progress=request.progress)
    return Records(
        {"file": column, "image": column, "label": found.labels, "class": found.labels},
        source=str(found.top),
        place=lambda i: str(found.files[i]),
        classes={"label": found.names, "class": found.names},
    )


@reader("triplet_folder")
def triplet_folder(request: Request, path: str, seed: int = 0) -> Records:
    """For each picture of a `folder` an example: the `anchor`, a `positive` (another picture of its class), a
    `negative` of another class, drawn once by `seed`; `label` is the anchor's class. Pictures alone in their class are
    no anchors."""
    found = _several(_classes(request, path))
    draw = _Draw(found, seed)
    anchors = found.paired
    columns = {
        "anchor": anchors,
        "positive": [draw.same(row) for row in anchors],
        "negative": [draw.other(row) for row in anchors],
    }
    return _drawn(request, found, columns, {"label": found.labels[anchors]})


@reader("pair_folder")
def pair_folder(request: Request, path: str, seed: int = 0) -> Records:
    """For each picture of a `folder` two examples of `left` and `right`: with another of its class (`same` is 1) and
    with one of another class (0), drawn once by `seed`. Pictures alone in their class have only the second."""
    found = _several(_classes(request, path))
    draw = _Draw(found, seed)
    rows: list[tuple[int, int, int]] = []
    paired = set(found.paired)
    for row in range(len(found.files)):
        if row in paired:
            rows.append((row, draw.same(row), 1))
        rows.append((row, draw.other(row), 0))
    left, right, same = zip(*rows, strict=True)
    return _drawn(request, found, {"left": list(left), "right": list(right)}, {"same": np.array(same, np.int64)})


@reader("image")
def image(request: Request, path: str) -> Records:
    """`file` and `image`: the one picture."""
    file = request.file(path)
    column = Pictures((file,))
    return Records({"file": column, "image": column}, source=str(file), place=lambda i: str(file))


@reader("one")
def one(request: Request, first: str, second: str | None = None) -> Records:
    """A single example of one or two pictures: `first`, `second`."""
    columns = {"first": Pictures((request.file(first),))}
    if second is not None:
        columns["second"] = Pictures((request.file(second),))
    return Records(columns, source=str(columns["first"].files[0]))


@dataclass(frozen=True)
class _Classes:
    """The pictures of a folder: their files by classes, and the number of each one's class."""

    top: Path
    names: tuple[str, ...]
    files: tuple[Path, ...]
    labels: NDArray[np.int64]

    @property
    def paired(self) -> list[int]:
        """The pictures that are not alone in their class."""
        return [int(row) for row in np.flatnonzero(np.bincount(self.labels)[self.labels] > 1)]


class _Draw:
    """Pictures drawn at random: a function of the folder and the seed on every machine."""

    def __init__(self, found: _Classes, seed: int) -> None:
        self._stream = np.random.PCG64(np.random.SeedSequence(words_of(seed)))
        self._first = np.searchsorted(found.labels, found.labels, "left")
        self._end = np.searchsorted(found.labels, found.labels, "right")
        self._all = len(found.files)

    def _below(self, n: int) -> int:
        return int(self._stream.random_raw()) % int(n)

    def same(self, row: int) -> int:
        """Another picture of the class."""
        first, end = int(self._first[row]), int(self._end[row])
        drawn = first + self._below(end - first - 1)
        return drawn + (drawn >= row)

    def other(self, row: int) -> int:
        """A picture of another class."""
        first, end = int(self._first[row]), int(self._end[row])
        drawn = self._below(self._all - (end - first))
        return drawn + (end - first if drawn >= first else 0)


def _drawn(
    request: Request, found: _Classes, columns: dict[str, list[int]], numbers: dict[str, NDArray[np.int64]]
) -> Records:
    pictures = {
        name: Pictures(tuple(found.files[row] for row in rows), progress=request.progress)
        for name, rows in columns.items()
    }
    places = [", ".join(str(found.files[row]) for row in rows) for rows in zip(*columns.values(), strict=True)]
    return Records({**pictures, **numbers}, source=str(found.top), place=lambda i: places[i])


def _several(found: _Classes) -> _Classes:
    if len(found.names) < 2 or not found.paired:
        raise DataError(f"{found.top}: expected two classes or more, and one of two pictures or more, to compare them")
    return found


def _classes(request: Request, path: object) -> _Classes:
    top = _folder(request, path)
    classes = sorted(each.name for each in _listed(top) if each.is_dir() and not _hidden(each.name))
    if not classes:
        pictures = sum(_is_picture(each.name) for each in _listed(top))
        raise DataError(
            f"{top}: expected one subfolder a class, found none ({count(pictures, 'picture')} directly in it)"
        )
    files: list[Path] = []
    labels: list[int] = []
    skipped: list[str] = [each.name for each in _listed(top) if each.is_file()]
    for number, name in enumerate(classes):
        request.progress(f"listing {top}", number, len(classes))
        found = _pictures(top / name, skipped)
        if not found:
            raise DataError(f"{top / name}: a subfolder is a class, and this one holds no pictures; fill or remove it")
        files += found
        labels += [number] * len(found)
    request.progress(f"listing {top}", len(classes), len(classes))
    if skipped:
        shown = ", ".join(sorted(skipped)[:3]) + (", ..." if len(skipped) > 3 else "")
        why = "hidden, outside the classes, or no pictures"
        request.say(f"{top}: {count(len(skipped), 'file')} passed over: {why} ({shown})")
    if len(classes) == 1:
        request.say(f"{top}: there is only one class, `{classes[0]}`")
    return _Classes(top, tuple(classes), tuple(files), np.array(labels, np.int64))


def _folder(request: Request, path: object) -> Path:
    if not isinstance(path, str) or not path or "\0" in path:
        raise DataError(f"expected the path of a folder, found {path!r}")
    full = request.folder / Path(path).expanduser()
    if full.is_dir():
        return full
    if full.exists():
        raise DataError(f"{full}: expected a folder, found a file")
    if not full.parent.is_dir():
        raise DataError(f"{full}: no such folder; {full.parent} does not exist either")
    others = [each.name for each in _listed(full.parent) if each.is_dir()]
    raise DataError(f"{full}: no such folder; {nearest(full.name, others)}")


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror or error}") from error


def _pictures(folder: Path, skipped: list[str]) -> list[Path]:
    """The pictures below `folder`, in the order of their paths."""

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror or error}") from error

    found: list[Path] = []
    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not _hidden(name)]
        for name in names:
            path = Path(place, name)
            if _is_picture(name):
                if not path.is_file():  # opening a pipe would wait for ever
                    what = "a link to nothing" if path.is_symlink() else "something else, a pipe or a device"
                    raise DataError(f"{path}: expected a picture file, found {what}")
                found.append(path)
            else:
                skipped.append(name)
    return sorted(found, key=lambda each: each.relative_to(folder).parts)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == _NOT_OURS


def _is_picture(name: str) -> bool:
    return not _hidden(name) and name.lower().endswith(SUFFIXES)
