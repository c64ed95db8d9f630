"""Names of classes: the same number means the same class in every split, and fields know what they count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .errors import DataError, listed, nearest
from .pictures import Pictures
from .records import Array, Records


def agreed(records: Records, training: Records, split: str) -> Records:
    """The records with classes numbered as the training split has them, by their names. A split may lack classes.

    Raises DataError for a class that the training split does not have: a net could never give it; and where one of the
    splits has numbers for the other's names.
    """
    arrays = dict(records.arrays)
    for name in records.arrays:
        found, wanted = records.classes.get(name), training.classes.get(name)
        if found == wanted or name not in training.arrays:
            continue
        if found is None or wanted is None:
            raise DataError(
                f"split `{split}`: `{name}` holds {_told(found)} in {records.source} and {_told(wanted)} in the "
                f"training split ({training.source}); expected the same in both, as nothing says which number is "
                "which class"
            )
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
        for names in _names(values, records):
            named[field] = names
    return named


def check_known(fields: Mapping[str, Array], known: Mapping[str, Sequence[str]], records: Records) -> None:
    """Raises DataError where a field does not count the classes that a run knows it by: their numbers would mean others
    than they did when it was trained."""
    for field, names in known.items():
        if field not in fields:
            continue
        found = list(_names(fields[field], records))
        if tuple(names) not in found:
            now = found[-1] if found else None
            raise DataError(
                f"{records.source}: `{field}` held {_told(names)} when the run was trained, and holds {_told(now)} "
                "now; expected the same classes, as their numbers go by the names of all of them"
            )


def _names(values: Array, records: Records) -> Iterator[tuple[str, ...]]:
    """The names of each record that holds these very numbers."""
    for record, names in records.classes.items():
        column: Any = records.arrays.get(record)
        if column is None or isinstance(column, Pictures) or values.dtype.kind not in "iu":
            continue
        if values.shape == column.shape and np.array_equal(values, column):
            yield names


def _told(names: Sequence[str] | None) -> str:
    return "numbers" if names is None else f"the classes {listed(names)}"
