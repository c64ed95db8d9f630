"""The examples that a run gets most wrong: their pictures, or their features as a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape

import numpy as np

from dlc.runtime.checkpoint import Array
from dlc.runtime.data.plan import Plan
from dlc.runtime.report.classes import Classes, caption
from dlc.runtime.report.pictures import is_picture, picture
from dlc.runtime.report.sample import Sample
from dlc.runtime.report.svg import number

PICTURES, ROWS, COLUMNS = 24, 12, 10
NONE_WRONG = "None is wrong; these are the least sure."

Says = Callable[[int], str]
"""What HTML stands beside the example at a place of the sample."""


def of_classes(sample: Sample, classes: Classes, plan: Plan) -> str:
    """The wrong examples with the highest loss; where there are none, the right ones with the highest."""
    wrong = np.flatnonzero(classes.said != classes.true)
    chosen = wrong if len(wrong) else np.arange(len(classes.true))
    order = chosen[np.argsort(-classes.loss[chosen], kind="stable")]
    counted = f"{len(wrong):,} of {len(classes.true):,} are wrong." if len(wrong) else NONE_WRONG
    told = f"{counted} Those with the highest loss come first: the true class, then what was said, and how sure."
    return f"<p>{told}</p>" + examples(sample, order, lambda at: caption(classes, at), plan)


def examples(sample: Sample, order: Array, says: Says, plan: Plan) -> str:
    """The examples at these places of the sample, `says(place)` beside each."""
    if not len(order):
        return ""
    pictures = [name for name in sample.inputs if is_picture(sample.split.fields[name].shape[1:])]
    if pictures:
        return _pictures(sample, pictures, order[:PICTURES], says)
    return _features(sample, order[:ROWS], says, plan)


def _pictures(sample: Sample, fields: Sequence[str], order: Array, says: Says) -> str:
    shown = [sample.example(int(at)) for at in order]
    ranges = {
        name: (min(float(each[name].min()) for each in shown), max(float(each[name].max()) for each in shown))
        for name in fields
    }
    tiles = []
    for at, each in zip(order, shown, strict=True):
        images = "".join(
            f'<img src="{picture(each[name], *ranges[name])}" alt="{escape(name)} of example {sample.rows[at]}">'
            for name in fields
        )
        tiles.append(
            f"<figure>{images}<figcaption>{says(int(at))}<br><span class=faint>no. {sample.rows[at]:,}</span>"
            "</figcaption></figure>"
        )
    return f'<div class="pictures">{"".join(tiles)}</div>'


def _features(sample: Sample, order: Array, says: Says, plan: Plan) -> str:
    shown = [_numbers(sample.example(int(at)), plan) for at in order]
    names = list(shown[0])[:COLUMNS]
    head = "".join(f"<th scope=col>{escape(name)}</th>" for name in names)
    rows = [
        f"<tr><th scope=row>{sample.rows[at]:,}</th><td>{says(int(at))}</td>"
        + "".join(f"<td>{number(each[name])}</td>" for name in names)
        + "</tr>"
        for at, each in zip(order, shown, strict=True)
    ]
    more = len(shown[0]) - len(names)
    rest = f", and {more} features more" if more > 0 else ""
    note = f"<p class=faint>Features as the net gets them{rest}.</p>"
    return (
        f'<div class="scroll"><table class="features"><thead><tr><th scope=col>no.</th><th scope=col></th>{head}</tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table></div>{note}"
    )


def _numbers(example: Mapping[str, Array], plan: Plan) -> dict[str, float]:
    """Each feature of an example by name: that of its column, where the file says it."""
    found: dict[str, float] = {}
    for name, array in example.items():
        flat = array.reshape(-1)[: COLUMNS + 1000]
        columns = plan.columns.get(name) or (next(iter(plan.columns.values())) if len(plan.columns) == 1 else ())
        for at, value in enumerate(flat):
            label = columns[at] if len(columns) == len(flat) else name if len(flat) == 1 else f"{name}[{at}]"
            found[label] = float(value)
    return found


__all__ = ["examples", "of_classes"]
