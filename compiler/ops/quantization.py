"""Quantized numbers, and products of integers.

A scale and a zero point are one for the whole tensor (scalars), one for each place along `axis` (vectors), or one for
each block of `block_size` along it: x = (q - zero) * scale.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dlc.compiler.build import op, private
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.element_types import element_type
from dlc.compiler.ops.indexing import counted
from dlc.compiler.ops.rules import expect, normal_axis, replaced, show
from dlc.compiler.registry import (
    Call,
    IllTyped,
    define,
    evaluate,
    expansion,
    lookup,
    lower,
    no_gradient,
    zero_gradient,
)
from dlc.compiler.types import FLOATS, Array, Shape, Type, from_onnx_number, quotient

BYTES = frozenset({"i8", "u8"})
QUANTIZED = BYTES | {"i16", "u16"}
SINGLE = ((), (1,))


def _scale(call: Call, x: Type) -> Type:
    """The type of the scale, which must fit the tensor; that of the zero point, if there is one, has the same shape."""
    scale = expect(call, 1, FLOATS)
    if call.has(2) and call.type(2).shape != scale.shape:
        raise IllTyped(f"{call.op}: the zero point is {call.type(2)}, the scale {scale}: their shapes differ")
    if scale.shape in SINGLE:
        return scale
    axis, block = normal_axis(call.op, call.get("axis", 1), x.rank), call.get("block_size", 0)
    wanted = replaced(x.shape, axis, quotient(x.shape[axis], block, ceiling=True)) if block else (x.shape[axis],)
    if scale.shape != wanted:
        raise IllTyped(f"{call.op} of {x} along axis {axis}: a scale of shape {show(wanted)} is expected, not {scale}")
    return scale


def _dequantize(call: Call) -> list[Type]:
    x = expect(call, 0, QUANTIZED | {"i32"})
    scale = _scale(call, x)
    if call.has(2) and call.type(2).dtype != x.dtype:
        raise IllTyped(f"DequantizeLinear of {x}: the zero point is {call.type(2)}")
    return [x.with_dtype(element_type(call, "output_dtype", scale.dtype))]


define("DequantizeLinear", _dequantize)


@expansion("DequantizeLinear")
def _dequantized(node: Node, x: Value, scale: Value, zero: Value | None, *, axis: int = 1, block_size: int = 0) -> Any:
    whole = op.Cast(x, to="i32")
    if zero is not None:
        whole = op.Sub(whole, op.Cast(_spread(zero, x, axis, block_size), to="i32"))
    y = op.Cast(whole, to=scale.dtype) * _spread(scale, x, axis, block_size)
    return y if y.dtype == node.output.dtype else op.Cast(y, to=node.output.dtype)


def _spread(scale: Value, x: Value, axis: int, block: int) -> Value:
    """A scale (or zero point) in a shape that stretches over the tensor."""
    if scale.shape in SINGLE:
        return scale if not scale.shape else private.ReshapeTo(scale, shape=())
    axis %= x.type.rank
    if not block:
        return private.ReshapeTo(scale, shape=tuple(d if i == axis else 1 for i, d in enumerate(x.shape)))
    blocks: Value = op.Gather(scale, op.Div(counted(x.shape[axis]), np.array(block)), axis=axis)
    return blocks


@lower("DequantizeLinear")
def _(lowering: Any, node: Node, x: Value, scale: Value, zero: Value | None = None) -> Any:
    """f64 has no kernel, nor had opset 21 an attribute for the type of the result."""
    if scale.dtype != "f64" and "output_dtype" not in node.attributes:
        return None
    given = {name: value for name, value in node.attributes.items() if name != "output_dtype"}
    return _dequantized(node, x, scale, zero, **given)


@evaluate("DequantizeLinear")
def _(x: Array, scale: Array, zero: Array | None = None, *, axis: int = 1, block_size: int = 0, **_: Any) -> Array:
    whole = x.astype(np.int64)
    if zero is not None:
        whole = whole - _over(zero, x, axis, block_size)
    return np.asarray(whole.astype(scale.dtype) * _over(scale, x, axis, block_size))


def _over(scale: Array, x: Array, axis: int, block: int) -> Array:
    if scale.shape in SINGLE:
        return scale.reshape(())
    if block:
        return np.take(scale, np.arange(x.shape[axis]) // block, axis)
    return scale.reshape([-1 if i == axis % x.ndim else 1 for i in range(x.ndim)])


def _quantize(call: Call) -> list[Type]:
    x = expect(call, 0, FLOATS | {"i32"})
    _scale(call, x)
    given = call.type(2).dtype if call.has(2) else element_type(call, "output_dtype", "u8")
    if given not in QUANTIZED:
        raise IllTyped(f"QuantizeLinear of {x} to {given}: {', '.join(sorted(QUANTIZED))} are known")
    if call.get("output_dtype") and element_type(call, "output_dtype") != given:
        raise IllTyped(f"QuantizeLinear: output_dtype is {element_type(call, 'output_dtype')}, the zero point {given}")
    return [x.with_dtype(given)]


define("QuantizeLinear", _quantize)
zero_gradient("it rounds to integers: flat between its steps", "QuantizeLinear")


@lower("QuantizeLinear")
def _(lowering: Any, node: Node, x: Value, scale: Value, zero: Value | None = None) -> Any:
    """f64 has no kernel."""
    if x.dtype != "f64":
        return None
    axis, block = node.attributes.get("axis", 1), node.attributes.get("block_size", 0)
    steps = op.Round(x / _spread(scale, x, axis, block))
    if zero is not None:
        steps = steps + op.Cast(_spread(zero, x, axis, block), to="f64")
    whole = np.iinfo(node.output.type.numpy)
    return op.Cast(op.Clip(steps, np.array(whole.min, float), np.array(whole.max, float)), to=node.output.dtype)


@evaluate("QuantizeLinear")
def _(
    x: Array, scale: Array, zero: Array | None = None,
    *, axis: int = 1, block_size: int = 0, output_dtype: str | int = "u8", **_: Any,
) -> Array:  # fmt: skip
    to = np.dtype(zero.dtype) if zero is not None else Type(_name(output_dtype), ()).numpy
    steps = np.rint(x / _over(scale, x, axis, block_size))
    moved = steps if zero is None else steps + _over(zero, x, axis, block_size)
    return np.clip(moved, np.iinfo(to).min, np.iinfo(to).max).astype(to)


def _name(dtype: str | int) -> str:
    return from_onnx_number(dtype) if isinstance(dtype, int) else dtype


def _dynamic(call: Call) -> list[Type]:
    x = expect(call, 0, frozenset({"f32", "f64"}))
    return [x.with_dtype("u8"), Type(x.dtype, ()), Type("u8", ())][: call.outputs]


define("DynamicQuantizeLinear", _dynamic)


@expansion("DynamicQuantizeLinear")
def _quantized(node: Node, x: Value) -> tuple[Value, ...]:
    """The range of the elements, and 0, over 255 steps. Only the scale changes smoothly with the elements."""
    nothing = np.zeros((), x.type.numpy)
    low = op.Min(op.ReduceMin(x, keepdims=0), nothing)
    high = op.Max(op.ReduceMax(x, keepdims=0), nothing)
    scale = (high - low) / 255.0
    zero = op.Cast(op.Round(-low / scale), to="u8")
    return (op.QuantizeLinear(x, scale, zero), scale, zero)[: len(node.outputs)]


@lower("DynamicQuantizeLinear")
def _(lowering: Any, node: Node, x: Value) -> tuple[Value, ...] | None:
    return None if x.dtype == "f32" else _quantized(node, x)


@evaluate("DynamicQuantizeLinear")
def _(x: Array) -> tuple[Array, ...]:
    low, high = (min(x.min(), 0), max(x.max(), 0)) if x.size else (0, 0)
    scale = x.dtype.type((high - low) / 255)
    zero = np.clip(np.rint(-low / scale), 0, 255)
    return np.clip(np.rint(x / scale) + zero, 0, 255).astype(np.uint8), scale, zero.astype(np.uint8)


def _as_floats(name: str, call: Call, a: Type, b: Type) -> Shape:
    """The shape that an operator on floats of these shapes would give: MatMul or Conv. Raises IllTyped."""
    stand_ins = tuple(Value(operand.with_dtype("f32")) for operand in (a, b))
    try:
        return lookup(name).infer(Call(name, stand_ins, call.attributes))[0].shape
    except IllTyped as error:
        raise IllTyped(f"{call.op} has the shapes of a {name} of floats: {error}") from None


def _zero(call: Call, index: int, dtype: str) -> None:
    if call.has(index) and call.type(index).dtype != dtype:
        raise IllTyped(f"{call.op}: the zero point of {dtype} elements is {call.type(index)}")


def _matmul_integer(call: Call) -> list[Type]:
    a, b = expect(call, 0, BYTES), expect(call, 1, BYTES)
    _zero(call, 2, a.dtype)
    _zero(call, 3, b.dtype)
    return [Type("i32", _as_floats("MatMul", call, a, b))]


def _conv_integer(call: Call) -> list[Type]:
    x, w = expect(call, 0, BYTES), expect(call, 1, BYTES)
    _zero(call, 2, x.dtype)
    _zero(call, 3, w.dtype)
    return [Type("i32", _as_floats("Conv", call, x, w))]


def _scales(call: Call, *places: int) -> None:
    """Each tensor has a float scale and a zero point of its own element type behind it."""
    for place in places:
        expect(call, place + 1, FLOATS)
        _zero(call, place + 2, call.type(place).dtype)


def _q_linear_matmul(call: Call) -> list[Type]:
    a, b, y = expect(call, 0, BYTES), expect(call, 3, BYTES), expect(call, 7, BYTES)
    _scales(call, 0, 3)
    expect(call, 6, FLOATS)
    return [Type(y.dtype, _as_floats("MatMul", call, a, b))]


def _q_linear_conv(call: Call) -> list[Type]:
    x, w, y = expect(call, 0, BYTES), expect(call, 3, BYTES), expect(call, 7, BYTES)
    _scales(call, 0, 3)
    expect(call, 6, FLOATS)
    if call.has(8) and call.type(8) != Type("i32", w.shape[:1]):
        raise IllTyped(f"QLinearConv: the bias is {call.type(8)}, {Type('i32', w.shape[:1])} is expected")
    return [Type(y.dtype, _as_floats("Conv", call, x, w))]


define("MatMulInteger", _matmul_integer)
define("ConvInteger", _conv_integer)
define("QLinearMatMul", _q_linear_matmul)
define("QLinearConv", _q_linear_conv)
no_gradient("it works on integers", "MatMulInteger", "ConvInteger")
zero_gradient("it rounds to integers: flat between its steps", "QLinearMatMul", "QLinearConv")
