"""Reductions over axes, running sums, and the softmax family.

The axes of a reduction are its second input, a constant; without it all axes are meant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlc.compiler.build import current, ints, op, private
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.extents import extents
from dlc.compiler.ops.rules import (
    NUMBERS,
    as_shape,
    axis_of,
    expect,
    factor_of_zeros,
    fixed,
    mask,
    normal_axis,
    reduce_sum,
    replaced,
    where,
    zeros,
)
from dlc.compiler.registry import (
    Call,
    IllTyped,
    Infer,
    define,
    gradient,
    lower,
    no_gradient,
    normal_axes,
    zero_gradient,
)
from dlc.compiler.types import FLOATS, Array, Dim, Shape, Type, is_unknown, product, substitute, symbols, unknown

_FLOAT_ONLY = ("ReduceMean", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp")
_ANY_NUMBER = ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceSumSquare")


def _axes(given: Array | None, rank: int, noop: int) -> tuple[int, ...]:
    if given is None or given.size == 0:
        return () if noop else tuple(range(rank))
    return normal_axes(given.tolist(), rank)


def _shrunk(shape: Shape, axes: tuple[int, ...], keepdims: bool) -> Shape:
    if keepdims:
        return tuple(1 if axis in axes else dim for axis, dim in enumerate(shape))
    return tuple(dim for axis, dim in enumerate(shape) if axis not in axes)


def _reduction(allowed: frozenset[str]) -> Infer:
    def infer(call: Call) -> list[Type]:
        x = expect(call, 0, allowed)
        given = fixed(call, 1, "axes")
        if given is not None and given.ndim != 1:
            raise IllTyped(f"{call.op}: its axes are {call.type(1)}, a vector is expected")
        axes = _axes(given, x.rank, call.get("noop_with_empty_axes", 0))
        return [x.with_shape(_shrunk(x.shape, axes, bool(call.get("keepdims", 1))))]

    return infer


for name in _FLOAT_ONLY:
    define(name, _reduction(FLOATS))
for name in _ANY_NUMBER:
    define(name, _reduction(NUMBERS))


def reduced_axes(node: Node) -> tuple[int, ...]:
    """The axes that a reduction sums over, counted from the front."""
    axes = node.inputs[1].constant if len(node.inputs) > 1 and node.inputs[1] is not None else None
    x = node.inputs[0]
    assert x is not None
    return _axes(axes, x.type.rank, node.attributes.get("noop_with_empty_axes", 0))


@dataclass(frozen=True, slots=True)
class Reduced:
    """What a gradient rule asks of the axes that are reduced: known, or an input that is known only at run time."""

    x: Value
    axes: tuple[int, ...] | Value
    kept: Shape  # the shape of the result with these axes back, of size 1
    noop: int = 0  # do no axes, fed at run time, reduce nothing (1) or everything (0)?
    like: Value | None = None  # a value of that shape, if only a run tells which axes are missing

    def over(self, name: str, value: Value) -> Value:
        """`value`, of the shape of x, reduced in the same way; its axes are kept."""
        if isinstance(self.axes, tuple):
            return op[name](value, ints(*self.axes), keepdims=1) if self.axes else value
        declared = (value.type.with_shape(self.kept),)
        return self.stretch(op[name](value, self.axes, noop_with_empty_axes=self.noop, declared=declared))

    def total(self, value: Value) -> Value:
        return self.over("ReduceSum", value)

    def count(self) -> Value | float:
        """How many elements come together in one, as a factor."""
        if isinstance(self.axes, tuple):
            return count(product([self.x.shape[axis] for axis in self.axes]), self.x)
        whole, made = private.Size(dim=product(self.x.shape)), private.Size(dim=product(self.kept))
        value: Value = op.Cast(whole / op.Max(made, np.array(1)), to=self.x.dtype)
        return value

    def stretch(self, value: Value) -> Value:
        """A value of the kept shape in the shape of x, where arithmetic could not tell that it stretches to that."""
        known = isinstance(self.axes, tuple)
        return value if known else private.ExpandTo(value, shape=self.x.shape, at_run=1)


def _reducing(*names: str) -> Callable[[Callable[..., Value]], None]:
    """A gradient rule `f(g, y, x, reduced)` whose `g` and `y` have the reduced axes back, with size 1."""

    def record(rule: Callable[..., Value]) -> None:
        @gradient(*names, at_run=True)
        def _(g: Value, y: Value, node: Node, x: Value) -> tuple[Value]:
            found = _found(node, x)
            whole = [found.stretch(_kept(value, found)) for value in (g, y)]
            cotangent = rule(*whole, x, found)
            return (cotangent if cotangent.shape == x.shape else private.ExpandTo(cotangent, shape=x.shape),)

    return record


def _found(node: Node, x: Value) -> Reduced:
    axes = node.inputs[1] if len(node.inputs) > 1 else None
    if axes is None or axes.constant is not None:
        known = reduced_axes(node)
        return Reduced(x, known, _shrunk(x.shape, known, True))
    noop = node.attributes.get("noop_with_empty_axes", 0)
    if node.attributes.get("keepdims", 1):
        return Reduced(x, axes, node.output.shape, noop)
    wide = node.output.type.with_shape([current().unknown() for _ in x.shape])
    kept = current().add(node.op, node.inputs, {**node.attributes, "keepdims": 1, "declared": (wide,)}).output
    return Reduced(x, axes, wide.shape, noop, kept)


def _kept(value: Value, found: Reduced) -> Value:
    if isinstance(found.axes, tuple):
        return value if value.shape == found.kept else private.ReshapeTo(value, shape=found.kept)
    if found.like is None:
        return as_shape(value, found.kept)
    shape = op.Shape(found.like)
    back: Value = op.Reshape(value, shape, allowzero=1, declared=(value.type.with_shape(found.kept),))
    return back


def count(dim: Dim, like: Value) -> Value | float:
    """A number of elements as a factor for tensors like `like`."""
    if isinstance(dim, int):
        return float(dim)
    value: Value = op.Cast(private.Size(dim=dim), to=like.dtype)
    return value


@_reducing("ReduceSum")
def _(g: Value, y: Value, x: Value, reduced: Reduced) -> Value:
    return g


@_reducing("ReduceMean")
def _(g: Value, y: Value, x: Value, reduced: Reduced) -> Value:
    return g / reduced.count()


@_reducing("ReduceMax", "ReduceMin")
def _(g: Value, y: Value, x: Value, reduced: Reduced) -> Value:
    """Ties share the cotangent in equal parts."""
    wins = mask(op.Equal(x, y), x)
    return wins * (g / reduced.total(wins))


@_reducing("ReduceProd")
def _(g: Value, y: Value, x: Value, reduced: Reduced) -> Value:
    """Each element gets the product of the others, right where elements are zero too.

    A single zero among the others is a factor of its own: 0, but with a derivative. So the second derivative is right
    as well, for any number of zeros.
    """
    is_zero = op.Equal(x, 0.0)
    zero, filled, zeros = mask(is_zero, x), where(is_zero, 1.0, x), where(is_zero, x, 0.0)
    factor = factor_of_zeros(reduced.total(zero) - zero, reduced.total(zeros) - zeros)  # among the others
    return g * factor * reduced.over("ReduceProd", filled) / filled


@_reducing("ReduceL1")
def _(g: Value, y: Value, x: Value, reduced: Reduced) -> Any:
    return g * op.Sign(x)


@_reducing("ReduceL2")
def _(g: Value, y: Value, x: Value, reduced: Reduced) -> Value:
    """0 where the norm is 0, as in PyTorch."""
    return x * (g / where(op.Equal(y, 0.0), 1.0, y))


@_reducing("ReduceLogSum")
def _(g: Value, y: Value, x: Value, reduced: Reduced) -> Value:
    return g / reduced.total(x)


@_reducing("ReduceLogSumExp")
def _(g: Value, y: Value, x: Value, reduced: Reduced) -> Any:
    return g * op.Exp(x - y)


@_reducing("ReduceSumSquare")
def _(g: Value, y: Value, x: Value, reduced: Reduced) -> Value:
    return (2 * g) * x


_LARGE = 1 << 20  # elements; below, the second node costs what it saves


def _in_turns(lowering: Any, node: Node, x: Value, *_: Value) -> Value | None:
    """Axes that lie apart (the 0, 2, 3 of a convolution's bias) are reduced innermost first.

    ONNX Runtime then goes through memory in order on the CPU: measured, twice as fast.
    """
    axes = reduced_axes(node) if node.op in ("ReduceSum", "ReduceMean") else ()
    inner = next((i for i in range(len(axes) - 1, 0, -1) if axes[i] - axes[i - 1] > 1), 0)
    size = substitute(x.type.size, lowering.sizes)
    if not inner or not isinstance(size, int) or size < _LARGE:
        return None
    for part in (axes[inner:], axes[:inner]):
        x = current().add(node.op, (x, current().constant(ints(*part))), {**node.attributes}).output
    return x


def _from_the_front(lowering: Any, node: Node, x: Value, given: Value | None = None) -> Value | None:
    """ONNX Runtime leaves a tensor without elements as it is where its axes are counted from the back."""
    if not _maybe_empty(x) or given is None or given.constant is None or given.constant.min(initial=0) >= 0:
        return _in_turns(lowering, node, x)
    axes = current().constant(ints(*reduced_axes(node)))
    return current().add(node.op, (x, axes), node.attributes).output


def _maybe_empty(x: Value) -> bool:
    return any(dim == 0 or any(map(is_unknown, symbols(dim))) for dim in x.shape)


for name in (*_FLOAT_ONLY, *_ANY_NUMBER):
    lower(name)(_from_the_front)


def _arg(call: Call) -> list[Type]:
    x = expect(call, 0, NUMBERS)
    axis = axis_of(call, 0, x.rank)
    return [Type("i64", _shrunk(x.shape, (axis,), bool(call.get("keepdims", 1))))]


for name in ("ArgMax", "ArgMin"):
    define(name, _arg)
no_gradient("its result is a position", "ArgMax", "ArgMin")


@lower("ArgMax")
def _front(lowering: Any, node: Node, x: Value) -> Any:
    axis = node.attributes.get("axis", 0)
    if axis >= 0 or not _maybe_empty(x):
        return None
    return current().add(node.op, (x,), {**node.attributes, "axis": axis % x.type.rank}).output


lower("ArgMin")(_front)


def _cumsum(call: Call) -> list[Type]:
    x, axis = expect(call, 0, NUMBERS - {"i8", "u8", "i16", "u16"}), fixed(call, 1, "axes")
    if axis is None or axis.size != 1:
        raise IllTyped("CumSum needs one axis as its second input")
    normal_axis("CumSum", int(axis.item()), x.rank)
    return [x]


define("CumSum", _cumsum)


@gradient("CumSum", at_run=True)
def _(g: Value, node: Node, x: Value, axis: Value, *, exclusive: int = 0, reverse: int = 0) -> Any:
    return op.CumSum(g, axis, exclusive=exclusive, reverse=1 - reverse, declared=node.attributes.get("declared"))


def _top_k(call: Call) -> list[Type]:
    x, counts = expect(call, 0, NUMBERS), extents(call.inputs[1] if len(call.inputs) > 1 else None)
    if call.type(1) not in (Type("i64", ()), Type("i64", (1,))):
        raise IllTyped(f"TopK needs one count as its second input, not {call.type(1)}")
    axis, number = axis_of(call, -1, x.rank), unknown() if counts is None else counts[0]
    length = x.shape[axis]
    if isinstance(number, int) and (number < 0 or (isinstance(length, int) and number > length)):
        raise IllTyped(f"TopK of {number} out of {length} elements")
    best = x.with_shape(replaced(x.shape, axis, number))
    return [best, best.with_dtype("i64")][: call.outputs]


define("TopK", _top_k)


@gradient("TopK")
def _(gs: list[Value | None], node: Node, x: Value) -> Any:
    if gs[0] is None:
        return None
    return op.ScatterElements(
        zeros(x.type), node.outputs[1], gs[0], axis=node.attributes.get("axis", -1), reduction="add"
    )


def _softmax(call: Call) -> list[Type]:
    x = expect(call, 0, FLOATS)
    axis_of(call, -1, x.rank)
    return [x]


for name in ("Softmax", "LogSoftmax", "Hardmax"):
    define(name, _softmax)
zero_gradient("it is flat between its steps", "Hardmax")


@gradient("Softmax")
def _(g: Value, y: Value, *, axis: int = -1) -> Value:
    weighted = g * y
    return weighted - y * reduce_sum(weighted, axis)


@gradient("LogSoftmax")
def _(g: Value, y: Value, *, axis: int = -1) -> Any:
    """A cotangent that was scattered from few places (cross entropy) is summed before and added after the scatter.

    Only if something is scattered into each row: a scatter may have fewer rows than its data.
    """
    axis %= y.type.rank
    scatter = g.node
    if scatter is not None and scatter.op == "ScatterElements" and scatter.attributes.get("reduction") == "add":
        data, indices, updates = scatter.inputs
        assert updates is not None, "the type rule asked for them"
        along = scatter.attributes.get("axis", 0) % y.type.rank
        if along == axis and _is_zero(data) and replaced(updates.shape, axis, y.shape[axis]) == y.shape:
            dense = op.Exp(y) * -reduce_sum(updates, axis)
            return op.ScatterElements(dense, indices, updates, axis=axis, reduction="add")
    return g - op.Exp(y) * reduce_sum(g, axis)


def _is_zero(x: Value | None) -> bool:
    while x is not None and x.node is not None and x.node.op == "dlc.ExpandTo":
        x = x.node.inputs[0]
    return x is not None and x.constant is not None and not x.constant.any()
