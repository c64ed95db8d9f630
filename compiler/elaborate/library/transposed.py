"""Transposed convolution: what a convolution does to gradients, as a layer that makes pictures bigger."""

from __future__ import annotations

from typing import Any

from dlc.compiler.build import op
from dlc.compiler.elaborate.entities import describe
from dlc.compiler.elaborate.library.functions import floating, function, tensor_of
from dlc.compiler.elaborate.library.spatial import each_axis, spatial_axes
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value


@function("convolve_transposed")
def convolve_transposed(
    x: Any, weight: Any, stride: Any = 1, pad: Any = 0, extra: Any = 0, dilation: Any = 1, groups: Any = 1
) -> Value:
    """By a weight `[in, out / groups, ...]`; a side of n becomes one of
    `(n - 1) * stride + dilation * (kernel - 1) + 1 - 2 * pad + extra`."""
    n = spatial_axes(x, "convolve_transposed")
    value, kernel = floating(x, "convolve_transposed"), tensor_of(weight, "convolve_transposed")
    if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1:
        raise Problem("E0303", "`groups` is an integer of 1 or more", f"this is {describe(groups)}")
    strides, dilations = each_axis(stride, n, "stride", 1), each_axis(dilation, n, "dilation", 1)
    pads, more = each_axis(pad, n, "pad", 0), each_axis(extra, n, "extra", 0)
    for one, step in zip(more, strides, strict=True):
        if one >= step:
            raise Problem("E0303", f"`extra` is less than the stride, {step}", f"this is {one}")
    return op.ConvTranspose(
        value,
        kernel,
        strides=strides,
        pads=pads * 2,
        output_padding=more if any(more) else None,
        dilations=dilations,
        group=groups,
    )
