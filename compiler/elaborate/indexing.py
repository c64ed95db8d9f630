"""What indices take of a tensor: `x[:, 0:12]`, `x[..., none]`, `x[labels]`."""

from __future__ import annotations

from typing import Any

from dlc.compiler.build import ints, op, private
from dlc.compiler.dims import Dim, at_least
from dlc.compiler.elaborate.arithmetic import whole
from dlc.compiler.elaborate.context import Elaborator
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value
from dlc.compiler.ops.shape import reach, windows

_FAR = 2**62


def index_tensor(e: Elaborator, x: Value, index: list[Any], said: str) -> Value:
    """`x[...]` with integers, slices, `none` for a new axis, `...`, and i64 tensors that select; `said` is its text.

    Raises Problem.
    """
    used = sum(each is not None and each is not ... for each in index)
    if used > x.type.rank:
        raise Problem("E0301", f"{used} indices for {x.type}")
    if ... not in [each for each in index if not isinstance(each, Value)]:
        index = [*index, ...]
    dots = next(i for i, each in enumerate(index) if each is ...)
    index = [*index[:dots], *[slice(None)] * (x.type.rank - used), *index[dots + 1 :]]
    starts, ends, steps, axes = [], [], [], []
    dropped, added, gathers = [], [], []
    axis = 0
    for position, each in enumerate(index):
        if each is None:
            added.append(position)
            continue
        if isinstance(each, Value):
            if each.dtype not in ("i64", "i32"):
                raise Problem("E0302", "an index is an integer", f"this is {each.type}")
            gathers.append((axis, position, each))
        elif isinstance(each, slice):
            if each != slice(None):
                low, high, step = _bounds(each, x.shape[axis])
                starts.append(low)
                ends.append(high)
                steps.append(step)
                axes.append(axis)
        else:
            at = whole(each, "an index")
            size = x.shape[axis]
            if isinstance(size, int) and not -size <= at < size:
                raise Problem("E0303", f"there is no index {at}", f"axis {axis} of {x.type} has {size}")
            starts.append(at)
            ends.append(at + 1 if at != -1 else _FAR)
            steps.append(1)
            axes.append(axis)
            dropped.append((axis, position))
        axis += 1
    if axes:
        x = _cut(e, x, (starts, ends, axes, steps), said)
    if len(gathers) > 1:
        raise Problem("E0303", "one tensor index at a time", help="index twice")
    for at, _, each in gathers:
        if each.type.rank != 1 and (added or dropped):
            raise Problem("E0303", "a tensor index of rank 1 goes with others; this one has another rank")
        x = op.Gather(x, each, axis=at)
    if dropped:
        x = op.Squeeze(x, ints(*(axis for axis, _ in dropped)))
    if added:
        gone = [position for _, position in dropped]
        x = op.Unsqueeze(x, ints(*(position - sum(g < position for g in gone) for position in added)))
    return x


def _cut(e: Elaborator, x: Value, bounds: tuple[list[int], ...], said: str) -> Value:
    """A slice by starts, ends, axes and steps.

    One that takes a fixed number of places from a size that only a run tells stops a run in which they are not there,
    in any runtime. Raises Problem for places that a known size does not have.
    """
    given = [ints(*each) for each in bounds]
    counts = {axis: count for axis, _, _, count in windows(x.type, [tuple(each) for each in bounds])}
    needed = {axis: reach(start, end, step) for start, end, axis, step in zip(*bounds, strict=True)}
    for axis, wanted in needed.items():
        size = x.shape[axis]
        if isinstance(size, int) and wanted > size:
            raise Problem("E0303", f"a slice of {wanted} places and more", f"axis {axis} of {x.type} has {size}")
    risky = [axis for axis in counts if isinstance(counts[axis], int) and not _inside(x.shape[axis], needed[axis])]
    if not risky:
        return op.Slice(x, *given)
    shape = tuple(counts.get(axis, dim) for axis, dim in enumerate(x.shape))
    open_ = x.type.with_shape([e.builder.unknown() if axis in risky else dim for axis, dim in enumerate(shape)])
    checked: Value = private.ReshapeTo(op.Slice(x, *given, declared=(open_,)), shape=shape, at_run=1)
    sizes = " and ".join(f"{x.shape[axis]} >= {needed[axis]}" for axis in risky)
    e.numbered(checked, f"slice {said} wants {sizes}")  # as `reason` in runtime/session.py reads it
    return checked


def _inside(size: Dim, needed: int) -> bool:
    return isinstance(size, int) or needed == 0 or at_least(size, needed)


def _bounds(part: slice, size: Dim) -> tuple[int, int, int]:
    step = 1 if part.step is None else whole(part.step, "a step")
    if step == 0:
        raise Problem("E0303", "a step of 0")
    low = (0 if step > 0 else -1) if part.start is None else whole(part.start, "where a slice starts")
    if part.stop is None or part.stop == size:
        high = _FAR if step > 0 else -_FAR
    else:
        high = whole(part.stop, "where a slice ends")
        if part.start is not None and (part.start < 0) == (high < 0) and (high - part.start) * step < 0:
            written = ":".join(f"{each}" for each in (part.start, part.stop, part.step) if each is not None)
            raise Problem("E0303", f"`{written}` selects nothing", "of any size")
    return low, high, step
