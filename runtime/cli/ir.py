"""`dlc ir`: the text of a graph at any stage of compilation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dlc.runtime.cli.objects import Target, choose, lets, open_program, run_of, target
from dlc.runtime.cli.terminal import BOLD, Terminal
from dlc.runtime.errors import UsageError

if TYPE_CHECKING:
    from dlc.compiler.graph import Graph
    from dlc.compiler.program import Program, Unit


@dataclass(frozen=True)
class Asked:
    """What of a file is to be shown: `stage` and `kind` as the command line names them."""

    stage: str
    kind: str | None
    after: str | None
    without: tuple[str, ...]
    trace: bool


def ir(file: str, assignments: Sequence[str], asked: Asked, terminal: Terminal) -> None:
    """Raises SourceError, UsageError and UnknownPass."""
    where = target(file)
    if asked.stage in ("ast", "graph", "onnx") and asked.after is not None:
        raise UsageError(f"--after names a pass, and --stage {asked.stage} is not a stage between passes")
    if asked.stage in ("ast", "graph") and (asked.without or asked.trace):
        raise UsageError(f"no pass has run at --stage {asked.stage}: --without and --trace have no meaning")
    if asked.stage == "ast":
        _show(_tree(where, terminal), asked, terminal)
        return
    program = open_program(where, lets(assignments), terminal)
    unit = _unit(program, where, asked.kind)
    if asked.stage == "onnx":
        from onnx.printer import to_text as onnx_text

        from dlc.compiler.products import unit_model

        if asked.trace:
            _passed(unit, asked, terminal)
        _show(onnx_text(unit_model(program, unit, without=asked.without)), asked, terminal)
        return
    from dlc.compiler.text import to_text

    _show(to_text(unit.graph if asked.stage == "graph" else _passed(unit, asked, terminal)), asked, terminal)


def _show(text: str, asked: Asked, terminal: Terminal) -> None:
    terminal.say(text.rstrip("\n"))
    terminal.result({"stage": asked.stage, "text": text})


def _tree(where: Target, terminal: Terminal) -> str:
    from dlc.dsl.parser import parse, read
    from dlc.dsl.printer import tree

    if where.name is not None:
        raise UsageError("the syntax tree is that of the whole file", f"dlc ir {where} --stage ast")
    shown = str(where.path)
    terminal.sources[shown] = read(where.path, shown)
    return tree(parse(terminal.sources[shown], shown))


def _unit(program: Program, where: Target, kind: str | None) -> Unit:
    """The unit that is meant. Raises UsageError."""
    if kind is None:
        kind = _likely_kind(program, where)
    if kind == "net":
        return program.net(choose(where, program.nets, "net", "has no net"))
    if kind in ("prepare", "fit"):
        data = choose(where, program.datas, "data section", "has no data section")
        unit = program.prepare(data) if kind == "prepare" else program.fit(data)
        if unit is None:
            raise UsageError(f"nothing of `{data}` is fitted, so there is no graph of kind fit")
        return unit
    run = run_of(program, where)
    match kind:
        case "init":
            return program.init(run)
        case "eval":
            return program.evaluation(run)[0]
        case "report":
            return program.evaluation(run)[1]
    return program.step(run)


def _likely_kind(program: Program, where: Target) -> str:
    """A run's step; where the name is not a run's, or there is none, a net or else a data section's preparation."""
    if not (program.runs or program.nets or program.datas):
        raise UsageError(f"{where} has no run, net or data section: there is no graph")
    if where.name is None:
        return "step" if program.runs else "net" if program.nets else "prepare"
    if where.name not in program.runs:
        for kind, names in (("net", program.nets), ("prepare", program.datas)):
            if where.name in names:
                return kind
    return "step"


def _passed(unit: Unit, asked: Asked, terminal: Terminal) -> Graph:
    """The graph after the passes that were asked for."""
    from dlc.compiler.passes import labels, run
    from dlc.compiler.products import pipeline_of
    from dlc.compiler.text import difference

    def trace(name: str, before: Graph, after: Graph) -> None:
        changed = "nothing changed" if after is before else f"{len(before.nodes)} -> {len(after.nodes)} nodes"
        terminal.note(terminal.paint(f"{name}: {changed}", BOLD))
        if after is not before:
            terminal.note(difference(before, after))

    pipeline = pipeline_of(unit.kind)
    if asked.stage == "grad" and asked.after is None:
        if "differentiate" not in labels(pipeline):
            raise UsageError(f"a graph of kind {unit.kind} has no gradients", "--kind step has")
        asked = replace(asked, after="differentiate")
    return run(unit.graph, pipeline, without=asked.without, after=asked.after, trace=trace if asked.trace else None)
