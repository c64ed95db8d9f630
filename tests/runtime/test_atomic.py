"""A file is either the old one or the new one, whole: after any failing call, Ctrl-C, or kill at any moment."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlc.runtime import atomic
from dlc.runtime.checkpoint import Checkpoint, Checkpoints, save_tensors
from dlc.runtime.errors import RunError


def checkpoint(step: int, seed: int = 7) -> Checkpoint:
    tensors = {"weight": np.full((6, 5), step, np.float32), "optimizer.t": np.array(step)}
    return Checkpoint(step, 0, step, tensors, seed=seed, graph_hash="g", data_hash="d")


def temporaries(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.endswith(".tmp")]


class Failing:
    """A file whose method `name` fails with `code`, after half of the bytes if it is `write`."""

    def __init__(self, file: Any, name: str, code: int) -> None:
        self._file, self._name, self._code = file, name, code

    def __enter__(self) -> Failing:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        if name != self._name:
            return getattr(self._file, name)

        def fail(*arguments: Any) -> None:
            if name == "write":
                self._file.write(bytes(arguments[0])[: len(arguments[0]) // 2])
            raise OSError(self._code, os.strerror(self._code))

        return fail


@pytest.fixture(params=["open", "write", "flush", "fsync", "replace"])
def failing_call(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    def break_it(code: int) -> None:
        def fail(*_: object) -> None:
            raise OSError(code, os.strerror(code))

        if request.param in ("write", "flush"):
            opened = lambda *given: Failing(open(*given), request.param, code)  # noqa: E731, SIM115
            monkeypatch.setattr(atomic, "open", opened, raising=False)
        elif request.param == "open":
            monkeypatch.setattr(atomic, "open", fail, raising=False)
        else:
            monkeypatch.setattr(os, request.param, fail)

    yield break_it


REASONS = [(errno.ENOSPC, "the disk is full"), (errno.EIO, "input/output error"), (errno.EACCES, "permission denied")]


@pytest.mark.parametrize(("code", "reason"), REASONS)
def test_a_failed_write_leaves_the_old_checkpoint(
    tmp_path: Path, failing_call: Callable[[int], None], code: int, reason: str
) -> None:
    store = Checkpoints(tmp_path)
    store.save(checkpoint(1))
    store.save(checkpoint(2))
    before = {path: path.read_bytes() for path in (tmp_path / "checkpoints").iterdir()}
    failing_call(code)
    with pytest.raises(RunError, match=reason) as caught:
        store.save(checkpoint(3))
    with pytest.raises(RunError, match=reason):
        store.save(checkpoint(2, seed=8))
    assert caught.value.exit_code == 3
    assert str(store.path(3)) in caught.value.message
    assert temporaries(tmp_path) == []
    assert {path: path.read_bytes() for path in (tmp_path / "checkpoints").iterdir()} == before
    latest = store.latest()
    assert latest is not None
    assert (latest.step, latest.seed) == (2, 7)


def test_when_only_the_folder_cannot_be_synced_all_files_are_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Checkpoints(tmp_path)
    store.save(checkpoint(1))

    def fail(folder: Path) -> None:
        raise OSError(errno.EIO, "")

    monkeypatch.setattr(atomic, "sync_folder", fail)
    with pytest.raises(RunError, match="input/output error"):
        store.save(checkpoint(2))
    assert temporaries(tmp_path) == []
    assert [Checkpoint.load(store.path(step)).step for step in store.steps()] == [1, 2]


def test_file_and_folder_are_synced_around_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    fsync, replace = os.fsync, os.replace

    def spy_fsync(descriptor: int) -> None:
        calls.append("fsync folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "fsync file")
        fsync(descriptor)

    def spy_replace(source: Path, target: Path) -> None:
        calls.append("rename")
        replace(source, target)

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc to tell a folder's descriptor from a file's")
    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "replace", spy_replace)
    save_tensors(tmp_path / "a", {}, {})
    assert calls == ["fsync file", "rename", "fsync folder"]


def test_ctrl_c_leaves_no_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_tensors(tmp_path / "a", {"x": np.ones(3)}, {})
    assert list(tmp_path.iterdir()) == []


def test_killed_at_any_moment_a_whole_checkpoint_is_left(tmp_path: Path) -> None:
    code = """
import sys, numpy as np
from pathlib import Path
from dlc.runtime.checkpoint import Checkpoint, Checkpoints
store = Checkpoints(Path(sys.argv[1]))
for step in range(1, 1_000_000):
    tensors = {"w": np.full(200_000, step, np.float32), "t": np.array(step)}
    store.save(Checkpoint(step, 0, step, tensors, seed=0, graph_hash="", data_hash=""))
    if step == 3: print("going", flush=True)
"""
    for turn in range(4):
        child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "going\n"
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.013 * (turn + 1))
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        notes: list[str] = []
        latest = Checkpoints(tmp_path, notes.append).latest()
        assert latest is not None
        assert notes == []
        assert (latest.tensors["w"] == latest.step).all()


def test_a_failed_write_leaves_the_best_weights(tmp_path: Path, failing_call: Callable[[int], None]) -> None:
    store = Checkpoints(tmp_path)
    path = store.save_weights("best", {"w": np.array(1.0)}, {"w": "parameter"}, {})
    before = hashlib.sha256(path.read_bytes()).digest()
    failing_call(errno.ENOSPC)
    with pytest.raises(RunError, match="the disk is full"):
        store.save_weights("best", {"w": np.array(2.0)}, {"w": "parameter"}, {})
    assert hashlib.sha256(path.read_bytes()).digest() == before


def test_a_file_that_must_be_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "")

    for turn in ("linked", "without links"):
        path = tmp_path / turn
        atomic.write_atomically(path, [b"first"], overwrite=False)
        with pytest.raises(FileExistsError):
            atomic.write_atomically(path, [b"second"], overwrite=False)
        assert path.read_bytes() == b"first"
        monkeypatch.setattr(os, "link", no_links)
    assert temporaries(tmp_path) == []
    assert len(list(tmp_path.iterdir())) == 2


def test_what_to_do_about_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def help(code: int, path: Path) -> str | None:
        return atomic.disk_error("write", path, OSError(code, "")).help

    file = tmp_path / "there"
    file.touch()
    for code in (errno.ENOSPC, errno.EDQUOT):
        assert help(code, file) == "free some space and run it again"
    told = "must be writable by the user who runs dlc"
    assert help(errno.EACCES, file) == f"{file} {told}"
    assert help(errno.EPERM, tmp_path / "none" / "such") == f"{tmp_path} {told}"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert help(errno.EACCES, file) == f"{tmp_path} {told}"
    monkeypatch.chdir(tmp_path)
    assert help(errno.EACCES, Path("there")) == f"{tmp_path} {told}"
