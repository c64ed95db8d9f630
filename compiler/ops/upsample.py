"""Upsample, which ONNX has dropped in favour of Resize."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dlc.compiler.build import op
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.resize import MODES, choice, meaning, plan
from dlc.compiler.ops.rules import NUMBERS, expect, fixed
from dlc.compiler.registry import Call, IllTyped, define, evaluate, expansion, lower
from dlc.compiler.types import Array, Type


def _upsample(call: Call) -> list[Type]:
    x, attributes = expect(call, 0, NUMBERS), _upsampling(call.get("mode") or "nearest")
    choice(call, "mode", MODES)
    scales = _upsample_scales(fixed(call, 1, "scales"), call.get("scales"))
    if scales is None:
        raise IllTyped("Upsample needs scales")
    shape = list(x.shape)
    for axis, found in plan(x.shape, attributes, None, scales, None).items():
        shape[axis] = found.after
    return [x.with_shape(shape)]


def _upsample_scales(given: Array | None, attribute: Sequence[float] | None) -> Array | None:
    """Scales are an input since opset 9, and were an attribute before."""
    return given if given is not None or attribute is None else np.array(attribute, np.float32)


def _upsampling(mode: str) -> dict[str, Any]:
    return {"mode": mode, "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}


def _as_resize(node: Node) -> Value:
    x, scales = (*node.inputs, None)[:2]
    taken = scales if scales is not None else _upsample_scales(None, node.attributes.get("scales"))
    given = {**_upsampling(node.attributes.get("mode") or "nearest"), "declared": node.attributes.get("declared")}
    resized: Value = op.Resize(x, None, taken, **given)
    return resized


define("Upsample", _upsample)


@expansion("Upsample", at_run=True)
def _(node: Node) -> Value:
    return _as_resize(node)


@lower("Upsample")
def _(lowering: Any, node: Node, *_: Value | None) -> Value:
    """ONNX has dropped the operator."""
    return _as_resize(node)


@evaluate("Upsample")
def _(x: Array, given: Array | None = None, *, mode: str = "nearest", scales: Sequence[float] | None = None) -> Array:
    y: Array = meaning(x, None, _upsample_scales(given, scales), **_upsampling(mode))
    return y
