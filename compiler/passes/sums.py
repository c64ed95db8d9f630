"""Sums of tensors, written with few passes or as matrix products."""

from __future__ import annotations

from collections.abc import Callable

from dlc.compiler.build import current
from dlc.compiler.graph import Graph, Value
from dlc.compiler.passes.combination import ONE, Coefficient, Combination, Scalars, fixed, times
from dlc.compiler.passes.match import elements
from dlc.compiler.passes.products import gemm


class Writer:
    """Builds a sum of tensors, counting passes over tensors of the root's size."""

    def __init__(self, graph: Graph, scalars: Scalars, root: Value) -> None:
        self.sizes = graph.sizes
        self.scalars = scalars
        self.root = root
        self.passes = 0

    def fused(self, sum_: Combination, products: list[Value]) -> Value:
        """Each product as a Gemm whose C is what comes before it."""
        taken = set(products)
        terms = [(tensor, coefficient) for tensor, coefficient in sum_.terms.items() if tensor not in taken]
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
