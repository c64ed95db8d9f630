"""What `next` gives: the successor of a state, once."""

from __future__ import annotations

import pytest

from dlc.compiler.program import Program
from dlc.dsl.diagnostics import Diagnostic, SourceError

NET = "net n {\n  input x: f32[B, 4]\n%s  return x -> Linear(2)\n}\n"
STATE = "  state s: f32[] = 0.0\n"
RUN = """data d {
  train = npz("d.npz")
  x: f32[4] = raw.x
}
train n on d {
  loss = mean(square(n(x)))
  optimizer = SGD(lr=0.1)
}
"""


def told(text: str) -> list[Diagnostic]:
    with pytest.raises(SourceError) as caught:
        Program.of_text(text).check()
    return list(caught.value.diagnostics)


@pytest.mark.parametrize("rest", ["", RUN])
@pytest.mark.parametrize("body", ["  next s = s + 1\n  next s = s + 2\n", "  next s = s + 1,\n       s = s + 2\n"])
def test_a_state_becomes_one_thing(body: str, rest: str) -> None:
    [found] = told(NET % (STATE + body) + rest)
    assert (found.code, found.message) == ("E0202", "`s` already has its next value")
    assert (found.primary.span.line, found.secondary[0].span.line) == (5, 4)


@pytest.mark.parametrize("rest", ["", RUN])
def test_what_a_weight_becomes_is_the_optimizer_s_affair(rest: str) -> None:
    [found] = told(NET % "  param q: f32[4] = ones\n  next q = q * 0.5\n" + rest)
    assert (found.code, found.message) == ("E0208", "`q` is no state")
    assert found.help == "`state q: ...` keeps what is not trained"


@pytest.mark.parametrize("rest", ["", RUN])
def test_a_state_has_to_be_there(rest: str) -> None:
    [found] = told(NET % (STATE + "  next z = 1\n") + rest)
    assert (found.code, found.message, found.notes) == ("E0201", "no state here is called `z`", ("there are `s`",))


def test_mistakes_of_a_block_are_told_once_however_often_it_is_used() -> None:
    block = "block K {\n  input x\n  param q = 1.0\n  next q = 2.0\n  return x * q\n}\n"
    [found] = told(block + NET % "  y = x -> K -> K\n" + RUN)
    assert (found.code, found.primary.span.line) == ("E0208", 4)


def test_a_step_is_refused_without_a_check_before() -> None:
    with pytest.raises(SourceError, match="`s` already has its next value"):
        Program.of_text(NET % (STATE + "  next s = 1.0, s = 2.0\n") + RUN).step("n")


def test_a_scan_carries_each_value_to_one_successor() -> None:
    scan = "  h = scan t in x along B from a = 0.0 {\n    next a = 1.0\n    next a = 2.0\n  }\n"
    found = told(NET % scan)
    assert [(each.code, each.primary.span.line) for each in found][:1] == [("E0202", 5)]
