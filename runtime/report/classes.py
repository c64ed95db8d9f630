"""How well classes are told apart: confusion matrix, precision and recall, the mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from dlc.runtime.checkpoint import Array
from dlc.runtime.printable import printable
from dlc.runtime.report.pictures import png
from dlc.runtime.report.sample import Sample

SHOWN = 20  # classes of a matrix that is shown as a table
LISTED = 60  # classes of the table of precision and recall
PAIRS = 10
LONGEST, NARROWEST = 28, 12  # characters of a class's name that are shown, and at the head of a column of the matrix


@dataclass(frozen=True)
class Classes:
    """`counts[t, p]`: how many examples of class t were said to be p. `chances` [n, classes] by softmax; `said` and
    `true` [n]; `loss` [n] is -log of the true class's chance. `names` are those of the first classes, or of all."""

    counts: Array
    chances: Array
    said: Array
    true: Array
    loss: Array
    names: Sequence[str] = ()

    @classmethod
    def of(cls, sample: Sample, names: Sequence[str] = ()) -> Classes:
        """`names` of more classes than there are scores are not theirs, and left out.

        Raises ValueError if a score is not finite, or a class has none.
        """
        scores, true = sample.prediction, sample.target.astype(np.int64)
        classes = scores.shape[1]
        if true.min() < 0 or true.max() >= classes:
            raise ValueError(f"a class outside 0 to {classes - 1}")
        if not np.isfinite(scores).all():
            raise ValueError("scores that are not finite")
        shifted = scores - scores.max(axis=1, keepdims=True)
        logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        said = scores.argmax(axis=1)
        known = names if len(names) <= classes else ()
        counts = np.zeros((classes, classes), np.int64)
        np.add.at(counts, (true, said), 1)
        return cls(counts, np.exp(logs), said, true, -logs[np.arange(len(true)), true], known)

    @property
    def accuracy(self) -> float:
        return float(np.trace(self.counts) / self.counts.sum())

    def name(self, each: int) -> str:
        """The class's name in full, of which nothing is hidden; its number where it has none."""
        return printable(self.names[each]) if each < len(self.names) else str(each)

    def label(self, each: int, longest: int = LONGEST) -> str:
        """The class's name as HTML, the whole of a long one in its title."""
        name = self.name(each)
        if len(name) <= longest:
            return escape(name)
        return f'<span title="{escape(name)}">{escape(name[: longest - 1])}…</span>'

    def rates(self) -> list[tuple[int, float, float, float]]:
        """Of each class: how many there are, precision, recall and F1; NaN where nothing can be said."""
        found = []
        for each in range(len(self.counts)):
            hits, there, said = self.counts[each, each], self.counts[each].sum(), self.counts[:, each].sum()
            precision = hits / said if said else np.nan
            recall = hits / there if there else np.nan
            f1 = 2 * hits / (there + said) if there + said else np.nan
            found.append((int(there), float(precision), float(recall), float(f1)))
        return found


def confusion(classes: Classes) -> str:
    """The matrix: a table of few classes, a picture of many, and the pairs that are confused most."""
    counts = classes.counts
    n = len(counts)
    if n > SHOWN:
        share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        scale = max(1, 288 // n)
        pixels = np.rint(255 * (1 - np.sqrt(share))).astype(np.uint8).repeat(scale, 0).repeat(scale, 1)
        image = f'<img class="matrix" src="{png(pixels)}" alt="confusion matrix">'
        matrix = f"<p>{n} classes; rows are the true ones, dark is many.</p>{image}"
    else:
        matrix = _table(classes)
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    pairs = [divmod(int(at), n) for at in np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]]
    lines = [
        f"<li><b>{classes.label(t)}</b> taken for <b>{classes.label(p)}</b>: {wrong[t, p]:,} times</li>"
        for t, p in pairs
        if wrong[t, p] > 1
    ]
    listed = f"<ul class=pairs>{''.join(lines)}</ul>" if lines and n > 2 else ""
    return f'<div class="scroll">{matrix}</div>{listed}'


def _table(classes: Classes) -> str:
    counts = classes.counts
    totals = np.maximum(counts.sum(axis=1), 1)
    head = "".join(f"<th scope=col>{classes.label(p, NARROWEST)}</th>" for p in range(len(counts)))
    whole = [escape(classes.name(each)) for each in range(len(counts))]
    rows = []
    for t, row in enumerate(counts):
        cells = []
        for p, count in enumerate(row):
            share = count / totals[t]
            kind = "hit" if p == t else "miss"
            strength = 0 if count == 0 else 12 + 88 * share if p == t else 20 + 80 * min(1.0, 4 * share)
            text = f"{count:,}" if count else '<span class="none">·</span>'
            told = f"{count:,} of {totals[t]:,} ({share:.1%}) of class {whole[t]} said to be {whole[p]}"
            strong = " strong" if strength > 60 else ""
            cells.append(f'<td class="{kind}{strong}" style="--s:{strength:.0f}%" title="{told}">{text}</td>')
        rows.append(f"<tr><th scope=row>{classes.label(t)}</th>{''.join(cells)}</tr>")
    return (
        f'<table class="confusion"><thead><tr><th class=corner>true \\ said</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def rates(classes: Classes) -> str:
    """Precision, recall and F1 of each class, as bars with numbers."""
    found = classes.rates()
    rows = []
    for each, (there, *shares) in list(enumerate(found))[:LISTED]:
        cells = "".join(
            f'<td class="bar" style="--s:{100 * share:.1f}%">{share:.3f}</td>' if share == share else "<td>-</td>"
            for share in shares
        )
        rows.append(f"<tr><th scope=row>{classes.label(each)}</th><td>{there:,}</td>{cells}</tr>")
    # A class that is never said, though it is there, has found nothing: its precision counts as 0.
    means = [float(np.mean([np.nan_to_num(row[at]) for row in found if row[0]])) for at in (1, 2, 3)]
    averages = "".join(f"<td>{mean:.3f}</td>" for mean in means)
    rows.append(f"<tr class=mean><th scope=row>mean</th><td></td>{averages}</tr>")
    more = f"<p class=faint>and {len(found) - LISTED} classes more</p>" if len(found) > LISTED else ""
    return (
        '<div class="scroll"><table class="rates"><thead><tr><th scope=col>class</th><th scope=col>examples</th>'
        "<th scope=col>precision</th><th scope=col>recall</th><th scope=col>F1</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>{more}"
    )


def caption(classes: Classes, at: int) -> str:
    """What was true and what was said of an example, as HTML."""
    said, true = int(classes.said[at]), int(classes.true[at])
    return (
        f"<b>{classes.label(true)}</b>, said <b>{classes.label(said)}</b> "
        f"<span class=faint>{classes.chances[at, said]:.0%}</span>"
    )


__all__ = ["Classes", "caption", "confusion", "rates"]
