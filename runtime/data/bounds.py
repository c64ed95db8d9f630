"""Numbers of classes: each must be one that the loss, the metric or the table which takes it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .classes import of_fields
from .errors import DataError, count
from .records import Array, Records


@dataclass(frozen=True)
class Bound:
    """A field's values are `low` to `count` - 1, because a `function` takes them, which stands `at` a place of the
    text. A `low` below 0 leaves room for marks that a mask leaves out."""

    low: int
    count: int
    function: str
    at: str


def check_bounds(fields: Mapping[str, Array], bounds: Mapping[str, Bound], records: Records) -> None:
    """Raises DataError for the first value of a field that is outside of its bound, with its place."""
    for name, bound in bounds.items():
        values = fields.get(name)
        if values is None or not values.size or (values.min() >= bound.low and values.max() < bound.count):
            continue
        outside = (values < bound.low) | (values >= bound.count)
        at = np.unravel_index(int(np.argmax(outside)), outside.shape)
        inside = f" at [{', '.join(str(int(k)) for k in at[1:])}]" if len(at) > 1 else ""
        names = of_fields({name: values}, records).get(name, ())
        called = f" (`{names[values[at]]}`)" if names else ""
        n = int(np.count_nonzero(outside))
        more = f" ({count(n, 'such value')})" if n > 1 else ""
        raise DataError(
            f"{records.where(int(at[0]))}: `{name}`{inside} is {values[at]}{called}, but `{bound.function}` "
            f"({bound.at}) {_wanted(bound)}{more}"
            f"{_hint(name, values, bound, names, records)}"
        )


def _wanted(bound: Bound) -> str:
    rows = "rows" if bound.function == "gather" else "classes"
    return f"has {bound.count:,} {rows}: expected 0 to {bound.count - 1:,}"


def _hint(name: str, values: Array, bound: Bound, names: tuple[str, ...], records: Records) -> str:
    if names:
        return f"; the data has {len(names):,} classes"
    if values.min() != 1 or values.max() != bound.count:
        return ""
    return "; they begin at 1" + (f": `{name} = raw.{name} - 1`" if name in records.arrays else "")
