"""Convolution, pooling and normalization over spatial axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlc.compiler.build import ints, op
from dlc.compiler.elaborate.entities import describe
from dlc.compiler.elaborate.library.functions import floating, function, tensor_of
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value


def spatial_axes(x: Any, what: str) -> int:
    """How many spatial axes a batch of feature maps has; raises Problem."""
    value = tensor_of(x, what)
    if value.type.rank < 3:
        raise Problem("E0301", f"`{what}` wants `[B, C, ...]` with at least one spatial axis", f"this is {value.type}")
    return value.type.rank - 2


def each_axis(setting: Any, n: int, name: str, least: int) -> tuple[int, ...]:
    values = tuple(setting) if isinstance(setting, list | tuple) else (setting,) * n
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise Problem("E0303", f"`{name}` is an integer of {least} or more", f"this is {describe(value)}")
    if len(values) != n:
        raise Problem("E0303", f"`{name}` has {len(values)} numbers for {n} axes")
    return values


def _pads(
    pad: Any, x: Value, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[int, ...]:
    """Padding before and after each spatial axis, as ONNX has it; `same` keeps ceil(size / stride)."""
    n = len(kernel)
    if pad == "valid":
        return (0,) * (2 * n)
    if pad != "same":
        if isinstance(pad, str):
            raise Problem("E0303", "`pad` is a number, `same` or `valid`", f'this is "{pad}"')
        return each_axis(pad, n, "pad", 0) * 2
    before, after = [], []
    for axis, (k, s, d) in enumerate(zip(kernel, strides, dilations, strict=True)):
        length = x.shape[2 + axis]
        reach = d * (k - 1) + 1
        if s == 1:
            total = reach - 1
        elif isinstance(length, int):
            total = max((-(-length // s) - 1) * s + reach - length, 0)
        else:
            raise Problem("E0305", f"`pad=same` with stride {s} needs a size that is known", f"this is {x.type}")
        before.append(total // 2)
        after.append(total - total // 2)
    return (*before, *after)


@function("convolve")
def convolve(x: Any, weight: Any, stride: Any = 1, pad: Any = 0, dilation: Any = 1, groups: int = 1) -> Value:
    n = spatial_axes(x, "convolve")
    value, kernel = floating(x, "convolve"), tensor_of(weight, "convolve").type.static_shape()[2:]
    strides, dilations = each_axis(stride, n, "stride", 1), each_axis(dilation, n, "dilation", 1)
    if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1:
        raise Problem("E0303", "`groups` is an integer of 1 or more", f"this is {describe(groups)}")
    each_axis(list(kernel), n, "kernel", 1)
    for axis, (k, d) in enumerate(zip(kernel, dilations, strict=True)):
        _reaches(value, axis, k, d, _pads(pad, value, kernel, strides, dilations), "kernel")
    return op.Conv(
        value,
        weight,
        strides=strides,
        pads=_pads(pad, value, kernel, strides, dilations),
        dilations=dilations,
        group=groups,
    )


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


def _pool(what: str, x: Any, window: Any, stride: Any, pad: Any, ceil: bool) -> tuple[Value, dict[str, Any]]:
    n = spatial_axes(x, what)
    value = floating(x, what)
    kernel = each_axis(window, n, "size", 1)
    strides = kernel if stride is None else each_axis(stride, n, "stride", 1)
    pads = _pads(pad, value, kernel, strides, (1,) * n)
    for axis, k in enumerate(kernel):
        _reaches(value, axis, k, 1, pads, "window")
    return value, {"kernel_shape": kernel, "strides": strides, "pads": pads, "ceil_mode": int(ceil)}


@function("max_pool")
def max_pool(x: Any, size: Any, stride: Any = None, pad: Any = 0, ceil: bool = False) -> Value:
    value, attributes = _pool("max_pool", x, size, stride, pad, ceil)
    pooled: Value = op.MaxPool(value, **attributes)
    return pooled


@function("avg_pool")
def avg_pool(x: Any, size: Any, stride: Any = None, pad: Any = 0, ceil: bool = False) -> Value:
    """The mean of each window; padding counts."""
    value, attributes = _pool("avg_pool", x, size, stride, pad, ceil)
    pooled: Value = op.AveragePool(value, count_include_pad=1, **attributes)
    return pooled


@function("global_avg_pool")
def global_avg_pool(x: Any) -> Value:
    """`[B, C, ...]` to `[B, C]`."""
    n = spatial_axes(x, "global_avg_pool")
    return op.ReduceMean(floating(x, "global_avg_pool"), ints(*range(2, n + 2)), keepdims=0)


@function("lrn")
def lrn(x: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Value:
    """Local response normalization across channels (Krizhevsky et al., 2012, section 3.3; alpha is divided by size)."""
    spatial_axes(x, "lrn")
    return op.LRN(floating(x, "lrn"), size=size, alpha=float(alpha), beta=float(beta), bias=float(k))
