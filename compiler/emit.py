"""Emission: the lowered graph as an ONNX model, operator by operator, with our types on every value.

The same graph gives the same bytes. Names are those of the graph, never changed, so that weights can be found by their
addresses; a value without one is called after its operator and its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from dlc.compiler.beside import Beside
from dlc.compiler.graph import EMPTY, Attribute, Graph, Node, Value
from dlc.compiler.manifest import Manifest, attach
from dlc.compiler.registry import COMPILER_ATTRIBUTES
from dlc.compiler.text import content_hash
from dlc.compiler.types import ONNX_NUMBER, Type

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

OPSET = 21
IR_VERSION = 10  # that of opset 21; ONNX Runtime reads it from 1.18 on
_TYPE_NAMES: Mapping[str, str] = {  # in onnx's schemas
    "f16": "tensor(float16)", "f32": "tensor(float)", "f64": "tensor(double)", "bf16": "tensor(bfloat16)",
    "str": "tensor(string)", "c64": "tensor(complex64)", "c128": "tensor(complex128)", "bool": "tensor(bool)",
    **{f"{kind[0]}{bits}": f"tensor({kind}{bits})" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
}  # fmt: skip
LARGEST = 2**31 - 1  # bytes in one protobuf message
# The attributes that hold a node's bodies, in the order of `Node.bodies`.
_BODIES: Mapping[str, Sequence[str]] = {"If": ("then_branch", "else_branch"), "Loop": ("body",), "Scan": ("body",)}


class EmitError(Exception):
    """A graph that ONNX cannot express, or that one file cannot hold; the message says why."""


def emit(
    graph: Graph,
    manifest: Manifest | None = None,
    *,
    producer: str = "dlc",
    version: str = "",
    metadata: Mapping[str, str] = EMPTY,
    beside: Beside | None = None,
) -> ModelProto:
    """The graph as a model of domain "" only, and of opset 21 (the lowest above that has every operator).

    Inputs and outputs keep their names and order. `manifest` is checked against the model and stored in it, beside
    `metadata`. Large constants go into the file `beside`, if one is given. Raises EmitError (a private operator, an
    attribute that ONNX does not have, an output with the name of another input, more than 2 GB in one file) and
    ManifestError.
    """
    from onnx import ModelProto

    size = constant_bytes(graph)
    if size > LARGEST and beside is None:
        raise EmitError(f"the constants of {graph.name} take {size / 1e9:.1f} GB; one ONNX file holds 2 GB")
    opset = max((_opset(node) for part in _graphs(graph) for node in part.nodes), default=OPSET)
    model = ModelProto(ir_version=_ir_version(opset), producer_name=producer, producer_version=version)
    model.opset_import.add(domain="", version=opset)
    _Emitter(graph, opset, beside).write(model.graph)
    for key in sorted(metadata):
        model.metadata_props.add(key=key, value=metadata[key])
    if manifest is not None:
        manifest.check_against(model)
        attach(model, manifest)
    return model


def serialized(model: ModelProto) -> bytes:
    """The model's bytes, the same for the same model. Raises EmitError above 2 GB."""
    from google.protobuf.message import EncodeError  # type: ignore[import-untyped]

    try:
        return bytes(model.SerializeToString(deterministic=True))
    except (EncodeError, ValueError) as error:  # which of them depends on protobuf's implementation
        raise EmitError(f"the model cannot be serialized; one ONNX file holds 2 GB ({error})") from error


def _graphs(graph: Graph) -> Iterator[Graph]:
    """The graph and its bodies, each before those inside it."""
    waiting = [graph]
    while waiting:
        current = waiting.pop()
        yield current
        waiting.extend(body for node in reversed(current.nodes) for body in reversed(node.bodies))


def constant_bytes(graph: Graph) -> int:
    """How many bytes the constants of a graph take, those of its bodies too."""
    nodes = (node for part in _graphs(graph) for node in part.nodes if node.op == "Constant")
    return sum(node.attributes["value"].nbytes for node in nodes)


class _Emitter:
    def __init__(self, graph: Graph, opset: int, beside: Beside | None) -> None:
        self._graph = graph
        self._beside = beside
        self._opset = opset
        self._names: dict[Value, str] = {}
        self._node_names: dict[Node, str] = {}
        self._wanted = set(graph.outputs)
        for part in _graphs(graph):
            self._wanted.update(part.names.values())
        self._taken: set[str] = set()
        self._initializers: dict[str, tuple[str, Any]] = {}
        self._name_interface()
        self._name_rest()

    def write(self, proto: GraphProto) -> None:
        proto.name = self._graph.name or "graph"
        self._write(self._graph, proto, tuple(self._graph.outputs))
        proto.initializer.extend(tensor(name, array, self._beside) for name, array in self._initializers.values())

    # Names. All parts of a model share one namespace, for a body sees the names of the graph around it.

    def _name_interface(self) -> None:
        graph = self._graph
        for value in graph.inputs:
            name = graph.names.get(value)
            if not name or name in self._taken:
                raise EmitError(f"the graph {graph.name} needs a name of its own for the input {name!r}: {value.type}")
            self._names[value] = name
            self._taken.add(name)
        for name, value in graph.outputs.items():
            if self._names.get(value) == name:
                continue  # an input handed on under its own name, which ONNX allows
            if name in self._taken:
                raise EmitError(f"the output {name} of the graph {graph.name} has the name of another input")
            self._taken.add(name)
            if value.node is not None and value.op != "Constant":
                self._names.setdefault(value, name)

    def _name_rest(self) -> None:
        index = 0
        for part in _graphs(self._graph):
            for value in part.inputs:
                self._name(value, part, "input")
            for node in part.nodes:
                if node.op == "Constant":
                    self._initializer(node, part)
                    continue
                known = part.names.get(node.output)
                fallback = f"{node.op}_{index}"
                index += 1
                for value in node.outputs:
                    self._name(value, part, fallback if value.index == 0 else f"{fallback}.{value.index}")
                self._node_names[node] = f"/{known}/{node.op}" if known else fallback

    def _name(self, value: Value, part: Graph, fallback: str) -> None:
        if value not in self._names:
            self._names[value] = self._fresh(part.names.get(value), fallback)

    def _fresh(self, known: str | None, fallback: str) -> str:
        base = known or fallback
        name, turn = base, 1
        while name in self._taken or (known is None and name in self._wanted):
            turn += 1
            name = f"{base}:{turn}"
        self._taken.add(name)
        return name

    def _initializer(self, node: Node, part: Graph) -> None:
        array = node.attributes["value"]
        key = content_hash(array)
        if key not in self._initializers:
            name = self._fresh(part.names.get(node.output), f"constant_{len(self._initializers)}")
            self._initializers[key] = name, array
        self._names[node.output] = self._initializers[key][0]

    # Protos.

    def _write(self, part: Graph, proto: GraphProto, output_names: Sequence[str]) -> None:
        for value in part.inputs:
            _value_info(proto.input.add(), self._names[value], value.type)
        for node in part.nodes:
            if node.op != "Constant":
                self._write_node(node, proto.node.add())
        own = {value for node in part.nodes if node.op != "Constant" for value in node.outputs}
        done: set[Value] = set()
        for name, value in zip(output_names, part.outputs.values(), strict=True):
            written = self._names[value]
            if part is not self._graph and value in own and value not in done:
                name = written  # outputs of a body go by their place
            if written != name:
                proto.node.add(op_type="Identity", name=f"/{name}/Identity", input=[written], output=[name])
            done.add(value)
            _value_info(proto.output.add(), name, value.type)
        outputs = {info.name for info in proto.output}
        for node in part.nodes:
            if node.op != "Constant":
                for value in node.outputs:
                    if self._names[value] not in outputs:
                        _value_info(proto.value_info.add(), self._names[value], value.type)

    def _write_node(self, node: Node, proto: NodeProto) -> None:
        types = _attribute_types(node.op, self._opset)
        if node.private or types is None:
            hint = ": `lower` removes the private ones" if node.private else ""
            raise EmitError(f"{_where(node)} is no operator of ONNX's opset {self._opset}{hint}")
        proto.op_type = node.op
        proto.name = self._node_names[node]
        if node.span is not None:
            proto.doc_string = node.span.place
        proto.input.extend("" if value is None else self._names[value] for value in node.inputs)
        proto.output.extend(self._names[value] for value in node.outputs)
        for name in sorted(node.attributes.keys() - COMPILER_ATTRIBUTES):
            if name not in types:
                raise EmitError(f"{_where(node)}: ONNX's {node.op} has no attribute {name}")
            _attribute(proto.attribute.add(name=name), types[name], node.attributes[name], node)
        attributes = _BODIES.get(node.op, ())
        if len(attributes) != len(node.bodies):
            raise EmitError(f"{_where(node)} has {len(node.bodies)} bodies, ONNX's {node.op} has {len(attributes)}")
        for name, body in zip(attributes, node.bodies, strict=True):
            attribute = proto.attribute.add(name=name)
            attribute.type = _attribute_proto().GRAPH
            attribute.g.name = body.name or name
            self._write(body, attribute.g, [self._fresh(None, f"{proto.name}.{output}") for output in body.outputs])


def _where(node: Node) -> str:
    return f"{node.op} at {node.span}" if node.span else node.op


def _value_info(proto: ValueInfoProto, name: str, type: Type) -> None:
    proto.name = name
    tensor = proto.type.tensor_type
    tensor.elem_type = ONNX_NUMBER[type.dtype]
    tensor.shape.SetInParent()  # a shape of rank 0, unless dimensions follow
    for dim in type.shape:
        if isinstance(dim, int):
            tensor.shape.dim.add(dim_value=dim)
        else:
            tensor.shape.dim.add(dim_param=str(dim))


def tensor(name: str, array: Any, beside: Beside | None = None) -> TensorProto:
    """An array as a tensor of a model, its bytes in the file `beside` it if that takes it."""
    from onnx import numpy_helper

    if beside is not None and beside.takes(array):
        return beside.tensor(name, array)
    return numpy_helper.from_array(np.asarray(array, order="C"), name)


def _attribute_proto() -> type[AttributeProto]:
    from onnx import AttributeProto

    return AttributeProto


def _opset(node: Node) -> int:
    """The lowest opset from 21 on that has a node's operator for its attributes and inputs; 21 where none has."""
    attributes = frozenset(node.attributes.keys() - COMPILER_ATTRIBUTES)
    return OPSET if node.private else _lowest(node.op, attributes, tuple(v.dtype if v else "" for v in node.inputs))


@cache
def _lowest(op: str, attributes: frozenset[str], dtypes: tuple[str, ...]) -> int:
    from onnx import defs

    for version in range(OPSET, defs.onnx_opset_version() + 1):
        known = _attribute_types(op, version)
        if known is not None and attributes <= known.keys() and _takes(defs.get_schema(op, version, ""), dtypes):
            return version
    return OPSET


def _takes(schema: Any, dtypes: Sequence[str]) -> bool:
    """Whether inputs may have element types: the last formal input may stand for several."""
    formal = schema.inputs
    return not formal or all(
        not dtype or _TYPE_NAMES[dtype] in formal[min(i, len(formal) - 1)].types for i, dtype in enumerate(dtypes)
    )


def _ir_version(opset: int) -> int:
    if opset == OPSET:
        return IR_VERSION
    from onnx import helper

    version: int = helper.OP_SET_ID_VERSION_MAP["ai.onnx", opset]
    return version


@cache
def _attribute_types(op: str, opset: int) -> Mapping[str, str] | None:
    """The types of an operator's attributes by ONNX's schema (`INT`, `FLOATS`, ...); None without a schema."""
    from onnx import defs

    try:
        schema = defs.get_schema(op, opset, "")
    except defs.SchemaError:
        return None
    return {name: str(attribute.type).rpartition(".")[2] for name, attribute in schema.attributes.items()}


def _attribute(proto: AttributeProto, kind: str, value: Attribute, node: Node) -> None:
    """Write an attribute as the schema's type: an int serves as a float, one item as a list of one, a dtype as number.

    Raises EmitError where the value is of another kind.
    """
    name = proto.name
    proto.type = getattr(_attribute_proto(), kind)
    many = kind.endswith("S") and kind != "TENSORS"
    items = value if isinstance(value, tuple | list) else (value,)
    try:
        match kind:
            case "INT" if isinstance(value, str):
                proto.i = ONNX_NUMBER[value]  # Cast's `to`, `dtype` of random and other operators
            case "INT":
                proto.i = _integer(value)
            case "FLOAT":
                proto.f = float(value)
            case "STRING":
                proto.s = _bytes(value)
            case "INTS":
                proto.ints.extend(map(_integer, items))
            case "FLOATS":
                proto.floats.extend(map(float, items))
            case "STRINGS":
                proto.strings.extend(map(_bytes, items))
            case "TENSOR" if isinstance(value, np.ndarray):
                proto.t.CopyFrom(tensor("", value.reshape(1) if node.op == "ConstantOfShape" else value))
            case _:
                raise TypeError(kind)
    except (KeyError, TypeError, ValueError, OverflowError):
        expected = f"{'several ' if many else ''}{kind.lower()}"
        raise EmitError(f"{_where(node)}: the attribute {name} must be {expected}, found {value!r}") from None


def _integer(value: Any) -> int:
    if not isinstance(value, int | np.integer):
        raise TypeError(value)
    return int(value)


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str.encode(value)


__all__ = ["IR_VERSION", "OPSET", "EmitError", "emit", "serialized"]
