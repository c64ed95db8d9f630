"""`dlc show`: the stages of a net as a table or a picture, or the library's own text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dlc.compiler.types import Dim
from dlc.runtime.cli.objects import NET, Target, choose, lets, open_program, target
from dlc.runtime.cli.terminal import BOLD, FAINT, Terminal, columns, file_size, short
from dlc.runtime.errors import UsageError
from dlc.runtime.show import Shown, ShownRun, library_text, shown, shown_run

if TYPE_CHECKING:
    from dlc.compiler.program import Program
    from dlc.runtime.drawing.picture import Picture

KINDS = f"{NET} or .onnx"


def show(file: str, assignments: Sequence[str], terminal: Terminal) -> None:
    """Raises SourceError and UsageError."""
    where = target(file, KINDS)
    program = open_program(where, lets(assignments), terminal)
    if where.name is None and not program.nets:
        raise UsageError(f"{where} has no net")
    names = list(program.nets) if where.name is None else [choose(where, program.nets, "net", "has no net")]
    tables = [shown(program, name) for name in names]
    for number, each in enumerate(tables):
        if number:
            terminal.say("")
        _table(each, terminal)
    runs = [name for name, section in program.runs.items() if section.net.text in names]
    trained = []
    for name in runs:
        trained.append(shown_run(program, name))
        _memory_of_run(trained[-1], terminal)
    terminal.result(
        {"file": str(where), "nets": [each.json() for each in tables], "runs": [each.json() for each in trained]}
    )


@dataclass(frozen=True, slots=True)
class Drawing:
    """What to draw and where to write it: a net, or with `gradient` a run's training step."""

    gradient: bool
    operators: bool
    output: str | None


def draw(file: str, assignments: Sequence[str], how: Drawing, terminal: Terminal) -> None:
    """Write the picture of a net, or of a run's step. Raises SourceError, UsageError, InputError and RunError."""
    from dlc.runtime.atomic import write_atomically
    from dlc.runtime.drawing.svg import svg

    where = target(file, KINDS)
    program = open_program(where, lets(assignments), terminal)
    gradient = how.gradient or (where.name in program.runs and where.name not in program.nets)
    name, picture = _step(program, where, how) if gradient else _net(program, where, how)
    path = Path(how.output or f"{name}{'.gradient' if gradient else ''}.svg")
    write_atomically(path, [svg(picture).encode()])
    terminal.say(f"{path}: {len(picture.boxes) + len(picture.gradients) + len(picture.updates)} boxes")
    kind = "step" if gradient else "net"
    terminal.result({"file": str(where), "kind": kind, "name": name, "picture": str(path)})


def _net(program: Program, where: Target, how: Drawing) -> tuple[str, Picture]:
    from dlc.runtime.drawing.operators import graph_picture
    from dlc.runtime.drawing.stages import net_picture

    name = choose(where, program.nets, "net", "has no net")
    unit = program.net(name)
    picture = graph_picture(unit.graph, unit.carried) if how.operators else net_picture(unit)
    numbers = shown(program, name)
    picture.subtitle = f"{numbers.weights:,} weights, {_cost(numbers.multiply_adds)} multiply-adds"
    return name, picture


def _step(program: Program, where: Target, how: Drawing) -> tuple[str, Picture]:
    from dlc.runtime.drawing.operators import step_operators
    from dlc.runtime.drawing.step import step_picture

    named = where.name is None or where.name in program.runs
    of_net = [run for run, section in program.runs.items() if section.net.text == where.name]
    if not named and where.name in program.nets:
        where = Target(where.path, of_net[0] if len(of_net) == 1 else None)
        name = choose(where, of_net, "run", "has no run of that net")
    else:
        name = choose(where, program.runs, "run", "has no run: it needs a section `train NET on DATA { ... }`")
    picture = step_operators(program.step(name)) if how.operators else step_picture(program, name)
    picture.subtitle = (
        "the forward pass, the gradient and the update of the weights"
        if how.operators
        else "left: the forward pass; right: gradients flow back along the same ways; dotted: what they read of it"
    )
    return name, picture


def show_source(name: str, terminal: Terminal) -> None:
    """Raises InputError for a name that the library has not."""
    text = library_text(name)
    terminal.say(text)
    terminal.result({"name": name, "text": text})


def _table(net: Shown, terminal: Terminal) -> None:
    units = ("weights", "multiply-adds")
    rows = [(net.name, "", "activations", f"{net.weights:,} {units[0]}", f"{_cost(net.multiply_adds)} {units[1]}")]
    for each in net.lines:
        weights = f"{each.weights:,}" if each.weights is not None else ""
        cost = _cost(each.multiply_adds) if each.multiply_adds is not None else ""
        # Room for the units of the first line, so that numbers stand under numbers.
        numbers = (weights + " " * (len(units[0]) + 1), cost + " " * (len(units[1]) + 1))
        size = file_size(each.bytes) if each.bytes is not None else ""
        rows.append(
            ("  " * (each.depth + 1) + each.label, str(each.type) if each.type is not None else "", size, *numbers)
        )
    for number, line in enumerate(columns(rows, right=[2, 3, 4])):
        bold = number == 0 or net.lines[number - 1].group
        terminal.say(terminal.paint(line, BOLD) if bold else line)
    needed = net.memory
    if isinstance(needed, str):
        terminal.say(f"memory: {needed}")
    else:
        terminal.say(
            f"memory for one example: {file_size(needed.total)} "
            f"(weights {file_size(needed.weights)}, activations at most {file_size(needed.activations)})"
        )


def _memory_of_run(run: ShownRun, terminal: Terminal) -> None:
    needed = run.memory
    if isinstance(needed, str):
        terminal.say(f"memory to train {run.name}: {needed}")
        return
    terminal.say(f"memory to train {run.name}, batch {needed.batch}: {file_size(needed.total)}")
    rows = [
        ("weights and state", needed.weights, ""),
        ("optimizer", needed.optimizer, ""),
        ("their successors", needed.copy, "the second set of all that moves"),
        ("inputs and constants", needed.inputs, ""),
        ("tensors of a step", needed.working, "the most at any one time"),
        ("  activations", needed.kept, "kept for the backward pass"),
        ("  gradients", needed.gradients, "of weights, those not fused into their update"),
    ]
    lines = columns([(f"  {label}", file_size(size), note) for label, size, note in rows], right=[1])
    for line, (label, _, _) in zip(lines, rows, strict=True):
        terminal.say(terminal.paint(line, FAINT) if label.startswith(" ") else line)


def _cost(cost: Dim) -> str:
    """A number of three digits, or a polynomial where sizes are known only at run time."""
    return short(cost) if isinstance(cost, int) else str(cost)
