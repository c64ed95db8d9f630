"""Attributes of ONNX nodes as those of our nodes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlc.compiler.importing.errors import BadModel, Reason, Refused
from dlc.compiler.importing.tensors import array_of, element_type

if TYPE_CHECKING:
    from onnx import AttributeProto, NodeProto

_ELEMENT_TYPES = ("to", "dtype")


def plain_attributes(
    node: NodeProto, given: Mapping[str, AttributeProto] | None, folder: Path | None
) -> dict[str, Any]:
    """The attributes of a node without its bodies; `given` are those of the function's call around it, if any.

    Raises BadModel, and Refused for a kind that dlc does not have.
    """
    found: dict[str, Any] = {}
    for attribute in node.attribute:
        actual: AttributeProto | None = attribute
        if attribute.ref_attr_name:
            actual = (given or {}).get(attribute.ref_attr_name)
            if actual is None:
                continue  # the call leaves it out: the operator's default holds
        value = plain(actual, folder)
        if attribute.name in _ELEMENT_TYPES and isinstance(value, int):
            value = element_type(value, f"{node.op_type}'s result")
        found[attribute.name] = value
    return found


def plain(attribute: AttributeProto | None, folder: Path | None) -> Any:
    """An attribute's value; raises BadModel and Refused."""
    from onnx import AttributeProto

    assert attribute is not None
    match attribute.type:
        case AttributeProto.INT:
            return attribute.i
        case AttributeProto.FLOAT:
            return attribute.f
        case AttributeProto.STRING:
            return _text(attribute.s)
        case AttributeProto.INTS:
            return tuple(attribute.ints)
        case AttributeProto.FLOATS:
            return tuple(attribute.floats)
        case AttributeProto.STRINGS:
            return tuple(map(_text, attribute.strings))
        case AttributeProto.TENSOR:
            return array_of(attribute.t, folder, f"its attribute {attribute.name}")
        case AttributeProto.SPARSE_TENSOR | AttributeProto.SPARSE_TENSORS:
            raise Refused(Reason.SPARSE, f"its attribute {attribute.name} is sparse, which dlc does not have")
        case AttributeProto.TYPE_PROTO | AttributeProto.TYPE_PROTOS:
            raise Refused(Reason.OPTIONAL, f"its attribute {attribute.name} is a type, which dlc does not have")
    raise BadModel(f"its attribute {attribute.name} has no value that an operator's attribute may have")


def _text(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


__all__ = ["plain", "plain_attributes"]
