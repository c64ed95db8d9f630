"""Files that are either the old one or the new one, whole, whatever happens in between."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dlc.runtime.errors import RunError

TEMPORARY = ".tmp"

_REASONS = {
    errno.ENOSPC: ("the disk is full", "free some space and go on with `dlc train --resume`"),
    errno.EDQUOT: ("the disk quota is used up", "free some space and go on with `dlc train --resume`"),
    errno.EACCES: ("permission denied", "the folder must be writable by the user who trains"),
    errno.EPERM: ("permission denied", "the folder must be writable by the user who trains"),
    errno.EROFS: ("the file system is read-only", "choose another folder with -o"),
    errno.EIO: ("the device reported an input/output error", "the disk may be failing: copy the run folder elsewhere"),
}


def disk_error(action: str, path: Path, error: OSError) -> RunError:
    """The RunError for an OSError met while doing `action` ("write", "read", "create") to `path`."""
    reason, help = _REASONS.get(error.errno or 0, (error.strerror or str(error), None))
    return RunError(f"cannot {action} {path}: {reason}", help)


def write_atomically(path: Path, chunks: Iterable[Any]) -> None:
    """Writes the bytes-like `chunks` to `path`: temporary file beside it, fsync, rename, fsync of the folder.

    Raises RunError on any OSError. Then no temporary file is left, and what stood at `path` is untouched, unless only
    the last fsync, of the folder, failed: then the new file stands there whole.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        try:
            with open(temporary, "wb") as file:
                for chunk in chunks:
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            # Also on Ctrl-C: a temporary file must not outlive the attempt.
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise disk_error("write", path, error) from error


def write_json(path: Path, content: object) -> None:
    """Writes `content` as indented JSON, atomically. Raises RunError as `write_atomically` does."""
    write_atomically(path, [json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n"])


def sync_folder(folder: Path) -> None:
    """Makes a rename in `folder` durable. File systems that cannot sync a folder are left alone."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def remove_temporaries(folder: Path) -> None:
    """Removes what killed writers left in `folder` and below. Only for the holder of the run folder's lock."""
    for path in folder.rglob(f".*{TEMPORARY}"):
        with contextlib.suppress(OSError):
            path.unlink()
