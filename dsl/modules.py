"""Files that `use` one another: loading them all, and which name means what in each."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from dlc.dsl import ast
from dlc.dsl.ast import Declaration, Name
from dlc.dsl.diagnostics import Diagnostic, Label, SourceError, nearest
from dlc.dsl.parser import parse, read

SHARED = (ast.Let, ast.Fn, ast.Block, ast.Net, ast.Import, ast.Data)
"""Declarations that another file may use."""

Named = ast.Let | ast.Fn | ast.Block | ast.Net | ast.Import | ast.Data | ast.Infer


@dataclass(eq=False)
class Module:
    """One file. `scope` holds what its names mean, `home` the module that declares each of them."""

    path: Path
    file: str
    source: ast.Source
    scope: dict[str, Declaration] = field(default_factory=dict)
    home: dict[str, Module] = field(default_factory=dict)
    uses: dict[str, Module] = field(default_factory=dict)
    """The files of its `use` lines, by the path as written."""


@dataclass(eq=False)
class Program:
    """A file with everything that it uses; `modules` by resolved path, `sources` by the file name in spans."""

    main: Module
    modules: dict[Path, Module]
    sources: dict[str, str]


def load(path: Path, sources: dict[str, str] | None = None) -> Program:
    """The program in a file.

    Raises SourceError with what is wrong in any of its files. The texts read are put into `sources`, which a caller
    may pass so as to have them for showing the error.
    """
    return _load(Path(path), None, str(path), sources)


def load_text(text: str, file: str, sources: dict[str, str] | None = None) -> Program:
    """The program in a text; the paths of its `use` lines are relative to the folder of `file`. Raises SourceError."""
    return _load(Path(file), text, file, sources)


def load_library(paths: Iterable[Path], sources: dict[str, str] | None = None) -> Program:
    """Files that form one scope without `use`: each sees what all declare. `main` is the first. Raises SourceError."""
    texts = {} if sources is None else sources
    modules: dict[Path, Module] = {}
    wrong: list[Diagnostic] = []
    for path in paths:
        file = f"<{path.parent.name}/{path.name}>"  # no file of a user can have that name
        texts[file] = read(path, file)
        modules[path.resolve()] = Module(path.resolve(), file, parse(texts[file], file))
    scope: dict[str, Declaration] = {}
    home: dict[str, Module] = {}
    for module in modules.values():
        wrong += _declare(module, scope, home)
        module.scope, module.home = scope, home
    if wrong:
        raise SourceError(*wrong)
    return Program(next(iter(modules.values())), modules, texts)


def name_of(declaration: Declaration) -> Name | None:
    """The name that a declaration brings into the scope of its file; runs, searches and `use` bring none."""
    return declaration.name if isinstance(declaration, Named) else None


def _load(path: Path, text: str | None, file: str, sources: dict[str, str] | None) -> Program:
    texts = {} if sources is None else sources
    modules: dict[Path, Module] = {}
    wrong: list[Diagnostic] = []
    main = _read(path, text, file, modules, texts)
    waiting = [main]
    while waiting:
        module = waiting.pop(0)
        for use in _uses(module):
            target = Path(module.path.parent, use.path)
            known = modules.get(_resolve(target))
            if known is None:
                try:
                    shown = os.path.normpath(os.path.join(os.path.dirname(module.file), use.path))
                    known = _read(target, None, shown, modules, texts)
                    waiting.append(known)
                except SourceError as error:
                    unread = [each for each in error.diagnostics if each.code == "E0106"]
                    wrong += [each for each in error.diagnostics if each.code != "E0106"]
                    wrong += [
                        Diagnostic("E0705", each.message, Label(use.path_span, "used here"), notes=each.notes)
                        for each in unread
                    ]
                    continue
            module.uses[use.path] = known
    circle = _circle(modules.values())
    if circle:
        raise SourceError(*wrong, circle)
    for module in modules.values():
        wrong += _declare(module, module.scope, module.home)
    for module in modules.values():
        wrong += _bring(module)
        wrong += _runs(module)
    if wrong:
        raise SourceError(*wrong)
    return Program(main, modules, texts)


def _read(path: Path, text: str | None, file: str, modules: dict[Path, Module], texts: dict[str, str]) -> Module:
    content = read(path, file) if text is None else text
    texts[file] = content
    key = _resolve(path)
    modules[key] = Module(key, file, parse(content, file))
    return modules[key]


def _resolve(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, ValueError, RuntimeError):  # NUL bytes, loops of links: reading will say so
        return path


def _uses(module: Module) -> list[ast.Use]:
    return [each for each in module.source.declarations if isinstance(each, ast.Use)]


def _circle(modules: Iterable[Module]) -> Diagnostic | None:
    """Files that use each other in a circle, shown by the `use` lines that close it."""
    done: set[Path] = set()
    for start in modules:
        trail = [(start, iter(_uses(start)))]
        path: list[ast.Use] = []
        while trail:
            module, rest = trail[-1]
            use = next(rest, None)
            if use is None:
                done.add(module.path)
                trail.pop()
                path = path[:-1]
                continue
            target = module.uses.get(use.path)
            if target is None or target.path in done:
                continue
            open_at = next((at for at, (each, _) in enumerate(trail) if each is target), None)
            if open_at is not None:
                loop = [*path[open_at:], use]
                names = [each.file for each, _ in trail[open_at:]] + [target.file]
                others = tuple(Label(each.path_span, "used here") for each in loop[:-1])
                label = Label(use.path_span, "this closes the circle")
                note = " uses ".join(names)
                return Diagnostic("E0703", "these files use each other in a circle", label, others, (note,))
            path.append(use)
            trail.append((target, iter(_uses(target))))
    return None


def _declare(module: Module, scope: dict[str, Declaration], home: dict[str, Module]) -> list[Diagnostic]:
    """Puts a file's own declarations into its scope."""
    wrong = []
    for declaration in module.source.declarations:
        wrong += _capitals(declaration)
        name = name_of(declaration)
        if name is None:
            continue
        if name.text in scope:
            wrong.append(_twice(name, _introduced(scope[name.text]), "declared"))
        else:
            scope[name.text], home[name.text] = declaration, module
    return wrong


def _bring(module: Module) -> list[Diagnostic]:
    """Puts what a file uses from others into its scope."""
    wrong = []
    brought: dict[str, Name] = {}
    for use in _uses(module):
        target = module.uses.get(use.path)
        for name in use.names if target else ():
            assert target is not None
            found = target.home.get(name.text)
            if name.text in brought:
                wrong.append(_twice(name, brought[name.text], "used"))
            elif module.home.get(name.text) is module:
                wrong.append(_twice(name, _introduced(module.scope[name.text]), "declared"))
            elif found is not target or not isinstance(target.scope[name.text], SHARED):
                wrong.append(_not_there(name, use, target))
            else:
                brought[name.text] = name
                module.scope[name.text], module.home[name.text] = target.scope[name.text], target
    return wrong


def _not_there(name: Name, use: ast.Use, target: Module) -> Diagnostic:
    declared = target.source.declarations
    for each in declared:
        own = each.run if isinstance(each, ast.Train) else getattr(each, "name", None)
        if isinstance(each, ast.Use) and name.text in (brought.text for brought in each.names):
            label = Label(name.span, f"`{use.path}` itself takes this from `{each.path}`")
            help_ = f"use it from where it is declared: `{each.path}`, seen from `{use.path}`"
            return Diagnostic("E0704", f"`{name.text}` is not declared in `{use.path}`", label, help=help_)
        if isinstance(each, ast.Train | ast.Search | ast.Infer) and own is not None and own.text == name.text:
            kind = type(each).__name__.lower()
            return Diagnostic(
                "E0704",
                f"`{name.text}` cannot be used from another file",
                Label(name.span, f"this is a `{kind}` section"),
                (Label(own.span, "declared here"),),
                ("sections do not travel: a file can be used without being trained or searched",),
            )
    offered = [each.name.text for each in declared if isinstance(each, SHARED)]
    near = nearest(name.text, offered)
    label = Label(name.span, f"did you mean `{near}`?" if near else "")
    notes = () if near or not offered else ("it has " + ", ".join(f"`{each}`" for each in sorted(offered)),)
    return Diagnostic("E0701", f"`{use.path}` declares nothing called `{name.text}`", label, notes=notes)


def _runs(module: Module) -> list[Diagnostic]:
    """Runs of one file have names of their own."""
    wrong = []
    seen: dict[str, Name] = {}
    for each in module.source.declarations:
        if isinstance(each, ast.Train):
            if each.run.text in seen:
                help_ = f"name it with `as`: `train {each.net} on {each.data} as {each.net}2`"
                wrong.append(_twice(each.run, seen[each.run.text], "named", help_))
            seen.setdefault(each.run.text, each.run)
    return wrong


def _introduced(declaration: Declaration) -> Name:
    name = name_of(declaration)
    assert name is not None
    return name


def _twice(name: Name, first: Name, how: str, help: str | None = None) -> Diagnostic:
    return Diagnostic(
        "E0202",
        f"`{name.text}` is {how} already",
        Label(name.span, "given a second time here"),
        (Label(first.span, f"first {how} here"),),
        help=help,
    )


def _capitals(declaration: Declaration) -> list[Diagnostic]:
    """A block begins with a capital letter, everything else with a small one."""
    name = declaration.alias if isinstance(declaration, ast.Train) else name_of(declaration)
    if name is None:
        return []
    kind = "run" if isinstance(declaration, ast.Train) else type(declaration).__name__.lower()
    bare = name.text.lstrip("_")
    capital = isinstance(declaration, ast.Block)
    if not bare or bare[0].isupper() == capital or bare[0].isdigit():
        return []
    better = name.text.replace(bare, bare[0].swapcase() + bare[1:], 1)
    if capital:
        message, why = "a block begins with a capital letter", "every use of it makes new weights"
    else:
        article = "an" if kind[0] in "aeiou" else "a"
        message, why = f"{article} {kind} begins with a small letter", "its name makes no new weights"
    note = f"capitals own weights: {why}"
    return [Diagnostic("E0204", message, Label(name.span, f"call it `{better}`"), notes=(note,))]
