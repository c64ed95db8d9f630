"""The table of the library's Python functions, and the checks that most of them share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from dlc.compiler.elaborate.conversion import CONVERT
from dlc.compiler.elaborate.entities import Builtin, Mixes, Size, describe
from dlc.compiler.elaborate.kinds import Axes, Axis
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value
from dlc.compiler.types import Polynomial

F = TypeVar("F", bound=Callable[..., Any])

MOST_NUMBERS = 10_000_000
"""How many numbers a constant of the library may hold."""

BUILTINS: dict[str, Any] = {"pi": math.pi}


def function(name: str, mixes: Mixes | None = None) -> Callable[[F], F]:
    """Record a function under its name in the language.

    Parameters called `e`, `frame`, `written` are given by the elaborator. The others are checked before the call by
    the kinds that annotate them (`dlc.compiler.elaborate.kinds`); what is `Any` the function checks itself. What
    `mixes` positions has a `mask`, which has to be said where an axis is padded.
    """

    def record(call: F) -> F:
        BUILTINS[name] = Builtin(name, call, mixes)
        return call

    return record


def tensor_of(x: Any, what: str) -> Value:
    """An argument that has to be a tensor; raises Problem."""
    if not isinstance(x, Value):
        raise Problem("E0302", f"`{what}` wants a tensor", f"this is {describe(x)}")
    return x


def floating(x: Any, what: str) -> Value:
    """An argument that has to be a tensor of floats; raises Problem."""
    value = tensor_of(x, what)
    if not value.type.is_float:
        raise Problem("E0302", f"`{what}` wants floats", f"this is {value.type}", help=CONVERT, convert=value)
    return value


def limited(count: int, what: str, argument: str = "") -> None:
    """Numbers that are written into the graph one by one are not too many; raises Problem."""
    if count > MOST_NUMBERS:
        raise Problem("E0310", f"{count:,} {what}", f"{MOST_NUMBERS:,} are the most", argument=argument)


def axis_of(x: Value, axis: Axis, argument: str = "axis") -> int:
    """One axis, counted from the front; a dimension's name stands for the axis that has it. Raises Problem."""
    if isinstance(axis, Polynomial | Size):
        found = [i for i, dim in enumerate(x.shape) if dim == axis]
        if len(found) != 1:
            named = f"{axis.name}, which is {axis}" if isinstance(axis, Size) else axis
            text = f"{len(found) or 'no'} axes of {x.type} are {named}"
            raise Problem("E0303", text, "say which by its number", argument=argument)
        return found[0]
    if not -x.type.rank <= axis < x.type.rank:
        raise Problem("E0303", f"there is no axis {axis}", f"{x.type} has {x.type.rank}", argument=argument)
    return axis % x.type.rank


def axes_of(x: Value, axis: Axes | None, argument: str = "axis") -> tuple[int, ...] | None:
    """One axis or several, in order; None for all. Raises Problem."""
    if axis is None:
        return None
    several = axis if isinstance(axis, list | tuple) else [axis]
    return tuple(sorted({axis_of(x, each, argument) for each in several}))


def along(x: Value, given: Mapping[str, Any]) -> Iterable[int]:
    """Of a function that mixes positions: those of its setting `axis`, or of all axes."""
    axes = axes_of(x, given.get("axis"))
    return range(x.type.rank) if axes is None else axes
