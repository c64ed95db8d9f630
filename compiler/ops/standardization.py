"""ONNX's normalizations that are made of statistics and affine maps: by groups, by instances, by norms."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlc.compiler.build import ints, op, private
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.composition import as_type, composed, wide
from dlc.compiler.ops.rules import axis_of, expect, stretch, where
from dlc.compiler.registry import Call, IllTyped, define, normal_axes
from dlc.compiler.types import FLOATS, Dim, Type, product


def _channels(call: Call) -> Dim:
    """The number of channels of a batch that scale and shift fit; raises IllTyped."""
    x = expect(call, 0, FLOATS)
    if x.rank < 3:
        raise IllTyped(f"{call.op} of {x}: [N, C, spatial...] is expected")
    for index in (1, 2):
        if call.type(index) != x.with_shape(x.shape[1:2]):
            raise IllTyped(f"{call.op} of {x} by {call.type(index)}: {x.with_shape(x.shape[1:2])} is expected")
    return x.shape[1]


def _group_norm(call: Call) -> list[Type]:
    channels, groups = _channels(call), call.get("num_groups")
    if not groups or groups < 1 or not isinstance(channels, int) or channels % groups:
        raise IllTyped(f"GroupNormalization: {channels} channels do not make {groups} equal groups")
    return [call.type(0)]


define("GroupNormalization", _group_norm)


@composed("GroupNormalization")
def _(node: Node, x: Value, scale: Value, shift: Value, *, num_groups: int, epsilon: float = 1e-5) -> Any:
    channels = x.shape[1]
    assert isinstance(channels, int)
    grouped = (x.shape[0], num_groups, product(x.shape[2:]) * (channels // num_groups))
    normal = _standardized(private.ReshapeTo(wide(x), shape=grouped), epsilon)
    normal = as_type(private.ReshapeTo(normal, shape=x.shape), x.dtype)
    return private.PerChannel(normal, scale, shift, axes=(1,))


def _standardized(x: Value, epsilon: float) -> Any:
    """(x - mean) / sqrt(variance + epsilon), by the statistics of each row of each example."""
    mean, variance = private.Moments(x, axes=(0, 1), outputs=2)
    return private.PerChannel(x, op.Reciprocal(op.Sqrt(variance + epsilon)), None, mean, axes=(0, 1), centered=1)


def _instance_norm(call: Call) -> list[Type]:
    _channels(call)
    return [call.type(0)]


define("InstanceNormalization", _instance_norm)


@composed("InstanceNormalization", kernels=("f32",))
def _(node: Node, x: Value, scale: Value, shift: Value, *, epsilon: float = 1e-5) -> Any:
    normal = as_type(_standardized(wide(x), epsilon), x.dtype)
    return private.PerChannel(normal, scale, shift, axes=(1,))


def _lp_norm(call: Call) -> list[Type]:
    x, p = expect(call, 0, FLOATS), call.get("p", 2)
    axis_of(call, -1, x.rank)
    if p not in (1, 2):
        raise IllTyped(f"LpNormalization: p = {p}: 1 or 2 is expected")
    return [x]


define("LpNormalization", _lp_norm)


@composed("LpNormalization", kernels=("f32", "f64"))
def _(node: Node, x: Value, *, axis: int = -1, p: int = 2) -> Any:
    """Where the norm is 0 the result is 0, and nothing flows."""
    norm = op["ReduceL1" if p == 1 else "ReduceL2"](x, ints(axis % x.type.rank), keepdims=1)
    none = op.Equal(norm, np.zeros((), x.type.numpy))
    return where(none, 0.0, x / where(none, 1.0, norm))


_TINY = 1e-9  # what ONNX adds to the deviation


def _mean_variance(call: Call) -> list[Type]:
    x = expect(call, 0, FLOATS)
    if not normal_axes(call.get("axes", (0, 2, 3)), x.rank):
        raise IllTyped(f"MeanVarianceNormalization of {x}: an axis to go over is expected")
    return [x]


define("MeanVarianceNormalization", _mean_variance)


@composed("MeanVarianceNormalization", kernels=("f32",))
def _(node: Node, x: Value, *, axes: tuple[int, ...] = (0, 2, 3)) -> Any:
    over = normal_axes(axes, x.type.rank)
    kept = tuple(axis for axis in range(x.type.rank) if axis not in over)
    mean, variance = private.Moments(wide(x), axes=kept, outputs=2)
    inverse = op.Reciprocal(op.Sqrt(variance) + _TINY)
    return as_type(private.PerChannel(wide(x), inverse, None, mean, axes=kept, centered=1), x.dtype)


def _rms_norm(call: Call) -> list[Type]:
    x, scale = expect(call, 0, FLOATS), expect(call, 1, FLOATS)
    axis_of(call, -1, x.rank)
    if stretch(scale, x) != x.shape:
        raise IllTyped(f"RMSNormalization of {x} by {scale}: a scale that stretches to the input is expected")
    return [x.with_dtype(scale.dtype)]


define("RMSNormalization", _rms_norm)


@composed("RMSNormalization")
def _(node: Node, x: Value, scale: Value, *, axis: int = -1, epsilon: float = 1e-5) -> Any:
    rank = x.type.rank
    full = wide(x)
    square = op.ReduceMean(full * full, ints(*range(axis % rank, rank)), keepdims=1)
    normal = as_type(full * op.Reciprocal(op.Sqrt(square + epsilon)), scale.dtype)
    return normal * scale
