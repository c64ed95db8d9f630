"""The layered drawing of one graph (Sugiyama, Tagawa, Toda 1981): ranks, order within ranks, positions, edges.

Ranks are longest paths; an edge over several ranks goes through dummies, which all edges of one origin share. The order
is that of barycentres, the best of several sweeps. Positions are least squares: each item wants to stand where its
neighbours are, and keeps its distance to those beside it (isotonic regression, by pooling adjacent violators).
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

Point = tuple[float, float]

BESIDE, BELOW, STEEP = 26.0, 30.0, 0.12
SWEEPS, ROUNDS = 8, 40


@dataclass(eq=False, slots=True)
class Item:
    """A rectangle to be placed; edges meet it `anchor` from its left, or at a port.

    `ports` are those of a group, by ("entry" or "exit", origin). An item with a `port` of its own is one: an entry
    stands above all else, an exit below.
    """

    width: float
    height: float
    anchor: float
    port: str = ""
    ports: Mapping[tuple[str, int], float] = field(default_factory=dict)
    x: float = 0.0
    y: float = 0.0
    rank: int = 0
    dummy: bool = False

    def end(self, kind: str, origin: int) -> float:
        """How far from its left an edge meets it."""
        return self.ports.get((kind, origin), self.anchor)


@dataclass(eq=False, slots=True)
class Link:
    """An edge; edges of the same `origin` may run together. `points` go from the source to the target."""

    source: Item
    target: Item
    origin: int
    points: list[Point] = field(default_factory=list)


@dataclass(frozen=True, eq=False, slots=True)
class Step:
    """A piece of a link between neighbouring ranks."""

    upper: Item
    lower: Item
    origin: int

    @property
    def start(self) -> float:
        return self.upper.end("exit", self.origin)

    @property
    def stop(self) -> float:
        return self.lower.end("entry", self.origin)

    @property
    def weight(self) -> float:
        """How much it wants to be straight: the longer the edge that it is part of."""
        return (1.0, 3.0, 8.0)[self.upper.dummy + self.lower.dummy]


def place(items: Sequence[Item], links: Sequence[Link]) -> tuple[float, float]:
    """Give every item its `x` and `y` and every link its `points`; returns width and height."""
    turned = _rank(items, links)
    steps, chains = _steps(links, turned)
    layers = _layers(items, steps)
    _order(layers, steps)
    _position(layers, steps)
    bands = _heights(layers, steps)
    _route(links, chains, turned, bands)
    return max((item.x + item.width for item in items), default=0.0), bands[-1][1] if bands else 0.0


# --------------------------------------------------------------------------------------------------------- ranks


def _rank(items: Sequence[Item], links: Sequence[Link]) -> set[Link]:
    """Longest paths; returns the links that go upwards, because they would close a cycle."""
    import networkx as nx  # type: ignore[import-untyped]

    graph = nx.DiGraph()
    graph.add_nodes_from(items)
    graph.add_edges_from((link.source, link.target) for link in links if link.source is not link.target)
    turned: set[Link] = set()
    if not nx.is_directed_acyclic_graph(graph):
        finished = {item: number for number, item in enumerate(nx.dfs_postorder_nodes(graph))}
        turned = {link for link in links if finished[link.source] < finished[link.target]}
        for link in turned:
            graph.remove_edges_from([(link.source, link.target)])
        graph.add_edges_from((link.target, link.source) for link in turned)
    first = int(any(item.port == "entry" for item in items))
    for rank, generation in enumerate(nx.topological_generations(graph)):
        for item in generation:
            item.rank = rank
    entries_only = {item for item in items if item.port == "entry"}
    for item in nx.topological_sort(graph):
        above = [each.rank for each in graph.pred[item]]
        item.rank = 0 if item in entries_only else max([first, *(rank + 1 for rank in above)])
    for item in reversed(list(nx.topological_sort(graph))):  # what nothing leads to stands right above its reader
        if not item.port and graph.succ[item] and all(each in entries_only for each in graph.pred[item]):
            item.rank = max(item.rank, min(each.rank for each in graph.succ[item]) - 1)
    lowest = max((item.rank for item in items if item.port != "exit"), default=0)
    for item in items:
        if item.port == "exit":
            item.rank = lowest + 1
    return turned


def _steps(links: Sequence[Link], turned: set[Link]) -> tuple[list[Step], dict[Link, list[Item]]]:
    """The pieces of all links between neighbouring ranks, and the items and dummies along each."""
    dummies: dict[tuple[Item, int, int], Item] = {}
    steps: dict[tuple[Item, Item, int], Step] = {}
    chains: dict[Link, list[Item]] = {}
    for link in links:
        upper, lower = (link.target, link.source) if link in turned else (link.source, link.target)
        if upper is lower:
            chains[link] = []
            continue
        chain = [upper]
        for rank in range(upper.rank + 1, lower.rank):
            key = (upper, link.origin, rank)
            if key not in dummies:
                dummies[key] = Item(0.0, 0.0, 0.0, rank=rank, dummy=True)
            chain.append(dummies[key])
        chain.append(lower)
        chains[link] = chain
        for above, below in pairwise(chain):
            steps.setdefault((above, below, link.origin), Step(above, below, link.origin))
    return list(steps.values()), chains


# --------------------------------------------------------------------------------------------------------- order


def _layers(items: Sequence[Item], steps: Sequence[Step]) -> list[list[Item]]:
    every = dict.fromkeys(items)
    for step in steps:
        every.update({step.upper: None, step.lower: None})
    layers: list[list[Item]] = [[] for _ in range(max((item.rank for item in every), default=-1) + 1)]
    for item in every:
        layers[item.rank].append(item)
    return layers


def _order(layers: list[list[Item]], steps: Sequence[Step]) -> None:
    """Reorder each layer so that few edges cross."""
    ups, downs = _neighbours(steps)
    best, fewest = [list(layer) for layer in layers], _crossings(layers, downs)
    for sweep in range(SWEEPS):
        if fewest == 0 and sweep:
            break
        down = sweep % 2 == 0
        near = ups if down else downs
        for layer in layers[1:] if down else layers[-2::-1]:
            place = {item: index for index, item in enumerate(layers[layer[0].rank + (-1 if down else 1)])}
            here = {item: float(index) for index, item in enumerate(layer)}
            for item in layer:
                found = [_fraction(step, down) + place[_other(step, down)] for step in near.get(item, ())]
                if found:
                    here[item] = sum(found) / len(found)
            layer.sort(key=here.__getitem__)
        count = _crossings(layers, downs)
        if count < fewest:
            best, fewest = [list(layer) for layer in layers], count
    layers[:] = best


def _other(step: Step, down: bool) -> Item:
    return step.upper if down else step.lower


def _fraction(step: Step, down: bool) -> float:
    """Where in the neighbour the edge meets it, from 0 to 1: ports of a group stand side by side."""
    other = _other(step, down)
    return (step.start if down else step.stop) / other.width if other.width else 0.5


def _neighbours(steps: Iterable[Step]) -> tuple[dict[Item, list[Step]], dict[Item, list[Step]]]:
    ups: dict[Item, list[Step]] = {}
    downs: dict[Item, list[Step]] = {}
    for step in steps:
        ups.setdefault(step.lower, []).append(step)
        downs.setdefault(step.upper, []).append(step)
    return ups, downs


def _crossings(layers: Sequence[Sequence[Item]], downs: Mapping[Item, list[Step]]) -> int:
    total = 0
    for upper, lower in pairwise(layers):
        place = {item: index for index, item in enumerate(lower)}
        seen: list[float] = []
        for item in upper:
            ends = []
            for step in sorted(downs.get(item, ()), key=lambda each: each.start):
                ends.append(place[step.lower] + _fraction(step, False) / 2)
                total += len(seen) - bisect_right(seen, ends[-1])
            for end in ends:
                insort(seen, end)
    return total


# ----------------------------------------------------------------------------------------------------- positions


def _position(layers: Sequence[list[Item]], steps: Sequence[Step]) -> None:
    ups, downs = _neighbours(steps)
    for layer in layers:
        x = 0.0
        for item in layer:
            item.x = x
            x += item.width + BESIDE
        for item in layer:
            item.x -= x / 2
    for turn in range(ROUNDS):
        down = turn % 2 == 0
        for layer in layers if down else reversed(layers):
            both = turn >= ROUNDS // 2
            _settle(layer, ups if down or both else {}, {} if down and not both else downs)
    left = min((item.x for layer in layers for item in layer), default=0.0)
    for layer in layers:
        for item in layer:
            item.x -= left


def _settle(layer: Sequence[Item], ups: Mapping[Item, list[Step]], downs: Mapping[Item, list[Step]]) -> None:
    """Move a layer's items to where their neighbours want them, without disturbing the order."""
    blocks: list[list[float]] = []  # sum of weighted wishes, sum of weights, number of items
    offset, offsets = 0.0, []
    for index, item in enumerate(layer):
        if index:
            before = layer[index - 1]
            offset += before.width + (BESIDE / 2 if before.dummy and item.dummy else BESIDE)
        offsets.append(offset)
        wishes = [(s.weight, s.upper.x + s.start - s.stop) for s in ups.get(item, ())]
        wishes += [(s.weight, s.lower.x + s.stop - s.start) for s in downs.get(item, ())]
        weight = sum(each for each, _ in wishes) or 0.01
        wish = sum(each * x for each, x in wishes) / weight if wishes else item.x
        blocks.append([weight * (wish - offset), weight, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    index = 0
    for total, weight, count in blocks:
        for _ in range(int(count)):
            layer[index].x = total / weight + offsets[index]
            index += 1


def _heights(layers: Sequence[Sequence[Item]], steps: Sequence[Step]) -> list[tuple[float, float]]:
    """Where each layer begins and ends from the top; items are in the middle of theirs."""
    reach: dict[int, float] = {}
    for step in steps:
        distance = abs(step.upper.x + step.start - step.lower.x - step.stop)
        reach[step.upper.rank] = max(reach.get(step.upper.rank, 0.0), distance)
    bands: list[tuple[float, float]] = []
    y = 0.0
    for rank, layer in enumerate(layers):
        height = max(item.height for item in layer)
        for item in layer:
            item.y = y + (height - item.height) / 2
        bands.append((y, y + height))
        ports = height == 0 or (rank + 1 < len(layers) and all(item.port for item in layers[rank + 1]))
        y += height + _gap(ports, reach.get(rank, 0.0))
    return bands


def _gap(ports: bool, reach: float) -> float:
    """The room that edges need between two layers; little for straight ones to the border of a group."""
    return BELOW / 4 if ports and reach < 1 else min(max(BELOW, reach * STEEP), 3 * BELOW)


def _route(
    links: Sequence[Link],
    chains: Mapping[Link, list[Item]],
    turned: set[Link],
    bands: Sequence[tuple[float, float]],
) -> None:
    """Vertical through layers, so that no edge crosses an item; what lies between layers is left to the drawing."""
    arriving: dict[Item, list[tuple[float, Item]]] = {}
    for chain in chains.values():
        if len(chain) > 1 and not chain[-1].ports and not chain[-1].dummy and chain[-1].width:
            arriving.setdefault(chain[-1], []).append((chain[-2].x, chain[-2]))
    for link in links:
        chain = chains[link]
        points: list[Point] = []
        for number, item in enumerate(chain):
            top, bottom = bands[item.rank]
            if number:
                x = item.x + item.end("entry", link.origin)
                if number == len(chain) - 1 and item in arriving:
                    x += _spread(chain[-2], item, arriving[item])
                points += [(x, top), (x, item.y)]
            if number < len(chain) - 1:
                x = item.x + item.end("exit", link.origin)
                points += [(x, item.y + item.height), (x, bottom)]
        link.points = points[::-1] if link in turned else points


def _spread(before: Item, item: Item, arriving: Sequence[tuple[float, Item]]) -> float:
    """How far from the middle an edge arrives where several do: from left to right as they come."""
    comers = [each for _, each in sorted(dict.fromkeys(arriving), key=lambda pair: pair[0])]
    if len(comers) < 2:
        return 0.0
    room = min(16.0, 1.4 * min(item.anchor, item.width - item.anchor) / len(comers))
    return (comers.index(before) - (len(comers) - 1) / 2) * room
