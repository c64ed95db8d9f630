"""Optimizers: a block applied once to each weight and its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dlc.compiler.elaborate import expressions, instances
from dlc.compiler.elaborate.arithmetic import binary
from dlc.compiler.elaborate.context import Elaborator, Frame, Parameter
from dlc.compiler.elaborate.entities import POISON, Instance, Place, Template, describe
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.elaborate.run import Group, Run, holds
from dlc.compiler.graph import Value
from dlc.dsl import ast


@dataclass(frozen=True)
class Addresses:
    """Where the states of the `optimizer` of one weight belong: `RUN.optimizer.PARAMETER.m`, and for shared ones
    `RUN.optimizer.t`, or `RUN.optimizer.PART.t` where a group changes a setting that the state reads."""

    prefix: str
    parameter: str
    optimizer: Instance
    groups: tuple[Group, ...]
    shared: dict[int, dict[str, set[str]]]
    """The shared states of the blocks met so far, by the blocks' identity: the same for every weight."""

    def address_of(self, owner: Instance, name: str) -> str:
        shared = self._shared(owner.template.block) if owner.template is not None else {}
        if name not in shared:
            return f"{self.prefix}.{self.parameter}.{name}"
        # The most specific part tells the set of settings: its weights are in the same groups, all of them.
        parts = [each.prefix for each in self.groups if self._changes(each, owner, shared[name])]
        return f"{self.prefix}.{max(parts, key=len)}.{name}" if parts else f"{self.prefix}.{name}"

    def _shared(self, block: ast.Block) -> dict[str, set[str]]:
        if id(block) not in self.shared:
            self.shared[id(block)] = shared_states(block)
        return self.shared[id(block)]

    def _changes(self, group: Group, owner: Instance, settings: set[str]) -> bool:
        """May the group change one of these settings? A block inside the optimizer has its settings from there."""
        return bool(group.changed and settings if owner is not self.optimizer else group.changed.keys() & settings)


def shared_states(block: ast.Block) -> dict[str, set[str]]:
    """The scalar states that depend on nothing but themselves and settings, and the settings that each depends on.

    One value serves every weight for which these are the same.
    """
    if not isinstance(block.body, tuple):
        return {}
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

    settings = {setting.name.text for setting in block.params}
    read = {name: reads(name) for name in states}
    return {name: read[name] & settings for name in states if not read[name] & (inputs | (states.keys() - {name}))}


def update(e: Elaborator, run: Run, weights: list[tuple[Parameter, Value]]) -> dict[str, Value]:
    """Apply each weight's optimizer to it and its gradient; the new weights by address. Raises Problem."""
    updated: dict[str, Value] = {}
    shared: dict[int, dict[str, set[str]]] = {}
    assert run.optimizer is not None and run.frame is not None
    for parameter, gradient in weights:
        expr, states, groups = _rules(run, parameter.address)
        instance = _instance(e, run.name, expr, parameter, run.frame)
        if instance is None:
            return {}
        _adapt(instance, groups)
        inner = tuple(each for each in groups if each.optimizer is None)
        e.optimizer = Addresses(states, parameter.address, instance, inner, shared)
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


def _rules(run: Run, address: str) -> tuple[ast.Expr, str, tuple[Group, ...]]:
    """What the weight of that address learns by: its optimizer, where the states of that belong, and the groups that
    change its settings, in the order of the text."""
    assert run.optimizer is not None
    expr, states = run.optimizer.value, f"{run.name}.optimizer"
    groups: list[Group] = []
    for number, group in enumerate(run.groups, 2):
        if not holds(group.prefix, address):
            continue
        if group.optimizer is not None:
            expr, states, groups = group.optimizer, f"{run.name}.optimizer{number}", []
        groups.append(group)
    return expr, states, tuple(groups)


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


def _adapt(instance: Instance, groups: Sequence[Group]) -> None:
    """The exceptions of groups, as the settings of the optimizer for one of their weights; raises Problem."""
    assert instance.settings is not None
    last = {key: group for group in groups for key in group.changed}
    for key, group in last.items():
        value = group.changed[key]
        binding = instance.settings.names.get(key)
        if binding is None:
            raise Problem(
                "E0203", f"`{instance.text}` has no setting `{key}`, which this group changes", span=group.span
            )
        binding.value = binary("*", binding.value, value) if key == "lr" else value
