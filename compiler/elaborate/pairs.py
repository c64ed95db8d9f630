"""A net that treats two inputs alike, each with weights of its own, was probably meant to share them."""

from __future__ import annotations

from collections.abc import Iterator

from dlc.compiler.elaborate.context import Elaborator
from dlc.compiler.elaborate.problems import Problem
from dlc.dsl import ast
from dlc.dsl.diagnostics import Label


def warn_of_pairs(e: Elaborator, net: ast.Net) -> None:
    """Warn where two inputs of one type go through the same stages, written twice, that make weights."""
    for first, second in _pairs(net):
        one, other = (pipeline.source.name for pipeline in (first, second) if isinstance(pipeline.source, ast.Ref))
        block = next(_blocks(second))
        problem = Problem(
            "W0403",
            f"{one} and {other} get different weights",
            "and another",
            secondary=(Label(_stages(first), "one set of weights"),),
            help=f"to share, make one: `shared = {block}`, then apply it: `shared({one})` and `shared({other})`",
        )
        e.report.add(problem, _stages(second), "warning")


def _pairs(net: ast.Net) -> Iterator[tuple[ast.Pipeline, ast.Pipeline]]:
    inputs = {item.name.text: item.type for each in net.body if isinstance(each, ast.Input) for item in each.items}
    before: list[ast.Pipeline] = []
    for statement in net.body:
        pipeline = statement.value if isinstance(statement, ast.Assign) else None
        if not isinstance(pipeline, ast.Pipeline) or not isinstance(pipeline.source, ast.Ref):
            continue
        if pipeline.source.name not in inputs or next(_blocks(pipeline), None) is None:
            continue
        for other in before:
            assert isinstance(other.source, ast.Ref)
            alike = inputs[other.source.name] == inputs[pipeline.source.name] and other.stages == pipeline.stages
            if alike and other.source != pipeline.source:
                yield other, pipeline
                break
        before.append(pipeline)


def _blocks(pipeline: ast.Pipeline) -> Iterator[str]:
    """The blocks that a pipeline's stages make instances of, as they are written."""
    from dlc.dsl.printer import source

    waiting: list[ast.Syntax] = [stage.step for stage in reversed(pipeline.stages)]
    while waiting:
        part = waiting.pop()
        target = part.target if isinstance(part, ast.Call) else part
        if isinstance(target, ast.Ref) and target.name[0].isupper() and isinstance(part, ast.Expr):
            yield source(part)
        waiting.extend(reversed(list(ast.children(part))))


def _stages(pipeline: ast.Pipeline) -> ast.Span:
    first, last = pipeline.stages[0].span, pipeline.stages[-1].span
    return ast.Span(first.file, first.line, first.column, last.end_line, last.end_column)
