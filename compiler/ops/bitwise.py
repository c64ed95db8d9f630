"""Operators on the bits of integers, and bits read as another element type."""

from __future__ import annotations

from typing import Any

from dlc.compiler.build import op
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.element_types import element_type
from dlc.compiler.ops.rules import elementwise, unary
from dlc.compiler.registry import Call, IllTyped, define, evaluate, lower, no_gradient
from dlc.compiler.types import INTEGERS, Array, Type, numpy_dtype

for name in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
    define(name, elementwise(INTEGERS), broadcasts=True)
define("BitwiseNot", unary(INTEGERS))
no_gradient("it works on integers", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot")


def _bit_cast(call: Call) -> list[Type]:
    x, to = call.type(0), element_type(call, "to")
    if "str" in (x.dtype, to) or x.numpy.itemsize != numpy_dtype(to).itemsize:
        raise IllTyped(f"BitCast of {x} to {to}: the element types need as many bits")
    return [x.with_dtype(to)]


define("BitCast", _bit_cast)
no_gradient("it reads bits, which are no number that changes smoothly", "BitCast")


@evaluate("BitCast")
def _(x: Array, *, to: str) -> Array:
    return x.view(numpy_dtype(to))


@lower("BitCast")
def _(lowering: Any, node: Node, x: Value) -> Value | None:
    """Between integers a cast keeps the bits; opset 21 has nothing that reads a float's."""
    to = node.output.dtype
    if x.dtype == to:
        return x
    whole = x.dtype in INTEGERS and to in INTEGERS
    value: Value | None = op.Cast(x, to=to) if whole else None
    return value
