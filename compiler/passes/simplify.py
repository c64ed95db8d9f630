"""Local rewriting by small rules, to a fixpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dlc.compiler.build import current, rewrite
from dlc.compiler.graph import Graph, Node, Value
from dlc.compiler.passes import algebra, movement, products, stretching  # noqa: F401  (they enter their rules)
from dlc.compiler.passes.bodies import in_bodies
from dlc.compiler.passes.match import RULES, Table

ROUNDS = 100  # a bound for rules that undo each other; graphs of the first programs need three or four
STEPS = 20  # at one node


def simplify(graph: Graph) -> Graph:
    """Apply the rules of `algebra`, `movement`, `stretching` and `products` until none applies.

    A rule gives the same numbers up to rounding, for NaN and infinities too: it may take 0.0 for -0.0 and multiply
    scalars in another order. `x * 0 -> 0`, `x - x -> 0` and `x / x -> 1` are no rules: they are wrong for NaN.
    """
    return by_rules(graph, RULES)


def by_rules(graph: Graph, *tables: Table) -> Graph:
    """Apply the rules of tables until none applies."""
    for _ in range(ROUNDS):
        after = _round(in_bodies(graph, lambda body: by_rules(body, *tables)), tables)
        if after.nodes == graph.nodes:
            break
        graph = after
    return graph


def _round(graph: Graph, tables: Sequence[Table]) -> Graph:
    """One turn over all nodes. Values that are made in this turn count as shared: the next turn knows better."""
    uses = graph.uses()
    count = dict(uses)
    given = {"sole": lambda value: count.get(value, 2) == 1, "sizes": graph.sizes}

    def visit(node: Node, inputs: tuple[Value | None, ...]) -> Value | None:
        if node.bodies or len(node.outputs) != 1 or "declared" in node.attributes:
            return None
        old = node.output
        value = old if inputs == node.inputs else current().add(node.op, inputs, node.attributes).output
        for _ in range(STEPS):
            following = _apply(value, tables, given)
            if following is None:
                break
            value = following
        if value is old:
            return None
        count[value] = count.get(value, 0) + uses.get(old, 0)
        return value

    return rewrite(graph, visit)


def _apply(value: Value, tables: Sequence[Table], given: Mapping[str, object]) -> Value | None:
    """What the first rule that applies makes of a value."""
    node = value.node
    if node is None:
        return None
    for table in tables:
        for rule, wanted in table.get(node.op, ()):
            result = rule(node, *node.inputs, **{name: given[name] for name in wanted})
            if result is not None and result is not value and result.type == value.type:
                return result
    return None
