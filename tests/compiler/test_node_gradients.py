"""The gradients of onnx's own node tests: every case with floats, in float64, against differences.

The inputs are those of the case, moved a little at random, for many of them lie on kinks. There is nothing to compare
where a gradient reaches no float input, in control flow, where results are not finite, or of 16 bits only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from node_case_exclusions import EXCLUDED
from onnx import TensorProto, numpy_helper
from oracles import draw
from test_node_cases import cases

from dlc.compiler.build import Builder, op, private
from dlc.compiler.derivative import reach
from dlc.compiler.evaluate import evaluate
from dlc.compiler.graph import Graph, Node, Value
from dlc.compiler.importer import Imported, of_model
from dlc.compiler.passes import dce, differentiate
from dlc.compiler.types import Type

PARTS = 12
LEAST = 900  # cases whose gradients are compared
FLOAT32 = "f32"
SETTINGS = ("scales", "roi", "r")  # of Resize, and the ratio of Dropout
FLOAT_KINDS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
REFUSED = {name for names in EXCLUDED.values() for name in names}
Array = np.ndarray[Any, Any]


def double(graph: Graph) -> Graph:
    """The graph with float64 for float32. Raises IllTyped."""
    builder = Builder()
    replaced: dict[Value, Value] = {}
    with builder:
        for value in graph.inputs:
            replaced[value] = builder.input(graph.names[value], _wide(value.type))
        for node in graph.nodes:
            inputs = [None if value is None else replaced[value] for value in node.inputs]
            attributes = {name: _attribute(node, name, value) for name, value in node.attributes.items()}
            made = builder.add(node.op, inputs, attributes, outputs=len(node.outputs))
            replaced.update(zip(node.outputs, made.outputs, strict=True))
        return builder.graph(graph.name, {name: replaced[value] for name, value in graph.outputs.items()})


def _wide(type: Type) -> Type:
    return type.with_dtype("f64") if type.dtype == FLOAT32 else type


def _attribute(node: Node, name: str, value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype == np.float32:
        return value.astype(np.float64)
    if name == "declared":
        return tuple(_wide(each) for each in value)
    return "f64" if isinstance(value, str) and value == FLOAT32 and name in ("to", "dtype") else value


def wanted() -> list[str]:
    """The cases with a float input that a gradient reaches."""
    return [name for name in sorted(cases()) if name not in REFUSED]


def check(name: str) -> str:
    """`compared`, or why there is nothing to compare; raises AssertionError for a wrong gradient."""
    case = cases()[name]
    arrays, _ = case.data_sets[0]
    model = of_model(_settled(case.model, arrays))
    if any(node.bodies for node in model.graph.nodes):
        return "control flow"
    found_out = [each for each in reach(model) if _is_input(model, each.value)]
    # The last element of a range moves by jumps; any other float input has to have its gradient.
    assert all("hands it no gradient" not in each.reason or each.reason.startswith("Range") for each in found_out)
    free = [each.name for each in found_out if each.reached]
    free = [each for each in free if model.graph.input(each).dtype in (FLOAT32, "f64")]
    if not free:
        return "no float input that a gradient reaches"
    graph = double(model.inlined())
    if not any(value.dtype == "f64" for value in graph.outputs.values()):
        return "results of 16 bits"
    rng = np.random.default_rng(3)
    given_by_name = dict(zip((each.name for each in case.model.graph.input), arrays, strict=True))
    feeds: dict[str, Array] = {}
    for value in graph.inputs:
        key = graph.names[value]
        raw = given_by_name[key]
        given = np.asarray(numpy_helper.to_array(raw) if isinstance(raw, TensorProto) else raw).astype(value.type.numpy)
        feeds[key] = given + rng.normal(size=given.shape) * 1e-3 if key in free else given
    whole = _with_gradients(graph, free)
    found = evaluate(differentiate(whole), feeds)
    if not all(np.isfinite(each).all() for each in found.values()):
        return "not finite at the case's inputs"
    _compare(whole, found, feeds, free)
    return "compared"


def _settled(model: onnx.ModelProto, arrays: Sequence[Any]) -> onnx.ModelProto:
    """The model with its inputs that are no floats, and a few that are settings, as constants.

    Axes and shapes are inputs in these cases only because of how they are written.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for info, array in zip(model.graph.input, arrays, strict=True):
        kind = info.type.tensor_type.elem_type
        if isinstance(array, np.ndarray | np.generic) and (kind not in FLOAT_KINDS or info.name in SETTINGS):
            made.graph.initializer.append(numpy_helper.from_array(np.asarray(array), info.name))
    return made


def _is_input(model: Imported, value: Value) -> bool:
    return value.node is None and model.graph.names[value] not in model.weights


def _with_gradients(graph: Graph, free: list[str]) -> Graph:
    """A sum of all float outputs with random weights, and its gradients."""
    builder = Builder(graph.names)
    builder.inputs.extend(graph.inputs)
    for node in graph.nodes:
        builder.adopt(node)
    with builder:
        parts = []
        for place, value in enumerate(graph.outputs.values()):
            if value.dtype != "f64":
                continue
            if value.type.is_static:
                weighted = op.Mul(value, draw(50 + place, *value.type.static_shape()))
            else:  # weights that differ from place to place, whatever the size is
                flat = op.Reshape(value, np.array([-1]))
                weighted = flat * op.Sin(op.CumSum(op.Sin(flat) * 0.0 + 1.0, np.array(0)))
            parts.append(op.ReduceSum(weighted, keepdims=0) if weighted.shape else weighted)
        loss = parts[0] if len(parts) == 1 else op.Sum(*parts)
        gradients = {name: private.Gradient(loss, graph.input(name)) for name in free}
        return builder.graph(graph.name, {"loss": loss, **gradients}, graph.inputs)


def _compare(whole: Graph, found: dict[str, Array], feeds: dict[str, Array], free: list[str]) -> None:
    loss = dce(Graph(whole.name, whole.inputs, {"loss": whole.outputs["loss"]}, whole.nodes, whole.names))
    for turn in range(2):
        rng = np.random.default_rng(turn)
        way = {name: rng.normal(size=feeds[name].shape) for name in free}
        symbolic = sum(float((found[name] * way[name]).sum()) for name in free)
        size = np.sqrt(sum(float((found[name] ** 2).sum()) for name in free))
        errors = []
        for step in (1e-6, 1e-5, 1e-4, 1e-7, 1e-8):
            moved = ({**feeds, **{n: feeds[n] + s * step * way[n] for n in free}} for s in (1, -1))
            ahead, behind = (float(evaluate(loss, each)["loss"]) for each in moved)
            rounding = 4e-16 * max(abs(ahead), abs(behind)) / step
            errors.append(abs((ahead - behind) / (2 * step) - symbolic) / max(size, 1e-3, rounding * 1e4))
            if errors[-1] < 2e-5:
                break
        assert min(errors) < 2e-5, f"{symbolic:.9g} by the graph, {min(errors):.3g} away from differences"


@pytest.mark.parametrize("part", range(PARTS))
def test_gradients_of_the_cases(part: int) -> None:
    failed = []
    outcomes: Counter[str] = Counter()
    for name in wanted()[part::PARTS]:
        try:
            outcomes[check(name)] += 1
        except Exception as error:
            failed.append(f"{name}: {type(error).__name__}: {str(error)[:200]}")
    assert not failed, "\n".join(failed)
    assert outcomes["compared"] >= LEAST // PARTS, outcomes
