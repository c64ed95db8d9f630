"""What a name means: the body's own, then dimensions, then the file's declarations, then the library."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dlc.compiler.elaborate import borrowing, expressions, library
from dlc.compiler.elaborate.context import Elaborator, Frame
from dlc.compiler.elaborate.entities import (
    POISON,
    Binding,
    Function,
    Instance,
    Place,
    Reader,
    Scope,
    Size,
    Template,
)
from dlc.compiler.elaborate.kinds import kind_of
from dlc.compiler.elaborate.problems import Problem
from dlc.dsl import ast
from dlc.dsl.diagnostics import Label, nearest
from dlc.dsl.modules import Module

SCALARS = ("step", "seed", "epoch", "steps", "steps_per_epoch")
_PENDING = object()
GUESSES = 50
FOREIGN = {
    "True": "true", "False": "false", "None": "none", "null": "none", "Dense": "Linear", "FullyConnected": "Linear",
    "Conv1d": "Conv", "Conv2d": "Conv", "Conv2D": "Conv", "Conv3d": "Conv", "BatchNorm1d": "BatchNorm",
    "BatchNorm2d": "BatchNorm", "MaxPool2d": "max_pool", "AvgPool2d": "avg_pool", "Dropout": "dropout",
    "Flatten": "flatten", "ReLU": "relu", "CrossEntropyLoss": "cross_entropy", "MSELoss": "mse",
}  # fmt: skip
"""What other languages and frameworks call what there is here."""

PACKAGES = ("nn", "torch", "F", "tf", "keras", "layers", "optim", "np", "jnp", "flax")


def find(e: Elaborator, frame: Frame, name: str, span: ast.Span) -> Binding:
    """The binding of a name; raises Problem with a likely spelling if there is none."""
    found = look(e, frame, name, span)
    if found is None:
        # A guess takes a look at every name there is: a file with so many unknown ones gets none for the rest.
        raise unknown(name, candidates(e, frame) if len(e.report.diagnostics) < GUESSES else (), span)
    return found


def look(e: Elaborator, frame: Frame, name: str, span: ast.Span) -> Binding | None:
    """The binding of a name, or None."""
    local = frame.scope.find(name)
    if local is not None:
        return local
    if name in frame.dims:
        dim, where = frame.dims[name]
        return Binding(Size(dim, name) if isinstance(dim, int) else dim, where)
    declaration = frame.module.scope.get(name)
    if declaration is not None:
        home = frame.module.home[name]
        return Binding(entity(e, declaration, home, span), declaration.span)
    if name == "training":
        return Binding(e.mode.training, None)
    declaration = e.library.scope.get(name)
    if declaration is not None:
        return Binding(entity(e, declaration, e.library, span), declaration.span)
    builtin = library.BUILTINS.get(name)
    return Binding(builtin, None) if builtin is not None else None


def candidates(e: Elaborator, frame: Frame) -> list[str]:
    """Every name that can be used here."""
    return [*frame.scope.visible(), *frame.dims, *frame.module.scope, *e.library.scope, *library.BUILTINS]


def unknown(name: str, known: Iterable[str], span: ast.Span, what: str | None = None) -> Problem:
    guess = FOREIGN.get(name) if what is None else None
    guess = guess or nearest(name, known)
    message = f"{what} has nothing called `{name}`" if what else f"nothing here is called `{name}`"
    return Problem("E0201", message, f"did you mean `{guess}`?" if guess else "", span=span)


def package(e: Elaborator, frame: Frame, expr: ast.Attr) -> Problem | None:
    """`nn.Linear`: the library's names stand alone."""
    root = expr.target
    while isinstance(root, ast.Attr):
        root = root.target
    if not isinstance(root, ast.Ref) or root.name not in PACKAGES or look(e, frame, root.name, root.span) is not None:
        return None
    name = expr.name.text
    meant = FOREIGN.get(name, name)
    if look(e, frame, meant, expr.span) is None:
        meant = nearest(name, candidates(e, frame)) or ""
    help = f"the library's names stand alone: `{meant or 'Linear'}`"
    return Problem("E0201", f"nothing here is called `{root.name}`", span=root.span, help=help)


def entity(e: Elaborator, declaration: ast.Declaration, home: Module, span: ast.Span) -> Any:
    """What a declaration of a file stands for; a `let` is evaluated once."""
    match declaration:
        case ast.Block():
            return Template(declaration, home)
        case ast.Fn():
            body = declaration.body
            if isinstance(body, tuple) and all(isinstance(each, ast.Field) for each in body):
                fields = {each.name.text: each.type for each in body if isinstance(each, ast.Field)}
                return Reader(declaration, fields)
            return Function(declaration, home)
        case ast.Net():
            return e.instance_of_net(declaration, home)
        case ast.Let():
            return _let(e, declaration, home)
        case ast.Data():
            return declaration
        case ast.Import():
            return borrowing.instance_of(e, declaration, home)
    raise Problem("E0208", "this cannot be used as a value", span=span)


def _let(e: Elaborator, let: ast.Let, home: Module) -> Any:
    key = (home.file, let.name.text)
    kind = kind_of(let.type)
    if home is e.program.main and let.name.text in e.lets:
        if kind is not None:
            kind.check(f"`{let.name.text}`", e.lets[let.name.text], let.name.span)
        return e.lets[let.name.text]
    if e.entities.get(key) is _PENDING:
        raise Problem("E0209", f"`{let.name.text}` is defined by itself", span=let.name.span)
    if key not in e.entities:
        e.entities[key] = _PENDING
        owner = Instance(None, Place((let.name.text,)), let.span)
        value = expressions.evaluate(e, let.value, Frame(home, Scope(), owner, owner.place))
        e.entities[key] = value
        if kind is not None and value is not POISON:
            kind.check(f"`{let.name.text}`", value, let.value.span)
    return e.entities[key]


def give(
    e: Elaborator, frame: Frame, name: ast.Name, value: Any, *, made_by: ast.Span | None, instance: Any = None
) -> None:
    """Bind a name in the frame's body; a second value for one's own name is reported and the first one kept."""
    own = frame.scope.find(name.text)
    if own is None and frame.module.scope.get(name.text) is not None and not frame.library:
        own = Binding(POISON, getattr(frame.module.scope[name.text], "name", name).span)
        frame.scope.names[name.text] = Binding(value, name.span, instance, made_by)  # what follows means this one
    if own is not None and own.span is not None:
        problem = Problem(
            "E0202",
            f"`{name.text}` already has a value",
            "given a second one here",
            span=name.span,
            secondary=(Label(own.span, "first given a value here"),),
            notes=("a name is an address: of a weight, of a value in the exported graph. It is given once.",),
            help=f"join the two with `->`, or call this one `{name.text}2`",
        )
        e.report.add(problem, name.span)
        return
    frame.scope.names[name.text] = Binding(value, name.span, instance, made_by)
