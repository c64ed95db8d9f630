"""Operators whose CPU kernels in ONNX Runtime lack an element type: the same value by kernels that it has.

f16 needs nothing here: ONNX Runtime itself computes it in f32, except where an operator refuses it at run time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import dlc.compiler.ops.indexing
import dlc.compiler.ops.reduction
import dlc.compiler.ops.sampling
import dlc.compiler.ops.scattering
import dlc.compiler.ops.shape  # noqa: F401  (they define the operators)
from dlc.compiler.build import current, op, private
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.indexing import counted
from dlc.compiler.registry import lower
from dlc.compiler.types import INTEGERS

SHORT = frozenset({"f16", "bf16"})


@lower("ScatterElements")
def _(lowering: Any, node: Node, data: Value, indices: Value, updates: Value) -> Any:
    """Short floats are replaced, not reduced: ONNX Runtime refuses that when it runs."""
    if data.dtype not in SHORT or node.attributes.get("reduction", "none") == "none":
        return None
    return op.Cast(_again(node, op.Cast(data, to="f32"), indices, op.Cast(updates, to="f32")), to=data.dtype)


def _again(node: Node, *inputs: Value | None) -> Value:
    return current().add(node.op, inputs, node.attributes).output


@lower("OneHot")
def _(lowering: Any, node: Node, indices: Value, depth: Value, values: Value) -> Any:
    if values.dtype in ("f32", "f16", "i64", "str"):
        return None
    hot = op.Cast(_again(node, indices, depth, current().constant(np.array([0, 1]))), to="bool")
    off, on = (op.Gather(values, np.array(place)) for place in (0, 1))
    return op.Where(hot, on, off)


@lower("Hardmax")
def _(lowering: Any, node: Node, x: Value) -> Any:
    """One at the first of the largest."""
    if x.dtype in ("f32", "f16"):
        return None
    axis = node.attributes.get("axis", -1) % x.type.rank
    if x.shape[axis] == 0:
        return op.Identity(x)  # ArgMax refuses an axis without elements
    along = tuple(dim if i == axis else 1 for i, dim in enumerate(x.shape))
    places = private.ReshapeTo(counted(x.shape[axis]), shape=along)
    return op.Cast(op.Equal(op.ArgMax(x, axis=axis), places), to=x.dtype)


@lower("Trilu")
def _(lowering: Any, node: Node, x: Value, k: Value | None = None) -> Any:
    if x.dtype not in INTEGERS - {"i32", "i64"}:
        return None
    return op.Cast(_again(node, op.Cast(x, to="i64"), k), to=x.dtype)


@lower("EyeLike")
def _(lowering: Any, node: Node, x: Value) -> Any:
    kernels = {"f32", "f64", "i32", "i64", "u64"}
    to = node.output.dtype
    if x.dtype in kernels and to in kernels:
        return None
    shape = op.Cast(x, to="i64")
    return op.Cast(op.EyeLike(shape, k=node.attributes.get("k"), dtype="i64"), to=to)


@lower("RandomNormal")
def _normal(lowering: Any, node: Node, *like: Value) -> Any:
    """Short floats are drawn as f32."""
    to = node.output.dtype
    if to not in SHORT:
        return None
    return op.Cast(current().add(node.op, like, {**node.attributes, "dtype": "f32"}).output, to=to)


for name in ("RandomUniform", "RandomNormalLike", "RandomUniformLike"):
    lower(name)(_normal)
