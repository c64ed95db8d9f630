"""Instances: made once by each textual occurrence, applied any number of times with the same weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from dlc.compiler.elaborate import bodies, borrowing, calls, stages
from dlc.compiler.elaborate.context import Elaborator, Frame
from dlc.compiler.elaborate.entities import (
    Binding,
    Instance,
    Place,
    Scope,
    Template,
    snake,
)
from dlc.compiler.elaborate.problems import Application, Problem
from dlc.compiler.elaborate.successors import misnamed
from dlc.compiler.graph import Value
from dlc.dsl import ast

PASSAGE_LIMIT = 60
"""How deep blocks may lie in one another. The language has no recursion, so only a mistake gets there."""


def make(e: Elaborator, template: Template, expr: ast.Expr, frame: Frame, place: Place | None = None) -> Instance:
    """The instance that this occurrence of a block makes in the instance around it."""
    if frame.pure:
        help = "make it a `block`, or give the `fn` an instance: `f(x, layer)`"
        raise Problem("E0204", f"a `fn` owns nothing, and `{template.name}` makes weights", span=expr.span, help=help)
    key = (id(expr), frame.turns)
    args = expr.args if isinstance(expr, ast.Call) else ()
    found = frame.owner.children.get(key)
    if found is None:
        here = place or frame.place.ordinal(snake(template.name))
        if place is None:
            e.unnamed.add(str(here))
        found = Instance(template, here, expr.span, text=_text(template, args))
        frame.owner.children[key] = found
    home = Frame(template.module, Scope(kind="settings"), found, found.place)
    e.report.applications.append(Application(found.text, expr.span, frame.library))
    try:
        calls.bind(e, template.name, template.block.params, args, (), frame, home, found.place)
    finally:
        e.report.applications.pop()
    found.settings = home.scope
    return found


def _text(template: Template, args: tuple[ast.Arg, ...]) -> str:
    from dlc.dsl.printer import source as expression

    if not args:
        return template.name
    written = ", ".join(f"{a.name.text}={expression(a.value)}" if a.name else expression(a.value) for a in args)
    return f"{template.name}({written if len(written) < 60 else '...'})"


def apply(
    e: Elaborator, instance: Instance, values: list[Any], named: dict[str, Any], span: ast.Span, frame: Frame
) -> Any:
    """Apply an instance to input values."""
    if len(e.report.applications) > PASSAGE_LIMIT:
        raise Problem("E0209", "blocks that contain each other in a circle", f"`{instance.text}` again", span=span)
    e.take(1, span)
    named_text = instance.text if instance.net is None and instance.chain is None else ""
    e.report.applications.append(Application(named_text, span, frame.library))
    mode = e.mode
    if mode.training and e.is_frozen(instance.address):
        e.mode = replace(mode, training=False)  # frozen is what it will be in production, and constant
    try:
        with e.builder.at(None if frame.library else span):
            result = _result(e, instance, values, named, span)
    finally:
        e.report.applications.pop()
        e.mode = mode
    results = result if isinstance(result, tuple) else (result,)
    e.results.extend(each for each in results if isinstance(each, Value))
    if not frame.library and instance.borrowed is None and instance.chain is None:
        for index, each in enumerate(results):
            e.label(each, instance.address + (f":{index}" if index else ""))
    return result


def _result(e: Elaborator, instance: Instance, values: list[Any], named: dict[str, Any], span: ast.Span) -> Any:
    if instance.borrowed is not None:
        return borrowing.apply(e, instance, values, named, span)
    if instance.chain is not None:
        return stages.run_loop(e, instance, _one(values, span))
    return _body(e, instance, values, named, span)


def _body(e: Elaborator, instance: Instance, values: list[Any], named: dict[str, Any], span: ast.Span) -> Any:
    declared: ast.Block | ast.Net
    if instance.template is not None:
        declared, module = instance.template.block, instance.template.module
        returns = declared.returns
    else:
        assert instance.net is not None
        declared, returns = instance.net, ()
        module = next(m for m in (e.program.main, *e.program.modules.values()) if declared in m.source.declarations)
    for problem in misnamed(declared):
        e.report.add(problem, declared.span)
    body = declared.body
    scope = Scope(instance.settings)
    frame = Frame(module, scope, instance, instance.place)
    instance.inside, instance.dims = scope, frame.dims
    if isinstance(body, ast.Chain):
        if named:
            raise calls.no_setting(instance.text, next(iter(named)), [], span)
        value = values[0] if len(values) == 1 else tuple(values)
        result = stages.chain(e, body, value, frame, whole_of=instance)
    else:
        inputs = _inputs(body, values, named, instance, span)
        result = bodies.run(e, body, frame, inputs, declared.span)
    for wanted, each in zip(returns, result if isinstance(result, tuple) else (result,), strict=False):
        if isinstance(each, Value):
            bodies.unify(e, wanted, each, Frame(module, scope, instance, instance.place), "the result", span)
    return result


def _inputs(
    body: Iterable[ast.Statement], values: list[Any], named: dict[str, Any], instance: Instance, span: ast.Span
) -> dict[str, Any]:
    """Which value feeds which `input`; raises Problem."""
    declared = [item for each in body if isinstance(each, ast.Input) for item in each.items]
    names = [item.name.text for item in declared]
    what = instance.text or instance.address
    if len(values) > len(names):
        notes = (f"its inputs are {', '.join(f'`{name}`' for name in names)}",) if names else ()
        raise Problem("E0205", f"`{what}` has {len(names)} inputs and is given {len(values)}", span=span, notes=notes)
    given = dict(zip(names, values, strict=False))
    for name, value in named.items():
        if name not in names:
            raise calls.no_setting(what, name, names, span)
        given[name] = value
    missing = [item.name.text for item in declared if item.name.text not in given and item.default is None]
    if missing:
        raise Problem("E0205", f"`{what}` needs its input `{missing[0]}`", span=span)
    return given


def _one(values: list[Any], span: ast.Span) -> Any:
    if not values:
        raise Problem("E0205", "a chain needs a value to be applied to", span=span)
    return values[0] if len(values) == 1 else tuple(values)


def imagine(e: Elaborator, instance: Instance) -> None:
    """Apply a net to inputs of its declared types, so that its parts can be named in a graph that does not apply it.

    Nothing reads what comes out, so it is in no graph.
    """
    assert instance.net is not None
    module = next(m for m in (e.program.main, *e.program.modules.values()) if instance.net in m.source.declarations)
    frame = Frame(module, Scope(), instance, instance.place)
    named: dict[str, Any] = {}
    for statement in instance.net.body:
        for item in statement.items if isinstance(statement, ast.Input) else ():
            if item.type is not None:
                type = bodies.declared_type(e, item.type, frame)
                named[item.name.text] = e.builder.input(f"{instance.address}({item.name.text})", type)
    apply(e, instance, [], named, instance.span, frame)


def inner(e: Elaborator, instance: Instance, name: str) -> Binding | None:
    """What `instance.name` is: a name of its body, a parameter, or an unnamed part by its ordinal."""
    if instance.inside is not None and name in instance.inside.names:
        return instance.inside.names[name]
    if name in instance.parameters:
        return _parameter(e, instance.parameters[name])
    for child in _descendants(instance):
        if child.place.path[len(instance.place.path) :] == (name,):
            # A part that owns one parameter of its own name is that parameter: `linear.bias`.
            return (
                _parameter(e, child.parameters[name]) if name in child.parameters else Binding(child, child.span, child)
            )
    return None


def _parameter(e: Elaborator, address: str) -> Binding:
    return Binding(e.moved.get(address, e.parameters[address].value), e.parameters[address].span)


def inner_names(e: Elaborator, instance: Instance) -> list[str]:
    """Every name that `inner` knows."""
    names = list(instance.inside.names) if instance.inside is not None else []
    names += instance.parameters
    depth = len(instance.place.path)
    names += [str(c.place.path[depth]) for c in _descendants(instance) if len(c.place.path) > depth]
    return list(dict.fromkeys(names))


def _descendants(instance: Instance) -> Iterable[Instance]:
    return (child for child in instance.children.values() if isinstance(child, Instance))
