"""Cases of operators that read, write, select and reorder at computed places, and of Einsum and Det."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from oracles import Array, Case, apart, draw

try:
    import torch
except ImportError:
    torch = None  # type: ignore[assignment]

i64 = np.int64


def ints(*values: int) -> Array:
    return np.array(values, i64)


def cases() -> Iterator[Case]:
    yield from scattered()
    yield from scattered_tuples()
    yield from cached()
    yield from gathered()
    yield from selected()
    yield from by_data()
    yield from einsums()
    yield from determinants()


NAMES = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def scattered() -> Iterator[Case]:
    t: Any = torch
    x, updates = apart(1, 3, 4, 5), apart(2, 3, 6, 5) + 0.03
    along = np.random.default_rng(3).integers(-4, 4, (3, 6, 5))
    for reduction, name in NAMES.items():
        for axis in (1, -2):
            yield Case("ScatterElements", (x, along, updates), {"axis": axis, "reduction": reduction},
                       lambda x, i, u, n=name: x.scatter_reduce(1, t.from_numpy(i % 4), u, n),
                       label=f"{reduction}{axis}")  # fmt: skip
        yield Case("ScatterElements", (x, along[:2, :3, :4], updates[:2, :3, :4]), {"axis": 1, "reduction": reduction},
                   lambda x, i, u, n=name: x.scatter_reduce(1, t.from_numpy(i % 4), u, n), label=f"{reduction}less")
        yield Case("ScatterElements", (x, along[:0], updates[:0]), {"axis": 1, "reduction": reduction},
                   label=f"{reduction}none")  # fmt: skip
    for reduction in ("max", "mul"):
        yield Case("ScatterElements", (x, along, updates), {"axis": 1, "reduction": reduction}, symbolic={4: "T"},
                   label=f"{reduction}symbolic")  # fmt: skip
    data, zeros = np.array([2.0, 0.0, 3.0, 0.0]), np.array([0.0, 1.5, 0.0, -2.0, 4.0])
    yield Case("ScatterElements", (data, ints(0, 1, 2, 2, 3), zeros), {"reduction": "mul"},
               lambda x, i, u: x.scatter_reduce(0, t.from_numpy(i), u, "prod"), label="zero")  # fmt: skip
    once = np.argsort(draw(14, 3, 4, 5), 1)[:, :2].astype(i64)
    yield Case("Scatter", (x, once, draw(15, 3, 2, 5)), {"axis": 1}, lambda x, i, u: x.scatter(1, t.from_numpy(i), u))


def scattered_tuples() -> Iterator[Case]:
    t: Any = torch
    x = apart(4, 3, 4, 5)
    twice = np.array([[[0, 1], [2, -1]], [[0, 1], [-3, 1]]], i64)

    def peer(x: Any, i: Array, u: Any, name: str) -> Any:
        shape = x.shape[: i.shape[-1]]
        place = np.ravel_multi_index(tuple(np.moveaxis(i % shape, -1, 0)), shape).reshape(-1)
        rows = t.from_numpy(place)[:, None].expand(-1, x[(0,) * len(shape)].numel())
        flat = x.reshape(-1, rows.shape[1])
        written = u.reshape(rows.shape)
        taken = flat.scatter(0, rows, written) if name == "none" else flat.scatter_reduce(0, rows, written, name)
        return taken.reshape(x.shape)

    for reduction, name in NAMES.items():
        for label, indices, rest in (("rows", twice[..., :1], (4, 5)), ("pairs", twice, (5,)),
                                     ("elements", np.concatenate([twice, twice[..., 1:]], -1), ())):  # fmt: skip
            updates = apart(5, *indices.shape[:-1], *rest) + 0.03
            yield Case("ScatterND", (x, indices, updates), {"reduction": reduction},
                       lambda x, i, u, n=name: peer(x, i, u, n), label=f"{reduction}{label}")  # fmt: skip
    once = np.array([[0, 1], [2, -1], [1, 1]], i64)
    yield Case("ScatterND", (x, once, draw(6, 3, 5)), {}, lambda x, i, u: peer(x, i, u, "none"), label="replace")
    yield Case("ScatterND", (x, once[:0], draw(6, 0, 5)), label="none")
    yield Case("ScatterND", (x, np.array([1, 2]), draw(6, 5)), {"reduction": "add"}, label="one")
    for reduction in ("none", "max"):
        yield Case("ScatterND", (x, once, draw(6, 3, 5)), {"reduction": reduction}, symbolic={5: "T"},
                   label=f"symbolic{reduction}")  # fmt: skip
    zeros = np.array([0.0, 1.5, 0.0, -2.0])
    yield Case("ScatterND", (np.array([2.0, 0.0, 3.0]), np.array([[0], [1], [2], [2]]), zeros), {"reduction": "mul"},
               lambda x, i, u: peer(x, i, u, "prod"), label="zero")  # fmt: skip


def cached() -> Iterator[Case]:
    t: Any = torch
    past, update = draw(7, 2, 3, 6, 4), draw(8, 2, 3, 2, 4)

    def peer(past: Any, update: Any, start: Array, axis: int) -> Any:
        rows = []
        for row, new, first in zip(past, update, start, strict=True):
            places = t.arange(new.shape[axis - 1]) + int(first)
            rows.append(row.index_copy(axis - 1, places % row.shape[axis - 1], new))
        return t.stack(rows)

    yield Case("TensorScatter", (past, update, ints(1, 4)), {}, lambda p, u, s: peer(p, u, s, 2))
    yield Case("TensorScatter", (past, update, ints(5, 2)), {"mode": "circular"}, lambda p, u, s: peer(p, u, s, 2),
               label="circular")  # fmt: skip
    yield Case("TensorScatter", (past, update), {"axis": 2}, lambda p, u: peer(p, u, ints(0, 0), 2), label="start")
    yield Case("TensorScatter", (past, draw(8, 2, 2, 6, 4), ints(1, 0)), {"axis": -3},
               lambda p, u, s: peer(p, u, s, 1), label="axis1")  # fmt: skip
    yield Case("TensorScatter", (past, update, ints(5, 2)), {"mode": "circular"}, symbolic={6: "T", 3: "H"},
               label="symbolic")  # fmt: skip


def gathered() -> Iterator[Case]:
    t: Any = torch
    x = draw(9, 2, 3, 4, 5)
    places = np.array([[[1, 0], [-1, 3], [1, 0]], [[0, -4], [2, 2], [2, 2]]], i64)
    yield Case("GatherND", (x, places), {"batch_dims": 1},
               lambda x, i: t.stack([row[i[n, :, 0], i[n, :, 1]] for n, row in enumerate(x)]))  # fmt: skip
    deep = np.random.default_rng(4).integers(-4, 4, (2, 3, 6, 1))
    yield Case("GatherND", (x, deep), {"batch_dims": 2},
               lambda x, i: t.stack([t.stack([x[a, b][i[a, b, :, 0]] for b in range(3)]) for a in range(2)]),
               label="batch2")  # fmt: skip
    yield Case("GatherND", (x, deep[:, :, 0]), {"batch_dims": 2},
               lambda x, i: t.stack([t.stack([x[a, b, i[a, b, 0]] for b in range(3)]) for a in range(2)]),
               label="batch2one")  # fmt: skip
    yield Case("GatherND", (x, places), {"batch_dims": 1}, symbolic={4: "T", 5: "C"}, label="batch-symbolic")
    along = np.random.default_rng(5).integers(-5, 5, (2, 3, 4, 7))
    yield Case("GatherElements", (x, along), {"axis": -1}, lambda x, i: x.gather(3, t.from_numpy(i % 5)), label="last")
    yield Case("Gather", (x, np.array([[-1], [1]], np.int32)), {"axis": -2}, lambda x, i: x[:, :, i.tolist()],
               label="i32")  # fmt: skip


def selected() -> Iterator[Case]:
    t: Any = torch
    x = apart(10, 3, 4, 5)
    keep = np.array([True, False, True, True])
    for axis in (1, -2):
        yield Case("Compress", (x, keep), {"axis": axis}, lambda x, c: x[:, c], label=f"axis{axis}")
    yield Case("Compress", (x, keep[:3]), {"axis": -1}, lambda x, c: x[..., [0, 2]], label="shorter")
    yield Case("Compress", (x, np.arange(60) % 7 < 3), {}, lambda x, c: x.reshape(-1)[c], label="flat")
    yield Case("Compress", (x, np.zeros(4, bool)), {"axis": 1}, label="nothing")
    yield Case("Compress", (x, keep), {"axis": 1}, symbolic={3: "B"}, label="symbolic")
    yield Case("ReverseSequence", (x, ints(1, 3, 0, 2)), {"time_axis": 0, "batch_axis": 1},
               lambda x, n: t.stack([t.cat([x[: n[b], b].flip(0), x[n[b] :, b]]) for b in range(4)], 1))  # fmt: skip
    yield Case("ReverseSequence", (x, ints(4, 1, 2)), {"time_axis": 1, "batch_axis": 0},
               lambda x, n: t.stack([t.cat([x[b, : n[b]].flip(0), x[b, n[b] :]]) for b in range(3)]),
               label="batch-first")  # fmt: skip
    yield Case("ReverseSequence", (x, ints(4, 1, 2)), {"time_axis": 1, "batch_axis": 0}, symbolic={4: "T"},
               label="symbolic")  # fmt: skip


def by_data() -> Iterator[Case]:
    """Their length depends on data."""
    t: Any = torch
    x = apart(16, 3, 4)
    yield Case("Unique", (x,), torch=lambda x: x.reshape(-1).sort()[0])
    yield Case("Unique", (x,), {"sorted": 0}, lambda x: x.reshape(-1), outputs=4, label="unsorted")
    yield Case("Unique", (x[0],), {"axis": 0}, lambda x: x.sort()[0], outputs=2, label="axis")
    yield Case("Unique", (x,), {"axis": 0}, label="rows")
    yield Case("Unique", (x,), {"axis": 1}, label="columns")
    start, limit, delta = np.array(0.5), np.array(3.2), np.array(0.4)
    yield Case("Range", (start, limit, delta), {}, lambda a, b, d: a + d * t.arange(7), fixed=(1,))
    down = (limit, start, np.array(-0.4))
    yield Case("Range", down, {}, lambda a, b, d: a + d * t.arange(7), fixed=(1,), label="down")
    yield Case("Range", (start, limit, delta), fixed=(1, 2), label="start")
    yield Case("Range", (limit, start, delta), fixed=(1,), label="empty")


EQUATIONS: list[tuple[str, tuple[tuple[int, ...], ...]]] = [
    ("ii->i", ((4, 4),)), ("ii", ((4, 4),)), ("ii->", ((4, 4),)), ("iij->ij", ((3, 3, 4),)), ("iii->i", ((3, 3, 3),)),
    ("iji->j", ((3, 4, 3),)), ("iijj->ij", ((2, 2, 3, 3),)), ("ii,ij->j", ((3, 3), (3, 4))),
    ("ij,jj->i", ((3, 4), (4, 4))), ("...ii->...i", ((2, 3, 4, 4),)), ("...ij->...ji", ((2, 3, 4),)),
    ("...->...", ((2, 3),)), ("i...->...", ((3, 2, 4),)), ("...", ((2, 3),)),
    ("...ij,...jk->...ik", ((2, 3, 4), (2, 4, 5))), ("...ij,jk->...ik", ((2, 6, 3, 4), (4, 5))),
    ("...ij,...jk->...ik", ((2, 1, 3, 4), (6, 4, 5))), ("...ij,...jk", ((1, 3, 4), (2, 4, 5))),
    ("b...d,d->b...", ((2, 3, 5, 4), (4,))), ("ij,jk,kl->il", ((2, 3), (3, 4), (4, 5))),
    ("bi,bj,bk->bijk", ((2, 3), (2, 4), (2, 5))), ("ij,ij,ij->", ((3, 4), (3, 4), (3, 4))),
    ("i,ij,j->", ((3,), (3, 4), (4,))), ("a,b,c,d->abcd", ((2,), (3,), (2,), (2,))), ("ij,k->i", ((3, 4), (5,))),
    (",ij->ij", ((), (3, 4))), ("->", ((),)), ("iI,Ij->ij", ((3, 4), (4, 2))), ("ba", ((2, 3),)),
    (" i j , j k -> i k ", ((3, 4), (4, 5))), ("...i,...i", ((2, 3, 4), (4,))), ("ij,jk->ik", ((0, 4), (4, 5))),
    ("ij,jk->ik", ((3, 0), (0, 5))), ("ijk->", ((2, 3, 4),)),
]  # fmt: skip


def einsums() -> Iterator[Case]:
    t: Any = torch
    for number, (equation, shapes) in enumerate(EQUATIONS):
        xs = tuple(draw(30 + i, *shape) for i, shape in enumerate(shapes))
        peer = (lambda *xs, e=equation: t.einsum(e, *xs)) if 0 not in shapes[0] else None
        yield Case("Einsum", xs, {"equation": equation}, peer, label=f"full{number}")
    yield Case("Einsum", (draw(1, 4, 4, 3),), {"equation": "iij->j"}, symbolic={4: "N"}, label="symbolic-diagonal")
    yield Case("Einsum", (draw(1, 2, 3, 4), draw(2, 4, 5)), {"equation": "...ij,jk->...k"}, symbolic={2: "B", 3: "T"},
               label="symbolic-ellipsis")  # fmt: skip


def determinants() -> Iterator[Case]:
    def peer(a: Any) -> Any:
        return torch.linalg.det(a)

    for shape in ((1, 1), (2, 2), (3, 3), (5, 5), (2, 3, 3), (2, 2, 1, 1), (3, 2, 2, 2), (0, 3, 3),
                  (2, 0, 0)):  # fmt: skip
        yield Case("Det", (draw(40, *shape),), torch=peer)
    yield Case("Det", (draw(40, 2, 3, 3),), symbolic={2: "B"}, label="symbolic")
    singular = draw(41, 3, 3)
    singular[2] = singular[0] + singular[1]
    yield Case("Det", (singular,), torch=peer, label="singular")
    yield Case("Det", (np.outer([1.0, 2.0, 3.0], [1.0, 0.5, 2.0]),), label="rank1")
    yield Case("Det", (np.zeros((3, 3)),), label="zeros")
    swapped = np.array([[0.0, 2.0, 1.0], [0.0, 0.0, 3.0], [1.5, 1.0, 0.0]])
    yield Case("Det", (swapped,), torch=peer, label="pivots")
