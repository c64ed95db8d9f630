"""Habits from other languages, told by the tokens around the place where the parser stopped."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from dlc.dsl.ast import Span
from dlc.dsl.automaton import Failure
from dlc.dsl.declarations import FOLLOWERS
from dlc.dsl.diagnostics import Diagnostic, Edit, Label
from dlc.dsl.tokens import COMMENTS, Token

NO_BRANCH = "there is no `if` statement"
CHOICES = "a choice is an expression: `y = a if c else b`, and of stages `x -> (f if c else g)`"
_BEFORE_NAMES = (*FOLLOWERS, "on", "as", "input", "param", "state", "next", "return")


def habit(failure: Failure) -> Diagnostic | None:
    """The diagnostic for one syntax error, if it is such a habit."""
    return _comment(failure) or _foreign_import(failure) or _arrow(failure) or _dashed(failure) or _branch(failure)


def dashed_name(failure: Failure) -> str | None:
    """`my-net`, where the parser stopped at the `-` of a name that is declared or referred to."""
    tokens, at = failure.tokens, failure.at
    if failure.token.text != "-" or not at or not _is_name(tokens[at - 1]):
        return None
    last = at - 1
    while last + 2 < len(tokens) and _joined(tokens[last : last + 3]) and _is_name(tokens[last + 2], "INT"):
        last += 2
    after = tokens[last + 1].text if last + 1 < len(tokens) else ""
    before = tokens[at - 2].text if at > 1 else ""
    if last < at or not (before in _BEFORE_NAMES or after in ("=", ":")):
        return None
    return "".join(token.text for token in tokens[at - 1 : last + 1])


def over(first: Token, last: Token) -> Span:
    """From the first of two tokens to the second one's end."""
    return Span(first.span.file, first.span.line, first.span.column, last.span.end_line, last.span.end_column)


def _comment(failure: Failure) -> Diagnostic | None:
    """`//` where no division can stand, or at the start of a line before; `/*`; three quotes."""
    tokens, at = failure.tokens, failure.at
    near = range(at, -1, -1) if at < len(tokens) else range(at - 1, -1, -1)
    line = failure.token.span.line
    for place in near:
        token = tokens[place]
        if token.span.line < line - 1:
            return None
        pair = tokens[place : place + 2]
        opened = token.text == "//" and (place == at or token.first)
        opened = opened or (token.text == "/" and pair[-1].text in ("*", "**") and _joined(pair))
        opened = opened or (token.text == '""' and pair[-1].text.startswith('"') and _joined(pair) and len(pair) == 2)
        if opened:
            what = '"""' if token.text == '""' else "//" if token.text == "//" else "/*"
            end = token.span.column + len(what)
            here = Span(token.span.file, token.span.line, token.span.column, token.span.line, end)
            return Diagnostic("E0118", f"`{what}` begins no comment", Label(here, "write `#`"), help=COMMENTS)
    return None


def _foreign_import(failure: Failure) -> Diagnostic | None:
    """`import torch`, `from torch import nn`."""
    tokens = failure.tokens
    if len(tokens) < 2 or tokens[0].text not in ("import", "from") or not _is_name(tokens[1]):
        return None
    line = [token for token in tokens if token.span.line == tokens[0].span.line]
    words = [token.text for token in line]
    if "import" not in words or ("from" in words[1:]) or failure.token.type == "STRING":
        return None
    here = Label(over(line[0], line[-1]), "this is no `.net` text")
    help_ = 'leave it out: the library is always there; an ONNX graph is borrowed by `import trunk from "trunk.onnx"`'
    return Diagnostic("E0118", f"`{words[0]} {words[1]}` imports no graph", here, help=help_)


def _arrow(failure: Failure) -> Diagnostic | None:
    """`=>`, in a pipeline and after the head of a function or block."""
    tokens, at = failure.tokens, failure.at
    for first in (at, at - 1):
        pair = tokens[first : first + 2] if first >= 0 else ()
        if [token.text for token in pair] == ["=", ">"] and _joined(pair):
            meant = "->" if first == at else "="  # where `=` itself could stand, it is what was meant
            here = over(pair[0], pair[1])
            return Diagnostic(
                "E0118", "there is no arrow `=>`", Label(here, f"write `{meant}`"), edit=Edit(here, meant)
            )
    return None


def _dashed(failure: Failure) -> Diagnostic | None:
    name = dashed_name(failure)
    if name is None:
        return None
    start = failure.tokens[failure.at - 1].span
    here = Span(start.file, start.line, start.column, start.line, start.column + len(name))
    meant = name.replace("-", "_")
    return Diagnostic("E0118", f"a name has no `-`: `{name}`", Label(here, f"write `{meant}`"), edit=Edit(here, meant))


def _branch(failure: Failure) -> Diagnostic | None:
    """A line `if ... {` or `if ...:`."""
    line = failure.token.span.line
    words = [token for token in failure.tokens if token.span.line == line]
    if not words or words[0].text != "if" or not words[0].first or not {"{", ":"} & {token.text for token in words}:
        return None
    return Diagnostic("E0118", NO_BRANCH, Label(words[0].span, "nothing branches here"), help=CHOICES)


def _is_name(token: Token, *others: str) -> bool:
    return token.type in ("NAME", *others) or token.word is not None


def _joined(tokens: Sequence[Token]) -> bool:
    """Is there no space between tokens?"""
    return all((a.span.line, a.span.end_column) == (b.span.line, b.span.column) for a, b in pairwise(tokens))
