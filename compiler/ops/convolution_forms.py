"""Which ONNX operators a convolution and its gradients become.

For each there is a general form, right for every shape, and special ones that are faster where they apply. Thresholds
come from bench/forms/conv_*.py (stock ONNX Runtime 1.31, two threads).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import dlc.compiler.ops.convolution  # noqa: F401  (defines the operators)
from dlc.compiler.build import Builder, current, ints, op, private
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.automatic_padding import set_apart
from dlc.compiler.ops.extents import extent_vector
from dlc.compiler.ops.shape import pad
from dlc.compiler.ops.windows import Windows, likely, windows
from dlc.compiler.registry import lower
from dlc.compiler.types import Array, Dim, Shape, product, symbols


def product_form(node: Node, x: Value, w: Value, b: Value | None = None) -> Value | None:
    """A convolution whose kernel covers the whole input, as a Gemm on flattened tensors; None for any other.

    On [64,16,5,5] with 120 filters of 5x5: 0.08 ms against 0.24, dW 0.04 against 0.17 (PyTorch), dX 0.04 against 0.19;
    and the update of a weight fuses into a Gemm (bench/forms/conv_forward.py lenet3).
    """
    if node.attributes.get("group", 1) != 1 or w.shape[2:] != x.shape[2:] or x.type.rank != w.type.rank:
        return None
    if not windows("Conv", node.attributes, x.shape[2:], w.shape[2:]).plain:
        return None
    flat: Value = op.Gemm(_flat(x), _flat(w), b, transB=1)
    return private.ReshapeTo(flat, shape=node.output.shape)


def _flat(x: Value) -> Value:
    """[N, C, S] as a matrix [N, C*S]."""
    value: Value = private.ReshapeTo(x, shape=(x.shape[0], product(x.shape[1:])))
    return value


@lower("Conv")
def _(lowering: Any, node: Node, x: Value, w: Value, b: Value | None = None) -> Value | None:
    """Automatic padding of windows with gaps is written out: the runtime refuses it."""
    given = node.attributes
    if not str(given.get("auto_pad", "")).startswith("SAME"):
        return product_form(node, x, w, b)
    if set(given.get("dilations") or (1,)) == {1}:
        return None
    kept = {name: value for name, value in given.items() if name != "auto_pad"}
    laid = set_apart(node.op, given, x.shape, w.shape[2:])
    return current().add(node.op, (laid.padded(x), w, b), {**kept, **laid.windows.attributes()}).output


def _found(node: Node, kernel: Shape) -> Windows:
    return windows(node.op, node.attributes, node.attributes["shape"][2:], kernel)


@lower("dlc.ConvInputGrad")
def _(lowering: Any, node: Node, g: Value, w: Value) -> Value:
    shape: Shape = node.attributes["shape"]
    group: int = node.attributes["group"]
    found = _found(node, w.shape[2:])
    if group == 1 and found.plain and w.shape[2:] == shape[2:]:
        return private.ReshapeTo(op.Gemm(_flat(g), _flat(w)), shape=shape)
    if group == 1 and _pointwise(found):
        # With 128 filters on [32,64,28,28]: 11 ms against 22 by ConvTranspose; 32 on [64,16,14,14]: 0.18 against 0.30.
        return op.Conv(g, op.Transpose(w, perm=(1, 0, *range(2, w.type.rank))))
    # What no window reached lies at the end: zeros there, which output_padding makes.
    unused = found.unused(shape[2:])
    extra = unused if unused is not None else tuple(stride - 1 for stride in found.strides)
    y: Value = op.ConvTranspose(g, w, group=group, output_padding=extra if any(extra) else None, **found.attributes())
    if unused is not None:
        return y
    return pad(y, [0] * len(shape), [wanted - dim for wanted, dim in zip(shape, y.shape, strict=True)])


@lower("dlc.ConvWeightGrad")
def _(lowering: Any, node: Node, x: Value, g: Value) -> Value:
    shape: Shape = node.attributes["shape"]
    group: int = node.attributes["group"]
    found = _found(node, shape[2:])
    if group == 1 and found.plain and shape[2:] == x.shape[2:]:
        return private.ReshapeTo(op.Gemm(_flat(g), _flat(x), transA=1), shape=shape)
    if group == 1 and _pointwise(found):
        return _by_product(x, g, shape)
    block = _block(x, g, shape, group, found, lowering.sizes)
    if block > 1:
        return _blocked(lowering, x, g, shape, found, block)
    return _deep(lowering, x, g, shape, group, found)


def _pointwise(found: Windows) -> bool:
    """Whether each window is one element and each element a window."""
    return found.plain and all(k == 1 for k in found.kernel) and all(s == 1 for s in found.strides)


def _by_product(x: Value, g: Value, shape: Shape) -> Value:
    """A kernel of one element: a product for each image, then their sum, or one over all pixels of all images.

    With 128 filters on [32,64,28,28]: 8 ms against 15 (30 as a convolution); with 64 on [32,256,14,14] both take 12.
    """
    pixels = product(x.shape[2:])
    if isinstance(pixels, int) and pixels > _LONG:
        left, right = (private.ReshapeTo(value, shape=(*value.shape[:2], pixels)) for value in (g, x))
        each = left @ op.Transpose(right, perm=(0, 2, 1))
        return private.ReshapeTo(op.ReduceSum(each, ints(0), keepdims=0), shape=shape)
    return private.ReshapeTo(op.Gemm(_by_channel(g), _by_channel(x), transB=1), shape=shape)


def _by_channel(x: Value) -> Value:
    """[N, C, S] as a matrix [C, N*S]."""
    turned: Value = op.Transpose(x, perm=(1, 0, *range(2, x.type.rank)))
    return private.ReshapeTo(turned, shape=(x.shape[1], product((x.shape[0], *x.shape[2:]))))


def _deep(lowering: Any, x: Value, g: Value, shape: Shape, group: int, found: Windows) -> Value:
    """One convolution of one axis more: images are its channels, channels its depth, g its kernel.

    Strides and dilations change places. x [1, G*N, C/G, S] and g [O, N, 1, T] give [1, O, C/G, K]; x is transposed only
    where there are groups.
    """
    n, _, *extents = x.shape
    if group > 1:
        split = private.ReshapeTo(x, shape=(n, group, shape[1], *extents))
        x = op.Transpose(split, perm=(1, 0, *range(2, x.type.rank + 1)))
    images: Value = private.ReshapeTo(x, shape=(1, n * group, shape[1], *extents))
    turned: Value = op.Transpose(g, perm=(1, 0, *range(2, g.type.rank)))
    kernel: Value = private.ReshapeTo(turned, shape=(g.shape[1], n, 1, *g.shape[2:]))
    y = _over_images(
        lowering, n, images, kernel, group=group, strides=(1, *found.dilations), dilations=(1, *found.strides),
        pads=(0, *found.begins, 0, *_reached(found, tuple(extents))),
    )  # fmt: skip
    return private.ReshapeTo(_cut(y, shape[2:]), shape=shape)


def _over_images(lowering: Any, number: Dim, images: Value, kernel: Value, **attributes: Any) -> Value:
    """A convolution whose channels are images. Without any it is 0: ONNX Runtime's Conv of no channels never ends."""
    y: Value = op.Conv(images, kernel, **attributes)
    if number != 0 and lowering.sizes.keys() >= {*symbols(number)}:  # a number, or the batch that a loader makes
        return y
    shape, none = lowering.shape(y.shape), np.zeros(1, y.type.numpy)
    with Builder(around=current()) as empty:
        nothing = empty.graph("empty", {"y": op.ConstantOfShape(shape, value=none)}, ())
    with Builder(around=current()) as some:
        all_of_them = some.graph("some", {"y": op.Conv(images, kernel, **attributes)}, ())
    is_empty = op.Equal(lowering.dim(number), np.array(0))
    return current().add("If", (is_empty,), bodies=(nothing, all_of_them)).output


def _reached(found: Windows, extents: Shape) -> tuple[int, ...]:
    """The padding at the ends, less what no window reaches, as far as it is known and padding."""
    unused = found.unused(extents) or (0,) * len(extents)
    return tuple(max(end - rest, 0) for end, rest in zip(found.ends, unused, strict=True))


def _cut(y: Value, wanted: Shape) -> Value:
    """The beginning of the last axes: elements that no window reached let a kernel of windows go too far."""
    first = y.type.rank - len(wanted)
    for axis, extent in enumerate(wanted, start=first):
        if y.shape[axis] == extent:
            continue
        if isinstance(extent, int):
            y = op.Gather(y, ints(*range(extent)), axis=axis)
        else:
            y = op.Slice(y, ints(0), extent_vector([extent]), ints(axis))
    return y


# Nanoseconds an element of the columns that the runtime gathers, an element of g that is rearranged, and a
# multiplication: fitted to bench/forms/conv_weight_gradient.py. Blocks of 4 take dW of 6 filters of 5x5 on [64,1,28,28]
# from 1.0 to 0.65 ms, blocks of 2 that of 16 of 5x5 on [64,6,14,14] from 0.63 to 0.55.
_COLUMN, _REARRANGED, _MULTIPLICATION = 0.6, 1.0, 0.0125
_LARGEST_CONSTANT = 1 << 15
_LONG = 256  # pixels of an image that make a product worth its start


def _block(x: Value, g: Value, shape: Shape, group: int, found: Windows, sizes: Mapping[str, int]) -> int:
    """The side of the blocks in which `_blocked` takes g that costs least; 1 if it does not apply or help."""
    kernel, counts = shape[2:], g.shape[2:]
    square = len(kernel) == 2 and kernel[0] == kernel[1] and found.strides[0] == found.strides[1]
    if group > 1 or not square or set(found.dilations) != {1}:
        return 1
    k, stride = kernel[0], found.strides[0]
    if not isinstance(k, int) or not all(isinstance(count, int) for count in counts):
        return 1
    seen = (product((x.shape[0], *counts)), x.shape[1], g.shape[1])
    number, channels, filters = (likely(dim, sizes) for dim in seen)
    best, least = 1, float("inf")
    for side in range(1, 9):
        if any(isinstance(count, int) and count % side for count in counts):
            continue
        reach = stride * (side - 1) + k
        if side > 1 and side**2 * reach**2 * k**2 > _LARGEST_CONSTANT:
            continue
        columns = number * channels * reach**2 / side**2
        cost = columns * _COLUMN + columns * filters * side**2 * _MULTIPLICATION
        cost += number * filters * _REARRANGED if side > 1 else 0
        if cost < least:
            best, least = side, cost
    return best


def _blocked(lowering: Any, x: Value, g: Value, shape: Shape, found: Windows, side: int) -> Value:
    """As `_deep`, with g in blocks of side x side windows, each place in the block a filter of its own.

    A block sees a patch of x; patches overlap less than windows, so the runtime gathers fewer columns, for some more
    multiplications. The result r[place, o, c, patch] holds dW along its diagonals: a constant matrix of 0 and 1 adds
    them up.
    """
    n, channels, *extents = x.shape
    filters, k, stride = g.shape[1], found.static_kernel[0], found.strides[0]
    reach = stride * (side - 1) + k
    blocks = [count // side for count in g.shape[2:]]
    deep: Value = op.SpaceToDepth(g, blocksize=side)  # channels: place in the block, then filter
    turned: Value = op.Transpose(deep, perm=(1, 0, 2, 3))
    kernel: Value = private.ReshapeTo(turned, shape=(side * side * filters, n, 1, *blocks))
    images: Value = private.ReshapeTo(x, shape=(1, n, channels, *extents))
    step = stride * side
    pads = (0, *found.begins, 0, *_reached(found, tuple(extents)))
    y = _over_images(lowering, n, images, kernel, dilations=(1, step, step), pads=pads)
    y = _cut(y, (reach, reach))
    places: Value = private.ReshapeTo(y, shape=(side * side, filters * channels, reach * reach))
    rows: Value = op.Transpose(places, perm=(1, 0, 2))
    matrix: Value = private.ReshapeTo(rows, shape=(filters * channels, side * side * reach * reach))
    diagonals = current().constant(_diagonals(side, stride, k), x.dtype)
    return private.ReshapeTo(op.MatMul(matrix, diagonals), shape=shape)


def _diagonals(side: int, stride: int, k: int) -> Array:
    """[side*side*reach*reach, k*k]: 1 where place (a, b) of a block meets place (i, j) of the kernel in its patch."""
    reach = stride * (side - 1) + k
    line = np.zeros((side, reach, k))
    for a in range(side):
        line[a, a * stride + np.arange(k), np.arange(k)] = 1
    both: Array = np.einsum("api,bqj->abpqij", line, line)
    return both.reshape(side * side * reach * reach, k * k)


__all__ = ["product_form"]
