"""What `--watch` saw, for the report: each layer's gradient over the steps, the last look as a table, the warnings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from dlc.runtime.report.curves import Points
from dlc.runtime.report.log import Record, read_log
from dlc.runtime.report.svg import Series, line_chart
from dlc.runtime.symptoms import Layer, Symptoms, layers_of

STYLES = ("train", "dev", "test", "other", "fifth", "sixth")
ROWS = 60


def layers(path: Path) -> str:
    """The log as HTML; empty if there is none. Raises InputError if it cannot be read."""
    records = read_log(path, missing_ok=True)
    if not records:
        return ""
    looks = [layers_of(record.values) for record in records]
    names = [layer.name for layer in looks[-1]]
    # More lines than colours cannot be told apart: the first, the last and some between.
    count = min(len(names), len(STYLES))
    chosen = [names[round(at * (len(names) - 1) / max(count - 1, 1))] for at in range(count)]
    chart = '<div class="charts">'
    charted = ("gradient / weights", "relative"), ("update / weights", "change"), ("activation", "activation")
    for title, what in charted:
        series = [
            Series(_short(name, names), style, _points(records, looks, name, what))
            for name, style in zip(chosen, STYLES, strict=False)
        ]
        if any(each.points for each in series):
            chart += line_chart(title, [each for each in series if each.points], log=True)
    return f"{_warnings(records, looks)}{chart}</div>{_table(looks[-1])}"


def _points(records: Sequence[Record], looks: Sequence[Sequence[Layer]], name: str, what: str) -> Points:
    found: Points = []
    for record, look in zip(records, looks, strict=True):
        value = next((getattr(layer, what) for layer in look if layer.name == name), None)
        if value:  # a logarithm knows no 0
            found.append((float(record.step), float(value)))
    return found


def _warnings(records: Sequence[Record], looks: Sequence[Sequence[Layer]]) -> str:
    symptoms, parts = Symptoms(), []
    for record, look in zip(records, looks, strict=True):
        for text in symptoms.see(look):
            marked = re.sub("`([^`]*)`", r"<code>\1</code>", escape(text))
            parts.append(f'<p class="warning">Step {record.step:,}: {marked}</p>')
    return "".join(parts) or "<p>Nothing vanishes, explodes or is dead.</p>"


def _short(name: str, names: Sequence[str]) -> str:
    """The address without what all of them begin with."""
    head = name.partition(".")[0]
    shared = len(names) > 1 and all(each.startswith(head + ".") for each in names)
    return name.removeprefix(head + ".") if shared else name


def _table(look: Sequence[Layer]) -> str:
    rows = []
    for layer in look[:ROWS]:
        cells = [
            "-" if layer.activation is None else f"{layer.activation:.3g}",
            f"{layer.gradient:.2e}",
            f"{layer.norm:.3g}",
            "-" if layer.change is None else f"{layer.change:.1e}",
            *([] if layer.zeros is None else [f"{layer.zeros:.0%}"]),
        ]
        rows.append(f"<tr><th scope=row>{escape(layer.name)}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    more = f"<p class=faint>and {len(look) - ROWS} layers more</p>" if len(look) > ROWS else ""
    heads = ["layer", "activation (rms)", "gradient", "weights", "update / weights"]
    heads += ["zeros after relu"] if any(layer.zeros is not None for layer in look) else []
    return (
        '<h3>The last look</h3><div class="scroll"><table><thead><tr>'
        + "".join(f"<th scope=col>{head}</th>" for head in heads)
        + f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div>{more}"
    )


__all__ = ["layers"]
