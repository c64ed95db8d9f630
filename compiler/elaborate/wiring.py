"""How a train section ties a net to data: which field feeds which input, and what else its names mean."""

from __future__ import annotations

from typing import Any

from dlc.compiler.elaborate import bodies, data, instances
from dlc.compiler.elaborate.context import Elaborator, Frame
from dlc.compiler.elaborate.entities import Binding, Direction, Instance, Scope
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.elaborate.run import Run
from dlc.compiler.graph import Value
from dlc.dsl import ast
from dlc.dsl.diagnostics import Label, nearest
from dlc.dsl.modules import Module

SPLITS = ("train", "dev", "test")


def declared(e: Elaborator, module: Module, name: ast.Name, kind: type, what: str) -> ast.Declaration | None:
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


def wire(
    e: Elaborator, section: ast.Train, net: ast.Net, instance: Instance, declared: dict[str, data.Field], run: Run
) -> None:
    """Apply the net to the fields with its inputs' names; a net none of whose inputs is a field waits to be called."""
    inputs = [item for each in net.body if isinstance(each, ast.Input) for item in each.items]
    matched = [item for item in inputs if item.name.text in declared]
    missing = [item for item in inputs if item.name.text not in declared and item.default is None]
    if not matched:
        if not inputs:
            instances.apply(e, instance, [], {}, section.net.span, outer(e, section, instance))
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
    frame = outer(e, section, instance)
    for item in matched:
        mistake = _misfit(e, section, item, declared[item.name.text], run.fields[item.name.text], frame)
        if mistake is not None:
            e.report.add(mistake, section.data.span)
            return
    named = {item.name.text: run.fields[item.name.text] for item in matched}
    try:
        run.result = instances.apply(e, instance, [], named, section.net.span, outer(e, section, instance))
    except Problem as problem:
        e.report.add(problem, section.net.span)


def outer(e: Elaborator, section: ast.Train, instance: Instance) -> Frame:
    """Around the net, in the file that declares it."""
    return Frame(e.program.main.home[section.net.text], Scope(), instance, instance.place)


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
