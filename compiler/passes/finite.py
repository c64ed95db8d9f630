"""What dlc.Finite tests in place of gradients that exist no more."""

from __future__ import annotations

from dlc.compiler.build import current, rewrite
from dlc.compiler.graph import Graph, Node, Value
from dlc.compiler.passes.combination import Scalars, combine
from dlc.compiler.passes.match import argument

PRODUCTS = ("MatMul", "Gemm")


def readers(graph: Graph) -> dict[Value, int]:
    """How often each value is read, dlc.Finite apart."""
    count = graph.uses()
    for node in graph.nodes:
        if node.op == "dlc.Finite":
            for value in node.operands():
                count[value] -= 1
    return count


def tested_cotangents(graph: Graph) -> Graph:
    """Test the cotangents of gradients that only dlc.Finite reads, and each sum rather than what it sums.

    Where the norm of a gradient is computed, its sum of squares is tested: a pass over the gradient fewer. It overflows
    before the gradient does, but then the norm is infinite, and a step clipped by it would be none.
    """
    if not any(node.op == "dlc.Finite" for node in graph.nodes):
        return graph
    count = readers(graph)
    place = {node: index for index, node in enumerate(graph.nodes)}
    reductions = [node for node in graph.nodes if node.op == "ReduceSumSquare" and not node.output.shape]
    squares = {node.inputs[0]: node.output for node in reductions}

    def later(product: Node) -> Value:
        """The operand that was computed later: the cotangent, which depends on the other."""
        a, b = product.inputs[:2]
        assert a is not None and b is not None
        return max(b, a, key=lambda value: place.get(value.node, -1) if value.node is not None else -1)

    def visit(node: Node, inputs: tuple[Value | None, ...]) -> Value | None:
        if node.op != "dlc.Finite":
            return None
        tested: dict[Value, None] = {}
        for value in node.operands():
            terms = combine(value, lambda inner: count.get(inner, 0) <= 1, Scalars()).terms if not count[value] else {}
            found = [later(term.node) for term in terms if term.node and term.op in PRODUCTS]
            if not found:
                tested[value] = None
                continue
            rest = [term for term in terms if term.op not in PRODUCTS and term.node is not None]
            tested.update(dict.fromkeys([*found, *rest]))
        sums = {argument(value, name) for value in tested for name in ("ReduceSum", "dlc.SumTo")}
        kept = dict.fromkeys(squares.get(value, value) for value in tested if value not in sums)
        return current().add("dlc.Finite", list(kept)).output

    return rewrite(graph, visit)
