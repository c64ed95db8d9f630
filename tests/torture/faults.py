"""Faults for a process under test: dies, or gets an error, at the k-th thing that it does to files below a folder.

`install` replaces `open`, and of `os` write, fsync, replace, rename, mkdir, ftruncate and unlink. dlc knows nothing of
it. A process that is to die within a write leaves half of it behind.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

COUNT, KILL, FULL, BROKEN = "count", "kill", "full", "broken"
NOT_WHEN_FULL = ("unlink", "ftruncate")  # what frees space works on a full disk


class Faults:
    """`kind` "kill": SIGKILL at call `at`; "full": no space from call `at` on; "broken": an I/O error at call `at`."""

    def __init__(self, root: Path, kind: str, at: int) -> None:
        self.root = os.path.realpath(root)
        self.kind = kind
        self.at = at
        self.seen: list[str] = []

    def event(self, what: str, path: Any, half: Callable[[], object] = lambda: None) -> None:
        """Something is about to be done to `path`; `half` does half of it."""
        if not self._below(path):
            return
        self.seen.append(f"{what} {os.path.basename(str(path))}")
        count = len(self.seen)
        if self.kind == KILL and count == self.at:
            half()
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind == BROKEN and count == self.at:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        if self.kind == FULL and count >= self.at and what not in NOT_WHEN_FULL:
            half()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    def _below(self, path: Any) -> bool:
        if isinstance(path, int):
            try:
                path = os.readlink(f"/proc/self/fd/{path}")
            except OSError:
                return False
        real = os.path.realpath(os.path.dirname(os.path.abspath(os.fspath(path))))
        return real == self.root or real.startswith(self.root + os.sep)


class _File:
    """A file that is written to, each write an event."""

    def __init__(self, file: Any, path: Any, faults: Faults) -> None:
        self._file, self._path, self._faults = file, path, faults

    def write(self, data: Any) -> Any:
        raw = data if isinstance(data, str) else memoryview(data).cast("B")
        self._faults.event("write", self._path, lambda: (self._file.write(raw[: len(raw) // 2]), self._file.flush()))
        return self._file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def install(root: Path, kind: str, at: int) -> Faults:
    """From here on, in this process."""
    faults = Faults(root, kind, at)
    plain = io.open

    def opening(file: Any, mode: str = "r", *args: Any, **named: Any) -> Any:
        if not isinstance(file, int) and set(mode) & set("wax+") and faults._below(file):
            faults.event("open", file)
            return _File(plain(file, mode, *args, **named), file, faults)
        return plain(file, mode, *args, **named)

    builtins.open = opening
    io.open = opening  # type: ignore[assignment]
    for name in ("write", "fsync", "replace", "rename", "mkdir", "ftruncate", "unlink"):
        setattr(os, name, _wrapped(name, getattr(os, name), faults))
    return faults


def _wrapped(name: str, plain: Callable[..., Any], faults: Faults) -> Callable[..., Any]:
    def call(path: Any, *args: Any, **named: Any) -> Any:
        def half() -> None:
            if name == "write":
                plain(path, args[0][: len(args[0]) // 2])

        faults.event(name, path, half)
        return plain(path, *args, **named)

    return call
