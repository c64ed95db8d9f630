"""The loss and the metrics of a whole split."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dlc.runtime.session import silent


@dataclass(frozen=True)
class Evaluation:
    """`values` are the loss and the metrics by name. `times` is how often this run has been evaluated on the test
    split, this time included; None for other splits."""

    split: str
    weights: str
    examples: int
    values: Mapping[str, float]
    times: int | None = None


def evaluate(
    folder: Path,
    split: str = "test",
    weights: str = "best",
    *,
    device: str = "auto",
    threads: int = 0,
    note: Callable[[str], None] = silent,
    progress: Callable[[str, int, int], None] = silent,
) -> Evaluation:
    """Evaluate the run in `folder` on a split of its data, with its `best` or `last` weights or those of a file.

    Every example counts the same: a partial batch weighs what it holds. An evaluation on the test split is recorded in
    `run.json` and told through `note`. Raises InputError, DataError (no such split, data changed or gone).
    """
    raise NotImplementedError
