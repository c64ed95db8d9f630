"""Cases of the operators that resize, sample, unpool and transform signals."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import spatial_peers as peers
from oracles import Array, Case, apart, draw

try:
    import torch
    import torch.nn.functional as F
except ImportError:
    torch = F = None  # type: ignore[assignment]


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


def floats(*values: float) -> Array:
    return np.array(values, np.float32)


def number(value: int) -> Array:
    return np.array(value, np.int64)


def cases() -> Iterator[Case]:
    yield from resized()
    yield from resized_otherwise()
    yield from grids()
    yield from regions()
    yield from unpooled()
    yield from deformed()
    yield from transforms()
    yield from pools()
    yield from regrouped()


def interpolated(size: tuple[int, ...], mode: str, **options: Any) -> Any:
    return lambda x, *_: F.interpolate(x, size=size, mode=mode, **options)


def resized() -> Iterator[Case]:
    """By sizes, where PyTorch has the same."""
    x = draw(1, 3, 2, 5, 8)
    names = {1: "linear", 2: "bilinear", 3: "trilinear"}
    half, align = {"coordinate_transformation_mode": "half_pixel"}, {"coordinate_transformation_mode": "align_corners"}
    for size in ((7, 6), (10, 16), (3, 11), (1, 1), (5, 4)):
        to = (x, None, None, ints(3, 2, *size))
        label = f"{size[0]}x{size[1]}"
        for transformation, corners in ((half, False), (align, True)):
            given = {"mode": "linear", **transformation}
            if size != (1, 1) or corners:
                yield Case("Resize", to, given, interpolated(size, "bilinear", align_corners=corners), label=label)
            given = {"mode": "cubic", **transformation}
            yield Case("Resize", to, given, interpolated(size, "bicubic", align_corners=corners), label=label)
        for mode, name in (("linear", "bilinear"), ("cubic", "bicubic")):
            given = {"mode": mode, "antialias": 1, "exclude_outside": 1, **half}
            if name == "bicubic":
                given["cubic_coeff_a"] = -0.5
            yield Case("Resize", to, given, interpolated(size, name, antialias=True), label=label)
        given = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        yield Case("Resize", to, given, interpolated(size, "nearest"), label=label)
        given = {"nearest_mode": "round_prefer_ceil"}
        yield Case("Resize", to, given, interpolated(size, "nearest-exact"), label=label)
    for extents, size in (((6,), (9,)), ((3, 4, 5), (5, 3, 8))):
        x = draw(2, 2, 1, *extents)
        given = {"mode": "linear", **half}
        yield Case("Resize", (x, None, None, ints(2, 1, *size)), given, interpolated(size, names[len(size)]))
        given = {"mode": "linear", "axes": tuple(-1 - i for i in range(len(size))), **align}
        peer = interpolated(size, names[len(size)], align_corners=True)
        yield Case("Resize", (x, None, None, ints(*reversed(size))), given, peer, label=f"backward{len(size)}")
    x = draw(3, 3, 2, 4, 5)
    for scales in ((2.0, 3.0), (0.5, 1.5)):
        peer = lambda x, *_, scales=scales: F.interpolate(  # noqa: E731
            x, scale_factor=scales, mode="bilinear", recompute_scale_factor=False
        )
        yield Case("Resize", (x, None, floats(1, 1, *scales)), {"mode": "linear"}, peer, label=f"by{scales}")
        peer = lambda x, *_, scales=scales: F.interpolate(x, scale_factor=scales, mode="nearest")  # noqa: E731
        given = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        yield Case("Resize", (x, None, floats(1, 1, *scales)), given, peer, symbolic={3: "B"}, label=f"near{scales}")


def resized_otherwise() -> Iterator[Case]:
    """What PyTorch has not by that name: against loops that follow the operator's text."""
    x = draw(4, 2, 3, 5, 6)
    crop = {"coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 1.5}
    for mode in ("nearest", "linear", "cubic"):
        for transformation in ("half_pixel_symmetric", "pytorch_half_pixel", "asymmetric"):
            given = {"mode": mode, "coordinate_transformation_mode": transformation}
            for scales in ((1.7, 0.6), (0.2, 2.5)):
                peer = peers.resize(scales, mode, transformation)
                yield Case("Resize", (x, None, floats(1, 1, *scales)), given, peer, label=f"by{scales}")
        for start, end in ((0.12, 0.9), (-0.21, 1.3), (0.93, 0.2)):
            roi = floats(0, 0, start, start, 1, 1, end, end)
            peer = peers.crop((4, 7), float(roi[2]), float(roi[6]), mode, 1.5)
            given = {"mode": mode, **crop}
            yield Case("Resize", (x, roi, None, ints(2, 3, 4, 7)), given, peer, label=f"crop{start}")
        for policy in ("not_larger", "not_smaller"):
            given = {"mode": mode, "axes": (2, 3), "keep_aspect_ratio_policy": policy}
            yield Case("Resize", (x, None, None, ints(10, 9)), given, label=policy)
        yield Case("Resize", (x, None, None, ints(3, 2, 7, 4)), {"mode": mode}, label="every axis")
    for nearest, down in product(("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"), (0.5, 1.5)):
        yield Case("Resize", (x, None, floats(1, 1, down, 2)), {"nearest_mode": nearest}, label=f"nearest{down}")
    given = {"mode": "cubic", "cubic_coeff_a": -0.5, "exclude_outside": 1}
    yield Case("Resize", (x, None, floats(1, 1, 1.5, 0.5)), given, label="excluded")
    yield Case("Resize", (x, None, floats(1, 1, 0.5, 0.25)), {"mode": "linear", "antialias": 1}, label="smooth")
    yield Case("Resize", (x, None, floats(1, 1, 1, 1)), {"mode": "cubic"}, label="same")
    yield Case("Resize", (x, None, floats(2)), {"axes": (3,)}, lambda x, *_: x.repeat_interleave(2, 3), label="columns")
    yield Case("Resize", (draw(1, 2, 3, 4, 2), None, None, ints(7)), {"mode": "linear", "axes": (2,)},
               lambda x, *_: F.interpolate(x, (7, 2), mode="bilinear"), label="rows of two")  # fmt: skip
    wide = draw(5, 1, 1, 700)
    peer = interpolated((500,), "linear")
    yield Case("Resize", (wide, None, None, ints(1, 1, 500)), {"mode": "linear"}, peer, label="long")
    tall = draw(5, 1, 2, 600, 3)
    yield Case("Resize", (tall, None, None, ints(1, 2, 500, 3)), {"mode": "linear"},
               lambda x, *_: F.interpolate(x, (500, 3), mode="bilinear"), label="tall")  # fmt: skip
    yield Case("Resize", (tall, None, None, ints(1, 2, 500, 3)), label="tall nearest")
    given = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    peer = lambda x, *_: F.interpolate(x, scale_factor=(2, 3), mode="nearest")  # noqa: E731
    unknown = {2: "B", 5: "H", 6: "W"}
    yield Case("Resize", (x, None, floats(1, 1, 2, 3)), given, peer, symbolic=unknown, label="unknown size")
    yield Case("Resize", (x, None, floats(1, 1, 2, 3)), {}, peer, symbolic=unknown, label="unknown size, half pixel")
    yield Case("Resize", (x, None, floats(2, 1, 1, 3)), given, label="batch too")
    yield Case("Upsample", (x, floats(1, 1, 2, 3)), {}, peer)
    peer = lambda x, *_: peers.resize((2.0, 3.0), "linear", "asymmetric")(x)  # noqa: E731
    yield Case("Upsample", (x, floats(1, 1, 2, 3)), {"mode": "linear"}, peer, label="linear")
    yield Case("Upsample", (x,), {"mode": "linear", "scales": (1.0, 1.0, 2.0, 3.0)}, peer, label="attribute")


def grids() -> Iterator[Case]:
    names = {"linear": "bilinear", "cubic": "bicubic", "nearest": "nearest"}
    for extents, places in (((5, 6), (4, 2)), ((3, 4, 5), (2, 1, 3)), ((1, 4), (3, 2))):
        x, grid = draw(6, 7, 2, *extents), draw(7, 7, *places, len(extents), low=-1.7, high=1.7)
        for mode, padding, corners in product(names, ("zeros", "border", "reflection"), (0, 1)):
            if mode == "cubic" and len(extents) == 3:
                continue
            peer = lambda x, grid, options=(names[mode], padding, bool(corners)): F.grid_sample(x, grid, *options)  # noqa: E731
            given = {"mode": mode, "padding_mode": padding, "align_corners": corners}
            yield Case("GridSample", (x, grid), given, peer, symbolic={7: "B"})
    x, grid = draw(8, 2, 1, 3, 4, 5), draw(9, 2, 1, 2, 1, 3, low=-1.2, high=1.2)
    yield Case("GridSample", (x, grid), {"mode": "cubic"}, peers.cubic_volume, label="cubic in volumes")
    line = lambda x, grid: F.grid_sample(  # noqa: E731
        x[:, :, None], torch.stack([grid[..., 0], torch.zeros_like(grid[..., 0])], -1)[:, None], align_corners=False
    )[:, :, 0]
    x, grid = draw(8, 2, 3, 6), draw(9, 2, 5, 1, low=-0.9, high=0.9)
    yield Case("GridSample", (x, grid), {"mode": "bilinear"}, line, label="line")
    x, grid = draw(8, 2, 3, 5, 6), draw(9, 2, 4, 4, 2, low=-1.2, high=1.2)
    peer = lambda x, grid: F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)  # noqa: E731
    unknown = {5: "H", 6: "W", 4: "P"}
    yield Case("GridSample", (x, grid), {"padding_mode": "reflection"}, peer, symbolic=unknown, label="unknown sizes")
    for size, corners in product(((5, 1, 3, 4), (5, 1, 2, 3, 4), (5, 1, 1, 4)), (0, 1)):
        axes = len(size) - 2
        peer = lambda theta, _, size=size, corners=corners: peers.affine_grid(theta, size, corners)  # noqa: E731
        theta = draw(10, 5, axes, axes + 1)
        yield Case("AffineGrid", (theta, ints(*size)), {"align_corners": corners}, peer, label=f"{size}")


ROIS = np.array(
    [[0.3, 0.2, 5.1, 4.4], [1.2, 2.3, 3.4, 6.2], [-1.4, -2.0, 9.0, 8.5], [2.0, 1.0, 2.2, 1.3], [4.0, 3.0, 3.0, 2.0]]
)


def regions() -> Iterator[Case]:
    x = draw(11, 3, 2, 6, 7)
    images = ints(2, 0, 1, 1, 2)
    for mode, transformation, ratio in product(("avg", "max"), ("half_pixel", "output_half_pixel"), (0, 1, 2)):
        given = {
            "mode": mode, "coordinate_transformation_mode": transformation, "sampling_ratio": ratio,
            "output_height": 2, "output_width": 3, "spatial_scale": 0.8,
        }  # fmt: skip
        peer = lambda x, rois, images, given=given: peers.roi_align(x, rois, images, **given)  # noqa: E731
        yield Case("RoiAlign", (x, ROIS, images), given, peer, fixed=(1,))
        yield Case("RoiAlign", (x, ROIS, images), given, peer, fixed=(1,), symbolic={3: "B", 6: "H"}, label="symbolic")
    given = {"mode": "avg", "coordinate_transformation_mode": "output_half_pixel", "sampling_ratio": 1}
    given |= {"output_height": 2, "output_width": 3, "spatial_scale": 1.0}
    peer = lambda x, rois, images, given=given: peers.roi_align(x, rois, images, **given)  # noqa: E731
    yield Case("RoiAlign", (x, np.array([[4.2, 3.6, 8.9, 8.4], [-2.8, -3.4, 2.0, 1.2]]), ints(1, 2)), given, peer,
               fixed=(1,), label="beyond the ends")  # fmt: skip
    boxes = np.array([[0, 0, 0, 5, 4], [2, 1, 2, 3, 5], [1, -2, -2, 9, 9], [1, 4, 4, 4, 4], [0, 7, 7, 9, 9.0]])
    x = apart(12, 3, 2, 6, 7)
    for scale, shape in product((1.0, 0.6), ((2, 3), (1, 1))):
        given = {"pooled_shape": shape, "spatial_scale": scale}
        peer = lambda x, rois, given=given: peers.max_roi_pool(x, rois, **given)  # noqa: E731
        yield Case("MaxRoiPool", (x, boxes), given, peer, fixed=(1,), symbolic={3: "B"})
    aside = np.array([[0, 1, -9, 5, -7], [1, -9, 1, -8, 4], [2, 2, 8, 4, 9], [0, 8, 0, 11, 3], [1, -2, 4, 3, 8.0]])
    given = {"pooled_shape": (3, 2)}
    peer = lambda x, rois: peers.max_roi_pool(x, rois, pooled_shape=(3, 2), spatial_scale=1.0)  # noqa: E731
    yield Case("MaxRoiPool", (x, aside), given, peer, fixed=(1,), label="beside the image")


def unpooled() -> Iterator[Case]:
    planes = 6
    per_plane = np.random.default_rng(3).permuted(np.tile(np.arange(4 * 6), (planes, 1)), axis=1)[:, :6]
    x = draw(13, 2, 3, 2, 3)
    indices = (per_plane + np.arange(planes)[:, None] * 24).reshape(x.shape)
    given = {"kernel_shape": (2, 2), "strides": (2, 2)}
    peer = lambda x, *_: F.max_unpool2d(x, torch.tensor(per_plane.reshape(x.shape)), 2)  # noqa: E731
    yield Case("MaxUnpool", (x, indices), given, peer)
    wider = (per_plane + np.arange(planes)[:, None] * 35).reshape(x.shape)
    peer = lambda x, *_: F.max_unpool2d(x, torch.tensor(per_plane.reshape(x.shape)), 2, output_size=(5, 7))  # noqa: E731
    yield Case("MaxUnpool", (x, wider, ints(2, 3, 5, 7)), given, peer, label="to a shape")
    x, kernel = draw(14, 1, 2, 4), {"kernel_shape": (3,), "strides": (2,), "pads": (1, 1)}
    places = np.array([[[0, 2, 4, 6], [8, 9, 12, 13]]])
    peer = lambda x, *_: F.max_unpool1d(x, torch.tensor(places - np.array([[[0], [7]]])), 3, 2, 1)  # noqa: E731
    yield Case("MaxUnpool", (x, places), kernel, peer, label="line")
    settings: list[tuple[dict[str, Any], dict[str, Any], tuple[int, int]]] = [
        ({}, {}, (5, 6)),
        ({"strides": (2, 1), "pads": (1, 0, 1, 0)}, {"stride": (2, 1), "padding": (1, 0)}, (5, 6)),
        ({"dilations": (2, 1)}, {"dilation": (2, 1)}, (6, 5)),
    ]
    for given, options, image in settings:
        peer = lambda x, *_, options=options, image=image: F.fold(x, image, (2, 3), **options)  # noqa: E731
        blocks = peers.blocks(image, (2, 3), given)
        x = draw(15, 7, 4 * 6, blocks)
        yield Case("Col2Im", (x, ints(*image), ints(2, 3)), given, peer, symbolic={7: "B"}, label=f"{given}")
    x = draw(16, 2, 3 * 2, 4)
    yield Case("Col2Im", (x, ints(5), ints(2)), {}, lambda x, *_: F.fold(x, (1, 5), (1, 2))[:, :, 0], label="line")
    yield Case("Col2Im", (draw(17, 2, 8, 8), ints(3, 3, 3), ints(2, 2, 2)), {}, label="volume")


def deformed() -> Iterator[Case]:
    shapes: list[tuple[dict[str, Any], int, int]] = [
        ({}, 1, 1), ({"pads": (1, 0, 1, 1), "strides": (2, 1)}, 1, 1), ({"dilations": (1, 2)}, 1, 2),
        ({"group": 2, "offset_group": 2}, 2, 2),
    ]  # fmt: skip
    for i, (given, groups, parts) in enumerate(shapes):
        given = {**given, "offset_group": parts} if parts > 1 else given
        height, width = peers.counts((4, 5), (2, 2), given)
        x, w = draw(18, 7, 4, 4, 5), draw(19, 6, 4 // groups, 2, 2)
        offset = draw(20, 7, parts * 8, height, width, low=-1.4, high=1.4, away=(-1.0, 0.0, 1.0))
        b, mask = draw(21, 6), draw(22, 7, parts * 4, height, width)
        peer = lambda *xs, given=given: peers.deform_conv(*xs, **given)  # noqa: E731
        yield Case("DeformConv", (x, w, offset), given, peer, label=f"plain{i}")
        yield Case("DeformConv", (x, w, offset, b, mask), given, peer, symbolic={7: "B"}, label=f"mask{i}")
    x, w = draw(23, 2, 2, 5), draw(24, 3, 2, 2)
    yield Case("DeformConv", (x, w, draw(25, 2, 2, 4, low=0.1, high=0.8)), {}, label="line")


def complex_of(x: Any) -> Any:
    return torch.view_as_complex(x.contiguous()) if x.shape[-1] == 2 else x[..., 0]


def real_of(x: Any) -> Any:
    return torch.view_as_real(x.resolve_conj())


def transforms() -> Iterator[Case]:
    for parts, axis, length in product((1, 2), (-2, 1, 0), (None, 3, 9)):
        x = draw(26, 4, 6, 5, parts)
        given = (x, None if length is None else number(length), number(axis))
        along = axis if axis >= 0 else axis + 1
        label = f"{parts} parts, axis {axis}, {length}"
        for inverse in (0, 1):
            function = lambda x, *_, inverse=inverse, length=length, along=along: real_of(  # noqa: E731
                (torch.fft.ifft if inverse else torch.fft.fft)(complex_of(x), n=length, dim=along)
            )
            yield Case("DFT", given, {"inverse": inverse}, function, label=label)
        if parts == 1:
            peer = lambda x, *_, length=length, along=along: real_of(torch.fft.rfft(x[..., 0], length, along))  # noqa: E731
            yield Case("DFT", given, {"onesided": 1}, peer, label=label)
        else:
            peer = lambda x, *_, length=length, along=along: torch.fft.irfft(complex_of(x), length, along)[..., None]  # noqa: E731
            yield Case("DFT", given, {"inverse": 1, "onesided": 1}, peer, label=label)
    x = draw(27, 3, 5, 1)
    peer = lambda x: real_of(torch.fft.fft(x[..., 0]))  # noqa: E731
    yield Case("DFT", (x,), {}, peer, symbolic={5: "L", 3: "B"}, label="unknown length")
    peer = lambda x: real_of(torch.fft.rfft(x[..., 0]))  # noqa: E731
    yield Case("DFT", (x,), {"onesided": 1}, peer, symbolic={5: "L", 3: "B"}, label="unknown length")
    for parts, onesided in ((1, 1), (1, 0), (2, 0)):
        x, window = draw(28, 2, 11, parts), draw(29, 4)
        peer = lambda x, step, window=None, length=None, one=onesided: peers.stft(x, 3, window, 4, one)  # noqa: E731
        label, given = f"{parts} parts", {"onesided": onesided}
        yield Case("STFT", (x, number(3), window), given, peer, label=label)
        yield Case("STFT", (x, number(3), None, number(4)), given, peer, label=f"{label}, no window")
        yield Case("STFT", (x, number(3), window, number(4)), given, peer, symbolic={11: "L"}, label=f"{label}, L")


def pools() -> Iterator[Case]:
    for shape, p in product(((2, 3, 5), (2, 3, 4, 5), (1, 2, 2, 3, 2)), (1, 2, 3)):
        peer = lambda x, p=p: x.abs().pow(p).sum(tuple(range(2, x.ndim)), keepdim=True).pow(1 / p)  # noqa: E731
        yield Case("GlobalLpPool", (draw(30, *shape, away=(0.0,)),), {"p": p}, peer)


def regrouped() -> Iterator[Case]:
    """Channels that become pixels and back, and pools by a norm."""
    x = draw(40, 2, 8, 2, 3)
    crd = {"blocksize": 2, "mode": "CRD"}
    yield Case("DepthToSpace", (x,), crd, lambda x: F.pixel_shuffle(x, 2), label="crd")
    pixels = lambda x: x.reshape(2, 2, 2, 2, 2, 3).permute(0, 3, 4, 1, 5, 2).reshape(2, 2, 4, 6)  # noqa: E731
    yield Case("DepthToSpace", (x,), {"blocksize": 2}, pixels, label="dcr")
    yield Case("DepthToSpace", (x,), {"blocksize": 2}, symbolic={2: "B"}, label="symbolic")
    depth = lambda x: x.reshape(2, 2, 1, 2, 3, 2).permute(0, 3, 5, 1, 2, 4).reshape(2, 8, 1, 3)  # noqa: E731
    yield Case("SpaceToDepth", (draw(41, 2, 2, 2, 6),), {"blocksize": 2}, depth)
    x = draw(42, 2, 3, 6, 7, away=(0.0,))
    for p in (1, 2, 3):
        attributes = {"kernel_shape": (2, 3), "strides": (2, 2), "p": p}

        def peer(x: Any, p: int = p) -> Any:
            windows = F.unfold(x.abs() ** p, (2, 3), stride=2).reshape(2, 3, 6, -1)
            return (windows.sum(2) ** (1 / p)).reshape(2, 3, 3, 3)

        yield Case("LpPool", (x,), attributes, peer, label=f"p{p}")
    yield Case("LpPool", (x,), {"kernel_shape": (3, 3), "pads": (1, 1, 1, 1)}, label="padded")
