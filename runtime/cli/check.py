"""`dlc check`: every mistake of a file, or what there is in it."""

from __future__ import annotations

from collections.abc import Sequence

from dlc.dsl.diagnostics import to_json
from dlc.runtime.cli.objects import lets, open_program, target
from dlc.runtime.cli.terminal import GREEN, Terminal, plural


def check(file: str, assignments: Sequence[str], terminal: Terminal) -> None:
    """Raises SourceError with every mistake of the file."""
    from dlc.runtime.show import weight_count

    where = target(file)
    program = open_program(where, lets(assignments), terminal)
    warnings = program.check()
    counts = {name: weight_count(program.net(name)) for name in program.nets}
    terminal.diagnostics(warnings)
    parts = [
        plural(len(program.nets), "net"),
        plural(len(program.runs), "run"),
        plural(sum(counts.values()), "weight"),
    ]
    if warnings:
        parts.append(plural(len(warnings), "warning"))
    terminal.say(f"{where}: {terminal.paint('no mistakes', GREEN)} ({', '.join(parts)})")
    terminal.result(
        {
            "file": str(where),
            "nets": {name: {"weights": count} for name, count in counts.items()},
            "runs": list(program.runs),
            "data": list(program.datas),
            "diagnostics": [to_json(each) for each in warnings],
        }
    )
