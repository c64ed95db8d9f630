"""Functions that make a tensor bigger: around it, by repeating it, by repeating its pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlc.compiler.build import current, ints, op
from dlc.compiler.elaborate.arithmetic import tensor
from dlc.compiler.elaborate.library.functions import axis_of, floating, function, tensor_of
from dlc.compiler.elaborate.library.selection import counted
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value

MODES = {"constant": "constant", "reflect": "reflect", "edge": "edge"}


@function("pad")
def pad(x: Any, before: Any = 0, after: Any = 0, axis: Any = -1, value: Any = 0, mode: Any = "constant") -> Value:
    """So many elements set before and after along an axis.

    They are `value`, the border mirrored without its last element (`mode="reflect"`), or that element (`"edge"`).
    """
    whole, at = tensor_of(x, "pad"), axis_of(tensor_of(x, "pad"), axis)
    ahead, behind = counted(before, "`before`"), counted(after, "`after`")
    if mode not in MODES:
        raise Problem("E0303", "`mode` of `pad` is constant, reflect or edge", f"this is {mode}")
    size = whole.shape[at]
    most = max(ahead, behind)
    if mode == "reflect" and isinstance(size, int) and most >= size:
        raise Problem("E0303", f"{most} elements cannot be mirrored out of {size}", f"this is {whole.type}")
    amounts, filling = ints(ahead, behind), None
    if mode == "constant" and value != 0:
        filling = tensor(value, whole.dtype, "what is set around")
    return op.Pad(whole, amounts, filling, ints(at), mode=None if mode == "constant" else mode)


@function("tile")
def tile(x: Any, n: Any, axis: Any = 0) -> Value:
    """The whole repeated n times along an axis."""
    value = tensor_of(x, "tile")
    at, number = axis_of(value, axis), counted(n, "how often", 1)
    return op.Tile(value, ints(*(number if i == at else 1 for i in range(value.type.rank))))


@function("upsample")
def upsample(x: Any, scale: Any) -> Value:
    """Each pixel repeated `scale` times along every spatial axis of `[B, C, ...]`."""
    value = floating(x, "upsample")
    if value.type.rank < 3:
        raise Problem("E0301", "`upsample` wants `[B, C, ...]` with at least one spatial axis", f"this is {value.type}")
    n = value.type.rank - 2
    each = scale if isinstance(scale, list | tuple) else [scale] * n
    if len(each) != n:
        raise Problem("E0303", f"`scale` has {len(each)} numbers for {n} axes")
    factors = [counted(one, "`scale`", 1) for one in each]
    scales = current().constant(np.array([1, 1, *factors], np.float32))
    return op.Resize(
        value, None, scales, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    )
