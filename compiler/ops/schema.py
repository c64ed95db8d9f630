"""Operators without a record of their own: their types come from onnx's schemas and shape inference.

Such an operator is emitted and evaluated as it is; nothing flows back through it.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from dlc.compiler.registry import COMPILER_ATTRIBUTES, Call, IllTyped, Operator
from dlc.compiler.types import ONNX_NUMBER, Dim, Type, from_onnx_number

if TYPE_CHECKING:
    from onnx import NodeProto, TypeProto
    from onnx.defs import OpSchema

OPSET = 21  # that of the products; an operator that came later is taken at its newest version
_LARGEST = 4096  # elements of a constant that shape inference is shown
# What onnx infers of one output: its element type, and its shape as far as it is known (None: not even the rank).
Partial = tuple[str | None, tuple[Dim | None, ...] | None]


@cache
def schema_of(op: str) -> OpSchema | None:
    """ONNX's schema of an operator, at opset 21 or, if it came later, the newest; None for a name it does not have."""
    from onnx import defs

    for version in (OPSET, defs.onnx_opset_version()):
        try:
            return defs.get_schema(op, version, "")
        except defs.SchemaError:
            continue
    return None


def partial_types(call: Call) -> list[Partial]:
    """What onnx's shape inference says of a call without bodies, one for each output. Raises IllTyped."""
    from onnx import helper, numpy_helper, shape_inference

    schema = schema_of(call.op)
    if schema is None:
        raise IllTyped(f"{call.op} is no operator of ONNX")
    _check_safe(call)
    names = ["" if value is None else f"i{i}" for i, value in enumerate(call.inputs)]
    dims: dict[str, Dim] = {}
    types, data = {}, {}
    for name, value in zip(names, call.inputs, strict=True):
        if value is not None:
            types[name] = _proto(value.type, dims)
            if value.constant is not None and value.constant.size <= _LARGEST:
                data[name] = numpy_helper.from_array(value.constant, name)
    node = _node(call, schema, names)
    version = max(OPSET, schema.since_version)
    try:
        found = shape_inference.infer_node_outputs(
            schema, node, types, data, opset_imports=[helper.make_opsetid("", version)]
        )
    except Exception as error:  # the binding raises several kinds
        raise IllTyped(f"{call.op}: {str(error).strip().splitlines()[-1]}") from None
    return [_partial(found.get(name), dims) for name in node.output]


def _check_safe(call: Call) -> None:
    """Refuse what onnx's shape inference reads beyond the end of its own lists for, which ends the process."""
    if call.op == "Split" and call.get("num_outputs", call.outputs) != call.outputs:
        raise IllTyped(f"Split into {call.get('num_outputs')} parts with {call.outputs} outputs")
    ranks = [value.type.rank for value in call.inputs if value is not None]
    most = max(ranks, default=0)
    for name in ("axis", "batch_axis", "time_axis"):
        if not -most - 1 <= call.get(name, 0) <= most:
            raise IllTyped(f"{call.op}: {name} {call.get(name)} of tensors of rank {most} at most")
    if not 0 <= call.get("batch_dims", 0) < max(min(ranks, default=0), 1):
        raise IllTyped(f"{call.op}: {call.get('batch_dims')} batch dimensions of tensors of the ranks {ranks}")


def _node(call: Call, schema: OpSchema, names: list[str]) -> NodeProto:
    from onnx import helper

    outputs = [f"o{i}" for i in range(call.outputs)]
    node: NodeProto = helper.make_node(call.op, names, outputs)
    for name, value in call.attributes.items():
        if name in COMPILER_ATTRIBUTES:
            continue
        if name not in schema.attributes:
            raise IllTyped(f"{call.op} has no attribute {name}")
        given: Any = schema.attributes[name].type
        kind = int(given.value)
        node.attribute.append(helper.make_attribute(name, _plain(value), attr_type=kind))
    return node


def _plain(value: Any) -> Any:
    from onnx import numpy_helper

    if isinstance(value, np.ndarray):
        return numpy_helper.from_array(value)
    return ONNX_NUMBER.get(value, value) if isinstance(value, str) else value


def _proto(type: Type, dims: dict[str, Dim]) -> TypeProto:
    from onnx import helper

    for dim in type.shape:
        if not isinstance(dim, int):
            dims[str(dim)] = dim
    shape = [dim if isinstance(dim, int) else str(dim) for dim in type.shape]
    proto: TypeProto = helper.make_tensor_type_proto(ONNX_NUMBER[type.dtype], shape)
    return proto


def _partial(proto: TypeProto | None, dims: dict[str, Dim]) -> Partial:
    if proto is None or proto.WhichOneof("value") != "tensor_type":
        return None, None
    tensor = proto.tensor_type
    dtype = from_onnx_number(tensor.elem_type) if tensor.elem_type in ONNX_NUMBER.values() else None
    if not tensor.HasField("shape"):
        return dtype, None
    return dtype, tuple(
        dim.dim_value if dim.HasField("dim_value") else dims.get(dim.dim_param) for dim in tensor.shape.dim
    )


def _infer(call: Call) -> list[Type]:
    types = []
    for index, (dtype, shape) in enumerate(partial_types(call)):
        known = tuple(dim for dim in shape or () if dim is not None)
        if dtype is None or shape is None or len(known) != len(shape):
            raise IllTyped(f"{call.op}: the shape of its output {index + 1} depends on data")
        types.append(Type(dtype, known))
    return types


@cache
def fallback(name: str) -> Operator | None:
    """A record made of onnx's schema; None for a name that ONNX's own domain does not have."""
    return None if name.startswith("dlc.") or schema_of(name) is None else Operator(name, _infer)


__all__ = ["Partial", "fallback", "partial_types", "schema_of"]
