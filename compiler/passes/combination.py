"""Tensors as linear combinations of tensors, with coefficients that are polynomials in scalars."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from dlc.compiler.build import current
from dlc.compiler.graph import Node, Value
from dlc.compiler.passes.match import is_scalar, number
from dlc.compiler.passes.products import as_gemm, gemm, has_addend

# A product of scalars: those above the line and those below it, each by its place in `Scalars.known`.
Monomial = tuple[tuple[int, ...], tuple[int, ...]]
Coefficient = dict[Monomial, float]
ONE: Monomial = ((), ())


@dataclass
class Combination:
    """The sum of `terms`, each a tensor with its coefficient.

    `passes` counts the nodes that computed it before. `cancelled` says that a term fell out, which for NaN it must not.
    """

    terms: dict[Value, Coefficient] = field(default_factory=dict)
    passes: int = 0
    cancelled: bool = False

    def add(self, tensor: Value, coefficient: Coefficient) -> None:
        total = plus(self.terms.get(tensor, {}), coefficient)
        self.terms[tensor] = total
        self.cancelled |= not total


class Scalars:
    """The scalars met so far; coefficients are built of them again in the order in which they were met."""

    def __init__(self) -> None:
        self.known: dict[Value, int] = {}

    def monomial(self, scalar: Value) -> tuple[Monomial, float]:
        """A scalar as a product of scalars and a number."""
        above: list[int] = []
        below: list[int] = []
        factor = 1.0
        waiting = [(scalar, False)]
        while waiting:
            value, inverse = waiting.pop()
            known, node = number(value), value.node
            if known is not None and (known != 0 or not inverse):
                factor = factor / known if inverse else factor * known
            elif node is not None and node.op == "Neg" and node.inputs[0] is not None:
                factor = -factor
                waiting.append((node.inputs[0], inverse))
            elif node is not None and node.op in ("Mul", "Div"):
                left, right = node.inputs
                assert left is not None and right is not None
                waiting.append((right, inverse != (node.op == "Div")))
                waiting.append((left, inverse))
            else:
                (below if inverse else above).append(self.known.setdefault(value, len(self.known)))
        return (tuple(sorted(above)), tuple(sorted(below))), factor

    def build(self, coefficient: Coefficient, dtype: str) -> Value:
        """A coefficient as a scalar of the graph."""
        total: Value | None = None
        for monomial, factor in sorted(coefficient.items(), key=lambda item: item[1] < 0):
            size = abs(factor) if total is not None else factor
            term = self._product(monomial, size, dtype)
            total = term if total is None else total - term if factor < 0 else total + term
        return total if total is not None else current().constant(0.0, dtype)

    def _product(self, monomial: Monomial, factor: float, dtype: str) -> Value:
        values = list(self.known)
        above, below = ([values[place] for place in places] for places in monomial)
        if not above:
            above, factor = [current().constant(factor, dtype)], 1.0
        total = above[0]
        for value in above[1:]:
            total = total * value
        if below:
            divisor = below[0]
            for value in below[1:]:
                divisor = divisor * value
            total = total / divisor
        return -total if factor == -1 else total if factor == 1 else total * factor


def plus(a: Coefficient, b: Coefficient) -> Coefficient:
    total = dict(a)
    for monomial, factor in b.items():
        total[monomial] = total.get(monomial, 0.0) + factor
    return {monomial: factor for monomial, factor in total.items() if factor}


def times(coefficient: Coefficient, monomial: Monomial, factor: float, inverse: bool = False) -> Coefficient:
    above, below = monomial[::-1] if inverse else monomial
    return {
        (tuple(sorted((*a, *above))), tuple(sorted((*b, *below)))): c / factor if inverse else c * factor
        for (a, b), c in coefficient.items()
    }


def fixed(coefficient: Coefficient) -> float | None:
    """A coefficient that is a number."""
    return coefficient[ONE] if coefficient.keys() == {ONE} else None


def combine(root: Value, inner: Callable[[Value], bool], scalars: Scalars) -> Combination:
    """The linear combination that a tensor is. What `inner` refuses is a term; the root itself is always taken apart.

    A Gemm with a C is a product and its C; the product is a term of its own, a Gemm without C and alpha.
    """
    result = Combination()
    waiting: list[tuple[Value, Coefficient]] = [(root, {ONE: 1.0})]
    while waiting:
        value, coefficient = waiting.pop()
        parts = _parts(value, scalars) if value is root or inner(value) else None
        if parts is None:
            result.add(value, coefficient)
            continue
        result.passes += 1
        for part, monomial, factor, inverse in reversed(parts):
            if part.node is not None and part.node is not value.node and as_gemm(part) and value.op == "Gemm":
                result.add(part, times(coefficient, monomial, factor))
            else:
                waiting.append((part, times(coefficient, monomial, factor, inverse)))
    return result


Part = tuple[Value, Monomial, float, bool]


def _parts(value: Value, scalars: Scalars) -> list[Part] | None:
    """What a value is the weighted sum of: (tensor, scalars, number, whether it is divided by these)."""
    node = value.node
    if node is None:
        return None
    if node.op == "Gemm":
        return _gemm_parts(node, value)
    left, right = (*node.inputs, None, None)[:2]
    if node.op in ("Add", "Sub") and left is not None and right is not None and left.type == right.type:
        return [(left, ONE, 1.0, False), (right, ONE, 1.0 if node.op == "Add" else -1.0, False)]
    if node.op == "Sum" and all(operand is not None and operand.type == value.type for operand in node.inputs):
        return [(operand, ONE, 1.0, False) for operand in node.inputs if operand is not None]
    if node.op == "Neg" and left is not None:
        return [(left, ONE, -1.0, False)]
    if node.op in ("Mul", "Div") and left is not None and right is not None and is_scalar(right) and left.shape:
        monomial, factor = scalars.monomial(right)
        if node.op == "Div" and factor == 0:
            return None
        return [(left, monomial, factor, node.op == "Div")]
    return None


def _gemm_parts(node: Node, value: Value) -> list[Part] | None:
    c = node.inputs[2] if has_addend(node) else None
    alpha, beta = float(node.attributes.get("alpha", 1.0)), float(node.attributes.get("beta", 1.0))
    if as_gemm(value) is None or (c is None and alpha == 1) or (c is not None and c.type != value.type):
        return None
    product: Part = (gemm(value, alpha=1.0), ONE, alpha, False)
    return [product] if c is None else [product, (c, ONE, beta, False)]
