"""Functions of positions: waves for a sequence, cells of a grid, corners of boxes."""

from __future__ import annotations

import numpy as np

from dlc.compiler.build import current, ints, op, private
from dlc.compiler.elaborate.context import Elaborator
from dlc.compiler.elaborate.kinds import Count, Extent, Floats
from dlc.compiler.elaborate.library.functions import function, limited
from dlc.compiler.elaborate.library.selection import places
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value


@function("sinusoid")
def sinusoid(e: Elaborator, length: Extent, width: Count) -> Value:
    """Position codes `[length, width]`: sin and cos of t / 10000^(2i / width) in turn (Vaswani et al., 2017, 3.5)."""
    if width % 2:
        raise Problem("E0303", "the width of a position code is even", f"this is {width}", argument="width")
    limited(width, "position codes", "width")
    rates = np.repeat(10000.0 ** (-np.arange(0, width, 2) / width), 2)
    position: Value = private.ReshapeTo(op.Cast(places(length), to=e.mode.working), shape=(length, 1))
    angle = position * current().constant(rates.reshape(1, width), e.mode.working)
    sines = current().constant((np.arange(width) % 2 == 0).reshape(1, width))
    return op.Where(sines, op.Sin(angle), op.Cos(angle))


@function("cells")
def cells(e: Elaborator, rows: Count, columns: Count) -> Value:
    """`[rows, columns, 1, 2]`: the column and the row of each cell, x before y."""
    limited(rows * columns, "cells")
    y, x = np.indices((rows, columns))
    return current().constant(np.stack([x, y], axis=-1)[:, :, None, :], e.mode.working)


@function("corners")
def corners(box: Floats) -> Value:
    """Boxes by centre and size, `[..., 4]`, as left, top, right, bottom."""
    if not box.shape or box.shape[-1] != 4:
        raise Problem("E0301", "a box is `x, y, width, height` on the last axis", f"this is {box.type}")
    center, size = op.Split(box, ints(2, 2), axis=box.type.rank - 1, outputs=2)
    half = size * 0.5
    return op.Concat(center - half, center + half, axis=box.type.rank - 1)
