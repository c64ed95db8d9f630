"""A picture as SVG: one file that holds everything it needs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from html import escape
from itertools import pairwise

from dlc.runtime.drawing.layers import Point
from dlc.runtime.drawing.layout import Frame, Layout, Size, layout
from dlc.runtime.drawing.picture import Box, Edge, Picture, text_width

COLORS = {
    "convolution": ("#d7e8fb", "#3f7fc1"),
    "recurrence": ("#dcdffb", "#5b62c4"),
    "linear": ("#d5f0ea", "#2f9482"),
    "embedding": ("#e2f3d3", "#6a9a35"),
    "normalization": ("#f1e6fa", "#9064b8"),
    "pooling": ("#fde8cf", "#cf8a2e"),
    "activation": ("#fff4c2", "#bfa01c"),
    "random": ("#f6e3ea", "#b06a86"),
    "shape": ("#f1f2f4", "#9aa2ad"),
    "arithmetic": ("#ffffff", "#8a93a0"),
    "data": ("#e9ecf1", "#4d5866"),
    "loss": ("#fbd8d4", "#c8473a"),
    "metrics": ("#f7e9e7", "#b98a85"),
    "gradient": ("#fdeeee", "#d0574b"),
    "update": ("#e0f3dc", "#4a9a3d"),
}
"""Background and border of each kind."""

FONT = "font-family=\"'DejaVu Sans', Verdana, 'Segoe UI', Helvetica, Arial, sans-serif\""
NAME, DETAIL, LINE, HEAD = 13.0, 11.0, 16.0, 62.0
MARGIN, APART, TAB = 24.0, 70.0, 22.0
FLOW, BACK, SAVED, UPDATED = "#6b7683", "#d0574b", "#b8a3a0", "#4a9a3d"


def svg(picture: Picture) -> str:
    """The picture's text. The same picture gives the same text."""
    sizes = [_size(picture, number) for number in range(len(picture.boxes))]
    groups = [box.group for box in picture.boxes]
    placed = layout(sizes, groups, [(edge.source, edge.target) for edge in picture.edges])
    used = dict.fromkeys(box.kind for box in picture.boxes)
    if picture.gradients:
        used.update(dict.fromkeys(["gradient", *(["update"] if picture.updates else [])]))
    parts: list[str] = []
    parts += [_frame(frame) for frame in placed.frames]
    for edge, path in zip(picture.edges, placed.paths, strict=True):
        parts += _edge(edge, path, "f", FLOW)
    parts += [_frame_label(frame) for frame in placed.frames]
    shift = 0.0
    if picture.gradients:
        shift = _shift(picture, placed, sizes)
        parts += _backward(picture, placed, sizes, shift)
    for number, (box, (x, y)) in enumerate(zip(picture.boxes, placed.boxes, strict=True)):
        width, size = _measure(box)[0], sizes[number]
        parts += _box(box, x + size.anchor - width / 2, y, width, size.height)
    drawn = shift + placed.width
    if picture.aside is not None:
        aside = _measure(picture.aside)
        parts += _box(picture.aside, drawn + APART / 2, 0.0, *aside)
        drawn += APART / 2 + aside[0]
    width = max(drawn, text_width(picture.title, 17, True), text_width(picture.subtitle, 12))
    legend, legend_height = _legend(used, width, placed.height + HEAD + 2 * MARGIN)
    whole = (width + 2 * MARGIN, placed.height + HEAD + legend_height + 2 * MARGIN)
    body = "\n".join(parts)
    left, top = MARGIN + (width - drawn) / 2, HEAD + MARGIN / 2
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_n(whole[0])}" height="{_n(whole[1])}" '
        f'viewBox="0 0 {_n(whole[0])} {_n(whole[1])}" role="img" {FONT}>\n'
        f"<title>{escape(picture.title)}</title>\n{_definitions()}\n"
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{_head(picture)}\n'
        f'<g transform="translate({_n(left)} {_n(top)})">\n{body}\n</g>\n{legend}\n</svg>\n'
    )


def _measure(box: Box) -> tuple[float, float]:
    widest = max(text_width(t, NAME if i == 0 else DETAIL, i == 0) for i, t in enumerate(box.lines))
    return max(widest + 24.0, 64.0), LINE * len(box.lines) + 12.0


def _size(picture: Picture, number: int) -> Size:
    """The room for a box, and in a training step for what stands beside it in the other half."""
    width, height = _measure(picture.boxes[number])
    left = right = width / 2
    if number in picture.gradients:
        beside = _measure(picture.gradients[number])
        left, right, height = max(left, beside[0] / 2), max(right, beside[0] / 2), max(height, beside[1])
        if number in picture.updates:
            update = _measure(picture.updates[number])
            right, height = max(right, beside[0] / 2 + TAB + update[0]), max(height, update[1])
    return Size(left + right, height, left)


def _shift(picture: Picture, placed: Layout, sizes: Sequence[Size]) -> float:
    """How far to the right the gradients stand: as near as the widest rows allow."""
    right = [frame.x + frame.width for frame in placed.frames]
    left = [frame.x for frame in placed.frames]
    for number, ((x, _), size) in enumerate(zip(placed.boxes, sizes, strict=True)):
        right.append(x + size.anchor + _measure(picture.boxes[number])[0] / 2)
        if number in picture.gradients:
            left.append(x + size.anchor - _measure(picture.gradients[number])[0] / 2)
    return max(right) - min(left) + APART


def _backward(picture: Picture, placed: Layout, sizes: Sequence[Size], shift: float) -> list[str]:
    """The gradients: the same layout a second time, its edges the other way round."""
    frames = [replace(frame, x=frame.x + shift) for frame in placed.frames]
    parts = [_frame(frame) for frame in frames]
    paths = {(e.source, e.target): path for e, path in zip(picture.edges, placed.paths, strict=True)}
    for edge in picture.returns:
        path = paths.get((edge.target, edge.source))
        if path is not None:
            parts += _edge(edge, [(x + shift, y) for x, y in reversed(path)], "b", BACK)
    boxes: list[str] = []
    for number, box in picture.gradients.items():
        (x, y), size = placed.boxes[number], sizes[number]
        middle, row = x + size.anchor, y + size.height / 2
        width = _measure(box)[0]
        left = shift + middle - width / 2
        start = middle + _measure(picture.boxes[number])[0] / 2
        if number in picture.reads and _free(picture, start, left, row, number, placed, sizes, shift):
            hover = Edge(number, number, picture.reads[number])
            parts += _edge(hover, [(start, row), (left, row)], "s", SAVED, dashed=True)
        boxes += _box(box, left, y, width, size.height)
        update = picture.updates.get(number)
        if update is not None:
            end = left + width + TAB
            parts += _edge(Edge(number, number), [(left + width, row), (end, row)], "u", UPDATED)
            boxes += _box(update, end, y, _measure(update)[0], size.height)
    return parts + [_frame_label(frame) for frame in frames] + boxes


def _free(
    picture: Picture, start: float, end: float, y: float, own: int, placed: Layout, sizes: Sequence[Size], shift: float
) -> bool:
    """Is there no other box between a box and its gradient?"""
    for number, ((x, top), size) in enumerate(zip(placed.boxes, sizes, strict=True)):
        if number != own and top <= y <= top + size.height:
            for left in (x, x + shift) if number in picture.gradients else (x,):
                if left < end and left + size.width > start:
                    return False
    return True


# ------------------------------------------------------------------------------------------------------ elements


def _box(box: Box, x: float, y: float, width: float, height: float) -> list[str]:
    fill, stroke = COLORS[box.kind]
    radius = height / 2 if box.kind == "data" else 7.0
    middle, top = _n(x + width / 2), y + (height - LINE * len(box.lines)) / 2
    name = f'font-size="{NAME}" font-weight="bold" fill="#1d232b"'
    detail = f'font-size="{DETAIL}" fill="#4b5563"'
    lines = [
        f'<text x="{middle}" y="{_n(top + LINE * (index + 0.75))}" text-anchor="middle" {detail if index else name}>'
        f"{escape(text)}</text>"
        for index, text in enumerate(box.lines)
    ]
    rectangle = (
        f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}" rx="{_n(radius)}" '
        f'fill="{fill}" stroke="{stroke}" stroke-width="1.3"/>'
    )
    return ["<g>", f"<title>{escape(box.hover)}</title>", rectangle, *lines, "</g>"]


def _frame(frame: Frame) -> str:
    tone = ("#f7f8fa", "#eef1f5", "#e6eaf0")[(frame.depth - 1) % 3]
    return (
        f'<rect x="{_n(frame.x)}" y="{_n(frame.y)}" width="{_n(frame.width)}" height="{_n(frame.height)}" rx="10" '
        f'fill="{tone}" stroke="#c9d0d9"/>'
    )


def _frame_label(frame: Frame) -> str:
    """A group's name, with a margin around its letters where edges pass below them."""
    label = f"{frame.group.label}  {frame.group.note}".strip()
    return (
        f'<text x="{_n(frame.x + 10)}" y="{_n(frame.y + 17)}" font-size="12" font-weight="bold" fill="#55606e" '
        f'paint-order="stroke" stroke="#f7f8fa" stroke-width="4">{escape(label)}</text>'
    )


def _edge(edge: Edge, path: Sequence[Point], marker: str, color: str, dashed: bool = False) -> list[str]:
    if len(path) < 2:
        return []
    commands = [f"M{_n(path[0][0])} {_n(path[0][1])}"]
    for (x0, y0), (x1, y1) in pairwise(path):
        if x0 == x1 or y0 == y1:
            commands.append(f"L{_n(x1)} {_n(y1)}")
        else:
            y = _n((y0 + y1) / 2)
            commands.append(f"C{_n(x0)} {y} {_n(x1)} {y} {_n(x1)} {_n(y1)}")
    style = ' stroke-dasharray="4 4" stroke-width="1.1"' if dashed else ' stroke-width="1.5"'
    title = f"<title>{escape(edge.hover)}</title>" if edge.hover else ""
    line = f'<path d="{"".join(commands)}" fill="none" stroke="{color}"{style} marker-end="url(#{marker})"/>'
    return [f"<g>{title}{line}</g>"]


def _definitions() -> str:
    heads = [
        f'<marker id="{name}" viewBox="0 0 8 8" refX="7.2" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0.6L8 4L0 7.4z" fill="{color}"/></marker>'
        for name, color in (("f", FLOW), ("b", BACK), ("s", SAVED), ("u", UPDATED))
    ]
    return f"<defs>{''.join(heads)}</defs>"


def _head(picture: Picture) -> str:
    x = _n(MARGIN)
    return (
        f'<text x="{x}" y="30" font-size="17" font-weight="bold" fill="#1d232b">{escape(picture.title)}</text>\n'
        f'<text x="{x}" y="49" font-size="12" fill="#55606e">{escape(picture.subtitle)}</text>'
    )


def _legend(kinds: Iterable[str], width: float, top: float) -> tuple[str, float]:
    """What the colours stand for, in rows below the picture; and how high that is."""
    parts: list[str] = []
    x, y = MARGIN, top
    for kind in (each for each in COLORS if each in set(kinds)):
        wide = 22 + text_width(kind, DETAIL) + 14
        if x > MARGIN and x + wide > MARGIN + width:
            x, y = MARGIN, y + 20
        fill, stroke = COLORS[kind]
        parts += [
            f'<rect x="{_n(x)}" y="{_n(y)}" width="14" height="14" rx="4" fill="{fill}" stroke="{stroke}"/>',
            f'<text x="{_n(x + 20)}" y="{_n(y + 11)}" font-size="{DETAIL}" fill="#4b5563">{kind}</text>',
        ]
        x += wide
    return "\n".join(parts), y - top + 24


def _n(number: float) -> str:
    """A coordinate, to a tenth of a pixel."""
    return f"{number:.1f}".removesuffix(".0")
