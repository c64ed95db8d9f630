"""Patterns in strings: which axes a rearrangement has before and after, which of an einsum's meet."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlc.compiler.build import ints, op, private
from dlc.compiler.elaborate.context import Frame
from dlc.compiler.elaborate.entities import describe
from dlc.compiler.elaborate.library.functions import function, tensor_of
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value
from dlc.compiler.types import Dim, Polynomial, product, quotient
from dlc.dsl import ast
from dlc.dsl.diagnostics import Label

_TOKEN = re.compile(r"[A-Za-z_][A-Za-z_0-9]*|1|[()]|\S")


@dataclass(frozen=True)
class Axis:
    """One axis of a pattern: its name, or those of the axes that are one in it; none for an axis of 1.

    `start` and `end` are where it stands in the string.
    """

    names: tuple[str, ...]
    start: int
    end: int


class Pattern:
    """A pattern and where it is written, so that a mistake in it can be shown in its place."""

    def __init__(self, text: Any, what: str, example: str, written: Sequence[ast.Arg]) -> None:
        if not isinstance(text, str):
            raise Problem("E0302", f"`{what}` ends with its pattern: `{example}`", f"this is {describe(text)}")
        self.text = text
        self.example = example
        literals = [arg.value for arg in written if isinstance(arg.value, ast.Literal_) and arg.value.value == text]
        self.literal = literals[-1] if literals else None
        left, arrow, right = text.partition("->")
        if not arrow or "->" in right:
            raise self.problem("a pattern has one `->`: before and after", 0, len(text))
        self.left, self.right = left, right
        self.after = len(left) + len(arrow)

    def span(self, start: int, end: int) -> ast.Span | None:
        """The place of a part of the string in the file, if the string is written there."""
        if self.literal is None or self.literal.span.line != self.literal.span.end_line:
            return None
        whole = self.literal.span
        column = whole.column + 1
        return ast.Span(whole.file, whole.line, column + start, whole.end_line, column + end)

    def problem(self, message: str, start: int, end: int, label: str = "", **more: Any) -> Problem:
        return Problem("E0309", message, label, span=self.span(start, end), **more)

    def axes(self, text: str, offset: int, groups: bool) -> list[Axis]:
        """The axes of one side; raises Problem."""
        found: list[Axis] = []
        opened: tuple[int, list[str]] | None = None
        for match in _TOKEN.finditer(text):
            token, start, end = match.group(), match.start() + offset, match.end() + offset
            if token == "(" and groups and opened is None:
                opened = start, []
            elif token == ")" and opened is not None:
                found.append(Axis(tuple(opened[1]), opened[0], end))
                opened = None
            elif token == "1" and groups:
                if opened is None:
                    found.append(Axis((), start, end))
            elif token[0].isalpha() or token[0] == "_":
                if opened is not None:
                    opened[1].append(token)
                else:
                    found.append(Axis((token,), start, end))
            else:
                raise self.problem(f"`{token}` cannot stand here in a pattern", start, end, f"as in `{self.example}`")
        if opened is not None:
            raise self.problem("a bracket of the pattern is not closed", opened[0], opened[0] + 1)
        return found


def _names(axes: Sequence[Axis]) -> Iterator[tuple[str, Axis]]:
    return ((name, axis) for axis in axes for name in axis.names)


@function("rearrange")
def rearrange(frame: Frame, written: Any, tensor: Any, pattern: Any, /, **sizes: Any) -> Value:
    """Axes split, joined and moved as a pattern says: `rearrange(x, "b t (h d) -> b h t d", h=8)` (Rogozhnikov, 2022).

    A size that is not said follows from the axis. A `1` is an axis of that size, made or dropped.
    """
    x = tensor_of(tensor, "rearrange")
    text = Pattern(pattern, "rearrange", "b t (h d) -> b h t d", written)
    left, right = text.axes(text.left, 0, True), text.axes(text.right, text.after, True)
    _once(text, left)
    _once(text, right)
    before, after = dict(_names(left)), dict(_names(right))
    for name, axis in after.items():
        if name not in before:
            raise text.problem(f"`{name}` is not an axis before the arrow", axis.start, axis.end)
    for name, axis in before.items():
        if name not in after:
            hint = "reduce it first: `-> mean(axis=...)`"
            raise text.problem(f"`{name}` is missing after the arrow", axis.start, axis.end, help=hint)
    if len(left) != x.type.rank:
        message = f"the pattern has {len(left)} axes, and {x.type} has {x.type.rank}"
        raise text.problem(message, 0, len(text.left.rstrip()))
    for name, size in sizes.items():
        if name not in before:
            raise Problem("E0309", f"`{name}` is not an axis of the pattern", span=_argument(written, name))
        if isinstance(size, bool) or not isinstance(size, int | Polynomial) or size == 0:
            raise Problem("E0309", f"the size of `{name}` is an integer", f"this is {describe(size)}")
    known = _solve(x, text, left, sizes, frame, written)
    parts = [name for name, _ in _names(left)]
    y: Value = x
    split = tuple(known[name] for name in parts)
    if split != y.shape:
        y = private.ReshapeTo(y, shape=split)
    order = tuple(parts.index(name) for name, _ in _names(right))
    if order != tuple(range(len(order))):
        y = op.Transpose(y, perm=order)
    joined = tuple(product([known[name] for name in axis.names]) for axis in right)
    return y if joined == y.shape else private.ReshapeTo(y, shape=joined)


def _once(text: Pattern, axes: Sequence[Axis]) -> None:
    seen: set[str] = set()
    for name, axis in _names(axes):
        if name in seen:
            raise text.problem(f"`{name}` stands twice on one side", axis.start, axis.end)
        seen.add(name)


def _argument(written: Sequence[ast.Arg], name: str) -> ast.Span | None:
    return next((arg.span for arg in written if arg.name is not None and arg.name.text == name), None)


def _solve(
    x: Value, text: Pattern, left: Sequence[Axis], sizes: Mapping[str, Any], frame: Frame, written: Sequence[ast.Arg]
) -> dict[str, Dim]:
    """The size of every name; raises Problem where an axis does not divide."""
    known: dict[str, Dim] = dict(sizes)
    for axis, dim in zip(left, x.shape, strict=True):
        open_ = [name for name in axis.names if name not in known]
        given = product([known[name] for name in axis.names if name in known])
        if len(open_) > 1:
            both, hint = " and ".join(f"`{name}`" for name in open_), f"say one: `{open_[0]}=`"
            raise text.problem(f"the sizes of {both} cannot both follow", axis.start, axis.end, hint)
        rest = quotient(dim, given)
        if rest * given != dim or (not open_ and rest != 1):
            raise _indivisible(text, axis, dim, given, open_, known, frame, written)
        if open_:
            known[open_[0]] = rest
    return known


def _indivisible(
    text: Pattern, axis: Axis, dim: Dim, given: Dim, open_: Sequence[str], known: Mapping[str, Dim], frame: Frame,
    written: Sequence[ast.Arg],
) -> Problem:  # fmt: skip
    said = [name for name in axis.names if name not in open_]
    called = [name for name, (size, _) in frame.dims.items() if size == dim]
    whole = called[0] if len(called) == 1 and not str(dim).isidentifier() else "the axis"
    label = " and ".join([f"{whole} is {dim}", *(f"{name} is {known[name]}" for name in said)])
    if len(said) == 1:
        label = f"{whole} is {dim}, and {said[0]} is {known[said[0]]}"
    if not open_:
        message = f"{dim} is not {given}" if axis.names else f"{dim} is not 1"
        return text.problem(message, axis.start, axis.end, label)
    noun = "parts"
    secondary: tuple[Label, ...] = ()
    for arg in written:
        if arg.name is not None and arg.name.text in said and isinstance(arg.value, ast.Ref):
            binding = frame.scope.find(arg.value.name)
            if len(said) == 1:
                noun = arg.value.name if arg.value.name.endswith("s") else noun
            if binding is not None and binding.made_by is not None:
                secondary = (Label(binding.made_by, f"{arg.value.name} = {known[arg.name.text]} comes from here"),)
    message = f"{dim} cannot be split into {given} {noun}"
    return text.problem(message, axis.start, axis.end, label, secondary=secondary)


@function("einsum")
def einsum(written: Any, *operands: Any) -> Value:
    """Products summed over the axes that are missing after the arrow: `einsum(q, k, "b t d, b s d -> b t s")`.

    A name that stands twice in one operand takes its diagonal.
    """
    if not operands:
        raise Problem("E0205", "`einsum` needs tensors and a pattern")
    text = Pattern(operands[-1], "einsum", "b t d, b s d -> b t s", written)
    tensors = [tensor_of(each, "einsum") for each in operands[:-1]]
    parts = text.left.split(",")
    if len(parts) != len(tensors):
        message = f"the pattern is for {len(parts)} tensors, and there are {len(tensors)}"
        raise text.problem(message, 0, len(text.left.rstrip()))
    if any(each.dtype != tensors[0].dtype for each in tensors):
        raise Problem("E0302", "`einsum` wants one element type", f"{', '.join(str(each.type) for each in tensors)}")
    size: dict[str, Dim] = {}
    terms: list[list[str]] = []
    values: list[Value] = []
    offset = 0
    for part, value in zip(parts, tensors, strict=True):
        axes = text.axes(part, offset, False)
        start, end = offset + len(part) - len(part.lstrip()), offset + len(part.rstrip())
        offset += len(part) + 1
        if len(axes) != value.type.rank:
            raise text.problem(f"{len(axes)} axes for {value.type}", start, end)
        for axis, dim in zip(axes, value.shape, strict=True):
            name = axis.names[0]
            if size.setdefault(name, dim) != dim:
                raise text.problem(f"`{name}` is {size[name]} and {dim}", axis.start, axis.end, f"here it is {dim}")
        names, value = _diagonals(text, axes, value)
        terms.append(names)
        values.append(value)
    result = text.axes(text.right, text.after, False)
    _once(text, result)
    for axis in result:
        if axis.names[0] not in size:
            raise text.problem(f"`{axis.names[0]}` is not an axis before the arrow", axis.start, axis.end)
    names = [axis.names[0] for axis in result]
    if len(terms) == 1 and terms[0] == names:
        return values[0]
    if len(size) > 26:
        raise Problem("E0310", f"{len(size)} axes in one `einsum`", "26 is the most")
    letters = {name: chr(ord("a") + i) for i, name in enumerate(size)}
    equation = ",".join("".join(letters[name] for name in term) for term in terms)
    return op.Einsum(*values, equation=f"{equation}->{''.join(letters[name] for name in names)}")


def _diagonals(text: Pattern, axes: Sequence[Axis], x: Value) -> tuple[list[str], Value]:
    """A value whose axes have different names: of two with one name the diagonal, in the first one's place."""
    names = [axis.names[0] for axis in axes]
    while len(set(names)) < len(names):
        second = next(i for i, name in enumerate(names) if name in names[:i])
        first = names.index(names[second])
        size = x.shape[first]
        if not isinstance(size, int):
            raise text.problem(f"a diagonal of `{names[first]}` needs a size that is known", 0, len(text.left.rstrip()))
        rest = [i for i in range(len(names)) if i not in (first, second)]
        outer = tuple(x.shape[i] for i in rest)
        moved = op.Transpose(x, perm=(*rest, first, second))
        flat = private.ReshapeTo(moved, shape=(*outer, size * size))
        axis = len(outer)
        diagonal = op.Slice(flat, ints(0), ints(size * size), ints(axis), ints(size + 1))
        order = list(range(axis))
        order.insert(first, axis)
        x = op.Transpose(diagonal, perm=tuple(order)) if order != list(range(axis + 1)) else diagonal
        del names[second]
    return names, x
