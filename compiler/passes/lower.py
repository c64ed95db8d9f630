"""Replace every private operator by ONNX's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dlc.compiler.build import current, ints, op, rewrite
from dlc.compiler.dims import Atom, Dim, Monomial, Quotient, Shape, Stretched, symbol, symbols
from dlc.compiler.graph import Graph, Node, Value, dims
from dlc.compiler.passes.bodies import in_bodies
from dlc.compiler.registry import lookup

ROUNDS = 10  # rules may build private operators themselves; none nests deeper than a few


class UnknownDimension(Exception):
    """A private operator needs a dimension that no input of the graph has, so that it cannot be read at run time."""


def lower(graph: Graph) -> Graph:
    """Replace private operators by what their rules build of ONNX's, in bodies too.

    A public operator whose record has a rule is given to it too, until the rule answers None, for the node to stay.
    Symbolic dimensions are read from the graph's inputs. Raises UnknownDimension, and LookupError for an operator that
    has no rule.
    """
    return _lower(graph, {}, None)


class Lowering:
    """What a rule asks of the graph around it: sizes at run time, and likely ones at compile time."""

    def __init__(self, graph: Graph, around: Lowering | None = None) -> None:
        self.graph = graph
        self.sizes: Mapping[str, int] = graph.sizes or (around.sizes if around else {})
        self._axes: dict[str, tuple[Value, int]] = (around._axes if around else {}) | dims(graph)
        self._inputs: tuple[Value, ...] = (*(around._inputs if around else ()), *graph.inputs)

    def dim(self, dim: Dim) -> Value:
        """A dimension at run time, as i64[]. Raises UnknownDimension.

        It is read by Shape alone: where a size is fixed when a session is made, ONNX Runtime folds Shape, never Size.
        """
        if isinstance(dim, int):
            return current().constant(dim, "i64")
        total: Value | None = None
        for monomial, coefficient in sorted(dim.terms, key=lambda term: term[1] < 0):
            term = self._term(monomial, abs(coefficient) if total is not None else coefficient)
            total = term if total is None else total - term if coefficient < 0 else total + term
        assert total is not None, "a polynomial has terms"
        return total

    def knows(self, dim: Dim) -> bool:
        """Whether a dimension can be read at run time, or is a number."""
        return self._axes.keys() >= set(symbols(dim))

    def shape(self, shape: Sequence[Dim]) -> Value:
        """A shape at run time, as i64[rank]: what one input has is read from it at once. Raises UnknownDimension."""
        rest: Shape = tuple(shape)
        parts: list[Value] = []
        while rest:
            part, length = self._leading(rest)
            parts.append(part)
            rest = rest[length:]
        if not parts:
            return current().constant(ints())
        return parts[0] if len(parts) == 1 else op.Concat(*parts, axis=0)

    def _leading(self, shape: Shape) -> tuple[Value, int]:
        """The first dimensions of a shape as a vector, and how many they are."""
        fixed = next((i for i, dim in enumerate(shape) if not isinstance(dim, int)), len(shape))
        if fixed == len(shape):
            return current().constant(ints(*(dim for dim in shape if isinstance(dim, int)))), fixed
        best: tuple[Value, int, int] | None = None
        for value in self._inputs:
            for start in range(value.type.rank):
                length = _common(value.shape[start:], shape)
                if length > max(fixed, best[2] if best else 0):
                    best = value, start, length
        if best is not None:
            value, start, length = best
            return _extent(value, start, start + length), length
        if fixed:
            return current().constant(ints(*(dim for dim in shape[:fixed] if isinstance(dim, int)))), fixed
        return op.Unsqueeze(self.dim(shape[0]), ints(0)), 1

    def _term(self, monomial: Monomial, coefficient: int) -> Value:
        factors = [self._atom(atom) for atom, power in monomial for _ in range(power)]
        if coefficient != 1 or not factors:
            factors.append(current().constant(coefficient, "i64"))
        total = factors[0]
        for factor in factors[1:]:
            total = total * factor
        return total

    def _atom(self, atom: Atom) -> Value:
        if isinstance(atom, Quotient):
            # Integer division cuts toward zero, which is downward: dimensions are not negative.
            numerator, divisor = self.dim(atom.numerator), self.dim(atom.divisor)
            return (numerator + (divisor - 1)) / divisor if atom.ceiling else numerator / divisor
        if isinstance(atom, Stretched):
            size, *others = (self.dim(each) for each in atom.sizes)
            for other in others:
                size = op.Where(op.Equal(size, np.array(1)), other, size)
            return size
        for value in self._inputs:
            if value.shape == (symbol(atom),):
                return op.Squeeze(op.Shape(value))
        if atom not in self._axes:
            known = ", ".join(self._axes) or "none"
            raise UnknownDimension(
                f"the dimension {atom} cannot be read at run time: no input of {self.graph.name} has it as an axis of"
                f" its own (those that inputs have: {known})"
            )
        value, axis = self._axes[atom]
        return op.Squeeze(_extent(value, axis, axis + 1))


def _common(left: Shape, right: Shape) -> int:
    """How many leading dimensions two shapes share."""
    return next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))


def _extent(value: Value, start: int, end: int) -> Value:
    given = {"start": start or None, "end": end if end < value.type.rank else None}
    return op.Shape(value, **given)


def _lower(graph: Graph, offered: dict[Node, None], around: Lowering | None) -> Graph:
    lowering = Lowering(graph, around)

    def visit(node: Node, inputs: tuple[Value | None, ...]) -> Value | Sequence[Value] | None:
        record = lookup(node.op)
        if record.lower is None or "declared" in node.attributes:
            if node.private:
                raise LookupError(f"{node.op} has no lowering")
            return None
        if node.private:
            target = node
        elif node in offered:
            return None
        else:
            target = node
            if inputs != node.inputs:
                target = current().add(node.op, inputs, node.attributes, node.bodies, len(node.outputs))
        try:
            lowered: Value | Sequence[Value] | None = record.lower(lowering, target, *inputs)
        except UnknownDimension as error:
            where = f" ({node.span})" if node.span else ""
            raise UnknownDimension(f"{node.op} -> {node.output.type}{where}: {error}") from None
        if lowered is None:
            offered[target] = None
        return lowered

    graph = in_bodies(graph, lambda body: _lower(body, offered, lowering))
    for _ in range(ROUNDS):
        lowering = Lowering(graph, around)
        after = rewrite(graph, visit)
        if after.nodes == graph.nodes:
            return graph
        graph = after
    left = sorted({node.op for node in graph.nodes if node.private})
    raise LookupError(f"lowering {', '.join(left)} does not come to an end")


__all__ = ["Lowering", "UnknownDimension", "lower"]
