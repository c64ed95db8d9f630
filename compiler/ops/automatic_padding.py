"""Automatic padding (`auto_pad = SAME_...`) of axes whose size only a run tells.

How much padding there is follows from the size, and attributes cannot say it. So the padding is set apart: what is
windowed is the padded tensor, and a gradient is that of the padded one, cropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlc.compiler.build import op
from dlc.compiler.graph import Value
from dlc.compiler.ops.extents import extent_vector
from dlc.compiler.ops.rules import zeros
from dlc.compiler.ops.shape import pad
from dlc.compiler.ops.windows import Windows, same_padding, windows
from dlc.compiler.types import Shape, Type


@dataclass(frozen=True, slots=True)
class Apart:
    """Windows over `shape`, [N, C, spatial...], once it has `before` and `after` around it: each of the tensor's rank,
    and zeros where the windows have their padding themselves."""

    windows: Windows
    shape: Shape
    before: Shape
    after: Shape

    @property
    def padded_shape(self) -> Shape:
        return tuple(b + dim + a for b, dim, a in zip(self.before, self.shape, self.after, strict=True))

    def __bool__(self) -> bool:
        return any(dim != 0 for dim in (*self.before, *self.after))

    def padded(self, x: Value, filler: float = 0.0) -> Value:
        if not self:
            return x
        value: Value = op.Pad(x, extent_vector([*self.before, *self.after]), np.asarray(filler, x.type.numpy))
        return value

    def cropped(self, x: Value) -> Value:
        return pad(x, [-dim for dim in self.before], [-dim for dim in self.after])

    def inside(self, dtype: str) -> Value:
        """1 in the tensor and 0 in the padding: [1, 1, spatial...], padded."""
        ones = zeros(Type(dtype, (1, 1, *self.shape[2:]))) + 1.0
        return self.padded(ones)


def set_apart(op: str, attributes: Mapping[str, Any], shape: Shape, kernel: Shape) -> Apart:
    """The windows that an operator's attributes describe on `shape`, [N, C, spatial...]; with their padding apart where
    it depends on a size that only a run tells. Raises IllTyped as `windows` does."""
    none = (0,) * len(shape)
    found = same_padding(op, attributes, shape[2:], kernel)
    if found is None or all(isinstance(dim, int) for dim in (*found[0], *found[1])):
        return Apart(windows(op, attributes, shape[2:], kernel), shape, none, none)
    plain = windows(op, {**attributes, "auto_pad": "VALID", "ceil_mode": 0}, shape[2:], kernel)
    return Apart(plain, shape, (0, 0, *found[0]), (0, 0, *found[1]))


__all__ = ["Apart", "set_apart"]
