"""The optimizers of the library against `torch.optim`, each of 20 steps from the same state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from products_of import Arrays, Files

from dlc.compiler.program import Program

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here; it comes with the extra `peers`")

TEXT = """
data points {{
  train = npz("points.npz")
  x: f32[5]      = raw.x
  target: f32[3] = raw.target
}}
net tiny {{
  input x: f32[B, 5]
  estimate = x -> Linear(4) -> tanh -> Linear(3)
  return estimate
}}
train tiny on points {{
  loss = mse(estimate, target)
  optimizer = {optimizer}
  {more}
  batch = 8
}}
"""
STEPS = 20
ADDRESSES = {"0.weight": "tiny.linear.weight", "0.bias": "tiny.linear.bias",
             "2.weight": "tiny.linear2.weight", "2.bias": "tiny.linear2.bias"}  # fmt: skip
VELOCITY = {"momentum_buffer": "v"}
AVERAGES = {"exp_avg": "m", "exp_avg_sq": "v"}


@dataclass(frozen=True)
class Case:
    ours: str
    theirs: Callable[[Any], Any]
    states: dict[str, str]
    clip: float | None = None
    schedule: Callable[[Any], Any] | None = None


def warm_cosine(optimizer: Any) -> Any:
    """A linear rise from 0 over 5 steps, then half a cosine down to 0, out of PyTorch's parts."""
    schedules = torch.optim.lr_scheduler
    rise = schedules.LambdaLR(optimizer, lambda step: step / 5)
    fall = schedules.CosineAnnealingLR(optimizer, T_max=STEPS - 5)
    return schedules.SequentialLR(optimizer, [rise, fall], milestones=[5])


def sgd(**settings: Any) -> Callable[[Any], Any]:
    return lambda parameters: torch.optim.SGD(parameters, **settings)


def adam(kind: str, **settings: Any) -> Callable[[Any], Any]:
    return lambda parameters: getattr(torch.optim, kind)(parameters, **settings)


CASES = {
    "sgd": Case("SGD(lr=0.1)", sgd(lr=0.1), {}),
    "sgd-decay": Case("SGD(lr=0.1, weight_decay=0.05)", sgd(lr=0.1, weight_decay=0.05), {}),
    "sgd-clip": Case("SGD(lr=0.1)", sgd(lr=0.1), {}, clip=0.9),
    "momentum": Case("Momentum(lr=0.05)", sgd(lr=0.05, momentum=0.9), VELOCITY),
    "momentum-beta": Case("Momentum(lr=0.05, beta=0.5)", sgd(lr=0.05, momentum=0.5), VELOCITY),
    "momentum-nesterov": Case(
        "Momentum(lr=0.05, nesterov=true)", sgd(lr=0.05, momentum=0.9, nesterov=True), VELOCITY
    ),
    "momentum-decay": Case(
        "Momentum(lr=0.05, weight_decay=0.02)", sgd(lr=0.05, momentum=0.9, weight_decay=0.02), VELOCITY
    ),
    "momentum-clip": Case("Momentum(lr=0.05)", sgd(lr=0.05, momentum=0.9), VELOCITY, clip=0.9),
    "momentum-cosine": Case(
        "Momentum(lr=cosine(step, 0.05, warmup=5, total=steps))", sgd(lr=0.05, momentum=0.9), VELOCITY,
        schedule=warm_cosine,
    ),
    "nesterov-decay": Case(
        "Nesterov(lr=0.05, beta=0.8, weight_decay=0.02)",
        sgd(lr=0.05, momentum=0.8, nesterov=True, weight_decay=0.02), VELOCITY,
    ),
    "adam": Case("Adam(lr=0.01)", adam("Adam", lr=0.01), AVERAGES),
    "adam-settings": Case(
        "Adam(lr=0.01, b1=0.8, b2=0.95, eps=1e-4)", adam("Adam", lr=0.01, betas=(0.8, 0.95), eps=1e-4), AVERAGES
    ),
    "adam-clip": Case("Adam(lr=0.01)", adam("Adam", lr=0.01), AVERAGES, clip=0.9),
    "adamw": Case("AdamW(lr=0.01)", adam("AdamW", lr=0.01), AVERAGES),
    "adamw-cosine-clip": Case(
        "AdamW(lr=cosine(step, 0.02, warmup=5, total=steps), weight_decay=0.1)",
        adam("AdamW", lr=0.02, weight_decay=0.1), AVERAGES, clip=0.9, schedule=warm_cosine,
    ),
}  # fmt: skip


@lru_cache
def tiny(ours: str, clip: float | None) -> Files:
    return Files(Program.of_text(TEXT.format(optimizer=ours, more=f"clip_norm = {clip}" if clip else "")))


def rounded(tensor: Any) -> Any:
    """To float32 and back, in place: a state that both sides can hold."""
    return tensor.copy_(tensor.float())


def as_ours(tensor: Any) -> Any:
    array = tensor.detach().numpy().astype(np.float32)
    return np.ascontiguousarray(array.T) if array.ndim == 2 else array


def carried(net: Any, optimizer: Any, states: dict[str, str]) -> Arrays:
    """PyTorch's weights and states under our addresses; before its first step PyTorch has no states: zeros."""
    values: Arrays = {}
    for name, parameter in net.named_parameters():
        address = ADDRESSES[name]
        values[address] = as_ours(parameter)
        held = optimizer.state[parameter]
        for theirs, ours in states.items():
            tensor = held[theirs] if held else torch.zeros_like(parameter)
            values[f"tiny.optimizer.{address}.{ours}"] = as_ours(tensor)
        if "exp_avg" in states:
            values["tiny.optimizer.t"] = np.float32(held["step"].item() if held else 0)
    return values


@pytest.mark.filterwarnings("ignore:.*scheduler.*:UserWarning")
@pytest.mark.parametrize("name", CASES)
def test_each_step_is_that_of_pytorch(name: str) -> None:
    case = CASES[name]
    torch.manual_seed(1)
    rng = np.random.default_rng(2)
    files = tiny(case.ours, case.clip)
    net = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3)).double()
    with torch.no_grad():
        for parameter in net.parameters():
            rounded(parameter)
    optimizer = case.theirs(net.parameters())
    schedule = case.schedule(optimizer) if case.schedule else None
    norms = []
    for step in range(STEPS):
        batch = {"x": rng.normal(size=(8, 5)), "target": rng.normal(size=(8, 3))}
        batch = {key: value.astype(np.float32) for key, value in batch.items()}
        feeds: Arrays = {**carried(net, optimizer, case.states), **batch, "step": step, "steps": STEPS, "seed": 0}
        assert set(files.manifest("tiny.step").carried) == feeds.keys() - {*batch, "step", "steps", "seed"}
        rate = optimizer.param_groups[0]["lr"]
        outputs, after = files.step("tiny", feeds)

        x, target = (torch.from_numpy(each).double() for each in batch.values())
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(net(x), target)
        loss.backward()
        if case.clip:
            norms.append(float(torch.nn.utils.clip_grad_norm_(net.parameters(), case.clip)))
        optimizer.step()
        if schedule is not None:
            schedule.step()
        with torch.no_grad():
            for parameter in net.parameters():
                rounded(parameter)
                for held in optimizer.state[parameter].values():
                    if held is not None:
                        rounded(held)

        assert outputs["loss"] == pytest.approx(loss.item(), rel=1e-5)
        expected = carried(net, optimizer, case.states)
        small = {ADDRESSES[key]: as_ours(p.grad.abs() <= 1e-6) > 0 for key, p in net.named_parameters()}
        for address, value in expected.items():
            where = f"{address} after step {step}"
            if address in small and "exp_avg" in case.states:  # there the sign of a tiny gradient decides the move
                assert np.all(np.abs(after[address] - value)[small[address]] <= 2 * rate), where
                value = np.where(small[address], after[address], value)
            np.testing.assert_allclose(after[address], value, rtol=1e-5, atol=1e-6 * np.abs(value).max(), err_msg=where)
    if case.clip:
        assert min(norms) < case.clip < max(norms), "some gradients are to be clipped and some not"


@pytest.mark.parametrize("name", ["sgd-decay", "momentum-cosine", "nesterov-decay"])
def test_twenty_steps_on_end_are_those_of_pytorch(name: str) -> None:
    """The same without setting the states equal in between: nothing adaptive makes rounding grow here."""
    case = CASES[name]
    torch.manual_seed(1)
    rng = np.random.default_rng(2)
    files = tiny(case.ours, case.clip)
    net = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3)).double()
    with torch.no_grad():
        for parameter in net.parameters():
            rounded(parameter)
    optimizer = case.theirs(net.parameters())
    schedule = case.schedule(optimizer) if case.schedule else None
    feeds: Arrays = {**carried(net, optimizer, case.states), "steps": STEPS, "seed": 0}
    for step in range(STEPS):
        x, target = (rng.normal(size=(8, width)).astype(np.float32) for width in (5, 3))
        _, feeds = files.step("tiny", {**feeds, "x": x, "target": target, "step": step})
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(net(torch.from_numpy(x).double()), torch.from_numpy(target).double()).backward()
        optimizer.step()
        if schedule is not None:
            schedule.step()
    for address, value in carried(net, optimizer, case.states).items():
        np.testing.assert_allclose(feeds[address], value, rtol=1e-5, atol=2e-6 * np.abs(value).max(), err_msg=address)
