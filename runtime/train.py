"""Training a run: `train` begins it, `resume` goes on with it, bit for bit as if it had never stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlc.compiler.program import Program
from dlc.runtime.checkpoint import Best
from dlc.runtime.report.display import Display
from dlc.runtime.session import silent


@dataclass(frozen=True)
class Options:
    """How a run is to be carried out; None and 0 leave a thing as the file, the last time or ONNX Runtime has it.

    `epochs` and `steps` are ends: the run stops at whichever comes first. `threads` 0 is ONNX Runtime's default.
    A checkpoint is written after every epoch and at least every `checkpoint_seconds`, or exactly every
    `checkpoint_steps` too.
    """

    device: str | None = None
    threads: int | None = None
    seed: int | None = None
    epochs: int | None = None
    steps: int | None = None
    checkpoint_seconds: float = 60.0
    checkpoint_steps: int | None = None


@dataclass(frozen=True)
class View:
    """What people see. `display` makes the live display: it is called as `Display(run, total_steps, steps_per_epoch,
    batch=..., start_step=...)`. `note` gets lines for people while there is no display (data, device); `progress` gets
    (what, done, total) while data is prepared."""

    display: Callable[..., Display] = Display
    note: Callable[[str], None] = silent
    progress: Callable[[str, int, int], None] = silent


@dataclass(frozen=True)
class Result:
    """How a run ended. `values` are the last of each split, `{"train": {"loss": ...}, "dev": {"loss": ..., "acc": ...}}`;
    `best` is None only if no value was ever finite. `seconds` are those of this process."""

    folder: Path
    step: int
    epochs: int
    best: Best | None
    values: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    seconds: float = 0.0


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or a termination signal ended the run after a whole step; everything is saved. Exit code 130."""

    exit_code = 130

    def __init__(self, message: str, help: str) -> None:
        super().__init__(message)
        self.message = message
        self.help = help


Diagnose = Callable[[Mapping[str, Any]], str | None]


def train(
    program: Program, run: str, folder: Path, options: Options = Options(), view: View = View(),  # noqa: B008
) -> Result:  # fmt: skip
    """Compile the run, make its folder and train. `run` is one of `program.runs`.

    Raises SourceError (the file), DataError (the data), UsageError (the folder holds something), InputError, RunError
    (a value that is not finite, the disk, the lock) and Interrupted. The folder is made only once the program is
    compiled and the data is read.
    """
    raise NotImplementedError


def resume(
    folder: Path, options: Options = Options(), view: View = View(), program: Program | None = None,  # noqa: B008
) -> Result:  # fmt: skip
    """Go on with the run in `folder` from its last checkpoint (from the beginning if there is none).

    With `program` (the same file with other `let`s, or edited) the run is compiled anew and goes on with that, as long
    as its weights are the same; what changed is recorded. A run that has reached its end returns at once, with a note.
    Raises what `train` raises, and InputError if the checkpoint does not fit model or data.
    """
    raise NotImplementedError
