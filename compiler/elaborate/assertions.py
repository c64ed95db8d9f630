"""Assertions: what holds while compiling, and what is known of sizes that only a run tells.

`assert H % 32 == 0` says of a size H that it is `32*(H//32)`, and `assert H == W` that W is H: from there on the
tensors in sight have the size in that form, and normal forms decide the rest. Each of them is reshaped to its new form,
so that a run in which the assertion does not hold stops there: in any runtime, at a node that is called after it. What
a body returns has its sizes in the form that they have outside.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dlc.compiler.build import private
from dlc.compiler.dims import Dim, Polynomial, multiples, solved, supposing
from dlc.compiler.elaborate import expressions
from dlc.compiler.elaborate.context import Elaborator, Fact, Frame
from dlc.compiler.elaborate.entities import POISON, Scope, describe
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value
from dlc.dsl import ast
from dlc.dsl.printer import source

_LATER = "what an equation says of one size can be checked at run time: `H % 32 == 0`, `H == W`"


def check(e: Elaborator, statement: ast.Assert, frame: Frame) -> None:
    """An `assert`. Raises Problem if it does not hold, or if nobody can say whether it does."""
    for condition in _parts(statement.condition):
        holds = _judged(e, condition, frame)
        if holds is POISON:
            return
        if holds is False:
            known = ", ".join(_known(condition, frame))
            text, notes = statement.message or "an assertion does not hold", (f"here {known}",) if known else ()
            raise Problem("E0311", text, "this is false", span=condition.span, notes=notes)
        if holds is None:
            with e.builder.at(statement.span):
                _suppose(e, _fact(e, condition, statement, frame), frame)
        elif holds is not True:
            text = "an assertion is about what is known while compiling"
            raise Problem("E0306", text, f"this is {describe(holds)}", span=condition.span)


def _parts(condition: ast.Expr) -> tuple[ast.Expr, ...]:
    """What has to hold: each of `a and b`."""
    if isinstance(condition, ast.Binary) and condition.ops[0].text == "and":
        return condition.operands
    return (condition,)


def _judged(e: Elaborator, condition: ast.Expr, frame: Frame) -> Any:
    """Whether a condition holds; None where that depends on a size that only a run tells."""
    if isinstance(condition, ast.Unary) and condition.op == "not":
        holds = _judged(e, condition.operand, frame)
        return not holds if isinstance(holds, bool) else holds
    if isinstance(condition, ast.Binary) and condition.ops[0].text in ("==", "!="):
        difference = _difference(e, condition, frame)
        if isinstance(difference, int):
            return (difference == 0) == (condition.ops[0].text == "==")
        if difference is not None:
            return None
    if isinstance(condition, ast.Binary) and condition.ops[0].text in ("and", "or"):
        ends = condition.ops[0].text == "or"  # what settles it, whatever the others are
        holds = [_judged(e, each, frame) for each in condition.operands]
        if all(each is None or isinstance(each, bool) for each in holds):
            return ends if ends in holds else None if None in holds else not ends
    return expressions.evaluate(e, condition, frame)


def _difference(e: Elaborator, condition: ast.Binary, frame: Frame) -> Dim | None:
    """By how much the sides of an equation between sizes differ; None if it is not between sizes."""
    left, right = (expressions.evaluate(e, side, frame) for side in condition.operands)
    if isinstance(left, bool) or isinstance(right, bool):
        return None
    return left - right if isinstance(left, int | Polynomial) and isinstance(right, int | Polynomial) else None


def _fact(e: Elaborator, condition: ast.Expr, statement: ast.Assert, frame: Frame) -> Fact:
    """What an equation says of one size. Raises Problem for what says no such thing, or says it too late."""
    found = None
    if isinstance(condition, ast.Binary) and condition.ops[0].text == "==":
        difference = _difference(e, condition, frame)
        found = solved(difference) if difference is not None else None
    if found is None:
        text = statement.message or "an assertion is about what is known while compiling"
        unknown = _unknown(condition, frame) or "a size in it"
        raise Problem("E0306", text, f"{unknown} is known only at run time", span=condition.span, help=_LATER)
    if frame.started:
        text = "what is said of a size that only a run tells comes before what is computed"
        raise Problem("E0306", text, span=condition.span, help="move it up, below the inputs")
    said = f"assert {source(condition)}" + (f" ({statement.message})" if statement.message else "")
    return Fact(*found, said)


def _suppose(e: Elaborator, fact: Fact, frame: Frame) -> None:
    """Have the sizes and tensors in sight in the form that the fact gives them, and inputs that are still to come."""
    frame.facts.append(fact)
    for name, (dim, span) in frame.dims.items():
        frame.dims[name] = supposing(dim, fact.term, fact.form), span
    for dim, lengths in list(e.ragged.items()):
        form = supposing(dim, fact.term, fact.form)
        if isinstance(form, Polynomial):
            e.ragged[form] = lengths
    scope: Scope | None = frame.scope
    while scope is not None:
        for name, binding in scope.names.items():
            binding.value = supposed(e, binding.value, fact, f"{frame.owner.place}.{name}")
        scope = scope.parent


def supposed(e: Elaborator, value: Any, fact: Fact, name: str) -> Any:
    """A tensor whose sizes have the form of the fact; anything else, and one that the fact is not about, as it is."""
    if not isinstance(value, Value):
        return value
    shape = tuple(supposing(dim, fact.term, fact.form) for dim in value.shape)
    if shape == value.shape:
        return value
    checked: Value = private.ReshapeTo(value, shape=shape, at_run=1)
    e.numbered(checked, f"{fact.said}: {name}")  # as `reason` in runtime/session.py reads it
    return checked


def leave(frame: Frame) -> None:
    """Give everything that a body has made the sizes that it has outside, where its values can be read by name."""
    for binding in frame.scope.names.values():
        binding.value = restored(binding.value, frame)
    for name, (dim, span) in frame.dims.items():
        frame.dims[name] = _outside(dim, frame), span


def restored(value: Any, frame: Frame) -> Any:
    """What a body returns, its sizes in the form that they have outside of it."""
    if isinstance(value, tuple):
        return tuple(restored(each, frame) for each in value)
    if not isinstance(value, Value):
        return value
    shape = tuple(_outside(dim, frame) for dim in value.shape)
    return value if shape == value.shape else private.ReshapeTo(value, shape=shape, at_run=1)


def _outside(dim: Dim, frame: Frame) -> Dim:
    for fact in reversed(frame.facts):
        dim = multiples(dim, fact.term, fact.form)
    return dim


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
