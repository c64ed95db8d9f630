"""Element types as attributes, and casts like another tensor."""

from __future__ import annotations

from typing import Any

from dlc.compiler.build import op
from dlc.compiler.graph import Node, Value
from dlc.compiler.registry import Call, IllTyped, define, expansion, lower
from dlc.compiler.types import ONNX_NUMBER, Type, from_onnx_number


def element_type(call: Call, name: str, default: str | None = None) -> str:
    """An attribute that is an element type: its name here or ONNX's number, 0 for none. Raises IllTyped."""
    given = call.get(name) or default
    if given in ONNX_NUMBER:
        return str(given)
    if isinstance(given, int) and given in ONNX_NUMBER.values():
        return from_onnx_number(given)
    raise IllTyped(f"{call.op}: {name} = {given} is no element type")


def _cast_like(call: Call) -> list[Type]:
    return [call.type(0).with_dtype(call.type(1).dtype)]


define("CastLike", _cast_like)


@expansion("CastLike")
def _cast(node: Node, x: Value) -> Any:
    return op.Cast(x, to=node.output.dtype, **node.attributes)


@lower("CastLike")
def _(lowering: Any, node: Node, x: Value, like: Value) -> Any:
    return _cast(node, x)
