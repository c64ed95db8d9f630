"""Sequences and optional values, resolved while a model is read.

A sequence is a tuple of values beside the graph, so that only operators on tensors are left, and gradients go through
them. Its length, and the positions that are read, must be known while reading; what depends on data is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dlc.compiler.build import current, ints, op
from dlc.compiler.graph import Value
from dlc.compiler.importing.attributes import plain_attributes
from dlc.compiler.importing.errors import BadModel, Reason, Refused
from dlc.compiler.importing.hints import said
from dlc.compiler.importing.scope import Found, OptionalValue, Scope, TensorSequence, refuse
from dlc.compiler.importing.versions import Application
from dlc.compiler.ops.schema import OPSET
from dlc.compiler.types import product

if TYPE_CHECKING:
    from onnx import NodeProto

    from dlc.compiler.importing.reader import Reader

Rule = Callable[["Reader", "NodeProto", Scope], Sequence[Found]]


@dataclass(frozen=True, slots=True)
class Resolved:
    """How an operator is resolved; `reason` says why no gradient goes through it, "" if one does."""

    rule: Rule
    reason: str


RESOLVED: dict[str, Resolved] = {}


def resolved(name: str, no_gradient: str = "") -> Callable[[Rule], Rule]:
    """Record how an operator is resolved."""

    def record(rule: Rule) -> Rule:
        RESOLVED[name] = Resolved(rule, no_gradient)
        return rule

    return record


@resolved("Identity")
def _identity(reader: Reader, node: NodeProto, scope: Scope) -> Sequence[Found]:
    x = _given(node, 0, scope)
    return reader.apply(Application("Identity", OPSET, [x], {}, 1)) if isinstance(x, Value) else [x]


@resolved("SequenceEmpty", no_gradient="it reads nothing")
def _empty(reader: Reader, node: NodeProto, scope: Scope) -> Sequence[Found]:
    return [TensorSequence(plain_attributes(node, scope.attributes, reader.folder).get("dtype", "f32"), ())]


@resolved("SequenceConstruct")
def _construct(reader: Reader, node: NodeProto, scope: Scope) -> Sequence[Found]:
    return [_sequence_of([_tensor(node, index, scope) for index in range(len(node.input))])]


@resolved("SequenceInsert")
def _insert(reader: Reader, node: NodeProto, scope: Scope) -> Sequence[Found]:
    sequence, x = _sequence(node, 0, scope), _tensor(node, 1, scope)
    if x.dtype != sequence.dtype:
        raise BadModel(f"a tensor of {x.dtype} is put into a sequence of {sequence.dtype}")
    size = len(sequence.elements)
    at = _position(reader, node, 2, scope, size, last=size)
    return [TensorSequence(sequence.dtype, (*sequence.elements[:at], x, *sequence.elements[at:]))]


@resolved("SequenceErase")
def _erase(reader: Reader, node: NodeProto, scope: Scope) -> Sequence[Found]:
    sequence = _sequence(node, 0, scope)
    size = len(sequence.elements)
    at = _position(reader, node, 1, scope, size, last=size - 1)
    return [TensorSequence(sequence.dtype, (*sequence.elements[:at], *sequence.elements[at + 1 :]))]


@resolved("SequenceAt")
def _at(reader: Reader, node: NodeProto, scope: Scope) -> Sequence[Found]:
    sequence = _sequence(node, 0, scope)
    size = len(sequence.elements)
    return [sequence.elements[_position(reader, node, 1, scope, size, last=size - 1)]]


@resolved("SequenceLength", no_gradient="its result is an integer")
def _length(reader: Reader, node: NodeProto, scope: Scope) -> Sequence[Found]:
    return [current().constant(np.array(len(_sequence(node, 0, scope).elements), np.int64))]


@resolved("SplitToSequence")
def _split(reader: Reader, node: NodeProto, scope: Scope) -> Sequence[Found]:
    x, settings = _tensor(node, 0, scope), plain_attributes(node, scope.attributes, reader.folder)
    axis = _axis(settings.get("axis", 0), x.type.rank)
    given = scope.find(node.input[1]) if len(node.input) > 1 and node.input[1] else None
    sizes = _even_sizes(reader, x, axis, given) if given is None or not given.shape else given
    count = product(sizes.shape)
    if not isinstance(count, int) or sizes.type.rank > 1:
        raise Refused(Reason.SEQUENCE, f"the sizes of the parts are {sizes.type}; how many there are must be known")
    if sizes is given:
        reader.unroll(count)
    if not count:
        return [TensorSequence(x.dtype, ())]
    shape = (*x.shape[:axis], None, *x.shape[axis + 1 :])  # if the sizes depend on data
    split = Application("Split", OPSET, [x, sizes], {"axis": axis}, count)
    parts = reader.apply(split, [(x.dtype, shape)] * count)
    if given is None and not settings.get("keepdims", 1):
        parts = [op.Squeeze(part, ints(axis)) for part in parts]
    return [_sequence_of(parts)]


def _even_sizes(reader: Reader, x: Value, axis: int, size: Value | None) -> Value:
    """The sizes of parts that are all equal, but for the last one: of one element each if no size is given."""
    total, each = x.shape[axis], 1
    if not isinstance(total, int):
        raise Refused(Reason.SEQUENCE, f"axis {axis} has {total} elements: how many parts that gives depends on data")
    if size is not None:
        each = _number(reader, size, "the size of the parts")
        if each < 1:
            raise BadModel(f"parts of {each} elements: 1 or more are expected")
    reader.unroll(-(-total // each))  # before anything of that length is made
    return current().constant(ints(*(min(each, total - start) for start in range(0, total, each))))


@resolved("ConcatFromSequence")
def _concat(reader: Reader, node: NodeProto, scope: Scope) -> Sequence[Found]:
    sequence, settings = _sequence(node, 0, scope), plain_attributes(node, scope.attributes, reader.folder)
    elements: Sequence[Value] = sequence.elements
    if not elements:
        raise BadModel("the sequence is empty, and nothing says what shape its tensors would have")
    new = bool(settings.get("new_axis", 0))
    axis = _axis(settings["axis"], elements[0].type.rank + new)
    if new:
        elements = [op.Unsqueeze(each, ints(axis)) for each in elements]
    return reader.apply(Application("Concat", OPSET, list(elements), {"axis": axis}, 1))


@resolved("SequenceMap")
def _map(reader: Reader, node: NodeProto, scope: Scope) -> Sequence[Found]:
    """The body, read once for each element."""
    body = next(attribute.g for attribute in node.attribute)
    inputs = [_given(node, index, scope) for index in range(len(node.input))]
    if len(inputs) != len(body.input):
        raise BadModel(f"its body {body.name!r} takes {len(body.input)} values; it is given {len(inputs)}")
    size = len(_sequence(node, 0, scope).elements)
    rows = []
    for turn in range(size):
        inner, before = reader.inner(body, scope), reader.read
        for info, given in zip(body.input, inputs, strict=True):
            if isinstance(given, TensorSequence) and len(given.elements) != size:
                raise BadModel(f"its sequences have {size} and {len(given.elements)} tensors; one number is expected")
            inner.bind(info.name, given.elements[turn] if isinstance(given, TensorSequence) else given)
        reader.contents(body, inner)
        reader.unroll(reader.read - before)
        rows.append([reader.tensor(inner, info.name) for info in body.output])
    if rows:
        return [_sequence_of(column) for column in zip(*rows, strict=True)]
    return [TensorSequence(_said_dtype(info), ()) for info in body.output]


def _said_dtype(info: Any) -> str:
    dtype = said(info.type)[0]
    if dtype is None:
        raise BadModel(f"its body does not say of which type {info.name!r} is, and there is no element to tell")
    return dtype


@resolved("Optional")
def _optional(reader: Reader, node: NodeProto, scope: Scope) -> Sequence[Found]:
    x = scope.anything(node.input[0]) if node.input and node.input[0] else None
    if isinstance(x, OptionalValue):
        raise BadModel("an optional value of an optional value")
    return [OptionalValue(x)]


@resolved("OptionalGetElement")
def _get_element(reader: Reader, node: NodeProto, scope: Scope) -> Sequence[Found]:
    x = _given(node, 0, scope)
    found = x.element if isinstance(x, OptionalValue) else x
    if found is None:
        raise BadModel(f"the optional value {node.input[0]!r} has no element")
    return [found]


@resolved("OptionalHasElement", no_gradient="its result is a truth value")
def _has_element(reader: Reader, node: NodeProto, scope: Scope) -> Sequence[Found]:
    x = scope.anything(node.input[0]) if node.input and node.input[0] else None
    has = x is not None and not (isinstance(x, OptionalValue) and x.element is None)
    return [current().constant(np.array(has))]


def _sequence_of(values: Sequence[Value]) -> TensorSequence:
    dtypes = list(dict.fromkeys(value.dtype for value in values))
    if len(dtypes) != 1:
        raise BadModel(f"a sequence of {', '.join(dtypes)}; tensors of one type are expected")
    return TensorSequence(dtypes[0], tuple(values))


def _given(node: NodeProto, index: int, scope: Scope) -> Found:
    found = scope.anything(node.input[index])
    if found is None:
        raise BadModel(f"input {index + 1} is missing")
    return found


def _tensor(node: NodeProto, index: int, scope: Scope) -> Value:
    found = _given(node, index, scope)
    if not isinstance(found, Value):
        refuse(found, f"it takes a tensor as input {index + 1}, and is given {node.input[index]!r}")
    return found


def _sequence(node: NodeProto, index: int, scope: Scope) -> TensorSequence:
    found = _given(node, index, scope)
    if not isinstance(found, TensorSequence):
        kind = found.type if isinstance(found, Value) else "an optional value"
        raise BadModel(f"input {index + 1} is a sequence; {node.input[index]!r} is {kind}")
    return found


def _position(reader: Reader, node: NodeProto, index: int, scope: Scope, size: int, last: int) -> int:
    """A position counted from the front; the last one if none is given. Negative ones count from the end."""
    value = scope.find(node.input[index]) if index < len(node.input) and node.input[index] else None
    at = last if value is None else _number(reader, value, "the position")
    if not -size <= at <= last:
        raise BadModel(f"the position {at} in a sequence of {size} tensors")
    return at + size if at < 0 else at


def _number(reader: Reader, value: Value, what: str) -> int:
    """An integer that is known while reading. Raises Refused."""
    known = reader.shapes.of(value)
    if known is None or len(known) != 1 or not isinstance(known[0], int):
        found = f"is {known[0]}" if known else "depends on data"
        raise Refused(Reason.SEQUENCE, f"{what} {found}; dlc has sequences as far as they are known without running")
    return known[0]


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise BadModel(f"axis {axis} of a tensor of rank {rank}")
    return axis % rank


__all__ = ["RESOLVED", "Resolved"]
