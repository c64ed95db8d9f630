"""Operators that trade space for channels or repeat pixels."""

from __future__ import annotations

import numpy as np

from dlc.compiler.build import op
from dlc.compiler.graph import Value
from dlc.compiler.registry import Call, IllTyped, define, gradient
from dlc.compiler.types import Dim, Type, quotient


def _divided(call: Call, dim: Dim, by: int) -> Dim:
    part = quotient(dim, by)
    if by < 1 or part * by != dim:
        raise IllTyped(f"{call.op} of {call.type(0)}: {dim} does not divide by {by}")
    return part


def _image(call: Call) -> Type:
    x = call.type(0)
    if x.rank != 4:
        raise IllTyped(f"{call.op} of {x}: [N, C, H, W] is expected")
    return x


def _space_to_depth(call: Call) -> list[Type]:
    x, block = _image(call), call.attributes["blocksize"]
    n, c, h, w = x.shape
    return [x.with_shape((n, c * block * block, _divided(call, h, block), _divided(call, w, block)))]


def _depth_to_space(call: Call) -> list[Type]:
    x, block = _image(call), call.attributes["blocksize"]
    if call.get("mode", "DCR") not in ("DCR", "CRD"):
        raise IllTyped(f"DepthToSpace: mode = {call.get('mode')}: DCR or CRD is expected")
    n, c, h, w = x.shape
    return [x.with_shape((n, _divided(call, c, block * block), h * block, w * block))]


define("SpaceToDepth", _space_to_depth)
define("DepthToSpace", _depth_to_space)


@gradient("SpaceToDepth")
def _(g: Value, *, blocksize: int) -> Value:
    return op.DepthToSpace(g, blocksize=blocksize)


@gradient("DepthToSpace")
def _(g: Value, x: Value, *, blocksize: int, mode: str = "DCR") -> Value:
    deep: Value = op.SpaceToDepth(g, blocksize=blocksize)
    if mode == "DCR":
        return deep
    # CRD has the channel before the place in the block, SpaceToDepth after it.
    places, channels = blocksize * blocksize, g.shape[1]
    if not isinstance(channels, int):
        raise IllTyped(f"DepthToSpace of {x.type}: the gradient in mode CRD needs a known number of channels")
    order = np.arange(places * channels).reshape(places, channels).T.reshape(-1)
    return op.Gather(deep, order, axis=1)


def _resize(call: Call) -> list[Type]:
    """Only repetition of pixels: mode nearest with whole scales."""
    x, scales = call.type(0), call.constant(2)
    wanted = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    differs = [name for name, value in wanted.items() if call.get(name) != value]
    if differs or scales is None or len(scales) != x.rank or any(s < 1 or s != int(s) for s in scales.tolist()):
        raise IllTyped(f"Resize of {x}: only whole constant scales with {wanted} are known")
    return [x.with_shape([dim * int(s) for dim, s in zip(x.shape, scales.tolist(), strict=True)])]


define("Resize", _resize)


@gradient("Resize")
def _(g: Value, x: Value, roi: Value | None, scales: Value) -> tuple[Value, None, None]:
    """What was repeated is added up: an average over each block times the number of its elements."""
    assert scales.constant is not None, "the type rule asked for a constant"
    whole = tuple(int(s) for s in scales.constant.tolist())
    if whole[:2] != (1, 1):
        raise IllTyped(f"Resize of {x.type} by {list(whole)}: the gradient needs the scale 1 along the first two axes")
    mean: Value = op.AveragePool(g, kernel_shape=whole[2:], strides=whole[2:])
    return mean * float(np.prod(whole)), None, None
