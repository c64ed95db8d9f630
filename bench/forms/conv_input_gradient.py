"""Forms of the input gradient of a two-dimensional convolution at stride 1. Run: python bench/forms/conv_input_gradient.py"""

from __future__ import annotations

import sys
from typing import Any

from conv_weight_gradient import SHAPES
from measure import table


def torch_form(n: int, c: int, h: int, o: int, k: int, p: int) -> Any:
    def make(inputs: dict[str, Any]) -> Any:
        import torch

        w, g = inputs["w"], inputs["g"]
        x = torch.zeros(n, c, h, h)
        return lambda: [
            torch.ops.aten.convolution_backward(
                g, x, w, None, [1, 1], [p, p], [1, 1], False, [0, 0], 1, [True, False, False]
            )[0]
        ]

    return make


def signature(n: int, c: int, h: int, o: int, k: int, p: int) -> str:
    oh = h + 2 * p - k + 1
    return f"f (float[{n},{o},{oh},{oh}] g, float[{o},{c},{k},{k}] w) => (float[{n},{c},{h},{h}] dx)"


def transpose(n: int, c: int, h: int, o: int, k: int, p: int) -> str:
    return f"{signature(n, c, h, o, k, p)} {{ dx = ConvTranspose<pads=[{p},{p},{p},{p}]>(g, w) }}"


def transpose_valid(n: int, c: int, h: int, o: int, k: int, p: int) -> str:
    return f"""{signature(n, c, h, o, k, p)} {{
      full = ConvTranspose(g, w)
      b = Constant<value_ints=[{p},{p}]>() e = Constant<value_ints=[{p + h},{p + h}]>() a = Constant<value_ints=[2,3]>()
      dx = Slice(full, b, e, a) }}"""


def flipped(n: int, c: int, h: int, o: int, k: int, p: int) -> str:
    """A convolution with the flipped weight: slices with steps -1 flip."""
    q = k - 1 - p
    return f"""{signature(n, c, h, o, k, p)} {{
      b = Constant<value_ints=[-1,-1]>() e = Constant<value_ints=[-{k + 1},-{k + 1}]>() a = Constant<value_ints=[2,3]>()
      wf = Slice(w, b, e, a, b)
      wt = Transpose<perm=[1,0,2,3]>(wf)
      dx = Conv<pads=[{q},{q},{q},{q}]>(g, wt)
    }}"""


def gathered(n: int, c: int, h: int, o: int, k: int, p: int) -> str:
    """A convolution with the weight flipped by Gather on its flat taps."""
    q = k - 1 - p
    taps = ",".join(str(k * k - 1 - i) for i in range(k * k))
    return f"""{signature(n, c, h, o, k, p)} {{
      s = Constant<value_ints=[{o},{c},{k * k}]>() w3 = Reshape(w, s)
      wt = Transpose<perm=[1,0,2]>(w3)
      i = Constant<value_ints=[{taps}]>() wf = Gather<axis=2>(wt, i)
      t = Constant<value_ints=[{c},{o},{k},{k}]>() w4 = Reshape(wf, t)
      dx = Conv<pads=[{q},{q},{q},{q}]>(g, w4)
    }}"""


def blocked(s: int) -> Any:
    """Outputs in blocks of s x s as channels: a convolution of stride s with s*s*C filters of (k+s-1) x (k+s-1), then DepthToSpace."""

    def make(n: int, c: int, h: int, o: int, k: int, p: int) -> str:
        import numpy as np

        q = k - 1 - p
        big = k + s - 1
        spread = np.zeros((k, k, s, s, big, big), np.float32)
        for i in range(k):
            for j in range(k):
                for a in range(s):
                    for b in range(s):
                        spread[i, j, a, b, a + k - 1 - i, b + k - 1 - j] = 1
        values = ",".join(map(str, spread.reshape(-1)))
        blocks = -(-h // s)
        end = blocks * s - h
        crop = (
            f"b = Constant<value_ints=[0,0]>() e = Constant<value_ints=[{h},{h}]>() a = Constant<value_ints=[2,3]>() dx = Slice(d, b, e, a)"
            if end
            else "dx = Identity(d)"
        )
        return f"""{signature(n, c, h, o, k, p)} {{
          ws = Constant<value_ints=[{o * c},{k * k}]>() w2 = Reshape(w, ws)
          mv = Constant<value_floats=[{values}]>() ms = Constant<value_ints=[{k * k},{s * s * big * big}]>() m = Reshape(mv, ms)
          r = MatMul(w2, m)
          r5s = Constant<value_ints=[{o},{c},{s * s},{big * big}]>() r5 = Reshape(r, r5s)
          rt = Transpose<perm=[2,1,0,3]>(r5)
          ks = Constant<value_ints=[{s * s * c},{o},{big},{big}]>() kk = Reshape(rt, ks)
          y = Conv<strides=[{s},{s}], pads=[{q},{q},{q + end},{q + end}]>(g, kk)
          d = DepthToSpace<blocksize={s}>(y)
          {crop}
        }}"""

    return make


def gemm(n: int, c: int, h: int, o: int, k: int, p: int) -> str:
    """The kernel as large as the input."""
    return f"""{signature(n, c, h, o, k, p)} {{
      gs = Constant<value_ints=[{n},{o}]>() g2 = Reshape(g, gs)
      ws = Constant<value_ints=[{o},{c * h * h}]>() w2 = Reshape(w, ws)
      d = MatMul(g2, w2)
      ds = Constant<value_ints=[{n},{c},{h},{h}]>() dx = Reshape(d, ds)
    }}"""


def columns(n: int, c: int, h: int, o: int, k: int, p: int) -> str:
    """W^T g as columns, added up by Col2Im (CPU only)."""
    oh = h + 2 * p - k + 1
    return f"""{signature(n, c, h, o, k, p)} {{
      gs = Constant<value_ints=[{n},{o},{oh * oh}]>() g3 = Reshape(g, gs)
      ws = Constant<value_ints=[{o},{c * k * k}]>() w2 = Reshape(w, ws)
      wt = Transpose<perm=[1,0]>(w2)
      m = MatMul(wt, g3)
      i = Constant<value_ints=[{h},{h}]>() b = Constant<value_ints=[{k},{k}]>()
      dx = Col2Im<pads=[{p},{p},{p},{p}]>(m, i, b)
    }}"""


if __name__ == "__main__":
    chosen = sys.argv[1].split(",") if len(sys.argv) > 1 else list(SHAPES)
    for name in chosen:
        n, c, h, o, k, p = SHAPES[name]
        oh = h + 2 * p - k + 1
        forms: dict[str, Any] = {"ConvTranspose": transpose, "ConvTranspose, sliced": transpose_valid, "flipped": flipped, "gathered": gathered,
            "blocked by 2": blocked(2), "blocked by 3": blocked(3), "columns": columns}
        if k == h and p == 0:
            forms["gemm"] = gemm
        table(
            f"dX {name}: g [{n},{o},{oh},{oh}], {c} of {k}x{k}, pad {p}",
            {"g": (n, o, oh, oh), "w": (o, c, k, k)},
            {"torch": torch_form(n, c, h, o, k, p)} | {label: form(n, c, h, o, k, p) for label, form in forms.items()},
            rounds=3 if n * c * h * h < 1e6 else 1,
        )
