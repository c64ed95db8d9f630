"""Random graphs of the registry's operators: the same values whatever compiles them, and the gradients of differences.

DLC_FUZZ=10000 makes as many graphs; there are 500 without it.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from graph_maker import Maker, grow, single
from graph_recipes import RECIPES

from dlc.compiler.build import private
from dlc.compiler.emit import emit
from dlc.compiler.evaluate import evaluate
from dlc.compiler.graph import Graph
from dlc.compiler.passes import INFERENCE, TRAINING, dce, differentiate, lower, run
from dlc.compiler.registry import NoGradient, operators

COUNT = max(500, int(os.environ.get("DLC_FUZZ", "0")))
AT_ONCE = 50
ON_ORT = 3  # every third graph runs on ONNX Runtime too: making sessions takes longer than all else
USED: Counter[str] = Counter()
Array = np.ndarray[Any, Any]


@pytest.mark.parametrize("start", range(0, COUNT, AT_ONCE))
def test_random_graphs(start: int) -> None:
    for seed in range(start, start + AT_ONCE):
        maker, graph = grow(seed, RECIPES)
        USED.update(maker.used)
        try:
            _values_stay(maker, graph)
            _gradients_are_differences(maker, graph)
            if seed % ON_ORT == 0:
                _onnx_runtime_agrees(maker, graph)
        except Exception as error:
            raise AssertionError(f"random graph {seed}: {error}") from error


def _close(found: Any, wanted: Any, tolerance: float, what: str) -> None:
    error = float(np.abs(np.float64(found) - np.float64(wanted)).max(initial=0))
    scale = max(1.0, float(np.abs(wanted).max(initial=0)))
    assert error <= tolerance * scale, f"{what}: {error:.3g} apart, of {scale:.3g}"


def _values_stay(maker: Maker, graph: Graph) -> None:
    wanted = evaluate(graph, maker.feeds)["loss"]
    assert np.array_equal(wanted, maker.at(graph.outputs["loss"]))
    _close(evaluate(run(graph, INFERENCE), maker.feeds)["loss"], wanted, 1e-10, "the loss after all passes")


def _gradients_are_differences(maker: Maker, graph: Graph) -> None:
    with maker.builder:
        wanted = {name: private.Gradient(graph.outputs["loss"], graph.input(name)) for name in maker.feeds}
        whole = maker.builder.graph(graph.name, {"loss": graph.outputs["loss"], **wanted})
    plain = differentiate(whole)
    found = evaluate(plain, maker.feeds)
    compiled = evaluate(run(whole, TRAINING), maker.feeds)
    for name in wanted:
        _close(compiled[name], found[name], 1e-9, f"the gradient by {name} after all passes")
    loss = dce(graph)
    rng = np.random.default_rng(len(graph.nodes))
    way = {name: rng.normal(size=array.shape) for name, array in maker.feeds.items()}
    symbolic = sum(float((found[name] * way[name]).sum()) for name in wanted)
    errors = []
    for step in (1e-6, 1e-5, 1e-7):
        moved = ({name: array + s * step * way[name] for name, array in maker.feeds.items()} for s in (1, -1))
        ahead, behind = (float(evaluate(loss, feeds)["loss"]) for feeds in moved)
        scale = max(1.0, abs(ahead), abs(symbolic), *(float(np.abs(found[name]).max(initial=0)) for name in wanted))
        errors.append(abs((ahead - behind) / (2 * step) - symbolic) / scale)
        if errors[-1] < 1e-5:
            return
    raise AssertionError(f"the derivative is {symbolic:.9g}, differences are {min(errors):.3g} away")


def _onnx_runtime_agrees(maker: Maker, graph: Graph) -> None:
    small = single(graph)
    feeds = {name: array.astype(np.float32) for name, array in maker.feeds.items()}
    wanted = evaluate(graph, {name: array.astype(np.float64) for name, array in feeds.items()})["loss"]
    for what, made in (("as it is", lower(small)), ("after all passes", run(small, INFERENCE))):
        found = _run(made, feeds)
        _close(found, wanted, 2e-3, f"the loss on ONNX Runtime {what}")


def _run(graph: Graph, feeds: dict[str, Array]) -> Array:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(emit(graph).SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = {each.name for each in session.get_inputs()}
    result: Array = session.run(["loss"], {name: array for name, array in feeds.items() if name in names})[0]
    return result


def test_most_operators_are_used() -> None:
    """In the first 150 graphs there are three quarters of the operators that have a gradient."""
    used: set[str] = set()
    for seed in range(150):
        used |= grow(seed, RECIPES)[0].used
    rules = {
        name
        for name, record in operators().items()
        if not name.startswith("dlc.") and record.gradient is not None and not isinstance(record.gradient, NoGradient)
    }
    assert len(used & rules) >= 0.75 * len(rules), sorted(rules - used)
