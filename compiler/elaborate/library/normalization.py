"""What normalization layers are made of: statistics, affine maps of channels, unit vectors."""

from __future__ import annotations

from typing import Any

from dlc.compiler.build import ints, op, private
from dlc.compiler.elaborate.context import Elaborator
from dlc.compiler.elaborate.entities import describe
from dlc.compiler.elaborate.library.functions import axes_of, axis_of, floating, function, tensor_of
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value
from dlc.compiler.types import Dim, product, quotient


def _axes(x: Value, axis: Any) -> tuple[int, ...]:
    axes = axes_of(x, axis)
    if not axes:
        raise Problem("E0303", "an axis that is kept is wanted", f"this is {describe(axis)}")
    return axes


@function("moments")
def moments(x: Any, keep_axis: Any = 1) -> tuple[Value, Value, Dim]:
    """Mean, biased variance and number of elements, over all axes but the one that is kept (or several)."""
    value = floating(x, "moments")
    axes = _axes(value, keep_axis)
    if len(axes) == value.type.rank:
        raise Problem("E0303", "`moments` needs an axis to go over", f"every axis of {value.type} is kept")
    mean, variance = private.Moments(value, axes=axes, outputs=2)
    return mean, variance, product([dim for axis, dim in enumerate(value.shape) if axis not in axes])


@function("per_channel")
def per_channel(x: Any, gain: Any, shift: Any = None, center: Any = None, axis: Any = 1) -> Value:
    """`(x - center) * gain + shift`, with one number of each for every position along an axis (or several)."""
    value = floating(x, "per_channel")
    axes = _axes(value, axis)
    wanted = value.type.with_shape([value.shape[each] for each in axes])
    vectors = [None if each is None else floating(each, "per_channel") for each in (gain, shift, center)]
    for vector in vectors:
        if vector is not None and vector.type != wanted:
            raise Problem("E0301", f"`per_channel` of {value.type} wants {wanted}", f"this is {vector.type}")
    if vectors[0] is None:
        raise Problem("E0302", "`per_channel` wants a gain", "this is `none`")
    middle = vectors[2]
    centered = middle is not None and middle.node is not None and middle.node.op == "dlc.Moments"
    return private.PerChannel(value, *vectors, axes=axes, centered=1 if centered else None)


@function("layer_normalize")
def layer_normalize(e: Elaborator, x: Any, gain: Any, shift: Any = None, eps: float = 1e-5) -> Value:
    """Mean 0 and variance 1 along the last axis, then `* gain + shift` (Ba et al., 2016, equation 4)."""
    value, scale = floating(x, "layer_normalize"), floating(gain, "layer_normalize")
    offset = None if shift is None else floating(shift, "layer_normalize")
    for vector in (scale, offset):
        if vector is not None and vector.type != value.type.with_shape(value.shape[-1:]):
            wanted = value.type.with_shape(value.shape[-1:])
            raise Problem("E0301", f"`layer_normalize` of {value.type} wants {wanted}", f"this is {vector.type}")
    axis, epsilon = value.type.rank - 1, float(eps)
    if not e.mode.training:
        return op.LayerNormalization(value, scale, offset, axis=axis, epsilon=epsilon)
    # Mean and deviation too: the gradient reads them.
    normal, _, _ = op.LayerNormalization(value, scale, offset, axis=axis, epsilon=epsilon, outputs=3)
    return normal


@function("l2_normalize")
def l2_normalize(x: Any, axis: Any = -1, eps: float = 1e-12) -> Value:
    """Vectors along an axis divided by their length, or by `eps` where it is shorter."""
    value = floating(x, "l2_normalize")
    length: Value = op.ReduceL2(value, ints(axis_of(value, axis)), keepdims=1)
    unit: Value = value / op.Max(length, float(eps))
    return unit


@function("grouped")
def grouped(x: Any, groups: int) -> Value:
    """`[B, C, ...]` as `[B, groups, n]`: each group's channels with all their places in one axis."""
    value = floating(x, "grouped")
    rest = product(value.shape[1:])
    held = quotient(rest, groups)
    if held * groups != rest:
        raise Problem("E0301", f"{rest} elements do not make {groups} groups", f"this is {value.type}")
    return private.ReshapeTo(value, shape=(value.shape[0], groups, held))


@function("reshape_like")
def reshape_like(x: Any, other: Any) -> Value:
    """The elements of x in the shape of another tensor that holds as many."""
    value, shape = tensor_of(x, "reshape_like"), tensor_of(other, "reshape_like").shape
    if value.type.size != product(shape):
        raise Problem("E0301", f"{value.type} cannot take the shape of {tensor_of(other, 'reshape_like').type}")
    return private.ReshapeTo(value, shape=shape)
