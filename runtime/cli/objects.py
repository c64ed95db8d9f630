"""What a command is about: `FILE.net`, `FILE.net:NAME`, and the values of `--set`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dlc.dsl.diagnostics import SourceError, nearest
from dlc.runtime.cli.terminal import Terminal, listed
from dlc.runtime.errors import InputError, UsageError

if TYPE_CHECKING:
    from dlc.compiler.program import Program

NET = ".net"


@dataclass(frozen=True)
class Target:
    """A `.net` file, and the run, net or data section in it that was named."""

    path: Path
    name: str | None = None

    def __str__(self) -> str:
        return str(self.path)


def target(text: str, kinds: str = NET) -> Target:
    """The target that `FILE.net` or `FILE.net:NAME` stands for; `kinds` are the files that the command takes.

    Raises UsageError, and InputError for no such file.
    """
    path, name = Path(text), None
    if not path.exists():
        before, colon, after = text.rpartition(":")
        if colon and before.lower().endswith(NET):
            path, name = Path(before), after
            if not name:
                raise UsageError(f"expected a name after the colon of {text}")
    if path.is_dir():
        run = (path / "run.json").exists()
        help = f"a run folder is for `dlc eval {text}`, `dlc export {text}` or `dlc train --resume {text}`"
        raise InputError(f"expected a {kinds} file, found the folder {path}", help if run else None)
    if not path.exists():
        raise InputError(f"there is no file {path}", _similar(path))
    if path.suffix.lower() != NET or not path.is_file():  # a pipe or device would never end
        raise InputError(f"expected a {kinds} file, found {path}")
    return Target(path, name)


def lets(assignments: Sequence[str]) -> dict[str, str]:
    """The texts of `--set name=value`, by name. Raises UsageError."""
    values: dict[str, str] = {}
    for each in assignments:
        name, equals, text = each.partition("=")
        if not equals or not name.strip() or not text.strip():
            raise UsageError(f"expected --set name=value, found --set {each}", "for example --set lr=0.01")
        if name.strip() in values:
            raise UsageError(f"--set gives `{name.strip()}` twice")
        values[name.strip()] = text.strip()
    return values


def open_program(file: Target, values: Mapping[str, str], terminal: Terminal) -> Program:
    """The program in a file; its text and that of its `use`s goes to the terminal. Raises SourceError."""
    from dlc.compiler.program import Program

    try:
        program = Program.open(file.path, dict(values), terminal.sources)
    except SourceError as error:
        if any(each.primary.span.file == "--set" for each in error.diagnostics):
            terminal.sources["--set"] = _culprit(file, values)
        raise
    terminal.sources.update(program.sources)
    return program


def _culprit(file: Target, values: Mapping[str, str]) -> str:
    """The first `--set` that is refused by itself, as it was written."""
    from dlc.compiler.program import Program

    for name, text in values.items():
        try:
            Program.open(file.path, {name: text})
        except SourceError:
            return f"{name}={text}"
    return ""


def run_of(program: Program, file: Target) -> str:
    """The run that is meant: the named one, or the only one. Raises UsageError."""
    return choose(file, program.runs, "run", "has no run: it needs a section `train NET on DATA { ... }`")


def choose(file: Target, names: Iterable[str], what: str, none: str) -> str:
    """One of `names`: the one that was asked for, or the only one. Raises UsageError."""
    known = list(names)
    if file.name is not None:
        if file.name in known:
            return file.name
        guess = nearest(file.name, known)
        if not known:
            raise UsageError(f"{file} {none}")
        help = f"did you mean {file}:{guess}?" if guess else f"there is {listed(known)}"
        raise UsageError(f"{file} has no {what} called `{file.name}`", help)
    if len(known) == 1:
        return known[0]
    if not known:
        raise UsageError(f"{file} {none}")
    raise UsageError(f"{file} has several {what}s: {listed(known)}", f"name one, such as {file}:{known[0]}")


def _similar(path: Path) -> str | None:
    """A file beside the one that is not there, with nearly its name."""
    try:
        beside = [each.name for each in path.parent.iterdir() if each.is_file()]
    except OSError:
        return None
    guess = nearest(path.name, beside)
    return f"did you mean {path.with_name(guess)}?" if guess else None
