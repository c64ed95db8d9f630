"""When a run stops early: `early_stop = patience(lowest(dev.loss), 5)`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


def improves(direction: str, value: float, best: float | None) -> bool:
    """Is `value` better than `best`, `direction` being "lowest" or "highest"? What is not finite never is."""
    if not math.isfinite(value):
        return False
    return best is None or (value < best if direction == "lowest" else value > best)


@dataclass
class Patience:
    """Counts whole epochs without an improvement of `split.metric`; after `epochs` of them it is `over`.

    Equal is no improvement. `best` is the best value at the end of a whole epoch, measured after `step` steps.
    """

    direction: str
    split: str
    metric: str
    epochs: int
    best: float | None = None
    step: int = 0
    waited: int = 0

    @classmethod
    def of(cls, setting: Mapping[str, Any] | None, saved: Any = None) -> Patience | None:
        """By the setting `early_stop`; None without one. `saved` is what `json` gave, and counts if it is of the same
        metric: another `patience` for it goes on from there."""
        if setting is None:
            return None
        made = cls(setting["direction"], setting["split"], setting["metric"], int(setting["patience"]))
        if isinstance(saved, Mapping) and saved.get("of") == made._of():
            made.best, made.step, made.waited = saved["best"], saved["step"], saved["waited"]
        return made

    def json(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"of": self._of(), "best": self.best, "step": self.step, "waited": self.waited}

    def see(self, value: float, step: int) -> None:
        """The value at the end of an epoch, `step` steps done."""
        if improves(self.direction, value, self.best):
            self.best, self.step, self.waited = value, step, 0
        else:
            self.waited += 1

    @property
    def over(self) -> bool:
        return self.waited >= self.epochs

    @property
    def reason(self) -> str:
        """Why the run stopped, once it is over."""
        epochs = f"{self.waited} epochs" if self.waited != 1 else "1 epoch"
        best = f"its best was {self.best:.6g} at step {self.step}" if self.best is not None else "it was never finite"
        return f"{self.split}.{self.metric} has not improved for {epochs}; {best}"

    def _of(self) -> str:
        return f"{self.direction}({self.split}.{self.metric})"
