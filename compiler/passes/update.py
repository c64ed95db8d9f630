"""Write each weight's successor as few passes: as one matrix product where it can be."""

from __future__ import annotations

from collections.abc import Callable

from dlc.compiler.build import current, rewrite
from dlc.compiler.graph import Graph, Node, Value
from dlc.compiler.passes.combination import ONE, Coefficient, Combination, Scalars, combine, fixed, times
from dlc.compiler.passes.match import argument, elements
from dlc.compiler.passes.products import as_gemm, gemm, has_addend

PRODUCTS = ("MatMul", "Gemm")
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
    return _finite(graph)


class _Rewriting:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.uses = _readers(graph)
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
            return _Writer(self.graph, scalars, root).total(list(freed.terms.items()))()
        writer = _Writer(self.graph, scalars, root)
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


class _Writer:
    """Builds a sum of tensors, counting passes over tensors of the root's size."""

    def __init__(self, graph: Graph, scalars: Scalars, root: Value) -> None:
        self.sizes = graph.sizes
        self.scalars = scalars
        self.root = root
        self.passes = 0

    def fused(self, sum_: Combination, products: list[Value]) -> Value:
        """Each product as a Gemm whose C is what comes before it."""
        terms = [(tensor, coefficient) for tensor, coefficient in sum_.terms.items() if tensor not in products]
        c: Value | None = None
        beta = 1.0
        if terms:
            beta = _common_number([coefficient for _, coefficient in terms])
            c = self.total([(tensor, times(k, ONE, beta, inverse=True)) for tensor, k in terms])()
        for product in products:
            alpha, scaled = self._scaled(product, sum_.terms[product])
            c = gemm(scaled, c, alpha=alpha, beta=beta)
            beta = 1.0
        assert c is not None
        return c

    def _scaled(self, product: Value, coefficient: Coefficient) -> tuple[float, Value]:
        """The alpha of a product, and the product with its smaller operand scaled by what is not a number."""
        alpha = fixed(coefficient)
        if alpha is not None:
            return alpha, product
        alpha = next(iter(coefficient.values())) if len(coefficient) == 1 else 1.0
        node = product.node
        assert node is not None
        a, b = node.inputs[:2]
        assert a is not None and b is not None
        scalar = self.scalars.build(times(coefficient, ONE, alpha, inverse=True), product.dtype)
        first = elements(a.type, self.sizes) < elements(b.type, self.sizes)
        operands = (a * scalar, b) if first else (a, b * scalar)
        return alpha * node.attributes.get("alpha", 1.0), current().add(node.op, operands, node.attributes).output

    def total(self, terms: list[tuple[Value, Coefficient]]) -> Callable[[], Value]:
        """How to build a sum; counts its passes at once. Tensors of one coefficient are added, then scaled."""
        groups: dict[frozenset[tuple[object, float]], tuple[Coefficient, list[tuple[Value, float]]]] = {}
        for tensor, coefficient in terms:
            sign = -1.0 if all(factor < 0 for factor in coefficient.values()) else 1.0
            size = times(coefficient, ONE, sign)
            groups.setdefault(frozenset(size.items()), (size, []))[1].append((tensor, sign))
        parts: list[tuple[Coefficient, list[tuple[Value, float]]]] = []
        for size, signed in groups.values():
            parts.extend([(size, [each]) for each in signed] if fixed(size) == 1 else [(size, signed)])
        parts.sort(key=lambda part: (part[1][0][1] < 0, fixed(part[0]) != 1))
        negative = parts[0][1][0][1] < 0
        self.passes += len(terms) - 1 + sum(fixed(size) != 1 for size, _ in parts)
        self.passes += negative and fixed(parts[0][0]) == 1

        def build() -> Value:
            total: Value | None = None
            for size, signed in parts:
                inner, lead = signed[0]
                for tensor, sign in signed[1:]:
                    inner = inner + tensor if sign == lead else inner - tensor
                if fixed(size) != 1:
                    signed_size = times(size, ONE, lead) if total is None else size
                    inner = inner * self.scalars.build(signed_size, inner.dtype)
                    lead = 1.0 if total is None else lead
                if total is None:
                    total = -inner if lead < 0 else inner
                else:
                    total = total - inner if lead < 0 else total + inner
            assert total is not None
            return total

        return build


def _common_number(coefficients: list[Coefficient]) -> float:
    """The number to take out of a sum as the beta of a Gemm: it saves a pass if no term stands there without one."""
    numbers = [fixed(coefficient) for coefficient in coefficients]
    if any(number in (1.0, -1.0) for number in numbers):
        return 1.0
    return next((number for number in numbers if number is not None), 1.0)


def _readers(graph: Graph) -> dict[Value, int]:
    """How often each value is read, dlc.Finite apart."""
    count = graph.uses()
    for node in graph.nodes:
        if node.op == "dlc.Finite":
            for value in node.operands():
                count[value] -= 1
    return count


def _finite(graph: Graph) -> Graph:
    """Test the cotangents of gradients that only dlc.Finite reads, and each sum rather than what it sums."""
    if not any(node.op == "dlc.Finite" for node in graph.nodes):
        return graph
    count = _readers(graph)
    place = {node: index for index, node in enumerate(graph.nodes)}

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
        kept = [value for value in tested if value not in sums]
        return current().add("dlc.Finite", kept).output

    return rewrite(graph, visit)
