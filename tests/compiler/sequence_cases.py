"""Cases of attention and of the recurrent operators."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from oracles import Array, Case, draw

try:
    import torch
    import torch.nn.functional as F
except ImportError:
    torch = F = None  # type: ignore[assignment]


def cases() -> Iterator[Case]:
    yield from attentions()
    yield from rotations()
    yield from states()
    yield from recurrences()


def attentions() -> Iterator[Case]:
    q, k, v = draw(1, 2, 4, 3, 5), draw(2, 2, 4, 6, 5), draw(3, 2, 4, 6, 2)
    few = (draw(4, 2, 2, 6, 5), draw(5, 2, 2, 6, 2))
    rng = np.random.default_rng(6)
    truth = rng.random((2, 1, 3, 6)) < 0.6
    truth[0, 0, 1] = False  # a query that no key is left for
    added = draw(7, 3, 6)
    past = (draw(8, 2, 4, 2, 5), draw(9, 2, 4, 2, 2))
    lengths = np.array([2, 6], np.int64)
    yield from _attention("plain", (q, k, v))
    yield from _attention("grouped", (q, *few), {"scale": 0.3}, symbolic={3: "S", 6: "T"})
    yield from _attention("causal", (q, k, v), {"is_causal": 1}, symbolic={3: "S", 6: "T"})
    yield from _attention("truth", (q, k, v, truth))
    yield from _attention("short", (q, k, v, truth[..., :4]))
    yield from _attention("added", (q, k, v, added), {"softcap": 1.5, "is_causal": 1})
    yield from _attention("past", (q, k, v, None, *past), {"is_causal": 1}, outputs=3)
    yield from _attention("lengths", (q, k, v, None, None, None, lengths), {"is_causal": 1}, symbolic={3: "S"})
    yield from _attention("ends", (q, k, v, None, None, None, lengths))
    yield from _attention("window", (q, k, v), {"left_window_size": 1, "right_window_size": 2})
    # The third query has its one key beyond the last.
    yield from _attention("self", (q, k[:, :, :2], v[:, :, :2]), {"left_window_size": 0})
    yield from _attention("shortadded", (q, k[:, :, :3], v[:, :, :3], added[:, :2]))
    for mode in range(4):
        given = {"qk_matmul_output_mode": mode, "softcap": 2.0}
        yield from _attention(f"mode{mode}", (q, k, v, added), given, outputs=4)
    packed = (draw(1, 2, 3, 8), draw(2, 2, 6, 4), draw(3, 2, 6, 6))
    heads = {"q_num_heads": 4, "kv_num_heads": 2}
    yield from _attention("packed", packed, heads, symbolic={3: "S"})
    yield from _attention("packedpast", (*packed, None, draw(8, 2, 2, 1, 2), draw(9, 2, 2, 1, 3)), heads, outputs=3)


def _attention(
    label: str, inputs: Any, attributes: dict[str, Any] | None = None, outputs: int = 1, symbolic: Any = None
) -> Iterator[Case]:
    given = attributes or {}
    yield Case("Attention", inputs, given, lambda *xs: _attend(given, *xs)[:outputs], outputs=outputs, label=label,
               symbolic=symbolic or {})  # fmt: skip


def _attend(given: dict[str, Any], q: Any, k: Any, v: Any, mask: Any = None, past_k: Any = None, past_v: Any = None,
            lengths: Any = None) -> list[Any]:  # fmt: skip
    """By the definition: a score is kept where every mask allows it."""
    packed = q.ndim == 3
    if packed:
        n, m = given["q_num_heads"], given["kv_num_heads"]
        q, k, v = (x.reshape(*x.shape[:2], h, -1).transpose(1, 2) for x, h in ((q, n), (k, m), (v, m)))
    before = 0 if past_k is None else past_k.shape[2]
    if past_k is not None:
        k, v = torch.cat([past_k, k], 2), torch.cat([past_v, v], 2)
    each = q.shape[1] // k.shape[1]
    wide_k, wide_v = k.repeat_interleave(each, 1), v.repeat_interleave(each, 1)
    raw = q @ wide_k.transpose(2, 3) * given.get("scale", 1 / math.sqrt(q.shape[3]))
    cap = given.get("softcap", 0)
    capped = cap * torch.tanh(raw / cap) if cap else raw
    allowed, bias = torch.ones(raw.shape, dtype=torch.bool), 0
    if isinstance(mask, np.ndarray):
        padded = np.zeros((*mask.shape[:-1], raw.shape[3]), bool)
        padded[..., : mask.shape[-1]] = mask
        allowed = allowed & torch.tensor(padded)
    elif mask is not None:
        bias = F.pad(mask, (0, raw.shape[3] - mask.shape[-1]), value=-math.inf)
    j, i = torch.arange(raw.shape[3]), torch.arange(raw.shape[2])[:, None] + before
    if lengths is not None:
        ends = torch.tensor(lengths).reshape(-1, 1, 1, 1)
        allowed, i = allowed & (j < ends), i + ends - raw.shape[2]
    left, right = given.get("left_window_size", -1), given.get("right_window_size", -1)
    if given.get("is_causal"):
        allowed = allowed & (j <= i)
    if left >= 0:
        allowed = allowed & (j >= i - left)
    if right >= 0:
        allowed = allowed & (j <= i + right)
    biased = (capped + bias).masked_fill(~allowed, -math.inf)
    alive = allowed.any(-1, keepdim=True)
    p = torch.softmax(torch.where(alive, biased, 0), -1) * alive
    y = p @ wide_v
    y = y.transpose(1, 2).flatten(2) if packed else y
    return [y, k, v, (raw, capped, biased, p)[given.get("qk_matmul_output_mode", 0)]]


def rotations() -> Iterator[Case]:
    x, places = draw(10, 2, 3, 4, 6), np.array([[0, 2, 1, 4], [3, 3, 0, 1]])
    for interleaved in (0, 1):
        given = {"interleaved": interleaved}
        yield Case("RotaryEmbedding", (x, draw(11, 5, 3), draw(12, 5, 3), places), given,
                   lambda x, c, s, p, g=given: _rotated(x, c[p][:, None], s[p][:, None], g),
                   label=f"places{interleaved}")  # fmt: skip
        yield Case("RotaryEmbedding", (x, draw(11, 2, 4, 3), draw(12, 2, 4, 3)), given,
                   lambda x, c, s, g=given: _rotated(x, c[:, None], s[:, None], g),
                   label=f"tables{interleaved}")  # fmt: skip
        part = {**given, "rotary_embedding_dim": 4, "num_heads": 3}
        yield Case("RotaryEmbedding", (draw(13, 2, 5, 18), draw(11, 2, 5, 2), draw(12, 2, 5, 2)), part,
                   lambda x, c, s, g=part: _rotated(x.reshape(2, 5, 3, 6), c[:, :, None], s[:, :, None], g).flatten(2),
                   label=f"part{interleaved}", symbolic={5: "T"})  # fmt: skip


def _rotated(x: Any, c: Any, s: Any, given: dict[str, Any]) -> Any:
    turned = given.get("rotary_embedding_dim", x.shape[-1])
    head, rest = x[..., :turned], x[..., turned:]
    if given["interleaved"]:
        a, b = head[..., 0::2], head[..., 1::2]
        return torch.cat([torch.stack([a * c - b * s, a * s + b * c], -1).flatten(-2), rest], -1)
    a, b = head.chunk(2, -1)
    return torch.cat([a * c - b * s, a * s + b * c, rest], -1)


def states() -> Iterator[Case]:
    q, k, v = draw(20, 2, 3, 8), draw(21, 2, 3, 4) * 0.4, draw(22, 2, 3, 6)
    past, scalar, every, beta = draw(23, 2, 2, 2, 3), draw(24, 2, 3, 2), draw(25, 2, 3, 4), draw(26, 2, 3, 1, low=0.1)
    heads = {"q_num_heads": 4, "kv_num_heads": 2}
    for rule, given in (
        ("linear", (None, None, None)), ("gated", (past, scalar, None)), ("delta", (past, None, beta)),
        ("gated_delta", (None, every, scalar)),
    ):  # fmt: skip
        yield Case("LinearAttention", (q, k, v, *given), {**heads, "update_rule": rule, "scale": 0.6}, _linear,
                   outputs=2, label=rule, symbolic={2: "B"} if rule == "linear" else {})  # fmt: skip
    x, w, b, before = draw(27, 2, 4, 5), draw(28, 4, 1, 3), draw(29, 4), draw(30, 2, 4, 2)
    yield Case("CausalConvWithState", (x, w, b, before), {"activation": "silu"}, lambda *xs: _causal(*xs, F.silu),
               outputs=2)  # fmt: skip
    yield Case("CausalConvWithState", (x, w), {}, _causal, outputs=2, label="zeros", symbolic={5: "T"})
    yield Case("CausalConvWithState", (x, draw(28, 4, 1, 1), b), {}, lambda x, w, b: x * w[:, 0] + b[:, None],
               label="one")  # fmt: skip
    yield Case("CausalConvWithState", (draw(27, 2, 4, 1), w, None, before), {}, _causal, outputs=2, label="step")


def _linear(q: Any, k: Any, v: Any, past: Any, decay: Any = None, beta: Any = None) -> list[Any]:
    state = torch.zeros(2, 2, 2, 3, dtype=torch.float64) if past is None else past
    rows = []
    for t in range(3):
        key, new = k[:, t].reshape(2, 2, 2, 1), v[:, t].reshape(2, 2, 1, 3)
        if decay is not None:
            state = state * decay[:, t].reshape(2, 2, -1, 1).exp()
        if beta is not None:
            new = beta[:, t].reshape(2, -1, 1, 1) * (new - (state * key).sum(2, keepdim=True))
        state = state + key * new
        query = q[:, t].reshape(2, 4, 2, 1)
        rows.append(0.6 * (query * state.repeat_interleave(2, 1)).sum(2).reshape(2, 1, 12))
    return [torch.cat(rows, 1), state]


def _causal(x: Any, w: Any, b: Any = None, before: Any = None, activate: Any = lambda x: x) -> list[Any]:
    reach = w.shape[2] - 1
    joined = torch.cat([torch.zeros(*x.shape[:2], reach, dtype=x.dtype) if before is None else before, x], 2)
    return [activate(F.conv1d(joined, w, b, groups=x.shape[1])), joined[:, :, -reach:]]


T, B, H, WIDTH = 3, 2, 3, 4
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
ORDER = {"RNN": [0], "GRU": [1, 0, 2], "LSTM": [0, 2, 3, 1]}  # the places of PyTorch's gates in ONNX's


def weights(name: str, directions: int = 1, layout: int = 0, length: int = T) -> list[Array]:
    """X, W, R, B, initial_h and initial_c."""
    n = GATES[name] * H
    x, state = ((B, length, WIDTH), (B, directions, H)) if layout else ((length, B, WIDTH), (directions, B, H))
    shapes: list[tuple[int, ...]] = [x, (directions, n, WIDTH), (directions, n, H), (directions, 2 * n), state, state]
    return [draw(40 + i, *shape) for i, shape in enumerate(shapes)]


def recurrences() -> Iterator[Case]:
    for name in GATES:
        outputs = 3 if name == "LSTM" else 2
        for direction, layout in (("forward", 0), ("reverse", 0), ("bidirectional", 0), ("bidirectional", 1)):
            given = {"hidden_size": H, "direction": direction, "layout": layout}
            if name == "GRU":
                given["linear_before_reset"] = 1
            x, w, r, b, h, c = weights(name, 1 + (direction == "bidirectional"), layout)
            states = (h, c) if name == "LSTM" else (h,)
            yield Case(name, (x, w, r, b, None, *states), given,
                       lambda *xs, name=name, given=given: _peer(name, given, *xs), outputs=outputs,
                       label=f"{direction}{layout}")  # fmt: skip
        x, w, r, *_ = weights(name, length=1)
        yield Case(name, (x, w, r), {"hidden_size": H}, outputs=1, label="one")
        x, w, r, b, h, c = weights(name, 2)
        one = (h[:, :1], c[:, :1]) if name == "LSTM" else (h[:, :1],)
        yield Case(name, (x[:, :1], w, r, None, None, *one), {"hidden_size": H, "direction": "bidirectional"},
                   outputs=outputs, label="single")  # fmt: skip
        ends, states = np.array([1, 3], np.int32), (h, c) if name == "LSTM" else (h,)
        yield Case(name, (x, w, r, b, ends, *states), {"hidden_size": H, "direction": "bidirectional"},
                   lambda *xs, name=name: _ragged(name, *xs), outputs=outputs, label="lengths")  # fmt: skip
    x, w, r, b, h, c = weights("LSTM")
    yield Case("LSTM", (x, w, r, b, None, h, c, draw(50, 1, 3 * H)), {"hidden_size": H}, _peepholes, outputs=3,
               label="peepholes")  # fmt: skip
    given = {"hidden_size": H, "clip": 0.8, "input_forget": 1}
    yield Case("LSTM", (x, w, r, b, None, h, 3 * c), given, _clipped, outputs=3, label="clipped")
    x, w, r, b, h, _ = weights("GRU")
    yield Case("GRU", (x, w, r, b, None, h), {"hidden_size": H}, _reset_before, outputs=2, label="before")
    functions = {
        "activations": ("HardSigmoid", "ScaledTanh"), "activation_alpha": (0.3, 0.9), "activation_beta": (0.4, 0.7),
    }  # fmt: skip
    yield Case("GRU", (x * 0.1, w, r, b, None, h), {"hidden_size": H, **functions}, outputs=2, label="functions")
    x, w, r, b, h, c = weights("LSTM")
    functions = {"activations": ("HardSigmoid", "Softsign", "Softplus")}
    yield Case("LSTM", (x, w, r, b, None, h, c), {"hidden_size": H, **functions}, outputs=3, label="functions")
    x, w, r, b, h, _ = weights("RNN", 2)
    functions = {"activations": ("Softsign", "Affine"), "activation_alpha": (0.5,), "activation_beta": (0.1,)}
    yield Case("RNN", (x, w, r, b, None, h), {"hidden_size": H, "direction": "bidirectional", **functions}, outputs=2,
               label="functions")  # fmt: skip


def _peer(name: str, given: dict[str, Any], x: Any, w: Any, r: Any, b: Any, _: Any, *states: Any) -> list[Any]:
    """PyTorch's module; one that runs in reverse is one that runs forward over the flipped sequence."""
    layout, direction, directions = given.get("layout", 0), given.get("direction", "forward"), w.shape[0]
    if layout:
        x, states = x.transpose(0, 1), tuple(state.transpose(0, 1) for state in states)
    if direction == "reverse":
        x = x.flip(0)
    flat = [part for i in range(directions) for part in _gates(name, w[i], r[i], b[i])]
    module = getattr(torch._VF, {"RNN": "rnn_tanh"}.get(name, name.lower()))
    hidden = tuple(states) if name == "LSTM" else states[0]
    y, *last = module(x, hidden, flat, True, 1, 0.0, False, directions == 2, False)
    if direction == "reverse":
        y = y.flip(0)
    y = y.reshape(*y.shape[:2], directions, H)
    if layout:
        return [y.transpose(0, 1), *(state.transpose(0, 1) for state in last)]
    return [y.transpose(1, 2), *last]


def _gates(name: str, w: Any, r: Any, b: Any) -> list[Any]:
    """ONNX's weights in the order of PyTorch's gates."""
    order, n = ORDER[name], GATES[name] * H
    parts = (w, r, b[:n], b[n:])
    return [torch.cat([part.split(H)[gate] for gate in order]).contiguous() for part in parts]


def _ragged(name: str, x: Any, w: Any, r: Any, b: Any, ends: Array, *states: Any) -> list[Any]:
    """Each example by itself, as long as it is; zeros fill its outputs up."""
    given = {"direction": "bidirectional", "linear_before_reset": 0}
    peer = _peer if name != "GRU" else _reset_both
    found = [
        peer(name, given, x[:end, i : i + 1], w, r, b, None, *(state[:, i : i + 1] for state in states))
        for i, end in enumerate(ends)
    ]
    rows = [F.pad(y, (0, 0, 0, 0, 0, 0, 0, T - y.shape[0])) for y, *_ in found]
    return [torch.cat(rows, 2), *(torch.cat(parts, 1) for parts in list(zip(*found, strict=True))[1:])]


def _reset_both(name: str, given: Any, x: Any, w: Any, r: Any, b: Any, _: Any, h: Any) -> list[Any]:
    ahead, first = _reset_before(x, w[:1], r[:1], b[:1], None, h[:1])
    back, last = _reset_before(x.flip(0), w[1:], r[1:], b[1:], None, h[1:])
    return [torch.cat([ahead, back.flip(0)], 1), torch.cat([first, last])]


def _reset_before(x: Any, w: Any, r: Any, b: Any, _: Any, h: Any) -> list[Any]:
    """ONNX's GRU as it is by default, written out: PyTorch resets after the product."""
    h, rows, n = h[0], [], 3 * H
    for step in x:
        a = step @ w[0].T + b[0, :n] + b[0, n:]
        z, reset = torch.sigmoid(a[:, : 2 * H] + h @ r[0, : 2 * H].T).chunk(2, -1)
        h = (1 - z) * torch.tanh(a[:, 2 * H :] + (reset * h) @ r[0, 2 * H :].T) + z * h
        rows.append(h)
    return [torch.stack(rows)[:, None], h[None]]


def _peepholes(x: Any, w: Any, r: Any, b: Any, _: Any, h: Any, c: Any, p: Any) -> list[Any]:
    h, c, rows = h[0], c[0], []
    to_i, to_o, to_f = p[0].chunk(3)
    for step in x:
        i, o, f, g = (step @ w[0].T + h @ r[0].T + b[0, : 4 * H] + b[0, 4 * H :]).chunk(4, -1)
        c = torch.sigmoid(f + to_f * c) * c + torch.sigmoid(i + to_i * c) * torch.tanh(g)
        h = torch.sigmoid(o + to_o * c) * torch.tanh(c)
        rows.append(h)
    return [torch.stack(rows)[:, None], h[None], c[None]]


def _clipped(x: Any, w: Any, r: Any, b: Any, _: Any, h: Any, c: Any) -> list[Any]:
    """What goes into the gates is clipped; the cell is not, neither on its way to the next step nor into h."""
    h, c, rows = h[0], c[0], []
    for step in x:
        gates = step @ w[0].T + h @ r[0].T + b[0, : 4 * H] + b[0, 4 * H :]
        i, o, _, g = gates.clamp(-0.8, 0.8).chunk(4, -1)
        c = (1 - torch.sigmoid(i)) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        rows.append(h)
    return [torch.stack(rows)[:, None], h[None], c[None]]
