"""Reading the splits of a plan, and the deterministic rules that take one split from another.

Both rules draw one random order of the examples that the source split holds and keep taken examples in file order.
The order is the stable argsort of n raw 64-bit words of PCG64 seeded with SeedSequence([seed, sha256(name)]); NumPy
guarantees both streams, so a split is the same everywhere and always.

holdout(of, size, by, seed), keyed by its own name: `size` is a fraction of what `of` then holds (rounded half up), or
a number of examples. With `by`, examples are ordered by class first and taken at even steps, so that every class
gives its share to within one example.

fold(of, fold, folds, by, seed), keyed by the name of `of`: example number p of the order (sorted by class first, with
`by`) belongs to fold p mod folds. Fold sizes differ by at most one, and so do the counts of each class. Every example
is in exactly one fold: fold(train, 0, 5) ... fold(train, 4, 5) under one seed are disjoint and together are `train`,
whether they stand in one plan or in five.

Splits are made in textual order, each from what those above it left.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .classes import agreed
from .errors import DataError, count, nearest
from .pictures import Pictures
from .plan import Plan, SplitPlan, parse_plan
from .readers import read_split
from .records import Progress, Records, Request, Say, silent

Rows = NDArray[np.int64]
PlanLike = Plan | dict[str, Any]


def read(
    plan: PlanLike,
    folder: Path,
    *,
    splits: Sequence[str] | None = None,
    say: Say = silent,
    progress: Progress = silent,
    cache: Path | None = None,
) -> dict[str, Records]:
    """The decoded records of the splits asked for (default: all), without preparation. Reads no more files than they
    need. Relative paths are taken from `folder`. Raises DataError."""
    plan = parse_plan(plan)
    names = [s.name for s in plan.splits] if splits is None else list(splits)
    roots = plan.needed(names)
    training = next((s for s in plan.splits if s.name == plan.training), None)
    while training is not None and training.derived:
        training = plan.split(training.of)
    request = Request(Path(folder), plan.arrays, say, progress, cache)
    whole: dict[str, Records] = {}
    root: dict[str, str] = {}
    rows: dict[str, Rows] = {}
    folds: dict[tuple[object, ...], tuple[Rows, Rows]] = {}
    for split in plan.splits:
        root[split.name] = root[split.of] if split.derived else split.name
        if root[split.name] not in roots:
            continue
        if not split.derived:
            if split.name not in whole:
                whole[split.name] = read_split(split, plan, request)
            rows[split.name] = np.arange(len(whole[split.name]), dtype=np.int64)
            asked = whole[split.name].classes or (training is not None and training.name in roots)
            if asked and training is not None and split is not training:
                if training.name not in whole:  # its classes say which number means what, asked for or not
                    whole[training.name] = read_split(training, plan, request)
                whole[split.name] = agreed(whole[split.name], whole[training.name], split.name)
            continue
        classes = _classes(whole[root[split.name]], split)
        if split.reader == "holdout":
            chosen = _holdout(split, rows[split.of], classes)
        else:
            key = (split.of, split.folds, split.by, split.seed)
            if key not in folds:
                folds[key] = (rows[split.of], _assign_folds(split, rows[split.of], classes))
            members, number = folds[key]
            chosen = np.intersect1d(members[number == split.fold], rows[split.of], assume_unique=True)
        left = np.setdiff1d(rows[split.of], chosen, assume_unique=True)
        if not len(chosen) or not len(left):
            raise DataError(
                f"split `{split.name}`: {split.reader} takes {count(len(chosen), 'example')} "
                f"of the {len(rows[split.of]):,} in `{split.of}`; expected at least one on each side"
            )
        rows[split.of], rows[split.name] = left, chosen
    return {name: whole[root[name]].take(rows[name]) for name in names}


def foresee(plan: Plan, folder: Path, training: Records, names: Sequence[str], cache: Path | None = None) -> None:
    """Check the classes of splits that are read later, by their columns of classes alone: a net is not trained for
    hours before they turn out to be others. What else is wrong with these splits is told when they are read.

    Raises DataError as `agreed` does.
    """
    records = {name: type_ for name, type_ in plan.records.items() if name in training.classes}
    if not records:
        return
    narrow = replace(plan, records=records, columns={}, pictures=())
    for name in sorted(plan.needed(list(names)) - plan.needed([plan.training])):
        try:
            found = read_split(plan.split(name), narrow, Request(folder, narrow.arrays, cache=cache))
        except DataError:
            continue
        agreed(found, training, name)


def place(plan: PlanLike, folder: Path, split: str, i: int) -> str:
    """Where example i of a split stands in its files, for a message. They are read for it."""
    try:
        return read(plan, folder, splits=[split])[split].where(i)
    except DataError:
        return f"example {i} (from 0) of the split `{split}`"


def _classes(records: Records, split: SplitPlan) -> NDArray[Any] | None:
    """The number of each example's class, by the record `by`."""
    if split.by is None:
        return None
    if split.by not in records.arrays:
        raise DataError(f"split `{split.name}`: no record is called `{split.by}`; {nearest(split.by, records.arrays)}")
    column = records.arrays[split.by]
    if isinstance(column, Pictures):
        raise DataError(f"split `{split.name}`: by=`{split.by}` needs one value an example, found pictures")
    values = column.reshape(len(records), -1)
    if values.shape[1] != 1:
        raise DataError(f"split `{split.name}`: by=`{split.by}` needs one value an example, found {values.shape[1]}")
    classes: NDArray[Any] = np.unique(values[:, 0], return_inverse=True)[1].reshape(-1)
    return classes


def random_order(n: int, words: Sequence[int]) -> Rows:
    """A permutation of n that is a function of the 32-bit `words` alone: the stable argsort of raw PCG64 output."""
    stream = np.random.PCG64(np.random.SeedSequence(list(words)))
    return np.argsort(stream.random_raw(n), kind="stable").astype(np.int64, copy=False)


def words_of(number: int) -> list[int]:
    """An integer, reduced mod 2^64, as two 32-bit words: SeedSequence would otherwise run neighbours together."""
    return [number & 0xFFFFFFFF, number >> 32 & 0xFFFFFFFF]


def _order(split: SplitPlan, name: str, members: Rows, classes: NDArray[Any] | None) -> Rows:
    key = np.frombuffer(hashlib.sha256(name.encode()).digest(), "<u4").tolist()
    drawn = members[random_order(len(members), [*words_of(split.seed), *key])]
    return drawn if classes is None else drawn[np.argsort(classes[drawn], kind="stable")]


def _holdout(split: SplitPlan, members: Rows, classes: NDArray[Any] | None) -> Rows:
    n, size = len(members), split.size
    if isinstance(size, float):
        if not 0 < size < 1:
            raise DataError(
                f"split `{split.name}`: expected a fraction between 0 and 1 or a whole number, found {size}"
            )
        taken = int(np.floor(n * size + 0.5))
    else:
        taken = size
    if not 0 < taken < n:
        raise DataError(
            f"split `{split.name}`: holdout takes {count(taken, 'example')} of the {n:,} in `{split.of}`; "
            "expected at least one on each side"
        )
    drawn = _order(split, split.name, members, classes)
    if classes is None:
        return np.sort(drawn[:taken])
    steps = np.array([(p + 1) * taken // n > p * taken // n for p in range(n)], bool)
    return np.sort(drawn[steps])


def _assign_folds(split: SplitPlan, members: Rows, classes: NDArray[Any] | None) -> Rows:
    """The fold of each of `members`."""
    n = len(members)
    if not 2 <= split.folds <= n:
        raise DataError(f"split `{split.name}`: expected 2 to {n:,} folds of `{split.of}`, found {split.folds}")
    if not 0 <= split.fold < split.folds:
        raise DataError(f"split `{split.name}`: expected a fold from 0 to {split.folds - 1}, found {split.fold}")
    number = np.empty(n, np.int64)
    drawn = _order(split, split.of, members, classes)
    number[np.searchsorted(members, drawn)] = np.arange(n) % split.folds
    return number
