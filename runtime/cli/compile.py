"""`dlc compile`: the ONNX files of a program."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dlc.dsl.diagnostics import nearest
from dlc.runtime.cli.objects import lets, open_program, target
from dlc.runtime.cli.terminal import Terminal, file_size, listed, plural
from dlc.runtime.errors import UsageError

if TYPE_CHECKING:
    from onnx import ModelProto

    from dlc.compiler.program import Program

MOST_NAMES = 6
"""More names than that are counted, not listed."""


def compile(
    file: str,
    assignments: Sequence[str],
    output: str,
    runs: Sequence[str],
    split: bool,
    weights: str | None,
    raw: bool,
    terminal: Terminal,
) -> None:
    """Raises SourceError, UsageError, RunError, and InputError for weights that do not fit."""
    where = target(file)
    folder = Path(output)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"expected a folder for -o, found the file {folder}")
    if raw and weights is None:
        raise UsageError("--raw is for nets with weights inside: it goes with --weights")
    program = open_program(where, lets(assignments), terminal)
    chosen = _chosen(program, [*([where.name] if where.name is not None else []), *runs], str(where))
    if not (program.runs or program.nets or program.datas):
        raise UsageError(f"{where} has no run, net or data section: there is nothing to compile")
    terminal.diagnostics(program.check())

    from dlc.compiler.emit import serialized
    from dlc.compiler.products import products

    # Everything is compiled before anything is written: a mistake leaves the folder as it was.
    models = products(program, runs=chosen, split=split)
    if weights is not None:
        from dlc.runtime.export import nets_filled

        models |= nets_filled(program, Path(weights), chosen, raw, note=terminal.note)
    contents = {name: serialized(model) for name, model in models.items()}
    write_files(folder, contents)

    mapped = {name: Mapped.of(model) for name, model in models.items()}
    rows = [(str(folder / name), file_size(len(contents[name])), str(mapped[name])) for name in contents]
    terminal.table(rows, right=[1])
    terminal.result(
        {
            "folder": str(folder),
            "files": [
                {
                    "file": name,
                    "bytes": len(content),
                    "sha256": hashlib.sha256(content).hexdigest(),
                    "inputs": {
                        "carried": mapped[name].carried,
                        "batch": mapped[name].batch,
                        "scalars": mapped[name].scalars,
                    },
                    "outputs": mapped[name].outputs,
                }
                for name, content in contents.items()
            ],
        }
    )


def write_files(folder: Path, contents: dict[str, bytes]) -> None:
    """Each file whole or not at all. Raises RunError."""
    from dlc.runtime.atomic import disk_error, write_atomically

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error("create", folder, error) from error
    for name, content in contents.items():
        write_atomically(folder / name, [content])


@dataclass(frozen=True)
class Mapped:
    """What a file maps: its inputs by their part in the manifest, and its outputs. `fed` are the outputs that feed a
    carried input; those of `init` all do."""

    carried: list[str]
    batch: list[str]
    scalars: list[str]
    outputs: list[str]
    fed: set[str]

    @classmethod
    def of(cls, model: ModelProto) -> Mapped:
        from dlc.compiler.manifest import read

        manifest = read(model)
        inputs, outputs = ([each.name for each in part] for part in (model.graph.input, model.graph.output))
        fed = {each.output for each in manifest.carried.values() if each.output is not None}
        if manifest.kind == "init":
            fed = set(outputs)
        carried, batch, scalars = (
            [name for name in inputs if name in part] for part in (manifest.carried, manifest.batch, manifest.scalars)
        )
        return cls(carried, batch, scalars, outputs, fed)

    def __str__(self) -> str:
        """`13 carried, image, label -> 13 carried, loss, finite`."""
        left = [f"{len(self.carried):,} carried"] if self.carried else []
        right = [f"{len(self.fed):,} carried"] if self.fed else []
        others = [name for name in self.outputs if name not in self.fed]
        return f"{_some(left, self.batch + self.scalars)} -> {_some(right, others)}"


def _some(parts: list[str], names: list[str]) -> str:
    gradients = [name for name in names if name.endswith(":grad")]
    if gradients:
        parts = [*parts, plural(len(gradients), "gradient")]
    shown = [name for name in names if name not in gradients]
    if len(shown) > MOST_NAMES:
        shown = [*shown[: MOST_NAMES - 1], plural(len(shown) - MOST_NAMES + 1, "other")]
    return ", ".join([*parts, *shown]) or "nothing"


def _chosen(program: Program, names: Sequence[str], file: str) -> list[str] | None:
    """The runs that were named, None for all. Raises UsageError."""
    for name in names:
        if name not in program.runs:
            guess = nearest(name, program.runs)
            help = f"did you mean {guess}?" if guess else f"there is {listed(program.runs)}"
            raise UsageError(f"{file} has no run called `{name}`", help)
    return list(dict.fromkeys(names)) or None
