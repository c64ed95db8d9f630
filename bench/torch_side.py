"""The PyTorch side, as one writes it who knows PyTorch: eager, `zero_grad(set_to_none=True)`, no `.item()` in the loop.

The optimizers are the fused ones on CPU. With one thread they took from 0.7 of the time of the default (a loop over the
parameters; Adam) to 1.06 (LeNet-5), in single runs on a busy machine; `foreach=True` was the slowest everywhere
(`--peer torch:default`, `--peer torch:foreach`). Nothing tests here whether the gradients are finite, which dlc's step
does.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.works import Work, batches


def stepper(work: Work, folder: Path, threads: int, variant: str = "fused") -> Callable[[int], Any]:
    """A function that takes the number of a step, carries it out, and returns its loss as a tensor not yet read."""
    import torch
    from torch import nn
    from torch.nn import functional

    torch.set_num_threads(threads)
    start = {name: torch.from_numpy(array) for name, array in np.load(folder / "start.npz").items()}
    fields = [tuple(torch.from_numpy(array) for array in batch.values()) for batch in batches(work)]
    model = _logistic(start) if work.name == "logistic" else _lenet() if work.name == "lenet" else _mlp()
    if work.name != "logistic":
        _load(model, start)
    parameters = list(model.parameters())
    choice = {"fused": {"fused": True}, "foreach": {"foreach": True}, "default": {}}[variant]
    optimizer = getattr(torch.optim, work.optimizer)(parameters, **work.settings, **choice)

    def loss_of(x: Any, y: Any) -> Any:
        if work.name == "logistic":
            (linear,) = (part for part in model.modules() if isinstance(part, nn.Linear))
            fit = functional.binary_cross_entropy_with_logits(model(x).squeeze(-1), y)
            return fit + 1e-3 * linear.weight.square().sum()
        return functional.cross_entropy(model(x), y)

    def step(number: int) -> Any:
        x, y = fields[number % len(fields)]
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(x, y)
        loss.backward()
        if work.clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, work.clip_norm)
        optimizer.step()
        return loss.detach()

    return step


def _logistic(start: dict[str, Any]) -> Any:
    import torch
    from torch import nn

    model = nn.Linear(30, 1)
    with torch.no_grad():
        model.weight.copy_(start["logistic.w"].reshape(1, 30))
        model.bias.copy_(start["logistic.b"].reshape(1))
    return model


def _mlp() -> Any:
    from torch import nn

    hidden = [layer for size in (784, 256, 256) for layer in (nn.Linear(size, 256), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(256, 10))


def _lenet() -> Any:
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(16, 120, 5), nn.Tanh(), nn.Flatten(),
        nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
    )  # fmt: skip


def _load(model: Any, start: dict[str, Any]) -> None:
    """Both sides name their weights in the order of the layers; a matrix of dlc's is [in, out]."""
    import torch

    ours = [value for name, value in start.items() if name.endswith((".weight", ".bias")) and ".optimizer." not in name]
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), ours, strict=True):
            parameter.copy_(value.T if value.ndim == 2 else value)
