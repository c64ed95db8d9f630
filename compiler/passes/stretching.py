"""Rules for `dlc.ExpandTo` and the sums that undo it: what is computed on stretched copies is computed before."""

from __future__ import annotations

from dlc.compiler.build import current, op, private
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.reduction import count, reduced_axes
from dlc.compiler.passes.match import Sole, argument, arguments, attributes, is_scalar, rule
from dlc.compiler.registry import operators
from dlc.compiler.types import Shape, product

_ELEMENTWISE = tuple(
    name
    for name, record in operators().items()
    if record.broadcasts and name not in ("MatMul", "Gemm", "PRelu", "Clip")
)
_OF_ONE_ELEMENT = (
    "Neg", "Abs", "Sign", "Relu", "Exp", "Log", "Sqrt", "Reciprocal", "Sigmoid", "Softplus", "Tanh", "Erf", "Not",
    "Cast",
)  # fmt: skip


@rule(*_ELEMENTWISE, *_OF_ONE_ELEMENT)
def stretch_late(node: Node, *inputs: Value) -> Value | None:
    """Elementwise operators stretch by themselves: they take what is stretched as it was, or stretch what they give.

    A constant of one element is a scalar to them.
    """
    plain = [_unstretched(value) for value in inputs]
    if all(a is b for a, b in zip(plain, inputs, strict=True)):
        return None
    value = current().add(node.op, plain, node.attributes).output
    return _stretched(value, node.output.shape)


def _unstretched(value: Value) -> Value:
    x = argument(value, "dlc.ExpandTo")
    if x is not None and not _at_run(value):
        return x
    array = value.constant
    return current().constant(array.reshape(())) if array is not None and array.size == 1 and array.ndim else value


def _stretched(value: Value, shape: Shape) -> Value:
    return value if value.shape == shape else private.ExpandTo(value, shape=shape)


def _at_run(*values: Value) -> int | None:
    """The mark of a stretch or a sum that is decided at run time, if one of several is."""
    return 1 if any("at_run" in attributes(value) for value in values) else None


@rule("dlc.ExpandTo")
def expand(node: Node, x: Value) -> Value | None:
    """A stretch that changes nothing, and the second of two. One of a tensor that only adds axes is a reshape."""
    shape: Shape = node.attributes["shape"]
    if x.shape == shape:
        return x
    if (inner := argument(x, "dlc.ExpandTo")) is not None:
        return private.ExpandTo(inner, shape=shape, at_run=_at_run(node.output, x))
    if x.shape and shape[len(shape) - x.type.rank :] == x.shape and product(shape) == x.type.size:
        return private.ReshapeTo(x, shape=shape)
    return None


@rule("dlc.SumTo")
def sum_to(node: Node, x: Value, *, sole: Sole) -> Value | None:
    """A sum that changes nothing, the second of two, the sum of copies, and factors outside the sum."""
    shape: Shape = node.attributes["shape"]
    if x.shape == shape:
        return x
    if (inner := argument(x, "dlc.SumTo")) is not None:
        return private.SumTo(inner, shape=shape, at_run=_at_run(node.output, x))
    ahead = x.type.rank - len(shape)
    dims = [dim for axis, dim in enumerate(x.shape) if axis < ahead or shape[axis - ahead] != dim]
    if product(dims) == 1:
        return private.ReshapeTo(x, shape=shape)
    copied = argument(x, "dlc.ExpandTo")
    if copied is not None and not _at_run(node.output, x) and (not copied.shape or copied.shape == shape):
        return _stretched(copied * count(product(dims), copied), shape)
    return _factor_outside(node, x, sole)


@rule("ReduceSum")
def reduce_sum(node: Node, x: Value, axes: Value | None = None, *, sole: Sole) -> Value | None:
    """The sum of a stretched scalar, sums over axes of size 1, and factors outside the sum."""
    dims = [x.shape[axis] for axis in reduced_axes(node)]
    if product(dims) == 1:
        return private.ReshapeTo(x, shape=node.output.shape)
    copied = argument(x, "dlc.ExpandTo")
    if copied is not None and not copied.shape:
        return _stretched(copied * count(product(dims), copied), node.output.shape)
    return _factor_outside(node, x, sole)


@rule("ReduceMean")
def reduce_mean(node: Node, x: Value, axes: Value | None = None, *, sole: Sole) -> Value | None:
    """Factors outside the mean. The mean of copies is left alone: of no copies it is NaN."""
    return _factor_outside(node, x, sole)


def _factor_outside(node: Node, x: Value, sole: Sole) -> Value | None:
    """sum(x * s) -> sum(x) * s for a scalar s, sum(-x) -> -sum(x), if nothing else reads what is summed."""
    if not sole(x) or not x.type.is_float:
        return None
    if (inner := argument(x, "Neg")) is not None:
        return -current().add(node.op, (inner, *node.inputs[1:]), node.attributes).output
    for name in ("Mul", "Div"):
        factors = arguments(x, name)
        if factors and is_scalar(factors[1]):
            total = current().add(node.op, (factors[0], *node.inputs[1:]), node.attributes).output
            return op[name](total, factors[1])
    return None


@rule("ReduceSum")
def sum_of_squares(node: Node, x: Value, axes: Value | None = None, *, sole: Sole) -> Value | None:
    factors = arguments(x, "Mul")
    if not factors or factors[0] is not factors[1] or not sole(x) or not x.type.is_float:
        return None
    return current().add("ReduceSumSquare", (factors[0], *node.inputs[1:]), node.attributes).output


@rule("dlc.Size")
def static_size(node: Node) -> Value | None:
    dim = node.attributes["dim"]
    return current().constant(dim, "i64") if isinstance(dim, int) else None
