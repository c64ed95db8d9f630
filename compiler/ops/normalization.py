"""ONNX's operators of normalization: over neighbouring channels, by given statistics, over the last axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlc.compiler.build import current, op, private
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.composition import as_type, wide
from dlc.compiler.ops.reduction import count
from dlc.compiler.ops.rules import expect, normal_axis, reduce_sum, stretches
from dlc.compiler.registry import Call, IllTyped, define, evaluate, expanded, expansion, gradient, lower
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


@lower("LRN")
def _(lowering: Any, node: Node, x: Value) -> Value | None:
    """By its formula where the runtime has no kernel: of even windows, and on anything but images."""
    given = {"alpha": 0.0001, "beta": 0.75, "bias": 1.0, **node.attributes}
    if given["size"] % 2 and x.type.rank == 4:
        return None
    d = given["bias"] + given["alpha"] * _channel_mean(x * x, given["size"], mirrored=False)
    y: Value = x * op.Pow(d, -given["beta"])
    return y


def _channel_mean(x: Value, size: int, mirrored: bool) -> Value:
    before = (size - 1) // 2
    after = size - 1 - before
    first, last = (after, before) if mirrored else (before, after)
    planes: Value = private.ReshapeTo(x, shape=(x.shape[0], 1, x.shape[1], product(x.shape[2:])))
    mean = op.AveragePool(planes, kernel_shape=(size, 1), pads=(first, 0, last, 0), count_include_pad=1)
    return private.ReshapeTo(mean, shape=x.shape)


def _batch_norm(call: Call) -> list[Type]:
    x, training = expect(call, 0, FLOATS), call.get("training_mode", 0)
    if call.outputs > (3 if training else 1):
        raise IllTyped(f"BatchNormalization with {call.outputs} outputs: running statistics come of training_mode = 1")
    if x.rank < 2:
        raise IllTyped(f"BatchNormalization of {x}: [N, C, ...] is expected")
    for index in range(1, 5):
        if call.type(index).shape != x.shape[1:2]:
            raise IllTyped(f"BatchNormalization of {x} by {call.type(index)}: [{x.shape[1]}] is expected")
    return [x, call.type(3), call.type(4)][: call.outputs]


define("BatchNormalization", _batch_norm)


@expansion("BatchNormalization")
def _(
    node: Node, x: Value, scale: Value, shift: Value, mean: Value, variance: Value,
    *, epsilon: float = 1e-5, momentum: float = 0.9, training_mode: int = 0,
) -> Any:  # fmt: skip
    """(x - mean) / sqrt(variance + epsilon) * scale + shift; in training by the batch's own statistics, which the
    running ones move toward: momentum is the part they keep, and their variance is the biased one."""
    wide_x, wide_scale = wide(x), as_type(scale, wide(x).dtype)
    own = private.Moments(wide_x, axes=(1,), outputs=2) if training_mode else (mean, variance)
    center, spread = (as_type(each, wide_x.dtype) for each in own)
    gain = wide_scale / op.Sqrt(spread + epsilon)
    offset = as_type(shift, wide_x.dtype)
    y = private.PerChannel(wide_x, gain, offset, center, axes=(1,), centered=training_mode or None)
    if not training_mode:
        return (as_type(y, x.dtype),)
    moved = [
        momentum * old + (1 - momentum) * as_type(new, old.dtype) for old, new in ((mean, center), (variance, spread))
    ]
    return [as_type(y, x.dtype), *moved][: len(node.outputs)]


@evaluate("BatchNormalization")
def _(
    x: Array, scale: Array, shift: Array, mean: Array, variance: Array,
    *, epsilon: float = 1e-5, momentum: float = 0.9, training_mode: int = 0, **_: Any,
) -> Any:  # fmt: skip
    over = tuple(axis for axis in range(x.ndim) if axis != 1)
    center, spread = (x.mean(over, dtype=x.dtype), x.var(over, dtype=x.dtype)) if training_mode else (mean, variance)
    gain, offset, middle, deviation = (v.reshape(-1, *(1,) * (x.ndim - 2)) for v in (scale, shift, center, spread))
    y = (x - middle) / np.sqrt(deviation + np.asarray(epsilon, x.dtype)) * gain + offset
    return y, momentum * mean + (1 - momentum) * center, momentum * variance + (1 - momentum) * spread


@lower("BatchNormalization")
def _(lowering: Any, node: Node, *inputs: Value) -> Any:
    """The operator's training mode has no CUDA kernel, and its CPU kernel writes over the running statistics given."""
    return expanded(node) if node.attributes.get("training_mode", 0) else None


def _layer_norm(call: Call) -> list[Type]:
    x = expect(call, 0, FLOATS)
    axis = normal_axis(call.op, call.get("axis", -1), x.rank)
    for index in (1, 2):
        part = call.type(index) if index == 1 or call.has(index) else None
        if part is not None and not (part.dtype == x.dtype and stretches(part.shape, x.shape)):
            raise IllTyped(f"LayerNormalization of {x}: {x.with_shape(x.shape[axis:])} is expected, not {part}")
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
    axis %= x.type.rank
    inner = range(axis, x.type.rank)
    elements = count(product(x.shape[axis:]), x)
    if x.dtype == "f64":  # the operator's own statistics are f32
        centered = x - reduce_sum(x, *inner) / elements
        inverse = 1.0 / op.Sqrt(reduce_sum(centered * centered, *inner) / elements + epsilon)
    else:
        full = current().add(node.op, node.inputs, node.attributes, outputs=3)
        mean, inverse = (each if each.dtype == x.dtype else op.Cast(each, to=x.dtype) for each in full.outputs[1:])
        centered = x - mean
    normal = centered * inverse
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
    to_shift = None if shift is None else private.SumTo(g, shape=shift.shape)
    return dx, private.SumTo(g * normal, shape=scale.shape), to_shift
