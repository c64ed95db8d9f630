"""The reader of tables: CSV and its relatives, plain or gzip, UTF-8."""

from __future__ import annotations

import csv as text_table
import io
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlc.runtime.printable import printable

from .cells import Kind, is_number, kind, mending
from .errors import DataError, count, nearest
from .files import opened
from .pictures import Pictures
from .plan import PICTURE
from .readers import reader
from .records import Array, Records, Request

_TRUTHS = {"true": "1", "yes": "1", "t": "1", "y": "1", "false": "0", "no": "0", "f": "0", "n": "0"}
_UNITS = "$€£¥%"
_FEW = 20  # lines of a table in which every one may be of a class of its own
_FILL = ". Fill in missing values in the file, or drop the lines"


@reader("csv")
def csv(request: Request, path: str, header: bool = True, skip: int = 0, delimiter: str = ",") -> Records:
    """The columns that the data section names, each a number an example.

    `skip` lines are passed over first. Without a header the columns are `column0`, `column1`, ... Blank lines are
    passed over; a missing value (an empty cell, `NA`, `nan`, ...) or a word in a column that is read is an error, since
    nothing says what it should become. Three columns may hold words: one that feeds an integer, if none of its cells is
    a number (they are classes, numbered in the order of their sorted names); one that feeds a `bool` (`true`, `yes`,
    `t` and `y` are 1, `false`, `no`, `f` and `n` are 0); and one that feeds `decode_image`, names of picture files,
    relative to the table's folder.

    Raises DataError for all of these, and for a file that is no table or lacks a column.
    """
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n':
        raise DataError(f"csv: expected the delimiter to be one character, found {delimiter!r}")
    if not isinstance(header, bool) or not isinstance(skip, int) or isinstance(skip, bool) or skip < 0:
        raise DataError(f"csv: expected header=true or false and skip=a number of lines, found {header!r}, {skip!r}")
    file = request.file(path, endings=(".gz",))
    with opened(file) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        try:
            columns, lines = _read(file, text, list(request.wanted), header, skip, delimiter)
        except UnicodeDecodeError as error:
            found = f"byte {error.object[error.start]:#04x}, {error.reason}"
            raise DataError(f"{file}: not UTF-8 text: {found}{_encoding(error.object)}; save it as UTF-8") from error
        finally:
            text.detach()
    arrays: dict[str, Array | Pictures] = {}
    classes: dict[str, tuple[str, ...]] = {}
    for name, cells in columns.items():
        wanted = request.wanted[name]
        if wanted == PICTURE:
            arrays[name] = _files(file, name, cells, lines, request)
        elif wanted == "bool":
            arrays[name] = _truths(file, name, cells, lines)
        elif wanted is not None and wanted[0] in "iu" and _has_words(cells):
            arrays[name], classes[name] = _classes(file, name, cells, lines)
        else:
            arrays[name] = _numbers(file, name, cells, lines, wanted)
    return Records(arrays, source=str(file), place=lambda i: f"{file}, line {lines[i]}", classes=classes)


def _read(
    file: Path, text: io.TextIOWrapper, wanted: list[str], header: bool, skip: int, delimiter: str
) -> tuple[dict[str, list[str]], list[int]]:
    """The cells of the wanted columns, and the line where each example ends."""
    skipped = sum(1 for _ in itertools.islice(text, skip))
    rows = _rows(file, text, delimiter, skipped)
    start, first = next(rows, (0, []))
    if not first:
        after = f" after {count(skip, 'skipped line')}" if skip else ""
        raise DataError(f"{file}: expected {'a header' if header else 'lines of cells'}{after}, found an empty file")
    if any("\0" in cell for cell in first):
        raise DataError(f"{file}, line {start}: holds NUL characters, as unmarked UTF-16 does; save it as UTF-8")
    names = [cell.strip() for cell in first] if header else [f"column{k}" for k in range(len(first))]
    picked = [(name, _position(file, names, name, header)) for name in wanted]
    columns: dict[str, list[str]] = {name: [] for name in wanted}
    lines: list[int] = []
    for line, row in rows if header else itertools.chain([(start, first)], rows):
        if len(row) != len(names):
            what = "the header names" if header else "the first line has"
            raise DataError(f"{file}, line {line}: {count(len(row), 'value')}, but {what} {len(names)}")
        for name, at in picked:
            columns[name].append(row[at])
        lines.append(line)
    if not lines:
        raise DataError(f"{file}: expected lines below the header, found none")
    return columns, lines


def _rows(file: Path, text: io.TextIOWrapper, delimiter: str, skipped: int) -> Iterator[tuple[int, list[str]]]:
    rows = text_table.reader(text, delimiter=delimiter, skipinitialspace=not delimiter.isspace(), strict=True)
    try:
        for row in rows:
            if row:
                yield skipped + rows.line_num, row
    except text_table.Error as error:
        raise DataError(f"{file}, line {skipped + rows.line_num}: not a table: {error}") from error


def _position(file: Path, names: list[str], name: str, header: bool) -> int:
    if names.count(name) == 1:
        return names.index(name)
    if name in names:
        raise DataError(f"{file}: {names.count(name)} columns are called `{name}`")
    hint = ""
    number = next(filter(is_number, names), None) if header else None
    if number is not None:
        named = "say header=false, and call the columns column0, column1, ..."
        hint = f". The first line holds a number, {number[:40]}: if the file has no header, {named}"
    other = next((each for each in ";\t|" if len(names) == 1 and each in names[0]), None)
    if other is not None:
        hint = f". Is the file separated by {other!r}? Then say delimiter={json.dumps(other)}"
    raise DataError(f"{file}: has no column `{name}`; {nearest(name, names)}{hint}")


def _encoding(data: bytes) -> str:
    return " (it looks like UTF-16)" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ""


def _numbers(file: Path, name: str, cells: list[str], lines: list[int], wanted: str | None) -> NDArray[Any]:
    """The cells as int64 where an integer is wanted and all are integers (exact past 2^53), else as float64."""
    whole = wanted is not None and wanted[0] in "iu"
    for cell, line in zip(cells, lines, strict=True):
        if not is_number(cell):
            hint = _hint(cell, cells, whole)
            raise DataError(f"{file}, line {line}: column `{name}` is {_no_number(cell)}{hint}")
    if whole:
        try:
            return np.array([int(cell) for cell in cells], np.int64)
        except (ValueError, OverflowError):
            pass  # 3.0 is whole too, and 2.5 is refused with its place when the column meets its type
    return np.array([float(cell) for cell in cells], np.float64)


def _hint(cell: str, cells: list[str], whole: bool) -> str:
    """What a cell may be meant as, that is no number in a column of them."""
    if is_number(cell.strip().strip(_UNITS)):
        return f" alone, without {''.join(each for each in cell if each in _UNITS)}"
    if any(map(is_number, cells)):
        return ""
    if whole:
        return _otherwise(cell)
    if kind(cell) is not Kind.WORD:
        return ""
    if all(each.strip().lower() in _TRUTHS for each in cells):
        return ". Words such as yes and no are read where they feed a bool: a field of type bool[]"
    return ". Words are read as classes where they feed an integer: a field of type i64[]"


def _truths(file: Path, name: str, cells: list[str], lines: list[int]) -> NDArray[Any]:
    """The cells as 1 and 0. Other numbers are refused when the column meets its type."""
    numbers = [_TRUTHS.get(cell.strip().lower(), cell) for cell in cells]
    for cell, line in zip(numbers, lines, strict=True):
        if not is_number(cell):
            expected = f"expected true or false, yes or no, 1 or 0{_fill(cell)}"
            raise DataError(f"{file}, line {line}: column `{name}` is {_shown(cell)}; {expected}")
    return np.array([float(cell) for cell in numbers], np.float64)


def _has_words(cells: list[str]) -> bool:
    return any(kind(cell) is Kind.WORD for cell in set(cells))


def _classes(file: Path, name: str, cells: list[str], lines: list[int]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The number of each cell's class, and the names of the classes."""
    _refuse_others(file, name, cells, lines)
    words = [cell.strip() for cell in cells]
    names, numbers = np.unique(words, return_inverse=True)
    if len(names) == len(words) > _FEW:
        raise DataError(f"{file}: column `{name}` holds {len(words)} texts, all different; classes come more than once")
    return numbers.astype(np.int64), tuple(str(each) for each in names)


def _refuse_others(file: Path, name: str, cells: list[str], lines: list[int]) -> None:
    """Raises DataError if not all cells of a column with words are words."""
    first: dict[Kind, str] = {}
    for cell in dict.fromkeys(cells):
        first.setdefault(kind(cell), cell)
    place = {found: f"line {lines[cells.index(cell)]}" for found, cell in first.items()}
    if Kind.NUMBER in first:
        raise DataError(
            f"{file}: column `{name}`: {place[Kind.WORD]} is a word, {_shown(first[Kind.WORD])}, {place[Kind.NUMBER]} "
            f"a number, {_shown(first[Kind.NUMBER])}: expected one kind, numbers or the names of classes"
        )
    if Kind.SPOILT in first:
        spoilt = first[Kind.SPOILT]
        what = f"{_no_number(spoilt)}{_otherwise(spoilt)}"
        raise DataError(f"{file}, {place[Kind.SPOILT]}: column `{name}` is {what}")
    if Kind.MISSING in first:
        missing = first[Kind.MISSING]
        what = f"{_shown(missing)}; expected the name of a class{_FILL}{_otherwise(missing)}"
        raise DataError(f"{file}, {place[Kind.MISSING]}: column `{name}` is {what}")


def _files(file: Path, name: str, cells: list[str], lines: list[int], request: Request) -> Pictures:
    """Pictures by the names in a column, relative to the table's own folder."""
    for cell, line in zip(cells, lines, strict=True):
        if not cell.strip() or "\0" in cell or not (file.parent / cell.strip()).is_file():
            shown = f'"{printable(cell[:200])}"' if cell.strip() else "empty"
            raise DataError(f"{file}, line {line}: column `{name}` is {shown}; expected the name of a picture file")
    return Pictures(tuple(file.parent / cell.strip() for cell in cells), progress=request.progress)


def _no_number(cell: str) -> str:
    """The cell, and what was expected of it."""
    how = _fill(cell) or f" {mending(cell)}".rstrip()
    return f"{_shown(cell)}; expected a number{how}"


def _fill(cell: str) -> str:
    return _FILL if kind(cell) is Kind.MISSING else ""


def _otherwise(cell: str) -> str:
    """What to do with the cell if it is meant as a class."""
    return "; if it is a class, call it otherwise" if cell.strip() else ""


def _shown(cell: str) -> str:
    return f'"{printable(cell[:40])}{"..." if len(cell) > 40 else ""}"' if cell.strip() else "empty"
