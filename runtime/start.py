"""The values that a run begins with: from the seed, from the run it comes `after`, from the files that it `load`s."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dlc.compiler.elaborate.run import holds
from dlc.runtime.checkpoint import Array, Signature
from dlc.runtime.compiled import Compiled
from dlc.runtime.data import Dataset, batches
from dlc.runtime.diagnose import not_finite
from dlc.runtime.errors import InputError, UsageError
from dlc.runtime.evaluate import load_weights
from dlc.runtime.folder import RunFolder
from dlc.runtime.pretrained import Loaded, load
from dlc.runtime.session import Note, open_session
from dlc.runtime.stepper import Stepper

FROM_RUN = ("parameter", "state", "frozen")
CLOSE = 1e-5  # fitted constants of the same data differ by rounding only


def earlier(compiled: Compiled, after: Path | None, folder: Path) -> Path | None:
    """The folder of the run that `after = ...` means, if the run says so; `after` is what the command line gives.

    Raises UsageError where only one of them says it or they mean different runs, InputError if there is no such run.
    """
    wanted = compiled.settings.get("after")
    command = f"dlc train {compiled.origin['file']}:{compiled.run} -o {folder} --after"
    if wanted is None:
        if after is None:
            return None
        help = f"write `after = ...` into `train ... as {compiled.run}`: the file says what a run starts from"
        raise UsageError(f"the run `{compiled.run}` does not start after another, so --after has no meaning", help)
    if after is None:
        beside = folder.parent / wanted
        message = f"the run `{compiled.run}` starts from the weights of `{wanted}`: say where that was trained"
        if (beside / "run.json").exists():
            raise UsageError(message, f"{command} {beside}")
        first = f"dlc train {compiled.origin['file']}:{wanted} -o {beside}"
        raise UsageError(f"{message}, or train it first", f"{first}\n  {command} {beside}")
    found = RunFolder.open(after).settings.get("run")
    if found != wanted:
        raise UsageError(
            f"the run `{compiled.run}` starts after `{wanted}`, and {after} is a run of `{found}`",
            f"{command} and the folder of `{wanted}`",
        )
    return after


def initial(
    compiled: Compiled, stepper: Stepper, dataset: Dataset, seed: int, batch: int, after: Path | None, note: Note
) -> dict[str, Array]:
    """Every carried value: by the initializers from the seed (and from the first batch, where they read it), then over
    them the best weights of the run in `after`, then those of the files that the section loads.

    `note` is told what came from where. Raises InputError for weights that do not fit, DataError.
    """
    values = initialized(compiled, dataset, seed, batch)
    if after is not None:
        values |= _from_run(after, stepper, dataset, note)
    for each in compiled.settings.get("load", ()):
        part, path = str(each["part"]), compiled.folder / str(each["file"])
        wanted = {a: signature for a, signature in _weights(stepper).items() if holds(part, a)}
        loaded = load(path, part, wanted)
        tell(loaded, path, part, note)
        values |= loaded.tensors
    return values


def initialized(compiled: Compiled, dataset: Dataset, seed: int, batch: int) -> dict[str, Array]:
    """Every carried value of a run as its initializers make it from the seed, and from the first batch of the training
    split where they read it."""
    opened = open_session(compiled.file(f"{compiled.run}.init.onnx"), spinning=False)
    first = next(batches(dataset.split("train"), batch, seed, 0))
    available: dict[str, Any] = {**first, "seed": np.asarray(seed, np.int64)}
    names = [each.name for each in opened.get_outputs()]
    values = opened.run(names, {each.name: available[each.name] for each in opened.get_inputs()})
    return {name: np.asarray(value) for name, value in zip(names, values, strict=True)}


def _weights(stepper: Stepper) -> dict[str, Signature]:
    """What the net owns, of all that the step carries."""
    return {a: signature for a, signature in stepper.signature.items() if stepper.roles[a] in FROM_RUN}


def _from_run(after: Path, stepper: Stepper, dataset: Dataset, note: Note) -> dict[str, Array]:
    opened = RunFolder.open(after)
    status = opened.run.get("status")
    if status != "finished":
        note(f"the run in {after} has not finished: its status is {status}")
    tensors, _ = load_weights(opened, "best")
    wanted = _weights(stepper)
    problems = [
        f"  {name}: here {dtype}{list(shape)}, there {tensors[name].dtype}{list(tensors[name].shape)}"
        for name, (dtype, shape) in wanted.items()
        if name in tensors and (tensors[name].dtype, tensors[name].shape) != (dtype, shape)
    ]
    if problems:
        raise InputError(f"the weights of {after} do not fit:\n" + _first(problems))
    taken = {name: tensors[name] for name in wanted if name in tensors}
    if not taken:
        raise InputError(f"{after} has no weight of this net: it has {_names(sorted(tensors))}")
    _same_constants(after, tensors, dataset)
    fresh = [name for name in wanted if name not in tensors]
    note(f"{len(taken):,} of {len(wanted):,} tensors come from {opened.best}")
    if fresh:
        note(f"new here, from their initializers: {_names(fresh)}")
    return taken


def _same_constants(after: Path, tensors: Mapping[str, Array], dataset: Dataset) -> None:
    """Raises InputError if what both runs fitted on data differs: the weights have learnt from other numbers."""
    for address, fitted in dataset.fitted.items():
        there = tensors.get(address)
        if there is not None and (
            there.shape != fitted.shape or not np.allclose(there, fitted, rtol=CLOSE, atol=1e-12, equal_nan=True)
        ):
            raise InputError(
                f"{address}, fitted on the training split, is not what it was in {after}: the data changed since",
                "train that run again on the data of now, or restore the data",
            )


def tell(loaded: Loaded, path: Path, part: str, note: Note) -> None:
    """Says what came from a file of weights and how. Raises InputError for a weight that is not finite."""
    broken = not_finite(loaded.tensors)
    if broken:
        raise InputError(f"{path}: {broken[0]}")
    transposed = f", {len(loaded.transposed):,} transposed" if loaded.transposed else ""
    note(f"{len(loaded.tensors):,} tensors of `{part}` come from {path}{transposed}")
    if loaded.guessed:
        how = "PyTorch's layout, so transposed" if loaded.guessed[0] in loaded.transposed else "the layout of dlc"
        note(f"square, so their shape does not tell: {_names(loaded.guessed)} taken as in {how}")
    if loaded.unused:
        note(f"not used of that file: {_names(loaded.unused)}")


def _first(lines: list[str]) -> str:
    return "\n".join(lines if len(lines) <= 10 else [*lines[:10], f"  and {len(lines) - 10} more"])


def _names(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")


__all__ = ["earlier", "initial", "initialized"]
