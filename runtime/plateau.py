"""Schedules that the host drives: `plateau(lowest(dev.loss), 0.1, factor=0.5, patience=1)`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LEAST_FALL = 1e-8  # PyTorch's `eps`: what would fall by no more than that stays


@dataclass
class Plateau:
    """A scalar of the step that falls when `split.metric` has stopped improving, as PyTorch's ReduceLROnPlateau does.

    After more than `patience` whole epochs in a row without an improvement by more than the share `threshold`, `value`
    becomes `value * factor`, but not less than `least`, and the count begins anew. A fall of 1e-8 or less is none.
    """

    name: str
    direction: str
    split: str
    metric: str
    value: float
    factor: float
    patience: int
    threshold: float
    least: float
    best: float | None = None
    waited: int = 0
    began: str = ""

    @classmethod
    def of(cls, name: str, schedule: Mapping[str, Any], saved: Any = None) -> Plateau:
        """By the schedule in a manifest. `saved` is what `json` gave, and counts if it is of the same metric and began
        at the same value."""
        made = cls(
            name, schedule["direction"], schedule["split"], schedule["metric"], float(schedule["value"]),
            float(schedule["factor"]), int(schedule["patience"]), float(schedule["threshold"]),
            float(schedule["least"]),
        )  # fmt: skip
        made.began = f"{made.direction}({made.split}.{made.metric}) from {made.value!r}"
        if isinstance(saved, Mapping) and saved.get("of") == made.began:
            made.value, made.best, made.waited = saved["value"], saved["best"], saved["waited"]
        return made

    def json(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"of": self.began, "value": self.value, "best": self.best, "waited": self.waited}

    def see(self, value: float) -> str:
        """The metric at the end of an epoch; returns what changed in words, or nothing."""
        if self._improves(value):
            self.best, self.waited = value, 0
            return ""
        self.waited += 1
        lower = max(self.value * self.factor, self.least)
        if self.waited <= self.patience or self.value - lower <= LEAST_FALL:
            return ""
        before, self.value = self.value, lower
        epochs = f"{self.waited} epochs" if self.waited != 1 else "1 epoch"
        self.waited = 0
        return f"{self.name}: {before:.4g} -> {lower:.4g}, for {self.split}.{self.metric} has not improved for {epochs}"

    def _improves(self, value: float) -> bool:
        if not math.isfinite(value):
            return False
        if self.best is None:
            return True
        if self.direction == "lowest":
            return value < self.best * (1 - self.threshold)
        return value > self.best * (1 + self.threshold)
