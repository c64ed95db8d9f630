"""The graphs of a run: init, step, its two halves, evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlc.compiler.bounds import bounds
from dlc.compiler.build import private
from dlc.compiler.dims import symbols
from dlc.compiler.elaborate import train
from dlc.compiler.elaborate.context import Mode
from dlc.compiler.elaborate.library import seed_input
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value
from dlc.compiler.metrics import NotAdditive, divide
from dlc.compiler.unit import Unit, elaborator, fail, kept, run_graph, unit_of

if TYPE_CHECKING:
    from dlc.compiler.program import Program


def step(p: Program, name: str, working: str = "f32") -> Unit:
    """The training step of a run: forward, gradients, optimizer, states. Raises SourceError."""
    section = p.runs[name]
    e = elaborator(p, Mode(training=True, working=working))
    with e:
        run = train.elaborate(e, section)
        fail(e)
        assert run.loss is not None
        outputs: dict[str, Value] = {}
        carried: dict[str, tuple[str | None, str]] = {}
        for address, each in e.parameters.items():
            after = run.updated.get(address) if each.role == "parameter" else e.moved.get(address, each.value)
            if e.is_frozen(address):
                carried[address] = (None, "frozen")
                continue
            carried[address] = (f"{address}:next" if after is not None else None, each.role)
            if after is not None:
                outputs[f"{address}:next"] = after
        outputs["loss"] = run.loss
        reports = {**run.parts, **run.metrics}
        outputs.update(reports)
        with e.builder.at(section.net.span):
            outputs["finite"] = private.Finite(run.loss, *run.gradients.values())
        graph = run_graph(e, name, outputs, run)
    return unit_of(
        e, name, "step", graph, run, carried=carried, reports=("loss", *reports), gradients=tuple(run.gradients)
    )


def gradients(p: Program, name: str, working: str = "f32") -> Unit:
    """The first half of a divided step: gradients as `ADDRESS:grad`, and the successors of states that the forward
    pass moves. Raises SourceError."""
    e = elaborator(p, Mode(training=True, working=working))
    with e:
        run = train.elaborate(e, p.runs[name])
        fail(e)
        assert run.loss is not None
        states = {a: p for a, p in e.parameters.items() if p.role == "state" and not e.is_frozen(a)}
        outputs = {f"{address}:grad": value for address, value in run.gradients.items()}
        outputs |= {f"{address}:next": e.moved.get(address, each.value) for address, each in states.items()}
        outputs["loss"] = run.loss
        reports = {**run.parts, **run.metrics}
        outputs.update(reports)
        with e.builder.at(p.runs[name].net.span):
            outputs["finite"] = private.Finite(run.loss, *run.gradients.values())
        carried: dict[str, tuple[str | None, str]] = {
            **kept(e),
            **{a: (f"{a}:next", "state") for a in states},
        }
        graph = run_graph(e, name, outputs, run, roles=("parameter", "state"))
    names = tuple(f"{address}:grad" for address in run.gradients)
    return unit_of(e, name, "grad", graph, run, carried=carried, reports=("loss", *reports), gradients=names)


def application(p: Program, name: str) -> Unit:
    """The second half of a divided step: the optimizer, given gradients. Raises SourceError."""
    e = elaborator(p, Mode(training=True, given=True))
    with e:
        run = train.elaborate(e, p.runs[name])
        fail(e)
        carried: dict[str, tuple[str | None, str]] = {}
        outputs: dict[str, Value] = {}
        for address, each in e.parameters.items():
            after = run.updated.get(address) if each.role == "parameter" else e.moved.get(address)
            if each.role != "state" and after is not None:
                carried[address] = (f"{address}:next", each.role)
                outputs[f"{address}:next"] = after
        graph = run_graph(e, name, outputs, run, roles=("parameter", "optimizer"), updated=True)
    given = tuple(f"{address}:grad" for address in run.gradients)
    return unit_of(e, name, "apply", graph, run, carried=carried, batch=given)


def init(p: Program, name: str) -> Unit:
    """The graph that makes every carried value of a run from a seed. Raises SourceError."""
    e = elaborator(p, Mode(training=True, initial=True))
    with e:
        run = train.elaborate(e, p.runs[name])
        fail(e)
        seed_input()
        outputs = {address: each.value for address, each in e.parameters.items()}
        graph = run_graph(e, name, outputs, run, always=("seed",))
    return unit_of(e, name, "init", graph, run)


_TOGETHER = "this brings the examples of a batch together"


def _not_additive(error: NotAdditive) -> Problem:
    if error.how == "outermost":
        label = "only `sum` and `mean` may be the outermost reduction over examples"
        return Problem("E0303", "this cannot be put together from batches", label)
    if error.how == "size":
        dim = error.node.attributes["dim"]
        label = f"{dim} of the batches does not tell that of the split"
        help = "a split has `B`, its multiples and powers; `sum(mask(T), mask=none)` counts what is no padding"
        return Problem("E0303", "this size cannot be put together from batches", label, help=help)
    if error.how == "counts":
        label = "the size of the batch, inside a reduction over examples"
        help = "outside of it `B` is the number of examples of the split: `sum(x) / B`"
        return Problem("E0303", "this changes from batch to batch", label, help=help)
    label = f"{_TOGETHER}, inside a reduction over examples"
    help = "what one example adds to a sum or mean cannot depend on the others of its batch"
    if error.node.op.startswith("Reduce"):
        help = "say it by outermost reductions: the variance of t is `mean(square(t)) - square(mean(t))`"
    return Problem("E0303", "this cannot be put together from batches", label, help=help)


def evaluation(p: Program, name: str) -> tuple[Unit, Unit]:
    """The sums and counts of one batch, and what makes the loss and metrics of their totals. Raises SourceError."""
    section = p.runs[name]
    e = elaborator(p, Mode())
    with e:
        run = train.elaborate(e, section)
        fail(e)
        assert run.loss is not None
        padded = {name for dim in e.ragged for name in symbols(dim)}
        try:
            parts = divide(e.builder, {"loss": run.loss, **run.metrics}, e.results, padded)
        except NotAdditive as error:
            e.report.add(_not_additive(error), error.node.span or section.net.span)
            fail(e)
            raise AssertionError from error
        if parts.mixture is not None:
            problem = Problem("W0406", "the loss and the metrics of a split change with `batch`", _TOGETHER)
            e.report.add(problem, parts.mixture.node.span or section.net.span, "warning")
        graph = run_graph(e, name, parts.outputs, run)
    totals, constants = parts.totals, parts.constants
    evaluation = unit_of(
        e, name, "eval", graph, run, carried=kept(e), totals=totals, constants=constants, bounds=bounds(e, run)
    )
    report = parts.report.graph(name, parts.results)
    names = tuple(parts.results)
    return evaluation, Unit(
        name, "report", report, batch=report.input_names, reports=names, totals=totals, constants=constants
    )
