"""Where boxes go: groups from the inside out, each laid out in layers from top to bottom.

A group is laid out by itself and is then one box of the group around it. What crosses its border does so at a port: an
entry at the top or an exit at the bottom, one for each box that something comes from. So groups never overlap, and an
edge that comes from outside is drawn once up to where it divides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dlc.runtime.drawing.layers import Item, Link, Point, place
from dlc.runtime.drawing.picture import Group

PADDING, HEADER = 14.0, 26.0


@dataclass(frozen=True, slots=True)
class Size:
    """A box's width and height; edges meet it `anchor` from its left."""

    width: float
    height: float
    anchor: float


@dataclass(frozen=True, slots=True)
class Frame:
    """A group's rectangle."""

    group: Group
    x: float
    y: float
    width: float
    height: float
    depth: int


@dataclass(slots=True)
class Layout:
    """Left upper corners of boxes, rectangles of groups (outer first), and the points of each edge."""

    boxes: list[Point] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    paths: list[list[Point]] = field(default_factory=list)
    width: float = 0.0
    height: float = 0.0


Level = Group | None


def layout(sizes: Sequence[Size], groups: Sequence[Level], edges: Sequence[tuple[int, int]]) -> Layout:
    """Positions for boxes of `sizes` in their groups, for edges by the boxes' numbers. The result is the same for the
    same arguments."""
    parents, order = _tree(groups)
    pieces, levels = _divided(groups, edges, parents)
    items: dict[tuple[Level, object], Item] = {}
    contents: dict[Level, list[Item]] = {level: [] for level in (*order, None)}
    for number, group in enumerate(groups):
        size = sizes[number]
        items[group, number] = item = Item(size.width, size.height, size.anchor)
        contents[group].append(item)
    extents: dict[Level, tuple[float, float]] = {}
    links: dict[tuple[Level, object, object, int], Link] = {}
    for level in (*order, None):  # inner groups first
        local: list[Link] = []
        for source, target, origin in levels.get(level, ()):
            ends: list[Item] = []
            for name in (source, target):
                end = items.get((level, name))
                if end is None:
                    assert isinstance(name, tuple)
                    end = items[level, name] = Item(0.0, 0.0, 0.0, port=name[0])
                    contents[level].append(end)
                ends.append(end)
            link = Link(ends[0], ends[1], origin)
            links[level, source, target, origin] = link
            local.append(link)
        width, height = place(contents[level], local)
        if level is None:
            extents[level] = (width, height)
            continue
        title = _title_width(level)
        width = max(width, title)
        extents[level] = (width + 2 * PADDING, height + HEADER + PADDING)
        ports = {
            (kind, origin): items[level, (kind, origin)].x + PADDING
            for (where, name), item in items.items()
            if where is level and isinstance(name, tuple)
            for kind, origin in (name,)
        }
        around = parents[level]
        frame = Item(*extents[level], extents[level][0] / 2, ports=ports)
        items[around, level] = frame
        contents[around].append(frame)
    return _absolute(groups, edges, parents, order, items, links, pieces, extents)


def _title_width(group: Group) -> float:
    from dlc.runtime.drawing.picture import text_width

    return text_width(f"{group.label} {group.note}", 12, bold=True)


def _tree(groups: Sequence[Level]) -> tuple[dict[Group, Level], list[Group]]:
    """The parent of every group, and the groups with the inner ones first."""
    parents: dict[Group, Level] = {}
    depth: dict[Group, int] = {}
    for group in groups:
        chain: list[Group] = []
        while group is not None and group not in parents:
            parents[group] = group.parent
            chain.append(group)
            group = group.parent
        below = depth[group] if group is not None else 0
        for number, each in enumerate(reversed(chain), 1):
            depth[each] = below + number
    return parents, sorted(parents, key=lambda each: -depth[each])


Piece = tuple[Level, object, object, int]


def _divided(
    groups: Sequence[Level], edges: Sequence[tuple[int, int]], parents: dict[Group, Level]
) -> tuple[list[list[Piece]], dict[Level, dict[tuple[object, object, int], None]]]:
    """Each edge as the pieces of it within one group each, and the pieces of every group, shared ones once."""
    levels: dict[Level, dict[tuple[object, object, int], None]] = {}
    divided: list[list[Piece]] = []
    for source, target in edges:
        ups, downs = _path(groups[source], parents), _path(groups[target], parents)
        common = 0
        while common < min(len(ups), len(downs)) and ups[-1 - common] is downs[-1 - common]:
            common += 1
        pieces: list[Piece] = []
        here: object = source
        for group in ups[: len(ups) - common]:
            pieces.append((group, here, ("exit", source), source))
            here = group
        entered = downs[: len(downs) - common]
        last: object = entered[-1] if entered else target
        pieces.append((ups[len(ups) - common], here, last, source))
        for number in range(len(entered) - 1, -1, -1):
            inner: object = entered[number - 1] if number else target
            pieces.append((entered[number], ("entry", source), inner, source))
        for level, start, end, origin in pieces:
            levels.setdefault(level, {})[start, end, origin] = None
        divided.append(pieces)
    return divided, levels


def _path(group: Level, parents: dict[Group, Level]) -> list[Level]:
    """The group and those around it, up to None, the picture."""
    path: list[Level] = []
    while group is not None:
        path.append(group)
        group = parents[group]
    return [*path, None]


def _absolute(
    groups: Sequence[Level],
    edges: Sequence[tuple[int, int]],
    parents: dict[Group, Level],
    order: list[Group],
    items: dict[tuple[Level, object], Item],
    links: dict[Piece, Link],
    pieces: list[list[Piece]],
    extents: dict[Level, tuple[float, float]],
) -> Layout:
    """The positions within groups as positions in the picture."""
    origin: dict[Level, Point] = {None: (0.0, 0.0)}
    result = Layout(width=extents[None][0], height=extents[None][1])
    depth: dict[Level, int] = {None: 0}
    for inner in reversed(order):
        around = parents[inner]
        item, (x, y) = items[around, inner], origin[around]
        left, top = x + item.x, y + item.y
        depth[inner] = depth[around] + 1
        result.frames.append(Frame(inner, left, top, *extents[inner], depth[inner]))
        origin[inner] = (left + PADDING, top + HEADER)
    for number, group in enumerate(groups):
        x, y = origin[group]
        result.boxes.append((x + items[group, number].x, y + items[group, number].y))
    for parts in pieces:
        points: list[Point] = []
        for piece in parts:
            x, y = origin[piece[0]]
            for px, py in links[piece].points:
                if not points or points[-1] != (x + px, y + py):
                    points.append((x + px, y + py))
        result.paths.append(points)
    return result
