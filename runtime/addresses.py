"""Weights by address: what a file holds, and other addresses for them, when a part of a net has been renamed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dlc.dsl.diagnostics import nearest
from dlc.runtime.checkpoint import Array, load_tensors, save_tensors
from dlc.runtime.errors import InputError, UsageError
from dlc.runtime.folder import RunFolder
from dlc.runtime.lock import Lock
from dlc.runtime.pretrained import read

ROLES = "dlc.roles"
OPTIMIZER = ".optimizer."


@dataclass(frozen=True)
class Held:
    """A tensor of a file; `role` is None where the file does not say it."""

    address: str
    dtype: str
    shape: tuple[int, ...]
    size: int
    role: str | None


def held(path: Path, weights: str = "best") -> tuple[Path, list[Held]]:
    """The file and what it holds, by address: a .safetensors or .npz file, or the `best` or `last` weights of a run.

    Raises InputError.
    """
    run = _names_run(path)
    file = path / f"{weights}.safetensors" if run else path
    if run:
        RunFolder.open(path)
    tensors, metadata = read(file)
    roles = roles_of(metadata)
    return file, [
        Held(address, str(array.dtype), array.shape, array.size, roles.get(address))
        for address, array in sorted(tensors.items())
    ]


def _names_run(path: Path) -> bool:
    """A folder, or nothing that a file of weights could be called."""
    return path.is_dir() or not (path.exists() or path.suffix)


def rename(path: Path, pairs: Mapping[str, str]) -> dict[Path, int]:
    """Gives the weights at or below each old address (key) the new one (value), in a file or in all files of a run.

    Each file is replaced atomically, once all of them are known to be fine; a run is locked meanwhile, and a call that
    was cut short can be repeated. Optimizer state goes with its weight. Returns how many tensors of each file have
    another name now. Raises InputError if no file has an old address or a new one is taken, UsageError for a file that
    is not .safetensors, RunError for the disk or a run in training.
    """
    if not _names_run(path):
        if path.suffix != ".safetensors":
            raise UsageError(f"expected a .safetensors file or the folder of a run, found {path}")
        return _rename([path], pairs)
    opened = RunFolder.open(path)
    lock = Lock(path / "lock")
    lock.acquire()
    try:
        files = [opened.best, opened.last, *sorted(opened.checkpoints.glob("*.safetensors"))]
        return _rename([each for each in files if each.exists()], pairs)
    finally:
        lock.release()


def _rename(files: list[Path], pairs: Mapping[str, str]) -> dict[Path, int]:
    made = []
    known: set[str] = set()
    for file in files:
        tensors, metadata = load_tensors(file)
        known |= set(tensors)
        names = {address: _renamed(address, pairs) for address in tensors}
        taken = sorted(new for new in set(names.values()) if list(names.values()).count(new) > 1)
        if taken:
            raise InputError(f"{file} would have two tensors called {taken[0]}")
        if any(old != new for old, new in names.items()):
            made.append((file, tensors, metadata, names))
    for old in pairs:
        if not any(_below(each, old) for address in known for each in _parts(address)):
            parts = {each[: len(each) - len(tail)] for each in known for tail in _tails(each)}
            guess = nearest(old, parts)
            has = f"did you mean {guess}?" if guess else f"there is {', '.join(sorted(known)[:5])}, ..."
            raise InputError(f"no weight has the address {old}, or one below it", has)
    for file, tensors, metadata, names in made:
        _write(file, tensors, metadata, names)
    return {file: sum(old != new for old, new in names.items()) for file, _, _, names in made}


def _write(file: Path, tensors: Mapping[str, Array], metadata: dict[str, str], names: Mapping[str, str]) -> None:
    if ROLES in metadata:
        roles = {names.get(address, address): role for address, role in roles_of(metadata).items()}
        metadata = {**metadata, ROLES: json.dumps(roles, sort_keys=True)}
    save_tensors(file, {names[address]: array for address, array in tensors.items()}, metadata)


def _renamed(address: str, pairs: Mapping[str, str]) -> str:
    """The address by the first pair that is about it; of an optimizer's state, the weight's part of the address."""
    *front, own = _parts(address)
    head = address[: len(address) - len(own)] if front else ""
    for old, new in pairs.items():
        if _below(own, old):
            return head + new + own[len(old) :]
        if front and _below(address, old):
            return new + address[len(old) :]
    return address


def _parts(address: str) -> tuple[str, ...]:
    """The address, and for an optimizer's state that of its weight (`RUN.optimizer.WEIGHT.m`)."""
    _, found, weight = address.partition(OPTIMIZER)
    return (address, weight) if found else (address,)


def _below(address: str, part: str) -> bool:
    return address == part or address.startswith((f"{part}.", f"{part}["))


def _tails(address: str) -> Iterator[str]:
    yield ""
    for index, sign in enumerate(address):
        if sign in ".[":
            yield address[index:]


def roles_of(metadata: Mapping[str, str]) -> dict[str, str]:
    """The roles by address that a file of weights tells in its metadata; none where they cannot be read."""
    try:
        roles = json.loads(metadata.get(ROLES, "{}"))
    except (ValueError, RecursionError):
        return {}
    return roles if isinstance(roles, dict) else {}


__all__ = ["Held", "held", "rename"]
