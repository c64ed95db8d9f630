"""Padded dimensions: the mask of one, and the insistence that a reduction over one says what it means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dlc.compiler.build import current, ints, op, private
from dlc.compiler.elaborate.context import Elaborator
from dlc.compiler.elaborate.entities import describe
from dlc.compiler.elaborate.library.functions import axes_of, function
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value
from dlc.compiler.types import Polynomial
from dlc.dsl.diagnostics import Label

ROWS = ("cross_entropy", "kl", "accuracy")
"""What looks at the last axis as a whole: a mask chooses rows."""


@function("mask")
def mask(e: Elaborator, dim: Any) -> Value:
    """Which positions of a padded dimension are real: `bool[B, T]`."""
    found = e.ragged.get(dim) if isinstance(dim, Polynomial) else None
    if found is None:
        known = ", ".join(f"`{each}`" for each in e.ragged)
        notes = (f"padded are {known}",) if known else ("no dimension here is padded: `ragged T by length` says it",)
        text = "`mask` wants a padded dimension"
        raise Problem("E0305", text, f"this is {describe(dim)}", notes=notes, argument="dim")
    lengths, _ = found
    positions = op.Range(current().constant(0, "i64"), private.Size(dim=dim), current().constant(1, "i64"))
    return op.Less(op.Unsqueeze(positions, ints(0)), op.Unsqueeze(lengths, ints(1)))


def insist(e: Elaborator, what: str, given: Mapping[str, Any], axis: Any) -> None:
    """A reduction over a padded axis says `mask=...`, or `mask=none` on purpose; raises Problem where it says nothing.

    `given` are the arguments that were written; `axis` is the axis by default, None for all. With `reduce=none` there
    is nothing to say: each position keeps its own.
    """
    x = next(iter(given.values()), None)
    if "mask" in given or not isinstance(x, Value) or ("reduce" in given and given["reduce"] is None):
        return
    axes = axes_of(x, given.get("axis", axis))
    for each in range(x.type.rank) if axes is None else axes:
        dim = x.shape[each]
        if dim not in e.ragged:
            continue
        _, span = e.ragged[dim]
        index = [":"] * 2 + ["none"] * (x.type.rank - 2 - (what in ROWS))
        shown = f"mask({dim})" + (f"[{', '.join(index)}]" if len(index) > 2 and each == 1 else "")
        raise Problem(
            "E0307",
            f"this {what} includes padding",
            f"axis {each} is {dim}",
            secondary=(Label(span, f"{dim} is padded"),),
            help=f"`mask={shown}`, or `mask=none` if padding should count",
        )
