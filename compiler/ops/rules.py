"""What the type rules and gradient rules of several families share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from dlc.compiler.build import ints, op, private
from dlc.compiler.dims import sizes_of
from dlc.compiler.graph import Value
from dlc.compiler.registry import Call, IllTyped, Infer
from dlc.compiler.types import FLOATS, INTEGERS, Array, Dim, Shape, Type, broadcast

NUMBERS = FLOATS | INTEGERS
BOOL = frozenset({"bool"})
ANY: frozenset[str] = frozenset()  # no restriction
_KIND = {FLOATS: "a float", INTEGERS: "an integer", NUMBERS: "a number", BOOL: "a bool"}


def expect(call: Call, index: int, allowed: frozenset[str]) -> Type:
    """The type of an input whose elements must be of a kind; raises IllTyped."""
    found = call.type(index)
    if allowed and found.dtype not in allowed:
        raise IllTyped(f"{call.op} takes {_KIND.get(allowed, ' or '.join(sorted(allowed)))}, not {found}")
    return found


def flag(call: Call, name: str) -> bool:
    """An attribute that is 0, which is what it is where it is missing, or 1; raises IllTyped."""
    value = call.get(name, 0)
    if value not in (0, 1):
        raise IllTyped(f"{call.op}: {name} = {value}: 0 or 1 is expected")
    return bool(value)


def stretches(small: Shape, large: Shape, at_run: bool = False) -> bool:
    """Whether one shape stretches to another: surely, or, if that is decided `at_run` time, perhaps."""
    return len(small) <= len(large) and all(
        have in (1, want)
        or set(sizes_of(have)) <= set(sizes_of(want))
        or (at_run and not (isinstance(have, int) and isinstance(want, int)))
        for have, want in zip(small[::-1], large[::-1], strict=False)
    )


def factor_of_zeros(count: Value, zeros: Value) -> Value:
    """What the zeros among factors make of a product: 1 where their `count` is 0, and 0 else. A single one is itself,
    so that its derivative is that of a factor; `zeros` is their sum."""
    return where(op.Equal(count, 0.0), 1.0, where(op.Equal(count, 1.0), zeros, 0.0))


def unary(allowed: frozenset[str] = FLOATS, result: str | None = None) -> Infer:
    """The rule of an operator that works on each element alone."""

    def infer(call: Call) -> list[Type]:
        found = expect(call, 0, allowed)
        return [found.with_dtype(result) if result else found]

    return infer


def elementwise(allowed: frozenset[str] = NUMBERS, result: str | None = None) -> Infer:
    """The rule of an operator on one or more tensors of one element type that broadcast."""

    def infer(call: Call) -> list[Type]:
        expect(call, 0, allowed)
        joined = together(call, range(len(call.inputs)))
        return [joined.with_dtype(result) if result else joined]

    return infer


def together(call: Call, indices: Sequence[int]) -> Type:
    """What inputs of one element type broadcast to; raises IllTyped."""
    total = call.type(indices[0])
    for index in indices[1:]:
        other = call.type(index)
        if other.dtype != total.dtype:
            raise IllTyped(f"{call.op} of {total} and {other}: the element types differ")
        total = total.with_shape(stretch(total, other))
    return total


def stretch(left: Type, right: Type) -> Shape:
    """The shape that two types broadcast to; raises IllTyped."""
    try:
        return broadcast(left.shape, right.shape)
    except ValueError:
        raise IllTyped(f"{left} and {right} do not broadcast") from None


def stretched_inputs(call: Call) -> list[Value | None]:
    """The inputs of an elementwise operator, stretched where only a run tells which of two sizes is 1.

    Raises IllTyped.
    """
    shape: Shape = ()
    for value in call.inputs:
        shape = at_run_shape(call.op, shape, value.shape if value is not None else ())
    return [None if value is None else stretched_to(value, shape) for value in call.inputs]


def at_run_shape(op: str, left: Shape, right: Shape) -> Shape:
    """What two shapes broadcast to at run time; raises IllTyped."""
    try:
        return broadcast(left, right, at_run=True)
    except ValueError as error:
        raise IllTyped(f"{op}: {error}") from None


def stretched_to(value: Value, shape: Shape) -> Value:
    """A value whose sizes are all 1 or those of `shape`: the others are stretched at run time."""
    tail = shape[len(shape) - value.type.rank :]
    wanted = tuple(1 if have == 1 else want for have, want in zip(value.shape, tail, strict=True))
    made: Value = value if wanted == value.shape else private.ExpandTo(value, shape=wanted, at_run=1)
    return made


def as_shape(value: Value, shape: Sequence[Dim]) -> Value:
    """A value in a shape that it has, whatever the graph knows of it."""
    same = tuple(shape) == value.shape
    made: Value = value if same else private.ReshapeTo(value, shape=tuple(shape), at_run=1)
    return made


def fixed(call: Call, index: int, what: str) -> Array | None:
    """The constant that an input must be if it is there; raises IllTyped."""
    if not call.has(index):
        return None
    value = call.constant(index)
    if value is None:
        raise IllTyped(f"{call.op} needs {what} that are constants")
    return value


def axis_of(call: Call, default: int, rank: int) -> int:
    """The attribute `axis` counted from the front; raises IllTyped."""
    return normal_axis(call.op, call.get("axis", default), rank)


def normal_axis(op: str, axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise IllTyped(f"{op} along axis {axis} of a tensor of rank {rank}")
    return int(axis) % rank


def show(shape: Sequence[Dim]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def replaced(shape: Sequence[Dim], axis: int, dim: Dim) -> Shape:
    return (*shape[:axis], dim, *shape[axis + 1 :])


def zeros(type: Type) -> Value:
    """Zeros of a type, stretched from one scalar."""
    value: Value = private.ExpandTo(np.zeros((), type.numpy), shape=type.shape)
    return value


def reduce_sum(x: Value, *axes: int, keepdims: bool = True) -> Value:
    value: Value = op.ReduceSum(x, ints(*axes), keepdims=int(keepdims)) if axes else x
    return value


def mask(condition: Value, like: Value) -> Value:
    """1 where the condition holds and 0 elsewhere."""
    value: Value = op.Cast(condition, to=like.dtype)
    return value


def where(condition: Value, yes: Value | float, no: Value | float) -> Value:
    value: Value = op.Where(condition, *_typed(yes, no))
    return value


def _typed(yes: Value | float, no: Value | float) -> tuple[Value | Array, Value | Array]:
    like = yes if isinstance(yes, Value) else no
    assert isinstance(like, Value)
    convert: Callable[[Value | float], Value | Array] = lambda x: (  # noqa: E731
        x if isinstance(x, Value) else np.asarray(x, like.type.numpy)
    )
    return convert(yes), convert(no)
