"""Bring the scalar factors of an update together."""

from __future__ import annotations

from dlc.compiler.build import op
from dlc.compiler.graph import Graph, Node, Value
from dlc.compiler.passes.cost import cost
from dlc.compiler.passes.match import RULES, Sole, Table, arguments, is_scalar, number, rule
from dlc.compiler.passes.simplify import by_rules

OUTWARD: Table = {}
SHARED: Table = {}  # after OUTWARD, and for itself: its one rule is a loss where another reader needs the product
_DEPTH = 20  # of the scalar expressions whose sign is asked for


def scalars(graph: Graph) -> Graph:
    """Move scalar factors out of sums, roots and quotients of tensors, to where they meet and become one factor.

    Adam's `lr * (m / c1) / (sqrt(v / c2) + eps)` is seven passes over tensors of the weight's size with the
    subtraction from the weight; as `m / (sqrt(v) + eps * sqrt(c2)) * (lr * sqrt(c2) / c1)` it is five. The graph stays
    as it is if nothing is won.
    """
    for table in (OUTWARD, SHARED):
        after = by_rules(graph, table, RULES)
        if cost(after) < cost(graph):
            graph = after
    return graph


def _factor(value: Value, sole: Sole) -> tuple[Value, str, Value] | None:
    """The tensor, the operator and the scalar if `value` is a tensor times or over a scalar, read only once."""
    if not sole(value) or not value.shape:
        return None
    for name in ("Mul", "Div"):
        factors = arguments(value, name)
        if factors and is_scalar(factors[1]):
            return factors[0], name, factors[1]
    return None


@rule("Sqrt", table=OUTWARD)
def root(node: Node, x: Value, *, sole: Sole) -> Value | None:
    """sqrt(x * s) -> sqrt(x) * sqrt(s), and likewise with /, for a scalar s that is positive."""
    found = _factor(x, sole)
    if found is None or not is_positive(found[2]):
        return None
    return op[found[1]](op.Sqrt(found[0]), op.Sqrt(found[2]))


@rule("Add", "Sub", table=OUTWARD)
def sum_with_scalar(node: Node, x: Value, y: Value, *, sole: Sole) -> Value | None:
    """x / s + t -> (x + t * s) / s for scalars s and t, and with a positive factor for the divisor."""
    found = _factor(x, sole)
    if found is None or not is_scalar(y) or not is_positive(found[2]) or found[0].type != node.output.type:
        return None
    inner, name, s = found
    moved = y * s if name == "Div" else y / s
    return op[name](op[node.op](inner, moved), s)


@rule("Mul", "Div", table=OUTWARD)
def quotient(node: Node, x: Value, y: Value, *, sole: Sole) -> Value | None:
    """(x * s) / (y * t) -> (x / y) * (s / t); the factor of one side alone moves out too, unless that side is small."""
    left, right = (
        found if (found := _factor(side, sole)) and found[0].type == node.output.type else None for side in (x, y)
    )
    if x is y or not x.shape or not y.shape or (left is None and right is None):
        return None
    a, b = x if left is None else left[0], y if right is None else right[0]
    total = op[node.op](a, b)
    if left is not None:
        total = op[left[1]](total, left[2])
    if right is not None:
        total = op[right[1] if node.op == "Mul" else {"Mul": "Div", "Div": "Mul"}[right[1]]](total, right[2])
    return total


@rule("Mul", table=SHARED)
def shared_factor(node: Node, x: Value, y: Value) -> Value | None:
    """(x * s) * t -> x * (s * t), and (x * s) * (x * s) -> (x * x) * (s * s), also where other nodes read x * s.

    A clipped gradient is read by both averages of Adam: if all its readers take its factor, it is never written.
    """
    factors = arguments(x, "Mul")
    if not factors or not is_scalar(factors[1]) or not x.shape or (number(y) is None and x is not y):
        return None
    a, s = factors
    return (a * a) * (s * s) if x is y else a * (s * y)


def is_positive(value: Value, depth: int = _DEPTH) -> bool:
    """Whether a scalar is known to be above 0, or NaN.

    `1 - b ** t` with 0 < b < 1 counts, the bias correction of running averages: it is positive for every t > 0, and t
    counts steps from 1.
    """
    known = number(value)
    if known is not None:
        return known > 0
    node = value.node
    if node is None or depth == 0:
        return False
    if node.op == "Exp":
        return True
    if node.op == "Sub":
        one, power = arguments(value, "Sub") or (value, value)
        base = number((arguments(power, "Pow") or (None, None))[0])
        return number(one) == 1 and base is not None and 0 < base < 1
    if node.op in ("Mul", "Div", "Add", "Sqrt", "Reciprocal", "Max", "Min", "Cast"):
        return all(each is not None and is_positive(each, depth - 1) for each in node.inputs)
    if node.op == "Pow":
        base_value = node.inputs[0]
        return base_value is not None and is_positive(base_value, depth - 1)
    return node.op == "dlc.Size"
