"""A run folder says what was asked, belongs to one process at a time, and survives those that die."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from dlc.runtime import lock
from dlc.runtime.errors import CommandError, InputError, RunError, UsageError
from dlc.runtime.folder import RunFolder, refuse_occupied

ASKED = {"source": {"file": "lenet.net", "sha256": "ab"}, "lets": {"lr": 0.1, "width": 6}, "seed": 1, "device": "cpu"}


def run_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((path / "run.json").read_text())
    return content


def test_create(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "lenet"
    with RunFolder.create(path, ASKED) as folder:
        assert folder.model.is_dir()
        assert folder.checkpoints.is_dir()
        assert run_json(path)["status"] == "running"
        assert run_json(path)["ended"] is None
    content = run_json(path)
    assert content["asked"] == ASKED
    assert content["status"] == "finished"
    assert content["started"] <= content["ended"]
    assert folder.best == path / "best.safetensors"
    assert folder.metrics == path / "metrics.jsonl"


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, ASKED).close("finished")
    assert run_json(tmp_path)["asked"] == ASKED


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UsageError, match=r"not empty and not a run: found thesis\.tex"):
        RunFolder.create(tmp_path, ASKED)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UsageError, match="a file is in the way"):
            RunFolder.create(path, ASKED)
        with pytest.raises(UsageError, match="a file is in the way"):
            refuse_occupied(path)


def test_a_folder_with_a_model_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "lenet.onnx").write_text("precious")
    with pytest.raises(UsageError, match="not empty and not a run: found model"):
        RunFolder.create(tmp_path, ASKED)
    assert (tmp_path / "model" / "lenet.onnx").read_text() == "precious"


def test_an_existing_run_suggests_what_to_do(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, ASKED).close("finished")
    with pytest.raises(UsageError, match="already holds a run") as caught:
        RunFolder.create(tmp_path, ASKED)
    assert f"--resume {tmp_path}" in str(caught.value)
    assert "-o" in str(caught.value)


def test_a_failure_is_recorded(tmp_path: Path) -> None:
    with pytest.raises(RunError), RunFolder.create(tmp_path, ASKED):
        raise RunError("loss is NaN at step 7")
    assert run_json(tmp_path)["status"] == "failed"
    assert run_json(tmp_path)["error"] == "loss is NaN at step 7"
    with RunFolder.resume(tmp_path):
        assert run_json(tmp_path)["status"] == "running"
        assert "error" not in run_json(tmp_path)


@pytest.mark.parametrize("error", [InputError("the data changed"), KeyboardInterrupt(), RuntimeError("any")])
def test_what_does_not_go_on_leaves_the_record_as_it_was(tmp_path: Path, error: BaseException) -> None:
    with RunFolder.create(tmp_path, ASKED) as folder:
        folder.conclude("all 40 steps are done")
    before = run_json(tmp_path)
    with pytest.raises(type(error)), RunFolder.resume(tmp_path):
        raise error
    assert run_json(tmp_path) == before
    with RunFolder.resume(tmp_path) as again:  # the lock was given up; and a run that has ended stays as it ended
        again.conclude("another reason")
    assert run_json(tmp_path) == before


def test_an_interruption_is_recorded(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), RunFolder.create(tmp_path, ASKED):
        raise KeyboardInterrupt
    assert run_json(tmp_path)["status"] == "interrupted"


def test_the_first_error_is_told_when_the_record_fails_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "")

    with pytest.raises(RunError, match="the first"), RunFolder.create(tmp_path, ASKED):
        monkeypatch.setattr(os, "replace", full)
        raise RunError("the first")
    monkeypatch.undo()
    RunFolder.resume(tmp_path).close("finished")  # The lock was given up.


def test_changed_settings_are_recorded(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, ASKED).close("interrupted")
    changed = {**ASKED, "lets": {"lr": 0.01, "width": 6}, "epochs": 3}
    with RunFolder.resume(tmp_path) as folder:
        assert folder.settings == ASKED
        assert folder.record_resume(40, changed) == {"epochs": (None, 3), "lets.lr": (0.1, 0.01)}
        assert folder.settings == changed
    with RunFolder.resume(tmp_path) as folder:
        assert folder.record_resume(50, changed) == {}
    resumed = run_json(tmp_path)["resumed"]
    assert [entry["step"] for entry in resumed] == [40, 50]
    assert resumed[0]["changed"] == {"epochs": [None, 3], "lets.lr": [0.1, 0.01]}
    assert run_json(tmp_path)["asked"] == ASKED
    assert RunFolder.open(tmp_path).settings == changed


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "expected version 1 of a run, found list"),
        (b'{"version": 2}', "expected version 1 of a run, found 2"),
        (b'{"version": 1}', "expected `asked`"),
    ],
)
def test_a_bad_run_json_is_told(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "run.json").write_bytes(content)
    for opened in (RunFolder.open, RunFolder.resume):
        with pytest.raises(InputError, match=message):
            opened(tmp_path)


def test_no_run_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, message in [("none", "found nothing"), ("file", "found a file"), (".", "is not a run folder")]:
        with pytest.raises(InputError, match=message):
            RunFolder.open(tmp_path / path)


def test_reading_needs_no_lock(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, ASKED):
        reader = RunFolder.open(tmp_path)
        assert reader.run["status"] == "running"
        reader.close("failed")
        assert run_json(tmp_path)["status"] == "running", "a reader records nothing"


# --- the lock ---

HOLD = """
import sys, time
from pathlib import Path
from dlc.runtime.folder import RunFolder
folder = RunFolder.create(Path(sys.argv[1]), {"seed": 1})
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Any:
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    yield child
    child.kill()
    child.wait()
    child.stdout.close()


def test_a_second_run_is_refused_until_the_first_is_killed(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(RunError, match=f"is being trained by process {holder.pid}"):
        RunFolder.resume(tmp_path)
    with pytest.raises(UsageError, match=f"in training by process {holder.pid}"):
        RunFolder.create(tmp_path, ASKED)
    assert RunFolder.open(tmp_path).run["status"] == "running"
    holder.send_signal(signal.SIGKILL)
    if sys.platform == "linux":
        # Not waited for yet, the child is a zombie: it has ended all the same.
        os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
    else:
        holder.wait()
    left = tmp_path / "checkpoints" / ".step-000000001.safetensors.99.tmp"
    left.write_bytes(b"half")
    with RunFolder.resume(tmp_path):
        assert not left.exists()
        with pytest.raises(RunError, match=f"process {os.getpid()}"):
            RunFolder.resume(tmp_path)


def test_who_has_copied_a_run_in_training_is_told_what_to_do(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path, copy, ignore=shutil.ignore_patterns("copy"))
    with pytest.raises(RunError, match=f"process {holder.pid}") as caught:
        RunFolder.resume(copy)
    assert caught.value.help is not None and caught.value.help.endswith(f"delete {copy / 'lock'}")
    (copy / "lock").unlink()
    RunFolder.resume(copy).close("finished")


def test_a_process_number_given_out_again_is_not_the_holder(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, ASKED).close("finished")
    held = {**lock.Lock(tmp_path / "lock")._mine, "start": "another-boot:1"}
    (tmp_path / "lock").write_text(json.dumps(held))
    RunFolder.resume(tmp_path).close("finished")


def test_a_holder_on_another_host_is_believed(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, ASKED).close("finished")
    (tmp_path / "lock").write_text(json.dumps({"pid": 1, "host": "elsewhere", "start": "x"}))
    with pytest.raises(RunError, match="process 1 on elsewhere") as caught:
        RunFolder.resume(tmp_path)
    assert f"delete {tmp_path / 'lock'}" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b'{"pid": 1, "ho', b"[]", b"\xff", b'{"pid": "x"}'])
def test_a_half_written_lock_is_nobodys(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "lock").write_bytes(content)
    RunFolder.create(tmp_path, ASKED).close("finished")


def test_only_the_holder_gives_the_lock_up(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, ASKED)
    other = json.dumps({"pid": 1, "host": "elsewhere", "start": "x"})
    (tmp_path / "lock").write_text(other)
    folder.close("finished")
    assert (tmp_path / "lock").read_text() == other


@pytest.mark.skipif(sys.platform == "win32", reason="kernel locks are not used there")
def test_reading_and_writing_the_lock_is_one_action(tmp_path: Path) -> None:
    import fcntl

    path = tmp_path / "lock"
    with open(path, "wb") as between:
        fcntl.flock(between, fcntl.LOCK_EX)
        waiting = threading.Thread(target=lock.Lock(path).acquire)
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        assert path.read_bytes() == b""
    waiting.join(10)
    assert json.loads(path.read_bytes())["pid"] == os.getpid()


def test_an_unwritable_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(RunError, match=r"cannot create .*permission denied"):
        RunFolder.create(tmp_path / "new", ASKED)


RACE = """
import sys, time
from pathlib import Path
from dlc.runtime.errors import CommandError
from dlc.runtime.folder import RunFolder
while not Path(sys.argv[2]).exists(): time.sleep(0.001)
try:
    folder = RunFolder.resume(Path(sys.argv[1]))
    print("got it", flush=True)
except CommandError:
    print("refused", flush=True)
sys.stdin.read()
"""


def test_of_many_that_find_a_stale_lock_one_gets_it(tmp_path: Path) -> None:
    run, start = tmp_path / "run", tmp_path / "start"
    RunFolder.create(run, ASKED).close("interrupted")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (run / "lock").write_text(json.dumps({**lock.Lock(run / "lock")._mine, "pid": ended.pid}))
    command = [sys.executable, "-c", RACE, str(run), str(start)]
    children = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    start.write_text("")
    answers = [child.stdout.readline() for child in children if child.stdout]
    for child in children:
        child.communicate()
    assert sorted(answers) == ["got it\n", "refused\n", "refused\n", "refused\n"]


def test_errors_carry_their_exit_code() -> None:
    assert [kind("x").exit_code for kind in (InputError, UsageError, RunError)] == [1, 2, 3]
    assert str(CommandError("what", "how")) == "what\n  help: how"
    assert str(CommandError("what")) == "what"


class Killed(BaseException):
    """Ends a function where it stands, as a kill does."""


@pytest.mark.parametrize("at", range(1, 6))
def test_other_compiled_files_take_the_place_of_the_old_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Killed while they are written (1, 2), before either rename (3, 4), or not at all (5)."""
    names = ("a.onnx", "b.onnx")

    def old(folder: RunFolder) -> None:
        for name in names:
            (folder.model / name).write_text("old")

    with RunFolder.create(tmp_path / "run", ASKED, old) as folder:
        pass
    calls = 0

    def counted() -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            raise Killed

    def write(model: Path) -> None:
        for name in names:
            counted()
            (model / name).write_text("new")

    rename = os.rename

    def renaming(*args: Any) -> None:
        counted()
        rename(*args)

    folder = RunFolder.resume(tmp_path / "run")
    monkeypatch.setattr(os, "rename", renaming)
    if at < 5:
        with pytest.raises(Killed):
            folder.replace_model(write)
    else:
        folder.replace_model(write)
    monkeypatch.undo()
    folder.close("failed")
    with RunFolder.resume(tmp_path / "run") as again:
        content = {path.name: path.read_text() for path in again.model.iterdir()}
        assert set(content) == set(names) and set(content.values()) == {"new" if at > 3 else "old"}
        assert {path.name for path in again.path.iterdir()} == {"run.json", "lock", "model", "checkpoints"}


def test_a_folder_without_run_json_can_be_made_again(tmp_path: Path) -> None:
    """What a kill within the writing of the compiled files leaves."""

    def killed(folder: RunFolder) -> None:
        (folder.model / "a.onnx").write_text("half")
        raise Killed

    with pytest.raises(Killed):
        RunFolder.create(tmp_path / "run", ASKED, killed)
    with pytest.raises(InputError, match=r"it has no run\.json"):
        RunFolder.resume(tmp_path / "run")
    with RunFolder.create(tmp_path / "run", ASKED):
        pass
