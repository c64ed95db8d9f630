"""Sums, means, extremes; masks."""

from __future__ import annotations

from typing import Any

from dlc.compiler.build import ints, op, private
from dlc.compiler.elaborate.arithmetic import stretch
from dlc.compiler.elaborate.context import Elaborator
from dlc.compiler.elaborate.library.functions import axes_of, axis_of, floating, function, tensor_of
from dlc.compiler.elaborate.library.shape import stack
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value


def _reduced(operator: str, x: Value, axis: Any, keep: bool) -> Value:
    axes = axes_of(x, axis)
    if axes is None:
        return op[operator](x, keepdims=int(keep))
    return op[operator](x, ints(*axes), keepdims=int(keep))


def _counted(e: Elaborator, x: Any, what: str) -> Value:
    """`sum` and `mean` of truth values count them."""
    value = tensor_of(x, what)
    return op.Cast(value, to=e.mode.working) if value.dtype == "bool" else value


def _masked(e: Elaborator, x: Value, mask: Any) -> tuple[Value, Value]:
    """The values that count, the others 0, and the mask in x's shape as numbers."""
    chosen = tensor_of(mask, "mask")
    if chosen.dtype != "bool":
        raise Problem("E0308", "a mask is made of truth values", f"this is {chosen.type}")
    try:
        shape = stretch(x.type, chosen.type.with_dtype(x.dtype), "masked")
    except Problem as problem:
        raise Problem("E0308", f"a mask {chosen.type} does not fit {x.type}", notes=problem.notes) from None
    if shape != x.shape:
        raise Problem("E0308", f"a mask {chosen.type} is bigger than {x.type}")
    weight: Value = op.Cast(chosen, to=x.dtype)
    return op.Where(chosen, x, 0.0), private.ExpandTo(weight, shape=x.shape)


@function("sum")
def sum_(e: Elaborator, x: Any, axis: Any = None, mask: Any = None, keep: bool = False) -> Value:
    value = _counted(e, x if not isinstance(x, list) else stack(x), "sum")
    if mask is not None:
        value, _ = _masked(e, value, mask)
    return _reduced("ReduceSum", value, axis, keep)


@function("mean")
def mean(e: Elaborator, x: Any, axis: Any = None, mask: Any = None, keep: bool = False) -> Value:
    value = _counted(e, x if not isinstance(x, list) else stack(x), "mean")
    if not value.type.is_float:
        value = op.Cast(value, to=e.mode.working)
    if mask is None:
        return _reduced("ReduceMean", value, axis, keep)
    value, weight = _masked(e, value, mask)
    return _reduced("ReduceSum", value, axis, keep) / _reduced("ReduceSum", weight, axis, keep)


@function("max")
def max_(x: Any, axis: Any = None, keep: bool = False) -> Any:
    return max(x) if isinstance(x, list | tuple) else _reduced("ReduceMax", tensor_of(x, "max"), axis, keep)


@function("min")
def min_(x: Any, axis: Any = None, keep: bool = False) -> Any:
    return min(x) if isinstance(x, list | tuple) else _reduced("ReduceMin", tensor_of(x, "min"), axis, keep)


@function("logsumexp")
def logsumexp(x: Any, axis: Any = None, keep: bool = False) -> Value:
    return _reduced("ReduceLogSumExp", floating(x, "logsumexp"), axis, keep)


@function("argmax")
def argmax(x: Any, axis: int = -1, keep: bool = False) -> Value:
    value = tensor_of(x, "argmax")
    return op.ArgMax(value, axis=axis_of(value, axis), keepdims=int(keep))
