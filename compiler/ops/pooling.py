"""Pooling and its gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dlc.compiler.build import op, private
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.automatic_padding import Apart, set_apart
from dlc.compiler.ops.rules import expect, flag, mask, where
from dlc.compiler.ops.windows import Windows, coverage, crop, integers, pad, results, taps, windows
from dlc.compiler.registry import Call, IllTyped, define, evaluate, gradient
from dlc.compiler.types import FLOATS, Array, Shape, Type, product

Ints = tuple[int, ...]


def _input(call: Call) -> Type:
    x = expect(call, 0, FLOATS)
    if x.rank < 3:
        raise IllTyped(f"{call.op} of {x}: [N, C, spatial...] is expected")
    return x


def _pooled(call: Call, x: Type) -> Type:
    kernel = call.get("kernel_shape")
    if kernel is None:
        raise IllTyped(f"{call.op} needs kernel_shape")
    return x.with_shape((*x.shape[:2], *results(call.op, call.attributes, x.shape[2:], tuple(kernel))))


def _max_pool(call: Call) -> list[Type]:
    x = call.type(0) if call.type(0).dtype in ("i8", "u8") else _input(call)
    y = _pooled(call, x)
    return [y, y.with_dtype("i64")][: call.outputs]


define("MaxPool", _max_pool)


@evaluate("MaxPool")
def _(x: Array, *, kernel_shape: Ints, storage_order: int = 0, **attributes: Any) -> tuple[Array, Array]:
    """The maxima, and where the first of each stands in the flat x: by `storage_order`, planes of which are counted row
    by row, or with the first spatial axis fastest."""
    found = windows("MaxPool", attributes, x.shape[2:], kernel_shape)
    counts = integers(results("MaxPool", attributes, x.shape[2:], kernel_shape))
    padded = pad(x, found, -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min)
    plane = np.arange(np.prod(x.shape[2:])).reshape(x.shape[2:], order="F" if storage_order else "C")
    firsts = np.arange(np.prod(x.shape[:2])).reshape(*x.shape[:2], *(1,) * plane.ndim) * plane.size
    places = pad(firsts + plane, found, -1)
    seen = np.stack([padded[at] for _, at in taps(found, counts)])
    first = seen.argmax(0)[None]
    flat = np.stack([places[at] for _, at in taps(found, counts)])
    return np.take_along_axis(seen, first, 0)[0], np.take_along_axis(flat, first, 0)[0]


@gradient("MaxPool")
def _(g: Value | None, x: Value, y: Value, node: Node) -> Value | None:
    if g is None:
        return None
    laid, attributes = _explicit(node, x.shape)
    return laid.cropped(private.MaxPoolGrad(g, laid.padded(x, -np.inf), y, **attributes))


def _explicit(node: Node, shape: Shape) -> tuple[Apart, dict[str, Any]]:
    """A pool's windows, and its attributes with automatic padding resolved and nothing left out."""
    laid = set_apart(node.op, {**node.attributes, "ceil_mode": 0}, shape, node.attributes["kernel_shape"])
    ceiling = int(node.attributes.get("ceil_mode", 0))
    return laid, {"kernel_shape": laid.windows.kernel, **laid.windows.attributes(), "ceil_mode": ceiling}


def _max_pool_grad(call: Call) -> list[Type]:
    g, x, y = _input(call), call.type(1), call.type(2)
    pooled = _pooled(call, x)
    if not g == y == pooled:
        raise IllTyped(f"{call.op} of {g}, {x} and {y}: {pooled} is expected for the first and last")
    return [x]


define("dlc.MaxPoolGrad", _max_pool_grad)


@gradient("dlc.MaxPoolGrad")
def _(g: Value, node: Node) -> tuple[Value, None, None]:
    """`g` is the cotangent of dX here: what stands where each maximum was."""
    pooled, x = node.inputs[:2]
    assert pooled is not None and x is not None, "the type rule asked for both"
    flat = private.ReshapeTo(g, shape=(product(x.shape[:2]), product(x.shape[2:])))
    chosen = op.GatherElements(flat, positions(x, node.attributes), axis=1)
    return private.ReshapeTo(chosen, shape=pooled.shape), None, None


def positions(x: Value, attributes: Mapping[str, Any]) -> Value:
    """Where each window has its first maximum: i64[N*C, windows], counted within a plane of x."""
    taken = {name: value for name, value in attributes.items() if value}
    _, indices = op.MaxPool(x, outputs=2, **taken)
    rows: Value = private.ReshapeTo(indices, shape=(product(x.shape[:2]), product(indices.shape[2:])))
    planes = op.Range(np.array(0, np.int64), private.Size(dim=rows.shape[0]), np.array(1, np.int64))
    firsts = planes * private.Size(dim=product(x.shape[2:]))
    places: Value = rows - private.ReshapeTo(firsts, shape=(rows.shape[0], 1))
    return places


@evaluate("dlc.MaxPoolGrad")
def _(
    g: Array, x: Array, y: Array,
    *, kernel_shape: Ints, strides: Ints, pads: Ints, dilations: Ints, ceil_mode: int,
) -> Array:  # fmt: skip
    found = _windows(x.shape[2:], kernel_shape, strides, pads, dilations, ceil_mode)
    padded = pad(x, found, -np.inf)
    seen = np.stack([padded[at] for _, at in taps(found, g.shape[2:])])
    first = seen.argmax(0)
    result = np.zeros_like(padded)
    for index, (_, at) in enumerate(taps(found, g.shape[2:])):
        result[at] += np.where(first == index, g, 0)
    return crop(result, found, x.shape[2:])


def _windows(extents: Shape, kernel: Ints, strides: Ints, pads: Ints, dilations: Ints, ceil_mode: int) -> Windows:
    given = {"strides": strides, "pads": pads, "dilations": dilations, "ceil_mode": ceil_mode}
    return windows("pooling", given, extents, kernel)


def _average_pool(call: Call) -> list[Type]:
    flag(call, "count_include_pad")
    return [_pooled(call, _input(call))]


define("AveragePool", _average_pool)


@evaluate("AveragePool")
def _(x: Array, *, kernel_shape: Ints, count_include_pad: int = 0, **attributes: Any) -> Array:
    found = windows("AveragePool", attributes, x.shape[2:], kernel_shape)
    counts = integers(results("AveragePool", attributes, x.shape[2:], kernel_shape))
    padded = pad(x, found, 0)
    given = windows("AveragePool", {**attributes, "ceil_mode": 0}, x.shape[2:], kernel_shape)
    total: Array = sum((padded[at] for _, at in taps(found, counts)), np.zeros((), x.dtype))
    mean: Array = total / divisors(found, x.shape[2:], given.pads, count_include_pad)
    return mean


@gradient("AveragePool")
def _(g: Value, x: Value, node: Node, *, count_include_pad: int = 0) -> Value:
    laid, given = _explicit(node, x.shape)
    if laid and not count_include_pad:  # a mean of the padded, by the share of each window that is inside
        g = g / op.AveragePool(laid.inside(g.dtype), **given)
    dx = private.AveragePoolGrad(g, shape=laid.padded_shape, count_include_pad=count_include_pad, **given)
    return laid.cropped(dx)


def _average_pool_grad(call: Call) -> list[Type]:
    g = _input(call)
    x = g.with_shape(call.attributes["shape"])
    if x.rank != g.rank or _pooled(call, x) != g:
        raise IllTyped(f"{call.op} of {g} to {x}: their windows differ")
    return [x]


define("dlc.AveragePoolGrad", _average_pool_grad)


@gradient("dlc.AveragePoolGrad")
def _(
    g: Value, *, kernel_shape: Ints, strides: Ints, pads: Ints, dilations: Ints, ceil_mode: int, count_include_pad: int
) -> Value:
    return op.AveragePool(
        g, kernel_shape=kernel_shape, strides=strides, pads=pads, dilations=dilations,
        ceil_mode=ceil_mode, count_include_pad=count_include_pad,
    )  # fmt: skip


@evaluate("dlc.AveragePoolGrad")
def _(
    g: Array, *, shape: Ints, kernel_shape: Ints, strides: Ints, pads: Ints, dilations: Ints,
    ceil_mode: int, count_include_pad: int,
) -> Array:  # fmt: skip
    found = _windows(shape[2:], kernel_shape, strides, pads, dilations, ceil_mode)
    share = g / divisors(found, shape[2:], pads, count_include_pad)
    padded = pad(np.zeros(shape, g.dtype), found, 0)
    for _, at in taps(found, g.shape[2:]):
        padded[at] += share
    return crop(padded, found, shape[2:])


def divisors(found: Windows, extents: Ints, pads: Ints, count_include_pad: int) -> Array:
    """What the sum in each window is divided by: the elements of x in it, those of the padding too where they count,
    but never what ceil_mode added."""
    rank = len(extents)
    if count_include_pad:
        inside = [pads[i] + extents[i] + pads[rank + i] for i in range(rank)]
        return coverage(found, extents, (0,) * rank, inside)
    ends = [begin + extent for begin, extent in zip(found.begins, extents, strict=True)]
    return coverage(found, extents, found.begins, ends)


def _lp_pool(call: Call) -> list[Type]:
    return [_pooled(call, _input(call))]


define("LpPool", _lp_pool)


@evaluate("LpPool")
def _(x: Array, *, kernel_shape: Ints, p: int = 2, **attributes: Any) -> Array:
    found = windows("LpPool", attributes, x.shape[2:], kernel_shape)
    padded = pad(np.abs(x) ** p, found, 0)
    counts = integers(results("LpPool", attributes, x.shape[2:], kernel_shape))
    total: Array = sum((padded[at] for _, at in taps(found, counts)), np.zeros((), x.dtype))
    return total ** (1 / p)


@gradient("LpPool")
def _(g: Value, x: Value, y: Value, node: Node, *, p: int = 2) -> Value:
    """With y = (sum |x|^p)^(1/p): the sum over windows of g*y^(1-p), times |x|^(p-1) sign(x); 0 where y is 0."""
    laid = set_apart("LpPool", node.attributes, x.shape, node.attributes["kernel_shape"])
    return laid.cropped(spread(_share(g, y, p), laid.padded_shape, laid.windows)) * _power(x, p)


def _share(g: Value, y: Value, p: int) -> Value:
    if p == 1:
        return g
    # Where y is 0, so is every element of the window, and with it the factor that comes to this.
    value: Value = g * op.Pow(where(op.Equal(y, 0.0), 1.0, y), float(1 - p))
    return value


def _power(x: Value, p: int) -> Value:
    value: Value = op.Sign(x) if p == 1 else op.Sign(x) * op.Pow(op.Abs(x), float(p - 1))
    return value


def spread(g: Value, shape: Shape, found: Windows) -> Value:
    """Each window's value added to every element of `shape` that it holds."""
    channels = shape[1]
    if not isinstance(channels, int):  # a kernel cannot be made for each: every plane is an image of its own
        planes = product(shape[:2])
        single = private.ReshapeTo(g, shape=(planes, 1, *g.shape[2:]))
        return private.ReshapeTo(spread(single, (planes, 1, *shape[2:]), found), shape=shape)
    ones = np.ones((channels, 1, *found.static_kernel), g.type.numpy)
    summed: Value = private.ConvInputGrad(g, ones, shape=shape, group=channels, **found.attributes())
    return summed


def _global(call: Call) -> list[Type]:
    x = _input(call)
    return [x.with_shape((*x.shape[:2], *(1,) * (x.rank - 2)))]


define("GlobalAveragePool", _global)
define("GlobalMaxPool", _global)


@gradient("GlobalAveragePool")
def _(g: Value, x: Value) -> Value:
    count = product(x.shape[2:])
    if isinstance(count, int):
        return private.ExpandTo(g / count, shape=x.shape)
    return private.ExpandTo(g / op.Cast(private.Size(dim=count), to=g.dtype), shape=x.shape)


@evaluate("GlobalMaxPool")
def _(x: Array) -> Array:
    y: Array = x.max(tuple(range(2, x.ndim)), keepdims=True)
    return y


@gradient("GlobalMaxPool")
def _(g: Value, x: Value) -> Value:
    """The whole gradient goes to the first maximum, as in MaxPool."""
    size = product(x.shape[2:])
    flat: Value = private.ReshapeTo(x, shape=(*x.shape[:2], size))
    first = op.ArgMax(flat, axis=2, keepdims=1)
    count = private.Size(dim=size)
    places = op.Range(np.array(0, np.int64), count, np.array(1, np.int64))
    chosen = mask(op.Equal(places, first), g) * private.ReshapeTo(g, shape=(*x.shape[:2], 1))
    return private.ReshapeTo(chosen, shape=x.shape)


define("GlobalLpPool", _global)


@evaluate("GlobalLpPool")
def _(x: Array, *, p: int = 2) -> Array:
    total: Array = (np.abs(x) ** p).sum(tuple(range(2, x.ndim)), keepdims=True)
    return total ** (1 / p)


@gradient("GlobalLpPool")
def _(g: Value, x: Value, y: Value, *, p: int = 2) -> Value:
    return _share(g, y, p) * _power(x, p)


__all__ = ["divisors", "positions", "spread"]
