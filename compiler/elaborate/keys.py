"""The keys of a train section: settings of the loop, metrics, parts that learn otherwise or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dlc.compiler.elaborate import data, expressions
from dlc.compiler.elaborate.arithmetic import LARGEST
from dlc.compiler.elaborate.context import Elaborator, Frame
from dlc.compiler.elaborate.entities import POISON, Binding, Direction, describe
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.elaborate.run import Group, Run, holds
from dlc.compiler.graph import Value
from dlc.compiler.types import Type
from dlc.dsl import ast
from dlc.dsl.diagnostics import Label, nearest

PRECISIONS = ("f32", "bf16", "f16")
GROUP_KEYS = ("lr_scale", "weight_decay", "optimizer")


def key_of(e: Elaborator, name: ast.Name, statement: ast.Assign, frame: Frame, run: Run) -> None:
    key = name.text
    if key in run.settings or (key == "optimizer" and run.optimizer) or (key == "loss" and run.loss is not None):
        raise Problem("E0202", f"`{key}` is given twice", span=name.span)
    if key == "optimizer":
        run.optimizer = statement
        return
    if key in ("after", "precision"):
        run.settings[key] = _word(e, key, statement.value, run)
        return
    value = expressions.evaluate(e, statement.value, frame)
    if value is POISON:
        return
    if key == "loss":
        run.loss_span = name.span
        if not isinstance(value, Value) or value.type != Type(e.mode.working, ()):
            help = "take its `mean`" if isinstance(value, Value) else None
            raise Problem(
                "E0301", "a loss is one number", f"this is {describe(value)}", span=statement.value.span, help=help
            )
        run.loss = value
        e.label(value, "loss")
        frame.scope.names["loss"] = Binding(value, name.span, used=True)
        return
    run.settings[key] = _setting(key, value, statement.value.span)


def _word(e: Elaborator, key: str, value: ast.Expr, run: Run) -> str:
    """A key whose value is a word: the run to start `after`, or the `precision` of the arithmetic; raises Problem."""
    if not isinstance(value, ast.Ref):
        what = "the name of a run" if key == "after" else f"one of {', '.join(PRECISIONS)}"
        raise Problem("E0302", f"`{key}` is {what}", span=value.span)
    if key == "precision":
        if value.name not in PRECISIONS:
            guess = nearest(value.name, PRECISIONS)
            raise Problem("E0303", f"there is no precision `{value.name}`", f"did you mean `{guess}`?" if guess else "")
        if value.name != "f32":
            problem = Problem("W0405", f"`{value.name}` is computed in f32 by this version of dlc")
            e.report.add(problem, value.span, "warning")
        return value.name
    earlier: list[str] = []
    for each in e.program.main.source.declarations:
        if isinstance(each, ast.Train):
            if each.run.text == run.name:
                break
            earlier.append(each.run.text)
    if value.name not in earlier:
        guess = nearest(value.name, earlier)
        notes = (f"the earlier runs are {', '.join(f'`{each}`' for each in earlier)}",) if earlier else ()
        label = f"did you mean `{guess}`?" if guess else ""
        raise Problem("E0201", f"no earlier run is called `{value.name}`", label, span=value.span, notes=notes)
    return value.name


def _setting(key: str, value: Any, span: ast.Span) -> Any:
    """The value of a key of the loop, checked; raises Problem."""
    if key == "keep":
        if not isinstance(value, Direction) or not value.word:
            text = "`keep` wants a direction: `highest(dev.acc)`"
            raise Problem("E0302", text, f"this is {describe(value)}", span=span)
        return {"direction": value.word, "split": value.split, "metric": value.metric}
    if key == "early_stop":
        if not isinstance(value, dict) or "patience" not in value:
            text = "`early_stop` wants a patience: `patience(highest(dev.acc), 5)`"
            raise Problem("E0302", text, f"this is {describe(value)}", span=span)
        return value
    if key in ("clip_norm", "clip_value"):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LARGEST:
            raise Problem("E0303", f"`{key}` is a positive number", f"this is {describe(value)}", span=span)
        return float(value)
    least = 0 if key == "seed" else 1
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise Problem("E0303", f"`{key}` is an integer of {least} or more", f"this is {describe(value)}", span=span)
    return value


def part(e: Elaborator, ref: ast.Reference, what: str) -> str:
    """The address that a reference names, which has to own weights; one that moves with the text gets a warning."""
    address = str(ref)
    known = [name for name in e.parameters if holds(address, name)]
    if not known and any(each.text == address for each in e.borrowed.values()):
        note = "its float tensors are its weights, but for those inside functions and the bodies of If, Loop and Scan"
        raise Problem("E0201", f"the graph `{address}` has no weights", "", span=ref.span, notes=(note,))
    if not known:
        parts = {name[: len(name) - len(tail)] for name in e.parameters for tail in _tails(name)}
        guess = nearest(address, parts)
        label = f"did you mean `{guess}`?" if guess else ""
        raise Problem("E0201", f"nothing that owns weights is called `{address}`", label, span=ref.span)
    if address in e.unnamed:
        problem = Problem(
            "W0401",
            f"`{address}` is a part without a name of its own: its address moves when a line is inserted before it",
            notes=(f"`{what}` points at it",),
            help="name it with `as`",
        )
        e.report.add(problem, ref.span, "warning")
    return address


def _tails(name: str) -> Iterator[str]:
    """Every way to leave off the end of an address."""
    for index, sign in enumerate(name):
        if sign in ".[":
            yield name[index:]


def group_of(e: Elaborator, section: ast.Section, frame: Frame, run: Run) -> None:
    """`group part { lr_scale = 0.1 }`: a part that learns by rules of its own; problems are reported or raised."""
    if section.ref is None:
        raise Problem(
            "E0205", "a `group` says of which part: `group net.part { lr_scale = 0.1 }`", span=section.name.span
        )
    prefix = part(e, section.ref, "group")
    first = next((each for each in run.groups if each.prefix == prefix), None)
    if first is not None:
        secondary = (Label(first.span, "the first"),)
        raise Problem("E0202", f"`group {prefix}` is given twice", span=section.ref.span, secondary=secondary)
    _check_learns(e, prefix, section.ref.span)
    given: dict[str, Any] = {}
    for statement in section.body:
        if not isinstance(statement, ast.Assign) or len(statement.names) != 1:
            raise Problem("E0206", "a group has keys: `lr_scale = 0.1`", span=statement.span)
        name = statement.names[0]
        if name.text not in GROUP_KEYS:
            guess = nearest(name.text, GROUP_KEYS)
            label = f"did you mean `{guess}`?" if guess else ""
            notes = (f"there are {', '.join(f'`{key}`' for key in GROUP_KEYS)}",)
            raise Problem("E0207", f"a group has no key `{name.text}`", label, span=name.span, notes=notes)
        if name.text in given:
            raise Problem("E0202", f"`{name.text}` is given twice", span=name.span)
        if name.text == "optimizer":
            given[name.text] = statement.value
            continue
        value = expressions.evaluate(e, statement.value, frame)
        if value is POISON:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            text = f"`{name.text}` of a group is a number of 0 or more"
            raise Problem("E0303", text, f"this is {describe(value)}", span=statement.value.span)
        given[name.text] = float(value)
    lr_scale, weight_decay, optimizer = (given.get(key) for key in GROUP_KEYS)
    run.groups.append(Group(prefix, lr_scale, weight_decay, optimizer, section.span))


def _check_learns(e: Elaborator, prefix: str, span: ast.Span) -> None:
    """Warn of a group that changes how frozen weights learn, and no others."""
    weights = [name for name, each in e.parameters.items() if each.role == "parameter" and holds(prefix, name)]
    if weights and all(e.is_frozen(name) for name in weights):
        text = f"`group {prefix}` changes nothing: all its weights are frozen"
        e.report.add(Problem("W0402", text, help="leave out the group, or do not `freeze` these"), span, "warning")


def metrics_of(e: Elaborator, section: ast.Section, frame: Frame, run: Run) -> None:
    inner = frame.inner("metrics")
    for statement in section.body:
        if not isinstance(statement, ast.Assign) or len(statement.names) != 1:
            e.report.add(Problem("E0206", "a metric is `name = expression`"), statement.span)
            continue
        name = statement.names[0]
        if name.text in data.RESERVED:
            problem = Problem("E0602", f"a metric cannot be called `{name.text}`", "the training step has that itself")
            e.report.add(problem, name.span)
            continue
        if name.text in run.metrics:
            e.report.add(Problem("E0202", f"`{name.text}` is given twice"), name.span)
            continue
        value = expressions.evaluate(e, statement.value, inner)
        if value is POISON:
            continue
        if not isinstance(value, Value) or value.shape or not value.type.is_float:
            help = "take its `mean`" if isinstance(value, Value) else None
            problem = Problem("E0301", "a metric is one number", f"this is {describe(value)}", help=help)
            e.report.add(problem, statement.value.span)
            continue
        run.metrics[name.text] = value


def metric_names(section: ast.Section) -> Iterator[str]:
    return (statement.names[0].text for statement in section.body if isinstance(statement, ast.Assign))
