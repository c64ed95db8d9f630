"""Liveness by hand: each expected number is a count of bytes on paper."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlc.compiler import memory
from dlc.compiler.build import Builder, op
from dlc.compiler.graph import Graph, Value
from dlc.compiler.program import Program
from dlc.compiler.types import Type, symbol

SPECS = Path(__file__).parents[2] / "specs"
B = symbol("B")
ROW = 4 * 10  # bytes of one f32[10]


def graph(*steps: str, outputs: tuple[str, ...]) -> Graph:
    """A graph over x: f32[B, 10]; `y = Op a b` makes y."""
    with Builder() as builder:
        values: dict[str, Value] = {"x": builder.input("x", Type("f32", (B, 10)))}
        for step in steps:
            name, _, rest = step.partition(" = ")
            operator, *operands = rest.split()
            values[name] = op[operator](*(values[each] for each in operands))
        return builder.graph("g", {each: values[each] for each in outputs})


@pytest.mark.parametrize(
    ("steps", "outputs", "rows"),
    [
        (("y = Tanh x",), ("y",), 1),
        (("y = Softmax x", "z = Softmax y"), ("z",), 2),  # y and z
        (("y = Softmax x", "z = Tanh y"), ("z",), 1),  # z over y
        (("y = Softmax x", "z = Tanh y"), ("y", "z"), 2),  # y is a result, and stays
        (("y = Softmax x", "z = Softmax y", "w = Softmax z"), ("w",), 2),  # y is gone before w
        (("a = Softmax x", "b = Softmax a", "c = Softmax b", "d = Add a c"), ("d",), 3),  # a waits for d
        (("a = Softmax x", "i = Identity a", "b = Softmax i"), ("b",), 2),  # i is a
        (("i = Identity x", "b = Softmax i"), ("b",), 1),  # i is the input
        (("a = Tanh x", "b = Exp x", "c = Add a b"), ("c",), 3),  # a sum writes over neither
    ],
)
@pytest.mark.parametrize("batch", [1, 7])
def test_peak(steps: tuple[str, ...], outputs: tuple[str, ...], rows: int, batch: int) -> None:
    assert memory.peak(graph(*steps, outputs=outputs), {"B": batch}) == rows * batch * ROW


def test_what_has_memory_of_its_own_is_not_counted() -> None:
    made = graph("a = Softmax x", "b = Softmax a", outputs=("b",))
    assert memory.peak(made, {"B": 1}, apart={made.outputs["b"]}) == ROW


def test_kept_are_the_values_that_other_nodes_read() -> None:
    made = graph("a = Softmax x", "b = Softmax a", "l = Softmax b", "g = Add a l", outputs=("l", "g"))
    assert memory.kept(made, [made.outputs["l"]], {"B": 2}) == 2 * 2 * ROW  # a and l, not b


def test_a_size_that_is_not_known_is_named() -> None:
    with pytest.raises(memory.UnknownSize, match="depends on T"):
        memory.size_of(Type("f32", (B, symbol("T"))), {"B": 2})


def test_widths_are_those_of_numpy() -> None:
    for dtype in set(memory.WIDTH) - {"str", "bf16"}:
        assert memory.size_of(Type(dtype, (3,)), {}) == 3 * Type(dtype, ()).numpy.itemsize


def test_lenet() -> None:
    program = Program.open(SPECS / "lenet.net")
    net = memory.inference(program.net("lenet"))
    weights = 61_706 * 4
    assert net.weights == weights
    # The largest neighbours are the first convolution and its pool, or its sum with the bias where that is apart.
    assert 4 * (6 * 28 * 28 + 6 * 14 * 14) <= net.activations <= 4 * 2 * (6 * 28 * 28)
    run = memory.training(program.step("lenet"))
    assert (run.batch, run.weights) == (64, weights)
    assert run.optimizer == 2 * weights + 4  # Adam: two moments, and one count of steps
    assert run.copy == run.weights + run.optimizer
    assert run.gradients == weights
    # Every tanh's result and every pool's is read again, and so are the probabilities.
    assert run.kept >= 64 * 4 * (6 * 28 * 28 + 6 * 14 * 14 + 16 * 10 * 10 + 16 * 5 * 5 + 120 + 84 + 10)
    assert run.working > run.kept
    assert run.total == run.weights + run.optimizer + run.copy + run.inputs + run.working


def test_a_gradient_fused_into_its_update_is_no_tensor() -> None:
    """Plain gradient descent on matrices: the product that is the gradient is added to the weight at once."""
    program = Program.open(SPECS / "logistic.net")
    unit = program.step("logistic")
    assert memory.training(unit).gradients == 4  # that of the scalar b; that of w[30] is fused


def test_long_graphs_take_no_recursion() -> None:
    with Builder() as builder:
        value = builder.input("x", Type("f32", (4,)))
        for _ in range(20_000):
            value = op.Softmax(value)
        made = builder.graph("long", {"y": value})
    assert memory.peak(made, {}) == 2 * 16
