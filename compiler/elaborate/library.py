"""The functions of the library that are written in Python: thin names over operators, with checks that the language asks.

What can be said in the language itself stands in `dlc/compiler/prelude/*.net`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dlc.compiler.build import current, ints, op, private
from dlc.compiler.elaborate.arithmetic import pair, stretch, tensor
from dlc.compiler.elaborate.context import Elaborator
from dlc.compiler.elaborate.entities import Builtin, Direction, Distribution, Instance, describe
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value
from dlc.compiler.types import Dim, Polynomial, Type, product

BUILTINS: dict[str, Any] = {"pi": math.pi}


def function(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Record a function under its name in the language. Parameters called `e`, `frame` are given by the elaborator."""

    def record(call: Callable[..., Any]) -> Callable[..., Any]:
        BUILTINS[name] = Builtin(name, call)
        return call

    return record


def tensor_of(x: Any, what: str) -> Value:
    """An argument that has to be a tensor; raises Problem."""
    if not isinstance(x, Value):
        raise Problem("E0302", f"`{what}` wants a tensor", f"this is {describe(x)}")
    return x


def floating(x: Any, what: str) -> Value:
    """An argument that has to be a tensor of floats; raises Problem."""
    value = tensor_of(x, what)
    if not value.type.is_float:
        raise Problem("E0302", f"`{what}` wants floats", f"this is {value.type}", help="convert it first: `float(x)`")
    return value


# ------------------------------------------------------------------------------------------- elementwise


def _pointwise(name: str, operator: str, python: Callable[[float], float] | None = None) -> None:
    """A function of one tensor, and of compile-time numbers where `python` says how."""

    def call(x: Any) -> Any:
        if python is not None and isinstance(x, int | float) and not isinstance(x, bool):
            try:
                return python(x)
            except (ValueError, OverflowError):
                raise Problem("E0303", f"`{name}` of {x}") from None
        if isinstance(x, Polynomial):
            x = tensor(x, "f32")
        return getattr(op, operator)(floating(x, name))

    BUILTINS[name] = Builtin(name, call)


for _name, _operator, _python in (
    ("relu", "Relu", None), ("sigmoid", "Sigmoid", None), ("tanh", "Tanh", math.tanh), ("softplus", "Softplus", None),
    ("softsign", "Softsign", None), ("exp", "Exp", math.exp), ("log", "Log", math.log), ("sqrt", "Sqrt", math.sqrt),
    ("cos", "Cos", math.cos), ("sin", "Sin", math.sin), ("floor", "Floor", math.floor), ("mish", "Mish", None),
    ("selu", "Selu", None), ("erf", "Erf", math.erf),
):  # fmt: skip
    _pointwise(_name, _operator, _python)


@function("abs")
def absolute(x: Any) -> Any:
    return abs(x) if isinstance(x, int | float) else op.Abs(tensor_of(x, "abs"))


@function("square")
def square(x: Any) -> Any:
    return x * x


@function("leaky_relu")
def leaky_relu(x: Any, slope: float = 0.01) -> Value:
    return op.LeakyRelu(floating(x, "leaky_relu"), alpha=float(slope))  # type: ignore[no-any-return]


@function("elu")
def elu(x: Any, alpha: float = 1.0) -> Value:
    return op.Elu(floating(x, "elu"), alpha=float(alpha))  # type: ignore[no-any-return]


@function("gelu")
def gelu(x: Any) -> Value:
    """x * Phi(x), exactly (Hendrycks & Gimpel, 2016)."""
    value = floating(x, "gelu")
    return value * 0.5 * (op.Erf(value * math.sqrt(0.5)) + 1.0)  # type: ignore[no-any-return]


@function("identity")
def identity(x: Any) -> Any:
    return x


@function("detach")
def detach(x: Any) -> Value:
    return private.Detach(tensor_of(x, "detach"))  # type: ignore[no-any-return]


def _extreme(name: str, operator: str, python: Callable[[Any, Any], Any]) -> None:
    def call(a: Any, b: Any) -> Any:
        if not isinstance(a, Value) and not isinstance(b, Value):
            return python(a, b)
        x, y = pair(a, b, "compared")
        stretch(x.type, y.type, "compared")
        return getattr(op, operator)(x, y)

    BUILTINS[name] = Builtin(name, call)


_extreme("minimum", "Min", min)
_extreme("maximum", "Max", max)


@function("clip")
def clip(x: Any, low: float, high: float) -> Value:
    value = tensor_of(x, "clip")
    return op.Clip(value, low, high)  # type: ignore[no-any-return]


@function("where")
def where(condition: Any, a: Any, b: Any) -> Any:
    """`a` where the condition holds, `b` elsewhere."""
    if isinstance(condition, bool):
        return a if condition else b
    chosen = tensor_of(condition, "where")
    if chosen.dtype != "bool":
        raise Problem("E0302", "`where` chooses by truth values", f"the condition is {chosen.type}")
    like = next((side.dtype for side in (a, b) if isinstance(side, Value)), "f32")
    x, y = tensor(a, like), tensor(b, like)
    x, y = pair(x, y, "chosen between")
    stretch(x.type.with_shape(stretch(x.type, y.type, "chosen between")), chosen.type, "chosen between")
    return op.Where(chosen, x, y)


@function("cast")
def cast(x: Any, to: str) -> Value:
    return op.Cast(tensor_of(x, "cast"), to=to)  # type: ignore[no-any-return]


@function("float")
def float_(e: Elaborator, x: Any) -> Any:
    return op.Cast(x, to=e.mode.working) if isinstance(x, Value) else float(x)


@function("softmax")
def softmax(x: Any, axis: int = -1) -> Value:
    return op.Softmax(floating(x, "softmax"), axis=_axis(x, axis))  # type: ignore[no-any-return]


@function("log_softmax")
def log_softmax(x: Any, axis: int = -1) -> Value:
    return op.LogSoftmax(floating(x, "log_softmax"), axis=_axis(x, axis))  # type: ignore[no-any-return]


# -------------------------------------------------------------------------------------------- reductions


def _axis(x: Value, axis: Any) -> int:
    """One axis, counted from the front; a dimension's name stands for the axis that has it."""
    if isinstance(axis, Polynomial):
        found = [i for i, dim in enumerate(x.shape) if dim == axis]
        if len(found) != 1:
            raise Problem("E0303", f"{len(found) or 'no'} axes of {x.type} are {axis}", "say which by its number")
        return found[0]
    if isinstance(axis, bool) or not isinstance(axis, int):
        raise Problem("E0302", "an axis is an integer or the name of a dimension", f"this is {describe(axis)}")
    if not -x.type.rank <= axis < x.type.rank:
        raise Problem("E0303", f"there is no axis {axis}", f"{x.type} has {x.type.rank}")
    return axis % x.type.rank


def _axes(x: Value, axis: Any) -> tuple[int, ...] | None:
    if axis is None:
        return None
    several = axis if isinstance(axis, list | tuple) else [axis]
    return tuple(sorted({_axis(x, each) for each in several}))


def _reduced(operator: str, x: Value, axis: Any, keep: bool) -> Value:
    axes = _axes(x, axis)
    if axes is None:
        return getattr(op, operator)(x, keepdims=int(keep))  # type: ignore[no-any-return]
    return getattr(op, operator)(x, ints(*axes), keepdims=int(keep))  # type: ignore[no-any-return]


def _counted(e: Elaborator, x: Any, what: str) -> Value:
    """`sum` and `mean` of truth values count them."""
    value = tensor_of(x, what)
    return op.Cast(value, to=e.mode.working) if value.dtype == "bool" else value


def _masked(e: Elaborator, x: Value, mask: Any) -> tuple[Value, Value]:
    """The values that count, the others 0, and the mask in x's shape as numbers."""
    chosen = tensor_of(mask, "mask")
    if chosen.dtype != "bool":
        raise Problem("E0308", "a mask is made of truth values", f"this is {chosen.type}")
    try:
        shape = stretch(x.type, chosen.type.with_dtype(x.dtype), "masked")
    except Problem as problem:
        raise Problem("E0308", f"a mask {chosen.type} does not fit {x.type}", notes=problem.notes) from None
    if shape != x.shape:
        raise Problem("E0308", f"a mask {chosen.type} is bigger than {x.type}")
    weight: Value = op.Cast(chosen, to=x.dtype)
    return op.Where(chosen, x, 0.0), private.ExpandTo(weight, shape=x.shape)


@function("sum")
def sum_(e: Elaborator, x: Any, axis: Any = None, mask: Any = None, keep: bool = False) -> Value:
    value = _counted(e, x if not isinstance(x, list) else stack(x), "sum")
    if mask is not None:
        value, _ = _masked(e, value, mask)
    return _reduced("ReduceSum", value, axis, keep)


@function("mean")
def mean(e: Elaborator, x: Any, axis: Any = None, mask: Any = None, keep: bool = False) -> Value:
    value = _counted(e, x if not isinstance(x, list) else stack(x), "mean")
    if not value.type.is_float:
        value = op.Cast(value, to=e.mode.working)
    if mask is None:
        return _reduced("ReduceMean", value, axis, keep)
    value, weight = _masked(e, value, mask)
    return _reduced("ReduceSum", value, axis, keep) / _reduced("ReduceSum", weight, axis, keep)


@function("max")
def max_(x: Any, axis: Any = None, keep: bool = False) -> Any:
    return max(x) if isinstance(x, list | tuple) else _reduced("ReduceMax", tensor_of(x, "max"), axis, keep)


@function("min")
def min_(x: Any, axis: Any = None, keep: bool = False) -> Any:
    return min(x) if isinstance(x, list | tuple) else _reduced("ReduceMin", tensor_of(x, "min"), axis, keep)


@function("logsumexp")
def logsumexp(x: Any, axis: Any = None, keep: bool = False) -> Value:
    return _reduced("ReduceLogSumExp", floating(x, "logsumexp"), axis, keep)


@function("argmax")
def argmax(x: Any, axis: int = -1, keep: bool = False) -> Value:
    value = tensor_of(x, "argmax")
    return op.ArgMax(value, axis=_axis(value, axis), keepdims=int(keep))  # type: ignore[no-any-return]


# ------------------------------------------------------------------------------------------------- shape


@function("size")
def size(x: Any, axis: Any) -> Dim:
    """The size of an axis: a compile-time number, or the dimension's name."""
    value = tensor_of(x, "size")
    return value.shape[_axis(value, axis)]


@function("same_shape")
def same_shape(a: Any, b: Any) -> bool:
    """Do two tensors agree in every dimension?"""
    return tensor_of(a, "same_shape").shape == tensor_of(b, "same_shape").shape


@function("flatten")
def flatten(x: Any) -> Value:
    """All but the first axis in one: `[B, C, H, W]` is `[B, C * H * W]`."""
    value = tensor_of(x, "flatten")
    if not value.shape:
        raise Problem("E0301", "`flatten` needs an axis to keep", f"this is {value.type}")
    return private.ReshapeTo(value, shape=(value.shape[0], product(value.shape[1:])))  # type: ignore[no-any-return]


@function("reshape")
def reshape(x: Any, shape: Sequence[Any]) -> Value:
    value = tensor_of(x, "reshape")
    dims = tuple(_dimension(each) for each in shape)
    if product(dims) != value.type.size:
        held, asked = value.type.size, product(dims)
        raise Problem("E0301", f"{value.type} cannot take that shape", f"it holds {held} elements, not {asked}")
    return private.ReshapeTo(value, shape=dims)  # type: ignore[no-any-return]


def _dimension(value: Any) -> Dim:
    if isinstance(value, bool) or not isinstance(value, int | Polynomial):
        raise Problem("E0302", "a dimension is an integer", f"this is {describe(value)}")
    return value


@function("squeeze")
def squeeze(x: Any, axis: Any) -> Value:
    value = tensor_of(x, "squeeze")
    axes = _axes(value, axis) or ()
    for each in axes:
        if value.shape[each] != 1:
            raise Problem("E0301", f"axis {each} of {value.type} is {value.shape[each]}, not 1")
    return op.Squeeze(value, ints(*axes))  # type: ignore[no-any-return]


@function("transpose")
def transpose(x: Any, axes: Sequence[int] | None = None) -> Value:
    """The axes in another order; without one, the last two change places."""
    value = tensor_of(x, "transpose")
    order = list(range(value.type.rank))
    if axes is None:
        if len(order) < 2:
            raise Problem("E0301", "`transpose` needs two axes", f"this is {value.type}")
        order[-2:] = order[:-3:-1]
    else:
        order = [_axis(value, each) for each in axes]
        if sorted(order) != list(range(value.type.rank)):
            raise Problem("E0303", f"an order of {value.type.rank} axes is wanted", f"this is {list(axes)}")
    return op.Transpose(value, perm=tuple(order))  # type: ignore[no-any-return]


@function("concat")
def concat(x: Any, axis: int = -1) -> Value:
    parts = _list_of(x, "concat")
    return op.Concat(*parts, axis=_axis(parts[0], axis))  # type: ignore[no-any-return]


@function("stack")
def stack(x: Any, axis: int = 0) -> Value:
    parts = _list_of(x, "stack")
    at = axis if axis >= 0 else axis + parts[0].type.rank + 1
    return op.Concat(*(op.Unsqueeze(part, ints(at)) for part in parts), axis=at)  # type: ignore[no-any-return]


def _list_of(x: Any, what: str) -> list[Value]:
    if not isinstance(x, list | tuple) or not x:
        raise Problem("E0302", f"`{what}` joins a list of tensors", f"this is {describe(x)}")
    parts = [tensor_of(each, what) for each in x]
    for part in parts[1:]:
        if part.dtype != parts[0].dtype or part.type.rank != parts[0].type.rank:
            raise Problem("E0301", f"`{what}` joins tensors of one kind", f"{parts[0].type} and {part.type}")
    return parts


@function("split")
def split(x: Any, n: int, axis: int = -1) -> tuple[Value, ...]:
    """n equal parts."""
    value = tensor_of(x, "split")
    at = _axis(value, axis)
    whole = value.shape[at]
    if not isinstance(whole, int) or whole % n:
        raise Problem("E0301", f"axis {at} of {value.type} cannot be split into {n} equal parts")
    return tuple(op.Split(value, ints(*[whole // n] * n), axis=at, outputs=n))


@function("gather")
def gather(x: Any, index: Any) -> Value:
    """Rows of x: `[V, D]` at `i64[...]` is `[..., D]`."""
    value, at = tensor_of(x, "gather"), tensor_of(index, "gather")
    if at.dtype not in ("i64", "i32"):
        raise Problem("E0302", "`gather` selects by integers", f"the index is {at.type}")
    return op.Gather(value, at, axis=0)  # type: ignore[no-any-return]


@function("one_hot")
def one_hot(e: Elaborator, index: Any, count: int) -> Value:
    at = tensor_of(index, "one_hot")
    values = current().constant(np.array([0, 1], np.float64), e.mode.working)
    return op.OneHot(at, current().constant(count, "i64"), values, axis=-1)  # type: ignore[no-any-return]


@function("on_axis")
def on_axis(x: Any, bias: Any, axis: int) -> Value:
    """x + bias, with bias along one axis of x."""
    value, each = tensor_of(x, "on_axis"), tensor_of(bias, "on_axis")
    return value + _along(each, value, _axis(value, axis))


def _along(vector: Value, x: Value, axis: int) -> Value:
    behind = x.type.rank - axis - 1
    if not behind:
        return vector
    return private.ReshapeTo(vector, shape=(*vector.shape, *[1] * behind))  # type: ignore[no-any-return]


# ------------------------------------------------------------------------------- convolution and pooling


def _spatial(x: Any, what: str) -> int:
    """How many spatial axes a batch of feature maps has; raises Problem."""
    value = tensor_of(x, what)
    if value.type.rank < 3:
        raise Problem("E0301", f"`{what}` wants `[B, C, ...]` with at least one spatial axis", f"this is {value.type}")
    return value.type.rank - 2


def _each(setting: Any, n: int, name: str, least: int) -> tuple[int, ...]:
    values = tuple(setting) if isinstance(setting, list | tuple) else (setting,) * n
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise Problem("E0303", f"`{name}` is an integer of {least} or more", f"this is {describe(value)}")
    if len(values) != n:
        raise Problem("E0303", f"`{name}` has {len(values)} numbers for {n} axes")
    return values


def _pads(pad: Any, x: Value, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> tuple[int, ...]:
    """Padding before and after each spatial axis, as ONNX has it; `same` keeps ceil(size / stride)."""
    n = len(kernel)
    if pad == "valid":
        return (0,) * (2 * n)
    if pad != "same":
        if isinstance(pad, str):
            raise Problem("E0303", '`pad` is a number, `same` or `valid`', f'this is "{pad}"')
        return _each(pad, n, "pad", 0) * 2
    before, after = [], []
    for axis, (k, s, d) in enumerate(zip(kernel, strides, dilations, strict=True)):
        length = x.shape[2 + axis]
        reach = d * (k - 1) + 1
        if s == 1:
            total = reach - 1
        elif isinstance(length, int):
            total = max((-(-length // s) - 1) * s + reach - length, 0)
        else:
            raise Problem("E0305", f"`pad=same` with stride {s} needs a size that is known", f"this is {x.type}")
        before.append(total // 2)
        after.append(total - total // 2)
    return (*before, *after)


@function("convolve")
def convolve(x: Any, weight: Any, stride: Any = 1, pad: Any = 0, dilation: Any = 1, groups: int = 1) -> Value:
    n = _spatial(x, "convolve")
    value, kernel = floating(x, "convolve"), tensor_of(weight, "convolve").type.static_shape()[2:]
    strides, dilations = _each(stride, n, "stride", 1), _each(dilation, n, "dilation", 1)
    if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1:
        raise Problem("E0303", "`groups` is an integer of 1 or more", f"this is {describe(groups)}")
    for axis, (k, d) in enumerate(zip(kernel, dilations, strict=True)):
        _reaches(value, axis, k, d, _pads(pad, value, kernel, strides, dilations), "kernel")
    return op.Conv(  # type: ignore[no-any-return]
        value,
        weight,
        strides=strides,
        pads=_pads(pad, value, kernel, strides, dilations),
        dilations=dilations,
        group=groups,
    )


def _reaches(x: Value, axis: int, kernel: int, dilation: int, pads: Sequence[int], what: str) -> None:
    size = x.shape[2 + axis]
    n = len(pads) // 2
    if isinstance(size, int) and size + pads[axis] + pads[n + axis] < dilation * (kernel - 1) + 1:
        raise Problem(
            "E0301",
            f"a {what} of {kernel} does not fit into {size}",
            f"the input is {x.type}",
            help="pad the input, or take a smaller one",
        )


def _pool(what: str, x: Any, window: Any, stride: Any, pad: Any, ceil: bool) -> tuple[Value, dict[str, Any]]:
    n = _spatial(x, what)
    value = floating(x, what)
    kernel = _each(window, n, "size", 1)
    strides = kernel if stride is None else _each(stride, n, "stride", 1)
    pads = _pads(pad, value, kernel, strides, (1,) * n)
    for axis, k in enumerate(kernel):
        _reaches(value, axis, k, 1, pads, "window")
    return value, {"kernel_shape": kernel, "strides": strides, "pads": pads, "ceil_mode": int(ceil)}


@function("max_pool")
def max_pool(x: Any, size: Any, stride: Any = None, pad: Any = 0, ceil: bool = False) -> Value:
    value, attributes = _pool("max_pool", x, size, stride, pad, ceil)
    return op.MaxPool(value, **attributes)  # type: ignore[no-any-return]


@function("avg_pool")
def avg_pool(x: Any, size: Any, stride: Any = None, pad: Any = 0, ceil: bool = False) -> Value:
    """The mean of each window; padding counts."""
    value, attributes = _pool("avg_pool", x, size, stride, pad, ceil)
    return op.AveragePool(value, count_include_pad=1, **attributes)  # type: ignore[no-any-return]


@function("global_avg_pool")
def global_avg_pool(x: Any) -> Value:
    """`[B, C, ...]` to `[B, C]`."""
    n = _spatial(x, "global_avg_pool")
    return op.ReduceMean(floating(x, "global_avg_pool"), ints(*range(2, n + 2)), keepdims=0)  # type: ignore[no-any-return]


@function("lrn")
def lrn(x: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Value:
    """Local response normalization across channels (Krizhevsky et al., 2012, section 3.3; alpha is divided by size)."""
    _spatial(x, "lrn")
    return op.LRN(  # type: ignore[no-any-return]
        floating(x, "lrn"), size=size, alpha=float(alpha), beta=float(beta), bias=float(k)
    )


# ------------------------------------------------------------------------------------------ random draws


def uniform_bits(e: Elaborator, shape: Sequence[Dim]) -> Value:
    """Bits of the step's own stream at a new site."""
    bits: Value = private.RandomBits(e.scalar("seed"), e.scalar("step"), site=e.site(), shape=tuple(shape))
    return bits


@function("dropout")
def dropout(e: Elaborator, x: Any, rate: Any) -> Value:
    """Each element is dropped with probability `rate`, the others grow by 1 / (1 - rate) (Srivastava et al., 2014)."""
    value = floating(x, "dropout")
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < 1:
        raise Problem("E0303", "a rate of dropout is at least 0 and below 1", f"this is {describe(rate)}")
    if not e.mode.training or e.mode.initial or rate == 0:
        return value
    kept = op.GreaterOrEqual(uniform_bits(e, value.shape), round(rate * 2**31))
    zero, scale = (current().constant(number, value.dtype) for number in (0.0, 1 / (1 - rate)))
    return value * op.Where(kept, scale, zero)


def _uniform(type: Type, site: str) -> Value:
    """u = (bits + 0.5) / 2^31 in (0, 1)."""
    seed = seed_input()
    bits = private.RandomBits(seed, current().constant(0, "i64"), site=site, shape=type.shape)
    return (op.Cast(bits, to=type.dtype) + 0.5) * 2.0**-31  # type: ignore[no-any-return]


def seed_input() -> Value:
    """The graph's input `seed`, made where it is first asked for."""
    builder = current()
    for value in builder.inputs:
        if builder.names[value] == "seed":
            return value
    return builder.input("seed", Type("i64", ()))


def _normal(type: Type, site: str) -> Value:
    """Standard normal by Box and Muller (1958) from two streams."""
    u, v = _uniform(type, f"{site}:u"), _uniform(type, f"{site}:v")
    return op.Sqrt(op.Log(u) * -2.0) * op.Cos(v * (2 * math.pi))  # type: ignore[no-any-return]


def fans(type: Type) -> tuple[int, int]:
    """Inputs and outputs of one unit: rank 2 is [in, out], higher ranks [out, in, kernel...]; raises Problem."""
    shape = type.static_shape()
    if len(shape) < 2:
        raise Problem("E0303", f"this initializer needs two axes or more, and {type} has {len(shape)}")
    if len(shape) == 2:
        return shape[0], shape[1]
    kernel = math.prod(shape[2:])
    return shape[1] * kernel, shape[0] * kernel


def _glorot(type: Type, site: str) -> Value:
    """Uniform in +-sqrt(6 / (in + out)) (Glorot & Bengio, 2010, equation 16)."""
    limit = math.sqrt(6 / sum(fans(type)))
    return _uniform(type, site) * (2 * limit) - limit


def _he(type: Type, site: str) -> Value:
    """Normal with deviation sqrt(2 / in) (He et al., 2015, equation 10)."""
    return _normal(type, site) * math.sqrt(2 / fans(type)[0])


def _filled(number: float) -> Callable[[Type, str], Value]:
    def make(type: Type, site: str) -> Value:
        if not type.shape:
            return current().constant(number, type.dtype)
        shape = current().constant(list(type.static_shape()), "i64")
        return op.ConstantOfShape(shape, value=np.array([number], type.numpy))  # type: ignore[no-any-return]

    return make


BUILTINS["glorot"] = Distribution("glorot", _glorot)
BUILTINS["he"] = Distribution("he", _he)
BUILTINS["zeros"] = Distribution("zeros", _filled(0.0), lambda e, shape: _full(e, shape, 0.0))
BUILTINS["ones"] = Distribution("ones", _filled(1.0), lambda e, shape: _full(e, shape, 1.0))


def _positive(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise Problem("E0303", f"{what} is a positive number", f"this is {describe(value)}")
    return float(value)


@function("normal")
def normal(deviation: Any = 1.0) -> Distribution:
    scale = _positive(deviation, "a deviation")
    return Distribution("normal", lambda type, site: _normal(type, site) * scale)


@function("uniform")
def uniform(a: Any = 1.0) -> Distribution:
    limit = _positive(a, "a bound")
    return Distribution("uniform", lambda type, site: _uniform(type, site) * (2 * limit) - limit)


def _full(e: Elaborator, shape: Any, value: Any) -> Value:
    if not isinstance(shape, list | tuple):
        raise Problem("E0302", "a shape is a list of dimensions", f"this is {describe(shape)}")
    kind = "bool" if isinstance(value, bool) else "i64" if isinstance(value, int) else e.mode.working
    dims = tuple(_dimension(each) for each in shape)
    return private.ExpandTo(tensor(value, kind), shape=dims)  # type: ignore[no-any-return]


@function("full")
def full(e: Elaborator, shape: Any, value: Any) -> Value:
    return _full(e, shape, value)


@function("zeros_like")
def zeros_like(x: Any) -> Value:
    value = tensor_of(x, "zeros_like")
    return private.ExpandTo(current().constant(0, value.dtype), shape=value.shape)  # type: ignore[no-any-return]


@function("constant")
def constant(e: Elaborator, values: Any) -> Any:
    return tensor(values, e.mode.working)


# ------------------------------------------------------------------------------------- losses and metrics


def _pick(x: Value, index: Value, what: str) -> Value:
    """The entry of the last axis that `index` names, that axis kept as 1; raises Problem unless the rest agrees."""
    if index.dtype != "i64":
        raise Problem("E0302", f"`{what}` wants classes as i64", f"these are {index.type}")
    if x.shape[:-1] != index.shape:
        raise Problem(
            "E0301",
            f"`{what}`: scores and classes do not agree",
            f"{x.type} has the classes on its last axis, so i64[{', '.join(map(str, x.shape[:-1]))}] is wanted, "
            f"and this is {index.type}",
        )
    return op.GatherElements(x, op.Unsqueeze(index, ints(-1)), axis=x.type.rank - 1)  # type: ignore[no-any-return]


@function("cross_entropy")
def cross_entropy(
    e: Elaborator, logits: Any, target: Any, mask: Any = None, smoothing: float = 0.0, reduce: Any = "mean"
) -> Value:
    """-log softmax(logits) at the target class; with smoothing s, (1 - s) of that and s of the mean over classes.

    Source: Szegedy et al. (2016), section 7, for the smoothing.
    """
    scores, classes = floating(logits, "cross_entropy"), tensor_of(target, "cross_entropy")
    logs: Value = op.LogSoftmax(scores, axis=scores.type.rank - 1)
    picked = _pick(logs, classes, "cross_entropy")
    if smoothing:
        picked = picked * (1 - smoothing) + op.ReduceMean(logs, ints(-1), keepdims=1) * smoothing
    if reduce is None or mask is not None:
        rows: Value = -op.Squeeze(picked, ints(-1))
        return rows if reduce is None else mean(e, rows, mask=mask)
    return -op.ReduceMean(picked, keepdims=0)  # type: ignore[no-any-return]


@function("accuracy")
def accuracy(e: Elaborator, logits: Any, target: Any, k: int = 1, mask: Any = None) -> Value:
    """The share of examples whose class is among the k highest scores."""
    scores, classes = tensor_of(logits, "accuracy"), tensor_of(target, "accuracy")
    if scores.shape[:-1] != classes.shape:
        _pick(scores, classes, "accuracy")
    if k == 1:
        hit = op.Equal(op.ArgMax(scores, axis=scores.type.rank - 1, keepdims=0), classes)
        return mean(e, hit, mask=mask)
    _, best = op.TopK(scores, ints(k), axis=scores.type.rank - 1, outputs=2)
    hits = op.Cast(op.Equal(best, op.Unsqueeze(classes, ints(-1))), to=e.mode.working)
    return mean(e, op.ReduceSum(hits, ints(-1), keepdims=0), mask=mask)


def _norm(e: Elaborator, part: Any, what: str, measure: Callable[[Value], Value]) -> Value:
    """A measure of one parameter, or the sum over a part's parameters of rank two and more; raises Problem."""
    if isinstance(part, Value):
        return measure(part)
    if not isinstance(part, Instance):
        raise Problem("E0302", f"`{what}` wants a part of a net, or one parameter", f"this is {describe(part)}")
    weights = [
        each.value
        for name, each in e.parameters.items()
        if part.owns(name) and each.role == "parameter" and each.type.rank >= 2
    ]
    if not weights:
        raise Problem("E0303", f"`{part.address}` has no weights of rank two or more", f"`{what}` would be 0")
    total = measure(weights[0])
    for weight in weights[1:]:
        total = total + measure(weight)
    return total


@function("l2")
def l2(e: Elaborator, part: Any) -> Value:
    """The sum of squares."""
    return _norm(e, part, "l2", lambda w: op.ReduceSumSquare(w, keepdims=0))


@function("l1")
def l1(e: Elaborator, part: Any) -> Value:
    """The sum of absolute values."""
    return _norm(e, part, "l1", lambda w: op.ReduceSum(op.Abs(w), keepdims=0))


# ----------------------------------------------------------------------------------------- compile time


@function("zip")
def zip_(*lists: Any) -> list[Any]:
    if len({len(each) for each in lists}) > 1:
        raise Problem("E0303", "`zip` of lists that differ in length", f"{', '.join(str(len(each)) for each in lists)}")
    return list(zip(*lists, strict=True))


@function("len")
def len_(x: Any) -> int:
    if not isinstance(x, list | tuple | range | str):
        raise Problem("E0302", "`len` counts a list", f"this is {describe(x)}")
    return len(x)


@function("range")
def range_(low: Any, high: Any = None) -> list[int]:
    first, last = (0, low) if high is None else (low, high)
    for bound in (first, last):
        if isinstance(bound, bool) or not isinstance(bound, int):
            raise Problem("E0306", "`range` wants integers that are known while compiling", f"this is {describe(bound)}")
    if last - first > 100_000:
        raise Problem("E0310", "a range of more than 100,000 numbers")
    return list(range(first, last))


@function("highest")
def highest(metric: Any) -> Direction:
    return _direction("highest", metric)


@function("lowest")
def lowest(metric: Any) -> Direction:
    return _direction("lowest", metric)


def _direction(word: str, metric: Any) -> Direction:
    if not isinstance(metric, Direction):
        raise Problem("E0302", f"`{word}` wants a metric of a split: `{word}(dev.loss)`", f"this is {describe(metric)}")
    return Direction(word, metric.split, metric.metric)


__all__ = ["BUILTINS", "fans", "function", "seed_input"]
