"""Determinants of square matrices, over any leading axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlc.compiler.build import ints, op, private
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.rules import expect, mask, reduce_sum, where, zeros
from dlc.compiler.registry import Call, IllTyped, define, evaluate, gradient, lower
from dlc.compiler.types import FLOATS, Array, Type


def _det(call: Call) -> list[Type]:
    x = expect(call, 0, FLOATS)
    if x.rank < 2 or x.shape[-1] != x.shape[-2]:
        raise IllTyped(f"Det of {x}: square matrices are expected in its last two axes")
    return [x.with_shape(x.shape[:-2])]


define("Det", _det)


@gradient("Det")
def _(g: Value, x: Value) -> Value:
    """The derivative by an element is its cofactor: right for singular matrices too, as it divides by nothing.

    It costs n^2 determinants of order n - 1 and room for n^4 elements.
    """
    return op.Unsqueeze(g, ints(-2, -1)) * _cofactors(x)


def _cofactors(x: Value) -> Value:
    """(-1)^(i+j) times the determinant without row i and column j."""
    n = x.shape[-1]
    if not isinstance(n, int):
        raise IllTyped(f"Det of {x.type}: its gradient needs a known number of rows")
    if n < 2:
        return zeros(x.type) + 1.0
    others = np.array([[j for j in range(n) if j != i] for i in range(n)], np.int64)
    places = others[:, None, :, None] * n + others[None, :, None, :]
    flat = private.ReshapeTo(x, shape=(*x.shape[:-2], n * n))
    signs = np.fromfunction(lambda i, j: 1.0 - 2 * ((i + j) % 2), (n, n)).astype(x.type.numpy)
    value: Value = op.Mul(op.Det(op.Gather(flat, places, axis=-1)), signs)
    return value


@lower("Det")
def _(lowering: Any, node: Node, x: Value) -> Value | None:
    """ONNX Runtime has a kernel for f32 only. Short floats pass through it; f64 is eliminated row by row."""
    if x.dtype == "f32":
        return None
    if x.dtype != "f64":
        short: Value = op.Cast(op.Det(op.Cast(x, to="f32")), to=x.dtype)
        return short
    n = x.shape[-1]
    return _eliminated(x, n) if isinstance(n, int) else None


def _eliminated(x: Value, n: int) -> Value:
    """Gaussian elimination with partial pivoting. Rows stay where they are: `free` marks those not used yet, and a
    pivot row changes the sign by the number of free rows above it."""
    det: Value = private.ExpandTo(np.ones((), x.type.numpy), shape=x.shape[:-2])
    free: Value = private.ExpandTo(np.ones((), x.type.numpy), shape=x.shape[:-1])
    above = np.triu(np.ones((n, n)), 1).astype(x.type.numpy)
    for k in range(n):
        column = op.Squeeze(op.Slice(x, ints(k), ints(k + 1), ints(-1)), ints(-1))
        best = op.ArgMax(where(free > 0.0, op.Abs(column), -1.0), axis=-1, keepdims=1)
        chosen = mask(op.Equal(best, np.arange(n)), x)
        pivot = reduce_sum(chosen * column, -1)
        before = op.Squeeze(op.MatMul(op.Unsqueeze(free, ints(-2)), above), ints(-2))
        turns = op.Mod(reduce_sum(chosen * before, -1), np.array(2, x.type.numpy), fmod=1)
        det = det * op.Squeeze(pivot * (1.0 - 2.0 * turns), ints(-1))
        row = op.MatMul(op.Unsqueeze(chosen, ints(-2)), x)
        x = x - op.Unsqueeze(column / where(op.Equal(pivot, 0.0), 1.0, pivot), ints(-1)) * row
        free = free - chosen
    return det


@evaluate("Det")
def _(x: Array) -> Array:
    wide = x if x.dtype in (np.float32, np.float64) else x.astype(np.float32)
    return np.asarray(np.linalg.det(wide), x.dtype)
