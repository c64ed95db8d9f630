"""`dlc show`: the stages of a net as a table, or the library's own text."""

from __future__ import annotations

from collections.abc import Sequence

from dlc.runtime.cli.objects import choose, lets, open_program, target
from dlc.runtime.cli.terminal import BOLD, FAINT, Terminal, columns, short
from dlc.runtime.errors import UsageError
from dlc.runtime.show import Line, Shown, library_text, shown


def show(file: str, assignments: Sequence[str], terminal: Terminal) -> None:
    """Raises SourceError and UsageError."""
    where = target(file)
    program = open_program(where, lets(assignments), terminal)
    if where.name is None and not program.nets:
        raise UsageError(f"{where} has no net")
    names = list(program.nets) if where.name is None else [choose(where, program.nets, "net", "has no net")]
    tables = [shown(program, name) for name in names]
    for number, each in enumerate(tables):
        if number:
            terminal.say("")
        _table(each, terminal)
    terminal.result({"file": str(where), "nets": [each.json() for each in tables]})


def show_source(name: str, terminal: Terminal) -> None:
    """Raises InputError for a name that the library has not."""
    text = library_text(name)
    terminal.say(text)
    terminal.result({"name": name, "text": text})


def _table(net: Shown, terminal: Terminal) -> None:
    rows = [_row(each) for each in net.lines]
    cost = f"{short(net.multiply_adds)} multiply-adds"
    head = (net.name, "", f"{net.weights:,} weights", cost)
    # The unit of the first line stands to the right of its column, so that numbers stand under numbers.
    lines = columns([(net.name, "", f"{net.weights:,}", short(net.multiply_adds)), *rows], right=[2, 3])
    width = len(" weights")
    first, *rest = lines
    del first
    for line, row in zip(_spread([head, *rows], width), [head, *rows], strict=True):
        terminal.say(terminal.paint(line, BOLD) if row is head else line)
    if net.symbolic:
        terminal.say(terminal.paint(f"multiply-adds are those of one example; not counted: {net.symbolic}", FAINT))
