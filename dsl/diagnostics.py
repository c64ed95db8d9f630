"""Diagnostics: what is wrong in a `.net` file, where, why, and what would mend it.

Every mistake of a user becomes a `Diagnostic`; the stages of the compiler raise them together in one `SourceError`.
`dlc.dsl.excerpt` draws the code that a diagnostic points at; `render` gives the whole as text, `to_json` for editors.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from dlc.dsl.ast import Span
from dlc.dsl.excerpt import GUTTER, PRIMARY, WARNING, Mark, excerpt, paint

CODES: dict[str, str] = {
    # The text itself
    "E0101": "unexpected text",
    "E0102": "a character that is not part of the language",
    "E0103": "a string is not closed",
    "E0104": "a number is too large",
    "E0105": "nesting is too deep",
    "E0106": "a file cannot be read",
    "E0107": "an unknown edition of the language",
    "E0108": "a reserved word cannot be a name",
    "E0109": "a string has an unknown escape",
    "E0110": "a sum cannot begin inside a pipeline",
    "E0111": "`as` cannot name a plain expression",
    "E0112": "a value needs a name or `return`",
    "E0113": "something is missing",
    "E0114": "text outside a declaration",
    "E0115": "a bracket is not closed",
    "E0116": "the file ends too early",
    "E0117": "a bracket closes nothing",
    "E0118": "a habit from another language",
    # Names
    "E0201": "nothing here has this name",
    "E0202": "a name is given twice",
    "E0203": "no such setting",
    "E0204": "capitals own weights, small letters never do",
    "E0205": "a setting is missing or given twice",
    "E0206": "a statement that does not belong here",
    "E0207": "nothing uses this name",
    "E0208": "this cannot be used in this way",
    "E0209": "a declaration refers to itself",
    # Shapes and types
    "E0301": "shapes that do not go together",
    "E0302": "a value of the wrong type",
    "E0303": "an argument that the operation refuses",
    "E0304": "a broadcast that was surely not meant",
    "E0305": "a dimension that is not known here",
    "E0306": "a compile-time value is needed",
    "E0307": "a reduction over padding",
    "E0308": "a mask that does not fit",
    "E0309": "a pattern that does not fit",
    "E0310": "too large",
    "E0311": "an assertion does not hold",
    # Gradients
    "E0501": "no way for a gradient to get through",
    # Data
    "E0601": "data that does not fit the net",
    "E0602": "a field of the data is wrong",
    # Other files
    "E0701": "a file has no declaration of that name",
    "E0702": "a borrowed graph has no such value",
    "E0703": "files that use each other in a circle",
    "E0704": "a declaration that cannot be used from another file",
    "E0705": "a file that is named cannot be found",
    "E0706": "a graph that cannot be borrowed",
    # Warnings
    "W0401": "an address that moves when a line is inserted",
    "W0402": "a weight that cannot learn",
    "W0403": "two sets of weights where one was probably meant",
    "W0405": "a precision that is not computed yet",
    "W0406": "examples that depend on their batch",
    "W0407": "statistics of a single value",
}
"""Every code with its title, for `dlc explain`."""


@dataclass(frozen=True)
class Label:
    """A stretch of text and what is to be said of it; `text` may be empty."""

    span: Span
    text: str


@dataclass(frozen=True)
class Edit:
    """A repair that is certain: put `replacement` in place of `span`."""

    span: Span
    replacement: str


@dataclass(frozen=True)
class Diagnostic:
    """One mistake: `primary` is what is wrong, `secondary` are the reasons, `help` what to do about it."""

    code: str
    message: str
    primary: Label
    secondary: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()
    help: str | None = None
    severity: Literal["error", "warning"] = "error"
    edit: Edit | None = None


class SourceError(Exception):
    """One or more mistakes in a user's files."""

    def __init__(self, *diagnostics: Diagnostic) -> None:
        super().__init__(*diagnostics)
        self.diagnostics = diagnostics

    def __str__(self) -> str:
        return "\n".join(f"{it.primary.span}: {it.severity}[{it.code}]: {it.message}" for it in self.diagnostics)


def render(diagnostic: Diagnostic, sources: Mapping[str, str], color: bool = False) -> str:
    """The diagnostic as text for people, without a line end after its last line.

    `sources` maps the `file` of spans to text; labels in a file that is not there are shown by their place alone.
    """
    kind = PRIMARY if diagnostic.severity == "error" else WARNING
    marks = [Mark(diagnostic.primary.span, diagnostic.primary.text, True)]
    marks += [Mark(label.span, label.text, False) for label in diagnostic.secondary]
    width = len(str(max(mark.span.line for mark in marks if mark.primary or mark.span.file in sources)))
    head = paint(f"{diagnostic.severity}[{diagnostic.code}]", kind, color)
    lines = [f"{head}{paint(f': {diagnostic.message}', '1', color)}"]
    for number, file in enumerate(dict.fromkeys(mark.span.file for mark in marks)):
        here = [mark for mark in marks if mark.span.file == file]
        arrow = paint("-->" if number == 0 else ":::", GUTTER, color)
        lines.append(f"{' ' * width}{arrow} {here[0].span}")
        if file in sources:
            lines += excerpt(sources[file], here, width, kind, color)
        else:
            bar = paint("|", GUTTER, color)
            lines += [f"{' ' * width} {bar} line {mark.span.line}: {mark.text}" for mark in here if mark.text]
            lines.append(f"{' ' * width} {bar}")
    remarks = [("note", note) for note in diagnostic.notes]
    if diagnostic.help is not None:
        remarks.append(("help", diagnostic.help))
    for title, remark in remarks:
        start = f"{' ' * width} {paint('=', GUTTER, color)} {paint(title, '1', color)}: "
        lines.append(start + remark.replace("\n", "\n" + " " * (width + len(title) + 5)))
    return "\n".join(lines)


def render_all(diagnostics: Iterable[Diagnostic], sources: Mapping[str, str], color: bool = False) -> str:
    """Several diagnostics with an empty line between them."""
    return "\n\n".join(render(each, sources, color) for each in diagnostics)


def to_json(diagnostic: Diagnostic) -> dict[str, Any]:
    """The diagnostic as plain dictionaries and lists, spans and edit included, for `--json` and editors."""
    result = asdict(diagnostic)
    result["secondary"] = list(result["secondary"])
    result["notes"] = list(result["notes"])
    return result


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate that `word` was probably meant to be, or None if none is near.

    Near is: equal but for case, or at most a third of the letters wrong (inserted, left out, replaced, or two
    neighbours exchanged), and at least one letter in names of two or three.
    """
    best: tuple[int, bool, float, str] | None = None
    for candidate in candidates:
        if candidate == word or not candidate:
            continue
        distance = 0 if candidate.lower() == word.lower() else _distance(word, candidate)
        longest = max(len(word), len(candidate))
        if longest < 2 or distance > max(1, longest // 3) or distance >= longest:
            continue
        other_letters = sorted(word) != sorted(candidate)  # at the same distance, an exchange is the likeliest slip
        rank = (distance, other_letters, -difflib.SequenceMatcher(None, word, candidate).ratio(), candidate)
        best = rank if best is None or rank < best else best
    return best[3] if best else None


def _distance(left: str, right: str) -> int:
    """Damerau-Levenshtein distance (optimal string alignment); `len` of the longer if they are far apart in length."""
    if abs(len(left) - len(right)) > max(len(left), len(right)) // 3 + 1:
        return max(len(left), len(right))
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        older, before, row = before, row, [i]
        for j, b in enumerate(right, 1):
            best = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == right[j - 2] and left[i - 2] == b:
                best = min(best, older[j - 2] + 1)
            row.append(best)
    return row[-1]
