"""`dlc explain`: what the code of a diagnostic stands for."""

from __future__ import annotations

from dlc.dsl.diagnostics import CODES, nearest
from dlc.runtime.cli.terminal import Terminal
from dlc.runtime.errors import InputError


def explain(code: str | None, terminal: Terminal) -> None:
    """Raises InputError for a code that there is not."""
    if code is None:
        terminal.table(sorted(CODES.items()))
        terminal.result(CODES)
        return
    found = code.upper()
    if found not in CODES:
        guess = nearest(found, CODES)
        raise InputError(
            f"no diagnostic has the code {code}", f"did you mean {guess}?" if guess else "`dlc explain` lists them"
        )
    terminal.say(f"{found}: {CODES[found]}")
    terminal.result({"code": found, "title": CODES[found]})
