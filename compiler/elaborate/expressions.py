"""The value of an expression. A mistake is reported where it stands and the expression becomes POISON."""

from __future__ import annotations

from typing import Any

from dlc.compiler.elaborate import calls, instances, stages
from dlc.compiler.elaborate.arithmetic import COMPARE, binary, shown, tensor, truth, unary, whole
from dlc.compiler.elaborate.context import DEPTH_LIMIT, Elaborator, Frame
from dlc.compiler.elaborate.conversion import name_converted
from dlc.compiler.elaborate.entities import POISON, Binding, Direction, Instance, Place, Poison, Scope, describe
from dlc.compiler.elaborate.indexing import index_tensor
from dlc.compiler.elaborate.names import find, package, unknown
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.elaborate.successors import misnamed
from dlc.compiler.graph import Value
from dlc.compiler.registry import IllTyped
from dlc.dsl import ast
from dlc.dsl.diagnostics import Label, nearest
from dlc.dsl.printer import source

DOING = {
    "+": "adding", "-": "subtracting", "*": "multiplying by", "/": "dividing by", "//": "dividing by",
    "%": "dividing by", "**": "raising to", "@": "multiplying by", "and": "combining with", "or": "combining with",
    **dict.fromkeys(COMPARE, "comparing with"),
}  # fmt: skip


def evaluate(e: Elaborator, expr: ast.Expr, frame: Frame, *, place: Place | None = None, part: bool = False) -> Any:
    """The value of `expr`.

    `place` is where an instance that this very expression makes belongs (it was assigned to a name, or passed through
    a setting). With `part`, a name that `as` gave to an instance is that instance and not its value.
    """
    if isinstance(expr, ast.Literal_):
        return expr.value
    e.depth += 1
    try:
        if e.depth > DEPTH_LIMIT:
            problem = Problem("E0310", "these values are nested too deeply", f"more than {DEPTH_LIMIT} levels")
            raise e.exhausted(problem, expr.span)
        if isinstance(expr, ast.Ref):
            binding = find(e, frame, expr.name, expr.span)
            binding.used = True
            return binding.instance if part and binding.instance is not None else binding.value
        with e.builder.at(None if frame.library else expr.span):
            return _evaluate(e, expr, frame, place, part)
    except Problem as problem:
        e.report.add(problem, expr.span)
    except IllTyped as error:
        e.report.add(Problem("E0301", f"{error}"), expr.span)
    finally:
        e.depth -= 1
    return POISON


def _evaluate(e: Elaborator, expr: ast.Expr, frame: Frame, place: Place | None, part: bool) -> Any:
    match expr:
        case ast.Group():
            return evaluate(e, expr.inner, frame, place=place, part=part)
        case ast.Call():
            return calls.call(e, expr, frame, place)
        case ast.Pipeline():
            return stages.pipeline(e, expr, frame)
        case ast.Attr():
            return _attribute(e, expr, frame, part)
        case ast.Binary():
            return _flat(e, expr, frame)
        case ast.Unary():
            operand = evaluate(e, expr.operand, frame)
            return POISON if operand is POISON else unary(expr.op, operand)
        case ast.IfElse():
            condition = evaluate(e, expr.condition, frame)
            if condition is POISON:
                return POISON
            return evaluate(e, expr.then if truth(condition) else expr.otherwise, frame, place=place, part=part)
        case ast.Tuple():
            return _all(tuple(evaluate(e, item, frame) for item in expr.items))
        case ast.List():
            return _all([evaluate(e, item, frame) for item in expr.items])
        case ast.Item():
            return _item(e, expr, frame)
        case ast.Each():
            return _each(e, expr, frame)
        case ast.Repeat() | ast.For():
            return stages.loop_instance(e, expr, frame, place)
        case ast.Scan():
            for problem in misnamed(expr):
                raise problem
            raise Problem("E0206", "`scan` is not there yet", "recurrence comes with a later version of dlc")
    raise AssertionError(type(expr))


def _all(items: Any) -> Any:
    return POISON if any(item is POISON for item in items) else items


def _flat(e: Elaborator, expr: ast.Binary, frame: Frame) -> Any:
    """A flat run of operators, from the left."""
    if expr.ops[0].text == "..":
        low, high = (whole(evaluate(e, operand, frame), "a range") for operand in expr.operands)
        e.expand(high - low, expr.span)
        return range(low, high)
    result = evaluate(e, expr.operands[0], frame)
    for index, symbol in enumerate(expr.ops):
        if symbol.text in ("and", "or") and isinstance(result, bool) and result == (symbol.text == "or"):
            continue  # a compile-time condition stops at the first side that decides it
        right = evaluate(e, expr.operands[index + 1], frame)
        if result is POISON or right is POISON:
            result = POISON
            continue
        try:
            result = binary(symbol.text, result, right)
        except Problem as problem:
            operand = expr.operands[index + 1]
            secondary = _whence(e, frame, (expr.operands[0] if index == 0 else None, operand))
            problem.secondary = problem.secondary or secondary
            if not frame.library:
                name_converted(problem, ((_before(expr, index), result), (operand, right)))
            other = _plain(operand)
            if problem.code == "E0304" and other is not None:
                problem.message = problem.message.replace("these two", f"{DOING[symbol.text]} `{other.name}`")
            problem.span = problem.span or _joined(expr.operands[0].span, operand.span)
            raise
        except IllTyped as error:
            raise Problem("E0301", str(error)) from error
    return result


def _before(expr: ast.Binary, index: int) -> ast.Expr:
    """What stands to the left of an operator in a flat run."""
    if index == 0:
        return expr.operands[0]
    return ast.Binary(expr.ops[:index], expr.operands[: index + 1], span=expr.span)


def _joined(first: ast.Span, last: ast.Span) -> ast.Span:
    return ast.Span(first.file, first.line, first.column, last.end_line, last.end_column)


def _plain(operand: ast.Expr | None) -> ast.Ref | None:
    while isinstance(operand, ast.Group):
        operand = operand.inner
    return operand if isinstance(operand, ast.Ref) else None


def _whence(e: Elaborator, frame: Frame, operands: tuple[ast.Expr | None, ...]) -> tuple[Label, ...]:
    """Where the operands that are plain names got their values, and what those are."""
    labels = []
    for operand in operands:
        ref = _plain(operand)
        if ref is not None:
            binding = frame.scope.find(ref.name)
            if binding is not None and binding.made_by is not None and isinstance(binding.value, Value):
                labels.append(Label(binding.made_by, f"{ref.name} is {binding.value.type}"))
    return tuple(labels)


def _attribute(e: Elaborator, expr: ast.Attr, frame: Frame, part: bool) -> Any:
    foreign = package(e, frame, expr)
    if foreign is not None:
        raise foreign
    target = evaluate(e, expr.target, frame, part=True)
    if isinstance(target, Value | tuple) and isinstance(expr.target, ast.Call):
        # `half(x).low`: the names that this application has just given.
        applied = evaluate(e, expr.target.target, frame, part=True)
        target = applied if isinstance(applied, Instance) else target
    name = expr.name.text
    match target:
        case Poison():
            return POISON
        case Instance():
            if target.net is not None and target.inside is None:
                instances.imagine(e, target)
            binding = instances.inner(e, target, name)
            if binding is None:
                known = instances.inner_names(e, target)
                guess = nearest(name, known)
                raise Problem(
                    "E0201",
                    f"`{_written(expr.target)}` has nothing called `{name}`",
                    f"did you mean `{guess}`?" if guess else "",
                    span=expr.name.span,
                    notes=() if guess or not known else (f"it has {', '.join(f'`{each}`' for each in sorted(known))}",),
                )
            return binding.instance if part and binding.instance is not None else binding.value
        case dict():
            if name not in target:
                raise unknown(name, target, expr.name.span, what=f"`{_written(expr.target)}`")
            return target[name]
    if e.records is not None and target is e.records:
        return e.records.read(e, expr.name)
    if isinstance(target, Direction):
        raise Problem("E0208", "a direction has no parts")
    raise Problem(
        "E0208", f"{describe(target)} has no parts", "only nets, instances and records do", span=expr.name.span
    )


def _written(expr: ast.Expr) -> str:
    match expr:
        case ast.Ref():
            return expr.name
        case ast.Attr():
            return f"{_written(expr.target)}.{expr.name.text}"
        case ast.Group():
            return _written(expr.inner)
        case ast.Call():
            return f"{_written(expr.target)}(...)"
    return "this"


def _each(e: Elaborator, expr: ast.Each, frame: Frame) -> Any:
    source = evaluate(e, expr.source, frame)
    if source is POISON:
        return POISON
    items = listed(source, "what `for` goes through")
    e.expand(len(items), expr.span)
    results = []
    for turn, item in enumerate(items):
        inner = frame.inner("comprehension")
        inner.turns = (*frame.turns, (id(expr), turn))
        destructure(inner.scope, expr.names, item)
        results.append(evaluate(e, expr.body, inner))
    return _all(results)


def destructure(scope: Scope, names: tuple[ast.Name, ...], item: Any) -> None:
    """Give the names of a `for` their values for one turn; raises Problem."""
    if len(names) == 1:
        scope.names[names[0].text] = Binding(item, names[0].span, used=True)
        return
    if not isinstance(item, tuple | list) or len(item) != len(names):
        found = f"{len(item)}" if isinstance(item, tuple | list) else describe(item)
        raise Problem("E0302", f"{len(names)} names for {found}", span=names[0].span)
    for name, value in zip(names, item, strict=True):
        scope.names[name.text] = Binding(value, name.span, used=True)


def listed(value: Any, what: str) -> list[Any]:
    """A compile-time list, tuple or range as a list; raises Problem."""
    if isinstance(value, list | tuple | range):
        return list(value)
    raise Problem("E0302", f"{what} is a list", f"this is {describe(value)}")


def _item(e: Elaborator, expr: ast.Item, frame: Frame) -> Any:
    target = evaluate(e, expr.target, frame)
    index: list[Any] = []
    for each in expr.index:
        match each:
            case ast.Dots():
                index.append(...)
            case ast.Slice():
                bounds = (evaluate(e, bound, frame) if bound else None for bound in (each.start, each.stop, each.step))
                index.append(slice(*bounds))
            case _:
                index.append(evaluate(e, each, frame))
    flat = [
        part for each in index for part in ((each.start, each.stop, each.step) if isinstance(each, slice) else (each,))
    ]
    if target is POISON or any(each is POISON for each in flat):
        return POISON
    if isinstance(target, Value):
        return index_tensor(e, target, index, source(expr))
    if isinstance(target, list | tuple | range):
        if len(index) != 1:
            raise Problem("E0302", "a list has one index")
        if isinstance(index[0], slice):
            return target[index[0]]
        position = whole(index[0], "the index of a list")
        if not -len(target) <= position < len(target):
            raise Problem("E0303", f"there is no item {position}", f"the list has {len(target)}")
        return target[position]
    raise Problem("E0208", f"{describe(target)} has no items")


__all__ = ["destructure", "evaluate", "listed", "shown", "tensor", "whole"]
