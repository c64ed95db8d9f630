"""Softmax and its logarithm, over all of an axis or over a part of it."""

from __future__ import annotations

from dlc.compiler.build import op, private
from dlc.compiler.elaborate.kinds import Axis, Floats, Mask
from dlc.compiler.elaborate.library.functions import along, axis_of, function
from dlc.compiler.elaborate.library.reductions import LOWEST, mask_for
from dlc.compiler.elaborate.library.selection import places
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value
from dlc.compiler.ops.rules import where as choose
from dlc.compiler.types import Dim


@function("softmax", along)
def softmax(x: Floats, axis: Axis = -1, mask: Mask | None = None, causal: bool = False) -> Value:
    """exp(x) over its sum along an axis. What the mask leaves out gets 0; where it leaves out all, each gets the same.

    `causal` is for scores of queries by keys, `[..., T, T]`: no query sees a key that comes after it.
    """
    value = _visible(x, "softmax", mask, causal)
    return op.Softmax(value, axis=axis_of(value, axis))


@function("log_softmax", along)
def log_softmax(x: Floats, axis: Axis = -1, mask: Mask | None = None, causal: bool = False) -> Value:
    """The logarithm of `softmax`; what is left out gets the lowest number there is."""
    value = _visible(x, "log_softmax", mask, causal)
    return op.LogSoftmax(value, axis=axis_of(value, axis))


def _visible(x: Value, what: str, mask: Value | None, causal: bool) -> Value:
    """The lowest number in place of what does not count: its exponential is 0, and no infinity makes NaN."""
    seen = None if mask is None else mask_for(x, mask)
    if causal:
        if x.type.rank < 2 or x.shape[-1] != x.shape[-2]:
            raise Problem("E0301", f"`{what}` with `causal` wants as many queries as keys", f"this is {x.type}")
        earlier = _lower_triangle(x.shape[-1])
        seen = earlier if seen is None else op.And(seen, earlier)
    if seen is None:
        return x
    return choose(seen, x, LOWEST.get(x.dtype, -3e38))


def _lower_triangle(size: Dim) -> Value:
    """bool[size, size]: is the column no further than the row?"""
    row = places(size)
    return op.GreaterOrEqual(private.ReshapeTo(row, shape=(size, 1)), row)
