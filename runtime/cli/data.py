"""`dlc data`: fetches and prepares a data section, and says and shows what is in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from dlc.runtime.cli.objects import choose, lets, open_program, target
from dlc.runtime.cli.terminal import BOLD, FAINT, Terminal, plain
from dlc.runtime.errors import UsageError
from dlc.runtime.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dlc.runtime.data.prepare import Dataset
    from dlc.runtime.data.statistics import Statistics

SHOWN = 40
"""Classes that are told to people."""
LONGEST = 60
"""Characters of a class's name that are told to people."""
Numbers = Mapping[str, Mapping[str, "Statistics | None"]]
Counts = Mapping[str, Mapping[str, Mapping[str, int]]]


def data(file: str, assignments: Sequence[str], output: str | None, terminal: Terminal) -> None:
    """Raises SourceError, UsageError, DataError, and RunError where the picture cannot be written."""
    from dlc.compiler.emit import serialized
    from dlc.compiler.products import unit_model
    from dlc.runtime.data.prepare import prepare
    from dlc.runtime.data.statistics import class_counts, statistics

    place = _place(output)
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
    counts = class_counts(found)
    _show(name, found, types, numbers, terminal)
    for field, classes in counts.items():
        _show_classes(field, classes, list(found.splits), terminal)
    # Programs that read JSON get a picture only where they ask for it.
    shown = None if terminal.json and place is None else _sheet(main.path, name, found, plan["columns"], place)
    if shown is not None:
        terminal.say(f"\npicture: {shown}")
    terminal.result(
        {
            "data": name,
            "sources": [{"source": source, "licence": licence} for source, licence in found.origins.items()],
            "fields": types,
            "splits": {
                split: {
                    "examples": len(each),
                    "fields": {key: plain(asdict(n)) if n is not None else None for key, n in numbers[split].items()},
                }
                for split, each in found.splits.items()
            },
            "classes": counts,
            "fitted": plain(found.fitted),
            "data_hash": found.data_hash,
            "picture": str(shown) if shown is not None else None,
        }
    )


def _place(output: str | None) -> Path | None:
    if output is None:
        return None
    place = Path(output)
    if place.suffix.lower() != ".png":
        raise UsageError(f"cannot write the picture to {output}: expected a name that ends in .png")
    if not place.parent.is_dir():
        raise UsageError(f"cannot write the picture to {output}: there is no folder {place.parent}")
    return place


def _sheet(
    file: Path, name: str, found: Dataset, columns: Mapping[str, Sequence[str]], place: Path | None
) -> Path | None:
    """Writes the picture, by default into the user's cache; None where the fields have nothing to show."""
    from dlc.runtime.atomic import disk_error, write_atomically
    from dlc.runtime.data.cache import cache_folder
    from dlc.runtime.data.sheet import sheet

    content = sheet(found, columns)
    if content is None:
        return None
    if place is None:
        folder = cache_folder() / "sheets"
        place = folder / f"{re.sub(r'[^A-Za-z0-9_-]', '_', file.stem)}.{name}.png"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error("create", folder, error) from error
    write_atomically(place, [content])
    return place


def _show(name: str, found: Dataset, types: Mapping[str, str], numbers: Numbers, terminal: Terminal) -> None:
    terminal.say(terminal.paint(name, BOLD))
    for source, licence in found.origins.items():
        terminal.say(f"from {source}" + terminal.paint(f" (licence: {licence or 'not known'})", FAINT))
    rows = []
    for split, each in found.splits.items():
        for number, field in enumerate(each.fields):
            known = numbers[split][field]
            cells = ["", "", "", "", ""]
            if known is not None:
                cells = [f"{value:.6g}" for value in (known.min, known.mean, known.std, known.max)]
                cells.append(f"{known.missing:.1%}" if known.missing else "0")
            rows.append((*((split, f"{len(each):,}") if number == 0 else ("", "")), field, types[field], *cells))
    head = ("split", "examples", "field", "type", "min", "mean", "std", "max", "missing")
    terminal.table(rows, right=[1, 4, 5, 6, 7, 8], head=head)


def _show_classes(
    field: str, classes: Mapping[str, Mapping[str, int]], splits: Sequence[str], terminal: Terminal
) -> None:
    """How many examples of each class each split has."""
    numbered = list(classes) == [str(number) for number in range(len(classes))]
    rows = [
        (*(() if numbered else (str(number),)), _name(name), *(f"{tally.get(split, 0):,}" for split in splits))
        for number, (name, tally) in enumerate(classes.items())
    ]
    head = (field, *(() if numbered else ("class",)), *splits)
    terminal.say("")
    first = 1 if numbered else 2
    terminal.table(rows[:SHOWN], right=[0, *range(first, first + len(splits))], head=head)
    if len(rows) > SHOWN:
        terminal.say(f"and {len(rows) - SHOWN:,} more classes; --json has them all")


def _name(name: str) -> str:
    return printable(name if len(name) <= LONGEST else f"{name[:LONGEST]}...")
