"""Forms of the input gradient of a plane convolution at stride 1. Run: python bench/forms/conv_input_gradient.py"""

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
        forms: dict[str, Any] = {
            "ConvTranspose": transpose,
            "ConvTranspose, sliced": transpose_valid,
            "flipped": flipped,
            "gathered": gathered,
            "columns": columns,
        }
        if k == h and p == 0:
            forms["gemm"] = gemm
        table(
            f"dX {name}: g [{n},{o},{oh},{oh}], {c} of {k}x{k}, pad {p}",
            {"g": (n, o, oh, oh), "w": (o, c, k, k)},
            {"torch": torch_form(n, c, h, o, k, p)} | {label: form(n, c, h, o, k, p) for label, form in forms.items()},
            rounds=3 if n * c * h * h < 1e6 else 1,
        )
