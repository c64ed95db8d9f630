"""Sound models of several nodes, one for each kind of thing that a model may hold, to be spoilt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

DATA = "weights.bin"  # 4,096 bytes of zeros beside the model
node = helper.make_node
Array = np.ndarray[Any, Any]


def models() -> Iterator[onnx.ModelProto]:
    yield from (_picture(opset) for opset in (7, 9, 11, 13, 17, 20, 21))
    yield from (_old(opset) for opset in (7, 8, 9, 10, 12))
    yield from (_shapes(), _branches(), _turns(), _scanned(), _calls(), _external(), _quantized(), _sequence())


def _model(
    nodes: Sequence[onnx.NodeProto], inputs: Mapping[str, Sequence[Any]], outputs: Sequence[str],
    constants: Mapping[str, Array], opset: int = 21, **more: Any,
) -> onnx.ModelProto:  # fmt: skip
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()]
    held = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph(list(nodes), "made", infos, [onnx.ValueInfoProto(name=each) for each in outputs], held)
    imports = [helper.make_opsetid("", opset), *more.pop("imports", ())]
    return helper.make_model(graph, opset_imports=imports, ir_version=8, **more)


def _floats(*shape: int) -> Array:
    return np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)


def _graph(
    name: str, nodes: Sequence[onnx.NodeProto], inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[str]
) -> onnx.GraphProto:
    return helper.make_graph(list(nodes), name, list(inputs), [onnx.ValueInfoProto(name=each) for each in outputs])


def _info(name: str, shape: Sequence[Any], kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _picture(opset: int) -> onnx.ModelProto:
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]),
        node("BatchNormalization", ["c", "scale", "b", "b", "scale"], ["n"]),
        node("Relu", ["n"], ["r"]),
        node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[1, 1]),
        node("Concat", ["p", "p"], ["pp"], axis=1),
        node("GlobalAveragePool", ["pp"], ["g"]),
        node("Flatten", ["g"], ["f"]),
        node("Gemm", ["f", "fw", "fb"], ["z"], transB=1),
        node("Softmax", ["z"], ["y"], axis=1),
    ]
    constants = {
        "w": _floats(4, 3, 3, 3), "b": _floats(4), "scale": np.ones(4, np.float32), "fw": _floats(5, 8),
        "fb": _floats(5),
    }  # fmt: skip
    return _model(nodes, {"x": ["N", 3, 8, 8]}, ["y"], constants, opset)


def _old(opset: int) -> onnx.ModelProto:
    """Forms that later opsets changed."""
    cut = node("Slice", ["x"], ["s"], starts=[0], ends=[3], axes=[1])
    constants: dict[str, Array] = {"w": _floats(3, 4)}
    if opset >= 10:
        cut = node("Slice", ["x", "from", "to", "along"], ["s"])
        constants |= {name: np.array([each], np.int64) for name, each in (("from", 0), ("to", 3), ("along", 1))}
    best = node("TopK", ["d"], ["t", "i"], k=2) if opset < 10 else node("TopK", ["d", "two"], ["t", "i"])
    constants["two"] = np.array([2], np.int64)
    clip = node("Clip", ["t"], ["c"], min=-1.0, max=1.0) if opset < 11 else node("Clip", ["t"], ["c"])
    nodes = [
        cut, node("MatMul", ["s", "w"], ["m"]), node("Dropout", ["m"], ["d"], **({"ratio": 0.3} if opset < 12 else {})),
        best, clip, node("Unsqueeze", ["c"], ["u"], axes=[0]), node("ReduceSum", ["u"], ["r"], axes=[-1], keepdims=0),
        node("Split", ["m"], ["h1", "h2"], axis=1, split=[1, 3]), node("Squeeze", ["r"], ["q"], axes=[0]),
    ]  # fmt: skip
    return _model(nodes, {"x": ["N", 5]}, ["q", "h2"], constants, opset)


def _shapes() -> onnx.ModelProto:
    """A reshape whose sizes are computed, as exporters write it."""
    nodes = [
        node("Shape", ["x"], ["shape"]), node("Gather", ["shape", "zero"], ["n"], axis=0),
        node("Unsqueeze", ["n", "first"], ["n1"]), node("Concat", ["n1", "minus"], ["to"], axis=0),
        node("Reshape", ["x", "to"], ["flat"]), node("ConstantOfShape", ["to2"], ["zeros"]),
        node("Expand", ["zeros", "shape"], ["wide"]), node("Add", ["x", "wide"], ["sum"]),
        node("Range", ["zero", "n", "one"], ["count"]), node("NonZero", ["flat"], ["where"]),
        node("Unsqueeze", ["sum", "first"], ["sum4"]),
        node("Resize", ["sum4", "", "", "sizes"], ["big"], mode="linear"),
    ]  # fmt: skip
    constants = {
        "zero": np.array(0), "one": np.array(1), "first": np.array([0]), "minus": np.array([-1]),
        "to2": np.array([1, 1, 1]), "sizes": np.array([1, 2, 6, 8]),
    }  # fmt: skip
    return _model(nodes, {"x": [2, 3, 4]}, ["flat", "count", "where", "big"], constants)


def _branches() -> onnx.ModelProto:
    yes = _graph("yes", [node("MatMul", ["h", "w"], ["a"]), node("Tanh", ["a"], ["ya"])], [], ["ya"])
    no = _graph("no", [node("Neg", ["h"], ["yb"])], [], ["yb"])
    nodes = [
        node("Relu", ["x"], ["h"]), node("ReduceMax", ["h"], ["top"], keepdims=0), node("Greater", ["top", "k"], ["c"]),
        node("If", ["c"], ["y"], then_branch=yes, else_branch=no),
    ]  # fmt: skip
    return _model(nodes, {"x": ["N", 4]}, ["y"], {"w": _floats(4, 4), "k": np.array(1, np.float32)})


def _turns() -> onnx.ModelProto:
    body = _graph(
        "turn", [
            node("MatMul", ["h", "w"], ["m"]), node("Tanh", ["m"], ["next"]), node("Identity", ["go"], ["on"]),
            node("ReduceSum", ["next"], ["total"], keepdims=0),
        ],
        [_info("i", [], TensorProto.INT64), _info("go", [], TensorProto.BOOL), _info("h", ["N", 4])],
        ["on", "next", "total"],
    )  # fmt: skip
    nodes = [node("Loop", ["count", "", "x"], ["last", "totals"], body=body), node("Exp", ["last"], ["y"])]
    return _model(nodes, {"x": ["N", 4]}, ["y", "totals"], {"w": _floats(4, 4), "count": np.array(3)})


def _scanned() -> onnx.ModelProto:
    body = _graph(
        "step", [node("Add", ["h", "e"], ["s"]), node("Tanh", ["s"], ["next"]), node("Identity", ["next"], ["o"])],
        [_info("h", [4]), _info("e", [4])], ["next", "o"],
    )  # fmt: skip
    nodes = [node("Scan", ["start", "x"], ["last", "all"], body=body, num_scan_inputs=1)]
    return _model(nodes, {"x": ["T", 4]}, ["last", "all"], {"start": _floats(4)})


def _calls() -> onnx.ModelProto:
    """Functions that call functions, with an attribute that is handed on."""
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("mine", 1)]
    leak = node("LeakyRelu", ["a"], ["b"])
    leak.attribute.append(onnx.AttributeProto(name="alpha", type=onnx.AttributeProto.FLOAT, ref_attr_name="slope"))
    inner = helper.make_function("mine", "Leak", ["a"], ["b"], [leak], imports, ["slope"])
    call = node("Leak", ["p"], ["q"], domain="mine", slope=0.2)
    outer = helper.make_function(
        "mine", "Dense", ["v", "k"], ["q"], [node("MatMul", ["v", "k"], ["p"]), call], imports
    )
    nodes = [node("Dense", ["x", "w"], ["h"], domain="mine"), node("Dense", ["h", "w"], ["y"], domain="mine")]
    own = [helper.make_opsetid("mine", 1)]
    return _model(nodes, {"x": ["N", 4]}, ["y"], {"w": _floats(4, 4)}, imports=own, functions=[inner, outer])


def _external() -> onnx.ModelProto:
    made = _model(
        [node("MatMul", ["x", "w"], ["m"]), node("Add", ["m", "b"], ["y"])], {"x": ["N", 8]}, ["y"],
        {"w": _floats(8, 6), "b": _floats(6)},
    )  # fmt: skip
    for offset, tensor in zip((0, 1024), made.graph.initializer, strict=True):
        length = len(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": DATA, "offset": offset, "length": length}.items():
            tensor.external_data.add(key=key, value=str(value))
    return made


def _quantized() -> onnx.ModelProto:
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node("QLinearConv", ["q", "s", "z", "w", "s", "wz", "s", "z"], ["c"], kernel_shape=[2, 2]),
        node("DequantizeLinear", ["c", "s", "z"], ["d"]),
        node("DynamicQuantizeLinear", ["d"], ["dq", "ds", "dz"]),
        node("DequantizeLinear", ["dq", "ds", "dz"], ["y"]),
    ]
    constants = {
        "s": np.array(0.1, np.float32), "z": np.array(128, np.uint8), "wz": np.array(0, np.int8),
        "w": np.arange(-12, 12, dtype=np.int8).reshape(2, 3, 2, 2),
    }  # fmt: skip
    return _model(nodes, {"x": ["N", 3, 5, 5]}, ["y"], constants)


def _sequence() -> onnx.ModelProto:
    nodes = [
        node("SplitToSequence", ["x"], ["parts"], axis=0, keepdims=0), node("SequenceAt", ["parts", "k"], ["first"]),
        node("Relu", ["first"], ["y"]),
    ]  # fmt: skip
    return _model(nodes, {"x": [3, 4]}, ["y"], {"k": np.array(0)})
