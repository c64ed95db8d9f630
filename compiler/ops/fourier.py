"""Fourier transforms, of numbers whose real and imaginary parts lie along the last axis.

A transform is a linear map, so that its gradient is another transform: of F it is F's conjugate transpose, which is the
inverse without its factor 1/length.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dlc.compiler.build import current, ints, op, private
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.extents import extent_vector, extents
from dlc.compiler.ops.reduction import count
from dlc.compiler.ops.rules import expect, fixed, normal_axis, replaced, where, zeros
from dlc.compiler.ops.sampling_grid import whole
from dlc.compiler.ops.shape import known
from dlc.compiler.registry import Call, IllTyped, define, evaluate, expansion, gradient, lower
from dlc.compiler.types import FLOATS, Array, Dim, Type, quotient


def _dft(call: Call) -> list[Type]:
    x = expect(call, 0, FLOATS)
    if x.rank < 2 or x.shape[-1] not in (1, 2):
        raise IllTyped(f"DFT of {x}: the last axis must hold a real part alone (1) or with the imaginary one (2)")
    axis = _axis(call.op, fixed(call, 2, "an axis"), call.get("axis"), x.rank)
    inverse, onesided = call.get("inverse", 0), call.get("onesided", 0)
    if onesided and x.shape[-1] != (2 if inverse else 1):
        raise IllTyped(f"DFT of {x}: a onesided transform is one of real numbers, its inverse one of complex numbers")
    length = known(call, 1)[0] if call.has(1) else _length(x.shape[axis], inverse, onesided)
    result = _half(length) if onesided and not inverse else length
    return [x.with_shape((*replaced(x.shape, axis, result)[:-1], 1 if onesided and inverse else 2))]


def _axis(name: str, given: Array | None, attribute: int | None, rank: int) -> int:
    """The axis is an input since opset 20, by default the last but one; it was an attribute, by default 1."""
    axis = int(given.item()) if given is not None else -2 if attribute is None else attribute
    found = normal_axis(name, axis, rank)
    if found == rank - 1:
        raise IllTyped(f"{name} along axis {axis}: the last axis holds the parts of numbers")
    return found


def _length(extent: Dim, inverse: int, onesided: int) -> Dim:
    return 2 * (extent - 1) if inverse and onesided else extent


def _half(length: Dim) -> Dim:
    """How many numbers of a real signal's spectrum say all."""
    return quotient(length, 2) + 1


define("DFT", _dft)


@evaluate("DFT")
def _(
    x: Array, length: Array | None = None, given: Array | None = None,
    *, axis: int | None = None, inverse: int = 0, onesided: int = 0,
) -> Array:  # fmt: skip
    along = _axis("DFT", given, axis, x.ndim)
    extent = x.shape[along]
    n = int(length.item()) if length is not None else 2 * (extent - 1) if inverse and onesided else extent
    numbers = x[..., 0].astype(np.complex128)
    if x.shape[-1] == 2:
        numbers.imag = x[..., 1]
    if inverse and onesided:
        return np.fft.irfft(numbers, n, along)[..., None].astype(x.dtype)
    made = np.fft.ifft(numbers, n, along) if inverse else np.fft.fft(numbers, n, along)
    if onesided:
        made = np.take(made, np.arange(n // 2 + 1), along)
    return np.stack([made.real, made.imag], -1).astype(x.dtype)


def _of(node: Node, x: Value) -> tuple[int, Dim, int, int]:
    """A transform's axis and length, and whether it is inverse and onesided."""
    length, axis = (*node.inputs, None, None)[1:3]
    inverse, onesided = node.attributes.get("inverse", 0), node.attributes.get("onesided", 0)
    along = _axis(node.op, None if axis is None else axis.constant, node.attributes.get("axis"), x.type.rank)
    given = extents(length)
    return along, given[0] if given else _length(x.shape[along], inverse, onesided), inverse, onesided


@gradient("DFT")
def _(g: Value, x: Value, node: Node) -> Value:
    axis, length, inverse, onesided = _of(node, x)
    along = np.array(axis)
    if inverse and onesided:
        back = op.DFT(g, None, along, onesided=1) * _counted(length, axis, g)
    elif inverse:
        back = op.DFT(g, None, along)
    else:
        back = op.DFT(_fitted(g, axis, length), None, along, inverse=1)
    size = count(length, g)
    back = back / size if inverse else back * size
    if x.shape[-1] == 1:
        back = op.Gather(back, np.array([0]), axis=-1)
    return _fitted(back, axis, x.shape[axis])


def _counted(length: Dim, axis: int, like: Value) -> Value:
    """How often each number of half a spectrum stands in the whole one: twice, but the first and, if the length is
    even, the last once."""
    shape = tuple(_half(length) if i == axis else 1 for i in range(like.type.rank))
    places = op.Range(np.array(0), whole(_half(length)), np.array(1))
    alone = op.Or(op.Equal(places, 0.0), op.Equal(places * 2.0, whole(length)))
    twice = where(alone, current().constant(1.0, like.dtype), 2.0)
    value: Value = private.ReshapeTo(twice, shape=shape)
    return value


def _fitted(x: Value, axis: int, extent: Dim) -> Value:
    """Cut, or filled up with zeros, to an extent along an axis; raises IllTyped where it is not known which."""
    have = x.shape[axis]
    if have == extent:
        return x
    missing = extent - have
    if not isinstance(missing, int):
        if not (have == _half(extent)):
            raise IllTyped(f"DFT: whether {have} elements are cut or filled up to {extent} depends on the sizes")
    elif missing < 0:
        cut: Value = op.Slice(x, ints(0), extent_vector([extent]), ints(axis))
        return cut
    joined: Value = op.Concat(x, zeros(x.type.with_shape(replaced(x.shape, axis, missing))), axis=axis)
    return joined


@lower("DFT")
def _(lowering: Any, node: Node, x: Value, *_: Value | None) -> Value | None:
    """The onesided inverse by the whole one: the runtime's kernel refuses it, as it does an attribute for the axis."""
    axis, length, inverse, onesided = _of(node, x)
    along = np.array(axis)
    if not (inverse and onesided):
        if "axis" not in node.attributes:
            return None
        said = node.inputs[1] if len(node.inputs) > 1 else None
        moved: Value = op.DFT(x, said, along, inverse=inverse, onesided=onesided)
        return moved
    half = _fitted(x, axis, _half(length))
    # The whole spectrum is the half of it and, turned round, the conjugates of those that stand in it twice.
    last = quotient(length + 1, 2) - 1
    turned = op.Range(whole(last), np.array(0), np.array(-1))
    conjugate = current().constant(np.array([1.0, -1.0]), x.dtype)
    mirrored = op.Gather(half, turned, axis=axis) * conjugate
    # Only the real parts of the two numbers that stand alone enter.
    spectrum = op.Concat(half, mirrored, axis=axis)
    back: Value = op.DFT(spectrum, None, along, inverse=1)
    return op.Gather(back, np.array([0]), axis=-1)


def _stft(call: Call) -> list[Type]:
    x, step = expect(call, 0, FLOATS), known(call, 1)[0]
    if x.rank != 3 or x.shape[-1] not in (1, 2):
        raise IllTyped(f"STFT of {x}: [batch, length, 1 or 2] is expected")
    length = _frame(call)
    onesided = call.get("onesided", 1)
    if onesided and x.shape[-1] == 2:
        raise IllTyped(f"STFT of {x}: a onesided transform is one of real numbers")
    if isinstance(step, int) and step < 1:
        raise IllTyped(f"STFT with a step of {step}: it must be at least 1")
    frames = quotient(x.shape[1] - length, step) + 1
    if isinstance(frames, int) and frames < 1:
        raise IllTyped(f"STFT of {x}: a frame of {length} is longer than the signal")
    return [x.with_shape((x.shape[0], frames, _half(length) if onesided else length, 2))]


def _frame(call: Call) -> Dim:
    """The length of a frame: said, or the window's; raises IllTyped."""
    window = call.type(2).shape if call.has(2) else None
    said = known(call, 3)[0] if call.has(3) else None
    if window is None and said is None:
        raise IllTyped("STFT needs a window or the length of a frame")
    if window is not None and (len(window) != 1 or said not in (None, window[0])):
        raise IllTyped(f"STFT: frames of {said} with a window of {len(window)} axes and shape {list(window)}")
    return said if window is None and said is not None else window[0] if window is not None else 0


define("STFT", _stft)


@expansion("STFT")
def _(node: Node, x: Value, step: Value, window: Value | None, length: Value | None, *, onesided: int = 1) -> Value:
    """Frames of the signal, each times the window, transformed."""
    frames = node.output.shape[1]
    call = Call(node.op, node.inputs, node.attributes)
    size, hop = _frame(call), known(call, 1)[0]
    starts = op.Range(np.array(0), whole(frames), np.array(1)) * whole(hop)
    within = op.Range(np.array(0), whole(size), np.array(1))
    places = private.ReshapeTo(starts, shape=(frames, 1)) + within
    cut = op.Gather(x, places, axis=1)
    if window is not None:
        cut = cut * private.ReshapeTo(window, shape=(size, 1))
    value: Value = op.DFT(cut, None, np.array(2), onesided=onesided)
    return value


@evaluate("STFT")
def _(x: Array, step: Array, window: Array | None = None, length: Array | None = None, *, onesided: int = 1) -> Array:
    n = len(window) if window is not None else int(length.item()) if length is not None else 0
    frames = np.lib.stride_tricks.sliding_window_view(x, n, 1)[:, :: int(step.item())]
    seen = frames if window is None else frames * window
    numbers = seen[:, :, 0].astype(np.complex128)
    if x.shape[-1] == 2:
        numbers.imag = seen[:, :, 1]
    made = np.fft.fft(numbers)[..., : n // 2 + 1 if onesided else n]
    return np.stack([made.real, made.imag], -1).astype(x.dtype)
