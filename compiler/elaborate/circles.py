"""Declarations that refer to themselves: the language has no recursion, and this is found before anything expands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dlc.compiler.elaborate.problems import Problem
from dlc.dsl import ast
from dlc.dsl.diagnostics import Label
from dlc.dsl.modules import Module

KINDS = (ast.Let, ast.Fn, ast.Block, ast.Net, ast.Infer)


def circles(modules: Iterable[Module]) -> Iterator[tuple[Problem, ast.Span]]:
    """A problem for each circle of declarations that name one another, with the place of the name that closes it.

    A name that a declaration gives to something of its own is no reference to what is declared under it.
    """
    done: set[int] = set()
    for module in modules:
        for declaration in module.source.declarations:
            if isinstance(declaration, KINDS) and id(declaration) not in done:
                yield from _from(declaration, module, done)


def _from(start: ast.Declaration, module: Module, done: set[int]) -> Iterator[tuple[Problem, ast.Span]]:
    trail = [(start, _references(start, module))]
    names: list[ast.Ref] = []
    while trail:
        declaration, rest = trail[-1]
        ref, target, home = next(rest, (None, None, None))
        if ref is None or target is None or home is None:
            done.add(id(declaration))
            trail.pop()
            names = names[:-1]
            continue
        if id(target) in done:
            continue
        opened = next((at for at, (each, _) in enumerate(trail) if each is target), None)
        if opened is None:
            names.append(ref)
            trail.append((target, _references(target, home)))
            continue
        others = tuple(Label(each.span, "by way of this") for each in names[opened:])
        notes = ("the language has no recursion, so that what a file expands to is always finite",)
        message = f"`{ref.name}` is defined by itself"
        yield Problem("E0209", message, "named here", secondary=others, notes=notes), ref.span


def _references(declaration: ast.Declaration, module: Module) -> Iterator[tuple[ast.Ref, ast.Declaration, Module]]:
    """The declarations that one names, in the order of the text, each with the module that declares it."""
    parts = list(ast.walk(declaration))
    own = {name for part in parts for name in _given(part)}
    for part in parts:
        if isinstance(part, ast.Ref) and part.name not in own:
            target = module.scope.get(part.name)
            if isinstance(target, KINDS):
                yield part, target, module.home[part.name]


def _given(part: ast.Syntax) -> Iterator[str]:
    """The names that a part of a body gives."""
    match part:
        case ast.Declared(name=name) | ast.Param(name=name) | ast.State(name=name) | ast.Field(name=name):
            yield name.text
        case ast.Bind(name=name):
            yield name.text
        case ast.Assign(names=names) | ast.Each(names=names) | ast.For(names=names) | ast.Scan(names=names):
            yield from (name.text for name in names)
        case ast.Stage(alias=ast.Name() as alias):
            yield alias.text
