"""Functions that make a tensor bigger: around it, by repeating it, by repeating its pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlc.compiler.build import current, ints, op
from dlc.compiler.elaborate.arithmetic import tensor
from dlc.compiler.elaborate.kinds import Axis, Count, Counts, Floats, Natural, Tensor
from dlc.compiler.elaborate.library.functions import axis_of, function
from dlc.compiler.elaborate.library.spatial import each_axis, spatial_axes
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value
from dlc.compiler.types import Type

MODES = ("constant", "reflect", "edge")


@function("pad")
def pad(
    x: Tensor, before: Natural = 0, after: Natural = 0, axis: Axis = -1, value: Any = 0, mode: str = "constant"
) -> Value:
    """So many elements set before and after along an axis.

    They are `value`, the border mirrored without its last element (`mode="reflect"`), or that element (`"edge"`).
    """
    at = axis_of(x, axis)
    if mode not in MODES:
        raise Problem("E0303", "`mode` of `pad` is constant, reflect or edge", f"this is {mode}", argument="mode")
    size = x.shape[at]
    most = max(before, after)
    if mode == "reflect" and isinstance(size, int) and most >= size:
        raise Problem("E0303", f"{most} elements cannot be mirrored out of {size}", f"this is {x.type}")
    amounts, filling = ints(before, after), None
    if mode == "constant" and (isinstance(value, Value) or value != 0):
        filling = tensor(value, x, "what is set around")
        if filling.type != Type(x.dtype, ()):
            text = f"what is set around {x.type} is one number of its type"
            raise Problem("E0301", text, f"this is {filling.type}", argument="value")
    return op.Pad(x, amounts, filling, ints(at), mode=None if mode == "constant" else mode)


@function("tile")
def tile(x: Tensor, n: Count, axis: Axis = 0) -> Value:
    """The whole repeated n times along an axis."""
    at = axis_of(x, axis)
    return op.Tile(x, ints(*(n if i == at else 1 for i in range(x.type.rank))))


@function("upsample")
def upsample(x: Floats, scale: Counts) -> Value:
    """Each pixel repeated `scale` times along every spatial axis of `[B, C, ...]`."""
    factors = each_axis(scale, spatial_axes(x, "upsample"), "scale")
    scales = current().constant(np.array([1, 1, *factors], np.float32))
    return op.Resize(x, None, scales, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
