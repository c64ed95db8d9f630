"""Functions of one element: analytic functions, rounding and activations."""

from __future__ import annotations

import math
from typing import Any

from dlc.compiler.build import op
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.composition import composed
from dlc.compiler.ops.rules import ANY, NUMBERS, expect, mask, unary, where
from dlc.compiler.registry import Call, IllTyped, define, gradient, no_gradient, zero_gradient
from dlc.compiler.types import FLOATS, Type

for name in ("Exp", "Log", "Sqrt", "Reciprocal", "Erf", "Gelu", "Sigmoid", "Softplus", "Softsign", "Mish",
             "Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Tanh", "Asinh", "Acosh", "Atanh",
             "LeakyRelu", "Elu", "Selu", "Celu", "HardSigmoid", "HardSwish", "ThresholdedRelu", "Swish",
             "Floor", "Ceil", "Round"):  # fmt: skip
    define(name, unary(FLOATS))
for name in ("Neg", "Abs", "Sign", "Relu", "Shrink"):
    define(name, unary(NUMBERS))
for name in ("IsNaN", "IsInf"):
    define(name, unary(FLOATS, result="bool"))
define("Identity", unary(ANY))
zero_gradient("it is flat between its steps", "Floor", "Ceil", "Round", "Sign")
no_gradient("its result is a truth value", "IsNaN", "IsInf")


@gradient("Identity")
def _(g: Value) -> Value:
    return g


@gradient("Neg")
def _(g: Value) -> Value:
    return -g


@gradient("Abs")
def _(g: Value, x: Value) -> Any:
    return g * op.Sign(x)


@gradient("Exp")
def _(g: Value, y: Value) -> Value:
    return g * y


@gradient("Log")
def _(g: Value, x: Value) -> Value:
    return g / x


@gradient("Sqrt")
def _(g: Value, y: Value) -> Value:
    return g * 0.5 / y


@gradient("Reciprocal")
def _(g: Value, y: Value) -> Value:
    return -g * y * y


@gradient("Erf")
def _(g: Value, x: Value) -> Any:
    return g * (2 / math.sqrt(math.pi) * op.Exp(-x * x))


@gradient("Gelu")
def _(g: Value, x: Value, *, approximate: str = "none") -> Any:
    if approximate == "tanh":
        scale = math.sqrt(2 / math.pi)
        t = op.Tanh(scale * (x + 0.044715 * (x * x * x)))
        return g * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * (scale + 3 * 0.044715 * scale * (x * x)))
    cumulative = 0.5 + 0.5 * op.Erf(math.sqrt(0.5) * x)
    return g * (cumulative + x * (1 / math.sqrt(2 * math.pi) * op.Exp(-0.5 * (x * x))))


@gradient("Sigmoid")
def _(g: Value, y: Value) -> Value:
    return g * (y * (1 - y))


@gradient("Softplus")
def _(g: Value, x: Value) -> Any:
    return g * op.Sigmoid(x)


@gradient("Softsign")
def _(g: Value, x: Value) -> Any:
    below = 1 + op.Abs(x)
    return g / (below * below)


@gradient("Mish")
def _(g: Value, x: Value) -> Any:
    t = op.Tanh(op.Softplus(x))
    return g * (t + x * (1 - t * t) * op.Sigmoid(x))


@gradient("Sin")
def _(g: Value, x: Value) -> Any:
    return g * op.Cos(x)


@gradient("Cos")
def _(g: Value, x: Value) -> Any:
    return -g * op.Sin(x)


@gradient("Tan")
def _(g: Value, y: Value) -> Value:
    return g * (1 + y * y)


@gradient("Asin")
def _(g: Value, x: Value) -> Any:
    return g / op.Sqrt(1 - x * x)


@gradient("Acos")
def _(g: Value, x: Value) -> Any:
    return -g / op.Sqrt(1 - x * x)


@gradient("Atan")
def _(g: Value, x: Value) -> Value:
    return g / (1 + x * x)


@gradient("Sinh")
def _(g: Value, x: Value) -> Any:
    return g * op.Cosh(x)


@gradient("Cosh")
def _(g: Value, x: Value) -> Any:
    return g * op.Sinh(x)


@gradient("Tanh")
def _(g: Value, y: Value) -> Value:
    return g * (1 - y * y)


@gradient("Asinh")
def _(g: Value, x: Value) -> Any:
    return g / op.Sqrt(x * x + 1)


@gradient("Acosh")
def _(g: Value, x: Value) -> Any:
    return g / (op.Sqrt(x - 1) * op.Sqrt(x + 1))


@gradient("Atanh")
def _(g: Value, x: Value) -> Value:
    return g / (1 - x * x)


@gradient("Relu")
def _(g: Value, y: Value) -> Value:
    """A product: ONNX Runtime's Where makes two temporaries, and takes twice to five times as long on large tensors.

    y is nowhere below 0, so that the cast says where it is above; 0 to 15% faster (bench/forms/dense.py).
    """
    return g * mask(op.Cast(y, to="bool"), y)


@gradient("LeakyRelu")
def _(g: Value, x: Value, *, alpha: float = 0.01) -> Value:
    return where(x > 0.0, g, alpha * g)


@gradient("Elu")
def _(g: Value, y: Value, x: Value, *, alpha: float = 1.0) -> Value:
    return where(x > 0.0, g, g * (y + alpha))


@gradient("Selu")
def _(g: Value, y: Value, x: Value, *, alpha: float = 1.6732632423543772, gamma: float = 1.0507009873554805) -> Value:
    return where(x > 0.0, gamma * g, g * (y + gamma * alpha))


@gradient("Celu")
def _(g: Value, y: Value, x: Value, *, alpha: float = 1.0) -> Value:
    return where(x > 0.0, g, g * (y / alpha + 1))


@gradient("HardSigmoid")
def _(g: Value, y: Value, *, alpha: float = 0.2) -> Value:
    return where(op.And(y > 0.0, y < 1.0), alpha * g, 0.0)


@gradient("HardSwish")
def _(g: Value, x: Value) -> Value:
    return where(x < 3.0, where(x > -3.0, g * (x / 3 + 0.5), 0.0), g)


@gradient("ThresholdedRelu")
def _(g: Value, x: Value, *, alpha: float = 1.0) -> Value:
    return where(x > alpha, g, 0.0)


@gradient("Shrink")
def _(g: Value, x: Value, *, lambd: float = 0.5) -> Value:
    return where(op.Or(x > lambd, x < -lambd), g, 0.0)


@composed("Swish")
def _(node: Node, x: Value, *, alpha: float = 1.0) -> Any:
    return x * op.Sigmoid(x if alpha == 1 else alpha * x)


def _swiglu(call: Call) -> list[Type]:
    a, b = expect(call, 0, FLOATS), call.type(1)
    if a != b:
        raise IllTyped(f"SwiGLU of {a} and {b}: two of one type are expected, nothing is stretched")
    return [a]


define("SwiGLU", _swiglu)


@composed("SwiGLU")
def _(node: Node, a: Value, b: Value, *, alpha: float = 1.0) -> Any:
    return op.Swish(a, alpha=alpha) * b
