"""Transposed convolution: what a convolution does to gradients, as a layer that makes pictures bigger."""

from __future__ import annotations

from dlc.compiler.build import op
from dlc.compiler.elaborate.kinds import Count, Counts, Floats, Naturals
from dlc.compiler.elaborate.library.functions import function
from dlc.compiler.elaborate.library.spatial import each_axis, kernel_of
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value


@function("convolve_transposed")
def convolve_transposed(
    x: Floats, weight: Floats, stride: Counts = 1, pad: Naturals = 0, extra: Naturals = 0, dilation: Counts = 1,
    groups: Count = 1,
) -> Value:  # fmt: skip
    """By a weight `[in, out / groups, ...]`; a side of n becomes one of
    `(n - 1) * stride + dilation * (kernel - 1) + 1 - 2 * pad + extra`."""
    n = len(kernel_of(x, weight, "convolve_transposed"))
    strides, dilations = each_axis(stride, n, "stride"), each_axis(dilation, n, "dilation")
    pads, more = each_axis(pad, n, "pad"), each_axis(extra, n, "extra")
    for one, step in zip(more, strides, strict=True):
        if one >= step:
            raise Problem("E0303", f"`extra` is less than the stride, {step}", f"this is {one}", argument="extra")
    return op.ConvTranspose(
        x,
        weight,
        strides=strides,
        pads=pads * 2,
        output_padding=more if any(more) else None,
        dilations=dilations,
        group=groups,
    )
