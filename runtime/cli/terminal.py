"""What the commands write to: the only place that knows of colours, columns and JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

from dlc.runtime.cli.streams import Unwritable, beside, flush, leave_unread, standard_output
from dlc.runtime.printable import printable

if TYPE_CHECKING:
    from dlc.dsl.diagnostics import Diagnostic

BOLD, RED, GREEN, FAINT = "1", "1;31", "32", "2"
Row = Sequence[str]
_LINES = "\n\t"


@dataclass
class Terminal:
    """Standard output and standard error of one command.

    With `json`, standard output holds exactly one JSON value. `sources` maps the file names of spans to the texts read
    so far, so that a diagnostic can show the code that it is about.
    """

    json: bool = False
    debug: bool = False
    sources: dict[str, str] = field(default_factory=dict)

    def say(self, text: str) -> None:
        """What was asked for; left out with `json`."""
        if not self.json:
            with standard_output():
                print(text)

    def note(self, text: str) -> None:
        """What is worth knowing beside it, on standard error; left out with `json`."""
        if not self.json:
            beside(text)

    def result(self, content: object) -> None:
        """The one JSON value; left out without `json`."""
        if self.json:
            with standard_output():
                print(json.dumps(content, indent=2, ensure_ascii=False, default=str))

    def progress(self, what: str, done: int, total: int) -> None:
        """How far something has come, on one line that goes away; on a terminal only."""
        if not self.json and sys.stderr.isatty():
            text = f"{what}: {done:,} of {total:,}" if total and done < total else ""
            beside(f"\r\033[K{text}", end="")

    def paint(self, text: str, style: str, stream: TextIO | None = None) -> str:
        """`text` in a style, where the stream (standard output by default) shows colours."""
        return f"\033[{style}m{text}\033[0m" if colored(stream or sys.stdout) else text

    def table(self, rows: Iterable[Row], right: Sequence[int] = (), head: Row | None = None) -> None:
        """Rows in columns that are as wide as their widest cell, those in `right` aligned to the right."""
        every = ([head] if head is not None else []) + list(rows)
        for number, line in enumerate(columns(every, right)):
            self.say(self.paint(line, BOLD) if head is not None and number == 0 else line)

    def diagnostics(self, found: Iterable[Diagnostic]) -> None:
        """Mistakes and warnings as in the language's description, on standard error; left out with `json`."""
        from dlc.dsl.diagnostics import render_all

        found = list(found)
        if found:
            self._find_sources(found)
            self.note(render_all(found, self.sources, colored(sys.stderr)) + "\n")

    def failure(self, message: str, code: int, help: str | None = None, diagnostics: Sequence[Diagnostic] = ()) -> None:
        """Why a command failed: on standard error, or with `json` as a JSON object on standard output.

        Where nobody reads that any more, nothing is told, and the exit code still says it. A JSON object that standard
        output does not take is told on standard error.
        """
        try:
            try:
                self._tell(message, code, help, diagnostics)
                flush()
            except Unwritable as error:
                if self.json:
                    self.json = False
                    self._tell(message, code, help, diagnostics)
                self._tell(error.message, code, None, ())
        except BrokenPipeError:
            leave_unread()

    def _tell(self, message: str, code: int, help: str | None, diagnostics: Sequence[Diagnostic]) -> None:
        if self.json:
            from dlc.dsl.diagnostics import to_json

            listed = [to_json(each) for each in diagnostics]
            self.result({"error": message, "help": help, "exit": code, "diagnostics": listed})
            return
        self.diagnostics(diagnostics)
        # A message may quote a file, whose control characters are not for the terminal.
        self.note(self.paint("error", RED, sys.stderr) + f": {printable(message, keep=_LINES)}")
        if help is not None:
            self.note(f"  {self.paint('help', BOLD, sys.stderr)}: {printable(help, keep=_LINES)}")

    def _find_sources(self, found: Iterable[Diagnostic]) -> None:
        """Read the files that a diagnostic points into and that nobody has put into `sources`."""
        for each in found:
            for label in (each.primary, *each.secondary):
                if label.span.file not in self.sources:
                    try:
                        with open(label.span.file, encoding="utf-8") as file:
                            self.sources[label.span.file] = file.read()
                    except (OSError, ValueError):
                        continue  # the diagnostic is shown without the code


def colored(stream: TextIO) -> bool:
    """Are colours wanted there? On terminals only, and never where NO_COLOR is set."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def columns(rows: Sequence[Row], right: Sequence[int] = ()) -> list[str]:
    """The rows as lines, cells padded to the width of their column, two spaces between them."""
    widths: dict[int, int] = {}
    for row in rows:
        for index, cell in enumerate(row):
            widths[index] = max(widths.get(index, 0), len(cell))
    return [
        "  ".join(
            cell.rjust(widths[index]) if index in right else cell.ljust(widths[index]) for index, cell in enumerate(row)
        ).rstrip()
        for row in rows
    ]


def plural(number: int, one: str, many: str | None = None) -> str:
    """`1 net`, `2 nets`, `61,706 weights`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def short(number: int) -> str:
    """A large number with three digits: `950`, `416 k`, `15.5 G`."""
    value = float(number)
    for unit in ("", " k", " M", " G", " T", " P"):
        if value < 999.5 or unit == " P":
            break
        value /= 1000
    return f"{number}" if not unit else f"{value:.3g}{unit}"


def file_size(size: int) -> str:
    """Bytes for people: `812 B`, `412 kB`, `2.5 MB`."""
    return f"{short(size)}B" if size >= 1000 else f"{size} B"


def listed(names: Iterable[str]) -> str:
    """`a`, `b` and `c` in backquotes."""
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}" if quoted else "none"


def plain(value: Any) -> Any:
    """Numpy's scalars and arrays, paths and mappings as what JSON can hold; what is not finite as text."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and value not in (float("inf"), float("-inf")) and value == value:
        return value
    return str(value) if isinstance(value, float) else value
