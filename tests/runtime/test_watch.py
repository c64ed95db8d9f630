"""`--watch`: what it logs and warns of, and that training does not notice it."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dlc.compiler.program import Program
from dlc.runtime.checkpoint import Checkpoints
from dlc.runtime.errors import RunError
from dlc.runtime.report.display import Display
from dlc.runtime.report.log import read_log
from dlc.runtime.symptoms import Layer, Symptoms, layers_of
from dlc.runtime.train import Options, Result, View, resume, train
from dlc.runtime.watch import Watch, interval, table

Make = Callable[..., Program]
HIDDEN = "Linear(16) -> tanh -> dropout(0.2) -> Linear(3)"
WEIGHTS = ["tiny.linear.weight", "tiny.linear.bias", "tiny.linear2.weight", "tiny.linear2.bias"]


class Hearing(Display):
    """Keeps the notes of a run."""

    notes: list[str]

    def note(self, text: str) -> None:
        type(self).notes.append(text)


def run(program: Program, folder: Path, **options: Any) -> tuple[Result, list[str]]:
    heard = type("Heard", (Hearing,), {"notes": []})
    view = View(lambda *args, **named: heard(*args, quiet=True, **named))
    return train(program, "tiny", folder, Options(device="cpu", **options), view), heard.notes


def warnings(notes: list[str]) -> list[str]:
    return [note for note in notes if note.startswith("warning")]


def test_training_is_the_same_to_the_bit(tiny: Make, tmp_path: Path) -> None:
    program = tiny()
    run(program, tmp_path / "plain")
    run(program, tmp_path / "watched", watch=1)
    files = [(tmp_path / name / "last.safetensors").read_bytes() for name in ("plain", "watched")]
    assert files[0] == files[1]
    plain, watched = (Checkpoints(tmp_path / name).latest() for name in ("plain", "watched"))
    assert plain is not None and watched is not None
    assert all(plain.tensors[name].tobytes() == watched.tensors[name].tobytes() for name in plain.tensors)
    losses = [[r.values for r in read_log(tmp_path / name / "metrics.jsonl")] for name in ("plain", "watched")]
    assert losses[0] == losses[1]
    assert not (tmp_path / "plain" / "watch.jsonl").exists()


def test_the_log_tells_every_layer_and_weight(tiny: Make, tmp_path: Path) -> None:
    _, notes = run(tiny(), tmp_path / "run", watch=5)
    records = read_log(tmp_path / "run" / "watch.jsonl")
    assert [(record.step, record.epoch, record.split) for record in records] == [
        (0, 0, "watch"), (5, 1, "watch"), (10, 2, "watch"),
    ]  # fmt: skip
    parts = [f"{name}:{what}" for name in WEIGHTS for what in ("gradient", "norm", "update")]
    assert set(records[0].values) == {"tiny.linear:activation", "tiny.linear2:activation", *parts}
    assert records[0].values["tiny.linear.bias:norm"] == 0.0
    assert warnings(notes) == []
    head, first, second = notes[-1].splitlines()
    assert head.split() == ["layer", "activation", "gradient", "weights", "update/weights"]
    assert first.startswith("tiny.linear ") and second.startswith("tiny.linear2 ")


def test_what_is_logged_of_a_step_is_what_the_step_did(tiny: Make, tmp_path: Path) -> None:
    """The update that is logged is the difference between the checkpoints around the step."""
    import numpy as np

    run(tiny(), tmp_path / "run", watch=1, checkpoint_steps=1, steps=6)
    checkpoints = Checkpoints(tmp_path / "run")
    before, after = (checkpoints.path(step) for step in checkpoints.steps())
    from dlc.runtime.checkpoint import Checkpoint

    old, new = Checkpoint.load(before), Checkpoint.load(after)
    record = next(r for r in read_log(tmp_path / "run" / "watch.jsonl") if r.step == old.step)
    for name in WEIGHTS:
        moved = new.tensors[name].astype(np.float64) - old.tensors[name]
        assert record.values[f"{name}:update"] == pytest.approx(np.linalg.norm(moved), rel=1e-3)
        assert record.values[f"{name}:norm"] == pytest.approx(np.linalg.norm(old.tensors[name]), rel=1e-5)


def test_a_deep_sigmoid_net_is_told_that_its_gradients_vanish(tiny: Make, tmp_path: Path) -> None:
    deep = (HIDDEN, "repeat 10 { Linear(16) -> sigmoid } -> Linear(3)")
    _, notes = run(tiny(deep, ("Adam(lr=lr)", "SGD(lr=lr)")), tmp_path / "run", watch=1)
    (warning,) = warnings(notes)
    assert warning.startswith(
        "warning, step 2: vanishing gradients in `tiny.repeat[0].linear`, `tiny.repeat[1].linear`"
    )
    assert "that of `tiny.linear` is" in warning and "Relu instead of sigmoid or tanh, `init=he`" in warning


def test_large_first_weights_are_told_that_everything_explodes(tiny: Make, tmp_path: Path) -> None:
    large = (HIDDEN, "repeat 5 { Linear(32, init=normal(5.0)) -> relu } -> Linear(3, init=normal(5.0))")
    _, notes = run(tiny(large, ("Adam(lr=lr)", "SGD(lr=lr)"), lr="1e-12"), tmp_path / "run", watch=1, steps=4)
    told = warnings(notes)
    assert any(": exploding gradients in `tiny.repeat[0].linear`" in each for each in told)
    assert any(": exploding activations in " in each and "that of `tiny.repeat[0].linear`" in each for each in told)
    assert len(told) == 2, "each once"


def test_dead_units_are_told(tiny: Make, tmp_path: Path) -> None:
    dead = (
        "logits = x -> Linear(16) -> tanh -> dropout(0.2) -> Linear(3)",
        "param low: f32[16] = -30.0\n  logits = relu((x -> Linear(16)) + low) -> Linear(3)",
    )
    _, notes = run(tiny(dead), tmp_path / "run", watch=1)
    (warning,) = warnings(notes)
    assert warning.startswith("warning, step 2: dead units in `tiny`: 100% of what the relu after `tiny` gives is zero")
    assert "leaky_relu" in warning


def test_steps_that_are_too_long_are_told(tiny: Make, tmp_path: Path) -> None:
    _, notes = run(tiny(("Adam(lr=lr)", "SGD(lr=lr)"), lr="300"), tmp_path / "run", watch=1, steps=6)
    assert any("steps that are too long in" in each or "exploding" in each for each in warnings(notes))


def test_a_step_that_is_not_finite_is_looked_at(tiny: Make, tmp_path: Path) -> None:
    exploding = (
        "loss = cross_entropy(logits, label)",
        "loss = mean(exp(logits * logits)) + 0 * cross_entropy(logits, label)",
    )
    with pytest.raises(RunError) as caught:
        run(tiny(exploding, ("Adam(lr=lr)", "SGD(lr=lr)"), lr="2.0"), tmp_path / "run", watch=1000, epochs=50)
    step = read_log(tmp_path / "run" / "watch.jsonl")[-1].step
    assert step > 0 and f"step {step} " in caught.value.message


def test_resuming_goes_on_with_the_log(tiny: Make, tmp_path: Path) -> None:
    deep = (HIDDEN, "repeat 10 { Linear(16) -> sigmoid } -> Linear(3)")
    program = tiny(deep, ("Adam(lr=lr)", "SGD(lr=lr)"))
    _, notes = run(program, tmp_path / "run", watch=1, steps=5)
    assert len(warnings(notes)) == 1
    heard = type("Heard", (Hearing,), {"notes": []})
    view = View(lambda *args, **named: heard(*args, quiet=True, **named))
    resume(tmp_path / "run", Options(device="cpu", steps=9, watch=1), view)
    assert [record.step for record in read_log(tmp_path / "run" / "watch.jsonl")] == list(range(9))
    assert warnings(heard.notes) == [], "told already"


def test_a_look_that_fails_does_not_end_the_run(tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Watch, note: Any) -> None:
        raise ValueError("no such thing")

    monkeypatch.setattr(Watch, "_open", broken)
    result, notes = run(tiny(), tmp_path / "run", watch=1)
    assert result.step == 12
    assert notes == ["the layers cannot be watched: no such thing"]


def test_how_often_it_looks() -> None:
    assert [interval(total) for total in (1, 20, 200, 1000, 10**6)] == [1, 1, 10, 50, 50]


# ------------------------------------------------------------------------------------- the rules by themselves


def layer(name: str, gradient: float, norm: float = 1.0, update: float = 1e-3, **more: Any) -> Layer:
    return Layer(name, more.get("activation", 1.0), more.get("zeros"), gradient, norm, update)


def test_the_weights_of_a_layer_are_taken_together() -> None:
    values = {"n.a:activation": 2.0, "n.a.weight:gradient": 3.0, "n.a.weight:norm": 0.0, "n.a.weight:update": 0.0,
              "n.a.bias:gradient": 4.0, "n.a.bias:norm": 0.0, "n.a.bias:update": 0.0}  # fmt: skip
    assert layers_of(values) == [Layer("n.a", 2.0, None, 5.0, 0.0, 0.0)]
    assert layers_of(values)[0].relative is None


def test_a_net_that_has_learnt_all_there_is_does_not_vanish() -> None:
    symptoms = Symptoms()
    for gradient in (1e-1, 1e-3, 1e-6, 1e-8, 1e-9, 1e-10, 1e-10, 1e-10):
        assert symptoms.see([layer("a", gradient), layer("b", gradient / 2)]) == []


def test_one_that_never_learnt_does() -> None:
    symptoms = Symptoms()
    look = [layer("a", 1e-9), layer("b", 1e-9)]
    assert symptoms.see(look) == symptoms.see(look) == []
    (told,) = symptoms.see(look)
    assert told.startswith("vanishing gradients in `a`, `b`:")
    assert symptoms.see(look) == [], "once"


def test_what_passes_by_itself_is_not_told() -> None:
    symptoms = Symptoms()
    for zeros in (0.99, 0.99, 0.5, 0.99, 0.99, 0.5):
        assert symptoms.see([layer("a", 1.0, zeros=zeros)]) == []


def test_a_sudden_leap_and_what_is_not_finite_explode_at_once() -> None:
    symptoms = Symptoms()
    for _ in range(5):
        assert symptoms.see([layer("a", 0.01)]) == []
    assert symptoms.see([layer("a", 50.0)])[0].startswith("exploding gradients in `a`")
    assert Symptoms().see([layer("a", math.inf)])[0].startswith("exploding gradients")


def test_weights_that_begin_at_zero_do_not_explode() -> None:
    symptoms = Symptoms()
    for norm in (0.0, 1e-5, 2e-5, 3e-5):
        assert symptoms.see([layer("a", 1.0, norm, update=1e-5)]) == []


def test_the_last_layer_may_give_what_the_data_has() -> None:
    look = [layer("a", 1.0, activation=1.0), layer("b", 1.0, activation=1e6)]
    assert Symptoms().see(look) == []
    hidden = [*look, layer("c", 1.0)]
    assert Symptoms().see(hidden)[0].startswith("exploding activations in `b`")


def test_a_long_list_of_layers_is_cut() -> None:
    lines = table([layer(f"n.{at}", 1.0) for at in range(100)])
    assert len(lines) == 42 and "... and 60 more" in lines
    assert lines[1].startswith("n.0 ") and lines[-1].startswith("n.99 ")
    assert table([layer("a", 1.0, zeros=0.25)])[0].endswith("zeros")


def test_the_command_line(tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dlc.runtime.cli.app import parse

    seen: list[Any] = []
    monkeypatch.setattr("dlc.runtime.cli.train.train", lambda *args: seen.append(args[-2]))
    for flags, wanted in (
        ([], None),
        (["--watch"], 0),
        (["--watch-every", "7"], 7),
        (["--watch", "--watch-every", "7"], 7),
    ):
        work = parse(["train", "a.net", "-o", "run", *flags])
        assert work is not None
        work(None)  # type: ignore[arg-type]
        assert seen[-1].watch == wanted
        assert seen[-1].options().watch == wanted
        assert seen[-1].options().report
    assert json.dumps(seen[0].watch) == "null"
