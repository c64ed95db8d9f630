"""Initializers, and tensors that are made of a shape."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from dlc.compiler.build import current, op, private
from dlc.compiler.elaborate.arithmetic import tensor
from dlc.compiler.elaborate.context import Elaborator
from dlc.compiler.elaborate.entities import Builtin, Distribution
from dlc.compiler.elaborate.kinds import Extents, Positive, Tensor
from dlc.compiler.elaborate.library.functions import BUILTINS, function
from dlc.compiler.elaborate.library.random import standard_normal, uniform_in_unit
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value
from dlc.compiler.types import Type


def fans(type: Type) -> tuple[int, int]:
    """Inputs and outputs of one unit: rank 2 is [in, out], higher ranks [out, in, kernel...]; raises Problem."""
    shape = type.static_shape()
    if len(shape) < 2:
        raise Problem("E0303", f"this initializer needs two axes or more, and {type} has {len(shape)}")
    if 0 in shape:
        return 1, 1  # no element will be drawn, whatever the deviation
    if len(shape) == 2:
        return shape[0], shape[1]
    kernel = math.prod(shape[2:])
    return shape[1] * kernel, shape[0] * kernel


def _glorot(type: Type, site: str) -> Value:
    """Uniform in +-sqrt(6 / (in + out)) (Glorot & Bengio, 2010, equation 16)."""
    limit = math.sqrt(6 / sum(fans(type)))
    return uniform_in_unit(type, site) * (2 * limit) - limit


def _he(type: Type, site: str) -> Value:
    """Normal with deviation sqrt(2 / in) (He et al., 2015, equation 10)."""
    return standard_normal(type, site) * math.sqrt(2 / fans(type)[0])


def _filled(number: float) -> Callable[[Type, str], Value]:
    def make(type: Type, site: str) -> Value:
        if not type.shape:
            return current().constant(number, type.dtype)
        shape = current().constant(list(type.static_shape()), "i64")
        return op.ConstantOfShape(shape, value=np.array([number], type.numpy))

    return make


BUILTINS["glorot"] = Distribution("glorot", _glorot)
BUILTINS["he"] = Distribution("he", _he)


@function("normal")
def normal(deviation: Positive = 1.0) -> Distribution:
    """Normal around 0, with a deviation."""
    return Distribution("normal", lambda type, site: standard_normal(type, site) * float(deviation))


@function("uniform")
def uniform(a: Positive = 1.0) -> Distribution:
    """Uniform from -`a` to `a`."""
    limit = float(a)
    return Distribution("uniform", lambda type, site: uniform_in_unit(type, site) * (2 * limit) - limit)


GROWING, SETTLING = 16, 8
"""Turns of the two iterations below: the first lifts singular values from 1e-8 to about 1, the second makes them 1."""


def _orthogonal(type: Type, site: str) -> Value:
    """The orthogonal factor of a normal matrix, which is uniform among orthogonal ones (Saxe et al., 2014).

    The first axis against all others, like PyTorch: the fewer of rows and columns are orthonormal. The factor is found
    by odd polynomials of X, which move its singular values and nothing else: first the quintic of Jordan (2024), which
    lifts small ones by 3.4 in each turn, then Newton and Schulz's 1.5 x - 0.5 x^3 (Higham, 2008, section 8.3).
    """
    fans(type)
    shape = type.static_shape()
    rows, columns = shape[0], math.prod(shape[1:])
    wide = rows <= columns
    x = standard_normal(Type(type.dtype, (rows, columns) if wide else (columns, rows)), site)
    x = x / op.Sqrt(op.ReduceSumSquare(x, keepdims=0))
    for _ in range(GROWING):
        gram = x @ op.Transpose(x, perm=(1, 0))
        x = x * 3.4445 + (gram * -4.7750 + (gram @ gram) * 2.0315) @ x
    for _ in range(SETTLING):
        x = x * 1.5 - (x @ op.Transpose(x, perm=(1, 0))) @ x * 0.5
    if not wide:
        x = op.Transpose(x, perm=(1, 0))
    made: Value = private.ReshapeTo(x, shape=shape)
    return made


BUILTINS["orthogonal"] = Distribution("orthogonal", _orthogonal)


def _constant(name: str, number: float) -> Distribution:
    """An initializer that is a function of a shape as well."""

    def call(e: Elaborator, shape: Extents) -> Value:
        return full(e, shape, number)

    call.__doc__ = f"{number:g} everywhere: an initializer, and of a shape a tensor."
    return Distribution(name, _filled(number), Builtin(name, call))


@function("full")
def full(e: Elaborator, shape: Extents, value: Any) -> Value:
    """A tensor of that shape, everywhere `value`: a number, or a tensor that stretches to it."""
    kind = "bool" if isinstance(value, bool) else "i64" if isinstance(value, int) else e.mode.working
    return private.ExpandTo(tensor(value, kind), shape=tuple(shape))


BUILTINS["zeros"] = _constant("zeros", 0.0)
BUILTINS["ones"] = _constant("ones", 1.0)


@function("zeros_like")
def zeros_like(x: Tensor) -> Value:
    """Zeros of the type and shape of x."""
    return private.ExpandTo(current().constant(0, x.dtype), shape=x.shape)


@function("constant")
def constant(e: Elaborator, values: Any) -> Any:
    """A list of numbers, or a list of lists, as a tensor."""
    return tensor(values, e.mode.working)
