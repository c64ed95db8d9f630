"""The lock on a run folder: one process at a time, and none that died holds it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from dlc.runtime.atomic import disk_error
from dlc.runtime.errors import RunError

UNKNOWN = "unknown"


def process_start(pid: int) -> str | None:
    """When the process started, as text to compare: None if there is no such process, "unknown" if it cannot be told.

    A process number alone is not enough, as numbers are given out again.
    """
    if sys.platform == "linux":
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except (FileNotFoundError, ProcessLookupError):
            return None
        except OSError:
            return UNKNOWN
        # The second field is the program's name in brackets and may hold anything; the third is the state.
        fields = text.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else f"{boot}:{fields[19]}"
    if sys.platform == "win32":
        return UNKNOWN
    try:
        answer = subprocess.run(
            ["ps", "-p", str(pid), "-o", "lstart="], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}
        )
    except OSError:
        return UNKNOWN
    return answer.stdout.strip() or None


class Lock:
    """Holds `path`, a file that names its holder: process number, host and the process's start time.

    The holder is judged by these, not by a kernel lock, so that a data-loading child that outlives a killed run does
    not keep the folder. A kernel lock, where there is one, only makes reading and writing the file one action.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mine = {"pid": os.getpid(), "host": socket.gethostname(), "start": process_start(os.getpid())}

    def acquire(self) -> None:
        """Takes the lock, also from a process of this host that has ended.

        Raises RunError if another process holds it, or may hold it on another host, or if the file cannot be written.
        """
        try:
            with self._exclusive() as descriptor:
                self._refuse_if_held(_read(descriptor))
                os.ftruncate(descriptor, 0)
                os.lseek(descriptor, 0, os.SEEK_SET)
                os.write(descriptor, json.dumps(self._mine).encode())
                os.fsync(descriptor)
        except OSError as error:
            raise disk_error("lock", self.path, error) from error

    def release(self) -> None:
        """Gives the lock up, by emptying the file, if this process holds it. A forked child's call does nothing."""
        # A lock that cannot be given up is taken over later as one of a process that ended.
        with contextlib.suppress(OSError):
            if self.path.exists() and self._mine["pid"] == os.getpid():
                with self._exclusive() as descriptor:
                    if _read(descriptor) == self._mine:
                        os.ftruncate(descriptor, 0)

    def holder(self) -> str | None:
        """Who holds the lock, for people: None if nobody does."""
        try:
            held = json.loads(self.path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        return self._describe(held) if isinstance(held, dict) else None

    def _describe(self, held: dict[str, object]) -> str | None:
        pid, host = held.get("pid"), held.get("host")
        if not isinstance(pid, int):
            return None
        if host != self._mine["host"]:
            return f"process {pid} on {host}"
        start = process_start(pid)
        if start is None or (start != held.get("start") and UNKNOWN not in (start, held.get("start"))):
            return None
        return f"process {pid}"

    def _refuse_if_held(self, held: dict[str, object]) -> None:
        holder = self._describe(held)
        if holder is None:
            return
        if held.get("host") != self._mine["host"]:
            help = f"wait until it ends; if it is known to have ended, delete {self.path}"
        else:
            help = f"wait until it ends, or stop it with `kill {held['pid']}`; "
            help += f"if this folder is a copy of the one that it trains, delete {self.path}"
        raise RunError(f"{self.path.parent} is being trained by {holder}", help)

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[int]:
        """The lock file, opened, created if need be, and nobody else between these lines."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _kernel_lock(descriptor)
            yield descriptor
        finally:
            os.close(descriptor)


def _kernel_lock(descriptor: int) -> None:
    """Waits for the exclusive kernel lock, which closing the file gives up; does nothing where there is none."""
    if sys.platform != "win32":
        import fcntl

        # Some network file systems have no such locks; the content of the file still decides.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)


def _read(descriptor: int) -> dict[str, object]:
    """What the lock file says; empty if it is new, or half written by a process that was killed."""
    try:
        content = json.loads(os.read(descriptor, 4096))
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
