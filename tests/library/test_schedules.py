"""Schedules at many steps: against their formulas, and against PyTorch's schedulers where it has them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from library_cases import mistake, value

STEPS = np.arange(0, 60, dtype=np.float64)


def decayed_at(step: float) -> float:
    return 0.1 * 0.5 ** sum(step >= at for at in (10, 20, 45))


CASES: dict[str, tuple[str, Callable[[float], float]]] = {
    "warmup": ("warmup(step, 0.3, over=20)", lambda t: 0.3 * min(t / 20, 1)),
    "cosine": (
        "cosine(step, 0.4, warmup=10, total=50)",
        lambda t: 0.4 * (t / 10 if t < 10 else 0.5 * (1 + math.cos(math.pi * min((t - 10) / 40, 1)))),
    ),
    "cosine-bare": ("cosine(step, 0.4, total=50)", lambda t: 0.2 * (1 + math.cos(math.pi * min(t / 50, 1)))),
    "linear": (
        "linear_decay(step, 0.4, warmup=10, total=50, final=0.1)",
        lambda t: 0.4 * t / 10 if t < 10 else 0.4 - 0.3 * min((t - 10) / 40, 1),
    ),
    "inverse_sqrt": (
        "inverse_sqrt(step, 7e-4, warmup=20)", lambda t: 7e-4 * min(t / 20, math.sqrt(20 / max(t, 1)))
    ),
    "every": ("step_decay(step, 0.01, every=8, factor=0.96)", lambda t: 0.01 * 0.96 ** (t // 8)),
    "at": ("step_decay(step, 0.1, at=[10, 20, 45], factor=0.5)", decayed_at),
    "at-one": ("step_decay(step, 1e-3, at=[30])", lambda t: 1e-3 if t < 30 else 1e-4),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_each_step_is_that_of_the_formula(name: str) -> None:
    call, formula = CASES[name]
    for step in STEPS:
        found = value(call, step=np.float64(step))
        assert found.shape == () and found == pytest.approx(formula(float(step)), rel=1e-10, abs=1e-14), step


def peers(torch: Any) -> dict[str, Callable[[Any], Any]]:
    s = torch.optim.lr_scheduler
    return {
        "warmup": lambda o: s.LambdaLR(o, lambda t: min(t / 20, 1)),
        "cosine-bare": lambda o: s.CosineAnnealingLR(o, T_max=50),
        "every": lambda o: s.StepLR(o, 8, gamma=0.96),
        "at": lambda o: s.MultiStepLR(o, [10, 20, 45], gamma=0.5),
    }


@pytest.mark.filterwarnings("ignore:.*scheduler.*:UserWarning")
@pytest.mark.parametrize("name", ["warmup", "cosine-bare", "every", "at"])
def test_each_step_is_that_of_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here; it comes with the extra `peers`")
    call = CASES[name][0]
    peak = {"warmup": 0.3, "cosine-bare": 0.4, "every": 0.01, "at": 0.1}[name]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
    schedule = peers(torch)[name](optimizer)
    for step in STEPS[:50]:
        assert value(call, step=step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9, abs=1e-14)
        schedule.step()


def test_lengths_may_be_values_of_the_run() -> None:
    feeds = {"step": np.float64(30), "per": np.float64(2), "n": np.float64(50)}
    found = value("cosine(step, 0.4, warmup=5 * per, total=n)", **feeds)
    assert found == pytest.approx(0.2 * (1 + math.cos(math.pi / 2)))
    assert value("warmup(step, 0.4, over=2 * n)", step=np.float64(25), n=np.float64(25)) == pytest.approx(0.2)


def test_no_schedule_divides_by_zero() -> None:
    calls = (
        "warmup(step, 0.4, over=0)", "cosine(step, 0.4, warmup=0, total=0)", "inverse_sqrt(step, 0.4, warmup=0)",
        "linear_decay(step, 0.4, warmup=3, total=3)",
    )  # fmt: skip
    for call in calls:
        for step in (0.0, 1.0, 5.0):
            assert np.isfinite(value(call, step=np.float64(step)))


def test_step_decay_is_told_one_of_two_things() -> None:
    for call in ("step_decay(step, 0.1)", "step_decay(step, 0.1, every=3, at=[4])"):
        found = mistake(call, step=np.float64(0))
        assert found.code == "E0311" and "`every`, or else `at`" in found.message


@pytest.mark.parametrize("call", ["cosine(step, 0.1)", "linear_decay(step, 0.1, warmup=3)"])
def test_a_fall_says_how_long_it_takes(call: str) -> None:
    found = mistake(call, step=np.float64(0))
    assert found.code == "E0311" and "`total=steps`" in found.message
