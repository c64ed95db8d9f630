"""`dlc explain`: what the code of a diagnostic stands for, with a program that has the mistake and one that has not."""

from __future__ import annotations

from dlc.dsl.diagnostics import CODES, nearest
from dlc.runtime.cli.terminal import Terminal
from dlc.runtime.errors import UsageError


def explain(code: str | None, terminal: Terminal) -> None:
    """Raises UsageError for a code that there is not."""
    if code is None:
        terminal.table(CODES.items())
        terminal.result(CODES)
        return
    found = code.upper()
    if found not in CODES:
        guess = nearest(found, CODES)
        raise UsageError(
            f"no diagnostic has the code {code}", f"did you mean {guess}?" if guess else "`dlc explain` lists them"
        )
    from dlc.dsl.explain import pages

    page = pages()[found]
    terminal.say(page.plain())
    terminal.result(
        {
            "code": found,
            "title": page.title,
            "text": page.text,
            "failing": page.failing,
            "mended": page.mended,
            "files": dict(page.files),
        }
    )
