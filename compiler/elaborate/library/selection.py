"""Functions that pick elements by their place or their rank, and those that write at a place."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dlc.compiler.build import current, ints, op, private
from dlc.compiler.elaborate.arithmetic import tensor
from dlc.compiler.elaborate.context import Elaborator
from dlc.compiler.elaborate.entities import describe
from dlc.compiler.elaborate.library.functions import axis_of, function, tensor_of
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value
from dlc.compiler.types import Dim, Polynomial


def counted(value: Any, what: str, least: int = 0) -> int:
    """A compile-time integer that is not too small; raises Problem."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise Problem("E0303", f"{what} is an integer of {least} or more", f"this is {describe(value)}")
    return value


def places(size: Dim) -> Value:
    """0, 1, ... up to a size, as i64."""
    if isinstance(size, int):
        return current().constant(np.arange(size, dtype=np.int64))
    return op.Range(0, private.Size(dim=size), 1)


def _index(value: Any, what: str) -> Value:
    if isinstance(value, Value) and value.dtype not in ("i64", "i32"):
        raise Problem("E0302", f"`{what}` wants a place as an integer", f"this is {value.type}")
    return tensor(value, "i64", "a place")


@function("topk")
def topk(x: Any, k: Any, axis: Any = -1) -> tuple[Value, Value]:
    """The k greatest values along an axis, in falling order, and their places."""
    value, number = tensor_of(x, "topk"), counted(k, "`k`", 1)
    at = axis_of(value, axis)
    length = value.shape[at]
    if isinstance(length, int) and number > length:
        raise Problem("E0303", f"the {number} greatest of {length} values", f"axis {at} of {value.type}")
    best, place = op.TopK(value, ints(number), axis=at, outputs=2)
    return best, place


@function("take")
def take(x: Any, index: Any, axis: Any = -1) -> Value:
    """One position of an axis for each place ahead of it: `[R, N, D]` at `i64[R]` along axis 1 is `[R, D]`."""
    value, at = tensor_of(x, "take"), _index(index, "take")
    along = axis_of(value, axis)
    ahead, behind = value.shape[:along], value.shape[along + 1 :]
    if at.shape != ahead:
        wanted = at.type.with_shape(ahead)
        raise Problem("E0301", f"`take` along axis {along} of {value.type} wants {wanted}", f"the index is {at.type}")
    place = private.ReshapeTo(at, shape=(*ahead, 1, *[1] * len(behind)))
    every = private.ExpandTo(place, shape=(*ahead, 1, *behind))
    return op.Squeeze(op.GatherElements(value, every, axis=along), ints(along))


@function("put")
def put(x: Any, at: Any, value: Any, axis: Any = 0) -> Value:
    """x with `value` at one place of an axis: the rest of x's shape, or a number. No place, no change."""
    whole, place = tensor_of(x, "put"), _index(at, "put")
    along = axis_of(whole, axis)
    new = tensor(value, whole.dtype, "what is put")
    rest = (*whole.shape[:along], *whole.shape[along + 1 :])
    if place.shape:
        raise Problem("E0301", "`put` writes at one place", f"this is {place.type}")
    if new.shape not in ((), rest) or new.dtype != whole.dtype:
        wanted = whole.type.with_shape(rest)
        raise Problem("E0301", f"`put` along axis {along} of {whole.type} wants {wanted}", f"this is {new.type}")
    behind = [1] * (whole.type.rank - along - 1)
    here = op.Equal(places(whole.shape[along]), op.Cast(place, to="i64") if place.dtype != "i64" else place)
    column = private.ReshapeTo(here, shape=(whole.shape[along], *behind))
    written = op.Unsqueeze(new, ints(along)) if new.shape else new
    return op.Where(column, written, whole)


@function("only")
def only(e: Elaborator, index: Any, n: Any) -> Value:
    """Log probabilities of a certain choice: 0 at the index and -inf at the other places of n."""
    place = _index(index, "only")
    if place.shape:
        raise Problem("E0301", "`only` has one place", f"this is {place.type}")
    if isinstance(n, bool) or not isinstance(n, int | Polynomial):
        raise Problem("E0302", "a dimension is an integer", f"this is {describe(n)}")
    chosen = op.Equal(places(n), place)
    zero, never = (current().constant(each, e.mode.working) for each in (0.0, -math.inf))
    return op.Where(chosen, zero, never)


@function("only_first")
def only_first(e: Elaborator, n: Any) -> Value:
    """0, -inf, -inf, ...: scores of n beams of which one is alive."""
    return only(e, 0, n)
