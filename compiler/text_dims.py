"""What the reader of graph text does with dimensions and with single tokens."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from dlc.compiler.dims import Dim, quotient, stretched, symbol
from dlc.compiler.text import GraphTextError

if TYPE_CHECKING:
    from lark import Token

_HIGHEST_POWER = 64


class Dimensions:
    """The rules of the grammar that make dimensions."""

    def number(self, items: list[Token]) -> int:
        return integer(items[0])

    def symbol(self, items: list[Token]) -> Dim:
        token = items[0]
        return symbol(string(token, f'"{token[1:-1]}"') if token.startswith("`") else str(token))

    def negative(self, items: list[Dim]) -> Dim:
        return -items[0]

    def add(self, items: list[Dim]) -> Dim:
        return items[0] + items[1]

    def subtract(self, items: list[Dim]) -> Dim:
        return items[0] - items[1]

    def multiply(self, items: list[Dim]) -> Dim:
        return items[0] * items[1]

    def divide(self, items: list[Dim]) -> Dim:
        return quotient(items[0], items[1])

    def ceiling(self, items: list[Any]) -> Dim:
        return quotient(items[1], items[2], ceiling=True)

    def broadcast(self, items: list[Any]) -> Dim:
        return stretched(*items[1:])

    def raised(self, items: list[Any]) -> Dim:
        power = integer(items[1])
        if power > _HIGHEST_POWER:
            raise at(items[1], f"a power of at most {_HIGHEST_POWER} was expected, found {power}")
        total: Dim = 1
        for _ in range(power):
            total = total * items[0]
        return total


def at(token: Token, message: str) -> GraphTextError:
    return GraphTextError(message, token.line or 0, token.column or 0)


def integer(token: Token) -> int:
    try:
        return int(token)
    except ValueError:  # Python converts at most 4,300 digits
        raise at(token, f"an integer of {len(token)} digits") from None


def string(token: Token, quoted: str | None = None) -> str:
    try:
        text: str = json.loads(token if quoted is None else quoted, strict=False)
    except ValueError as error:
        raise at(token, f"a bad string {token}: {error}") from None
    return text


__all__ = ["Dimensions", "at", "integer", "string"]
