"""The command line `dlc`. `main` is its entry point; `app` says what the commands take, one file each what they do."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from dlc.runtime.cli.streams import flush, leave_unread, open_closed, standard_output
from dlc.runtime.cli.terminal import Terminal
from dlc.runtime.interrupt import Remembered

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out a command line (`sys.argv` by default) and return the exit code of the process.

    0: done. 1: a mistake in the input. 2: a mistake in the command line. 3: the run failed. 70: a mistake in dlc.
    130: interrupted. The only place where an exception becomes a message; none gets past it.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in args or os.environ.get("DLC_DEBUG", "0") not in ("", "0")
    args = [each for each in args if each != "--debug"]  # it may stand anywhere, also where parsing fails
    open_closed()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may hold bytes that are no text
    terminal = Terminal(json="--json" in args, debug=debug)
    try:
        with Remembered() as interrupts:
            return _carry_out(args or ["--help"], terminal, interrupts)
    except BrokenPipeError:
        leave_unread()
        return 0


def _carry_out(args: list[str], terminal: Terminal, interrupts: Remembered) -> int:
    try:
        from dlc.runtime.cli.app import parse

        with standard_output():  # where help is written
            work = parse(args)
        code = work(terminal) if work is not None else None
        flush()
        return code if isinstance(code, int) else 0
    except BrokenPipeError:
        raise
    except KeyboardInterrupt as interrupt:
        # A run that was interrupted says what was saved and how to go on.
        terminal.failure(getattr(interrupt, "message", "interrupted"), INTERRUPTED, getattr(interrupt, "help", None))
        return INTERRUPTED
    except Exception as error:
        if isinstance(error, ImportError) and interrupts.seen:
            terminal.failure("interrupted", INTERRUPTED)
            return INTERRUPTED
        from dlc.runtime.cli.failures import report

        return report(error, terminal)


__all__ = ["main"]
