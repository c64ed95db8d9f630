"""What a cell of a table is: a number, a missing value, a number that is spelt so that it is none, or a word."""

from __future__ import annotations

import math
import re
import unicodedata
from enum import Enum, auto

MISSING = frozenset(("", "?", "na", "n/a", "#n/a", "<na>", "nan", "null", "none"))
"""How programs write that a value is not there, in lower case."""

_SPELT = (
    (r"\d+(_\d+)+(\.\d*)?", "without `_` between its digits"),
    (r"0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+", "in decimal digits"),
    (r"\d{1,3}([ '\u2019\u00a0\u202f]\d{3})+([.,]\d*)?", "without separators of thousands, such as 1000"),
    (r"\d{1,3}(,\d{3})+\.\d*|\d{1,3}((\.\d{3})+|(,\d{3})+),\d+|\d*,\d+", "without commas: 1.5 for 1,5, 1000 for 1,000"),
)
_SPOILT = tuple((re.compile(rf"[+-]?({pattern})"), wanted) for pattern, wanted in _SPELT)


class Kind(Enum):
    NUMBER = auto()
    MISSING = auto()
    SPOILT = auto()
    WORD = auto()


def kind(cell: str) -> Kind:
    """What the cell is by itself, whatever the cells around it are."""
    if is_number(cell):
        return Kind.NUMBER
    if cell.strip().lower() in MISSING:
        return Kind.MISSING
    return Kind.SPOILT if mending(cell) else Kind.WORD


def is_number(cell: str) -> bool:
    """Is it a finite number? Python's `1_000` is none."""
    try:
        return math.isfinite(float(cell)) and "_" not in cell
    except ValueError:
        return False


def mending(cell: str) -> str:
    """How a number that is spelt so that it is none has to be written; empty for what is no such number.

    >>> mending("1,5"), mending("18-25")
    ('without commas: 1.5 for 1,5, 1000 for 1,000', '')
    """
    text = cell.strip()
    seen = "".join(each for each in text if unicodedata.category(each) not in ("Cc", "Cf"))
    if "\0" in text or (seen != text and (not seen or is_number(seen))):
        return "without control characters"
    try:
        if not math.isfinite(float(text)):
            return "that is finite, at most 1.8e308"
    except ValueError:
        pass  # no number for Python, perhaps one for the program that wrote the table
    return next((wanted for pattern, wanted in _SPOILT if pattern.fullmatch(text)), "")
