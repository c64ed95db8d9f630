"""The first weights of a net that sees pictures, as pictures: filters of a convolution, or units of a dense layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from dlc.runtime.checkpoint import Array
from dlc.runtime.report.pictures import tiles

MOST = 64
LARGE = 56  # pixels of a side of a unit's picture; of a larger one every second, third, ... is shown


def filters(weights: Mapping[str, Array], order: Sequence[str], pictures: Sequence[tuple[int, ...]]) -> str:
    """The first weight, by address, that sees one of these pictures, as HTML; empty if none does.

    `order` is that of the weights in the net, `pictures` the shapes of the net's inputs that are some.
    """
    for address in order:
        images, total, what = _seen(weights[address], pictures)
        if not total:
            continue
        uri, width, height = tiles(images.astype(np.float64))
        scale = max(1, min(640 // width, 12 if images.shape[-1] < 8 else 4))
        count = f"{total}" if total == len(images) else f"the first {len(images)} of {total}"
        colours = "white is 0, red positive, blue negative" if images.shape[1] == 1 else "grey is 0"
        return (
            f"<p><code>{escape(address)}</code>: {count} {what}, each scaled by its largest value; {colours}.</p>"
            f'<img class="tiles" src="{uri}" width="{width * scale}" height="{height * scale}" alt="{what}">'
        )
    return ""


def _seen(weight: Array, pictures: Sequence[tuple[int, ...]]) -> tuple[Array, int, str]:
    """Some of the pictures [n, channels, height, width] that a weight is made of, how many it has, and what they are;
    0 if it is none."""
    if weight.ndim == 4 and weight.shape[1] in {shape[0] for shape in pictures} and min(weight.shape[2:]) >= 2:
        return weight[:MOST], len(weight), f"filters of {weight.shape[2]} by {weight.shape[3]}"
    for shape in pictures:
        if weight.ndim == 2 and weight.shape[0] == math.prod(shape):
            stride = max(1, math.ceil(max(shape[1:]) / LARGE))
            images = weight.T[:MOST].reshape(-1, *shape)[:, :, ::stride, ::stride]
            return images, weight.shape[1], "units, the weight of each pixel"
    return weight, 0, ""


__all__ = ["filters"]
