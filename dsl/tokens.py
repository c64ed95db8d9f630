"""Text to tokens, in one pass; what cannot be a token becomes a diagnostic and a token of type `BAD`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from dlc.dsl.ast import Span
from dlc.dsl.diagnostics import Diagnostic, Edit, Label
from dlc.dsl.grammar import grammar
from dlc.dsl.tree import ESCAPES

END, BAD = "$END", "BAD"
MAX_DIGITS = 18

_WORDS_OF_OTHER_LANGUAGES = {
    ";": "leave it out: line ends and semicolons mean nothing here",
    "'": 'strings stand in double quotes: `"..."`',
    "`": 'strings stand in double quotes: `"..."`',
    "&": "write `and`",
    "|": "write `or`; the arrow of a pipeline is `->`",
    "!": "write `not`",
    "^": "the power of x is `x ** n`",
    "→": "the arrow is written `->`",
    "\N{MINUS SIGN}": "the minus sign is the plain `-`",
    "\N{MULTIPLICATION SIGN}": "products are written with `*`",
    "\N{NO-BREAK SPACE}": "this is a no-break space; type an ordinary one",
}
COMMENTS = "comments begin with `#`"
_BAD_RUN = re.compile(r"'[^'\n]*'?|\"[^\n]*|[^\x00-\x7f]+|(.)\1*", re.DOTALL)


@dataclass(slots=True, eq=False)
class Token:
    """A token. `type` is the grammar's terminal; a keyword's may become NAME where a name stands (`word` keeps it)."""

    type: str
    text: str
    span: Span
    word: str | None
    first: bool  # on its line


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment as written, `#` included; `doc` for the `##` kind, `own_line` if nothing stands before it."""

    text: str
    span: Span
    doc: bool
    own_line: bool


def tokenize(text: str, file: str) -> tuple[list[Token], list[Comment], list[Diagnostic]]:
    """All tokens and comments of `text`, and what is wrong with single tokens."""
    tables = grammar()
    match, words = tables.pattern.match, tables.words
    tokens: list[Token] = []
    comments: list[Comment] = []
    wrong: list[Diagnostic] = []
    line, line_start, at, end = 1, 0, 0, len(text)
    first = True
    opening: Token | None = None  # the first of the line
    prose = 0  # where a comment in another language's manner ends: what is strange in it is no news
    while at < end:
        found = match(text, at)
        kind = found.lastgroup if found else BAD
        piece = found.group() if found else _bad_run(text, at)
        column = at - line_start + 1
        at += len(piece)
        if kind is not None and kind.startswith("__IGNORE"):
            newlines = piece.count("\n")
            if newlines:
                line += newlines
                line_start = at - len(piece) + piece.rindex("\n") + 1
                first = True
            continue
        span = Span(file, line, column, line, column + len(piece))
        if kind == "COMMENT":
            comments.append(Comment(piece.rstrip(), span, piece.startswith("##"), first))
            continue
        token = Token(kind or BAD, piece, span, words.get(piece), first)
        opening = token if first or opening is None else opening
        first = False
        complaint = _complaint(token)
        if complaint:
            start = at - len(piece)
            if at > prose:
                if kind == BAD and text.startswith('"""', start - 2):
                    complaint, prose = _quoted(token), text.find('"""', start + 1) + 3
                elif kind == BAD and opening.text == "//":
                    complaint, prose = _slashed(opening), _line_end(text, start)
                wrong.append(complaint)
            token.type = BAD
        elif token.word:
            token.type = token.word
        tokens.append(token)
    return tokens, comments, wrong


def comments(text: str, file: str = "") -> tuple[Comment, ...]:
    """The comments of a file with their places, for a formatter and for `##` documentation."""
    return tuple(tokenize(text, file)[1])


def end_token(tokens: list[Token], file: str) -> Token:
    """The end of the text as a token, just after the last one."""
    if not tokens:
        return Token(END, "", Span(file, 1, 1, 1, 1), None, True)
    last = tokens[-1].span
    return Token(END, "", Span(file, last.end_line, last.end_column, last.end_line, last.end_column), None, False)


def _line_end(text: str, at: int) -> int:
    found = text.find("\n", at)
    return found if found >= 0 else len(text)


def _bad_run(text: str, at: int) -> str:
    found = _BAD_RUN.match(text, at)
    assert found is not None
    return found.group()


def _complaint(token: Token) -> Diagnostic | None:
    kind, text, span = token.type, token.text, token.span
    if kind == "INT" and len(text.replace("_", "").lstrip("0")) > MAX_DIGITS:
        return Diagnostic("E0104", "this number is too large", Label(span, f"more than {MAX_DIGITS} digits"))
    if kind == "FLOAT" and math.isinf(float(text.replace("_", ""))):
        return Diagnostic("E0104", "this number is too large", Label(span, "beyond what a float64 holds"))
    if kind == "STRING" and "\\" in text:
        return next(_bad_escapes(token), None)
    return _strange(token) if kind == BAD else None


def _quoted(third: Token) -> Diagnostic:
    """The third of three quotes is alone, for the first two are a string."""
    span = third.span
    here = Span(span.file, span.line, span.column - 2, span.line, span.column + 1)
    message = "three quotes begin no comment"
    return Diagnostic("E0103", message, Label(here, "write `#`"), help=f"{COMMENTS}, on each line")


def _slashed(opening: Token) -> Diagnostic:
    return Diagnostic("E0118", "`//` begins no comment", Label(opening.span, "write `#`"), help=COMMENTS)


def _bad_escapes(token: Token) -> Iterator[Diagnostic]:
    for found in re.finditer(r"\\(.)", token.text):
        if found[1] not in ESCAPES:
            column = token.span.column + found.start()
            span = Span(token.span.file, token.span.line, column, token.span.line, column + 2)
            yield Diagnostic(
                "E0109",
                f"a string has no escape `{found.group()}`",
                Label(span, "unknown escape"),
                help=r"there are `\n`, `\t`, `\r`, `\"` and `\\`; a plain backslash is `\\`",
            )


def _strange(token: Token) -> Diagnostic:
    text, span = token.text, token.span
    if text[0] == '"':
        only = Span(span.file, span.line, span.column, span.line, span.column + 1)
        return Diagnostic(
            "E0103", "a string is not closed", Label(only, "opened here"), help='strings end with `"` on the same line'
        )
    if text[0] in "“”„«»‘’":  # noqa: RUF001
        help_: str | None = 'strings stand in straight double quotes: `"..."`'
    elif text[0].isalpha():
        help_ = "names are made of the letters a to z, A to Z, digits and `_`"
    else:
        help_ = _WORDS_OF_OTHER_LANGUAGES.get(text[0])
    shown = text[:20] if text.isprintable() else f"U+{ord(text[0]):04X}"
    edit = Edit(span, "") if text[0] == ";" else Edit(span, "->") if text == "→" else None
    return Diagnostic(
        "E0102", f"`{shown}` is not part of the language", Label(span, "not expected"), help=help_, edit=edit
    )
