"""What rewriting rules ask about values, and the table that they are entered in."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dlc.compiler.build import current
from dlc.compiler.graph import Value
from dlc.compiler.types import Dim, Type, substitute, symbols

Rule = Callable[..., Value | None]
Sole = Callable[[Value], bool]
UNKNOWN_SIZE = 64  # what a symbolic dimension is taken for where the graph does not say

Table = dict[str, list[tuple[Rule, frozenset[str]]]]

RULES: Table = {}  # those of `simplify`


def rule(*ops: str, table: Table = RULES) -> Callable[[Rule], Rule]:
    """Enter a rule `f(node, *inputs)` for operators with one output. It returns the value that takes the node's place,
    or None; one of another type does not count.

    A rule that names them as keyword-only parameters is also given `sole`, which says of a value whether it is read
    only once, and `sizes`, the likely sizes of symbolic dimensions.
    """

    def enter(function: Rule) -> Rule:
        parameters = inspect.signature(function).parameters.values()
        wanted = frozenset(p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY)
        for name in ops:
            table.setdefault(name, []).append((function, wanted))
        return function

    return enter


def number(value: Value | None) -> float | None:
    """The one element of a constant; None for what is no constant or has more elements."""
    array = value.constant if value is not None else None
    return array.item() if array is not None and array.size == 1 and array.dtype.kind in "biuf" else None


def is_scalar(value: Value) -> bool:
    """Whether a value is a float of rank 0."""
    return not value.shape and value.type.is_float


def constant(number: float, like: Value) -> Value | None:
    """A scalar constant; None where rounding to the type of `like` makes it infinite, or zero though it is not."""
    with np.errstate(over="ignore", under="ignore"):
        rounded = np.asarray(number, like.type.numpy)
    if not np.isfinite(rounded) or (number != 0 and rounded == 0):
        return None
    return current().constant(rounded)


def argument(value: Value | None, op: str) -> Value | None:
    """The first input of the node that makes `value`, if that is an `op`."""
    node = value.node if value is not None else None
    return node.inputs[0] if node is not None and node.op == op else None


def arguments(value: Value | None, op: str) -> tuple[Value, Value] | None:
    """Both inputs of the node that makes `value`, if that is an `op` of two."""
    node = value.node if value is not None else None
    if node is None or node.op != op or len(node.inputs) != 2:
        return None
    left, right = node.inputs
    return (left, right) if left is not None and right is not None else None


def likely(dim: Dim, sizes: Mapping[str, int]) -> int:
    """A dimension in numbers, with the likely sizes of its symbols."""
    values: dict[str, Dim] = {name: sizes.get(name, UNKNOWN_SIZE) for name in symbols(dim)}
    result = substitute(dim, values)
    return result if isinstance(result, int) else UNKNOWN_SIZE


def elements(type: Type, sizes: Mapping[str, int]) -> int:
    """How many elements a tensor will likely have."""
    return likely(type.size, sizes)


def attributes(value: Value) -> dict[str, Any]:
    """The attributes of the node that makes a value."""
    return dict(value.node.attributes) if value.node is not None else {}
