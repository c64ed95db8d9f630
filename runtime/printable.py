"""Text of files on a terminal or a page: what could drive the terminal, or break a line, is written out."""

from __future__ import annotations


def printable(text: str, keep: str = "") -> str:
    """`text` with every character that nobody sees, besides those in `keep`, as an escape.

    >>> printable("ca\\x1b[31mt\\n")
    'ca\\\\x1b[31mt\\\\n'
    """
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)
