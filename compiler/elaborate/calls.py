"""Calls: a block makes an instance, an instance is applied, a function is evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlc.compiler.elaborate import bodies, expressions, instances, kinds
from dlc.compiler.elaborate.context import Elaborator, Frame
from dlc.compiler.elaborate.conversion import name_converted
from dlc.compiler.elaborate.entities import (
    POISON,
    Binding,
    Builtin,
    Distribution,
    Function,
    Instance,
    Place,
    Reader,
    Scope,
    Template,
    describe,
)
from dlc.compiler.elaborate.kinds import Signature, signature
from dlc.compiler.elaborate.library.functions import along
from dlc.compiler.elaborate.library.masks import insist, speaker
from dlc.compiler.elaborate.problems import Application, Problem
from dlc.compiler.graph import Value
from dlc.compiler.types import Polynomial
from dlc.dsl import ast
from dlc.dsl.diagnostics import nearest

FOREIGN_SETTINGS = {
    "learning_rate": "lr", "eta": "lr", "decay": "weight_decay", "out_features": "units", "use_bias": "bias",
    "out_channels": "channels", "filters": "channels", "kernel_size": "kernel", "strides": "stride", "padding": "pad",
}  # fmt: skip
"""What other frameworks call a setting."""

INFERRING = ("Linear",)
"""Blocks whose first two settings are the sizes of input and output elsewhere."""

TRUTH = kinds.KINDS["bool"]


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
    if isinstance(target, Distribution) and target.call is not None:
        target = target.call
    if isinstance(target, Builtin):
        return _builtin(e, target, first, args, span, frame)
    positional, named = arguments(e, args, frame)
    positional = [*first, *positional]
    if target is POISON or any(value is POISON for value in (*positional, *named.values())):
        return POISON
    match target:
        case Instance():
            since = e.mark()
            result = instances.apply(e, target, positional, named, span, frame)
            if not frame.library:
                kind = "block" if target.chain is None else "loop"
                e.applied(since, kind, target.address, frame.place, result, span)
            return result
        case Function():
            return _function(e, target, positional, named, args, span, frame)
        case Distribution():
            raise Problem("E0208", f"`{target.name}` takes no settings", span=span)
        case Reader():
            raise Problem("E0206", "a reader stands in a `data` section, as a split: `train = csv(...)`", span=span)
        case Template():
            raise AssertionError("a template is made into an instance first")
    raise Problem("E0208", f"{describe(target)} cannot be called", span=span)


def arguments(e: Elaborator, args: tuple[ast.Arg, ...], frame: Frame) -> tuple[list[Any], dict[str, Any]]:
    """The written arguments' values; a name given twice raises Problem."""
    in_order(args)
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for arg in args:
        value = expressions.evaluate(e, arg.value, frame)
        if arg.name is None:
            positional.append(value)
        elif arg.name.text in named:
            raise Problem("E0205", f"`{arg.name.text}` is given twice", span=arg.span)
        else:
            named[arg.name.text] = value
    return positional, named


def in_order(args: tuple[ast.Arg, ...]) -> None:
    """Arguments without a name come first: after a named one nobody could tell whose turn it is. Raises Problem."""
    named = False
    for arg in args:
        if arg.name is None and named:
            raise Problem("E0205", "an argument without a name after one with a name", span=arg.span)
        named |= arg.name is not None


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
    in_order(args)
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
        if isinstance(arg.value, ast.Ref) and arg.value.name == "None" and kinds.kind_of(setting.type) is TRUTH:
            message = f"`{setting.name.text}` of `{what}` wants `true` or `false`"
            raise Problem("E0302", message, "did you mean `false`?", span=arg.value.span)
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
            value = value_of(arg, setting)
            try:
                settle(setting, value, arg.span)
            except Problem as problem:
                if home.library and what in INFERRING and setting in declared[1:2] and isinstance(value, int):
                    only = f"`{what}({value})`"
                    problem.help = f"the size of the input is inferred, only the number of units is given: {only}"
                raise
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
    guess = FOREIGN_SETTINGS.get(name)
    guess = guess if guess in known else nearest(name, known)
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


def _check_kind(what: str, setting: ast.Declared, value: Any, span: ast.Span) -> None:
    """A setting takes what its kind says, a small one no block; raises Problem."""
    if isinstance(value, Template) and not setting.name.text[0].isupper():
        raise bodies.template_for(setting.name.text, value, span)
    if value is not POISON:
        kinds.declared(what, setting, value, span)


def _check_tensor(what: str, param: ast.Declared, value: Any, span: ast.Span, library: bool) -> None:
    """A parameter whose type has dimensions takes a tensor; a user's takes numbers too. Raises Problem."""
    if library or not isinstance(value, int | float | Polynomial | list | tuple | None):
        message = f"`{param.name.text}` of `{what}` wants a tensor"
        raise Problem("E0302", message, f"this is {describe(value)}", span=span)


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
    written = [arg.span for arg in args if arg.name is None]
    places = [*[span] * (len(positional) - len(written)), *written]
    for param, value, place in zip(fn.params, positional, places, strict=False):
        values[param.name.text] = (value, place)
    for name, value in named.items():
        if name not in [param.name.text for param in fn.params]:
            at = next(arg.name.span for arg in args if arg.name is not None and arg.name.text == name)
            raise no_setting(function.name, name, [param.name.text for param in fn.params], at)
        if name in values:
            raise Problem("E0205", f"`{name}` is given twice", span=spans[name])
        values[name] = (value, spans[name])
    if e.ragged and home.library and not frame.library and any(param.name.text == "mask" for param in fn.params):
        given = {name: value for name, (value, _) in values.items()}
        insist(e, function.name, given.get(fn.params[0].name.text), along, given, "mask" in given)
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
                    elif param.type is not None and param.type.dims is not None:
                        _check_tensor(function.name, param, value, at, home.library)
                elif param.default is None:
                    raise Problem("E0205", f"`{function.name}` needs `{param.name.text}`", span=span)
                else:
                    value = expressions.evaluate(e, param.default, home)
                home.scope.names[param.name.text] = Binding(value, param.name.span, used=True)
            if not isinstance(fn.body, tuple):
                return expressions.evaluate(e, fn.body, home)
            return bodies.run(e, fn.body, home, None, fn.span)
    finally:
        e.report.applications.pop()


def _builtin(
    e: Elaborator, function: Builtin, first: Sequence[Any], args: tuple[ast.Arg, ...], span: ast.Span, frame: Frame
) -> Any:
    """Call a function of the library that is written in Python, its arguments checked against its signature."""
    takes = signature(function)
    in_order(args)
    part = "part" in takes.known
    positional: list[Any] = list(first)
    named: dict[str, Any] = {}
    spans = [span] * len(positional)
    places: dict[str, ast.Span] = {}
    for arg in args:
        value = expressions.evaluate(e, arg.value, frame, part=part)
        if arg.name is None:
            positional.append(value)
            spans.append(arg.span)
        elif arg.name.text not in takes.by_name and not takes.extra:
            names = [name for name in takes.known if name in takes.by_name]
            raise no_setting(function.name, arg.name.text, names, arg.name.span)
        elif arg.name.text in named:
            raise Problem("E0205", f"`{arg.name.text}` is given twice", span=arg.span)
        else:
            named[arg.name.text] = value
            places[arg.name.text] = arg.span
    if any(value is POISON for value in (*positional, *named.values())):
        return POISON
    _complete(function.name, takes, len(positional), places, spans, span)
    given = dict(zip(takes.known, positional, strict=False)) | named
    places = dict(zip(takes.known, spans, strict=False)) | places
    extra: dict[str, Any] = {"e": e, "frame": frame, "written": args}
    try:
        takes.check(given, places)
        if e.ragged and function.mixes is not None:
            what, said = speaker(function.name, given, frame)
            insist(e, what, given.get(takes.known[0]), function.mixes, {**takes.defaults, **given}, said)
        return function.call(*(extra[name] for name in takes.hidden), *positional, **named)
    except Problem as problem:
        problem.span = problem.span or places.get(problem.argument)
        if not frame.library:
            written = [*[None] * len(first), *(arg.value for arg in args)]
            name_converted(problem, zip(written, [*positional, *named.values()], strict=True), function.name)
        raise


def _complete(
    what: str, takes: Signature, count: int, named: Mapping[str, ast.Span], spans: Sequence[ast.Span], span: ast.Span
) -> None:
    """Every parameter has one argument, of `count` by position and those that are `named`; raises Problem."""
    has = (f"it has {', '.join(f'`{name}`' for name in takes.known)}",) if takes.known else ()
    if not takes.variadic and count > len(takes.known):
        raise Problem("E0205", f"too many arguments for `{what}`", span=spans[len(takes.known)], notes=has)
    for name in takes.known[:count]:
        if name in named and name in takes.by_name:
            raise Problem("E0205", f"`{name}` is given twice", span=named[name])
    for name in takes.known[count:]:
        if name in named and name not in takes.by_name:
            raise Problem("E0205", f"`{name}` of `{what}` is given without its name", span=named[name])
        if name not in named and name not in takes.defaults:
            raise Problem("E0205", f"`{what}` needs `{name}`", span=span, notes=has)
