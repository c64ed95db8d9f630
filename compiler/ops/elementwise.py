"""Elementwise operators on several tensors, which broadcast; comparisons, selection and casts."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlc.compiler.build import op
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.rules import (
    ANY,
    BOOL,
    NUMBERS,
    at_run_shape,
    elementwise,
    expect,
    mask,
    stretch,
    stretched_inputs,
    stretched_to,
    together,
    unary,
    where,
)
from dlc.compiler.registry import Call, IllTyped, define, gradient, lower, no_gradient, settle
from dlc.compiler.types import FLOATS, ONNX_NUMBER, Type

for name in ("Add", "Sub", "Mul", "Div", "Min", "Max"):
    define(name, elementwise(), broadcasts=True)
for name in ("Sum", "Mean"):
    define(name, elementwise(FLOATS), broadcasts=True)
for name in ("Less", "LessOrEqual", "Greater", "GreaterOrEqual"):
    define(name, elementwise(result="bool"), broadcasts=True)
for name in ("And", "Or", "Xor"):
    define(name, elementwise(BOOL), broadcasts=True)
define("Equal", elementwise(ANY, result="bool"), broadcasts=True)
define("Not", unary(BOOL))
no_gradient("its result is a truth value", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal")
no_gradient("it works on truth values", "And", "Or", "Xor", "Not")


@gradient("Add")
def _(g: Value) -> tuple[Value, Value]:
    return g, g


@gradient("Sub")
def _(g: Value) -> tuple[Value, Value]:
    return g, -g


@gradient("Mul")
def _(g: Value, a: Value, b: Value) -> tuple[Value, Value]:
    return g * b, g * a


@gradient("Div")
def _(g: Value, y: Value, a: Value, b: Value) -> tuple[Value, Value]:
    return g / b, -(g / b) * y


@gradient("Sum")
def _(g: Value, *xs: Value) -> list[Value]:
    return [g for _ in xs]


@gradient("Mean")
def _(g: Value, *xs: Value) -> list[Value]:
    return [g / len(xs) for _ in xs]


def _pow(call: Call) -> list[Type]:
    base, exponent = expect(call, 0, NUMBERS), expect(call, 1, NUMBERS)
    return [base.with_shape(stretch(base, exponent))]


define("Pow", _pow, broadcasts=True)


@gradient("Pow")
def _(g: Value, y: Value, a: Value, b: Value) -> tuple[Value, Value | None]:
    """0 ** 0 has the derivatives 0 and 0, as in PyTorch."""
    if b.constant is not None and b.constant.size == 1 and b.constant.item() != 0:
        exponent = float(b.constant.item())
        power: Value = {2.0: a, 3.0: a * a}.get(exponent) or op.Pow(a, np.asarray(exponent - 1, a.type.numpy))
        return g * (exponent * power), _to_exponent(g, y, a, b)
    k = b if b.dtype == a.dtype else op.Cast(b, to=a.dtype)
    by_base = where(op.Equal(k, 0.0), 0.0, k * op.Pow(a, k - 1))
    return g * by_base, _to_exponent(g, y, a, b)


def _to_exponent(g: Value, y: Value, a: Value, b: Value) -> Value | None:
    if not b.type.is_float or b.constant is not None:
        return None
    cotangent = g * where(op.Equal(a, 0.0), 0.0, y * op.Log(where(op.Equal(a, 0.0), 1.0, a)))
    return cotangent if b.dtype == a.dtype else op.Cast(cotangent, to=b.dtype)


def _mod(call: Call) -> list[Type]:
    joined = together(call, (0, 1))
    if joined.is_float and not call.get("fmod", 0):
        raise IllTyped(f"Mod of {call.type(0)} needs fmod = 1: floats have only the remainder of C's fmod")
    return [joined]


define("Mod", _mod, broadcasts=True)


@gradient("Mod")
def _(g: Value, y: Value, a: Value, b: Value) -> tuple[Value, Value]:
    return g, -g * op.Round((a - y) / b)


@gradient("Max", "Min")
def _(g: Value, y: Value, *xs: Value) -> list[Value]:
    """Ties share the cotangent in equal parts."""
    if len(xs) == 1:
        return [g]
    wins = [mask(op.Equal(x, y), y) for x in xs]
    share = g / op.Sum(*wins)
    return [share * win for win in wins]


def _where(call: Call) -> list[Type]:
    condition, joined = expect(call, 0, BOOL), together(call, (1, 2))
    return [joined.with_shape(stretch(condition, joined))]


define("Where", _where, broadcasts=True)


@gradient("Where")
def _(g: Value, condition: Value) -> tuple[None, Value, Value]:
    return None, where(condition, g, 0.0), where(condition, 0.0, g)


def _one_way(call: Call) -> list[Type]:
    x, slope = expect(call, 0, FLOATS), together(call, (0, 1))
    if slope.shape != x.shape:
        raise IllTyped(f"{call.op}: the slope {call.type(1)} does not stretch to {x}")
    return [x]


define("PRelu", _one_way, broadcasts=True)


@settle("PRelu")
def _(call: Call) -> list[Value | None]:
    x, slope = call.inputs[:2]
    assert x is not None and slope is not None
    at_run_shape(call.op, x.shape, slope.shape)
    return [x, stretched_to(slope, x.shape)]


@gradient("PRelu")
def _(g: Value, x: Value, slope: Value) -> tuple[Value, Value]:
    return where(x > 0.0, g, g * slope), where(x > 0.0, 0.0, g * x)


def _clip(call: Call) -> list[Type]:
    x = expect(call, 0, NUMBERS)
    for index in (1, 2):
        if call.has(index) and call.type(index) != Type(x.dtype, ()):
            raise IllTyped(f"Clip of {x} takes bounds of type {x.dtype}[], not {call.type(index)}")
    return [x]


define("Clip", _clip, broadcasts=True)


@gradient("Clip")
def _(g: Value, x: Value, low: Value | None, high: Value | None) -> tuple[Value, Value | None, Value | None]:
    """The bounds belong to the inside, as in torch.clamp."""
    if low is not None and high is not None:
        inner = where(op.And(x >= low, x <= high), g, 0.0)
        # Where the bounds cross, ONNX's Clip gives the upper one.
        return inner, where(op.And(x < low, low < high), g, 0.0), where(op.Or(x > high, low >= high), g - inner, 0.0)
    if low is not None:
        return where(x >= low, g, 0.0), where(x < low, g, 0.0), None
    if high is not None:
        return where(x <= high, g, 0.0), None, where(x > high, g, 0.0)
    return g, None, None


def _cast(call: Call) -> list[Type]:
    to = call.get("to")
    if to not in ONNX_NUMBER:
        raise IllTyped(f"Cast to {to}: no such element type")
    return [call.type(0).with_dtype(to)]


define("Cast", _cast)


@gradient("Cast")
def _(g: Value, x: Value) -> Value | None:
    """A cast between floats is the identity up to rounding; one to or from integers is flat."""
    return op.Cast(g, to=x.dtype) if g.type.is_float and x.type.is_float else None


@lower("Cast")
def _(lowering: Any, node: Node, x: Value) -> Value | None:
    """`saturate` and `round_mode` concern 8-bit floats only: ONNX Runtime refuses them on other types."""
    special = node.attributes.keys() & {"saturate", "round_mode"}
    value: Value | None = op.Cast(x, to=node.output.dtype) if special else None
    return value


define("BitShift", elementwise(frozenset({"u8", "u16", "u32", "u64"})), broadcasts=True)
no_gradient("it works on integers", "BitShift")

settle(
    "Add", "Sub", "Mul", "Div", "Min", "Max", "Sum", "Mean", "Pow", "Mod", "Where", "BitShift", "Less", "LessOrEqual",
    "Greater", "GreaterOrEqual", "And", "Or", "Xor", "Equal",
)(stretched_inputs)  # fmt: skip
