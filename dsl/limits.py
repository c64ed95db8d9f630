"""Refuses text that would make a tree too deep for anything that walks it, before it is parsed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dlc.dsl.declarations import FOLLOWERS
from dlc.dsl.diagnostics import Diagnostic, Label
from dlc.dsl.tokens import BAD, Token

MAX_DEPTH = 200
"""In parts of the tree, so that Python's own limit holds comparing and walking it."""

_BINARY = ("or", "and", "CMP", "__RANGE", "SUM_OP", "MUL_OP")
_OPENERS, _CLOSERS = ("(", "[", "{"), (")", "]", "}")


@dataclass(slots=True)
class _Level:
    """What is pending inside one bracket; `base` is the depth of the bracket itself."""

    base: int
    stages: bool = False  # a list of chains, or a chain: three parts of the tree for each bracket
    operators: int = 0  # bit set of the kinds of binary operators seen
    prefixes: int = 0  # unary operators and `**`, which nest to the right
    otherwise: int = 0  # `else if` chains, likewise
    postfixes: int = 0  # calls, indices and attributes, which nest to the left

    @property
    def depth(self) -> int:
        return self.base + self.operators.bit_count() + self.prefixes + self.otherwise

    def restart(self) -> None:
        self.operators = self.prefixes = self.otherwise = self.postfixes = 0


def too_deep(tokens: Sequence[Token]) -> Diagnostic | None:
    """A diagnostic for the first token more than `MAX_DEPTH` levels down, if there is one. Linear in the tokens."""
    levels = [_Level(0)]
    after_operand = in_block = False
    before = ""
    for token in tokens:
        level, text, kind = levels[-1], token.text, token.type
        if len(levels) == 1 and text in FOLLOWERS:
            in_block = text == "block"
        if text in _OPENERS:
            call = after_operand and text != "{"
            stages = not call and (
                before in ("->", "{")
                or text == "{"
                or (in_block and before == "=" and len(levels) == 1)
                or (level.stages and before in ("(", "[", ","))
            )
            level.postfixes += call
            levels.append(_Level(level.depth + (3 if stages else 2 if call else 1), stages))
            after_operand = False
        elif text in _CLOSERS:
            if len(levels) > 1:
                levels.pop()
            after_operand = text != "}"
        elif text == ".":
            level.postfixes += 1
            after_operand = False
        elif text == "not" or (kind == "SUM_OP" and not after_operand) or text == "**":
            level.prefixes += 1
            level.postfixes = 0
            after_operand = False
        elif kind in ("SUM_OP", "MUL_OP", "CMP") or text in ("and", "or", ".."):
            level.operators |= 1 << _BINARY.index(text if text in _BINARY else "__RANGE" if text == ".." else kind)
            level.prefixes = level.postfixes = 0
            after_operand = False
        elif text in ("if", "else"):
            level.otherwise += text == "else"
            level.prefixes = level.postfixes = level.operators = 0
            after_operand = False
        elif token.word or kind in ("NAME", "INT", "FLOAT", "STRING", BAD):
            if after_operand:  # two operands side by side: a new statement
                level.restart()
            after_operand = True
        else:  # `,` `=` `:` `->`
            level.restart()
            after_operand = False
        before = text
        if levels[-1].depth + levels[-1].postfixes > MAX_DEPTH:
            return Diagnostic(
                "E0105",
                "this is nested too deeply",
                Label(token.span, f"more than {MAX_DEPTH} levels here"),
                help="give inner parts names of their own",
            )
    return None
