"""holdout and fold: sizes, disjointness, shares of the classes, and that they never change."""

from itertools import chain

import numpy as np
import pytest

from dlc.runtime.data import DataError, order, read

N = 100
HELD = [16, 30, 39, 49, 77]
HELD_BY_LABEL = [9, 57, 67, 73, 92]
FOLD = [1, 9, 12, 21, 48]
ORDER = [3, 2, 1, 8, 6, 0, 7, 4, 5, 9]
ORDER_SEED = [9, 2, 4, 7, 5, 0, 8, 6, 3, 1]
ORDER_EPOCH = [7, 6, 4, 5, 3, 9, 1, 0, 2, 8]
ORDER_NEGATIVE = [2, 4, 7, 5, 6, 0, 1, 3]


@pytest.fixture
def made(tmp_path):
    """made({...}, ...): `i` of each split of a plan with these and `train`: i = 0..99, label 70 0s, 20 1s, 10 2s."""
    label = np.repeat([0, 1, 2], [70, 20, 10])
    np.savez(tmp_path / "a.npz", i=np.arange(N), label=label, wide=np.zeros((N, 2)))

    def make(*derived, splits=None):
        records = {name: {"dtype": "i64", "shape": None} for name in ("i", "label", "wide")}
        plan = {"splits": [{"name": "train", "reader": "npz", "args": ["a.npz"]}, *derived], "records": records}
        return {name: found.arrays["i"].tolist() for name, found in read(plan, tmp_path, splits=splits).items()}

    return make


def holdout(name="dev", of="train", **settings):
    return {"name": name, "reader": "holdout", "of": of, **settings}


def fold(k, folds=5, name="dev", of="train", **settings):
    return {"name": name, "reader": "fold", "of": of, "fold": k, "folds": folds, **settings}


def labels(rows):
    return np.bincount(np.repeat([0, 1, 2], [70, 20, 10])[rows], minlength=3).tolist()


def test_holdouts_follow_the_text(made):
    splits = made(holdout("test", size=0.2), holdout("dev", size=0.1), holdout("tiny", "test", size=3))
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 72, "test": 17, "dev": 8, "tiny": 3}
    assert sorted(chain(*splits.values())) == list(range(N))
    assert all(rows == sorted(rows) for rows in splits.values())


def test_asking_for_one_split_changes_nothing(made):
    rules = [holdout("test", size=0.2), holdout("dev", size=0.1)]
    whole = made(*rules)
    assert made(*rules, splits=["test"]) == {"test": whole["test"]}
    assert made(*rules, splits=["train"]) == {"train": whole["train"]}


def test_known_answers(made):
    """Frozen: a split that moved would mix examples seen in training into old runs' test sets."""
    assert made(holdout(size=5))["dev"] == HELD
    assert made(holdout(size=5, by="label"))["dev"] == HELD_BY_LABEL
    assert made(fold(1, 20))["dev"] == FOLD


def test_holdout_depends_on_seed_and_name(made):
    base = made(holdout(size=30))["dev"]
    assert made(holdout(size=30, seed=0))["dev"] == base
    assert made(holdout(size=30, seed=1))["dev"] != base
    assert made(holdout("other", size=30))["other"] != base


def test_stratified_holdout_keeps_shares(made):
    for size in (1, 5, 10, 33, 50, 99):
        taken = labels(made(holdout(size=size, by="label"))["dev"])
        assert sum(taken) == size
        assert all(abs(t - whole * size / N) <= 1 for t, whole in zip(taken, (70, 20, 10), strict=True))


def test_folds_are_a_partition(made):
    for settings in ({}, {"by": "label"}, {"seed": 7}):
        parts = [made(fold(k, 7, **settings))["dev"] for k in range(7)]
        assert sorted(chain(*parts)) == list(range(N))
        assert {len(part) for part in parts} == {14, 15}
        if "by" in settings:
            counts = np.array([labels(part) for part in parts])
            assert (counts.max(axis=0) - counts.min(axis=0) <= 1).all()


def test_folds_in_one_plan_are_those_of_five_plans(made):
    together = made(fold(0, name="dev"), fold(3, name="test"))
    assert together["dev"] == made(fold(0))["dev"]
    assert together["test"] == made(fold(3))["dev"]
    assert len(together["train"]) == 60


def test_a_fold_leaves_held_out_examples_alone(made):
    splits = made(fold(0), holdout("test", size=0.5), fold(1, name="other"))
    assert sorted(chain(*splits.values())) == list(range(N))
    assert set(splits["other"]) < set(made(fold(1))["dev"])


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (holdout(size=0.0), "between 0 and 1"),
        (holdout(size=1.5), "between 0 and 1"),
        (holdout(size=float("nan")), "between 0 and 1"),
        (holdout(size=0.001), "takes 0 examples of the 100"),
        (holdout(size=100), "takes 100 examples of the 100"),
        (holdout(size=-1), "at least one"),
        (holdout(size="half"), "needs a size"),
        (holdout(size=True), "needs a size"),
        (holdout(size=0.1, by="lable"), "did you mean `label`"),
        (holdout(size=0.1, by="wide"), "one value an example, found 2"),
        (holdout(of="tarin", size=0.1), "did you mean `train`"),
        (holdout(name="train", size=0.1), "given twice"),
        (holdout(of="dev", size=0.1), "written above"),
        (fold(5), "from 0 to 4"),
        (fold(-1), "from 0 to 4"),
        (fold(0, 1), "2 to 100 folds"),
        (fold(0, 101), "2 to 100 folds"),
        (fold(0.5), "integers"),
    ],
)
def test_wrong_rules(made, rule, words):
    with pytest.raises(DataError) as caught:
        made(rule)
    assert words in str(caught.value) and ("dev" in str(caught.value) or "train" in str(caught.value))


def test_a_split_that_is_used_up(made):
    with pytest.raises(DataError, match="at least one on each side"):
        made(*[fold(k, name=f"f{k}") for k in range(5)])


def test_an_unknown_split_lists_those_there_are(made):
    with pytest.raises(DataError, match=r"no split `tset`; did you mean `test`.*dev, test, train"):
        made(holdout("test", size=5), holdout(size=5), splits=["tset"])


def test_only_files_that_are_asked_for_are_opened(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros(4))
    plan = {
        "splits": [
            {"name": "train", "reader": "npz", "args": ["a.npz"]},
            {"name": "test", "reader": "npz", "args": ["missing.npz"]},
        ],
        "records": {"x": {"dtype": "f32", "shape": []}},
    }
    assert set(read(plan, tmp_path, splits=["train"])) == {"train"}
    with pytest.raises(DataError, match=r"split `test`.*missing\.npz"):
        read(plan, tmp_path)


@pytest.mark.parametrize(
    "plan",
    [
        [], {}, {"splits": []}, {"splits": ["train"]}, {"splits": [{"name": "train"}]},
        {"splits": [{"name": "train", "reader": "npz"}], "records": {"x": {"dtype": "f33", "shape": []}}},
        {"splits": [{"name": "train", "reader": "npz"}], "columns": {"x": ["a"]}},
        {"splits": [{"name": "train", "reader": "npz"}], "fitted": {"m": {"dtype": "f32", "shape": [], "of": "x"}}},
        {"splits": [{"name": "train", "reader": "nzp"}]},
        {"splits": [{"name": "train", "reader": "npz"}]},
    ],
)  # fmt: skip
def test_plans_that_are_none(tmp_path, plan):
    with pytest.raises(DataError):
        read(plan, tmp_path)


def test_the_order_of_an_epoch_is_frozen():
    """Known answers: `--resume` in the middle of an epoch depends on them."""
    assert order(10, 0, 0).tolist() == ORDER
    assert order(10, 1, 0).tolist() == ORDER_SEED
    assert order(10, 0, 1).tolist() == ORDER_EPOCH
    assert order(8, -1, 0).tolist() == order(8, 2**64 - 1, 0).tolist() == ORDER_NEGATIVE


def test_the_order_is_a_permutation_and_keys_do_not_run_together():
    seen = set()
    for seed, epoch in [(0, 0), (0, 1), (1, 0), (2**32, 0), (0, 2**32), (1, 1), (2**32 + 1, 0)]:
        found = order(1000, seed, epoch)
        assert found.dtype == np.int64 and np.array_equal(np.sort(found), np.arange(1000))
        seen.add(found.tobytes())
    assert len(seen) == 7
    assert order(0, 0, 0).shape == (0,)
