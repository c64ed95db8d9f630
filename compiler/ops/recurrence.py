"""ONNX's recurrent operators, unrolled over a length that is known: RNN, GRU and LSTM, with all their attributes.

The equations, the order of the gates (z r h and i o f c) and the layouts are those of ONNX's specification.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlc.compiler.build import ints, op, private
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.composition import composed
from dlc.compiler.ops.rules import expect, where, zeros
from dlc.compiler.registry import Call, IllTyped, define, expanded, lower
from dlc.compiler.types import FLOATS, Dim, Shape, Type

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
FUNCTIONS = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}
DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}
Function = Callable[[Value], Value]


def _recurrence(call: Call) -> list[Type]:
    x, w, r = (expect(call, i, FLOATS) for i in range(3))
    gates, directions = GATES[call.op], DIRECTIONS.get(call.get("direction", "forward"))
    if directions is None:
        raise IllTyped(f'{call.op}: direction = "{call.get("direction")}": {", ".join(DIRECTIONS)} are there')
    hidden = r.shape[-1] if r.rank else 0
    if x.rank != 3 or not isinstance(hidden, int) or w.dtype != x.dtype or r.dtype != x.dtype:
        raise IllTyped(f"{call.op} of {x} by {w} and {r}: [T, B, I], of one element type, is expected")
    batched = call.get("layout", 0)
    length, batch = (x.shape[1], x.shape[0]) if batched else x.shape[:2]
    state = (batch, directions, hidden) if batched else (directions, batch, hidden)
    wanted: dict[int, Shape] = {
        1: (directions, gates * hidden, x.shape[2]), 2: (directions, gates * hidden, hidden),
        3: (directions, 2 * gates * hidden), 4: (batch,), 5: state, 6: state, 7: (directions, 3 * hidden),
    }  # fmt: skip
    for index, shape in wanted.items():
        expected = Type("i32", shape) if index == 4 else x.with_shape(shape)
        if call.has(index) and call.type(index) != expected:
            raise IllTyped(f"{call.op} of {x}: input {index + 1} is {call.type(index)}: {expected} is expected")
    _functions(call.op, call.attributes, directions)
    every = (batch, length, directions, hidden) if batched else (length, directions, batch, hidden)
    return [x.with_shape(every), x.with_shape(state), x.with_shape(state)][: call.outputs]


def _functions(name: str, attributes: Any, directions: int) -> list[list[Function]]:
    """The functions of each direction. Numbers are taken in their order by those that have a use for them."""
    names = attributes.get("activations") or FUNCTIONS[name] * directions
    if len(names) != len(FUNCTIONS[name]) * directions:
        raise IllTyped(f"{name}: {len(names)} activations for {directions} directions of {len(FUNCTIONS[name])}")
    alphas = iter(attributes.get("activation_alpha") or ())
    betas = iter(attributes.get("activation_beta") or ())
    made = [_function(name, text, alphas, betas) for text in names]
    each = len(FUNCTIONS[name])
    return [made[i : i + each] for i in range(0, len(made), each)]


def _function(name: str, text: str, alphas: Iterator[float], betas: Iterator[float]) -> Function:
    kind = text.lower()
    for plain in ("Relu", "Tanh", "Sigmoid", "Softsign", "Softplus"):
        if kind == plain.lower():
            return op[plain]
    for full, default in (("LeakyRelu", 0.01), ("ThresholdedRelu", 1.0), ("Elu", 1.0)):
        if kind == full.lower():
            alpha = next(alphas, default)
            return lambda x, full=full, alpha=alpha: op[full](x, alpha=alpha)  # type: ignore[misc]
    if kind not in ("affine", "scaledtanh", "hardsigmoid"):
        raise IllTyped(f'{name}: the activation "{text}" is not one that ONNX lists')
    alpha = next(alphas, 0.2 if kind == "hardsigmoid" else 1.0)
    beta = next(betas, {"hardsigmoid": 0.5, "scaledtanh": 1.0, "affine": 0.0}[kind])
    if kind == "affine":
        return lambda x: alpha * x + beta
    if kind == "scaledtanh":
        return lambda x: alpha * op.Tanh(beta * x)
    return lambda x: op.HardSigmoid(x, alpha=alpha, beta=beta)


@dataclass(frozen=True)
class _Direction:
    """What one direction computes with: [gates * H, ...] weights, and functions of the inputs of activations."""

    w: Value
    r: Value
    bias: tuple[Value, ...] | None  # for x and for h
    peepholes: tuple[Value, ...] | None  # of i, o and f
    functions: Sequence[Function]
    clip: float | None
    attributes: Any
    hidden: int

    def act(self, place: int, x: Value) -> Value:
        """A function, of what is clipped first."""
        if self.clip:
            bound = np.asarray(self.clip, x.type.numpy)
            x = op.Clip(x, -bound, bound)
        return self.functions[place](x)

    def split(self, gates: Value, parts: int) -> tuple[Value, ...]:
        made: tuple[Value, ...] = op.Split(gates, ints(*(self.hidden,) * parts), axis=-1, outputs=parts)
        return made


State = tuple[Value, ...]  # h, and c of an LSTM


def _rnn_step(d: _Direction, x: Value, state: State) -> State:
    return (d.act(0, x + state[0] @ d.r),)


def _gru_step(d: _Direction, x: Value, state: State) -> State:
    h = state[0]
    to_gates, to_hidden = op.Split(d.r, ints(2 * d.hidden, d.hidden), axis=-1, outputs=2)
    gates, candidate = op.Split(x, ints(2 * d.hidden, d.hidden), axis=-1, outputs=2)
    update, reset = d.split(d.act(0, gates + h @ to_gates), 2)
    if d.attributes.get("linear_before_reset", 0):
        inner = h @ to_hidden
        if d.bias is not None:
            inner = inner + d.split(d.bias[1], 3)[2]
        new = d.act(1, candidate + reset * inner)
    else:
        new = d.act(1, candidate + (reset * h) @ to_hidden)
    return ((1 - update) * new + update * h,)


def _lstm_step(d: _Direction, x: Value, state: State) -> State:
    h, c = state
    i, o, f, g = d.split(x + h @ d.r, 4)
    if d.peepholes:
        i, f = i + d.peepholes[0] * c, f + d.peepholes[2] * c
    write = d.act(0, i)
    keep = 1 - write if d.attributes.get("input_forget", 0) else d.act(0, f)
    after = keep * c + write * d.act(1, g)
    if d.peepholes:
        o = o + d.peepholes[1] * after
    # The standard leaves open whether the cell is clipped on its way into h; ONNX Runtime does not clip it.
    return d.act(0, o) * d.functions[2](after), after


_STEPS: dict[str, Callable[[_Direction, Value, State], State]] = {
    "RNN": _rnn_step, "GRU": _gru_step, "LSTM": _lstm_step,
}  # fmt: skip


def _unrolled(
    node: Node, x: Value, w: Value, r: Value, b: Value | None, lengths: Value | None,
    h0: Value | None, c0: Value | None = None, peepholes: Value | None = None,
) -> tuple[Value, ...]:  # fmt: skip
    """Y, Y_h and for an LSTM Y_c."""
    attributes, batched = node.attributes, node.attributes.get("layout", 0)
    if batched:
        x = op.Transpose(x, perm=(1, 0, 2))
        h0, c0 = (None if each is None else op.Transpose(each, perm=(1, 0, 2)) for each in (h0, c0))
    steps = x.shape[0]
    if not isinstance(steps, int):
        raise IllTyped(f"{node.op} of {x.type}: a recurrence over a length known only at run time has no gradient yet")
    direction = attributes.get("direction", "forward")
    count = DIRECTIONS[direction]
    runs = []
    for i, functions in enumerate(_functions(node.op, attributes, count)):
        parts = [None if each is None else _row(each, i) for each in (w, r, b, h0, c0, peepholes)]
        first = _start(node, x, parts[3], parts[4])
        cell = _direction(node, parts, functions)
        runs.append(_run(node.op, cell, x, first, lengths, direction == "reverse" or i == 1))
    every = runs[0][0] if count == 1 else op.Concat(*(run[0] for run in runs), axis=1)
    last = [_stacked([run[1][place] for run in runs]) for place in range(len(runs[0][1]))]
    if batched:
        every = op.Transpose(every, perm=(2, 0, 1, 3))
        last = [op.Transpose(each, perm=(1, 0, 2)) for each in last]
    return every, *last


def _row(x: Value, i: int) -> Value:
    """One direction's part."""
    if x.shape[0] == 1:
        value: Value = op.Squeeze(x, ints(0))
        return value
    part: Value = op.Squeeze(op.Split(x, axis=0, num_outputs=2, outputs=2)[i], ints(0))
    return part


def _stacked(rows: Sequence[Value]) -> Value:
    whole = [op.Unsqueeze(row, ints(0)) for row in rows]
    value: Value = whole[0] if len(whole) == 1 else op.Concat(*whole, axis=0)
    return value


def _direction(node: Node, parts: Sequence[Value | None], functions: Sequence[Function]) -> _Direction:
    w, r, b, *_, p = parts
    assert w is not None and r is not None
    hidden = r.shape[-1]
    assert isinstance(hidden, int)
    bias = op.Split(b, axis=0, num_outputs=2, outputs=2) if b is not None else None
    peepholes = op.Split(p, axis=0, num_outputs=3, outputs=3) if p is not None else None
    w, r = op.Transpose(w, perm=(1, 0)), op.Transpose(r, perm=(1, 0))
    return _Direction(w, r, bias, peepholes, functions, node.attributes.get("clip"), node.attributes, hidden)


def _start(node: Node, x: Value, h: Value | None, c: Value | None) -> State:
    hidden = node.outputs[0].shape[-1]
    rest = x.type.with_shape((x.shape[1], hidden))
    states = (h, c) if node.op == "LSTM" else (h,)
    return tuple(zeros(rest) if each is None else each for each in states)


def _run(
    name: str, d: _Direction, x: Value, state: State, lengths: Value | None, backward: bool
) -> tuple[Value, State]:
    """[T, 1, B, H], and the last states. Past an example's length its state stays, and the output is 0."""
    steps = x.shape[0]
    assert isinstance(steps, int)
    batch: Dim = x.shape[1]
    if not steps:
        return zeros(x.type.with_shape((0, 1, batch, d.hidden))), state
    ahead = x @ d.w  # of all steps at once
    if d.bias is not None:
        ahead = ahead + _bias(name, d)
    turns = [ahead] if steps == 1 else op.Split(ahead, axis=0, num_outputs=steps, outputs=steps)
    ends = None if lengths is None else op.Unsqueeze(lengths, ints(1))
    rows: list[Value] = []
    for t in range(steps)[:: -1 if backward else 1]:
        new = _STEPS[name](d, op.Squeeze(turns[t], ints(0)), state)
        shown = new[0]
        if ends is not None:
            inside = op.Greater(ends, np.asarray(t, np.int32))
            shown = where(inside, shown, 0.0)
            new = tuple(op.Where(inside, after, before) for after, before in zip(new, state, strict=True))
        state = new
        rows.append(private.ReshapeTo(shown, shape=(1, 1, batch, d.hidden)))
    rows = rows[:: -1 if backward else 1]
    return (rows[0] if steps == 1 else op.Concat(*rows, axis=0)), state


def _bias(name: str, d: _Direction) -> Value:
    """What is added to all steps at once: all, but for a GRU that resets after its product the candidate's own."""
    assert d.bias is not None
    own, inner = d.bias
    if name == "GRU" and d.attributes.get("linear_before_reset", 0):
        none = zeros(inner.type.with_shape((d.hidden,)))
        inner = op.Concat(op.Slice(inner, ints(0), ints(2 * d.hidden), ints(0)), none, axis=0)
    return own + inner


for _name in GATES:
    define(_name, _recurrence)


@composed("RNN", outputs=2)
def _(node: Node, x: Value, w: Value, r: Value, b: Value | None, lengths: Value | None, h: Value | None) -> Any:
    return _unrolled(node, x, w, r, b, lengths, h)


@composed("GRU", outputs=2)
def _(node: Node, x: Value, w: Value, r: Value, b: Value | None, lengths: Value | None, h: Value | None) -> Any:
    return _unrolled(node, x, w, r, b, lengths, h)


@composed("LSTM", outputs=3)
def _(
    node: Node, x: Value, w: Value, r: Value, b: Value | None, lengths: Value | None, h: Value | None,
    c: Value | None, p: Value | None,
) -> Any:  # fmt: skip
    return _unrolled(node, x, w, r, b, lengths, h, c, p)


def _by_kernel(lowering: Any, node: Node, *inputs: Value | None) -> Any:
    """ONNX Runtime has kernels for f32 (RNN), and f64 too (GRU, LSTM), in the layout with the steps first only."""
    known = node.output.dtype == "f32" or (node.output.dtype == "f64" and node.op != "RNN")
    if not known:
        return expanded(node)
    if not node.attributes.get("layout", 0):
        return None
    turned = [
        op.Transpose(each, perm=(1, 0, 2)) if each is not None and i in (0, 5, 6) else each
        for i, each in enumerate(inputs)
    ]
    rest = {name: value for name, value in node.attributes.items() if name != "layout"}
    found = op[node.op](*turned, outputs=len(node.outputs), **rest)
    every, *last = found if isinstance(found, tuple) else (found,)
    return [op.Transpose(every, perm=(2, 0, 1, 3)), *(op.Transpose(each, perm=(1, 0, 2)) for each in last)]


for _name in GATES:
    lower(_name)(_by_kernel)
