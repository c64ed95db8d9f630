"""What undoes windows: MaxUnpool puts values back where they were the maxima, Col2Im adds up overlapping windows."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlc.compiler.build import current, op, private
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.extents import extents
from dlc.compiler.ops.rules import NUMBERS, expect, show
from dlc.compiler.ops.shape import known
from dlc.compiler.ops.windows import crop, integers, pad, results, taps, windows
from dlc.compiler.registry import Call, IllTyped, define, evaluate, gradient
from dlc.compiler.types import FLOATS, Array, Type, product, quotient


def _max_unpool(call: Call) -> list[Type]:
    x, indices, kernel = expect(call, 0, FLOATS), call.type(1), call.get("kernel_shape")
    if x.rank < 3 or indices != x.with_dtype("i64"):
        raise IllTyped(f"MaxUnpool of {x} at {indices}: [N, C, spatial...] and indices of the same shape are expected")
    if kernel is None or len(kernel) != x.rank - 2:
        raise IllTyped(f"MaxUnpool of {x}: kernel_shape = {kernel}: a number for each spatial axis is expected")
    if call.has(2):
        shape = known(call, 2)
        if len(shape) != x.rank or shape[:2] != x.shape[:2]:
            raise IllTyped(f"MaxUnpool of {x} to {show(shape)}: the first two dimensions must stay")
        return [x.with_shape(shape)]
    found = windows(call.op, call.attributes, x.shape[2:], tuple(kernel))
    extents = tuple(
        (n - 1) * s + k - begin - end
        for n, s, k, begin, end in zip(x.shape[2:], found.strides, kernel, found.begins, found.ends, strict=True)
    )
    return [x.with_shape((*x.shape[:2], *extents))]


define("MaxUnpool", _max_unpool)


@gradient("MaxUnpool", at_run=True)
def _(g: Value, x: Value, indices: Value) -> Value:
    """Indices count through the whole flat result. Of values put in one place each is given what stands there."""
    flat = private.ReshapeTo(g, shape=(g.type.size,))
    value: Value = op.Gather(flat, indices, axis=0)
    return value


@evaluate("MaxUnpool")
def _(x: Array, indices: Array, shape: Array | None = None, *, kernel_shape: Any, **attributes: Any) -> Array:
    if shape is None:
        found = windows("MaxUnpool", attributes, x.shape[2:], kernel_shape)
        spans = zip(x.shape[2:], found.strides, kernel_shape, found.begins, found.ends, strict=True)
        wanted = (*x.shape[:2], *((n - 1) * s + k - begin - end for n, s, k, begin, end in spans))
    else:
        wanted = tuple(shape.tolist())
    y = np.zeros(int(np.prod(wanted)), x.dtype)
    y[indices.reshape(-1)] = x.reshape(-1)
    return y.reshape(wanted)


def _col2im(call: Call) -> list[Type]:
    x = expect(call, 0, NUMBERS)
    image, block = known(call, 1), known(call, 2)
    if x.rank != 3:
        raise IllTyped(f"Col2Im of {x}: [N, C * elements of a block, blocks] is expected")
    counts = product(results(call.op, call.attributes, image, integers(block)))
    channels = quotient(x.shape[1], product(block))
    if channels * product(block) != x.shape[1]:
        raise IllTyped(f"Col2Im of {x}: {x.shape[1]} is not a number of channels times a block of {show(block)}")
    if counts != x.shape[2]:
        raise IllTyped(f"Col2Im of {x}: blocks of {show(block)} lie at {counts} places of {show(image)}")
    return [x.with_shape((x.shape[0], channels, *image))]


define("Col2Im", _col2im)


@gradient("Col2Im")
def _(g: Value, x: Value, image: Value, block: Value, node: Node) -> Value:
    """Each element of a block is read back: a convolution by filters of a single 1."""
    kernel = integers(extents(block) or ())
    found = windows(node.op, node.attributes, g.shape[2:], kernel)
    places = int(np.prod(kernel))
    ones = np.eye(places).reshape(places, 1, *kernel)
    planes = private.ReshapeTo(g, shape=(product(g.shape[:2]), 1, *g.shape[2:]))
    read = op.Conv(planes, current().constant(ones, g.dtype), **found.attributes())
    value: Value = private.ReshapeTo(read, shape=x.shape)
    return value


@evaluate("Col2Im")
def _(x: Array, image: Array, block: Array, **attributes: Any) -> Array:
    plane, kernel = tuple(image.tolist()), tuple(block.tolist())
    found = windows("Col2Im", attributes, plane, kernel)
    counts = integers(found.counts(plane))
    parts = x.reshape(x.shape[0], -1, *kernel, *counts)
    padded = pad(np.zeros((*parts.shape[:2], *plane), x.dtype), found, 0)
    for place, at in taps(found, counts):
        inner: Any = (slice(None), slice(None), *place)
        padded[at] += parts[inner]
    return crop(padded, found, plane)
