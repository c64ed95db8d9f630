"""`search` sections and the spaces of `let ... in`: what is read of them, and what is said of wrong ones."""

from __future__ import annotations

import pytest

from dlc.compiler.elaborate.search import Search, Space
from dlc.compiler.program import Program
from dlc.dsl.diagnostics import Diagnostic, SourceError

TEXT = """let width = 8 in {space}

net it {{
  input x: f32[B, 4]
  guess = x -> Linear(width) -> Linear(1)
  return guess
}}
data rows {{
  train = npz("rows.npz")
  x: f32[4] = raw.x
  y: f32[1] = raw.y
}}
train it on rows {{
  loss = mse(guess, y)
  optimizer = SGD(lr=0.1)
  batch = 4
  metrics {{ error = mean(abs(guess - y)) }}
}}
search {run} {{
{keys}
}}
"""


def searches(keys: str = "minimize = dev.loss", space: str = "choice(8, 16)", run: str = "it") -> Search:
    found, _ = Program.of_text(TEXT.format(keys=f"  {keys}", space=space, run=run)).searches()
    assert list(found) == ["it"]
    return found["it"]


def space(text: str) -> Space:
    _, spaces = Program.of_text(TEXT.format(keys="  minimize = dev.loss", space=text, run="it")).searches()
    assert list(spaces) == ["width"]
    return spaces["width"]


def wrong(keys: str = "minimize = dev.loss", space: str = "choice(8, 16)", run: str = "it") -> Diagnostic:
    with pytest.raises(SourceError) as caught:
        searches(keys, space, run)
    return caught.value.diagnostics[0]


def test_a_search_with_nothing_but_its_aim() -> None:
    assert searches() == Search("it", "minimize", "dev", "loss", "random", 20, 0)


def test_every_key_of_a_search() -> None:
    keys = "maximize = test.error\n  method = tpe\n  trials = 7\n  seed = 3"
    assert searches(keys) == Search("it", "maximize", "test", "error", "tpe", 7, 3)
    assert searches("minimize = dev.loss\n  trials = 1\n  seed = 0\n  method = grid").trials == 1


@pytest.mark.parametrize(("text", "expected"), [
    ("choice(4, 8, 16)", Space("choice", (4, 8, 16))),
    ("choice(4)", Space("choice", (4,))),
    ("range(2, 3 * 3)", Space("range", (2, 9))),
    ("uniform(0.5, 2)", Space("uniform", (0.5, 2))),
    ("uniform(-1, 0)", Space("uniform", (-1, 0))),
    ("log(1e-3, 1)", Space("log", (1e-3, 1))),
])  # fmt: skip
def test_spaces(text: str, expected: Space) -> None:
    assert space(text) == expected


@pytest.mark.parametrize(("text", "code", "words"), [
    ("chioce(1, 2)", "E0302", "a space to search"),
    ("3", "E0302", "a space to search"),
    ("choice()", "E0205", "`choice` takes values"),
    ("range(1, 2, 3)", "E0205", "`range` takes 2 numbers"),
    ("uniform(1)", "E0205", "`uniform` takes 2 numbers"),
    ("range(1, high=3)", "E0205", "`range` takes 2 numbers"),
    ("range(1, 2.5)", "E0302", "`range` takes numbers"),
    ("uniform(false, 1)", "E0302", "`uniform` takes numbers"),
    ('log("a", 1)', "E0302", "`log` takes numbers"),
    ("range(4, 4)", "E0303", "the first number of `range` is below the second"),
    ("uniform(2, 1)", "E0303", "the first number of `uniform` is below the second"),
    ("log(0, 1)", "E0303", "the first number of `log` is above 0, below the second"),
])  # fmt: skip
def test_wrong_spaces(text: str, code: str, words: str) -> None:
    problem = wrong(space=text)
    assert (problem.code, problem.primary.span.line) == (code, 1)
    assert words in problem.message


def test_a_space_that_is_nearly_right_is_guessed() -> None:
    assert wrong(space="chioce(1, 2)").primary.text == "did you mean `choice`?"
    assert not wrong(space="3").primary.text


def test_a_space_of_what_is_unknown_is_reported_once() -> None:
    with pytest.raises(SourceError) as caught:
        searches(space="choice(8, widht)")
    assert next(each.code for each in caught.value.diagnostics) == "E0201"


@pytest.mark.parametrize(("keys", "code", "words", "label"), [
    ("trials = 3", "E0205", "a search has one aim", ""),
    ("minimize = dev.loss\n  maximize = dev.error", "E0205", "a search has one aim", ""),
    ("minimize = dev.loss\n  minimize = dev.error", "E0202", "`minimize` is given twice", ""),
    ("minimise = dev.loss", "E0207", "a search has no key `minimise`", "did you mean `minimize`?"),
    ("minimize = loss", "E0302", "an aim is a metric of a split", ""),
    ("minimize = dev.erorr", "E0201", "the run has no metric `erorr`", "did you mean `error`?"),
    ("minimize = dev.loss\n  method = anneal", "E0303", "a method is one of random, grid, tpe", ""),
    ("minimize = dev.loss\n  method = 3", "E0303", "a method is one of random, grid, tpe", ""),
    ("minimize = dev.loss\n  trials = 0", "E0303", "`trials` is an integer of 1 or more", ""),
    ("minimize = dev.loss\n  trials = true", "E0303", "`trials` is an integer of 1 or more", ""),
    ("minimize = dev.loss\n  seed = 1.5", "E0303", "`seed` is an integer of 0 or more", ""),
])  # fmt: skip
def test_wrong_keys(keys: str, code: str, words: str, label: str) -> None:
    problem = wrong(keys)
    assert problem.code == code
    assert words in problem.message
    assert (problem.primary.text or "") == label


def test_a_search_of_no_run_and_one_with_nothing_to_search() -> None:
    problem = wrong(run="itt")
    assert (problem.code, problem.primary.text) == ("E0201", "did you mean `it`?")
    text = TEXT.format(keys="  minimize = dev.loss", space="choice(8)", run="it").replace(" in choice(8)", "")
    with pytest.raises(SourceError) as caught:
        Program.of_text(text).searches()
    problem = caught.value.diagnostics[0]
    assert problem.code == "E0205" and "no `let` has a space" in problem.message and "in choice(" in str(problem.help)


def test_the_check_of_a_program_looks_at_its_searches() -> None:
    with pytest.raises(SourceError, match="`trials` is an integer of 1 or more"):
        Program.of_text(TEXT.format(keys="  minimize = dev.loss\n  trials = -2", space="choice(8)", run="it")).check()
