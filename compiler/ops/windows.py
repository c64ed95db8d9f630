"""Sliding windows, which convolutions and pools share: where they lie and how many they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlc.compiler.ops.rules import show
from dlc.compiler.registry import IllTyped
from dlc.compiler.types import Array, Dim, Shape, quotient, substitute, symbols

BATCH = 32  # taken for a dimension whose likely size nobody said


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows over spatial axes: one number an axis in each field. Padding is explicit and the number of windows rounds
    down: automatic padding and ceil_mode are resolved by `windows`."""

    kernel: Shape
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begins: tuple[int, ...]
    ends: tuple[int, ...]

    @property
    def pads(self) -> tuple[int, ...]:
        """As ONNX wants them: all beginnings, then all ends."""
        return (*self.begins, *self.ends)

    @property
    def spans(self) -> Shape:
        """How far a window reaches along each axis: from its first element to its last, both counted."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    @property
    def static_kernel(self) -> tuple[int, ...]:
        """The kernel as integers; raises IllTyped where it is symbolic."""
        return integers(self.kernel)

    @property
    def plain(self) -> bool:
        """Without padding and dilation."""
        return not any(self.pads) and all(d == 1 or k == 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    def counts(self, extents: Shape) -> Shape:
        """How many windows lie along each axis of these extents."""
        return tuple(
            quotient(extent + begin + end - span + stride, stride)
            for extent, begin, end, span, stride in zip(
                extents, self.begins, self.ends, self.spans, self.strides, strict=True
            )
        )

    def unused(self, extents: Shape) -> tuple[int, ...] | None:
        """How many elements at the end of each axis (padding counted) no window reaches; None where it is not known."""
        rest = []
        for extent, begin, end, span, stride in zip(
            extents, self.begins, self.ends, self.spans, self.strides, strict=True
        ):
            spare = extent + begin + end - span
            if stride > 1 and not isinstance(spare, int):
                return None
            rest.append(spare % stride if isinstance(spare, int) else 0)
        return tuple(rest)

    def attributes(self) -> dict[str, tuple[int, ...]]:
        """The attributes of a convolution with these windows."""
        return {"strides": self.strides, "pads": self.pads, "dilations": self.dilations}


def windows(op: str, attributes: Mapping[str, Any], extents: Shape, kernel: Shape) -> Windows:
    """The windows that an operator's attributes describe on axes of these extents.

    Raises IllTyped: attributes of the wrong length, or padding that depends on a size that is not known.
    """
    found = _explicit(op, attributes, kernel, len(extents))
    same = same_padding(op, attributes, extents, kernel)
    if same is not None:
        for pads, extent, stride in zip(zip(*same, strict=True), extents, found.strides, strict=True):
            if not all(isinstance(dim, int) for dim in pads):
                mode = attributes["auto_pad"]
                raise IllTyped(f"{op}: auto_pad = {mode} at stride {stride} needs a known size, not {extent}")
        return Windows(found.kernel, found.strides, found.dilations, integers(same[0]), integers(same[1]))
    if attributes.get("ceil_mode"):
        # Rounding up lets a window stick out at the end, but none may begin there: so much padding rounds down to it.
        ends = tuple(
            max(end, min(end + stride - 1, span - 1))
            for end, stride, span in zip(found.ends, found.strides, integers(found.spans), strict=True)
        )
        return Windows(found.kernel, found.strides, found.dilations, found.begins, ends)
    return found


def same_padding(
    op: str, attributes: Mapping[str, Any], extents: Shape, kernel: Shape
) -> tuple[Shape, Shape] | None:
    """What `auto_pad = SAME_...` sets before and after each axis, as many dimensions; None where it is not asked for.

    Raises IllTyped: attributes of the wrong length, or padding of an unknown size that no dimension says.
    """
    mode = attributes.get("auto_pad") or "NOTSET"
    if not mode.startswith("SAME"):
        return None
    found = _explicit(op, attributes, kernel, len(extents))
    small: list[Dim] = []
    large: list[Dim] = []
    for extent, span, stride in zip(extents, found.spans, found.strides, strict=True):
        total = 0 if span == 1 else (quotient(extent, stride, True) - 1) * stride + span - extent
        if isinstance(total, int):
            total = max(total, 0)
        elif not isinstance(span, int) or span < stride:  # then some sizes have windows with gaps between them
            raise IllTyped(f"{op}: auto_pad = {mode} at stride {stride} needs a known size, not {extent}")
        small.append(quotient(total, 2))
        large.append(total - small[-1])
    begins, ends = (small, large) if mode == "SAME_UPPER" else (large, small)
    return tuple(begins), tuple(ends)


def results(op: str, attributes: Mapping[str, Any], extents: Shape, kernel: Shape) -> Shape:
    """How many windows an operator's attributes describe along each axis; raises IllTyped where there are none."""
    if str(attributes.get("auto_pad", "")).startswith("SAME"):
        strides = _explicit(op, attributes, kernel, len(extents)).strides
        return tuple(quotient(extent, stride, True) for extent, stride in zip(extents, strides, strict=True))
    found = windows(op, attributes, extents, kernel)
    counts = found.counts(extents)
    if any(isinstance(count, int) and count < 1 for count in counts):
        padded = f" padded by {list(found.pads)}" if any(found.pads) else ""
        raise IllTyped(f"{op}: windows of {show(found.spans)} do not fit into {show(extents)}{padded}")
    return counts


def _explicit(op: str, attributes: Mapping[str, Any], kernel: Shape, rank: int) -> Windows:
    """The windows but for automatic padding and rounding."""

    def field(name: str, length: int, default: int, least: int) -> tuple[int, ...]:
        given = attributes.get(name)
        value = (default,) * length if given is None else tuple(int(v) for v in given)
        if len(value) != length:
            raise IllTyped(f"{op}: {name} = {list(value)} for {rank} spatial axes: {length} numbers are expected")
        if any(v < least for v in value):
            raise IllTyped(f"{op}: {name} = {list(value)}: {least} is the least")
        return value

    if len(kernel) != rank:
        raise IllTyped(f"{op}: a kernel of {show(kernel)} on {rank} spatial axes")
    mode = attributes.get("auto_pad") or "NOTSET"
    if mode not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise IllTyped(f"{op}: auto_pad = {mode}: NOTSET, VALID, SAME_UPPER or SAME_LOWER is expected")
    pads = field("pads", 2 * rank, 0, 0) if mode == "NOTSET" else (0,) * (2 * rank)
    strides, dilations = field("strides", rank, 1, 1), field("dilations", rank, 1, 1)
    return Windows(tuple(kernel), strides, dilations, pads[:rank], pads[rank:])


def integers(dims: Shape) -> tuple[int, ...]:
    """Dimensions that must be known; raises IllTyped."""
    if not all(isinstance(dim, int) for dim in dims):
        raise IllTyped(f"windows of symbolic size {show(dims)}")
    return tuple(dim for dim in dims if isinstance(dim, int))


def pad(x: Array, found: Windows, value: float) -> Array:
    """`x[N, C, ...]` with its padding."""
    return np.pad(x, ((0, 0), (0, 0), *zip(found.begins, found.ends, strict=True)), constant_values=value)


def crop(padded: Array, found: Windows, extents: Sequence[int]) -> Array:
    """The array inside the padding."""
    inner = tuple(slice(begin, begin + n) for begin, n in zip(found.begins, extents, strict=True))
    return padded[(slice(None), slice(None), *inner)]


def taps(found: Windows, counts: Sequence[int]) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
    """Each place in a window, row-major, with the slices of the padded `[N, C, ...]` that it takes in all windows."""
    for place in np.ndindex(*found.static_kernel):
        inner = tuple(
            slice(k * d, k * d + (n - 1) * s + 1, s)
            for k, d, s, n in zip(place, found.dilations, found.strides, counts, strict=True)
        )
        yield place, (slice(None), slice(None), *inner)


def coverage(found: Windows, extents: Sequence[int], first: Sequence[int], last: Sequence[int]) -> Array:
    """How many elements of each window lie in the box from `first` to `last` (excluded), in padded coordinates."""
    counts = integers(found.counts(tuple(extents)))
    total: Array = np.ones((), np.float64)
    for k, d, s, n, low, high in zip(
        found.static_kernel, found.dilations, found.strides, counts, first, last, strict=True
    ):
        places = np.arange(n)[:, None] * s + np.arange(k)[None, :] * d
        inside = ((places >= low) & (places < high)).sum(1)
        total = total[..., None] * inside
    return total


def likely(dim: Dim, sizes: Mapping[str, int]) -> int:
    """A dimension at the sizes that are likely, or at BATCH where nobody said one."""
    value = substitute(dim, {name: sizes.get(name, BATCH) for name in symbols(dim)})
    assert isinstance(value, int), "every name has a size"
    return value
