"""Random graphs: sums of products, normalizations and losses."""

from __future__ import annotations

import numpy as np
from graph_maker import Maker, Unfit, recipe

from dlc.compiler.graph import Value


@recipe
def product(m: Maker) -> None:
    x = m.any(least=1, most=4)
    m.keep(m.one("MatMul", x, m.numbers(x.shape[-1], int(m.rng.integers(1, 4)))))


@recipe
def vector_product(m: Maker) -> None:
    x = m.any(least=1, most=3)
    pair = (x, m.numbers(x.shape[-1])) if m.coin() else (m.numbers(x.shape[-2 if x.type.rank > 1 else 0]), x)
    m.keep(m.one("MatMul", *pair))


@recipe
def batched_product(m: Maker) -> None:
    x = m.any(least=2, most=4)
    turned = m.one("Transpose", x, perm=(*range(x.type.rank - 2), x.type.rank - 1, x.type.rank - 2))
    m.keep(m.one("MatMul", *((x, turned) if m.coin() else (turned, x))))


@recipe
def gemm(m: Maker) -> None:
    x = m.any(rank=2)
    rows, columns = x.shape
    turned = int(m.coin())
    k, kept = (rows, columns) if turned else (columns, rows)
    other = m.numbers(*((3, k) if (flip := int(m.coin())) else (k, 3)))
    c = m.pick(m.numbers(3), m.numbers(1, 3), m.numbers(), m.numbers(kept, 1), None)
    m.keep(m.one("Gemm", x, other, c, transA=turned, transB=flip, alpha=0.7, beta=1.3))


@recipe
def einsum(m: Maker) -> None:
    x = m.any(rank=2)
    equation = m.pick("ij,kj->ik", "ij,ij->i", "ij,kl->", "ij,kj->ki", "ij->ji", "ij,ij->", "...j,...j->...")
    m.keep(m.one("Einsum", *([x] if equation == "ij->ji" else [x, x]), equation=equation))


@recipe
def determinant(m: Maker) -> None:
    x = m.any(least=2, most=3)
    rows, columns = x.shape[-2:]
    if rows != columns or m.extent(x, -1) > 4:
        raise Unfit
    m.keep(m.one("Det", x))


# Normalization.


@recipe
def softmax(m: Maker) -> None:
    x = m.any(least=1)
    m.keep(m.one(m.pick("Softmax", "LogSoftmax"), x, axis=m.axis(x)))


def _spread(m: Maker, x: Value, axes: tuple[int, ...]) -> None:
    """Normalizing what does not vary amplifies rounding."""
    m.holds(x, lambda array: bool(array.size and np.var(array, axis=axes).min() >= 1e-2))


@recipe
def layer_norm(m: Maker) -> None:
    x = m.any(least=1)
    axis = m.axis(x) % x.type.rank
    _spread(m, x, tuple(range(axis, x.type.rank)))
    dims = x.shape[axis:]
    m.keep(m.one("LayerNormalization", x, m.numbers(*dims), m.numbers(*dims), axis=axis, epsilon=1e-3))


@recipe
def norms(m: Maker) -> None:
    x = m.any(least=3)
    name = m.pick("InstanceNormalization", "GroupNormalization", "MeanVarianceNormalization")
    if name == "MeanVarianceNormalization":
        axes = (0, *range(2, x.type.rank))
        _spread(m, x, axes)
        m.keep(m.one(name, x, axes=axes))
        return
    channels = m.extent(x, 1)
    _spread(m, x, tuple(range(2, x.type.rank)))
    more = {"num_groups": channels} if name == "GroupNormalization" else {}
    m.keep(m.one(name, x, m.numbers(channels), m.numbers(channels), epsilon=1e-3, **more))


@recipe
def batch_norm(m: Maker) -> None:
    x = m.any(least=2)
    vectors = [m.numbers(x.shape[1]) for _ in range(3)]
    m.keep(m.one("BatchNormalization", x, *vectors, m.numbers(x.shape[1], low=0.5, high=2.0)))


@recipe
def length_norm(m: Maker) -> None:
    x = m.any(least=1)
    axis = m.axis(x)
    m.holds(x, lambda array: bool(array.size and np.sqrt((array**2).sum(axis)).min() >= 0.1))
    m.keep(m.one("LpNormalization", x, axis=axis, p=2))


@recipe
def root_norm(m: Maker) -> None:
    x = m.any(least=1)
    m.keep(m.one("RMSNormalization", x, m.numbers(x.shape[-1]), axis=-1, epsilon=1e-2))


@recipe
def dropped(m: Maker) -> None:
    m.keep(m.add("Dropout", m.any(), outputs=2)[0])


# Losses.


@recipe
def loss(m: Maker) -> None:
    x = m.any(rank=2)
    labels = m.integers(0, m.extent(x, 1), x.shape[0])
    weights = [m.numbers(x.shape[1], low=0.5, high=2.0)] if m.coin(0.3) else []
    kind = m.pick("mean", "sum", "none")
    if m.coin():
        m.keep(m.one("SoftmaxCrossEntropyLoss", x, labels, *weights, reduction=kind))
    else:
        logs = m.one("LogSoftmax", x, axis=1)
        m.keep(m.one("NegativeLogLikelihoodLoss", logs, labels, *weights, reduction=kind))
