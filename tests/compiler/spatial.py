"""What the tests of convolutions and pools share: graphs of one operator, and the ways to run them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dlc.compiler.build import Builder, op
from dlc.compiler.emit import emit
from dlc.compiler.evaluate import evaluate
from dlc.compiler.graph import Graph, Value
from dlc.compiler.passes.differentiate import gradients
from dlc.compiler.passes.lower import lower
from dlc.compiler.types import Dim, Type, dtype_of, symbol
from dlc.compiler.verify import verify

Array = np.ndarray[Any, Any]


def types(arrays: Mapping[str, Array], symbolic: Mapping[str, Sequence[int]] | None = None) -> dict[str, Type]:
    """Types of arrays; the axes in `symbolic` are dimensions named after the input and axis, axis 0 always B."""
    result = {}
    for name, array in arrays.items():
        shape: list[Dim] = list(array.shape)
        for axis in (symbolic or {}).get(name, ()):
            shape[axis] = symbol("B" if axis == 0 else f"{name}{axis}")
        result[name] = Type(dtype_of(array), tuple(shape))
    return result


def build(make: Callable[..., Any], inputs: Mapping[str, Type], sizes: Mapping[str, int] | None = None) -> Graph:
    """The graph whose outputs are what `make` builds of values of these types."""
    builder = Builder()
    with builder:
        values = [builder.input(name, type) for name, type in inputs.items()]
        made = make(*values)
        outputs = {f"y{i}": value for i, value in enumerate(made if isinstance(made, tuple | list) else (made,))}
    graph = builder.graph("g", outputs, sizes=sizes or {})
    verify(graph)
    return graph


def run(graph: Graph, feeds: Mapping[str, Array], optimized: bool = True) -> list[Array]:
    """The outputs of a graph without private operators, on ONNX Runtime."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(emit(graph).SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(feeds)))


def lowered(graph: Graph) -> Graph:
    after = lower(graph)
    verify(after, like=graph, lowered=True)
    return after


def close(found: Array, expected: Array, tolerance: float) -> None:
    assert found.shape == expected.shape
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


def same_when_lowered(make: Callable[..., Any], arrays: Mapping[str, Array], inputs: Mapping[str, Type]) -> Graph:
    """A graph's float32 values on ONNX Runtime after lowering are its float64 meaning; gives the lowered graph."""
    wide = {name: array.astype(np.float64) for name, array in arrays.items()}
    meaning = build(make, {name: type.with_dtype("f64") for name, type in inputs.items()})
    expected = evaluate(meaning, wide)
    after = lowered(build(make, inputs))
    for found, value in zip(run(after, arrays), expected.values(), strict=True):
        close(found, value, 1e-5)
    return after


def gradient_graph(make: Callable[..., Value], inputs: Mapping[str, Type]) -> Graph:
    """The loss sum(c * make(x)), with c an input, and its gradients in every input of `make`."""
    builder = Builder()
    with builder:
        values = [builder.input(name, type) for name, type in inputs.items()]
        y = make(*values)
        c = builder.input("cotangent", y.type)
        loss = total(c * y)
        found = gradients(loss, values)
        outputs = {"loss": loss} | {name: found[value] for name, value in zip(inputs, values, strict=True)}
    graph = builder.graph("g", outputs)
    verify(graph)
    return graph


def second_order_graph(make: Callable[..., Value], inputs: Mapping[str, Type]) -> Graph:
    """The sum of squared gradients of sum(c * make(x)), weighted by further inputs, and its gradients."""
    builder = Builder()
    with builder:
        values = [builder.input(name, type) for name, type in inputs.items()]
        y = make(*values)
        c = builder.input("cotangent", y.type)
        first = gradients(total(c * y * y), values)
        weights = [builder.input(f"weight_{name}", type) for name, type in inputs.items()]
        loss = total(*(weight * first[value] for weight, value in zip(weights, values, strict=True)))
        found = gradients(loss, [*values, c])
        outputs = {"loss": loss, "cotangent": found[c]}
        outputs |= {name: found[value] for name, value in zip(inputs, values, strict=True)}
    graph = builder.graph("g", outputs)
    verify(graph)
    return graph


def total(*values: Value) -> Value:
    sums = [op.ReduceSum(value, None, keepdims=0) for value in values]
    result = sums[0]
    for value in sums[1:]:
        result = result + value
    return result


def by_differences(
    graph: Graph, arrays: Mapping[str, Array], rng: np.random.Generator, tolerance: float = 2e-7
) -> None:
    """The output `loss` changes along random directions as the outputs named after inputs say."""
    feeds = {name: array.astype(np.float64) for name, array in arrays.items()}
    for value in graph.inputs:
        name = graph.names[value]
        if name not in feeds:
            feeds[name] = rng.standard_normal(value.type.static_shape())
    found = evaluate(graph, feeds)
    for name in found:
        if name == "loss":
            continue
        direction = rng.standard_normal(feeds[name].shape)
        step = 1e-5
        ahead, back = (
            float(evaluate(graph, feeds | {name: feeds[name] + sign * step * direction})["loss"]) for sign in (1, -1)
        )
        expected = (ahead - back) / (2 * step)
        said = float((found[name] * direction).sum())
        scale = max(1.0, abs(expected), float(np.abs(found["loss"])))
        assert abs(said - expected) < tolerance * scale, f"{name}: {said} by the rule, {expected} by differences"


__all__ = [
    "build", "by_differences", "close", "evaluate", "gradient_graph", "gradients", "lowered", "run",
    "same_when_lowered", "second_order_graph", "total", "types",
]  # fmt: skip
