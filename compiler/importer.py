"""ONNX models as graphs: opset 7 to the newest, in opset 21's forms.

>>> load(Path("resnet50.onnx")).inlined()  # doctest: +SKIP
<graph resnet50: 1 inputs, 176 nodes, 1 outputs>
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dlc.compiler.build import Builder, current, rebind
from dlc.compiler.graph import Graph, Value
from dlc.compiler.importing.errors import BadModel, Reason, Refused
from dlc.compiler.importing.functions import domain_of, functions_of
from dlc.compiler.importing.hints import said
from dlc.compiler.importing.reader import Reader
from dlc.compiler.importing.scope import Scope, refuse
from dlc.compiler.importing.tensors import array_of, element_type
from dlc.compiler.importing.weights import constant_weights, fixed
from dlc.compiler.types import FLOATS, Array, Dim, Type, dtype_of, symbol

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, TypeProto

OLDEST = 7


@dataclass(frozen=True)
class Imported:
    """A model that was read.

    `graph` takes the model's inputs, then its weights: the float tensors that it holds, in initializers or Constant
    nodes, without single numbers of the latter and what sizes and bounds are read from (all others are constants).
    `weights` are their arrays by name, and the inputs of `graph` that they are for have those names; arrays from
    external data are mapped from their file, so that nothing is read before it is used. `values` are the values that
    the model names, outputs of its top-level nodes; `opset` is the model's.
    """

    graph: Graph
    weights: Mapping[str, Array] = field(repr=False)
    opset: int
    values: Mapping[str, Value] = field(repr=False)

    def inlined(self, keep: Collection[str] = ()) -> Graph:
        """The graph with all weights but `keep` as constants; only the model's inputs, and those, are left."""
        inside = self.weights.keys() - set(keep)
        names = {value: name for value, name in self.graph.names.items() if name not in inside}
        builder = Builder(names)
        replaced: dict[Value, Value] = {}
        kept: list[Value] = []
        with builder:
            for value in self.graph.inputs:
                name = self.graph.names[value]
                if name in inside:
                    replaced[value] = builder.constant(self.weights[name])
                    builder.names.setdefault(replaced[value], name)
                else:
                    kept.append(value)
            for node in self.graph.nodes:
                inputs = tuple(replaced.get(value, value) if value is not None else None for value in node.inputs)
                bodies = tuple(rebind(body, replaced) for body in node.bodies)
                new = builder.add(node.op, inputs, node.attributes, bodies, len(node.outputs))
                for old, fresh in zip(node.outputs, new.outputs, strict=True):
                    if old is not fresh:
                        replaced[old] = fresh
                        if old in names:
                            builder.names.pop(old, None)
                            builder.names.setdefault(fresh, names[old])
        outputs = {name: replaced.get(value, value) for name, value in self.graph.outputs.items()}
        return builder.graph(self.graph.name, outputs, kept)


def load(path: str | Path, asked: Collection[str] = ()) -> Imported:
    """Read a model's file, and its external data from the folder that it is in.

    `asked` are names that a gradient will be asked by. Float tensors of the model so called are weights, also where
    they would be constants: bounds, scales, single numbers. Values that it computes keep their place: no pass joins
    them with others, nor looks through them.

    Raises BadModel (no ONNX model, or one that breaks ONNX's rules) and Refused (one that dlc does not have the types
    or operators for). No file outside of the folder is opened, links included.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from onnx import ModelProto

    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadModel(f"{path}: {error.strerror or error}") from None
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise BadModel(f"{path}: this is no ONNX model, or one that was cut off") from None
    return _import(model, path.resolve().parent, path.name, asked)


def of_model(model: ModelProto, folder: Path | None = None, asked: Collection[str] = ()) -> Imported:
    """Read a model; `folder` is where its external data is, if it may have any. Else as `load`, and raises so."""
    folder = None if folder is None else Path(folder).resolve()
    return _import(model, folder, model.graph.name or "the model", asked)


def _import(model: ModelProto, folder: Path | None, file: str, asked: Collection[str]) -> Imported:
    if not model.HasField("graph") or not model.ir_version or not model.opset_import:
        raise BadModel(f"{file}: an ONNX model has a graph, an ir_version and opsets; this has not")
    try:
        opsets = _opsets(model)
        reader = Reader(file, folder, functions_of(model), asked)
        return _Importer(model.graph, opsets, reader).imported()
    except BadModel as error:
        if str(error).startswith(f"{file}: "):
            raise
        text = f"{file}: {error}"
        raise (Refused(error.reason, text) if isinstance(error, Refused) else BadModel(text)) from None


def _opsets(model: ModelProto) -> Mapping[str, int]:
    from onnx import defs

    opsets = {domain_of(each.domain): each.version for each in model.opset_import}
    newest = defs.onnx_opset_version()
    version = opsets.get("", newest if len(model.functions) else None)
    if version is None:
        opsets[""] = version = newest  # a model without operators of ONNX's own
    if not OLDEST <= version <= newest:
        raise Refused(Reason.OPSET, f"opset {version}; dlc reads {OLDEST} to {newest}")
    opsets.setdefault("", version)
    return opsets


class _Importer:
    def __init__(self, proto: GraphProto, opsets: Mapping[str, int], reader: Reader) -> None:
        self._proto = proto
        self._reader = reader
        self._scope = Scope(opsets, hints={info.name: said(info.type) for info in (*proto.value_info, *proto.output)})
        self._dims: dict[str, Dim] = {}
        self._weights: dict[str, Array] = {}

    def imported(self) -> Imported:
        proto, scope = self._proto, self._scope
        for each in (proto, *proto.input, *proto.output, *proto.initializer):
            if not isinstance(each.name, str):
                raise BadModel(f"the name {each.name!r} is not UTF-8")
        if proto.sparse_initializer:
            raise Refused(Reason.SPARSE, "it has sparse tensors, which dlc does not have")
        builder = Builder()
        with builder:
            held = {tensor.name for tensor in proto.initializer}
            for info in proto.input:
                if info.name not in held:
                    if info.name in scope.values or not info.name:
                        raise BadModel(f"two inputs are called {info.name!r}")
                    type = self._type(info.type, f"the input {info.name!r}")
                    scope.values[info.name] = builder.input(info.name, type)
            read = self._tensors(builder)
            rest = [node for node in proto.node if node.op_type != "Constant" or read.isdisjoint(node.output)]
            self._reader.nodes(rest, scope)
            outputs: dict[str, Value] = {}
            for info in proto.output:
                if info.name in outputs:
                    raise BadModel(f"two outputs are called {info.name!r}")
                outputs[info.name] = self._output(info.name, info.type)
        values = {name: value for name, value in scope.values.items() if value is not None}
        return Imported(builder.graph(proto.name or "graph", outputs), self._weights, scope.version, values)

    def _tensors(self, builder: Builder) -> set[str]:
        """The weights as inputs, and the other initializers as constants. Returns the weights that nodes hold."""
        stay = fixed(self._proto, self._reader.functions) - set(self._reader.asked)
        for tensor in self._proto.initializer:
            if tensor.name in self._scope.values or not tensor.name:
                raise BadModel(f"two initializers are called {tensor.name!r}")
            array = array_of(tensor, self._reader.folder, f"the initializer {tensor.name!r}")
            if dtype_of(array) in FLOATS and tensor.name not in stay:
                self._weight(builder, tensor.name, array)
            else:
                value = builder.constant(array)
                builder.names.setdefault(value, tensor.name)
                self._scope.values[tensor.name] = value
        held = set()
        for tensor in constant_weights(self._proto, stay, self._reader.asked):
            where = f"the Constant {tensor.name!r}"
            if element_type(tensor.data_type, where) in FLOATS:
                if tensor.name in self._scope.values:
                    raise BadModel(f"the name {tensor.name!r} is defined twice")
                self._weight(builder, tensor.name, array_of(tensor, self._reader.folder, where))
                held.add(tensor.name)
        return held

    def _weight(self, builder: Builder, name: str, array: Array) -> None:
        self._weights[name] = array
        self._scope.values[name] = builder.input(name, Type(dtype_of(array), tuple(array.shape)))

    def _type(self, proto: TypeProto, where: str) -> Type:
        kind = proto.WhichOneof("value")
        if kind != "tensor_type":
            reason = {"sequence_type": Reason.SEQUENCE, "optional_type": Reason.OPTIONAL,
                      "sparse_tensor_type": Reason.SPARSE}.get(kind or "")  # fmt: skip
            if reason is None:
                raise BadModel(f"{where} has no type")
            raise Refused(reason, f"{where} is one of {reason.value}, which dlc does not have")
        dtype = element_type(proto.tensor_type.elem_type, where)
        if not proto.tensor_type.HasField("shape"):
            raise Refused(Reason.RANK, f"{where} has no shape; dlc needs to know how many dimensions it has")
        dims: list[Dim] = []
        for dim in proto.tensor_type.shape.dim:
            if dim.HasField("dim_value"):
                if dim.dim_value < 0:
                    raise BadModel(f"{where} has the dimension {dim.dim_value}")
                dims.append(dim.dim_value)
            else:
                dims.append(self._named(dim.dim_param))
        return Type(dtype, tuple(dims))

    def _named(self, name: str) -> Dim:
        """A dimension by the model's name for it, made one that can be written: `batch size` is `batch_size`."""
        if not name:
            return current().unknown()
        if not isinstance(name, str):
            raise BadModel(f"the name of a dimension, {name!r}, is not UTF-8")
        if name not in self._dims:
            plain = re.sub(r"\W", "_", name, flags=re.ASCII)
            plain = f"d_{plain}" if not plain.isidentifier() or plain == "_" else plain
            taken = {str(dim) for dim in self._dims.values()}
            while plain in taken:
                plain += "_"
            self._dims[name] = symbol(plain)
        return self._dims[name]

    def _output(self, name: str, proto: TypeProto) -> Value:
        try:
            value = self._scope.anything(name)
        except BadModel:
            value = None
        if value is None:
            raise BadModel(f"nothing gives the output {name!r}")
        if not isinstance(value, Value):
            refuse(value, f"it gives the output {name!r}")
        dtype = said(proto)[0]
        if dtype is not None and dtype != value.dtype:
            raise BadModel(f"the output {name!r} is said to be {dtype}, it is {value.type}")
        return value


__all__ = ["BadModel", "Imported", "Reason", "Refused", "load", "of_model"]
