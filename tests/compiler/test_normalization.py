"""Normalization operators: gradients of both orders against finite differences and PyTorch, and their lowered forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from oracles import Case, assert_gradients, draw, first_order, second_order

from dlc.compiler.build import Builder, op, private
from dlc.compiler.evaluate import evaluate
from dlc.compiler.passes.differentiate import differentiate
from dlc.compiler.passes.lower import lower
from dlc.compiler.registry import IllTyped
from dlc.compiler.types import Type, symbol

X, ROWS = draw(1, 3, 4, 2, 5), draw(2, 6, 4)
C1, C2, C3 = (draw(seed, 4, low=0.5) for seed in (3, 4, 5))
CASES = [
    Case("dlc.Moments", (X,), {"axes": (1,)}, outputs=2, label="channels"),
    Case("dlc.Moments", (ROWS,), {"axes": (1,)}, outputs=2, label="rank2"),
    Case("dlc.Moments", (X,), {"axes": (0, 1)}, outputs=2, label="two"),
    Case("dlc.Moments", (X,), {"axes": ()}, outputs=2, label="none"),
    Case("dlc.Moments", (ROWS,), {"axes": (1,)}, outputs=2, symbolic={6: "B"}, label="symbolic"),
    Case("dlc.PerChannel", (X, C1), {"axes": (1,)}, label="gain"),
    Case("dlc.PerChannel", (X, C1, C2), {"axes": (1,)}, label="shift"),
    Case("dlc.PerChannel", (X, C1, None, C3), {"axes": (1,)}, label="center"),
    Case("dlc.PerChannel", (X, C1, C2, C3), {"axes": (1,)}, label="all"),
    Case("dlc.PerChannel", (X, C1, C2, C3), {"axes": (1,), "centered": 1}, label="centered"),
    Case("dlc.PerChannel", (ROWS, C1, C2, C3), {"axes": (1,)}, label="rank2"),
    Case("dlc.PerChannel", (X, draw(6, 3, 4), draw(7, 3, 4)), {"axes": (0, 1)}, label="two"),
    Case("dlc.PerChannel", (X, draw(6, 5), draw(7, 5)), {"axes": (3,)}, label="last"),
    Case("dlc.PerChannel", (ROWS, C1, C2), {"axes": (1,)}, symbolic={6: "B"}, label="symbolic"),
    Case("BatchNormalization", (X, C1, C2, C3, draw(6, 4, low=0.5)), {"epsilon": 0.01}, label="rank4"),
    Case("BatchNormalization", (ROWS, C1, C2, C3, draw(6, 4, low=0.5)), {}, label="rank2"),
    Case("LayerNormalization", (X, draw(8, 5), draw(9, 5)), {"epsilon": 0.01}, label="last"),
    Case("LayerNormalization", (X, draw(8, 2, 5)), {"axis": 2}, label="two"),
    Case("LayerNormalization", (X, draw(8, 5), draw(9, 5)), {}, outputs=3, label="statistics"),
    Case("LayerNormalization", (ROWS, C1, C2), {"axis": 1}, symbolic={6: "B"}, label="symbolic"),
]  # fmt: skip


def by_name(case: Case) -> str:
    return case.name


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_first_order(case: Case) -> None:
    assert_gradients(first_order(case), case.feeds())


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_second_order(case: Case) -> None:
    assert_gradients(second_order(case), case.feeds(), rtol=2e-5)


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_lowered_gradients_are_the_same(case: Case) -> None:
    graph = first_order(case)
    lowered = lower(graph)
    assert not any(node.private for node in lowered.nodes)
    before, after = evaluate(graph, case.feeds()), evaluate(lowered, case.feeds())
    for name, array in before.items():
        np.testing.assert_allclose(after[name], array, rtol=1e-11, atol=1e-11)


PEERS: list[tuple[str, tuple[Any, ...], dict[str, Any], Callable[..., Any]]] = [
    ("BatchNormalization", (X, C1, C2, C3, C1), {"epsilon": 0.01},
     lambda f, x, w, b, m, v: f.batch_norm(x, m, v, w, b, eps=0.01)),
    ("LayerNormalization", (X, draw(8, 2, 5), draw(9, 2, 5)), {"axis": 2, "epsilon": 0.01},
     lambda f, x, w, b: f.layer_norm(x, (2, 5), w, b, eps=0.01)),
]  # fmt: skip


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer[0])
def test_values_are_those_of_pytorch(peer: tuple[str, tuple[Any, ...], dict[str, Any], Callable[..., Any]]) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle; the extra `peers` installs it")
    name, arrays, attributes, theirs = peer
    builder = Builder()
    inputs = [builder.input(f"x{i}", Type("f64", each.shape)) for i, each in enumerate(arrays)]
    graph = builder.graph("g", {"y": builder.add(name, inputs, attributes).output})
    found = evaluate(graph, {f"x{i}": each for i, each in enumerate(arrays)})["y"]
    expected = theirs(torch.nn.functional, *(torch.tensor(each) for each in arrays)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_layer_norm_is_computed_once_where_its_statistics_are_there() -> None:
    builder = Builder()
    with builder:
        x, w = builder.input("x", Type("f32", (symbol("B"), 4))), builder.input("w", Type("f32", (4,)))
        y, _, _ = op.LayerNormalization(x, w, axis=1, outputs=3)
        loss = op.ReduceSum(y * y, keepdims=0)
        gradient = private.Gradient(loss, x)
    graph = differentiate(builder.graph("g", {"loss": loss, "dx": gradient}))
    assert sum(node.op == "LayerNormalization" for node in graph.nodes) == 1


@pytest.mark.parametrize("which", [0, 1, 2])
def test_each_output_of_layer_norm_alone_has_a_gradient(which: int) -> None:
    builder = Builder()
    with builder:
        x = builder.input("x0", Type("f64", X.shape))
        outputs = builder.add("LayerNormalization", [x, builder.constant(draw(8, 5))], outputs=3).outputs
        loss = op.ReduceSum(op.Sin(outputs[which]), keepdims=0)
        graph = differentiate(builder.graph("g", {"loss": loss, "x0": private.Gradient(loss, x)}))
    assert_gradients(graph, {"x0": X})


SHORT: dict[str, tuple[list[Any], dict[str, Any], int]] = {
    "LayerNormalization": ([draw(8, 5), draw(9, 5)], {}, 3),
    "GroupNormalization": ([C1, C2], {"num_groups": 2}, 1),
    "InstanceNormalization": ([C1, C2], {}, 1),
    "BatchNormalization": ([C1, C2, C3, C1], {"training_mode": 1}, 3),
    "RMSNormalization": ([draw(8, 5)], {}, 1),
}


@pytest.mark.parametrize("name", SHORT)
def test_statistics_of_short_floats_are_wider_and_their_gradients_are_not(name: str) -> None:
    rest, attributes, outputs = SHORT[name]
    results = []
    for dtype in ("f16", "f64"):
        builder = Builder()
        with builder:
            x = builder.input("x", Type(dtype, X.shape))
            given = [builder.constant(each, dtype) for each in rest]
            made = builder.add(name, [x, *given], attributes, outputs=outputs).outputs
            parts = [op.ReduceSum(op.Cast(op.Sin(y), to="f64"), keepdims=0) for y in made]
            loss = sum(parts[1:], parts[0])
            graph = differentiate(builder.graph("g", {"dx": private.Gradient(loss, x)}))
        assert graph.outputs["dx"].dtype == dtype
        results.append(evaluate(graph, {"x": X.astype(Type(dtype, ()).numpy)})["dx"])
    np.testing.assert_allclose(results[0], results[1], rtol=0.03, atol=0.03)


def test_training_reads_the_centred_input_which_the_variance_needs_anyhow() -> None:
    """So that x itself need not be kept for the gradient; at rest one operator does all."""
    for training in (0, 1):
        builder = Builder()
        with builder:
            x = builder.input("x", Type("f32", X.shape))
            given = [builder.constant(each, "f32") for each in (C1, C2, C3, C1)]
            y = op.BatchNormalization(x, *given, training_mode=training)
            loss = op.ReduceSum(y * y, keepdims=0)
            graph = lower(differentiate(builder.graph("g", {"y": y, "dx": private.Gradient(loss, x)})))
        read = {node.inputs[0] for node in graph.nodes if node.op == "BatchNormalization"}
        assert read and (x in read) == (not training)


@pytest.mark.parametrize(
    ("name", "shapes", "attributes", "words"),
    [
        ("dlc.Moments", [(3, 4)], {"axes": (0, 1)}, "an axis to go over"),
        ("dlc.Moments", [(3, 4)], {"axes": (2,)}, "along the axes"),
        ("dlc.PerChannel", [(3, 4), (3,)], {"axes": (1,)}, r"\[4\] is expected"),
        ("BatchNormalization", [(3, 4), (4,), (4,), (4,), (3,)], {}, r"\[4\] is expected"),
        ("BatchNormalization", [(4,), (4,), (4,), (4,), (4,)], {}, r"\[N, C, ...\]"),
        ("LpNormalization", [(3, 4)], {"p": 3}, "1 or 2 is expected"),
        ("GroupNormalization", [(3, 4, 2), (4,), (4,)], {"num_groups": 3}, "equal groups"),
        ("LayerNormalization", [(3, 4), (3,)], {}, "is expected"),
        ("LayerNormalization", [(3, 4), (4,)], {"axis": 3}, "along axis 3"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, shapes: Any, attributes: dict[str, Any], words: str) -> None:
    builder = Builder()
    inputs = [builder.input(f"x{i}", Type("f32", shape)) for i, shape in enumerate(shapes)]
    with pytest.raises(IllTyped, match=words):
        builder.add(name, inputs, attributes, outputs=2 if name == "dlc.Moments" else 1)
