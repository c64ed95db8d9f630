"""Standard output and standard error where they are closed, full, or read by nobody any more."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from dlc.runtime.errors import RunError


class Unwritable(RunError):
    """Standard output does not take what was to be written: the disk behind it is full, or it is open for reading."""


def open_closed() -> None:
    """A standard stream that is closed is the null device from here on, and no file gets its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 (open as long as the process)


@contextmanager
def standard_output() -> Iterator[None]:
    """Around whatever writes there. Raises Unwritable, and BrokenPipeError where nobody reads it any more."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        discard(sys.stdout)
        reason = (error.strerror or str(error)).lower()
        raise Unwritable(f"cannot write to standard output: {reason}") from error


def flush() -> None:
    """Writes what is in the buffer of standard output. Raises what `standard_output` raises."""
    with standard_output():
        sys.stdout.flush()


def beside(text: str, end: str = "\n") -> None:
    """Writes to standard error. Where that takes nothing, the work goes on without it, and its exit code is right."""
    try:
        print(text, end=end, file=sys.stderr, flush=True)
    except BrokenPipeError:
        raise
    except OSError:
        discard(sys.stderr)


def leave_unread() -> None:
    """Whoever read the output has seen enough: what is still in the buffers goes nowhere, also at exit."""
    discard(sys.stdout, sys.stderr)


def discard(*streams: TextIO) -> None:
    """What these streams hold and are given goes nowhere: Python fails at exit where it cannot flush."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(nowhere, stream.fileno())
