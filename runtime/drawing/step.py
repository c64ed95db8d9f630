"""A training step: the forward pass by its stages, beside each stage its gradient, and the updates of its weights.

A gradient node carries the place of the node whose derivative it belongs to, so each node of the graph is given a
place of its own before it is differentiated. Gradients flow along the edges of the forward pass, the other way round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dlc.compiler.build import Builder, rebind
from dlc.compiler.graph import Graph, Node, Value, topological
from dlc.compiler.passes.differentiate import differentiate
from dlc.compiler.program import Program
from dlc.compiler.registry import NoGradient, lookup
from dlc.compiler.unit import Unit
from dlc.dsl import ast
from dlc.dsl.printer import source
from dlc.runtime.drawing.picture import Box, Edge, Picture, short_text, summary
from dlc.runtime.drawing.stages import Staged, described, staged

LOSS, METRICS = "loss", "metrics"


def step_picture(program: Program, name: str) -> Picture:
    """The training step of a run. Raises SourceError."""
    unit = program.step(name)
    section = program.runs[name]
    wanted = [node for node in unit.graph.nodes if node.op == "dlc.Gradient"]
    pairs = [(node.inputs[0], node.inputs[1]) for node in wanted]
    forward = topological([unit.graph.outputs[each] for each in ("loss", *unit.reports)])
    to_loss = set(topological([unit.graph.outputs["loss"]]))
    named = {
        node: LOSS if node in to_loss else METRICS
        for node in forward
        if node.op not in ("Constant", "dlc.Gradient") and _within(node.span, section.span)
    }
    drawn = staged(unit, [node for node in forward if node.op != "dlc.Gradient"], named)
    weights = {w for _, w in pairs if w is not None}
    active = _active([node for node in forward if node in to_loss], weights)
    picture = Picture(f"{name}: one training step", boxes=drawn.boxes, edges=drawn.edges)
    text = _setting(section, LOSS)
    for box in picture.boxes:
        if box.kind == LOSS and text:
            box.lines, box.hover = (LOSS, *_wrapped(text)), f"loss = {text}"
    made, reads = _differentiated(unit, forward, drawn, weights)
    on_path = {drawn.owner[node] for node in active if node in drawn.owner}
    for number in sorted(on_path):
        ops = made.get(number, [])
        lines: tuple[str, ...]
        if picture.boxes[number].kind == LOSS:
            lines, hover = ("∂ loss", summary(ops)), ", ".join(ops)
        elif ops:
            lines, hover = (f"∂ {short_text(picture.boxes[number].lines[0], 24)}", summary(ops)), ", ".join(ops)
        else:
            lines, hover = ("∂ passes on",), "the gradient goes through as it is"
        read = reads.get(number)
        picture.gradients[number] = Box(lines, "gradient", f"{hover}\nreads {read}" if read else hover)
        if read:
            picture.reads[number] = f"the gradient reads {read}"
    outputs = {value for node in active for value in node.outputs}
    for (start, end), values in drawn.values.items():
        flowing = [value for value in values if value in outputs]
        if start in on_path and end in on_path and flowing:
            hover = "gradient of " + ", ".join(described(unit, value) for value in flowing)
            picture.returns.append(Edge(end, start, hover))
    _updates(picture, unit, drawn, section)
    return picture


def _updates(picture: Picture, unit: Unit, drawn: Staged, section: ast.Train) -> None:
    """A box for the weights of each stage that are updated, and one that says how."""
    moved = set(unit.gradients)
    for number, addresses in drawn.weights.items():
        own = [each for each in addresses if each in moved]
        if own and number in picture.gradients:
            names = [each.rpartition(".")[2] for each in own]
            hover = "\n".join(f"{each}: {unit.weights[each]}" for each in own)
            picture.updates[number] = Box(("update", short_text(", ".join(names), 22)), "update", hover)
    text = _setting(section, "optimizer")
    if text and picture.updates:
        picture.aside = Box(("optimizer", *_wrapped(text)), "update", text)


def _within(span: ast.Span | None, around: ast.Span) -> bool:
    if span is None or span.file != around.file:
        return False
    return (around.line, around.column) <= (span.line, span.column) < (around.end_line, around.end_column)


def _setting(section: ast.Train, name: str) -> str:
    """The text of what a run gives a name to; nothing if it does not."""
    for statement in section.body:
        if isinstance(statement, ast.Assign) and [each.text for each in statement.names] == [name]:
            return source(statement.value)
    return ""


def _wrapped(text: str, width: int = 34, most: int = 3) -> list[str]:
    """The text in a few lines of at most `width` characters, broken at spaces; an ellipsis says that there is more."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    if len(lines) > most:
        lines = [*lines[: most - 1], f"{lines[most - 1]} …"]
    return [short_text(line, width + 8) for line in lines]


# --------------------------------------------------------------------------------------------------- the gradient


def _active(nodes: Sequence[Node], weights: set[Value]) -> set[Node]:
    """The nodes through which a gradient flows from the loss to one of the weights; `nodes` lead to the loss."""
    reached = {w for w in weights if w.type.is_float}
    ahead: list[Node] = []
    for node in nodes:
        if not reached.isdisjoint(node.operands()) and not isinstance(lookup(node.op).gradient, NoGradient):
            reached.update(value for value in node.outputs if value.type.is_float)
            ahead.append(node)
    flowing: set[Value] = set(ahead[-1].outputs) if ahead else set()  # the loss itself is the last
    active: set[Node] = set()
    for node in reversed(ahead):
        if not flowing.isdisjoint(node.outputs):
            active.add(node)
            flowing.update(node.operands())
    return active


def _differentiated(
    unit: Unit, forward: Sequence[Node], drawn: Staged, weights: set[Value]
) -> tuple[dict[int, list[str]], dict[int, str]]:
    """For each box the operators of its gradient, and what of the forward pass they read."""
    graph = unit.graph
    tagged, copies = _tagged(graph)
    originals = list(graph.nodes)
    known = {value for node in forward for value in copies[node].outputs}
    old = {copies[node]: node for node in originals}
    fed = {graph.input(name) for name in unit.batch}
    made: dict[int, list[str]] = {}
    reads: dict[int, dict[str, None]] = {}
    placed = set(forward)
    for node in differentiate(tagged).nodes:
        if node in old or node.op == "Constant" or node.span is None:
            continue
        original = originals[node.span.line]
        number = drawn.owner.get(original) if original in placed else None
        if number is None:
            continue
        made.setdefault(number, []).append(node.op)
        for value in node.operands():
            if value.node is None:
                if value in weights or value in fed:
                    reads.setdefault(number, {})["the weights" if value in weights else "its input"] = None
            elif value in known and value.node.op != "Constant":
                maker = old[value.node]
                what = "its own values" if drawn.owner.get(maker) == number else "its input"
                reads.setdefault(number, {})["the weights" if maker in drawn.held else what] = None
    return made, {number: " and ".join(found) for number, found in reads.items()}


def _tagged(graph: Graph) -> tuple[Graph, Mapping[Node, Node]]:
    """A copy in which the line of each node's place is its number in the graph, and the copy of each node."""
    builder = Builder()
    new: dict[Value, Value] = {value: value for value in graph.inputs}
    copies: dict[Node, Node] = {}
    with builder:
        for number, node in enumerate(graph.nodes):
            inputs = [new[value] if value is not None else None for value in node.inputs]
            with builder.at(ast.Span("", number, 1, number, 1)):
                bodies = tuple(rebind(body, new) for body in node.bodies)
                copies[node] = builder.add(node.op, inputs, node.attributes, bodies, len(node.outputs))
            new.update(zip(node.outputs, copies[node].outputs, strict=True))
        outputs = {name: new[value] for name, value in graph.outputs.items()}
        return builder.graph(graph.name, outputs, graph.inputs, graph.sizes), copies
