"""ONNX's random operators, and tensors made for a shape alone.

What they draw differs from session to session; a training step draws by `dlc.RandomBits`, which does not.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dlc.compiler.build import op
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.element_types import element_type
from dlc.compiler.ops.rules import expect
from dlc.compiler.registry import Call, IllTyped, define, evaluate, lower, no_gradient, zero_gradient
from dlc.compiler.types import FLOATS, Array, Type, numpy_dtype

INDEX = frozenset({"i32", "i64"})


def _drawn(call: Call) -> list[Type]:
    shape = call.get("shape")
    if shape is None or any(dim < 0 for dim in shape):
        raise IllTyped(f"{call.op} needs the attribute shape, found {shape}")
    return [Type(_float(call, "f32"), tuple(shape))]


def _float(call: Call, default: str) -> str:
    dtype = element_type(call, "dtype", default)
    if dtype not in FLOATS:
        raise IllTyped(f"{call.op} draws floats, not {dtype}")
    return dtype


def _drawn_like(call: Call) -> list[Type]:
    return [call.type(0).with_dtype(_float(call, call.type(0).dtype))]


def _bernoulli(call: Call) -> list[Type]:
    x = expect(call, 0, FLOATS)
    return [x.with_dtype(element_type(call, "dtype", x.dtype))]


define("Bernoulli", _bernoulli)


@lower("Bernoulli")
def _(lowering: Any, node: Node, x: Value) -> Any:
    """ONNX's own function body has the probabilities of 0 and 1 the wrong way round, and ONNX Runtime runs that."""
    drawn = op.RandomUniformLike(x, low=0.0, high=1.0, **{k: v for k, v in node.attributes.items() if k != "dtype"})
    return op.Cast(drawn < x, to=node.output.dtype)


@evaluate("Bernoulli")
def _(x: Array, *, seed: float | None = None, dtype: str | None = None) -> Array:
    """By the numbers that RandomUniformLike draws from a seed, as it is lowered."""
    return np.random.RandomState(None if seed is None else int(seed)).uniform(size=x.shape) < x


def _multinomial(call: Call) -> list[Type]:
    x, dtype = expect(call, 0, FLOATS), element_type(call, "dtype", "i32")
    if x.rank != 2 or dtype not in INDEX:
        raise IllTyped(f"Multinomial of {x} as {dtype}: [batch, classes] and i32 or i64 are expected")
    if call.get("sample_size", 1) < 1:
        raise IllTyped(f"Multinomial: sample_size = {call.get('sample_size')} is no number of samples")
    return [Type(dtype, (x.shape[0], call.get("sample_size", 1)))]


for name in ("RandomNormal", "RandomUniform"):
    define(name, _drawn)
    define(name + "Like", _drawn_like)
    no_gradient("it is random, and reads no element", name, name + "Like")
define("Multinomial", _multinomial)
no_gradient("it draws positions", "Multinomial")
zero_gradient("what it draws is flat between its steps", "Bernoulli")


def _eye_like(call: Call) -> list[Type]:
    x = call.type(0)
    if x.rank != 2:
        raise IllTyped(f"EyeLike of {x}: a matrix is expected")
    return [x.with_dtype(element_type(call, "dtype", x.dtype))]


define("EyeLike", _eye_like)
no_gradient("it reads a shape, not the elements", "EyeLike")


@evaluate("EyeLike")
def _(x: Array, *, k: int = 0, dtype: str | None = None) -> Array:
    rows, columns = x.shape
    return np.asarray(np.eye(rows, columns, k), x.dtype if dtype is None else numpy_dtype(dtype))
