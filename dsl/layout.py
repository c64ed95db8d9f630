"""Text on a page of limited width: where lines end, how far they are indented, where comments stand.

What is to be laid out is flat: a list of `Item`s in which groups open and close. A group is either on one line or
broken, and then every `Line` that belongs to it directly ends a line. Each group decides for itself, from the left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

WIDTH = 120
STEP = 2


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """A place where a line may end; `flat` stands there if it does not."""

    flat: str


@dataclass(frozen=True, slots=True)
class Open:
    """Begins a group. It is broken if that is wanted, if it does not fit, or if any line within it has to end, however
    deep: so a text that is laid out already keeps its breaks."""

    broken: bool = False


@dataclass(frozen=True, slots=True)
class Indent:
    """From here on lines begin `columns` further right; unless `always`, only if the group is broken."""

    columns: int = STEP
    always: bool = False


@dataclass(frozen=True, slots=True)
class Remark:
    """A comment: on a line of its own, or after what stands on the line. Either way the line ends with it."""

    text: str
    own: bool


@dataclass(frozen=True, slots=True)
class Apart:
    """Begins a declaration, after an empty line. If `close` there is none between two that take one line each."""

    close: bool


@dataclass(frozen=True, slots=True)
class Mark:
    """An item that is the same everywhere."""

    name: str


SPACE, HARD, BLANK, CLOSE, DEDENT = map(Mark, ("space", "hard", "blank", "close", "dedent"))
"""A blank, the end of a line, an empty line, the end of a group, the end of what `Indent` began."""

Item = Text | Line | Open | Indent | Remark | Apart | Mark


@dataclass(slots=True)
class _Row:
    indent: int
    text: str = ""
    comment: str | None = None

    @property
    def empty(self) -> bool:
        return not self.text and self.comment is None

    @property
    def code(self) -> str:
        return " " * self.indent + self.text if self.text else ""


@dataclass(slots=True)
class _Page:
    rows: list[_Row] = field(default_factory=lambda: [_Row(0)])
    indents: list[int] = field(default_factory=lambda: [0])
    starts: list[tuple[int, bool]] = field(default_factory=list)
    """First row of each declaration, and whether it may follow the one before closely."""
    space: bool = False

    @property
    def row(self) -> _Row:
        return self.rows[-1]

    @property
    def column(self) -> int:
        return self.indents[-1] + STEP if self.row.comment is not None else self.row.indent + len(self.row.text)

    def end_line(self, extra: int = 0) -> None:
        """The next row, `extra` columns further right than the indentation; an empty one is used as it is."""
        self.space = False
        if self.row.empty:
            self.row.indent = self.indents[-1] + extra
        else:
            self.rows.append(_Row(self.indents[-1] + extra))

    def _continue(self) -> None:
        """A row below one that a comment has ended in the middle of something."""
        if self.row.text:
            self.end_line(STEP)
        else:
            self.rows.append(_Row(self.row.indent))

    def write(self, text: str) -> None:
        if self.row.comment is not None:
            self._continue()
        if self.space and self.row.text:
            self.row.text += " "
        self.space = False
        self.row.text += text

    def remark(self, item: Remark) -> None:
        if item.own and not self.row.empty:
            self._continue()
        self.row.comment = item.text
        self.space = False

    def blank(self) -> None:
        """An empty line above the current row, which is empty itself."""
        if len(self.rows) > 1 and not self.rows[-2].empty:
            self.rows.insert(-1, _Row(0))


def layout(items: Sequence[Item]) -> str:
    """The items as text; every line, also the last, ends with a line end."""
    broken = _broken(items)
    page = _Page()
    modes: list[bool] = []
    for at, item in enumerate(items):
        if isinstance(item, Text):
            page.write(item.text)
        elif isinstance(item, Line):
            if modes and modes[-1]:
                page.end_line()
            elif page.row.comment is not None:
                page.end_line(STEP)
            else:
                page.space = page.space or bool(item.flat)
        elif isinstance(item, Open):
            modes.append(at in broken or not _fits(items, at, broken, modes, page.column + page.space))
        elif isinstance(item, Indent):
            page.indents.append(page.indents[-1] + (item.columns if item.always or modes[-1] else 0))
        elif isinstance(item, Remark):
            page.remark(item)
        elif isinstance(item, Apart):
            page.starts.append((len(page.rows) - 1, item.close))
        elif item is SPACE:
            page.space = True
        elif item is HARD:
            page.end_line()
        elif item is BLANK:
            page.blank()
        elif item is CLOSE:
            modes.pop()
        else:
            page.indents.pop()
    return _text(_spaced(page))


def _broken(items: Sequence[Item]) -> set[int]:
    """Where the groups open that cannot stand on one line."""
    result: set[int] = set()
    around: list[int] = []
    for at, item in enumerate(items):
        if isinstance(item, Open):
            around.append(at)
        elif item is CLOSE:
            around.pop()
        if item is HARD or isinstance(item, Remark) or (isinstance(item, Open) and item.broken):
            result.update(around)
    return result


def _fits(items: Sequence[Item], at: int, broken: set[int], modes: Sequence[bool], column: int) -> bool:
    """Whether the group that opens at `at` fits on the line, with what follows it up to the next place to break."""
    room = WIDTH - column
    inside: list[bool] = []
    around = len(modes)
    closed = False
    for index in range(at, len(items)):
        item = items[index]
        if isinstance(item, Text):
            room -= len(item.text)
        elif isinstance(item, Line):
            if inside[-1] if inside else around == 0 or modes[around - 1]:
                return True
            room -= len(item.flat)
        elif isinstance(item, Open):
            inside.append(closed or index in broken)
        elif item is CLOSE:
            if inside:
                inside.pop()
                closed = closed or not inside
            else:
                around -= 1
        elif item is SPACE:
            room -= 1
        elif item is HARD or isinstance(item, Remark):
            return True
        if room < 0:
            return False
    return True


def _spaced(page: _Page) -> list[_Row]:
    """The rows, with empty ones between declarations."""
    starts = [*page.starts, (len(page.rows), False)]
    result = page.rows[: starts[0][0]]
    single = False
    for (start, close), (stop, _) in pairwise(starts):
        before, single = single, sum(bool(row.text) for row in page.rows[start:stop]) == 1
        if result and not (close and before and single):
            result.append(_Row(0))
        result += page.rows[start:stop]
    return result


def _text(rows: list[_Row]) -> str:
    """The rows as text. Comments at the ends of neighbouring lines stand below each other where there is room."""
    lines: list[str] = []
    at = 0
    while at < len(rows):
        stop = at
        while stop < len(rows) and rows[stop].text and rows[stop].comment is not None:
            stop += 1
        run = rows[at:stop]
        column = max((len(row.code) for row in run), default=0) + 2
        if any(column + len(row.comment or "") > WIDTH for row in run):
            column = 0
        lines += [f"{row.code.ljust(column - 2)}  {row.comment}" for row in run]
        if stop < len(rows):
            row = rows[stop]
            lines.append(row.code if row.comment is None else " " * row.indent + row.comment)
        at = stop + 1
    return "".join(f"{line}\n" for line in lines).rstrip("\n") + "\n" if any(lines) else ""
