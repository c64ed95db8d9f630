"""What the fields of a run may hold: those that a loss, a metric or a table takes as numbers of classes or rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dlc.compiler.elaborate.context import Elaborator
from dlc.compiler.elaborate.run import Run
from dlc.compiler.graph import Value
from dlc.compiler.outcome import SAME

WHOLE = ("i64", "i32")
"""The integers that ONNX looks up by; of others, a cast could make what is not there."""


def bounds(e: Elaborator, run: Run) -> dict[str, dict[str, Any]]:
    """Of each field that is looked up as it is `{"low", "count", "function", "at"}`, JSON: from `low` to `count` - 1
    are its values, as the use with the fewest classes has it, which stands `at` a place of the text.

    A field with padding, and one that a mask may leave out in part, can hold what is no class; but ONNX reaches it
    all the same and counts from the end, so that it must be there.
    """
    fields = {value: field for field, value in run.fields.items()}
    ragged = bool(e.ragged or e.lengths)
    found: dict[str, dict[str, Any]] = {}
    for lookup in e.lookups:
        value = _field(lookup.index, fields)
        if value is None or not isinstance(lookup.count, int):
            continue
        marked = lookup.masked or (ragged and value.type.rank > 1)
        low = -lookup.count if marked else 0
        bound = {"low": low, "count": lookup.count, "function": lookup.function, "at": lookup.span.place}
        before = found.setdefault(fields[value], bound)
        if (lookup.count, low) < (before["count"], before["low"]):
            found[fields[value]] = bound
    return found


def _field(index: Value, fields: Mapping[Value, str]) -> Value | None:
    """The field of whole numbers that an index is, but for its shape and the width of its integers."""
    while index not in fields:
        if index.node is None or index.op not in SAME or index.dtype not in WHOLE or index.node.inputs[0] is None:
            return None
        index = index.node.inputs[0]
    return index if index.dtype[0] in "iu" else None


__all__ = ["bounds"]
