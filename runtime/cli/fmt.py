"""`dlc fmt`: files in the one layout of the language."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from pathlib import Path

from dlc.dsl.diagnostics import Diagnostic, SourceError
from dlc.dsl.formatter import format_text
from dlc.dsl.parser import read
from dlc.runtime.atomic import write_atomically
from dlc.runtime.cli.failures import MISTAKE
from dlc.runtime.cli.objects import target
from dlc.runtime.cli.streams import standard_output
from dlc.runtime.cli.terminal import Terminal, plural
from dlc.runtime.errors import InputError, UsageError

STANDARD_INPUT = "-"


def fmt(files: Sequence[str], check: bool, verbose: bool, terminal: Terminal) -> int:
    """Rewrite files in place; with `check` only say which ones would change. The exit code.

    A file that does not parse is left as it is, and the others are done. Raises SourceError with the mistakes of all.
    """
    if STANDARD_INPUT in files:
        if len(files) > 1:
            raise UsageError("- stands for standard input and goes with no other file")
        return _stream(check, terminal)
    wrong: list[Diagnostic] = []
    changed: list[tuple[Path, str]] = []
    paths = list(dict.fromkeys(_path(each) for each in files))
    for path in paths:
        try:
            before = read(path)
            terminal.sources[str(path)] = before
            after = format_text(before, str(path))
        except SourceError as error:
            wrong += error.diagnostics
            continue
        content = after.encode()
        if content == path.read_bytes():
            continue
        changed.append((path, _difference(before, after, str(path))))
        if not check:
            _replace(path, content)
    if wrong:
        raise SourceError(*wrong)
    for path, difference in changed:
        terminal.say(f"{path}: {'not formatted' if check else 'formatted'}")
        if verbose and difference:
            terminal.say(difference)
    if not changed:
        terminal.say(f"{plural(len(paths), 'file')} already formatted")
    rows = [{"file": str(path), "diff": difference} for path, difference in changed]
    terminal.result({"files": [str(path) for path in paths], "changed": rows})
    return MISTAKE if check and changed else 0


def _stream(check: bool, terminal: Terminal) -> int:
    """Standard input to standard output."""
    name = "<stdin>"
    try:
        before = sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"standard input is not UTF-8 text: byte {error.start} is wrong") from None
    terminal.sources[name] = before
    after = format_text(before, name)
    rows = [{"file": name, "diff": _difference(before, after, name)}] if after != before else []
    terminal.result({"files": [name], "changed": rows, "text": after})
    if not check and not terminal.json:
        with standard_output():
            sys.stdout.write(after)
    return MISTAKE if check and rows else 0


def _path(text: str) -> Path:
    where = target(text)
    if where.name is not None:
        raise UsageError(f"a whole file is formatted, not only `{where.name}`", f"dlc fmt {where.path}")
    return where.path


def _difference(before: str, after: str, name: str) -> str:
    old, new = before.splitlines(), after.splitlines()
    return "\n".join(difflib.unified_diff(old, new, name, f"{name} (formatted)", lineterm=""))


def _replace(path: Path, content: bytes) -> None:
    """The file behind a link is replaced, not the link, and stays as accessible as it was."""
    there = path.resolve()
    mode = there.stat().st_mode
    write_atomically(there, [content])
    there.chmod(mode)
