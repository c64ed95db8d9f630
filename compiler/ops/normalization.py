"""Local response normalization."""

from __future__ import annotations

import numpy as np

from dlc.compiler.build import op, private
from dlc.compiler.graph import Value
from dlc.compiler.ops.rules import expect
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
