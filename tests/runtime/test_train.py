"""A run from text to weights: what is computed, what is written, and how it fails."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlc.compiler.program import Program
from dlc.dsl.diagnostics import SourceError
from dlc.runtime.checkpoint import Checkpoint, Checkpoints, load_tensors
from dlc.runtime.data import DataError, order
from dlc.runtime.errors import InputError, RunError, UsageError
from dlc.runtime.evaluate import evaluate
from dlc.runtime.folder import RunFolder
from dlc.runtime.report.display import Display
from dlc.runtime.report.log import read_log
from dlc.runtime.train import Options, Result, View, resume, train

Make = Callable[..., Program]


def quiet(*args: Any, **named: Any) -> Display:
    return Display(*args, quiet=True, **named)


def run(program: Program, folder: Path, notes: list[str] | None = None, **options: Any) -> Result:
    said = [] if notes is None else notes
    return train(program, "tiny", folder, Options(device="cpu", **options), View(quiet, said.append))


def test_a_run_leaves_what_it_promises(tiny: Make, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "tiny"
    notes: list[str] = []
    result = run(tiny(), folder, notes)
    assert (result.step, result.epochs) == (12, 3)
    assert {path.name for path in folder.iterdir()} == {
        "run.json", "model", "checkpoints", "best.safetensors", "last.safetensors", "metrics.jsonl", "curves.svg",
        "lock",
    }  # fmt: skip
    asked = json.loads((folder / "run.json").read_text())
    assert asked["status"] == "finished"
    assert asked["asked"]["source"]["file"] == str(tmp_path / "tiny.net")
    assert (asked["asked"]["epochs"], asked["asked"]["batch"], asked["asked"]["seed"]) == (3, 16, 0)
    assert set(result.values) == {"train", "dev"} and set(result.values["dev"]) == {"loss", "acc"}
    weights, metadata = load_tensors(folder / "best.safetensors")
    assert json.loads(metadata["dlc.roles"])["points.x.mean"] == "fitted"
    assert not any("optimizer" in name for name in weights)
    checkpoint = Checkpoints(folder).latest()
    assert checkpoint is not None and (checkpoint.step, checkpoint.epoch, checkpoint.position) == (12, 3, 0)
    assert any("optimizer" in name for name in checkpoint.tensors)
    assert notes == []


def test_the_log_has_every_step_of_a_short_run_and_dev_after_each_epoch(tiny: Make, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    result = run(tiny(), folder)
    records = read_log(folder / "metrics.jsonl")
    assert [r.step for r in records if r.split == "train"] == list(range(1, 13))
    assert [(r.step, r.epoch) for r in records if r.split == "dev"] == [(4, 0), (8, 1), (12, 2)]
    last = [r.values["loss"] for r in records if r.split == "train"][-4:]
    assert result.values["train"]["loss"] == pytest.approx(np.mean(last))
    assert result.best is not None
    dev = {r.step: r.values["loss"] for r in records if r.split == "dev"}
    assert (result.best.metric, result.best.value) == ("dev.loss", min(dev.values()))
    assert dev[result.best.step] == result.best.value


def test_the_first_step_sees_the_first_batch_of_the_order(tiny: Make, tmp_path: Path) -> None:
    """Without dropout the first loss is that of the untrained net on the first 16 rows of order(72, seed, 0)."""
    folder = tmp_path / "run"
    program = tiny((" -> dropout(0.2)", ""))
    run(program, folder, steps=1, seed=9)
    from dlc.runtime.compiled import Compiled
    from dlc.runtime.data import prepare
    from dlc.runtime.session import open_session

    compiled = Compiled.of(program, "tiny")
    files = compiled.file("points.prepare.onnx"), compiled.file("points.fit.onnx")
    split = prepare(compiled.plan, *files, tmp_path, splits=["train"]).split("train")
    init = open_session(compiled.file("tiny.init.onnx"))
    weights = dict(zip((o.name for o in init.get_outputs()), init.run(None, {"seed": np.array(9)}), strict=True))
    rows = order(72, 9, 0)[:16]
    x, label = split.fields["x"][rows], split.fields["label"][rows]
    hidden = np.tanh(x @ weights["tiny.linear.weight"] + weights["tiny.linear.bias"])
    logits = hidden @ weights["tiny.linear2.weight"] + weights["tiny.linear2.bias"]
    loss = np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(16), label])
    first = read_log(folder / "metrics.jsonl")[0]
    assert (first.step, first.split) == (1, "train")
    assert first.values["loss"] == pytest.approx(loss, rel=1e-5)


def test_equal_seeds_give_equal_weights_and_others_do_not(tiny: Make, tmp_path: Path) -> None:
    program = tiny()
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(program, tmp_path / name, seed=seed)
    a, b, c = ((tmp_path / name / "last.safetensors").read_bytes() for name in "abc")
    assert a == b != c


def test_training_learns(tiny: Make, tmp_path: Path) -> None:
    result = run(tiny(), tmp_path / "run", epochs=40)
    assert result.step == 160
    assert result.values["train"]["loss"] < np.log(3) / 2, "guessing among three classes gives log 3"


def test_keep_decides_what_is_best(tiny: Make, tmp_path: Path) -> None:
    program = tiny(("epochs = 3", "epochs = 8\n  keep = highest(dev.acc)"))
    result = run(program, tmp_path / "run")
    records = [r for r in read_log(tmp_path / "run" / "metrics.jsonl") if r.split == "dev"]
    best = max(r.values["acc"] for r in records)
    first = next(r.step for r in records if r.values["acc"] == best)
    assert result.best is not None
    assert (result.best.metric, result.best.value, result.best.step) == ("dev.acc", best, first)
    assert evaluate(tmp_path / "run", "dev", device="cpu").values["acc"] == best
    assert load_tensors(tmp_path / "run" / "best.safetensors")[1]["dlc.step"] == str(first)


def test_without_a_dev_split_the_training_loss_decides_and_that_is_said(tiny: Make, tmp_path: Path) -> None:
    notes: list[str] = []
    result = run(tiny(("  dev   = holdout(train, 0.25)\n", "")), tmp_path / "run", notes)
    assert notes == ["there is no dev split: the weights of the epoch with the lowest training loss are the best"]
    assert result.best is not None and result.best.metric == "train.loss"
    assert result.best.value == result.values["train"]["loss"], "the last of three epochs, as it learns"


def test_ends(tiny: Make, tmp_path: Path) -> None:
    assert run(tiny(), tmp_path / "a", steps=7).step == 7
    assert run(tiny(), tmp_path / "b", epochs=2, steps=100).step == 8
    assert run(tiny(("epochs = 3", "steps = 5")), tmp_path / "c").step == 5
    assert run(tiny(("epochs = 3", "epochs = 3\n  steps = 5")), tmp_path / "e").step == 5
    assert run(tiny(("epochs = 3", "epochs = 2\n  steps = 100")), tmp_path / "f").step == 8
    dev = [r.step for r in read_log(tmp_path / "a" / "metrics.jsonl") if r.split == "dev"]
    assert dev == [4, 7], "a part of an epoch at the end is evaluated too"
    with pytest.raises(InputError, match="`tiny` does not say when it ends") as caught:
        run(tiny(("  epochs = 3\n", "")), tmp_path / "d")
    assert caught.value.help is not None and "epochs = 10" in caught.value.help
    assert not (tmp_path / "d").exists()


def test_mistakes_make_no_folder(tiny: Make, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(InputError, match=r"tiny.net has no run `big`; its runs: tiny"):
        train(tiny(), "big", folder)
    with pytest.raises(DataError, match="`train` has 72 examples, less than one batch of 500"):
        run(tiny(("batch  = 16", "batch  = 500")), folder)
    with pytest.raises(DataError, match=r"gone\.csv: no such file"):
        run(tiny(('csv("train.csv")', 'csv("gone.csv")')), folder)
    with pytest.raises(InputError, match="`keep` looks at the split test: choose on dev, report test once"):
        run(tiny(("epochs = 3", "epochs = 3\n  keep = highest(test.acc)")), folder)
    with pytest.raises(InputError, match="`keep` looks at the split dev: the data `points` has no such split"):
        changes = ("epochs = 3", "epochs = 3\n  keep = highest(dev.acc)"), ("  dev   = holdout(train, 0.25)\n", "")
        run(tiny(*changes), folder)
    with pytest.raises(SourceError, match="Liner"):
        run(tiny(("Linear(3)", "Liner(3)")), folder)
    assert not folder.exists()


def test_a_folder_in_use_is_refused(tiny: Make, tmp_path: Path) -> None:
    run(tiny(), tmp_path / "run", steps=1)
    before = (tmp_path / "run" / "last.safetensors").read_bytes()
    with pytest.raises(UsageError, match="already holds a run"):
        run(tiny(), tmp_path / "run")
    assert (tmp_path / "run" / "last.safetensors").read_bytes() == before


EXPLODING = (
    ("loss = cross_entropy(logits, label)", "loss = mean(exp(logits * logits)) + 0 * cross_entropy(logits, label)"),
    ("Adam(lr=lr)", "SGD(lr=lr)"),
)


def test_a_step_that_is_not_finite_names_the_step_and_the_tensor(tiny: Make, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    program = tiny(*EXPLODING, lr="2.0")
    with pytest.raises(RunError) as caught:
        run(program, folder, epochs=50)
    assert "is not finite: the gradient of tiny." in caught.value.message
    assert "epoch" in caught.value.message and "loss = " in caught.value.message
    assert caught.value.help is not None and f"dlc train --resume {folder}" in caught.value.help
    checkpoint = Checkpoints(folder).latest()
    assert checkpoint is not None and f"step {checkpoint.step} " in caught.value.message
    assert all(np.isfinite(array).all() for array in checkpoint.tensors.values())
    assert all(np.isfinite(array).all() for array in load_tensors(folder / "last.safetensors")[0].values())
    recorded = RunFolder.open(folder).run
    assert recorded["status"] == "failed" and recorded["error"] == caught.value.message


def test_values_that_overflowed_without_a_sign_are_not_saved(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An update fused into a product can overflow in the step itself: seen when it is saved, or one step later."""
    from dlc.runtime.stepper import Stepper

    plain = Stepper.step

    def overflowing(self: Stepper) -> bool:
        done = plain(self)
        if self.scalars["step"] == 5:
            self.load(self.tensors() | {"tiny.linear2.bias": np.full(3, np.inf, np.float32)})
        return done

    monkeypatch.setattr(Stepper, "step", overflowing)
    with pytest.raises(RunError, match=r"after step 5, tiny\.linear2\.bias \(3 of 3 values are NaN or infinite\)"):
        run(tiny(), tmp_path / "a", checkpoint_steps=2)
    assert Checkpoints(tmp_path / "a").steps() == [2, 4]
    with pytest.raises(RunError, match=r"step 6 \(epoch 2\) began with values that are not finite: tiny.linear2.bias"):
        run(tiny(), tmp_path / "b")


def test_the_best_weights_are_saved_before_a_run_ends_for_values_that_overflowed(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No checkpoint was due since they were found."""
    from dlc.runtime.stepper import Stepper

    plain = Stepper.step

    def overflowing(self: Stepper) -> bool:
        done = plain(self)
        if self.scalars["step"] == 5:
            self.load(self.tensors() | {"tiny.linear2.bias": np.full(3, np.inf, np.float32)})
        return done

    monkeypatch.setattr(Stepper, "step", overflowing)
    monkeypatch.setattr("dlc.runtime.loop.EPOCH_SECONDS", 3600.0)
    with pytest.raises(RunError, match=r"step 6 \(epoch 2\) began with values that are not finite"):
        run(tiny(), tmp_path / "run")
    assert Checkpoints(tmp_path / "run").steps() == []
    assert load_tensors(tmp_path / "run" / "best.safetensors")[1]["dlc.step"] == "4"


def test_an_infinite_value_of_the_data_is_named_and_nothing_before_it_is_lost(tiny: Make, tmp_path: Path) -> None:
    """In one example of 72, and of four values: which file, which line; then the run goes on without it."""
    lines = (tmp_path / "train.csv").read_text().splitlines()
    lines[52] = "0" + lines[52][lines[52].index(",") :]
    (tmp_path / "train.csv").write_text("\n".join(lines) + "\n")
    columns = 'columns("a", "b", "c", "d")'
    inverse = (f"{columns} -> standardize", f"1 / {columns}")
    with pytest.raises(RunError) as caught:
        run(tiny(inverse), tmp_path / "run")
    found = re.fullmatch(
        r"the batch of step (\d) \(epoch 1\) is not finite: x \(1 of 64 values are NaN or infinite\); "
        + re.escape(str(tmp_path / "train.csv"))
        + ", line 53",
        caught.value.message,
    )
    assert found, caught.value.message
    saved = Checkpoints(tmp_path / "run").latest()
    assert saved is not None and saved.step == int(found[1])
    with pytest.raises(InputError, match="has no best weights yet") as early:
        evaluate(tmp_path / "run", "dev")
    wanted = "it has not finished its first epoch, after which it chooses them; --weights last takes its last ones"
    assert early.value.help == wanted
    mended = tiny((f"{columns} -> standardize", f"1 / {columns} -> clip(-100, 100)"))
    assert resume(tmp_path / "run", program=mended).step == 12


def test_a_loss_on_dev_that_is_not_finite_is_told_once(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = (tmp_path / "train.csv").read_text().splitlines()
    lines[40] = "0,0,1,1,0"  # an example of the split dev; 1 / 0 - 1 / 0 is not a number
    (tmp_path / "train.csv").write_text("\n".join(lines) + "\n")
    columns = 'columns("a", "b", "c", "d")'
    notes: list[str] = []
    monkeypatch.setattr(Display, "note", lambda self, text: notes.append(text))
    result = run(tiny((f"{columns} -> standardize", f"1 / {columns}")), tmp_path / "run")
    assert result.best is None and result.step == 12
    assert notes == ["warning, dev.loss is nan after step 4: weights are not kept as the best while it is not finite"]
    with pytest.raises(InputError, match="has no best weights yet") as caught:
        evaluate(tmp_path / "run", "dev")
    assert caught.value.help == "what it chooses them by was never finite; --weights last takes its last ones"


def test_gradients_that_cannot_be_looked_at_are_no_reason_to_lose_a_run(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise MemoryError("no room for the gradients")

    monkeypatch.setattr(Program, "gradients", broken)
    notes: list[str] = []
    monkeypatch.setattr(Display, "note", lambda self, text: notes.append(text))
    with pytest.raises(RunError, match=r"step \d+ \(epoch \d+\) is not finite: loss is"):
        run(tiny(*EXPLODING, lr="2.0"), tmp_path / "run", epochs=50)
    assert notes[-1:] == ["the gradients cannot be looked at one by one: no room for the gradients"]
    assert Checkpoints(tmp_path / "run").steps()


def test_checkpoints_come_by_steps_and_by_time(tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []
    plain = Checkpoints.save

    def recording(self: Checkpoints, checkpoint: Checkpoint) -> Path:
        saved.append(checkpoint.step)
        return plain(self, checkpoint)

    monkeypatch.setattr(Checkpoints, "save", recording)
    run(tiny(), tmp_path / "a", checkpoint_steps=5)
    assert saved == [5, 10, 12]
    saved.clear()
    run(tiny(), tmp_path / "b", checkpoint_seconds=0.0)
    assert saved == list(range(1, 13))
    saved.clear()
    monkeypatch.setattr("dlc.runtime.loop.EPOCH_SECONDS", 0.0)
    run(tiny(), tmp_path / "c")
    assert saved == [4, 8, 12]


def test_a_full_disk_ends_the_run_and_leaves_the_checkpoint(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Checkpoint.save

    def full(self: Checkpoint, path: Path) -> None:
        if self.step > 5:
            raise RunError(f"cannot write {path}: the disk is full")
        plain(self, path)

    monkeypatch.setattr(Checkpoint, "save", full)
    with pytest.raises(RunError, match="the disk is full"):
        run(tiny(), tmp_path / "run", checkpoint_steps=5)
    assert Checkpoints(tmp_path / "run").steps() == [5]
