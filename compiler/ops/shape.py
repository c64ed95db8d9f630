"""Operators that move elements without changing them: views, joins, cuts, padding and repetition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlc.compiler.build import ints, op, private
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.extents import extent_vector, extents
from dlc.compiler.ops.places import by_places, cut_at_run, sliced_at_run, untiled_at_run
from dlc.compiler.ops.rules import (
    as_shape,
    at_run_shape,
    axis_of,
    fixed,
    flag,
    normal_axis,
    reduce_sum,
    replaced,
    show,
    stretch,
    stretched_to,
    zeros,
)
from dlc.compiler.registry import Call, IllTyped, define, gradient, normal_axes, settle
from dlc.compiler.types import Dim, Shape, Type, product, quotient


def known(call: Call, index: int) -> Shape:
    """The dimensions in an integer input; raises IllTyped where they are not known."""
    call.type(index)
    dims = extents(call.inputs[index])
    if dims is None:
        raise IllTyped(f"{call.op}: its input {index + 1} depends on data, so the shape of the result is not known")
    return dims


def _reshape(call: Call) -> list[Type]:
    x, wanted, literal = call.type(0), known(call, 1), flag(call, "allowzero")
    shape = list(wanted)
    for axis, dim in enumerate(wanted):
        if dim == 0 and not literal:
            if axis >= x.rank:
                raise IllTyped(f"Reshape of {x} to {show(wanted)}: there is no dimension {axis} to copy")
            shape[axis] = x.shape[axis]
    if -1 in wanted:
        place = wanted.index(-1)
        others = product([*shape[:place], *shape[place + 1 :]])
        shape[place] = rest = 0 if others == 0 else quotient(x.size, others)
        if wanted.count(-1) > 1 or rest * others != x.size:
            raise IllTyped(f"Reshape of {x} to {show(wanted)}: its {x.size} elements do not divide by {others}")
    elif product(shape) != x.size:
        raise IllTyped(f"Reshape of {x} to {show(wanted)}: {x.size} elements against {product(shape)}")
    return [x.with_shape(shape)]


define("Reshape", _reshape)


def _flatten(call: Call) -> list[Type]:
    x, axis = call.type(0), call.get("axis", 1)
    if not -x.rank <= axis <= x.rank:
        raise IllTyped(f"Flatten at axis {axis} of {x}")
    axis += x.rank if axis < 0 else 0
    return [x.with_shape((product(x.shape[:axis]), product(x.shape[axis:])))]


define("Flatten", _flatten)


def _squeeze(call: Call) -> list[Type]:
    x, given = call.type(0), fixed(call, 1, "axes")
    axes = normal_axes(given.tolist(), x.rank) if given is not None else [i for i, d in enumerate(x.shape) if d == 1]
    for axis in axes:
        if x.shape[axis] != 1:
            raise IllTyped(f"Squeeze of {x}: axis {axis} has size {x.shape[axis]}, not 1")
    return [x.with_shape([dim for axis, dim in enumerate(x.shape) if axis not in axes])]


define("Squeeze", _squeeze)


def _unsqueeze(call: Call) -> list[Type]:
    x, given = call.type(0), fixed(call, 1, "axes")
    if given is None:
        raise IllTyped("Unsqueeze needs axes")
    rank = x.rank + given.size
    axes, rest = normal_axes(given.tolist(), rank), iter(x.shape)
    if len(axes) != given.size:
        raise IllTyped(f"Unsqueeze at axes {show(given.tolist())}: one of them stands twice")
    return [x.with_shape([1 if axis in axes else next(rest) for axis in range(rank)])]


define("Unsqueeze", _unsqueeze)


@gradient("Reshape", "Flatten", "Squeeze", "Unsqueeze", at_run=True)
def _(g: Value, x: Value, node: Node) -> Any:
    return private.ReshapeTo(g, shape=x.shape, at_run=decided_at_run(node))


def decided_at_run(node: Node) -> int | None:
    """The mark of what undoes a node of which only a run tells how it goes."""
    return 1 if "declared" in node.attributes else None


def _transpose(call: Call) -> list[Type]:
    x = call.type(0)
    perm = tuple(call.get("perm", range(x.rank)[::-1]))
    if sorted(perm) != list(range(x.rank)):
        raise IllTyped(f"Transpose of {x} by {show(perm)}: not an order of its {x.rank} axes")
    return [x.with_shape([x.shape[axis] for axis in perm])]


define("Transpose", _transpose)


@gradient("Transpose")
def _(g: Value, *, perm: Sequence[int] | None = None) -> Any:
    order = perm or range(g.type.rank)[::-1]
    return op.Transpose(g, perm=tuple(sorted(range(g.type.rank), key=order.__getitem__)))


def _concat(call: Call) -> list[Type]:
    x = call.type(0)
    axis = axis_of(call, 0, x.rank)
    total: Dim = 0
    for index in range(len(call.inputs)):
        part = call.type(index)
        if part.rank != x.rank or part.with_shape(replaced(part.shape, axis, 0)) != x.with_shape(
            replaced(x.shape, axis, 0)
        ):
            raise IllTyped(f"Concat of {x} and {part} along axis {axis}: they differ beside it")
        total = total + part.shape[axis]
    return [x.with_shape(replaced(x.shape, axis, total))]


define("Concat", _concat)


@gradient("Concat")
def _(g: Value, *xs: Value, axis: int) -> list[Value]:
    if len(xs) == 1:
        return [g]
    sizes = extent_vector([x.shape[axis] for x in xs])
    return list(op.Split(g, sizes, axis=axis, outputs=len(xs)))


def _split(call: Call) -> list[Type]:
    x = call.type(0)
    axis = axis_of(call, 0, x.rank)
    total = x.shape[axis]
    sizes: Shape
    if call.has(1):
        sizes = known(call, 1)
        if len(sizes) != call.outputs or sum(sizes) != total:
            raise IllTyped(f"Split of {x} along axis {axis} into {show(sizes)}: the parts do not add up to {total}")
    else:
        n = call.get("num_outputs", call.outputs)
        if n != call.outputs:
            raise IllTyped(f"Split of {x} along axis {axis} into {n} parts, with {call.outputs} outputs")
        part = quotient(total, n, ceiling=True)
        if not isinstance(total, int) and part * n != total:
            raise IllTyped(f"Split of {x} along axis {axis} into {n} equal parts: {total} does not divide")
        sizes = (*(part,) * (n - 1), total - part * (n - 1))
        if isinstance(sizes[-1], int) and sizes[-1] < 0:
            raise IllTyped(f"Split of {x} along axis {axis} into {n} parts")
    return [x.with_shape(replaced(x.shape, axis, size)) for size in sizes]


define("Split", _split)


@gradient("Split", at_run=True)
def _(gs: list[Value | None], ys: tuple[Value, ...], x: Value, *, axis: int = 0) -> Any:
    parts = [zeros(y.type) if g is None else g for g, y in zip(gs, ys, strict=True)]
    place = axis % x.type.rank
    return op.Concat(*(as_shape(part, replaced(x.shape, place, part.shape[place])) for part in parts), axis=axis)


def _window(start: Dim, end: Dim, step: int, size: Dim) -> tuple[Dim, Dim]:
    """Where a slice begins and how many elements it takes.

    Against a symbolic size a bound is taken to lie inside: the graph cannot know whether `x[2:]` runs off the end.
    """
    if isinstance(start, int) and isinstance(end, int) and isinstance(size, int):
        taken = range(*slice(start, None if step < 0 and end < -size else end, step).indices(size))
        return taken.start, len(taken)
    far = 1 << 30  # a bound beyond this says "as far as it goes"
    first: Dim = start + size if isinstance(start, int) and start < 0 else start
    last: Dim = end + size if isinstance(end, int) and end < 0 else end
    if isinstance(start, int) and start > far:
        first = size - 1 if step < 0 else size
    if isinstance(end, int) and abs(end) > far:
        last = size if step > 0 else -1
    if isinstance(start, int) and start < -far:
        first = 0
    span = last - first if step > 0 else first - last
    length = quotient(span + abs(step) - 1, abs(step))
    return first, max(length, 0) if isinstance(length, int) else length


def windows(x: Type, given: Sequence[Shape | None]) -> list[tuple[int, Dim, int, Dim]]:
    """What a Slice takes: axis, start, step and count of each axis that it cuts. Raises IllTyped."""
    starts, ends, axes, steps = given
    assert starts is not None and ends is not None
    axes = axes if axes is not None else tuple(range(len(starts)))
    steps = steps if steps is not None else (1,) * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise IllTyped(f"Slice of {x}: {len(starts)} starts, {len(ends)} ends, {len(axes)} axes, {len(steps)} steps")
    found = []
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if not isinstance(axis, int) or not isinstance(step, int) or step == 0:
            raise IllTyped(f"Slice of {x}: axis {axis} and step {step}")
        axis = normal_axis("Slice", axis, x.rank)
        first, count = _window(start, end, step, x.shape[axis])
        found.append((axis, first, step, count))
    return found


def reach(start: Dim, end: Dim, step: Dim = 1) -> int:
    """How many places an axis must have for the numbers among the bounds of a slice to lie inside; 0 if always.

    Up to one is taken to be there: an empty batch is none. A bound of 2**30 or more says "as far as it goes".
    """
    first = start + 1 if isinstance(start, int) and start >= 0 and isinstance(step, int) and step < 0 else start
    sizes = [abs(bound) for bound in (first, end) if isinstance(bound, int)]
    return max((size for size in sizes if 1 < size < 1 << 30), default=0)


def _slice(call: Call) -> list[Type]:
    x = call.type(0)
    given = [known(call, index) if index < 3 or call.has(index) else None for index in range(1, 5)]
    shape = x.shape
    for axis, _, _, count in windows(x, given):
        shape = replaced(shape, axis, count)
    return [x.with_shape(shape)]


define("Slice", _slice)


@gradient("Slice", at_run=True)
def _(g: Value, node: Node, x: Value) -> Value:
    """Zeros around what was taken; between it too where the step is not 1."""
    if "declared" in node.attributes:
        return sliced_at_run(g, node, x)
    rank = x.type.rank
    bounds = [extents(value) for value in (*node.inputs[1:], None, None)[:4]]
    before: list[Dim] = [0] * rank
    after: list[Dim] = [0] * rank
    for axis, first, step, count in windows(x.type, bounds):
        if count == 0:
            after[axis] = x.shape[axis]
            continue
        if step < 0:
            g = op.Slice(g, ints(-1), ints(-(1 << 62)), ints(axis), ints(-1))
            first = first + step * (count - 1)
        covered = (count - 1) * abs(step) + 1
        if abs(step) > 1:
            g = _spread(g, axis, abs(step), covered)
        before[axis], after[axis] = first, x.shape[axis] - first - covered
    return pad(g, before, after)


def _spread(x: Value, axis: int, step: int, covered: Dim) -> Value:
    """The elements along an axis set apart by zeros, `step` from one to the next."""
    count = x.shape[axis]
    column = private.ReshapeTo(x, shape=(*x.shape[: axis + 1], 1, *x.shape[axis + 1 :]))
    nothing = [0] * column.type.rank
    apart = pad(column, nothing, [step - 1 if i == axis + 1 else 0 for i in range(column.type.rank)])
    joined = private.ReshapeTo(apart, shape=replaced(x.shape, axis, count * step))
    after: list[Dim] = [0] * x.type.rank
    after[axis] = covered - count * step
    return pad(joined, nothing[:-1], after)


def pad(x: Value, before: Sequence[Dim], after: Sequence[Dim]) -> Value:
    """Zeros set around `x`, or cut off it where a number is negative."""
    if all(dim == 0 for dim in (*before, *after)):
        return x
    value: Value = op.Pad(x, extent_vector([*before, *after]))
    return value


def _expand(call: Call) -> list[Type]:
    x = call.type(0)
    return [x.with_shape(stretch(x, x.with_shape(known(call, 1))))]


define("Expand", _expand)


@settle("Expand")
def _(call: Call) -> list[Value | None]:
    x, shape = call.inputs[:2]
    assert x is not None
    return [stretched_to(x, at_run_shape(call.op, x.shape, known(call, 1))), shape]


@gradient("Expand", at_run=True)
def _(g: Value, x: Value, node: Node) -> Any:
    return private.SumTo(g, shape=x.shape, at_run=decided_at_run(node))


def _amounts(inputs: Sequence[Value | None], x: Type) -> tuple[list[Dim], list[Dim]]:
    """How much a Pad sets before and after each axis. Raises IllTyped."""
    pads = extents(inputs[1])
    axes = extents(inputs[3]) if len(inputs) > 3 and inputs[3] is not None else None
    axes = axes if axes is not None else tuple(range(x.rank))
    if pads is None or len(pads) != 2 * len(axes):
        raise IllTyped(f"Pad of {x}: {2 * len(axes)} known amounts are expected, before and after each axis")
    before: list[Dim] = [0] * x.rank
    after: list[Dim] = [0] * x.rank
    for i, axis in enumerate(axes):
        assert isinstance(axis, int)
        place = normal_axis("Pad", axis, x.rank)
        before[place], after[place] = pads[i], pads[i + len(axes)]
    return before, after


def _pad(call: Call) -> list[Type]:
    x = call.type(0)
    call.type(1)
    if call.get("mode", "constant") not in ("constant", "reflect", "edge", "wrap"):
        raise IllTyped(f'Pad in mode "{call.get("mode")}"')
    before, after = _amounts(call.inputs, x)
    shape = [b + dim + a for b, dim, a in zip(before, x.shape, after, strict=True)]
    if any(isinstance(dim, int) and dim < 0 for dim in shape):
        raise IllTyped(f"Pad of {x} cuts off more than there is")
    return [x.with_shape(shape)]


define("Pad", _pad)


@gradient("Pad", at_run=True)
def _(g: Value, node: Node, x: Value, *, mode: str = "constant") -> tuple[Value, None, Value | None]:
    """Padding with a number is undone by cutting off; another mode copies, so each copy adds to where it came from."""
    at_run = "declared" in node.attributes
    if at_run and mode != "constant":
        return by_places(g, node, x), None, None
    before, after = ([], []) if at_run else _amounts(node.inputs, x.type)
    if mode == "constant":
        to_x = cut_at_run(g, node, x) if at_run else pad(g, [-dim for dim in before], [-dim for dim in after])
        value = node.inputs[2] if len(node.inputs) > 2 else None
        to_value = None if value is None else _total(g) - _total(to_x)
        return to_x, None, to_value if value is None or not value.shape else private.ReshapeTo(to_value, shape=(1,))
    for axis, dim in enumerate(x.shape):
        if before[axis] != 0 or after[axis] != 0:
            places = op.Range(0, private.Size(dim=dim), 1) if not isinstance(dim, int) else ints(*range(dim))
            origin = op.Pad(places, extent_vector([before[axis], after[axis]]), mode=mode)
            g = private.ScatterAdd(g, origin, axis=axis, shape=replaced(g.shape, axis, dim))
    return g, None, None


def _total(x: Value) -> Value:
    return reduce_sum(x, *range(x.type.rank), keepdims=False)


def _tile(call: Call) -> list[Type]:
    x, repeats = call.type(0), known(call, 1)
    if len(repeats) != x.rank:
        raise IllTyped(f"Tile of {x} by {show(repeats)}: one number an axis is expected")
    return [x.with_shape([dim * n for dim, n in zip(x.shape, repeats, strict=True)])]


define("Tile", _tile)


@gradient("Tile", at_run=True)
def _(g: Value, node: Node, x: Value) -> Value:
    repeats = extents(node.inputs[1])
    if repeats is None:
        return untiled_at_run(g, node, x)
    split = [part for n, dim in zip(repeats, x.shape, strict=True) for part in (n, dim)]
    return reduce_sum(private.ReshapeTo(g, shape=tuple(split)), *range(0, 2 * x.type.rank, 2), keepdims=False)


def _trilu(call: Call) -> list[Type]:
    x = call.type(0)
    if x.rank < 2:
        raise IllTyped(f"Trilu of {x}: a matrix is expected")
    return [x]


define("Trilu", _trilu)


@gradient("Trilu")
def _(g: Value, x: Value, k: Value | None, *, upper: int = 1) -> Any:
    return op.Trilu(g, k, upper=upper)
