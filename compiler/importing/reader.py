"""The nodes of a model, one after the other, as nodes of a graph."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dlc.compiler.build import Builder, current, private
from dlc.compiler.dims import at_least
from dlc.compiler.graph import Graph, Value
from dlc.compiler.importing import control, functions, sequences
from dlc.compiler.importing.attributes import plain_attributes
from dlc.compiler.importing.contents import Shapes, symbolic
from dlc.compiler.importing.errors import BadModel, Reason, Refused
from dlc.compiler.importing.hints import NOTHING, declared
from dlc.compiler.importing.scope import Found, Scope, refuse
from dlc.compiler.importing.tensors import array_of
from dlc.compiler.importing.versions import Application, converted
from dlc.compiler.ops.schema import OPSET, Partial
from dlc.compiler.ops.shape import reach
from dlc.compiler.registry import Call, IllTyped, operators
from dlc.compiler.types import Array

if TYPE_CHECKING:
    from onnx import AttributeProto, FunctionProto, GraphProto, NodeProto
    from onnx.defs import OpSchema

_RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
_STRINGS = frozenset({"ImageDecoder", "RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit"})
_DEPRECATED = ("GroupNormalization", "Scatter", "Upsample")  # at a version that models still hold
_ATTRIBUTE_KINDS: Mapping[int, str] = {  # AttributeProto.AttributeType
    1: "a float", 2: "an int", 3: "a string", 4: "a tensor", 5: "a graph", 6: "floats", 7: "ints", 8: "strings",
    9: "tensors", 10: "graphs", 11: "a sparse tensor", 12: "sparse tensors", 13: "a type", 14: "types",
}  # fmt: skip
# What rules raise for attributes that make no sense together, such as a division of a dimension by 0.
_MALFORMED = (ArithmeticError, LookupError, MemoryError, TypeError, ValueError)
_FOLDED = 64  # elements of a result that is computed at once, so that type rules can read it
_READ = 4096  # and of what it is computed from


class Reader:
    """Reads nodes into the current builder. `asked` are the names that a gradient will be asked by."""

    def __init__(
        self, file: str, folder: Path | None, known: Mapping[functions.Key, FunctionProto], asked: Collection[str] = ()
    ) -> None:
        self.file = file
        self.folder = folder
        self.asked = asked
        self.shapes = Shapes()
        self.read = 0  # nodes so far
        self.functions = known
        self._sites = 0
        self._unrolled = 0

    def nodes(self, nodes: Sequence[NodeProto], scope: Scope) -> None:
        """Read nodes in their order; their outputs enter the scope. Raises BadModel."""
        self.read += len(nodes)
        for node in nodes:
            with self._named(node):
                self._node(node, scope)

    @contextmanager
    def _named(self, node: NodeProto) -> Iterator[None]:
        try:
            names = (node.op_type, node.domain, *node.input, *node.output, *(each.name for each in node.attribute))
            if not all(isinstance(name, str) for name in names):  # protobuf gives bytes for what is not UTF-8
                raise BadModel("a name in it is not UTF-8")
            yield
        except (BadModel, IllTyped, *_MALFORMED) as error:
            if getattr(error, "placed", False):
                raise
            name = node.name or next(iter(node.output), "")
            text = f"{self.file}: the node {name!r} ({node.op_type}): {error}"
            placed = Refused(error.reason, text) if isinstance(error, Refused) else BadModel(text)
            placed.placed = True  # type: ignore[attr-defined]
            raise placed from None

    def _node(self, node: NodeProto, scope: Scope) -> None:
        domain = functions.domain_of(node.domain)
        function = self.functions.get(functions.key_of(node))
        if function is not None:
            self._call(node, function, scope)
            return
        if domain:
            if domain not in scope.opsets:
                raise BadModel(f"the model does not import the domain {domain!r}")
            if not self._expand(node, scope.opsets[domain], scope):
                raise Refused(Reason.DOMAIN, f"an operator of the domain {domain!r}; dlc has ONNX's own")
            return
        schema = _schema(node.op_type, scope.version)
        if schema is None:
            raise BadModel(f"opset {scope.version} has no operator {node.op_type}")
        if node.op_type in _STRINGS:
            raise Refused(Reason.STRING, f"dlc does not have {Reason.STRING.value}")
        outputs = len(node.output)
        while outputs and not node.output[outputs - 1]:
            outputs -= 1
        self._check(node, schema)
        if node.op_type in control.READERS:
            converted(Application(node.op_type, schema.since_version, [], {}, outputs))
            results: Sequence[Found] = control.READERS[node.op_type](self, node, scope)
        elif node.op_type in sequences.RESOLVED:
            results = sequences.RESOLVED[node.op_type].rule(self, node, scope)
        elif _schema(node.op_type, OPSET) is None and node.op_type not in operators():
            if not self._expand(node, scope.version, scope):
                raise Refused(Reason.OPSET, f"opset {schema.since_version} brought it, and gave it no function body")
            return
        else:
            attributes = plain_attributes(node, scope.attributes, self.folder)
            inputs = [scope.find(name) if name else None for name in node.input]
            application = Application(node.op_type, schema.since_version, inputs, attributes, outputs)
            hints = [_hint(scope, name) for name in node.output]
            made = converted(application)
            results = made if made is not None else self.apply(application, hints)
        if len(results) < outputs:
            raise BadModel(f"it has {outputs} outputs, {node.op_type} gives {len(results)}")
        for name, value in zip(node.output, results, strict=False):
            if name:
                self.define(scope, name, value)

    def define(self, scope: Scope, name: str, value: Found) -> None:
        """Give a value its name; raises BadModel for a name that is taken."""
        if name in scope.values or name in scope.held:
            raise BadModel(f"the name {name!r} is defined twice")
        if not isinstance(value, Value):
            scope.held[name] = value
            return
        value = self.shapes.settled(value)
        outermost = scope.around is None and scope.attributes is None
        if outermost and name in self.asked and value.type.is_float:
            value = current().add("dlc.Point", [value], {"site": self._site()}).output
        scope.values[name] = value
        if outermost:
            current().names.setdefault(value, name)

    def _site(self) -> int:
        """A number for a node that is to be merged with no other."""
        self._sites += 1
        return self._sites

    def apply(self, a: Application, hints: Sequence[Partial] = ()) -> Sequence[Value]:
        """The outputs of an application in opset 21's form. Raises BadModel."""
        if a.op == "Constant":
            return [current().constant(_constant(a.attributes))]
        for index, value in enumerate(a.inputs):
            if value is not None and value.op not in (None, "Constant"):
                a.inputs[index] = self.shapes.settled(value)
        attributes = dict(a.attributes)
        if (a.op in _RANDOM or (a.op == "Dropout" and len(a.inputs) > 2)) and "seed" not in attributes:
            attributes["site"] = self._site()
        call = Call(a.op, _trimmed(a.inputs), attributes, (), a.outputs)
        try:
            if a.op == "Slice" and self._may_run_off(call):
                raise IllTyped("whether the slice runs off the end depends on data")
            node = current().add(a.op, a.inputs, attributes, outputs=a.outputs)
            if len(node.outputs) < a.outputs:
                raise IllTyped(f"dlc has {len(node.outputs)} outputs of {a.op}, not {a.outputs}")
        except IllTyped as error:
            types = declared(call, hints, error)
            node = current().add(a.op, a.inputs, {**attributes, "declared": types}, outputs=a.outputs)
        folded = _folded(node.op, node.inputs, node.outputs)
        if folded is not None:
            return folded
        x = node.inputs[0] if node.inputs else None
        if a.op in ("Reshape", "Expand") and "declared" not in node.attributes and symbolic(node.output.shape):
            assert x is not None
            if node.output.shape == x.shape:
                return [x]
            made: Value = (private.ReshapeTo if a.op == "Reshape" else private.ExpandTo)(x, shape=node.output.shape)
            return [made]
        return node.outputs

    def _may_run_off(self, call: Call) -> bool:
        """Whether a slice names places of a symbolic axis that it may not have: the rule takes them to be there."""
        given = [self.shapes.of(call.inputs[i]) if call.has(i) else None for i in range(1, 5)]
        x, (starts, ends, axes, steps) = call.type(0), given
        if starts is None or ends is None:
            return False
        axes = axes if axes is not None else tuple(range(len(starts)))
        steps = steps if steps is not None else (1,) * len(starts)
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=False):
            size = x.shape[axis] if isinstance(axis, int) and -x.rank <= axis < x.rank else 0
            needed = reach(start, end, step)
            if not isinstance(size, int) and needed and not at_least(size, needed):
                return True
        return False

    def _call(self, node: NodeProto, function: FunctionProto, scope: Scope) -> None:
        if len(node.input) > len(function.input) or len(node.output) > len(function.output):
            raise BadModel(
                f"it has {len(node.input)} inputs and {len(node.output)} outputs; its function has"
                f" {len(function.input)} and {len(function.output)}"
            )
        given = {attribute.name: self._resolved(attribute, scope) for attribute in node.attribute}
        attributes = {default.name: default for default in function.attribute_proto}
        attributes.update((name, value) for name, value in given.items() if value is not None)
        opsets = {functions.domain_of(each.domain): each.version for each in function.opset_import}
        inner = Scope({**scope.opsets, **opsets}, attributes=attributes, depth=scope.depth + 1)
        if inner.depth > functions.DEEPEST:
            raise BadModel(f"functions in functions, {inner.depth} deep; {functions.DEEPEST} is the most")
        for index, name in enumerate(function.input):
            given_name = node.input[index] if index < len(node.input) else ""
            inner.bind(name, scope.anything(given_name) if given_name else None)
        self.nodes(function.node, inner)
        for name, inside in zip(node.output, function.output, strict=False):
            if name:
                value = inner.anything(inside)
                if value is None:
                    raise BadModel(f"the function {function.name} does not give {inside!r}")
                self.define(scope, name, value)

    @staticmethod
    def _resolved(attribute: AttributeProto, scope: Scope) -> AttributeProto | None:
        if not attribute.ref_attr_name:
            return attribute
        return (scope.attributes or {}).get(attribute.ref_attr_name)

    def _expand(self, node: NodeProto, version: int, scope: Scope) -> bool:
        from onnx import helper

        from dlc.compiler.types import ONNX_NUMBER

        values = [scope.find(name) if name else None for name in node.input]
        types = [
            b"" if value is None else helper.make_tensor_type_proto(
                ONNX_NUMBER[value.dtype], [dim if isinstance(dim, int) else str(dim) for dim in value.shape]
            ).SerializeToString()
            for value in values
        ]  # fmt: skip
        try:
            function = functions.defined_by(node, version, types)
        except Exception as error:  # the binding raises several kinds
            raise BadModel(f"it has no function body here: {error}") from None
        if function is None:
            return False
        full = type(node)()
        full.CopyFrom(node)
        schema = _schema(node.op_type, version, node.domain)
        present = {attribute.name for attribute in node.attribute}
        for name, known in schema.attributes.items() if schema is not None else ():
            if name not in present and known.default_value.name:
                full.attribute.append(known.default_value)
        self._call(full, function, scope)
        return True

    def body(self, proto: GraphProto, scope: Scope, types: Sequence[Any]) -> Graph:
        """A body as a graph of its own, its inputs of given types. Raises BadModel."""
        if len(types) != len(proto.input):
            raise BadModel(f"its body {proto.name!r} takes {len(proto.input)} values; it is given {len(types)}")
        inner = self.inner(proto, scope)
        builder = Builder(around=current())
        with builder:
            for info, type in zip(proto.input, types, strict=True):
                inner.values[info.name] = builder.input(info.name, type)
            self.contents(proto, inner)
            outputs = {info.name: self.tensor(inner, info.name) for info in proto.output}
        if len(outputs) != len(proto.output):
            raise BadModel(f"its body {proto.name!r} gives one value twice under one name")
        return builder.graph(proto.name, outputs)

    def inner(self, proto: GraphProto, scope: Scope) -> Scope:
        from dlc.compiler.importing.hints import said

        hints = {info.name: said(info.type) for info in (*proto.value_info, *proto.output)}
        inner = Scope(scope.opsets, {}, scope, hints, scope.attributes, scope.depth + 1)
        if inner.depth > functions.DEEPEST:
            raise BadModel(f"bodies in bodies, {inner.depth} deep; {functions.DEEPEST} is the most")
        return inner

    def contents(self, proto: GraphProto, scope: Scope) -> None:
        """A body's initializers and nodes."""
        if proto.sparse_initializer:
            raise Refused(Reason.SPARSE, f"its body {proto.name!r} has sparse tensors, which dlc does not have")
        for tensor in proto.initializer:
            array = array_of(tensor, self.folder, f"the initializer {tensor.name!r}")
            scope.values.setdefault(tensor.name, current().constant(array))
        self.nodes(proto.node, scope)

    @staticmethod
    def result(scope: Scope, name: str) -> Found:
        value = scope.anything(name)
        if value is None:
            raise BadModel(f"its result {name!r} is missing")
        return value

    def tensor(self, scope: Scope, name: str) -> Value:
        """A result of a body that runs; raises Refused for a sequence or an optional value."""
        value = self.result(scope, name)
        if not isinstance(value, Value):
            refuse(value, f"its body gives {name!r}")
        return value

    def unroll(self, count: int) -> None:
        """Count what a model's sequences become: elements, and nodes of bodies. Raises BadModel for too many."""
        self._unrolled += count
        if self._unrolled > functions.MOST_NODES:
            raise BadModel(f"the sequences of the model expand to more than {functions.MOST_NODES} nodes")

    @staticmethod
    def _check(node: NodeProto, schema: OpSchema) -> None:
        names = {attribute.name for attribute in node.attribute}
        unknown = sorted(names - schema.attributes.keys())
        if unknown:
            raise BadModel(f"{node.op_type} of opset {schema.since_version} has no attribute {', '.join(unknown)}")
        for attribute in node.attribute:
            known: Any = schema.attributes[attribute.name].type
            if attribute.type != int(known.value):
                found = _ATTRIBUTE_KINDS.get(attribute.type, "nothing")
                expected = _ATTRIBUTE_KINDS[int(known.value)]
                raise BadModel(f"the attribute {attribute.name} must be {expected}, found {found}")
        missing = [name for name, each in schema.attributes.items() if each.required and name not in names]
        if missing:
            raise BadModel(f"the attribute {', '.join(missing)} is missing")
        if not schema.min_input <= len(node.input) <= schema.max_input:
            raise BadModel(f"it has {len(node.input)} inputs; {schema.min_input} to {schema.max_input} are expected")
        if len(node.output) > schema.max_output:
            raise BadModel(f"it has {len(node.output)} outputs; {schema.max_output} is the most")
        for formal, name in zip(schema.inputs, node.input, strict=False):
            optional: Any = formal.option
            if not name and int(optional.value) == 0:  # 1 is optional, 2 variadic
                raise BadModel(f"its input {formal.name} is missing")


def _hint(scope: Scope, name: str) -> Partial:
    return scope.hints.get(name, NOTHING)


@cache
def _schema(op: str, version: int, domain: str = "") -> OpSchema | None:
    from onnx import defs

    try:
        schema: OpSchema = defs.get_schema(op, version, domain)
    except defs.SchemaError:
        return None
    return None if schema.deprecated and op not in _DEPRECATED else schema


def _trimmed(inputs: Sequence[Value | None]) -> tuple[Value | None, ...]:
    end = len(inputs)
    while end and inputs[end - 1] is None:
        end -= 1
    return tuple(inputs[:end])


def _constant(attributes: Mapping[str, Any]) -> Array:
    if len(attributes) != 1:
        raise BadModel(f"a Constant has one attribute, not {len(attributes)}")
    ((name, value),) = attributes.items()
    match name:
        case "value":
            array: Array = value
            return array
        case "value_int" | "value_ints":
            return np.array(value, np.int64)
        case "value_float" | "value_floats":
            return np.array(value, np.float32)
    raise Refused(Reason.STRING, "a Constant of strings, which dlc does not have")


def _folded(name: str, inputs: Sequence[Value | None], outputs: Sequence[Value]) -> Sequence[Value] | None:
    """What a node of small constants gives, as constants."""
    if not inputs or name in _RANDOM or name.startswith("dlc."):
        return None
    for value in inputs:
        if value is not None and (value.constant is None or value.constant.size > _READ):
            return None
    if not all(value.type.is_static and value.type.size <= _FOLDED for value in outputs):  # type: ignore[operator]
        return None
    from dlc.compiler.evaluate import UNBOUNDED, evaluate_node

    if name in UNBOUNDED:
        return None
    node = outputs[0].node
    assert node is not None
    try:
        arrays = evaluate_node(node, [None if value is None else value.constant for value in inputs])
    except Exception:  # the reference raises whatever it meets; the node then stays as it is
        return None
    if any(array.shape != value.shape for array, value in zip(arrays, outputs, strict=True)):
        return None
    return [current().constant(array, value.dtype) for array, value in zip(arrays, outputs, strict=True)]


__all__ = ["Reader"]
