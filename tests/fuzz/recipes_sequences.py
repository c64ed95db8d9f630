"""Random graphs: recurrence, attention and transforms along time."""

from __future__ import annotations

from typing import Any

import numpy as np
from graph_maker import RECIPES, Maker, Unfit, recipe

from dlc.compiler.graph import Value

i64 = np.int64
WIDTH, HIDDEN = 3, 2


def _rows(m: Maker, length: int, width: int) -> Value:
    """A value [batch, length, width]."""
    return m.cut(2, length, width)


def _recurrence(name: str, gates: int) -> None:
    def make(m: Maker) -> None:
        layout = int(m.coin(0.3))
        x = _rows(m, int(m.rng.integers(1, 4)), WIDTH)
        batch = x.shape[0]
        direction = m.pick("forward", "reverse", "bidirectional")
        n = 2 if direction == "bidirectional" else 1
        state = (batch, n, HIDDEN) if layout else (n, batch, HIDDEN)
        given: dict[str, Any] = {"hidden_size": HIDDEN, "direction": direction, "layout": layout}
        if name == "GRU":
            given["linear_before_reset"] = int(m.coin())
        lengths = m.integers(1, int(str(x.shape[1])) + 1, batch, dtype="i32") if m.coin(0.3) else None
        inputs: list[Any] = [
            x if layout else m.one("Transpose", x, perm=(1, 0, 2)), m.numbers(n, gates * HIDDEN, WIDTH),
            m.numbers(n, gates * HIDDEN, HIDDEN), m.numbers(n, 2 * gates * HIDDEN) if m.coin() else None, lengths,
        ]  # fmt: skip
        if m.coin():
            inputs += [m.numbers(*state) for _ in range(2 if name == "LSTM" else 1)]
            if name == "LSTM" and m.coin(0.3):
                inputs.append(m.numbers(n, 3 * HIDDEN))
        m.keep(*m.add(name, *inputs, outputs=3 if name == "LSTM" else 2, **given))

    RECIPES.append(make)


for _name, _gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4)):
    _recurrence(_name, _gates)


@recipe
def attention(m: Maker) -> None:
    """Heads apart or packed, causal, windowed, masked, with fewer keys' heads than queries'."""
    packed, length = m.coin(), int(m.rng.integers(1, 4))
    q = _rows(m, length, 8) if packed else m.cut(2, 4, length, 3)
    batch, keys = q.shape[0], int(m.rng.integers(1, 5))
    k = m.numbers(batch, keys, 4) if packed else m.numbers(batch, 2, keys, 3)
    v = m.numbers(batch, keys, 6) if packed else m.numbers(batch, 2, keys, 2)
    given: dict[str, Any] = {"q_num_heads": 4, "kv_num_heads": 2} if packed else {}
    if m.coin(0.3):
        given["is_causal"] = 1
    if m.coin(0.3):
        given["softcap"] = 1.5
    if m.coin(0.3):
        given["scale"] = 0.4
    mask = None
    if m.coin(0.3):
        mask = m.numbers(length, keys)
    elif m.coin(0.3):
        mask = m.one("Cast", m.integers(0, 2, length, keys), to="bool")
    m.keep(m.one("Attention", q, k, v, mask, **given))


@recipe
def rotation(m: Maker) -> None:
    x = m.cut(2, 3, 4, 6)
    interleaved = int(m.coin())
    if m.coin():
        places = m.integers(0, 5, x.shape[0], 4)
        tables = [m.numbers(5, 3), m.numbers(5, 3), places]
    else:
        tables = [m.numbers(x.shape[0], 4, 3), m.numbers(x.shape[0], 4, 3)]
    m.keep(m.one("RotaryEmbedding", x, *tables, interleaved=interleaved))


@recipe
def linear_attention(m: Maker) -> None:
    q = _rows(m, int(m.rng.integers(1, 4)), 8)
    batch, length = q.shape[:2]
    k, v = m.numbers(batch, length, 4, low=-0.4, high=0.4), m.numbers(batch, length, 6)
    past = m.numbers(batch, 2, 2, 3) if m.coin() else None
    rule = m.pick("linear", "gated", "delta", "gated_delta")
    decay = m.numbers(batch, length, m.pick(2, 4)) if "gated" in rule else None
    beta = m.numbers(batch, length, m.pick(1, 2), low=0.1) if "delta" in rule else None
    given = {"q_num_heads": 4, "kv_num_heads": 2, "update_rule": rule, "scale": 0.6}
    m.keep(*m.add("LinearAttention", q, k, v, past, decay, beta, outputs=2, **given))


@recipe
def causal_convolution(m: Maker) -> None:
    x = m.cut(2, 4, int(m.rng.integers(1, 5)))
    before = m.numbers(x.shape[0], 4, 2) if m.coin() else None
    bias = m.numbers(4) if m.coin() else None
    m.keep(*m.add("CausalConvWithState", x, m.numbers(4, 1, 3), bias, before, outputs=2,
                  activation=m.pick("none", "silu")))  # fmt: skip


@recipe
def transform(m: Maker) -> None:
    x = m.any(rank=1)
    if not 2 <= m.extent(x, 0) <= 16:
        raise Unfit
    column = m.one("Reshape", x, np.array([1, -1, 1], i64))
    length = np.array(int(m.rng.integers(2, 8))) if m.coin(0.3) else None
    m.keep(m.one("DFT", column, length, np.array(1), inverse=int(m.coin(0.3)), onesided=int(m.coin(0.3))))


@recipe
def short_transform(m: Maker) -> None:
    x = m.cut(2, 11, 1)
    window = m.numbers(4) if m.coin() else None
    m.keep(m.one("STFT", x, np.array(3), window, np.array(4), onesided=int(m.coin())))
