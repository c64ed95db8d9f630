"""What the passes over memory of LeNet-5 cost: Tanh, its gradient, average pooling and its gradient. Run: python bench/forms/pointwise.py"""

from __future__ import annotations

from measure import table

if __name__ == "__main__":
    for c, h in ((6, 28), (16, 10)):
        n, o = 64, h // 2
        table(
            f"average pool 2x2 of [{n},{c},{h},{h}]",
            {"x": (n, c, h, h)},
            {
                "AveragePool": f"f (float[{n},{c},{h},{h}] x) => (float[{n},{c},{o},{o}] y) {{ y = AveragePool<kernel_shape=[2,2], strides=[2,2]>(x) }}",
                "ReduceMean": f"""f (float[{n},{c},{h},{h}] x) => (float[{n},{c},{o},{o}] y) {{
                  s = Constant<value_ints=[-1,2,{o},2]>() x4 = Reshape(x, s) a = Constant<value_ints=[1,3]>()
                  m = ReduceMean<keepdims=0>(x4, a) t = Constant<value_ints=[{n},{c},{o},{o}]>() y = Reshape(m, t) }}""",
                "MatMul": f"""f (float[{n},{c},{h},{h}] x) => (float[{n},{c},{o},{o}] y) {{
                  s = Constant<value_ints=[-1,{2 * h}]>() x2 = Reshape(x, s)
                  v = Constant<value_floats=[{",".join("0.25" if (i % h) // 2 == j else "0.0" for i in range(2 * h) for j in range(o))}]>()
                  vs = Constant<value_ints=[{2 * h},{o}]>() m = Reshape(v, vs)
                  p = MatMul(x2, m) t = Constant<value_ints=[{n},{c},{o},{o}]>() y = Reshape(p, t) }}""",
                "Conv": f"""f (float[{n},{c},{h},{h}] x) => (float[{n},{c},{o},{o}] y) {{
                  s = Constant<value_ints=[{n * c},1,{h},{h}]>() x2 = Reshape(x, s)
                  v = Constant<value_floats=[0.25,0.25,0.25,0.25]>()
                  vs = Constant<value_ints=[1,1,2,2]>() m = Reshape(v, vs)
                  p = Conv<strides=[2,2]>(x2, m) t = Constant<value_ints=[{n},{c},{o},{o}]>() y = Reshape(p, t) }}""",
            },
        )
        header = f"f (float[{n},{c},{o},{o}] g) => (float[{n},{c},{h},{h}] d) {{ q = Constant<value_float=0.25>()"
        table(
            f"gradient of average pool 2x2 of [{n},{c},{h},{h}]",
            {"g": (n, c, o, o)},
            {
                "Expand": f"""{header} h = Mul(g, q) s = Constant<value_ints=[-1,{o},1,{o},1]>() r = Reshape(h, s)
                  e = Constant<value_ints=[1,1,2,1,2]>() x = Expand(r, e) t = Constant<value_ints=[{n},{c},{h},{h}]>() d = Reshape(x, t) }}""",
                "Resize": f"""{header} h = Mul(g, q) s = Constant<value_floats=[1.0,1.0,2.0,2.0]>() 
                  d = Resize<mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor">(h, , s) }}""",
                "MatMul": f"""{header} s = Constant<value_ints=[-1,{o}]>() r = Reshape(g, s)
                  v = Constant<value_floats=[{",".join("0.25" if (i % h) // 2 == j else "0.0" for j in range(o) for i in range(2 * h))}]>()
                  vs = Constant<value_ints=[{o},{2 * h}]>() m = Reshape(v, vs)
                  p = MatMul(r, m) t = Constant<value_ints=[{n},{c},{h},{h}]>() d = Reshape(p, t) }}""",
                "ConvTranspose": f"""{header} s = Constant<value_ints=[{n * c},1,{o},{o}]>() r = Reshape(g, s)
                  v = Constant<value_floats=[0.25,0.25,0.25,0.25]>() vs = Constant<value_ints=[1,1,2,2]>() m = Reshape(v, vs)
                  p = ConvTranspose<strides=[2,2]>(r, m) t = Constant<value_ints=[{n},{c},{h},{h}]>() d = Reshape(p, t) }}""",
                "Concat": f"""{header} h = Mul(g, q) s = Constant<value_ints=[-1,{o},1]>() r = Reshape(h, s)
                  a = Concat<axis=2>(r, r) s2 = Constant<value_ints=[-1,1,{h}]>() b = Reshape(a, s2) e = Concat<axis=1>(b, b)
                  t = Constant<value_ints=[{n},{c},{h},{h}]>() d = Reshape(e, t) }}""",
                "Gather": f"""{header} h = Mul(g, q) s = Constant<value_ints=[-1,{o * o}]>() r = Reshape(h, s)
                  i = Constant<value_ints=[{",".join(str((y // 2) * o + x // 2) for y in range(h) for x in range(h))}]>()
                  e = Gather<axis=1>(r, i)
                  t = Constant<value_ints=[{n},{c},{h},{h}]>() d = Reshape(e, t) }}""",
                "Tile": f"""{header} h = Mul(g, q) s = Constant<value_ints=[-1,{o},1,{o},1]>() r = Reshape(h, s)
                  e = Constant<value_ints=[1,1,2,1,2]>() x = Tile(r, e) t = Constant<value_ints=[{n},{c},{h},{h}]>() d = Reshape(x, t) }}""",
            },
        )
        one = f"f (float[{n},{c},{h},{h}] x, float[{n},{c},{h},{h}] g) => (float[{n},{c},{h},{h}] y)"
        table(
            f"pointwise on [{n},{c},{h},{h}]",
            {"x": (n, c, h, h), "g": (n, c, h, h)},
            {
                "Tanh": one + "{ y = Tanh(x) }",
                "Sigmoid": one + "{ y = Sigmoid(x) }",
                "Mul": one + "{ y = Mul(x, g) }",
                "g*(1-x*x)": one + "{ c = Constant<value_float=1.0>() a = Mul(x, x) b = Sub(c, a) y = Mul(b, g) }",
                "g-g*x*x": one + "{ a = Mul(x, x) b = Mul(a, g) y = Sub(g, b) }",
            } if False else {"Tanh": one + "{ y = Tanh(x) }"},
        )
        table(f"pointwise on [{n},{c},{h},{h}]", {"x": (n, c, h, h), "g": (n, c, h, h)}, {"Mul": one + "{ y = Mul(x, g) }"})
        table(
            f"tanh gradient on [{n},{c},{h},{h}]", {"x": (n, c, h, h), "g": (n, c, h, h)},
            {
                "g*(1-x*x)": one + "{ c = Constant<value_float=1.0>() a = Mul(x, x) b = Sub(c, a) y = Mul(b, g) }",
                "g-g*x*x": one + "{ a = Mul(x, x) b = Mul(a, g) y = Sub(g, b) }",
            },
        )
        table(
            f"bias gradient on [{n},{c},{h},{h}]", {"g": (n, c, h, h)},
            {
                "ReduceSum": f"f (float[{n},{c},{h},{h}] g) => (float[{c}] y) {{ a = Constant<value_ints=[0,2,3]>() y = ReduceSum<keepdims=0>(g, a) }}",
                "two": f"f (float[{n},{c},{h},{h}] g) => (float[{c}] y) {{ a = Constant<value_ints=[2,3]>() z = ReduceSum<keepdims=0>(g, a) b = Constant<value_ints=[0]>() y = ReduceSum<keepdims=0>(z, b) }}",
                "three": f"""f (float[{n},{c},{h},{h}] g) => (float[{c}] y) {{ s = Constant<value_ints=[{n},{c},{h * h}]>() r = Reshape(g, s) a = Constant<value_ints=[2]>() z = ReduceSum<keepdims=0>(r, a) b = Constant<value_ints=[0]>() y = ReduceSum<keepdims=0>(z, b) }}""",
                "batch": f"f (float[{n},{c},{h},{h}] g) => (float[{c}] y) {{ a = Constant<value_ints=[0]>() z = ReduceSum<keepdims=0>(g, a) b = Constant<value_ints=[1,2]>() y = ReduceSum<keepdims=0>(z, b) }}",
            },
        )
