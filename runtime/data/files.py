"""Opening data files, plain or gzip, with the failures of broken ones turned into DataError."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from .errors import DataError

GZIP_MAGIC = b"\x1f\x8b"
LARGE, RATIO = 1 << 30, 200
"""What unpacks to more than `LARGE` bytes and `RATIO` times its size is taken for an attack: data do not shrink so."""


def refuse_bomb(where: object, packed: int, unpacked: int) -> None:
    """Raises DataError for what no honest file unpacks to."""
    if unpacked > LARGE and unpacked > RATIO * packed:
        raise DataError(
            f"{where}: unpacks to {unpacked:,} bytes, more than {RATIO} times its size, which is refused; "
            "if that is meant, store it unpacked"
        )


class _Measured(gzip.GzipFile):
    """Gzip that is not read past what `refuse_bomb` allows."""

    where: Path
    packed: int

    def _measured(self, data: bytes) -> bytes:
        refuse_bomb(self.where, self.packed, self.tell())
        return data

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size >= 0:
            return self._measured(super().read(size))
        blocks = []
        while block := self.read(1 << 20):
            blocks.append(block)
        return b"".join(blocks)

    def read1(self, size: int = -1) -> bytes:
        return self._measured(super().read1(size))

    def readline(self, size: int | None = -1) -> bytes:
        return self._measured(super().readline(-1 if size is None else size))


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file's bytes, unpacked if it is gzip (by its first two bytes, not its name).

    Raises DataError for a file that cannot be read, whose gzip data is damaged or cut short, or a bomb.
    """
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == GZIP_MAGIC
            raw.seek(0)
            if not zipped:
                yield raw
                return
            with _Measured(fileobj=raw) as unpacked:
                unpacked.where, unpacked.packed = path, path.stat().st_size
                yield cast(BinaryIO, unpacked)
    except EOFError as error:
        raise DataError(f"{path}: the gzip data ends too early: the file is cut short") from error
    except (zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: the gzip data is damaged: {error}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
