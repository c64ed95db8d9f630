"""Drop what no output needs."""

from __future__ import annotations

from dlc.compiler.build import rewrite
from dlc.compiler.graph import Graph
from dlc.compiler.passes.bodies import in_bodies


def dce(graph: Graph) -> Graph:
    """Drop nodes that no output needs. Inputs stay, used or not: they are the interface.

    Operators have no effects, so what is not read is not needed; each pass built with `rewrite` leaves such nodes out
    already, and this one answers for graphs that come from elsewhere.
    """
    return rewrite(in_bodies(graph, dce), lambda node, inputs: None)
