"""The help where integers stand among floats: what to convert, as it is written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dlc.compiler.elaborate.problems import Problem
from dlc.dsl import ast

CONVERT = "convert the integers with `float`"
"""The help of a problem whose `convert` is not written where it is seen."""

LONGEST = 60  # of an operand that the help repeats


def name_converted(problem: Problem, operands: Iterable[tuple[ast.Expr | None, Any]], stage: str = "") -> None:
    """Lets the help name what is to be converted where it is one of `operands`: how each is written, and its value.

    What came to a `stage` through an arrow is not written there: it is None.
    """
    if problem.convert is None:
        return
    for expr, value in operands:
        if value is problem.convert:
            problem.help = f"convert it first: {_call(expr) if expr is not None else f'`-> float` before `{stage}`'}"
            return


def _call(expr: ast.Expr) -> str:
    from dlc.dsl.printer import source

    while isinstance(expr, ast.Group):
        expr = expr.inner
    text = source(expr)
    return f"`float({text})`" if len(text) <= LONGEST and "\n" not in text else "put `float(...)` around it"


__all__ = ["CONVERT", "name_converted"]
