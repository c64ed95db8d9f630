"""Functions and blocks of the library with arguments of every sort: taken, or refused in words; no exceptions."""

from __future__ import annotations

import random

import fuzz_calls
import pytest
from fuzz_judge import PROGRAMS, failure, finding, judge

from dlc.compiler.elaborate.kinds import KINDS
from dlc.compiler.elaborate.library import BUILTINS
from dlc.dsl import ast

TOGETHER = 20
ROUNDS = max(PROGRAMS // 500, 1)  # of so many calls, and as many calls alone that are compiled if they are taken


@pytest.mark.parametrize("name", fuzz_calls.names())
def test_arguments_of_every_sort(name: str) -> None:
    found = []
    for number in range(2 * ROUNDS):
        alone = number % 2 == 0
        text = fuzz_calls.program(random.Random(f"{name} {number}"), name, 1 if alone else TOGETHER)
        wrong = failure(text, fuzz_calls.HERE, alone)
        if wrong is not None:
            found.append(f"{name} {number}: " + finding(text, fuzz_calls.HERE, wrong, alone))
    assert not found, "\n\n".join(found)


def test_calls_are_neither_all_refused_nor_all_taken() -> None:
    names = fuzz_calls.names()
    codes = [judge(fuzz_calls.program(random.Random(name), name), fuzz_calls.HERE).codes for name in names]
    assert len(names) // 10 < sum(not each for each in codes) < len(names)


def test_every_parameter_of_the_library_says_its_kind() -> None:
    """A kind that is not in the table would be found only when somebody gives the argument."""
    assert fuzz_calls.FITTING.keys() == KINDS.keys()
    for name in BUILTINS.keys() & set(fuzz_calls.names()):
        for parameter, kind, _ in fuzz_calls.parameters(name):
            assert kind is None or kind in KINDS, f"{name}: {parameter}"


def test_every_parameter_of_the_library_that_is_text_has_a_type() -> None:
    """What does not fit is refused where it is given: its text would tell of functions that the user has not called."""
    for name, each in fuzz_calls.library().main.scope.items():
        if isinstance(each, ast.Block | ast.Fn):
            assert [param.name.text for param in each.params if param.type is None] == [], name
