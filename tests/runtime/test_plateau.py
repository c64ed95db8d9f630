"""A schedule that the host drives: against PyTorch's, in a run, across interruptions, and its mistakes."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlc.compiler.manifest import read
from dlc.compiler.products import products
from dlc.compiler.program import Program
from dlc.dsl.diagnostics import SourceError
from dlc.runtime.checkpoint import Checkpoints
from dlc.runtime.errors import InputError
from dlc.runtime.plateau import Plateau
from dlc.runtime.report.display import Display
from dlc.runtime.report.log import read_log
from dlc.runtime.train import Interrupted, Options, Result, View, resume, train

Make = Callable[..., Program]
SCHEDULE = {
    "kind": "plateau", "direction": "lowest", "split": "dev", "metric": "loss", "value": 0.5, "factor": 0.1,
    "patience": 2, "threshold": 1e-2, "least": 1e-3,
}  # fmt: skip


@pytest.mark.parametrize("direction", ["lowest", "highest"])
@pytest.mark.parametrize("patience", [0, 1, 3])
def test_it_falls_when_pytorchs_does(direction: str, patience: int) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle; the extra `peers` installs it")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, "min" if direction == "lowest" else "max", factor=0.3, patience=patience, threshold=1e-2,
        min_lr=1e-3, eps=0,
    )  # fmt: skip
    ours = Plateau.of("r.plateau", {**SCHEDULE, "direction": direction, "factor": 0.3, "patience": patience})
    rng = np.random.default_rng(patience)
    fell = 0
    for value in np.abs(rng.normal(1, 0.1, 60)):
        theirs.step(value)
        fell += bool(ours.see(float(value)))
        assert ours.value == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
    assert fell > 2 and ours.value == 1e-3


def test_it_comes_to_rest_where_pytorchs_does() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle; the extra `peers` installs it")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=0)
    ours = Plateau.of("r.plateau", {**SCHEDULE, "patience": 0, "least": 0.0})
    told = 0
    for _ in range(30):
        theirs.step(1.0)
        told += bool(ours.see(1.0))
        assert ours.value == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
    assert told == 8 and ours.value == pytest.approx(5e-9), "the next fall would be by 4.5e-9"


def test_what_is_not_finite_is_no_improvement() -> None:
    plateau = Plateau.of("r.plateau", {**SCHEDULE, "patience": 0})
    assert plateau.see(float("nan")).startswith("r.plateau: 0.5 -> 0.05, for dev.loss has not improved for 1 epoch")
    assert plateau.best is None


def test_another_schedule_does_not_go_on_from_a_saved_one() -> None:
    plateau = Plateau.of("r.plateau", SCHEDULE)
    plateau.value, plateau.waited = 0.05, 1
    saved = plateau.json()
    assert Plateau.of("r.plateau", {**SCHEDULE, "patience": 5}, saved).value == 0.05
    assert Plateau.of("r.plateau", {**SCHEDULE, "value": 0.4}, saved).value == 0.4
    assert Plateau.of("r.plateau", {**SCHEDULE, "metric": "acc"}, saved).value == 0.5


def program(tiny: Make, metric: str = "lowest(dev.loss)", more: str = "factor=0.5, patience=0") -> Program:
    return tiny(("Adam(lr=lr)", f"Adam(lr=plateau({metric}, lr, {more}))"), ("epochs = 3", "epochs = 12"), lr="0.1")


def view(notes: list[str], stop: int | None = None) -> View:
    class Seen(Display):
        def note(self, text: str) -> None:
            notes.append(text)

        def step(self, step: int, epoch: int, values: Any) -> None:
            super().step(step, epoch, values)
            if step + 1 == stop:
                os.kill(os.getpid(), signal.SIGINT)

    return View(lambda *args, **named: Seen(*args, quiet=True, **named), notes.append)


def run(program: Program, folder: Path, notes: list[str], **options: Any) -> Result:
    return train(program, "tiny", folder, Options(device="cpu", **options), view(notes, options.pop("stop", None)))


def test_the_manifest_says_how_the_host_moves_it(tiny: Make) -> None:
    files = products(program(tiny))
    manifest = read(files["tiny.step.onnx"])
    scalar = manifest.scalars["tiny.plateau"]
    assert (scalar.dtype, scalar.default) == ("f32", 0.1)
    assert scalar.schedule == {
        "kind": "plateau", "direction": "lowest", "split": "dev", "metric": "loss", "value": 0.1, "factor": 0.5,
        "patience": 0, "threshold": 1e-4, "least": 0.0,
    }  # fmt: skip
    assert "tiny.plateau" not in read(files["tiny.eval.onnx"]).scalars


def test_a_run_follows_its_dev_loss(tiny: Make, tmp_path: Path) -> None:
    notes: list[str] = []
    run(program(tiny), tmp_path / "run", notes)
    records = read_log(tmp_path / "run" / "metrics.jsonl")
    losses = [record.values["loss"] for record in records if record.split == "dev"]
    falls = [i for i in range(1, 12) if not losses[i] < min(losses[:i]) * (1 - 1e-4)]
    assert falls and len(falls) == sum("tiny.plateau" in note for note in notes)
    checkpoint = Checkpoints(tmp_path / "run").latest()
    assert checkpoint is not None and checkpoint.schedule is not None
    assert checkpoint.schedule["plateaus"]["tiny.plateau"]["value"] == pytest.approx(0.1 * 0.5 ** len(falls))


def test_it_moves_the_weights_by_its_value(tiny: Make, tmp_path: Path) -> None:
    """With a factor of nearly nothing, the weights stand still after the first fall."""
    notes: list[str] = []
    run(program(tiny, "highest(dev.loss)", "factor=1e-30, patience=0"), tmp_path / "run", notes)
    first = next(i for i, note in enumerate(notes) if "tiny.plateau" in note)
    dev = [r.values["loss"] for r in read_log(tmp_path / "run" / "metrics.jsonl") if r.split == "dev"]
    assert first >= 0 and dev[-1] == dev[-2] and len(set(dev)) > 1


def test_an_interrupted_run_goes_on_bit_for_bit(tiny: Make, tmp_path: Path) -> None:
    notes: list[str] = []
    run(program(tiny), tmp_path / "whole", notes)
    with pytest.raises(Interrupted):
        train(program(tiny), "tiny", tmp_path / "cut", Options(device="cpu"), view([], stop=30))
    resume(tmp_path / "cut", Options(device="cpu"), view([]))
    a, b = (Checkpoints(tmp_path / name).latest() for name in ("whole", "cut"))
    assert a is not None and b is not None and a.schedule == b.schedule
    for name, array in a.tensors.items():
        assert array.tobytes() == b.tensors[name].tobytes()


def test_two_of_them_have_names_of_their_own(tiny: Make) -> None:
    text = "Adam(lr=plateau(lowest(dev.loss), lr), weight_decay=plateau(highest(dev.acc), 0.01, patience=3))"
    scalars = read(products(tiny(("Adam(lr=lr)", text)))["tiny.step.onnx"]).scalars
    assert {name for name, each in scalars.items() if each.schedule} == {"tiny.plateau", "tiny.plateau2"}


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("plateau(dev.loss, lr)", "E0302", "wants a direction"),
        ("plateau(0.1, lr)", "E0302", "wants a direction"),
        ("plateau(lowest(dev.los), lr)", "E0201", "los"),
        ("plateau(lowest(dev.loss), 0)", "E0303", "`value` of `plateau` wants a number above 0"),
        ("plateau(lowest(dev.loss), lr, factor=1.5)", "E0303", "`factor` of `plateau` is less than 1"),
        ("plateau(lowest(dev.loss), lr, patience=-1)", "E0303", "`patience` of `plateau` wants an integer of 0"),
        ("plateau(lowest(dev.loss), lr, patience=1.5)", "E0302", "`patience` of `plateau` wants an integer"),
        ("plateau(lowest(dev.loss), step * lr)", "E0306", "known while compiling"),
    ],
)
def test_mistakes_in_its_settings(tiny: Make, text: str, code: str, words: str) -> None:
    with pytest.raises(SourceError) as caught:
        tiny(("Adam(lr=lr)", f"Adam(lr={text})")).check()
    assert caught.value.diagnostics[0].code == code and words in str(caught.value)


def test_a_split_that_is_not_there(tiny: Make, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`plateau` looks at the split test: choose on dev"):
        run(program(tiny, "lowest(test.loss)"), tmp_path / "run", [])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("key", ["keep = dev.acc", "early_stop = patience(dev.acc, 3)"])
def test_a_metric_alone_says_no_direction(tiny: Make, key: str) -> None:
    with pytest.raises(SourceError, match="wants a direction") as caught:
        tiny(("epochs = 3", f"epochs = 3\n  {key}")).check()
    told = "this is `dev.acc` alone: write `highest(dev.acc)` or `lowest(dev.acc)`"
    assert caught.value.diagnostics[0].primary.text == told
