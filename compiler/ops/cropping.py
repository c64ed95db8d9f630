"""Crops and pads about the centre."""

from __future__ import annotations

from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.places import taken_by_places
from dlc.compiler.ops.rules import normal_axis, replaced, show
from dlc.compiler.ops.shape import known, pad
from dlc.compiler.registry import Call, IllTyped, define, expansion
from dlc.compiler.types import Shape, Type


def _center(call: Call) -> list[Type]:
    x, wanted = call.type(0), known(call, 1)
    shape = x.shape
    axes = _axes(call, x, wanted)
    for axis, dim in zip(axes, wanted, strict=True):
        shape = replaced(shape, axis, dim)
    return [x.with_shape(shape)]


def _axes(call: Call, x: Type, wanted: Shape) -> list[int]:
    axes = [normal_axis("CenterCropPad", axis, x.rank) for axis in call.get("axes", range(x.rank))]
    if len(axes) != len(wanted) or len(set(axes)) != len(axes):
        raise IllTyped(f"CenterCropPad of {x} to {show(wanted)} along axes {axes}: one size for each axis is expected")
    return axes


define("CenterCropPad", _center)


@expansion("CenterCropPad", at_run=True)
def _(x: Value, wanted: Value, node: Node) -> Value:
    """Half of what is missing, or too much, before, rounded towards 0; the rest after."""
    if not all(isinstance(want - have, int) for have, want in zip(x.shape, node.output.shape, strict=True)):
        return taken_by_places(node, x)
    before, after = [], []
    for have, want in zip(x.shape, node.output.shape, strict=True):
        more = want - have
        assert isinstance(more, int)
        half = int(more / 2)
        before.append(half)
        after.append(more - half)
    return pad(x, before, after)
