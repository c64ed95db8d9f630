"""`accumulate = n`: n parts of a batch move the weights as the whole batch does."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlc.compiler.manifest import read
from dlc.compiler.products import unit_model
from dlc.compiler.program import Program
from dlc.dsl.diagnostics import SourceError
from dlc.runtime.checkpoint import Array, Checkpoints
from dlc.runtime.errors import InputError
from dlc.runtime.report.display import Display
from dlc.runtime.train import Interrupted, Options, View, resume, train

Make = Callable[..., Program]
PLAIN = ("tanh -> dropout(0.2)", "tanh")


def view(stop: int | None = None) -> View:
    class Seen(Display):
        def step(self, step: int, epoch: int, values: Any) -> None:
            super().step(step, epoch, values)
            if step + 1 == stop:
                os.kill(os.getpid(), signal.SIGINT)

    return View(lambda *args, **named: Seen(*args, quiet=True, **named), lambda text: None)


def weights(program: Program, folder: Path, steps: int) -> dict[str, Array]:
    train(program, "tiny", folder, Options(device="cpu", steps=steps), view())
    checkpoint = Checkpoints(folder).latest()
    assert checkpoint is not None
    return {name: array for name, array in checkpoint.tensors.items() if ".accumulate." not in name}


def in_parts(tiny: Make, n: int, *changes: tuple[str, str]) -> Program:
    return tiny(PLAIN, ("batch  = 16", f"batch  = {16 // n}\n  accumulate = {n}"), *changes)


@pytest.mark.parametrize("optimizer", ["SGD(lr=0.1)", "Momentum(lr=0.1, nesterov=true)", "Adam(lr=lr)"])
@pytest.mark.parametrize("n", [2, 4])
def test_parts_move_the_weights_as_the_whole_does(tiny: Make, tmp_path: Path, optimizer: str, n: int) -> None:
    change = ("Adam(lr=lr)", optimizer)
    whole = weights(tiny(PLAIN, change), tmp_path / "whole", 4)
    parts = weights(in_parts(tiny, n, change), tmp_path / "parts", 4 * n)
    assert whole.keys() == parts.keys()
    for name, array in whole.items():
        np.testing.assert_allclose(parts[name], array, rtol=2e-4, atol=1e-6, err_msg=name)


def test_gradients_are_clipped_once_they_are_whole(tiny: Make, tmp_path: Path) -> None:
    change = ("Adam(lr=lr)", "SGD(lr=0.5)\n  clip_norm = 0.1")
    whole = weights(tiny(PLAIN, change), tmp_path / "whole", 4)
    parts = weights(in_parts(tiny, 4, change), tmp_path / "parts", 16)
    for name, array in whole.items():
        np.testing.assert_allclose(parts[name], array, rtol=2e-4, atol=1e-6, err_msg=name)


def test_between_two_moves_the_weights_stay(tiny: Make, tmp_path: Path) -> None:
    at = [weights(in_parts(tiny, 4), tmp_path / str(steps), steps) for steps in (4, 7, 8)]
    same = [all(a[name].tobytes() == b[name].tobytes() for name in a) for a, b in (at[:2], at[1:])]
    assert same == [True, False]


def test_a_run_interrupted_between_two_moves_goes_on_bit_for_bit(tiny: Make, tmp_path: Path) -> None:
    program = in_parts(tiny, 4)
    train(program, "tiny", tmp_path / "whole", Options(device="cpu", steps=16), view())
    with pytest.raises(Interrupted):
        train(program, "tiny", tmp_path / "cut", Options(device="cpu", steps=16), view(stop=6))
    resume(tmp_path / "cut", Options(device="cpu"), view())
    a, b = (Checkpoints(tmp_path / name).latest() for name in ("whole", "cut"))
    assert a is not None and b is not None and any(".accumulate." in name for name in a.tensors)
    for name, array in a.tensors.items():
        assert array.tobytes() == b.tensors[name].tobytes()


def test_the_divided_step_is_given_the_mean(tiny: Make) -> None:
    """`grad` gives the gradients of its part, and `apply` takes what the host has made of several."""
    program = in_parts(tiny, 4)
    halves = [unit_model(program, unit) for unit in (program.gradients("tiny"), program.application("tiny"))]
    assert not any(".accumulate." in name for half in halves for name in read(half).carried)
    assert any(".accumulate." in name for name in read(unit_model(program, program.step("tiny"))).carried)


@pytest.mark.parametrize(("value", "code"), [("0", "E0303"), ("1.5", "E0303"), ("true", "E0303")])
def test_mistakes(tiny: Make, value: str, code: str) -> None:
    with pytest.raises(SourceError, match="`accumulate` is an integer of 1 or more") as caught:
        tiny(("epochs = 3", f"epochs = 3\n  accumulate = {value}")).check()
    assert caught.value.diagnostics[0].code == code


def test_one_part_is_the_whole(tiny: Make) -> None:
    plain, one = tiny(), tiny(("epochs = 3", "epochs = 3\n  accumulate = 1"))
    assert [len(program.step("tiny").graph.nodes) for program in (plain, one)].count(
        len(plain.step("tiny").graph.nodes)
    ) == 2


def test_a_run_that_would_never_move_its_weights_is_refused(tiny: Make, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"`accumulate = 16`, and `tiny` has 15 steps: its weights"):
        train(in_parts(tiny, 16), "tiny", tmp_path / "run", Options(device="cpu", steps=15), view())


@pytest.mark.parametrize(("steps", "refused"), [(15, True), (16, False)])
def test_it_is_refused_in_the_text_where_that_says_the_steps(tiny: Make, steps: int, refused: bool) -> None:
    program = tiny(("epochs = 3", f"steps = {steps}\n  accumulate = 16"))
    if not refused:
        program.check()
        return
    with pytest.raises(SourceError, match=r"`accumulate = 16`, and this run has `steps = 15`") as caught:
        program.check()
    (found,) = caught.value.diagnostics
    where = found.primary.span
    assert found.code == "E0303" and where.end_column - where.column == len("16")


@pytest.mark.parametrize(("steps", "said"), [(6, ["the last 2 of 6 steps move no weights: `accumulate = 4`"]), (8, [])])
def test_steps_that_move_nothing_in_the_end_are_told(tiny: Make, tmp_path: Path, steps: int, said: list[str]) -> None:
    notes: list[str] = []
    seen = View(lambda *args, **named: Display(*args, quiet=True, **named), notes.append)
    train(in_parts(tiny, 4), "tiny", tmp_path / "run", Options(device="cpu", steps=steps), seen)
    assert [note for note in notes if "accumulate" in note] == said
