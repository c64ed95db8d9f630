"""Forms of a plane convolution at stride 1 whose weight is an input. Run: python bench/forms/conv_forward.py [names]"""

from __future__ import annotations

import sys
from typing import Any

from conv_weight_gradient import SHAPES, _padded, columns
from measure import table


def torch_form(p: int) -> Any:
    def make(inputs: dict[str, Any]) -> Any:
        import torch

        x, w, b = inputs["x"], inputs["w"], inputs["b"]
        return lambda: [torch.nn.functional.conv2d(x, w, b, padding=p)]

    return make


def signature(n: int, c: int, h: int, o: int, k: int, p: int) -> str:
    oh = h + 2 * p - k + 1
    return f"f (float[{n},{c},{h},{h}] x, float[{o},{c},{k},{k}] w, float[{o}] b) => (float[{n},{o},{oh},{oh}] y)"


def conv(n: int, c: int, h: int, o: int, k: int, p: int) -> str:
    return f"{signature(n, c, h, o, k, p)} {{ y = Conv<pads=[{p},{p},{p},{p}]>(x, w, b) }}"


def slices(n: int, c: int, h: int, o: int, k: int, p: int) -> str:
    """Columns [N, k*k*C, OH*OW] and one product for each image."""
    oh = h + 2 * p - k + 1
    return f"""{signature(n, c, h, o, k, p)} {{
      {_padded(p)}
      {columns(k, oh)}
      s3 = Constant<value_ints=[{n},{k * k * c},{oh * oh}]>()
      c3 = Reshape(cols, s3)
      wt = Transpose<perm=[0,2,3,1]>(w)
      ws = Constant<value_ints=[{o},{k * k * c}]>()
      w2 = Reshape(wt, ws)
      y3 = MatMul(w2, c3)
      bs = Constant<value_ints=[{o},1]>()
      b2 = Reshape(b, bs)
      z3 = Add(y3, b2)
      ys = Constant<value_ints=[{n},{o},{oh},{oh}]>()
      y = Reshape(z3, ys)
    }}"""


def rank3_columns(n: int, c: int, h: int, o: int, k: int, p: int) -> str:
    """The images as the depth of one rank-3 convolution: kernel [1,k,k] on [1,C,N,H,W]."""
    oh = h + 2 * p - k + 1
    return f"""{signature(n, c, h, o, k, p)} {{
      xt = Transpose<perm=[1,0,2,3]>(x)
      xs = Constant<value_ints=[1,{c},{n},{h},{h}]>()
      x5 = Reshape(xt, xs)
      ws = Constant<value_ints=[{o},{c},1,{k},{k}]>()
      w5 = Reshape(w, ws)
      y5 = Conv<pads=[0,{p},{p},0,{p},{p}]>(x5, w5, b)
      ys = Constant<value_ints=[{o},{n},{oh},{oh}]>()
      y4 = Reshape(y5, ys)
      y = Transpose<perm=[1,0,2,3]>(y4)
    }}"""


def toeplitz(n: int, c: int, h: int, o: int, k: int, p: int) -> str:
    """Rows as vectors: one product [N*OH, k*C*W] x [k*C*W, O*OW] with a banded matrix made from the weight."""
    import numpy as np

    oh = h + 2 * p - k + 1
    w = h + 2 * p
    band = np.zeros((k, oh, w), np.float32)
    for j in range(k):
        for x in range(oh):
            band[j, x, x + j] = 1
    values = ",".join(str(v) for v in band.reshape(-1))
    lines = ["axes = Constant<value_ints=[1]>()"]
    names = []
    for i in range(k):
        lines.append(f"b{i} = Constant<value_ints=[{i}]>()")
        lines.append(f"e{i} = Constant<value_ints=[{i + oh}]>()")
        lines.append(f"s{i} = Slice(xt, b{i}, e{i}, axes)")
        names.append(f"s{i}")
    body = "\n      ".join(lines)
    return f"""{signature(n, c, h, o, k, p)} {{
      {_padded(p)}
      xt = Transpose<perm=[0,2,1,3]>(xp)
      {body}
      m = Concat<axis=2>({", ".join(names)})
      cs = Constant<value_ints=[{n * oh},{k * c * w}]>()
      m2 = Reshape(m, cs)
      bs = Constant<value_ints=[{k},{oh * w}]>()
      bv = Constant<value_floats=[{values}]>()
      bb = Reshape(bv, bs)
      wb = MatMul(w, bb)
      t5 = Constant<value_ints=[{o},{c},{k},{oh},{w}]>()
      wb5 = Reshape(wb, t5)
      wt = Transpose<perm=[2,1,4,0,3]>(wb5)
      wsh = Constant<value_ints=[{k * c * w},{o * oh}]>()
      w2 = Reshape(wt, wsh)
      y2 = MatMul(m2, w2)
      ysh = Constant<value_ints=[{n},{oh},{o},{oh}]>()
      y4 = Reshape(y2, ysh)
      yt = Transpose<perm=[0,2,1,3]>(y4)
      bias_shape = Constant<value_ints=[1,{o},1,1]>()
      bias = Reshape(b, bias_shape)
      y = Add(yt, bias)
    }}"""


def gemm(n: int, c: int, h: int, o: int, k: int, p: int) -> str:
    """The kernel as large as the input."""
    return f"""{signature(n, c, h, o, k, p)} {{
      xs = Constant<value_ints=[{n},{c * h * h}]>()
      x2 = Reshape(x, xs)
      ws = Constant<value_ints=[{o},{c * h * h}]>()
      w2 = Reshape(w, ws)
      y2 = Gemm<transB=1>(x2, w2, b)
      ys = Constant<value_ints=[{n},{o},1,1]>()
      y = Reshape(y2, ys)
    }}"""


if __name__ == "__main__":
    chosen = sys.argv[1].split(",") if len(sys.argv) > 1 else list(SHAPES)
    for name in chosen:
        n, c, h, o, k, p = SHAPES[name]
        forms = {"conv": conv, "slices": slices, "rank3": rank3_columns, "toeplitz": toeplitz}
        if k == h and p == 0:
            forms["gemm"] = gemm
        table(
            f"forward {name}: x [{n},{c},{h},{h}], {o} of {k}x{k}, pad {p}",
            {"x": (n, c, h, h), "w": (o, c, k, k), "b": (o,)},
            {"torch": torch_form(p)} | {label: form(n, c, h, o, k, p) for label, form in forms.items()},
            rounds=3 if n * c * h * h < 1e6 else 1,
        )
