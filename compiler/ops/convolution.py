"""Convolutions and their gradients.

With x[N, C, S], w[O, C/G, K] and y = Conv(x, w): `dlc.ConvInputGrad(g, w)` is the gradient in x and
`dlc.ConvWeightGrad(x, g)` that in w. The three are linear in each argument and are one another's gradients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from dlc.compiler.build import ints, op, private
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.automatic_padding import set_apart
from dlc.compiler.ops.extents import extent_vector
from dlc.compiler.ops.rules import expect, reduce_sum, show
from dlc.compiler.ops.windows import Windows, crop, integers, pad, results, taps, windows
from dlc.compiler.registry import Call, IllTyped, define, evaluate, gradient, lower
from dlc.compiler.types import FLOATS, Array, Dim, Shape, Type

Ints = tuple[int, ...]


def _operands(call: Call) -> tuple[Type, Type]:
    x, w = expect(call, 0, FLOATS), expect(call, 1, FLOATS)
    if x.dtype != w.dtype:
        raise IllTyped(f"{call.op} of {x} and {w}: the element types differ")
    if x.rank < 3 or w.rank != x.rank:
        raise IllTyped(f"{call.op} of {x} with a weight {w}: [N, C, spatial...] and [O, C, kernel...] are expected")
    return x, w


def _grouped(call: Call, channels: Dim, filters: Dim, depth: Dim) -> None:
    """A convolution of `channels` by `filters` filters, each of which sees `depth` channels; raises IllTyped."""
    groups = call.get("group", 1)
    if groups < 1 or (isinstance(filters, int) and filters % groups):
        raise IllTyped(f"{call.op}: {filters} filters do not make {groups} equal groups")
    if channels != depth * groups:
        each = f" in each of {groups} groups" if groups > 1 else ""
        raise IllTyped(f"{call.op}: the input has {channels} channels, the weight wants {depth}{each}")


def _bias(call: Call, dtype: str, filters: Dim) -> None:
    if call.has(2) and call.type(2) != Type(dtype, (filters,)):
        raise IllTyped(f"{call.op}: the bias is {call.type(2)}, {Type(dtype, (filters,))} is expected")


def _kernel(call: Call, kernel: Shape) -> Shape:
    given = call.get("kernel_shape")
    if given is not None and tuple(given) != kernel:
        raise IllTyped(f"{call.op}: kernel_shape = {list(given)}, the weight's is {show(kernel)}")
    return kernel


def _conv(call: Call) -> list[Type]:
    x, w = _operands(call)
    _grouped(call, x.shape[1], w.shape[0], w.shape[1])
    _bias(call, x.dtype, w.shape[0])
    counts = results("Conv", call.attributes, x.shape[2:], _kernel(call, w.shape[2:]))
    return [Type(x.dtype, (x.shape[0], w.shape[0], *counts))]


define("Conv", _conv)


@gradient("Conv")
def _(
    g: Value, x: Value, w: Value, b: Value | None,
    *, group: int = 1, auto_pad: str = "NOTSET",
    strides: Ints | None = None, pads: Ints | None = None, dilations: Ints | None = None,
) -> tuple[Value, Value, Value | None]:  # fmt: skip
    given = {"auto_pad": auto_pad, "strides": strides, "pads": pads, "dilations": dilations}
    laid = set_apart("Conv", given, x.shape, w.shape[2:])
    attributes = laid.windows.attributes()
    return (
        laid.cropped(private.ConvInputGrad(g, w, shape=laid.padded_shape, group=group, **attributes)),
        private.ConvWeightGrad(laid.padded(x), g, shape=w.shape, group=group, **attributes),
        b and _per_channel(g),
    )


@evaluate("Conv")
def _(x: Array, w: Array, b: Array | None = None, *, group: int = 1, **attributes: Any) -> Array:
    found = windows("Conv", attributes, x.shape[2:], w.shape[2:])
    counts = results("Conv", attributes, x.shape[2:], w.shape[2:])
    padded = pad(x, found, 0)
    total: Any = 0
    for place, at in taps(found, integers(counts)):
        seen = _split(padded[at], 1, group)
        total = total + np.einsum("ngc...,goc->ngo...", seen, _split(w[_at(place)], 0, group))
    y: Array = total.reshape(x.shape[0], w.shape[0], *counts)
    return y if b is None else y + b.reshape(-1, *(1,) * len(counts))


def _per_channel(g: Value) -> Value:
    return reduce_sum(g, 0, *range(2, g.type.rank), keepdims=False)


def _input_grad(call: Call) -> list[Type]:
    g, w = _operands(call)
    shape: Shape = call.attributes["shape"]
    if len(shape) != g.rank:
        raise IllTyped(f"{call.op} of {g} to {show(shape)}: the ranks differ")
    _grouped(call, shape[1], w.shape[0], w.shape[1])
    counts = results(call.op, call.attributes, shape[2:], w.shape[2:])
    if g.shape != (shape[0], w.shape[0], *counts):
        raise IllTyped(f"{call.op} of {g} to {show(shape)}: {show((shape[0], w.shape[0], *counts))} is expected")
    return [g.with_shape(shape)]


define("dlc.ConvInputGrad", _input_grad)


@gradient("dlc.ConvInputGrad")
def _(
    g: Value, node: Node, *, shape: Shape, group: int, strides: Ints, pads: Ints, dilations: Ints
) -> tuple[Value, Value]:
    """`g` is the cotangent of dX here, and the node's first input that of Y."""
    cotangent, w = _two(node)
    attributes: dict[str, Any] = {"group": group, "strides": strides, "pads": pads, "dilations": dilations}
    return op.Conv(g, w, **attributes), private.ConvWeightGrad(g, cotangent, shape=w.shape, **attributes)


@evaluate("dlc.ConvInputGrad")
def _(g: Array, w: Array, *, shape: Ints, group: int, strides: Ints, pads: Ints, dilations: Ints) -> Array:
    return _spread(g, w, shape, group, _windows(w.shape[2:], strides, pads, dilations))


def _spread(g: Array, w: Array, shape: Ints, group: int, found: Windows) -> Array:
    """What each window hands to the elements of `shape` that it holds."""
    padded = pad(np.zeros(shape, g.dtype), found, 0)
    per_group = _split(g, 1, group)
    for place, at in taps(found, g.shape[2:]):
        part = np.einsum("ngo...,goc->ngc...", per_group, _split(w[_at(place)], 0, group))
        padded[at] += part.reshape(padded[at].shape)
    return crop(padded, found, shape[2:])


def _weight_grad(call: Call) -> list[Type]:
    x, g = _operands(call)
    shape: Shape = call.attributes["shape"]
    if len(shape) != x.rank:
        raise IllTyped(f"{call.op} of {x} and {g} to {show(shape)}: the ranks differ")
    _grouped(call, x.shape[1], shape[0], shape[1])
    counts = results(call.op, call.attributes, x.shape[2:], shape[2:])
    if g.shape != (x.shape[0], shape[0], *counts):
        raise IllTyped(f"{call.op} of {x} and {g}: {show((x.shape[0], shape[0], *counts))} is expected")
    return [x.with_shape(shape)]


define("dlc.ConvWeightGrad", _weight_grad)


@gradient("dlc.ConvWeightGrad")
def _(
    g: Value, node: Node, *, shape: Shape, group: int, strides: Ints, pads: Ints, dilations: Ints
) -> tuple[Value, Value]:
    """`g` is the cotangent of dW here, and the node's second input that of Y."""
    x, cotangent = _two(node)
    attributes: dict[str, Any] = {"group": group, "strides": strides, "pads": pads, "dilations": dilations}
    return private.ConvInputGrad(cotangent, g, shape=x.shape, **attributes), op.Conv(x, g, **attributes)


@evaluate("dlc.ConvWeightGrad")
def _(x: Array, g: Array, *, shape: Ints, group: int, strides: Ints, pads: Ints, dilations: Ints) -> Array:
    found = _windows(shape[2:], strides, pads, dilations)
    padded = pad(x, found, 0)
    per_group = _split(g, 1, group).reshape(g.shape[0], group, g.shape[1] // group, -1)
    result = np.zeros(shape, x.dtype)
    for place, where in taps(found, g.shape[2:]):
        seen = _split(padded[where], 1, group).reshape(*per_group.shape[:2], -1, per_group.shape[3])
        result[_at(place)] = np.einsum("ngot,ngct->goc", per_group, seen).reshape(shape[:2])
    return result


def _two(node: Node) -> tuple[Value, Value]:
    first, second = node.inputs
    assert first is not None and second is not None, "the type rule asked for both"
    return first, second


def _at(place: Ints) -> Any:
    """The index of one element of each kernel."""
    return (..., *place)


def _split(x: Array, axis: int, groups: int) -> Array:
    return x.reshape(*x.shape[:axis], groups, x.shape[axis] // groups, *x.shape[axis + 1 :])


def _windows(kernel: Shape, strides: Ints, pads: Ints, dilations: Ints) -> Windows:
    return Windows(kernel, strides, dilations, pads[: len(kernel)], pads[len(kernel) :])


def _conv_transpose(call: Call) -> list[Type]:
    x, w = _operands(call)
    groups = call.get("group", 1)
    if x.shape[1] != w.shape[0]:
        raise IllTyped(f"ConvTranspose: the input has {x.shape[1]} channels, the weight wants {w.shape[0]}")
    if groups < 1 or (isinstance(x.shape[1], int) and x.shape[1] % groups):
        raise IllTyped(f"ConvTranspose: {x.shape[1]} channels do not make {groups} equal groups")
    channels = w.shape[1] * groups
    _bias(call, x.dtype, channels)
    found, extents = _transposed(call.attributes, x.shape[2:], _kernel(call, w.shape[2:]))
    if any(isinstance(extent, int) and extent < 1 for extent in extents):
        raise IllTyped(f"ConvTranspose: padding of {list(found.pads)} leaves {show(extents)}")
    return [Type(x.dtype, (x.shape[0], channels, *extents))]


def _transposed(attributes: Mapping[str, Any], counts: Shape, kernel: Shape) -> tuple[Windows, Shape]:
    """The windows of the convolution that ConvTranspose turns round, and the extents on which they lie.

    Raises IllTyped.
    """
    extra: Ints = tuple(attributes.get("output_padding") or (0,) * len(counts))
    wanted = attributes.get("output_shape")
    mode = attributes.get("auto_pad") or "NOTSET"
    found = windows("ConvTranspose", {**attributes, "auto_pad": None if mode != "VALID" else mode}, counts, kernel)
    if len(extra) != len(counts) or any(
        not 0 <= e < max(s, d) for e, s, d in zip(extra, found.strides, found.dilations, strict=True)
    ):
        raise IllTyped(f"ConvTranspose: output_padding = {list(extra)} with strides {list(found.strides)}")
    full = tuple((n - 1) * s + k + e for n, s, k, e in zip(counts, found.strides, found.spans, extra, strict=True))
    if wanted is None and not mode.startswith("SAME"):
        return found, tuple(f - b - e for f, b, e in zip(full, found.begins, found.ends, strict=True))
    same = tuple(n * s for n, s in zip(counts, found.strides, strict=True))
    extents: Shape = same if wanted is None else tuple(wanted)
    if len(extents) != len(counts):
        raise IllTyped(f"ConvTranspose: output_shape = {show(extents)} for {len(counts)} spatial axes")
    cut: list[int] = []
    for f, extent in zip(full, extents, strict=True):
        over = f - extent
        if not isinstance(over, int):
            raise IllTyped(f"ConvTranspose: output_shape = {show(extents)} needs a known size, not {f}")
        cut.append(max(over, 0))
    small, large = tuple(c // 2 for c in cut), tuple(c - c // 2 for c in cut)
    begins, ends = (small, large) if mode == "SAME_UPPER" else (large, small)
    return Windows(found.kernel, found.strides, found.dilations, begins, ends), extents


define("ConvTranspose", _conv_transpose)


@evaluate("ConvTranspose")
def _(x: Array, w: Array, b: Array | None = None, *, group: int = 1, **attributes: Any) -> Array:
    found, extents = _transposed(attributes, x.shape[2:], w.shape[2:])
    reach = [(n - 1) * s + k for n, s, k in zip(x.shape[2:], found.strides, integers(found.spans), strict=True)]
    ends = [r - begin - extent for r, begin, extent in zip(reach, found.begins, integers(extents), strict=True)]
    whole = Windows(found.kernel, found.strides, found.dilations, found.begins, tuple(max(end, 0) for end in ends))
    shape = (x.shape[0], w.shape[1] * group, *integers(extents))
    y = _spread(x, w, shape, group, whole)
    return y if b is None else y + b.reshape(-1, *(1,) * len(extents))


@gradient("ConvTranspose")
def _(g: Value, x: Value, w: Value, b: Value | None, node: Node) -> tuple[Value, Value, Value | None]:
    """ConvTranspose(x, w) is ConvInputGrad(x, w): what is x here is the cotangent of a convolution of g."""
    found, _ = _transposed(node.attributes, x.shape[2:], w.shape[2:])
    reached = g
    if found.counts(g.shape[2:]) != x.shape[2:]:
        found, ends = _reaching(found, x.shape[2:], g.shape[2:])
        rank = len(ends)
        reached = op.Slice(g, ints(*(0,) * rank), extent_vector(ends), ints(*range(2, 2 + rank)))
    attributes = {"group": node.attributes.get("group", 1), **found.attributes()}
    dx: Value = op.Conv(reached, w, **attributes)
    return dx, private.ConvWeightGrad(reached, x, shape=w.shape, **attributes), b and _per_channel(g)


def _reaching(found: Windows, counts: Shape, extents: Shape) -> tuple[Windows, list[Dim]]:
    """The windows of a result that was given more elements at its ends than a stride has, and how far they reach in it.

    What is given at an end first takes back the padding there; only what is beyond lies out of the windows' reach.
    """
    ends: list[int] = []
    reach: list[Dim] = []
    spans = zip(counts, extents, found.strides, found.spans, found.begins, found.ends, strict=True)
    for n, extent, stride, span, begin, end in spans:
        given = extent - ((n - 1) * stride + span - begin - end)
        if not isinstance(given, int):
            raise IllTyped(f"ConvTranspose: a size of {extent} for {n} windows, which has to be known here")
        ends.append(max(end - given, 0))
        reach.append((n - 1) * stride + span - begin - ends[-1])
    return replace(found, ends=tuple(ends)), reach


@lower("ConvTranspose")
def _(lowering: Any, node: Node, x: Value, w: Value, b: Value | None = None) -> Value | None:
    """Elements at the ends that no window reaches are put there, where the runtime refuses so many."""
    extents = node.output.shape[2:]
    found, _ = _transposed(node.attributes, x.shape[2:], w.shape[2:])
    if found.counts(extents) == x.shape[2:]:
        return None
    found, _ = _reaching(found, x.shape[2:], extents)
    given = {"group": node.attributes.get("group", 1), **found.attributes()}
    y = op.ConvTranspose(x, w, **given)
    more = [extent - have for extent, have in zip(extents, y.shape[2:], strict=True)]
    y = op.Pad(y, extent_vector([*(0,) * len(more), *more]), None, ints(*range(2, 2 + len(more))))
    return y if b is None else y + private.ReshapeTo(b, shape=(w.shape[1] * given["group"], *(1,) * len(more)))
