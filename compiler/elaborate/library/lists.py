"""Functions of compile-time values."""

from __future__ import annotations

from typing import Any

from dlc.compiler.elaborate.entities import Direction, describe
from dlc.compiler.elaborate.kinds import Count
from dlc.compiler.elaborate.library.functions import function
from dlc.compiler.elaborate.problems import Problem


@function("zip")
def zip_(*lists: Any) -> list[Any]:
    """Lists of one length side by side: `for a, b in zip(x, y)`."""
    for each in lists:
        if not isinstance(each, list | tuple | range):
            raise Problem("E0302", "`zip` goes through lists", f"this is {describe(each)}")
    if len({len(each) for each in lists}) > 1:
        raise Problem("E0303", "`zip` of lists that differ in length", f"{', '.join(str(len(each)) for each in lists)}")
    return list(zip(*lists, strict=True))


@function("len")
def len_(x: Any) -> int:
    """How many items a list has, known while compiling."""
    if not isinstance(x, list | tuple | range | str):
        raise Problem("E0302", "`len` counts a list", f"this is {describe(x)}")
    return len(x)


@function("range")
def range_(low: Any, high: Any = None) -> list[int]:
    """The integers below `low`, or from `low` to below `high`."""
    first, last = (0, low) if high is None else (low, high)
    for bound in (first, last):
        if isinstance(bound, bool) or not isinstance(bound, int):
            raise Problem(
                "E0306", "`range` wants integers that are known while compiling", f"this is {describe(bound)}"
            )
    if last - first > 100_000:
        raise Problem("E0310", "a range of more than 100,000 numbers")
    return list(range(first, last))


@function("highest")
def highest(metric: Any) -> Direction:
    """A metric of a split that is the better the higher: `highest(dev.acc)`, for `keep`, `patience` and `plateau`."""
    return _direction("highest", metric)


@function("lowest")
def lowest(metric: Any) -> Direction:
    """A metric of a split that is the better the lower: `lowest(dev.loss)`, for `keep`, `patience` and `plateau`."""
    return _direction("lowest", metric)


def _direction(word: str, metric: Any) -> Direction:
    if not isinstance(metric, Direction):
        raise Problem("E0302", f"`{word}` wants a metric of a split: `{word}(dev.loss)`", f"this is {describe(metric)}")
    return Direction(word, metric.split, metric.metric)


@function("patience")
def patience(metric: Direction, epochs: Count) -> dict[str, Any]:
    """For `early_stop`: the run stops when a metric has not improved for so many epochs."""
    return {"direction": metric.word, "split": metric.split, "metric": metric.metric, "patience": epochs}
