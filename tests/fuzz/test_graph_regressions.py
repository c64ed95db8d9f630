"""What random graphs have found: each as small as it could be made, on ONNX Runtime as it is and after all passes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from test_random_graphs import session

from dlc.compiler.build import Builder, ints, op, private
from dlc.compiler.evaluate import evaluate
from dlc.compiler.graph import Graph, Value
from dlc.compiler.passes import INFERENCE, differentiate, lower, run
from dlc.compiler.types import Array, Type, dtype_of

REDUCTIONS = (
    "ReduceSum", "ReduceMean", "ReduceProd", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare",
    "ReduceLogSum", "ReduceLogSumExp",
)  # fmt: skip
FILTER = np.ones((1, 2, 2, 2), np.float32)
EMPTY = np.zeros((2, 4, 0), np.float32)


def _compress(x: Value) -> Value:
    """Nothing is left of x, which only data say."""
    return op.Compress(x, op.Greater(op.ReduceMax(x, ints(1, 2), keepdims=0), 9.0), axis=0)


CASES: dict[str, tuple[Callable[[Value], Value], Array]] = {
    **{
        f"{name} from the back of nothing, keepdims {keep}": (
            lambda x, name=name, keep=keep: op[name](x, ints(-3), keepdims=keep), EMPTY,
        )
        for name in REDUCTIONS
        for keep in (0, 1)
    },
    "ReduceSum from the back of what data leave": (
        lambda x: op.ReduceSum(_compress(x), ints(-3), keepdims=0), np.ones((2, 4, 3), np.float32),
    ),
    "gaps in windows that are padded by themselves": (
        lambda x: op.Conv(x, FILTER, auto_pad="SAME_UPPER", dilations=(1, 2), strides=(2, 1)),
        np.arange(40, dtype=np.float32).reshape(1, 2, 4, 5),
    ),
    "no matrices times a vector": (lambda x: op.MatMul(x, np.ones(4, np.float32)), np.zeros((0, 3, 4), np.float32)),
    "no matrices times one": (
        lambda x: op.MatMul(x, np.ones((2, 1, 4, 5), np.float32)),
        np.zeros((2, 0, 3, 4), np.float32),
    ),
    "Einsum of nothing": (lambda x: op.Einsum(x, x, equation="ij,kj->ik"), np.zeros((4, 0), np.float32)),
    "Einsum to nothing": (
        lambda x: op.Einsum(x, np.ones((2, 3), np.float32), equation="bij,kj->bik"),
        np.zeros((0, 4, 3), np.float32),
    ),
    "beta times C and no products": (
        lambda x: op.Gemm(x, np.zeros((0, 3), np.float32), np.ones((2, 1), np.float32), beta=1.3),
        np.zeros((2, 0), np.float32),
    ),
    "ArgMax from the back of nothing": (lambda x: op.ArgMax(x, axis=-2, keepdims=0), EMPTY),
    "ArgMin from the back of nothing": (lambda x: op.ArgMin(x, axis=-3), EMPTY),
}  # fmt: skip


@pytest.mark.parametrize("what", CASES)
def test_what_random_graphs_found(what: str) -> None:
    make, array = CASES[what]
    graph = _graph(make, array)
    wanted = evaluate(graph, {"x": array})["y"]
    for found in _found(graph, array):
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_hardmax_along_nothing() -> None:
    array = EMPTY.astype(np.float64)
    for found in _found(_graph(lambda x: op.Hardmax(x), array), array):
        assert found.shape == array.shape


def _graph(make: Callable[[Value], Value], array: Array) -> Graph:
    with Builder() as builder:
        return builder.graph("g", {"y": make(builder.input("x", Type(dtype_of(array), array.shape)))})


def _found(graph: Graph, array: Array) -> list[Array]:
    return [session(made).run(["y"], {"x": array})[0] for made in (lower(graph), run(graph, INFERENCE))]


def test_what_lowering_brings_back_is_lowered_again() -> None:
    """The size of NonZero's result is read from the node before it was lowered, and so is what that was computed of."""
    with Builder() as builder:
        x, keep = builder.input("x", Type("f32", (3,))), builder.input("keep", Type("bool", (3,)))
        total = op.ReduceSum(op.Compress(x, keep, axis=0), ints(-1), keepdims=1)
        places = op.Transpose(op.NonZero(op.Not(op.IsNaN(total))), perm=(1, 0))
        y = op.ReduceSum(op.GatherND(total, places), keepdims=0)
        graph = differentiate(builder.graph("g", {"y": y, "x:grad": private.Gradient(y, x)}))
    for kept in ([True, False, True], [False] * 3):
        feeds = {"x": np.array([0.5, -1.0, 2.0], np.float32), "keep": np.array(kept)}
        found = session(lower(graph)).run(["y", "x:grad"], feeds)
        for array, wanted in zip(found, evaluate(graph, feeds).values(), strict=True):
            np.testing.assert_array_equal(array, wanted)


@pytest.mark.parametrize("what", ["MatMul", "Gemm"])
def test_sums_of_nothing_are_zeros(what: str) -> None:
    """By the graph's text: what lay in memory before may be zeros too."""
    with Builder() as builder:
        a, b = builder.input("a", Type("f32", (2, 0))), builder.input("b", Type("f32", (0, 3)))
        graph = lower(builder.graph("g", {"y": op[what](a, b)}))
    assert [node.op for node in graph.nodes if node.op != "Constant"] == ["Expand"]
    (found,) = session(graph).run(["y"], {"a": np.zeros((2, 0), np.float32), "b": np.zeros((0, 3), np.float32)})
    np.testing.assert_array_equal(found, np.zeros((2, 3)))
