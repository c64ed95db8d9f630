"""What small integer tensors hold, as dimensions: the shape arithmetic of a model is done while it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dlc.compiler.build import current, ints, op, private
from dlc.compiler.dims import at_least
from dlc.compiler.graph import Node, Value
from dlc.compiler.types import Array, Dim, Polynomial, is_unknown, numpy_dtype, product, quotient, symbols

LONGEST = 64  # no shape has so many dimensions
Contents = tuple[Dim, ...]
_TRACKED = ("i64", "i32", "bool")


class Shapes:
    """The contents of the values that are small integer vectors or scalars, as far as they are known."""

    def __init__(self) -> None:
        self._known: dict[Value, Contents] = {}

    def of(self, value: Value | None) -> Contents | None:
        """The elements of a value in order; None where they depend on data."""
        if value is None or value.dtype not in _TRACKED or value.type.rank > 1:
            return None
        array = value.constant
        if array is not None and array.size <= LONGEST:
            return tuple(int(element) for element in array.ravel())
        return self._known.get(value)

    def settled(self, value: Value) -> Value:
        """The value, said by `dlc.Size` and constants alone if its elements are dimensions."""
        node = value.node
        if node is None or value.dtype not in _TRACKED or value.type.rank > 1 or node.op in ("Constant", "dlc.Size"):
            return value
        length = product(value.shape)
        if not isinstance(length, int) or length > LONGEST:
            return value
        dims = _read(node, [self.of(source) for source in node.inputs])
        if dims is None or len(dims) != length:
            return value
        if any(is_unknown(name) for dim in dims for name in symbols(dim)):
            self._known[value] = dims  # what shows such a size may be read by nothing else, and has to stay
            return value
        made = _said(dims, value)
        self._known[made] = dims
        return made


def _said(dims: Contents, like: Value) -> Value:
    fixed = [dim for dim in dims if isinstance(dim, int)]
    if len(fixed) == len(dims):
        array: Array = np.array(fixed, numpy_dtype(like.dtype)).reshape(like.type.static_shape())
        return current().constant(array)
    parts: list[Value] = []
    run: list[int] = []
    for dim in (*dims, None):
        if isinstance(dim, int):
            run.append(dim)
            continue
        if run:
            parts.append(current().constant(ints(*run)))
            run = []
        if dim is not None:
            parts.append(private.Size(dim=dim) if not like.shape else op.Unsqueeze(private.Size(dim=dim), ints(0)))
    made: Value = parts[0] if len(parts) == 1 else op.Concat(*parts, axis=0)
    return made if like.dtype == "i64" else op.Cast(made, to=like.dtype)


def _read(node: Node, inputs: Sequence[Contents | None]) -> Contents | None:
    source = node.inputs[0] if node.inputs else None
    if node.op == "Shape" and source is not None:
        return source.shape[slice(node.attributes.get("start", 0), node.attributes.get("end"))]
    if node.op == "Size" and source is not None:
        return (source.type.size,)
    rule = _RULES.get(node.op)
    if rule is None or (len(node.outputs) != 1 and node.op != "Split"):
        return None
    known = [dims for value, dims in zip(node.inputs, inputs, strict=True) if value is not None and dims is not None]
    if len(known) != sum(value is not None for value in node.inputs):
        return None
    return rule(node, known)


def _pairwise(combine: Callable[[Dim, Dim], Dim | None]) -> Callable[[Node, list[Contents]], Contents | None]:
    def rule(_: Node, inputs: list[Contents]) -> Contents | None:
        total = inputs[0]
        for other in inputs[1:]:
            n = max(len(total), len(other)) if total and other else 0
            left, right = (part * n if len(part) == 1 else part for part in (total, other))
            if len(left) != len(right):
                return None
            found = [combine(a, b) for a, b in zip(left, right, strict=True)]
            total = tuple(dim for dim in found if dim is not None)
            if len(total) != len(found):
                return None
        return total

    return rule


def equal(a: Dim, b: Dim) -> int | None:
    """1 if two dimensions are always equal, 0 if never, None where that depends."""
    if a == b:
        return 1
    if isinstance(a, int) and isinstance(b, int):
        return 0
    return 0 if at_least(a - b, 1) or at_least(b - a, 1) else None


def _less(a: Dim, b: Dim) -> int | None:
    return 1 if at_least(b - a, 1) else 0 if at_least(a - b, 0) else None


def _divided(a: Dim, b: Dim) -> Dim | None:
    if b == 0:
        return None
    if isinstance(a, int) and isinstance(b, int):
        return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)  # cut toward zero
    return quotient(a, b) if at_least(a, 0) and at_least(b, 0) else None


def _remainder(a: Dim, b: Dim) -> Dim | None:
    if b == 0:
        return None
    if isinstance(a, int) and isinstance(b, int):
        return a % b
    return a - b * quotient(a, b) if at_least(a, 0) and at_least(b, 0) else None


def _larger(a: Dim, b: Dim) -> Dim | None:
    return a if at_least(a - b, 0) else b if at_least(b - a, 0) else None


def _smaller(a: Dim, b: Dim) -> Dim | None:
    return b if at_least(a - b, 0) else a if at_least(b - a, 0) else None


def _same(_: Node, inputs: list[Contents]) -> Contents:
    return inputs[0]


def _concat(_: Node, inputs: list[Contents]) -> Contents:
    return tuple(dim for dims in inputs for dim in dims)


def _gather(_: Node, inputs: list[Contents]) -> Contents | None:
    data, indices = inputs
    if not all(isinstance(index, int) and -len(data) <= index < len(data) for index in indices):
        return None
    return tuple(data[index] for index in indices if isinstance(index, int))


def _slice(_: Node, inputs: list[Contents]) -> Contents | None:
    data, starts, ends, *rest = inputs
    start, end, step = starts[0], ends[0], rest[1][0] if len(rest) > 1 else 1
    if not isinstance(start, int) or not isinstance(end, int) or not isinstance(step, int) or step == 0:
        return None
    return data[slice(start, None if step < 0 and end < -len(data) else end, step)]


def _stretched(node: Node, inputs: list[Contents]) -> Contents | None:
    size = product(node.output.shape)
    if len(inputs[0]) == size:
        return inputs[0]
    return inputs[0] * size if isinstance(size, int) and len(inputs[0]) == 1 and size <= LONGEST else None


def _filled(node: Node, inputs: list[Contents]) -> Contents | None:
    value = node.attributes.get("value")
    size = product(node.output.shape)
    element = 0 if value is None else value.item()
    return (int(element),) * size if isinstance(size, int) and size <= LONGEST else None


def _chosen(node: Node, inputs: list[Contents]) -> Contents | None:
    n = max(map(len, inputs))
    test, yes, no = (part * n if len(part) == 1 else part for part in inputs)
    if not len(test) == len(yes) == len(no) or any(not isinstance(t, int) for t in test):
        return None
    return tuple(a if t else b for t, a, b in zip(test, yes, no, strict=True))


def _total(combine: Callable[[Sequence[Dim]], Dim]) -> Callable[[Node, list[Contents]], Contents | None]:
    def rule(node: Node, inputs: list[Contents]) -> Contents | None:
        return (combine(inputs[0]),) if product(node.output.shape) == 1 else None

    return rule


def _sum(dims: Sequence[Dim]) -> Dim:
    total: Dim = 0
    for dim in dims:
        total = total + dim
    return total


def _range(_: Node, inputs: list[Contents]) -> Contents | None:
    bounds = [dims[0] for dims in inputs]
    fixed = [bound for bound in bounds if isinstance(bound, int)]
    return tuple(range(*fixed)) if len(fixed) == 3 and fixed[2] else None


def _not(_: Node, inputs: list[Contents]) -> Contents | None:
    return tuple(1 - dim for dim in inputs[0])


def _split(node: Node, inputs: list[Contents]) -> Contents | None:
    return None if len(node.outputs) != 1 else inputs[0]


def _negated(_: Node, inputs: list[Contents]) -> Contents:
    return tuple(dim * -1 for dim in inputs[0])


_RULES: Mapping[str, Callable[[Node, list[Contents]], Contents | None]] = {
    "Add": _pairwise(lambda a, b: a + b),
    "Sub": _pairwise(lambda a, b: a - b),
    "Mul": _pairwise(lambda a, b: a * b),
    "Div": _pairwise(_divided),
    "Mod": _pairwise(_remainder),
    "Max": _pairwise(_larger),
    "Min": _pairwise(_smaller),
    "Equal": _pairwise(equal),
    "Less": _pairwise(_less),
    "Greater": _pairwise(lambda a, b: _less(b, a)),
    "Not": _not,
    "Neg": _negated,
    "Where": _chosen,
    "Concat": _concat,
    "Gather": _gather,
    "Slice": _slice,
    "Split": _split,
    "Range": _range,
    "ReduceProd": _total(product),
    "ReduceSum": _total(_sum),
    "ConstantOfShape": _filled,
    "Expand": _stretched,
    "dlc.ExpandTo": _stretched,
} | dict.fromkeys(("Identity", "Cast", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "dlc.ReshapeTo"), _same)


def symbolic(dims: Sequence[Dim]) -> bool:
    return any(isinstance(dim, Polynomial) for dim in dims)


__all__ = ["Shapes", "equal", "symbolic"]
