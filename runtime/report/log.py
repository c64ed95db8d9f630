"""metrics.jsonl: one JSON object a line, `{"step", "epoch", "split", "time", "values": {"loss": ..., "lr": ...}}`.

`step` is the number of steps done when the values were measured, `epoch` counts from 0, `time` is in seconds since
1970. Values that are not finite are the strings "NaN", "Infinity" and "-Infinity": every JSON parser can read those.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from dlc.runtime.atomic import disk_error, write_atomically
from dlc.runtime.errors import InputError


@dataclass(frozen=True)
class Record:
    """Values measured on a split ("train", "dev" or "test") after `step` steps."""

    step: int
    epoch: int
    split: str
    values: Mapping[str, float]
    time: float


class MetricsLog:
    """Appends to `path`. With `resume_step`, the steps done at the checkpoint, later lines are cut off first.

    Without it the log starts empty. A line for the same step and split as one that the cut kept (an evaluation
    repeated after resuming) is not written again. Lines that are damaged are left out: the file that has them is kept
    beside it, and `note` is told. Raises RunError if the file cannot be written.
    """

    def __init__(
        self, path: Path, resume_step: int | None = None, note: Callable[[str], None] = lambda text: None
    ) -> None:
        self._path = path
        kept = [] if resume_step is None else [r for r in _rescued(path, note) if r.step <= resume_step]
        self._repeatable = {(record.step, record.split) for record in kept if record.step == resume_step}
        write_atomically(path, [_line(record) for record in kept])
        try:
            # Unbuffered: a line is in the file, whole, when `write` returns.
            self._file = open(path, "ab", buffering=0)  # noqa: SIM115 (closed by close)
        except OSError as error:
            raise disk_error("write", path, error) from error

    def write(self, step: int, epoch: int, split: str, values: Mapping[str, float]) -> None:
        """Appends a line. Raises RunError if it cannot be written."""
        if (step, split) in self._repeatable:
            return
        line = _line(Record(step, epoch, split, values, time.time()))
        try:
            written = self._file.write(line)
            while written < len(line):
                # A short write is how a disk that has just filled up shows; the next one tells why.
                written += self._file.write(line[written:])
        except OSError as error:
            raise disk_error("write", self._path, error) from error

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def read_log(path: Path, missing_ok: bool = False) -> list[Record]:
    """The records of a metrics.jsonl, in order; a half-written last line is left out.

    Raises InputError if the file cannot be read or another line is not a record.
    """
    records, damaged = _records(path, _content(path, missing_ok))
    if damaged:
        raise InputError(damaged[0])
    return records


def _rescued(path: Path, note: Callable[[str], None]) -> list[Record]:
    """The records that can be read: a run needs none of them to go on."""
    content = _content(path, missing_ok=True)
    records, damaged = _records(path, content)
    if damaged:
        aside = _free(path)
        write_atomically(aside, [content])
        more = f", and {len(damaged) - 1} more" if len(damaged) > 1 else ""
        note(f"{damaged[0]}{more}; left out, and the damaged file is kept as {aside.name}")
    return records


def _free(path: Path) -> Path:
    """A name beside `path` that no file has."""
    names = (path.with_name(f"{path.stem}.damaged{number}{path.suffix}") for number in itertools.count(1))
    return next(name for name in names if not name.exists())


def _content(path: Path, missing_ok: bool) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        if missing_ok:
            return b""
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(disk_error("read", path, error).message) from error


def _records(path: Path, content: bytes) -> tuple[list[Record], list[str]]:
    """The records, and of each line that is none, where it is and why; a half-written last line is neither."""
    *lines, _half = content.split(b"\n")
    records, damaged = [], []
    for number, line in enumerate(lines, 1):
        try:
            fields = json.loads(line)
            values = {str(name): _number(value) for name, value in fields["values"].items()}
            where = (int(fields["step"]), int(fields["epoch"]), str(fields["split"]))
            records.append(Record(*where, values, float(fields["time"])))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            damaged.append(f"{path}:{number}: not a line of metrics ({type(error).__name__}: {error})")
    return records, damaged


def _line(record: Record) -> bytes:
    values = {name: _plain(float(value)) for name, value in record.values.items()}
    fields = {"step": record.step, "epoch": record.epoch, "split": record.split, "time": record.time, "values": values}
    return json.dumps(fields, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _plain(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _number(value: object) -> float:
    """A value as it stands in the file; float() knows the three words as well as numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError(f"expected a number, found {json.dumps(value)}")
    return float(value)
