"""Which of a model's tensors are its weights, and which are constants."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from dlc.compiler.importing.functions import Key, domain_of, every_node, key_of

if TYPE_CHECKING:
    from onnx import AttributeProto, FunctionProto, GraphProto, NodeProto, TensorProto

# Inputs that type rules read, and bounds: what stands there is a constant unless somebody asks for it.
_READ: Mapping[str, tuple[int, ...]] = {
    "Resize": (1, 2), "Upsample": (1,), "Range": (0, 1, 2), "Clip": (1, 2), "Dropout": (1,), "Pad": (2,),
    "OneHot": (2,), "QuantizeLinear": (1,), "DequantizeLinear": (1,), "NonMaxSuppression": (3, 4),
}  # fmt: skip
# Inputs that say sizes and places.
_SIZES: Mapping[str, tuple[int, ...]] = {
    "Reshape": (1,), "Expand": (1,), "Tile": (1,), "Slice": (1, 2, 3, 4), "Pad": (1, 3), "ConstantOfShape": (0,),
    "Resize": (3,), "TopK": (1,), "OneHot": (1,), "Split": (1,), "Squeeze": (1,), "Unsqueeze": (1,), "Loop": (0,),
}  # fmt: skip

_LAYERS = frozenset(
    {"Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "InstanceNormalization", "LayerNormalization",
     "GroupNormalization", "PRelu", "RNN", "GRU", "LSTM"}
)  # fmt: skip


def fixed(graph: GraphProto, functions: Mapping[Key, FunctionProto]) -> set[str]:
    """The values that type rules read, and those that sizes are computed from without the model's inputs."""
    found = _read(graph.node, functions, {})
    dependent = {info.name for info in graph.input} - {tensor.name for tensor in graph.initializer}
    free: list[NodeProto] = []
    for node in graph.node:
        if node.op_type in ("Shape", "Size"):
            continue  # sizes are computed from what they give, and no value is read for that
        if dependent.isdisjoint(node.input):
            free.append(node)
        else:
            dependent.update(node.output)
    for node in reversed(free):
        if not found.isdisjoint(node.output):
            found.update(node.input)
    return found


def _read(
    nodes: Sequence[NodeProto], functions: Mapping[Key, FunctionProto], known: dict[Key, tuple[int, ...]]
) -> set[str]:
    """What stands where a node, in bodies too, reads its input; `known` are the inputs that functions read."""
    found: set[str] = set()
    for node in every_node(nodes):
        key = key_of(node)
        if key in functions and key not in known:
            inside = _read(functions[key].node, functions, known)  # functions do not call themselves: the reader looked
            known[key] = tuple(i for i, name in enumerate(functions[key].input) if name in inside)
        own = (*_READ.get(node.op_type, ()), *_SIZES.get(node.op_type, ()))
        # A function may have an operator's name, and read nothing.
        found.update(node.input[index] for index in known.get(key, own) if index < len(node.input))
    return found


def constant_weights(graph: GraphProto, fixed: Collection[str], asked: Collection[str]) -> Iterator[TensorProto]:
    """The tensors of Constant nodes that are weights, with their names: those `asked` for, and such as exporters hold
    weights in: of more than one element, or weights of a layer of a single one, and not `fixed`."""
    layers = (node for node in graph.node if node.op_type in _LAYERS)
    trained = {name for node in layers for name in node.input[1:]}
    for node in graph.node:
        if node.op_type != "Constant" or domain_of(node.domain) or len(node.attribute) != 1 or len(node.output) != 1:
            continue
        tensor = _tensor(node.attribute[0], node.output[0])
        if tensor is None:
            continue
        weight = _several(tensor) or (tensor.dims and tensor.name in trained)
        if tensor.name in asked or (weight and tensor.name not in fixed):
            yield tensor


def _tensor(attribute: AttributeProto, name: str) -> TensorProto | None:
    """The tensor that a Constant holds, under its output's name; None for one that has no good name, too."""
    from onnx import TensorProto

    tensor = TensorProto()
    if attribute.ref_attr_name or not name or not isinstance(name, str):  # bytes: those that are not UTF-8
        return None
    if attribute.name == "value":
        tensor.CopyFrom(attribute.t)
    elif attribute.name in ("value_float", "value_floats"):
        single = attribute.name == "value_float"
        tensor.data_type = TensorProto.FLOAT
        tensor.float_data.extend([attribute.f] if single else attribute.floats)
        tensor.dims.extend([] if single else [len(attribute.floats)])
    else:
        return None
    tensor.name = name
    return tensor


def _several(tensor: TensorProto) -> bool:
    return all(tensor.dims) and any(size > 1 for size in tensor.dims)


__all__ = ["constant_weights", "fixed"]
