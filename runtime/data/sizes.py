"""The sizes that data gives to the named dimensions of its fields: T in `words: i64[T]`."""

from __future__ import annotations

from collections.abc import Mapping

from .errors import DataError
from .plan import Plan
from .records import Array


def sizes_of(plan: Plan, fields: Mapping[str, Array]) -> dict[str, int]:
    """What each name in the types of the fields is in a split. Raises DataError where two fields disagree."""
    sizes: dict[str, int] = {}
    first: dict[str, str] = {}
    for field, names in plan.names.items():
        for name, size in zip(names, fields[field].shape[1:], strict=True):
            if name is None:
                continue
            if sizes.setdefault(name, size) != size:
                text = f"`{first[name]}` has {sizes[name]} for {name}, and `{field}` has {size}"
                raise DataError(f"{text}: expected one size, as both fields call it {name}")
            first.setdefault(name, field)
    return sizes


__all__ = ["sizes_of"]
