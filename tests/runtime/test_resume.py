"""Going on with a run: bit for bit as if it had never stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlc.compiler.program import Program
from dlc.runtime.atomic import write_json
from dlc.runtime.checkpoint import Checkpoints
from dlc.runtime.errors import InputError
from dlc.runtime.folder import RunFolder
from dlc.runtime.interrupt import StopRequest
from dlc.runtime.report.display import Display
from dlc.runtime.report.log import read_log
from dlc.runtime.train import Interrupted, Options, Result, View, resume, train

Make = Callable[..., Program]
STEPS = 7


class Interrupting(Display):
    """Sends this process a signal after `at` steps, as Ctrl-C does."""

    at: int | None = None
    signal = signal.SIGINT

    def step(self, step: int, epoch: int, values: Any) -> None:
        super().step(step, epoch, values)
        if step + 1 == self.at:
            os.kill(os.getpid(), self.signal)


def view(at: int | None = None, notes: list[str] | None = None, number: signal.Signals = signal.SIGINT) -> View:
    def make(*args: Any, **named: Any) -> Display:
        display = Interrupting(*args, quiet=True, **named)
        display.at, display.signal = at, number
        return display

    return View(make, (lambda text: None) if notes is None else notes.append)


def uninterrupted(program: Program, folder: Path) -> Path:
    train(program, "tiny", folder, Options(device="cpu", steps=STEPS), view())
    return folder


def same(one: Path, other: Path) -> None:
    """Every carried value, the weight files, and what was logged."""
    a, b = Checkpoints(one).latest(), Checkpoints(other).latest()
    assert a is not None and b is not None and (a.step, a.best) == (b.step, b.best)
    assert set(a.tensors) == set(b.tensors)
    for name in a.tensors:
        assert a.tensors[name].tobytes() == b.tensors[name].tobytes(), name
    assert (one / "best.safetensors").read_bytes() == (other / "best.safetensors").read_bytes()
    assert (one / "last.safetensors").read_bytes() == (other / "last.safetensors").read_bytes()
    logs = [[(r.step, r.epoch, r.split, r.values) for r in read_log(x / "metrics.jsonl")] for x in (one, other)]
    assert logs[0] == logs[1]


@pytest.mark.parametrize("at", range(1, STEPS))
def test_resuming_is_bit_exact_at_every_step(tiny: Make, tmp_path: Path, at: int) -> None:
    """Dropout and Adam, four steps an epoch: stops within the first epoch, at its end, and within the second."""
    program = tiny()
    whole = uninterrupted(program, tmp_path / "whole")
    parts = tmp_path / "parts"
    with pytest.raises(Interrupted) as caught:
        train(program, "tiny", parts, Options(device="cpu", steps=STEPS), view(at))
    assert caught.value.exit_code == 130
    assert caught.value.message == f"stopped after step {at} of {STEPS}; everything is saved"
    assert caught.value.help == f"go on with `dlc train --resume {parts}`"
    assert RunFolder.open(parts).run["status"] == "interrupted"
    result = resume(parts, view=view())
    assert result.step == STEPS
    assert RunFolder.open(parts).run["status"] == "finished"
    same(whole, parts)


def test_resuming_twice_and_on_a_termination_signal(tiny: Make, tmp_path: Path) -> None:
    program = tiny()
    whole = uninterrupted(program, tmp_path / "whole")
    parts = tmp_path / "parts"
    with pytest.raises(Interrupted):
        train(program, "tiny", parts, Options(device="cpu", steps=STEPS), view(2, number=signal.SIGTERM))
    with pytest.raises(Interrupted, match="stopped after step 5 of 7"):
        resume(parts, view=view(5))
    resume(parts, view=view())
    same(whole, parts)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no such signal")
def test_a_terminal_that_is_closed_stops_a_run_as_ctrl_c_does(tiny: Make, tmp_path: Path) -> None:
    whole = uninterrupted(tiny(), tmp_path / "whole")
    parts = tmp_path / "parts"
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests themselves may run under nohup
    try:
        with pytest.raises(Interrupted, match="stopped after step 3 of 7; everything is saved"):
            train(tiny(), "tiny", parts, Options(device="cpu", steps=STEPS), view(3, number=signal.SIGHUP))
    finally:
        signal.signal(signal.SIGHUP, before)
    resume(parts, view=view())
    same(whole, parts)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no such signal")
@pytest.mark.parametrize("number", ["SIGHUP", "SIGINT"])
def test_a_signal_that_is_ignored_stays_so(tiny: Make, tmp_path: Path, number: str) -> None:
    """`nohup dlc train ... &` has both ignored."""
    signalled = getattr(signal, number)
    before = signal.signal(signalled, signal.SIG_IGN)
    try:
        result = train(tiny(), "tiny", tmp_path / "run", Options(device="cpu", steps=STEPS), view(3, number=signalled))
        assert signal.getsignal(signalled) == signal.SIG_IGN
    finally:
        signal.signal(signalled, before)
    assert result.step == STEPS


KILLED = """
import sys, time
from pathlib import Path
from dlc.compiler.program import Program
from dlc.runtime.report.display import Display
from dlc.runtime.train import Options, View, train

class Slow(Display):
    def step(self, step, epoch, values):
        print(step, flush=True)
        time.sleep(0.2)

folder = Path(sys.argv[1])
program = Program.open(folder / "tiny.net")
view = View(lambda *args, **named: Slow(*args, quiet=True, **named))
train(program, "tiny", folder / "parts", Options(device="cpu", steps=7, checkpoint_steps=2), view)
"""


def test_a_run_that_was_killed_loses_only_the_steps_since_its_checkpoint(tiny: Make, tmp_path: Path) -> None:
    whole = uninterrupted(tiny(), tmp_path / "whole")
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if line == "5\n":  # six steps done, the checkpoint after four is there, that after six may be
                child.kill()
    assert Checkpoints(tmp_path / "parts").steps()[-1] in (4, 6)
    resume(tmp_path / "parts", view=view())
    same(whole, tmp_path / "parts")


def test_a_damaged_checkpoint_is_passed_over(tiny: Make, tmp_path: Path) -> None:
    program = tiny()
    whole = uninterrupted(program, tmp_path / "whole")
    parts = tmp_path / "parts"
    with pytest.raises(Interrupted):
        train(program, "tiny", parts, Options(device="cpu", steps=STEPS, checkpoint_steps=2), view(5))
    newest = Checkpoints(parts).path(5)
    newest.write_bytes(newest.read_bytes()[:-7])
    notes: list[str] = []
    resume(parts, view=view(notes=notes))
    assert notes[-1] == "going on from the older checkpoint at step 4"
    same(whole, parts)


def test_damaged_lines_of_metrics_are_left_out_and_kept_aside(
    tiny: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = uninterrupted(tiny(), tmp_path / "whole")
    folder = interrupted(tiny(), tmp_path / "run", 5)
    metrics = folder / "metrics.jsonl"
    lines = metrics.read_bytes().splitlines(keepends=True)
    damaged = b"".join([lines[0], b"{]\n", *lines[2:]])
    metrics.write_bytes(damaged)
    resume(folder, view=view())
    assert (folder / "metrics.damaged1.jsonl").read_bytes() == damaged
    told = [line for line in "".join(capsys.readouterr()).splitlines() if "not a line of metrics" in line]
    assert len(told) == 1 and told[0].endswith("left out, and the damaged file is kept as metrics.damaged1.jsonl")
    assert told[0].startswith(f"{metrics}:2: ")
    a, b = (Checkpoints(each).latest() for each in (whole, folder))
    assert a is not None and b is not None
    assert all(a.tensors[name].tobytes() == b.tensors[name].tobytes() for name in a.tensors)
    logs = [[(r.step, r.split, r.values) for r in read_log(each / "metrics.jsonl")] for each in (whole, folder)]
    assert logs[1] == [logs[0][0], *logs[0][2:]]


def test_more_epochs_are_recorded(tiny: Make, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(tiny(), "tiny", folder, Options(device="cpu", epochs=1), view())
    notes: list[str] = []
    done = resume(folder, view=view(notes=notes))
    assert done.step == 4 and notes == ["the run has reached its end, step 4; give more --epochs or --steps to go on"]
    notes.clear()
    assert resume(folder, Options(epochs=2), view(notes=notes)).step == 8
    assert notes == ["epochs was 1 and is 2"]
    assert RunFolder.open(folder).run["resumed"][0]["changed"] == {"epochs": [1, 2]}
    assert resume(folder, Options(epochs=3), view()).step == 12
    assert [r.step for r in read_log(folder / "metrics.jsonl") if r.split == "dev"] == [4, 8, 12]


def interrupted(program: Program, folder: Path, at: int = 3) -> Path:
    with pytest.raises(Interrupted):
        train(program, "tiny", folder, Options(device="cpu", steps=STEPS), view(at))
    return folder


def test_another_learning_rate_is_recorded_and_compiled(tiny: Make, tmp_path: Path) -> None:
    folder = interrupted(tiny(), tmp_path / "run")
    changed = interrupted(tiny(), tmp_path / "changed")
    notes: list[str] = []
    resume(folder, view=view())
    resume(changed, view=view(notes=notes), program=tiny(lr="0.2"))
    assert "source.lets.lr was None and is 0.2" in notes
    assert "the compiled graph changed since the checkpoint; the run goes on with the new one" in notes
    a, b = Checkpoints(folder).latest(), Checkpoints(changed).latest()
    assert a is not None and b is not None
    assert not np.array_equal(a.tensors["tiny.linear.weight"], b.tensors["tiny.linear.weight"])
    assert (a.step, b.step) == (STEPS, STEPS), "the end that was asked for still holds"
    assert resume(changed, Options(steps=9), view()).step == 9, "and the new files are those of the folder"


def test_what_cannot_be_resumed_is_refused(tiny: Make, points: Callable[..., None], tmp_path: Path) -> None:
    folder = interrupted(tiny(), tmp_path / "run")
    with pytest.raises(InputError, match="the run's seed is 0, and 5 is asked for"):
        resume(folder, Options(seed=5), view())
    with pytest.raises(InputError, match="the run's batch is 16, and 8 is asked for") as caught:
        resume(folder, view=view(), program=tiny(("batch  = 16", "batch  = 8")))
    assert caught.value.help == "a run keeps its batch; start a new one with another -o"
    with pytest.raises(InputError, match=r"tiny\.linear\.weight: the model has float32\[4, 20\], the checkpoint"):
        resume(folder, view=view(), program=tiny(("Linear(16)", "Linear(20)")))
    tiny()
    points(tmp_path, "train", 96, 8)
    with pytest.raises(InputError, match="the data changed since the checkpoint was written"):
        resume(folder, view=view())
    points(tmp_path, "train", 96, 1)
    assert resume(folder, view=view()).step == STEPS, "a refusal breaks nothing"
    with pytest.raises(InputError, match="expected a run folder"):
        resume(tmp_path / "nothing", view=view())


def test_the_folder_is_enough(tiny: Make, tmp_path: Path) -> None:
    """Data has to be where it was; the .net file has not."""
    folder = interrupted(tiny(), tmp_path / "run")
    (tmp_path / "tiny.net").unlink()
    assert resume(folder, view=view()).step == STEPS


def without_checkpoints(folder: Path) -> dict[str, bytes]:
    """Removes them, and returns the other files."""
    for path in (folder / "checkpoints").iterdir():
        path.unlink()
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "lock"}


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again(tiny: Make, tmp_path: Path) -> None:
    whole = uninterrupted(tiny(), tmp_path / "whole")
    slow = KILLED.replace("checkpoint_steps=2", "checkpoint_seconds=60")
    with subprocess.Popen([sys.executable, "-c", slow, str(tmp_path)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if line == "2\n":
                child.kill()
    parts, notes = tmp_path / "parts", list[str]()
    assert (parts / "metrics.jsonl").read_bytes() and Checkpoints(parts).steps() == []
    resume(parts, view=view(notes=notes))
    assert "no checkpoint of this run was written yet: it begins at step 0" in notes
    same(whole, parts)


@pytest.mark.parametrize("end", ["finished", "interrupted", "interrupted, without weights", "of before"])
def test_a_run_that_lost_its_checkpoints_does_not_begin_again(tiny: Make, tmp_path: Path, end: str) -> None:
    folder = (uninterrupted if end == "finished" else interrupted)(tiny(), tmp_path / "run")
    if end == "interrupted, without weights":
        (folder / "last.safetensors").unlink()
        (folder / "best.safetensors").unlink(missing_ok=True)
    if end == "of before":
        content = json.loads((folder / "run.json").read_bytes())
        del content["saved"]
        write_json(folder / "run.json", content)
    before = without_checkpoints(folder)
    with pytest.raises(InputError, match="checkpoints: expected a checkpoint to go on from, found none") as caught:
        resume(folder, Options(epochs=9), view())
    assert caught.value.help is not None and caught.value.help.startswith("start a new run with another -o")
    assert ("say in it `load tiny from" in caught.value.help) == (end != "interrupted, without weights")
    assert without_checkpoints(folder) == before


def test_the_weights_of_a_run_that_lost_its_checkpoints_are_loaded_as_the_help_says(tiny: Make, tmp_path: Path) -> None:
    folder = uninterrupted(tiny(), tmp_path / "run")
    without_checkpoints(folder)
    with pytest.raises(InputError) as caught:
        resume(folder, view=view())
    load = str(caught.value.help).split("`")[1]
    notes: list[str] = []
    again = tiny(("  epochs = 3", f"  epochs = 3\n  {load}"))
    assert train(again, "tiny", tmp_path / "again", Options(device="cpu"), view(notes=notes)).step == 12
    assert any(note.startswith("4 tensors of `tiny` come from") for note in notes)


def test_one_checkpoint_that_is_damaged_is_told_once(tiny: Make, tmp_path: Path) -> None:
    folder = interrupted(tiny(), tmp_path / "run")
    (only,) = (folder / "checkpoints").iterdir()
    only.write_bytes(only.read_bytes()[:-7])
    notes: list[str] = []
    with pytest.raises(InputError, match="the only checkpoint cannot be read"):
        resume(folder, view=view(notes=notes))
    assert [note for note in notes if str(only) in note] == [notes[-1]] and "before it" not in notes[-1]


def test_the_second_signal_ends_the_process_at_once() -> None:
    code = """
import time
from dlc.runtime.interrupt import StopRequest
with StopRequest() as stop:
    print("ready", flush=True)
    while not stop.asked:
        time.sleep(0.01)
    print("asked", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == "asked\n"
        start = time.monotonic()
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=30) == -signal.SIGINT
        assert time.monotonic() - start < 30


def test_a_signal_that_comes_twice_is_one() -> None:
    code = """
import os, signal, sys, threading
from dlc.runtime.interrupt import StopRequest
again = lambda: os.kill(os.getpid(), signal.SIGINT)
with StopRequest() as stop:
    threading.Timer(0.02, again).start()
    os.kill(os.getpid(), signal.SIGINT)
    print(stop.asked)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "True\n")


def test_the_handlers_before_come_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_the_result_of_a_resumed_run(tiny: Make, tmp_path: Path) -> None:
    result: Result = resume(interrupted(tiny(), tmp_path / "run"), view=view())
    assert result.epochs == 1 and result.best is not None
    assert set(result.values) == {"train", "dev"}
