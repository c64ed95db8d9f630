"""ONNX's attention by a state that is updated at each step, and the causal convolution that stands before it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dlc.compiler.build import ints, op, private
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.composition import as_type, composed, wide
from dlc.compiler.ops.rules import expect, zeros
from dlc.compiler.registry import Call, IllTyped, define
from dlc.compiler.types import FLOATS, Shape, Type

_RULES = ("linear", "gated", "delta", "gated_delta")


def _linear_attention(call: Call) -> list[Type]:
    q, k, v = (expect(call, i, FLOATS) for i in range(3))
    queries, keys, rule = call.get("q_num_heads"), call.get("kv_num_heads"), call.get("update_rule", "gated_delta")
    if rule not in _RULES:
        raise IllTyped(f'LinearAttention: update_rule = "{rule}": one of {", ".join(_RULES)} is expected')
    if not queries or not keys or queries < 1 or keys < 1 or queries % keys:
        raise IllTyped(f"LinearAttention: {queries} heads of queries do not share {keys} heads of keys evenly")
    if any(x.rank != 3 or not isinstance(x.shape[-1], int) for x in (q, k, v)):
        raise IllTyped(f"LinearAttention of {q}, {k} and {v}: [B, T, H * D] is expected")
    size, value = int(q.shape[2]) // queries, int(v.shape[2]) // keys  # type: ignore[arg-type]
    if q.shape[2] != size * queries or k != q.with_shape((*q.shape[:2], size * keys)) or v.shape[2] != value * keys:
        raise IllTyped(f"LinearAttention of {q}, {k} and {v} with {queries} and {keys} heads")
    state = q.with_shape((q.shape[0], keys, size, value))
    if call.has(3) and call.type(3).shape != state.shape:
        raise IllTyped(f"LinearAttention: past_state is {call.type(3)}: {state} is expected")
    for index, needed, widths in ((4, "gated" in rule, (keys, keys * size)), (5, "delta" in rule, (keys, 1))):
        if call.has(index) != needed:
            raise IllTyped(f"LinearAttention by {rule}: input {index + 1} is {'missing' if needed else 'too many'}")
        if needed and call.type(index) not in [q.with_shape((*q.shape[:2], width)) for width in widths]:
            raise IllTyped(f"LinearAttention of {q}: input {index + 1} is {call.type(index)}")
    present = state.with_dtype(call.type(3).dtype) if call.has(3) else state
    return [q.with_shape((*q.shape[:2], queries * value)), present][: call.outputs]


define("LinearAttention", _linear_attention)


@composed("LinearAttention", outputs=2)
def _(
    node: Node, q: Value, k: Value, v: Value, past: Value | None, decay: Value | None, beta: Value | None,
    *, q_num_heads: int, kv_num_heads: int, scale: float = 0.0,
) -> Any:  # fmt: skip
    """S is scaled by exp(decay), less what it answers to the key, and k v^T is added; the query then reads it."""
    batch, steps = q.shape[:2]
    if not isinstance(steps, int):
        raise IllTyped(f"LinearAttention of {q.type}: a recurrence over a length known only at run time")
    size, value = (int(x.shape[2]) // kv_num_heads for x in (k, v))  # type: ignore[arg-type]
    repeats = q_num_heads // kv_num_heads
    dtype, factor = q.dtype, scale or 1 / math.sqrt(size)
    rows = _turns(wide(q) * factor, steps, (batch, kv_num_heads, repeats, size))
    columns = _turns(wide(k), steps, (batch, kv_num_heads, size, 1))
    values = _turns(wide(v), steps, (batch, kv_num_heads, 1, value))
    decays = rates = None
    if decay is not None:
        per_head = decay.shape[2] == kv_num_heads
        decays = _turns(op.Exp(wide(decay)), steps, (batch, kv_num_heads, 1 if per_head else size, 1))
    if beta is not None:
        rates = _turns(wide(beta), steps, (batch, beta.shape[2], 1, 1))
    kept = (batch, kv_num_heads, size, value)
    state = (
        wide(past)
        if past is not None
        else zeros(values[0].type.with_shape(kept))
        if values
        else zeros(q.type.with_shape(kept))
    )
    answers = []
    for t in range(steps):
        if decays is not None:
            state = state * decays[t]
        new = values[t]
        if rates is not None:
            new = rates[t] * (new - op.Transpose(columns[t], perm=(0, 1, 3, 2)) @ state)
        state = state + columns[t] * new
        answers.append(private.ReshapeTo(rows[t] @ state, shape=(batch, 1, q_num_heads * value)))
    output = op.Concat(*answers, axis=1) if answers else zeros(node.outputs[0].type)
    return as_type(output, dtype), as_type(state, past.dtype if past is not None else dtype)


def _turns(x: Value, steps: int, shape: Shape) -> list[Value]:
    """What each step reads of [B, T, ...], in a shape."""
    if not steps:
        return []
    parts = [x] if steps == 1 else op.Split(x, axis=1, num_outputs=steps, outputs=steps)
    return [private.ReshapeTo(part, shape=shape) for part in parts]


def _causal_conv(call: Call) -> list[Type]:
    x, w = expect(call, 0, FLOATS), call.type(1)
    if x.rank != 3 or not isinstance(x.shape[1], int) or w.rank != 3 or not isinstance(w.shape[2], int):
        raise IllTyped(f"CausalConvWithState of {x} by {w}: [B, C, T] and [C, 1, K] are expected")
    before = x.with_shape((*x.shape[:2], w.shape[2] - 1))
    wanted = {1: x.with_shape((x.shape[1], 1, w.shape[2])), 2: x.with_shape(x.shape[1:2]), 3: before}
    for index, expected in wanted.items():
        if call.has(index) and call.type(index) != expected:
            found = call.type(index)
            raise IllTyped(f"CausalConvWithState of {x}: input {index + 1} is {found}: {expected} is expected")
    if call.get("activation", "none") not in ("none", "silu", "swish"):
        raise IllTyped(f'CausalConvWithState: activation = "{call.get("activation")}": none, silu or swish is expected')
    return [x, before][: call.outputs]


define("CausalConvWithState", _causal_conv)


@composed("CausalConvWithState", outputs=2)
def _(node: Node, x: Value, w: Value, bias: Value | None, past: Value | None, *, activation: str = "none") -> Any:
    reach = w.shape[2]
    assert isinstance(reach, int)
    before = x.type.with_shape((*x.shape[:2], reach - 1))
    if reach == 1:
        joined, present = x, zeros(before)
    else:
        joined = op.Concat(past if past is not None else zeros(before), x, axis=2)
        present = op.Slice(joined, ints(1 - reach), ints(np.iinfo(np.int64).max), ints(2))
    y = op.Conv(joined, w, bias, group=x.shape[1], kernel_shape=(reach,))
    return (y if activation == "none" else op.Swish(y)), present
