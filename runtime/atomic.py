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

_DENIED = (errno.EACCES, errno.EPERM)
_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}
_REASONS = {
    **{code: (reason, "free some space and run it again") for code, reason in _FULL.items()},
    errno.EROFS: ("the file system is read-only", "choose another place"),
    errno.EIO: ("the device reported an input/output error", "the disk may be failing: copy its files elsewhere"),
}


def disk_error(action: str, path: Path, error: OSError) -> RunError:
    """The RunError for an OSError met while doing `action` ("write", "read", "create") to `path`."""
    if error.errno in _DENIED:
        return RunError(f"cannot {action} {path}: permission denied", _permit(path))
    reason, help = _REASONS.get(error.errno or 0, (error.strerror or str(error), None))
    return RunError(f"cannot {action} {path}: {reason}", help)


def disk_is_full(error: RunError) -> bool:
    """Is it for want of space?"""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in _FULL


def _permit(path: Path) -> str:
    """What must be writable for `path` to be: the nearest folder that is there, or the file if it is not the folder."""
    folder = next(each for each in path.absolute().parents if os.path.exists(each))
    refused = path if os.path.exists(path) and os.access(folder, os.W_OK) else folder
    return f"{refused} must be writable by the user who runs dlc"


def write_atomically(path: Path, chunks: Iterable[Any], *, overwrite: bool = True) -> None:
    """Writes the bytes-like `chunks` to `path`: temporary file beside it, fsync, rename, fsync of the folder.

    Raises RunError on any OSError. Then no temporary file is left, and what stood at `path` is untouched, unless only
    the last fsync, of the folder, failed: then the new file stands there whole. Without `overwrite`, raises
    FileExistsError if anything stands there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        try:
            with open(temporary, "wb") as file:
                for chunk in chunks:
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            (os.replace if overwrite else _rename)(temporary, path)
        except BaseException:
            # Also on Ctrl-C: a temporary file must not outlive the attempt.
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        sync_folder(path.parent)
    except OSError as error:
        if isinstance(error, FileExistsError) and not overwrite:
            raise
        raise disk_error("write", path, error) from error


def _rename(old: Path, new: Path) -> None:
    """As `os.replace`, but raises FileExistsError if anything stands at `new`."""
    try:
        os.link(old, new)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        open(new, "x").close()  # takes the name if it is free
        os.replace(old, new)
    else:
        os.unlink(old)


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
