"""Forms of the gradient of average pooling with tiling windows. Run: python bench/forms/average_pool_gradient.py"""

from __future__ import annotations

import numpy as np
from measure import constant, table

NEAREST = '<mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor">'


def forms(n: int, c: int, o: int) -> dict[str, str]:
    h = 2 * o
    start = f"f (float[{n},{c},{o},{o}] g) => (float[{n},{c},{h},{h}] d) {{"
    quarter = f"{start} q = Constant<value_float=0.25>() s = Mul(g, q)"
    end = f"t = Constant<value_ints=[{n},{c},{h},{h}]>() d = Reshape(e, t) }}"
    apart = (
        f"rs = Constant<value_ints=[-1,{o},1,{o},1]>() r = Reshape(s, rs) times = Constant<value_ints=[1,1,2,1,2]>()"
    )
    places = ",".join(str((y // 2) * o + x // 2) for y in range(h) for x in range(h))
    return {
        "Resize": f"{quarter} by = Constant<value_floats=[1.0,1.0,2.0,2.0]>() d = Resize{NEAREST}(s, , by) }}",
        "Expand": f"{quarter} {apart} e = Expand(r, times) {end}",
        "Tile": f"{quarter} {apart} e = Tile(r, times) {end}",
        "Concat": f"""{quarter} rs = Constant<value_ints=[-1,{o},1]>() r = Reshape(s, rs) a = Concat<axis=2>(r, r)
          bs = Constant<value_ints=[-1,1,{h}]>() b = Reshape(a, bs) e = Concat<axis=1>(b, b) {end}""",
        "Gather": f"""{quarter} rs = Constant<value_ints=[-1,{o * o}]>() r = Reshape(s, rs)
          i = Constant<value_ints=[{places}]>() e = Gather<axis=1>(r, i) {end}""",
        "MatMul": f"""{start} {constant("m", np.tile(np.kron(np.eye(o), np.full((1, 2), 0.25)), (1, 2)))}
          rs = Constant<value_ints=[-1,{o}]>() r = Reshape(g, rs) e = MatMul(r, m) {end}""",
        "ConvTranspose": f"""{start} {constant("m", np.full((1, 1, 2, 2), 0.25))}
          rs = Constant<value_ints=[{n * c},1,{o},{o}]>() r = Reshape(g, rs)
          e = ConvTranspose<strides=[2,2]>(r, m) {end}""",
        "ConvTranspose, depthwise": f"""{start} {constant("m", np.full((c, 1, 2, 2), 0.25))}
          d = ConvTranspose<strides=[2,2], group={c}>(g, m) }}""",
    }


if __name__ == "__main__":
    for n, c, o in ((64, 6, 14), (64, 16, 5), (32, 64, 28)):
        table(f"gradient of average pool 2x2 to [{n},{c},{2 * o},{2 * o}]", {"g": (n, c, o, o)}, forms(n, c, o))
