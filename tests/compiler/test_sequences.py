"""Sequences and optional values are resolved while a model is read: values, gradients, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import optional_models
import pytest
import sequence_models
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from onnx_models import assert_same, model, ran
from optional_models import TYPE, body
from oracles import assert_gradients, draw, weighted
from sequence_models import ModelCase, Node, concat, construct, scalar

from dlc.compiler import passes
from dlc.compiler.build import Builder, private
from dlc.compiler.emit import emit
from dlc.compiler.evaluate import evaluate
from dlc.compiler.graph import Graph
from dlc.compiler.importer import BadModel, Reason, Refused, of_model
from dlc.compiler.importing.functions import every_node
from dlc.compiler.importing.sequences import RESOLVED
from dlc.compiler.passes.differentiate import differentiate

CASES = [*sequence_models.cases(), *optional_models.cases()]


def by_name(case: ModelCase) -> str:
    return case.name


def with_gradients(case: ModelCase, *, second: bool = False, suffix: str = "") -> Graph:
    """The model's graph with a loss that reads each element of its outputs, by itself and squared, and gradients."""
    graph = of_model(case.model()).inlined()
    builder = Builder(graph.names)
    builder.inputs.extend(graph.inputs)
    for node in graph.nodes:
        builder.adopt(node)
    ys = list(graph.outputs.values())
    with builder:
        loss = weighted(ys, 100, case.symbolic) + 0.5 * weighted([y * y for y in ys], 200, case.symbolic)
        if second:
            loss = weighted([private.Gradient(loss, x) for x in graph.inputs], 300, case.symbolic)
        gradients = {name + suffix: private.Gradient(loss, graph.input(name)) for name in case.inputs}
        return builder.graph(graph.name, {"loss": loss, **gradients}, graph.inputs)


def test_every_operator_that_passes_a_gradient_on_has_a_case() -> None:
    smooth = {name for name, each in RESOLVED.items() if not each.reason} - {"Identity"}
    assert smooth == {case.op for case in CASES}
    for case in CASES:
        assert case.op in {node.op_type for node in every_node(case.nodes)}, case.name
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_only_tensors_are_left(case: ModelCase) -> None:
    imported = of_model(case.model())
    assert not {node.op for node in imported.graph.nodes} & (RESOLVED.keys() - {"Identity"})


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_onnx_runtime_gives_the_same(case: ModelCase) -> None:
    assert_same(case.model(), case.inputs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_first_order(case: ModelCase) -> None:
    assert_gradients(differentiate(with_gradients(case)), case.inputs)


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_second_order(case: ModelCase) -> None:
    assert_gradients(differentiate(with_gradients(case, second=True)), case.inputs, rtol=2e-5)


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_against_pytorch(case: ModelCase) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the second oracle; the extra `peers` installs it")
    found = evaluate(differentiate(with_gradients(case)), case.inputs)
    tensors = {name: torch.tensor(array, requires_grad=True) for name, array in case.inputs.items()}
    outputs = case.torch(*tensors.values())
    outputs = outputs if isinstance(outputs, tuple | list) else [outputs]
    loss = sum(
        (y * torch.tensor(draw(100 + i, *y.shape))).sum() + 0.5 * (y * y * torch.tensor(draw(200 + i, *y.shape))).sum()
        for i, y in enumerate(outputs)
    )
    np.testing.assert_allclose(found["loss"], loss.item(), rtol=1e-10, atol=1e-10)
    loss.backward()
    for name, tensor in tensors.items():
        wanted = np.zeros(tensor.shape) if tensor.grad is None else tensor.grad.numpy()
        np.testing.assert_allclose(found[name], wanted, rtol=1e-9, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_onnx_runtime_gives_the_gradients(case: ModelCase) -> None:
    graph = with_gradients(case, suffix=":grad")
    expected = evaluate(differentiate(graph), case.inputs)
    found = ran(emit(passes.run(graph, passes.TRAINING)), case.inputs)
    for name, array in zip(graph.outputs, found, strict=True):
        np.testing.assert_allclose(array, expected[name], rtol=1e-10, atol=1e-10, err_msg=name)


def test_keepdims_says_nothing_where_sizes_are_given() -> None:
    """So says ONNX; ONNX Runtime takes the axis away there too, and stops where the parts have two elements."""
    nodes = [Node("SplitToSequence", ["x", "n"], ["s"], axis=0, keepdims=0), *READ[1:]]
    proto = model(nodes, X, ["y"], constants={"n": scalar(1), "at": scalar(1)})
    x = draw(1, 5, 3)
    expected = ReferenceEvaluator(proto).run(None, {"x": x})[0]
    assert evaluate(of_model(proto).inlined(), {"x": x})["y"].tolist() == expected.tolist() == x[1:2].tolist()


X: dict[str, tuple[str, list[Any]]] = {"x": ("double", [5, 3])}


def sequence_output(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_sequence_value_info(name, TensorProto.DOUBLE, None)


def with_sequence_input() -> onnx.ModelProto:
    graph = helper.make_graph([concat(0)], "made", [sequence_output("s")], [onnx.ValueInfoProto(name="y")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=8)


def branching() -> onnx.ModelProto:
    branches = {
        name: helper.make_graph([construct(*given, to="r")], name, [], [sequence_output("r")])
        for name, given in (("then_branch", ("x", "x")), ("else_branch", ("x",)))
    }
    return model([Node("If", ["c"], ["s"], **branches), concat(0)], {**X, "c": ("bool", [])}, ["y"])


def growing() -> onnx.ModelProto:
    """A Loop that carries a sequence."""
    turn = helper.make_graph(
        [Node("SequenceInsert", ["s", "x"], ["t"]), Node("Identity", ["on"], ["on_out"])],
        "turn",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            sequence_output("s"),
        ],
        [helper.make_tensor_value_info("on_out", TensorProto.BOOL, []), sequence_output("t")],
    )
    nodes = [Node("SequenceEmpty", [], ["e"], dtype=TensorProto.DOUBLE), Node("Loop", ["n", "", "e"], ["s"], body=turn)]
    return model([*nodes, concat(0)], X, ["y"], constants={"n": scalar(2)})


READ = [construct("x"), Node("SequenceAt", ["s", "at"], ["y"])]
UNKNOWN = {
    "a position of data": (model(READ, {**X, "at": ("int64", [])}, ["y"]), "the position depends on data"),
    "a position of a size": (
        model(
            [Node("Shape", ["x"], ["n"], end=1), Node("Squeeze", ["n"], ["at"]), *READ], {"x": ("double", ["B"])}, ["y"]
        ),
        "the position is B",
    ),
    "a length of a size": (
        model([Node("SplitToSequence", ["x"], ["s"]), concat(0)], {"x": ("double", ["B", 3])}, ["y"]),
        "axis 0 has B elements: how many parts that gives depends on data",
    ),
    "parts of a size of data": (
        model([Node("SplitToSequence", ["x", "n"], ["s"]), concat(0)], {**X, "n": ("int64", [])}, ["y"]),
        "the size of the parts depends on data",
    ),
    "as many parts as data says": (
        model([Node("SplitToSequence", ["x", "n"], ["s"]), concat(0)], {**X, "n": ("int64", ["P"])}, ["y"]),
        "the sizes of the parts are i64[P]; how many there are must be known",
    ),
    "a sequence as an input": (with_sequence_input(), "the input 's' is one of sequences of tensors"),
    "a sequence as an output": (model([construct("x", to="y")], X, ["y"]), "it gives the output 'y', a sequence"),
    "a sequence of either branch": (branching(), "its body gives 'r', a sequence"),
    "a sequence carried by a Loop": (growing(), "it reads 'e', a sequence"),
    "a sequence where a tensor is wanted": (
        model([construct("x"), Node("Neg", ["s"], ["y"])], X, ["y"]),
        "it reads 's', a sequence",
    ),
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_what_is_not_known_while_reading_is_refused(what: str) -> None:
    proto, message = UNKNOWN[what]
    with pytest.raises(Refused) as refusal:
        of_model(proto)
    assert refusal.value.reason is Reason.SEQUENCE and message in str(refusal.value), refusal.value


def test_an_optional_output_is_refused() -> None:
    with pytest.raises(Refused, match="it gives the output 'y', an optional value") as refusal:
        of_model(model([Node("Optional", ["x"], ["y"])], X, ["y"]))
    assert refusal.value.reason is Reason.OPTIONAL


def _mapped(*given: str, inputs: tuple[str, ...] = ("e",)) -> list[onnx.NodeProto]:
    return [Node("SequenceMap", given, ["m"], body=body([Node("Neg", ["e"], ["r"])], inputs, ["r"])), concat(0, of="m")]


EMPTY = Node("SequenceEmpty", [], ["s"], dtype=TensorProto.DOUBLE)
WRONG: dict[str, tuple[list[onnx.NodeProto], str]] = {
    "past the end": (
        [construct("x"), Node("SequenceAt", ["s", "one"], ["y"])],
        "position 1 in a sequence of 1 tensors",
    ),
    "before the start": (
        [construct("x"), Node("SequenceErase", ["s", "less"], ["t"]), concat(0, of="t")],
        "position -2 in a sequence of 1",
    ),
    "insert past the end": (
        [EMPTY, Node("SequenceInsert", ["s", "x", "one"], ["t"]), concat(0, of="t")],
        "position 1 in a sequence of 0",
    ),
    "erase from nothing": (
        [EMPTY, Node("SequenceErase", ["s"], ["t"]), concat(0, of="t")],
        "in a sequence of 0 tensors",
    ),
    "nothing to join": ([EMPTY, concat(0)], "the sequence is empty"),
    "axis": ([construct("x"), concat(2)], "axis 2 of a tensor of rank 2"),
    "new axis": ([construct("x"), concat(3, 1)], "axis 3 of a tensor of rank 3"),
    "split axis": ([Node("SplitToSequence", ["x"], ["s"], axis=2), concat(0)], "axis 2 of a tensor of rank 2"),
    "no size": ([Node("SplitToSequence", ["x", "zero"], ["s"]), concat(0)], "parts of 0 elements"),
    "two types": ([construct("x", "one"), concat(0)], "a sequence of f64, i64; tensors of one type are expected"),
    "another type": (
        [EMPTY, Node("SequenceInsert", ["s", "one"], ["t"]), concat(0, of="t")],
        "of i64 is put into a sequence of f64",
    ),
    "shapes that do not join": ([construct("x", "w"), concat(0)], "Concat"),
    "no sequence": ([concat(0, of="x")], "input 1 is a sequence; 'x' is f64[5, 3]"),
    "sequences of two lengths": (
        [construct("x"), construct("x", "x", to="t"), *_mapped("s", "t", inputs=("e", "f"))],
        "its sequences have 1 and 2 tensors",
    ),
    "a body with other inputs": ([construct("x"), *_mapped("s", "x")], "takes 1 values; it is given 2"),
    "sizes that do not add up": ([Node("SplitToSequence", ["x", "sizes"], ["s"]), concat(0)], "Split"),
    "no element": (
        [Node("Optional", [], ["o"], type=TYPE), Node("OptionalGetElement", ["o"], ["y"])],
        "'o' has no element",
    ),
    "a name twice": ([construct("x"), construct("x"), concat(0)], "'s' is defined twice"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_breaks_the_rules_is_told(what: str) -> None:
    nodes, message = WRONG[what]
    constants = {
        "zero": scalar(0),
        "one": scalar(1),
        "less": scalar(-2),
        "sizes": np.array([2, 2]),
        "w": np.ones((2, 4)),
    }
    with pytest.raises(BadModel) as error:
        of_model(model(nodes, X, ["y"], constants=constants))
    assert not isinstance(error.value, Refused) and message in str(error.value), error.value


def test_sequences_that_explode_are_refused() -> None:
    with pytest.raises(BadModel, match="expand to more than 50000 nodes"):
        of_model(model([Node("SplitToSequence", ["x"], ["s"]), concat(0)], {"x": ("double", [1 << 40])}, ["y"]))
    inner = body([Node("Neg", ["e"], ["r"])], ["e"], ["r"])
    for _ in range(4):  # 100 turns in 100 turns, four times
        inner = body(
            [
                Node("Expand", ["e", "hundred"], ["w"]),
                Node("SplitToSequence", ["w"], ["s"]),
                Node("SequenceMap", ["s"], ["m"], body=inner),
                Node("ConcatFromSequence", ["m"], ["r"], axis=0),
            ],
            ["e"],
            ["r"],
        )
    nodes = [Node("SplitToSequence", ["x"], ["s"]), Node("SequenceMap", ["s"], ["m"], body=inner), concat(0, of="m")]
    with pytest.raises(BadModel, match="expand to more than 50000 nodes"):
        of_model(model(nodes, {"x": ("double", [100])}, ["y"], constants={"hundred": np.array([100])}))


def test_bodies_that_explode_are_refused() -> None:
    """Ten turns in ten turns, five deep: no sequence is long, but the bodies are read 100,000 times."""
    inner = body([Node("Neg", ["e"], ["r"])], ["e"], ["r"])
    for _ in range(4):
        nodes = [Node("SequenceMap", ["s"], ["m"], body=inner), Node("ConcatFromSequence", ["m"], ["r"], axis=0)]
        inner = body(nodes, ["e"], ["r"])
    whole = [construct(*"x" * 10), Node("SequenceMap", ["s"], ["t"], body=inner), concat(0, of="t")]
    with pytest.raises(BadModel, match="expand to more than 50000 nodes"):
        of_model(model(whole, X, ["y"]))


@pytest.mark.parametrize("sizes", [(1, 4), (5, 0), (2, 3)])
def test_the_sizes_of_a_known_number_of_parts_may_depend_on_data(sizes: tuple[int, int]) -> None:
    nodes = [
        Node("SplitToSequence", ["x", "n"], ["s"], axis=-2),
        Node("SequenceAt", ["s", "one"], ["p"]),
        Node("SequenceInsert", ["s", "p", "zero"], ["t"]),
        concat(0, of="t"),
    ]
    proto = model(nodes, {**X, "n": ("int64", [2])}, ["y"], constants={"zero": scalar(0), "one": scalar(1)})
    assert_same(proto, {"x": draw(1, 5, 3), "n": np.array(sizes)})


def test_elements_that_are_inputs_may_be_outputs_too() -> None:
    reads = [Node("SequenceAt", ["s", at], [name]) for at, name in (("zero", "y"), ("one", "z"), ("zero", "w"))]
    proto = model(
        [construct("x", "v"), *reads], {**X, "v": ("double", [2])}, ["y", "z", "w"],
        constants={"zero": scalar(0), "one": scalar(1)},
    )  # fmt: skip
    imported = assert_same(proto, {"x": draw(1, 5, 3), "v": draw(2, 2)})
    assert {"y", "z", "w"} <= imported.values.keys() and not imported.graph.nodes


def test_no_elements_are_no_parts() -> None:
    nodes = [
        Node("SplitToSequence", ["x"], ["s"], axis=0),
        Node("SequenceLength", ["s"], ["n"]),
        Node("SequenceInsert", ["s", "w"], ["t"]),
        concat(0, of="t"),
    ]
    proto = model(nodes, {"x": ("double", [0, 3]), "w": ("double", [2, 3])}, ["y", "n"])
    assert_same(proto, {"x": np.zeros((0, 3)), "w": draw(1, 2, 3)})


def test_an_empty_map_has_the_type_that_its_body_says() -> None:
    nodes = [
        EMPTY,
        Node("SequenceMap", ["s"], ["m"], body=body([Node("Neg", ["e"], ["r"])], ["e"], ["r"])),
        Node("SequenceInsert", ["m", "x"], ["t"]),
        concat(0, of="t"),
    ]
    assert_same(model(nodes, X, ["y"]), {"x": draw(1, 5, 3)})
