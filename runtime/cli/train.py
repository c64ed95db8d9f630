"""`dlc train`: begin a run, or go on with one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlc.runtime.atomic import disk_is_full
from dlc.runtime.cli.objects import Target, lets, open_program, run_of, target
from dlc.runtime.cli.streams import Unwritable, flush
from dlc.runtime.cli.terminal import Terminal, plain
from dlc.runtime.errors import RunError, UsageError

if TYPE_CHECKING:
    from dlc.compiler.program import Program
    from dlc.runtime.report.display import Display
    from dlc.runtime.train import Options, Result


@dataclass(frozen=True)
class How:
    """How to carry out a run; None leaves a thing as it is by default, or was."""

    seed: int | None = None
    device: str | None = None
    threads: int | None = None
    quiet: bool = False
    epochs: int | None = None
    steps: int | None = None
    watch: int | None = None

    def options(self, after: str | None = None) -> Options:
        from dlc.runtime.train import Options

        folder = Path(after) if after is not None else None
        ends = self.epochs, self.steps
        return Options(self.device, self.threads, self.seed, *ends, after=folder, watch=self.watch, report=True)


def train(file: str, assignments: Sequence[str], output: str, after: str | None, how: How, terminal: Terminal) -> None:
    """Raises what `dlc.runtime.train.train` raises."""
    from dlc.runtime.train import View, train

    where = target(file)
    program = open_program(where, lets(assignments), terminal)
    run = run_of(program, where)
    terminal.diagnostics(program.check())
    view = View(_display(how, terminal), terminal.note, terminal.progress)
    with _resumable(Path(output)):
        result = train(program, run, Path(output), how.options(after), view)
    _end(result, terminal)


def resume(folder: str, file: str | None, assignments: Sequence[str], how: How, terminal: Terminal) -> None:
    """Raises what `dlc.runtime.train.resume` raises."""
    from dlc.runtime.folder import RunFolder
    from dlc.runtime.train import View, resume

    values = lets(assignments)
    recorded = RunFolder.open(Path(folder)).settings
    program: Program | None = None
    if file is not None:
        program = open_program(target(file), values, terminal)
    elif values:
        program = _again(recorded, values, folder, terminal)
    view = View(_display(how, terminal), terminal.note, terminal.progress)
    with _resumable(Path(folder)):
        result = resume(Path(folder), how.options(), view, program)
    _end(result, terminal)


def _again(recorded: Mapping[str, Any], values: Mapping[str, str], folder: str, terminal: Terminal) -> Program:
    """The program that a run was made of, with the values that were set for it but for those that are now another."""
    source = recorded.get("source")
    source = source if isinstance(source, Mapping) else {}
    file = source.get("file")
    if not isinstance(file, str) or not Path(file).is_file():
        raise UsageError(
            f"the file that {folder} was trained from is not there any more: {file}",
            f"name it: dlc train FILE.net --resume {folder} --set ...",
        )
    program = open_program(Target(Path(file)), {**source.get("lets", {}), **values}, terminal)
    if program.sha256 != source.get("sha256"):
        terminal.note(f"{file} has changed since the run was begun: it goes on with what stands there now")
    return program


def _display(how: How, terminal: Terminal) -> Callable[..., Display]:
    from rich.console import Console

    from dlc.runtime.report.display import Display

    # With --json standard output belongs to the result.
    return partial(Display, console=Console(stderr=terminal.json), quiet=how.quiet or terminal.json)


@contextmanager
def _resumable(folder: Path) -> Iterator[None]:
    """A run that a full disk ends can be gone on with, once there is one."""
    try:
        yield
    except RunError as error:
        if disk_is_full(error) and (folder / "run.json").is_file():
            error.help = f"free some space and go on with `dlc train --resume {folder}`"
        raise


def _end(result: Result, terminal: Terminal) -> None:
    """Raises Unwritable, which then says that the run is saved all the same."""
    try:
        _tell(result, terminal)
        flush()
    except Unwritable as error:
        raise Unwritable(error.message, f"the run has ended and is saved in {result.folder}") from error


def _tell(result: Result, terminal: Terminal) -> None:
    best = result.best
    if best is not None:
        terminal.say(f"best {best.metric} {best.value:.6g} at step {best.step:,}")
    how = f"in {result.seconds:.1f} s" if result.seconds else "were done already"
    terminal.say(f"{result.folder}: {result.step:,} steps {how}")
    page = result.folder / "report.html"
    if page.is_file():
        terminal.say(f"{page}: curves, mistakes and more on one page")
    terminal.result(
        {
            "folder": str(result.folder),
            "step": result.step,
            "epochs": result.epochs,
            "best": plain({"metric": best.metric, "value": best.value, "step": best.step})
            if best is not None
            else None,
            "values": plain(result.values),
            "seconds": result.seconds,
            "reason": result.reason,
        }
    )
