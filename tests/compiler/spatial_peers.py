"""Operators on images and signals, element by element in PyTorch, for those that it has not itself."""

from __future__ import annotations

import math
from typing import Any

try:
    import torch
    import torch.nn.functional as F
except ImportError:
    torch = F = None  # type: ignore[assignment]


def _cubic(distance: float, a: float = -0.75) -> float:
    d = abs(distance)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def _at(place: float, n: int, mode: str) -> dict[int, float]:
    """The weights of an axis's elements at a place."""
    low = math.floor(place)
    if mode == "nearest":
        index = low if place - low <= 0.5 else low + 1
        return {min(max(index, 0), n - 1): 1.0}
    weights: dict[int, float] = {}
    for index in range(low - 1, low + 3):
        weight = max(1 - abs(place - index), 0.0) if mode == "linear" else _cubic(place - index)
        inside = min(max(index, 0), n - 1)
        weights[inside] = weights.get(inside, 0.0) + weight
    return weights


def _lines(x: Any, axis: int, places: list[float], mode: str) -> Any:
    n = x.shape[axis]
    lines = [sum(weight * x.select(axis, i) for i, weight in _at(place, n, mode).items()) for place in places]
    return torch.stack(lines, axis)


def resize(scales: tuple[float, ...], mode: str, transformation: str) -> Any:
    def apply(x: Any, *_: Any) -> Any:
        for axis, given in enumerate(scales, 2):
            scale = float(torch.tensor(given, dtype=torch.float32))
            n = x.shape[axis]
            m = math.floor(n * scale)
            shift = n / 2 * (1 - m / (n * scale))
            places = {
                "asymmetric": [i / scale for i in range(m)],
                "half_pixel_symmetric": [shift + (i + 0.5) / scale - 0.5 for i in range(m)],
                "pytorch_half_pixel": [(i + 0.5) / scale - 0.5 if m > 1 else 0.0 for i in range(m)],
            }
            x = _lines(x, axis, places[transformation], mode)
        return x

    return apply


def crop(sizes: tuple[int, ...], start: float, end: float, mode: str, outside: float) -> Any:
    def apply(x: Any, *_: Any) -> Any:
        inside = torch.ones((1,) * x.ndim, dtype=torch.bool)
        for axis, m in enumerate(sizes, 2):
            n = x.shape[axis]
            places = [(start + i * (end - start) / (m - 1)) * (n - 1) for i in range(m)]
            x = _lines(x, axis, places, mode)
            shape = [m if i == axis else 1 for i in range(x.ndim)]
            inside = inside & torch.tensor([0 <= place <= n - 1 for place in places]).reshape(shape)
        return torch.where(inside, x, torch.tensor(outside, dtype=x.dtype))

    return apply


def cubic_volume(x: Any, grid: Any) -> Any:
    """Every place by itself, zeros outside."""
    n, c, *extents = x.shape
    rows = []
    for b in range(n):
        for place in grid[b].reshape(-1, 3):
            at = [((place[2 - axis] + 1) * extent - 1) / 2 for axis, extent in enumerate(extents)]
            total = torch.zeros(c, dtype=x.dtype)
            lows = [math.floor(p.item()) for p in at]
            for i in range(-1, 3):
                for j in range(-1, 3):
                    for k in range(-1, 3):
                        index = [low + d for low, d in zip(lows, (i, j, k), strict=True)]
                        if all(0 <= v < extent for v, extent in zip(index, extents, strict=True)):
                            weight = math.prod((_smooth(p - v) for p, v in zip(at, index, strict=True)), start=1.0)
                            total = total + weight * x[b, :, index[0], index[1], index[2]]
            rows.append(total)
    return torch.stack(rows).reshape(n, *grid.shape[1:4], c).permute(0, 4, 1, 2, 3)


def _smooth(distance: Any) -> Any:
    d = distance.abs()
    return 1.25 * d**3 - 2.25 * d**2 + 1 if d <= 1 else -0.75 * d**3 + 3.75 * d**2 - 6 * d + 3


def affine_grid(theta: Any, size: tuple[int, ...], corners: int) -> Any:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that one element alone lies elsewhere than it did years ago
        return F.affine_grid(theta, list(size), align_corners=bool(corners))


def _four(image: Any, y: float, x: float) -> list[Any]:
    """The weighted elements around a place of [C, H, W]; an element's width outside counts as the edge."""
    height, width = image.shape[1:]
    if y < -1 or y > height or x < -1 or x > width:
        return [torch.zeros(image.shape[0], dtype=image.dtype)] * 4
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    i, j = int(y), int(x)
    k, m = min(i + 1, height - 1), min(j + 1, width - 1)
    a, b = y - i, x - j
    corners = (((1 - a) * (1 - b), i, j), ((1 - a) * b, i, m), (a * (1 - b), k, j), (a * b, k, m))
    return [weight * image[:, row, column] for weight, row, column in corners]


def roi_align(
    x: Any, rois: Any, images: Any, *, mode: str, coordinate_transformation_mode: str, sampling_ratio: int,
    output_height: int, output_width: int, spatial_scale: float,
) -> Any:  # fmt: skip
    result = torch.zeros(len(rois), x.shape[1], output_height, output_width, dtype=x.dtype)
    half = coordinate_transformation_mode == "half_pixel"
    for r, (box, image) in enumerate(zip(rois.tolist(), images.tolist(), strict=True)):
        left, top, right, bottom = (side * spatial_scale - (0.5 if half else 0.0) for side in box)
        high, wide = bottom - top, right - left
        if not half:
            high, wide = max(high, 1.0), max(wide, 1.0)
        down = sampling_ratio or math.ceil(high / output_height)
        across = sampling_ratio or math.ceil(wide / output_width)
        for i in range(output_height):
            for j in range(output_width):
                samples = [
                    _four(
                        x[image],
                        top + (i + (s + 0.5) / down) * high / output_height,
                        left + (j + (t + 0.5) / across) * wide / output_width,
                    )
                    for s in range(down)
                    for t in range(across)
                ]
                if not samples:
                    continue
                if mode == "avg":
                    result[r, :, i, j] = sum(sum(four) for four in samples) / (down * across)
                else:
                    result[r, :, i, j] = torch.stack([torch.stack(four).amax(0) for four in samples]).amax(0)
    return result


def max_roi_pool(x: Any, rois: Any, *, pooled_shape: tuple[int, int], spatial_scale: float) -> Any:
    result = torch.zeros(len(rois), x.shape[1], *pooled_shape, dtype=x.dtype)
    for r, (image, *box) in enumerate(rois.tolist()):
        left, top, right, bottom = (math.copysign(math.floor(abs(side * spatial_scale) + 0.5), side) for side in box)
        high, wide = max(bottom - top + 1, 1) / pooled_shape[0], max(right - left + 1, 1) / pooled_shape[1]
        for i in range(pooled_shape[0]):
            for j in range(pooled_shape[1]):
                first, last = int(math.floor(i * high) + top), int(math.ceil((i + 1) * high) + top)
                start, end = int(math.floor(j * wide) + left), int(math.ceil((j + 1) * wide) + left)
                part = x[int(image), :, max(first, 0) : max(last, 0), max(start, 0) : max(end, 0)]
                if part.numel():
                    result[r, :, i, j] = part.amax((1, 2))
    return result


def counts(image: tuple[int, ...], kernel: tuple[int, ...], given: dict[str, Any]) -> list[int]:
    """How many windows lie along each axis."""
    rank = len(image)
    strides, dilations = given.get("strides", (1,) * rank), given.get("dilations", (1,) * rank)
    pads = given.get("pads", (0,) * 2 * rank)
    return [
        (n + pads[i] + pads[rank + i] - dilations[i] * (kernel[i] - 1) - 1) // strides[i] + 1
        for i, n in enumerate(image)
    ]


def blocks(image: tuple[int, ...], kernel: tuple[int, ...], given: dict[str, Any]) -> int:
    return math.prod(counts(image, kernel, given))


def deform_conv(
    x: Any, w: Any, offset: Any, b: Any = None, mask: Any = None, *, group: int = 1, offset_group: int = 1,
    strides: tuple[int, int] = (1, 1), dilations: tuple[int, int] = (1, 1), pads: tuple[int, ...] = (0, 0, 0, 0),
) -> Any:  # fmt: skip
    n, channels = x.shape[:2]
    filters, depth, high, wide = w.shape
    rows, columns = offset.shape[2:]
    moved = offset.reshape(n, offset_group, high, wide, 2, rows, columns)
    weights = None if mask is None else mask.reshape(n, offset_group, high, wide, rows, columns)
    result = []
    for image in range(n):
        for i in range(rows):
            for j in range(columns):
                seen = torch.zeros(channels, high, wide, dtype=x.dtype)
                for part in range(offset_group):
                    of = slice(part * channels // offset_group, (part + 1) * channels // offset_group)
                    for a in range(high):
                        for c in range(wide):
                            y = moved[image, part, a, c, 0, i, j] + (i * strides[0] - pads[0] + a * dilations[0])
                            z = moved[image, part, a, c, 1, i, j] + (j * strides[1] - pads[1] + c * dilations[1])
                            value = _bilinear(x[image, of], y, z)
                            factor = 1 if weights is None else weights[image, part, a, c, i, j]
                            seen[of, a, c] = value * factor
                grouped = seen.reshape(group, depth, high, wide)
                filtered = w.reshape(group, filters // group, depth, high, wide)
                result.append(torch.einsum("gdhw,gfdhw->gf", grouped, filtered).reshape(-1))
    y = torch.stack(result).reshape(n, rows, columns, filters).permute(0, 3, 1, 2)
    return y if b is None else y + b[:, None, None]


def _bilinear(image: Any, y: Any, x: Any) -> Any:
    total = torch.zeros(image.shape[0], dtype=image.dtype)
    for row in (math.floor(y.item()), math.floor(y.item()) + 1):
        for column in (math.floor(x.item()), math.floor(x.item()) + 1):
            if 0 <= row < image.shape[1] and 0 <= column < image.shape[2]:
                total = total + (1 - (y - row).abs()) * (1 - (x - column).abs()) * image[:, row, column]
    return total


def stft(x: Any, step: int, window: Any, length: int, onesided: int) -> Any:
    signal = torch.view_as_complex(x.contiguous()) if x.shape[-1] == 2 else x[..., 0]
    frames = signal.unfold(1, length, step)
    windowed = frames if window is None else frames * window
    spectrum = torch.fft.rfft(windowed) if onesided else torch.fft.fft(windowed)
    return torch.view_as_real(spectrum)
