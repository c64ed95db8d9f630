"""One mistake, one error: what follows from it is not told as well."""

from __future__ import annotations

import pytest

from dlc.compiler.program import Program
from dlc.dsl.diagnostics import Diagnostic, SourceError

NET = "net n {\n  input x: f32[B, 4]\n  return %s\n}\n"


def told(text: str) -> list[Diagnostic]:
    with pytest.raises(SourceError) as caught:
        Program.of_text(text).check()
    return list(caught.value.diagnostics)


def test_an_input_that_does_not_fit_is_told_alone() -> None:
    [found] = told(NET % "x -> Conv(3, 3)")
    assert (found.code, found.primary.text) == ("E0301", "the rank is 2, and 4 is wanted")


def test_a_name_of_the_file_that_is_given_a_value_is_told_alone() -> None:
    [found] = told("fn f(x) {\n  n = 3\n  return x * n\n}\n" + NET % "f(x)")
    assert (found.code, found.message) == ("E0202", "`n` already has a value")


@pytest.mark.parametrize("rest", ["", "  state seen: f32[] = 0.0\n  next seen = seen + 1\n"])
def test_a_part_that_each_turn_makes_is_told_alone(rest: str) -> None:
    block = "block H(c) {\n  input x: f32[B, D]\n  param g: f32[D, c] = glorot\n" + rest + "  return x @ g\n}\n"
    for found in told(block + NET % "concat([x -> H(c) as part for c in [2, 3]], axis=-1)"):
        assert found.code == "E0202" and found.help == "each turn makes a part of its own: leave out the `as`"
