"""What is measured: training steps, each with its net, what PyTorch gets of its weights, and the ratio aimed at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
NETS = Path(__file__).parent / "nets"
BATCH = 64
BATCHES = 16  # different batches, fed in turn


@dataclass(frozen=True)
class Work:
    """One training step. `peer` is its optimizer in PyTorch: class and settings; `clip_norm` is clipped before it."""

    name: str
    title: str
    target: float
    optimizer: str
    settings: Mapping[str, float] = field(default_factory=dict)
    clip_norm: float | None = None

    @property
    def source(self) -> Path:
        return NETS / f"{self.name}.net"


WORKS = {
    work.name: work
    for work in (
        Work("logistic", "logistic regression (30), SGD", 8.0, "SGD", {"lr": 0.1}),
        Work("mlp_sgd", "MLP 784-256-256-256-10, SGD", 1.4, "SGD", {"lr": 0.05}),
        Work(
            "mlp_momentum", "the same, momentum and weight decay", 1.3,
            "SGD", {"lr": 0.02, "momentum": 0.9, "weight_decay": 1e-4},
        ),
        Work("mlp_adam", "the same, Adam and clip_norm", 1.2, "Adam", {"lr": 1e-3}, clip_norm=1.0),
        Work("lenet", "LeNet-5, momentum", 1.2, "SGD", {"lr": 0.02, "momentum": 0.9}),
    )
}  # fmt: skip


def batches(work: Work) -> list[dict[str, Array]]:
    """Seeded batches by field. Labels depend on the inputs, so that losses fall as in training."""
    generator = np.random.default_rng(0)
    made = []
    for _ in range(BATCHES):
        if work.name == "logistic":
            x = generator.standard_normal((BATCH, 30), np.float32)
            made.append({"features": x, "benign": (x[:, :3].sum(1) > 0).astype(np.float32)})
        else:
            x = generator.random((BATCH, 1, 28, 28), np.float32) ** 4
            made.append({"image": x, "label": (x[:, 0, :4].sum((1, 2)) * 10).astype(np.int64) % 10})
    return made
