"""Forms of max pooling forward and backward. Run: python bench/forms/max_pool_gradient.py"""

from __future__ import annotations

from typing import Any

from measure import table


def torch_form(k: int, s: int) -> Any:
    def make(inputs: dict[str, Any]) -> Any:
        import torch

        x, g = inputs["x"].requires_grad_(), inputs["g"]

        def run() -> Any:
            y = torch.nn.functional.max_pool2d(x, k, s)
            return [y, torch.autograd.grad(y, x, g)[0]]

        return run

    return make


def signature(n: int, c: int, h: int, o: int) -> str:
    large, small = f"float[{n},{c},{h},{h}]", f"float[{n},{c},{o},{o}]"
    return f"f ({large} x, {small} g) => ({small} y, {large} dx)"


def scatter(n: int, c: int, h: int, k: int, s: int) -> str:
    o = (h - k) // s + 1
    return f"""{signature(n, c, h, o)} {{
      y, i = MaxPool<kernel_shape=[{k},{k}], strides=[{s},{s}]>(x)
      zs = Constant<value_ints=[{n * c},{h * h}]>() z0 = ConstantOfShape(zs)
      r = Constant<value_ints=[{n * c},{o * o}]>() g2 = Reshape(g, r) i2 = Reshape(i, r)
      off = Constant<value_ints=[{",".join(str(j * h * h) for j in range(n * c))}]>()
      offs = Constant<value_ints=[{n * c},1]>() off2 = Reshape(off, offs)
      j = Sub(i2, off2)
      d = ScatterElements<axis=1, reduction="add">(z0, j, g2)
      t = Constant<value_ints=[{n},{c},{h},{h}]>() dx = Reshape(d, t)
    }}"""


def scatter_mod(n: int, c: int, h: int, k: int, s: int) -> str:
    return scatter(n, c, h, k, s).replace("j = Sub(i2, off2)", f"hw = Constant<value_int={h * h}>() j = Mod(i2, hw)")


def unpool(n: int, c: int, h: int, k: int, s: int) -> str:
    o = (h - k) // s + 1
    return f"""{signature(n, c, h, o)} {{
      y, i = MaxPool<kernel_shape=[{k},{k}], strides=[{s},{s}]>(x)
      t = Constant<value_ints=[{n},{c},{h},{h}]>()
      dx = MaxUnpool<kernel_shape=[{k},{k}], strides=[{s},{s}]>(g, i, t)
    }}"""


def resize(n: int, c: int, h: int, k: int, s: int) -> str:
    """Compare with the repeated maximum, every tie taken: not the right gradient, the price of a comparison."""
    o = (h - k) // s + 1
    up = '<mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor">'
    return f"""{signature(n, c, h, o)} {{
      y = MaxPool<kernel_shape=[{k},{k}], strides=[{s},{s}]>(x)
      sc = Constant<value_floats=[1.0,1.0,{k}.0,{k}.0]>()
      yu = Resize{up}(y, , sc) gu = Resize{up}(g, , sc)
      m = Equal(x, yu) z = Constant<value_float=0.0>()
      dx = Where(m, gu, z)
    }}"""


def rank(n: int, c: int, h: int, k: int, s: int) -> str:
    """Equality with the upsampled maximum; the first of ties by a second pooling of (mask * priority)."""
    o = (h - k) // s + 1
    up = '<mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor">'
    pattern = ",".join(f"{k * k - (y % k) * k - x % k}.0" for y in range(h) for x in range(h))
    return f"""{signature(n, c, h, o)} {{
      y = MaxPool<kernel_shape=[{k},{k}], strides=[{s},{s}]>(x)
      sc = Constant<value_floats=[1.0,1.0,{k}.0,{k}.0]>()
      pv = Constant<value_floats=[{pattern}]>() ps = Constant<value_ints=[{h},{h}]>() p = Reshape(pv, ps)
      yu = Resize{up}(y, , sc) gu = Resize{up}(g, , sc)
      m = Equal(x, yu) z = Constant<value_float=0.0>()
      q = Where(m, p, z)
      qm = MaxPool<kernel_shape=[{k},{k}], strides=[{s},{s}]>(q)
      qu = Resize{up}(qm, , sc)
      f = Equal(q, qu)
      dx = Where(f, gu, z)
    }}"""


if __name__ == "__main__":
    for n, c, h, k, s in ((64, 6, 28, 2, 2), (32, 64, 56, 2, 2), (16, 64, 55, 3, 2)):
        o = (h - k) // s + 1
        forms: dict[str, Any] = {
            "torch": torch_form(k, s),
            "Indices, ScatterElements": scatter(n, c, h, k, s),
            "the same, Mod": scatter_mod(n, c, h, k, s),
        }
        if k == s:
            forms |= {
                "MaxUnpool": unpool(n, c, h, k, s),
                "Resize and compare (ties all)": resize(n, c, h, k, s),
                "ranked": rank(n, c, h, k, s),
            }
        table(
            f"MaxPool {k}, stride {s}, of [{n},{c},{h},{h}]",
            {"x": (n, c, h, h), "g": (n, c, o, o)},
            forms,
            rounds=3 if n * c * h * h < 1e6 else 2,
        )
