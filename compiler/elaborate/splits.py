"""The splits of a `data` section: made by readers, or taken from earlier splits. The host carries them out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dlc.compiler.elaborate import calls, expressions
from dlc.compiler.elaborate.context import Elaborator, Frame
from dlc.compiler.elaborate.entities import POISON, Reader, Scope, describe
from dlc.compiler.elaborate.names import look, unknown
from dlc.compiler.elaborate.problems import Problem
from dlc.dsl import ast
from dlc.dsl.diagnostics import Label, nearest

SPLITTERS = ("holdout", "fold")
"""What makes a split of an earlier one."""


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
    """`lenet.net:4`, for messages about what is read there. Without folders: the same source gives the same bytes."""
    return f"{name.span.file.replace(chr(92), '/').rsplit('/', 1)[-1]}:{name.span.line}"


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
    order = ["size"] if kind == "holdout" else ["fold"]
    renamed = {"of": "folds"} if kind == "fold" else {}
    result: dict[str, Any] = {"name": name, "reader": kind, "by": None, "seed": 0}
    args = list(call.args)
    if not args or args[0].name is not None or not isinstance(args[0].value, ast.Ref):
        raise Problem("E0205", f"`{kind}` takes examples away from an earlier split: `{kind}(train, ...)`")
    source = args.pop(0).value
    assert isinstance(source, ast.Ref)
    if source.name not in earlier or source.name == name:
        raise unknown(source.name, [each for each in earlier if each != name], source.span, "this data section")
    result["of"] = source.name
    known = [*order, *(["of"] if kind == "fold" else []), "by", "seed"]
    for arg in args:
        key = arg.name.text if arg.name is not None else (order.pop(0) if order else "")
        if key not in known:
            raise calls.no_setting(kind, key or "?", known, arg.span)
        value = arg.value.name if key == "by" and isinstance(arg.value, ast.Ref) else None
        value = expressions.evaluate(e, arg.value, frame) if value is None else value
        if value is POISON:
            raise Problem("E0602", f"`{key}` is not known", span=arg.span)
        wrong = (
            not (isinstance(value, int | float) and not isinstance(value, bool) and value > 0)
            if key == "size"
            else not (value is None or isinstance(value, str))
            if key == "by"
            else isinstance(value, bool) or not isinstance(value, int) or value < 0
        )
        if wrong:
            wants = {"size": "a share or a count of examples", "by": "the name of a record"}.get(key, "an integer")
            raise Problem("E0302", f"`{key}` of `{kind}` wants {wants}", f"this is {describe(value)}", span=arg.span)
        result[renamed.get(key, key)] = value
    missing = "size" if kind == "holdout" and "size" not in result else None
    missing = "folds" if kind == "fold" and "folds" not in result else missing
    missing = "fold" if kind == "fold" and "fold" not in result else missing
    if missing is not None:
        raise Problem("E0205", f"`{kind}` needs `{'of' if missing == 'folds' else missing}`")
    if kind == "fold" and not result["fold"] < result["folds"]:
        raise Problem("E0303", f"there is no fold {result['fold']} of {result['folds']}", "the first fold is 0")
    return result
