"""The user's cache: where it is, and a store of arrays in it that is atomic, checked and memory-mapped."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import time
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .records import Array

_BLOCK = 1 << 20
_STALE_SECONDS = 24 * 3600


def cache_folder() -> Path:
    """`DLC_CACHE`, else `XDG_CACHE_HOME/dlc`, else the platform's place for caches. It need not exist yet."""
    if named := os.environ.get("DLC_CACHE"):
        return Path(named).expanduser()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg).expanduser() / "dlc"
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "dlc" / "cache"
    if sys.platform == "darwin":
        return Path("~/Library/Caches/dlc").expanduser()
    return Path("~/.cache/dlc").expanduser()


@dataclass(frozen=True)
class Store:
    """Sets of named arrays by key. An entry appears whole or not at all, whatever dies or runs beside it."""

    folder: Path

    def load(self, key: str) -> dict[str, Array] | None:
        """The arrays of an entry, memory-mapped and read-only; None if there is no entry or it is damaged."""
        entry = self._entry(key)
        try:
            index = json.loads((entry / "index.json").read_text("utf-8"))
            return {name: _open(entry / item["file"], item) for name, item in index["arrays"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, RecursionError):
            return None

    def damaged(self, key: str) -> bool:
        """Whether there is an entry which `load` refuses."""
        return self._entry(key).exists() and self.load(key) is None

    def write(self, key: str, n: int, blocks: Iterator[dict[str, Array]]) -> None:
        """Stores arrays that come in blocks of rows, n rows in all. Raises OSError if the disk refuses.

        Plain writes, not a writable memory map: on a full disk the latter kills the process.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        temporary = self.folder / f".new-{uuid.uuid4().hex}"
        temporary.mkdir()
        try:
            index = _write_arrays(temporary, n, blocks)
            (temporary / "index.json").write_text(json.dumps({"arrays": index}), "utf-8")
            self._publish(temporary, self._entry(key))
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _entry(self, key: str) -> Path:
        return self.folder / key

    def _publish(self, temporary: Path, entry: Path) -> None:
        if self.damaged(entry.name):
            os.replace(entry, self.folder / f".old-{uuid.uuid4().hex}")
        try:
            os.rename(temporary, entry)
        except OSError:
            # Another process may have published the same entry meanwhile; then its arrays are as good as ours.
            if self.load(entry.name) is None:
                raise

    def _sweep(self) -> None:
        """Removes what killed processes left behind."""
        for left in (*self.folder.glob(".new-*"), *self.folder.glob(".old-*")):
            try:
                stale = left.name.startswith(".old-") or time.time() - left.stat().st_mtime > _STALE_SECONDS
            except OSError:
                continue
            if stale:
                shutil.rmtree(left, ignore_errors=True)


def _write_arrays(folder: Path, n: int, blocks: Iterator[dict[str, Array]]) -> dict[str, dict[str, Any]]:
    files: dict[str, BinaryIO] = {}
    index: dict[str, dict[str, Any]] = {}
    try:
        for block in blocks:
            for name, array in block.items():
                if name not in files:
                    header = _header(array, n)
                    index[name] = {"file": f"{len(files)}.npy", "crc32": zlib.crc32(header)}
                    files[name] = (folder / index[name]["file"]).open("wb")
                    files[name].write(header)
                data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
                files[name].write(data)
                index[name]["crc32"] = zlib.crc32(data, index[name]["crc32"])
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
    finally:
        for file in files.values():
            file.close()
    return index


def _header(array: Array, n: int) -> bytes:
    buffer = io.BytesIO()
    shape = (n, *array.shape[1:])
    np.lib.format.write_array_header_1_0(buffer, {"descr": array.dtype.str, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def _open(path: Path, item: dict[str, Any]) -> Array:
    """One array of an entry, after its bytes were checked. Raises ValueError if they are not those written."""
    crc = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            crc = zlib.crc32(block, crc)
    if crc != item["crc32"]:
        raise ValueError(f"{path}: damaged")
    array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    return array
