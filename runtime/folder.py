"""The folder of a run: what was asked, the compiled files, checkpoints, weights, metrics and curves, under a lock.

runs/lenet/
  run.json            what was asked, when, with what, how it ended, what changed on resuming
  model/              the compiled files
  checkpoints/        the newest two
  best.safetensors    last.safetensors    metrics.jsonl    curves.svg    lock
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from dlc.runtime.atomic import disk_error, remove_temporaries, sync_folder, write_json
from dlc.runtime.errors import CommandError, InputError, UsageError
from dlc.runtime.lock import Lock

VERSION = 1


class RunFolder:
    """A run's folder, made by `create` or `resume` (locked, for the one process that trains) or `open` (to read).

    As a context manager it records on leaving how the run ended, and gives up the lock. What is left before
    `record_resume` did not go on: the record of how the run had ended then stays as it was.
    """

    def __init__(
        self, path: Path, content: dict[str, Any], lock: Lock | None, found: dict[str, Any] | None = None
    ) -> None:
        self.path = path
        self.model = path / "model"
        self.checkpoints = path / "checkpoints"
        self.best = path / "best.safetensors"
        self.last = path / "last.safetensors"
        self.metrics = path / "metrics.jsonl"
        self.curves = path / "curves.svg"
        self._content = content
        self._lock = lock
        self._found = found

    @classmethod
    def create(
        cls, path: Path, asked: Mapping[str, Any], fill: Callable[[RunFolder], None] = lambda folder: None
    ) -> RunFolder:
        """Makes the folder (parents too), locks it, has `fill` write the compiled files, and writes `run.json`.

        `asked` is JSON: the source's file and text hash, lets, seed, device, versions. `run.json` comes last: a folder
        that has one is whole, and one that a kill left without can be made again. Raises UsageError if the folder is a
        run already or holds anything else, RunError if it is locked or cannot be written.
        """
        refuse_occupied(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error("create", path, error) from error
        lock = Lock(path / "lock")
        lock.acquire()
        try:
            # Another process may have been first, between the look and the lock.
            refuse_occupied(path)
            remove_temporaries(path)
            content: dict[str, Any] = {
                "version": VERSION,
                "asked": dict(asked),
                "started": _now(),
                "ended": None,
                "status": "running",
                "resumed": [],
            }
            folder = cls(path, content, lock)
            folder._make_subfolders()
            fill(folder)
            write_json(path / "run.json", content)
        except BaseException:
            lock.release()
            raise
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The run at `path`, to read. Raises InputError if there is none, or `run.json` cannot be read."""
        return cls(path, _read_run(path), None)

    @classmethod
    def resume(cls, path: Path) -> RunFolder:
        """The run at `path`, locked, to go on with. Raises InputError as `open` does, RunError if it is locked."""
        _read_run(path)
        lock = Lock(path / "lock")
        lock.acquire()
        try:
            remove_temporaries(path)
            folder = cls(path, _read_run(path), lock, _read_run(path))
            folder._recover_model()
            folder._make_subfolders()
            folder._content |= {"ended": None, "status": "running"}
            folder._content.pop("error", None)
            write_json(path / "run.json", folder._content)
        except BaseException:
            lock.release()
            raise
        return folder

    @property
    def run(self) -> Mapping[str, Any]:
        """The content of `run.json`: version, asked, started, ended, status, resumed, saved (when it first was) if it
        ever had a checkpoint, error if the run failed, and reason (why it ended) if it finished.

        A status of "running" without a holder of the lock is that of a run that was killed.
        """
        return self._content

    @property
    def saved(self) -> bool:
        """Was a checkpoint ever written? Runs of before `run.json` said so have ended with their last weights."""
        found = self._found or self._content
        return "saved" in found or (found["status"] in ("finished", "interrupted") and self.last.exists())

    def record_saved(self) -> None:
        """The first checkpoint is written. Raises RunError if `run.json` cannot be."""
        if "saved" not in self._content:
            self._content["saved"] = _now()
            write_json(self.path / "run.json", self._content)

    @property
    def settings(self) -> dict[str, Any]:
        """What was asked last: on the latest resume, or at the start."""
        resumed = self._content["resumed"]
        settings: dict[str, Any] = resumed[-1]["asked"] if resumed else self._content["asked"]
        return settings

    def record_resume(self, step: int, asked: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Records that the run goes on from `step` with `asked`; returns the settings that changed: name to old, new.

        Raises RunError if `run.json` cannot be written.
        """
        old, new = _flatten(self.settings), _flatten(asked)
        names = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
        changed = {name: (old.get(name), new.get(name)) for name in names}
        record = {name: list(pair) for name, pair in changed.items()}
        self._content.pop("reason", None)
        self._content["resumed"].append({"at": _now(), "step": step, "changed": record, "asked": dict(asked)})
        write_json(self.path / "run.json", self._content)
        self._found = None
        return changed

    @property
    def classes(self) -> dict[str, list[str]]:
        """The names of the classes that a field of the data counts, where the reader knew them."""
        found = self._content.get("classes")
        classes: dict[str, list[str]] = found if isinstance(found, dict) else {}
        return classes

    @property
    def splits(self) -> dict[str, list[Any]]:
        """How many examples the splits had that the run was trained and evaluated on, and their hashes: as
        `Dataset.content` gives them. Runs of before `run.json` said so have none."""
        found = self._content.get("splits")
        splits: dict[str, list[Any]] = found if isinstance(found, dict) else {}
        return splits

    def record_data(self, classes: Mapping[str, Sequence[str]], splits: Mapping[str, list[Any]]) -> None:
        """Records what `classes` and `splits` give. Raises RunError if `run.json` cannot be written."""
        self._content["classes"] = {field: list(names) for field, names in classes.items()}
        self._content["splits"] = {**self.splits, **splits}
        write_json(self.path / "run.json", self._content)

    def conclude(self, reason: str) -> None:
        """`reason` is why the run ended; `close` records it."""
        self._content["reason"] = reason

    def replace_model(self, write: Callable[[Path], None]) -> None:
        """Has `write` write other compiled files into a new folder, which then takes the place of `model`.

        A kill at any moment leaves the old files or the new ones, never some of each. Raises RunError.
        """
        new, old = self._beside_model()
        try:
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir()
            write(new)
            os.rename(self.model, old)
            os.rename(new, self.model)
            sync_folder(self.path)
            shutil.rmtree(old, ignore_errors=True)
        except OSError as error:
            raise disk_error("replace", self.model, error) from error

    def _recover_model(self) -> None:
        """Ends what a kill within `replace_model` left: without `model`, the new files were whole."""
        new, old = self._beside_model()
        try:
            if not self.model.exists() and new.exists():
                os.rename(new, self.model)
        except OSError as error:
            raise disk_error("replace", self.model, error) from error
        for leftover in (new, old):
            shutil.rmtree(leftover, ignore_errors=True)

    def _beside_model(self) -> tuple[Path, Path]:
        return self.path / "model.new", self.path / "model.old"

    def close(self, status: str, error: str | None = None) -> None:
        """Records how the run ended ("finished", "interrupted", "failed") and gives up the lock.

        Raises RunError if `run.json` cannot be written; the lock is given up all the same.
        """
        self._content |= {"ended": _now(), "status": status}
        if error is not None:
            self._content["error"] = error
        self._leave(self._content)

    def _leave(self, content: dict[str, Any]) -> None:
        if self._lock is None:
            return
        lock, self._lock = self._lock, None
        try:
            write_json(self.path / "run.json", content)
        finally:
            lock.release()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None and (self._found is None or self._found["status"] != "finished"):
            self.close("finished")
            return
        if self._found is not None:
            with contextlib.suppress(CommandError):
                self._leave(self._found)
            return
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        message = error.message if isinstance(error, CommandError) else str(error) or type(error).__name__
        # The disk that ended the run cannot take the record of it either; the first error is the one to tell.
        with contextlib.suppress(CommandError):
            self.close(status, message)

    def _make_subfolders(self) -> None:
        for folder in (self.model, self.checkpoints):
            try:
                folder.mkdir(exist_ok=True)
            except OSError as error:
                raise disk_error("create", folder, error) from error


def refuse_occupied(path: Path) -> None:
    """Raises UsageError if `path` is a run, a folder of something else, or no place for a folder."""
    if any(each.exists() and not each.is_dir() for each in (path, *path.parents)):
        raise UsageError(f"cannot make the run folder {path}: a file is in the way", "choose another -o")
    if path.is_dir():
        if (path / "run.json").exists():
            holder = Lock(path / "lock").holder()
            if holder:
                raise UsageError(f"{path} already holds a run, in training by {holder}", "choose another -o")
            help = f"go on with it by `dlc train --resume {path}`, or choose another -o"
            raise UsageError(f"{path} already holds a run", help)
        # A run that was killed before its run.json was there leaves these, the lock first of all.
        own = {"lock", "model", "checkpoints"} if (path / "lock").exists() else set()
        others = sorted(entry.name for entry in path.iterdir() if entry.name not in own and entry.suffix != ".tmp")
        if others:
            raise UsageError(
                f"{path} is not empty and not a run: found {', '.join(others[:3])}{', ...' if len(others) > 3 else ''}",
                "choose another -o, or an empty folder",
            )


def _read_run(path: Path) -> dict[str, Any]:
    file = path / "run.json"
    if not path.is_dir():
        found = "a file" if path.exists() else "nothing"
        raise InputError(f"expected a run folder at {path}, found {found}")
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path} is not a run folder: it has no run.json") from None
    except OSError as error:
        raise InputError(disk_error("read", file, error).message) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: not JSON: {error}") from None
    if not isinstance(content, dict) or content.get("version") != VERSION:
        version = content.get("version") if isinstance(content, dict) else type(content).__name__
        raise InputError(f"{file}: expected version {VERSION} of a run, found {version}")
    if not isinstance(content.get("asked"), dict) or not isinstance(content.get("resumed"), list):
        raise InputError(f"{file}: expected `asked` and `resumed`, which every run has")
    return content


def _flatten(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Each leaf of nested settings under its dotted name."""
    leaves: dict[str, Any] = {}
    waiting: list[tuple[str, Any]] = [("", settings)]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, Mapping):
            waiting.extend((f"{name}.{key}" if name else str(key), inner) for key, inner in value.items())
        else:
            leaves[name] = list(value) if isinstance(value, tuple) else value
    return leaves


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
