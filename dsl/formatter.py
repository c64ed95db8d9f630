"""The one layout of `.net` text: `format_text`.

It has no options. The author's breaks between the stages of a pipeline, between the branches of a fan-out, after the
`=` of a declaration and after the `{` of `repeat` and `for` are kept, and up to one empty line between statements; all
else follows from the program. No token changes, but a comma before a closing bracket, which means nothing, goes.

The tree says what belongs together, the tokens are those of the text. Nothing recurses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dlc.dsl import ast
from dlc.dsl.format_rules import ANY, ENDING, Piece, Separator, pieces
from dlc.dsl.layout import BLANK, CLOSE, DEDENT, HARD, Apart, Item, Remark, Text, layout
from dlc.dsl.parser import parse
from dlc.dsl.tokens import Comment, Token, comments, tokenize

Position = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Note:
    """A comment between two tokens; `own` if on a line of its own, `blank` if below an empty line."""

    text: str
    own: bool
    blank: bool


@dataclass(slots=True)
class _Gap:
    """What stands before a token; `blank` if an empty line is the last of it."""

    notes: list[_Note]
    blank: bool


def format_text(text: str, file: str) -> str:
    """The text in its one layout, program and comments unchanged. Raises SourceError if it does not parse."""
    tree = parse(text, file)
    result = layout(_Writer(tree, text, file).items(tree))
    if parse(result, file) != tree or _words(result) != _words(text):
        raise AssertionError("formatting has changed the program")
    return result


def _words(text: str) -> list[str]:
    return [comment.text for comment in comments(text)]


class _Writer:
    """Goes through the tokens of a text in step with its tree."""

    def __init__(self, tree: ast.Source, text: str, file: str) -> None:
        tokens, notes, _ = tokenize(text, file)
        self.tokens, self.gaps = _with_gaps(tokens, notes, _needed_commas(tree))
        self.where = {(each.span.line, each.span.column): at for at, each in enumerate(self.tokens)}
        self.at = 0

    def items(self, tree: ast.Source) -> list[Item]:
        """The whole file, to be laid out."""
        result: list[Item] = []
        waiting: list[Piece] = [tree]
        while waiting:
            piece = waiting.pop()
            if piece is ANY or isinstance(piece, str):
                result += self._token(piece)
            elif isinstance(piece, Separator):
                result += self._separator(piece)
            elif piece is ENDING:
                result += [item for note in self._take() for item in (HARD, Remark(note.text, True))]
            elif isinstance(piece, list):
                waiting.extend(reversed(piece))
            elif callable(piece):
                waiting.extend(reversed(piece(self)))
            elif isinstance(piece, ast.Syntax):
                waiting.extend(reversed(pieces(piece, self)))
            else:
                result.append(piece)
        return list(_outside(result))

    # What rules ask

    def peek(self) -> str:
        """The text of the next token."""
        return self.tokens[self.at].text if self.at < len(self.tokens) else ""

    def begins_line(self, part: ast.Syntax) -> bool:
        """Did the author begin a line with this part?"""
        return self.tokens[self._index(part)].first

    def after_break(self, stage: ast.Stage) -> bool:
        """Did the author end a line on either side of the arrow before this stage?"""
        at = self._index(stage)
        return self.tokens[at].first or self.tokens[at - 1].first

    def _index(self, part: ast.Syntax) -> int:
        return self.where[part.span.line, part.span.column]

    # What is written

    def _take(self) -> list[_Note]:
        """The comments before the next token, once."""
        notes, self.gaps[self.at].notes = self.gaps[self.at].notes, []
        return notes

    def _token(self, expected: Piece) -> list[Item]:
        token = self.tokens[self.at]
        if expected is not ANY and token.text != expected:
            raise AssertionError(f"expected the token {expected!r}, found {token.text!r} at {token.span}")
        result: list[Item] = [Remark(note.text, True) for note in self._take()]
        result.append(Text(token.text))
        self.at += 1
        behind = self.gaps[self.at].notes
        if behind and not behind[0].own:
            result.append(Remark(behind.pop(0).text, False))
        return result

    def _separator(self, piece: Separator) -> list[Item]:
        """The end of a line before a statement or declaration, or the comments before what ends a body or the file."""
        gap, notes = self.gaps[self.at], self._take()
        blanks = [*(note.blank for note in notes), gap.blank]
        # A comment below a declaration stays there if the author has set it apart from the next one.
        apart = blanks.index(True) if True in blanks else 0
        result: list[Item] = []
        for at, blank in enumerate(blanks):
            if at == len(notes) and piece.last:
                break
            result.append(HARD)
            if piece.declaration is not None and at == apart:
                result.append(Apart(piece.declaration and not blank))
            elif blank and not (piece.first and at == 0):
                result.append(BLANK)
            if at < len(notes):
                result.append(Remark(notes[at].text, True))
        return result


def _outside(items: Sequence[Item]) -> Iterator[Item]:
    """A comment at the end of a line stands outside the groups that end with what is before it: it breaks none."""
    held: list[Item] = []
    for item in items:
        if isinstance(item, Remark) and not item.own:
            held.append(item)
            continue
        if item is not CLOSE and item is not DEDENT:
            yield from held
            held.clear()
        yield item
    yield from held


def _needed_commas(tree: ast.Source) -> set[Position]:
    """The ends of tuples of one item, whose comma is no ornament."""
    result: set[Position] = set()
    waiting: list[ast.Syntax] = [tree]
    while waiting:
        part = waiting.pop()
        if isinstance(part, ast.Tuple) and len(part.items) == 1:
            result.add((part.span.end_line, part.span.end_column))
        waiting.extend(ast.children(part))
    return result


def _with_gaps(
    tokens: Sequence[Token], notes: Sequence[Comment], needed: set[Position]
) -> tuple[list[Token], list[_Gap]]:
    """The tokens but for commas that mean nothing, and what stands before each of them and before the end."""
    kept: list[Token] = []
    gaps = [_Gap([], False)]
    waiting = list(reversed(notes))
    line = 0
    for at, token in enumerate([*tokens, None]):
        gap = gaps[-1]
        while waiting and (token is None or _place(waiting[-1]) < _place(token)):
            note = waiting.pop()
            own = note.own_line or bool(gap.notes)
            gap.notes.append(_Note(note.text, own, own and note.span.line - line > 1))
            line = note.span.line
        if token is None:
            break
        gap.blank = token.span.line - line > 1
        line = token.span.line
        closer = tokens[at + 1] if at + 1 < len(tokens) else None
        if token.text == "," and closer is not None and closer.text in (")", "]"):
            end = closer.span
            if (end.end_line, end.end_column) not in needed:
                continue
        kept.append(token)
        gaps.append(_Gap([], False))
    return kept, gaps


def _place(part: Token | Comment) -> Position:
    return part.span.line, part.span.column
