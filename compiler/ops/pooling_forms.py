"""Which ONNX operators pools and their gradients become.

For each there is a general form, right for every shape, and a faster one for windows that tile the plane. Measured with
bench/forms/average_pool.py, average_pool_gradient.py and max_pool_gradient.py (stock ONNX Runtime 1.31, two threads).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import dlc.compiler.ops.pooling  # noqa: F401  (defines the operators)
from dlc.compiler.build import current, op, private
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.automatic_padding import set_apart
from dlc.compiler.ops.pooling import divisors, positions, spread
from dlc.compiler.ops.windows import Windows, likely, windows
from dlc.compiler.registry import IllTyped, lower
from dlc.compiler.types import Array, Shape, product

_LARGEST_CONSTANT = 1 << 14
_CACHED = 1 << 20  # elements of x: above, passes over memory decide


def _tiles(found: Windows, extents: Shape) -> bool:
    """Whether windows cover the plane side by side, with nothing between them, around them or left over."""
    return (
        found.plain
        and found.kernel == found.strides
        and all(isinstance(extent, int) and extent % k == 0 for extent, k in zip(extents, found.strides, strict=True))
    )


def _repeat(x: Value, found: Windows) -> Value:
    """Each element in every place of its window."""
    scales = np.array((1, 1, *found.static_kernel), np.float32)
    return op.Resize(x, None, scales, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")


def _paddable(node: Node, x: Value) -> Sequence[Value] | None:
    """Automatic padding of windows with gaps written out: the runtime forgets the gaps."""
    given = node.attributes
    if not str(given.get("auto_pad", "")).startswith("SAME") or set(given.get("dilations") or (1,)) == {1}:
        return None
    laid = set_apart(node.op, {**given, "ceil_mode": 0}, x.shape, given["kernel_shape"])
    kept = {name: value for name, value in given.items() if name not in ("auto_pad", "ceil_mode")}
    kept |= laid.windows.attributes()
    if not laid:
        return current().add(node.op, [x], kept, outputs=len(node.outputs)).outputs
    if len(node.outputs) > 1:
        raise IllTyped(f"{node.op} of {x.type}: places under automatic padding with dilations need a known size")
    y: Value = op[node.op](laid.padded(x, -np.inf if node.op == "MaxPool" else 0.0), **kept)
    if node.op == "AveragePool" and not given.get("count_include_pad"):
        y = y / op.AveragePool(laid.inside(x.dtype), **kept)
    return [y]


@lower("MaxPool")
def _(lowering: Any, node: Node, x: Value) -> Sequence[Value] | None:
    return _paddable(node, x)


@lower("LpPool")
def _(lowering: Any, node: Node, x: Value) -> Sequence[Value] | None:
    return _paddable(node, x)


@lower("AveragePool")
def _(lowering: Any, node: Node, x: Value) -> Value | Sequence[Value] | None:
    """A product with a constant matrix where channels are not by eights, as the runtime's blocked layout takes them.

    On [64,6,28,28] 0.1 ms against 0.3; with 16 or 32 channels the operator is the faster one.
    """
    if str(node.attributes.get("auto_pad", "")).startswith("SAME") or x.dtype != "f32" or x.type.rank != 4:
        return _paddable(node, x)
    channels, height, width = x.shape[1:]
    found = windows(node.op, node.attributes, x.shape[2:], node.attributes["kernel_shape"])
    if not _tiles(found, x.shape[2:]) or not isinstance(channels, int) or channels % 8 == 0:
        return None
    high, wide = found.static_kernel
    if not isinstance(width, int) or not 16 <= width <= 64:
        return None
    # `high` rows of an image are one row of the matrix.
    rows = private.ReshapeTo(x, shape=(x.shape[0] * channels * (height // high), high * width))
    share = np.kron(np.eye(width // wide), np.full((wide, 1), 1 / (high * wide)))
    means = op.MatMul(rows, current().constant(np.tile(share, (high, 1)), x.dtype))
    return private.ReshapeTo(means, shape=node.output.shape)


@lower("dlc.AveragePoolGrad")
def _(lowering: Any, node: Node, g: Value) -> Value:
    """Tiling windows: Resize takes 0.05 ms to [64,6,28,28], ConvTranspose 0.2, Expand 1.2 to 4."""
    shape: Shape = node.attributes["shape"]
    pads, counted = node.attributes["pads"], node.attributes["count_include_pad"]
    found = windows(node.op, node.attributes, shape[2:], node.attributes["kernel_shape"])
    if _tiles(found, shape[2:]):
        return _repeat(g * (1 / float(np.prod(found.static_kernel))), found)
    whole = not any(found.pads) or (counted and found.pads == tuple(pads))
    if whole:
        return spread(g * (1 / float(np.prod(found.static_kernel))), shape, found)
    extents = tuple(extent for extent in shape[2:] if isinstance(extent, int))
    if len(extents) == len(shape) - 2:
        share: Array = 1 / divisors(found, extents, pads, counted)
        return spread(g * current().constant(share, g.dtype), shape, found)
    return spread(g / _divisors(g.dtype, shape[2:], found, pads, counted), shape, found)


def _divisors(dtype: str, extents: Shape, found: Windows, pads: tuple[int, ...], counted: int) -> Value:
    """As `divisors`, at run time: windows over a plane of ones."""
    rank = len(extents)
    around = pads if counted else (0,) * (2 * rank)
    plane = tuple(around[i] + extent + around[rank + i] for i, extent in enumerate(extents))
    ones = private.ExpandTo(current().constant(1, dtype), shape=(1, 1, *plane))
    kernel = current().constant(np.ones((1, 1, *found.static_kernel)), dtype)
    rest = tuple(pad - inside for pad, inside in zip(found.pads, around, strict=True))
    return op.Conv(ones, kernel, strides=found.strides, dilations=found.dilations, pads=rest)


@lower("dlc.MaxPoolGrad")
def _(lowering: Any, node: Node, g: Value, x: Value, y: Value) -> Value:
    found = windows(node.op, node.attributes, x.shape[2:], node.attributes["kernel_shape"])
    extents = tuple(extent for extent in x.shape[2:] if isinstance(extent, int))
    small = likely(x.type.size, lowering.sizes) <= _CACHED and np.prod(extents) <= _LARGEST_CONSTANT
    if small and _tiles(found, x.shape[2:]):
        return _compared(g, x, y, extents, found)
    planes, size = product(x.shape[:2]), product(x.shape[2:])
    zero = private.ExpandTo(current().constant(0, g.dtype), shape=(planes, size))
    rows = private.ReshapeTo(g, shape=(planes, product(g.shape[2:])))
    summed = op.ScatterElements(zero, positions(x, node.attributes), rows, axis=1, reduction="add")
    return private.ReshapeTo(summed, shape=x.shape)


def _compared(g: Value, x: Value, y: Value, extents: tuple[int, ...], found: Windows) -> Value:
    """Where x equals its window's maximum, and of equals the first: ranks fall along a window, the highest is kept.

    On [64,6,28,28], forward and backward: 0.64 ms against 1.03 with Indices and ScatterElements (PyTorch 0.95); about
    even on [64,16,28,28], and behind on [32,64,56,56] by 49 to 26.
    """
    kernel = found.static_kernel
    falling = np.arange(np.prod(kernel), 0, -1).reshape(kernel)
    ranks = current().constant(np.tile(falling, [e // k for e, k in zip(extents, kernel, strict=True)]), x.dtype)
    zero = current().constant(0, x.dtype)
    rank = op.Where(op.Equal(x, _repeat(y, found)), ranks, zero)
    highest = op.MaxPool(rank, kernel_shape=kernel, strides=kernel)
    return op.Where(op.Equal(rank, _repeat(highest, found)), _repeat(g, found), zero)
