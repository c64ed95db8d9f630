"""ONNX operators in numpy: those that come often, and those that onnx's reference implementation has in float32 only.

Each keeps the element type it is given, so that float64 stays float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dlc.compiler.types import Array, numpy_dtype

_erf = np.frompyfunc(math.erf, 1, 1)


def _divide(a: Array, b: Array) -> Array:
    """Integers are cut toward zero."""
    if a.dtype.kind == "f":
        return np.asarray(a / b)
    size = np.abs(a) // np.maximum(np.abs(b), 1)
    return np.asarray(size * np.sign(a) * np.sign(b), a.dtype)


def _softplus(x: Array) -> Array:
    return np.asarray(np.logaddexp(x, np.zeros((), x.dtype)))


def _sigmoid(x: Array) -> Array:
    return np.asarray(np.exp(-_softplus(-x)))


def _gelu(x: Array, approximate: str = "none") -> Array:
    if approximate == "tanh":
        return np.asarray(x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2)
    return np.asarray(x * (1 + erf(math.sqrt(0.5) * x)) / 2)


def erf(x: Array) -> Array:
    return np.asarray(_erf(x), x.dtype)


def _log_softmax(x: Array, axis: int = -1) -> Array:
    if not x.size:
        return x
    shifted = x - x.max(axis, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis, keepdims=True)))


def _clip(x: Array, low: Array | None = None, high: Array | None = None) -> Array:
    raised = x if low is None else np.maximum(x, low)
    return raised if high is None else np.minimum(raised, high)


def _gemm(a: Array, b: Array, c: Array | None = None, *, alpha: float = 1, beta: float = 1, transA: int = 0,
          transB: int = 0) -> Array:  # fmt: skip
    product = (a.T if transA else a) @ (b.T if transB else b)
    scaled = product if alpha == 1 else product * _like(alpha, a)
    return scaled if c is None else np.asarray(scaled + (c if beta == 1 else c * _like(beta, a)))


def _like(number: float, x: Array) -> Any:
    return x.dtype.type(number)


def _n_ary(function: Callable[[Array, Array], Any]) -> Callable[..., Array]:
    def apply(*xs: Array) -> Array:
        total = xs[0]
        for x in xs[1:]:
            total = np.asarray(function(total, x))
        return total

    return apply


def _reduction(function: Callable[[Array, tuple[int, ...]], Any]) -> Callable[..., Array]:
    def apply(x: Array, axes: Array | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Array:
        given = () if axes is None else tuple(int(axis) % x.ndim for axis in axes)
        if not given and not noop_with_empty_axes:
            given = tuple(range(x.ndim))
        kept = np.asarray(function(x, given), x.dtype)
        return kept if keepdims else kept.reshape([dim for axis, dim in enumerate(x.shape) if axis not in given])

    return apply


def _extreme(function: Callable[..., Any], sign: int) -> Callable[[Array, tuple[int, ...]], Any]:
    def apply(x: Array, axes: tuple[int, ...]) -> Any:
        initial = {} if x.size or x.dtype.kind != "f" else {"initial": sign * np.inf}
        return function(x, axis=axes, keepdims=True, **initial)

    return apply


def _sum(x: Array, axes: tuple[int, ...]) -> Array:
    return np.asarray(x.sum(axes, dtype=x.dtype, keepdims=True))


def _log_sum_exp(x: Array, axes: tuple[int, ...]) -> Array:
    top = x.max(axes, keepdims=True) if x.size else np.zeros((), x.dtype)
    top = np.where(np.isfinite(top), top, 0)
    return np.asarray(np.log(_sum(np.exp(x - top), axes)) + top)


def _slice(x: Array, starts: Array, ends: Array, axes: Array | None = None, steps: Array | None = None) -> Array:
    window = [slice(None)] * x.ndim
    for i, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        axis = i if axes is None else int(axes[i])
        step = 1 if steps is None else int(steps[i])
        window[axis] = slice(start, None if step < 0 and end < -x.shape[axis] else end, step)
    return np.asarray(x[tuple(window)])


def _pad(
    x: Array, pads: Array, value: Array | None = None, axes: Array | None = None, *, mode: str = "constant"
) -> Array:
    before, after = np.zeros((2, x.ndim), np.int64)
    chosen = slice(None) if axes is None else axes
    before[chosen], after[chosen] = pads.reshape(2, -1)
    x = x[tuple(slice(max(-b, 0), n - max(-a, 0)) for b, a, n in zip(before, after, x.shape, strict=True))]
    width = [(max(b, 0), max(a, 0)) for b, a in zip(before, after, strict=True)]
    if mode == "constant":
        return np.pad(x, width, constant_values=0 if value is None else value.item())
    return np.pad(x, width, mode=mode)  # type: ignore[call-overload, no-any-return]


def _scatter(data: Array, indices: Array, updates: Array, *, axis: int = 0, reduction: str = "none") -> Array:
    result = data.copy()
    grid: list[Any] = list(np.indices(indices.shape, sparse=True)) if indices.ndim else []
    grid[axis] = indices % data.shape[axis] if data.size else indices
    if reduction == "none":
        result[tuple(grid)] = updates
    else:
        _REDUCTIONS[reduction].at(result, tuple(grid), updates)
    return result


_REDUCTIONS: Mapping[str, np.ufunc] = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def _gather_elements(data: Array, indices: Array, *, axis: int = 0) -> Array:
    grid: list[Any] = list(np.indices(indices.shape, sparse=True))
    grid[axis] = indices
    return np.asarray(data[tuple(grid)])


def _split(x: Array, sizes: Array | None = None, *, axis: int = 0, num_outputs: int = 1) -> list[Array]:
    if sizes is None:
        part = -(-x.shape[axis] // num_outputs)
        sizes = np.full(num_outputs - 1, part)
    else:
        sizes = sizes[:-1]
    return np.split(x, np.cumsum(sizes), axis)


def _reshape(x: Array, shape: Array, *, allowzero: int = 0) -> Array:
    return x.reshape([x.shape[i] if dim == 0 and not allowzero else dim for i, dim in enumerate(shape.tolist())])


def _range(start: Array, limit: Array, step: Array) -> Array:
    return np.asarray(np.arange(start.item(), limit.item(), step.item()), start.dtype)


def _one_hot(indices: Array, depth: Array, values: Array, *, axis: int = -1) -> Array:
    n = int(depth.item())
    places = np.where((indices >= -n) & (indices < n), indices % n, n)  # outside of it nothing is hot
    hot = np.expand_dims(places, axis) == np.arange(n).reshape([-1] + [1] * (indices.ndim - axis % (indices.ndim + 1)))
    return np.asarray(np.where(hot, values[1], values[0]))


def _cast(x: Array, *, to: str, saturate: int = 1, round_mode: str = "up") -> Array:
    """`saturate` and `round_mode` concern the 8-bit floats only, which tensors here do not have."""
    return np.asarray(x, str).astype(object) if to == "str" else x.astype(numpy_dtype(to))


def _identity(x: Array) -> Array:
    return x


OPERATORS: Mapping[str, Callable[..., Any]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": _divide, "MatMul": np.matmul, "Gemm": _gemm,
    "Pow": lambda a, b: np.power(a, b).astype(a.dtype),
    "Mod": lambda a, b, fmod=0: (np.fmod if fmod else np.mod)(a, b),
    "Sum": _n_ary(np.add), "Min": _n_ary(np.minimum), "Max": _n_ary(np.maximum),
    "Mean": lambda *xs: np.divide(_n_ary(np.add)(*xs), _like(len(xs), xs[0])),
    "Less": np.less, "LessOrEqual": np.less_equal, "Greater": np.greater, "GreaterOrEqual": np.greater_equal,
    "Equal": np.equal, "And": np.logical_and, "Or": np.logical_or, "Xor": np.logical_xor, "Not": np.logical_not,
    "Where": np.where, "Clip": _clip, "PRelu": lambda x, slope: np.where(x < 0, x * slope, x),
    "Cast": _cast, "Identity": _identity,
    "Neg": np.negative, "Abs": np.abs, "Sign": np.sign, "Exp": np.exp, "Log": np.log, "Sqrt": np.sqrt,
    "Reciprocal": lambda x: _like(1, x) / x, "Floor": np.floor, "Ceil": np.ceil, "Round": np.rint,
    "Sin": np.sin, "Cos": np.cos, "Tan": np.tan, "Asin": np.arcsin, "Acos": np.arccos, "Atan": np.arctan,
    "Sinh": np.sinh, "Cosh": np.cosh, "Tanh": np.tanh, "Asinh": np.arcsinh, "Acosh": np.arccosh, "Atanh": np.arctanh,
    "Erf": erf, "Gelu": _gelu, "Sigmoid": _sigmoid, "Softplus": _softplus, "Softsign": lambda x: x / (1 + np.abs(x)),
    "Mish": lambda x: x * np.tanh(_softplus(x)), "Relu": lambda x: np.maximum(x, _like(0, x)),
    "LeakyRelu": lambda x, alpha=0.01: np.where(x < 0, _like(alpha, x) * x, x),
    "Elu": lambda x, alpha=1.0: np.where(x < 0, _like(alpha, x) * np.expm1(x), x),
    "Selu": lambda x, alpha=1.6732632423543772, gamma=1.0507009873554805: _like(gamma, x)
    * np.where(x <= 0, _like(alpha, x) * np.expm1(x), x),
    "Celu": lambda x, alpha=1.0: np.where(x < 0, _like(alpha, x) * np.expm1(x / _like(alpha, x)), x),
    "HardSigmoid": lambda x, alpha=0.2, beta=0.5: np.clip(_like(alpha, x) * x + _like(beta, x), 0, 1),
    "HardSwish": lambda x: x * np.clip(x / 6 + _like(0.5, x), 0, 1),
    "ThresholdedRelu": lambda x, alpha=1.0: np.where(x > alpha, x, _like(0, x)),
    "IsNaN": np.isnan,
    "Softmax": lambda x, axis=-1: np.exp(_log_softmax(x, axis)), "LogSoftmax": _log_softmax,
    "ReduceSum": _reduction(_sum),
    "ReduceMean": _reduction(lambda x, axes: np.mean(x, axes, dtype=x.dtype, keepdims=True)),
    "ReduceMax": _reduction(_extreme(np.max, -1)), "ReduceMin": _reduction(_extreme(np.min, 1)),
    "ReduceProd": _reduction(lambda x, axes: np.prod(x, axes, dtype=x.dtype, keepdims=True)),
    "ReduceL1": _reduction(lambda x, axes: _sum(np.abs(x), axes)),
    "ReduceL2": _reduction(lambda x, axes: np.sqrt(_sum(x * x, axes))),
    "ReduceLogSum": _reduction(lambda x, axes: np.log(_sum(x, axes))),
    "ReduceLogSumExp": _reduction(_log_sum_exp),
    "ReduceSumSquare": _reduction(lambda x, axes: _sum(x * x, axes)),
    "Reshape": _reshape, "Transpose": lambda x, perm=None: np.transpose(x, perm),
    "Concat": lambda *xs, axis: np.concatenate(xs, axis), "Split": _split, "Slice": _slice, "Pad": _pad,
    "Expand": lambda x, shape: np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(shape.tolist()))),
    "Squeeze": lambda x, axes=None: np.squeeze(x, None if axes is None else tuple(axes.tolist())),
    "Unsqueeze": lambda x, axes: np.expand_dims(x, tuple(axes.tolist())),
    "Flatten": lambda x, axis=1: x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:])),
    "Tile": lambda x, repeats: np.tile(x, repeats), "Range": _range,
    "Shape": lambda x, start=0, end=None: np.array(x.shape[start:end], np.int64),
    "Size": lambda x: np.array(x.size, np.int64),
    "Gather": lambda data, indices, axis=0: np.take(data, indices, axis), "GatherElements": _gather_elements,
    
    "ScatterElements": _scatter, "Scatter": _scatter, "OneHot": _one_hot,
    "Einsum": lambda *xs, equation: np.einsum(equation, *xs),
}  # fmt: skip

__all__ = ["OPERATORS", "erf"]
