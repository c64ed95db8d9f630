"""`dlc compile`: the ONNX files of a program."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dlc.dsl.diagnostics import nearest
from dlc.runtime.cli.objects import lets, open_program, target
from dlc.runtime.cli.terminal import BOLD, Terminal, file_size, listed, plural
from dlc.runtime.errors import UsageError

if TYPE_CHECKING:
    from dlc.compiler.manifest import Manifest
    from dlc.compiler.program import Program
    from onnx import ModelProto


def compile(
    file: str, assignments: Sequence[str], output: str, runs: Sequence[str], split: bool, terminal: Terminal
) -> None:
    """Raises SourceError, UsageError and RunError."""
    where = target(file)
    folder = Path(output)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"expected a folder for -o, found the file {folder}")
    program = open_program(where, lets(assignments), terminal)
    chosen = _chosen(program, [*([where.name] if where.name is not None else []), *runs], str(where))
    terminal.diagnostics(program.check())

    from dlc.compiler.emit import serialized
    from dlc.compiler.products import products

    # Everything is compiled before anything is written: a mistake leaves the folder as it was.
    models = products(program, runs=chosen, split=split)
    contents = {name: serialized(model) for name, model in models.items()}
    write_files(folder, contents)

    mapped = {name: maps(model) for name, model in models.items()}
    rows = [(str(folder / name), file_size(len(contents[name])), _line(mapped[name])) for name in contents]
    terminal.table(rows, right=[1])
    terminal.result(
        {
            "folder": str(folder),
            "files": [
                {
                    "file": name,
                    "bytes": len(content),
                    "sha256": hashlib.sha256(content).hexdigest(),
                    "inputs": mapped[name][0],
                    "outputs": mapped[name][1],
                }
                for name, content in contents.items()
            ],
        }
    )
