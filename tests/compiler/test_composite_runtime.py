"""Composite operators without a gradient: lowered on ONNX Runtime in float32, as they are there, and by onnx's own."""

from __future__ import annotations

from typing import Any

import composite_cases
import numpy as np
import pytest
import sequence_cases
from oracles import Array, Case

from dlc.compiler.build import Builder, op, private
from dlc.compiler.emit import emit
from dlc.compiler.evaluate import evaluate, evaluate_node
from dlc.compiler.graph import Graph
from dlc.compiler.passes.differentiate import differentiate
from dlc.compiler.passes.lower import lower
from dlc.compiler.registry import IllTyped
from dlc.compiler.types import Dim, Type, dtype_of, symbol

RANDOM = ("training1", "training2", "half", "scalar")
CASES = [
    case
    for module in (composite_cases, sequence_cases)
    for case in module.cases()
    if not (case.op == "Dropout" and case.label in RANDOM)
]
# What ONNX Runtime's own kernels (CPU, opset 21) know; they have no layout with the batch first.
KERNEL_OPERATORS = {
    "LSTM", "GRU", "RNN", "InstanceNormalization", "LpNormalization", "MeanVarianceNormalization", "Shrink",
}  # fmt: skip
KERNELS = [
    case
    for case in CASES
    if not case.attributes.get("layout") and case.op in KERNEL_OPERATORS
]
# What onnx's reference implementation does not know of them, or does in another way than its specification.
IGNORED = {"lengths", "clipped", "functions"}
REFERENCED = [
    case
    for case in CASES
    if not (case.op in ("LSTM", "GRU", "RNN") and case.label in IGNORED)
    and not (case.op == "Attention" and case.label == "mode0")  # it gives what is capped already
    and not (case.op == "LpNormalization" and case.attributes.get("p") == 1)  # it sums without taking sizes
    and case.op not in ("Dropout", "GroupNormalization")  # random; a function whose body it does not run by itself
]


def by_name(case: Case) -> str:
    return case.name


def narrow(array: Array) -> Array:
    return array.astype(np.float32) if array.dtype == np.float64 else array


def feeds_of(case: Case) -> dict[str, Array]:
    return {f"x{i}": narrow(array) for i, array in enumerate(case.inputs) if array is not None}


def graph_of(case: Case) -> Graph:
    builder = Builder()
    values = []
    for i, array in enumerate(case.inputs):
        if array is None:
            values.append(None)
        elif array.dtype == np.bool_ and not array.shape:
            values.append(builder.constant(array))
        else:
            symbolic = case.symbolic if array.dtype == np.float64 else {}
            shape: tuple[Dim, ...] = tuple(symbol(symbolic[dim]) if dim in symbolic else dim for dim in array.shape)
            values.append(builder.input(f"x{i}", Type(dtype_of(narrow(array)), shape)))
    made = builder.add(case.op, values, case.attributes, outputs=case.outputs).outputs
    return builder.graph("g", {f"y{i}": value for i, value in enumerate(made)})


def on_runtime(graph: Graph, feeds: dict[str, Array]) -> list[Array]:
    import onnxruntime as ort

    session = ort.InferenceSession(emit(graph).SerializeToString(), providers=["CPUExecutionProvider"])
    names = {graph.names[value] for value in graph.inputs}
    results: list[Array] = session.run(None, {name: array for name, array in feeds.items() if name in names})
    return results


def in_float64(case: Case) -> list[Array]:
    graph = graph_of(case)
    builder = Builder()
    inputs = [
        None if x is None else builder.input(f"x{i}", Type(dtype_of(x), x.shape)) for i, x in enumerate(case.inputs)
    ]
    node = builder.add(case.op, inputs, case.attributes, outputs=len(graph.outputs))
    return evaluate_node(node, case.inputs)


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_lowered_runs_on_onnx_runtime(case: Case) -> None:
    graph = lower(graph_of(case))
    assert not any(node.private for node in graph.nodes)
    for found, wanted in zip(on_runtime(graph, feeds_of(case)), in_float64(case), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("case", KERNELS, ids=by_name)
def test_kernels_of_onnx_runtime_mean_the_same(case: Case) -> None:
    for found, wanted in zip(on_runtime(graph_of(case), feeds_of(case)), in_float64(case), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("case", REFERENCED, ids=by_name)
def test_reference_implementation_means_the_same(case: Case) -> None:
    from onnx import defs, helper
    from onnx.reference import ReferenceEvaluator

    names = ["" if x is None else f"x{i}" for i, x in enumerate(case.inputs)]
    outputs = [f"y{i}" for i in range(case.outputs)]
    node = helper.make_node(case.op, names, outputs, **case.attributes)
    free = [helper.make_empty_tensor_value_info(name) for name in (*filter(None, names), *outputs)]
    count = len(free) - len(outputs)
    opset = [helper.make_opsetid("", defs.onnx_opset_version())]
    model = helper.make_model(helper.make_graph([node], "g", free[:count], free[count:]), opset_imports=opset)
    results: Any = ReferenceEvaluator(model).run(None, feeds_of(case))
    for found, wanted in zip(results, in_float64(case), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=2e-5)


def test_a_dropped_half_on_onnx_runtime_is_scaled() -> None:
    builder = Builder()
    with builder:
        x = builder.input("x0", Type("f32", (symbol("B"), 50)))
        y, mask = op.Dropout(x, np.float32(0.25), np.array(True), seed=1, outputs=2)
        graph = builder.graph("g", {"y": y, "mask": mask})
    given = np.full((40, 50), 3, np.float32)
    found, kept = on_runtime(lower(graph), {"x0": given})
    np.testing.assert_allclose(found, np.where(kept, 4, 0), rtol=1e-6)
    assert 0.7 < kept.mean() < 0.8


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
def test_a_length_known_at_run_time_has_values_and_no_gradient(name: str) -> None:
    x, w, r, *_ = sequence_cases.weights(name)
    builder = Builder()
    with builder:
        value = builder.input("x0", Type("f32", (symbol("T"), *x.shape[1:])))
        y = op[name](value, narrow(w), narrow(r), hidden_size=sequence_cases.H)
        loss = op.ReduceSum(y, keepdims=0)
        graph = builder.graph("g", {"y": y})
        asked = builder.graph("g", {"dx": private.Gradient(loss, value)})
    feeds = {"x0": narrow(x)}
    np.testing.assert_allclose(on_runtime(lower(graph), feeds)[0], evaluate(graph, feeds)["y"], rtol=1e-4, atol=1e-5)
    with pytest.raises(IllTyped, match="known only at run time"):
        differentiate(asked)


@pytest.mark.parametrize("p", [1, 2])
def test_a_row_of_zeros_stays_what_it_is(p: int) -> None:
    """As ONNX Runtime's own kernel has it, which divides by no norm of 0."""
    rows = np.array([[0.0, 0.0, 0.0], [1.0, -2.0, 0.5]])
    builder = Builder()
    with builder:
        graph = builder.graph("g", {"y": op.LpNormalization(builder.input("x", Type("f64", (2, 3))), p=p)})
    found = evaluate(graph, {"x": rows})["y"]
    assert not found[0].any() and np.allclose(np.linalg.norm(found[1], p), 1)
    with Builder() as narrow_builder:
        y = op.LpNormalization(narrow_builder.input("x", Type("f32", (2, 3))), p=p)
        single = narrow_builder.graph("g", {"y": y})
    np.testing.assert_allclose(on_runtime(lower(single), {"x": narrow(rows)})[0], found, rtol=1e-6)


def test_no_turns_of_linear_attention_leave_its_state() -> None:
    q, k, v, past = (np.ones(shape) for shape in ((2, 0, 8), (2, 0, 8), (2, 0, 6), (2, 2, 4, 3)))
    given = {"q": q, "k": k, "v": v, "past": past}
    with Builder() as builder:
        values = [builder.input(key, Type("f64", array.shape)) for key, array in given.items()]
        y, state = op.LinearAttention(*values, q_num_heads=2, kv_num_heads=2, update_rule="linear", outputs=2)
        graph = builder.graph("g", {"y": y, "state": state})
    found = evaluate(graph, given)
    assert found["y"].shape == (2, 0, 6) and (found["state"] == past).all()


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
def test_a_sequence_of_no_steps_hands_its_state_on(name: str) -> None:
    x, w, r, b, h, c = sequence_cases.weights(name, length=0)
    given = {"x": x, "h": h, "c": c}
    with Builder() as builder:
        held = [builder.constant(each) for each in (w, r, b)]
        values = {key: builder.input(key, Type("f64", array.shape)) for key, array in given.items()}
        states = (values["h"], values["c"]) if name == "LSTM" else (values["h"],)
        count = 1 + len(states)
        made = op[name](values["x"], *held, None, *states, hidden_size=sequence_cases.H, outputs=count)
        loss = op.ReduceSum(made[1] * made[1], keepdims=0)
        outputs = {"y": made[0], "last": made[1], "dh": private.Gradient(loss, values["h"])}
        graph = builder.graph("g", outputs)
    found = evaluate(differentiate(graph), given)
    assert found["y"].shape == (0, 1, *h.shape[1:]) and (found["last"] == h).all()
    np.testing.assert_allclose(found["dh"], 2 * h)


@pytest.mark.parametrize(
    ("name", "shapes", "attributes", "words"),
    [
        ("Attention", [(2, 3, 8)] * 3, {"q_num_heads": 3, "kv_num_heads": 3}, "with 3 heads"),
        ("Attention", [(2, 3, 4, 5), (2, 2, 4, 5), (2, 2, 4, 5)], {}, "share 2 heads"),
        ("Attention", [(2, 3, 4, 5)] * 3, {"qk_matmul_output_mode": 4}, "0 to 3"),
        ("Attention", [(2, 3, 4, 5)] * 3 + [(4, 7)], {}, "only 4 keys"),
        ("RotaryEmbedding", [(2, 3, 4, 6), (2, 4, 2), (2, 4, 2)], {}, "3 columns"),
        ("LinearAttention", [(2, 3, 8), (2, 3, 8), (2, 3, 8)], {"q_num_heads": 2, "kv_num_heads": 2}, "missing"),
        ("CausalConvWithState", [(2, 3, 8), (3, 2, 3)], {}, "is expected"),
        ("LSTM", [(3, 2, 4), (1, 8, 4), (1, 8, 3)], {}, r"f32\[1, 12, 4\] is expected"),
        ("GRU", [(3, 2, 4), (1, 6, 4), (1, 6, 2)], {"activations": ("Tanh",)}, "1 activations"),
        ("RNN", [(3, 2, 4), (1, 2, 4), (1, 2, 2)], {"activations": ("Sinus",)}, "not one that ONNX lists"),
        ("RNN", [(3, 2, 4), (1, 2, 4), (1, 2, 2)], {"direction": "up"}, "direction"),
        ("SwiGLU", [(3, 4), (4,)], {}, "nothing is stretched"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(name: str, shapes: Any, attributes: dict[str, Any], words: str) -> None:
    builder = Builder()
    inputs = [builder.input(f"x{i}", Type("f32", shape)) for i, shape in enumerate(shapes)]
    with pytest.raises(IllTyped, match=words):
        builder.add(name, inputs, attributes)
