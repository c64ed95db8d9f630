"""What `next` names: a state of the body, or in a `scan` what it carries, whether or not a net uses the block."""

from __future__ import annotations

from collections.abc import Iterator

from dlc.compiler.elaborate.problems import Problem, Report
from dlc.dsl import ast
from dlc.dsl.diagnostics import nearest
from dlc.dsl.modules import Module


def check_successors(module: Module, report: Report) -> None:
    """Report every `next` in the file that names neither a state nor what is carried."""
    for declaration in module.source.declarations:
        for part in ast.walk(declaration):
            for problem in misnamed(part):
                report.add(problem, part.span)


def misnamed(body: ast.Syntax) -> Iterator[Problem]:
    """A problem for each name that `next` gives in a body where nothing has it."""
    match body:
        case ast.Scan(body=statements):
            known = [carry.name.text for carry in body.carries]
            wrong, all_ = "`{}` is not carried by this scan", "it carries"
        case ast.Block(body=tuple() as statements) | ast.Net(body=statements):
            known = [each.name.text for each in statements if isinstance(each, ast.State | ast.Param)]
            wrong, all_ = "no state here is called `{}`", "there are"
        case _:
            return
    for statement in statements:
        for bind in statement.binds if isinstance(statement, ast.Next) else ():
            if bind.name.text not in known:
                guess = nearest(bind.name.text, known)
                label = f"did you mean `{guess}`?" if guess else ""
                notes = (f"{all_} {', '.join(f'`{name}`' for name in known)}",) if known and not guess else ()
                yield Problem("E0201", wrong.format(bind.name.text), label, span=bind.name.span, notes=notes)
