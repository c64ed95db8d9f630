"""A picture of prepared data: a contact sheet of the first pictures of each class, or histograms of numbers."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dlc.runtime.printable import printable

from .prepare import Dataset, Split
from .records import Array

if TYPE_CHECKING:
    from PIL.Image import Image

ROWS, COLUMNS, PANELS = 48, 8, 48  # classes and pictures of each on a sheet; histograms on one
SMALLEST, LARGEST, GAP, LINE = 56, 160, 4, 16  # pixels: of a picture's longer side; between pictures; of a line of text
BINS = 40
SAMPLE = 100_000  # examples of a split that a histogram is made of
LONGEST = 40  # characters of a class's name
TALLEST = 2  # a sheet's height, as a multiple of its width, before its rows go into columns


def sheet(data: Dataset, columns: Mapping[str, Sequence[str]]) -> bytes | None:
    """A PNG: of the first field of pictures a contact sheet, without one histograms of the fields of numbers.

    columns: the names of a vector field's elements. None where there is nothing to show.
    """
    split = data.splits.get("train") or next(iter(data.splits.values()))
    pictures = [name for name, array in split.fields.items() if _is_picture(array)]
    return _contact(data, split, pictures[0]) if pictures else _histograms(data, columns)


def _is_picture(array: Array) -> bool:
    shape = array.shape[1:]
    return len(shape) in (2, 3) and min(shape[-2:]) > 3 and (len(shape) == 2 or shape[0] in (1, 3, 4))


def _contact(data: Dataset, split: Split, field: str) -> bytes:
    """A row of pictures for each class, below its name and how many the split has; without classes the first ones.

    Rows of many classes stand in columns, so that the sheet fits a screen.
    """
    from PIL import Image, ImageDraw, ImageFont

    groups, hidden = _groups(data, split)
    head = f"{field} of {split.name}, as prepared: the first of {len(split):,}"
    if hidden:
        head += f", {ROWS} of {ROWS + hidden} classes"
    shown = np.asarray(split.fields[field])[np.concatenate([rows for _, rows in groups])].astype(np.float64)
    low, high = _range(split.fields[field].dtype, shown)
    scaled = np.clip((shown - low) / (high - low) * 255 + 0.5, 0, 255).astype(np.uint8)
    cells = [_cell(each) for each in scaled]
    width, height = cells[0].size
    words = max(ImageFont.load_default().getlength(_ascii(label)) for label, _ in groups)
    across = max(max(len(rows) for _, rows in groups) * (width + GAP), int(words)) + 3 * GAP
    down = LINE + height + GAP
    blocks = next(n for n in range(1, len(groups) + 1) if -(-len(groups) // n) * down <= TALLEST * n * across or n > 3)
    lines = -(-len(groups) // blocks)
    canvas = Image.new("RGB", (max(blocks * across, 320), LINE + lines * down + GAP), "white")
    draw = ImageDraw.Draw(canvas)
    draw.text((GAP, 2), _ascii(head), "black")
    waiting = iter(cells)
    for at, (label, rows) in enumerate(groups):
        x, y = GAP + at // lines * across, LINE + at % lines * down
        draw.text((x, y + 2), _ascii(label), "black")
        for column in range(len(rows)):
            canvas.paste(next(waiting), (x + column * (width + GAP), y + LINE))
    return _png(canvas)


def _groups(data: Dataset, split: Split) -> tuple[list[tuple[str, Array]], int]:
    """The rows of the sheet: a text, and which examples; and how many classes there is no space for."""
    from .statistics import class_counts

    counted = class_counts(data)
    field = next((each for each in counted if each in data.classes), next(iter(counted), None))
    if field is None:
        rows = np.arange(min(len(split), ROWS * COLUMNS))
        return [("", rows[at : at + COLUMNS]) for at in range(0, len(rows), COLUMNS)], 0
    values = np.asarray(split.fields[field])
    there = [(number, name) for number, name in enumerate(counted[field]) if counted[field][name].get(split.name)]
    groups = [
        (f"{name[:LONGEST]} ({counted[field][name][split.name]:,})", np.flatnonzero(values == number)[:COLUMNS])
        for number, name in there[:ROWS]
    ]
    return groups, max(len(there) - ROWS, 0)


def _range(dtype: np.dtype[Any], shown: Array) -> tuple[float, float]:
    """What is black and what is white: 0 and 255, or 0 and 1, where values lie within; else the least and greatest."""
    low, high = float(shown.min()), float(shown.max())
    if dtype == np.uint8 and high > 16:
        return 0.0, 255.0
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    return low, high if high > low else low + 1


def _cell(picture: Array) -> Image:
    from PIL import Image

    if picture.ndim == 3:
        picture = picture[0] if picture.shape[0] == 1 else np.moveaxis(picture[:3], 0, 2)
    image = Image.fromarray(np.ascontiguousarray(picture)).convert("RGB")
    longer = max(image.size)
    if longer < SMALLEST:
        times = -(-SMALLEST // longer)
        return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    if longer > LARGEST:
        image.thumbnail((LARGEST, LARGEST))
    return image


def _ascii(text: str) -> str:
    """On one line, in the only letters that Pillow's own font has: Latin ones."""
    return printable(text).encode("latin-1", "replace").decode("latin-1")


def _png(image: Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def _histograms(data: Dataset, columns: Mapping[str, Sequence[str]]) -> bytes | None:
    """One for each number of an example, the splits over each other as shares of their examples."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = _panels(data, columns)
    if not panels:
        return None
    across = min(len(panels), 4)
    down = -(-len(panels) // across)
    figure = Figure(figsize=(3 * across, 2.2 * down), layout="constrained", dpi=100)
    FigureCanvasAgg(figure)
    for number, (title, values) in enumerate(panels):
        axes = figure.add_subplot(down, across, number + 1)
        every = np.concatenate(list(values.values()))
        whole = every.dtype.kind in "iu" and int(every.max()) - int(every.min()) < BINS
        edges = (
            np.arange(int(every.min()), int(every.max()) + 2) - 0.5 if whole else np.histogram_bin_edges(every, BINS)
        )
        for split, each in values.items():
            axes.hist(each, edges.tolist(), weights=np.full(len(each), 1 / len(each)), alpha=0.5, label=split)
        axes.set_title(title.replace("$", r"\$"), fontsize=9)
        axes.tick_params(labelsize=7)
        if number == 0 and len(values) > 1:
            axes.legend(fontsize=7)
    figure.supylabel("share of the examples", fontsize=8)
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def _panels(data: Dataset, columns: Mapping[str, Sequence[str]]) -> list[tuple[str, dict[str, Array]]]:
    first = next(iter(data.splits.values()))
    panels: list[tuple[str, dict[str, Array]]] = []
    for field, array in first.fields.items():
        if array.ndim > 2:
            continue
        # A dimension with a name may be of another size in each split.
        width = min(each.fields[field].shape[1] for each in data.splits.values()) if array.ndim == 2 else 1
        names = columns.get(field, [f"{field}[{k}]" for k in range(width)]) if array.ndim == 2 else [field]
        for k, name in list(enumerate(names))[: PANELS - len(panels)]:
            values = {}
            for split, each in data.splits.items():
                column = np.asarray(each.fields[field][:SAMPLE])
                column = (column[:, k] if column.ndim == 2 else column).astype(
                    np.int64 if column.dtype.kind in "iub" else np.float64
                )
                values[split] = column[np.isfinite(column)]
            if all(len(each) for each in values.values()):
                panels.append((name, values))
    return panels
