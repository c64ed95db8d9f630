"""What normalization layers are made of: statistics, affine maps of channels, unit vectors."""

from __future__ import annotations

from dlc.compiler.build import ints, op, private
from dlc.compiler.elaborate.context import Elaborator
from dlc.compiler.elaborate.kinds import Amount, Axes, Axis, Count, Floats, Tensor
from dlc.compiler.elaborate.library.functions import axes_of, axis_of, function
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value
from dlc.compiler.types import Dim, product, quotient


@function("moments")
def moments(x: Floats, keep_axis: Axes = 1) -> tuple[Value, Value, Dim]:
    """Mean, biased variance and number of elements, over all axes but the one that is kept (or several)."""
    axes = axes_of(x, keep_axis, "keep_axis")
    assert axes is not None
    if len(axes) == x.type.rank:
        text = "`moments` needs an axis to go over"
        raise Problem("E0303", text, f"every axis of {x.type} is kept", argument="keep_axis")
    mean, variance = private.Moments(x, axes=axes, outputs=2)
    return mean, variance, product([dim for axis, dim in enumerate(x.shape) if axis not in axes])


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


@function("l2_normalize")
def l2_normalize(x: Floats, axis: Axis = -1, eps: Amount = 1e-12) -> Value:
    """Vectors along an axis divided by their length, or by `eps` where it is shorter."""
    length: Value = op.ReduceL2(x, ints(axis_of(x, axis)), keepdims=1)
    unit: Value = x / op.Max(length, float(eps))
    return unit


@function("grouped")
def grouped(x: Floats, groups: Count) -> Value:
    """`[B, C, ...]` as `[B, groups, n]`: each group's channels with all their places in one axis."""
    if not x.shape:
        raise Problem("E0301", "`grouped` wants `[B, C, ...]`", f"this is {x.type}")
    rest = product(x.shape[1:])
    held = quotient(rest, groups)
    if held * groups != rest:
        raise Problem("E0301", f"{rest} elements do not make {groups} groups", f"this is {x.type}", argument="groups")
    return private.ReshapeTo(x, shape=(x.shape[0], groups, held))


@function("reshape_like")
def reshape_like(x: Tensor, other: Tensor) -> Value:
    """The elements of x in the shape of another tensor that holds as many."""
    if x.type.size != other.type.size:
        raise Problem("E0301", f"{x.type} cannot take the shape of {other.type}")
    return private.ReshapeTo(x, shape=other.shape)
