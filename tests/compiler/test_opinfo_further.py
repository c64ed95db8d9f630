"""Further operators on the sample inputs of PyTorch's own tests: those whose arguments take more words to say.

As in `test_opinfo`, whose table this adds to: values and gradients, in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from dlc.compiler.build import op
from dlc.compiler.graph import Value

torch = pytest.importorskip("torch", reason="PyTorch is the oracle; the extra `peers` installs it")
pytest.importorskip("expecttest", reason="PyTorch's own tests need it; the extra `peers` installs it")

from test_opinfo import Unsaid, check_samples, only, plain, pooled, reduced, transposed, whole  # noqa: E402


def _ints(*numbers: int) -> np.ndarray[Any, Any]:
    return np.array(numbers, np.int64)


def embedding(weight: Value, indices: Value, **more: Any) -> Value:
    only(more, "padding_idx")
    if more.get("padding_idx") is not None:
        raise Unsaid
    return op.Gather(weight, indices)


def interpolate(x: Value, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
                align_corners: Any = None, **more: Any) -> Value:  # fmt: skip
    only(more)
    count = x.type.rank - 2
    if size is None or mode not in ("nearest", "nearest-exact", "linear", "bilinear", "trilinear", "bicubic"):
        raise Unsaid  # of a scale PyTorch rounds the size, and may compute with either
    sizes = _ints(*x.type.static_shape()[:2], *whole(size, count))
    if "nearest" in mode:
        exact = mode == "nearest-exact"
        return op.Resize(
            x, None, None, sizes, mode="nearest", nearest_mode="round_prefer_ceil" if exact else "floor",
            coordinate_transformation_mode="half_pixel" if exact else "asymmetric",
        )  # fmt: skip
    return op.Resize(
        x, None, None, sizes, mode="cubic" if mode == "bicubic" else "linear", cubic_coeff_a=-0.75,
        coordinate_transformation_mode="align_corners" if align_corners else "half_pixel",
    )  # fmt: skip


def instance_norm(x: Value, running_mean: Any = None, running_var: Any = None, weight: Any = None, bias: Any = None,
                  use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5) -> Value:  # fmt: skip
    if running_mean is not None or not use_input_stats:
        raise Unsaid
    channels = x.type.static_shape()[1]
    scale = weight if weight is not None else np.ones(channels)
    return op.InstanceNormalization(x, scale, bias if bias is not None else np.zeros(channels), epsilon=eps)


def rms_norm(x: Value, shape: Any, weight: Any = None, eps: Any = None) -> Value:
    scale = weight if weight is not None else np.ones(tuple(shape))
    epsilon = float(np.finfo(np.float64).eps) if eps is None else eps
    return op.RMSNormalization(x, scale, axis=-len(shape), epsilon=epsilon)


def shrink(soft: bool) -> Callable[..., Any]:
    def make(x: Value, lambd: float = 0.5) -> Value:
        return op.Shrink(x, lambd=float(lambd), bias=float(lambd) if soft else 0.0)

    return make


def hardtanh(x: Value, min_val: float = -1.0, max_val: float = 1.0, **more: Any) -> Value:
    only(more)
    return op.Clip(x, np.float64(min_val), np.float64(max_val))


def scattered(x: Value, dim: int, index: Value, source: Any, *, reduce: Any = None) -> Value:
    if x.type.rank == 0 or reduce not in (None, "add", "multiply") or not isinstance(source, Value):
        raise Unsaid
    if index.type.rank != x.type.rank or index.shape != source.shape:
        raise Unsaid
    names = {None: "none", "add": "add", "multiply": "mul"}
    return op.ScatterElements(x, index, source, axis=dim, reduction=names[reduce])


def sort(x: Value, dim: int = -1, descending: bool = False, stable: Any = None) -> Value:
    if x.type.rank == 0 or x.type.size == 0:
        raise Unsaid
    count = x.type.static_shape()[dim]
    return op.TopK(x, _ints(count), axis=dim, largest=int(descending), outputs=2)[0]


def single(name: str, count: int) -> Callable[..., Any]:
    """A pool to one element of each channel."""

    def make(x: Value, size: Any, *more: Any) -> Value:
        if more or whole(size, count) != (1,) * count or x.type.rank != count + 2:
            raise Unsaid
        return op[name](x)

    return make


def pixel_unshuffle(x: Value, downscale_factor: int) -> Value:
    if x.type.rank != 4 or x.type.size == 0:
        raise Unsaid
    n, c, h, w = x.type.static_shape()
    f = downscale_factor
    split = op.Reshape(x, _ints(n, c, h // f, f, w // f, f))
    moved = op.Transpose(split, perm=(0, 1, 3, 5, 2, 4))
    return op.Reshape(moved, _ints(n, c * f * f, h // f, w // f))


def stack(xs: Any, dim: int = 0) -> Value:
    return op.Concat(*(op.Unsqueeze(x, _ints(dim)) for x in xs), axis=dim)


def vector_norm(x: Value, ord: Any = 2, dim: Any = None, keepdim: bool = False, **more: Any) -> Value:
    only(more)
    if ord not in (1, 2) or x.type.rank == 0:
        raise Unsaid
    return reduced("ReduceL1" if ord == 1 else "ReduceL2")(x, dim, keepdim)


def attention(q: Value, k: Value, v: Value, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False,
              **more: Any) -> Value:  # fmt: skip
    only(more)
    if q.type.rank != 4 or dropout_p or attn_mask is not None:
        raise Unsaid
    return op.Attention(q, k, v, is_causal=int(is_causal))


def linear(x: Value, weight: Value, bias: Any = None) -> Value:
    if weight.type.rank != 2:
        raise Unsaid
    y = x @ op.Transpose(weight, perm=(1, 0))
    return y if bias is None else y + bias


def fmod(x: Value, y: Any, **more: Any) -> Value:
    only(more)
    if isinstance(y, Value) and y.dtype != x.dtype:
        raise Unsaid
    return op.Mod(x, y if isinstance(y, Value) else np.float64(y), fmod=1)


OPERATORS: dict[str, Callable[..., Any]] = {
    "nn.functional.embedding": embedding, "nn.functional.interpolate": interpolate,
    "nn.functional.instance_norm": instance_norm, "nn.functional.rms_norm": rms_norm,
    "nn.functional.hardshrink": shrink(False), "nn.functional.softshrink": shrink(True),
    "nn.functional.hardtanh": hardtanh, "nn.functional.relu6": lambda x: op.Clip(x, np.float64(0), np.float64(6)),
    "nn.functional.max_pool3d": pooled("MaxPool", 3), "nn.functional.conv_transpose3d": transposed(3),
    "nn.functional.adaptive_avg_pool1d": single("GlobalAveragePool", 1),
    "nn.functional.pixel_unshuffle": pixel_unshuffle, "nn.functional.linear": linear,
    "nn.functional.scaled_dot_product_attention": attention,
    "scatter": scattered, "sort": sort, "stack": stack, "linalg.vector_norm": vector_norm, "fmod": fmod,
    "round": plain("Round"), "positive": plain("Identity"), "linalg.multi_dot": lambda xs: op.Identity(_chain(xs)),
    "tile": lambda x, counts: op.Tile(x, _ints(*counts)) if len(counts) == x.type.rank else _unsaid(),
}  # fmt: skip


def _chain(xs: Any) -> Value:
    total = xs[0]
    for x in xs[1:]:
        total = total @ x
    return total


def _unsaid() -> Any:
    raise Unsaid


def infos() -> Iterator[Any]:
    from torch.testing._internal.common_methods_invocations import op_db

    return (info for info in op_db if info.name in OPERATORS and not info.variant_test_name)


@pytest.mark.parametrize("info", list(infos()), ids=lambda info: info.name)
def test_further_samples(info: Any) -> None:
    check_samples(info, OPERATORS[info.name])


def test_that_each_is_known_to_pytorch() -> None:
    variants = {"nn.functional.interpolate"}  # its modes are variants, each tested below
    assert {info.name for info in infos()} == OPERATORS.keys() - variants


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "linear", "bilinear", "trilinear", "bicubic"])
def test_interpolation(mode: str) -> None:
    from torch.testing._internal.common_methods_invocations import op_db

    info = next(each for each in op_db if each.name == "nn.functional.interpolate" and each.variant_test_name == mode)
    check_samples(info, interpolate)
