"""The splits of a `data` section: made by readers, or taken from earlier splits. The host carries them out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dlc.compiler.elaborate import calls, expressions, kinds
from dlc.compiler.elaborate.context import Elaborator, Frame
from dlc.compiler.elaborate.entities import POISON, Reader, Scope
from dlc.compiler.elaborate.names import look, unknown
from dlc.compiler.elaborate.problems import Problem
from dlc.dsl import ast
from dlc.dsl.diagnostics import Label, nearest

SPLITTERS = {"holdout": ("size", "by", "seed"), "fold": ("fold", "of", "by", "seed")}
"""What makes a split of an earlier one, and its settings beside that; the first needs no name."""
OPTIONAL: dict[str, Any] = {"by": None, "seed": 0}
PLANNED = {"of": "folds"}
"""How the plan calls a setting: there `of` is the split that examples are taken from."""


TAKES = {"size": "portion", "fold": "natural", "of": "folds", "by": "record", "seed": "natural"}
"""The kind of each of their settings."""


def splits_of(e: Elaborator, data: ast.Data, frame: Frame, splits: list[dict[str, Any]]) -> Reader | None:
    """Read the assignments: each is a split, made by a reader or taken from an earlier split."""
    reader: Reader | None = None
    names: dict[str, ast.Span] = {}
    for statement in data.body:
        try:
            match statement:
                case ast.Field():
                    continue
                case ast.Assign(names=(name,), value=ast.Call(target=ast.Ref()) as call):
                    if name.text in names:
                        first = (Label(names[name.text], "first given here"),)
                        raise Problem("E0202", f"`{name.text}` is given twice", span=name.span, secondary=first)
                    names[name.text] = name.span
                    target = call.target
                    assert isinstance(target, ast.Ref)
                    if target.name in SPLITTERS:
                        splits.append(_split(e, name.text, target.name, call, frame, names))
                        continue
                    found = look(e, frame, target.name, target.span)
                    if found is None or not isinstance(found.value, Reader):
                        raise _no_reader(e, target)
                    home = Frame(e.library, Scope(), frame.owner, frame.place)
                    given = tuple(_path_of_picture(arg) for arg in call.args)
                    bound = calls.bind(e, target.name, found.value.fn.params, given, (), frame, home)
                    arguments = {key: binding.value for key, binding in bound.names.items()}
                    splits.append(
                        {"name": name.text, "reader": target.name, "args": [], "named": arguments, "at": _place(name)}
                    )
                    reader = reader or found.value
                case ast.Section(name=ast.Name(text="augment")):
                    continue  # batched, at the front of the training step: see `augment`
                case _:
                    raise Problem(
                        "E0206",
                        "a `data` section has splits and fields",
                        help='a split is `train = csv("train.csv")`, a field `image: f32[1, 28, 28] = raw.image / 255`',
                    )
        except Problem as problem:
            e.report.add(problem, statement.span)
    if "train" not in names:
        e.report.add(Problem("E0602", f"`{data.name.text}` has no split called `train`"), data.name.span)
    return reader


def _path_of_picture(arg: ast.Arg) -> ast.Arg:
    """A reader that takes a picture, `image("a.jpg")`, gets its path."""
    match arg.value:
        case ast.Call(target=ast.Ref(name="image"), args=(path,)):
            return replace(arg, value=path.value)
    return arg


def _place(name: ast.Name) -> str:
    """`lenet.net:4`, for messages about what is read there."""
    return name.span.place.rpartition(":")[0]


def _no_reader(e: Elaborator, target: ast.Ref) -> Problem:
    readers = [
        name
        for name, each in e.library.scope.items()
        if isinstance(each, ast.Fn)
        and isinstance(each.body, tuple)
        and all(isinstance(part, ast.Field) for part in each.body)
    ]
    guess = nearest(target.name, [*readers, *SPLITTERS])
    return Problem(
        "E0602",
        f"nothing reads data by the name `{target.name}`",
        f"did you mean `{guess}`?" if guess else "",
        span=target.span,
        notes=(f"there are {', '.join(f'`{name}`' for name in (*readers, *SPLITTERS))}",),
    )


def _split(
    e: Elaborator, name: str, kind: str, call: ast.Call, frame: Frame, earlier: dict[str, ast.Span]
) -> dict[str, Any]:
    """`holdout(train, 0.1, by="label", seed=0)` or `fold(train, 0, of=5, by="label", seed=0)`; raises Problem."""
    calls.in_order(call.args)
    args = list(call.args)
    if not args or args[0].name is not None or not isinstance(args[0].value, ast.Ref):
        raise Problem("E0205", f"`{kind}` takes examples away from an earlier split: `{kind}(train, ...)`")
    source = args.pop(0).value
    assert isinstance(source, ast.Ref)
    if source.name not in earlier or source.name == name:
        raise unknown(source.name, [each for each in earlier if each != name], source.span, "this data section")
    settings = SPLITTERS[kind]
    first = settings[0]
    has = (f"it has {', '.join(f'`{each}`' for each in settings)}",)
    given: dict[str, Any] = {}
    for arg in args:
        key = arg.name.text if arg.name is not None else first
        if arg.name is None and first in given:
            raise Problem("E0205", f"too many arguments for `{kind}`", "one too many", span=arg.span, notes=has)
        if key not in settings:
            raise calls.no_setting(kind, key, list(settings), arg.span)
        if key in given:
            raise Problem("E0205", f"`{key}` is given twice", span=arg.span)
        given[key] = _value(e, kind, key, arg, frame)
    for key in settings:
        if key not in given and key not in OPTIONAL:
            raise Problem("E0205", f"`{kind}` needs `{key}`")
    if kind == "fold" and not given["fold"] < given["of"]:
        raise Problem("E0303", f"there is no fold {given['fold']} of {given['of']}", "the first fold is 0")
    plan = {PLANNED.get(key, key): value for key, value in given.items()}
    return {"name": name, "reader": kind, **OPTIONAL, "of": source.name, **plan}


def _value(e: Elaborator, kind: str, key: str, arg: ast.Arg, frame: Frame) -> Any:
    """The value of a splitter's setting; `by` takes the name of a record with or without quotes. Raises Problem."""
    if key == "by" and isinstance(arg.value, ast.Ref):
        return arg.value.name
    value = expressions.evaluate(e, arg.value, frame)
    if value is POISON:
        raise Problem("E0602", f"`{key}` is not known", span=arg.span)
    if value is not None or key != "by":
        kinds.KINDS[TAKES[key]].check(f"`{key}` of `{kind}`", value, arg.span)
    return value
