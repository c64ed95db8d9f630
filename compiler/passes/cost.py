"""What a graph costs to run, as far as elementwise work goes."""

from __future__ import annotations

from collections.abc import Mapping

from dlc.compiler.graph import Graph
from dlc.compiler.passes.match import elements
from dlc.compiler.types import Type

NODE = 2000  # elements that an elementwise pass handles in the time that a node costs by itself, about a microsecond
_FREE = frozenset(
    {"Constant", "dlc.Detach", "dlc.ExpandTo", "dlc.ReshapeTo", "dlc.Size", "Reshape", "Squeeze", "Unsqueeze"}
)


def cost(graph: Graph) -> int:
    """The elements that all nodes write, with an allowance for each node."""
    return sum(passed(node.output.type, graph.sizes) for node in graph.nodes if node.op not in _FREE and node.outputs)


def passed(type: Type, sizes: Mapping[str, int]) -> int:
    """The cost of one node with a result of that type."""
    return NODE + elements(type, sizes)
