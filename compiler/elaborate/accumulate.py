"""`accumulate = n`: the weights move at every n-th step only, by the mean of the n gradients since.

So a batch that does not fit into memory is taken in n parts. A step is one part, and `step` counts parts. A remainder
at the end of a run, fewer than n steps, moves nothing: `dlc train` says so before it begins, and its sums are in the
last checkpoint for a run that goes on. The sums of gradients are carried like the states of the optimizer, so that
every host that can run a step can accumulate.
"""

from __future__ import annotations

import numpy as np

from dlc.compiler.build import op
from dlc.compiler.elaborate.context import Elaborator
from dlc.compiler.elaborate.run import Run
from dlc.compiler.graph import Graph, Value, topological


def parts(e: Elaborator, run: Run) -> int:
    """How many steps make one move of the weights. The half of a step that is given gradients is given their mean."""
    return 1 if e.mode.given else int(run.settings.get("accumulate", 1))


def mean(e: Elaborator, run: Run, gradients: dict[str, Value]) -> dict[str, Value]:
    """The gradients that the optimizer is given: the sums so far, divided by how many they are in the end.

    A sum begins anew after the weights have moved. In initial mode the sums get their first value, zero.
    """
    n = parts(e, run)
    if n == 1:
        return gradients
    assert run.optimizer is not None
    means: dict[str, Value] = {}
    for address, gradient in gradients.items():
        name = f"{run.name}.accumulate.{address}"
        total = e.parameter(name, gradient.type, "optimizer", lambda: 0.0, run.optimizer.span)
        means[address] = gradient
        if not e.mode.initial:
            goes_on = op.Cast(op.Mod(e.scalar("step"), np.array(n)), to="bool")
            e.moved[name] = total * op.Cast(goes_on, to=gradient.dtype) + gradient
            means[address] = e.moved[name] * (1 / n)
    return means


def now_and_then(e: Elaborator, run: Run) -> None:
    """Let the optimizer's work be done at every n-th step only; between them, weights and states stay."""
    n = parts(e, run)
    if n == 1 or e.mode.initial:
        return
    sums = {f"{run.name}.accumulate.{address}" for address in run.gradients}
    states = [a for a, each in e.parameters.items() if each.role == "optimizer" and a in e.moved and a not in sums]
    after = {**run.updated, **{address: e.moved[address] for address in states}}
    assert run.loss is not None
    always = topological([run.loss, *run.parts.values(), *run.metrics.values(), *(e.moved[name] for name in sums)])
    inside = tuple(node for node in topological(after.values()) if node not in set(always))
    before = {address: e.parameters[address].value for address in after}
    moves = op.Equal(op.Mod(e.scalar("step") + 1, np.array(n)), np.array(0))
    bodies = Graph("move", (), after, inside), Graph("stay", (), before, ())
    node = e.builder.add("If", (moves,), bodies=bodies, outputs=len(after))
    for address, value in zip(after, node.outputs, strict=True):
        (run.updated if address in run.updated else e.moved)[address] = value
