"""Dropout and initializers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dlc.compiler.build import current, op, private
from dlc.compiler.elaborate.arithmetic import tensor
from dlc.compiler.elaborate.context import Elaborator
from dlc.compiler.elaborate.entities import Distribution, describe
from dlc.compiler.elaborate.library.functions import BUILTINS, floating, function, tensor_of
from dlc.compiler.elaborate.library.shape import dimension
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value
from dlc.compiler.types import Dim, Type


def uniform_bits(e: Elaborator, shape: Sequence[Dim]) -> Value:
    """Bits of the step's own stream at a new site."""
    bits: Value = private.RandomBits(e.scalar("seed"), e.scalar("step"), site=e.site(), shape=tuple(shape))
    return bits


@function("dropout")
def dropout(e: Elaborator, x: Any, rate: Any) -> Value:
    """Each element is dropped with probability `rate`, the others grow by 1 / (1 - rate) (Srivastava et al., 2014)."""
    value = floating(x, "dropout")
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < 1:
        raise Problem("E0303", "a rate of dropout is at least 0 and below 1", f"this is {describe(rate)}")
    if not e.mode.training or e.mode.initial or rate == 0:
        return value
    kept = op.GreaterOrEqual(uniform_bits(e, value.shape), round(rate * 2**31))
    zero, scale = (current().constant(number, value.dtype) for number in (0.0, 1 / (1 - rate)))
    return value * op.Where(kept, scale, zero)


def _uniform(type: Type, site: str) -> Value:
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


def _normal(type: Type, site: str) -> Value:
    """Standard normal by Box and Muller (1958) from two streams."""
    u, v = _uniform(type, f"{site}:u"), _uniform(type, f"{site}:v")
    return op.Sqrt(op.Log(u) * -2.0) * op.Cos(v * (2 * math.pi))


def fans(type: Type) -> tuple[int, int]:
    """Inputs and outputs of one unit: rank 2 is [in, out], higher ranks [out, in, kernel...]; raises Problem."""
    shape = type.static_shape()
    if len(shape) < 2:
        raise Problem("E0303", f"this initializer needs two axes or more, and {type} has {len(shape)}")
    if len(shape) == 2:
        return shape[0], shape[1]
    kernel = math.prod(shape[2:])
    return shape[1] * kernel, shape[0] * kernel


def _glorot(type: Type, site: str) -> Value:
    """Uniform in +-sqrt(6 / (in + out)) (Glorot & Bengio, 2010, equation 16)."""
    limit = math.sqrt(6 / sum(fans(type)))
    return _uniform(type, site) * (2 * limit) - limit


def _he(type: Type, site: str) -> Value:
    """Normal with deviation sqrt(2 / in) (He et al., 2015, equation 10)."""
    return _normal(type, site) * math.sqrt(2 / fans(type)[0])


def _filled(number: float) -> Callable[[Type, str], Value]:
    def make(type: Type, site: str) -> Value:
        if not type.shape:
            return current().constant(number, type.dtype)
        shape = current().constant(list(type.static_shape()), "i64")
        return op.ConstantOfShape(shape, value=np.array([number], type.numpy))

    return make


BUILTINS["glorot"] = Distribution("glorot", _glorot)
BUILTINS["he"] = Distribution("he", _he)
BUILTINS["zeros"] = Distribution("zeros", _filled(0.0), lambda e, shape: _full(e, shape, 0.0))
BUILTINS["ones"] = Distribution("ones", _filled(1.0), lambda e, shape: _full(e, shape, 1.0))


def _positive(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise Problem("E0303", f"{what} is a positive number", f"this is {describe(value)}")
    return float(value)


@function("normal")
def normal(deviation: Any = 1.0) -> Distribution:
    scale = _positive(deviation, "a deviation")
    return Distribution("normal", lambda type, site: _normal(type, site) * scale)


@function("uniform")
def uniform(a: Any = 1.0) -> Distribution:
    limit = _positive(a, "a bound")
    return Distribution("uniform", lambda type, site: _uniform(type, site) * (2 * limit) - limit)


def _full(e: Elaborator, shape: Any, value: Any) -> Value:
    if not isinstance(shape, list | tuple):
        raise Problem("E0302", "a shape is a list of dimensions", f"this is {describe(shape)}")
    kind = "bool" if isinstance(value, bool) else "i64" if isinstance(value, int) else e.mode.working
    dims = tuple(dimension(each) for each in shape)
    return private.ExpandTo(tensor(value, kind), shape=dims)


@function("full")
def full(e: Elaborator, shape: Any, value: Any) -> Value:
    return _full(e, shape, value)


@function("zeros_like")
def zeros_like(x: Any) -> Value:
    value = tensor_of(x, "zeros_like")
    return private.ExpandTo(current().constant(0, value.dtype), shape=value.shape)


@function("constant")
def constant(e: Elaborator, values: Any) -> Any:
    return tensor(values, e.mode.working)
