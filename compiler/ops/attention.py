"""ONNX's scaled dot-product attention, and the rotation of queries and keys by their positions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dlc.compiler.build import current, ints, op, private
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.composition import as_type, composed
from dlc.compiler.ops.indexing import counted
from dlc.compiler.ops.rules import expect, stretch, where
from dlc.compiler.registry import Call, IllTyped, define
from dlc.compiler.types import FLOATS, ONNX_NUMBER, Dim, Shape, Type, from_onnx_number

RAW, CAPPED, BIASED, PROBABILITIES = range(4)  # what the fourth output is


def _heads(x: Type, heads: int | None, what: str) -> Shape:
    """[batch, heads, length, size] of a tensor of that shape, or of [batch, length, heads * size]; raises IllTyped."""
    if x.rank == 4:
        return x.shape
    width = x.shape[-1]
    if x.rank != 3 or not heads or heads < 1 or not isinstance(width, int) or width % heads:
        raise IllTyped(f"{what} of {x} with {heads} heads: [B, H, T, D], or [B, T, H * D] and H, are expected")
    return x.shape[0], heads, x.shape[1], width // heads


def _split_heads(x: Value, shape: Shape) -> Value:
    """[batch, heads, length, size]."""
    if x.type.rank == 4:
        return x
    batch, heads, length, size = shape
    value: Value = op.Transpose(private.ReshapeTo(x, shape=(batch, length, heads, size)), perm=(0, 2, 1, 3))
    return value


def _shapes(inputs: Any, attributes: Any) -> tuple[Shape, Shape, Shape]:
    q, k, v = inputs
    query = _heads(q, attributes.get("q_num_heads"), "Attention's Q")
    key = _heads(k, attributes.get("kv_num_heads"), "Attention's K")
    return query, key, _heads(v, attributes.get("kv_num_heads"), "Attention's V")


def _attention(call: Call) -> list[Type]:
    q, k, v = (expect(call, i, FLOATS) for i in range(3))
    query, key, value = _shapes((q, k, v), call.attributes)
    if len({x.rank for x in (q, k, v)}) > 1 or len({x.dtype for x in (q, k, v)}) > 1:
        raise IllTyped(f"Attention of {q}, {k} and {v}: one rank and one element type are expected")
    if key[:3] != value[:3] or query[0] != key[0] or query[3] != key[3]:
        raise IllTyped(f"Attention of {q}, {k} and {v}: their batches, lengths or sizes of heads differ")
    if _repeats(query[1], key[1]) is None:
        raise IllTyped(f"Attention: {query[1]} heads of queries do not share {key[1]} heads of keys evenly")
    mode = call.get("qk_matmul_output_mode", RAW)
    if not RAW <= mode <= PROBABILITIES:
        raise IllTyped(f"Attention: qk_matmul_output_mode = {mode}: 0 to 3 is expected")
    precision = call.get("softmax_precision", 0)
    if precision and precision not in {ONNX_NUMBER[dtype] for dtype in FLOATS}:
        raise IllTyped(f"Attention: softmax_precision = {precision}: the number of a float type is expected")
    past = _past(call, key, value)
    total = past + key[2]
    _check_masks(call, (*query[:3], total))
    output = (*query[:3], value[3]) if q.rank == 4 else (query[0], query[2], query[1] * value[3])
    present = [q.with_shape((*each[:2], total, each[3])) for each in (key, value)]
    return [q.with_shape(output), *present, q.with_shape((*query[:3], total))][: call.outputs]


def _repeats(queries: Dim, keys: Dim) -> int | None:
    """How many heads of queries share a head of keys; None if they do not evenly."""
    if queries == keys:
        return 1
    even = isinstance(queries, int) and isinstance(keys, int) and keys > 0 and queries % keys == 0
    return queries // keys if even else None  # type: ignore[return-value]


def _past(call: Call, key: Shape, value: Shape) -> Dim:
    """The length of what came before; raises IllTyped."""
    if call.has(4) != call.has(5):
        raise IllTyped("Attention takes past_key and past_value together")
    if not call.has(4):
        return 0
    before = call.type(4).shape, call.type(5).shape
    length = before[0][2] if len(before[0]) == 4 else 0
    if call.has(6) or before != ((*key[:2], length, key[3]), (*value[:2], length, value[3])):
        raise IllTyped(
            f"Attention with past_key {call.type(4)} and past_value {call.type(5)}: the keys' and values' shapes but"
            " for the length, and no nonpad_kv_seqlen, are expected"
        )
    return length


def _check_masks(call: Call, scores: Shape) -> None:
    q = call.type(0)
    if call.has(3):
        mask = call.type(3)
        if mask.dtype not in ("bool", q.dtype) or not mask.rank:
            raise IllTyped(f"Attention with the mask {mask}: bool or {q.dtype} is expected")
        if stretch(mask.with_shape((*mask.shape[:-1], 1)), q.with_shape(scores)) != scores:
            raise IllTyped(f"Attention with the mask {mask}: it does not stretch to {q.with_shape(scores)}")
        if isinstance(mask.shape[-1], int) and isinstance(scores[3], int) and mask.shape[-1] > scores[3]:
            raise IllTyped(f"Attention with the mask {mask}: there are only {scores[3]} keys")
    if call.has(6) and call.type(6) != Type("i64", (scores[0],)):
        raise IllTyped(f"Attention: nonpad_kv_seqlen is {call.type(6)}: i64[{scores[0]}] is expected")


define("Attention", _attention)


@composed("Attention", outputs=4)
def _(
    node: Node, q: Value, k: Value, v: Value, mask: Value | None, past_key: Value | None, past_value: Value | None,
    lengths: Value | None, *, scale: float | None = None, softcap: float = 0.0, softmax_precision: int | None = None,
    qk_matmul_output_mode: int = RAW, is_causal: int = 0, left_window_size: int = -1, right_window_size: int = -1,
) -> Any:  # fmt: skip
    query, key, value = _shapes((q.type, k.type, v.type), node.attributes)
    q, k, v = (_split_heads(x, shape) for x, shape in ((q, query), (k, key), (v, value)))
    if past_key is not None:
        k, v = op.Concat(past_key, k, axis=2), op.Concat(past_value, v, axis=2)
    size = query[3]
    assert isinstance(size, int) or scale is not None
    factor = scale if scale is not None else 1 / math.sqrt(size)  # type: ignore[arg-type]
    raw = _grouped(q * factor, op.Transpose(k, perm=(0, 1, 3, 2)))
    capped = softcap * op.Tanh(raw / softcap) if softcap > 0 else raw
    bias, allowed = _full(mask, k.shape[2])
    past = k.shape[2] - key[2]
    reach = (left_window_size, 0 if is_causal else right_window_size)
    for each in _reachable(q.shape[2], k.shape[2], past, lengths, reach):
        allowed = each if allowed is None else op.And(allowed, each)
    biased = capped if bias is None else capped + bias
    if allowed is not None:
        biased = where(allowed, biased, -np.inf)
    # The first key is always within reach, but for these.
    guarded = mask is not None or lengths is not None or left_window_size >= 0
    probabilities = _softmax(biased, _empty(bias, allowed, q.dtype) if guarded else None, softmax_precision)
    y = _grouped(probabilities, v)
    if node.outputs[0].type.rank == 3:
        y = private.ReshapeTo(op.Transpose(y, perm=(0, 2, 1, 3)), shape=node.outputs[0].shape)
    return y, k, v, (raw, capped, biased, probabilities)[qk_matmul_output_mode]


def _grouped(left: Value, right: Value) -> Value:
    """A product by heads, several on the left for one on the right: those stand below each other as rows."""
    batch, heads, rows, inner = left.shape
    repeats = _repeats(heads, right.shape[1])
    if repeats == 1:
        return left @ right
    assert repeats is not None
    joined = private.ReshapeTo(left, shape=(batch, right.shape[1], rows * repeats, inner)) @ right
    value: Value = private.ReshapeTo(joined, shape=(batch, heads, rows, right.shape[3]))
    return value


def _full(mask: Value | None, keys: Dim) -> tuple[Value | None, Value | None]:
    """A float mask, and one of truth values, over all keys: those that a mask does not reach are masked."""
    if mask is None:
        return None, None
    if mask.shape[-1] != keys:
        closed = np.zeros((), bool) if mask.dtype == "bool" else np.full((), -np.inf, mask.type.numpy)
        rest = private.ExpandTo(closed, shape=(*mask.shape[:-1], keys - mask.shape[-1]))
        mask = op.Concat(mask, rest, axis=-1)
    return (None, mask) if mask.dtype == "bool" else (mask, None)


def _reachable(queries: Dim, keys: Dim, past: Dim, lengths: Value | None, reach: tuple[int, int]) -> list[Value]:
    """What of [queries, keys] the lengths, and the windows to the left and right (-1: without end), leave.

    Query i stands at i + offset among the keys: past the earlier ones, or at the end of the valid ones.
    """
    column = counted(keys)
    found: list[Value] = []
    row = private.ReshapeTo(counted(queries), shape=(queries, 1))
    if lengths is None:
        row = row + _amount(past)
    else:
        ends = private.ReshapeTo(lengths, shape=(*lengths.shape, 1, 1, 1))
        found.append(column < ends)
        row = row + (ends - _amount(queries))
    left, right = reach
    if right >= 0:
        found.append(column <= row + right)
    if left >= 0:
        found.append(column >= row - left)
    return found


def _amount(dim: Dim) -> Any:
    return dim if isinstance(dim, int) else private.Size(dim=dim)


def _empty(bias: Value | None, allowed: Value | None, dtype: str) -> Value:
    """The queries that no key is left for: a constant mask is computed when the graph is compiled."""
    open_ = current().constant(0.0, dtype) if bias is None else bias
    total = open_ if allowed is None else op.Where(allowed, open_, np.full((), -np.inf, open_.type.numpy))
    value: Value = op.Equal(op.ReduceMax(total, ints(-1), keepdims=1), np.full((), -np.inf, total.type.numpy))
    return value


def _softmax(scores: Value, empty: Value | None, precision: int | None) -> Value:
    """Zeros where no key is left: those rows are replaced before the exponentials, for nothing undefined to flow."""
    safe = scores if empty is None else where(empty, 0.0, scores)
    found = op.Softmax(as_type(safe, from_onnx_number(precision) if precision else scores.dtype), axis=-1)
    found = as_type(found, scores.dtype)
    return found if empty is None else where(empty, 0.0, found)


def _rotary(call: Call) -> list[Type]:
    x, cosine, sine = (expect(call, i, FLOATS) for i in range(3))
    batch, _, length, size = _heads(x, call.get("num_heads"), call.op)
    turned = call.get("rotary_embedding_dim", 0) or size
    if not isinstance(turned, int) or turned % 2 or (isinstance(size, int) and turned > size):
        raise IllTyped(f"RotaryEmbedding of {x}: {turned} of {size} numbers are to turn: an even part is expected")
    if cosine != sine or not cosine.rank or cosine.shape[-1] != turned // 2:
        raise IllTyped(f"RotaryEmbedding by {cosine} and {sine}: two tables of {turned // 2} columns are expected")
    if call.has(3):
        if call.type(3) != Type("i64", (batch, length)) or cosine.rank != 2:
            raise IllTyped(f"RotaryEmbedding at {call.type(3)} of {cosine}: i64[{batch}, {length}] of rows is expected")
    elif cosine.shape[:-1] != (batch, length):
        raise IllTyped(f"RotaryEmbedding by {cosine} without positions: [{batch}, {length}, ...] is expected")
    return [x]


define("RotaryEmbedding", _rotary)


@composed("RotaryEmbedding")
def _(
    node: Node, x: Value, cosine: Value, sine: Value, positions: Value | None,
    *, num_heads: int = 0, rotary_embedding_dim: int = 0, interleaved: int = 0,
) -> Any:  # fmt: skip
    """Pairs of numbers turn by an angle: neighbours if interleaved, else one of each half."""
    batch, heads, length, size = _heads(x.type, num_heads, node.op)
    shape = x.shape if x.type.rank == 4 else (batch, length, heads, size)
    if positions is not None:
        cosine, sine = op.Gather(cosine, positions, axis=0), op.Gather(sine, positions, axis=0)
    cosine, sine = (op.Unsqueeze(each, ints(1 if x.type.rank == 4 else 2)) for each in (cosine, sine))
    turned = rotary_embedding_dim or size
    assert isinstance(turned, int) and isinstance(size, int)
    parts = private.ReshapeTo(x, shape=shape)
    rest = None
    if turned < size:
        parts, rest = op.Split(parts, ints(turned, size - turned), axis=-1, outputs=2)
    if interleaved:
        pairs = private.ReshapeTo(parts, shape=(*shape[:3], turned // 2, 2))
        cosine, sine = op.Unsqueeze(cosine, ints(-1)), op.Unsqueeze(sine, ints(-1))
    else:
        pairs = parts
    first, second = op.Split(pairs, axis=-1, num_outputs=2, outputs=2)
    both = op.Concat(first * cosine - second * sine, first * sine + second * cosine, axis=-1)
    result = private.ReshapeTo(both, shape=(*shape[:3], turned))
    if rest is not None:
        result = op.Concat(result, rest, axis=-1)
    return private.ReshapeTo(result, shape=x.shape)
