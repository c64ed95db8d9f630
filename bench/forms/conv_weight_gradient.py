"""Forms of the weight gradient of a plane convolution at stride 1. Run: python bench/forms/conv_weight_gradient.py"""

from __future__ import annotations

import sys
from typing import Any

from measure import constant, table


def torch_form(k: int, p: int) -> Any:
    def make(inputs: dict[str, Any]) -> Any:
        import torch

        x, g = inputs["x"], inputs["g"]
        w = torch.zeros(g.shape[1], x.shape[1], k, k)
        return lambda: [
            torch.ops.aten.convolution_backward(
                g, x, w, None, [1, 1], [p, p], [1, 1], False, [0, 0], 1, [False, True, False]
            )[1]
        ]

    return make


def signature(n: int, c: int, h: int, o: int, k: int, p: int) -> str:
    oh = h + 2 * p - k + 1
    return f"f (float[{n},{c},{h},{h}] x, float[{n},{o},{oh},{oh}] g) => (float[{o},{c},{k},{k}] dw)"


def rank3(n: int, c: int, h: int, o: int, k: int, p: int) -> str:
    oh = h + 2 * p - k + 1
    return f"""{signature(n, c, h, o, k, p)} {{
      s = Constant<value_ints=[1,{n},{c},{h},{h}]>()
      gs = Constant<value_ints=[{o},{n},1,{oh},{oh}]>()
      ds = Constant<value_ints=[{o},{c},{k},{k}]>()
      x5 = Reshape(x, s)
      gt = Transpose<perm=[1,0,2,3]>(g)
      g5 = Reshape(gt, gs)
      y = Conv<pads=[0,{p},{p},0,{p},{p}]>(x5, g5)
      dw = Reshape(y, ds)
    }}"""


def swapped(n: int, c: int, h: int, o: int, k: int, p: int) -> str:
    return f"""{signature(n, c, h, o, k, p)} {{
      xt = Transpose<perm=[1,0,2,3]>(x)
      gt = Transpose<perm=[1,0,2,3]>(g)
      y = Conv<pads=[{p},{p},{p},{p}]>(xt, gt)
      dw = Transpose<perm=[1,0,2,3]>(y)
    }}"""


def _padded(p: int) -> str:
    if not p:
        return "xp = Identity(x)"
    return f"""pads = Constant<value_ints=[0,0,{p},{p},0,0,{p},{p}]>()
      xp = Pad(x, pads)"""


def columns(k: int, oh: int, source: str = "xp", axis: int = 1) -> str:
    lines = ["axes = Constant<value_ints=[2,3]>()"]
    names = []
    for i in range(k):
        for j in range(k):
            lines.append(f"b{i}_{j} = Constant<value_ints=[{i},{j}]>()")
            lines.append(f"e{i}_{j} = Constant<value_ints=[{i + oh},{j + oh}]>()")
            lines.append(f"s{i}_{j} = Slice({source}, b{i}_{j}, e{i}_{j}, axes)")
            names.append(f"s{i}_{j}")
    lines.append(f"cols = Concat<axis={axis}>({', '.join(names)})")
    return "\n      ".join(lines)


def slices_gemm(n: int, c: int, h: int, o: int, k: int, p: int) -> str:
    """Columns [N, k*k*C, OH, OW], batched product over images, then a sum."""
    oh = h + 2 * p - k + 1
    return f"""{signature(n, c, h, o, k, p)} {{
      {_padded(p)}
      {columns(k, oh)}
      s3 = Constant<value_ints=[{n},{k * k * c},{oh * oh}]>()
      g3s = Constant<value_ints=[{n},{o},{oh * oh}]>()
      c3 = Reshape(cols, s3)
      ct = Transpose<perm=[0,2,1]>(c3)
      cs = Constant<value_ints=[{n * oh * oh},{k * k * c}]>()
      c2 = Reshape(ct, cs)
      g3 = Reshape(g, g3s)
      gt = Transpose<perm=[1,0,2]>(g3)
      gs = Constant<value_ints=[{o},{n * oh * oh}]>()
      g2 = Reshape(gt, gs)
      m = MatMul(g2, c2)
      ms = Constant<value_ints=[{o},{k * k},{c}]>()
      m3 = Reshape(m, ms)
      mt = Transpose<perm=[0,2,1]>(m3)
      ds = Constant<value_ints=[{o},{c},{k},{k}]>()
      dw = Reshape(mt, ds)
    }}"""


def slices_first(n: int, c: int, h: int, o: int, k: int, p: int) -> str:
    """x as [C, N, H, W] once, columns [k*k*C, N, OH, OW], one Gemm with transB."""
    oh = h + 2 * p - k + 1
    return f"""{signature(n, c, h, o, k, p)} {{
      xt = Transpose<perm=[1,0,2,3]>(x)
      {_padded(p).replace("(x", "(xt")}
      {columns(k, oh, axis=0)}
      cs = Constant<value_ints=[{k * k * c},{n * oh * oh}]>()
      c2 = Reshape(cols, cs)
      gt = Transpose<perm=[1,0,2,3]>(g)
      gs = Constant<value_ints=[{o},{n * oh * oh}]>()
      g2 = Reshape(gt, gs)
      m = Gemm<transB=1>(g2, c2)
      ms = Constant<value_ints=[{o},{k * k},{c}]>()
      m3 = Reshape(m, ms)
      mt = Transpose<perm=[0,2,1]>(m3)
      ds = Constant<value_ints=[{o},{c},{k},{k}]>()
      dw = Reshape(mt, ds)
    }}"""


def slices_small_gemms(n: int, c: int, h: int, o: int, k: int, p: int) -> str:
    """A Gemm for each tap: no concatenation of the columns."""
    oh = h + 2 * p - k + 1
    lines = ["axes = Constant<value_ints=[2,3]>()"]
    names = []
    for i in range(k):
        for j in range(k):
            lines.append(f"b{i}_{j} = Constant<value_ints=[{i},{j}]>()")
            lines.append(f"e{i}_{j} = Constant<value_ints=[{i + oh},{j + oh}]>()")
            lines.append(f"s{i}_{j} = Slice(xp, b{i}_{j}, e{i}_{j}, axes)")
            lines.append(f"r{i}_{j} = Reshape(s{i}_{j}, cs)")
            lines.append(f"m{i}_{j} = Gemm<transB=1>(g2, r{i}_{j})")
            lines.append(f"n{i}_{j} = Reshape(m{i}_{j}, ms)")
            names.append(f"n{i}_{j}")
    body = "\n      ".join(lines)
    return f"""{signature(n, c, h, o, k, p)} {{
      xt = Transpose<perm=[1,0,2,3]>(x)
      {_padded(p).replace("(x", "(xt")}
      cs = Constant<value_ints=[{c},{n * oh * oh}]>()
      gt = Transpose<perm=[1,0,2,3]>(g)
      gs = Constant<value_ints=[{o},{n * oh * oh}]>()
      g2 = Reshape(gt, gs)
      ms = Constant<value_ints=[{o},{c},1]>()
      {body}
      m = Concat<axis=2>({", ".join(names)})
      ds = Constant<value_ints=[{o},{c},{k},{k}]>()
      dw = Reshape(m, ds)
    }}"""


def toeplitz(n: int, c: int, h: int, o: int, k: int, p: int) -> str:
    """Rows as matrices: for each kernel row one product [O*OW, N*OH] x [N*OH, C*W], then the k diagonals by a Gemm."""
    import numpy as np

    oh = h + 2 * p - k + 1
    w = h + 2 * p
    band = np.zeros((oh, w, k), np.float32)
    for j in range(k):
        for x in range(oh):
            band[x, x + j, j] = 1
    values = ",".join(str(v) for v in band.reshape(-1))
    lines = ["axes = Constant<value_ints=[0]>()"]
    names = []
    for i in range(k):
        lines.append(f"b{i} = Constant<value_ints=[{i}]>()")
        lines.append(f"e{i} = Constant<value_ints=[{i + oh}]>()")
        lines.append(f"s{i} = Slice(xt, b{i}, e{i}, axes)")
        lines.append(f"r{i} = Reshape(s{i}, rs)")
        lines.append(f"m{i} = Gemm<transA=1>(g2, r{i})")  # [O*OW, C*W]
        lines.append(f"n{i} = Reshape(m{i}, ms)")
        names.append(f"n{i}")
    body = "\n      ".join(lines)
    return f"""{signature(n, c, h, o, k, p)} {{
      {_padded(p)}
      xt = Transpose<perm=[2,0,1,3]>(xp)
      gt = Transpose<perm=[2,0,1,3]>(g)
      gs = Constant<value_ints=[{oh * n},{o * oh}]>()
      g2 = Reshape(gt, gs)
      rs = Constant<value_ints=[{oh * n},{c * w}]>()
      ms = Constant<value_ints=[1,{o},{oh},{c},{w}]>()
      {body}
      m = Concat<axis=0>({", ".join(names)})
      mt = Transpose<perm=[1,3,0,2,4]>(m)
      fs = Constant<value_ints=[{o * c * k},{oh * w}]>()
      mf = Reshape(mt, fs)
      bs = Constant<value_ints=[{oh * w},{k}]>()
      bv = Constant<value_floats=[{values}]>()
      band = Reshape(bv, bs)
      d2 = MatMul(mf, band)
      ds = Constant<value_ints=[{o},{c},{k},{k}]>()
      dw = Reshape(d2, ds)
    }}"""


def batched(n: int, c: int, h: int, o: int, k: int, p: int) -> str:
    """1x1: a product for each image, then their sum."""
    return f"""{signature(n, c, h, o, k, p)} {{
      gs = Constant<value_ints=[{n},{o},{h * h}]>() g3 = Reshape(g, gs)
      xs = Constant<value_ints=[{n},{c},{h * h}]>() x3 = Reshape(x, xs)
      xt = Transpose<perm=[0,2,1]>(x3) m = MatMul(g3, xt)
      a = Constant<value_ints=[0]>() s = ReduceSum<keepdims=0>(m, a)
      ds = Constant<value_ints=[{o},{c},1,1]>() dw = Reshape(s, ds)
    }}"""


def long(n: int, c: int, h: int, o: int, k: int, p: int) -> str:
    """1x1: one product over all pixels of all images."""
    return f"""{signature(n, c, h, o, k, p)} {{
      gt = Transpose<perm=[1,0,2,3]>(g) xt = Transpose<perm=[1,0,2,3]>(x)
      gs = Constant<value_ints=[{o},{n * h * h}]>() g2 = Reshape(gt, gs)
      xs = Constant<value_ints=[{c},{n * h * h}]>() x2 = Reshape(xt, xs)
      m = Gemm<transB=1>(g2, x2)
      ds = Constant<value_ints=[{o},{c},1,1]>() dw = Reshape(m, ds)
    }}"""


def blocked(side: int) -> Any:
    """As rank3, with g in blocks whose places are filters, and the diagonals of the result added up."""

    def make(n: int, c: int, h: int, o: int, k: int, p: int) -> str:
        import numpy as np

        oh = h + 2 * p - k + 1
        blocks, reach = oh // side, side + k - 1
        line = np.zeros((side, reach, k))
        for a in range(side):
            line[a, a + np.arange(k), np.arange(k)] = 1
        diagonals = np.einsum("api,bqj->abpqij", line, line).reshape(-1, k * k)
        return f"""{signature(n, c, h, o, k, p)} {{
          deep = SpaceToDepth<blocksize={side}>(g)
          gt = Transpose<perm=[1,0,2,3]>(deep)
          gs = Constant<value_ints=[{side * side * o},{n},1,{blocks},{blocks}]>() g5 = Reshape(gt, gs)
          s = Constant<value_ints=[1,{n},{c},{h},{h}]>() x5 = Reshape(x, s)
          r = Conv<pads=[0,{p},{p},0,{p},{p}], dilations=[1,{side},{side}]>(x5, g5)
          rs = Constant<value_ints=[{side * side},{o * c},{reach * reach}]>() r3 = Reshape(r, rs)
          rt = Transpose<perm=[1,0,2]>(r3)
          fs = Constant<value_ints=[{o * c},{side * side * reach * reach}]>() rows = Reshape(rt, fs)
          {constant("m", diagonals)}
          sums = MatMul(rows, m)
          ds = Constant<value_ints=[{o},{c},{k},{k}]>() dw = Reshape(sums, ds)
        }}"""

    return make


FORMS = {
    "rank3": rank3, "swapped": swapped, "slices_gemm": slices_gemm, "slices_first": slices_first, "toeplitz": toeplitz,
    "small_gemms": slices_small_gemms,
}  # fmt: skip
SHAPES = {
    "lenet1": (64, 1, 28, 6, 5, 2),
    "lenet2": (64, 6, 14, 16, 5, 0),
    "lenet3": (64, 16, 5, 120, 5, 0),
    "32x64x28 1x1": (32, 64, 28, 128, 1, 0),
    "32x256x14 1x1": (32, 256, 14, 64, 1, 0),
    "64x16x14 1x1": (64, 16, 14, 32, 1, 0),
    "32x64x56 3x3": (32, 64, 56, 64, 3, 1),
    "32x256x14 3x3": (32, 256, 14, 256, 3, 1),
}

if __name__ == "__main__":
    chosen = sys.argv[1].split(",") if len(sys.argv) > 1 else list(SHAPES)
    for name in chosen:
        n, c, h, o, k, p = SHAPES[name]
        oh = h + 2 * p - k + 1
        table(
            f"dW {name}: x [{n},{c},{h},{h}], {o} of {k}x{k}, pad {p}",
            {"x": (n, c, h, h), "g": (n, o, oh, oh)},
            {"torch": torch_form(k, p)}
            | {label: form(n, c, h, o, k, p) for label, form in FORMS.items()}
            | ({"1x1 batched": batched(n, c, h, o, k, p), "1x1 long": long(n, c, h, o, k, p)} if k == 1 else {})
            | {f"blocked by {s}": blocked(s)(n, c, h, o, k, p) for s in (2, 4, 7) if oh % s == 0},
            rounds=3 if n * c * h * h < 1e6 else 1,
        )
