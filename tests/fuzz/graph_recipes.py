"""How each operator is put into a random graph: `RECIPES`, one for each way of use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from graph_maker import Maker, Recipe, Unfit

from dlc.compiler.graph import Value

RECIPES: list[Recipe] = []
Array = np.ndarray[Any, Any]
i64 = np.int64


def recipe(function: Recipe) -> Recipe:
    RECIPES.append(function)
    return function


def _each(names: str, prepare: Callable[[Maker, Value], Value] = lambda m, x: x, **attributes: Any) -> None:
    """One recipe for each operator of one argument."""
    for name in names.split():
        RECIPES.append(lambda m, name=name: m.keep(m.one(name, prepare(m, m.any()), **attributes)))


_each("Neg Identity Sin Cos Tanh Sigmoid Softplus Erf Atan Asinh Mish Gelu Exp Sinh Cosh Swish")
_each("Floor Ceil", lambda m, x: m.apart(x, *range(-9, 10)))
_each("Round", lambda m, x: m.apart(x, *(each + 0.5 for each in range(-9, 9))))
_each("Sign", lambda m, x: m.apart(x, 0.0))
_each("Gelu", approximate="tanh")
_each("Log Sqrt Reciprocal", lambda m, x: m.positive(x))
_each("Acosh", lambda m, x: m.one("Add", m.positive(x), np.array(1.0)))
_each("Asin Acos Atanh", lambda m, x: m.bounded(x))
_each("Tan", lambda m, x: m.bounded(x))
_each("Abs Relu LeakyRelu Elu Selu Celu Softsign", lambda m, x: m.apart(x, 0.0))
_each("Elu Celu LeakyRelu", lambda m, x: m.apart(x, 0.0), alpha=0.6)
_each("ThresholdedRelu", lambda m, x: m.apart(x, 0.3), alpha=0.3)
_each("HardSigmoid", lambda m, x: m.apart(x, -2.5, 2.5))
_each("HardSwish", lambda m, x: m.apart(x, -3.0, 3.0))
_each("Shrink", lambda m, x: m.apart(x, -0.5, 0.5), bias=0.1)


@recipe
def clip(m: Maker) -> None:
    m.keep(m.one("Clip", m.apart(m.any(), -0.7, 0.9), np.array(-0.7), np.array(0.9)))


@recipe
def prelu(m: Maker) -> None:
    x = m.apart(m.any(least=1), 0.0)
    m.keep(m.one("PRelu", x, m.numbers(m.at(x).shape[-1])))


def _two(name: str) -> None:
    def make(m: Maker) -> None:
        x = m.any()
        pair = [x, m.partner(x)]
        if m.coin():
            pair.reverse()
        m.keep(m.one(name, *pair))

    RECIPES.append(make)


for _name in ("Add", "Sub", "Mul", "Add", "Mul"):
    _two(_name)


@recipe
def divide(m: Maker) -> None:
    x = m.any()
    m.keep(m.one("Div", x, m.positive(m.partner(x))))


@recipe
def power(m: Maker) -> None:
    x = m.any()
    if m.coin():
        m.keep(m.one("Pow", x, np.array(float(m.rng.integers(1, 4)))))
    else:
        m.keep(m.one("Pow", m.positive(x), m.bounded(m.partner(x))))


@recipe
def extreme(m: Maker) -> None:
    x = m.any()
    y = m.partner(x)
    difference = m.at(x) - m.at(y)
    if np.abs(difference).min(initial=1.0) < 1e-2:
        raise Unfit
    m.keep(m.one(str(m.rng.choice(["Max", "Min"])), x, y))


@recipe
def several(m: Maker) -> None:
    x = m.any()
    m.keep(m.one(str(m.rng.choice(["Sum", "Mean"])), x, m.partner(x), m.partner(x)))


@recipe
def choose(m: Maker) -> None:
    x = m.any()
    y = m.partner(x)
    kind = str(m.rng.choice(["Less", "Greater", "LessOrEqual", "GreaterOrEqual"]))
    difference = m.one("Sub", x, y)
    condition = m.one(kind, m.apart(difference, 0.0), np.array(0.0))
    if m.coin(0.3):
        condition = m.one("Not", condition)
    m.keep(m.one("Where", condition, x, m.partner(x)))


@recipe
def masked(m: Maker) -> None:
    x = m.any()
    m.keep(m.one("Mul", x, m.one("Cast", m.one("Less", m.apart(x, 0.2), np.array(0.2)), to="f64")))


# Reductions.


def _axes(m: Maker, x: Value) -> Array:
    rank = x.type.rank
    if rank == 0:
        raise Unfit
    count = int(m.rng.integers(1, rank + 1))
    axes = m.rng.permutation(rank)[:count]
    return np.array([axis - rank if m.coin(0.3) else axis for axis in axes], i64)


def _reduce(name: str, prepare: Callable[[Maker, Value], Value] = lambda m, x: x) -> None:
    def make(m: Maker) -> None:
        x = prepare(m, m.any(least=1))
        m.keep(m.one(name, x, _axes(m, x), keepdims=int(m.coin())))

    RECIPES.append(make)


for _name in ("ReduceSum", "ReduceMean", "ReduceSumSquare", "ReduceLogSumExp"):
    _reduce(_name)
_reduce("ReduceL1", lambda m, x: m.apart(x, 0.0))
_reduce("ReduceL2", lambda m, x: m.positive(x))
_reduce("ReduceLogSum", lambda m, x: m.positive(x))
_reduce("ReduceProd")
_reduce("ReduceMax", lambda m, x: m.untied(x))
_reduce("ReduceMin", lambda m, x: m.untied(x))


@recipe
def position(m: Maker) -> None:
    x = m.untied(m.any(least=1))
    axis = m.axis(x)
    where = m.one(str(m.rng.choice(["ArgMax", "ArgMin"])), x, axis=axis)
    m.keep(m.one("GatherElements", x, where, axis=axis))


# Movement.


@recipe
def reshape(m: Maker) -> None:
    x = m.any()
    size, shape = m.size(x), []
    while size > 1 and len(shape) < 3:
        divisors = [d for d in range(1, size + 1) if size % d == 0]
        shape.append(int(m.rng.choice(divisors)))
        size //= shape[-1]
    m.keep(m.one("Reshape", x, np.array([*shape, -1], i64)))


@recipe
def transpose(m: Maker) -> None:
    x = m.any(least=1)
    m.keep(m.one("Transpose", x, perm=tuple(int(axis) for axis in m.rng.permutation(x.type.rank))))


@recipe
def stretch(m: Maker) -> None:
    x = m.any(most=3)
    grown = m.one("Unsqueeze", x, np.array([int(m.rng.integers(-x.type.rank - 1, x.type.rank + 1))], i64))
    if m.coin(0.3):
        m.keep(m.one("Squeeze", grown))
        return
    shape = [int(m.rng.integers(2, 4)) if size == 1 else size for size in m.at(grown).shape]
    m.keep(m.one("Expand", grown, np.array(shape, i64)))


@recipe
def flatten(m: Maker) -> None:
    x = m.any(least=1)
    m.keep(m.one("Flatten", x, axis=int(m.rng.integers(-x.type.rank, x.type.rank + 1))))


@recipe
def join(m: Maker) -> None:
    x = m.any(least=1)
    axis = m.axis(x) % x.type.rank
    shape = [int(m.rng.integers(1, 4)) if i == axis else size for i, size in enumerate(m.at(x).shape)]
    m.keep(m.one("Concat", x, m.numbers(*shape), x, axis=axis - x.type.rank if m.coin() else axis))


@recipe
def part(m: Maker) -> None:
    x = m.any(least=1)
    axis = m.axis(x) % x.type.rank
    size = m.at(x).shape[axis]
    if size < 2:
        raise Unfit
    first = int(m.rng.integers(1, size))
    sizes = np.array([first, size - first], i64)
    m.keep(*m.add("Split", x, sizes, outputs=2, axis=axis))


@recipe
def cut(m: Maker) -> None:
    x = m.any(least=1)
    axis = m.axis(x)
    size = m.at(x).shape[axis]
    if size < 2:
        raise Unfit
    step = int(m.rng.choice([1, 2, -1, -2]))
    bounds = (0, size) if step > 0 else (-1, -size - 1)
    one = [np.array([each], i64) for each in (*bounds, axis, step)]
    m.keep(m.one("Slice", x, *one))


@recipe
def tile(m: Maker) -> None:
    x = m.any(least=1, most=3)
    m.keep(m.one("Tile", x, m.rng.integers(1, 3, x.type.rank)))


@recipe
def pad(m: Maker) -> None:
    x = m.any(least=1, most=4)
    rank, mode = x.type.rank, str(m.rng.choice(["constant", "reflect", "edge", "wrap"]))
    most = [min(2, size - 1) if mode == "reflect" else min(2, size) for size in m.at(x).shape]
    if mode != "constant" and min(m.at(x).shape) < 1:
        raise Unfit
    ends = [int(m.rng.integers(0, limit + 1)) for limit in (*most, *most)]
    value = [np.array(0.3)] if mode == "constant" and m.coin() else []
    m.keep(m.one("Pad", x, np.array(ends, i64), *value, mode=mode))
    assert rank == len(most)


@recipe
def take(m: Maker) -> None:
    x = m.any(least=1, most=3)
    axis = m.axis(x)
    size = m.at(x).shape[axis]
    if size == 0:
        raise Unfit
    shape = (3,) if m.coin() else (2, 2)
    m.keep(m.one("Gather", x, m.rng.integers(-size, size, shape), axis=axis))


@recipe
def take_each(m: Maker) -> None:
    x = m.any(least=1, most=3)
    if min(m.at(x).shape) == 0:
        raise Unfit
    axis = m.axis(x)
    m.keep(m.one("GatherElements", x, m.rng.integers(0, m.at(x).shape[axis], m.at(x).shape), axis=axis))


@recipe
def take_places(m: Maker) -> None:
    x = m.any(least=2, most=4)
    if min(m.at(x).shape) == 0:
        raise Unfit
    depth = int(m.rng.integers(1, x.type.rank))
    places = np.stack([m.rng.integers(0, size, 4) for size in m.at(x).shape[:depth]], -1)
    m.keep(m.one("GatherND", x, places))


@recipe
def put_each(m: Maker) -> None:
    x = m.any(least=1, most=3)
    axis = m.axis(x)
    size = m.at(x).shape[axis]
    if min(m.at(x).shape) == 0:
        raise Unfit
    order = np.argsort(m.rng.random(m.at(x).shape), axis=axis)
    kind = str(m.rng.choice(["none", "add", "mul"]))
    indices = order if kind == "none" else m.rng.integers(0, size, m.at(x).shape)
    m.keep(m.one("ScatterElements", x, indices, m.numbers(*m.at(x).shape), axis=axis, reduction=kind))


@recipe
def put_places(m: Maker) -> None:
    x = m.any(least=1, most=3)
    size = m.at(x).shape[0]
    if min(m.at(x).shape) == 0:
        raise Unfit
    places = m.rng.permutation(size)[: int(m.rng.integers(1, size + 1))].reshape(-1, 1)
    updates = m.numbers(len(places), *m.at(x).shape[1:])
    m.keep(m.one("ScatterND", x, places, updates))


@recipe
def best(m: Maker) -> None:
    x = m.any(least=1)
    axis = m.axis(x)
    size = m.at(x).shape[axis]
    if size < 1:
        raise Unfit
    m.untied(x, axis)
    count = np.array([int(m.rng.integers(1, size + 1))], i64)
    m.keep(*m.add("TopK", x, count, outputs=2, axis=axis, largest=int(m.coin())))


@recipe
def running(m: Maker) -> None:
    x = m.any(least=1)
    name = str(m.rng.choice(["CumSum", "CumProd"]))
    flags = {"exclusive": int(m.coin()), "reverse": int(m.coin())}
    m.keep(m.one(name, x, np.array(m.axis(x)), **flags))


@recipe
def triangle(m: Maker) -> None:
    m.keep(m.one("Trilu", m.any(least=2), np.array(int(m.rng.integers(-1, 2))), upper=int(m.coin())))


@recipe
def backwards(m: Maker) -> None:
    x = m.any(least=2)
    time, batch = m.at(x).shape[:2]
    if time == 0:
        raise Unfit
    m.keep(m.one("ReverseSequence", x, m.rng.integers(1, time + 1, batch), time_axis=0, batch_axis=1))


@recipe
def centre(m: Maker) -> None:
    x = m.any(least=1)
    axis = m.axis(x)
    m.keep(m.one("CenterCropPad", x, np.array([int(m.rng.integers(1, 6))], i64), axes=(axis,)))


@recipe
def hot(m: Maker) -> None:
    x = m.any(rank=0)
    m.keep(m.one("OneHot", m.rng.integers(0, 3, (2, 2)), np.array(3), m.one("Concat", *(
        m.one("Unsqueeze", each, np.array([0])) for each in (x, m.one("Neg", x))), axis=0)))  # fmt: skip


# Products.


@recipe
def product(m: Maker) -> None:
    x = m.any(least=1, most=4)
    k = m.at(x).shape[-1]
    m.keep(m.one("MatMul", x, m.numbers(k, int(m.rng.integers(1, 4)))))


@recipe
def batched_product(m: Maker) -> None:
    x = m.any(least=2, most=4)
    turned = m.one("Transpose", x, perm=(*range(x.type.rank - 2), x.type.rank - 1, x.type.rank - 2))
    m.keep(m.one("MatMul", *((x, turned) if m.coin() else (turned, x))))


@recipe
def gemm(m: Maker) -> None:
    x = m.any(rank=2)
    rows, columns = m.at(x).shape
    turned = int(m.coin())
    k = rows if turned else columns
    other = m.numbers(*((3, k) if (flip := int(m.coin())) else (k, 3)))
    m.keep(m.one("Gemm", x, other, m.numbers(3), transA=turned, transB=flip, alpha=0.7, beta=1.3))


@recipe
def einsum(m: Maker) -> None:
    x = m.any(rank=2)
    equation = str(m.rng.choice(["ij,kj->ik", "ij,ij->i", "ij,kl->", "ij,kj->ki", "ij->ji"]))
    inputs = [x] if equation == "ij->ji" else [x, x]
    m.keep(m.one("Einsum", *inputs, equation=equation))


@recipe
def determinant(m: Maker) -> None:
    x = m.any(least=2, most=3)
    rows, columns = m.at(x).shape[-2:]
    if rows != columns or rows > 4:
        raise Unfit
    m.keep(m.one("Det", x))


# Normalization.


@recipe
def softmax(m: Maker) -> None:
    x = m.any(least=1)
    m.keep(m.one(str(m.rng.choice(["Softmax", "LogSoftmax"])), x, axis=m.axis(x)))


def _spread(m: Maker, x: Value, axes: tuple[int, ...]) -> None:
    """Normalizing what does not vary amplifies rounding."""
    if m.size(x) == 0 or np.var(m.at(x), axis=axes).min() < 1e-2:
        raise Unfit


@recipe
def layer_norm(m: Maker) -> None:
    x = m.any(least=1)
    axis = m.axis(x) % x.type.rank
    _spread(m, x, tuple(range(axis, x.type.rank)))
    shape = m.at(x).shape[axis:]
    m.keep(m.one("LayerNormalization", x, m.numbers(*shape), m.numbers(*shape), axis=axis, epsilon=1e-3))


@recipe
def norms(m: Maker) -> None:
    x = m.any(least=3)
    name = str(m.rng.choice(["InstanceNormalization", "GroupNormalization", "MeanVarianceNormalization"]))
    channels = m.at(x).shape[1]
    if name == "MeanVarianceNormalization":
        axes = (0, *range(2, x.type.rank))
        _spread(m, x, axes)
        m.keep(m.one(name, x, axes=axes))
        return
    _spread(m, x, tuple(range(2, x.type.rank)))
    more = {"num_groups": channels} if name == "GroupNormalization" else {}
    m.keep(m.one(name, x, m.numbers(channels), m.numbers(channels), epsilon=1e-3, **more))


@recipe
def batch_norm(m: Maker) -> None:
    x = m.any(least=2)
    channels = m.at(x).shape[1]
    vectors = [m.numbers(channels), m.numbers(channels), m.numbers(channels), m.numbers(channels, low=0.5, high=2.0)]
    m.keep(m.one("BatchNormalization", x, *vectors))


@recipe
def length_norm(m: Maker) -> None:
    x = m.any(least=1)
    axis = m.axis(x)
    if m.size(x) == 0 or np.sqrt((m.at(x) ** 2).sum(axis)).min() < 0.1:
        raise Unfit
    m.keep(m.one("LpNormalization", x, axis=axis, p=2))


@recipe
def root_norm(m: Maker) -> None:
    x = m.any(least=1)
    m.keep(m.one("RMSNormalization", x, m.numbers(m.at(x).shape[-1]), axis=-1, epsilon=1e-2))


@recipe
def response(m: Maker) -> None:
    m.keep(m.one("LRN", m.image(), size=3, alpha=0.1, bias=1.5))


@recipe
def dropped(m: Maker) -> None:
    m.keep(m.add("Dropout", m.any(), outputs=2)[0])


# Pictures.


@recipe
def convolution(m: Maker) -> None:
    x = m.image()
    channels = m.at(x).shape[1]
    group = 2 if channels % 2 == 0 and m.coin(0.3) else 1
    w = m.numbers(2 * group, channels // group, 2, 3)
    strides = (int(m.rng.integers(1, 3)), 1)
    m.keep(m.one("Conv", x, w, m.numbers(2 * group), strides=strides, pads=(1, 1, 0, 1), group=group))


@recipe
def convolution_back(m: Maker) -> None:
    x = m.image()
    w = m.numbers(m.at(x).shape[1], 2, 2, 2)
    m.keep(m.one("ConvTranspose", x, w, strides=(2, 1), pads=(0, 1, 0, 0)))


@recipe
def pool(m: Maker) -> None:
    x = m.image()
    name = str(m.rng.choice(["MaxPool", "AveragePool", "LpPool"]))
    if name == "MaxPool":
        order = m.rng.permutation(m.size(x)).reshape(m.at(x).shape)
        x = m.one("Add", m.bounded(x, 0.04), order * 0.1 - 1.0)
    if name == "LpPool":
        x = m.positive(x)
    m.keep(m.one(name, x, kernel_shape=(2, 3), strides=(2, 1), pads=(0, 1, 0, 1)))


@recipe
def pool_all(m: Maker) -> None:
    x = m.image()
    name = str(m.rng.choice(["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"]))
    x = m.untied(x) if name == "GlobalMaxPool" else m.positive(x) if name == "GlobalLpPool" else x
    m.keep(m.one(name, x))


@recipe
def resize(m: Maker) -> None:
    x = m.image()
    mode = str(m.rng.choice(["nearest", "linear", "cubic"]))
    sizes = np.array([*m.at(x).shape[:2], int(m.rng.integers(2, 8)), int(m.rng.integers(2, 8))], i64)
    m.keep(m.one("Resize", x, None, None, sizes, mode=mode))


@recipe
def regroup(m: Maker) -> None:
    x = m.image()
    height, width = m.at(x).shape[2:]
    if height % 2 == 0 and width % 2 == 0:
        m.keep(m.one("SpaceToDepth", x, blocksize=2))
    elif m.at(x).shape[1] % 4 == 0:
        m.keep(m.one("DepthToSpace", x, blocksize=2, mode=str(m.rng.choice(["DCR", "CRD"]))))
    else:
        raise Unfit


@recipe
def sample(m: Maker) -> None:
    x = m.image()
    grid = m.bounded(m.numbers(m.at(x).shape[0], 2, 3, 2), 0.8)
    height, width = m.at(x).shape[2:]
    places = (m.at(grid) + 1) * np.array([width, height]) / 2 - 0.5
    if np.abs(places - np.round(places)).min() < 1e-2:  # bilinear sampling has kinks at pixels
        raise Unfit
    m.keep(m.one("GridSample", x, grid, mode="linear"))


@recipe
def transform(m: Maker) -> None:
    x = m.any(rank=1)
    if not 2 <= m.size(x) <= 16:
        raise Unfit
    column = m.one("Reshape", x, np.array([1, -1, 1], i64))
    m.keep(m.one("DFT", column, None, np.array(1)))


# Losses.


@recipe
def loss(m: Maker) -> None:
    x = m.any(rank=2)
    rows, classes = m.at(x).shape
    if min(rows, classes) == 0:
        raise Unfit
    labels = m.rng.integers(0, classes, rows)
    kind = str(m.rng.choice(["mean", "sum", "none"]))
    if m.coin():
        m.keep(m.one("SoftmaxCrossEntropyLoss", x, labels, reduction=kind))
    else:
        m.keep(m.one("NegativeLogLikelihoodLoss", m.one("LogSoftmax", x, axis=1), labels, reduction=kind))


__all__ = ["RECIPES"]
