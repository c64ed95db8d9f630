"""Assertions: what holds while compiling, and what is known of sizes that only a run tells.

`assert H % 32 == 0` says of a size H that it is `32*(H//32)`, and `assert H == W` that W is H: from there on the
tensors in sight have the size in that form, and normal forms decide the rest. Each of them is reshaped to its new form,
so that a run in which the assertion does not hold stops there: in any runtime, at a node that is called after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dlc.compiler.build import private
from dlc.compiler.dims import Dim, Polynomial, solved, substitute, symbols
from dlc.compiler.elaborate import expressions
from dlc.compiler.elaborate.context import Elaborator, Fact, Frame
from dlc.compiler.elaborate.entities import POISON, Scope, describe
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value
from dlc.dsl import ast
from dlc.dsl.printer import source

_FACTS = "an equation that says what one size is can be checked at run time: `H % 32 == 0`, `H == W`"


def check(e: Elaborator, statement: ast.Assert, frame: Frame) -> None:
    """An `assert`. Raises Problem if it does not hold, or if nobody can say whether it does."""
    holds = expressions.evaluate(e, statement.condition, frame)
    if holds is POISON or holds is True:
        return
    if holds is not False:
        raise Problem("E0306", "an assertion is about what is known while compiling", f"this is {describe(holds)}")
    unknown = _unknown(statement.condition, frame)
    if unknown is None:
        known = ", ".join(_known(statement.condition, frame))
        text = statement.message or "an assertion does not hold"
        raise Problem("E0311", text, "this is false", notes=(f"here {known}",) if known else ())
    form = _equation(e, statement.condition, frame)
    if form is None:
        text = statement.message or "an assertion is about what is known while compiling"
        raise Problem("E0306", text, f"{unknown} is known only at run time", help=_FACTS)
    _suppose(e, Fact(form, statement.message or f"assert {source(statement.condition)}"), frame)


def _equation(e: Elaborator, condition: ast.Expr, frame: Frame) -> dict[str, Dim] | None:
    """What an equation between sizes says that one of them is."""
    if not isinstance(condition, ast.Binary) or condition.ops[0].text != "==":
        return None
    left, right = (expressions.evaluate(e, side, frame) for side in condition.operands)
    if not (isinstance(left, int | Polynomial) and isinstance(right, int | Polynomial)):
        return None
    return solved(left - right)


def _suppose(e: Elaborator, fact: Fact, frame: Frame) -> None:
    """Have the sizes and tensors in sight in the form that the fact gives them, and inputs that are still to come."""
    frame.facts.append(fact)
    for name, (dim, span) in frame.dims.items():
        frame.dims[name] = substitute(dim, fact.form), span
    for dim, lengths in list(e.ragged.items()):
        form = substitute(dim, fact.form)
        if isinstance(form, Polynomial):
            e.ragged[form] = lengths
    scope: Scope | None = frame.scope
    while scope is not None:
        for name, binding in scope.names.items():
            binding.value = formed(e, binding.value, fact, name)
        scope = scope.parent


def formed(e: Elaborator, value: Any, fact: Fact, name: str) -> Any:
    """A tensor whose sizes have the form of the fact; anything else, and one that the fact is not about, as it is."""
    if not isinstance(value, Value) or all(fact.form.keys().isdisjoint(symbols(dim)) for dim in value.shape):
        return value
    shape = tuple(substitute(dim, fact.form) for dim in value.shape)
    checked: Value = private.ReshapeTo(value, shape=shape, at_run=1)
    e.label(checked, f"{fact.said}: {name}")
    return checked


def _unknown(condition: ast.Expr, frame: Frame) -> str | None:
    """A dimension in a condition whose size is not known here."""
    for name in _named(condition):
        if frame.scope.find(name) is None and isinstance(frame.dims.get(name, (0, None))[0], Polynomial):
            return name
    return None


def _known(condition: ast.Expr, frame: Frame) -> Iterator[str]:
    """What the names of a condition stand for, where those are numbers, texts or tensors: `C is 3`."""
    for name in _named(condition):
        binding = frame.scope.find(name)
        value = binding.value if binding is not None else frame.dims.get(name, (None, None))[0]
        if isinstance(value, int | float | str | Polynomial | Value):
            yield f"{name} is {describe(value).removeprefix('the number ')}"


def _named(condition: ast.Expr) -> Iterator[str]:
    """The names in a condition, each once, in the order of the text."""
    yield from dict.fromkeys(part.name for part in ast.walk(condition) if isinstance(part, ast.Ref))
