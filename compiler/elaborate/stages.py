"""Pipelines and chains: a value flows through stages; `repeat` and `for` unroll, a list fans out."""

from __future__ import annotations

from typing import Any

from dlc.compiler.elaborate import calls, expressions, instances
from dlc.compiler.elaborate.arithmetic import truth
from dlc.compiler.elaborate.context import Elaborator, Frame
from dlc.compiler.elaborate.entities import POISON, Builtin, Function, Instance, Place, Scope, Template
from dlc.compiler.elaborate.names import give
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.registry import IllTyped
from dlc.dsl import ast


def pipeline(e: Elaborator, expr: ast.Pipeline, frame: Frame) -> Any:
    """`source -> stage -> stage`."""
    value = expressions.evaluate(e, expr.source, frame)
    for stage in expr.stages:
        value = _stage(e, stage, value, frame, None)
    return value


def chain(e: Elaborator, expr: ast.Chain, value: Any, frame: Frame, whole_of: Instance | None = None) -> Any:
    """Apply a chain to a value. Where it is the whole of a block that is only another block, no level is added."""
    single = whole_of is not None and whole_of.template is not None and whole_of.template.single
    for stage in expr.stages:
        value = _stage(e, stage, value, frame, whole_of.place if single and whole_of is not None else None)
    return value


def _stage(e: Elaborator, stage: ast.Stage, value: Any, frame: Frame, place: Place | None) -> Any:
    """One stage, its mistakes reported at the stage."""
    since = e.mark()
    step = stage.step
    made: Instance | None = None
    fresh = stage.alias is not None and frame.scope.find(stage.alias.text) is None
    try:
        with e.builder.at(None if frame.library else step.span):
            if stage.alias is not None and fresh and not isinstance(step, ast.Fan | ast.Pick):
                place = frame.place.part(stage.alias.text)
            result, made = _step(e, step, value, frame, place)
    except Problem as problem:
        e.report.add(problem, step.span)
        result = POISON
    except IllTyped as error:
        e.report.add(Problem("E0301", str(error)), step.span)
        result = POISON
    if stage.alias is not None:
        give(e, frame, stage.alias, result, made_by=step.span, instance=made)
    loop = isinstance(step, ast.Repeat | ast.For)
    if not frame.library and (made is None or loop):  # the application of any other instance has listed itself
        label = made.address if made is not None else _label(step)
        e.applied(since, _kind(step), label, frame.place, result, step.span)
    return result


def _kind(step: ast.Step) -> str:
    match step:
        case ast.Fan():
            return "branches"
        case ast.Pick():
            return "choice"
        case ast.Repeat() | ast.For():
            return "loop"
    return "function"


def _label(step: ast.Step) -> str:
    from dlc.dsl.printer import source as expression

    match step:
        case ast.Fan():
            return f"{len(step.branches)} branches"
        case ast.Pick() | ast.Repeat() | ast.For():
            return type(step).__name__.lower()
    return expression(step)


def _step(e: Elaborator, step: ast.Step, value: Any, frame: Frame, place: Place | None) -> tuple[Any, Instance | None]:
    """The result of one step, and the instance that it applied."""
    match step:
        case ast.Fan():
            results = [chain(e, branch, value, frame.inner()) for branch in step.branches]
            return (POISON if any(each is POISON for each in results) else results), None
        case ast.Pick():
            return _pick(e, step, value, frame), None
        case ast.Repeat() | ast.For():
            loop = loop_instance(e, step, frame, place)
            if loop is POISON:
                return POISON, None
            return (POISON if value is POISON else run_loop(e, loop, value)), loop
        case ast.Call():
            target = expressions.evaluate(e, step.target, frame, part=True)
            args = step.args
        case _:
            target = expressions.evaluate(e, step, frame, part=True)
            args = ()
    if isinstance(target, Template):
        made = instances.make(e, target, step, frame, place)
        return (POISON if value is POISON else calls.apply(e, made, _values(value), (), step.span, frame)), made
    if value is POISON or target is POISON:
        for arg in args:
            expressions.evaluate(e, arg.value, frame)
        return POISON, None
    several = isinstance(target, Instance)
    first = _values(value) if several else [value]
    result = calls.apply(e, target, first, args, step.span, frame)
    if isinstance(target, Function | Builtin) and not frame.library:
        e.label(result, f"{frame.place}.{target.name}")
    return result, target if isinstance(target, Instance) else None


def _values(value: Any) -> list[Any]:
    """A tuple fills several inputs."""
    return list(value) if isinstance(value, tuple) else [value]


def _pick(e: Elaborator, step: ast.Pick, value: Any, frame: Frame) -> Any:
    if step.condition is None:
        return chain(e, step.chain, value, frame)
    condition = expressions.evaluate(e, step.condition, frame)
    if condition is POISON:
        return POISON
    taken = step.chain if truth(condition) else step.otherwise
    assert taken is not None
    return chain(e, taken, value, frame)


def loop_instance(e: Elaborator, step: ast.Repeat | ast.For, frame: Frame, place: Place | None = None) -> Any:
    """A `repeat` or `for` as an instance; its turns are fixed now, its weights made when it is applied."""
    key = (id(step), frame.turns)
    found = frame.owner.children.get(key)
    if isinstance(step, ast.Repeat):
        count = expressions.evaluate(e, step.count, frame)
        if count is POISON:
            return POISON
        number = expressions.whole(count, "`repeat`")
        if number < 0:
            raise Problem("E0303", "`repeat` cannot turn a negative number of times", f"{number}", span=step.count.span)
        e.take(number, step.count.span, _turns(step.chain) if number else 1)
        turns: list[Any] = [()] * number
        names: tuple[ast.Name, ...] = ()
    else:
        source = expressions.evaluate(e, step.source, frame)
        if source is POISON:
            return POISON
        turns = expressions.listed(source, "what `for` goes through")
        e.take(len(turns), step.source.span)
        names = step.names
    if found is None:
        kind = "repeat" if isinstance(step, ast.Repeat) else "for"
        found = Instance(None, place or frame.place.ordinal(kind), step.span, text=kind)
        frame.owner.children[key] = found
    found.chain = (step, names, turns, frame)
    return found


def _turns(chain: ast.Chain) -> int:
    """How many turns one turn of a loop around the chain takes at least, as far as the text says it."""
    total = 0
    waiting = [(each.step, 1) for each in chain.stages]
    while waiting:
        step, times = waiting.pop()
        if isinstance(step, ast.Repeat) and isinstance(step.count, ast.Literal_) and isinstance(step.count.value, int):
            times *= step.count.value
            total += times
            waiting += [(each.step, times) for each in step.chain.stages]
    return max(total, 1)


def run_loop(e: Elaborator, loop: Instance, value: Any) -> Any:
    """Send a value through every turn of a loop: new weights at each."""
    assert loop.chain is not None
    step, names, turns, frame = loop.chain
    for turn, item in enumerate(turns):
        place = loop.children.setdefault(turn, loop.place.part(turn))
        scope = Scope(frame.scope, "turn")
        inner = Frame(frame.module, scope, frame.owner, place, (*frame.turns, (id(step), turn)), frame.dims)
        if names:
            expressions.destructure(scope, names, item)
        value = chain(e, step.chain, value, inner)
        if value is POISON:
            return POISON
    return value
