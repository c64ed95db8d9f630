"""Passes inside the bodies of Scan, Loop and If."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dlc.compiler.build import current, rebind, rewrite
from dlc.compiler.graph import Graph, Node, Value


def in_bodies(graph: Graph, transform: Callable[[Graph], Graph]) -> Graph:
    """The graph with `transform` applied to each body; the same graph where it has none or none changes.

    Bodies nest as deeply as the `.net` text does, so that a transform may call this again for the bodies in a body.
    """
    changed: dict[Node, tuple[Graph, ...]] = {}
    for node in graph.nodes:
        bodies = tuple(transform(body) for body in node.bodies)
        if bodies != node.bodies:
            changed[node] = bodies
    if not changed:
        return graph
    replaced: dict[Value, Value] = {}

    def visit(node: Node, inputs: tuple[Value | None, ...]) -> Sequence[Value] | None:
        bodies = tuple(rebind(body, replaced) for body in changed.get(node, node.bodies))
        if inputs == node.inputs and bodies == node.bodies:
            return None
        new = current().add(node.op, inputs, node.attributes, bodies, len(node.outputs)).outputs
        replaced.update(zip(node.outputs, new, strict=True))
        return new

    return rewrite(graph, visit)
