"""The stages of a net as boxes: those that `dlc show` lists, and what the net computes between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from dlc.compiler.elaborate.context import Stage
from dlc.compiler.graph import Node, Value
from dlc.compiler.unit import Unit
from dlc.runtime.drawing.picture import Box, Edge, Group, Picture, kind_of, short_text, summary
from dlc.runtime.drawing.turns import Part, dissolve, merge
from dlc.runtime.show import relative

QUIET = ("loop", "branches", "choice")
"""The stages that are no group of their own: their place stands in the labels of what is in them."""


@dataclass(eq=False, slots=True)
class StagePart(Part):
    """A box in the making: the nodes that it stands for, its weights, and what it gives.

    `shares` says that it reads weights of another box.
    """

    kind: str = ""
    hover: str = ""
    nodes: list[Node] = field(default_factory=list)
    weights: list[str] = field(default_factory=list)
    shares: bool = False
    output: str = ""


@dataclass(slots=True)
class Staged:
    """Boxes, edges, and for each node the number of its box; `values` are what flows along an edge.

    The nodes of `held` compute something of weights alone.
    """

    boxes: list[Box] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    values: dict[tuple[int, int], tuple[Value, ...]] = field(default_factory=dict)
    owner: dict[Node, int] = field(default_factory=dict)
    weights: dict[int, list[str]] = field(default_factory=dict)
    held: set[Node] = field(default_factory=set)


def net_picture(unit: Unit) -> Picture:
    """A net's or `infer` section's stages, with its inputs above and its outputs below."""
    drawn = staged(unit, unit.graph.nodes)
    picture = Picture(unit.name, boxes=drawn.boxes, edges=drawn.edges)
    inputs = {unit.graph.input(name): index for index, name in enumerate(_read(unit, unit.graph.nodes))}
    for name, value in unit.graph.outputs.items():
        number = drawn.owner.get(value.node) if value.node is not None else inputs.get(value)
        if number is None:
            continue
        picture.edges.append(Edge(number, len(picture.boxes), f"{name}: {value.type}"))
        picture.boxes.append(Box((name, shape(value)), "data", f"{name}: {value.type}, an output"))
    return picture


def staged(unit: Unit, nodes: Sequence[Node], named: Mapping[Node, str] | None = None) -> Staged:
    """The boxes of `nodes`, a part of the unit's graph in its order; the batch inputs that they read come first.

    `named` puts nodes into boxes of their own, such as `loss`. What belongs to no stage is joined to what alone reads
    it.
    """
    named = named or {}
    wanted = [node for node in nodes if node.op != "Constant"]
    parts: list[StagePart] = []
    owner: dict[Node, int] = {}
    for name in _read(unit, wanted):
        value = unit.graph.input(name)
        parts.append(StagePart(name, kind="data", hover=f"{name}: {value.type}, an input", output=shape(value)))
    inputs = {unit.graph.input(part.label): number for number, part in enumerate(parts)}
    groups = _stage_parts(unit, {node for node in wanted if node not in named}, parts, owner)
    _rest(unit, wanted, named, parts, owner, groups.of)
    _weigh(unit, wanted, parts, owner)
    _share(unit, [node for node in wanted if node not in named], parts, owner)
    for part in parts:
        part.alike = (part.kind, part.output, tuple(str(unit.weights[each]) for each in part.weights))
    held = _held(unit, wanted)
    flow = _flow(wanted, inputs, owner, held)
    turns = merge(parts, groups.turns)
    kept = [n for n, part in enumerate(parts) if turns.alias[n] == n and (part.nodes or part.kind == "data")]
    number_of = {old: new for new, old in enumerate(kept)}
    result = Staged(held=held)
    for old, (group, label, note) in zip(kept, dissolve([parts[old].group for old in kept]), strict=True):
        result.weights[len(result.boxes)] = parts[old].weights
        result.boxes.append(_box(unit, parts[old], group, label, note))
    merged: dict[tuple[int, int], dict[Value, None]] = {}
    for (source, target), values in flow.items():
        ends = number_of[turns.alias[source]], number_of[turns.alias[target]]
        if ends[0] != ends[1] and turns.drawn(parts[source], parts[target]):
            merged.setdefault(ends, {}).update(values)
    result.values = {ends: tuple(values) for ends, values in merged.items()}
    result.edges = [Edge(*ends, ", ".join(described(unit, v) for v in values)) for ends, values in merged.items()]
    result.owner = {node: number_of[turns.alias[number]] for node, number in owner.items()}
    return result


@dataclass(slots=True)
class _Groups:
    of: dict[Node, Group | None] = field(default_factory=dict)
    turns: dict[tuple[int, int], Group] = field(default_factory=dict)


def _stage_parts(unit: Unit, wanted: set[Node], parts: list[StagePart], owner: dict[Node, int]) -> _Groups:
    """A part for each stage without stages in it; the others are groups, and so are the turns of loops."""
    found = _Groups()
    numbers: dict[str, int] = {}  # of the turns, by their places
    around: list[tuple[int, Group | None, str, tuple[tuple[int, int], ...], int]] = []
    for index, stage in enumerate(unit.stages):
        while around and around[-1][0] <= index:
            around.pop()
        _, group, address, turns, loop = around[-1] if around else (0, None, unit.name, (), -1)
        if loop >= 0 and stage.place.startswith(f"{unit.stages[loop].label}["):
            number = numbers.setdefault(stage.place, len(numbers))
            turn = (loop, int(stage.place.rpartition("[")[2].rstrip("]")) if stage.place.endswith("]") else number)
            made = found.turns.setdefault(turn, Group(relative(stage.place, address), group))
            group, address, turns = made, stage.place, (*turns, turn)
        found.of.update(dict.fromkeys((node for node in stage.nodes if node in wanted), group))
        if stage.inner == 0:
            parts.append(_stage_part(unit, stage, address, group, turns, wanted))
            owner.update(dict.fromkeys(parts[-1].nodes, len(parts) - 1))
            continue
        end = index + 1 + stage.inner
        if stage.kind in QUIET:
            around.append((end, group, address, turns, index if stage.kind == "loop" else -1))
            continue
        inner = Group(relative(stage.label, address) if stage.kind == "block" else stage.label, group)
        found.of.update(dict.fromkeys((node for node in stage.nodes if node in wanted), inner))
        around.append((end, inner, stage.label if stage.kind == "block" else address, turns, -1))
    return found


def _stage_part(
    unit: Unit, stage: Stage, address: str, group: Group | None, turns: tuple[tuple[int, int], ...], wanted: set[Node]
) -> StagePart:
    label = relative(stage.label, address) if stage.kind == "block" else stage.label
    part = StagePart(label, group, turns, hover=f"{stage.label}\n{stage.type}\n{stage.span}")
    part.nodes = [node for node in stage.nodes if node in wanted]
    part.weights = [each for each in stage.owned if each in unit.weights]
    part.kind = kind_of((node.op for node in part.nodes), label)
    part.output = "[" + str(stage.type).partition("[")[2] if stage.type is not None else ""
    return part


def _rest(
    unit: Unit,
    wanted: Sequence[Node],
    named: Mapping[Node, str],
    parts: list[StagePart],
    owner: dict[Node, int],
    group_of: Mapping[Node, Group | None],
) -> None:
    """Parts for what is in no stage: a node belongs to the part that alone reads it, if that is in no stage either."""
    first = len(parts)
    boxes: dict[str, int] = {}
    for node, label in named.items():
        if label not in boxes:
            boxes[label] = len(parts)
            parts.append(StagePart(label, kind=label, hover=label))
        owner[node] = boxes[label]
    free = len(parts)
    readers: dict[Node, set[int]] = {}
    results = {value.node for value in unit.graph.outputs.values()}
    turns_of = {part.group: part.turns for part in parts if part.group is not None}
    for node in reversed(wanted):
        if node not in owner:
            group = group_of.get(node)
            readers_of = readers.get(node, set())
            alone = next(iter(readers_of)) if len(readers_of) == 1 and node not in results else -1
            if alone >= free and parts[alone].group is group:
                owner[node] = alone
            else:
                owner[node] = len(parts)
                parts.append(StagePart("", group, turns_of.get(group, ()) if group is not None else (), extra=True))
        for value in node.operands():
            if value.node is not None:
                readers.setdefault(value.node, set()).add(owner[node])
    for node in wanted:
        if owner[node] >= first:
            parts[owner[node]].nodes.append(node)
    for part in parts[first:]:
        ops = [node.op for node in part.nodes]
        if not part.label:
            part.output = shape(part.nodes[-1].outputs[0])
            part.label, part.kind = summary(ops), kind_of(ops)
            part.hover = f"{', '.join(ops)}\n{part.nodes[-1].outputs[0].type}\n{part.nodes[-1].span or ''}".rstrip()


def _held(unit: Unit, wanted: Sequence[Node]) -> set[Node]:
    """The nodes that compute something of weights and constants alone."""
    fixed = {unit.graph.input(each) for each in unit.graph.input_names if each in unit.carried}
    held: set[Node] = set()
    for node in wanted:
        if all(v in fixed or v.op == "Constant" or v.node in held for v in node.operands()):
            held.add(node)
    return held


def _flow(
    wanted: Sequence[Node], inputs: Mapping[Value, int], owner: Mapping[Node, int], held: set[Node]
) -> dict[tuple[int, int], dict[Value, None]]:
    """What flows from part to part. What a part that computes with data computes of weights alone besides is no flow:
    it is made once for all parts that read these weights."""
    busy = {owner[node] for node in wanted if node not in held}
    flow: dict[tuple[int, int], dict[Value, None]] = {}
    for node in wanted:
        for value in node.operands():
            source = inputs.get(value) if value.node is None else owner.get(value.node)
            if source is None or source == owner[node]:
                continue
            if value.node not in held or source not in busy:
                flow.setdefault((source, owner[node]), {})[value] = None
    return flow


def _weigh(unit: Unit, wanted: Sequence[Node], parts: list[StagePart], owner: Mapping[Node, int]) -> None:
    """Give the weights that no stage made to the first part that reads them."""
    homeless = set(unit.weights) - {each for part in parts for each in part.weights}
    addresses = {unit.graph.input(a): a for a in unit.graph.input_names if a in homeless}
    for node in wanted:
        for value in node.operands():
            address = addresses.pop(value, None)
            if address is not None:
                part = parts[owner[node]]
                part.weights.append(address)
                part.hover = f"{address}: {value.type}\n{part.hover}"
                if part.extra and len(part.weights) == 1:
                    name = relative(address, unit.name)
                    part.label = f"{name.rpartition('.')[0] or name}: {part.label}"


def _share(unit: Unit, nodes: Sequence[Node], parts: list[StagePart], owner: Mapping[Node, int]) -> None:
    """Mark the parts that read weights which are counted at another."""
    read = set(unit.graph.input_names)
    homes = {unit.graph.input(a): n for n, part in enumerate(parts) for a in part.weights if a in read}
    for node in nodes:
        if any(homes.get(value, owner[node]) != owner[node] for value in node.operands()):
            parts[owner[node]].shares = True


def _box(unit: Unit, part: StagePart, group: Group | None, label: str, note: str) -> Box:
    name = short_text(" ".join(each for each in (f"{label}.{part.label}" if label else part.label, note) if each))
    count = sum(prod(unit.weights[each].static_shape()) for each in part.weights)
    weights = f"{count:,} weight{'s' if count != 1 else ''}" if count else "weights shared" if part.shares else ""
    return Box(tuple(each for each in (name, part.output, weights) if each), part.kind, part.hover, group)


def _read(unit: Unit, nodes: Sequence[Node]) -> list[str]:
    read = {value for node in nodes for value in node.operands()} | set(unit.graph.outputs.values())
    return [name for name in unit.batch if unit.graph.input(name) in read]


def shape(value: Value) -> str:
    """A value's shape as boxes show it."""
    return f"[{', '.join(map(str, value.shape))}]"


def described(unit: Unit, value: Value) -> str:
    """What the pointer shows of a value that flows along an edge."""
    name = unit.graph.names.get(value)
    return f"{name}: {value.type}" if name else str(value.type)


__all__ = ["Staged", "described", "net_picture", "shape", "staged"]
