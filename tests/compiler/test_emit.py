"""Emitted models pass onnx's full check, run on ONNX Runtime with the right numbers, and are always the same bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from dlc.compiler.build import Builder, ints, op, private
from dlc.compiler.emit import EmitError, emit, serialized
from dlc.compiler.graph import Graph
from dlc.compiler.registry import _OPERATORS, Operator, operators
from dlc.compiler.types import Type, quotient, symbol
from dlc.dsl.ast import Span

B, H = symbol("B"), symbol("H")


@pytest.fixture
def local_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records of ONNX operators with the types of these tests, so that emission is tested apart from type rules."""
    operators()
    wanted: Mapping[str, Any] = {
        "If": lambda call: [value.type for value in call.bodies[0].outputs.values()],
        "Scan": lambda call: [
            call.type(0), Type("f32", (call.type(1).shape[0], *list(call.bodies[0].outputs.values())[1].shape)),
        ],
        "TopK": lambda call: [Type("f32", (2,)), Type("i64", (2,))],
        "ConstantOfShape": lambda call: [Type("f32", (2, 3))],
        "LeakyRelu": lambda call: [call.type(0)],
        "Clip": lambda call: [call.type(0)],
        "LSTM": lambda call: [Type("f32", shape) for shape in ((5, 1, 2, 4), (1, 2, 4), (1, 2, 4))][: call.outputs],
        "Cast": lambda call: [call.type(0).with_dtype(call.attributes["to"])],
    }  # fmt: skip
    for name, infer in wanted.items():
        monkeypatch.setitem(_OPERATORS, name, Operator(name, infer))


def run(graph: Graph, path: Path, **inputs: Any) -> dict[str, Any]:
    """Emit, save, check fully, and run with all of ONNX Runtime's optimizations off."""
    import onnxruntime as ort

    model = emit(graph)
    (path / "model.onnx").write_bytes(serialized(model))
    onnx.checker.check_model(str(path / "model.onnx"), full_check=True)
    assert serialized(emit(graph)) == (path / "model.onnx").read_bytes()
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path / "model.onnx"), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    assert names == list(graph.outputs)
    return dict(zip(names, session.run(None, inputs), strict=True))


def names_of(model: onnx.ModelProto) -> list[str]:
    """Every name that a value has anywhere in the model, bodies too."""
    found: list[str] = []
    graphs = [model.graph]
    for graph in graphs:
        found += [value.name for value in graph.input] + [tensor.name for tensor in graph.initializer]
        found += [name for node in graph.node for name in node.output]
        graphs.extend(a.g for node in graph.node for a in node.attribute if a.type == onnx.AttributeProto.GRAPH)
    return found


def value(model: onnx.ModelProto, name: str) -> str:
    for info in [*model.graph.input, *model.graph.output, *model.graph.value_info]:
        if info.name == name:
            dims = info.type.tensor_type.shape.dim
            shape = ", ".join(str(d.dim_value) if d.HasField("dim_value") else d.dim_param for d in dims)
            return f"{info.type.tensor_type.elem_type}[{shape}]"
    raise AssertionError(name)


def test_a_small_net(tmp_path: Path) -> None:
    builder = Builder()
    with builder:
        x = builder.input("x", Type("f32", (B, 4)))
        w = builder.input("net.linear.weight[0]", Type("f32", (4, 3)))
        with builder.at(Span("/home/me/net.net", 8, 3, 8, 20)):
            h = op.MatMul(x, w)
        y = op.Relu(h * 2.0)
    builder.names[h] = "net.linear"
    graph = builder.graph("net", {"output": y})
    a, b = np.random.default_rng(0).standard_normal((2, 4, 4)).astype(np.float32)
    result = run(graph, tmp_path, **{"x": a[:2], "net.linear.weight[0]": b[:, :3]})
    np.testing.assert_allclose(result["output"], np.maximum(2 * a[:2] @ b[:, :3], 0), rtol=1e-6)

    model = emit(graph)
    assert model.ir_version == 10 and [(o.domain, o.version) for o in model.opset_import] == [("", 21)]
    assert [(node.name, node.op_type, node.doc_string) for node in model.graph.node] == [
        ("/net.linear/MatMul", "MatMul", "net.net:8:3"), ("Mul_1", "Mul", ""), ("Relu_2", "Relu", "")
    ]  # fmt: skip
    assert names_of(model) == ["x", "net.linear.weight[0]", "constant_0", "net.linear", "Mul_1", "output"]
    assert value(model, "net.linear") == value(model, "Mul_1") == value(model, "output") == "1[B, 3]"
    assert model.producer_name == "dlc"


def test_outputs(tmp_path: Path) -> None:
    """An input, a constant, one value twice, and an input under its own name."""
    builder = Builder()
    with builder:
        x = builder.input("x", Type("f32", ()))
        z = builder.input("z", Type("f32", (B,)))
        y = op.Neg(x)
        c = builder.constant([1.0, 2.0])
    builder.names[y] = "inner"
    graph = builder.graph("g", {"x:next": x, "c": c, "y": y, "again": y, "c2": c, "z": z})
    result = run(graph, tmp_path, x=np.array(3, np.float32), z=np.ones(4, np.float32))
    assert result["x:next"] == 3 and result["y"] == result["again"] == -3
    assert result["c"].tolist() == result["c2"].tolist() == [1, 2] and result["z"].shape == (4,)
    assert sorted(names_of(emit(graph))) == ["again", "c", "c2", "constant_0", "x", "x:next", "y", "z"]


def test_names_never_meet(tmp_path: Path) -> None:
    """A value may be called like an output, or like what unnamed values are called."""
    builder = Builder()
    with builder:
        x = builder.input("Neg_1", Type("f32", ()))
        a = op.Neg(x)
        b = op.Neg(a)
        c = op.Neg(b) + 1.0
        y = op.Exp(c)
    builder.names.update({a: "y", c: "Neg_2"})
    graph = builder.graph("g", {"y": y, "z": a, "constant_0": b})
    result = run(graph, tmp_path, Neg_1=np.array(0.5, np.float32))
    np.testing.assert_allclose([result[k] for k in ("y", "z", "constant_0")], [np.exp(0.5), -0.5, 0.5])
    names = names_of(emit(graph))
    assert len(set(names)) == len(names) and {"Neg_1", "Neg_2", "y", "z"} < set(names)


def test_symbolic_dimensions(tmp_path: Path) -> None:
    builder = Builder()
    with builder:
        x = builder.input("x", Type("f32", (B, quotient(H + 1, 2))))
        y = op.Relu(op.Neg(x))
    graph = builder.graph("g", {"y": y})
    assert run(graph, tmp_path, x=np.ones((2, 3), np.float32))["y"].shape == (2, 3)
    assert value(emit(graph), "Neg_0") == "1[B, (H + 1)//2]"


def test_constants_are_shared(tmp_path: Path) -> None:
    builder = Builder()
    big = np.arange(400, dtype=np.float32).reshape(20, 20)
    with builder:
        x = builder.input("x", Type("f32", (20, 20)))
        w = builder.constant(big)
        y = x + w + builder.constant(big.reshape(400)[:20]) + builder.constant(np.float32(2))
    builder.names[w] = "net.weight"
    graph = builder.graph("g", {"y": y})
    expected = 1 + big + big[0] + 2
    np.testing.assert_array_equal(run(graph, tmp_path, x=np.ones((20, 20), np.float32))["y"], expected)
    assert [tensor.name for tensor in emit(graph).graph.initializer] == ["net.weight", "constant_1", "constant_2"]


def test_attributes(tmp_path: Path, local_operators: None) -> None:
    builder = Builder()
    with builder:
        x = builder.input("x", Type("f32", (4,)))
        leaky = op.LeakyRelu(x, alpha=1)  # an int, where ONNX wants a float
        whole = op.Cast(x, to="i64")
        filled = op.ConstantOfShape(builder.constant(ints(2, 3)), value=np.array(7, np.float32))
        clipped = op.Clip(x, None, builder.constant(0.5, "f32"))
        top, where = op.TopK(x, builder.constant(ints(2)), axis=0, outputs=2)
    graph = builder.graph("g", {"a": leaky, "b": whole, "c": filled, "d": clipped, "e": top, "f": where})
    a = np.array([-1.5, 0.25, 3, 2], np.float32)
    result = run(graph, tmp_path, x=a)
    assert result["a"].tolist() == a.tolist() and result["b"].tolist() == [-1, 0, 3, 2]
    assert result["c"].tolist() == [[7.0] * 3] * 2 and result["d"].tolist() == [-1.5, 0.25, 0.5, 0.5]
    assert result["e"].tolist() == [3, 2] and result["f"].tolist() == [2, 3]
    nodes = {node.op_type: node for node in emit(graph).graph.node}
    assert nodes["Clip"].input[1] == "" and nodes["Cast"].attribute[0].i == 7
    assert nodes["LeakyRelu"].attribute[0].f == 1.0


def test_missing_inputs_strings_and_unused_outputs(tmp_path: Path, local_operators: None) -> None:
    builder = Builder()
    rng = np.random.default_rng(1)
    with builder:
        x = builder.input("x", Type("f32", (5, 2, 3)))
        w, r = (builder.constant(rng.standard_normal(s).astype(np.float32)) for s in ((1, 16, 3), (1, 16, 4)))
        start = builder.input("h0", Type("f32", (1, 2, 4)))
        lstm = op.LSTM(
            x, w, r, None, None, start, hidden_size=4, activations=("Sigmoid", "Tanh", "Tanh"), clip=3, outputs=3
        )
    graph = builder.graph("g", {"last": lstm[1]})
    xs = rng.standard_normal((5, 2, 3)).astype(np.float32)
    result = run(graph, tmp_path, x=xs, h0=np.zeros((1, 2, 4), np.float32))
    assert result["last"].shape == (1, 2, 4)
    node = emit(graph).graph.node[0]
    assert list(node.input[3:]) == ["", "", "h0"] and len(node.output) == 3


@pytest.mark.parametrize("dtype", ["f32", "f64", "f16", "bf16", "i8", "u8", "i64", "u64", "bool", "str"])
def test_element_types(dtype: str) -> None:
    builder = Builder()
    constant = builder.constant(np.array(["a", "é"], object) if dtype == "str" else [1, 0], dtype)
    graph = builder.graph("g", {"y": constant})
    onnx.checker.check_model(emit(graph), full_check=True)
    tensor = emit(graph).graph.initializer[0]
    array = onnx.numpy_helper.to_array(tensor)
    assert [x.decode() if isinstance(x, bytes) else x for x in array.tolist()] == (
        ["a", "é"] if dtype == "str" else [1, 0]
    )


def test_a_body_captures_and_shadows(tmp_path: Path, local_operators: None) -> None:
    """Both branches use names, constants and values of the graph around them."""
    outer = Builder()
    flag = outer.input("flag", Type("bool", ()))
    x = outer.input("x", Type("f32", (B,)))
    with outer:
        shared = outer.constant(np.float32(0.5))
        h = op.Neg(x) * shared
    bodies = []
    for name in ("then", "else"):
        inner = Builder()
        with inner:
            own = inner.add("Add", [x, inner.constant(np.float32(0.5))]).output
            result = own if name == "then" else h
        inner.names[own] = "h"
        bodies.append(Graph(name, (), {"result": result, "same": result}, _own(inner, {"r": own}), inner.names))
    outer.names[h] = "h"
    node = outer.add("If", [flag], {}, tuple(bodies), 2)
    graph = outer.graph("g", {"y": node.outputs[0], "z": node.outputs[1], "h": h})
    a = np.array([1, 2], np.float32)
    result_true = run(graph, tmp_path, flag=np.array(True), x=a)
    result_false = run(graph, tmp_path, flag=np.array(False), x=a)
    assert result_true["y"].tolist() == result_true["z"].tolist() == [1.5, 2.5]
    assert result_false["y"].tolist() == [-0.5, -1.0]
    model = emit(graph)
    names = names_of(model)
    assert len(set(names)) == len(names) and len(model.graph.initializer) == 1
    assert [a.name for a in model.graph.node[-1].attribute] == ["then_branch", "else_branch"]


def test_a_scan(tmp_path: Path, local_operators: None) -> None:
    outer, inner = Builder(), Builder()
    with inner:
        total, item = inner.input("total", Type("f32", ())), inner.input("item", Type("f32", ()))
        new = total + item
        scaled = new * 10.0
    inner.names[new] = "total:next"
    body = inner.graph("sums", {"total": new, "scaled": scaled})
    with outer:
        start, xs = outer.input("start", Type("f32", ())), outer.input("xs", Type("f32", (symbol("T"),)))
        node = outer.add("Scan", [start, xs], {"num_scan_inputs": 1}, (body,), 2)
    graph = outer.graph("g", {"last": node.outputs[0], "all": node.outputs[1]})
    result = run(graph, tmp_path, start=np.array(1, np.float32), xs=np.array([1, 2, 3], np.float32))
    assert result["last"] == 7 and result["all"].tolist() == [20, 40, 70]
    scan = emit(graph).graph.node[0]
    inside = next(a.g for a in scan.attribute if a.name == "body")
    assert [output.name for output in inside.output] == ["total:next", "Mul_2"]


def _own(builder: Builder, outputs: Mapping[str, Any]) -> Any:
    """The nodes that the builder itself made."""
    made = set(map(id, builder._interned.values()))
    return tuple(node for node in builder.graph("", outputs).nodes if id(node) in made)


def test_errors(tmp_path: Path, local_operators: None) -> None:
    def refused(build: Any, message: str) -> None:
        builder = Builder()
        with builder, builder.at(Span("a.net", 3, 4, 3, 9)):
            x = builder.input("x", Type("f32", (B, 3)))
            outputs = build(builder, x)
        with pytest.raises(EmitError, match=message):
            emit(builder.graph("g", outputs if isinstance(outputs, dict) else {"y": outputs}))

    refused(lambda b, x: private.SumTo(x, shape=(1, 3)), r"dlc\.SumTo at a\.net:3:4 is no operator of ONNX's opset 21")
    refused(lambda b, x: op.LeakyRelu(x, beta=1.0), "LeakyRelu at a.net:3:4: ONNX's LeakyRelu has no attribute beta")
    refused(lambda b, x: op.LeakyRelu(x, alpha="much"), "the attribute alpha must be float, found 'much'")
    refused(lambda b, x: op.LSTM(x, x, x, layout="f33"), "the attribute layout must be int, found .f33.")
    refused(lambda b, x: op.LSTM(x, x, x, hidden_size=B), "the attribute hidden_size must be int, found B")
    refused(lambda b, x: op.LSTM(x, x, x, activations=(1, 2)), "activations must be several strings")
    refused(lambda b, x: {"x": op.Neg(x)}, "the output x of the graph g has the name of another input")
    refused(lambda b, x: {"y": b.input("x", x.type)}, "needs a name of its own for the input 'x'")
    refused(lambda b, x: b.add("If", [x], {}, (Graph("b", (), {"y": x}, ()),)).output, "has 1 bodies, ONNX's If has 2")


def test_too_large() -> None:
    huge = np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), (600_000_000,), (0,))  # 2.4 GB that are not there
    from dlc.compiler.graph import Node

    node = Node("Constant", (), {"value": huge}, (), [Type("f32", huge.shape)], None)
    with pytest.raises(EmitError, match=r"the constants of g take 2\.4 GB; one ONNX file holds 2 GB"):
        emit(Graph("g", (), {"y": node.output}, (node,)))


SCRIPT = """
import hashlib
from dlc.compiler.build import Builder, op
from dlc.compiler.emit import emit, serialized
from dlc.compiler.types import Type, symbol
builder = Builder()
with builder:
    x = builder.input("x", Type("f32", (symbol("B"), 3)))
    w = builder.constant([[1.0] * 3] * 3)
    y = op.Gemm(x, w, alpha=0.5, beta=1.5, transB=1)
    z = op.Relu(y) + 1.0
builder.names.update({y: "name", z: "other"})
metadata = {key: key for key in {"b", "a", "c", "d"}}
print(hashlib.sha256(serialized(emit(builder.graph("g", {"z": z, "y": y}), metadata=metadata))).hexdigest())
"""


def test_the_same_bytes_in_every_process() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(digests) == 1


def test_twenty_thousand_nodes() -> None:
    builder = Builder()
    node = builder.input("x", Type("f32", (B, 3)))
    for index in range(20_000):
        node = builder.add(("Relu", "Neg", "Tanh")[index % 3], [node]).output
    model = emit(builder.graph("deep", {"y": node}))
    assert len(model.graph.node) == 20_000 and len(model.graph.value_info) == 19_999
