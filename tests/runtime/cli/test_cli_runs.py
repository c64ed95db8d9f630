"""The commands that read data or train."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_cases import SECOND, TINY, Dlc, fail

from dlc.compiler.program import Program
from dlc.runtime.folder import RunFolder


def test_train_is_given_what_was_asked_for(
    dlc: Dlc, two_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dlc.runtime import train as module
    from dlc.runtime.checkpoint import Best

    seen: dict[str, Any] = {}

    def train(program: Program, run: str, folder: Path, options: Any, view: Any) -> Any:
        seen.update(lets=program.let_values(), run=run, folder=folder, options=options)
        return module.Result(folder, 12, 3, Best(0.25, 8, "dev.loss"), {"train": {"loss": float("nan")}}, 1.5)

    monkeypatch.setattr(module, "train", train)
    args = ("--set", "lr=0.5", "--seed", 3, "--device", "cpu", "--threads", 2)
    args += ("--epochs", 7, "--steps", 90, "--after", tmp_path / "first")
    done = dlc("train", f"{two_runs}:slow", "-o", tmp_path / "run", *args)
    assert done.code == 0
    assert done.out == f"best dev.loss 0.25 at step 8\n{tmp_path / 'run'}: 12 steps in 1.5 s\n"
    assert (seen["run"], seen["folder"], seen["lets"]["lr"]) == ("slow", tmp_path / "run", 0.5)
    assert (seen["options"].seed, seen["options"].device, seen["options"].threads) == (3, "cpu", 2)
    assert (seen["options"].epochs, seen["options"].steps, seen["options"].after) == (7, 90, tmp_path / "first")
    told = dlc("train", f"{two_runs}:slow", "-o", tmp_path / "run", "--json").json
    assert told["best"] == {"metric": "dev.loss", "value": 0.25, "step": 8}
    assert told["values"] == {"train": {"loss": "nan"}}


def test_resume_keeps_what_was_set(dlc: Dlc, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dlc.runtime import train as module

    seen: list[Any] = []

    def resume(folder: Path, options: Any, view: Any, program: Program | None) -> Any:
        seen.append(program.lets if program is not None else None)
        return module.Result(folder, 12, 3, None)

    monkeypatch.setattr(module, "resume", resume)
    source = {"file": str(tiny), "sha256": Program.open(tiny).sha256, "lets": {"width": "8", "lr": "0.5"}}
    run = tmp_path / "run"
    with RunFolder.create(run, {"source": source}):
        pass
    assert dlc("train", "--resume", run).code == 0
    assert dlc("train", "--resume", run, "--set", "lr=0.25").err == ""
    assert dlc("train", tiny, "--resume", run, "--set", "width=9").code == 0
    assert seen == [None, {"width": 8, "lr": 0.25}, {"width": 9}]
    tiny.write_text(TINY + SECOND)
    assert "has changed since the run was begun" in dlc("train", "--resume", run, "--set", "lr=1").err
    tiny.unlink()
    done = dlc("train", "--resume", run, "--set", "lr=1")
    assert (done.code, "is not there any more" in done.err) == (2, True)


def test_an_interrupted_run_says_how_to_go_on(dlc: Dlc, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dlc.runtime import train as module

    monkeypatch.setattr(module, "train", fail(module.Interrupted("interrupted after step 7", "dlc train --resume a")))
    done = dlc("train", tiny, "-o", tiny.parent / "run")
    assert done.code == 130
    assert done.err == "error: interrupted after step 7\n  help: dlc train --resume a\n"


@pytest.mark.parametrize("begun", [False, True])
def test_a_full_disk_says_how_to_go_on(
    dlc: Dlc, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    from dlc.runtime import train as module
    from dlc.runtime.atomic import disk_error

    run = tmp_path / "run"

    def full(*_: object) -> None:
        if begun:
            RunFolder.create(run, {}).close("failed")
        error = OSError(errno.ENOSPC, "")
        raise disk_error("write", run / "x", error) from error

    monkeypatch.setattr(module, "train", full)
    done = dlc("train", tiny, "-o", run)
    help = f"go on with `dlc train --resume {run}`" if begun else "run it again"
    assert done.code == 3
    assert done.err == f"error: cannot write {run / 'x'}: the disk is full\n  help: free some space and {help}\n"


def test_data(dlc: Dlc, tiny: Path) -> None:
    (tiny.parent / "houses.csv").write_text("a,b,c,price\n0,1,2,10\n3,4,5,20\n6,7,8,60\n")
    done = dlc("data", tiny)
    assert done.code == 0, done.err
    assert done.out.splitlines()[3:5] == [
        "train         3  x      f32[3]    0     4  2.58199    8        0",
        "                 price  f32[]    10    30  21.6025   60        0",
    ]
    told = dlc("data", tiny, "--json").json
    assert told["splits"]["train"]["examples"] == 3
    price = told["splits"]["train"]["fields"]["price"]
    assert {key: round(value, 3) for key, value in price.items()} == {
        "min": 10, "mean": 30, "std": 21.602, "max": 60, "missing": 0
    }  # fmt: skip
    assert told["fields"] == {"x": "f32[3]", "price": "f32[]"}


def test_from_a_file_to_a_prediction(dlc: Dlc, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny.parent
    rows = [f"{i % 3},{i % 5},{i % 2},{i % 3 - i % 5}" for i in range(40)]
    (folder / "houses.csv").write_text("\n".join(["a,b,c,price", *rows]) + "\n")
    tiny.write_text(TINY.replace('csv("houses.csv")', 'csv("houses.csv")\n  test = holdout(train, 0.25)')
                    .replace("batch = 2", "batch = 5\n  epochs = 2"))  # fmt: skip
    run, model = folder / "runs" / "tiny", folder / "tiny.onnx"
    done = dlc("train", tiny, "-o", run, "--device", "cpu", "--seed", 1, "--quiet")
    assert done.code == 0, done.err
    assert f"{run}: 12 steps" in done.out
    again = dlc("train", tiny, "-o", run)
    assert (again.code, f"dlc train --resume {run}" in again.err) == (2, True)
    resumed = dlc("train", "--resume", run, "--json")
    assert (resumed.code, resumed.json["step"]) == (0, 12)
    assert f"{run}: 12 steps were done already\n" in dlc("train", "--resume", run).out
    in_the_way = dlc("train", tiny, "-o", tiny)
    assert (in_the_way.code, in_the_way.err.splitlines()[0]) == (
        2, f"error: cannot make the run folder {tiny}: a file is in the way"
    )  # fmt: skip
    evaluated = dlc("eval", run, "--json")
    assert (evaluated.code, evaluated.json["examples"]) == (0, 10)
    assert dlc("eval", run, "--on", "tset").code == 1
    assert dlc("export", run, "-o", model, "--raw").code == 0
    given = ("--input", "x=[[1, 2, 0], [0, 1, 1]]")
    predicted = dlc("run", model, *given, "--json")
    assert predicted.json["outputs"]["guess"]["shape"] == [2], predicted.out
    assert dlc("run", model, *given, "--output", folder / "out.npz").code == 0
    with np.load(folder / "out.npz") as kept:
        assert kept["guess"].tolist() == predicted.json["outputs"]["guess"]["values"]
    assert dlc("run", model, "--input", "y=1").code == 1
    assert dlc("run", model, "--input", "x").code == 2
