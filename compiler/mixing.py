"""What mixes the examples of a batch.

What one example gives must not depend on the others of its batch, or else a mean over a split changes with the batches
that the split is cut into.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dlc.compiler.dims import Polynomial, symbols
from dlc.compiler.graph import Node, Value, topological
from dlc.compiler.registry import lookup
from dlc.compiler.types import Type

BATCH = "B"
_SHAPES = ("Shape", "Size")  # they read no element
_ALONG_AN_AXIS = ("Softmax", "LogSoftmax", "Hardmax")


@dataclass(frozen=True)
class Mixture:
    """A node that mixes examples. `how`: it `ends` the batch's dimension, `counts` the batch, or, with the dimension
    still there, has examples `meet`."""

    node: Node
    how: str


def mixtures(values: Iterable[Value]) -> Iterator[Mixture]:
    """The nodes on the way to values that mix examples, in their order."""
    counting: set[Value] = set()  # numbers made of the batch's size
    for node in with_bodies(topological(values)):
        if _reads_size(node) or (_is_apart(node) and any(each in counting for each in node.operands())):
            counting.update(node.outputs)
        elif _ends(node):
            yield Mixture(node, "ends")
        elif any(_is_number(each, node) for each in node.operands() if each in counting):
            yield Mixture(node, "counts")
        elif _meet(node):
            yield Mixture(node, "meet")


def has_batch(type: Type) -> bool:
    """Does one of the dimensions depend on the batch's?"""
    return any(BATCH in symbols(dim) for dim in type.shape)


def drops_batch(value: Value) -> bool:
    """Does the batch's dimension end here?"""
    if value.node is None or has_batch(value.type):
        return False
    return any(has_batch(operand.type) for operand in value.node.operands())


def with_bodies(nodes: Iterable[Node]) -> Iterator[Node]:
    """Nodes, each after those of its bodies."""
    for node in nodes:
        for body in node.bodies:
            yield from with_bodies(body.nodes)
        yield node


def _reads_size(node: Node) -> bool:
    return node.op == "dlc.Size" and BATCH in symbols(node.attributes["dim"])


def _is_apart(node: Node) -> bool:
    return not any(has_batch(each.type) for each in (*node.operands(), *node.outputs))


def _ends(node: Node) -> bool:
    return node.op not in _SHAPES and any(drops_batch(each) for each in node.outputs)


def _is_number(operand: Value, node: Node) -> bool:
    """Does a node read an operand as a number? Else it is a shape or the end of a range, which say no more than the
    dimension of the result."""
    return operand.type.is_float or lookup(node.op).broadcasts


def _meet(node: Node) -> bool:
    if node.op in _ALONG_AN_AXIS and BATCH in symbols(node.output.shape[node.attributes.get("axis", -1)]):
        return True
    return any(_has_pairs(each.type) or _has_neighbours(each.type) for each in node.outputs)


def _has_pairs(type: Type) -> bool:
    """Are there elements for every two examples?"""
    size = type.size
    return isinstance(size, Polynomial) and any(dict(monomial).get(BATCH, 0) > 1 for monomial, _ in size.terms)


def _has_neighbours(type: Type) -> bool:
    """Is there a dimension like B - 1, of the differences of examples that follow each other?"""
    batches = ([BATCH in dict(monomial) for monomial, _ in dim.terms] for dim in type.shape if not isinstance(dim, int))
    return any(any(of_batch) and not all(of_batch) for of_batch in batches)
