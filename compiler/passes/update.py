"""Write each weight's successor as few passes: as one matrix product where it can be."""

from __future__ import annotations

from dlc.compiler.build import current, rewrite
from dlc.compiler.graph import Graph, Node, Value
from dlc.compiler.passes.combination import Combination, Scalars, combine, fixed, times
from dlc.compiler.passes.finite import readers, tested_cotangents
from dlc.compiler.passes.products import as_gemm, has_addend
from dlc.compiler.passes.sums import Writer

NEXT = ":next"  # a graph's output that takes the place of an input of that name in the next step


def update(graph: Graph) -> Graph:
    """Write each carried value's successor as a linear combination of tensors with scalar coefficients.

    If one term is a matrix product that nothing else reads, it is the Gemm, and the rest is its C: `w - lr * x^T dy`
    becomes `Gemm(x, dy, w)` with alpha = -lr, and neither the gradient nor the scaled gradient exists as a tensor. A
    coefficient that is known only at run time scales the product's smaller operand. Weight decay, momentum and L2 are
    further terms of the sum. Without such a product the sum is written with as few passes as there are.

    `dlc.Finite` does not count as a reader: of a gradient that it alone reads it tests the cotangent dy instead.
    """
    for _ in range(2):  # the first turn may free products for the second
        graph = rewrite(graph, _Rewriting(graph).visit)
    return tested_cotangents(graph)


class _Rewriting:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.uses = readers(graph)
        self.count = dict(self.uses)
        self.roots = {value for name, value in graph.outputs.items() if name.endswith(NEXT)}
        self.done: set[Value] = set()  # the roots as they are now

    def visit(self, node: Node, inputs: tuple[Value | None, ...]) -> Value | None:
        if node.bodies or len(node.outputs) != 1:
            return None
        old = node.output
        value = old if inputs == node.inputs else current().add(node.op, inputs, node.attributes).output
        if old in self.roots and value.shape and value.type.is_float:
            value = self._shortest(value)
            self.done.add(value)
        if value is old:
            return None
        self.count[value] = self.count.get(value, 0) + self.uses.get(old, 0)
        return value

    def _shortest(self, root: Value) -> Value:
        scalars = Scalars()
        sum_ = self._combination(root, scalars)
        if sum_.passes < 2 or sum_.cancelled:
            return root
        freed = self._without_shared_product(sum_, scalars)
        if freed is not None:
            return Writer(self.graph, scalars, root).total(list(freed.terms.items()))()
        writer = Writer(self.graph, scalars, root)
        products = [term for term in sum_.terms if self._is_free_product(term)]
        if not products:
            plan = writer.total(list(sum_.terms.items()))
            return plan() if writer.passes < sum_.passes else root
        return writer.fused(sum_, products)

    def _combination(self, root: Value, scalars: Scalars) -> Combination:
        return combine(root, lambda value: self.count.get(value, 2) == 1, scalars)

    def _parts(self, value: Value) -> list[Value]:
        return list(self._combination(value, Scalars()).terms)

    def _without_shared_product(self, sum_: Combination, scalars: Scalars) -> Combination | None:
        """The sum with a product d that another root v' = d + ... reads too replaced by v' - ..., if v' is a term here.

        That is Nesterov's momentum: then v' is d's only reader and becomes a Gemm.
        """
        for d, coefficient in sum_.terms.items():
            if self.count.get(d, 1) != 2 or not (as_gemm(d) or any(map(self._is_free_product, self._parts(d)))):
                continue
            for other in (tensor for tensor in sum_.terms if tensor in self.done):
                inner = self._combination(other, scalars)
                if fixed(inner.terms.get(d, {})) != 1 or any(len(each) != 1 for each in inner.terms.values()):
                    continue
                result = Combination({tensor: k for tensor, k in sum_.terms.items() if tensor is not d})
                result.add(other, coefficient)
                for tensor, ((monomial, factor),) in ((t, k.items()) for t, k in inner.terms.items() if t is not d):
                    result.add(tensor, times(coefficient, monomial, -factor))
                return None if result.cancelled else result
        return None

    def _is_free_product(self, term: Value) -> bool:
        """Whether a term is a product that this sum alone reads; one taken out of a Gemm is new and has no count."""
        node = as_gemm(term)
        return node is not None and not has_addend(node) and self.count.get(term, 1) == 1
