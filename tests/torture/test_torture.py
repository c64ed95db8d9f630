"""Runs that are killed, run out of disk, or meet a disk that fails, at every point where that can happen.

Afterwards the run goes on, and ends with the same weights, optimizer state, best weights and log, bit for bit, as one
that nothing happened to. DLC_TORTURE is how many cases there are (20).
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HERE = Path(__file__).parent
CASES = int(os.environ.get("DLC_TORTURE", "20"))
PROGRAM = """
data points {
  train = csv("train.csv")
  dev   = holdout(train, 0.25)
  x: f32[4] = columns("a", "b", "c", "d") -> standardize
  label: i64[]
  augment { x = dropout(x, 0.1) }
}

net tiny {
  input x: f32[B, 4]
  logits = x -> Linear(16) -> BatchNorm -> tanh -> dropout(0.2) -> Linear(3)
  return logits
}

train tiny on points {
  loss = cross_entropy(logits, label)
  metrics { acc = accuracy(logits, label) }
  optimizer = Adam(lr=plateau(lowest(dev.loss), 0.5, patience=0))
  accumulate = 3
  early_stop = patience(lowest(dev.loss), 2)
  batch  = 16
  epochs = EPOCHS
}
"""
RATE = "Adam(lr=plateau(lowest(dev.loss), 0.5, patience=0))"
MESSAGES = {"full": "the disk is full", "broken": "the device reported an input/output error"}


def prepared(folder: Path, epochs: int) -> Path:
    rng = np.random.default_rng(1)
    x = rng.normal([0, 3, 0, -1], size=(96, 4))
    label = (x[:, 0] + x[:, 1] > 3).astype(int) + (x[:, 2] > 0.2)
    rows = [",".join([*(f"{v:.4f}" for v in row), str(c)]) for row, c in zip(x, label, strict=True)]
    (folder / "train.csv").write_text("\n".join(["a,b,c,d,label", *rows]) + "\n")
    (folder / "tiny.net").write_text(PROGRAM.replace("EPOCHS", str(epochs)))
    return folder


def forge(folder: Path, cases: list[Any]) -> list[Any]:
    """What `forge.py` says of the run without faults, and of each case."""
    command = [sys.executable, str(HERE / "forge.py"), str(folder), json.dumps(cases)]
    environment = {**os.environ, "DLC_CACHE": str(folder / "cache"), "PYTHONPATH": str(HERE)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def spread(most: int, count: int) -> list[int]:
    """`count` numbers from 1 to `most`, each once, evenly: both ends are among them."""
    return sorted({int(each) for each in np.linspace(1, most, min(count, most)).round()})


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the cases run in forks of one process, which Windows has not")
def test_every_fault_is_survived(tmp_path: Path) -> None:
    """A kill, no more space, and an I/O error, at the k-th open, write, fsync, rename ... of a run; two kills."""
    prepared(tmp_path, 6)
    (whole,) = forge(tmp_path, [])
    assert whole["code"] == 0, whole["err"]
    events = len(whole["seen"])
    assert events > 100 and {"open", "write", "fsync", "replace"} <= {each.split()[0] for each in whole["seen"]}
    chance = random.Random(CASES)
    cases: list[list[tuple[str, int]]] = [[("kill", at)] for at in spread(events, CASES // 2)]
    cases += [[("full", at)] for at in spread(events, CASES // 5)]
    cases += [[("broken", at)] for at in spread(events, CASES // 5)]
    cases += [[("kill", chance.randint(60, events)), ("kill", chance.randint(1, 80))] for _ in range(CASES // 10)]
    _, *found = forge(tmp_path, cases)
    assert len(found) == len(cases)
    assert [each for each in found if each["wrong"]] == []
    for each in found:
        for (kind, _), code, told in zip(each["faults"], each["codes"], each["errors"], strict=True):
            assert "mistake in dlc" not in told and "Traceback" not in told, each
            if kind == "kill":
                assert code in (-signal.SIGKILL, 0), each
            else:
                assert code in (0, 3), each
                assert code == 0 or MESSAGES[kind] in told, each
    ended = [code for each in found for code in each["codes"]]
    assert sum(code != 0 for code in ended) > 0.8 * len(ended), "the faults were met"


RUN = """
import sys
from dlc.runtime import loop
from dlc.runtime.cli import main
loop.EPOCH_SECONDS = 0.02
loop.draw_curves = lambda *_: None
sys.exit(main())
"""


def dlc(folder: Path, *args: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "DLC_CACHE": str(folder / "cache")}
    command = [sys.executable, "-c", RUN, "train", *args]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def weights(run: Path) -> list[bytes]:
    return [(run / f"{name}.safetensors").read_bytes() for name in ("best", "last")]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kill -9 is POSIX")
def test_kills_at_random_moments(tmp_path: Path) -> None:
    """A process of its own each time, killed as soon as it has trained for a random time; and again after resuming."""
    prepared(tmp_path, 80)
    text = (tmp_path / "tiny.net").read_text()
    (tmp_path / "tiny.net").write_text(re.sub(r"  early_stop = .*\n", "", text))
    begin = [str(tmp_path / "tiny.net"), "-o"]
    start = time.monotonic()
    with dlc(tmp_path, *begin, str(tmp_path / "whole"), "--device", "cpu") as process:
        assert process.wait() == 0
    chance = random.Random(CASES)
    longest = time.monotonic() - start
    for number in range(max(2, CASES // 10)):
        run = tmp_path / f"run{number}"
        for _ in range(2):
            resumed = ["--resume", str(run)] if (run / "run.json").exists() else [*begin, str(run), "--device", "cpu"]
            with dlc(tmp_path, *resumed) as process:
                try:
                    process.wait(chance.uniform(0.3, 1.0) * longest)
                except subprocess.TimeoutExpired:
                    process.kill()
        resumed = ["--resume", str(run)] if (run / "run.json").exists() else [*begin, str(run), "--device", "cpu"]
        with dlc(tmp_path, *resumed) as process:
            _, told = process.communicate()
            assert process.returncode == 0, told
        assert weights(run) == weights(tmp_path / "whole")


def test_a_run_in_training_is_refused_and_one_that_was_killed_is_not(tmp_path: Path) -> None:
    prepared(tmp_path, 100_000)
    (tmp_path / "tiny.net").write_text(re.sub(r"  early_stop = .*\n", "", (tmp_path / "tiny.net").read_text()))
    run = tmp_path / "run"
    first = dlc(tmp_path, str(tmp_path / "tiny.net"), "-o", str(run), "--device", "cpu")
    try:
        while not list(run.glob("checkpoints/*.safetensors")):
            assert first.poll() is None, first.stderr.read() if first.stderr is not None else ""
            time.sleep(0.05)
        for args, code in ((["--resume", str(run)], 3), ([str(tmp_path / "tiny.net"), "-o", str(run)], 2)):
            with dlc(tmp_path, *args) as second:
                _, told = second.communicate()
                assert second.returncode == code, told
                assert f"process {first.pid}" in told
        assert first.poll() is None, "it goes on undisturbed"
    finally:
        first.kill()
        first.communicate()
    steps = max(int(path.stem.partition("-")[2]) for path in run.glob("checkpoints/*.safetensors"))
    with dlc(tmp_path, "--resume", str(run), "--steps", str(steps + 4)) as third:
        _, told = third.communicate()
        assert third.returncode == 0, told


@pytest.mark.parametrize(
    ("changes", "culprit"),
    [
        ({RATE: "SGD(lr=1e30)", "accumulate = 3": "accumulate = 1", "BatchNorm -> tanh -> dropout(0.2)": "relu"},
         r"step [1-3] \(epoch 1\) (is not finite: the gradient of|began with values that are not finite:) tiny\."),
        ({"loss = cross_entropy(logits, label)": "loss = cross_entropy(logits, label) + log(mean(x) * 0 - 1)"},
         r"step 0 \(epoch 1\) is not finite.*loss = nan"),
    ],
    ids=["rate", "loss"],
)  # fmt: skip
def test_values_that_are_not_finite_stop_the_run(tmp_path: Path, changes: dict[str, str], culprit: str) -> None:
    prepared(tmp_path, 2)
    text = (tmp_path / "tiny.net").read_text()
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "tiny.net").write_text(text)
    run = tmp_path / "run"
    with dlc(tmp_path, str(tmp_path / "tiny.net"), "-o", str(run), "--device", "cpu", "-q") as process:
        _, told = process.communicate()
    assert process.returncode == 3, told
    assert re.search(culprit, told), told
    assert "the state before it is saved" in told or "began with values" in told, told
    from dlc.runtime.checkpoint import Checkpoints, load_tensors

    last = Checkpoints(run).latest()
    assert last is not None and all(np.isfinite(array).all() for array in last.tensors.values())
    assert all(np.isfinite(array).all() for array in load_tensors(run / "last.safetensors")[0].values())


def test_data_that_is_not_finite_is_named(tmp_path: Path) -> None:
    """Infinity in one example of many is told before a run begins, with its line."""
    prepared(tmp_path, 2)
    lines = (tmp_path / "train.csv").read_text().splitlines()
    lines[40] = "inf" + lines[40][lines[40].index(",") :]
    (tmp_path / "train.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "tiny.net").write_text((tmp_path / "tiny.net").read_text().replace(" -> standardize", ""))
    run = tmp_path / "run"
    with dlc(tmp_path, str(tmp_path / "tiny.net"), "-o", str(run), "--device", "cpu", "-q") as process:
        _, told = process.communicate()
    assert process.returncode == 1, told
    assert 'train.csv, line 41: column `a` is "inf"; expected a number' in told, told
    assert not run.exists()
