"""The one exception of the data half: a mistake in the user's data, with what was expected, found and where."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from dlc.runtime.printable import printable

LETTERS = 60
"""How much of a name is shown: what is no table can have a line of any length for its header."""


class DataError(Exception):
    """A mistake in the data, its files or its declaration. `str(error)` is the whole message for the user."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """A sentence for a name that was not found: the nearest spelling, or the names there are.

    >>> nearest("agee", ["age", "fare"])
    'did you mean `age`? There are: age, fare'
    """
    names = sorted(choices)
    if not names:
        return "there are none"
    shown = listed(names)
    folded = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(word.casefold(), folded, n=1)
    return f"did you mean `{printable(folded[close[0]])}`? There are: {shown}" if close else f"there are: {shown}"


def listed(names: Sequence[str]) -> str:
    """The first twenty names, and how many more there are."""
    some = [printable(name if len(name) <= LETTERS else f"{name[:LETTERS]}...") for name in names[:20]]
    return ", ".join(some) + (f", and {len(names) - 20} more" if len(names) > 20 else "")


def count(n: int, what: str) -> str:
    """`1 example`, `2 examples`, `5,000 examples`."""
    return f"{n:,} {what}" + ("" if n == 1 else "s")
