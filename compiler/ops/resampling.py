"""Operators that trade space for channels."""

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
    order = np.arange(places * channels).reshape(places, channels).T.ravel()
    return op.Gather(deep, order, axis=1)
