"""Optimizers: a block applied once to each weight and its gradient."""

from __future__ import annotations

from dlc.compiler.elaborate import expressions, instances
from dlc.compiler.elaborate.arithmetic import binary
from dlc.compiler.elaborate.context import Elaborator, Frame, Parameter
from dlc.compiler.elaborate.entities import POISON, Instance, Place, Template, describe
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.elaborate.run import Group, Run
from dlc.compiler.graph import Value
from dlc.dsl import ast


class Addresses:
    """Where the states of an optimizer belong: `RUN.optimizer.PARAMETER.m`, and `RUN.optimizer.t` for shared ones."""

    def __init__(self, prefix: str, parameter: str) -> None:
        self.prefix = prefix
        self.parameter = parameter

    def address_of(self, owner: Instance, name: str) -> str:
        if owner.template is not None and name in shared_states(owner.template.block):
            return f"{self.prefix}.{name}"
        return f"{self.prefix}.{self.parameter}.{name}"


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
            for ref in ast.walk(waiting.pop()):
                if isinstance(ref, ast.Ref) and ref.name not in seen:
                    seen.add(ref.name)
                    if ref.name in values:
                        waiting.append(values[ref.name])
        return seen

    return {name for name in states if not reads(name) & (inputs | (states.keys() - {name}))}


def update(e: Elaborator, run: Run, weights: list[tuple[Parameter, Value]]) -> dict[str, Value]:
    """Apply each weight's optimizer to it and its gradient; the new weights by address. Raises Problem."""
    updated: dict[str, Value] = {}
    assert run.optimizer is not None and run.frame is not None
    for parameter, gradient in weights:
        group = next((each for each in reversed(run.groups) if _holds(each.prefix, parameter.address)), None)
        own = group is not None and group.optimizer is not None
        expr = group.optimizer if group is not None and group.optimizer is not None else run.optimizer.value
        states = f"{run.name}.optimizer" + (str(run.groups.index(group) + 2) if group is not None and own else "")
        instance = _instance(e, run.name, expr, parameter, run.frame)
        if instance is None:
            return {}
        if group is not None:
            _adapt(instance, group)
        e.optimizer = Addresses(states, parameter.address)
        failed = len(e.report.diagnostics)
        try:
            result = instances.apply(e, instance, [parameter.value, gradient], {}, expr.span, run.frame)
        finally:
            e.optimizer = None
        if result is POISON or len(e.report.diagnostics) > failed:
            return {}
        if not isinstance(result, Value) or result.type != parameter.type:
            raise Problem(
                "E0301",
                f"`{instance.text}` has to return the new weight, {parameter.type}",
                f"it returns {describe(result)}",
                span=expr.span,
            )
        updated[parameter.address] = result
    return updated


def _holds(prefix: str, address: str) -> bool:
    return address == prefix or address.startswith((prefix + ".", prefix + "["))


def _instance(e: Elaborator, run: str, expr: ast.Expr, parameter: Parameter, frame: Frame) -> Instance | None:
    while isinstance(expr, ast.Group):
        expr = expr.inner
    template = expressions.evaluate(e, expr.target if isinstance(expr, ast.Call) else expr, frame)
    if template is POISON:
        return None
    if not isinstance(template, Template):
        text = "an optimizer is a block, such as `Adam(lr=1e-3)`"
        raise Problem("E0302", text, f"this is {describe(template)}", span=expr.span)
    owner = Instance(None, Place((run, "optimizer")), expr.span)
    inner = Frame(frame.module, frame.scope, owner, owner.place, (), frame.dims)
    return instances.make(e, template, expr, inner, Place((run, "optimizer", parameter.address)))


def _adapt(instance: Instance, group: Group) -> None:
    """A group's exceptions, as the settings of the optimizer for one of its weights; raises Problem."""
    assert instance.settings is not None
    for key, value in (("lr", group.lr_scale), ("weight_decay", group.weight_decay)):
        if value is None:
            continue
        binding = instance.settings.names.get(key)
        if binding is None:
            raise Problem(
                "E0203", f"`{instance.text}` has no setting `{key}`, which this group changes", span=group.span
            )
        binding.value = binary("*", binding.value, value) if key == "lr" else value
