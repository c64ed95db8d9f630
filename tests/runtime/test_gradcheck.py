"""`dlc gradcheck`: what is right passes, what is wrong is found and named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlc.compiler.graph import Value
from dlc.compiler.program import Program
from dlc.compiler.registry import gradient, lookup
from dlc.runtime.cli import main
from dlc.runtime.errors import InputError
from dlc.runtime.gradcheck import gradcheck

Make = Callable[..., Program]


def test_right_gradients_pass(tiny: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny()
    assert main(["gradcheck", str(tmp_path / "tiny.net"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["weights"]
    assert [each["address"] for each in found] == [
        "tiny.linear.weight", "tiny.linear.bias", "tiny.linear2.weight", "tiny.linear2.bias"
    ]  # fmt: skip
    assert all(each["right"] and 0 < each["error"] < 1e-7 and each["norm"] > 0 for each in found)


def test_a_table_for_people(tiny: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny()
    assert main(["gradcheck", str(tmp_path / "tiny.net"), "--examples", "1", "--directions", "1"]) == 0
    shown = capsys.readouterr().out
    assert "tiny.linear.weight   4 x 16" in shown and "4 gradients as differences of the loss say" in shown


def test_a_wrong_rule_is_found(tiny: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tanh with a sign too few: the layers before it are wrong, those after it are right."""
    tiny()
    before: Any = lookup("Tanh").gradient

    @gradient("Tanh")
    def _(g: Value, y: Value) -> Value:
        return g * (1 + y * y)

    try:
        assert main(["gradcheck", str(tmp_path / "tiny.net")]) == 3
    finally:
        gradient("Tanh")(before)
    shown = capsys.readouterr()
    assert "2 gradients of 4 differ from differences of the loss: tiny.linear.weight" in shown.err
    assert [line.split()[0] for line in shown.out.splitlines() if "wrong" in line] == [
        "tiny.linear.weight", "tiny.linear.bias"
    ]  # fmt: skip


def test_a_gradient_of_zeros_is_right(tiny: Make) -> None:
    program = tiny(("cross_entropy(logits, label)", "cross_entropy(logits * 1e-30, label)"))
    found = gradcheck(program, "tiny")
    assert all(each.right for each in found) and found[0].norm < 1e-20


LAYERS = "x -> Linear(16) -> tanh -> dropout(0.2) -> Linear(3)"
DETACHED = {
    "half of a sum": "h = x -> Linear(3) -> tanh\n  logits = h + detach(h) -> Linear(3)",
    "one head of two": "h = x -> Linear(3) -> tanh\n  logits = (h -> Linear(3)) + (detach(h) -> Linear(3))",
    "straight through": "h = x -> Linear(3)\n  logits = h + detach(floor(4 * h) - h) -> Linear(3)",
    "twice": "h = x -> Linear(3) -> tanh\n  logits = h * detach(h * detach(h)) -> Linear(3)",
}


@pytest.mark.parametrize("net", DETACHED.values(), ids=DETACHED)
def test_what_is_detached_is_held(tiny: Make, net: str) -> None:
    found = gradcheck(tiny((f"logits = {LAYERS}", net)), "tiny")
    assert [each.address for each in found if not each.right] == []
    assert all(each.norm > 0 for each in found)


def test_a_wrong_rule_is_found_beside_a_detach(tiny: Make) -> None:
    program = tiny((f"logits = {LAYERS}", DETACHED["straight through"].replace("h + ", "tanh(h) + ")))
    before: Any = lookup("Tanh").gradient

    @gradient("Tanh")
    def _(g: Value, y: Value) -> Value:
        return g * (1 + y * y)

    try:
        found = gradcheck(program, "tiny")
    finally:
        gradient("Tanh")(before)
    assert {each.address: each.right for each in found}["tiny.linear.weight"] is False


def test_more_examples_than_there_are(tiny: Make) -> None:
    with pytest.raises(InputError, match="the training split has 72 examples, and 100 are asked for"):
        gradcheck(tiny(), "tiny", examples=100)


def test_mistakes(tiny: Make, tmp_path: Path) -> None:
    tiny()
    assert main(["gradcheck", str(tmp_path / "none.net")]) == 1
    assert main(["gradcheck", str(tmp_path / "tiny.net"), "--examples", "0"]) == 2
    assert main(["gradcheck", str(tmp_path / "tiny.net:other")]) == 2


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("u = mean(square(x[:, 0:12, 0] * p))", "the slice x[:, 0:12, 0] wants T >= 12: it gives [4, 6, 1]"),
        ("assert T % 4 == 0   u = mean(square(x * p))", "the assertion T % 4 == 0 does not hold: n.x is [4, 6, 3]"),
    ],
)
def test_a_size_that_is_not_as_asserted_is_told(
    statement: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "d.npz", x=np.ones((8, 6, 3), np.float32))
    (tmp_path / "n.net").write_text(
        f"""data d {{ train = npz("d.npz")   x: f32[T, 3] = raw.x }}
net n {{ input x: f32[B, T, 3]   param p: f32[] = 1.0   {statement}   return u }}
train n on d {{ loss = u   optimizer = SGD(lr=1)   batch = 2   epochs = 1 }}"""
    )
    assert main(["gradcheck", str(tmp_path / "n.net")]) == 3
    assert words in capsys.readouterr().err
