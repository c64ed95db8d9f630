"""One case or more for every operator that has a gradient, apart from convolutions and pools, which have a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from oracles import Array, Case, apart, draw

from dlc.compiler.types import symbol

try:
    import torch
    import torch.nn.functional as F
except ImportError:
    torch = F = None  # type: ignore[assignment]

i64 = np.int64
PAIRS = [
    ((5,), (5,)), ((), (3, 4)), ((3, 4), ()), ((5,), (4, 5)), ((4, 5), (5,)), ((1, 4, 5), (2, 3, 1, 1)),
    ((2, 1, 1, 5), (1, 3, 4, 1)), ((0, 3), (3,)), ((1,), (1,)), ((), ()), ((2, 1, 2, 1, 2), (1, 2, 2, 2, 1)),
]  # fmt: skip
SHAPES: list[tuple[int, ...]] = [(), (1,), (0, 3), (4, 5), (2, 1, 2, 1, 2)]


def ints(*values: int) -> Array:
    return np.array(values, i64)


def cases() -> Iterator[Case]:
    yield from elementwise()
    yield from unary()
    yield from reductions()
    yield from movements()
    yield from places()
    yield from products()
    yield from private()


def elementwise() -> Iterator[Case]:
    t: Any = torch
    binary: dict[str, tuple[Any, dict[str, Any]]] = {
        "Add": (lambda a, b: a + b, {}), "Sub": (lambda a, b: a - b, {}), "Mul": (lambda a, b: a * b, {}),
        "Div": (lambda a, b: a / b, {"low": 0.5}), "Pow": (lambda a, b: a**b, {"low": 0.5}),
        "Max": (lambda a, b: t.maximum(a, b), {}), "Min": (lambda a, b: t.minimum(a, b), {}),
        "Sum": (lambda a, b: a + b, {}), "Mean": (lambda a, b: (a + b) / 2, {}),
    }  # fmt: skip
    for name, (peer, domain) in binary.items():
        for left, right in PAIRS:
            a, b = draw(1, *left, **domain), draw(2, *right, **domain)
            if name in ("Max", "Min"):
                a, b = np.round(a, 1), np.round(b, 1) + 0.05
            yield Case(name, (a, b), torch=peer)
        a, b = draw(1, 3, 4, **domain), draw(2, 1, **domain)
        yield Case(name, (a, b), torch=peer, symbolic={3: "B"}, label="symbolic")
    x = draw(3, 3, 4, low=0.5)
    for exponent in (2.0, 3.0, 0.5, -1.0, 1.0, 0.0):
        yield Case("Pow", (x, np.array(exponent)), torch=lambda a, b: a**b, fixed=(1,), label=f"exponent{exponent}")
    yield Case("Pow", (draw(4, 3), ints(3)), torch=lambda a, b: a ** int(b[0]), label="integer")
    for name in ("Sum", "Mean", "Max", "Min"):
        yield Case(name, (apart(1, 3, 4), apart(2, 4) + 0.03, apart(3, 3, 1) + 0.07), label="three")
        yield Case(name, (apart(1, 3, 4),), label="one")
    yield Case("Mod", (draw(1, 4, 5, low=5.1, high=5.4), draw(2, 5, low=1.9, high=2.1)), {"fmod": 1},
               lambda a, b: t.fmod(a, b))  # fmt: skip
    yield Case("Mod", (-draw(1, 4, 5, low=5.1, high=5.4), draw(2, 5, low=1.9, high=2.1)), {"fmod": 1},
               lambda a, b: t.fmod(a, b), label="negative")  # fmt: skip
    condition = np.random.default_rng(1).random((4, 5)) < 0.5
    peer = lambda c, a, b: t.where(t.from_numpy(c), a, b)  # noqa: E731
    yield Case("Where", (condition, draw(1, 4, 5), draw(2, 5)), torch=peer)
    yield Case("Where", (condition[:1, :1], draw(1, 4, 1), draw(2)), torch=peer)
    x = draw(3, 2, 3, 4, away=(0.0, -1.0, 1.0))
    yield Case("PRelu", (x, draw(4, 3, 1)), torch=lambda a, s: t.where(a > 0, a, a * s))
    yield Case("PRelu", (x, draw(4, 1)), torch=lambda a, s: F.prelu(a, s))
    low, high = np.array(-1.0), np.array(1.0)
    yield Case("Clip", (x, low, high), torch=lambda a, lo, hi: t.clamp(a, lo, hi))
    yield Case("Clip", (x, None, high), torch=lambda a, lo, hi: t.clamp(a, None, hi), label="high")
    yield Case("Clip", (x, low), torch=lambda a, lo: t.clamp(a, lo), label="low")
    yield Case("Clip", (x, high, low), torch=lambda a, lo, hi: t.clamp(a, lo, hi), label="crossed")
    yield Case("Clip", (x,), torch=lambda a: a, label="free")


def unary() -> Iterator[Case]:
    t: Any = torch
    plain: dict[str, tuple[Any, dict[str, Any]]] = {
        "Neg": (lambda x: -x, {}), "Identity": (lambda x: x, {}), "Abs": (lambda x: t.abs(x), {"away": (0.0,)}),
        "Exp": (lambda x: t.exp(x), {}), "Log": (lambda x: t.log(x), {"low": 0.3}),
        "Sqrt": (lambda x: t.sqrt(x), {"low": 0.3}), "Reciprocal": (lambda x: 1 / x, {"low": 0.3}),
        "Erf": (lambda x: t.erf(x), {}), "Sigmoid": (lambda x: t.sigmoid(x), {}),
        "Softplus": (lambda x: F.softplus(x), {}), "Softsign": (lambda x: F.softsign(x), {"away": (0.0,)}),
        "Mish": (lambda x: F.mish(x), {}), "Sin": (lambda x: t.sin(x), {}), "Cos": (lambda x: t.cos(x), {}),
        "Tan": (lambda x: t.tan(x), {"low": -1.0, "high": 1.0}),
        "Asin": (lambda x: t.asin(x), {"low": -0.8, "high": 0.8}),
        "Acos": (lambda x: t.acos(x), {"low": -0.8, "high": 0.8}), "Atan": (lambda x: t.atan(x), {}),
        "Sinh": (lambda x: t.sinh(x), {}), "Cosh": (lambda x: t.cosh(x), {}), "Tanh": (lambda x: t.tanh(x), {}),
        "Asinh": (lambda x: t.asinh(x), {}), "Acosh": (lambda x: t.acosh(x), {"low": 1.3, "high": 3.0}),
        "Atanh": (lambda x: t.atanh(x), {"low": -0.8, "high": 0.8}),
        "Relu": (lambda x: F.relu(x), {"away": (0.0,)}), "LeakyRelu": (lambda x: F.leaky_relu(x), {"away": (0.0,)}),
        "Elu": (lambda x: F.elu(x), {"away": (0.0,)}), "Selu": (lambda x: F.selu(x), {"away": (0.0,)}),
        "Celu": (lambda x: F.celu(x), {"away": (0.0,)}),
        "HardSigmoid": (lambda x: t.clamp(0.2 * x + 0.5, 0, 1), {"low": -4.0, "high": 4.0, "away": (-2.5, 2.5)}),
        "HardSwish": (lambda x: F.hardswish(x), {"low": -5.0, "high": 5.0, "away": (-3.0, 3.0)}),
        "ThresholdedRelu": (lambda x: F.threshold(x, 1.0, 0.0), {"away": (1.0,)}),
        "Gelu": (lambda x: F.gelu(x), {}),
    }  # fmt: skip
    for name, (peer, domain) in plain.items():
        for shape in SHAPES:
            yield Case(name, (draw(5, *shape, **domain),), torch=peer)
    x, low = draw(6, 4, 5, away=(0.0,)), draw(6, 4, 5, low=-4.0, high=4.0, away=(0.0, 0.7, -1.2, -1.0, 2.0))
    tuned: list[tuple[str, dict[str, Any], Any]] = [
        ("Gelu", {"approximate": "tanh"}, lambda x: F.gelu(x, approximate="tanh")),
        ("LeakyRelu", {"alpha": 0.3}, lambda x: F.leaky_relu(x, 0.3)), ("Elu", {"alpha": 0.7}, lambda x: F.elu(x, 0.7)),
        ("Celu", {"alpha": 0.5}, lambda x: F.celu(x, 0.5)), ("Selu", {"alpha": 0.7, "gamma": 1.3}, None),
        ("ThresholdedRelu", {"alpha": 0.7}, lambda x: F.threshold(x, 0.7, 0.0)),
    ]  # fmt: skip
    for name, attributes, peer in tuned:
        yield Case(name, (x,), attributes, peer, label="tuned")
    peer = lambda x: t.clamp(0.3 * x + 0.4, 0, 1)  # noqa: E731
    yield Case("HardSigmoid", (low,), {"alpha": 0.3, "beta": 0.4}, peer, label="tuned")
    yield Case("Cast", (x,), {"to": "f64"}, lambda x: x)


def reductions() -> Iterator[Case]:
    t: Any = torch
    x = draw(8, 3, 4, 5, low=0.3)
    signed = apart(9, 3, 4, 5)
    sum_of: dict[str, tuple[Array, Any]] = {
        "ReduceSum": (signed, lambda x, a, k: x.sum(a, keepdim=k)),
        "ReduceMean": (signed, lambda x, a, k: x.mean(a, keepdim=k)),
        "ReduceMax": (signed, lambda x, a, k: x.amax(a, keepdim=k)),
        "ReduceMin": (signed, lambda x, a, k: x.amin(a, keepdim=k)),
        "ReduceProd": (x, lambda x, a, k: x.log().sum(a, keepdim=k).exp()),
        "ReduceL1": (signed, lambda x, a, k: x.abs().sum(a, keepdim=k)),
        "ReduceL2": (signed, lambda x, a, k: x.norm(2, a, keepdim=k)),
        "ReduceLogSum": (x, lambda x, a, k: x.sum(a, keepdim=k).log()),
        "ReduceLogSumExp": (signed, lambda x, a, k: x.logsumexp(a, keepdim=k)),
        "ReduceSumSquare": (signed, lambda x, a, k: (x * x).sum(a, keepdim=k)),
    }
    for name, (data, reduce) in sum_of.items():
        for axes in ((1,), (0, -1), (0, 1, 2)):
            for keepdims in (0, 1):
                peer = lambda x, a, reduce=reduce, k=bool(keepdims): reduce(x, tuple(a.tolist()), k)  # noqa: E731
                label = f"axes{''.join(map(str, axes))}keep{keepdims}"
                yield Case(name, (data, ints(*axes)), {"keepdims": keepdims}, peer, label=label)
        yield Case(name, (data,), {"keepdims": 0}, label="all")
        yield Case(name, (data, ints(0)), {"keepdims": 0}, symbolic={3: "B"}, label="symbolic")
        yield Case(name, (data,), {"noop_with_empty_axes": 1}, label="none")
        yield Case(name, (data[0, 0, 0],), label="scalar")
    yield Case("ReduceSum", (draw(1, 0, 3), ints(0)), label="empty")
    yield Case("ReduceProd", (np.array([[1.5, 0.0, 2.0], [0.5, 3.0, -1.0]]), ints(1)),
               torch=lambda x, a: x.prod(1, keepdim=True), label="zero")  # fmt: skip
    for exclusive in (0, 1):
        for reverse in (0, 1):
            yield Case("CumSum", (signed, np.array(1)), {"exclusive": exclusive, "reverse": reverse},
                       (lambda x, a: x.cumsum(1)) if not exclusive and not reverse else None,
                       label=f"{exclusive}{reverse}")  # fmt: skip
    for axis in (-1, 0, 1):
        for largest in (0, 1):
            yield Case("TopK", (signed, ints(2)), {"axis": axis, "largest": largest},
                       lambda x, k, a=axis, m=largest: t.topk(x, 2, a, bool(m))[0], outputs=2,
                       label=f"axis{axis}largest{largest}")  # fmt: skip
    yield Case("TopK", (signed, ints(2)), {}, lambda x, k: t.topk(x, 2)[0], outputs=2, label="default")
    for name, softmax in (("Softmax", "softmax"), ("LogSoftmax", "log_softmax")):
        for shape, axis in (((4, 5), -1), ((4, 5), 0), ((2, 3, 4), 1), ((1,), 0), ((0, 3), 1)):
            peer = lambda x, s=softmax, a=axis: getattr(t, s)(x, a)  # noqa: E731
            yield Case(name, (draw(10, *shape),), {"axis": axis}, peer, label=f"{len(shape)}d{axis}n{shape[0]}")


def movements() -> Iterator[Case]:
    t: Any = torch
    x = draw(11, 3, 4, 5)
    big = 1 << 62
    yield Case("Reshape", (x, ints(0, -1)), torch=lambda x, s: x.reshape(3, 20), symbolic={3: "B"})
    yield Case("Reshape", (x, ints(-1, 2)), torch=lambda x, s: x.reshape(30, 2), label="rows")
    yield Case("Reshape", (draw(1), ints(1, 1)), label="scalar")
    yield Case("Flatten", (x,), {"axis": 2}, lambda x: x.reshape(12, 5), symbolic={3: "B"})
    yield Case("Flatten", (x,), {"axis": 0}, lambda x: x.reshape(1, 60), label="axis0")
    yield Case("Squeeze", (draw(1, 1, 3, 1), ints(-1)), torch=lambda x, a: x.squeeze(-1))
    yield Case("Squeeze", (draw(1, 1, 3, 1),), torch=lambda x: x.squeeze(), label="all")
    yield Case("Unsqueeze", (x, ints(0, -1)), torch=lambda x, a: x[None, ..., None], symbolic={3: "B"})
    yield Case("Transpose", (x,), {"perm": (2, 0, 1)}, lambda x: x.permute(2, 0, 1), symbolic={3: "B"})
    yield Case("Transpose", (x,), {}, lambda x: x.permute(2, 1, 0), label="reversed")
    yield Case("Concat", (x, draw(2, 3, 2, 5), draw(3, 3, 0, 5)), {"axis": 1}, lambda *xs: t.cat(xs, 1))
    yield Case("Concat", (x, draw(2, 1, 4, 5)), {"axis": -3}, symbolic={3: "B"}, label="symbolic")
    yield Case("Concat", (x,), {"axis": 0}, label="one")
    yield Case("Split", (x, ints(1, 3)), {"axis": 1}, lambda x, s: x.split([1, 3], 1), outputs=2)
    yield Case("Split", (x,), {"axis": 2, "num_outputs": 2}, lambda x: x.split([3, 2], 2), outputs=2, label="uneven")
    slices: list[tuple[str, tuple[Array, ...], Any]] = [
        ("middle", (ints(1), ints(3), ints(1)), lambda x: x[:, 1:3]),
        ("negative", (ints(-3), ints(-1), ints(-1)), lambda x: x[..., -3:-1]),
        ("step", (ints(0, 1), ints(big, big), ints(1, 2), ints(2, 3)), lambda x: x[:, ::2, 1::3]),
        ("backward", (ints(-1), ints(-big), ints(1), ints(-1)), lambda x: x.flip(1)),
        ("backward2", (ints(3), ints(0), ints(2), ints(-2)), lambda x: x.flip(2)[..., 1:4:2]),
        ("first", (ints(0), ints(2)), lambda x: x[:2]),
        ("empty", (ints(2), ints(2), ints(1)), lambda x: x[:, 2:2]),
        ("single", (ints(2), ints(3), ints(1)), lambda x: x[:, 2:3]),
    ]
    for label, bounds, cut in slices:
        yield Case("Slice", (x, *bounds), torch=lambda x, *_, cut=cut: cut(x), label=label)
    for label, bounds in (("tail", (ints(1), ints(big))), ("most", (ints(0), ints(-1))), ("head", (ints(0), ints(2))),
                          ("odd", (ints(0), ints(big), ints(0), ints(2))),
                          ("reversed", (ints(-1), ints(-big), ints(0), ints(-1)))):  # fmt: skip
        yield Case("Slice", (x, *bounds), symbolic={3: "B"}, label=f"symbolic-{label}")
    yield Case("Expand", (draw(1, 3, 1), ints(2, 1, 4)), torch=lambda x, s: x.expand(2, 3, 4), symbolic={3: "B"})
    pads = ints(0, 1, 2, 1, 0, 1)
    yield Case("Pad", (x, pads), torch=lambda x, p: F.pad(x, (2, 1, 1, 0, 0, 1)), symbolic={3: "B"})
    yield Case("Pad", (x, ints(0, -1, 2, 1, 0, -1)), torch=lambda x, p: F.pad(x, (2, -1, -1, 0, 0, 1)), label="cut")
    yield Case("Pad", (x, ints(1, 2), np.array(0.7), ints(-1)), label="value")
    for mode in ("reflect", "edge", "wrap"):
        peer = {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}[mode]
        yield Case("Pad", (x, ints(0, 1, 2, 0, 2, 1)), {"mode": mode},
                   lambda x, p, m=peer: F.pad(x[None], (2, 1, 1, 2), m)[0], label=mode)  # fmt: skip
    yield Case("Pad", (x, ints(1, 0, 0, 1, 0, 0)), {"mode": "reflect"}, symbolic={3: "B"}, label="symbolic-reflect")
    yield Case("Tile", (x, ints(2, 1, 3)), torch=lambda x, r: x.tile(2, 1, 3), symbolic={3: "B"})
    yield Case("Trilu", (x, np.array(1)), {"upper": 1}, lambda x, k: x.triu(1))
    yield Case("Trilu", (x,), {"upper": 0}, lambda x: x.tril(), label="lower")


def places() -> Iterator[Case]:
    t: Any = torch
    x = draw(12, 3, 4, 5)
    twice = np.array([[0, 2, 2], [1, -1, 0]], i64)
    for axis in (0, 1, -1):
        yield Case("Gather", (x, twice), {"axis": axis}, lambda x, i, a=axis: x.movedim(a, 0)[i].movedim(
            (0, 1), (a % 3, a % 3 + 1)), label=f"axis{axis}")  # fmt: skip
    yield Case("Gather", (x, np.array(1)), {"axis": 0}, lambda x, i: x[1], label="one")
    yield Case("Gather", (x, ints()), {"axis": 1}, label="none")
    yield Case("Gather", (x, ints(1, 1)), {"axis": 1}, symbolic={3: "B"}, label="symbolic")
    yield Case("Gather", (x, ints(1, 1)), {"axis": 0}, symbolic={3: "B"}, label="symbolic-axis")
    along = np.random.default_rng(3).integers(-4, 4, (3, 6, 5))
    peer = lambda x, i: t.gather(x, 1, t.from_numpy(i % 4))  # noqa: E731
    yield Case("GatherElements", (x, along), {"axis": 1}, peer)
    yield Case("GatherElements", (x, along[:2, :, :3]), {"axis": 1}, peer, label="less")
    updates = draw(13, 3, 6, 5)
    yield Case("ScatterElements", (x, along, updates), {"axis": 1, "reduction": "add"},
               lambda x, i, u: x.scatter_add(1, t.from_numpy(i % 4), u))  # fmt: skip
    once = np.argsort(draw(14, 3, 4, 5), 1)[:, :2].astype(i64)
    yield Case("ScatterElements", (x, once, draw(15, 3, 2, 5)), {"axis": 1},
               lambda x, i, u: x.scatter(1, t.from_numpy(i), u), label="replace")  # fmt: skip
    tuples = np.array([[[0, 1], [2, -1]], [[0, 1], [1, 1]]], i64)
    yield Case("GatherND", (x, tuples), torch=lambda x, i: x[i[..., 0], i[..., 1]])
    yield Case("GatherND", (x, tuples), symbolic={4: "T"}, label="symbolic")
    yield Case("GatherND", (x, np.array([[2], [2]])), torch=lambda x, i: x[i[:, 0]], label="rows")
    yield Case("OneHot", (np.array([[0, 3], [3, -1]]), ints(4), draw(16, 2)), {"axis": 1})


def products() -> Iterator[Case]:
    t: Any = torch
    pairs: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
        ((3, 4), (4, 5)), ((4,), (4, 5)), ((3, 4), (4,)), ((4,), (4,)), ((2, 3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)),
        ((3, 4), (2, 4, 5)), ((2, 1, 3, 4), (6, 4, 5)), ((2, 3, 4), (4,)), ((4,), (2, 4, 5)), ((0, 4), (4, 5)),
        ((3, 0), (0, 5)), ((1, 1), (1, 1)), ((2, 1, 2, 3, 4), (2, 1, 4, 5)),
    ]  # fmt: skip
    for left, right in pairs:
        yield Case("MatMul", (draw(17, *left), draw(18, *right)), torch=lambda a, b: a @ b)
    yield Case("MatMul", (draw(17, 3, 4), draw(18, 4, 5)), symbolic={3: "B"}, label="symbolic")
    yield Case("MatMul", (draw(17, 3, 2, 4), draw(18, 4, 5)), symbolic={3: "B", 2: "T"}, label="symbolic2")
    yield Case("MatMul", (draw(17, 3, 2, 4), draw(18, 3, 4, 5)), symbolic={3: "B", 2: "T"}, label="symbolic3")
    for trans_a in (0, 1):
        for trans_b in (0, 1):
            a, b = draw(19, 3, 4), draw(20, 4, 5)
            inputs = (a.T.copy() if trans_a else a, b.T.copy() if trans_b else b, draw(21, 5))
            attributes = {"transA": trans_a, "transB": trans_b, "alpha": 0.7, "beta": 1.3}
            yield Case("Gemm", inputs, attributes, lambda a, b, c, i=trans_a, j=trans_b: 0.7 * (a.T if i else a) @ (
                b.T if j else b) + 1.3 * c, label=f"trans{trans_a}{trans_b}")  # fmt: skip
    for c in ((), (1,), (3, 1), (1, 5), (3, 5)):
        yield Case("Gemm", (draw(19, 3, 4), draw(20, 4, 5), draw(21, *c)), torch=lambda a, b, c: a @ b + c)
    yield Case("Gemm", (draw(19, 3, 4), draw(20, 4, 5)), torch=lambda a, b: a @ b, symbolic={3: "B"})
    yield Case("Gemm", (draw(19, 3, 4), draw(20, 4, 5), draw(21, 5)), {"beta": 2.0}, lambda a, b, c: a @ b + 2 * c,
               label="beta")  # fmt: skip
    equations: list[tuple[str, tuple[tuple[int, ...], ...]]] = [
        ("ij,jk->ik", ((3, 4), (4, 5))), ("bij,bjk->bik", ((2, 3, 4), (2, 4, 5))), ("ij->ji", ((3, 4),)),
        ("ij->i", ((3, 4),)), ("ij->", ((3, 4),)), ("i,j->ij", ((3,), (4,))), ("ij,kj,k->i", ((3, 4), (5, 4), (5,))),
        ("bhqd,bhkd->bhqk", ((2, 2, 3, 4), (2, 2, 5, 4))), ("ij,ij", ((3, 4), (3, 4))),
        ("ijk,l->kl", ((2, 3, 4), (5,))),
    ]  # fmt: skip
    for number, (equation, shapes) in enumerate(equations):
        xs = tuple(draw(22 + i, *shape) for i, shape in enumerate(shapes))
        yield Case("Einsum", xs, {"equation": equation}, lambda *xs, e=equation: t.einsum(e, *xs), label=str(number))
    yield Case("Einsum", (draw(1, 3, 4), draw(2, 4, 5)), {"equation": "ij,jk->k"}, symbolic={3: "B"}, label="symbolic")


def private() -> Iterator[Case]:
    x = draw(23, 3, 4, 5)
    batch = symbol("B")
    for shape in ((4, 5), (5,), (), (3, 1, 5), (1, 4, 1), (4, 1), (3, 4, 5)):
        yield Case("dlc.SumTo", (x,), {"shape": shape}, label=str(len(shape)) + "".join(map(str, shape)))
    yield Case("dlc.SumTo", (x,), {"shape": (batch, 1, 5)}, symbolic={3: "B"}, label="symbolic")
    for shape in ((3, 4, 5), (2, 3, 4, 5)):
        yield Case("dlc.ExpandTo", (draw(1, 3, 1, 5),), {"shape": shape}, label=str(len(shape)))
    yield Case("dlc.ExpandTo", (draw(1, 3, 1),), {"shape": (2, batch, 4)}, symbolic={3: "B"}, label="symbolic")
    yield Case("dlc.ReshapeTo", (x,), {"shape": (12, 5)})
    yield Case("dlc.Point", (x,), {"site": 1})
    yield Case("dlc.ReshapeTo", (draw(1, 0, 3),), {"shape": (3, 0)}, label="empty")
    yield Case("dlc.ReshapeTo", (x,), {"shape": (4 * batch, 5)}, symbolic={3: "B"}, label="symbolic")
    yield Case("dlc.ScatterAdd", (draw(1, 3, 2, 2, 5), np.array([[0, 2], [2, -1]])), {"axis": 1, "shape": (3, 4, 5)})
    yield Case("dlc.ScatterAdd", (draw(1, 3, 5), np.array(1)), {"axis": 1, "shape": (3, 4, 5)}, label="scalar")
    yield Case("dlc.ScatterAdd", (draw(1, 3, 2, 5), ints(1, 1)), {"axis": 1, "shape": (batch, 4, 5)}, symbolic={3: "B"},
               label="symbolic")  # fmt: skip
