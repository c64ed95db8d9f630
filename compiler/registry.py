"""The one record in which everything the compiler knows of an operator stands.

A family's file (`elementwise.py`, `convolution.py`, ...) calls `define` for each operator and gives its gradient right
below, so that an operator is one place to read and one place to write.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from dlc.compiler.graph import Attribute, Graph, Node, Value
from dlc.compiler.types import Array, Dim, Shape, Type


class IllTyped(Exception):
    """An operator was given inputs that its type rule refuses; the message says what was expected and found."""


@dataclass(frozen=True, slots=True)
class Call:
    """An application whose type is wanted: what a type rule sees."""

    op: str
    inputs: tuple[Value | None, ...]
    attributes: Mapping[str, Attribute]
    bodies: tuple[Graph, ...] = ()
    outputs: int = 1

    def type(self, index: int) -> Type:
        """The type of an input that must be there; raises IllTyped."""
        value = self.inputs[index] if index < len(self.inputs) else None
        if value is None:
            raise IllTyped(f"{self.op} needs input {index + 1}")
        return value.type

    def has(self, index: int) -> bool:
        return index < len(self.inputs) and self.inputs[index] is not None

    def constant(self, index: int) -> Array | None:
        """The value of an input if it is there and a constant."""
        value = self.inputs[index] if index < len(self.inputs) else None
        return value.constant if value is not None else None

    def get(self, name: str, default: Any = None) -> Any:
        value = self.attributes.get(name)
        return default if value is None else value


Infer = Callable[[Call], Sequence[Type]]
Rule = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class NoGradient:
    """Why no gradient goes through an operator: its results are no numbers that change smoothly, or nothing is read."""

    reason: str


@dataclass(frozen=True, slots=True)
class ZeroGradient(NoGradient):
    """Why an operator's derivative is zero almost everywhere: no gradient goes through it, and none is missing."""


@dataclass(frozen=True, slots=True)
class Expansion:
    """An operator's values, built of simpler operators: its gradient is theirs."""

    rule: Rule


@dataclass(slots=True)
class Operator:
    """What the compiler knows of one operator.

    `infer` gives the types of its outputs or raises IllTyped. `gradient` is a rule, an expansion, or the reason why
    there is none, or why it is zero.
    `at_run` says that it serves too where only a run tells what the type rule asks for; `settle` gives inputs of which
    the rule can tell that they fit.
    `evaluate` is the meaning in numpy (private operators only; ONNX's own have onnx's reference implementation).
    `lower` builds the same value of ONNX operators (private operators only). `broadcasts` marks elementwise operators:
    their inputs stretch, and the driver of differentiation undoes it.
    """

    name: str
    infer: Infer
    gradient: Rule | Expansion | NoGradient | None = None
    evaluate: Callable[..., Any] | None = None
    lower: Rule | None = None
    broadcasts: bool = False
    at_run: bool = False
    settle: Rule | None = None


_OPERATORS: dict[str, Operator] = {}
# Attributes of nodes that are the compiler's own: no operator knows them, no file holds them. `declared` are the types
# of a node whose rule cannot tell them, for they depend on data; `site` keeps two nodes from being merged.
COMPILER_ATTRIBUTES = frozenset({"declared", "site"})


def define(name: str, infer: Infer, *, broadcasts: bool = False) -> Operator:
    """Record an operator; raises ValueError if it is there already."""
    if name in _OPERATORS:
        raise ValueError(f"{name} is defined twice")
    _OPERATORS[name] = Operator(name, _or_declared(infer), broadcasts=broadcasts)
    return _OPERATORS[name]


def _or_declared(infer: Infer) -> Infer:
    def rule(call: Call) -> Sequence[Type]:
        declared: Sequence[Type] | None = call.attributes.get("declared")
        return infer(call) if declared is None else declared

    return rule


def gradient(*names: str, at_run: bool = False) -> Callable[[Rule], Rule]:
    """The gradient of operators, as a rule. `at_run` says that it reads nothing that the operator's type rule reads, so
    that it serves nodes too whose types are `declared`: their axes, counts or shapes are known only at run time.

    A rule's positional parameters choose what it is given: `g` the cotangent of the first output, `gs` those of all
    outputs (None where nothing flows), `y` the first output, `ys` all outputs, `node` the node itself; any other takes
    the inputs in their order, `*xs` the rest of them. Keyword-only parameters are attributes, with their defaults. It
    returns the cotangent of each input (a value alone for the first), None where there is none. Undoing a broadcast
    is the driver's work.
    """

    def record(rule: Rule) -> Rule:
        for name in names:
            _OPERATORS[name].gradient = rule
            _OPERATORS[name].at_run = at_run
        return rule

    return record


def settle(*names: str) -> Callable[[Rule], Rule]:
    """How inputs whose symbolic sizes need not fit are made to fit, for a gradient to go through: sizes that turn out
    other than the rule says are refused when the graph runs.

    A rule `f(call)` gives the inputs reshaped or stretched `at_run` time, so that the operator's type rule can tell.
    """

    def record(rule: Rule) -> Rule:
        for name in names:
            _OPERATORS[name].settle = rule
        return rule

    return record


def expansion(*names: str, at_run: bool = False) -> Callable[[Rule], Rule]:
    """The gradient of operators, by what they are made of: a rule builds a node's values of simpler operators. `at_run`
    means what it does for a gradient.

    A gradient through such a node replaces it by what the rule builds. Its parameters are chosen as those of a
    gradient rule are, without cotangents and outputs. It returns the value of each output that it is asked for
    (`len(node.outputs)`; a value alone for the first), of the same types.
    """

    def record(rule: Rule) -> Rule:
        for name in names:
            _OPERATORS[name].gradient = Expansion(rule)
            _OPERATORS[name].at_run = at_run
        return rule

    return record


def no_gradient(reason: str, *names: str) -> None:
    """Say why operators have no gradient."""
    for name in names:
        _OPERATORS[name].gradient = NoGradient(reason)


def zero_gradient(reason: str, *names: str) -> None:
    """Say why the derivative of operators exists and is zero, but for the places where they jump.

    Where the other paths of a product lead on, as in x * Floor(x), the gradient is right without theirs. A weight that
    is reached through such operators alone cannot learn: that is told as if they had no gradient.
    """
    for name in names:
        _OPERATORS[name].gradient = ZeroGradient(reason)


def evaluate(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The numpy meaning of a private operator: `f(*inputs, **attributes)` with arrays, or None where one is missing."""

    def record(function: Callable[..., Any]) -> Callable[..., Any]:
        _OPERATORS[name].evaluate = function
        return function

    return record


def lower(name: str) -> Callable[[Rule], Rule]:
    """How a private operator is built of ONNX's: `f(lowering, node, *inputs)` returns the value or values.

    `lowering.dim(d)` gives a dimension at run time as i64[], `lowering.shape(dims)` a shape as i64[rank].
    """

    def record(rule: Rule) -> Rule:
        _OPERATORS[name].lower = rule
        return rule

    return record


def operators() -> Mapping[str, Operator]:
    """Every operator by its name."""
    _load()
    return _OPERATORS


def lookup(name: str) -> Operator:
    """The record of an operator; raises IllTyped for one that nobody defined."""
    _load()
    found = _OPERATORS.get(name) or _fallback(name)
    if found is None:
        raise IllTyped(f"{name} is not an operator that dlc knows")
    return found


@cache
def _fallback(name: str) -> Operator | None:
    """The record of an operator that only ONNX's schema tells of; onnx is loaded for nothing but that."""
    from dlc.compiler.ops.schema import fallback

    found = fallback(name)
    if found is not None:
        found.infer = _or_declared(found.infer)
    return found


@lru_cache(maxsize=1)
def _load() -> None:
    import dlc.compiler.ops  # noqa: F401  (its modules define the operators)


def cotangents(node: Node, gs: Sequence[Value | None]) -> Sequence[Value | None]:
    """Apply a node's gradient rule: the cotangent of each input, before any broadcast is undone.

    Raises LookupError if the operator has none.
    """
    rule = lookup(node.op).gradient
    if rule is None or isinstance(rule, NoGradient | Expansion):
        raise LookupError(node.op)
    special = {"g": gs[0], "gs": gs, "y": node.outputs[0], "ys": node.outputs, "node": node}
    return _applied(rule, node, special)


def expanded(node: Node) -> Sequence[Value | None]:
    """The outputs of a node, built of simpler operators; raises LookupError if its operator has no expansion."""
    rule = lookup(node.op).gradient
    if not isinstance(rule, Expansion):
        raise LookupError(node.op)
    return _applied(rule.rule, node, {"node": node})


def _applied(rule: Rule, node: Node, special: Mapping[str, Any]) -> Sequence[Value | None]:
    inputs = iter(node.inputs)
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for name, kind in _parameters(rule):
        if kind is inspect.Parameter.VAR_POSITIONAL:
            positional.extend(inputs)
        elif kind is inspect.Parameter.KEYWORD_ONLY:
            if name in node.attributes:
                named[name] = node.attributes[name]
        else:
            positional.append(special[name] if name in special else next(inputs, None))
    result = rule(*positional, **named)
    return result if isinstance(result, tuple | list) else (result,)


@cache
def _parameters(rule: Rule) -> tuple[tuple[str, Any], ...]:
    return tuple((name, parameter.kind) for name, parameter in inspect.signature(rule).parameters.items())


def normal_axes(axes: Iterable[int], rank: int) -> tuple[int, ...]:
    """Axes counted from the front, in order; raises IllTyped for one that the rank does not have."""
    result = []
    for axis in axes:
        if not -rank <= axis < rank:
            raise IllTyped(f"axis {axis} of a tensor of rank {rank}")
        result.append(int(axis) % rank)
    return tuple(sorted(set(result)))


__all__ = [
    "COMPILER_ATTRIBUTES", "Call", "Dim", "Expansion", "IllTyped", "NoGradient", "Operator", "Shape", "ZeroGradient",
    "cotangents", "define", "evaluate", "expanded", "expansion", "gradient", "lookup", "lower", "no_gradient",
    "normal_axes", "operators", "settle", "zero_gradient",
]  # fmt: skip
