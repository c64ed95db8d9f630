"""`search` sections and the spaces of `let ... in`: parsed and checked here, run by `dlc search`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dlc.compiler.elaborate import expressions
from dlc.compiler.elaborate.context import Elaborator, Frame
from dlc.compiler.elaborate.entities import POISON, describe
from dlc.compiler.elaborate.problems import Problem
from dlc.dsl import ast
from dlc.dsl.diagnostics import nearest

METHODS = ("random", "grid", "tpe")
KEYS = ("maximize", "minimize", "method", "trials", "seed")
SPACES = {"choice": None, "range": 2, "uniform": 2, "log": 2}
"""How many numbers each kind of space takes; None: one or more values of any kind."""


@dataclass(frozen=True)
class Space:
    """Where a `let` may lie: `choice` of values, whole numbers in `range`, `uniform` or `log`-uniform between two."""

    kind: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Search:
    """What a search section asks for: `direction` ("maximize" or "minimize") of `metric` on `split`."""

    run: str
    direction: str
    split: str
    metric: str
    method: str
    trials: int
    seed: int


def space_of(e: Elaborator, let: ast.Let, frame: Frame) -> Space | None:
    """The space of a `let`; None where it has none. Raises Problem."""
    space = let.space
    if space is None:
        return None
    if not isinstance(space, ast.Call) or not isinstance(space.target, ast.Ref) or space.target.name not in SPACES:
        written = space.target.name if isinstance(space, ast.Call) and isinstance(space.target, ast.Ref) else ""
        guess = nearest(written, SPACES)
        raise Problem(
            "E0302",
            "what follows `in` is a space to search",
            f"did you mean `{guess}`?" if guess else "",
            span=space.span,
            notes=("there are `choice(a, b, c)`, `range(1, 4)`, `uniform(0.2, 0.6)`, `log(1e-5, 1e-2)`",),
        )
    kind = space.target.name
    values = tuple(expressions.evaluate(e, arg.value, frame) for arg in space.args)
    if any(value is POISON for value in values):
        return None
    wanted = SPACES[kind]
    if any(arg.name is not None for arg in space.args) or (len(values) != wanted if wanted else not values):
        raise Problem("E0205", f"`{kind}` takes {f'{wanted} numbers' if wanted else 'values'}", span=space.span)
    if wanted:
        numbers = int if kind == "range" else (int, float)
        wrong = next((v for v in values if isinstance(v, bool) or not isinstance(v, numbers)), None)
        if wrong is not None:
            raise Problem("E0302", f"`{kind}` takes numbers", f"one is {describe(wrong)}", span=space.span)
        if not values[0] < values[1] or (kind == "log" and not values[0] > 0):
            above = "above 0, " if kind == "log" else ""
            raise Problem("E0303", f"the first number of `{kind}` is {above}below the second", span=space.span)
    return Space(kind, values)


def search_of(e: Elaborator, section: ast.Search, runs: dict[str, ast.Train], spaces: dict[str, Space]) -> Search:
    """A search section, checked against the runs and spaces of its file. Raises Problem."""
    if section.name.text not in runs:
        guess = nearest(section.name.text, runs)
        label = f"did you mean `{guess}`?" if guess else ""
        raise Problem("E0201", f"there is no run `{section.name.text}` to search", label, span=section.name.span)
    if not spaces:
        help = "give a `let` a space: `let width = 256 in choice(128, 256, 512)`"
        raise Problem("E0205", "there is nothing to search: no `let` has a space", span=section.name.span, help=help)
    given: dict[str, ast.Expr] = {}
    for statement in section.body:
        if not isinstance(statement, ast.Assign) or len(statement.names) != 1:
            raise Problem("E0206", "a search has keys: `maximize = dev.acc`", span=statement.span)
        name = statement.names[0]
        if name.text not in KEYS:
            guess = nearest(name.text, KEYS)
            notes = (f"there are {', '.join(f'`{key}`' for key in KEYS)}",)
            label = f"did you mean `{guess}`?" if guess else ""
            raise Problem("E0207", f"a search has no key `{name.text}`", label, span=name.span, notes=notes)
        if name.text in given:
            raise Problem("E0202", f"`{name.text}` is given twice", span=name.span)
        given[name.text] = statement.value
    aims = [key for key in ("maximize", "minimize") if key in given]
    if len(aims) != 1:
        raise Problem("E0205", "a search has one aim: `maximize = dev.acc`, or `minimize`", span=section.name.span)
    split, metric = _aim(given[aims[0]], runs[section.name.text])
    method = given.get("method")
    if method is not None and (not isinstance(method, ast.Ref) or method.name not in METHODS):
        raise Problem("E0303", f"a method is one of {', '.join(METHODS)}", span=method.span)
    return Search(
        section.name.text,
        aims[0],
        split,
        metric,
        method.name if isinstance(method, ast.Ref) else "random",
        _count(given.get("trials"), "trials", 1, 20),
        _count(given.get("seed"), "seed", 0, 0),
    )


def _aim(expr: ast.Expr, run: ast.Train) -> tuple[str, str]:
    if not isinstance(expr, ast.Attr) or not isinstance(expr.target, ast.Ref):
        raise Problem("E0302", "an aim is a metric of a split: `dev.acc`", span=expr.span)
    known = ["loss"]
    for statement in run.body:
        if isinstance(statement, ast.Section) and statement.name.text == "metrics":
            known += [each.names[0].text for each in statement.body if isinstance(each, ast.Assign)]
    if expr.name.text not in known:
        guess = nearest(expr.name.text, known)
        label = f"did you mean `{guess}`?" if guess else ""
        raise Problem("E0201", f"the run has no metric `{expr.name.text}`", label, span=expr.name.span)
    return expr.target.name, expr.name.text


def _count(expr: ast.Expr | None, key: str, least: int, default: int) -> int:
    if expr is None:
        return default
    value = expr.value if isinstance(expr, ast.Literal_) else None
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise Problem("E0303", f"`{key}` is an integer of {least} or more", span=expr.span)
    return value
