"""Forms of average pooling with tiling windows. Run: python bench/forms/average_pool.py"""

from __future__ import annotations

import numpy as np
from measure import constant, table


def signature(n: int, c: int, h: int, k: int) -> str:
    return f"f (float[{n},{c},{h},{h}] x) => (float[{n},{c},{h // k},{h // k}] y)"


def operator(n: int, c: int, h: int, k: int) -> str:
    return f"{signature(n, c, h, k)} {{ y = AveragePool<kernel_shape=[{k},{k}], strides=[{k},{k}]>(x) }}"


def product(n: int, c: int, h: int, k: int) -> str:
    """k rows of the image as one row of a matrix, times a constant [k*W, W/k]."""
    o = h // k
    matrix = np.tile(np.kron(np.eye(o), np.full((k, 1), 1 / k / k)), (k, 1))
    return f"""{signature(n, c, h, k)} {{
      {constant("m", matrix)}
      s = Constant<value_ints=[-1,{k * h}]>() rows = Reshape(x, s)
      p = MatMul(rows, m)
      t = Constant<value_ints=[{n},{c},{o},{o}]>() y = Reshape(p, t) }}"""


if __name__ == "__main__":
    for n, c, h, k in (
        (64, 6, 28, 2),
        (64, 16, 10, 2),
        (64, 32, 16, 2),
        (32, 64, 32, 2),
        (32, 64, 56, 2),
        (8, 64, 112, 2),
    ):
        forms = {"AveragePool": operator(n, c, h, k), "MatMul": product(n, c, h, k)}
        table(f"average pool {k}x{k} of [{n},{c},{h},{h}]", {"x": (n, c, h, h)}, forms)
