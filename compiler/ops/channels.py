"""Statistics and affine maps with one number for each position along some axes: what normalization layers are made of.

Between them a training step of batch norm reads its tensor few times: the gradient of both together is
`a * g + k * (x - mean) + c` with a, k and c a vector of channels each.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dlc.compiler.build import current, ints, op, private
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.reduction import count
from dlc.compiler.ops.rules import expect, reduce_sum, show
from dlc.compiler.registry import Call, IllTyped, define, evaluate, gradient, lower
from dlc.compiler.types import FLOATS, Array, Shape, Type, product

Axes = tuple[int, ...]
_EPSILON = 1e-5


def _kept(call: Call) -> tuple[Type, Shape]:
    """The first input, and the extents of the axes that are kept; raises IllTyped."""
    x, axes = expect(call, 0, FLOATS), call.attributes["axes"]
    if list(axes) != sorted(set(axes)) or any(not 0 <= axis < x.rank for axis in axes):
        raise IllTyped(f"{call.op} of {x} along the axes {list(axes)}")
    return x, tuple(x.shape[axis] for axis in axes)


def _others(x: Value, axes: Axes) -> Axes:
    return tuple(axis for axis in range(x.type.rank) if axis not in axes)


def _along(vector: Value, x: Value, axes: Axes) -> Value:
    """Numbers for the axes, in a shape that stretches over x."""
    shape = tuple(dim if axis in axes else 1 for axis, dim in enumerate(x.shape))
    value: Value = private.ReshapeTo(vector, shape=shape)
    return value


def _moments(call: Call) -> list[Type]:
    x, kept = _kept(call)
    if len(kept) == x.rank:
        raise IllTyped(f"dlc.Moments of {x}: an axis to go over is expected")
    return [x.with_shape(kept)] * 2


define("dlc.Moments", _moments)


@evaluate("dlc.Moments")
def _(x: Array, *, axes: Axes) -> tuple[Array, Array]:
    over = tuple(axis for axis in range(x.ndim) if axis not in axes)
    return x.mean(over, dtype=x.dtype), x.var(over, dtype=x.dtype)


@gradient("dlc.Moments")
def _(gs: list[Value | None], node: Node, x: Value, *, axes: Axes) -> Any:
    """The mean moves by 1 / n with each element, the biased variance by 2 (x - mean) / n."""
    n = count(product([x.shape[axis] for axis in _others(x, axes)]), x)
    shift = None if gs[0] is None else gs[0] / n
    if gs[1] is None:
        return private.ExpandTo(_along(shift, x, axes), shape=x.shape) if shift is not None else None
    return private.PerChannel(x, gs[1] * 2.0 / n, shift, node.outputs[0], axes=axes, centered=1)


@lower("dlc.Moments")
def _(lowering: Any, node: Node, x: Value, *, axes: Axes = ()) -> Any:
    """Two passes, as the difference of squares would lose what a large mean hides."""
    axes = node.attributes["axes"]
    over = ints(*_others(x, axes))
    mean: Value = op.ReduceMean(x, over, keepdims=0)
    centered = x - _along(mean, x, axes)
    return mean, op.ReduceMean(centered * centered, over, keepdims=0)


def _per_channel(call: Call) -> list[Type]:
    x, kept = _kept(call)
    for index in (1, 2, 3):
        if (index == 1 or call.has(index)) and call.type(index) != x.with_shape(kept):
            raise IllTyped(f"dlc.PerChannel of {x} by {call.type(index)}: {show(kept)} is expected")
    return [x]


define("dlc.PerChannel", _per_channel)


@evaluate("dlc.PerChannel")
def _(
    x: Array, gain: Array, shift: Array | None = None, center: Array | None = None,
    *, axes: Axes, centered: int = 0,
) -> Array:  # fmt: skip
    shape = tuple(size if axis in axes else 1 for axis, size in enumerate(x.shape))
    around = x if center is None else x - center.reshape(shape)
    scaled = around * gain.reshape(shape)
    return scaled if shift is None else scaled + shift.reshape(shape)


@gradient("dlc.PerChannel")
def _(
    g: Value, x: Value, gain: Value, shift: Value | None, center: Value | None,
    *, axes: Axes, centered: int = 0,
) -> tuple[Value | None, ...]:  # fmt: skip
    """y = (x - center) * gain + shift."""
    over = _others(x, axes)
    around = x if center is None else x - _along(center, x, axes)
    total = reduce_sum(g, *over, keepdims=False)
    to_gain = reduce_sum(g * around, *over, keepdims=False)
    to_x: Value = private.PerChannel(g, gain, axes=axes)
    return to_x, to_gain, total if shift is not None else None, -(gain * total) if center is not None else None


@lower("dlc.PerChannel")
def _(lowering: Any, node: Node, x: Value, gain: Value, shift: Value | None = None, center: Value | None = None) -> Any:
    """One pass by BatchNormalization where channels are the second axis.

    With `centered` the difference from the centre is there anyhow, for the variance: x itself need not be kept.
    """
    axes: Axes = node.attributes["axes"]
    if center is not None and node.attributes.get("centered"):
        x, center = x - _along(center, x, axes), None
    if shift is None and center is None:
        return x * _along(gain, x, axes)
    channels = x.shape[1] if x.type.rank > 2 and axes == (1,) else None
    if isinstance(channels, int) and x.dtype in ("f32", "f64"):
        zeros = np.zeros(channels, x.type.numpy)
        # CUDA wants an epsilon of its own size: with it the variance is 1.
        variance = np.full(channels, 1 - _EPSILON, x.type.numpy)
        offset, mean = (current().constant(zeros) if each is None else each for each in (shift, center))
        return op.BatchNormalization(x, gain, offset, mean, variance, epsilon=_EPSILON)
    if center is not None:
        x = x - _along(center, x, axes)
    scaled = x * _along(gain, x, axes)
    return scaled if shift is None else scaled + _along(shift, x, axes)
