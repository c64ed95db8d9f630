"""Any graph with a box for every operator."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from dlc.compiler.graph import Graph, Node, Value, topological
from dlc.compiler.passes import TRAINING, run
from dlc.compiler.unit import Unit
from dlc.runtime.drawing.picture import Box, Edge, Group, Picture, kind_of, short_text
from dlc.runtime.drawing.stages import shape
from dlc.runtime.errors import InputError

MOST = 1500
"""How many boxes a picture may have: more is nothing to look at."""

FORWARD, GRADIENT, UPDATE = "forward", "gradient", "update"


def graph_picture(graph: Graph, weights: Collection[str] = (), parts: Mapping[Node, str] | None = None) -> Picture:
    """The nodes of a graph; constants, and the inputs called `weights`, are written into the boxes that read them.

    `parts` divides the nodes into groups by their labels; outputs have boxes only where there are none. Raises
    InputError for a graph that is too large to look at.
    """
    nodes = [node for node in graph.nodes if node.op != "Constant"]
    if len(nodes) > MOST:
        raise InputError(
            f"{graph.name} has {len(nodes):,} operators, and a picture shows {MOST:,} at most",
            "`--detail stages` draws one box for each stage",
        )
    picture = Picture(graph.name)
    number: dict[Value, int] = {}
    read = {value for node in nodes for value in node.operands()} | set(graph.outputs.values())
    for value in graph.inputs:
        name = graph.names[value]
        if name not in weights and value in read:
            number[value] = len(picture.boxes)
            picture.boxes.append(Box((short_text(name), shape(value)), "data", f"{name}: {value.type}, an input"))
    groups = {label: Group(label) for label in dict.fromkeys((parts or {}).values())}
    flow: dict[tuple[int, int], dict[Value, None]] = {}
    for node in nodes:
        here = len(picture.boxes)
        label = (parts or {}).get(node, "")
        picture.boxes.append(_box(graph, node, weights, label, groups.get(label)))
        for value in node.operands():
            if value in number:
                flow.setdefault((number[value], here), {})[value] = None
        number.update(dict.fromkeys(node.outputs, here))
    for name, value in graph.outputs.items() if not parts else ():
        if value in number:
            flow.setdefault((number[value], len(picture.boxes)), {})[value] = None
            picture.boxes.append(Box((short_text(name), shape(value)), "data", f"{name}: {value.type}, an output"))
    picture.edges = [
        Edge(*ends, "\n".join(f"{graph.names[v]}: {v.type}" if v in graph.names else str(v.type) for v in values))
        for ends, values in flow.items()
    ]
    return picture


def step_operators(unit: Unit) -> Picture:
    """The operators of a training step once it is differentiated: forward pass, gradient and update. Raises as
    `graph_picture` does."""
    graph = run(unit.graph, TRAINING, after="simplify.2", verify=False)
    forward = set(topological([graph.outputs[each] for each in ("loss", *unit.reports)]))
    tested = [node for node in graph.nodes if node.op == "dlc.Finite"]
    gradient = set(topological(value for node in tested for value in node.operands())) | set(tested)
    parts = {
        node: FORWARD if node in forward else GRADIENT if node in gradient else UPDATE
        for node in graph.nodes
        if node.op != "Constant"
    }
    picture = graph_picture(graph, unit.carried, parts)
    return replace(picture, title=f"{unit.name}: one training step")


def _box(graph: Graph, node: Node, weights: Collection[str], label: str, group: Group | None) -> Box:
    given: list[str] = []
    for value in node.inputs:
        if value is None:
            continue
        constant, name = value.constant, graph.names.get(value, "")
        if value.node is None and name in weights:
            given.append(name.removeprefix(f"{graph.name}."))
        elif constant is not None and constant.ndim == 0:
            given.append(f"{constant.item():.4g}" if constant.dtype.kind == "f" else str(constant.item()))
    lines = [node.op.removeprefix("dlc."), shape(node.outputs[0]), short_text(", ".join(given), 34)]
    attributes = [f"{key} = {short_text(str(value), 60)}" for key, value in node.attributes.items()]
    hover = [node.op, *(str(value.type) for value in node.outputs), *given, *attributes, str(node.span or "")]
    kind = label if label in (GRADIENT, UPDATE) else kind_of([node.op])
    return Box(tuple(line for line in lines if line), kind, "\n".join(each for each in hover if each), group)
