"""What normalization layers are made of: statistics, affine maps of channels, unit vectors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dlc.compiler.build import ints, op, private
from dlc.compiler.elaborate.context import Elaborator
from dlc.compiler.elaborate.kinds import Amount, Axes, Axis, Count, Floats, Mask, Tensor
from dlc.compiler.elaborate.library.functions import along, axes_of, axis_of, function
from dlc.compiler.elaborate.library.reductions import masked
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value
from dlc.compiler.types import Dim, product, quotient


def _all_but_kept(x: Value, given: Mapping[str, Any]) -> Iterable[int]:
    kept = axes_of(x, given["keep_axis"], "keep_axis") or ()
    return (axis for axis in range(x.type.rank) if axis not in kept)


@function("moments", _all_but_kept)
def moments(x: Floats, keep_axis: Axes = 1, mask: Mask | None = None) -> tuple[Value, Value, Dim | Value]:
    """Mean, biased variance and number of elements, over all axes but the one that is kept (or several).

    With a mask they are of what it chooses, and the number is a tensor, as it may differ along what is kept.
    """
    axes = axes_of(x, keep_axis, "keep_axis")
    assert axes is not None
    if len(axes) == x.type.rank:
        text = "`moments` needs an axis to go over"
        raise Problem("E0303", text, f"every axis of {x.type} is kept", argument="keep_axis")
    if mask is not None:
        return _moments_of_chosen(x, [axis for axis in range(x.type.rank) if axis not in axes], mask)
    mean, variance = private.Moments(x, axes=axes, outputs=2)
    return mean, variance, product([dim for axis, dim in enumerate(x.shape) if axis not in axes])


def _moments_of_chosen(x: Value, axes: list[int], mask: Value) -> tuple[Value, Value, Value]:
    chosen, weight = masked(x, mask)
    count = op.ReduceSum(weight, ints(*axes), keepdims=1)
    mean = op.ReduceSum(chosen, ints(*axes), keepdims=1) / count
    off, _ = masked(x - mean, mask)
    variance = op.ReduceSum(off * off, ints(*axes), keepdims=1) / count
    mean, variance, count = (op.Squeeze(each, ints(*axes)) for each in (mean, variance, count))
    return mean, variance, count


@function("per_channel")
def per_channel(
    x: Floats, gain: Floats, shift: Floats | None = None, center: Floats | None = None, axis: Axes = 1
) -> Value:
    """`(x - center) * gain + shift`, with one number of each for every position along an axis (or several)."""
    axes = axes_of(x, axis)
    assert axes is not None
    wanted = x.type.with_shape([x.shape[each] for each in axes])
    for name, vector in (("gain", gain), ("shift", shift), ("center", center)):
        if vector is not None and vector.type != wanted:
            text = f"`per_channel` of {x.type} wants {wanted}"
            raise Problem("E0301", text, f"this is {vector.type}", argument=name)
    centered = center is not None and center.node is not None and center.node.op == "dlc.Moments"
    return private.PerChannel(x, gain, shift, center, axes=axes, centered=1 if centered else None)


@function("layer_normalize")
def layer_normalize(e: Elaborator, x: Floats, gain: Floats, shift: Floats | None = None, eps: Amount = 1e-5) -> Value:
    """Mean 0 and variance 1 along the last axis, then `* gain + shift` (Ba et al., 2016, equation 4)."""
    if not x.shape:
        raise Problem("E0301", "`layer_normalize` needs an axis to go over", f"this is {x.type}")
    wanted = x.type.with_shape(x.shape[-1:])
    for name, vector in (("gain", gain), ("shift", shift)):
        if vector is not None and vector.type != wanted:
            text = f"`layer_normalize` of {x.type} wants {wanted}"
            raise Problem("E0301", text, f"this is {vector.type}", argument=name)
    axis, epsilon = x.type.rank - 1, float(eps)
    if not e.mode.training:
        return op.LayerNormalization(x, gain, shift, axis=axis, epsilon=epsilon)
    # Mean and deviation too: the gradient reads them.
    normal, _, _ = op.LayerNormalization(x, gain, shift, axis=axis, epsilon=epsilon, outputs=3)
    return normal


@function("l2_normalize", along)
def l2_normalize(x: Floats, axis: Axis = -1, eps: Amount = 1e-12, mask: Mask | None = None) -> Value:
    """Vectors along an axis divided by their length, or by `eps` where it is shorter; what the mask leaves out is 0."""
    if mask is not None:
        x, _ = masked(x, mask)
    length: Value = op.ReduceL2(x, ints(axis_of(x, axis)), keepdims=1)
    unit: Value = x / op.Max(length, float(eps))
    return unit


def _all_but_first(x: Value, given: Mapping[str, Any]) -> Iterable[int]:
    return range(1, x.type.rank)


@function("grouped", _all_but_first)
def grouped(x: Floats, groups: Count, mask: Mask | None = None) -> tuple[Value, Value | None]:
    """`[B, C, ...]` as `[B, groups, n]`: each group's channels with all their places in one axis; its mask as well."""
    if not x.shape:
        raise Problem("E0301", "`grouped` wants `[B, C, ...]`", f"this is {x.type}")
    rest = product(x.shape[1:])
    held = quotient(rest, groups)
    if held * groups != rest:
        raise Problem("E0301", f"{rest} elements do not make {groups} groups", f"this is {x.type}", argument="groups")
    shape = (x.shape[0], groups, held)
    rows = private.ReshapeTo(x, shape=shape)
    if mask is None:
        return rows, None
    return rows, op.Cast(private.ReshapeTo(masked(x, mask)[1], shape=shape), to="bool")


@function("reshape_like")
def reshape_like(x: Tensor, other: Tensor) -> Value:
    """The elements of x in the shape of another tensor that holds as many."""
    if x.type.size != other.type.size:
        raise Problem("E0301", f"{x.type} cannot take the shape of {other.type}")
    return private.ReshapeTo(x, shape=other.shape)
