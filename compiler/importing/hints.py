"""Types for nodes that an operator's own rule cannot tell, because a shape, axes or a count depend on data.

onnx's shape inference of the one node, and what the model itself says of the value (`value_info`, outputs), are merged;
dimensions that neither knows are new names. Names that a model gives to such dimensions are not trusted: exporters
use one name for sizes that differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dlc.compiler.build import current
from dlc.compiler.importing.errors import BadModel, Reason, Refused
from dlc.compiler.ops.schema import Partial, partial_types
from dlc.compiler.registry import Call, IllTyped, lookup
from dlc.compiler.types import ONNX_NUMBER, Dim, Type, from_onnx_number, product

if TYPE_CHECKING:
    from onnx import TypeProto

NOTHING: Partial = (None, None)


def said(proto: TypeProto | None) -> Partial:
    """What a model says of a value: sizes that are numbers only."""
    if proto is None or proto.WhichOneof("value") != "tensor_type":
        return NOTHING
    tensor = proto.tensor_type
    dtype = from_onnx_number(tensor.elem_type) if tensor.elem_type in ONNX_NUMBER.values() else None
    if not tensor.HasField("shape"):
        return dtype, None
    return dtype, tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim)


def declared(call: Call, hints: Sequence[Partial], error: IllTyped) -> tuple[Type, ...]:
    """The types of a node that `error` refused. Raises BadModel with its text where onnx refuses the node too."""
    try:
        inferred = partial_types(call)
    except IllTyped:
        raise BadModel(str(error)) from None
    if len(inferred) < call.outputs:
        raise BadModel(str(error))
    if (settled := _settled(call)) is not None:
        return settled
    types = []
    for index, (found, hint) in enumerate(zip(inferred, [*hints, *[NOTHING] * len(inferred)], strict=False)):
        dtype, shape = _merged(found, hint, call, index)
        if shape is None and call.has(1):
            shape = _by_length(call)
        if dtype is None or shape is None:
            raise Refused(Reason.RANK, f"the rank of its output {index + 1} is not known: {error}")
        types.append(Type(dtype, tuple(current().unknown() if dim is None else dim for dim in shape)))
    return tuple(types)


def _settled(call: Call) -> tuple[Type, ...] | None:
    """The types that an operator has if its inputs fit, which only a run tells; None where that does not tell them."""
    record = lookup(call.op)
    if record.settle is None:
        return None
    try:
        inputs = tuple(record.settle(call))
        return tuple(record.infer(Call(call.op, inputs, call.attributes, call.bodies, call.outputs)))
    except IllTyped:
        return None


def _by_length(call: Call) -> tuple[Dim | None, ...] | None:
    """A rank that follows from how many axes or sizes a node takes, whatever they are."""
    length, rank = product(call.type(1).shape), call.type(0).rank
    reduces = call.op.startswith("Reduce")
    if call.op in ("Split", "CenterCropPad", "Pad") or (reduces and call.get("keepdims", 1)):
        return (None,) * rank
    if not isinstance(length, int):
        return None
    if call.op == "Reshape":
        return (None,) * length
    if call.op == "Unsqueeze":
        return (None,) * (rank + length)
    if call.op == "Squeeze" or (reduces and length):
        return (None,) * (rank - length)
    return None


def _merged(found: Partial, hint: Partial, call: Call, index: int) -> Partial:
    dtype = found[0] or hint[0]
    if found[1] is None or hint[1] is None:
        return dtype, found[1] if hint[1] is None else hint[1]
    if len(found[1]) != len(hint[1]):
        raise BadModel(
            f"output {index + 1} of {call.op} has {len(found[1])} dimensions; the model says it has {len(hint[1])}"
        )
    return dtype, tuple(a if a is not None else b for a, b in zip(found[1], hint[1], strict=True))


def joined(one: Sequence[Type], other: Sequence[Type], what: str) -> tuple[Type, ...]:
    """What holds of two lists of types at once: dimensions that differ are new names. Raises BadModel and Refused."""
    if len(one) != len(other):
        raise BadModel(f"{what} give {len(one)} and {len(other)} values")
    types = []
    for a, b in zip(one, other, strict=True):
        if a.dtype != b.dtype:
            raise BadModel(f"{what} give {a} and {b}")
        if a.rank != b.rank:
            raise Refused(Reason.RANK, f"{what} give {a} and {b}")
        dims = [m if m == n else current().unknown() for m, n in zip(a.shape, b.shape, strict=True)]
        types.append(a.with_shape(dims))
    return tuple(types)


__all__ = ["NOTHING", "declared", "joined", "said"]
