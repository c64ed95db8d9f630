"""Deformable convolution (Dai et al. 2017; with a mask, Zhu et al. 2019): each window reads where its offsets say."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlc.compiler.build import current, op, private
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.parts import by_parts
from dlc.compiler.ops.rules import expect, show
from dlc.compiler.ops.sampling_grid import gathered, linear_taps, whole
from dlc.compiler.ops.windows import Windows, integers, results, windows
from dlc.compiler.registry import Call, IllTyped, define, expansion, lower
from dlc.compiler.types import FLOATS, Dim, Shape, Type, product, quotient


def _deform_conv(call: Call) -> list[Type]:
    x, w, offset = (expect(call, index, FLOATS) for index in range(3))
    if x.rank < 3 or w.rank != x.rank or offset.rank != x.rank:
        raise IllTyped(f"DeformConv of {x}, {w} and offsets {offset}: [N, C, spatial...] of one rank are expected")
    if any(call.has(i) and call.type(i).dtype != x.dtype for i in range(1, 5)):
        raise IllTyped(f"DeformConv of {x}: the element types differ")
    groups, parts = call.get("group", 1), call.get("offset_group", 1)
    if x.shape[1] != w.shape[1] * groups or quotient(w.shape[0], groups) * groups != w.shape[0]:
        raise IllTyped(f"DeformConv of {x} by {w} in {groups} groups: the channels or filters do not fit")
    if quotient(x.shape[1], parts) * parts != x.shape[1]:
        raise IllTyped(f"DeformConv of {x}: the channels do not make {parts} offset groups")
    given = call.get("kernel_shape")
    if given is not None and tuple(given) != w.shape[2:]:
        raise IllTyped(f"DeformConv: kernel_shape = {list(given)}, the weight's is {show(w.shape[2:])}")
    counts = results(call.op, call.attributes, x.shape[2:], w.shape[2:])
    taps = product(w.shape[2:]) * parts
    wanted = {2: (x.shape[0], taps * (x.rank - 2), *counts), 3: (w.shape[0],), 4: (x.shape[0], taps, *counts)}
    for index, what in ((2, "offsets"), (3, "bias"), (4, "mask")):
        if call.has(index) and call.type(index).shape != wanted[index]:
            raise IllTyped(f"DeformConv: the {what} are {call.type(index)}, {show(wanted[index])} is expected")
    return [x.with_shape((x.shape[0], w.shape[0], *counts))]


define("DeformConv", _deform_conv)


@expansion("DeformConv")
def _parts(
    node: Node, x: Value, w: Value, offset: Value, b: Value | None, weights: Value | None,
    *, group: int = 1, offset_group: int = 1,
) -> Value:  # fmt: skip
    """What the taps of all windows read, as columns, times the filters."""
    found = windows(node.op, node.attributes, x.shape[2:], w.shape[2:])
    counts = node.output.shape[2:]
    axes, taps, places = len(counts), product(integers(w.shape[2:])), product(counts)
    batch, channels = x.shape[0], x.shape[1]
    images = private.ReshapeTo(x, shape=(batch * offset_group, quotient(channels, offset_group), *x.shape[2:]))
    moved = private.ReshapeTo(offset, shape=(batch * offset_group, taps, axes, places))
    along = []
    for axis, extent in enumerate(x.shape[2:]):
        place = op.Gather(moved, np.array(axis), axis=2) + _still(found, counts, axis, x.dtype)
        along.append(linear_taps(private.ReshapeTo(place, shape=(batch * offset_group, taps * places)), extent))
    columns = gathered(images, along)
    if weights is not None:
        columns = columns * private.ReshapeTo(weights, shape=(batch * offset_group, 1, taps * places))
    depth = w.shape[1] * taps
    rows = private.ReshapeTo(w, shape=(group, quotient(w.shape[0], group), depth))
    y = op.MatMul(rows, private.ReshapeTo(columns, shape=(batch, group, depth, places)))
    y = private.ReshapeTo(y, shape=node.output.shape)
    return y if b is None else y + private.ReshapeTo(b, shape=(w.shape[0], *(1,) * axes))


def _still(found: Windows, counts: Shape, axis: int, dtype: str) -> Value:
    """Where each tap of each window lies along an axis before it is moved: [taps, places]."""
    kernel = np.indices(found.static_kernel)[axis].ravel()[:, None] * found.dilations[axis] - found.begins[axis]
    line = op.Range(np.array(0), whole(counts[axis]), np.array(1)) * found.strides[axis]
    shape: tuple[Dim, ...] = tuple(count if i == axis else 1 for i, count in enumerate(counts))
    spread = private.ExpandTo(private.ReshapeTo(op.Cast(line, to=dtype), shape=shape), shape=counts)
    value: Value = current().constant(kernel, dtype) + private.ReshapeTo(spread, shape=(1, product(counts)))
    return value


@lower("DeformConv")
def _(lowering: Any, node: Node, *inputs: Value | None) -> Value | None:
    """By its parts on anything but images, for which alone the runtime has a kernel."""
    if node.output.type.rank == 4:
        return None
    x, w, offset, b, weights = (*inputs, None, None)[:5]
    assert x is not None and w is not None and offset is not None, "the type rule asked for them"
    given = {name: node.attributes[name] for name in ("group", "offset_group") if name in node.attributes}
    made: Value = _parts(node, x, w, offset, b, weights, **given)
    return made


by_parts("DeformConv")
