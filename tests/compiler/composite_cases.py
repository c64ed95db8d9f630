"""Cases of the operators that are made of others: normalizations, losses, dropout, activations of two inputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from oracles import Array, Case, draw

from dlc.compiler.registry import lookup

try:
    import torch
    import torch.nn.functional as F
except ImportError:
    torch = F = None  # type: ignore[assignment]


def cases() -> Iterator[Case]:
    yield from normalizations()
    yield from losses()
    yield from activations()
    yield from dropouts()


def normalizations() -> Iterator[Case]:
    x, c1, c2 = draw(1, 3, 4, 2, 5), draw(2, 4, low=0.5), draw(3, 4)
    for groups in (1, 2, 4):
        yield Case("GroupNormalization", (x, c1, c2), {"num_groups": groups, "epsilon": 0.01},
                   lambda x, w, b, n=groups: F.group_norm(x, n, w, b, 0.01), label=f"groups{groups}")  # fmt: skip
    yield Case("GroupNormalization", (draw(4, 3, 4, 6), c1, c2), {"num_groups": 2},
               lambda x, w, b: F.group_norm(x, 2, w, b), symbolic={3: "B", 6: "T"}, label="symbolic")  # fmt: skip
    yield Case("InstanceNormalization", (x, c1, c2), {"epsilon": 0.01},
               lambda x, w, b: F.instance_norm(x, weight=w, bias=b, eps=0.01))  # fmt: skip
    yield Case("InstanceNormalization", (draw(4, 3, 4, 6), c1, c2), {},
               lambda x, w, b: F.instance_norm(x, weight=w, bias=b), symbolic={3: "B"}, label="symbolic")  # fmt: skip
    for p in (1, 2):
        for axis in (-1, 0, 1):
            yield Case("LpNormalization", (draw(5, 3, 4, 2, away=(0.0,)),), {"p": p, "axis": axis},
                       lambda x, p=p, axis=axis: F.normalize(x, p, axis), label=f"p{p}axis{axis}")  # fmt: skip
    yield Case("LpNormalization", (draw(5, 3, 4),), {}, lambda x: F.normalize(x), symbolic={3: "B"})
    yield Case("MeanVarianceNormalization", (x,), {}, lambda x: _standard(x, (0, 2, 3)))
    yield Case("MeanVarianceNormalization", (draw(6, 6, 4),), {"axes": (-1,)}, lambda x: _standard(x, (1,)),
               symbolic={6: "B"}, label="last")  # fmt: skip
    yield Case("RMSNormalization", (x, draw(7, 5)), {"epsilon": 0.01}, lambda x, w: F.rms_norm(x, (5,), w, 0.01))
    yield Case("RMSNormalization", (x, draw(7, 2, 5)), {"axis": -2, "epsilon": 0.01},
               lambda x, w: F.rms_norm(x, (2, 5), w, 0.01), label="two")  # fmt: skip
    yield Case("RMSNormalization", (draw(8, 6, 4), draw(9, 1)), {"axis": 1},
               lambda x, w: F.rms_norm(x, (4,), eps=1e-5) * w, symbolic={6: "B"}, label="stretched")  # fmt: skip
    mean, variance = draw(10, 4), draw(11, 4, low=0.5)
    yield Case("BatchNormalization", (x, c1, c2, mean, variance), {"epsilon": 0.01},
               lambda x, w, b, m, v: F.batch_norm(x, m, v, w, b, eps=0.01), label="inference",
               fixed=(3, 4))  # fmt: skip
    for shape in ((3, 4, 2, 5), (6, 4)):
        for outputs in (1, 3):
            yield Case("BatchNormalization", (draw(12, *shape), c1, c2, mean, variance),
                       {"training_mode": 1, "momentum": 0.7, "epsilon": 0.01},
                       lambda *xs, n=outputs: _batch_norm(*xs)[:n], outputs=outputs, symbolic={6: "B"},
                       label=f"training{len(shape)}{outputs}")  # fmt: skip
    yield Case("LayerNormalization", (x, draw(8, 5), draw(9, 5)), {"epsilon": 0.01}, _layer_norm, outputs=3,
               label="statistics")  # fmt: skip


def _standard(x: Any, axes: tuple[int, ...]) -> Any:
    return (x - x.mean(axes, keepdim=True)) / (x.std(axes, keepdim=True, correction=0) + 1e-9)


def _batch_norm(x: Any, w: Any, b: Any, mean: Any, variance: Any) -> list[Any]:
    over = (0, *range(2, x.ndim))
    return [
        F.batch_norm(x, None, None, w, b, training=True, eps=0.01) + 0 * (mean.sum() + variance.sum()),
        0.7 * mean + 0.3 * x.mean(over),
        0.7 * variance + 0.3 * x.var(over, correction=0),
    ]


def _layer_norm(x: Any, w: Any, b: Any) -> list[Any]:
    inverse = 1 / (x.var(-1, keepdim=True, correction=0) + 0.01).sqrt()
    return [F.layer_norm(x, (5,), w, b, 0.01), x.mean(-1, keepdim=True), inverse]


def losses() -> Iterator[Case]:
    weight = draw(20, 4, low=0.5)
    shapes: tuple[tuple[int, ...], ...] = ((5, 4), (3, 4, 2), (3, 4, 2, 5))
    for shape in shapes:
        target = np.random.default_rng(21).integers(0, 4, (shape[0], *shape[2:]))
        for reduction in ("none", "sum", "mean"):
            for weights, ignore in ((None, None), (weight, None), (None, 1), (weight, 1), (weight, -100)):
                marked = target if ignore != -100 else np.where(target == 0, -100, target)
                kind = f"{len(shape)}{reduction}{'weighted' if weights is not None else ''}{ignore or ''}"
                given = {"reduction": reduction, **({} if ignore is None else {"ignore_index": ignore})}
                for name, inner in (("NegativeLogLikelihoodLoss", None), ("SoftmaxCrossEntropyLoss", 1)):
                    yield Case(name, (draw(22, *shape), marked, weights), given,
                               lambda x, t, w, given=given, inner=inner: _nll(x, t, w, given, inner),
                               label=kind)  # fmt: skip
    marked, given = np.array([0, -100, 0, 0, -100]), {"reduction": "sum", "ignore_index": -100}
    yield Case("NegativeLogLikelihoodLoss", (draw(22, 5, 1), marked, None), given,
               lambda x, t, w, given=given: _nll(x, t, w, given, None), label="single")  # fmt: skip
    target = np.array([0, 3, 1, 2, 1], np.int32)
    yield Case("SoftmaxCrossEntropyLoss", (draw(22, 5, 4), target, weight), {},
               lambda x, t, w: [_nll(x, t, w, {}, 1), F.log_softmax(x, 1)], outputs=2, label="both")  # fmt: skip


def _nll(x: Any, target: Array, weight: Any, given: Any, axis: int | None) -> Any:
    """PyTorch's loss by the numbers of the classes has no gradient by the weights: here is its sum written out."""
    given = {"reduction": "mean", "ignore_index": -1000, **given}
    logs, classes = x if axis is None else F.log_softmax(x, axis), torch.tensor(target).long()
    kept = classes != given["ignore_index"]
    found = torch.where(kept, classes, 0)
    weights = (torch.ones(4, dtype=x.dtype) if weight is None else weight)[found] * kept
    rows = -logs.gather(1, found[:, None])[:, 0] * weights
    loss = {"none": rows, "sum": rows.sum(), "mean": rows.sum() / weights.sum()}[given["reduction"]]
    theirs = F.nll_loss(logs.detach(), classes, None if weight is None else weight.detach(), **given)
    torch.testing.assert_close(loss.detach(), theirs)
    return loss


def activations() -> Iterator[Case]:
    x = draw(30, 3, 4, away=(-0.5, 0.5, -1.0, 1.0))
    yield Case("Shrink", (x,), {}, lambda x: F.hardshrink(x, 0.5))
    yield Case("Shrink", (x,), {"lambd": 1.0, "bias": 1.0}, lambda x: F.softshrink(x, 1.0), label="soft")
    yield Case("Swish", (x,), {}, lambda x: F.silu(x), symbolic={3: "B"})
    yield Case("Swish", (x,), {"alpha": 1.702}, lambda x: x * torch.sigmoid(1.702 * x), label="alpha")
    yield Case("Swish", (x,), {"alpha": 2.0}, lambda x: x * torch.sigmoid(2 * x), label="twice")
    yield Case("SwiGLU", (x, draw(31, 3, 4)), {"alpha": 0.5}, lambda a, b: a * torch.sigmoid(0.5 * a) * b)
    yield Case("SwiGLU", (draw(1, 0, 3), draw(2, 0, 3)), {}, lambda a, b: F.silu(a) * b)


def dropouts() -> Iterator[Case]:
    x, ratio, yes, no = draw(40, 6, 5), np.array(0.3), np.array(True), np.array(False)
    kept = lookup("Dropout").evaluate(x, ratio, yes, seed=3)[1]  # type: ignore[misc]
    half = lookup("Dropout").evaluate(x, None, yes, seed=3)[1]  # type: ignore[misc]
    for outputs in (1, 2):
        yield Case("Dropout", (x, ratio, yes), {"seed": 3}, lambda x, *_: x * torch.tensor(kept / 0.7), outputs=outputs,
                   fixed=(1,), label=f"training{outputs}")  # fmt: skip
        yield Case("Dropout", (x, ratio, no), {"seed": 3}, lambda x, *_: x, outputs=outputs, fixed=(1,),
                   label=f"resting{outputs}")  # fmt: skip
    yield Case("Dropout", (x, None, yes), {"seed": 3}, lambda x, *_: x * torch.tensor(half / 0.5), label="half",
               symbolic={6: "B"})  # fmt: skip
    yield Case("Dropout", (x,), {}, lambda x: x, label="alone")
    one = draw(41)
    taken = lookup("Dropout").evaluate(one, np.array(0.25), yes, seed=1)[1]  # type: ignore[misc]
    assert taken.item(), "of a scalar that is dropped no scale is seen"
    yield Case("Dropout", (one, np.array([0.25], np.float32), np.array([True])), {"seed": 1}, lambda x, *_: x / 0.75,
               label="scalar")  # fmt: skip
