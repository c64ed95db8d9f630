"""Convolution, pooling and normalization over spatial axes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dlc.compiler.build import op
from dlc.compiler.elaborate.context import Elaborator
from dlc.compiler.elaborate.kinds import Amount, Count, Counts, Floats, Mask, Naturals, Padding, Positive
from dlc.compiler.elaborate.library.functions import function
from dlc.compiler.elaborate.library.reductions import LOWEST, mask_for, masked, mean
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value
from dlc.compiler.ops.rules import where as choose


def spatial_axes(x: Value, what: str) -> int:
    """How many spatial axes a batch of feature maps has; raises Problem."""
    if x.type.rank < 3:
        raise Problem("E0301", f"`{what}` wants `[B, C, ...]` with at least one spatial axis", f"this is {x.type}")
    return x.type.rank - 2


def each_axis(setting: Counts | Naturals, n: int, name: str) -> tuple[int, ...]:
    """A setting for each of n spatial axes; raises Problem."""
    values = tuple(setting) if isinstance(setting, list | tuple) else (setting,) * n
    if len(values) != n:
        raise Problem("E0303", f"`{name}` has {len(values)} numbers for {n} axes", argument=name)
    return values


def kernel_of(x: Value, weight: Value, what: str) -> tuple[int, ...]:
    """The sides of a convolution's kernel, one for each spatial axis; raises Problem."""
    n = spatial_axes(x, what)
    sides = tuple(dim for dim in weight.shape[2:] if isinstance(dim, int) and dim > 0)
    if weight.type.rank != n + 2 or len(sides) != n:
        text = f"`{what}` of {x.type} wants a weight of {n + 2} axes, whose kernel has a known side"
        raise Problem("E0301", text, f"this is {weight.type}", argument="weight")
    return sides


def _pads(
    pad: Padding, x: Value, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[int, ...]:
    """Padding before and after each spatial axis, as ONNX has it; `same` keeps ceil(size / stride)."""
    n = len(kernel)
    if pad == "valid":
        return (0,) * (2 * n)
    if pad != "same":
        assert not isinstance(pad, str)
        return each_axis(pad, n, "pad") * 2
    before, after = [], []
    for axis, (k, s, d) in enumerate(zip(kernel, strides, dilations, strict=True)):
        length = x.shape[2 + axis]
        reach = d * (k - 1) + 1
        if s == 1:
            total = reach - 1
        elif isinstance(length, int):
            total = max((-(-length // s) - 1) * s + reach - length, 0)
        else:
            text = f"`pad=same` with stride {s} needs a size that is known"
            raise Problem("E0305", text, f"this is {x.type}", argument="pad")
        before.append(total // 2)
        after.append(total - total // 2)
    return (*before, *after)


@function("convolve")
def convolve(
    x: Floats, weight: Floats, stride: Counts = 1, pad: Padding = 0, dilation: Counts = 1, groups: Count = 1
) -> Value:
    """By a weight `[out, in / groups, ...]`, over the spatial axes of `[B, C, ...]`."""
    kernel = kernel_of(x, weight, "convolve")
    n = len(kernel)
    strides, dilations = each_axis(stride, n, "stride"), each_axis(dilation, n, "dilation")
    pads = _pads(pad, x, kernel, strides, dilations)
    for axis, (k, d) in enumerate(zip(kernel, dilations, strict=True)):
        _reaches(x, axis, k, d, pads, "kernel")
    return op.Conv(x, weight, strides=strides, pads=pads, dilations=dilations, group=groups)


def _reaches(x: Value, axis: int, kernel: int, dilation: int, pads: Sequence[int], what: str) -> None:
    size = x.shape[2 + axis]
    n = len(pads) // 2
    if isinstance(size, int) and size + pads[axis] + pads[n + axis] < dilation * (kernel - 1) + 1:
        raise Problem(
            "E0301",
            f"a {what} of {kernel} does not fit into {size}",
            f"the input is {x.type}",
            help="pad the input, or take a smaller one",
        )


def _pool(what: str, x: Value, window: Counts, stride: Counts | None, pad: Padding, ceil: bool) -> dict[str, Any]:
    n = spatial_axes(x, what)
    kernel = each_axis(window, n, "size")
    strides = kernel if stride is None else each_axis(stride, n, "stride")
    pads = _pads(pad, x, kernel, strides, (1,) * n)
    for axis, k in enumerate(kernel):
        most = max(pads[axis], pads[n + axis])
        if most >= k:
            text = f"`pad` of `{what}` is less than the window, {k}: else a window holds padding alone"
            raise Problem("E0303", text, f"this is {most}", argument="pad")
        _reaches(x, axis, k, 1, pads, "window")
    return {"kernel_shape": kernel, "strides": strides, "pads": pads, "ceil_mode": int(ceil)}


def _windowed(x: Value, given: Mapping[str, Any]) -> Iterable[int]:
    """The axes along which a window holds more than one position."""
    n = max(x.type.rank - 2, 0)
    return (2 + axis for axis, side in enumerate(each_axis(given["size"], n, "size")) if side > 1)


def _all_spatial(x: Value, given: Mapping[str, Any]) -> Iterable[int]:
    return range(2, x.type.rank)


@function("max_pool", _windowed)
def max_pool(
    x: Floats, size: Counts, stride: Counts | None = None, pad: Padding = 0, ceil: bool = False,
    mask: Mask | None = None,
) -> Value:  # fmt: skip
    """The greatest value of each window, of those that the mask chooses; 0 where it chooses none."""
    windows = _pool("max_pool", x, size, stride, pad, ceil)
    if mask is None:
        pooled: Value = op.MaxPool(x, **windows)
        return pooled
    _, weight = masked(x, mask)
    greatest = op.MaxPool(choose(mask_for(x, mask), x, LOWEST.get(x.dtype, -3e38)), **windows)
    return choose(op.Greater(op.MaxPool(weight, **windows), 0.0), greatest, 0.0)


@function("avg_pool", _windowed)
def avg_pool(
    x: Floats, size: Counts, stride: Counts | None = None, pad: Padding = 0, ceil: bool = False,
    mask: Mask | None = None,
) -> Value:  # fmt: skip
    """The mean of each window, of what `pad` adds as well; with a mask of those that it chooses, 0 where none."""
    windows = _pool("avg_pool", x, size, stride, pad, ceil)
    if mask is None:
        pooled: Value = op.AveragePool(x, count_include_pad=1, **windows)
        return pooled
    total, share = (op.AveragePool(each, count_include_pad=1, **windows) for each in masked(x, mask))
    return choose(op.Greater(share, 0.0), total / choose(op.Greater(share, 0.0), share, 1.0), 0.0)


@function("global_avg_pool", _all_spatial)
def global_avg_pool(e: Elaborator, x: Floats, mask: Mask | None = None) -> Value:
    """`[B, C, ...]` to `[B, C]`."""
    n = spatial_axes(x, "global_avg_pool")
    return mean(e, x, tuple(range(2, n + 2)), mask)


@function("lrn")
def lrn(x: Floats, size: Count, alpha: Amount = 1e-4, beta: Amount = 0.75, k: Positive = 1.0) -> Value:
    """Local response normalization across channels (Krizhevsky et al., 2012, section 3.3; alpha is divided by size)."""
    spatial_axes(x, "lrn")
    if size % 2 == 0:
        text = "`size` of `lrn` is odd: as many channels on either side"
        raise Problem("E0303", text, f"this is {size}", argument="size")
    return op.LRN(x, size=size, alpha=float(alpha), beta=float(beta), bias=float(k))
