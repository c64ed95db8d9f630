"""Random graphs of the registry's operators: the same values whatever compiles them, and the gradients of differences.

DLC_FUZZ=10000 makes as many graphs; there are 500 without it. Those with a symbolic batch are fed with several sizes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from graph_maker import Maker, grow, single
from graph_recipes import UNCOMPOSED

from dlc.compiler.build import Builder, op, private
from dlc.compiler.emit import emit
from dlc.compiler.evaluate import evaluate
from dlc.compiler.graph import Graph, Value
from dlc.compiler.passes import INFERENCE, TRAINING, dce, differentiate, lower, run
from dlc.compiler.registry import operators

COUNT = max(500, int(os.environ.get("DLC_FUZZ", "0")))
AT_ONCE = 50
ON_ORT = 3  # every third graph runs on ONNX Runtime too: making sessions takes longer than all else
TWICE = 5  # every fifth graph is differentiated twice, and verified after each pass, which is a third of their time
Array = np.ndarray[Any, Any]
Feeds = Mapping[str, Array]
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # means of nothing, which the maker then refuses


@pytest.mark.parametrize("start", range(0, COUNT, AT_ONCE))
def test_random_graphs(start: int) -> None:
    wrong = [f"random graph {seed}: {error}" for seed in range(start, start + AT_ONCE) if (error := fault(seed))]
    assert not wrong, "\n".join(wrong)


def fault(seed: int) -> str:
    """What is wrong with a graph; nothing if all is well."""
    try:
        check(seed)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def check(seed: int) -> None:
    maker, graph = grow(seed)
    made = evaluate(graph, maker.feeds)
    assert all(np.array_equal(array, maker.at(graph.outputs[name])) for name, array in made.items())
    rng = np.random.default_rng(seed)
    fed: list[Feeds] = [maker.feeds]
    for size in {1, 5} - {maker.sizes["B"]} if maker.sizes else ():
        found = maker.redrawn(rng, {"B": size})
        fed += [found] if found is not None else []
    whole = with_gradients(maker, graph)
    plain, compiled = differentiate(whole), {"after all passes": run(whole, TRAINING, verify=seed % TWICE == 0)}
    if seed % ON_ORT == 1:
        compiled["after the passes of inference"] = run(graph, INFERENCE, verify=seed % TWICE == 0)
    for feeds in fed:
        wanted = evaluate(plain, feeds)
        for what, other in compiled.items():
            _close_all(evaluate(other, feeds), wanted, 1e-9, what)
        slopes = {name: wanted[f"{name}:grad"] for name in differentiated(graph)}
        _is_slope(graph, "loss", feeds, slopes, rng)
    if seed % TWICE == 0:
        _second_order(maker, graph, fed[-1], rng)
    if seed % ON_ORT == 0:
        _onnx_runtime_agrees(maker, graph, plain, fed)


def differentiated(graph: Graph) -> list[str]:
    return [graph.names[value] for value in graph.inputs if value.type.is_float]


def with_gradients(maker: Maker, graph: Graph) -> Graph:
    """The graph with `x:grad` for each float input x."""
    with maker.builder:
        wanted = {
            f"{name}:grad": private.Gradient(graph.outputs["loss"], graph.input(name)) for name in differentiated(graph)
        }
        return maker.builder.graph(graph.name, {**graph.outputs, **wanted})


def _second_order(maker: Maker, graph: Graph, feeds: Feeds, rng: np.random.Generator) -> None:
    """The gradient of the first gradients' weighted sum."""
    names = differentiated(graph)
    weighted: dict[str, Array] = {}
    with maker.builder as builder:
        loss, total = graph.outputs["loss"], None
        for name in names:
            x = graph.input(name)
            weight = builder.input(f"{name}:weight", x.type)
            weighted[f"{name}:weight"] = rng.uniform(-1, 1, feeds[name].shape)
            part = op.ReduceSum(private.Gradient(loss, x) * weight, keepdims=0)
            total = part if total is None else total + part
        assert isinstance(total, Value)
        first = builder.graph(graph.name, {"total": total})
        wanted = {name: private.Gradient(total, graph.input(name)) for name in names}
        whole = builder.graph(graph.name, {"total": total, **wanted})
    given = {**feeds, **weighted}
    found = evaluate(differentiate(whole), given)
    _close_all(evaluate(run(whole, TRAINING), given), found, 1e-8, "of second order after all passes")
    _is_slope(differentiate(first), "total", given, {name: found[name] for name in names}, rng, 1e-4)


def _is_slope(
    graph: Graph, name: str, feeds: Feeds, slopes: Feeds, rng: np.random.Generator, tolerance: float = 1e-5
) -> None:
    """Whether differences of an output along a random way are what its slopes say."""
    alone = dce(replace(graph, outputs={name: graph.outputs[name]}))
    way = {x: rng.normal(size=slope.shape) for x, slope in slopes.items()}
    symbolic = sum(float((slope * way[x]).sum()) for x, slope in slopes.items())
    largest = max(float(np.abs(slope).max(initial=0)) for slope in slopes.values())
    errors = []
    for step in (1e-6, 1e-5, 1e-7):
        moved = ({**feeds, **{x: feeds[x] + s * step * way[x] for x in slopes}} for s in (1, -1))
        ahead, behind = (float(evaluate(alone, each)[name]) for each in moved)
        scale = max(1.0, abs(ahead), abs(symbolic), largest)
        errors.append(abs((ahead - behind) / (2 * step) - symbolic) / scale)
        if errors[-1] < tolerance:
            return
    raise AssertionError(f"the derivative of {name} is {symbolic:.9g}, differences are {min(errors):.3g} away")


def _onnx_runtime_agrees(maker: Maker, graph: Graph, plain: Graph, fed: list[Feeds]) -> None:
    """All outputs and all gradients in float32, of the graph as it is and after all passes."""
    small = single(graph)
    with Builder(small.names) as builder:
        builder.inputs.extend(small.inputs)
        for node in small.nodes:
            builder.adopt(node)
        wanted = {
            f"{name}:grad": private.Gradient(small.outputs["loss"], small.input(name)) for name in differentiated(small)
        }
        whole = builder.graph(graph.name, {**small.outputs, **wanted})
    for what, made in (
        ("as it is", lower(differentiate(whole))),
        ("after all passes", run(whole, TRAINING, verify=False)),
    ):
        running = session(made)
        for feeds in fed:
            rounded = {k: x.astype(np.float32) if x.dtype == np.float64 else x for k, x in feeds.items()}
            exact = {k: x.astype(np.float64) if x.dtype == np.float32 else x for k, x in rounded.items()}
            names = {each.name for each in running.get_inputs()}
            results = running.run(None, {name: array for name, array in rounded.items() if name in names})
            found = dict(zip((each.name for each in running.get_outputs()), results, strict=True))
            _close_all(found, evaluate(plain, exact), 2e-3, f"on ONNX Runtime {what}")


def session(graph: Graph) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(emit(graph).SerializeToString(), options, providers=["CPUExecutionProvider"])


def _close_all(found: Feeds, wanted: Feeds, tolerance: float, what: str) -> None:
    for name, array in found.items():
        assert array.shape == wanted[name].shape, f"{name} {what} is {array.shape}, not {wanted[name].shape}"
        error = float(np.abs(np.float64(array) - wanted[name]).max(initial=0))
        scale = max(1.0, float(np.abs(wanted[name]).max(initial=0)))
        assert error <= tolerance * scale, f"{name} {what} is {error:.3g} apart, of {scale:.3g}"


def test_every_operator_is_used_or_said_why_not() -> None:
    """The first graphs hold every operator of the registry, those apart that are listed with the reason."""
    public = {name for name in operators() if not name.startswith("dlc.")} - {"Constant"}
    assert public >= set(UNCOMPOSED)
    used: set[str] = set()
    for seed in range(500):
        used |= grow(seed)[0].used
    assert used == public - set(UNCOMPOSED), sorted((public - set(UNCOMPOSED)) ^ used)
