"""Functions of positions: waves for a sequence, cells of a grid, corners of boxes."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlc.compiler.build import current, ints, op, private
from dlc.compiler.elaborate.context import Elaborator
from dlc.compiler.elaborate.library.functions import floating, function
from dlc.compiler.elaborate.library.selection import counted, places
from dlc.compiler.elaborate.library.shape import dimension
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value


@function("sinusoid")
def sinusoid(e: Elaborator, length: Any, width: Any) -> Value:
    """Position codes `[length, width]`: sin and cos of t / 10000^(2i / width) in turn (Vaswani et al., 2017, 3.5)."""
    size, channels = dimension(length), counted(width, "a width", 2)
    if channels % 2:
        raise Problem("E0303", "the width of a position code is even", f"this is {channels}")
    rates = np.repeat(10000.0 ** (-np.arange(0, channels, 2) / channels), 2)
    position: Value = private.ReshapeTo(op.Cast(places(size), to=e.mode.working), shape=(size, 1))
    angle = position * current().constant(rates.reshape(1, channels), e.mode.working)
    sines = current().constant((np.arange(channels) % 2 == 0).reshape(1, channels))
    return op.Where(sines, op.Sin(angle), op.Cos(angle))


@function("cells")
def cells(e: Elaborator, rows: Any, columns: Any) -> Value:
    """`[rows, columns, 1, 2]`: the column and the row of each cell, x before y."""
    height, width = counted(rows, "`rows`", 1), counted(columns, "`columns`", 1)
    y, x = np.indices((height, width))
    return current().constant(np.stack([x, y], axis=-1)[:, :, None, :], e.mode.working)


@function("corners")
def corners(box: Any) -> Value:
    """Boxes by centre and size, `[..., 4]`, as left, top, right, bottom."""
    value = floating(box, "corners")
    if not value.shape or value.shape[-1] != 4:
        raise Problem("E0301", "a box is `x, y, width, height` on the last axis", f"this is {value.type}")
    center, size = op.Split(value, ints(2, 2), axis=value.type.rank - 1, outputs=2)
    half = size * 0.5
    return op.Concat(center - half, center + half, axis=value.type.rank - 1)
