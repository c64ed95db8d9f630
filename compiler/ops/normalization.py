"""ONNX's operators of normalization: over neighbouring channels, by given statistics, over the last axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlc.compiler.build import current, op, private
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.reduction import count
from dlc.compiler.ops.rules import expect, normal_axis, reduce_sum
from dlc.compiler.registry import Call, IllTyped, define, evaluate, gradient
from dlc.compiler.types import FLOATS, Array, Type, product


def _lrn(call: Call) -> list[Type]:
    x, size = expect(call, 0, FLOATS), call.get("size")
    if x.rank < 3:
        raise IllTyped(f"LRN of {x}: [N, C, spatial...] is expected")
    if size is None or size < 1:
        raise IllTyped(f"LRN: size = {size}: a number of channels, at least 1, is expected")
    return [x]


define("LRN", _lrn)


@evaluate("LRN")
def _(x: Array, *, size: int, alpha: float = 0.0001, beta: float = 0.75, bias: float = 1.0) -> Array:
    before = (size - 1) // 2
    around = np.pad(x * x, ((0, 0), (before, size - 1 - before), *((0, 0),) * (x.ndim - 2)))
    total: Array = sum((around[:, i : i + x.shape[1]] for i in range(size)), np.zeros((), x.dtype))
    return x / (bias + alpha / size * total) ** beta


@gradient("LRN")
def _(
    g: Value, x: Value, y: Value, *, size: int, alpha: float = 0.0001, beta: float = 0.75, bias: float = 1.0
) -> Value:
    """y = x / d^beta with d = bias + alpha * mean of x^2 over the window (zeros outside count). Channel j stands in the
    windows of the channels around it, mirrored: that matters for even sizes, which reach further ahead than back."""
    d = bias + alpha * _channel_mean(x * x, size, mirrored=False)
    dx: Value = g * op.Pow(d, -beta) - (2 * alpha * beta) * x * _channel_mean(g * y / d, size, mirrored=True)
    return dx


def _channel_mean(x: Value, size: int, mirrored: bool) -> Value:
    before = (size - 1) // 2
    after = size - 1 - before
    first, last = (after, before) if mirrored else (before, after)
    planes: Value = private.ReshapeTo(x, shape=(x.shape[0], 1, x.shape[1], product(x.shape[2:])))
    mean = op.AveragePool(planes, kernel_shape=(size, 1), pads=(first, 0, last, 0), count_include_pad=1)
    return private.ReshapeTo(mean, shape=x.shape)


def _batch_norm(call: Call) -> list[Type]:
    """Only by statistics that are given: in training mode it has no CUDA kernel and keeps a biased variance."""
    x = expect(call, 0, FLOATS)
    if call.get("training_mode", 0) or call.outputs != 1:
        raise IllTyped("BatchNormalization in training mode is not supported: write the statistics out")
    if x.rank < 2:
        raise IllTyped(f"BatchNormalization of {x}: [N, C, ...] is expected")
    for index in range(1, 5):
        if call.type(index).shape != x.shape[1:2]:
            raise IllTyped(f"BatchNormalization of {x} by {call.type(index)}: [{x.shape[1]}] is expected")
    return [x]


define("BatchNormalization", _batch_norm)


@evaluate("BatchNormalization")
def _(x: Array, scale: Array, shift: Array, mean: Array, variance: Array, *, epsilon: float = 1e-5, **_: Any) -> Array:
    scale, shift, mean, variance = (v.reshape(-1, *(1,) * (x.ndim - 2)) for v in (scale, shift, mean, variance))
    y: Array = (x - mean) / np.sqrt(variance + np.asarray(epsilon, x.dtype)) * scale + shift
    return y


@gradient("BatchNormalization")
def _(
    g: Value, x: Value, scale: Value, shift: Value, mean: Value, variance: Value,
    *, epsilon: float = 1e-5,
) -> tuple[Value, ...]:  # fmt: skip
    """y = (x - mean) * r * scale + shift with r = (variance + epsilon)^-1/2, whose derivative is -r^3 / 2."""
    inverse = op.Reciprocal(op.Sqrt(variance + epsilon))
    over = tuple(axis for axis in range(x.type.rank) if axis != 1)
    total = reduce_sum(g, *over, keepdims=False)
    centered = x - private.ReshapeTo(mean, shape=(x.shape[1], *(1,) * (x.type.rank - 2)))
    product_ = reduce_sum(g * centered, *over, keepdims=False)
    to_x: Value = private.PerChannel(g, inverse * scale, axes=(1,))
    to_variance = -0.5 * product_ * scale * inverse * inverse * inverse
    return to_x, product_ * inverse, total, -(inverse * scale * total), to_variance


def _layer_norm(call: Call) -> list[Type]:
    x = expect(call, 0, FLOATS)
    axis = normal_axis(call.op, call.get("axis", -1), x.rank)
    for index in (1, 2):
        if (index == 1 or call.has(index)) and call.type(index) != x.with_shape(x.shape[axis:]):
            raise IllTyped(
                f"LayerNormalization of {x}: {x.with_shape(x.shape[axis:])} is expected, not {call.type(index)}"
            )
    statistics = Type("f64" if x.dtype == "f64" else "f32", (*x.shape[:axis], *(1,) * (x.rank - axis)))
    return [x, statistics, statistics][: call.outputs]


define("LayerNormalization", _layer_norm)


@evaluate("LayerNormalization")
def _(x: Array, scale: Array, shift: Array | None = None, *, axis: int = -1, epsilon: float = 1e-5, **_: Any) -> Any:
    over = tuple(range(axis % x.ndim, x.ndim))
    wide = x if x.dtype == np.float64 else x.astype(np.float32)
    mean = wide.mean(over, keepdims=True, dtype=wide.dtype)
    inverse = 1 / np.sqrt(wide.var(over, keepdims=True, dtype=wide.dtype) + np.asarray(epsilon, wide.dtype))
    y = ((wide - mean) * inverse * scale).astype(x.dtype)
    return (y if shift is None else y + shift), mean, inverse


@gradient("LayerNormalization")
def _(
    gs: list[Value | None], node: Node, x: Value, scale: Value, shift: Value | None,
    *, axis: int = -1, epsilon: float = 1e-5,
) -> tuple[Value | None, ...]:  # fmt: skip
    """From the statistics of the forward pass: with r = 1 / deviation, n = (x - mean) * r and h = g * scale,
    dx = (h - mean(h) - n * mean(h * n)) * r. The mean moves by 1 / size with each element, r by -r^2 * n / size."""
    full = node if len(node.outputs) == 3 else current().add(node.op, node.inputs, node.attributes, outputs=3)
    mean, inverse = (each if each.dtype == x.dtype else op.Cast(each, to=x.dtype) for each in full.outputs[1:])
    axis %= x.type.rank
    inner, outer = range(axis, x.type.rank), range(axis)
    elements = count(product(x.shape[axis:]), x)
    normal = (x - mean) * inverse
    flows = [each if each is None or each.dtype == x.dtype else op.Cast(each, to=x.dtype) for each in (*gs, None, None)]
    g, to_mean, to_inverse = flows[:3]
    parts: list[Value] = []
    if g is not None:
        h = g * scale
        k = reduce_sum(h * normal, *inner) / elements
        parts.append((h - reduce_sum(h, *inner) / elements - normal * k) * inverse)
    if to_mean is not None:
        parts.append(private.ExpandTo(to_mean / elements, shape=x.shape))
    if to_inverse is not None:
        parts.append(normal * (-(to_inverse * inverse * inverse) / elements))
    dx = sum(parts[1:], parts[0])
    if g is None:
        return dx, None, None
    to_scale = reduce_sum(g * normal, *outer, keepdims=False)
    return dx, to_scale, reduce_sum(g, *outer, keepdims=False) if shift is not None else None
