"""Matrix products: MatMul and Gemm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dlc.compiler.build import ints, op, private
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.rules import NUMBERS, as_shape, at_run_shape, expect, replaced, stretched_to
from dlc.compiler.registry import Call, IllTyped, define, gradient, lower, settle
from dlc.compiler.types import Dim, Type, broadcast, product


def _matmul(call: Call) -> list[Type]:
    a, b = expect(call, 0, NUMBERS), expect(call, 1, NUMBERS)
    if a.dtype != b.dtype:
        raise IllTyped(f"MatMul of {a} and {b}: the element types differ")
    if not a.rank or not b.rank:
        raise IllTyped(f"MatMul of {a} and {b}: a scalar is no matrix; multiply with Mul")
    columns, rows = a.shape[-1], b.shape[-2] if b.rank > 1 else b.shape[0]
    if columns != rows:
        raise IllTyped(f"MatMul of {a} and {b}: {columns} columns against {rows} rows")
    try:
        batch = broadcast(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise IllTyped(f"MatMul of {a} and {b}: their leading dimensions do not broadcast") from None
    return [Type(a.dtype, (*batch, *a.shape[-2:-1], *(b.shape[-1:] if b.rank > 1 else ())))]


define("MatMul", _matmul, broadcasts=True)


@settle("MatMul")
def _(call: Call) -> list[Value | None]:
    a, b = call.inputs[:2]
    assert a is not None and b is not None
    columns, rows = a.shape[-1], b.shape[-2:][0]
    if columns != rows:
        size = columns if isinstance(columns, int) else rows
        a = as_shape(a, (*a.shape[:-1], size))
        b = as_shape(b, (*b.shape[:-2], size, b.shape[-1]) if b.type.rank > 1 else (size,))
    batch = at_run_shape(call.op, a.shape[:-2], b.shape[:-2])
    return [stretched_to(value, (*batch, *value.shape[-2:])) for value in (a, b)]


@gradient("MatMul")
def _(g: Value, a: Value, b: Value) -> tuple[Value, Value]:
    """A vector is taken as a matrix of one row (left) or one column (right), and comes back as a vector."""
    batch = g.shape[: max(a.type.rank - 2, b.type.rank - 2, 0)]
    left = a if a.type.rank > 1 else _reshape(a, (1, *a.shape))
    right = b if b.type.rank > 1 else _reshape(b, (*b.shape, 1))
    inner = _reshape(g, (*batch, left.shape[-2], right.shape[-1]))
    to_left, to_right = _by_left(inner, right), _by_right(inner, left, right)
    return (
        _reshape(to_left, (*to_left.shape[:-2], *a.shape[-2:])),
        to_right if b.type.rank > 1 else _reshape(to_right, to_right.shape[:-1]),
    )


@lower("MatMul")
def _(lowering: Any, node: Node, a: Value, b: Value) -> Value | None:
    """A matrix times a vector, as a column. A session of [64, 30] @ [30] alone: 4 us, not 16 (bench/forms/dense.py).

    Without rows, columns or anything to sum it is made at once: ONNX Runtime does not stretch one matrix to none, and
    leaves sums of nothing as what lay in memory before.
    """
    if 0 in (*node.output.shape, a.shape[-1]):
        return private.ExpandTo(np.zeros((), a.type.numpy), shape=node.output.shape)
    if a.type.rank != 2 or b.type.rank != 1:
        return None
    return op.Squeeze(a @ op.Unsqueeze(b, ints(1)), ints(1))


def _by_left(g: Value, b: Value) -> Value:
    if g.type.rank == 2:
        value: Value = op.Gemm(g, b, transB=1)
        return value
    return g @ _transposed(b)


def _by_right(g: Value, a: Value, b: Value) -> Value:
    """For a stack times one matrix, the rows of the whole stack make one product, with nothing to sum afterwards."""
    if b.type.rank == 2:
        rows = product(a.shape[:-1])
        flat, down = _reshape(a, (rows, a.shape[-1])), _reshape(g, (rows, g.shape[-1]))
        value: Value = op.Gemm(flat, down, transA=1)
        return value
    return _transposed(a) @ g


def _reshape(x: Value, shape: Sequence[Dim]) -> Value:
    value: Value = x if x.shape == tuple(shape) else private.ReshapeTo(x, shape=tuple(shape))
    return value


def _transposed(x: Value) -> Value:
    order = list(range(x.type.rank))
    order[-2:] = order[-1], order[-2]
    value: Value = op.Transpose(x, perm=tuple(order))
    return value


def _gemm(call: Call) -> list[Type]:
    a, b = expect(call, 0, NUMBERS), expect(call, 1, NUMBERS)
    if a.dtype != b.dtype or a.rank != 2 or b.rank != 2:
        raise IllTyped(f"Gemm of {a} and {b}: two matrices of one element type are expected")
    m, k = a.shape[::-1] if call.get("transA", 0) else a.shape
    rows, n = b.shape[::-1] if call.get("transB", 0) else b.shape
    if k != rows:
        raise IllTyped(f"Gemm of {a} and {b}: {k} columns against {rows} rows")
    result = Type(a.dtype, (m, n))
    if call.has(2):
        c = call.type(2)
        try:
            fits = broadcast(c.shape, result.shape) == result.shape and c.dtype == a.dtype
        except ValueError:
            fits = False
        if not fits:
            raise IllTyped(f"Gemm of {a} and {b}: {c} does not stretch to {result}")
    return [result]


define("Gemm", _gemm, broadcasts=True)


@settle("Gemm")
def _(call: Call) -> list[Value | None]:
    a, b, c = (*call.inputs, None)[:3]
    assert a is not None and b is not None
    across, down = 1 - call.get("transA", 0), call.get("transB", 0)
    if a.shape[across] != b.shape[down]:
        size = a.shape[across] if isinstance(a.shape[across], int) else b.shape[down]
        a, b = as_shape(a, replaced(a.shape, across, size)), as_shape(b, replaced(b.shape, down, size))
    if c is not None:
        result = (a.shape[1 - across], b.shape[1 - down])
        at_run_shape(call.op, c.shape, result)
        c = stretched_to(c, result)
    return [a, b, c]


@gradient("Gemm")
def _(
    g: Value, a: Value, b: Value, c: Value | None,
    *, alpha: float = 1.0, beta: float = 1.0, transA: int = 0, transB: int = 0,
) -> tuple[Value, Value, Value | None]:  # fmt: skip
    def gemm(left: Value, right: Value, trans_left: int, trans_right: int) -> Any:
        return op.Gemm(left, right, alpha=alpha, transA=trans_left, transB=trans_right)

    to_a = gemm(b, g, transB, 1) if transA else gemm(g, b, 0, 1 - transB)
    to_b = gemm(g, a, 1, transA) if transB else gemm(a, g, 1 - transA, 0)
    return to_a, to_b, None if c is None else g if beta == 1 else beta * g


@lower("Gemm")
def _(lowering: Any, node: Node, a: Value, b: Value, c: Value | None = None) -> Value | None:
    """Of a sum of no products C is left: ONNX Runtime forgets its beta then."""
    if a.shape[0 if node.attributes.get("transA", 0) else 1] != 0:
        return None
    left = np.zeros((), a.type.numpy) if c is None else c * node.attributes.get("beta", 1.0)
    return private.ExpandTo(left, shape=node.output.shape)
