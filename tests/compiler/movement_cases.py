"""Cases of operators that shift, crop, pad, split, repeat and convert, and of those that make sequences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from oracles import Array, Case, apart, draw

try:
    import torch
    import torch.nn.functional as F
except ImportError:
    torch = F = None  # type: ignore[assignment]

i64 = np.int64


def ints(*values: int) -> Array:
    return np.array(values, i64)


def cases() -> Iterator[Case]:
    yield from running()
    yield from centred()
    yield from padded()
    yield from moved()
    yield from sorted_and_hot()
    yield from sequences()
    yield from converted()


def running() -> Iterator[Case]:
    t: Any = torch
    x = draw(1, 3, 5, 2)
    zeros = np.array([[2.0, 0.0, 3.0, -1.5, 0.5], [0.0, 1.5, 0.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0, 0.0]])

    def peer(x: Any, axis: int, exclusive: int, reverse: int, product: bool = True) -> Any:
        x = x.flip(axis) if reverse else x
        if exclusive:
            first = x.narrow(axis, 0, 1)
            x = t.cat([t.ones_like(first) if product else t.zeros_like(first),
                       x.narrow(axis, 0, x.shape[axis] - 1)], axis)  # fmt: skip
        y = x.cumprod(axis) if product else x.cumsum(axis)
        return y.flip(axis) if reverse else y

    for exclusive in (0, 1):
        for reverse in (0, 1):
            flags = {"exclusive": exclusive, "reverse": reverse}
            for axis in (1, -3):
                yield Case("CumProd", (x, np.array(axis)), flags,
                           lambda x, a, e=exclusive, r=reverse: peer(x, int(a), e, r),
                           label=f"axis{axis}{exclusive}{reverse}")  # fmt: skip
            yield Case("CumProd", (zeros, np.array(1)), flags,
                       lambda x, a, e=exclusive, r=reverse: peer(x, 1, e, r),
                       label=f"zeros{exclusive}{reverse}")  # fmt: skip
            for axis, size in enumerate(x.shape):
                yield Case("CumProd", (x, ints(axis)), flags,
                           lambda x, a, e=exclusive, r=reverse: peer(x, int(a[0]), e, r), symbolic={size: "T"},
                           label=f"symbolic{axis}{exclusive}{reverse}")  # fmt: skip
            yield Case("CumSum", (x, np.array(-2, np.int32)), flags,
                       lambda x, a, e=exclusive, r=reverse: peer(x, 1, e, r, False),
                       label=f"negative{exclusive}{reverse}")  # fmt: skip
    for shape in ((1,), (0, 3), (3, 0)):
        yield Case("CumProd", (draw(2, *shape), np.array(0)), {"exclusive": 1}, label="x".join(map(str, shape)))


def centred() -> Iterator[Case]:
    x = draw(3, 4, 5, 3)
    sizes = [(2, 7, 3), (7, 2, 6), (1, 8, 2), (4, 5, 3), (0, 6, 3), (5, 6, 2), (6, 7, 5)]
    for size in sizes:
        pads = [part for have, want in zip(x.shape[::-1], size[::-1], strict=True) for part in half(have, want)]
        yield Case("CenterCropPad", (x, ints(*size)), {}, lambda x, s, p=pads: F.pad(x, p),
                   label="x".join(map(str, size)))  # fmt: skip
    yield Case("CenterCropPad", (x, ints(6, 2)), {"axes": (-1, 0)},
               lambda x, s: F.pad(x, (1, 2, 0, 0, -1, -1)), label="axes")  # fmt: skip
    yield Case("CenterCropPad", (x, ints(2)), {"axes": (1,)}, symbolic={4: "B"}, label="symbolic")


def half(have: int, want: int) -> tuple[int, int]:
    before = (want - have) // 2 if want >= have else -((have - want) // 2)
    return before, want - have - before


def padded() -> Iterator[Case]:
    x = draw(4, 3, 4, 5)
    value = np.array(0.7)
    for given, label in ((value, "scalar"), (np.array([0.7]), "vector")):
        yield Case("Pad", (x, ints(0, 1, 2, 1, 0, 1), given), {"mode": "constant"},
                   lambda x, p, v: with_value(x, (0, 1, 2), (1, 0, 1), v), label=label)  # fmt: skip
    yield Case("Pad", (x, ints(-1, 2, 1, -2), value, ints(-1, 0)),
               torch=lambda x, p, v, a: with_value(x[:1, :, 1:], (2, 0, 0), (0, 0, 1), v),
               label="axes-cut")  # fmt: skip
    yield Case("Pad", (x, ints(1, 2), value, ints(1)), symbolic={3: "B", 4: "T"},
               label="value-symbolic")  # fmt: skip
    for mode, peer in {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}.items():
        yield Case("Pad", (x, ints(2, 1, 1, 2), None, ints(2, -2)), {"mode": mode},
                   lambda x, p, _, a, m=peer: F.pad(x[None], (2, 1, 1, 2), m)[0], label=f"{mode}axes")  # fmt: skip
        yield Case("Pad", (x, ints(0, -1, 2, 0, 2, -1)), {"mode": mode},
                   lambda x, p, m=peer: F.pad(x[None, :, 1:, :-1], (2, 0, 0, 2), m)[0], label=f"{mode}cut")  # fmt: skip
        yield Case("Pad", (x, ints(1, 0, 0, 2, 0, 0)), {"mode": mode}, symbolic={3: "B"}, label=f"{mode}symbolic")


def with_value(x: Any, before: tuple[int, ...], after: tuple[int, ...], value: Any) -> Any:
    for axis, (left, right) in enumerate(zip(before, after, strict=True)):
        sizes = [[n if i == axis else dim for i, dim in enumerate(x.shape)] for n in (left, right)]
        x = torch.cat([value.expand(sizes[0]), x, value.expand(sizes[1])], axis)
    return x


def moved() -> Iterator[Case]:
    x = draw(5, 2, 7, 3)
    yield Case("Split", (x, ints(3, 0, 4)), {"axis": -2}, lambda x, s: x.split([3, 0, 4], 1), outputs=3, label="zero")
    yield Case("Split", (x,), {"axis": 1, "num_outputs": 3}, lambda x: x.split([3, 3, 1], 1), outputs=3, label="num")
    yield Case("Split", (x,), {"axis": -1, "num_outputs": 3}, symbolic={2: "B"}, outputs=3, label="even")
    yield Case("Tile", (x, ints(1, 0, 2)), label="zero")
    yield Case("Tile", (draw(6, 3), ints(3)), torch=lambda x, r: x.tile(3), label="one")
    yield Case("Expand", (draw(6, 3, 1), ints(1)), torch=lambda x, s: x, label="smaller")
    yield Case("Expand", (draw(6, 1), ints(2, 0, 3)), label="zero")
    for upper in (0, 1):
        for k in (-2, 0, 3):
            yield Case("Trilu", (x, np.array(k)), {"upper": upper},
                       lambda x, k, u=upper: x.triu(int(k)) if u else x.tril(int(k)),
                       label=f"{upper}by{k}")  # fmt: skip
    yield Case("Concat", (x, draw(7, 2, 7, 0), x), {"axis": -1}, lambda *xs: torch.cat(xs, -1), label="empty")
    condition = np.array([[True], [False], [True]])
    yield Case("Where", (condition, draw(8, 4), draw(9, 3, 1)), torch=lambda c, a, b: torch.where(
        torch.from_numpy(c), a, b), label="broadcast")  # fmt: skip


def sorted_and_hot() -> Iterator[Case]:
    t: Any = torch
    x = apart(10, 3, 4, 5)
    for axis, largest, ordered in ((-2, 0, 1), (1, 1, 1), (-1, 0, 0)):
        yield Case("TopK", (x, ints(3)), {"axis": axis, "largest": largest, "sorted": ordered},
                   lambda x, k, a=axis, m=largest: t.topk(x, 3, a, bool(m))[0], outputs=2,
                   label=f"{axis}{largest}{ordered}")  # fmt: skip
    yield Case("TopK", (x, ints(0)), {"axis": 1}, outputs=2, label="none")
    places = np.array([[0, 3, -4], [7, -1, -5]])
    for axis in (0, 1, -1, -2):
        yield Case("OneHot", (places, np.array(4), draw(11, 2)), {"axis": axis}, lambda i, d, v, a=axis: hot(i, v, a),
                   label=f"axis{axis}")  # fmt: skip


def hot(places: Array, values: Any, axis: int) -> Any:
    """Outside of [-4, 3] nothing is hot."""
    on = np.stack([(places == n) | (places == n - 4) for n in range(4)], axis)
    return torch.where(torch.from_numpy(on), values[1], values[0])


def sequences() -> Iterator[Case]:
    q = np.random.default_rng(12).integers(-100, 100, (3, 4, 6))
    zero = np.array([3, -2, 0, 7], np.int8)
    yield Case("DequantizeLinear", (q.astype(np.int8), np.array(0.3), np.array(5, np.int8)),
               torch=lambda q, s, z: (torch.from_numpy(q.astype(float)) - 5.0) * s, label="tensor")  # fmt: skip
    yield Case("DequantizeLinear", (q.astype(np.int8), draw(13, 4, low=0.1), zero), {"axis": -2},
               lambda q, s, z: torch.from_numpy(q - z[:, None].astype(float)) * s[:, None], label="axis")  # fmt: skip
    yield Case("DequantizeLinear", (q.astype(np.int16), draw(13, 4, low=0.1)), {},
               lambda q, s: torch.from_numpy(q.astype(float)) * s[:, None], label="default-axis")  # fmt: skip
    yield Case("DequantizeLinear", (q.astype(np.int32), draw(14, 3, 4, 2, low=0.1)), {"axis": 2, "block_size": 4},
               lambda q, s: torch.from_numpy(q.astype(float)) * s.repeat_interleave(4, 2)[..., :6],
               label="blocks")  # fmt: skip
    yield Case("DequantizeLinear", (np.array(7, np.int8), draw(13, 1, low=0.1)), torch=lambda q, s: 7.0 * s[0],
               label="scalar")  # fmt: skip
    yield Case("DynamicQuantizeLinear", (apart(15, 4, 5),), {}, lambda x: [(x.max() - x.min()) / 255],
               outputs=3, label="range")  # fmt: skip
    yield Case("DynamicQuantizeLinear", (draw(15, 4, low=0.2),), {}, outputs=3, label="positive")


def converted() -> Iterator[Case]:
    x = draw(16, 3, 4)
    yield Case("CastLike", (x, np.zeros(2)), fixed=(1,), torch=lambda x, y: x)
    yield Case("Cast", (x,), {"to": "f64", "saturate": 0}, lambda x: x, label="saturate")
