"""Mistakes that newcomers make, and warnings that are worth their line."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlc.compiler.program import Program
from dlc.dsl.diagnostics import Diagnostic, SourceError


def found(text: str) -> list[Diagnostic]:
    try:
        return list(Program.of_text(text).check())
    except SourceError as error:
        return list(error.diagnostics)


def test_a_small_name_for_a_block() -> None:
    text = "net n {\n  input x: f32[B, 3, 8, 8]\n  norm = BatchNorm\n  return norm(x)\n}\n"
    [problem] = found(text)
    assert (problem.code, problem.primary.span.line, problem.help) == ("E0302", 3, "`BatchNorm()`")


def test_a_small_setting_for_a_block() -> None:
    text = "block Two(f) {\n  input x\n  return f(x)\n}\nnet n {\n  input x: f32[B, 4]\n  return x -> Two(f=%s)\n}\n"
    [problem] = found(text % "Linear")
    assert (problem.code, problem.help) == ("E0302", "`Linear(...)`")
    assert found(text % "Linear(3)") == []


PAIR = """net siamese {
  input left: f32[B, 16], right: %s
  a = left -> Linear(8) -> relu
  b = right -> Linear(%s) -> relu
  return sum(a, axis=-1) * sum(b, axis=-1)
}
"""


def test_a_pair_that_does_not_share() -> None:
    [warning] = found(PAIR % ("f32[B, 16]", 8))
    assert (warning.code, warning.severity, warning.primary.span.line) == ("W0403", "warning", 4)
    assert "`shared = Linear(8)`" in str(warning.help)


@pytest.mark.parametrize("other", [("f32[B, 16]", 9), ("f32[B, 12]", 8)])
def test_inputs_that_differ_are_no_pair(other: tuple[str, int]) -> None:
    assert found(PAIR % other) == []


def test_one_input_used_twice_is_no_pair() -> None:
    assert found(PAIR.replace("b = right", "b = left").replace(", right: %s", "") % 8) == []


RESIDUAL = """net n {
  input x: f32[B, 16, %s]
  y = x -> Conv(%s)
  return x + y
}
"""


@pytest.mark.parametrize(
    ("size", "conv", "note", "help"),
    [
        ("32, 32", "32, 3, stride=2, pad=1", "channels are 16 and 32, height and width are 32 and 16",
         "bring [B, 16, 32, 32] along: `-> Conv(32, 1, stride=2)` makes it [B, 32, 16, 16]"),
        ("33, 20", "16, 3, stride=2, pad=1", "height is 33 and 17, width is 20 and 10",
         "bring [B, 16, 33, 20] along: `-> Conv(16, 1, stride=2)` makes it [B, 16, 17, 10]"),
        ("8, 8", "24, 1", "channels are 16 and 24",
         "bring [B, 16, 8, 8] along: `-> Conv(24, 1)` makes it [B, 24, 8, 8]"),
        ("32, 32", "16, 3", "height and width are 32 and 30", None),
    ],
)  # fmt: skip
def test_a_sum_of_pictures_says_what_brings_one_along(size: str, conv: str, note: str, help: str | None) -> None:
    [problem] = found(RESIDUAL % (size, conv))
    assert problem.notes[0] == note and problem.help == help


def test_the_help_is_right(tmp_path: Path) -> None:
    text = "net n {\n  input x: f32[B, 16, 33, 20]\n  y = x -> Conv(16, 3, stride=2, pad=1)\n"
    assert found(text + "  z = x -> Conv(16, 1, stride=2)\n  return z + y\n}\n") == []


def test_other_ranks_are_told_by_axis() -> None:
    [problem] = found("net n {\n  input x: f32[B, 4], y: f32[B, 5]\n  return x + y\n}\n")
    assert problem.notes[0] == "axis -1 is 4 and 5" and problem.help is None


def test_sizes_and_quotients_are_of_the_working_float() -> None:
    text = "net n {\n  input x: f32[B, N], k: i64[B]\n  return x * (1 / N) + (k / 2)[:, none]\n}\n"
    program = Program.of_text(text)
    from dlc.compiler.net_units import net

    assert {value.dtype for value in net(program, "n", "f64").graph.outputs.values()} == {"f64"}
