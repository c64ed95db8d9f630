"""Sums, means, extremes; masks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from dlc.compiler.build import ints, op, private
from dlc.compiler.elaborate.arithmetic import stretch
from dlc.compiler.elaborate.context import Elaborator
from dlc.compiler.elaborate.entities import Builtin, describe
from dlc.compiler.elaborate.kinds import Axes, Axis, Floats, Mask, Tensor
from dlc.compiler.elaborate.library.functions import BUILTINS, along, axes_of, axis_of, floating, function, tensor_of
from dlc.compiler.elaborate.library.shape import stacked
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value
from dlc.compiler.ops.rules import where as choose

LOWEST = {"f16": -65504.0}
"""A number below all scores that its element type can hold; -3e38 for wider exponents."""


def _reduced(operator: str, x: Value, axis: Axes | None, keep: bool) -> Value:
    axes = axes_of(x, axis)
    if axes is None:
        return op[operator](x, keepdims=int(keep))
    return op[operator](x, ints(*axes), keepdims=int(keep))


def _numbers(x: Any) -> bool:
    """Is this a list of numbers that are known while compiling?"""
    return isinstance(x, list | tuple) and bool(x) and all(isinstance(each, int | float) for each in x)


def _counted(e: Elaborator, x: Any, what: str) -> Value:
    """`sum` and `mean` of truth values count them."""
    value = tensor_of(x, what)
    return op.Cast(value, to=e.mode.working) if value.dtype == "bool" else value


def _spread(x: Value, chosen: Value) -> str | None:
    """How to give a mask of the leading axes the rank of what it masks."""
    missing = x.type.rank - chosen.type.rank
    if missing <= 0 or chosen.shape != x.shape[: chosen.type.rank] or not chosen.shape:
        return None
    inner = f"mask({chosen.shape[-1]})" if chosen.type.rank == 2 else "the mask"
    return f"`{inner}[{', '.join([':'] * chosen.type.rank + ['none'] * missing)}]`"


def mask_for(x: Value, mask: Mask) -> Value:
    """A mask that fits x by the rules of broadcasting and is not bigger; raises Problem."""
    try:
        shape = stretch(x.type, mask.type.with_dtype(x.dtype), "masked")
    except Problem as problem:
        text = f"a mask {mask.type} does not fit {x.type}"
        raise Problem("E0308", text, notes=problem.notes, help=_spread(x, mask)) from None
    if shape != x.shape:
        raise Problem("E0308", f"a mask {mask.type} is bigger than {x.type}")
    return mask


def masked(x: Value, mask: Mask) -> tuple[Value, Value]:
    """The values that count, the others 0, and the mask in x's shape as numbers."""
    chosen = mask_for(x, mask)
    weight: Value = op.Cast(chosen, to=x.dtype)
    return choose(chosen, x, 0.0), private.ExpandTo(weight, shape=x.shape)


@function("sum", along)
def sum_or_number(e: Elaborator, x: Any, axis: Axes | None = None, mask: Mask | None = None, keep: bool = False) -> Any:
    """The sum over all axes or some, or of a list."""
    return sum(x) if _numbers(x) else sum_(e, x, axis, mask, keep)


def sum_(e: Elaborator, x: Any, axis: Axes | None = None, mask: Mask | None = None, keep: bool = False) -> Value:
    value = _counted(e, x if not isinstance(x, list) else stacked(x, 0, "sum"), "sum")
    if mask is not None:
        value, _ = masked(value, mask)
    return _reduced("ReduceSum", value, axis, keep)


@function("mean", along)
def mean_or_number(
    e: Elaborator, x: Any, axis: Axes | None = None, mask: Mask | None = None, keep: bool = False
) -> Any:
    """The mean over all axes or some, or of a list."""
    return math.fsum(x) / len(x) if _numbers(x) else mean(e, x, axis, mask, keep)


def mean(e: Elaborator, x: Any, axis: Axes | None = None, mask: Mask | None = None, keep: bool = False) -> Value:
    value = _counted(e, x if not isinstance(x, list) else stacked(x, 0, "mean"), "mean")
    if not value.type.is_float:
        value = op.Cast(value, to=e.mode.working)
    if mask is None:
        return _reduced("ReduceMean", value, axis, keep)
    value, weight = masked(value, mask)
    return _reduced("ReduceSum", value, axis, keep) / _reduced("ReduceSum", weight, axis, keep)


def _extreme(name: str, operator: str, python: Callable[[Any], Any], least: float, meaning: str) -> None:
    def call(x: Any, axis: Axes | None = None, mask: Mask | None = None, keep: bool = False) -> Any:
        if isinstance(x, list | tuple):
            if not _numbers(x):
                raise Problem("E0302", f"`{name}` of a list wants numbers", f"this is {describe(x)}")
            return python(x)
        value = tensor_of(x, name)
        if mask is not None:
            value = choose(mask_for(value, mask), floating(value, name), least)
        return _reduced(operator, value, axis, keep)

    call.__doc__ = meaning
    BUILTINS[name] = Builtin(name, call, along)


_extreme("max", "ReduceMax", max, -math.inf, "The greatest value over all axes or some, or of a list.")
_extreme("min", "ReduceMin", min, math.inf, "The least value over all axes or some, or of a list.")


@function("logsumexp", along)
def logsumexp(x: Floats, axis: Axes | None = None, mask: Mask | None = None, keep: bool = False) -> Value:
    """The logarithm of the sum of exponentials; what the mask leaves out adds nothing."""
    if mask is not None:
        x = choose(mask_for(x, mask), x, LOWEST.get(x.dtype, -3e38))
    return _reduced("ReduceLogSumExp", x, axis, keep)


@function("argmax", along)
def argmax(x: Tensor, axis: Axis = -1, mask: Mask | None = None, keep: bool = False) -> Value:
    """The place of the greatest value along an axis, the first where there are several."""
    return _place("ArgMax", x, axis, mask, keep, "argmax", -math.inf)


@function("argmin", along)
def argmin(x: Tensor, axis: Axis = -1, mask: Mask | None = None, keep: bool = False) -> Value:
    """The place of the least value along an axis, the first where there are several."""
    return _place("ArgMin", x, axis, mask, keep, "argmin", math.inf)


def _place(operator: str, x: Value, axis: Axis, mask: Value | None, keep: bool, name: str, least: float) -> Value:
    if mask is not None:
        x = choose(mask_for(x, mask), floating(x, name), least)
    return op[operator](x, axis=axis_of(x, axis), keepdims=int(keep))


@function("all", along)
def all_(x: Any, axis: Axes | None = None, mask: Mask | None = None, keep: bool = False) -> Any:
    """Does every truth value hold?"""
    return _quantified("all", "ReduceMin", all, x, axis, mask, keep)


@function("any", along)
def any_(x: Any, axis: Axes | None = None, mask: Mask | None = None, keep: bool = False) -> Any:
    """Does one truth value hold?"""
    return _quantified("any", "ReduceMax", any, x, axis, mask, keep)


def _quantified(
    name: str, operator: str, python: Callable[[Any], bool], x: Any, axis: Axes | None, mask: Mask | None, keep: bool
) -> Any:
    if isinstance(x, list | tuple) and all(isinstance(each, bool) for each in x):
        return python(x)
    value = tensor_of(x, name)
    if value.dtype != "bool":
        raise Problem("E0302", f"`{name}` is about truth values", f"this is {value.type}")
    if mask is not None:
        chosen = mask_for(value, mask)
        value = op.And(value, chosen) if name == "any" else op.Or(value, op.Not(chosen))
    return op.Cast(_reduced(operator, op.Cast(value, to="i32"), axis, keep), to="bool")
