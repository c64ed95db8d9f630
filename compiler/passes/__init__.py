"""The passes, in the order in which they run, and the runner that verifies after each of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from dlc.compiler.graph import Graph
from dlc.compiler.passes.dce import dce
from dlc.compiler.passes.differentiate import differentiate
from dlc.compiler.passes.fold import fold
from dlc.compiler.passes.lower import lower
from dlc.compiler.passes.scalars import scalars
from dlc.compiler.passes.simplify import simplify
from dlc.compiler.passes.update import update

Pass = Callable[[Graph], Graph]
Pipeline = Sequence[Pass]

INFERENCE: Pipeline = (
    simplify,  # while private operators still say what is meant
    fold,
    lower,  # products hold ONNX's operators only
    simplify,  # what lowering built; it may say so with private operators again
    lower,
    fold,  # its shapes, as far as they are static
    dce,
)
TRAINING: Pipeline = (
    simplify,  # before there is a gradient: each node fewer is several fewer afterwards
    fold,
    differentiate,
    simplify,  # rules of gradients are written to be read, not to be short
    fold,  # numbers that the gradients brought
    scalars,  # optimizers, once their gradients are plain tensors: factors meet before `update` counts them
    update,  # after the rules have made products into Gemm, before lowering hides what a term was
    simplify,  # scalars that `update` joined
    lower,
    simplify,  # what lowering built; it may say so with private operators again
    lower,
    fold,
    dce,
)
PASSES: tuple[Pass, ...] = tuple(dict.fromkeys((*TRAINING, *INFERENCE)))
REQUIRED: frozenset[Pass] = frozenset({differentiate, lower})

Trace = Callable[[str, Graph, Graph], None]


class UnknownPass(ValueError):
    """A pass was named that the pipeline does not have, or switched off although it must run."""


class BrokenPass(Exception):
    """A pass made a graph that does not verify: a mistake of the compiler's, never of the text it compiles."""


def run(
    graph: Graph,
    pipeline: Pipeline,
    *,
    without: Collection[str] = (),
    after: str | None = None,
    trace: Trace | None = None,
    verify: bool = True,
) -> Graph:
    """Run a pipeline, verifying the graph after every pass.

    `after` stops after the pass of that name, `without` leaves passes out. A pass that stands several times in the
    pipeline is `simplify` (in `after` the first, in `without` all of them), or `simplify.2` for the second. `trace` is
    called with each pass's name and the graphs before and after it. Raises UnknownPass and BrokenPass, and whatever a
    pass says of the graph it is given.
    """
    names = labels(pipeline)
    skipped = _skipped(pipeline, names, without)
    last = None if after is None else _find(names, after)[0]
    for index, (name, transform) in enumerate(zip(names, pipeline, strict=True)):
        if index not in skipped:
            before, graph = graph, transform(graph)
            if verify:
                lowered = lower in pipeline[: index + 1] and lower not in pipeline[index + 1 :]
                _check(name, before, graph, lowered)
            if trace is not None:
                trace(name, before, graph)
        if index == last:
            break
    return graph


def labels(pipeline: Pipeline) -> tuple[str, ...]:
    """The names of a pipeline's passes: those of their functions, the further turns numbered."""
    names: list[str] = []
    turns: dict[str, int] = {}
    for transform in pipeline:
        name = transform.__name__
        turns[name] = turns.get(name, 0) + 1
        names.append(name if turns[name] == 1 else f"{name}.{turns[name]}")
    return tuple(names)


def _find(names: Sequence[str], wanted: str) -> list[int]:
    """Where a pass stands, all its turns if it is named without a number; raises UnknownPass."""
    exact = wanted.removesuffix(".1")
    found = [i for i, name in enumerate(names) if name == exact or ("." not in wanted and name.split(".")[0] == exact)]
    if not found:
        raise UnknownPass(f"there is no pass {wanted} here; the passes are {', '.join(names)}")
    return found


def _skipped(pipeline: Pipeline, names: Sequence[str], without: Collection[str]) -> set[int]:
    skipped: set[int] = set()
    for wanted in without:
        for index in _find(names, wanted):
            if pipeline[index] in REQUIRED:
                optional = dict.fromkeys(p.__name__ for p in pipeline if p not in REQUIRED)
                raise UnknownPass(f"the pass {wanted} cannot be left out; those that can are {', '.join(optional)}")
            skipped.add(index)
    return skipped


def _check(name: str, before: Graph, graph: Graph, lowered: bool) -> None:
    from dlc.compiler.text import difference
    from dlc.compiler.verify import Unsound, verify

    try:
        verify(graph, like=before, lowered=lowered)
    except Unsound as error:
        changes = difference(before, graph)
        raise BrokenPass(f"the pass {name} broke the graph {graph.name}: {error}\n{changes}") from error


__all__ = [
    "INFERENCE", "PASSES", "REQUIRED", "TRAINING", "BrokenPass", "Pass", "Pipeline", "Trace", "UnknownPass", "dce",
    "differentiate", "fold", "labels", "lower", "run", "scalars", "simplify", "update",
]  # fmt: skip
