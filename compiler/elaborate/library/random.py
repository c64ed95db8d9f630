"""Random numbers of a site, dropout, and classes drawn at random."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dlc.compiler.build import current, op, private
from dlc.compiler.elaborate.context import Elaborator
from dlc.compiler.elaborate.kinds import Floats, Fraction, Integers
from dlc.compiler.elaborate.library.functions import function
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value
from dlc.compiler.types import Dim, Type


def uniform_bits(e: Elaborator, shape: Sequence[Dim]) -> Value:
    """Bits of the step's own stream at a new site."""
    bits: Value = private.RandomBits(e.scalar("seed"), e.scalar("step"), site=e.site(), shape=tuple(shape))
    return bits


@function("dropout")
def dropout(e: Elaborator, x: Floats, rate: Fraction) -> Value:
    """Each element is dropped with probability `rate`, the others grow by 1 / (1 - rate) (Srivastava et al., 2014)."""
    if not e.mode.training or e.mode.initial or rate == 0:
        return x
    kept = op.GreaterOrEqual(uniform_bits(e, x.shape), round(rate * 2**31))
    zero, scale = (current().constant(number, x.dtype) for number in (0.0, 1 / (1 - rate)))
    return x * op.Where(kept, scale, zero)


@function("random_choice")
def random_choice(e: Elaborator, logits: Floats, key: Integers) -> tuple[Value, Value]:
    """A class drawn by `softmax(logits)`, classes being the last axis, and the key of the next draw.

    What is drawn depends on the key alone. The class whose logit is greatest after Gumbel's noise is that draw
    (Gumbel, 1954).
    """
    if not logits.shape:
        raise Problem("E0301", "`random_choice` wants scores of classes", "this is one number", argument="logits")
    if key.type != Type("i64", ()):
        raise Problem("E0301", "`key` of `random_choice` is an i64[]", f"this is {key.type}", argument="key")
    start, site = current().constant(0, "i64"), e.site()
    bits = private.RandomBits(key, start, site=site, shape=logits.shape)
    # In f32 the greatest of the numbers below 1 would round to 1, whose noise is infinite.
    u = (op.Cast(bits, to="f64") + 0.5) * 2.0**-31
    noisy = op.Cast(logits, to="f64") - op.Log(-op.Log(u))
    following = private.RandomBits(key, start, site=f"{site}:next", shape=())
    return op.ArgMax(noisy, axis=-1, keepdims=0), following


def uniform_in_unit(type: Type, site: str) -> Value:
    """u = (bits + 0.5) / 2^31 in (0, 1)."""
    seed = seed_input()
    bits = private.RandomBits(seed, current().constant(0, "i64"), site=site, shape=type.shape)
    return (op.Cast(bits, to=type.dtype) + 0.5) * 2.0**-31


def seed_input() -> Value:
    """The graph's input `seed`, made where it is first asked for."""
    builder = current()
    for value in builder.inputs:
        if builder.names[value] == "seed":
            return value
    return builder.input("seed", Type("i64", ()))


def standard_normal(type: Type, site: str) -> Value:
    """Standard normal by Box and Muller (1958) from two streams."""
    u, v = uniform_in_unit(type, f"{site}:u"), uniform_in_unit(type, f"{site}:v")
    return op.Sqrt(op.Log(u) * -2.0) * op.Cos(v * (2 * math.pi))
