"""Gradients of a run against differences of its loss: the content of `dlc gradcheck`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlc.compiler.build import rewrite
from dlc.compiler.evaluate import Unmet, evaluate
from dlc.compiler.graph import Graph, Value
from dlc.compiler.passes import TRAINING, dce, run
from dlc.compiler.program import Program
from dlc.runtime.checkpoint import Array
from dlc.runtime.compiled import Compiled
from dlc.runtime.data import batches, prepare
from dlc.runtime.errors import InputError, RunError
from dlc.runtime.session import Note, silent, unmet
from dlc.runtime.start import initialized

STEPS = (1e-5, 1e-6, 1e-4, 1e-7)
"""Lengths of a difference, as shares of a weight's size. Where the first crosses a kink, another need not."""
TOLERANCE = 1e-6
"""How far the derivative in a direction may be off, as a share of the gradient's length."""


@dataclass(frozen=True, slots=True)
class Checked:
    """One weight. `symbolic` and `numeric` are the derivatives of the loss in the direction where they are furthest
    apart; `error` is their difference as a share of the length of the gradient, `norm`."""

    address: str
    shape: tuple[int, ...]
    norm: float
    symbolic: float
    numeric: float
    error: float

    @property
    def right(self) -> bool:
        return self.error <= TOLERANCE


def gradcheck(
    program: Program,
    name: str,
    *,
    examples: int = 4,
    directions: int = 3,
    seed: int = 0,
    note: Note = silent,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[Checked]:
    """Each weight's gradient against central differences of the loss along random directions, both in float64.

    The weights are those that the run begins with, the batch is the first `examples` of its training split. Nothing is
    lowered and ONNX Runtime takes no part: what is checked is the symbolic gradient. What is detached keeps the value
    that it has with these weights. Raises SourceError, DataError, InputError for fewer examples than asked
    for, and RunError where an assertion about sizes does not hold.
    """
    compiled = Compiled.of(program, name)
    dataset = prepare(
        compiled.plan,
        compiled.file(f"{compiled.data}.prepare.onnx"),
        compiled.files.get(f"{compiled.data}.fit.onnx"),
        compiled.folder,
        splits=["train"],
        bounds=compiled.bounds,
        say=note,
    )
    split = dataset.split("train")
    if len(split) < examples:
        raise InputError(f"the training split has {len(split):,} examples, and {examples:,} are asked for")
    unit = program.gradients(name, working="f64")
    graph = run(unit.graph, TRAINING, after="differentiate")
    first = next(batches(split, examples, seed, 0))
    hosted = {key: schedule["value"] for key, schedule in unit.schedules.items()}
    given: dict[str, Any] = {**initialized(compiled, dataset, seed, examples), **first, **_scalars(seed), **hosted}
    feeds = {key: _wide(given[key], graph.input(key).type.numpy) for key in graph.input_names}
    loss = dce(Graph(graph.name, graph.inputs, {"loss": graph.outputs["loss"]}, graph.nodes, graph.names))
    try:
        found = evaluate(graph, feeds)
    except Unmet as error:
        raise RunError(unmet(error.label, error.shape)) from None
    loss, held = _held(loss, feeds)
    addresses = [key.removesuffix(":grad") for key in graph.outputs if key.endswith(":grad")]
    rng = np.random.default_rng(seed)
    checked = []
    for number, address in enumerate(addresses):
        if progress is not None:
            progress("weights", number, len(addresses))
        pairs = [_pair(loss, held, address, found[f"{address}:grad"], rng) for _ in range(directions)]
        checked.append(max(pairs, key=lambda pair: pair.error))
    return checked


def _held(loss: Graph, feeds: Mapping[str, Array]) -> tuple[Graph, dict[str, Array]]:
    """The loss with an input in place of each value that is detached, and the feeds with these values: a gradient takes
    them as constants, so the differences must."""
    detached = {f"detached[{i}]": node.output for i, node in enumerate(loss.nodes) if node.op == "dlc.Detach"}
    values = evaluate(Graph(loss.name, loss.inputs, detached, loss.nodes, loss.names), feeds)
    inputs = {value: Value(value.type, None, 0) for value in detached.values()}
    names = {**loss.names, **{inputs[value]: name for name, value in detached.items()}}
    opened = Graph(loss.name, (*loss.inputs, *inputs.values()), loss.outputs, loss.nodes, names)
    return rewrite(opened, lambda node, _: inputs.get(node.outputs[0])), {**feeds, **values}


def _pair(loss: Graph, feeds: Mapping[str, Array], address: str, gradient: Array, rng: np.random.Generator) -> Checked:
    way = rng.normal(size=gradient.shape)
    symbolic, norm = float((gradient * way).sum()), float(np.sqrt((gradient**2).sum()))
    weight = feeds[address]
    size = float(np.sqrt(np.mean(weight**2))) or 1.0
    best: tuple[float, float] | None = None
    for step in STEPS:
        ahead, behind = (
            float(evaluate(loss, {**feeds, address: weight + sign * step * size * way})["loss"]) for sign in (1, -1)
        )
        numeric = (ahead - behind) / (2 * step * size)
        # Two losses agree to about 1e-15 of their size; what that leaves of a difference is no error of the gradient.
        rounding = 1e-15 * max(abs(ahead), abs(behind)) / (step * size)
        error = abs(symbolic - numeric) / max(norm, rounding / TOLERANCE)
        if best is None or error < best[0]:
            best = error, numeric
        if error <= TOLERANCE:
            break
    assert best is not None
    return Checked(address, gradient.shape, norm, symbolic, best[1], best[0])


def _scalars(seed: int) -> dict[str, Array]:
    named = {"step": 0, "seed": seed, "epoch": 0, "steps": 1, "steps_per_epoch": 1}
    return {name: np.asarray(value, np.int64) for name, value in named.items()}


def _wide(array: Any, dtype: np.dtype[Any]) -> Array:
    return np.asarray(array, dtype)


__all__ = ["TOLERANCE", "Checked", "gradcheck"]
