"""Charts as SVG text for an HTML page: their colours are classes of the page, so that they follow its theme."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from dlc.runtime.report.curves import MOST_POINTS, Points, buckets

WIDTH, HEIGHT = 400, 220
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 8, 34


@dataclass(frozen=True)
class Series:
    """A line; `style` is the class of its colour. With `exact` it is never averaged."""

    name: str
    style: str
    points: Points
    exact: bool = False


@dataclass
class Axis:
    """Maps values to pixels. `ticks` are the values that get a label."""

    low: float
    high: float
    begin: float
    end: float
    log: bool = False
    ticks: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, values: Sequence[float], begin: float, end: float, log: bool = False, pad: bool = True) -> Axis:
        """An axis over finite values; some room is left at both ends, if `pad`."""
        low, high = min(values), max(values)
        if log:
            axis = cls(low / 1.15, high * 1.15, begin, end, True)
            first, last = math.floor(math.log10(axis.low)), math.ceil(math.log10(axis.high))
            stride = max(1, math.ceil((last - first) / 6))
            ticks = [10.0**power for power in range(first, last + 1, stride)]
            inside = [tick for tick in ticks if axis.low <= tick <= axis.high]
            if len(inside) < 2:
                fine = [part * 10.0**power for power in range(first, last + 1) for part in (1, 2, 5)]
                inside = [tick for tick in fine if axis.low <= tick <= axis.high]
            axis.ticks = inside
            return axis
        if low == high:
            low, high = low - (abs(low) or 1) * 0.5, high + (abs(high) or 1) * 0.5
        room = (high - low) * 0.05 if pad else 0.0
        axis = cls(low - room, high + room, begin, end)
        axis.ticks = nice(axis.low, axis.high)
        return axis

    def at(self, value: float) -> float:
        if self.log:
            value = max(value, self.low)
            share = (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(self.begin + share * (self.end - self.begin), 1)


def nice(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers between two others: multiples of 1, 2 or 5 times a power of ten."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if span / step <= most)
    first = math.ceil(low / step)
    return [round(number * step, 12) for number in range(first, math.floor(high / step) + 1)]


def number(value: float) -> str:
    """A label: `0.05`, `1.2k`, `3e-05`."""
    size = abs(value)
    if size >= 1e9 or 0 < size < 1e-3:
        mantissa, _, exponent = f"{value:.2g}".partition("e")
        return f"{mantissa}e{int(exponent)}" if exponent else mantissa
    for unit, scale in (("M", 1e6), ("k", 1e3)):
        if size >= scale:
            return f"{value / scale:.4g}{unit}"
    return f"{value:.4g}"


def line_chart(
    title: str, series: Sequence[Series], log: bool = False, mark: float | None = None, label: str = "step"
) -> str:
    """Lines over steps; `mark` draws the step of the best weights. Values that are not finite are crosses at the top.

    Without a finite value the chart says so.
    """
    finite = [value for each in series for _, value in each.points if math.isfinite(value)]
    if log:
        finite = [value for value in finite if value > 0]
    steps = [step for each in series for step, _ in each.points]
    if not finite:
        return _figure(title, f'<text x="{WIDTH / 2}" y="{HEIGHT / 2}" text-anchor="middle">no finite value</text>')
    x = Axis.of(steps, LEFT, WIDTH - RIGHT, pad=False)
    y = Axis.of(finite, HEIGHT - BOTTOM, TOP, log)
    parts = [_grid(x, y, label)]
    if mark is not None and x.low <= mark <= x.high:
        at = x.at(mark)
        parts.append(f'<line class="best" x1="{at}" x2="{at}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"><title>best: step '
                     f"{number(mark)}</title></line>")  # fmt: skip
    parts += [_line(each, x, y) for each in series]
    names = [(each.name, each.style) for each in series]
    if mark is not None:
        names.append(("best", "best"))
    return _figure(title, "".join(parts), names if len(names) > 1 else ())


def _line(series: Series, x: Axis, y: Axis) -> str:
    band = ""
    points = series.points
    if len(points) > MOST_POINTS and not series.exact:
        middle, means, lows, highs = buckets(points)
        upper = [f"{x.at(s)},{y.at(v)}" for s, v in zip(middle, highs, strict=True)]
        lower = [f"{x.at(s)},{y.at(v)}" for s, v in zip(middle, lows, strict=True)]
        band = f'<polygon class="band {series.style}" points="{" ".join(upper + lower[::-1])}"/>'
        points = list(zip(middle, means, strict=True))
    elif len(points) > 4 * MOST_POINTS:
        points = points[:: math.ceil(len(points) / (4 * MOST_POINTS))]
    paths, dots, lost = [], [], []
    pen = "M"
    for step, value in points:
        if not math.isfinite(value):
            lost.append(f'<text class="bad" x="{x.at(step)}" y="{TOP + 8}" text-anchor="middle">&times;</text>')
            pen = "M"
            continue
        paths.append(f"{pen}{x.at(step)},{y.at(value)}")
        pen = "L"
        if len(points) <= 60:
            dots.append(f'<circle class="{series.style}" cx="{x.at(step)}" cy="{y.at(value)}" r="2.2"><title>'
                        f"{escape(series.name)} {value:.5g}, step {number(step)}</title></circle>")  # fmt: skip
    return f'{band}<path class="{series.style}" d="{"".join(paths)}"/>{"".join(dots)}{"".join(lost[:50])}'


def scatter(title: str, points: Points, across: str, up: str) -> str:
    """Points and the line on which both values are the same."""
    values = [value for point in points for value in point]
    x = Axis.of(values, LEFT, WIDTH - RIGHT)
    y = Axis.of(values, HEIGHT - BOTTOM, TOP)
    same = f'<line class="best" x1="{x.at(x.low)}" y1="{y.at(x.low)}" x2="{x.at(x.high)}" y2="{y.at(x.high)}"/>'
    dots = "".join(f'<circle class="dev dot" cx="{x.at(a)}" cy="{y.at(b)}" r="2.6"/>' for a, b in points)
    return _figure(title, _grid(x, y, across, up) + same + dots)


def histogram(title: str, edges: Sequence[float], counts: Sequence[int], across: str) -> str:
    """Bars between the edges; there is one edge more than counts."""
    x = Axis.of(edges, LEFT, WIDTH - RIGHT, pad=False)
    y = Axis.of([0, max(counts) or 1], HEIGHT - BOTTOM, TOP, pad=False)
    bars = []
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        left, right, top = x.at(low), x.at(high), y.at(count)
        bars.append(f'<rect class="dev" x="{left + 0.5:.1f}" y="{top}" width="{max(right - left - 1, 0.5):.1f}" '
                    f'height="{HEIGHT - BOTTOM - top:.1f}"><title>{number(low)} to {number(high)}: {count}</title>'
                    "</rect>")  # fmt: skip
    zero = x.at(0) if x.low < 0 < x.high else None
    middle = f'<line class="best" x1="{zero}" x2="{zero}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>' if zero else ""
    return _figure(title, _grid(x, y, across) + "".join(bars) + middle)


def _grid(x: Axis, y: Axis, across: str, up: str = "") -> str:
    parts = []
    for tick in y.ticks:
        at = y.at(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}"/>'
                     f'<text x="{LEFT - 5}" y="{at + 3.5}" text-anchor="end">{number(tick)}</text>')  # fmt: skip
    bottom = HEIGHT - BOTTOM
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>')
    for tick in x.ticks:
        anchor = "end" if x.at(tick) > WIDTH - RIGHT - 8 else "middle"
        parts.append(f'<text x="{x.at(tick)}" y="{bottom + 14}" text-anchor="{anchor}">{number(tick)}</text>')
    parts.append(f'<text class="axis-name" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 5}" text-anchor="middle">'
                 f"{escape(across)}</text>")  # fmt: skip
    if up:
        middle = (TOP + bottom) / 2
        parts.append(f'<text class="axis-name" x="10" y="{middle}" text-anchor="middle" '
                     f'transform="rotate(-90 10 {middle})">{escape(up)}</text>')  # fmt: skip
    return "".join(parts)


def _figure(title: str, content: str, legend: Sequence[tuple[str, str]] = ()) -> str:
    # The legend is text of the page, not of the picture: names of layers can be long, and lines break.
    keys = "".join(f'<span class="key {style}">{escape(name)}</span>' for name, style in legend)
    return (
        f'<figure class="chart"><figcaption><b>{escape(title)}</b>{keys}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{content}</svg></figure>'
    )


__all__ = ["Axis", "Series", "histogram", "line_chart", "nice", "number", "scatter"]
