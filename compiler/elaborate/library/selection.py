"""Functions that pick elements by their place or their rank, and those that write at a place."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dlc.compiler.build import current, ints, op, private
from dlc.compiler.elaborate.arithmetic import tensor
from dlc.compiler.elaborate.context import Elaborator
from dlc.compiler.elaborate.kinds import Axis, Count, Extent, Mask, Tensor
from dlc.compiler.elaborate.library.functions import along, axis_of, floating, function, limited
from dlc.compiler.elaborate.library.reductions import mask_for
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value
from dlc.compiler.ops.rules import where as choose
from dlc.compiler.types import Dim


def places(size: Dim) -> Value:
    """0, 1, ... up to a size, as i64."""
    if isinstance(size, int):
        limited(size, "places of one axis")
        return current().constant(np.arange(size, dtype=np.int64))
    return op.Range(0, private.Size(dim=size), 1)


def _index(value: Any, what: str, argument: str = "index") -> Value:
    if isinstance(value, Value) and value.dtype not in ("i64", "i32"):
        raise Problem("E0302", f"`{what}` wants a place as an integer", f"this is {value.type}", argument=argument)
    return tensor(value, "i64", "a place")


@function("topk", along)
def topk(x: Tensor, k: Count, axis: Axis = -1, mask: Mask | None = None) -> tuple[Value, Value]:
    """The k greatest values along an axis, in falling order, and their places; what the mask leaves out is -inf."""
    at = axis_of(x, axis)
    length = x.shape[at]
    if isinstance(length, int) and k > length:
        raise Problem("E0303", f"the {k} greatest of {length} values", f"axis {at} of {x.type}", argument="k")
    if mask is not None:
        x = choose(mask_for(x, mask), floating(x, "topk"), -math.inf)
    best, place = op.TopK(x, ints(k), axis=at, outputs=2)
    return best, place


@function("take")
def take(x: Tensor, index: Any, axis: Axis = -1) -> Value:
    """One position of an axis for each place ahead of it: `[R, N, D]` at `i64[R]` along axis 1 is `[R, D]`."""
    at, along = _index(index, "take"), axis_of(x, axis)
    ahead, behind = x.shape[:along], x.shape[along + 1 :]
    if at.shape != ahead:
        text = f"`take` along axis {along} of {x.type} wants {at.type.with_shape(ahead)}"
        raise Problem("E0301", text, f"the index is {at.type}", argument="index")
    place = private.ReshapeTo(at, shape=(*ahead, 1, *[1] * len(behind)))
    every = private.ExpandTo(place, shape=(*ahead, 1, *behind))
    return op.Squeeze(op.GatherElements(x, every, axis=along), ints(along))


@function("put")
def put(x: Tensor, at: Any, value: Any, axis: Axis = 0) -> Value:
    """x with `value` at one place of an axis: the rest of x's shape, or a number. No place, no change."""
    place, along = _index(at, "put", "at"), axis_of(x, axis)
    new = tensor(value, x, "what is put")
    rest = (*x.shape[:along], *x.shape[along + 1 :])
    if place.shape:
        raise Problem("E0301", "`put` writes at one place", f"this is {place.type}", argument="at")
    if new.shape not in ((), rest) or new.dtype != x.dtype:
        text = f"`put` along axis {along} of {x.type} wants {x.type.with_shape(rest)}"
        raise Problem("E0301", text, f"this is {new.type}", argument="value")
    behind = [1] * (x.type.rank - along - 1)
    here = op.Equal(places(x.shape[along]), op.Cast(place, to="i64") if place.dtype != "i64" else place)
    column = private.ReshapeTo(here, shape=(x.shape[along], *behind))
    written = op.Unsqueeze(new, ints(along)) if new.shape else new
    return op.Where(column, written, x)


@function("only")
def only(e: Elaborator, index: Any, n: Extent) -> Value:
    """Log probabilities of a certain choice: 0 at the index and -inf at the other places of n."""
    place = _index(index, "only")
    if place.shape:
        raise Problem("E0301", "`only` has one place", f"this is {place.type}", argument="index")
    chosen = op.Equal(places(n), place if place.dtype == "i64" else op.Cast(place, to="i64"))
    zero, never = (current().constant(each, e.mode.working) for each in (0.0, -math.inf))
    return op.Where(chosen, zero, never)


@function("only_first")
def only_first(e: Elaborator, n: Extent) -> Value:
    """0, -inf, -inf, ...: scores of n beams of which one is alive."""
    return only(e, 0, n)
