"""One file to be, and what all kinds of them are made with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from dlc.compiler.elaborate import bodies, data
from dlc.compiler.elaborate.context import Elaborator, Frame, Mode, Stage
from dlc.compiler.elaborate.entities import Instance, Place, Scope
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.elaborate.run import Run
from dlc.compiler.graph import Graph, Value
from dlc.compiler.types import Type
from dlc.dsl import ast
from dlc.dsl.diagnostics import Diagnostic, SourceError
from dlc.dsl.modules import Module

if TYPE_CHECKING:
    from dlc.compiler.program import Program


@dataclass(frozen=True)
class Unit:
    """One file to be: its graph, and what the manifest has to say of it.

    `carried` maps each carried input to the output that feeds it back (None: nothing does) and its role. `batch` and
    `scalars` are the other inputs; `schedules` says of some scalars how the host moves them, `bounds` of some fields
    what they may hold. `stages` and `weights`
    are for showing.
    """

    name: str
    kind: str
    graph: Graph
    carried: Mapping[str, tuple[str | None, str]] = field(default_factory=dict)
    batch: tuple[str, ...] = ()
    scalars: tuple[str, ...] = ()
    schedules: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reports: tuple[str, ...] = ()
    totals: Mapping[str, str | None] = field(default_factory=dict)
    constants: tuple[str, ...] = ()
    plan: data.Plan | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    bounds: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    stages: tuple[Stage, ...] = ()
    weights: Mapping[str, Type] = field(default_factory=dict)
    gradients: tuple[str, ...] = ()
    warnings: tuple[Diagnostic, ...] = ()


def elaborator(p: Program, mode: Mode) -> Elaborator:
    """A fresh elaboration of the program."""
    from dlc.compiler.program import library

    return Elaborator(p.source, library().main, mode, p.lets)


def outermost(p: Program, name: str, span: ast.Span) -> Frame:
    """The frame of a text that lies in nothing else of the file."""
    owner = Instance(None, Place((name,)), span)
    return Frame(p.source.main, Scope(), owner, owner.place)


def declared_inputs(e: Elaborator, net: ast.Net | ast.Infer, home: Module) -> dict[str, Value] | None:
    """The inputs of a section of the file `home`; None if one was reported."""
    owner = Instance(None, Place((net.name.text,)), net.span)
    frame = Frame(home, Scope(), owner, owner.place)
    found: dict[str, Value] = {}
    for statement in net.body:
        for item in statement.items if isinstance(statement, ast.Input) else ():
            try:
                if item.type is None:
                    raise Problem("E0302", f"`{item.name.text}`, an input of a net, needs a type", span=item.span)
                type = bodies.declared_type(e, item.type, frame)
                found[item.name.text] = e.builder.input(item.name.text, type)
            except Problem as problem:
                e.report.add(problem, item.span)
                return None
    return found


def tensors(e: Elaborator, section: ast.Net | ast.Infer, result: Any) -> dict[str, Value]:
    """What a net returns, by name. Raises SourceError for what is no tensor."""
    outputs = returned(section, result)
    for value in outputs.values():
        if not isinstance(value, Value):
            e.report.add(Problem("E0302", f"`{section.name.text}` returns something that is no tensor"), section.span)
    fail(e)
    return outputs


def run_graph(
    e: Elaborator,
    name: str,
    outputs: dict[str, Value],
    run: Run,
    always: Iterable[str] = (),
    roles: tuple[str, ...] | None = None,
    updated: bool = False,
) -> Graph:
    """The graph with the carried inputs first (of `roles` only; with `updated` only the weights that are), then the
    fields and the scalars that it reads."""
    carried = [
        each.value
        for address, each in e.parameters.items()
        if each.value.node is None
        and (roles is None or each.role in roles)
        and not (updated and each.role == "parameter" and address not in run.updated)
    ]
    full = e.builder.graph(name, outputs, e.builder.inputs)
    read = full.uses().keys()
    rest = [v for v in e.builder.inputs if v not in carried and (v in read or e.builder.names[v] in always)]
    kept = [each for each in carried if each in e.builder.inputs]
    every = {each.value for each in e.parameters.values()}
    rest = [each for each in rest if each not in every]
    return e.builder.graph(name, outputs, [*kept, *rest], {"B": run.settings.get("batch", 32)})


def unit_of(e: Elaborator, name: str, kind: str, graph: Graph, run: Run | None = None, **more: Any) -> Unit:
    inputs = graph.input_names
    if run is not None:
        more.setdefault("batch", tuple(field for field in run.fields if field in inputs))
        more.setdefault("scalars", tuple(n for n in (*data.RESERVED[:5], *e.hosted) if n in inputs))
        more.setdefault("schedules", {name: how for name, (_, how) in e.hosted.items() if name in inputs})
        more.setdefault("settings", run.settings)
    if e.parameters and kind != "prepare":
        more.setdefault("weights", {a: p.type for a, p in e.parameters.items() if p.role == "parameter"})
    warnings = tuple(each for each in e.report.diagnostics if each.severity == "warning")
    return Unit(name, kind, graph, stages=tuple(e.stages), warnings=warnings, **more)


def fail(e: Elaborator) -> None:
    if e.report.failed:
        errors = [each for each in e.report.diagnostics if each.severity == "error"]
        raise SourceError(*sorted(errors, key=position))


def position(diagnostic: Diagnostic) -> tuple[str, int, int]:
    span = diagnostic.primary.span
    return span.file, span.line, span.column


def kept(e: Elaborator) -> dict[str, tuple[str | None, str]]:
    """The weights and states, as inputs that nothing feeds back."""
    return {
        address: (None, "frozen" if e.is_frozen(address) else each.role)
        for address, each in e.parameters.items()
        if each.role in ("parameter", "state")
    }


def returned(net: ast.Net | ast.Infer, result: Any) -> dict[str, Any]:
    """A net's outputs: under the returned names, a bare expression as `output`, then `output2`."""
    statement = next(each for each in net.body if isinstance(each, ast.Return))
    values = result if isinstance(result, tuple) else (result,)
    named: dict[str, Any] = {}
    count = 0
    # One expression may give several values: `return topk(x, 2)`.
    for expr, value in zip_longest(statement.values[: len(values)], values):
        if isinstance(expr, ast.Ref):
            named[expr.name] = value
        else:
            count += 1
            named["output" if count == 1 else f"output{count}"] = value
    return named
