"""Numbers of classes that a loss, a metric or a table does not have are told with their place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dlc.runtime.data import DataError, Records
from dlc.runtime.data.bounds import Bound, check_bounds
from dlc.runtime.data.classes import check_known

LOSS = Bound(0, 3, "cross_entropy", "a.net:4:10")


def said(values: Any, bound: Bound = LOSS, field: str = "k", names: tuple[str, ...] = ()) -> str:
    array = np.array(values)
    classes = {"k": names} if names else {}
    records = Records({"k": array}, "a.csv", place=lambda i: f"a.csv, line {i + 2}", classes=classes)
    with pytest.raises(DataError) as caught:
        check_bounds({field: array}, {field: bound}, records)
    return str(caught.value)


def test_what_is_outside_is_told_with_its_place() -> None:
    expected = "`cross_entropy` (a.net:4:10) has 3 classes: expected 0 to 2"
    assert said([0, 1, -1, 2]) == f"a.csv, line 4: `k` is -1, but {expected}"
    assert said([0, 5, 1, 7, -2]) == f"a.csv, line 3: `k` is 5, but {expected} (3 such values)"
    assert said([[0, 1], [2, 3]]) == f"a.csv, line 3: `k` at [1] is 3, but {expected}"
    rows = "`gather` (a.net:9:1) has 1,000 rows: expected 0 to 999"
    assert said([1000], Bound(0, 1000, "gather", "a.net:9:1")) == f"a.csv, line 2: `k` is 1000, but {rows}"


def test_what_begins_at_1_is_told_so() -> None:
    assert said([1, 2, 3]).endswith("expected 0 to 2; they begin at 1: `k = raw.k - 1`")
    assert said([1, 2, 3], field="label").endswith("expected 0 to 2; they begin at 1"), "no record has its name"
    assert said([1, 2, 4]).endswith("expected 0 to 2"), "one less would not help"
    assert said([0, 1, 3]).endswith("expected 0 to 2")


def test_classes_with_names_are_told_by_them() -> None:
    found = said([0, 3, 1, 2], names=("ant", "bee", "cat", "dog"))
    assert "`k` is 3 (`dog`), but" in found and found.endswith("expected 0 to 2; the data has 4 classes")


@pytest.mark.parametrize("values", [np.array([0, 2, 1]), np.array([2, 1], np.uint8), np.zeros((2, 0), np.int64)])
def test_what_is_inside_passes(values: np.ndarray[Any, Any]) -> None:
    check_bounds({"k": values}, {"k": LOSS, "of another split": LOSS}, Records({"k": values}, "a.csv"))


def test_a_mark_that_a_mask_leaves_out_passes_where_it_is_there() -> None:
    masked = Bound(-3, 3, "cross_entropy", "a.net:4:10")
    check_bounds({"k": np.array([-1, 2, -3])}, {"k": masked}, Records({"k": np.zeros(3)}, "a.csv"))
    assert "`k` is 255, but" in said([-1, 255], masked)


def test_known_classes_are_looked_for_in_every_record_that_holds_the_numbers() -> None:
    """In a small split two columns of classes may agree by chance."""
    column = np.array([0, 1, 1])
    records = Records({"a": column, "b": column}, "a.csv", classes={"a": ("no", "yes"), "b": ("off", "on")})
    check_known({"k": column}, {"k": ["no", "yes"], "gone": ["x"]}, records)
    check_known({"k": column}, {"k": ["off", "on"]}, records)
    with pytest.raises(
        DataError, match=r"^a\.csv: `k` held the classes on, off when the run was trained, and holds the"
    ):
        check_known({"k": column}, {"k": ["on", "off"]}, records)
