"""Importing ONNX: graphs, weights, shapes that are computed, control flow, functions, and what is refused."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_models import assert_same, model, ran, through, value_info, weighted

from dlc.compiler import passes
from dlc.compiler.build import Builder, op, private
from dlc.compiler.emit import emit
from dlc.compiler.evaluate import evaluate
from dlc.compiler.importer import BadModel, Reason, Refused, load, of_model
from dlc.compiler.passes.differentiate import NotDifferentiable
from dlc.compiler.text import constants, from_text, to_text
from dlc.compiler.types import symbol
from dlc.compiler.verify import verify

N = helper.make_node
RNG = np.random.default_rng(3)
LIGHT = sorted((Path(onnx.__file__).parent / "backend" / "test" / "data" / "light").glob("*.onnx"))


def draw(*shape: int) -> Any:
    return RNG.normal(size=shape).astype(np.float32)


# Weights.


def _linear() -> onnx.ModelProto:
    ones = np.ones(3, np.float32)
    return model(
        [N("MatMul", ["x", "w"], ["h"]), N("Add", ["h", "b"], ["a"]), N("Mul", ["a", "scale"], ["y"])],
        {"x": ("float", ["batch", 4])},
        ["y"],
        constants={"w": draw(4, 3), "b": ones, "scale": ones},
    )


def test_weights_are_inputs_that_follow_the_model_s_own() -> None:
    proto = _linear()
    imported = of_model(proto)
    assert imported.graph.input_names == ("x", "w", "b", "scale")
    assert list(imported.weights) == ["w", "b", "scale"]  # two equal tensors are two weights
    verify(imported.graph)
    x = draw(5, 4)
    found = ran(emit(passes.run(imported.graph, passes.INFERENCE)), {"x": x, **imported.weights})
    np.testing.assert_allclose(found[0], ran(proto, {"x": x})[0], rtol=1e-6)


def test_inlined_weights_are_constants() -> None:
    proto = _linear()
    imported = of_model(proto)
    graph = imported.inlined()
    assert graph.input_names == ("x",) and graph.outputs["y"].shape == (symbol("batch"), 3)
    verify(graph)
    assert_same(proto, {"x": draw(5, 4)})


def test_inner_values_keep_their_names() -> None:
    imported = of_model(_linear())
    assert imported.values["h"].op == "MatMul" and imported.graph.names[imported.values["h"]] == "h"
    assert imported.values["w"] is imported.graph.input("w")


def test_integers_and_what_type_rules_read_are_constants() -> None:
    proto = model(
        [N("Resize", ["x", "", "scales"], ["r"], mode="nearest"), N("Reshape", ["r", "shape"], ["y"])],
        {"x": ("float", [1, 1, 2, 2])},
        ["y"],
        constants={"scales": np.array([1, 1, 2, 2], np.float32), "shape": np.array([-1])},
    )
    assert of_model(proto).weights == {}
    assert_same(proto, {"x": draw(1, 1, 2, 2)})


# Shapes.


def test_shape_arithmetic_of_exporters_is_done_symbolically() -> None:
    """`x.view(x.shape[0], x.shape[1] // 2, -1)` and `expand`, as exporters write them."""
    proto = model(
        [
            N("Shape", ["x"], ["s"]),
            N("Gather", ["s", "zero"], ["b"]),
            N("Gather", ["s", "one"], ["t"]),
            N("Div", ["t", "two"], ["half"]),
            N("Unsqueeze", ["b", "axes"], ["b1"]),
            N("Unsqueeze", ["half", "axes"], ["h1"]),
            N("Concat", ["b1", "h1", "rest"], ["target"], axis=0),
            N("Reshape", ["x", "target"], ["y"]),
            N("Concat", ["rest", "h1", "minus"], ["wanted"], axis=0),
            N("Equal", ["wanted", "minus"], ["asked"]),
            N("Where", ["asked", "ones", "wanted"], ["size"]),
            N("Expand", ["y", "size"], ["z"]),
        ],
        {"x": ("float", ["batch", 6, 4])},
        ["y", "z"],
        constants={
            "zero": np.array(0), "one": np.array(1), "two": np.array(2), "axes": np.array([0]), "rest": np.array([-1]),
            "minus": np.array([-1]), "ones": np.array([1, 1, 1]),
        },
    )  # fmt: skip
    imported = assert_same(proto, {"x": draw(5, 6, 4)})
    assert imported.values["y"].shape == (symbol("batch"), 3, 8)
    assert imported.values["z"].shape == (symbol("batch"), 3, 8)
    assert {node.op for node in imported.graph.nodes} == {"dlc.ReshapeTo"}


def test_dimensions_that_depend_on_data_are_unknown_and_read_at_run_time() -> None:
    proto = model(
        [
            N("NonZero", ["x"], ["n"]),
            N("Transpose", ["n"], ["rows"]),
            N("Shape", ["rows"], ["s"]),
            N("ConstantOfShape", ["s"], ["z"], value=helper.make_tensor("", TensorProto.FLOAT, [1], [2.0])),
        ],
        {"x": ("float", ["batch", 4])},
        ["rows", "z"],
    )
    x = draw(3, 4)
    x[1] = 0
    imported = assert_same(proto, {"x": x})
    assert imported.values["rows"].type.rank == 2 and imported.values["rows"].shape[1] == 2
    graph = imported.graph
    verify(graph)
    assert [y.tolist() for y in evaluate(graph, {"x": x}).values()] == [y.tolist() for y in ran(proto, {"x": x})]
    text = to_text(graph)
    assert to_text(from_text(text, constants(graph))) == text


def test_a_parameter_that_is_computed_leaves_unknown_dimensions() -> None:
    proto = model(
        [N("Slice", ["x", "starts", "ends"], ["y"]), N("ReduceSum", ["y", "axes"], ["z"])],
        {"x": ("float", [6, 4]), "starts": ("int64", [1]), "ends": ("int64", [1]), "axes": ("int64", [1])},
        ["y", "z"],
    )
    feeds = {"x": draw(6, 4), "starts": np.array([1]), "ends": np.array([4]), "axes": np.array([0])}
    imported = assert_same(proto, feeds)
    assert imported.values["z"].type.rank == 2


def test_a_slice_may_run_off_the_end_of_a_symbolic_axis() -> None:
    proto = model(
        [N("Slice", ["x", "zero", "ten"], ["y"])],
        {"x": ("float", ["batch", 4])},
        ["y"],
        constants={"zero": np.array([0]), "ten": np.array([10])},
    )
    for size in (3, 12):
        assert_same(proto, {"x": draw(size, 4)})


def test_two_symbolic_dimensions_broadcast_at_run_time() -> None:
    proto = model([N("Add", ["a", "b"], ["y"])], {"a": ("float", ["n", 3]), "b": ("float", ["m", 3])}, ["y"])
    for n, m in ((4, 4), (1, 4), (4, 1)):
        assert_same(proto, {"a": draw(n, 3), "b": draw(m, 3)})


def test_names_of_dimensions_that_cannot_be_written_are_changed() -> None:
    inputs = {"a": ("float", ["a b", 1]), "b": ("float", ["a b", 2])}
    proto = model([N("Concat", ["a", "b"], ["y"], axis=1)], inputs, ["y"])
    assert str(of_model(proto).graph.outputs["y"].type) == "f32[a_b, 3]"


# Control flow.


def _body(name: str, nodes: list[Any], inputs: list[Any], outputs: list[str]) -> onnx.GraphProto:
    return helper.make_graph(nodes, name, inputs, [onnx.ValueInfoProto(name=each) for each in outputs])


def _if(*, condition: dict[str, Any] | None = None) -> onnx.ModelProto:
    yes = _body("yes", [N("Mul", ["x", "w"], ["a"])], [], ["a"])
    no = _body("no", [N("Add", ["x", "w"], ["t"]), N("Neg", ["t"], ["b"])], [], ["b"])
    inputs: dict[str, Any] = {"x": ("float", ["n", 2])}
    if condition is None:
        inputs["c"] = ("bool", [])
    node = N("If", ["c"], ["y"], then_branch=yes, else_branch=no)
    return model([node], inputs, ["y"], constants={"w": draw(2), **(condition or {})})


def test_if_captures_weights_and_values() -> None:
    proto = _if()
    for c in (True, False):
        assert_same(proto, {"x": draw(3, 2), "c": np.array(c)})


def test_an_if_whose_condition_is_known_is_its_branch() -> None:
    proto = _if(condition={"c": np.array(False)})
    imported = assert_same(proto, {"x": draw(3, 2)})
    assert [node.op for node in imported.graph.nodes] == ["Add", "Neg"]


def test_branches_of_different_sizes_join_in_an_unknown_dimension() -> None:
    yes = _body("yes", [N("Identity", ["x"], ["a"])], [], ["a"])
    no = _body("no", [N("Concat", ["x", "x"], ["b"], axis=0)], [], ["b"])
    proto = model(
        [N("If", ["c"], ["y"], then_branch=yes, else_branch=no), N("Relu", ["y"], ["z"])],
        {"x": ("float", [2, 2]), "c": ("bool", [])},
        ["z"],
    )
    for c in (True, False):
        assert_same(proto, {"x": draw(2, 2), "c": np.array(c)})


def _loop(*, grows: bool) -> onnx.ModelProto:
    step = N("Concat", ["v", "x"], ["v2"], axis=0) if grows else N("Add", ["v", "x"], ["v2"])
    body = _body(
        "body",
        [step, N("Identity", ["go"], ["go2"]), N("ReduceSum", ["v2"], ["total"], keepdims=0)],
        [value_info("i", "int64", []), value_info("go", "bool", []), value_info("v", "float", [None, 2])],
        ["go2", "v2", "total"],
    )
    return model(
        [N("Loop", ["m", "", "x"], ["last", "sums"], body=body)],
        {"x": ("float", [1, 2]), "m": ("int64", [])},
        ["last", "sums"],
    )


@pytest.mark.parametrize("grows", [False, True])
def test_a_loop_carries_what_keeps_its_shape_and_what_grows(grows: bool) -> None:
    proto = _loop(grows=grows)
    for m in (0, 3):
        feeds = {"x": draw(1, 2), "m": np.array(m)}
        imported = assert_same(proto, feeds)
        for ours, theirs in zip(evaluate(imported.graph, feeds).values(), ran(proto, feeds), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    assert imported.values["last"].type.rank == 2


def test_scan() -> None:
    body = _body(
        "body",
        [N("Add", ["h", "t"], ["h2"]), N("Tanh", ["h2"], ["o"])],
        [value_info("h", "float", [2]), value_info("t", "float", [2])],
        ["h2", "o"],
    )
    proto = model(
        [N("Scan", ["h0", "x"], ["h", "y"], body=body, num_scan_inputs=1)],
        {"h0": ("float", [2]), "x": ("float", ["T", 2])},
        ["h", "y"],
    )
    imported = assert_same(proto, {"h0": draw(2), "x": draw(4, 2)})
    assert imported.values["y"].shape == (symbol("T"), 2)


# Functions.


def _function(name: str, inputs: list[str], outputs: list[str], nodes: list[Any], **attributes: Any) -> Any:
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("mine", 1)]
    return helper.make_function("mine", name, inputs, outputs, nodes, opsets, **attributes)


def test_functions_are_expanded_with_their_attributes() -> None:
    inner = N("LeakyRelu", ["v"], ["r"])
    reference = onnx.AttributeProto(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT)
    inner.attribute.append(reference)
    leaky = _function("Leaky", ["v"], ["r"], [inner], attributes=["slope"])
    twice = _function(
        "Twice", ["v"], ["r"],
        [N("Leaky", ["v"], ["q"], domain="mine", slope=0.5), N("Leaky", ["q"], ["r"], domain="mine", slope=0.25)],
    )  # fmt: skip
    proto = model(
        [N("Twice", ["x"], ["y"], domain="mine")], {"x": ("float", [3])}, ["y"],
        functions=[leaky, twice], opsets={"mine": 1},
    )  # fmt: skip
    imported = assert_same(proto, {"x": draw(3)})
    assert [node.op for node in imported.graph.nodes] == ["LeakyRelu", "LeakyRelu"]


def test_functions_that_explode_or_call_themselves_are_refused_at_once() -> None:
    depth = 40
    functions = [_function("F0", ["v"], ["r"], [N("Neg", ["v"], ["r"])])]
    for i in range(1, depth):
        nodes = [N(f"F{i - 1}", ["v"], ["q"], domain="mine"), N(f"F{i - 1}", ["q"], ["r"], domain="mine")]
        functions.append(_function(f"F{i}", ["v"], ["r"], nodes))
    call = [N(f"F{depth - 1}", ["x"], ["y"], domain="mine")]
    start = time.process_time()
    with pytest.raises(BadModel, match=r"expand to 549755813888 nodes; 50000 is the most"):
        of_model(model(call, {"x": ("float", [1])}, ["y"], functions=functions, opsets={"mine": 1}))
    assert time.process_time() - start < 5
    loop = [_function("F", ["v"], ["r"], [N("F", ["v"], ["r"], domain="mine")])]
    with pytest.raises(BadModel, match="the function F of the model calls itself"):
        of_model(model([N("F", ["x"], ["y"], domain="mine")], {"x": ("float", [1])}, ["y"], functions=loop,
                       opsets={"mine": 1}))  # fmt: skip


# What is refused, and how.


def _one(node: Any, **constants: Any) -> onnx.ModelProto:
    return model([node], {"x": ("float", [2, 3])}, ["y"], constants=constants)


BAD = {
    "a name that nothing defines": (_one(N("Relu", ["z"], ["y"], name="r")), "node 'r' (Relu): it reads 'z', which"),
    "an operator that ONNX lacks": (_one(N("Rely", ["x"], ["y"])), "opset 21 has no operator Rely"),
    "an attribute that it lacks": (_one(N("Relu", ["x"], ["y"], slope=1.0)), "Relu of opset 14 has no attribute slope"),
    "a missing attribute": (_one(N("Concat", ["x"], ["y"])), "the attribute axis is missing"),
    "too many inputs": (_one(N("Relu", ["x", "x"], ["y"])), "it has 2 inputs; 1 to 1 are expected"),
    "shapes that do not fit": (_one(N("MatMul", ["x", "x"], ["y"])), "(MatMul): "),
    "a domain without functions": (_one(N("Foo", ["x"], ["y"], domain="com.example")), "does not import the domain"),
    "an output that nothing gives": (_one(N("Relu", ["x"], ["z"])), "nothing gives the output 'y'"),
    "a name twice": (_one(N("Split", ["x"], ["y", "y"], num_outputs=2)), "the name 'y' is defined twice"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_models_are_refused_with_the_place(what: str) -> None:
    proto, message = BAD[what]
    with pytest.raises(BadModel) as error:
        of_model(proto)
    assert message in str(error.value) and str(error.value).startswith("made: ")


REFUSED = {
    Reason.STRING: model([N("StringConcat", ["x", "x"], ["y"])], {"x": ("string", [2])}, ["y"]),
    Reason.SEQUENCE: _one(N("SequenceConstruct", ["x"], ["y"])),
    Reason.OPTIONAL: _one(N("Optional", ["x"], ["y"])),
    Reason.COMPLEX: model([N("Identity", ["x"], ["y"])], {"x": ("complex64", [2])}, ["y"]),
    Reason.SMALL_TYPE: model([N("Identity", ["x"], ["y"])], {"x": ("float8e5m2", [2])}, ["y"]),
    Reason.DOMAIN: model([N("Normalizer", ["x"], ["y"], domain="ai.onnx.ml")], {"x": ("float", [2])}, ["y"],
                         opsets={"ai.onnx.ml": 3}),
    Reason.RANK: helper.make_model(helper.make_graph(
        [N("Relu", ["x"], ["y"])], "made",
        [helper.make_value_info("x", onnx.TypeProto(tensor_type=onnx.TypeProto.Tensor(elem_type=1)))],
        [onnx.ValueInfoProto(name="y")]), opset_imports=[helper.make_opsetid("", 21)]),
}  # fmt: skip


@pytest.mark.parametrize("reason", REFUSED, ids=lambda reason: reason.name)
def test_refusals_have_a_reason_of_the_list(reason: Reason) -> None:
    with pytest.raises(Refused) as refusal:
        of_model(REFUSED[reason])
    assert refusal.value.reason is reason


@pytest.mark.parametrize("content", [b"", b"not onnx", b"\x08\x07", _linear().SerializeToString()[:-20]], ids=range(4))
def test_files_that_are_no_models(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(BadModel, match=r"m\.onnx: "):
        load(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match="No such file"):
        load(tmp_path / "m.onnx")


def test_tensors_whose_bytes_do_not_fit_their_dimensions() -> None:
    proto = _linear()
    proto.graph.initializer[0].raw_data += b"1234"
    with pytest.raises(BadModel, match=r"the initializer 'w': \[4, 3\] of f32 takes 48 bytes, found 52"):
        of_model(proto)


# Real architectures, and large graphs.


@pytest.mark.parametrize("path", LIGHT, ids=lambda path: path.stem)
def test_real_architectures_give_the_same(path: Path) -> None:
    proto = weighted(onnx.load(path))
    imported = of_model(proto)
    (x,) = [value for value in imported.graph.inputs if imported.graph.names[value] not in imported.weights]
    feeds = {imported.graph.names[x]: draw(*x.type.static_shape())}
    (expected,), (found,) = ran(proto, feeds, optimized=True), ran(through(imported), feeds, optimized=True)
    assert np.ptp(expected) > 0, "every output is the same: nothing is tested"
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * float(np.abs(expected).max()))


def test_the_cost_is_linear() -> None:
    count = 20_000
    nodes = [N("Relu" if i % 2 else "Neg", [f"v{i}"], [f"v{i + 1}"]) for i in range(count)]
    proto = model(nodes, {"v0": ("float", ["n"])}, [f"v{count}"])
    start = time.process_time()
    imported = of_model(proto)
    assert time.process_time() - start < 10  # quadratic work takes minutes
    assert len(imported.graph.nodes) == count


def test_random_nodes_are_never_merged() -> None:
    proto = model(
        [N("RandomUniformLike", ["x"], ["a"]), N("RandomUniformLike", ["x"], ["b"]), N("Sub", ["a", "b"], ["y"])],
        {"x": ("float", [64])},
        ["y"],
    )
    assert np.abs(ran(through(of_model(proto)), {"x": draw(64)})[0]).max() > 0


# Gradients of what was imported.


def test_a_gradient_through_an_imported_model() -> None:
    graph = of_model(_linear()).graph
    builder = Builder(graph.names)
    for node in graph.nodes:
        builder.adopt(node)
    with builder:
        loss = op.ReduceSum(graph.outputs["y"] * graph.outputs["y"], keepdims=0)
        trained = builder.graph("g", {"dw": private.Gradient(loss, graph.input("w"))}, graph.inputs)
    feeds = {"x": draw(5, 4), **of_model(_linear()).weights}
    found = ran(emit(passes.run(trained, passes.TRAINING)), feeds)[0]
    y = (feeds["x"] @ feeds["w"] + feeds["b"]) * feeds["scale"]
    np.testing.assert_allclose(found, feeds["x"].T @ (2 * y * feeds["scale"]), rtol=1e-4)


def test_a_gradient_through_an_axis_that_is_computed_may_be_refused() -> None:
    proto = model([N("CumProd", ["x", "axis"], ["y"])], {"x": ("float", [3, 3]), "axis": ("int64", [])}, ["y"],
                  opset=26)  # fmt: skip
    graph = of_model(proto).graph
    builder = Builder(graph.names)
    for node in graph.nodes:
        builder.adopt(node)
    with builder:
        loss = op.ReduceSum(graph.outputs["y"], keepdims=0)
        wanted = builder.graph("g", {"dx": private.Gradient(loss, graph.input("x"))}, graph.inputs)
    with pytest.raises(NotDifferentiable, match="through CumProd, and dlc cannot tell its shape"):
        passes.run(wanted, passes.TRAINING)


# Bytes that somebody changed.


@pytest.mark.parametrize("make", [_linear, _if, lambda: _loop(grows=True)], ids=["linear", "if", "loop"])
def test_changed_bytes_are_read_or_refused(tmp_path: Path, make: Any) -> None:
    rng = np.random.default_rng(5)
    path, data = tmp_path / "m.onnx", make().SerializeToString()
    refused = 0
    for _ in range(400):
        changed = bytearray(data)
        for place in rng.integers(len(data), size=rng.integers(1, 5)):
            changed[place] = rng.integers(256)
        path.write_bytes(changed)
        try:
            load(path)
        except BadModel as error:
            refused += 1
            assert "m.onnx" in str(error)
    assert refused > 100
