"""The nodes of one graph made once more in another, on other inputs, with other sizes and another working float."""

from __future__ import annotations

from collections.abc import Mapping

from dlc.compiler.build import Builder
from dlc.compiler.dims import Dim, Polynomial, substitute
from dlc.compiler.graph import Attribute, Graph, Node, Value
from dlc.compiler.types import Type


def again(
    builder: Builder, node: Node, replaced: Mapping[Value, Value], sizes: Mapping[str, Dim], working: str = "f32"
) -> Node:
    """The node on the values that replace its inputs; `sizes` are those of named dimensions. Raises IllTyped."""
    inputs = tuple(replaced.get(value, value) if value is not None else None for value in node.inputs)
    attributes = {name: _adapted(name, value, sizes, working) for name, value in node.attributes.items()}
    bodies = tuple(_body(builder, body, replaced, sizes, working) for body in node.bodies)
    return builder.add(node.op, inputs, attributes, bodies, len(node.outputs))


def resized(type: Type, sizes: Mapping[str, Dim], working: str = "f32") -> Type:
    """A type with the sizes of named dimensions, and the working float where it has f32."""
    dtype = working if type.dtype == "f32" else type.dtype
    return Type(dtype, tuple(substitute(dim, sizes) for dim in type.shape))


def _body(
    outside: Builder, body: Graph, around: Mapping[Value, Value], sizes: Mapping[str, Dim], working: str
) -> Graph:
    builder = Builder(around=outside)
    replaced = dict(around)
    for value in body.inputs:
        type = resized(value.type, sizes, working)
        replaced[value] = builder.input(body.names.get(value, f"i{len(builder.inputs)}"), type)
    for node in body.nodes:
        made = again(builder, node, replaced, sizes, working)
        replaced.update(zip(node.outputs, made.outputs, strict=True))
    return builder.graph(body.name, {name: replaced.get(value, value) for name, value in body.outputs.items()})


def _adapted(name: str, value: Attribute, sizes: Mapping[str, Dim], working: str) -> Attribute:
    if isinstance(value, Polynomial):
        return substitute(value, sizes)
    if isinstance(value, Type):
        return resized(value, sizes, working)
    if isinstance(value, tuple):
        return tuple(_adapted(name, each, sizes, working) for each in value)
    if working == "f32":
        return value
    if name in ("to", "dtype") and value == "f32":
        return working
    if name == "value" and getattr(value, "dtype", None) == "float32":
        return value.astype("float64")
    return value
