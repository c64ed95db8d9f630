"""Random graphs: operators on pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from graph_maker import Maker, Unfit, recipe

from dlc.compiler.graph import Value

i64 = np.int64


@recipe
def convolution(m: Maker) -> None:
    x = m.image()
    channels = m.extent(x, 1)
    group = m.pick(1, 1, 2 if channels % 2 == 0 else 1, channels)
    w = m.numbers(2 * group, channels // group, 2, m.pick(1, 2, 3))
    strides, dilations = (int(m.rng.integers(1, 3)), 1), (1, int(m.rng.integers(1, 3)))
    more = m.pick({"pads": (1, 1, 0, 1)}, {"pads": (0, 0, 0, 0)}, {"auto_pad": "SAME_UPPER"})
    bias = m.numbers(2 * group) if m.coin() else None
    m.keep(m.one("Conv", x, w, bias, strides=strides, dilations=dilations, group=group, **more))


@recipe
def line_convolution(m: Maker) -> None:
    x = m.any(rank=3)
    m.keep(m.one("Conv", x, m.numbers(2, m.extent(x, 1), 2), pads=(1, 0), strides=(m.pick(1, 2),)))


@recipe
def convolution_back(m: Maker) -> None:
    x = m.image()
    channels = m.extent(x, 1)
    group = 2 if channels % 2 == 0 and m.coin(0.3) else 1
    w = m.numbers(channels, 2, 2, 2)
    pads = m.pick((0, 1, 0, 0), (0, 0, 0, 0), (1, 1, 1, 1))
    m.keep(m.one("ConvTranspose", x, w, strides=(2, 1), pads=pads, group=group))


@recipe
def deformed_convolution(m: Maker) -> None:
    x = m.image()
    channels, (height, width) = m.extent(x, 1), x.shape[2:]
    batch, count = x.shape[0], (int(str(height)) - 1, int(str(width)) - 1)
    offset = m.apart(m.numbers(batch, 8, *count, low=0.1, high=0.9), 0.0, 1.0, margin=1e-2)
    mask = m.numbers(batch, 4, *count) if m.coin() else None
    m.keep(m.one("DeformConv", x, m.numbers(2, channels, 2, 2), offset, m.numbers(2), mask))


def _untied_windows(m: Maker, x: Value) -> Value:
    """Values that differ by more than a kink's margin wherever a window lies."""
    static = m.whole(x) if x.type.is_static else (1, *(m.extent(x, axis) for axis in range(1, 4)))
    order = m.rng.permutation(int(np.prod(static))).reshape(static)
    return m.one("Add", m.bounded(x, 0.04), order * 0.1 - 1.0)


@recipe
def pool(m: Maker) -> None:
    x = m.image()
    name = m.pick("MaxPool", "AveragePool", "LpPool")
    x = _untied_windows(m, x) if name == "MaxPool" else m.positive(x) if name == "LpPool" else x
    size, strides, pads = m.pick(((2, 3), (2, 1), (0, 1, 0, 1)), ((2, 2), (2, 2), (0, 0, 0, 0)), ((1, 2), (1, 1), None))
    more: dict[str, Any] = {} if pads is None else {"pads": pads}
    if name != "LpPool" and m.coin(0.3):
        more["ceil_mode"] = 1
    if name == "AveragePool" and m.coin():
        more["count_include_pad"] = 1
    m.keep(m.one(name, x, kernel_shape=size, strides=strides, **more))


@recipe
def pool_all(m: Maker) -> None:
    x = m.image()
    name = m.pick("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
    x = m.untied(x) if name == "GlobalMaxPool" else m.positive(x) if name == "GlobalLpPool" else x
    m.keep(m.one(name, x))


@recipe
def unpool(m: Maker) -> None:
    """By the places that a pool found."""
    x = _untied_windows(m, m.cut(1, 2, 4, 6))
    given = {"kernel_shape": (2, 2), "strides": (2, 2)}
    small, places = m.add("MaxPool", x, outputs=2, **given)
    m.keep(m.one("MaxUnpool", m.one("Sin", small), places, **given))


@recipe
def blocks(m: Maker) -> None:
    x = m.cut(2, 8, 6)
    m.keep(m.one("Col2Im", x, np.array([3, 4]), np.array([2, 2])))


@recipe
def resize(m: Maker) -> None:
    x = m.image()
    mode = m.pick("nearest", "linear", "cubic")
    given = {"coordinate_transformation_mode": m.pick("half_pixel", "align_corners", "asymmetric")}
    if x.type.is_static and m.coin(0.7):
        sizes = np.array([*m.whole(x)[:2], int(m.rng.integers(2, 8)), int(m.rng.integers(2, 8))], i64)
        m.keep(m.one("Resize", x, None, None, sizes, mode=mode, **given))
        return
    scales = np.array([1, 1, m.pick(2.0, 1.5, 0.5), m.pick(1.0, 3.0)], np.float32)
    m.keep(m.one("Resize", x, None, scales, mode=mode, **given))


@recipe
def upsample(m: Maker) -> None:
    x = m.image()
    m.keep(m.one("Upsample", x, np.array([1, 1, 2, 3], np.float32), mode=m.pick("nearest", "linear")))


@recipe
def regroup(m: Maker) -> None:
    x = m.image()
    height, width = m.extent(x, 2), m.extent(x, 3)
    if height % 2 == 0 and width % 2 == 0:
        m.keep(m.one("SpaceToDepth", x, blocksize=2))
    elif m.extent(x, 1) % 4 == 0:
        m.keep(m.one("DepthToSpace", x, blocksize=2, mode=m.pick("DCR", "CRD")))
    else:
        raise Unfit


@recipe
def response(m: Maker) -> None:
    m.keep(m.one("LRN", m.image(), size=3, alpha=0.1, bias=1.5))


@recipe
def sample(m: Maker) -> None:
    """Bilinear sampling has kinks at pixels."""
    x = m.image()
    if m.coin():
        grid = m.bounded(m.numbers(x.shape[0], 2, 3, 2), 0.8)
    else:
        theta = m.bounded(m.numbers(m.whole(x)[0], 2, 3), 0.5)
        grid = m.one("AffineGrid", theta, np.array([m.whole(x)[0], 1, 3, 2]), align_corners=int(m.coin()))
    extents = np.array([m.extent(x, 3), m.extent(x, 2)])

    def check(array: Any) -> bool:
        places = (array + 1) * extents / 2 - 0.5
        return bool(np.abs(places - np.round(places)).min(initial=1.0) >= 1e-2)

    m.keep(m.one("GridSample", x, m.holds(grid, check), mode="linear", padding_mode=m.pick("zeros", "border")))


@recipe
def regions(m: Maker) -> None:
    x = m.image()
    if not m.size(x):
        raise Unfit
    boxes = np.array([[0.3, 0.2, 2.1, 1.4], [0.2, 0.3, 1.4, 2.2], [0.6, 0.1, 1.9, 1.5]])
    images = np.zeros(3, i64)
    m.keep(m.one("RoiAlign", x, boxes, images, output_height=2, output_width=2, sampling_ratio=m.pick(1, 2)))


@recipe
def largest_in_regions(m: Maker) -> None:
    x = _untied_windows(m, m.image())
    if not m.size(x):
        raise Unfit
    boxes = np.array([[0, 0, 0, 2, 1], [0, 1, 1, 2, 2.0]])
    m.keep(m.one("MaxRoiPool", x, boxes, pooled_shape=m.pick((1, 1), (2, 2)), spatial_scale=1.0))
