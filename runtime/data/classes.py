"""Names of classes: the same number means the same class in every split, and fields know what they count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from .errors import DataError, nearest
from .pictures import Pictures
from .records import Array, Records


def agreed(records: Records, training: Records, split: str) -> Records:
    """The records with classes numbered as the training split has them, by their names. A split may lack classes.

    Raises DataError for a class that the training split does not have: a net could never give it.
    """
    arrays = dict(records.arrays)
    for name, found in records.classes.items():
        wanted = training.classes.get(name)
        if wanted is None or found == wanted or name not in arrays:
            continue
        unknown = next((each for each in found if each not in wanted), None)
        if unknown is not None:
            raise DataError(
                f"split `{split}`: {records.source} has the class `{unknown}`, which the training split "
                f"({training.source}) has not; {nearest(unknown, wanted)}"
            )
        numbers = np.array([wanted.index(each) for each in found], np.int64)
        column = arrays[name]
        assert isinstance(column, np.ndarray)
        arrays[name] = numbers[column.astype(np.int64)].astype(column.dtype)
    return replace(records, arrays=arrays, classes={**records.classes, **training.classes})


def of_fields(fields: Mapping[str, Array], records: Records) -> dict[str, tuple[str, ...]]:
    """The class names of each field that is a record with names, number for number."""
    named: dict[str, tuple[str, ...]] = {}
    for field, values in fields.items():
        for record, names in records.classes.items():
            column: Any = records.arrays.get(record)
            if column is None or isinstance(column, Pictures) or values.dtype.kind not in "iu":
                continue
            if values.shape == column.shape and np.array_equal(values, column):
                named[field] = names
    return named
