"""Random graphs: operators on each element by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from graph_maker import RECIPES, Maker, recipe

from dlc.compiler.graph import Value


def _each(names: str, prepare: Callable[[Maker, Value], Value] = lambda m, x: x, **attributes: Any) -> None:
    """One recipe for each operator of one argument."""
    for name in names.split():
        RECIPES.append(lambda m, name=name: m.keep(m.one(name, prepare(m, m.any()), **attributes)))


_each("Neg Identity Sin Cos Tanh Sigmoid Softplus Erf Atan Asinh Mish Gelu Exp Sinh Cosh Swish")
_each("Floor Ceil", lambda m, x: m.apart(x, *range(-9, 10)))
_each("Round", lambda m, x: m.apart(x, *(each + 0.5 for each in range(-9, 9))))
_each("Sign", lambda m, x: m.apart(x, 0.0))
_each("Gelu", approximate="tanh")
_each("Log Sqrt Reciprocal", lambda m, x: m.positive(x))
_each("Acosh", lambda m, x: m.one("Add", m.positive(x), np.array(1.0)))
_each("Asin Acos Atanh", lambda m, x: m.bounded(x))
_each("Tan", lambda m, x: m.bounded(x))
_each("Abs Relu LeakyRelu Elu Selu Celu Softsign", lambda m, x: m.apart(x, 0.0))
_each("Elu Celu LeakyRelu", lambda m, x: m.apart(x, 0.0), alpha=0.6)
_each("ThresholdedRelu", lambda m, x: m.apart(x, 0.3), alpha=0.3)
_each("HardSigmoid", lambda m, x: m.apart(x, -2.5, 2.5))
_each("HardSwish", lambda m, x: m.apart(x, -3.0, 3.0))
_each("Shrink", lambda m, x: m.apart(x, -0.5, 0.5), bias=0.1)


@recipe
def clip(m: Maker) -> None:
    m.keep(m.one("Clip", m.apart(m.any(), -0.7, 0.9), np.array(-0.7), np.array(0.9)))


@recipe
def prelu(m: Maker) -> None:
    x = m.apart(m.any(least=1), 0.0)
    m.keep(m.one("PRelu", x, m.numbers(x.shape[-1])))


def _two(name: str) -> None:
    def make(m: Maker) -> None:
        x = m.any()
        pair = [x, m.partner(x)]
        if m.coin():
            pair.reverse()
        m.keep(m.one(name, *pair))

    RECIPES.append(make)


for _name in ("Add", "Sub", "Mul", "Add", "Mul"):
    _two(_name)


@recipe
def divide(m: Maker) -> None:
    x = m.any()
    m.keep(m.one("Div", x, m.positive(m.partner(x))))


@recipe
def remainder(m: Maker) -> None:
    x = m.any()
    y = m.positive(m.partner(x))
    quotient = m.one("Div", x, y)
    m.apart(quotient, *range(-9, 10))
    m.keep(m.one("Mod", x, y, fmod=1))


@recipe
def power(m: Maker) -> None:
    x = m.any()
    if m.coin():
        m.keep(m.one("Pow", x, np.array(float(m.rng.integers(1, 4)))))
    else:
        m.keep(m.one("Pow", m.positive(x), m.bounded(m.partner(x))))


@recipe
def extreme(m: Maker) -> None:
    x = m.any()
    y = m.partner(x)
    m.apart(m.one("Sub", x, y), 0.0, margin=1e-2)
    m.keep(m.one(m.pick("Max", "Min"), x, y))


@recipe
def several(m: Maker) -> None:
    x = m.any()
    m.keep(m.one(m.pick("Sum", "Mean"), x, m.partner(x), m.partner(x)))


@recipe
def gated(m: Maker) -> None:
    x = m.any()
    m.keep(m.one("SwiGLU", x, m.numbers(*x.shape), alpha=0.7))


@recipe
def cast(m: Maker) -> None:
    x = m.any()
    m.keep(m.one("CastLike", x, m.numbers()) if m.coin() else m.one("Cast", x, to="f64"))
