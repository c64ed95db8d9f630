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
    opened: list[str] = []
    foreign = False
    for at, token in enumerate(tokens):
        foreign = token.text in ("//", "from") if token.first else foreign  # a comment, a line of Python: words in it
        if at and not (foreign and not token.first) and _begins(tokens, at, len(opened), starts[-1]):
            starts.append(at)
            opened = []
        elif token.text in ("(", "[", "{"):
            opened.append(token.text)
        elif token.text in _PAIRS:
            _close(opened, _PAIRS[token.text])
    segments = []
    for start, stop in zip(starts, [*starts[1:], len(tokens)], strict=True):
        following = tokens[stop] if stop < len(tokens) else None
        segments.append(Segment(tokens[start:stop], end_token(tokens[start:stop], file), following))
    return segments


def _close(opened: list[str], opener: str) -> None:
    """Take the partner of a closing bracket from those that are open, and what a brace leaves open inside."""
    depth = len(opened) - 1
    while depth >= 0 and opened[depth] not in (opener, "{"):
        depth -= 1
    if depth >= 0 and opened[depth] == opener:
        del opened[depth:]


def _begins(tokens: list[Token], at: int, depth: int, start: int) -> bool:
    token, before = tokens[at], tokens[at - 1]
    outer = token.first and token.span.column <= tokens[start].span.column
    if token.text not in FOLLOWERS:
        return outer and depth == 0 and _unknown(tokens, at)
    named = at + 1 < len(tokens) and (tokens[at + 1].type == "NAME" or tokens[at + 1].word is not None)
    whole = named and at + 2 < len(tokens) and tokens[at + 2].text in FOLLOWERS[token.text]
    if outer and (whole or depth == 0):
        return True
    if depth > 0 or not (_operand(before) or before.word):
        return False
    return named and (before.text not in _JOINTS or (whole and at - 1 != start))


def _unknown(tokens: list[Token], at: int) -> bool:
    """`trian net`, `def f`: two names in a row that can only be a declaration with a word of its own."""
    following = tokens[at + 1] if at + 1 < len(tokens) else None
    if following is None or following.first or tokens[at - 1].word is not None:
        return False
    names = all(each.type == "NAME" and each.word is None for each in (tokens[at], following))
    return names and _operand(tokens[at - 1])


def _operand(token: Token) -> bool:
    return token.type in ("NAME", "INT", "FLOAT", "STRING", BAD) or token.text in _PAIRS


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
