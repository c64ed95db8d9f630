"""The curves of a run as one picture: loss, each metric, the learning rate, over steps."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dlc.runtime.atomic import write_atomically
from dlc.runtime.errors import InputError, UsageError
from dlc.runtime.report.log import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = {"train": "#4878a8", "dev": "#d9722e", "test": "#3a8f5c"}
LEARNING_RATE = "lr"
# More points than this are averaged in buckets; the band shows the lowest and the highest of each.
MOST_POINTS = 240
LOG_RANGE = 50.0

Points = list[tuple[float, float]]


def draw_curves(records: Sequence[Record], path: Path, title: str = "", best_step: int | None = None) -> None:
    """Draws the records of a metrics.jsonl to `path`, `.svg` or `.png`; `best_step` marks the step that was kept.

    Equal records give equal bytes. Raises UsageError for another suffix, InputError if there is nothing to draw,
    RunError if the file cannot be written.
    """
    if path.suffix not in (".svg", ".png"):
        raise UsageError(f"cannot draw to {path}: expected a name that ends in .svg or .png")
    panels = panels_of(records)
    if not panels:
        raise InputError("nothing to draw: the log has no values yet")

    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    first, last = min(record.step for record in records), max(record.step for record in records)
    columns = min(len(panels), 3 if len(panels) != 4 else 2)
    rows = math.ceil(len(panels) / columns)
    with rc_context({"svg.hashsalt": "dlc", "svg.fonttype": "none", "font.size": 9, "axes.titlesize": 10}):
        figure = Figure(figsize=(4.2 * columns, 2.9 * rows + (0.3 if title else 0)), layout="constrained")
        FigureCanvasAgg(figure)
        if title:
            figure.suptitle(_literal(title), fontsize=11, fontweight="bold")
        for number, (name, splits) in enumerate(panels.items()):
            axes = figure.add_subplot(rows, columns, number + 1)
            _draw_panel(axes, name, splits, best_step)
            if first < last:
                margin = 0.03 * (last - first)
                axes.set_xlim(first - margin, last + margin)
        buffer = io.BytesIO()
        # A date in the file would make equal runs differ.
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(buffer, format=path.suffix[1:], dpi=130, facecolor="white", metadata=metadata)
    write_atomically(path, [buffer.getvalue()])


def panels_of(records: Sequence[Record]) -> dict[str, dict[str, Points]]:
    """Name of a value -> split -> (step, value) ascending: the loss first, the learning rate last."""
    panels: dict[str, dict[str, Points]] = {}
    for record in records:
        for name, value in record.values.items():
            panels.setdefault(name, {}).setdefault(record.split, []).append((record.step, value))
    order = sorted(panels, key=lambda name: {"loss": 0, LEARNING_RATE: 2}.get(name, 1))
    return {name: {split: sorted(points) for split, points in panels[name].items()} for name in order}


def _draw_panel(axes: Axes, name: str, splits: dict[str, Points], best_step: int | None) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axes.set_title("learning rate" if name == LEARNING_RATE else _literal(name), loc="left", fontweight="bold")
    axes.grid(color="#e4e4e4", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")
    axes.tick_params(color="#999999", labelcolor="#444444")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("step", color="#444444")
    finite = [value for points in splits.values() for _, value in points if math.isfinite(value)]
    if not finite:
        axes.text(0.5, 0.5, "no finite value", ha="center", va="center", transform=axes.transAxes, color="#a33")
        return
    if name == "loss" and min(finite) > 0 and max(finite) > LOG_RANGE * min(finite):
        axes.set_yscale("log")
    for split, points in splits.items():
        _draw_line(axes, split, points, name == LEARNING_RATE)
    if best_step is not None and name != LEARNING_RATE:
        axes.axvline(best_step, color="#777777", linewidth=0.9, linestyle=":", label="best")
    if name != LEARNING_RATE and len(axes.get_legend_handles_labels()[0]) > 1:
        axes.legend(frameon=False, fontsize=8, labelcolor="#444444")


def _draw_line(axes: Axes, split: str, points: Points, exact: bool) -> None:
    """One split's line. Values that are not finite leave gaps and are marked at the top."""
    color = COLORS.get(split, "#8062a8")
    label = _literal(split)
    if len(points) > MOST_POINTS and not exact:
        steps, means, lows, highs = buckets(points)
        axes.fill_between(steps, lows, highs, color=color, alpha=0.18, linewidth=0)
        axes.plot(steps, means, color=color, linewidth=1.5, label=label)
    else:
        thinned = points[:: max(1, len(points) // (8 * MOST_POINTS))]
        marker = "o" if len(thinned) <= 40 else None
        shown = [value if math.isfinite(value) else math.nan for _, value in thinned]
        axes.plot([step for step, _ in thinned], shown, color=color, linewidth=1.5, marker=marker, ms=3, label=label)
    lost = [step for step, value in points if not math.isfinite(value)]
    if lost:
        tops = [0.98] * len(lost)
        axes.plot(lost, tops, "x", color="#aa3333", ms=5, transform=axes.get_xaxis_transform(), label="not finite")


def buckets(points: Points) -> tuple[list[float], list[float], list[float], list[float]]:
    """Middle step, mean, lowest and highest value of each run of neighbours; not-finite values are left out."""
    size = math.ceil(len(points) / MOST_POINTS)
    steps, means, lows, highs = [], [], [], []
    for start in range(0, len(points), size):
        bucket = [point for point in points[start : start + size] if math.isfinite(point[1])]
        if bucket:
            values = [value for _, value in bucket]
            steps.append(bucket[len(bucket) // 2][0])
            means.append(math.fsum(values) / len(values))
            lows.append(min(values))
            highs.append(max(values))
    return steps, means, lows, highs


def _literal(text: str) -> str:
    """`text` shown as it is: a dollar sign would begin a formula."""
    return text.replace("$", r"\$")
