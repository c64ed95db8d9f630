"""Rules for elementwise arithmetic, selection and casts.

Where operands commute, constants and scalars stand last, so that the rules look for them there alone. A scalar is a
float of rank 0, known at compile time or not.
"""

from __future__ import annotations

import math

from dlc.compiler.build import op
from dlc.compiler.graph import Node, Value
from dlc.compiler.passes.match import Sole, argument, arguments, attributes, constant, is_scalar, number, rule

# What each element type can be cast to without loss.
_WIDER: dict[str, frozenset[str]] = {
    "bool": frozenset({"u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64", "f16", "bf16", "f32", "f64"}),
    "u8": frozenset({"u16", "i16", "u32", "i32", "u64", "i64", "f16", "bf16", "f32", "f64"}),
    "i8": frozenset({"i16", "i32", "i64", "f16", "bf16", "f32", "f64"}),
    "u16": frozenset({"u32", "i32", "u64", "i64", "f32", "f64"}),
    "i16": frozenset({"i32", "i64", "f32", "f64"}),
    "u32": frozenset({"u64", "i64", "f64"}),
    "i32": frozenset({"i64", "f64"}),
    "f16": frozenset({"f32", "f64"}),
    "bf16": frozenset({"f32", "f64"}),
    "f32": frozenset({"f64"}),
}


@rule("Add", "Mul")
def constants_last(node: Node, x: Value, y: Value) -> Value | None:
    """2 * x -> x * 2, so that equal sums and products are one node."""
    if y.constant is None and (x.constant is not None or (is_scalar(x) and not is_scalar(y))):
        return op[node.op](y, x)
    return None


@rule("Add", "Sub")
def zero_term(node: Node, x: Value, y: Value) -> Value | None:
    """x + 0, x - 0 -> x, also where x is -0.0, whose sum with 0.0 would be 0.0; 0 - y -> -y."""
    if number(y) == 0:
        return x
    return -y if node.op == "Sub" and number(x) == 0 else None


@rule("Add")
def add_negative(node: Node, x: Value, y: Value) -> Value | None:
    """x + -y -> x - y"""
    if (b := argument(y, "Neg")) is not None:
        return x - b
    return y - a if (a := argument(x, "Neg")) is not None else None


@rule("Sub")
def subtract_negative(node: Node, x: Value, y: Value) -> Value | None:
    """x - -y -> x + y; x - y * -c -> x + y * c"""
    if (b := argument(y, "Neg")) is not None:
        return x + b
    factors = arguments(y, "Mul")
    if factors and (c := number(factors[1])) is not None and c < 0 and (k := constant(-c, y)) is not None:
        return x + factors[0] * k
    return None


@rule("Add", "Sub")
def common_factor(node: Node, x: Value, y: Value, *, sole: Sole) -> Value | None:
    """x * s + y * s -> (x + y) * s for a scalar s, if nothing else reads the products; -s is s with a sign."""
    left, right = arguments(x, "Mul"), arguments(y, "Mul")
    if not left or not right or not sole(x) or not sole(y) or is_scalar(x):
        return None
    (a, s), (b, t) = left, right
    if not is_scalar(s) or not is_scalar(t) or a.type != b.type:
        return None
    sign = sign_between(s, t)
    if sign is None:
        return None
    return (a + b if (node.op == "Add") == (sign > 0) else a - b) * s


def sign_between(s: Value, t: Value) -> int | None:
    """1 if two scalars are the same, -1 if one is the other's negative."""
    if s is t:
        return 1
    if argument(t, "Neg") is s or argument(s, "Neg") is t:
        return -1
    a, b = number(s), number(t)
    return -1 if a is not None and b is not None and a == -b else None


@rule("Mul", "Div")
def one_factor(node: Node, x: Value, y: Value) -> Value | None:
    """x * 1, x / 1 -> x; x * -1, x / -1 -> -x"""
    factor = number(y)
    if factor == 1:
        return x
    return -x if factor == -1 and x.type.is_float else None


@rule("Mul", "Div")
def negative_factor(node: Node, x: Value, y: Value, *, sole: Sole) -> Value | None:
    """Signs move outward, where sums and matrix products take them: -x * y -> -(x * y), and -x * 2 -> x * -2."""
    if not x.type.is_float:
        return None
    apply = op[node.op]
    a, b = argument(x, "Neg"), argument(y, "Neg")
    if a is not None and b is not None:
        return apply(a, b)
    if a is not None and (c := number(y)) is not None and (k := constant(-c, y)) is not None:
        return apply(a, k)
    if a is not None and sole(x):
        return -apply(a, y)
    return -apply(x, b) if b is not None and sole(y) else None


@rule("Neg")
def negated(node: Node, x: Value, *, sole: Sole) -> Value | None:
    """--x -> x; -(x - y) -> y - x, also as a factor; -(x * c), -(x / c) take the sign into c."""
    if (a := argument(x, "Neg")) is not None:
        return a
    if (terms := arguments(x, "Sub")) and sole(x):
        return terms[1] - terms[0]
    for name in ("Mul", "Div"):
        factors = arguments(x, name) if x.type.is_float else None
        if not factors:
            continue
        if (c := number(factors[1])) is not None and (k := constant(-c, x)) is not None:
            return op[name](factors[0], k)
        if (terms := arguments(factors[0], "Sub")) and sole(x) and sole(factors[0]):
            return op[name](terms[1] - terms[0], factors[1])
    return None


@rule("Mul", "Div")
def scalars_meet(node: Node, x: Value, y: Value, *, sole: Sole) -> Value | None:
    """(x * s) * t -> x * (s * t), and likewise with / for either *: one pass over x fewer, or one constant fewer.

    Among constants the new one is computed in float64 and rounded once.
    """
    if not is_scalar(y):
        return None
    for name in ("Mul", "Div"):
        factors = arguments(x, name)
        if not factors or not is_scalar(factors[1]):
            continue
        a, s = factors
        c, d = number(s), number(y)
        if c is not None and d is not None:
            below = (c if name == "Div" else 1.0) * (d if node.op == "Div" else 1.0)
            above = (c if name == "Mul" else 1.0) * (d if node.op == "Mul" else 1.0)
            merged = constant(above / below, y) if below and math.isfinite(below) and math.isfinite(above) else None
            return a * merged if merged is not None else None
        if is_scalar(a) or not sole(x):
            return None
        if name == "Div":
            return a / (s * y) if node.op == "Div" else a * (y / s)
        return a * (s * y) if node.op == "Mul" else a * (s / y)
    return None


@rule("Mul")
def scalars_outside(node: Node, x: Value, y: Value, *, sole: Sole) -> Value | None:
    """(x * s) * (y * t) -> (x * y) * (s * t) for scalars s and t"""
    left, right = arguments(x, "Mul"), arguments(y, "Mul")
    if not left or not right or x is y or not sole(x) or not sole(y) or is_scalar(left[0]) or is_scalar(right[0]):
        return None
    return (left[0] * right[0]) * (left[1] * right[1]) if is_scalar(left[1]) and is_scalar(right[1]) else None


@rule("Div")
def exact_division(node: Node, x: Value, y: Value) -> Value | None:
    """x / c -> x * (1 / c) where 1 / c is exact: c is a power of two. Elsewhere it would round differently."""
    c = number(y)
    if not y.type.is_float or c is None or abs(math.frexp(c)[0]) != 0.5:  # so is that of 0, infinity and NaN
        return None
    k = constant(1 / c, y)
    return x * k if k is not None else None


@rule("Mul")
def reciprocal_factor(node: Node, x: Value, y: Value, *, sole: Sole) -> Value | None:
    """x * (1 / y) -> x / y, if nothing else reads 1 / y and y is a tensor like x: then it is one pass fewer."""
    below = argument(y, "Reciprocal")
    if below is None and (fraction := arguments(y, "Div")) and number(fraction[0]) == 1:
        below = fraction[1]
    return x / below if below is not None and sole(y) and below.type == x.type and x.shape else None


@rule("Pow")
def fixed_power(node: Node, x: Value, y: Value) -> Value | None:
    """x ** 1, 2, 0.5, -1. The root differs at -0.0 (-0.0 for 0.0) and -infinity (NaN for infinity) alone."""
    power = number(y)
    if power == 1:
        return x
    if power == 2:
        return x * x
    if not x.type.is_float:
        return None
    return op.Sqrt(x) if power == 0.5 else op.Reciprocal(x) if power == -1 else None


@rule("Not")
def twice_not(node: Node, x: Value) -> Value | None:
    return argument(x, "Not")


@rule("Where")
def decided(node: Node, condition: Value, yes: Value, no: Value) -> Value | None:
    """Where of a condition that is the same everywhere, or of equal values; Where(not c, x, y) -> Where(c, y, x)."""
    if yes is no:
        return yes
    if (c := argument(condition, "Not")) is not None:
        return op.Where(c, no, yes)
    known = condition.constant
    if known is None or not known.size or known.min() != known.max():
        return None
    return yes if known.flat[0] else no


@rule("Identity")
def identity(node: Node, x: Value) -> Value:
    return x


@rule("Cast")
def cast(node: Node, x: Value) -> Value | None:
    """A cast to the same type; a cast of a cast that lost nothing."""
    if x.dtype == node.output.dtype:
        return x
    inner = argument(x, "Cast")
    if inner is None or x.dtype not in _WIDER.get(inner.dtype, frozenset()):
        return None
    return op.Cast(inner, to=node.output.dtype)


@rule("Log")
def log_of_softmax(node: Node, x: Value) -> Value | None:
    """Log(Softmax(x)) -> LogSoftmax(x), which does not underflow"""
    inner = argument(x, "Softmax")
    return None if inner is None else op.LogSoftmax(inner, **attributes(x))
