"""From a file to its graphs: `Program.open(path)` reads, `.step(run)` and its sisters elaborate one graph each.

Every graph is elaborated afresh in its own mode, so that nothing of training can leak into inference. All mistakes of
a file come out together as one SourceError.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from dlc.compiler.build import private
from dlc.compiler.elaborate import bodies, data, expressions, instances, train
from dlc.compiler.elaborate.context import Elaborator, Frame, Mode, Parameter, Stage
from dlc.compiler.elaborate.entities import POISON, Instance, Place, Scope
from dlc.compiler.elaborate.problems import Problem, Report
from dlc.compiler.elaborate.run import Run
from dlc.compiler.elaborate.search import Search, Space, search_of, space_of
from dlc.compiler.elaborate.settings import check_settings
from dlc.compiler.graph import Graph, Value
from dlc.compiler.metrics import NotAdditive, divide
from dlc.compiler.types import Type
from dlc.dsl import ast, modules
from dlc.dsl.diagnostics import Diagnostic, Label, SourceError, nearest
from dlc.dsl.parser import parse

PRELUDE = Path(__file__).parent / "prelude"


@dataclass(frozen=True)
class Unit:
    """One file to be: its graph, and what the manifest has to say of it.

    `carried` maps each carried input to the output that feeds it back (None: nothing does) and its role. `batch` and
    `scalars` are the other inputs. `stages` and `weights` are for showing.
    """

    name: str
    kind: str
    graph: Graph
    carried: Mapping[str, tuple[str | None, str]] = field(default_factory=dict)
    batch: tuple[str, ...] = ()
    scalars: tuple[str, ...] = ()
    reports: tuple[str, ...] = ()
    totals: Mapping[str, str | None] = field(default_factory=dict)
    constants: tuple[str, ...] = ()
    plan: data.Plan | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    stages: tuple[Stage, ...] = ()
    weights: Mapping[str, Type] = field(default_factory=dict)
    gradients: tuple[str, ...] = ()
    warnings: tuple[Diagnostic, ...] = ()


@lru_cache(maxsize=1)
def library() -> modules.Program:
    """The standard library's own text, parsed."""
    return modules.load_library(sorted(PRELUDE.glob("*.net")))


class Program:
    """A `.net` file with all that it uses, and the values of its `let`s."""

    def __init__(self, program: modules.Program, lets: Mapping[str, str], text: str) -> None:
        self.source = program
        self.sources = {**library().sources, **program.sources}
        self.sha256 = hashlib.sha256(text.encode()).hexdigest()
        self.lets = self._override(lets)

    @classmethod
    def open(cls, path: Path, lets: Mapping[str, str] | None = None, sources: dict[str, str] | None = None) -> Program:
        """Read a file. `lets` are the texts of `--set name=value`. Raises SourceError."""
        texts: dict[str, str] = {} if sources is None else sources
        program = modules.load(path, texts)
        return cls(program, lets or {}, texts[program.main.file])

    @classmethod
    def of_text(cls, text: str, file: str = "text.net", lets: Mapping[str, str] | None = None) -> Program:
        """A program from text. Raises SourceError."""
        return cls(modules.load_text(text, file), lets or {}, text)

    # ------------------------------------------------------------------------------------ what there is

    def _declared(self, kind: type[Any]) -> list[Any]:
        return [each for each in self.source.main.source.declarations if isinstance(each, kind)]

    @property
    def runs(self) -> dict[str, ast.Train]:
        return {each.run.text: each for each in self._declared(ast.Train)}

    @property
    def nets(self) -> dict[str, ast.Net]:
        """The nets of the file itself."""
        return {each.name.text: each for each in self._declared(ast.Net)}

    @property
    def infers(self) -> dict[str, ast.Infer]:
        """The `infer` sections of the file."""
        return {each.name.text: each for each in self._declared(ast.Infer)}

    @property
    def datas(self) -> dict[str, ast.Data]:
        """The data sections that the file declares or its runs use."""
        own = {each.name.text: each for each in self._declared(ast.Data)}
        used = {each.data.text: self.source.main.scope.get(each.data.text) for each in self.runs.values()}
        return own | {name: each for name, each in used.items() if isinstance(each, ast.Data)}

    def let_values(self) -> dict[str, Any]:
        """Every `let` of the file with its value, for the record."""
        e = self._elaborator(Mode())
        with e:
            values = {}
            for let in self._declared(ast.Let):
                frame = self._frame(let.name.text, let.span)
                values[let.name.text] = expressions.evaluate(e, ast.Ref(let.name.text, span=let.name.span), frame)
        self._raise(e)
        return {name: value for name, value in values.items() if isinstance(value, int | float | str | list | None)}

    def searches(self) -> tuple[dict[str, Search], dict[str, Space]]:
        """The search sections by run, and the spaces of the `let`s. Raises SourceError."""
        e = self._elaborator(Mode())
        spaces: dict[str, Space] = {}
        found: dict[str, Search] = {}
        with e:
            for let in self._declared(ast.Let):
                try:
                    space = space_of(e, let, self._frame(let.name.text, let.span))
                except Problem as problem:
                    e.report.add(problem, let.span)
                else:
                    spaces |= {let.name.text: space} if space is not None else {}
            for section in self._declared(ast.Search):
                try:
                    found[section.name.text] = search_of(e, section, self.runs, spaces)
                except Problem as problem:
                    e.report.add(problem, section.span)
        self._raise(e)
        return found, spaces

    # ---------------------------------------------------------------------------------------- the graphs

    def check(self) -> tuple[Diagnostic, ...]:
        """Elaborate everything; returns the warnings. Raises SourceError with every mistake, each once."""
        found: dict[Diagnostic, None] = {}
        attempts: list[tuple[Callable[[str], Unit | tuple[Unit, Unit]], Iterable[str]]] = [
            (self.prepare, self.datas),
            (self.net, self.nets),
            (self.inference, self.infers),
            (self.step, self.runs),
            (self.evaluation, self.runs),
            (self.init, self.runs),
        ]
        for look in (self.let_values, self.searches):
            try:
                look()
            except SourceError as error:
                found.update(dict.fromkeys(error.diagnostics))
        report = Report()
        check_settings(self.source.main, library().main, report)
        found.update(dict.fromkeys(report.diagnostics))
        for attempt, names in attempts:
            for name in names:
                try:
                    made = attempt(name)
                except SourceError as error:
                    found.update(dict.fromkeys(error.diagnostics))
                else:
                    found.update(dict.fromkeys((made[0] if isinstance(made, tuple) else made).warnings))
        errors = {(each.code, each.primary.span): each for each in reversed(found) if each.severity == "error"}
        if errors:
            raise SourceError(*sorted(errors.values(), key=_position))
        return tuple(found)

    def net(self, name: str, working: str = "f32") -> Unit:
        """The inference graph of a net. Raises SourceError."""
        net = self.nets[name]
        e = self._elaborator(Mode(working=working))
        with e:
            instance = e.instance_of_net(net, self.source.main)
            inputs = self._inputs(e, net)
            result: Any = POISON
            if inputs is not None:
                values = {key: value for key, value in inputs.items() if isinstance(value, Value)}
                outer = Frame(self.source.main, Scope(), instance, instance.place)
                try:
                    result = instances.apply(e, instance, [], values, net.span, outer)
                except Problem as problem:
                    e.report.add(problem, net.span)
            self._raise(e)
            outputs = self._tensors(e, net, result)
            assert inputs is not None
            order = [each.value for each in e.parameters.values()] + list(inputs.values())
            graph = e.builder.graph(name, outputs, order)
        return self._unit(e, name, "net", graph, batch=tuple(inputs), carried=_kept(e))

    def inference(self, name: str) -> Unit:
        """The graph of an `infer` section over the weights of nets. Raises SourceError."""
        section = self.infers[name]
        e = self._elaborator(Mode())
        with e:
            inputs = self._inputs(e, section)
            result: Any = POISON
            if inputs is not None:
                owner = Instance(None, Place((name,)), section.span, text=name)
                frame = Frame(self.source.main, Scope(), owner, owner.place)
                result = bodies.run(e, section.body, frame, inputs, section.name.span)
            self._raise(e)
            outputs = self._tensors(e, section, result)
            assert inputs is not None
            read = e.builder.graph(name, outputs, []).uses()
            weights = [each.value for each in e.parameters.values() if each.value in read]
            graph = e.builder.graph(name, outputs, [*weights, *inputs.values()])
            kept = {address: role for address, role in _kept(e).items() if e.parameters[address].value in weights}
        return self._unit(e, name, "net", graph, batch=tuple(inputs), carried=kept)

    def step(self, name: str, working: str = "f32") -> Unit:
        """The training step of a run: forward, gradients, optimizer, states. Raises SourceError."""
        section = self.runs[name]
        e = self._elaborator(Mode(training=True, working=working))
        with e:
            run = train.elaborate(e, section)
            self._raise(e)
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
            graph = self._graph(e, name, outputs, run)
        return self._unit(
            e, name, "step", graph, run, carried=carried, reports=("loss", *reports), gradients=tuple(run.gradients)
        )

    def gradients(self, name: str, working: str = "f32") -> Unit:
        """The first half of a divided step: gradients as `ADDRESS:grad`, and the successors of states that the forward
        pass moves. Raises SourceError."""
        e = self._elaborator(Mode(training=True, working=working))
        with e:
            run = train.elaborate(e, self.runs[name])
            self._raise(e)
            assert run.loss is not None
            states = {a: p for a, p in e.parameters.items() if p.role == "state" and not e.is_frozen(a)}
            outputs = {f"{address}:grad": value for address, value in run.gradients.items()}
            outputs |= {f"{address}:next": e.moved.get(address, each.value) for address, each in states.items()}
            outputs["loss"] = run.loss
            reports = {**run.parts, **run.metrics}
            outputs.update(reports)
            with e.builder.at(self.runs[name].net.span):
                outputs["finite"] = private.Finite(run.loss, *run.gradients.values())
            carried: dict[str, tuple[str | None, str]] = {
                **_kept(e),
                **{a: (f"{a}:next", "state") for a in states},
            }
            graph = self._graph(e, name, outputs, run, roles=("parameter", "state"))
        names = tuple(f"{address}:grad" for address in run.gradients)
        return self._unit(e, name, "grad", graph, run, carried=carried, reports=("loss", *reports), gradients=names)

    def application(self, name: str) -> Unit:
        """The second half of a divided step: the optimizer, given gradients. Raises SourceError."""
        e = self._elaborator(Mode(training=True, given=True))
        with e:
            run = train.elaborate(e, self.runs[name])
            self._raise(e)
            carried: dict[str, tuple[str | None, str]] = {}
            outputs: dict[str, Value] = {}
            for address, each in e.parameters.items():
                after = run.updated.get(address) if each.role == "parameter" else e.moved.get(address)
                if each.role != "state" and after is not None:
                    carried[address] = (f"{address}:next", each.role)
                    outputs[f"{address}:next"] = after
            graph = self._graph(e, name, outputs, run, roles=("parameter", "optimizer"), updated=True)
        given = tuple(f"{address}:grad" for address in run.gradients)
        return self._unit(e, name, "apply", graph, run, carried=carried, batch=given)

    def init(self, name: str) -> Unit:
        """The graph that makes every carried value of a run from a seed. Raises SourceError."""
        e = self._elaborator(Mode(training=True, initial=True))
        with e:
            run = train.elaborate(e, self.runs[name])
            self._raise(e)
            from dlc.compiler.elaborate.library import seed_input

            seed_input()
            outputs = {address: each.value for address, each in e.parameters.items()}
            graph = self._graph(e, name, outputs, run, always=("seed",))
        return self._unit(e, name, "init", graph, run)

    def evaluation(self, name: str) -> tuple[Unit, Unit]:
        """The sums and counts of one batch, and what makes the loss and metrics of their totals. Raises SourceError."""
        section = self.runs[name]
        e = self._elaborator(Mode())
        with e:
            run = train.elaborate(e, section)
            self._raise(e)
            assert run.loss is not None
            try:
                parts = divide(e.builder, {"loss": run.loss, **run.metrics})
            except NotAdditive as error:
                problem = Problem(
                    "E0303",
                    "this cannot be put together from batches",
                    "only `sum` and `mean` may be the outermost reduction over examples",
                )
                e.report.add(problem, error.node.span or section.net.span)
                self._raise(e)
                raise AssertionError from error
            graph = self._graph(e, name, parts.outputs, run)
        totals, constants = parts.totals, parts.constants
        kept = _kept(e)
        evaluation = self._unit(e, name, "eval", graph, run, carried=kept, totals=totals, constants=constants)
        report = parts.report.graph(name, parts.results)
        names = tuple(parts.results)
        return evaluation, Unit(
            name, "report", report, batch=report.input_names, reports=names, totals=totals, constants=constants
        )

    def prepare(self, name: str) -> Unit:
        """The graph from one decoded record to the fields of an example, with the host's plan. Raises SourceError."""
        return self._data(name)[0]

    def fit(self, name: str) -> Unit | None:
        """The graph from one record to the values whose statistics are fitted; None where nothing is."""
        return self._data(name)[1]

    def _data(self, name: str) -> tuple[Unit, Unit | None]:
        section = self.datas[name]
        main = self.source.main
        home = main.home.get(name, main)
        e = self._elaborator(Mode())
        with e:
            outputs, plan = data.prepare(e, section, home)
            self._raise(e)
            fitting = e.records.fitting
            fitted = [value for value in e.builder.inputs if e.builder.names[value] in plan.fitted]
            records = [value for value in e.builder.inputs if value not in fitted]
            graph = e.builder.graph(name, outputs, [*fitted, *records])
            carried = {e.builder.names[value]: (None, "fitted") for value in fitted}
            batch = tuple(e.builder.names[value] for value in records)
            unit = self._unit(e, name, "prepare", graph, plan=plan, carried=carried, batch=batch)
            if not fitting:
                return unit, None
            read = e.builder.graph(name, fitting, records).uses()
            fit = e.builder.graph(name, fitting, [value for value in records if value in read])
            return unit, self._unit(e, name, "fit", fit, plan=plan, batch=fit.input_names)

    # ----------------------------------------------------------------------------------------- the parts

    def _elaborator(self, mode: Mode) -> Elaborator:
        return Elaborator(self.source, library().main, mode, self.lets)

    def _frame(self, name: str, span: ast.Span) -> Frame:
        owner = Instance(None, Place((name,)), span)
        return Frame(self.source.main, Scope(), owner, owner.place)

    def _inputs(self, e: Elaborator, net: ast.Net | ast.Infer) -> dict[str, Value] | None:
        frame = self._frame(net.name.text, net.span)
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

    def _tensors(self, e: Elaborator, section: ast.Net | ast.Infer, result: Any) -> dict[str, Value]:
        """What a net returns, by name. Raises SourceError for what is no tensor."""
        outputs = _returned(section, result)
        for value in outputs.values():
            if not isinstance(value, Value):
                e.report.add(
                    Problem("E0302", f"`{section.name.text}` returns something that is no tensor"), section.span
                )
        self._raise(e)
        return outputs

    def _graph(
        self,
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

    def _unit(self, e: Elaborator, name: str, kind: str, graph: Graph, run: Run | None = None, **more: Any) -> Unit:
        inputs = graph.input_names
        if run is not None:
            more.setdefault("batch", tuple(field for field in run.fields if field in inputs))
            more.setdefault("scalars", tuple(n for n in data.RESERVED[:5] if n in inputs))
            more.setdefault("settings", run.settings)
        if e.parameters and kind != "prepare":
            more.setdefault("weights", {a: p.type for a, p in e.parameters.items() if p.role == "parameter"})
        warnings = tuple(each for each in e.report.diagnostics if each.severity == "warning")
        return Unit(name, kind, graph, stages=tuple(e.stages), warnings=warnings, **more)

    def _raise(self, e: Elaborator) -> None:
        if e.report.failed:
            errors = [each for each in e.report.diagnostics if each.severity == "error"]
            raise SourceError(*sorted(errors, key=_position))

    def _override(self, lets: Mapping[str, str]) -> dict[str, Any]:
        """The values of `--set`, of the same kind as those in the file. Raises SourceError."""
        own = {let.name.text: let for let in self._declared(ast.Let)}
        values: dict[str, Any] = {}
        for name, text in lets.items():
            where = ast.Span("--set", 1, 1, 1, 1 + len(name))
            line = f"{name}={text}"
            self.sources["--set"] = line
            if name not in own:
                guess = nearest(name, own)
                note = f"the file's are {', '.join(f'`{each}`' for each in own)}" if own else "the file has none"
                label = Label(where, f"did you mean `{guess}`?" if guess else "")
                raise SourceError(Diagnostic("E0201", f"no `let` is called `{name}`", label, notes=(note,)))
            at = ast.Span("--set", 1, len(name) + 2, 1, len(line) + 1)
            value = self._evaluate(text, at)
            before = self._evaluated(own[name])
            if not _same_kind(before, value):
                message = f"`{name}` is {_kind(before)} in the file, and this is {_kind(value)}"
                raise SourceError(Diagnostic("E0302", message, Label(at, ""), (Label(own[name].span, "given here"),)))
            values[name] = float(value) if isinstance(before, float) else value
        return values

    def _evaluate(self, text: str, at: ast.Span) -> Any:
        """The compile-time value of a text from the command line; raises SourceError."""
        try:
            parsed = parse(f"let value = {text}", "--set").declarations
        except SourceError:
            parsed = ()
        if len(parsed) != 1 or not isinstance(parsed[0], ast.Let) or parsed[0].space is not None:
            raise SourceError(Diagnostic("E0302", f"`{text}` is not a value", Label(at, "a number, text or list")))
        e = Elaborator(self.source, library().main, Mode(), {})
        with e:
            value = expressions.evaluate(e, parsed[0].value, self._frame("value", at))
        if e.report.failed or isinstance(value, Value):
            raise SourceError(Diagnostic("E0302", f"`{text}` is not a value", Label(at, "a number, text or list")))
        return value

    def _evaluated(self, let: ast.Let) -> Any:
        e = Elaborator(self.source, library().main, Mode(), {})
        with e:
            return expressions.evaluate(e, let.value, self._frame(let.name.text, let.span))


def _same_kind(a: Any, b: Any) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):
        return isinstance(a, bool) and isinstance(b, bool)
    if isinstance(a, float):
        return isinstance(b, int | float)
    return type(a) is type(b)


def _kind(value: Any) -> str:
    names = {bool: "true or false", int: "an integer", float: "a number", str: "a text", list: "a list"}
    return names.get(type(value), "something else")


def _position(diagnostic: Diagnostic) -> tuple[str, int, int]:
    span = diagnostic.primary.span
    return span.file, span.line, span.column


def _kept(e: Elaborator) -> dict[str, tuple[str | None, str]]:
    """The weights and states, as inputs that nothing feeds back."""
    return {
        address: (None, "frozen" if e.is_frozen(address) else each.role)
        for address, each in e.parameters.items()
        if each.role in ("parameter", "state")
    }


def _returned(net: ast.Net | ast.Infer, result: Any) -> dict[str, Any]:
    """A net's outputs: under the returned names, a bare expression as `output`, then `output2`."""
    statement = next(each for each in net.body if isinstance(each, ast.Return))
    values = result if isinstance(result, tuple) else (result,)
    named: dict[str, Any] = {}
    count = 0
    for expr, value in zip(statement.values, values, strict=False):
        if isinstance(expr, ast.Ref):
            named[expr.name] = value
        else:
            count += 1
            named["output" if count == 1 else f"output{count}"] = value
    return named


__all__ = ["Parameter", "Program", "Unit", "library"]
