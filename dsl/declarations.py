"""Cuts a file that does not parse into its declarations, and pairs its brackets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dlc.dsl.tokens import BAD, Token, end_token

FOLLOWERS: dict[str, tuple[str, ...]] = {
    "use": (",", "from"),
    "import": ("from",),
    "let": ("=", ":"),
    "fn": ("(",),
    "block": ("(", "->", "=", "{"),
    "net": ("{",),
    "infer": ("{",),
    "data": ("{",),
    "train": ("on",),
    "search": ("{",),
}
"""The words that begin declarations, with what may stand after the name that comes next."""

_PAIRS = {")": "(", "]": "[", "}": "{"}
_JOINTS = frozenset(("on", "as", "from", "in", "and", "or", "not", "if", "else", *FOLLOWERS))
"""After these, a word is the rest of what came before."""


@dataclass
class Segment:
    """The tokens of one declaration; `end` stands just after them, `following` begins the next one."""

    tokens: Sequence[Token]
    end: Token
    following: Token | None = None
    unclosed: set[int] = field(default_factory=set)
    """Indices of brackets with no partner in this segment."""

    def __post_init__(self) -> None:
        self.unclosed = unclosed(self.tokens)


def cut(tokens: list[Token], file: str) -> list[Segment]:
    """Cuts where a declaration surely begins: outside brackets, or at a line's start no deeper than the last one.

    The second rule finds the next declaration after a bracket that is never closed.
    """
    starts = [0] if tokens else []
    depth = 0
    for at, token in enumerate(tokens):
        if at and token.text in FOLLOWERS and _begins(tokens, at, depth, tokens[starts[-1]].span.column, starts[-1]):
            starts.append(at)
            depth = 0
        elif token.text in ("(", "[", "{"):
            depth += 1
        elif token.text in _PAIRS:
            depth = max(0, depth - 1)
    segments = []
    for start, stop in zip(starts, [*starts[1:], len(tokens)], strict=True):
        following = tokens[stop] if stop < len(tokens) else None
        segments.append(Segment(tokens[start:stop], end_token(tokens[start:stop], file), following))
    return segments


def _begins(tokens: list[Token], at: int, depth: int, column: int, start: int) -> bool:
    token, before = tokens[at], tokens[at - 1]
    named = at + 1 < len(tokens) and (tokens[at + 1].type == "NAME" or tokens[at + 1].word is not None)
    whole = named and at + 2 < len(tokens) and tokens[at + 2].text in FOLLOWERS[token.text]
    if token.first and token.span.column <= column and (whole or depth == 0):
        return True
    operand = before.type in ("NAME", "INT", "FLOAT", "STRING", BAD) or before.word or before.text in _PAIRS
    if depth > 0 or not operand:
        return False
    return named and (before.text not in _JOINTS or (whole and at - 1 != start))


def unclosed(tokens: Sequence[Token]) -> set[int]:
    """Indices of opening brackets that are never closed, and of closing ones that close nothing.

    A brace outranks the others: `( }` leaves the parenthesis open, and `{ )` the `)` without a partner.
    """
    stack: list[int] = []
    result: set[int] = set()
    for at, token in enumerate(tokens):
        if token.text in ("(", "[", "{"):
            stack.append(at)
        elif token.text in _PAIRS:
            depth = len(stack) - 1
            while depth >= 0 and tokens[stack[depth]].text != _PAIRS[token.text]:
                if tokens[stack[depth]].text == "{":
                    depth = -1
                depth -= 1
            if depth < 0:
                result.add(at)
            else:
                result.update(stack[depth + 1 :])
                del stack[depth:]
    return result | set(stack)
