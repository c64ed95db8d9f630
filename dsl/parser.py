"""`.net` text to syntax tree.

The whole file is parsed in one go. Only if that fails is it cut into declarations, each parsed by itself, so that there
is one syntax error for each broken declaration and not one for the file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dlc.dsl import ast
from dlc.dsl.ast import Span
from dlc.dsl.automaton import Failure, drive
from dlc.dsl.declarations import Segment, cut
from dlc.dsl.diagnostics import Diagnostic, Label, SourceError
from dlc.dsl.explain_syntax import explain
from dlc.dsl.habits import dashed_name
from dlc.dsl.limits import too_deep
from dlc.dsl.tokens import BAD, Token, end_token, tokenize

EDITIONS = (1,)
MAX_REPORTED = 20
MAX_BYTES = 2**20
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")  # no UTF-8 file has the latter, but the command line may


def parse(text: str, file: str) -> ast.Source:
    """The tree of a file's text; `file` is the name that spans bear.

    Raises SourceError with every lexical error and one syntax error for each broken declaration.
    """
    strange = _NOT_TEXT.search(text)
    if strange is not None:
        at = strange.start()
        line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
        what = "a NUL byte" if strange.group() == "\0" else "half of a surrogate pair"
        place = Label(Span(file, line, column, line, column + 1), what)
        raise SourceError(Diagnostic("E0106", f"`{file}` is not a text file", place))
    tokens, _, wrong = tokenize(text, file)
    deep = too_deep(tokens)
    if deep or wrong:
        others = [deep] if deep else _syntax_errors(tokens, file)
        raise _error([*wrong, *others])
    end = end_token(tokens, file)
    tree = drive(tokens, end)
    if isinstance(tree, Failure):
        raise _error(_syntax_errors(tokens, file) or [explain(tree, Segment(tokens, end))])
    if tree.edition is not None and tree.edition not in EDITIONS:
        raise SourceError(
            Diagnostic(
                "E0107",
                f"there is no edition {tree.edition} of the language",
                Label(tokens[1].span, "not an edition"),
                help="write `edition 1`, or leave the line out",
            )
        )
    return tree if tokens else replace(tree, span=end.span)


def parse_file(path: Path, shown: str | None = None) -> ast.Source:
    """The tree of a file; `shown` is its name in spans. Raises SourceError, also if it cannot be read."""
    return parse(read(path, shown), shown or str(path))


def parse_expression(text: str, file: str) -> ast.Expr:
    """One expression, such as a value given on the command line. Raises SourceError."""
    tokens, _, wrong = tokenize(text, file)
    deep = too_deep(tokens)
    if deep or wrong:
        raise _error([*wrong, *([deep] if deep else [])])
    end = end_token(tokens, file)
    start = Span(file, 1, 1, 1, 1)
    let = [Token("LET", "let", start, "LET", True), Token("NAME", "value", start, None, False)]
    tree = drive([*let, Token("EQUAL", "=", start, None, False), *tokens], end)
    if isinstance(tree, Failure):
        raise SourceError(explain(tree, Segment(tree.tokens, end)))
    only = tree.declarations[0]
    if len(tree.declarations) > 1 or not isinstance(only, ast.Let) or only.space:
        raise SourceError(Diagnostic("E0101", "this is not one expression", Label(_whole(tokens), "")))
    return only.value


def read(path: Path, shown: str | None = None) -> str:
    """The text of a file. Raises SourceError if it is missing, a folder, unreadable, or not UTF-8 text."""
    name = shown or str(path)
    place = Label(Span(name, 1, 1, 1, 1), "")
    try:
        with path.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)  # and no more: a device may have no end
    except FileNotFoundError:
        raise SourceError(Diagnostic("E0106", f"there is no file `{name}`", place)) from None
    except IsADirectoryError:
        raise SourceError(Diagnostic("E0106", f"`{name}` is a folder, not a `.net` file", place)) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SourceError(Diagnostic("E0106", f"`{name}` cannot be read: {reason}", place)) from None
    if len(content) > MAX_BYTES:
        message = f"`{name}` is larger than {MAX_BYTES // 2**20} MB: too large for a `.net` file"
        raise SourceError(Diagnostic("E0106", message, place))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        place = Label(Span(name, line, column, line, column + 1), "")
        message = f"`{name}` is not UTF-8 text: byte {error.start} is 0x{content[error.start]:02x}"
        raise SourceError(Diagnostic("E0106", message, place)) from None


def _syntax_errors(tokens: list[Token], file: str) -> list[Diagnostic]:
    result = []
    dashed = set()
    for segment in cut(tokens, file):
        if any(token.type == BAD for token in segment.tokens):
            continue
        outcome = drive(segment.tokens, segment.end)
        if isinstance(outcome, Failure):
            name = dashed_name(outcome)
            if name is None or name not in dashed:  # told once, where it is declared
                result.append(explain(outcome, segment))
            dashed.add(name)
    return result


def _error(diagnostics: list[Diagnostic]) -> SourceError:
    diagnostics.sort(key=lambda each: (each.primary.span.line, each.primary.span.column))
    if len(diagnostics) > MAX_REPORTED:
        more = len(diagnostics) - MAX_REPORTED
        last = diagnostics[MAX_REPORTED - 1]
        diagnostics[MAX_REPORTED - 1 :] = [replace(last, notes=(*last.notes, f"and {more} more after this one"))]
    return SourceError(*diagnostics)


def _whole(tokens: Sequence[Token]) -> Span:
    first, last = tokens[0].span, tokens[-1].span
    return Span(first.file, first.line, first.column, last.end_line, last.end_column)
