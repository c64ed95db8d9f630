"""Each pass on its fixtures: the text it makes, that it verifies, and that it computes the same."""

from __future__ import annotations

import numpy as np
import pytest
from pass_cases import FOLDER, Case, on_runtime, random_feeds, read

from dlc.compiler.evaluate import evaluate
from dlc.compiler.passes import PASSES, differentiate, lower, simplify
from dlc.compiler.text import from_text, to_text
from dlc.compiler.verify import verify

CASES = read()
RULES = [case for case in CASES if case.transform is simplify]
each = pytest.mark.parametrize("case", CASES, ids=[f"{case.transform.__name__}: {case.title}" for case in CASES])


def test_every_pass_has_a_fixture() -> None:
    """But for `differentiate`, whose cases are those of the operators and `test_differentiate.py`."""
    tested = {differentiate, *(case.transform for case in CASES)}
    missing = [each.__name__ for each in PASSES if each not in tested]
    assert not missing, f"passes without a case: {', '.join(f'{FOLDER.name}/{name}.txt' for name in missing)}"


@each
def test_text(case: Case) -> None:
    after = case.transform(from_text(case.before))
    assert to_text(after, spans=False).strip() == case.after.strip()


@each
def test_verifies(case: Case) -> None:
    before = from_text(case.before)
    verify(case.transform(before), like=before, lowered=case.transform is lower)


@each
def test_changes_nothing_the_second_time(case: Case) -> None:
    once = case.transform(from_text(case.before))
    assert to_text(case.transform(once)) == to_text(once)


@each
def test_same_numbers(case: Case) -> None:
    before = from_text(case.before)
    feeds = random_feeds(before)
    after = on_runtime(case.transform(before), feeds)
    for name, expected in on_runtime(before, feeds).items():
        np.testing.assert_allclose(after[name], expected, rtol=1e-5, atol=1e-6, err_msg=name)
    for name, expected in evaluate(before, feeds).items():
        np.testing.assert_allclose(after[name], expected, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("case", RULES, ids=[case.title for case in RULES])
def test_rules_keep_infinities_and_nan(case: Case) -> None:
    before = from_text(case.before)
    feeds = random_feeds(before)
    for array in feeds.values():
        if array.dtype.kind == "f" and array.ndim:
            array.flat[: min(3, array.size)] = (np.nan, np.inf, -np.inf)[: array.size]
    after = on_runtime(case.transform(before), feeds)
    for name, expected in on_runtime(before, feeds).items():
        if "powers" in case.title:  # the root of -infinity is NaN, its power 0.5 infinity, as the rule says
            expected, after[name] = expected[:2], after[name][:2]
        np.testing.assert_allclose(after[name], expected, rtol=1e-5, atol=1e-6, err_msg=name)
