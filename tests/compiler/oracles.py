"""What the tests of operators share: cases, losses over them, and finite differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dlc.compiler.build import Builder, op, private
from dlc.compiler.evaluate import evaluate
from dlc.compiler.graph import Graph, Value
from dlc.compiler.passes.differentiate import differentiate
from dlc.compiler.types import Dim, Type, dtype_of, symbol

STEP = 1e-5
LONGEST = 100  # elements of an output whose length depends on data
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Case:
    """An operator applied: float64 arrays are what it is differentiated by, other arrays are constants.

    `fixed` are the places of float inputs that are constants too. `symbolic` names the dimensions of a size. `torch`
    takes the inputs as tensors, constants as arrays, and gives the outputs. `build` makes the outputs of the inputs
    where a case is more than its operator alone.
    """

    op: str
    inputs: tuple[Array | None, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    torch: Callable[..., Any] | None = None
    outputs: int = 1
    symbolic: Mapping[int, str] = field(default_factory=dict)
    fixed: tuple[int, ...] = ()
    label: str = ""
    build: Callable[..., Any] | None = None

    @property
    def name(self) -> str:
        shapes = "_".join("none" if x is None else "x".join(map(str, x.shape)) or "scalar" for x in self.inputs)
        return f"{self.op.removeprefix('dlc.')}-{self.label or shapes}"

    def free(self) -> list[int]:
        return [
            i for i, x in enumerate(self.inputs) if x is not None and x.dtype == np.float64 and i not in self.fixed
        ]

    def feeds(self) -> dict[str, Array]:
        return {f"x{i}": array for i in self.free() if (array := self.inputs[i]) is not None}


def draw(seed: int, *shape: int, low: float = -2.0, high: float = 2.0, away: Sequence[float] = ()) -> Array:
    """Random float64, no element nearer than 0.05 to a number in `away`."""
    rng = np.random.default_rng(seed)
    x = np.asarray(rng.uniform(low, high, shape))
    for kink in away:
        near = np.abs(x - kink) < 0.05
        x = np.where(near, x + np.where(x < kink, -0.1, 0.1), x)
    return x


def apart(seed: int, *shape: int) -> Array:
    """A random order of numbers that are all at least 0.1 from each other, and from 0."""
    n = int(np.prod(shape))
    return (np.random.default_rng(seed).permutation(n).reshape(shape) - n / 2 + 0.25) * 0.2


def applied(case: Case) -> tuple[Builder, list[Value], tuple[Value, ...]]:
    """A builder with the case's node in it, its free inputs and its outputs."""
    builder = Builder()
    values: list[Value | None] = []
    free = case.free()
    for i, array in enumerate(case.inputs):
        if array is None:
            values.append(None)
        elif i in free:
            shape: tuple[Dim, ...] = tuple(
                symbol(case.symbolic[dim]) if dim in case.symbolic else dim for dim in array.shape
            )
            values.append(builder.input(f"x{i}", Type(dtype_of(array), shape)))
        else:
            values.append(builder.constant(array))
    xs = [value for i in free if (value := values[i]) is not None]
    if case.build is None:
        return builder, xs, builder.add(case.op, values, case.attributes, outputs=case.outputs).outputs
    with builder:
        made = case.build(*values)
    return builder, xs, tuple(made) if isinstance(made, tuple | list) else (made,)


def weighted(values: Sequence[Value], seed: int, sizes: Mapping[int, str]) -> Value:
    """A scalar that every element of `values` enters with a random weight of its own."""
    total: Value | None = None
    back = {name: size for size, name in sizes.items()}
    for i, value in enumerate(values):
        if value.dtype == "f64":
            from dlc.compiler.types import substitute

            static = [substitute(dim, back) for dim in value.shape]
            if not all(isinstance(dim, int) for dim in static):  # depends on data: one axis, shorter than this
                static = [LONGEST]
            weights = draw(seed + i, *static)
            if static != list(value.shape):  # reached through the shape that the run has
                flat = op.Gather(weights.reshape(-1), op.Range(0, private.Size(dim=value.type.size), 1))
                weights = private.ReshapeTo(flat, shape=value.shape)
            part = op.ReduceSum(value * weights if isinstance(weights, Value) else op.Mul(value, weights), keepdims=0)
            total = part if total is None else total + part
    assert total is not None
    return total


def first_order(case: Case) -> Graph:
    """Outputs: loss, and the gradient of each free input. The loss reads the outputs twice, and squared once."""
    builder, xs, ys = applied(case)
    with builder:
        floats = [y for y in ys if y.dtype == "f64"]
        loss = weighted(floats, 100, case.symbolic) + 0.5 * weighted([y * y for y in floats], 200, case.symbolic)
        outputs = {"loss": loss, **{builder.names[x]: private.Gradient(loss, x) for x in xs}}
        return differentiate(builder.graph(case.op, outputs))


def second_order(case: Case) -> Graph:
    """The same with the gradients' weighted sum as the loss."""
    builder, xs, ys = applied(case)
    with builder:
        floats = [y for y in ys if y.dtype == "f64"]
        inner = weighted(floats, 100, case.symbolic) + 0.5 * weighted([y * y for y in floats], 200, case.symbolic)
        loss = weighted([private.Gradient(inner, x) for x in xs], 300, case.symbolic)
        outputs = {"loss": loss, **{builder.names[x]: private.Gradient(loss, x) for x in xs}}
        return differentiate(builder.graph(case.op, outputs))


def assert_gradients(
    graph: Graph, feeds: Mapping[str, Array], directions: int = 3, rtol: float = 2e-6,
    fixed: Mapping[str, Array] | None = None,
) -> None:  # fmt: skip
    """The gradients in a graph's outputs against central differences of its `loss`, in random directions.

    `fixed` are inputs that stay as they are.
    """
    still = fixed or {}
    results = evaluate(graph, {**feeds, **still})
    for name, array in feeds.items():
        assert results[name].shape == array.shape
    rng = np.random.default_rng(7)
    loss_only = Graph(graph.name, graph.inputs, {"loss": graph.outputs["loss"]}, graph.nodes, graph.names)
    for _ in range(directions):
        way = {name: rng.normal(size=array.shape) for name, array in feeds.items()}
        ahead, behind = (
            evaluate(
                loss_only, {**still, **{name: array + sign * STEP * way[name] for name, array in feeds.items()}}
            )["loss"]
            for sign in (1, -1)
        )
        numeric = (float(ahead) - float(behind)) / (2 * STEP)
        parts = [float((results[name] * way[name]).sum()) for name in feeds]
        scale = max(1.0, abs(float(results["loss"])), *(abs(part) for part in parts))
        assert abs(numeric - sum(parts)) < rtol * scale, (numeric, sum(parts))
