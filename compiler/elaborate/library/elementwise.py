"""Functions of one or more tensors, element by element."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from dlc.compiler.build import op, private
from dlc.compiler.elaborate.arithmetic import pair, stretch, tensor
from dlc.compiler.elaborate.context import Elaborator
from dlc.compiler.elaborate.entities import Builtin, describe
from dlc.compiler.elaborate.kinds import Element, Floats, Tensor
from dlc.compiler.elaborate.library.functions import BUILTINS, floating, function, tensor_of
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value
from dlc.compiler.types import Polynomial


def _pointwise(name: str, operator: str, python: Callable[[float], float] | None, meaning: str) -> None:
    """A function of one tensor, and of compile-time numbers where `python` says how."""

    def call(x: Any) -> Any:
        if python is not None and isinstance(x, int | float) and not isinstance(x, bool):
            try:
                return python(x)
            except (ValueError, OverflowError):
                raise Problem("E0303", f"`{name}` of {x}") from None
        if isinstance(x, Polynomial):
            x = tensor(x, "f32")
        return op[operator](floating(x, name))

    call.__doc__ = meaning
    BUILTINS[name] = Builtin(name, call)


_pointwise("relu", "Relu", None, "x where it is positive, elsewhere 0.")
_pointwise("sigmoid", "Sigmoid", None, "1 / (1 + exp(-x)).")
_pointwise("tanh", "Tanh", math.tanh, "The hyperbolic tangent.")
_pointwise("softplus", "Softplus", None, "log(1 + exp(x)).")
_pointwise("softsign", "Softsign", None, "x / (1 + abs(x)).")
_pointwise("exp", "Exp", math.exp, "e to the power of x.")
_pointwise("log", "Log", math.log, "The natural logarithm.")
_pointwise("sqrt", "Sqrt", math.sqrt, "The square root.")
_pointwise("cos", "Cos", math.cos, "The cosine.")
_pointwise("sin", "Sin", math.sin, "The sine.")
_pointwise("floor", "Floor", math.floor, "The greatest integer that is not above x; no gradient goes through.")
_pointwise("ceil", "Ceil", math.ceil, "The least integer that is not below x; no gradient goes through.")
_pointwise("round", "Round", round, "The nearest integer, of two the even one; no gradient goes through.")
_pointwise("mish", "Mish", None, "x * tanh(softplus(x)) (Misra, 2019).")
_pointwise("selu", "Selu", None, "The scaled `elu` that keeps mean 0 and variance 1 (Klambauer et al., 2017).")
_pointwise("erf", "Erf", math.erf, "The error function.")
_pointwise("hardswish", "HardSwish", None, "x * hardsigmoid(x) (Howard et al., 2019).")


@function("abs")
def absolute(x: Any) -> Any:
    """Without the sign."""
    return abs(x) if isinstance(x, int | float) and not isinstance(x, bool) else op.Abs(tensor_of(x, "abs"))


@function("square")
def square(x: Any) -> Any:
    """x * x."""
    if isinstance(x, bool) or not isinstance(x, int | float | Polynomial | Value):
        raise Problem("E0302", "`square` wants a tensor or a number", f"this is {describe(x)}")
    factor: Any = x
    return factor * factor


@function("leaky_relu")
def leaky_relu(x: Floats, slope: float = 0.01) -> Value:
    """x where it is positive, elsewhere `slope` * x."""
    return op.LeakyRelu(x, alpha=float(slope))


@function("elu")
def elu(x: Floats, alpha: float = 1.0) -> Value:
    """x where it is positive, elsewhere `alpha` * (exp(x) - 1)."""
    return op.Elu(x, alpha=float(alpha))


@function("relu6")
def relu6(x: Floats) -> Value:
    """x between 0 and 6."""
    return op.Clip(x, 0.0, 6.0)


@function("hardsigmoid")
def hardsigmoid(x: Floats) -> Value:
    """x / 6 + 1/2 between 0 and 1 (Howard et al., 2019, section 5.2)."""
    return op.HardSigmoid(x, alpha=1 / 6, beta=0.5)


@function("silu")
def silu(x: Floats) -> Value:
    """x * sigmoid(x) (Elfwing et al., 2018)."""
    return x * op.Sigmoid(x)


@function("prelu")
def prelu(x: Floats, slope: Floats) -> Value:
    """x where it is positive, elsewhere x times the slope of its channel, which is axis 1 (He et al., 2015)."""
    channels = x.shape[1] if x.type.rank > 1 else 1
    if slope.type.rank != 1 or slope.shape[0] not in (1, channels):
        text = "`prelu` takes one slope, or one for each channel"
        raise Problem("E0301", text, f"{slope.type} for {x.type}", argument="slope")
    behind = [1] * max(x.type.rank - 2, 0)
    return op.PRelu(x, slope if not behind else private.ReshapeTo(slope, shape=(*slope.shape, *behind)))


@function("gelu")
def gelu(x: Floats) -> Value:
    """x * Phi(x), exactly (Hendrycks & Gimpel, 2016)."""
    return x * 0.5 * (op.Erf(x * math.sqrt(0.5)) + 1.0)


@function("identity")
def identity(x: Any) -> Any:
    """x as it is."""
    return x


@function("detach")
def detach(x: Tensor) -> Value:
    """x, and no gradient goes through."""
    return private.Detach(x)


def _extreme(name: str, operator: str, python: Callable[[Any, Any], Any], meaning: str) -> None:
    def call(e: Elaborator, a: Any, b: Any) -> Any:
        if not isinstance(a, Value) and not isinstance(b, Value):
            if isinstance(a, Polynomial) or isinstance(b, Polynomial):
                a, b = tensor(a, e.mode.working), tensor(b, e.mode.working)
            elif not all(isinstance(each, int | float) and not isinstance(each, bool) for each in (a, b)):
                wrong = b if isinstance(a, int | float) and not isinstance(a, bool) else a
                raise Problem("E0302", f"`{name}` compares numbers", f"this is {describe(wrong)}")
            else:
                return python(a, b)
        x, y = pair(a, b, "compared")
        stretch(x.type, y.type, "compared")
        return op[operator](x, y)

    call.__doc__ = meaning
    BUILTINS[name] = Builtin(name, call)


_extreme("minimum", "Min", min, "The lesser of two, element by element.")
_extreme("maximum", "Max", max, "The greater of two, element by element.")


@function("clip")
def clip(x: Tensor, low: float, high: float) -> Value:
    """x between `low` and `high`."""
    if low > high:
        raise Problem("E0303", f"nothing lies between {low} and {high}", "`low` is above `high`", argument="high")
    return op.Clip(x, tensor(low, x, "`low`"), tensor(high, x, "`high`"))


@function("where")
def where(e: Elaborator, condition: Any, a: Any, b: Any) -> Any:
    """`a` where the condition holds, `b` elsewhere."""
    if isinstance(condition, bool):
        return a if condition else b
    chosen = tensor_of(condition, "where")
    if chosen.dtype != "bool":
        text = "`where` chooses by truth values"
        raise Problem("E0302", text, f"the condition is {chosen.type}", argument="condition")
    like = next((side for side in (a, b) if isinstance(side, Value)), e.mode.working)
    x, y = tensor(a, like), tensor(b, like)
    x, y = pair(x, y, "chosen between")
    stretch(x.type.with_shape(stretch(x.type, y.type, "chosen between")), chosen.type, "chosen between")
    return op.Where(chosen, x, y)


@function("cast")
def cast(e: Elaborator, x: Tensor, to: Element) -> Value:
    """x as another element type: `cast(x, "i64")`."""
    return op.Cast(x, to=e.mode.working if to == "f32" else to)


@function("float")
def float_(e: Elaborator, x: Any) -> Any:
    """As the working float; what is one already stays."""
    if isinstance(x, Value):
        return x if x.dtype == e.mode.working else op.Cast(x, to=e.mode.working)
    if isinstance(x, Polynomial):
        return tensor(x, e.mode.working)
    if not isinstance(x, int | float):
        raise Problem("E0302", "`float` converts a number or a tensor", f"this is {describe(x)}")
    return float(x)
