"""Drives Lark's LALR automaton over tokens, and answers what it would have taken where it stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lark.exceptions import UnexpectedToken
from lark.parsers.lalr_analysis import Shift

from dlc.dsl import ast
from dlc.dsl.grammar import grammar
from dlc.dsl.tokens import Token

Table = Mapping[int, Mapping[str, tuple[Any, Any]]]
"""State and symbol to (Shift, next state) or (Reduce, rule)."""


@dataclass(frozen=True)
class Failure:
    """The automaton met `token` (`tokens[at]`, or the end) with `states` on its stack, and could not go on."""

    tokens: Sequence[Token]
    at: int
    token: Token
    states: tuple[int, ...]
    table: Table

    @property
    def key(self) -> tuple[int, str]:
        """What messages are found by: the state and the terminal, however deep the stack."""
        return self.states[-1], self.token.type

    def accepted(self) -> set[str]:
        """The terminals that could have stood here."""
        row = self.table[self.states[-1]]
        return {name for name in row if name.isupper() and takes(self.table, self.states, name)}


def takes(table: Table, stack: Sequence[int], terminal: str) -> bool:
    """Whether the automaton would shift the terminal, after reductions: lookahead alone promises too much in LALR."""
    states = list(stack)
    while True:
        action, rule = table[states[-1]].get(terminal, (None, None))
        if rule is None or action is Shift:
            return rule is not None
        del states[len(states) - len(rule.expansion) :]
        states.append(table[states[-1]][rule.origin.name][1])


def drive(tokens: Sequence[Token], end: Token) -> ast.Source | Failure:
    """The tree of the tokens, or where it went wrong.

    A keyword is one where the automaton can take it, and elsewhere a name: its `type` is settled here.
    """
    automaton = grammar().lark.parse_interactive().parser_state
    table, states, feed = automaton.parse_conf.states, automaton.state_stack, automaton.feed_token
    at, token = 0, end
    try:
        for at, token in enumerate(tokens):  # noqa: B007
            if token.word is not None:
                row = table[states[-1]]
                named = "NAME" in row and not (token.word in row and takes(table, states, token.word))
                token.type = "NAME" if named and takes(table, states, "NAME") else token.word
            feed(token)  # type: ignore[arg-type]
        at, token = len(tokens), end
        tree: ast.Source = feed(end, True)  # type: ignore[arg-type]
        return tree
    except UnexpectedToken:
        return Failure(tokens, at, token, tuple(states), table)
