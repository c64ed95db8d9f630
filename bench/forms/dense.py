"""Small forms of dense networks. Run: python bench/forms/dense.py"""

from __future__ import annotations

from measure import table

if __name__ == "__main__":
    for b, n in ((64, 256), (64, 10), (6400, 32)):
        f = f"f (float[{b},{n}] g) => (float[{n}] y)"
        table(
            f"gradient of a bias: [{b},{n}] -> [{n}]",
            {"g": (b, n)},
            {
                "ReduceSum": f"{f} {{ a = Constant<value_ints=[0]>() y = ReduceSum<keepdims=0>(g, a) }}",
                "MatMul with ones": f"""{f} {{ s = Constant<value_ints=[{b}]>()
                  o = ConstantOfShape<value=float[1]{{1.0}}>(s) y = MatMul(o, g) }}""",
            },
        )
    f = "f (float[64,30] x, float[30] w) => (float[64] y)"
    table(
        "matrix times vector: [64,30] @ [30]",
        {"x": (64, 30), "w": (30,)},
        {
            "MatMul": f"{f} {{ y = MatMul(x, w) }}",
            "a column": f"""{f} {{ a = Constant<value_ints=[1]>()
              c = Unsqueeze(w, a) p = MatMul(x, c) y = Squeeze(p, a) }}""",
            "Mul, ReduceSum": f"{f} {{ p = Mul(x, w) a = Constant<value_ints=[1]>() y = ReduceSum<keepdims=0>(p, a) }}",
        },
    )
    for n in (256, 4096):
        f = f"f (float[64,{n}] g, float[64,{n}] x) => (float[64,{n}] d) {{ y = Relu(x)"
        table(
            f"Relu and its gradient: [64,{n}]",
            {"g": (64, n), "x": (64, n)},
            {
                "Greater, Cast, Mul": f"""{f} z = Constant<value_float=0.0>()
                  c = Greater(y, z) m = Cast<to=1>(c) d = Mul(g, m) }}""",
                "Cast, Cast, Mul": f"{f} c = Cast<to=9>(y) m = Cast<to=1>(c) d = Mul(g, m) }}",
                "Greater, Where": f"{f} z = Constant<value_float=0.0>() c = Greater(y, z) d = Where(c, g, z) }}",
                "Sign, Mul": f"{f} m = Sign(y) d = Mul(g, m) }}",
            },
        )
