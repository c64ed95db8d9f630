"""Small ONNX models made by hand, and ONNX Runtime as the judge of what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from dlc.compiler import passes
from dlc.compiler.emit import emit
from dlc.compiler.importer import Imported, of_model

onnxruntime.set_default_logger_severity(4)
Array = np.ndarray[Any, Any]


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, tuple[str, Sequence[Any]]],
    outputs: Sequence[str],
    opset: int = 21,
    constants: Mapping[str, Array] | None = None,
    functions: Sequence[onnx.FunctionProto] = (),
    opsets: Mapping[str, int] | None = None,
) -> onnx.ModelProto:
    """A model; inputs are given by element type and shape, outputs are left without a type."""
    graph = helper.make_graph(
        list(nodes),
        "made",
        [value_info(name, dtype, shape) for name, (dtype, shape) in inputs.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()],
    )
    imports = [helper.make_opsetid(domain, version) for domain, version in {"": opset, **(opsets or {})}.items()]
    return helper.make_model(graph, opset_imports=imports, functions=list(functions), ir_version=8)


def value_info(name: str, dtype: str, shape: Sequence[Any]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, getattr(TensorProto, dtype.upper()), list(shape))


def ran(proto: onnx.ModelProto, feeds: Mapping[str, Any], *, optimized: bool = False) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(feeds)))


def through(imported: Imported) -> onnx.ModelProto:
    """What all passes make of a model, its weights inside."""
    return emit(passes.run(imported.inlined(), passes.INFERENCE))


def assert_same(
    proto: onnx.ModelProto, feeds: Mapping[str, Any], *, rtol: float = 1e-5, atol: float = 1e-6
) -> Imported:
    """ONNX Runtime gives the same for a model and for what dlc makes of it."""
    imported = of_model(proto)
    expected, found = ran(proto, feeds), ran(through(imported), feeds)
    assert len(expected) == len(found)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape, (ours.shape, theirs.shape)
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol)
    return imported


def weighted(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same architecture with seeded weights of He's scale: as it comes, each value of a layer is the same."""
    rng = np.random.default_rng(11)
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    kept = []
    for node in proto.graph.node:
        if node.op_type != "ConstantOfShape":
            kept.append(node)
            continue
        shape = tuple(shapes[node.input[0]].tolist())
        fan = int(np.prod(shape[1:])) if len(shape) > 1 else 1
        array = rng.normal(size=shape) * np.sqrt(2 / fan) if len(shape) > 1 else rng.uniform(0.5, 1.5, shape)
        proto.graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), node.output[0]))
    del proto.graph.node[:]
    proto.graph.node.extend(kept)
    return proto
