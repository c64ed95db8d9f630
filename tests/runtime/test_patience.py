"""Stopping early: after so many epochs without an improvement, also across interruptions."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dlc.compiler.program import Program
from dlc.runtime.checkpoint import Checkpoints
from dlc.runtime.errors import InputError
from dlc.runtime.folder import RunFolder
from dlc.runtime.patience import Patience, improves
from dlc.runtime.report.display import Display
from dlc.runtime.report.log import read_log
from dlc.runtime.train import Interrupted, Options, Result, View, resume, train

Make = Callable[..., Program]
SETTING = {"direction": "lowest", "split": "dev", "metric": "loss", "patience": 2}


def stopping(tiny: Make, patience: int = 2, metric: str = "lowest(dev.loss)", **lets: str) -> Program:
    """A program whose dev loss soon stops falling: a large learning rate."""
    return tiny(("epochs = 3", f"epochs = 60\n  early_stop = patience({metric}, {patience})"), **lets)


def view(notes: list[str] | None = None, at: int | None = None) -> View:
    class Seen(Display):
        def note(self, text: str) -> None:
            if notes is not None:
                notes.append(text)

        def step(self, step: int, epoch: int, values: Any) -> None:
            super().step(step, epoch, values)
            if step + 1 == at:
                os.kill(os.getpid(), signal.SIGINT)

    return View(lambda *args, **named: Seen(*args, quiet=True, **named), (notes if notes is not None else []).append)


def run(program: Program, folder: Path, notes: list[str] | None = None, **options: Any) -> Result:
    return train(program, "tiny", folder, Options(device="cpu", **options), view(notes))


def test_counting() -> None:
    patience = Patience.of(SETTING)
    assert patience is not None and Patience.of(None) is None
    for step, value in enumerate([3.0, 2.0, 2.0], 1):
        patience.see(value, step)
    assert (patience.best, patience.step, patience.waited, patience.over) == (2.0, 2, 1, False)
    patience.see(float("nan"), 4)
    assert patience.over and patience.reason == "dev.loss has not improved for 2 epochs; its best was 2 at step 2"


def test_directions() -> None:
    assert improves("lowest", 1.0, None) and improves("lowest", 1.0, 2.0) and not improves("lowest", 2.0, 2.0)
    assert improves("highest", 3.0, 2.0) and not improves("highest", 1.0, 2.0)
    assert not improves("highest", float("inf"), 2.0) and not improves("lowest", float("nan"), None)


def test_what_is_saved_comes_back_for_the_same_metric_only() -> None:
    patience = Patience.of(SETTING)
    assert patience is not None
    patience.see(0.1 + 0.2, 7)
    patience.see(9.0, 8)
    saved = json.loads(json.dumps(patience.json()))
    assert Patience.of(SETTING, saved) == patience
    more = Patience.of({**SETTING, "patience": 9}, saved)
    assert more is not None and (more.waited, more.best) == (1, 0.1 + 0.2)
    other = Patience.of({**SETTING, "metric": "acc"}, saved)
    assert other is not None and (other.waited, other.best) == (0, None)


def test_a_run_stops_after_the_epochs_it_was_given(tiny: Make, tmp_path: Path) -> None:
    notes: list[str] = []
    result = run(stopping(tiny, lr="0.5"), tmp_path / "run", notes)
    losses = [r.values["loss"] for r in read_log(tmp_path / "run" / "metrics.jsonl") if r.split == "dev"]
    best = min(range(len(losses)), key=losses.__getitem__)
    assert len(losses) == best + 1 + 2 and len(losses) < 60, "the best epoch is the third last"
    assert result.step == 4 * len(losses) and result.best is not None and result.best.step == 4 * (best + 1)
    assert notes == [f"stopped early after epoch {len(losses)}: {result.reason}"]
    assert result.reason.startswith("dev.loss has not improved for 2 epochs; its best was ")
    recorded = RunFolder.open(tmp_path / "run").run
    assert (recorded["status"], recorded["reason"]) == ("finished", result.reason)


def test_the_end_of_all_steps_is_a_reason_too(tiny: Make, tmp_path: Path) -> None:
    assert run(tiny(), tmp_path / "run").reason == "all 12 steps are done"
    assert RunFolder.open(tmp_path / "run").run["reason"] == "all 12 steps are done"


def test_interrupted_anywhere_it_stops_at_the_same_epoch(tiny: Make, tmp_path: Path) -> None:
    program = stopping(tiny, lr="0.5")
    whole = run(program, tmp_path / "whole")
    for at in (whole.step - 1, whole.step - 4, whole.step - 6):
        folder = tmp_path / f"parts{at}"
        with pytest.raises(Interrupted):
            train(program, "tiny", folder, Options(device="cpu"), view(at=at))
        assert "reason" not in RunFolder.open(folder).run
        again = resume(folder, view=view())
        assert (again.step, again.reason, again.best) == (whole.step, whole.reason, whole.best)
        for name in ("best.safetensors", "last.safetensors"):
            assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_run_that_stopped_early_goes_on_with_more_patience(tiny: Make, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first = run(stopping(tiny, lr="0.5"), folder)
    notes: list[str] = []
    assert resume(folder, view=view(notes)).step == first.step
    advice = "to go on, give `early_stop` more patience in the file"
    assert notes == [f"the run has stopped early: {first.reason}; {advice}"]
    assert RunFolder.open(folder).run["reason"] == first.reason
    more = resume(folder, view=view(), program=stopping(tiny, patience=4, lr="0.5"))
    assert more.step > first.step
    checkpoint = Checkpoints(folder).latest()
    assert checkpoint is not None and checkpoint.patience["of"] == "lowest(dev.loss)"


def test_a_split_that_is_not_there_is_refused(tiny: Make, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`early_stop` looks at the split test: choose on dev, report test once"):
        run(stopping(tiny, metric="highest(test.acc)"), tmp_path / "run")
    changes = ("epochs = 3", "epochs = 3\n  early_stop = patience(lowest(dev.loss), 2)"), (
        "  dev   = holdout(train, 0.25)\n", "",
    )  # fmt: skip
    with pytest.raises(InputError, match="`early_stop` looks at the split dev: the data `points` has no such split"):
        run(tiny(*changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_file_says_the_seed_and_when_to_save(tiny: Make, tmp_path: Path) -> None:
    program = tiny(("epochs = 3", "epochs = 1\n  seed = 3\n  checkpoint = 600"))
    run(program, tmp_path / "file")
    run(tiny(), tmp_path / "option", seed=3, epochs=1)
    assert RunFolder.open(tmp_path / "file").settings["seed"] == 3
    weights = [(tmp_path / name / "last.safetensors").read_bytes() for name in ("file", "option")]
    assert len(weights[0]) == len(weights[1])
    run(program, tmp_path / "other", seed=4)
    assert RunFolder.open(tmp_path / "other").settings["seed"] == 4
    a, b, c = (Checkpoints(tmp_path / name).latest() for name in ("file", "option", "other"))
    assert a is not None and b is not None and c is not None
    key = "tiny.linear.weight"
    assert a.tensors[key].tobytes() == b.tensors[key].tobytes() != c.tensors[key].tobytes()


def test_the_seconds_between_checkpoints(tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dlc.runtime import train as module

    seen: list[float] = []
    plain = module.Loop.__init__

    def init(self: Any, *args: Any) -> None:
        seen.append(args[4].seconds)
        plain(self, *args)

    monkeypatch.setattr(module.Loop, "__init__", init)
    run(tiny(), tmp_path / "a", steps=1)
    run(tiny(("epochs = 3", "steps = 1\n  checkpoint = 600")), tmp_path / "b")
    run(tiny(("epochs = 3", "steps = 1\n  checkpoint = 600")), tmp_path / "c", checkpoint_seconds=5.0)
    assert seen == [60.0, 600.0, 5.0]
