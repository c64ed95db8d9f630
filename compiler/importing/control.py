"""If, Loop and Scan of a model. Where a carried shape changes from turn to turn, its dimensions become unknown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from dlc.compiler.build import current
from dlc.compiler.graph import Graph, Value
from dlc.compiler.importing.attributes import plain_attributes
from dlc.compiler.importing.errors import BadModel
from dlc.compiler.importing.hints import joined
from dlc.compiler.importing.scope import Found, Scope
from dlc.compiler.ops.control import turn_types
from dlc.compiler.registry import Call, IllTyped
from dlc.compiler.types import Dim, Type, is_unknown, symbols

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

    from dlc.compiler.importing.reader import Reader

_TURNS = 40  # of the search for carried types: each turn makes at least one dimension unknown


def _if(reader: Reader, node: NodeProto, scope: Scope) -> Sequence[Found]:
    condition = _input(node, 0, scope)
    branches = {attribute.name: attribute.g for attribute in node.attribute}
    protos = [branches["then_branch"], branches["else_branch"]]
    known = reader.shapes.of(condition)
    if known is not None and len(known) == 1 and isinstance(known[0], int):
        chosen = protos[0 if known[0] else 1]
        inner = reader.inner(chosen, scope)
        reader.contents(chosen, inner)
        return [reader.result(inner, info.name) for info in chosen.output]
    bodies = tuple(reader.body(proto, scope, ()) for proto in protos)
    one, other = (list(_local(body, [value.type for value in body.outputs.values()])) for body in bodies)
    types = joined(one, other, "the branches of If")
    return _add("If", [condition], {}, bodies, types)


def _loop(reader: Reader, node: NodeProto, scope: Scope) -> Sequence[Value]:
    inputs = [scope.find(name) if name else None for name in node.input]
    inputs.extend([None] * (2 - len(inputs)))
    carried = [_present(value) for value in inputs[2:]]
    proto = next(attribute.g for attribute in node.attribute if attribute.name == "body")
    head = [Type("i64", ()), Type("bool", ())]
    if len(proto.output) < 1 + len(carried):
        raise BadModel(f"its body {proto.name!r} gives {len(proto.output)} values, it must give {1 + len(carried)}")

    def body(types: Sequence[Type]) -> tuple[Graph, Sequence[Type]]:
        made = reader.body(proto, scope, [*head, *types])
        results = [value.type for value in made.outputs.values()]
        return made, results[1:]

    made, types, results = _steady(body, [value.type for value in carried])
    stacked = [type.with_shape((current().unknown(), *type.shape)) for type in _local(made, results[len(carried) :])]
    outside = [*_after(types, [value.type for value in carried]), *stacked]
    return _add("Loop", inputs, {}, (made,), outside)


def _scan(reader: Reader, node: NodeProto, scope: Scope) -> Sequence[Value]:
    inputs = [_input(node, i, scope) for i in range(len(node.input))]
    proto: GraphProto | None = None
    plain = type(node)()
    plain.CopyFrom(node)
    del plain.attribute[:]
    for attribute in node.attribute:
        if attribute.name == "body":
            proto = attribute.g
        else:
            plain.attribute.append(attribute)
    assert proto is not None
    attributes = plain_attributes(plain, scope.attributes, reader.folder)
    call = Call("Scan", tuple(inputs), attributes)
    count = len(inputs) - attributes["num_scan_inputs"]
    if count < 0 or len(proto.output) < count:
        raise BadModel(f"{attributes['num_scan_inputs']} of its {len(inputs)} inputs are scanned")
    turns = turn_types(call)

    def body(types: Sequence[Type]) -> tuple[Graph, Sequence[Type]]:
        made = reader.body(proto, scope, [*types, *turns])
        return made, [value.type for value in made.outputs.values()]

    start = [value.type for value in inputs[:count]]
    made, types, results = _steady(body, start)
    length = _length(call, count)
    axes = attributes.get("scan_output_axes", (0,) * (len(results) - count))
    stacked = []
    for each, axis in zip(_local(made, results[count:]), axes, strict=True):
        axis += each.rank + 1 if axis < 0 else 0
        stacked.append(each.with_shape((*each.shape[:axis], length, *each.shape[axis:])))
    return _add("Scan", inputs, attributes, (made,), [*_after(types, start), *stacked])


READERS: Mapping[str, Callable[[Reader, NodeProto, Scope], Sequence[Found]]] = {
    "If": _if, "Loop": _loop, "Scan": _scan,
}  # fmt: skip


def _length(call: Call, first: int) -> Dim:
    axes = call.get("scan_input_axes", (0,) * (len(call.inputs) - first))
    length: Dim = call.type(first).shape[axes[0]]
    return length


def _steady(
    body: Callable[[Sequence[Type]], tuple[Graph, Sequence[Type]]], start: Sequence[Type]
) -> tuple[Graph, Sequence[Type], Sequence[Type]]:
    """A body whose carried types stay what they are; dimensions that do not become unknown ones."""
    types: Sequence[Type] = list(start)
    for _ in range(_TURNS):
        made, results = body(types)
        carried = list(results[: len(types)])
        if carried == list(types):
            return made, types, results
        following = []
        for before, after in zip(types, joined(types, carried, "the start and the body"), strict=True):
            # A dimension that is unknown already stays so: its size is another one in each turn.
            dims = [
                dim if dim == new or (not isinstance(dim, int) and is_unknown(str(dim))) else new
                for dim, new in zip(before.shape, after.shape, strict=True)
            ]
            following.append(before.with_shape(dims))
        if following == list(types):
            return made, types, results
        types = following
    raise BadModel("the shapes that its body carries do not settle")


def _after(types: Sequence[Type], start: Sequence[Type]) -> list[Type]:
    """The carried types outside of the body: what changed inside has another size afterwards."""
    unknown = current().unknown
    return [
        first.with_shape([dim if dim == new else unknown() for dim, new in zip(first.shape, type.shape, strict=True)])
        for type, first in zip(types, start, strict=True)
    ]


def _local(body: Graph, types: Sequence[Type]) -> list[Type]:
    """Types with the dimensions that only the body knows replaced by unknown ones."""
    own = {name for value in body.inputs for dim in value.shape for name in symbols(dim) if is_unknown(name)}
    seen = {name for value in body.captures() for dim in value.shape for name in symbols(dim)}
    for node in body.nodes:
        for value in node.outputs:
            own.update(name for dim in value.shape for name in symbols(dim) if is_unknown(name))
    hidden = own - seen
    return [
        type.with_shape([current().unknown() if hidden.intersection(symbols(dim)) else dim for dim in type.shape])
        for type in types
    ]


def _add(
    op: str, inputs: Sequence[Value | None], attributes: Mapping[str, object], bodies: tuple[Graph, ...],
    types: Sequence[Type],
) -> Sequence[Value]:  # fmt: skip
    try:
        return current().add(op, inputs, attributes, bodies, len(types)).outputs
    except IllTyped:
        return current().add(op, inputs, {**attributes, "declared": tuple(types)}, bodies, len(types)).outputs


def _input(node: NodeProto, index: int, scope: Scope) -> Value:
    return _present(scope.find(node.input[index]) if node.input[index] else None)


def _present(value: Value | None) -> Value:
    if value is None:
        raise BadModel("an input that it needs is missing")
    return value


__all__ = ["READERS"]
