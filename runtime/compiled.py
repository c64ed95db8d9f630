"""The compiled files of one run, in memory and in the folder `model/` of its run, with the texts they come from."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dlc.compiler.manifest import Manifest
from dlc.compiler.program import Program
from dlc.runtime.atomic import disk_error, write_atomically
from dlc.runtime.data.bounds import Bound
from dlc.runtime.errors import InputError
from dlc.runtime.session import open_session
from dlc.runtime.stepper import manifest_of

TEXTS = "source"


PART = 1 << 24  # bytes that are copied at a time


@dataclass(frozen=True)
class Compiled:
    """`files` are ONNX models by file name; `run`, `net` and `data` are the names in them. `origin` is JSON for
    `run.json`: the file, its folder (where paths of data begin), its hash, and the `let`s that were set."""

    run: str
    net: str
    data: str
    files: Mapping[str, bytes]
    origin: Mapping[str, Any]

    @classmethod
    def of(cls, program: Program, run: str) -> Compiled:
        """Compiles one run. Raises SourceError, and InputError if the program has no such run."""
        from dlc.compiler.emit import serialized
        from dlc.compiler.products import products

        if run not in program.runs:
            names = ", ".join(program.runs) or "none"
            raise InputError(f"{program.source.main.file} has no run `{run}`; its runs: {names}")
        section = program.runs[run]
        files = {name: serialized(model) for name, model in products(program, runs=[run]).items()}
        path = program.source.main.path
        origin = {
            "file": str(path),
            "folder": str(path.parent),
            "sha256": program.sha256,
            "lets": {name: json.dumps(value, ensure_ascii=False) for name, value in program.lets.items()},
        }
        return cls(run, section.net.text, section.data.text, files, origin)

    @classmethod
    def load(cls, model: Path, asked: Mapping[str, Any]) -> Compiled:
        """The files that `write` wrote to `model`; `asked` is the run's. Raises InputError if they cannot be read."""
        try:
            names = {name: asked[name] for name in ("run", "net", "data")}
            origin = asked["source"]
        except KeyError as error:
            raise InputError(f"{model.parent}/run.json does not say the run's {error}") from None
        try:
            files = {path.name: path.read_bytes() for path in sorted(model.glob("*.onnx"))}
        except OSError as error:
            raise InputError(disk_error("read", model, error).message) from error
        return cls(names["run"], names["net"], names["data"], files, origin)

    def write(self, model: Path, program: Program) -> None:
        """Writes the files, and under `source/` the texts of the program with all that it uses and imports.

        Raises RunError.
        """
        for name, content in self.files.items():
            write_atomically(model / name, [content])
        borrowed = [Path(os.path.abspath(path)) for path in program.borrowed()]
        paths = [module.path for module in program.source.modules.values()]
        top = Path(os.path.commonpath([path.absolute().parent for path in (*paths, *borrowed)]))
        for module in program.source.modules.values():
            text = program.source.sources[module.file].encode()
            _write(model / TEXTS / module.path.absolute().relative_to(top), [text])
        for path in borrowed:
            _write(model / TEXTS / path.relative_to(top), _parts(path))
        main = str(program.source.main.path.absolute().relative_to(top).as_posix())
        write_atomically(model / TEXTS / "main.json", [json.dumps({"file": main}).encode()])

    def program(self, model: Path) -> Program:
        """The program as it was when `write` wrote its texts to `model`. Raises InputError where they are gone or
        others, and SourceError where this dlc reads them otherwise."""
        try:
            main = model / TEXTS / json.loads((model / TEXTS / "main.json").read_bytes())["file"]
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            raise InputError(f"{model / TEXTS}: the texts that the run was compiled from are gone") from None
        program = Program.open(main, self.origin.get("lets", {}))
        if program.sha256 != self.origin.get("sha256", program.sha256):
            raise InputError(f"{main}: this is not the text that the run was compiled from")
        return program

    def file(self, name: str) -> bytes:
        """The model `name`. Raises InputError if the folder has none."""
        if name not in self.files:
            raise InputError(f"the run has no compiled file {name}: its folder is not whole")
        return self.files[name]

    @property
    def graph_hash(self) -> str:
        """What a checkpoint knows the step by."""
        return hashlib.sha256(self.file(f"{self.run}.step.onnx")).hexdigest()

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """The settings of the `train` section: batch, epochs, steps, seed, keep."""
        # Each file of the run has them; this one opens faster than the step.
        settings: Mapping[str, Any] = self._manifest(f"{self.run}.eval.onnx").extensions.get("x_settings", {})
        return settings

    @cached_property
    def fixed_batch(self) -> int | None:
        """How many examples the net takes at a time, where its inputs say a number instead of `B`."""
        firsts = {field.shape[0] for field in self._manifest(f"{self.run}.eval.onnx").batch.values() if field.shape}
        first = firsts.pop() if len(firsts) == 1 else None
        return first if isinstance(first, int) else None

    @cached_property
    def bounds(self) -> Mapping[str, Bound]:
        """What the fields may hold that the loss, a metric or a table takes as numbers of classes or rows."""
        found = self._manifest(f"{self.run}.eval.onnx").extensions.get("x_bounds", {})
        return {field: Bound(**said) for field, said in found.items()}

    @cached_property
    def plan(self) -> dict[str, Any]:
        """The plan of the data, as `dlc.runtime.data` reads it."""
        plan: dict[str, Any] | None = self._manifest(f"{self.data}.prepare.onnx").data
        if plan is None:
            raise InputError(f"{self.data}.prepare.onnx has no plan for reading data in its manifest")
        return plan

    @property
    def split_names(self) -> list[str]:
        return [split["name"] for split in self.plan.get("splits", ())]

    @property
    def folder(self) -> Path:
        """Where relative paths of the data begin."""
        return Path(str(self.origin.get("folder", ".")))

    def _manifest(self, name: str) -> Manifest:
        return manifest_of(open_session(self.file(name), threads=1, spinning=False), name)


def _write(target: Path, content: Iterable[bytes]) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error("create", target.parent, error) from error
    write_atomically(target, content)


def _parts(path: Path) -> Iterator[bytes]:
    """A file's content. Raises InputError."""
    try:
        with open(path, "rb") as file:
            while part := file.read(PART):
                yield part
    except OSError as error:
        raise InputError(disk_error("read", path, error).message) from error
