"""How near a regression comes: predicted against true, what is left over, the worst errors."""

from __future__ import annotations

import numpy as np

from dlc.runtime.checkpoint import Array
from dlc.runtime.data.plan import Plan
from dlc.runtime.report.mistakes import examples
from dlc.runtime.report.sample import Sample
from dlc.runtime.report.svg import histogram, scatter

POINTS = 500
OUTPUTS = 4
BARS = 24


def regression(sample: Sample, plan: Plan) -> tuple[str, str]:
    """Charts with the errors' sizes, and the worst errors. Raises ValueError for predictions that are not finite."""
    prediction = sample.prediction.reshape(len(sample.rows), -1)
    true = sample.target.astype(np.float64).reshape(prediction.shape)
    if not np.isfinite(prediction).all():
        raise ValueError("predictions that are not finite")
    shown = min(prediction.shape[1], OUTPUTS)
    parts = []
    for at in range(shown):
        label = sample.field if prediction.shape[1] == 1 else f"{sample.field}[{at}]"
        parts.append(_charts(label, prediction[:, at], true[:, at]))
    more = prediction.shape[1] - shown
    note = f"<p class=faint>and {more} outputs more</p>" if more else ""
    error = np.sqrt(np.mean((prediction - true) ** 2, axis=1))
    order = np.argsort(-error, kind="stable")

    def says(at: int) -> str:
        pairs = [f"{p:.4g} for {t:.4g}" for p, t in zip(prediction[at], true[at], strict=True)]
        return f"<b>{'; '.join(pairs[:OUTPUTS])}</b>"

    intro = "<p>Those with the largest error come first: what was predicted, for what is true.</p>"
    return "".join(parts) + note, intro + examples(sample, order, says, plan)


def _charts(label: str, prediction: Array, true: Array) -> str:
    residual = prediction - true
    rmse, mae = float(np.sqrt(np.mean(residual**2))), float(np.mean(np.abs(residual)))
    variance = float(np.var(true))
    r2 = f", R² {1 - rmse**2 / variance:.4f}" if variance > 0 else ""
    stride = max(1, len(true) // POINTS)
    points = list(zip(true[::stride].tolist(), prediction[::stride].tolist(), strict=True))
    counts, edges = np.histogram(residual, bins=min(BARS, max(5, len(residual) // 4)))
    return (
        f"<p>Root mean square error {rmse:.4g}, mean absolute error {mae:.4g}{r2}.</p><div class=charts>"
        + scatter(f"{label}: predicted against true", points, "true", "predicted")
        + histogram(f"{label}: errors", edges.tolist(), counts.tolist(), "predicted minus true")
        + "</div>"
    )


__all__ = ["regression"]
