"""`plateau`: a schedule that the host drives, for it follows what the host measures after each epoch."""

from __future__ import annotations

from dlc.compiler.build import op
from dlc.compiler.elaborate.context import Elaborator, Frame
from dlc.compiler.elaborate.entities import Direction, describe
from dlc.compiler.elaborate.kinds import Amount, Fraction, Natural, Positive
from dlc.compiler.elaborate.library.functions import function
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value
from dlc.compiler.types import Type
from dlc.dsl import ast


@function("plateau")
def plateau(
    e: Elaborator,
    frame: Frame,
    written: tuple[ast.Arg, ...],
    metric: Direction,
    value: Positive,
    factor: Positive = 0.1,
    patience: Natural = 10,
    threshold: Fraction = 1e-4,
    least: Amount = 0.0,
) -> Value:
    """`value`, times `factor` whenever the metric has not improved for more than `patience` epochs, down to `least`.

    An improvement is one by more than the share `threshold`, as in PyTorch's ReduceLROnPlateau. In the graph it is a
    scalar input; the manifest says beside it how the host moves it.
    """
    for name, number, end, wanted in (("factor", factor, 1, "less than 1"), ("least", least, value, "below the value")):
        if not number < end:
            text = f"`{name}` of `plateau` is {wanted}"
            raise Problem("E0303", text, f"this is {describe(number)}", argument=name)
    site = written[0].span if written else None
    known = [name for name, (at, _) in e.hosted.items() if at == site]
    number = len(e.hosted) + 1
    name = known[0] if known else f"{frame.place.path[0]}.plateau{number if number > 1 else ''}"
    if not known:
        schedule = {
            "kind": "plateau", "direction": metric.word, "split": metric.split, "metric": metric.metric,
            "value": float(value), "factor": float(factor), "patience": patience, "threshold": float(threshold),
            "least": float(least),
        }  # fmt: skip
        e.hosted[name] = (site, schedule)
        e.scalars[name] = e.builder.input(name, Type("f32", ()))
    scalar: Value = op.Cast(e.scalars[name], to=e.mode.working)
    return scalar
