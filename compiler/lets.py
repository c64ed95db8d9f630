"""The values of `let`s that `--set` gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dlc.compiler.elaborate import expressions
from dlc.compiler.elaborate.context import Mode
from dlc.compiler.graph import Value
from dlc.compiler.unit import elaborator, outermost
from dlc.dsl import ast
from dlc.dsl.diagnostics import Diagnostic, Label, SourceError, nearest
from dlc.dsl.parser import parse

if TYPE_CHECKING:
    from dlc.compiler.program import Program


def override(p: Program, lets: Mapping[str, str]) -> dict[str, Any]:
    """The values of `--set`, of the same kind as those in the file; a text needs no quotes. Raises SourceError."""
    own = {let.name.text: let for let in p.declared(ast.Let)}
    values: dict[str, Any] = {}
    for name, text in lets.items():
        where = ast.Span("--set", 1, 1, 1, 1 + len(name))
        line = f"{name}={text}"
        p.sources["--set"] = p.source.sources["--set"] = line
        if name not in own:
            guess = nearest(name, own)
            note = f"the file's are {', '.join(f'`{each}`' for each in own)}" if own else "the file has none"
            label = Label(where, f"did you mean `{guess}`?" if guess else "")
            raise SourceError(Diagnostic("E0201", f"no `let` is called `{name}`", label, notes=(note,)))
        at = ast.Span("--set", 1, len(name) + 2, 1, len(line) + 1)
        before = _evaluated(p, own[name])
        bare = isinstance(before, str) and not text.startswith('"')  # a shell takes the quotes of `--set folder="x"`
        value = text if bare else _evaluate(p, text, at)
        if not _same_kind(before, value):
            message = f"`{name}` is {_kind(before)} in the file, and this is {_kind(value)}"
            raise SourceError(Diagnostic("E0302", message, Label(at, ""), (Label(own[name].span, "given here"),)))
        values[name] = float(value) if isinstance(before, float) else value
    return values


def _evaluate(p: Program, text: str, at: ast.Span) -> Any:
    """The compile-time value of a text from the command line; raises SourceError."""
    try:
        parsed = parse(f"let value = {text}", "--set").declarations
    except SourceError:
        parsed = ()
    if len(parsed) != 1 or not isinstance(parsed[0], ast.Let) or parsed[0].space is not None:
        raise SourceError(Diagnostic("E0302", f"`{text}` is not a value", Label(at, "a number, text or list")))
    e = elaborator(p, Mode())
    with e:
        value = expressions.evaluate(e, parsed[0].value, outermost(p, "value", at))
    if e.report.failed or isinstance(value, Value):
        raise SourceError(Diagnostic("E0302", f"`{text}` is not a value", Label(at, "a number, text or list")))
    return value


def _evaluated(p: Program, let: ast.Let) -> Any:
    e = elaborator(p, Mode())
    with e:
        return expressions.evaluate(e, let.value, outermost(p, let.name.text, let.span))


def _same_kind(a: Any, b: Any) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):
        return isinstance(a, bool) and isinstance(b, bool)
    if isinstance(a, float):
        return isinstance(b, int | float)
    return type(a) is type(b)


def _kind(value: Any) -> str:
    names = {bool: "true or false", int: "an integer", float: "a number", str: "a text", list: "a list"}
    return names.get(type(value), "something else")
