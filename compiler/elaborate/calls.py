"""Calls: a block makes an instance, an instance is applied, a function is evaluated."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from dlc.compiler.elaborate import bodies, expressions, instances
from dlc.compiler.elaborate.arithmetic import NUMBER
from dlc.compiler.elaborate.context import Elaborator, Frame
from dlc.compiler.elaborate.entities import (
    POISON,
    Binding,
    Builtin,
    Distribution,
    Function,
    Instance,
    Place,
    Poison,
    Reader,
    Scope,
    Template,
    describe,
)
from dlc.compiler.elaborate.library.masks import insist
from dlc.compiler.elaborate.problems import Application, Problem
from dlc.compiler.graph import Value
from dlc.compiler.types import Polynomial
from dlc.dsl import ast
from dlc.dsl.diagnostics import nearest

HIDDEN = ("e", "frame", "written")
"""Parameters of a Python function that the elaborator gives: itself, the frame, the arguments as they are written."""


def call(e: Elaborator, expr: ast.Call, frame: Frame, place: Place | None = None) -> Any:
    """The value of `target(args)`."""
    target = expressions.evaluate(e, expr.target, frame, part=True)
    if isinstance(target, Template):
        return instances.make(e, target, expr, frame, place)
    return apply(e, target, (), expr.args, expr.span, frame)


def apply(
    e: Elaborator, target: Any, first: Sequence[Any], args: tuple[ast.Arg, ...], span: ast.Span, frame: Frame
) -> Any:
    """Apply an instance or function to values that come before its written arguments."""
    if isinstance(target, Builtin):
        return _builtin(e, target, first, args, span, frame)
    positional, named = arguments(e, args, frame)
    positional = [*first, *positional]
    if target is POISON or any(value is POISON for value in (*positional, *named.values())):
        return POISON
    match target:
        case Instance():
            return instances.apply(e, target, positional, named, span, frame)
        case Function():
            return _function(e, target, positional, named, args, span, frame)
        case Distribution():
            if target.call is not None and len(positional) == 1 and not named:
                return target.call(e, positional[0])
            raise Problem("E0208", f"`{target.name}` takes no settings", span=span)
        case Reader():
            raise Problem("E0206", "a reader stands in a `data` section, as a split: `train = csv(...)`", span=span)
        case Template():
            raise AssertionError("a template is made into an instance first")
    raise Problem("E0208", f"{describe(target)} cannot be called", span=span)


def arguments(e: Elaborator, args: tuple[ast.Arg, ...], frame: Frame) -> tuple[list[Any], dict[str, Any]]:
    """The written arguments' values; a name given twice raises Problem."""
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for arg in args:
        value = expressions.evaluate(e, arg.value, frame)
        if arg.name is None:
            if named:
                raise Problem("E0205", "an argument without a name after one with a name", span=arg.span)
            positional.append(value)
        elif arg.name.text in named:
            raise Problem("E0205", f"`{arg.name.text}` is given twice", span=arg.span)
        else:
            named[arg.name.text] = value
    return positional, named


def bind(
    e: Elaborator,
    what: str,
    declared: tuple[ast.Declared, ...],
    args: tuple[ast.Arg, ...],
    first: Sequence[Any],
    frame: Frame,
    home: Frame,
    place: Place | None = None,
) -> Scope:
    """A scope that gives each declared setting its value: written, or by default. Raises Problem.

    Arguments are evaluated in `frame`, defaults in `home`; an instance made in an argument belongs to `place`.
    """
    scope = home.scope
    known = {each.name.text: each for each in declared}
    given: dict[str, ast.Span] = {}

    def settle(setting: ast.Declared, value: Any, span: ast.Span) -> None:
        given[setting.name.text] = span
        _check_kind(what, setting, value, span)
        if setting.type is not None and isinstance(value, Value):
            bodies.unify(e, setting.type, value, home, setting.name.text, span)
        scope.names[setting.name.text] = Binding(value, setting.name.span, made_by=span, used=True)

    def value_of(arg: ast.Arg, setting: ast.Declared) -> Any:
        inner = place.part(setting.name.text) if place is not None else None
        return expressions.evaluate(e, arg.value, frame, place=inner)

    order = list(declared)
    for value in first:
        if not order:
            raise _too_many(what, declared, None)
        settle(order.pop(0), value, frame.owner.span)
    for arg in args:
        if arg.name is None:
            if not order:
                raise _too_many(what, declared, arg.span)
            setting = order.pop(0)
            settle(setting, value_of(arg, setting), arg.span)
            continue
        name = arg.name.text
        if name not in known:
            raise no_setting(what, name, list(known), arg.name.span)
        if name in given:
            raise Problem("E0205", f"`{name}` is given twice", span=arg.name.span)
        settle(known[name], value_of(arg, known[name]), arg.span)
    for setting in declared:
        if setting.name.text in given:
            continue
        if setting.default is None:
            wanted = ", ".join(f"`{each.name.text}`" for each in declared)
            raise Problem("E0205", f"`{what}` needs `{setting.name.text}`", notes=(f"it has {wanted}",))
        value = expressions.evaluate(e, setting.default, home)
        scope.names[setting.name.text] = Binding(value, setting.name.span, used=True)
    return scope


def no_setting(what: str, name: str, known: list[str], span: ast.Span | None) -> Problem:
    guess = nearest(name, known)
    return Problem(
        "E0203",
        f"`{what}` has no setting called `{name}`",
        f"did you mean `{guess}`?" if guess else "",
        span=span,
        notes=(f"it has {', '.join(f'`{each}`' for each in known)}",) if known else ("it has none",),
    )


def _too_many(what: str, declared: tuple[ast.Declared, ...], span: ast.Span | None) -> Problem:
    names = ", ".join(f"`{each.name.text}`" for each in declared)
    notes = (f"it has {names}",) if names else ()
    return Problem("E0205", f"too many arguments for `{what}`", "one too many", span=span, notes=notes)


_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "int": ((int, Polynomial), "an integer"),
    "float": ((*NUMBER.__args__, Value), "a number"),
    "bool": ((bool,), "`true` or `false`"),
    "string": ((str,), "a text"),
}


def _check_kind(what: str, setting: ast.Declared, value: Any, span: ast.Span) -> None:
    """A setting declared `int`, `float`, `bool` or `string` takes that, a small one no block; raises Problem."""
    if isinstance(value, Template) and not setting.name.text[0].isupper():
        raise bodies.template_for(setting.name.text, value, span)
    if setting.type is None or setting.type.name is None or setting.type.dims is not None or value is POISON:
        return
    kinds = _KINDS.get(setting.type.name.text)
    if kinds is None:
        return
    fits = isinstance(value, kinds[0]) and (setting.type.name.text == "bool") == isinstance(value, bool)
    if not fits and value is not None:
        wanted = f"`{setting.name.text}` of `{what}` wants {kinds[1]}"
        raise Problem("E0302", wanted, f"this is {describe(value)}", span=span)


def _function(
    e: Elaborator,
    function: Function,
    positional: list[Any],
    named: dict[str, Any],
    args: tuple[ast.Arg, ...],
    span: ast.Span,
    frame: Frame,
) -> Any:
    """Evaluate a `fn`: its parameters open a scope, its body makes no weights."""
    fn = function.fn
    home = Frame(function.module, Scope(kind="function"), frame.owner, frame.place, (*frame.turns, id(span)), {})
    values: dict[str, tuple[Any, ast.Span]] = {}
    spans = {arg.name.text: arg.span for arg in args if arg.name is not None}
    if len(positional) > len(fn.params):
        raise _too_many(function.name, fn.params, None)
    for param, value in zip(fn.params, positional, strict=False):
        values[param.name.text] = (value, span)
    for name, value in named.items():
        if name not in [param.name.text for param in fn.params]:
            at = next(arg.name.span for arg in args if arg.name is not None and arg.name.text == name)
            raise no_setting(function.name, name, [param.name.text for param in fn.params], at)
        if name in values:
            raise Problem("E0205", f"`{name}` is given twice", span=spans[name])
        values[name] = (value, spans[name])
    if e.ragged and home.library and not frame.library and any(param.name.text == "mask" for param in fn.params):
        insist(e, function.name, {name: value for name, (value, _) in values.items()}, None)
    e.take(1, span)
    e.report.applications.append(Application(f"{function.name}(...)", span, frame.library))
    try:
        with e.builder.at(None if frame.library else span):
            for param in fn.params:
                if param.name.text in values:
                    value, at = values[param.name.text]
                    _check_kind(function.name, param, value, at)
                    if param.type is not None and isinstance(value, Value):
                        bodies.unify(e, param.type, value, home, param.name.text, at)
                elif param.default is None:
                    raise Problem("E0205", f"`{function.name}` needs `{param.name.text}`", span=span)
                else:
                    value = expressions.evaluate(e, param.default, home)
                home.scope.names[param.name.text] = Binding(value, param.name.span, used=True)
            if not isinstance(fn.body, tuple):
                return expressions.evaluate(e, fn.body, home)
            return bodies.run(e, fn.body, home, None, span)
    finally:
        e.report.applications.pop()


def _builtin(
    e: Elaborator, function: Builtin, first: Sequence[Any], args: tuple[ast.Arg, ...], span: ast.Span, frame: Frame
) -> Any:
    """Call a function of the library that is written in Python, its arguments checked against its signature."""
    parameters = inspect.signature(function.call).parameters
    part = "part" in parameters
    positional: list[Any] = list(first)
    named: dict[str, Any] = {}
    hidden = [name for name in HIDDEN if name in parameters]
    kinds = {p.kind: name for name, p in parameters.items()}
    variadic, open_ = inspect.Parameter.VAR_POSITIONAL in kinds, inspect.Parameter.VAR_KEYWORD in kinds
    known = [name for name in parameters if name not in (*hidden, kinds.get(inspect.Parameter.VAR_KEYWORD))]
    for arg in args:
        value = expressions.evaluate(e, arg.value, frame, part=part)
        if arg.name is None:
            positional.append(value)
        elif arg.name.text not in known and not open_:
            raise no_setting(function.name, arg.name.text, known, arg.name.span)
        elif arg.name.text in named:
            raise Problem("E0205", f"`{arg.name.text}` is given twice", span=arg.span)
        else:
            named[arg.name.text] = value
    if any(isinstance(value, Poison) for value in (*positional, *named.values())):
        return POISON
    if not variadic and len(positional) > len(known):
        raise Problem(
            "E0205", f"too many arguments for `{function.name}`", span=span, notes=(f"it has {_list(known)}",)
        )
    if not variadic:
        doubled = [name for name in known[: len(positional)] if name in named]
        if doubled:
            raise Problem("E0205", f"`{doubled[0]}` is given twice", span=span)
        wanted = [
            n for n in known[len(positional) :] if n not in named and parameters[n].default is inspect.Parameter.empty
        ]
        if wanted:
            raise Problem(
                "E0205", f"`{function.name}` needs `{wanted[0]}`", span=span, notes=(f"it has {_list(known)}",)
            )
    if e.ragged and "mask" in parameters and not variadic:
        default = parameters["axis"].default if "axis" in parameters else None
        insist(e, function.name, dict(zip(known, positional, strict=False)) | named, default)
    for key, value in (*zip(known, positional, strict=False), *named.items()):
        _check_written(function.name, key, parameters.get(key), value, span)
    extra: dict[str, Any] = {"e": e, "frame": frame, "written": args}
    try:
        return function.call(*(extra[name] for name in hidden), *positional, **named)
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        # The function was not made for such values. That is the caller's mistake, whatever Python says of it.
        found = ", ".join(describe(value) for value in (*positional, *named.values()))
        raise Problem("E0302", f"`{function.name}` cannot take these", f"given {found}", span=span) from error


_WRITTEN: dict[str, tuple[tuple[type, ...], str]] = {
    "int": ((int, Polynomial), "an integer"),
    "float": ((int, float), "a number that is known while compiling"),
    "bool": ((bool,), "`true` or `false`"),
    "str": ((str,), "a text"),
}


def _check_written(what: str, name: str, parameter: inspect.Parameter | None, value: Any, span: ast.Span) -> None:
    """A Python function's parameter of a plain type takes that; raises Problem."""
    if parameter is None or parameter.annotation not in _WRITTEN or parameter.kind is parameter.VAR_POSITIONAL:
        return
    kinds, wanted = _WRITTEN[parameter.annotation]
    if not isinstance(value, kinds) or (parameter.annotation != "bool" and isinstance(value, bool)):
        raise Problem("E0302", f"`{name}` of `{what}` wants {wanted}", f"this is {describe(value)}", span=span)


def _list(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
