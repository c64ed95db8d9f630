"""What `next` names: a state of the body, or in a `scan` what it carries, each once, whether or not a net uses the
block."""

from __future__ import annotations

from collections.abc import Iterator

from dlc.compiler.elaborate.problems import Problem, Report
from dlc.dsl import ast
from dlc.dsl.diagnostics import Label, nearest
from dlc.dsl.modules import Module


def check_successors(module: Module, report: Report) -> None:
    """Report every `next` in the file that names no state and nothing that is carried, or one a second time."""
    for declaration in module.source.declarations:
        for part in ast.walk(declaration):
            for problem in misnamed(part):
                report.add(problem, part.span)


def misnamed(body: ast.Syntax) -> Iterator[Problem]:
    """A problem for each name that `next` gives in a body where no state has it, and for each that it gives again."""
    weights: dict[str, ast.Span] = {}
    match body:
        case ast.Scan(body=statements):
            known = [carry.name.text for carry in body.carries]
            wrong, all_ = "`{}` is not carried by this scan", "it carries"
        case ast.Block(body=tuple() as statements) | ast.Net(body=statements):
            known = [each.name.text for each in statements if isinstance(each, ast.State)]
            weights = {each.name.text: each.name.span for each in statements if isinstance(each, ast.Param)}
            wrong, all_ = "no state here is called `{}`", "there are"
        case _:
            return
    given: dict[str, ast.Span] = {}
    for name in (bind.name for each in statements if isinstance(each, ast.Next) for bind in each.binds):
        if name.text in weights:
            yield _weight(name, weights[name.text])
        elif name.text not in known:
            guess = nearest(name.text, known)
            label = f"did you mean `{guess}`?" if guess else ""
            notes = (f"{all_} {', '.join(f'`{each}`' for each in known)}",) if known and not guess else ()
            yield Problem("E0201", wrong.format(name.text), label, span=name.span, notes=notes)
        elif name.text in given:
            yield _twice(name, given[name.text])
        given.setdefault(name.text, name.span)


def _weight(name: ast.Name, declared: ast.Span) -> Problem:
    return Problem(
        "E0208",
        f"`{name.text}` is no state",
        "the optimizer says what a weight becomes",
        span=name.span,
        secondary=(Label(declared, "a weight"),),
        help=f"`state {name.text}: ...` keeps what is not trained",
    )


def _twice(name: ast.Name, first: ast.Span) -> Problem:
    return Problem(
        "E0202",
        f"`{name.text}` already has its next value",
        "given a second one here",
        span=name.span,
        secondary=(Label(first, "first given one here"),),
    )
