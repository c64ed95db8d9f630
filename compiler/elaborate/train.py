"""The `train` section: a net wired to data, a loss, metrics, and the settings of the loop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from dlc.compiler.build import op, private
from dlc.compiler.elaborate import bodies, data, expressions, instances, optimize
from dlc.compiler.elaborate.context import Elaborator, Frame, Parameter
from dlc.compiler.elaborate.entities import POISON, Binding, Direction, Instance, Place, Scope, describe
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value
from dlc.compiler.registry import NoGradient, lookup
from dlc.compiler.types import Type, symbol
from dlc.dsl import ast
from dlc.dsl.diagnostics import Label, nearest
from dlc.dsl.modules import Module

KEYS = (
    "loss", "metrics", "optimizer", "group", "freeze", "load", "clip_norm", "clip_value", "accumulate", "precision",
    "seed", "batch", "epochs", "steps", "early_stop", "keep", "checkpoint", "after",
)  # fmt: skip
LATER = ("group", "clip_value", "accumulate", "precision", "early_stop", "checkpoint", "after")
"""Keys of the language that this version reads and refuses."""
SPLITS = ("train", "dev", "test")


@dataclass
class Run:
    """What a train section says, elaborated in one mode."""

    name: str
    loss: Value | None = None
    parts: dict[str, Value] = field(default_factory=dict)
    metrics: dict[str, Value] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    optimizer: ast.Assign | None = None
    fields: dict[str, Value] = field(default_factory=dict)
    updated: dict[str, Value] = field(default_factory=dict)
    gradients: dict[str, Value] = field(default_factory=dict)
    frame: Frame | None = None
    loss_span: ast.Span | None = None


def elaborate(e: Elaborator, section: ast.Train) -> Run:
    """Elaborate a train section in the elaborator's mode; problems are reported."""
    run = Run(section.run.text)
    module = e.program.main
    net = _declared(e, module, section.net, ast.Net, "a net")
    source = _declared(e, module, section.data, ast.Data, "data")
    if net is None or source is None:
        return run
    assert isinstance(net, ast.Net) and isinstance(source, ast.Data)
    instance = e.instance_of_net(net, module.home[section.net.text])
    declared = data.fields(e, source, module.home[section.data.text])
    for name, each in declared.items():
        run.fields[name] = e.builder.input(name, each.type.with_shape((symbol("B"), *each.type.shape)))
    _wire(e, section, net, instance, declared, run)
    if e.report.failed:
        return run  # its names have no values: what the section says of them would be one mistake more for each
    frame = Frame(module, Scope(instance.inside), Instance(None, Place((run.name,)), section.span), Place((run.name,)))
    run.frame = frame
    for name, value in run.fields.items():
        if frame.scope.find(name) is None:
            frame.scope.names[name] = Binding(value, declared[name].span, used=True)
    with_scalars(e, frame.scope)
    _statements(e, section, frame, run)
    _check_used(e, frame, run)
    if run.loss is not None and not e.report.failed:
        _learn(e, section, run)
    return run


def _declared(e: Elaborator, module: Module, name: ast.Name, kind: type, what: str) -> ast.Declaration | None:
    found = module.scope.get(name.text)
    if isinstance(found, kind):
        return found
    known = [each for each, declaration in module.scope.items() if isinstance(declaration, kind)]
    guess = nearest(name.text, known)
    message = (
        f"`{name.text}` is not {what}" if found is not None else f"there is no {what.removeprefix('a ')} `{name.text}`"
    )
    e.report.add(Problem("E0201", message, f"did you mean `{guess}`?" if guess else ""), name.span)
    return None


def with_scalars(e: Elaborator, scope: Scope) -> None:
    """Make the loop's scalars visible as numbers of the working type, each an input only once it is used."""
    scope.names = _Lazy(scope.names, e)


class _Lazy(dict[str, Binding]):
    """A scope's names, with the loop's scalars made where they are first asked for."""

    def __init__(self, names: dict[str, Binding], e: Elaborator) -> None:
        super().__init__(names)
        self._e = e

    def get(self, name: str, default: Any = None) -> Any:
        found = super().get(name, default)
        if found is None and name in data.RESERVED[:5]:
            return Binding(self._e.number(name), None, used=True)
        if found is None and name in SPLITS:
            return Binding({each: Direction("", name, each) for each in self._e.metric_names}, None, used=True)
        return found


def _wire(
    e: Elaborator, section: ast.Train, net: ast.Net, instance: Instance, declared: dict[str, data.Field], run: Run
) -> None:
    """Apply the net to the fields that have its inputs' names; a net none of whose inputs is a field waits to be called."""
    inputs = [item for each in net.body if isinstance(each, ast.Input) for item in each.items]
    matched = [item for item in inputs if item.name.text in declared]
    missing = [item for item in inputs if item.name.text not in declared and item.default is None]
    if not matched:
        if not inputs:
            instances.apply(e, instance, [], {}, section.net.span, _outer(e, instance))
        return
    if missing:
        name = missing[0].name.text
        guess = nearest(name, declared)
        problem = Problem(
            "E0601",
            f"nothing in `{section.data.text}` feeds `{section.net.text}.{name}`",
            f"did you mean `{guess}`?" if guess else "",
            secondary=(Label(missing[0].span, "wanted here"),),
            notes=(f"its fields are {', '.join(f'`{each}`' for each in declared)}",),
        )
        e.report.add(problem, section.data.span)
        return
    frame = _outer(e, instance)
    for item in matched:
        mistake = _misfit(e, section, item, declared[item.name.text], run.fields[item.name.text], frame)
        if mistake is not None:
            e.report.add(mistake, section.data.span)
            return
    named = {item.name.text: run.fields[item.name.text] for item in matched}
    try:
        instances.apply(e, instance, [], named, section.net.span, _outer(e, instance))
    except Problem as problem:
        e.report.add(problem, section.net.span)


def _outer(e: Elaborator, instance: Instance) -> Frame:
    return Frame(e.program.main, Scope(), instance, instance.place)


def _misfit(
    e: Elaborator, section: ast.Train, item: ast.Declared, given: data.Field, value: Value, frame: Frame
) -> Problem | None:
    if item.type is None:
        return None
    try:
        bodies.unify(e, item.type, value, frame, item.name.text, item.span)
    except Problem as problem:
        name = item.name.text
        return Problem(
            "E0601",
            f"`{section.data.text}.{name}` does not fit `{section.net.text}.{name}`",
            "",
            secondary=(
                Label(given.span, f"one example, so a batch is {value.type}"),
                Label(item.type.span, "wanted here"),
            ),
            notes=(problem.label,) if problem.label else (),
            help="change the data, or the input's type",
        )
    return None


def _statements(e: Elaborator, section: ast.Train, frame: Frame, run: Run) -> None:
    metrics = [each for each in section.body if isinstance(each, ast.Section) and each.name.text == "metrics"]
    e.metric_names = ("loss", *(name for each in metrics for name in _metric_names(each)))
    for statement in section.body:
        try:
            match statement:
                case ast.Assign(names=(name,)) if name.text in KEYS:
                    _key(e, name, statement, frame, run)
                case ast.Section(name=ast.Name(text="metrics")):
                    _metrics(e, statement, frame, run)
                case ast.Section(name=name):
                    code, text = "E0206", f"`{name.text}` is not there yet"
                    if name.text not in KEYS:
                        guess = nearest(name.text, ("metrics", "group"))
                        help = f"did you mean `{guess}`?" if guess else ""
                        raise Problem(
                            "E0207", f"a `train` section has no part called `{name.text}`", help, span=name.span
                        )
                    raise Problem(code, text, "it comes with a later version of dlc", span=name.span)
                case ast.Freeze() | ast.Load():
                    word = "freeze" if isinstance(statement, ast.Freeze) else "load"
                    raise Problem("E0206", f"`{word}` is not there yet", "it comes with a later version of dlc")
                case ast.Assign() | ast.Assert():
                    bodies.statement_of(e, statement, frame)
                case _:
                    raise Problem("E0206", "this statement does not belong into a `train` section")
        except Problem as problem:
            e.report.add(problem, statement.span)
    for key in ("loss", "optimizer"):
        given = any(isinstance(each, ast.Assign) and each.names[0].text == key for each in section.body)
        if not given and not e.report.failed:
            e.report.add(Problem("E0205", f"this `train` section has no `{key}`"), section.net.span)


def _metric_names(section: ast.Section) -> Iterator[str]:
    return (statement.names[0].text for statement in section.body if isinstance(statement, ast.Assign))


def _key(e: Elaborator, name: ast.Name, statement: ast.Assign, frame: Frame, run: Run) -> None:
    key = name.text
    if key in run.settings or (key == "optimizer" and run.optimizer) or (key == "loss" and run.loss is not None):
        raise Problem("E0202", f"`{key}` is given twice", span=name.span)
    if key in LATER:
        raise Problem("E0206", f"`{key}` is not there yet", "it comes with a later version of dlc", span=name.span)
    if key == "optimizer":
        run.optimizer = statement
        return
    value = expressions.evaluate(e, statement.value, frame)
    if value is POISON:
        return
    if key == "loss":
        run.loss_span = name.span
        if not isinstance(value, Value) or value.type != Type(e.mode.working, ()):
            help = "take its `mean`" if isinstance(value, Value) else None
            raise Problem(
                "E0301", "a loss is one number", f"this is {describe(value)}", span=statement.value.span, help=help
            )
        run.loss = value
        e.label(value, "loss")
        frame.scope.names["loss"] = Binding(value, name.span, used=True)
        return
    run.settings[key] = _setting(key, value, statement.value.span)


def _setting(key: str, value: Any, span: ast.Span) -> Any:
    """The value of a key of the loop, checked; raises Problem."""
    if key == "keep":
        if not isinstance(value, Direction):
            raise Problem(
                "E0302", "`keep` wants a direction: `highest(dev.acc)`", f"this is {describe(value)}", span=span
            )
        return {"direction": value.word, "split": value.split, "metric": value.metric}
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if key == "clip_norm":
        if not number or not value > 0:
            raise Problem("E0303", "`clip_norm` is a positive number", f"this is {describe(value)}", span=span)
        return float(value)
    least = 0 if key == "seed" else 1
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise Problem("E0303", f"`{key}` is an integer of {least} or more", f"this is {describe(value)}", span=span)
    return value


def _metrics(e: Elaborator, section: ast.Section, frame: Frame, run: Run) -> None:
    inner = frame.inner("metrics")
    for statement in section.body:
        if not isinstance(statement, ast.Assign) or len(statement.names) != 1:
            e.report.add(Problem("E0206", "a metric is `name = expression`"), statement.span)
            continue
        name = statement.names[0]
        if name.text in data.RESERVED:
            problem = Problem("E0602", f"a metric cannot be called `{name.text}`", "the training step has that itself")
            e.report.add(problem, name.span)
            continue
        if name.text in run.metrics:
            e.report.add(Problem("E0202", f"`{name.text}` is given twice"), name.span)
            continue
        value = expressions.evaluate(e, statement.value, inner)
        if value is POISON:
            continue
        if not isinstance(value, Value) or value.shape or not value.type.is_float:
            help = "take its `mean`" if isinstance(value, Value) else None
            problem = Problem("E0301", "a metric is one number", f"this is {describe(value)}", help=help)
            e.report.add(problem, statement.value.span)
            continue
        run.metrics[name.text] = value


def _check_used(e: Elaborator, frame: Frame, run: Run) -> None:
    """A name that neither the loss nor a metric uses is a mistake; a used scalar is a part of the loss to be shown."""
    for name, binding in frame.scope.names.items():
        if name == "loss" or binding.span is None or name in run.fields:
            continue
        if not binding.used:
            guess = nearest(name, KEYS)
            problem = Problem(
                "E0207",
                f"nothing uses `{name}`",
                f"did you mean `{guess}`?" if guess else "",
                notes=("in a `train` section a name is either a key or part of the loss or a metric",),
            )
            e.report.add(problem, binding.span)
        elif isinstance(binding.value, Value) and binding.value.type == Type(e.mode.working, ()):
            run.parts[name] = binding.value


def _learn(e: Elaborator, section: ast.Train, run: Run) -> None:
    """Gradients and the optimizer; in initial mode the optimizer's states alone."""
    assert run.loss is not None and run.frame is not None
    if not e.mode.training or run.optimizer is None:
        return
    weights = [each for each in e.parameters.values() if each.role == "parameter"]
    learning = weights if e.mode.initial else _reached(e, run, weights)
    with e.builder.at(run.optimizer.span):
        for weight in learning:
            run.gradients[weight.address] = _gradient(e, run.loss, weight)
        clip = run.settings.get("clip_norm")
        clipped = run.gradients if clip is None or e.mode.initial else _clipped(run.gradients, clip)
        pairs = [(weight, clipped[weight.address]) for weight in learning]
        try:
            run.updated = optimize.update(e, run.name, run.optimizer.value, pairs, run.frame)
        except Problem as problem:
            e.report.add(problem, run.optimizer.value.span)


def _gradient(e: Elaborator, loss: Value, weight: Parameter) -> Value:
    """The gradient of the loss: to be made by differentiation, or given. Initial states depend on its type alone."""
    if e.mode.initial:
        return weight.value
    if e.mode.given:
        return e.builder.input(f"{weight.address}:grad", weight.type)
    gradient: Value = private.Gradient(loss, weight.value)
    return gradient


def _clipped(gradients: dict[str, Value], limit: float) -> dict[str, Value]:
    """Gradients scaled so that their common norm is at most `limit` (Pascanu et al., 2013; PyTorch's 1e-6)."""
    squares = [op.ReduceSumSquare(g, keepdims=0) for g in gradients.values()]
    total = squares[0] if len(squares) == 1 else op.Sum(*squares)
    scale = op.Min(limit / (op.Sqrt(total) + 1e-6), 1.0)
    return {address: g * scale for address, g in gradients.items()}


def _reached(e: Elaborator, run: Run, weights: list[Parameter]) -> list[Parameter]:
    """The weights that the loss depends on differentiably; reports if there is none, and warns of those cut off."""
    assert run.loss is not None
    smooth, touched, blocking = differentiable(run.loss)
    found = [weight for weight in weights if weight.value in smooth]
    cut = [weight for weight in weights if weight.value in touched and weight.value not in smooth]
    at = run.loss_span
    assert at is not None
    where = tuple(Label(span, "every path to a weight stops here") for span in blocking if span is not None)[:1]
    if not found:
        count = f"{len(cut)} weights, differentiably on none of them" if cut else "no weight"
        e.report.add(Problem("E0501", "no weight can learn from this loss", f"depends on {count}", secondary=where), at)
    for weight in cut if found else ():
        problem = Problem("W0402", f"`{weight.address}` cannot learn from this loss", secondary=where)
        e.report.add(problem, weight.span, "warning")
    return found


def differentiable(loss: Value) -> tuple[set[Value], set[Value], list[ast.Span | None]]:
    """The values that `loss` depends on differentiably, those it depends on at all, and where gradients stop."""
    smooth: set[Value] = set()
    touched: set[Value] = set()
    blocking: list[ast.Span | None] = []
    waiting: list[tuple[Value, bool]] = [(loss, True)]
    while waiting:
        value, open_ = waiting.pop()
        if value in smooth or (not open_ and value in touched):
            continue
        touched.add(value)
        if open_:
            smooth.add(value)
        if value.node is None:
            continue
        rule = lookup(value.node.op).gradient
        passes = open_ and not isinstance(rule, NoGradient) and rule is not None
        if open_ and not passes:
            blocking.append(value.node.span)
        for each in value.node.operands():
            waiting.append((each, passes and each.type.is_float))
    return smooth, touched, blocking
