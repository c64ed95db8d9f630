"""Every gradient rule, first and second order, against finite differences and against PyTorch; and the pass itself."""

from __future__ import annotations

import time
from typing import Any

import composite_cases
import flat_cases
import indexing_cases
import movement_cases
import numpy as np
import operator_cases
import pytest
import sequence_cases
import spatial_cases
from oracles import Array, Case, applied, assert_gradients, draw, first_order, second_order

from dlc.compiler.build import Builder, op, private
from dlc.compiler.evaluate import evaluate
from dlc.compiler.graph import Value
from dlc.compiler.passes.differentiate import NotDifferentiable, differentiate
from dlc.compiler.passes.lower import lower
from dlc.compiler.registry import Expansion, NoGradient, ZeroGradient, operators
from dlc.compiler.types import Type
from dlc.dsl.ast import Span

# Where cases stand: a family with many has a file of its own.
FAMILIES = (
    operator_cases, indexing_cases, movement_cases, spatial_cases, composite_cases, sequence_cases, flat_cases,
)
CASES = [case for module in FAMILIES for case in module.cases()]
# The families that have tests of their own; the cases of all others stand here.
ELSEWHERE = {
    "channels", "convolution", "convolution_forms", "normalization", "pooling", "pooling_forms", "resampling",
    "windows",
}  # fmt: skip


def by_name(case: Case) -> str:
    return case.name


def test_names_of_cases_differ() -> None:
    names = [case.name + str(case.attributes) for case in CASES]
    assert len(set(names)) == len(names), sorted(name for name in names if names.count(name) > 1)


def test_every_operator_has_a_gradient_or_a_reason() -> None:
    silent = {name for name, record in operators().items() if record.gradient is None}
    assert silent <= {"If", "Loop", "Scan"}  # a gradient through imported control flow is refused, not left out


def test_every_gradient_has_a_case() -> None:
    rules = {
        name: record.gradient.rule if isinstance(record.gradient, Expansion) else record.gradient
        for name, record in operators().items()
        if record.gradient is not None and not isinstance(record.gradient, NoGradient)
    }
    flat = {name for name, record in operators().items() if isinstance(record.gradient, ZeroGradient)}
    assert flat == {case.op for case in flat_cases.cases()}
    ours = {name for name, rule in rules.items() if rule.__module__.rpartition(".")[2] not in ELSEWHERE}
    assert len(ours) > 80 and ours - {case.op for case in CASES} == set()


@pytest.mark.parametrize("case", [case for case in CASES if case.build], ids=by_name)
def test_what_is_built_holds_the_operator(case: Case) -> None:
    builder, _, ys = applied(case)
    nodes = builder.graph("built", {f"y{i}": y for i, y in enumerate(ys)}).nodes
    assert case.op in {node.op for node in nodes} and len(nodes) > 1


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_first_order(case: Case) -> None:
    assert_gradients(first_order(case), case.feeds())


@pytest.mark.parametrize("case", [case for case in CASES if case.label != "zero"], ids=by_name)
def test_second_order(case: Case) -> None:
    assert_gradients(second_order(case), case.feeds(), rtol=2e-5)


@pytest.mark.parametrize("case", [case for case in CASES if case.torch], ids=by_name)
def test_against_pytorch(case: Case) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the second oracle; the extra `peers` installs it")
    graph = first_order(case)
    results = evaluate(graph, case.feeds())
    free = case.free()
    tensors: list[Any] = [
        torch.tensor(array, requires_grad=True) if i in free else array for i, array in enumerate(case.inputs)
    ]
    taken = [torch.tensor(x) if isinstance(x, np.ndarray) and i in case.fixed else x for i, x in enumerate(tensors)]
    outputs = case.torch(*taken)  # type: ignore[misc]
    outputs = outputs if isinstance(outputs, tuple | list) else [outputs]
    loss = sum(
        (y * torch.tensor(draw(100 + i, *y.shape))).sum() + 0.5 * (y * y * torch.tensor(draw(200 + i, *y.shape))).sum()
        for i, y in enumerate(outputs)
    )
    np.testing.assert_allclose(results["loss"], loss.item(), rtol=1e-10, atol=1e-10)
    loss.backward()
    for i in free:
        wanted = tensors[i].grad
        np.testing.assert_allclose(results[f"x{i}"], wanted.numpy(), rtol=1e-9, atol=1e-10, err_msg=f"input {i}")


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_lowered_gradients_are_the_same(case: Case) -> None:
    graph = first_order(case)
    lowered = lower(graph)
    assert not any(node.private for node in lowered.nodes)
    before, after = evaluate(graph, case.feeds()), evaluate(lowered, case.feeds())
    for name, array in before.items():
        np.testing.assert_allclose(after[name], array, rtol=1e-12, atol=1e-12)


KINKS: list[tuple[str, list[list[float]], dict[str, Any], Any]] = [
    ("Relu", [[-1, 0, 1]], {}, lambda t, x: t.relu(x)),
    ("Abs", [[-1, 0, 1]], {}, lambda t, x: t.abs(x)),
    ("LeakyRelu", [[-1, 0, 1]], {}, lambda t, x: t.nn.functional.leaky_relu(x)),
    ("Elu", [[-1, 0, 1]], {"alpha": 0.7}, lambda t, x: t.nn.functional.elu(x, 0.7)),
    ("Celu", [[-1, 0, 1]], {"alpha": 0.5}, lambda t, x: t.nn.functional.celu(x, 0.5)),
    ("Selu", [[-1, 0, 1]], {}, lambda t, x: t.selu(x)),
    ("HardSwish", [[-3, 0, 3]], {}, lambda t, x: t.nn.functional.hardswish(x)),
    ("HardSigmoid", [[-3, 0, 3]], {"alpha": 1 / 6}, lambda t, x: t.nn.functional.hardsigmoid(x)),
    ("ThresholdedRelu", [[0, 1, 2]], {}, lambda t, x: t.nn.functional.threshold(x, 1.0, 0.0)),
    ("Shrink", [[-0.5, 0, 0.5]], {}, lambda t, x: t.nn.functional.hardshrink(x)),
    ("Max", [[1, 2, 3], [2, 2, 2]], {}, lambda t, x, y: t.maximum(x, y)),
    ("Min", [[1, 2, 3], [2, 2, 2]], {}, lambda t, x, y: t.minimum(x, y)),
    ("Pow", [[0, 0, 2], [0, 2, 0]], {}, lambda t, x, y: x**y),
    ("PRelu", [[-1, 0, 1], [0.3]], {}, lambda t, x, a: t.nn.functional.prelu(x, a)),
    ("ReduceMax", [[1, 2, 2]], {}, lambda t, x: x.amax()),
    ("ReduceMin", [[1, 1, 2]], {}, lambda t, x: x.amin()),
    ("ReduceL2", [[0, 0, 0]], {}, lambda t, x: x.norm()),
    ("ReduceL1", [[-1, 0, 1]], {}, lambda t, x: x.norm(1)),
    ("ReduceProd", [[0, 2, 3]], {}, lambda t, x: x.prod()),
    ("ReduceProd", [[0, 2, 0]], {}, lambda t, x: x.prod()),
]


@pytest.mark.parametrize("kink", KINKS, ids=lambda kink: f"{kink[0]}{kink[1]}")
def test_kinks_are_as_in_pytorch(kink: tuple[str, list[list[float]], dict[str, Any], Any]) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle; the extra `peers` installs it")
    name, given, attributes, peer = kink
    case = Case(name, tuple(np.array(x, np.float64) for x in given), attributes)
    assert_like_pytorch(torch, case, lambda *xs: peer(torch, *xs))


@pytest.mark.parametrize("bounds", [(-1.0, 1.0), (1.0, -1.0), (1.0, 1.0)])
def test_clip_at_its_bounds_is_as_in_pytorch(bounds: tuple[float, float]) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle; the extra `peers` installs it")
    x = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    case = Case("Clip", (x, np.array(bounds[0]), np.array(bounds[1])), fixed=(1, 2))
    assert_like_pytorch(torch, case, lambda x, low, high: torch.clamp(x, *bounds))


def assert_like_pytorch(torch: Any, case: Case, peer: Any) -> None:
    results = evaluate(first_order(case), case.feeds())
    free = case.free()
    tensors = [torch.tensor(x, requires_grad=i in free) for i, x in enumerate(case.inputs)]
    y = peer(*tensors).reshape(evaluate(forward(case), case.feeds())["y"].shape)
    weights, squares = torch.tensor(draw(100, *y.shape)), torch.tensor(draw(200, *y.shape))
    (y * weights + 0.5 * y * y * squares).sum().backward()
    for i in free:
        np.testing.assert_allclose(results[f"x{i}"], tensors[i].grad.numpy(), rtol=1e-6, atol=1e-12)


def forward(case: Case) -> Any:
    builder, _, ys = applied(case)
    return builder.graph("forward", {"y": ys[0]})


def f64(*shape: int) -> Type:
    return Type("f64", shape)


def gradient_of(loss: Value, *ws: Value) -> list[Value]:
    return [private.Gradient(loss, w) for w in ws]


def test_fan_out_is_summed_at_once() -> None:
    with Builder() as b:
        x = b.input("x", f64(3))
        loss = op.ReduceSum(op.Sin(x) + op.Cos(x) + op.Exp(x), keepdims=0)
        graph = differentiate(b.graph("f", {"dx": private.Gradient(loss, x)}))
    assert [node.op for node in graph.nodes].count("Sum") == 1
    at = np.array([0.1, 0.2, 0.3])
    np.testing.assert_allclose(evaluate(graph, {"x": at})["dx"], np.cos(at) - np.sin(at) + np.exp(at))


def test_an_input_used_twice_by_one_node() -> None:
    with Builder() as b:
        x = b.input("x", f64())
        graph = differentiate(b.graph("f", {"dx": private.Gradient(x * x * x, x)}))
    assert evaluate(graph, {"x": np.float64(2)})["dx"] == 12


def test_what_is_not_reached_has_zeros() -> None:
    with Builder() as b:
        x, unused, n = b.input("x", f64(3)), b.input("unused", f64(2, 2)), b.input("n", Type("i64", ()))
        loss = op.ReduceSum(private.Detach(x) * op.Floor(x), keepdims=0)
        dx, du, dn = gradient_of(loss, x, unused, n)
        graph = differentiate(b.graph("f", {"dx": dx, "du": du, "dn": dn}))
    results = evaluate(graph, {"x": np.ones(3), "unused": np.ones((2, 2)), "n": np.int64(3)})
    assert results["dx"].tolist() == [0, 0, 0] and results["du"].tolist() == [[0, 0], [0, 0]]
    assert results["dn"] == 0 and results["dn"].dtype == np.int64


def test_detach_is_a_constant() -> None:
    with Builder() as b:
        x = b.input("x", f64())
        graph = differentiate(b.graph("f", {"dx": private.Gradient(x * private.Detach(x), x)}))
    assert evaluate(graph, {"x": np.float64(5)})["dx"] == 5


def test_the_gradient_by_a_value_inside_and_by_the_loss_itself() -> None:
    with Builder() as b:
        x = b.input("x", f64())
        inside = x * x
        loss = op.Sin(inside)
        di, dl, dx = gradient_of(loss, inside, loss, x)
        graph = differentiate(b.graph("f", {"di": di, "dl": dl, "dx": dx}))
    results = evaluate(graph, {"x": np.float64(0.5)})
    np.testing.assert_allclose([results["di"], results["dl"], results["dx"]], [np.cos(0.25), 1, np.cos(0.25)])


def test_gradients_of_gradients_of_gradients() -> None:
    with Builder() as b:
        x = b.input("x", f64())
        value: Value = op.Sin(x)
        for _ in range(4):
            value = private.Gradient(value, x)
        graph = differentiate(b.graph("f", {"y": value}))
    np.testing.assert_allclose(evaluate(graph, {"x": np.float64(0.3)})["y"], np.sin(0.3))


def test_a_penalty_on_the_gradient() -> None:
    with Builder() as b:
        x, w = b.input("x", f64(4, 3)), b.input("w", f64(3, 2))
        loss = op.ReduceSum(op.Tanh(x @ w), keepdims=0)
        total = loss + op.ReduceSumSquare(private.Gradient(loss, x), keepdims=0)
        graph = differentiate(b.graph("f", {"loss": total, "w": private.Gradient(total, w)}, sizes={}))
    feeds = {"x": draw(1, 4, 3), "w": draw(2, 3, 2)}
    fixed = {"w": feeds["w"]}
    results = evaluate(graph, feeds)
    way = draw(3, 3, 2)
    ahead, behind = (evaluate(graph, {**feeds, "w": fixed["w"] + s * 1e-6 * way})["loss"] for s in (1, -1))
    np.testing.assert_allclose((results["w"] * way).sum(), (ahead - behind) / 2e-6, rtol=1e-7)


def test_several_losses_keep_apart() -> None:
    with Builder() as b:
        x = b.input("x", f64())
        outputs = {"a": private.Gradient(op.Sin(x), x), "b": private.Gradient(op.Cos(x), x)}
        graph = differentiate(b.graph("f", outputs))
    results = evaluate(graph, {"x": np.float64(0.3)})
    np.testing.assert_allclose([results["a"], results["b"]], [np.cos(0.3), -np.sin(0.3)])


def test_new_nodes_have_the_span_of_the_forward_node_and_names_stay() -> None:
    here, there = Span("a.net", 1, 1, 1, 2), Span("a.net", 2, 1, 2, 2)
    with Builder() as b:
        x = b.input("x", f64())
        with b.at(here):
            loss = op.Tanh(x)
        with b.at(there):
            dx = private.Gradient(loss, x)
        b.names[dx] = "x:grad"
        graph = differentiate(b.graph("f", {"dx": dx}))
    assert {node.span for node in graph.nodes} == {here}
    assert graph.names[graph.outputs["dx"]] == "x:grad"


def test_an_operator_without_a_rule_is_named() -> None:
    from dlc.compiler.registry import define

    define("test.Silent", lambda call: [call.type(0)])
    try:
        with Builder() as b:
            x = b.input("x", f64())
            with b.at(Span("a.net", 3, 5, 3, 9)):
                graph = b.graph("f", {"dx": private.Gradient(b.add("test.Silent", [x]).output, x)})
        with pytest.raises(NotDifferentiable, match=r"test\.Silent"):
            differentiate(graph)
    finally:
        del operators()["test.Silent"]  # type: ignore[attr-defined]


def test_deep_graphs_take_seconds() -> None:
    """20,000 nodes in a chain, which no recursion would survive."""
    with Builder() as b:
        x = b.input("x", f64())
        y = x
        for _ in range(10_000):
            y = op.Sin(y) + x
        graph = b.graph("deep", {"dx": private.Gradient(y, x)})
    start = time.process_time()
    assert len(differentiate(graph).nodes) > 20_000
    assert time.process_time() - start < 20


def test_cross_entropy_scatters_into_the_probabilities() -> None:
    """The gradient of LogSoftmax + GatherElements is one scatter into exp(y), with no dense detour."""
    with Builder() as b:
        x = b.input("x", f64(4, 10))
        labels = b.constant(np.array([[3], [1], [4], [1]]))
        loss = -op.ReduceMean(op.GatherElements(op.LogSoftmax(x, axis=1), labels, axis=1), keepdims=0)
        graph = differentiate(b.graph("ce", {"loss": loss, "x": private.Gradient(loss, x)}))
    assert graph.outputs["x"].op == "ScatterElements"
    feeds = {"x": draw(1, 4, 10)}
    assert_gradients(graph, feeds)
    p = np.exp(feeds["x"]) / np.exp(feeds["x"]).sum(1, keepdims=True)
    p[range(4), [3, 1, 4, 1]] -= 1
    np.testing.assert_allclose(evaluate(graph, feeds)["x"], p / 4)


def test_unreached_branches_are_not_differentiated() -> None:
    with Builder() as b:
        x, w = b.input("x", f64(3)), b.input("w", f64(3))
        loss = op.ReduceSum(op.Tanh(op.Erf(x)) * w, keepdims=0)
        graph = differentiate(b.graph("f", {"dw": private.Gradient(loss, w)}))
    assert [node.op for node in graph.nodes].count("Exp") == 0


def test_a_shape_known_only_at_run_time_works_for_every_batch() -> None:
    case = next(case for case in CASES if case.name == "MatMul-symbolic2")
    graph = first_order(case)
    feeds: dict[str, Array] = {"x0": draw(1, 3, 2, 4), "x1": draw(2, 4, 5)}
    assert_gradients(graph, feeds)
