"""Whole training steps: the same numbers with every pass, without each of them, and in each process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pass_cases import on_runtime, random_feeds
from training import NETS, OPTIMIZERS, adam, logistic, mlp, sgd

from dlc.compiler.build import Builder, ints, op, private
from dlc.compiler.graph import Graph, Value
from dlc.compiler.passes import REQUIRED, TRAINING, differentiate, labels, lower, run, update
from dlc.compiler.passes.lower import UnknownDimension
from dlc.compiler.text import to_text
from dlc.compiler.types import Type, symbol

OPTIONAL = sorted(transform.__name__ for transform in {*TRAINING} if transform not in REQUIRED)
TURNS = [name for name in labels(TRAINING) if name.split(".")[0] in OPTIONAL]


def size(graph: Graph) -> int:
    return sum(node.op != "Constant" for node in graph.nodes)


def remaining(graph: Graph) -> int:
    """The nodes that a session keeps once the batch is fixed: what depends on shapes alone folds away."""
    fixed: set[Value] = set()
    for node in graph.nodes:
        if node.op in ("Constant", "Shape") or fixed.issuperset(node.operands()):
            fixed.update(node.outputs)
    return sum(fixed.isdisjoint(node.outputs) for node in graph.nodes)


def same(graph: Graph, other: Graph, batch: int = 5) -> None:
    feeds = random_feeds(graph, {"B": batch})
    results = on_runtime(other, feeds)
    for name, expected in on_runtime(graph, feeds).items():
        np.testing.assert_allclose(results[name], expected, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_all_passes_compute_the_same(net: str, optimizer: str) -> None:
    graph = NETS[net](OPTIMIZERS[optimizer])
    plain, short = run(graph, (differentiate, lower)), run(graph, TRAINING)
    assert size(short) < size(plain)
    same(plain, short)
    same(plain, short, batch=1)


@pytest.mark.parametrize("left_out", [*OPTIONAL, *TURNS])
@pytest.mark.parametrize("optimizer", ["sgd, run-time rate, decay", "nesterov", "adamw, run-time rate"])
def test_each_optional_pass_can_be_left_out(left_out: str, optimizer: str) -> None:
    graph = NETS["mlp, l2"](OPTIMIZERS[optimizer])
    same(run(graph, (differentiate, lower)), run(graph, TRAINING, without=[left_out]))


@pytest.mark.parametrize(("graph", "most"), [
    (logistic(sgd()), 24), (mlp(sgd()), 29), (mlp(sgd(None)), 31), (mlp(adam()), 84),
], ids=["logistic", "mlp", "mlp, run-time rate", "mlp, adam"])  # fmt: skip
def test_node_counts_do_not_grow(graph: Graph, most: int) -> None:
    assert remaining(run(graph, TRAINING)) <= most


def test_sgd_makes_no_gradient_of_a_matrix() -> None:
    """Each matrix's successor is one Gemm that reads the matrix as its C."""
    graph = run(mlp(sgd()), TRAINING)
    for name in ("w0", "w1"):
        node = graph.outputs[f"{name}:next"].node
        assert node is not None and node.op == "Gemm" and node.inputs[2] is graph.input(name)
        assert [value for each in graph.nodes for value in each.outputs if value.type == node.output.type] == [
            node.output
        ]


@pytest.mark.parametrize("name", ["w0", "b0", "w1", "b1"])
def test_finite_still_sees_every_gradient(name: str) -> None:
    """A gradient that became part of a Gemm is tested by its cotangent: what is not finite there shows."""
    short = run(mlp(sgd()), TRAINING)
    feeds = random_feeds(short, {"B": 5})
    assert on_runtime(short, feeds)["finite"]
    feeds[name].flat[0] = np.inf
    assert not on_runtime(short, feeds)["finite"]


@pytest.mark.parametrize("bad", ["x", "y", "z"])
def test_finite_tests_every_cotangent(bad: str) -> None:
    """Of values that nothing but Finite reads, a product's cotangent and a sum stand for the rest."""
    with Builder() as builder:
        x, y, z = (builder.input(name, Type("f32", (symbol("B"), 4))) for name in ("x", "y", "z"))
        products = [op.Gemm(op.Exp(z), side * side, transA=1) for side in (x, y)]
        total = op.ReduceSum(x * x, ints(0), keepdims=0)
        finite = private.Finite(*products, total, op.ReduceSum(z, keepdims=0))
        graph = builder.graph("tested", {"total": total, "finite": finite})
    short = update(graph)
    assert not any(node.op == "Gemm" for node in short.nodes)
    feeds = random_feeds(graph)
    assert on_runtime(short, feeds)["finite"]
    feeds[bad][1, 2] = np.inf
    assert not on_runtime(graph, feeds)["finite"]
    assert not on_runtime(short, feeds)["finite"]


def test_one_differing_example_makes_the_step_not_finite() -> None:
    short = run(mlp(sgd()), TRAINING)
    feeds = random_feeds(short, {"B": 5})
    feeds["image"][3, 2] = np.nan
    assert not on_runtime(short, feeds)["finite"]


@pytest.mark.parametrize("optimizer", ["nesterov, run-time rate, decay", "adamw, run-time rate"])
def test_the_same_text_in_every_process(optimizer: str) -> None:
    program = (
        "from training import *; from dlc.compiler.passes import *; from dlc.compiler.text import to_text\n"
        f"print(to_text(run(NETS['mlp, l2'](OPTIMIZERS[{optimizer!r}]), TRAINING)))"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed},
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "77")
    }
    assert len(texts) == 1 and "Gemm" in texts.pop()


def test_tied_weights_are_two_products_in_a_row() -> None:
    with Builder() as builder:
        x, w = builder.input("x", Type("f32", (symbol("B"), 4))), builder.input("w", Type("f32", (4, 4)))
        loss = op.ReduceMean(op.Tanh(op.Tanh(x @ w) @ w), keepdims=0)
        graph = builder.graph("tied", {"w:next": w - 0.1 * private.Gradient(loss, w)}, sizes={"B": 32})
    short = run(graph, TRAINING)
    same(run(graph, (differentiate, lower)), short)
    last = short.outputs["w:next"].node
    assert last is not None and last.op == "Gemm" and last.inputs[2] is not None
    first = last.inputs[2].node
    assert first is not None and first.op == "Gemm" and first.inputs[2] is short.input("w")


def test_a_dimension_that_no_input_has_is_named() -> None:
    with Builder() as builder:
        x = builder.input("x", Type("f32", (symbol("B"),)))
        wide = private.ExpandTo(op.ReduceSum(x, keepdims=0), shape=(symbol("K"),))
        graph = builder.graph("lost", {"y": wide})
    with pytest.raises(UnknownDimension, match=r"dlc.ExpandTo -> f32\[K\].*dimension K.*no input of lost.*\bB\b"):
        lower(graph)


def test_a_deep_graph_passes() -> None:
    """Nothing recurses along the depth of a graph."""
    with Builder() as builder:
        x = y = builder.input("x", Type("f32", (symbol("B"),)))
        for number in range(4_000):
            y = op.Tanh(y) if number % 2 else y + 1.0
        graph = builder.graph("deep", {"x:next": x - 0.1 * y})
    assert to_text(update(graph)) == to_text(graph)
    assert size(run(graph, TRAINING)) == size(graph)
