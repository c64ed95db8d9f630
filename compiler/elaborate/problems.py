"""Mistakes found while elaborating: raised where they are seen, reported where the text is known."""

from __future__ import annotations

from dataclasses import dataclass, field

from dlc.compiler.graph import Value
from dlc.dsl.ast import Span
from dlc.dsl.diagnostics import Diagnostic, Label

NOTED = 3
"""How many of the applications around a mistake are named."""


class Problem(Exception):
    """A mistake in a `.net` file that has no place yet, or one that names its own.

    `label` is what is written under the span; `secondary` are the reasons with their places. `argument` names the
    parameter of a library function that the mistake is about: it is shown where that is written. `convert` is a tensor
    that would do as floats: the help names it where it is written.
    """

    def __init__(
        self,
        code: str,
        message: str,
        label: str = "",
        *,
        span: Span | None = None,
        secondary: tuple[Label, ...] = (),
        notes: tuple[str, ...] = (),
        help: str | None = None,
        argument: str = "",
        convert: Value | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.label = label
        self.span = span
        self.secondary = secondary
        self.notes = notes
        self.help = help
        self.argument = argument
        self.convert = convert


class Reported(Problem):
    """What stops here because of a mistake that has been reported already: nothing more is said of it."""

    def __init__(self) -> None:
        super().__init__("", "")


@dataclass(slots=True)
class Application:
    """One entry of the stack of applications that are under way: `text` as in messages, and where it was written.

    A net has no text: that a train section uses it is no news.
    """

    text: str
    span: Span
    library: bool


@dataclass(slots=True)
class Report:
    """The diagnostics of one elaboration, and the applications that are under way, for their notes."""

    diagnostics: list[Diagnostic] = field(default_factory=list)
    applications: list[Application] = field(default_factory=list)

    def shown(self, span: Span) -> Span:
        """A place in the user's own text: `span`, or where the part of the library that it lies in was used."""
        if not span.file.startswith("<"):
            return span
        return next((user.span for user in reversed(self.applications) if not user.span.file.startswith("<")), span)

    def add(self, problem: Problem, span: Span, severity: str = "error") -> None:
        """Record a problem at its own span, or at `span`; one inside the library is shown where it was used."""
        if isinstance(problem, Reported):
            return
        at, label, notes = problem.span or span, problem.label, list(problem.notes)
        users = self.applications
        if at.file.startswith("<"):
            depth = next((i for i in reversed(range(len(users))) if not users[i].span.file.startswith("<")), None)
            if depth is not None:
                at, users = users[depth].span, users[:depth]
        uses = [
            user for user in reversed(users) if user.text and not user.library and not user.span.file.startswith("<")
        ]
        notes += [f"in {user.text}, used at {user.span}" for user in uses[:NOTED]]
        if len(uses) > NOTED:
            notes.append(f"and so on, {len(uses) - NOTED} more")
        secondary = tuple(label for label in problem.secondary if not label.span.file.startswith("<"))
        found = Diagnostic(
            problem.code,
            problem.message,
            Label(at, label),
            secondary,
            tuple(notes),
            problem.help,
            "warning" if severity == "warning" else "error",
        )
        if found not in self.diagnostics:
            self.diagnostics.append(found)

    @property
    def failed(self) -> bool:
        return any(diagnostic.severity == "error" for diagnostic in self.diagnostics)
