"""`dlc data`: fetches and prepares a data section, and says what is in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dlc.runtime.cli.objects import choose, lets, open_program, target
from dlc.runtime.cli.terminal import BOLD, FAINT, Terminal, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dlc.runtime.data.prepare import Dataset

BLOCK = 4096
"""Examples that statistics are made of at a time: prepared data may be larger than the memory."""


def data(file: str, assignments: Sequence[str], terminal: Terminal) -> None:
    """Raises SourceError, UsageError and DataError."""
    from dlc.compiler.emit import serialized
    from dlc.compiler.products import unit_model
    from dlc.runtime.data.prepare import prepare

    where = target(file)
    program = open_program(where, lets(assignments), terminal)
    name = choose(where, program.datas, "data section", "has no data section")
    unit, fit = program.prepare(name), program.fit(name)
    assert unit.plan is not None
    plan = unit.plan.json()
    main = program.source.main
    found = prepare(
        plan,
        serialized(unit_model(program, unit)),
        serialized(unit_model(program, fit)) if fit is not None else None,
        main.home.get(name, main).path.parent,
        say=terminal.note,
        progress=terminal.progress,
    )
    types = {field: str(type) for field, type in unit.plan.fields.items()}
    numbers = {
        split: {field: statistics(array) for field, array in each.fields.items()}
        for split, each in found.splits.items()
    }
    _show(name, found, types, numbers, terminal)
    terminal.result(
        {
            "data": name,
            "sources": [{"source": source, "licence": licence} for source, licence in found.origins.items()],
            "fields": types,
            "splits": {
                split: {"examples": len(each), "fields": plain(numbers[split])} for split, each in found.splits.items()
            },
            "fitted": plain(found.fitted),
            "data_hash": found.data_hash,
        }
    )


def statistics(array: np.ndarray[Any, Any]) -> dict[str, float] | None:
    """Least, mean and greatest of all elements, in float64; None where there are none."""
    if array.size == 0:
        return None
    least, greatest, total = np.inf, -np.inf, 0.0
    for start in range(0, len(array), BLOCK):
        block = np.asarray(array[start : start + BLOCK], np.float64)
        least, greatest = min(least, float(block.min())), max(greatest, float(block.max()))
        total += float(block.sum())
    return {"min": least, "mean": total / array.size, "max": greatest}


def _show(
    name: str,
    found: Dataset,
    types: Mapping[str, str],
    numbers: Mapping[str, Mapping[str, Mapping[str, float] | None]],
    terminal: Terminal,
) -> None:
    terminal.say(terminal.paint(name, BOLD))
    for source, licence in found.origins.items():
        terminal.say(f"from {source}" + terminal.paint(f" (licence: {licence or 'not known'})", FAINT))
    rows = []
    for split, each in found.splits.items():
        for number, field in enumerate(each.fields):
            known = numbers[split][field]
            cells = [f"{known[key]:.6g}" for key in ("min", "mean", "max")] if known is not None else ["", "", ""]
            rows.append((*((split, f"{len(each):,}") if number == 0 else ("", "")), field, types[field], *cells))
    terminal.table(rows, right=[1, 4, 5, 6], head=("split", "examples", "field", "type", "min", "mean", "max"))
