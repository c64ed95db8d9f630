"""Misspelt settings in blocks and functions that nothing in the file uses yet, where elaboration does not come."""

from __future__ import annotations

from collections.abc import Iterator

from dlc.compiler.elaborate.calls import no_setting
from dlc.compiler.elaborate.entities import Builtin
from dlc.compiler.elaborate.kinds import signature
from dlc.compiler.elaborate.library import BUILTINS
from dlc.compiler.elaborate.problems import Report
from dlc.dsl import ast
from dlc.dsl.modules import Module


def check_settings(module: Module, library: Module, report: Report) -> None:
    """Report every named argument that the block or function of that name does not have."""
    for declaration in module.source.declarations:
        if not isinstance(declaration, ast.Block | ast.Fn):
            continue
        own = {name.text for name in _given(declaration)}
        for part in ast.walk(declaration):
            if isinstance(part, ast.Call) and isinstance(part.target, ast.Ref) and part.target.name not in own:
                known = _settings(part.target.name, module, library)
                for arg in part.args:
                    if known is not None and arg.name is not None and arg.name.text not in known:
                        problem = no_setting(part.target.name, arg.name.text, known, arg.name.span)
                        report.add(problem, arg.name.span)


def _given(declaration: ast.Block | ast.Fn) -> Iterator[ast.Name]:
    """The names that the declaration gives itself."""
    for part in ast.walk(declaration):
        match part:
            case ast.Declared(name=name):
                yield name
            case ast.Assign(names=names):
                yield from names
            case ast.Stage(alias=ast.Name() as alias):
                yield alias


def _settings(name: str, module: Module, library: Module) -> list[str] | None:
    """The settings of a block, a function, or one written in Python; None where they are not known."""
    declaration = module.scope.get(name) or library.scope.get(name)
    if isinstance(declaration, ast.Block | ast.Fn):
        return [param.name.text for param in declaration.params]
    builtin = BUILTINS.get(name)
    if isinstance(builtin, Builtin):
        takes = signature(builtin)
        return None if takes.extra else [each for each in takes.known if each in takes.by_name]
    return None
