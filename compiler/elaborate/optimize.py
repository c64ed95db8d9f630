"""Optimizers: a block applied once to each weight and its gradient."""

from __future__ import annotations

from collections.abc import Iterable

from dlc.compiler.elaborate import expressions, instances
from dlc.compiler.elaborate.context import Elaborator, Frame, Parameter
from dlc.compiler.elaborate.entities import POISON, Instance, Place, Template, describe
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value
from dlc.dsl import ast


class Addresses:
    """Where the states of an optimizer belong: `RUN.optimizer.PARAMETER.m`, and `RUN.optimizer.t` for shared ones."""

    def __init__(self, run: str, parameter: str) -> None:
        self.run = run
        self.parameter = parameter

    def address_of(self, owner: Instance, name: str) -> str:
        if owner.template is not None and name in shared_states(owner.template.block):
            return f"{self.run}.optimizer.{name}"
        return f"{self.run}.optimizer.{self.parameter}.{name}"


def shared_states(block: ast.Block) -> set[str]:
    """The scalar states that depend on nothing but themselves and settings: one value serves every weight."""
    if not isinstance(block.body, tuple):
        return set()
    values: dict[str, ast.Expr] = {}
    inputs: set[str] = set()
    states: dict[str, ast.Expr] = {}
    moves: dict[str, ast.Expr] = {}
    for statement in block.body:
        match statement:
            case ast.Assign():
                values.update({name.text: statement.value for name in statement.names})
            case ast.Input():
                inputs.update(item.name.text for item in statement.items)
            case ast.State():
                states[statement.name.text] = statement.init
            case ast.Next():
                moves.update({bind.name.text: bind.value for bind in statement.binds})

    def reads(name: str) -> set[str]:
        seen: set[str] = set()
        waiting = [states[name], moves[name]] if name in moves else [states[name]]
        while waiting:
            for ref in _names(waiting.pop()):
                if ref not in seen:
                    seen.add(ref)
                    if ref in values:
                        waiting.append(values[ref])
        return seen

    return {name for name in states if not reads(name) & (inputs | (states.keys() - {name}))}


def _names(expr: ast.Expr) -> Iterable[str]:
    waiting: list[ast.Syntax] = [expr]
    while waiting:
        part = waiting.pop()
        if isinstance(part, ast.Ref):
            yield part.name
        waiting.extend(ast.children(part))


def update(
    e: Elaborator, run: str, expr: ast.Expr, weights: list[tuple[Parameter, Value]], frame: Frame
) -> dict[str, Value]:
    """Apply the optimizer that `expr` makes to each weight and gradient; the new weights by address. Raises Problem."""
    while isinstance(expr, ast.Group):
        expr = expr.inner
    template = expressions.evaluate(e, expr.target if isinstance(expr, ast.Call) else expr, frame)
    if template is POISON:
        return {}
    if not isinstance(template, Template):
        raise Problem("E0302", "an optimizer is a block, such as `Adam(lr=1e-3)`", f"this is {describe(template)}")
    updated: dict[str, Value] = {}
    for parameter, gradient in weights:
        owner = Instance(None, Place((run, "optimizer")), expr.span)
        place = Place((run, "optimizer", parameter.address))
        inner = Frame(frame.module, frame.scope, owner, owner.place, (), frame.dims)
        instance = instances.make(e, template, expr, inner, place)
        e.optimizer = Addresses(run, parameter.address)
        failed = len(e.report.diagnostics)
        try:
            result = instances.apply(e, instance, [parameter.value, gradient], {}, expr.span, inner)
        finally:
            e.optimizer = None
        if result is POISON or len(e.report.diagnostics) > failed:
            return {}
        if not isinstance(result, Value) or result.type != parameter.type:
            raise Problem(
                "E0301",
                f"`{template.name}` has to return the new weight, {parameter.type}",
                f"it returns {describe(result)}",
                span=expr.span,
            )
        updated[parameter.address] = result
    return updated
