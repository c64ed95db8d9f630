"""`dlc show`: the stages of a net as a table, or the library's own text."""

from __future__ import annotations

from collections.abc import Sequence

from dlc.compiler.types import Dim
from dlc.runtime.cli.objects import choose, lets, open_program, target
from dlc.runtime.cli.terminal import BOLD, Terminal, columns, short
from dlc.runtime.errors import UsageError
from dlc.runtime.show import Shown, library_text, shown


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
    units = ("weights", "multiply-adds")
    rows = [(net.name, "", f"{net.weights:,} {units[0]}", f"{_cost(net.multiply_adds)} {units[1]}")]
    for each in net.lines:
        weights = f"{each.weights:,}" if each.weights is not None else ""
        cost = _cost(each.multiply_adds) if each.multiply_adds is not None else ""
        # Room for the units of the first line, so that numbers stand under numbers.
        numbers = (weights + " " * (len(units[0]) + 1), cost + " " * (len(units[1]) + 1))
        rows.append(("  " * (each.depth + 1) + each.label, str(each.type) if each.type is not None else "", *numbers))
    for number, line in enumerate(columns(rows, right=[2, 3])):
        bold = number == 0 or net.lines[number - 1].group
        terminal.say(terminal.paint(line, BOLD) if bold else line)


def _cost(cost: Dim) -> str:
    """A number of three digits, or a polynomial where sizes are known only at run time."""
    return short(cost) if isinstance(cost, int) else str(cost)
