"""What is in prepared data: numbers of fields, counts of classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .fit import Moments
from .prepare import Dataset
from .records import Array

BLOCK = 4096
"""Examples that statistics are made of at a time: prepared data may be larger than the memory."""
MOST_CLASSES = 1000
"""A field of whole numbers that has more values than this counts no classes."""


@dataclass(frozen=True)
class Statistics:
    """Least, mean and greatest of all elements, their standard deviation, and the share that is missing (NaN)."""

    min: float
    mean: float
    std: float
    max: float
    missing: float


def statistics(array: Array) -> Statistics | None:
    """Over all elements of all examples, in float64; None where there are none."""
    moments, total = Moments(), int(array.size)
    for start in range(0, len(array), BLOCK):
        block = np.asarray(array[start : start + BLOCK], np.float64).reshape(-1)
        there = block[~np.isnan(block)]
        if there.size:
            moments.add(there)
    if not moments.n:
        return None
    deviation = float(np.sqrt(moments.squares / moments.n))
    missing = 1 - moments.n / total
    return Statistics(float(moments.low), float(moments.mean), deviation, float(moments.high), missing)


def class_counts(data: Dataset) -> dict[str, dict[str, dict[str, int]]]:
    """{field: {class: {split: examples}}} of the fields that count classes: those with names, and whole numbers from 0
    of which there are not too many. A class without an example in any split is there too."""
    first = next(iter(data.splits.values()))
    counted: dict[str, dict[str, dict[str, int]]] = {}
    for field, array in first.fields.items():
        if array.dtype.kind not in "iub" or array.ndim != 1:
            continue
        values = {name: np.asarray(split.fields[field]).astype(np.int64) for name, split in data.splits.items()}
        names = data.classes.get(field)
        most = max(int(each.max()) for each in values.values())
        if names is None and (min(int(each.min()) for each in values.values()) < 0 or most >= MOST_CLASSES):
            continue
        names = names or tuple(str(number) for number in range(most + 1))
        tallies = {name: np.bincount(each, minlength=len(names)) for name, each in values.items()}
        counted[field] = {
            each: {split: int(tally[number]) for split, tally in tallies.items()} for number, each in enumerate(names)
        }
    return counted
