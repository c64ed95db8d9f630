"""Random graphs: branches of truth values and integers, which no gradient enters and gradients pass beside."""

from __future__ import annotations

import numpy as np
from graph_maker import RECIPES, Maker, Unfit, recipe

from dlc.compiler.graph import Value

i64 = np.int64


def condition(m: Maker, x: Value) -> Value:
    """Truth values that broadcast with x: of a comparison, of the data, or both joined."""
    kind = m.pick("compared", "compared", "given", "equal", "finite", "cast")
    if kind == "compared":
        difference = m.apart(m.one("Sub", x, m.partner(x)), 0.0)
        made = m.one(m.pick("Less", "Greater", "LessOrEqual", "GreaterOrEqual"), difference, np.array(0.0))
    elif kind == "given":
        made = m.one("Equal", m.integers(0, 2, *x.shape), np.array(1))
    elif kind == "equal":
        made = m.one("Equal", m.one("Cast", m.apart(x, *range(-9, 10)), to="i64"), np.array(0))
    elif kind == "finite":
        made = m.one("Not", m.one(m.pick("IsNaN", "IsInf"), x))
    else:
        made = m.one("Cast", m.integers(0, 2, *x.shape, dtype="i32"), to="bool")
    return made


@recipe
def choose(m: Maker) -> None:
    x = m.any()
    made = condition(m, x)
    if m.coin():
        made = m.one(m.pick("And", "Or", "Xor"), made, condition(m, x))
    if m.coin(0.3):
        made = m.one("Not", made)
    m.keep(m.one("Where", made, x, m.partner(x)))


@recipe
def masked(m: Maker) -> None:
    x = m.any()
    m.keep(m.one("Mul", x, m.one("Cast", condition(m, x), to="f64")))


@recipe
def compress(m: Maker) -> None:
    """Its length depends on data, so that it is summed at once."""
    x = m.any(least=1)
    axis = m.axis(x)
    keep = m.one("Cast", m.integers(0, 2, x.shape[axis]), to="bool")
    m.keep(m.one("ReduceSum", m.one("Compress", x, keep, axis=axis), np.array([axis]), keepdims=int(m.coin())))


@recipe
def unique(m: Maker) -> None:
    x = m.untied(m.any(least=1))
    squared = m.one("ReduceSumSquare", m.one("Unique", x, sorted=int(m.coin())), np.array([0]), keepdims=0)
    m.keep(squared)


@recipe
def found(m: Maker) -> None:
    """The elements where something holds: their places depend on data."""
    x = m.any(least=1, most=3)
    where = condition(m, x)
    if where.shape != x.shape or not m.at(where).any():
        raise Unfit
    places = m.one("Transpose", m.one("NonZero", where), perm=(1, 0))
    m.keep(m.one("ReduceSum", m.one("GatherND", x, places), keepdims=0))


@recipe
def numbered(m: Maker) -> None:
    """start, start + delta, ... as a Range of floats gives them."""
    start, delta = m.any(rank=0), np.array(0.5)
    limit = m.one("Add", m.one("Identity", start), np.array(1.7))
    m.keep(m.one("ReduceSumSquare", m.one("Range", start, limit, delta), keepdims=0))


def index(m: Maker, n: int, *shape: int) -> Value:
    """Integers from 0 to n - 1 in the ways that graphs make them."""
    drawn = m.integers(0, n, *shape)
    kind = m.pick("plain", "plain", "modulo", "clipped", "counted", "position", "added")
    if kind == "modulo":
        return m.one("Mod", m.one("Add", drawn, m.integers(0, 9)), np.array(n))
    if kind == "clipped":
        return m.one("Min", m.one("Max", m.one("Sub", drawn, np.array(1)), np.array(0)), np.array(n - 1))
    if kind == "counted" and len(shape) == 1:
        counted = m.one("Range", np.array(0), np.array(shape[0]), np.array(1))
        return m.one("Mod", m.one("CumSum", counted, np.array(0)), np.array(n))
    if kind == "position":
        scores = m.untied(m.numbers(*shape, n, low=-3.0, high=3.0), axis=-1)
        return m.one(m.pick("ArgMax", "ArgMin"), scores, axis=-1, keepdims=0)
    if kind == "added":
        return m.one("Div", m.one("Add", drawn, drawn), np.array(2))
    return drawn


@recipe
def take_computed(m: Maker) -> None:
    x = m.any(least=1, most=3)
    axis = m.axis(x)
    shape = m.pick((3,), (2, 2))
    m.keep(m.one("Gather", x, index(m, m.extent(x, axis), *shape), axis=axis))


@recipe
def take_bits(m: Maker) -> None:
    x = m.any(least=1, most=3)
    axis = m.axis(x)
    size = m.extent(x, axis)
    bits = m.integers(0, 16, 3, dtype="u32")
    kind = m.pick("BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot", "BitShift")
    if kind == "BitwiseNot":
        bits = m.one(kind, m.one(kind, bits))
    elif kind == "BitShift":
        bits = m.one(kind, bits, np.array(1, np.uint32), direction=m.pick("LEFT", "RIGHT"))
    else:
        bits = m.one(kind, bits, m.integers(0, 16, dtype="u32"))
    m.keep(m.one("Gather", x, m.one("Mod", m.one("Cast", bits, to="i64"), np.array(size)), axis=axis))


@recipe
def position(m: Maker) -> None:
    x = m.untied(m.any(least=1))
    axis = m.axis(x)
    if x.shape[axis] == 0:
        raise Unfit
    where = m.one(m.pick("ArgMax", "ArgMin"), x, axis=axis)
    m.keep(m.one("GatherElements", x, where, axis=axis))


@recipe
def counted(m: Maker) -> None:
    """Sizes that are read when the graph runs: x / its count, x + the count along an axis."""
    x = m.any(least=1)
    if m.coin():
        count = m.one("Size", x)
    else:
        axis = m.axis(x) % x.type.rank
        count = m.one("Squeeze", m.one("Shape", x, start=axis, end=axis + 1))
    number = m.one("Cast", m.one("Add", count, np.array(1)), to="f64")
    m.keep(m.one(m.pick("Div", "Add"), x, number))


@recipe
def refilled(m: Maker) -> None:
    """What is made for a shape that is read."""
    x = m.any(least=1)
    filled = m.one("ConstantOfShape", m.one("Shape", x), value=np.array([0.4]))
    m.keep(m.one(m.pick("Add", "Mul"), x, filled))


@recipe
def diagonal(m: Maker) -> None:
    x = m.any(rank=2)
    m.keep(m.one("Mul", x, m.one("EyeLike", x, k=int(m.rng.integers(-1, 2)))))


@recipe
def hottest(m: Maker) -> None:
    x = m.any(least=1)
    axis = m.axis(x)
    m.keep(m.one("Mul", x, m.one("Hardmax", m.untied(x, axis), axis=axis)))


@recipe
def detached(m: Maker) -> None:
    """A product with a whole number of x, which is flat."""
    x = m.any()
    whole = m.one("Cast", m.apart(x, *range(-9, 10)), to=m.pick("i32", "i64"))
    m.keep(m.one("Mul", x, m.one("Cast", whole, to="f64")))


@recipe
def whole_product(m: Maker) -> None:
    """Integers multiplied, as a factor."""
    x = m.any(rank=2)
    left, right = m.integers(0, 9, x.shape[0], 3, dtype="u8"), m.integers(0, 9, 3, x.shape[1], dtype="i8")
    total = m.one("Cast", m.one("MatMulInteger", left, right, np.array(4, np.uint8)), to="f64")
    m.keep(m.one("Mul", x, m.one("Mul", total, np.array(0.02))))


@recipe
def whole_convolution(m: Maker) -> None:
    x = m.any(rank=4)
    channels = m.whole(x)[1]
    w = m.integers(0, 9, channels, channels, 1, 1, dtype="u8")
    total = m.one("Cast", m.one("ConvInteger", m.integers(0, 9, *x.shape, dtype="u8"), w), to="f64")
    m.keep(m.one("Mul", x, m.one("Mul", total, np.array(0.02))))


@recipe
def quantized(m: Maker) -> None:
    x = m.any()
    scale, zero = np.array(0.25), np.array(3, np.int8)
    m.apart(m.one("Div", x, scale), *(each + 0.5 for each in range(-20, 20)))
    rounded = m.one("QuantizeLinear", x, scale, zero)
    m.keep(m.one("Mul", x, m.one("DequantizeLinear", rounded, scale, zero)))


@recipe
def dequantized(m: Maker) -> None:
    """The scale has a gradient."""
    x = m.any(rank=0)
    q = m.integers(-20, 20, 3, 2, dtype="i8")
    m.keep(m.one("DequantizeLinear", q, m.one("Mul", m.positive(x), np.array(0.1)), np.array(2, np.int8)))


@recipe
def dynamic_range(m: Maker) -> None:
    x = m.apart(m.untied(m.any(least=1)), 0.0)
    if not m.size(x):  # the range of nothing
        raise Unfit
    m.keep(m.add("DynamicQuantizeLinear", x, outputs=3)[1])


def _window(name: str) -> None:
    def make(m: Maker) -> None:
        x = m.any(least=1)
        size = m.extent(x, -1)  # what a window of one element is that is not periodic, nobody says
        made = m.one(name, np.array(size), output_datatype="f64", periodic=int(size == 1 or m.coin()))
        m.keep(m.one("Mul", x, made))

    RECIPES.append(make)


for _name in ("HannWindow", "HammingWindow", "BlackmanWindow"):
    _window(_name)
