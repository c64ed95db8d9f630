"""Padded dimensions: the mask of one, and the insistence that a reduction over one says what it means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dlc.compiler.build import current, ints, op, private
from dlc.compiler.dims import symbols
from dlc.compiler.elaborate.context import Elaborator, Frame
from dlc.compiler.elaborate.entities import Mixes, Size, describe
from dlc.compiler.elaborate.library.functions import function
from dlc.compiler.elaborate.library.shape import stack
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value
from dlc.compiler.types import Dim, Polynomial
from dlc.dsl.diagnostics import Label

ROWS = ("cross_entropy", "kl", "accuracy")
"""What looks at the last axis as a whole: a mask chooses rows."""


@function("mask")
def mask(e: Elaborator, dim: Any) -> Value:
    """Which positions of a padded dimension are real: `bool[B, T]`."""
    lengths = _lengths(e, dim)
    if lengths is None:
        known = ", ".join(f"`{each}`" for each in (*e.ragged, *(name for _, name in e.lengths)))
        notes = [f"padded are {known}" if known else "no dimension here is padded: `ragged T by length` says it"]
        if sum(size == dim for size, _ in e.lengths) > 1:
            notes.append("several of these are of this size: make the mask where they have these names")
        text = "`mask` wants a padded dimension"
        raise Problem("E0305", text, f"this is {describe(dim)}", notes=tuple(notes), argument="dim")
    size = private.Size(dim=int(dim) if isinstance(dim, Size) else dim)
    positions = op.Range(current().constant(0, "i64"), size, current().constant(1, "i64"))
    return op.Less(op.Unsqueeze(positions, ints(0)), op.Unsqueeze(lengths, ints(1)))


def _lengths(e: Elaborator, dim: Any) -> Value | None:
    """The true lengths of a padded dimension. Of one whose size is known, that of its name goes before others of its
    size: inside a block it may have another name than where `ragged` says it."""
    if isinstance(dim, Polynomial):
        return e.ragged[dim][0] if dim in e.ragged else None
    if not isinstance(dim, Size):
        return None
    same = [lengths for (size, _), lengths in e.lengths.items() if size == dim]
    return e.lengths.get((int(dim), dim.name), same[0] if len(same) == 1 else None)


def _padding_in(e: Elaborator, dim: Dim) -> tuple[Polynomial, Label] | None:
    """The padded dimension that a dimension is or is made of: T of T - 1, 2*T and B*T."""
    names = set(symbols(dim))
    for padded, (_, span) in e.ragged.items():
        if isinstance(padded, Polynomial) and (padded == dim or str(padded) in names):
            return padded, Label(span, f"{padded} is padded")
    return None


def speaker(function: str, given: Mapping[str, Any], frame: Frame) -> tuple[str, bool]:
    """Who has to say `mask=...` where this function is called, and whether it was said.

    It is the function, or the block of the library around it that hands on a setting of its own.
    """
    block = frame.owner.template if frame.library and not frame.pure else None
    if block is None:
        return function, "mask" in given
    own = frame.scope.find("mask")
    return block.name, "mask" in given if own is None else own.made_by is not None


def insist(e: Elaborator, what: str, x: Any, mixes: Mixes, given: Mapping[str, Any], said: bool) -> None:
    """What mixes positions of a padded axis says `mask=...`, or `mask=none` on purpose; raises Problem where it is not
    `said`. With `reduce=none` there is nothing to say: each position keeps its own. A list is reduced as one tensor."""
    if isinstance(x, list) and x and all(isinstance(each, Value) for each in x):
        x = stack(x)
    if said or not isinstance(x, Value) or ("reduce" in given and given["reduce"] is None):
        return
    for each in mixes(x, given):
        dim = x.shape[each]
        found = _padding_in(e, dim)
        if found is None:
            continue
        padded, label = found
        raise Problem(
            "E0307",
            f"this {what} includes padding",
            f"axis {each} is {dim}",
            secondary=(label,),
            help=f"{_advice(what, x, each, padded)}, or `mask=none` if padding should count",
        )


def _advice(what: str, x: Value, axis: int, padded: Polynomial) -> str:
    if x.shape[axis] != padded or axis == 0:
        return f"a mask made of `mask({padded})` by what made this axis, for example the same slice"
    others = range(1, x.type.rank - (what in ROWS))
    index = [":", *(":" if each == axis else "none" for each in others)]
    return f"`mask=mask({padded})" + (f"[{', '.join(index)}]`" if "none" in index else "`")
