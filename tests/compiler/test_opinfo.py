"""Operators that PyTorch has too, on the sample inputs of PyTorch's own tests (OpInfo): values and gradients.

`OPERATORS` says how PyTorch's arguments are said with ONNX's operators; a sample that it cannot say raises Unsaid and
is left out, and each entry has to say at least one. All is computed in float64.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from dlc.compiler.build import Builder, op, private
from dlc.compiler.evaluate import evaluate
from dlc.compiler.graph import Value
from dlc.compiler.passes import differentiate
from dlc.compiler.types import Type, dtype_of

torch = pytest.importorskip("torch", reason="PyTorch is the oracle; the extra `peers` installs it")
pytest.importorskip("expecttest", reason="PyTorch's own tests need it; the extra `peers` installs it")

SAMPLES = 16  # of each operator


class Unsaid(Exception):
    """A sample whose arguments the entry does not say."""


def only(given: dict[str, Any], *known: str) -> None:
    """Raises Unsaid for an argument that is not among the known ones, unless it says nothing."""
    if any(name not in known and value not in (None, False) for name, value in given.items()):
        raise Unsaid


def axes(dim: Any, rank: int) -> Any:
    if rank == 0:
        raise Unsaid
    several = range(rank) if dim is None or dim == () else dim if isinstance(dim, tuple | list) else (dim,)
    return np.array(list(several), np.int64)


def reduced(name: str, sign: str = "keepdim") -> Callable[..., Any]:
    def make(x: Value, dim: Any = None, keepdim: Any = False, **more: Any) -> Value:
        only(more, "dim", "keepdim")
        return op[name](x, axes(dim, x.type.rank), keepdims=int(bool(keepdim)))

    return make


def plain(name: str) -> Callable[..., Any]:
    def make(*xs: Any, **more: Any) -> Value:
        only(more)
        if not all(isinstance(x, Value) for x in xs):
            raise Unsaid
        return op[name](*xs)

    return make


def binary(name: str) -> Callable[..., Any]:
    def make(x: Value, y: Any, **more: Any) -> Value:
        only(more)
        if isinstance(y, Value) and y.dtype != x.dtype:
            raise Unsaid
        return op[name](x, y if isinstance(y, Value) else np.float64(y))

    return make


def along(name: str) -> Callable[..., Any]:
    def make(x: Value, dim: int, **more: Any) -> Value:
        only(more)
        if x.type.rank == 0:
            raise Unsaid
        return op[name](x, axis=dim)

    return make


def running(name: str) -> Callable[..., Any]:
    def make(x: Value, dim: int, **more: Any) -> Value:
        only(more)
        if x.type.rank == 0:
            raise Unsaid
        return op[name](x, np.array(dim))

    return make


def whole(x: Any, count: int) -> tuple[int, ...]:
    return (x,) * count if isinstance(x, int) else tuple(x)


def convolution(count: int) -> Callable[..., Any]:
    def make(x: Value, w: Value, b: Value | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
             groups: int = 1) -> Value:  # fmt: skip
        if isinstance(padding, str) or x.type.rank != count + 2:
            raise Unsaid
        pads = whole(padding, count) * 2
        return op.Conv(x, w, b, strides=whole(stride, count), pads=pads, dilations=whole(dilation, count), group=groups)

    return make


def transposed(count: int) -> Callable[..., Any]:
    def make(x: Value, w: Value, b: Value | None = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
             groups: int = 1, dilation: Any = 1) -> Value:  # fmt: skip
        if x.type.rank != count + 2:
            raise Unsaid
        return op.ConvTranspose(
            x, w, b, strides=whole(stride, count), pads=whole(padding, count) * 2, dilations=whole(dilation, count),
            output_padding=whole(output_padding, count), group=groups,
        )  # fmt: skip

    return make


def pooled(name: str, count: int) -> Callable[..., Any]:
    def make(x: Value, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
             count_include_pad: bool = True, dilation: Any = 1, **more: Any) -> Value:  # fmt: skip
        only(more)
        if x.type.rank != count + 2 or ceil_mode:
            raise Unsaid  # PyTorch drops windows that begin in the padding
        kernel, stride = whole(kernel_size, count), stride or None
        if any(isinstance(each, tuple | list) and len(each) != count for each in (kernel, stride, padding, dilation)):
            raise Unsaid
        given: dict[str, Any] = {"kernel_shape": kernel, "strides": whole(stride or kernel, count),
                                 "pads": whole(padding, count) * 2}  # fmt: skip
        if name == "AveragePool":
            return op.AveragePool(x, count_include_pad=int(count_include_pad), **given)
        return op.MaxPool(x, dilations=whole(dilation, count), **given)

    return make


def layer_norm(x: Value, shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Value:
    scale = weight if weight is not None else np.ones(tuple(shape))
    return op.LayerNormalization(x, scale, bias, axis=-len(shape), epsilon=eps)


def group_norm(x: Value, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Value:
    if x.type.rank < 3:
        raise Unsaid
    channels = x.type.static_shape()[1]
    scale, shift = (each if each is not None else fill for each, fill in
                    ((weight, np.ones(channels)), (bias, np.zeros(channels))))  # fmt: skip
    return op.GroupNormalization(x, scale, shift, num_groups=groups, epsilon=eps)


def batch_norm(x: Value, mean: Any, var: Any, weight: Any = None, bias: Any = None, training: bool = False,
               momentum: float = 0.1, eps: float = 1e-5) -> Value:  # fmt: skip
    if mean is None or var is None or training:
        raise Unsaid
    if x.type.rank < 3:
        raise Unsaid
    channels = x.type.static_shape()[1]
    scale, shift = (each if each is not None else fill for each, fill in
                    ((weight, np.ones(channels)), (bias, np.zeros(channels))))  # fmt: skip
    return op.BatchNormalization(x, scale, shift, mean, var, epsilon=eps)


def clamp(x: Value, low: Any = None, high: Any = None, **more: Any) -> Value:
    only(more)
    if any(isinstance(each, Value) and each.shape != x.shape for each in (low, high)):
        raise Unsaid
    if low is not None:
        x = op.Max(x, low if isinstance(low, Value) else np.float64(low))
    return x if high is None else op.Min(x, high if isinstance(high, Value) else np.float64(high))


def gather(x: Value, dim: int, index: Value, **more: Any) -> Value:
    only(more)
    others = [i for i in range(x.type.rank) if i != dim % max(x.type.rank, 1)]
    if x.type.rank == 0 or index.type.rank == 0 or any(x.shape[i] != index.shape[i] for i in others):
        raise Unsaid
    return op.GatherElements(x, index, axis=dim)


def scatter_add(x: Value, dim: int, index: Value, src: Value) -> Value:
    if x.type.rank == 0 or index.shape != src.shape:
        raise Unsaid
    return op.ScatterElements(x, index, src, axis=dim, reduction="add")


def index_select(x: Value, dim: int, index: Value) -> Value:
    if x.type.rank == 0 or index.type.rank == 0:
        raise Unsaid
    return op.Gather(x, index, axis=dim)


def where(x: Any, condition: Value, y: Any) -> Value:
    if not all(isinstance(each, Value) for each in (condition, x, y)) or x.dtype != y.dtype:
        raise Unsaid
    return op.Where(condition, x, y)


def pad(x: Value, widths: Any, mode: str = "constant", value: Any = None) -> Value:
    rank, count = x.type.rank, len(widths) // 2
    if mode not in ("constant", "reflect", "replicate", "circular"):
        raise Unsaid
    before, after = [0] * rank, [0] * rank
    for turn in range(count):
        before[rank - 1 - turn], after[rank - 1 - turn] = widths[2 * turn], widths[2 * turn + 1]
    names = {"replicate": "edge", "circular": "wrap"}
    fill = [np.float64(value or 0)] if mode == "constant" else []
    return op.Pad(x, np.array([*before, *after], np.int64), *fill, mode=names.get(mode, mode))


def grid_sample(x: Value, grid: Value, mode: str = "bilinear", padding_mode: str = "zeros",
                align_corners: Any = False) -> Value:  # fmt: skip
    names = {"bilinear": "linear", "bicubic": "cubic"}
    return op.GridSample(
        x, grid, mode=names.get(mode, mode), padding_mode=padding_mode, align_corners=int(bool(align_corners))
    )


def topk(x: Value, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    if x.type.rank == 0 or not sorted:
        raise Unsaid
    return op.TopK(x, np.array([k]), outputs=2, axis=dim, largest=int(largest))[0]


def cross_entropy(x: Value, target: Value, **more: Any) -> Value:
    only(more, "reduction", "ignore_index", "weight")
    if target.dtype != "i64" or x.type.rank < 2:
        raise Unsaid
    return op.SoftmaxCrossEntropyLoss(
        x,
        target,
        more.get("weight"),
        reduction=more.get("reduction", "mean"),
        ignore_index=more.get("ignore_index", -100),
    )


def nll_loss(x: Value, target: Value, **more: Any) -> Value:
    only(more, "reduction", "ignore_index", "weight")
    if x.type.rank < 2:
        raise Unsaid
    return op.NegativeLogLikelihoodLoss(
        x,
        target,
        more.get("weight"),
        reduction=more.get("reduction", "mean"),
        ignore_index=more.get("ignore_index", -100),
    )


def triangle(upper: int) -> Callable[..., Any]:
    return lambda x, diagonal=0: op.Trilu(x, np.array(diagonal), upper=upper)


def alpha(name: str, default: float) -> Callable[..., Any]:
    def make(x: Value, a: Any = None, **more: Any) -> Value:
        only(more, "alpha", "negative_slope", "inplace")
        given = next((more[key] for key in ("alpha", "negative_slope") if key in more), a)
        return op[name](x, alpha=float(default if given is None else given))

    return make


def gelu(x: Value, approximate: str = "none") -> Value:
    return op.Gelu(x, approximate=approximate)


def silu(x: Value, **more: Any) -> Value:
    return op.Swish(x)


def cat(xs: Any, dim: int = 0) -> Value:
    if any(x.type.rank != xs[0].type.rank or x.type.rank == 0 for x in xs):
        raise Unsaid
    return op.Concat(*xs, axis=dim)


def permute(x: Value, *dims: Any) -> Value:
    flat = dims[0] if len(dims) == 1 and isinstance(dims[0], tuple | list) else dims
    if x.type.rank == 0:
        raise Unsaid
    return op.Transpose(x, perm=tuple(dim % x.type.rank for dim in flat))


def addmm(c: Value, a: Value, b: Value, *, beta: Any = 1, alpha: Any = 1) -> Value:
    if isinstance(beta, complex) or isinstance(alpha, complex):
        raise Unsaid
    return op.Gemm(a, b, c, alpha=float(alpha), beta=float(beta))


def softplus(x: Value, beta: float = 1, threshold: float = 20) -> Value:
    return op.Where(x * float(beta) > float(threshold), x, op.Softplus(x * float(beta)) / float(beta))


def prelu(x: Value, weight: Value) -> Value:
    if x.type.rank == 0 or (x.type.rank == 1 and weight.type.size != 1):
        raise Unsaid
    return op.PRelu(x, op.Reshape(weight, np.array([-1, *[1] * max(x.type.rank - 2, 0)], np.int64)))


def pixel_shuffle(x: Value, upscale_factor: int) -> Value:
    if x.type.rank != 4 or x.type.size == 0:
        raise Unsaid
    return op.DepthToSpace(x, blocksize=upscale_factor, mode="CRD")


def response_norm(x: Value, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Value:
    if size % 2 == 0:
        raise Unsaid  # of an even window PyTorch's middle is another
    return op.LRN(x, size=size, alpha=alpha, beta=beta, bias=float(k))


def masked_fill(x: Value, mask: Value, value: Any) -> Value:
    if isinstance(value, Value) and value.dtype != x.dtype:
        raise Unsaid
    return op.Where(mask, value if isinstance(value, Value) else np.array(float(value)), x)


def einsum(xs: Any, equation: str) -> Value:
    before, arrow, after = equation.partition("->")
    if arrow and "..." in before and "..." not in after:
        raise Unsaid  # numpy and ONNX do not sum over an ellipsis
    return op.Einsum(*xs, equation=equation)


UNARY = {
    "abs": "Abs", "acos": "Acos", "acosh": "Acosh", "asin": "Asin", "asinh": "Asinh", "atan": "Atan", "atanh": "Atanh",
    "cos": "Cos", "cosh": "Cosh", "exp": "Exp", "log": "Log", "neg": "Neg", "sigmoid": "Sigmoid", "sin": "Sin",
    "sinh": "Sinh", "sqrt": "Sqrt", "tan": "Tan", "tanh": "Tanh", "reciprocal": "Reciprocal", "erf": "Erf",
    "floor": "Floor", "ceil": "Ceil", "sign": "Sign", "nn.functional.relu": "Relu", "nn.functional.mish": "Mish",
    "nn.functional.softsign": "Softsign", "nn.functional.selu": "Selu", "nn.functional.hardswish": "HardSwish",
    "clone": "Identity", "linalg.det": "Det", "matmul": "MatMul", "mm": "MatMul", "bmm": "MatMul", "mv": "MatMul",
}  # fmt: skip
OPERATORS: dict[str, Callable[..., Any]] = {
    **{name: plain(ours) for name, ours in UNARY.items()},
    **{name: binary(ours) for name, ours in {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "pow": "Pow",
                                            "maximum": "Max", "minimum": "Min"}.items()},
    **{name: reduced(ours) for name, ours in {"amax": "ReduceMax", "amin": "ReduceMin", "sum": "ReduceSum",
                                             "mean": "ReduceMean", "logsumexp": "ReduceLogSumExp"}.items()},
    "prod": reduced("ReduceProd"), "softmax": along("Softmax"), "log_softmax": along("LogSoftmax"),
    "cumsum": running("CumSum"), "cumprod": running("CumProd"), "clamp": clamp, "gather": gather,
    "scatter_add": scatter_add, "index_select": index_select, "where": where, "cat": cat, "permute": permute,
    "tril": triangle(0), "triu": triangle(1), "topk": topk, "addmm": addmm,
    "nn.functional.conv1d": convolution(1), "nn.functional.conv2d": convolution(2),
    "nn.functional.conv3d": convolution(3),
    "nn.functional.conv_transpose1d": transposed(1), "nn.functional.conv_transpose2d": transposed(2),
    "nn.functional.max_pool1d": pooled("MaxPool", 1), "nn.functional.max_pool2d": pooled("MaxPool", 2),
    "nn.functional.avg_pool1d": pooled("AveragePool", 1), "nn.functional.avg_pool2d": pooled("AveragePool", 2),
    "nn.functional.avg_pool3d": pooled("AveragePool", 3), "nn.functional.layer_norm": layer_norm,
    "nn.functional.group_norm": group_norm, "nn.functional.batch_norm": batch_norm, "nn.functional.pad": pad,
    "nn.functional.grid_sample": grid_sample, "nn.functional.cross_entropy": cross_entropy,
    "nn.functional.nll_loss": nll_loss, "nn.functional.leaky_relu": alpha("LeakyRelu", 0.01),
    "nn.functional.elu": alpha("Elu", 1.0), "nn.functional.celu": alpha("Celu", 1.0), "nn.functional.gelu": gelu,
    "nn.functional.silu": silu,
    "nn.functional.softplus": softplus,
    "nn.functional.hardsigmoid": lambda x: op.HardSigmoid(x, alpha=1 / 6, beta=0.5),
    "nn.functional.prelu": prelu, "nn.functional.pixel_shuffle": pixel_shuffle,
    "nn.functional.local_response_norm": response_norm,
    "reshape": lambda x, shape: op.Reshape(x, np.array(shape, np.int64)) if shape else _unsaid(),
    "expand": lambda x, shape: op.Expand(x, np.array([1 if s == -1 else s for s in shape], np.int64)),
    "repeat": lambda x, counts: op.Tile(x, np.array(counts, np.int64)) if len(counts) == x.type.rank else _unsaid(),
    "unsqueeze": lambda x, dim: op.Unsqueeze(x, np.array([dim])),
    "masked_fill": masked_fill, "einsum": einsum,
    "outer": lambda x, y: op.Einsum(x, y, equation="i,j->ij"),
}  # fmt: skip


def _unsaid() -> Any:
    raise Unsaid


def infos() -> Iterator[Any]:
    from torch.testing._internal.common_methods_invocations import op_db

    seen = set()
    for info in op_db:
        if info.name in OPERATORS and info.name not in seen and not info.variant_test_name:
            seen.add(info.name)
            yield info


@pytest.mark.parametrize("info", list(infos()), ids=lambda info: info.name)
def test_samples(info: Any) -> None:
    check_samples(info, OPERATORS[info.name])


def check_samples(info: Any, make: Callable[..., Any]) -> None:
    """The first samples that `make` says; raises AssertionError, also where it says none."""
    said = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's samples use what it deprecates
        torch.manual_seed(1)
        for number, sample in enumerate(info.sample_inputs("cpu", torch.float64, requires_grad=True)):
            if said == SAMPLES:
                break
            try:
                compare(info, make, sample)
                said += 1
            except Unsaid:
                continue
            except Exception as error:
                raise AssertionError(f"sample {number}: {sample}: {error}") from error
    assert said, "not one of the samples can be said"


def compare(info: Any, make: Callable[..., Any], sample: Any) -> None:
    """Values and gradients of one sample; raises Unsaid for one that has nothing to compare."""
    builder = Builder()
    free: dict[str, Any] = {}

    def ours(x: Any) -> Any:
        if isinstance(x, torch.Tensor):
            if x.dtype == torch.float64 and x.requires_grad:
                name = f"x{len(free)}"
                free[name] = x
                return builder.input(name, Type("f64", tuple(x.shape)))
            if x.dtype not in (torch.float64, torch.int64, torch.bool):
                raise Unsaid
            return builder.constant(x.detach().numpy())
        if isinstance(x, tuple | list):
            return type(x)(ours(each) for each in x)
        return x

    with builder:
        args = [ours(x) for x in (sample.input, *sample.args)]
        made = make(*args, **{name: ours(x) for name, x in sample.kwargs.items()})
        if not free or not made.type.is_static:
            raise Unsaid
    theirs = info(sample.input, *sample.args, **sample.kwargs)
    theirs = theirs[0] if isinstance(theirs, tuple | list) else theirs
    if tuple(theirs.shape) != made.type.static_shape():
        raise AssertionError(f"the shape is {made.type}, PyTorch's {tuple(theirs.shape)}")
    weights = np.random.default_rng(2).normal(size=tuple(theirs.shape))
    with builder:
        loss = op.Mul(made, weights)
        loss = op.ReduceSum(loss, keepdims=0) if made.shape else loss
        wanted = {name: private.Gradient(loss, value) for name, value in zip(free, builder.inputs, strict=True)}
        graph = differentiate(builder.graph("sample", {"y": made, **wanted}))
    feeds = {name: x.detach().numpy() for name, x in free.items()}
    assert {dtype_of(each) for each in feeds.values()} == {"f64"}
    found = evaluate(graph, feeds)
    np.testing.assert_allclose(found["y"], theirs.detach().numpy(), rtol=1e-9, atol=1e-9, err_msg="values")
    gradients = torch.autograd.grad((theirs * torch.tensor(weights)).sum(), list(free.values()), allow_unused=True)
    for name, gradient in zip(free, gradients, strict=True):
        other = np.zeros_like(feeds[name]) if gradient is None else gradient.numpy()
        np.testing.assert_allclose(found[name], other, rtol=1e-8, atol=1e-8, err_msg=name)


def test_that_there_are_many() -> None:
    assert len(list(infos())) >= 80
