"""The code that a diagnostic points at, drawn with its line numbers and underlined.

Columns of spans count characters; columns on the screen differ where there are tabs and wide characters.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from dlc.dsl.ast import Span

PRIMARY, WARNING, SECONDARY, GUTTER = "1;31", "1;33", "1;34", "1;34"
_TAB = 4
_WIDEST = 160  # columns of code shown of one line; a longer line is cut around its marks


@dataclass(frozen=True, slots=True)
class Mark:
    """A span to underline, with `^` if primary and `-` if not, and the words beside it."""

    span: Span
    text: str
    primary: bool


@dataclass(frozen=True, slots=True)
class _Stroke:
    """A mark on the screen: columns from 0, `end` exclusive."""

    start: int
    end: int
    mark: Mark


def paint(text: str, style: str, color: bool) -> str:
    """`text` in an ANSI style, or as it is."""
    return f"\x1b[{style}m{text}\x1b[0m" if color and text else text


def excerpt(text: str, marks: Sequence[Mark], width: int, primary_style: str, color: bool) -> list[str]:
    """The lines of `text` that carry `marks`, all of one file, in order; one line left out is shown, more become `...`.

    `width` is that of the line numbers.
    """
    source = text.split("\n")
    bar = paint("|", GUTTER, color)
    empty = f"{' ' * width} {bar}"
    by_line: dict[int, list[Mark]] = {}
    for mark in sorted(marks, key=lambda mark: (mark.span.line, mark.span.column)):
        by_line.setdefault(mark.span.line, []).append(mark)
    result = [empty]
    last = None
    for line, here in by_line.items():
        if last is not None and line - last > 2:
            result.append(f"{' ' * (width + 1)}...")
        elif last is not None and line - last == 2:
            result.append(_row(last + 1, _shown(_line(source, last + 1))[:_WIDEST], width, color))
        code, strokes = _place(_line(source, line), here)
        result.append(_row(line, code, width, color))
        result += [f"{empty} {row}" for row in _underline(strokes, primary_style, color)]
        last = line
    return [*result, empty]


def _line(source: Sequence[str], number: int) -> str:
    return source[number - 1].removesuffix("\r") if number <= len(source) else ""


def _row(number: int, code: str, width: int, color: bool) -> str:
    return f"{paint(f'{number:>{width}} |', GUTTER, color)} {code}".rstrip()


def _cell(char: str) -> str:
    """One character as it is shown: tabs as spaces, control characters harmless."""
    if char == "\t":
        return " " * _TAB
    return char if char.isprintable() or unicodedata.combining(char) else "\N{REPLACEMENT CHARACTER}"


def _columns(text: str) -> int:
    """Columns that shown text takes on a screen."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _shown(line: str) -> str:
    return line if line.isascii() and line.isprintable() else "".join(map(_cell, line))


def _place(line: str, marks: Sequence[Mark]) -> tuple[str, list[_Stroke]]:
    """The line as shown, and where its marks come to stand; a very long line is cut to what lies around the first."""
    first = marks[0].span.column - 1
    left = max(0, first - _WIDEST // 4) if len(line) > _WIDEST else 0
    window = line[left : left + _WIDEST]
    before, after = ("..." if left else ""), ("..." if left + _WIDEST < len(line) else "")
    strokes = []
    for mark in marks:
        start = min(max(mark.span.column - 1 - left, 0), len(window))
        stop = len(line) if mark.span.end_line > mark.span.line else mark.span.end_column - 1
        stop = min(max(stop - left, start), len(window))
        column = len(before) + _columns(_shown(window[:start]))
        strokes.append(_Stroke(column, column + max(1, _columns(_shown(window[start:stop]))), mark))
    return before + _shown(window) + after, strokes


def _underline(strokes: Sequence[_Stroke], primary_style: str, color: bool) -> list[str]:
    """Rows below a line of code. Marks beside each other share a row; the words of all but the last hang below it."""
    rows: list[str] = []
    groups: list[list[_Stroke]] = []
    for stroke in sorted(strokes, key=lambda stroke: (stroke.start, stroke.end)):
        home = next((group for group in groups if group[-1].end <= stroke.start), None)
        if home is None:
            groups.append([stroke])
        else:
            home.append(stroke)
    for group in groups:
        cells = [(each.start, "^-"[not each.mark.primary] * (each.end - each.start), each.mark) for each in group]
        last = group[-1]
        rows.append(_compose([*cells, (last.end + 1, last.mark.text, last.mark)], primary_style, color))
        hanging = [each for each in group[:-1] if each.mark.text]
        if hanging:
            rows.append(_compose([(each.start, "|", each.mark) for each in hanging], primary_style, color))
        while hanging:
            *rest, word = hanging
            bars = [(each.start, "|", each.mark) for each in rest]
            rows.append(_compose([*bars, (word.start, word.mark.text, word.mark)], primary_style, color))
            hanging = rest
    return rows


def _compose(pieces: Sequence[tuple[int, str, Mark]], primary_style: str, color: bool) -> str:
    """Pieces of text put at their columns, which ascend."""
    row, column = "", 0
    for start, text, mark in pieces:
        if text:
            row += " " * (start - column) + paint(text, primary_style if mark.primary else SECONDARY, color)
            column = start + len(text)
    return row
