"""The optimizers of the library against `torch.optim` in float64, 30 steps on end from zero states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from dlc.compiler.evaluate import evaluate
from dlc.compiler.passes import TRAINING, run
from dlc.compiler.program import Program
from dlc.dsl.diagnostics import SourceError

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here; it comes with the extra `peers`")

TEXT = """
data rows {{
  train = npz("rows.npz")
  x: f32[5]      = raw.x
  target: f32[3] = raw.target
}}
net it {{
  input x: f32[B, 5]
  estimate = x -> Linear(4) -> tanh -> Linear(3)
  return estimate
}}
train it on rows {{
  loss = mse(estimate, target)
  optimizer = {optimizer}
  batch = 8
}}
"""
STEPS = 30
ADDRESSES = {"0.weight": "it.linear.weight", "0.bias": "it.linear.bias",
             "2.weight": "it.linear2.weight", "2.bias": "it.linear2.bias"}  # fmt: skip
Make = Callable[[Any], Any]


@dataclass(frozen=True)
class Case:
    """Our optimizer, PyTorch's, its states by our names, and its learning rate as a function of the step."""

    ours: str
    theirs: Make
    states: dict[str, str]
    rate: Callable[[int], float] | None = None


def of(kind: str, **settings: Any) -> Make:
    return lambda parameters: getattr(torch.optim, kind)(parameters, **settings)


AVERAGE, AVERAGES = {"square_avg": "s"}, {"exp_avg": "m", "exp_avg_sq": "v"}
BOTH = {"square_avg": "s", "acc_delta": "u"}
CASES = {
    "sgd": Case("SGD(lr=0.1)", of("SGD", lr=0.1), {}),
    "momentum": Case("Momentum(lr=0.05)", of("SGD", lr=0.05, momentum=0.9), {"momentum_buffer": "v"}),
    "momentum-settings": Case(
        "Momentum(lr=0.05, beta=0.6, nesterov=true, weight_decay=0.1)",
        of("SGD", lr=0.05, momentum=0.6, nesterov=True, weight_decay=0.1), {"momentum_buffer": "v"},
    ),
    "adam-settings": Case(
        "Adam(lr=0.01, b1=0.7, b2=0.95, eps=1e-4, weight_decay=0.2)",
        of("Adam", lr=0.01, betas=(0.7, 0.95), eps=1e-4, weight_decay=0.2), AVERAGES,
    ),
    "sgd-decay": Case("SGD(lr=0.1, weight_decay=0.05)", of("SGD", lr=0.1, weight_decay=0.05), {}),
    "nesterov": Case("Nesterov(lr=0.05)", of("SGD", lr=0.05, momentum=0.9, nesterov=True), {"momentum_buffer": "v"}),
    "nesterov-decay": Case(
        "Nesterov(lr=0.05, beta=0.7, weight_decay=0.1)",
        of("SGD", lr=0.05, momentum=0.7, nesterov=True, weight_decay=0.1), {"momentum_buffer": "v"},
    ),
    "rmsprop": Case("RMSProp(lr=0.01)", of("RMSprop", lr=0.01, alpha=0.9), AVERAGE),
    "rmsprop-settings": Case(
        "RMSProp(lr=0.01, rho=0.99, eps=1e-4, weight_decay=0.05)",
        of("RMSprop", lr=0.01, alpha=0.99, eps=1e-4, weight_decay=0.05), AVERAGE,
    ),
    "adagrad": Case("AdaGrad(lr=0.05)", of("Adagrad", lr=0.05), {"sum": "s"}),
    "adagrad-settings": Case(
        "AdaGrad(lr=0.05, eps=1e-5, weight_decay=0.05)", of("Adagrad", lr=0.05, eps=1e-5, weight_decay=0.05),
        {"sum": "s"},
    ),
    "adadelta": Case("AdaDelta", of("Adadelta", lr=1.0, rho=0.95), BOTH),
    "adadelta-settings": Case(
        "AdaDelta(lr=0.5, rho=0.8, eps=1e-3, weight_decay=0.05)",
        of("Adadelta", lr=0.5, rho=0.8, eps=1e-3, weight_decay=0.05), BOTH,
    ),
    "adam": Case("Adam(lr=0.01)", of("Adam", lr=0.01), AVERAGES),
    "adam-decay": Case("Adam(lr=0.01, weight_decay=0.1)", of("Adam", lr=0.01, weight_decay=0.1), AVERAGES),
    "adamw": Case("AdamW(lr=0.01)", of("AdamW", lr=0.01), AVERAGES),
    "adamw-decay": Case(
        "AdamW(lr=0.01, b1=0.8, b2=0.9, eps=1e-3, weight_decay=0.3)",
        of("AdamW", lr=0.01, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.3), AVERAGES,
    ),
    "rmsprop-scheduled": Case(
        "RMSProp(lr=step_decay(step, 0.01, every=7, factor=0.5))", of("RMSprop", lr=0.01, alpha=0.9), AVERAGE,
        lambda step: 0.01 * 0.5 ** (step // 7),
    ),
    "adagrad-scheduled": Case(
        "AdaGrad(lr=warmup(step, 0.05, over=10), weight_decay=0.05)", of("Adagrad", lr=0.05, weight_decay=0.05),
        {"sum": "s"}, lambda step: 0.05 * min(step / 10, 1),
    ),
}  # fmt: skip


def as_ours(tensor: Any) -> Any:
    array = tensor.detach().numpy().copy()
    return np.ascontiguousarray(array.T) if array.ndim == 2 else array


@pytest.mark.parametrize("name", CASES)
def test_thirty_steps_are_those_of_pytorch(name: str) -> None:
    case = CASES[name]
    torch.manual_seed(1)
    rng = np.random.default_rng(2)
    unit = Program.of_text(TEXT.format(optimizer=case.ours)).step("it", working="f64")
    graph = run(unit.graph, TRAINING)
    net = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3)).double()
    optimizer = case.theirs(net.parameters())
    parameters = {ADDRESSES[key]: p for key, p in net.named_parameters()}
    carried: dict[str, Any] = {address: as_ours(p) for address, p in parameters.items()}
    for address in unit.carried:
        if address not in carried:
            owner = next((carried[a] for a in parameters if f".{a}." in address), np.zeros(()))
            carried[address] = np.zeros_like(owner)
    assert sorted(a.rpartition(".")[2] for a in unit.carried if "linear2.bias." in a) == sorted(case.states.values())
    for step in range(STEPS):
        if case.rate is not None:
            optimizer.param_groups[0]["lr"] = case.rate(step)
        x, target = rng.normal(size=(8, 5)), rng.normal(size=(8, 3))
        given = {**carried, "x": x, "target": target, "step": np.int64(step)}
        outputs = evaluate(graph, {label: given[label] for label in graph.input_names})
        carried = {address: outputs[f"{address}:next"] for address in carried}

        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(net(torch.from_numpy(x)), torch.from_numpy(target))
        loss.backward()
        optimizer.step()
        assert outputs["loss"] == pytest.approx(loss.item(), rel=1e-8)
        for address, parameter in parameters.items():
            where = f"{address} after step {step}"
            np.testing.assert_allclose(carried[address], as_ours(parameter), rtol=1e-7, atol=1e-9, err_msg=where)
            for theirs, ours in case.states.items():
                held = carried[f"it.optimizer.{address}.{ours}"]
                expected = as_ours(optimizer.state[parameter][theirs])
                np.testing.assert_allclose(held, expected, rtol=1e-6, atol=1e-10, err_msg=f"{where}, {ours}")


def test_only_adam_counts_its_steps() -> None:
    for name, case in CASES.items():
        carried = Program.of_text(TEXT.format(optimizer=case.ours)).step("it").carried
        assert ("it.optimizer.t" in carried) == name.startswith("adam"), name


def test_a_setting_that_an_optimizer_has_not_is_refused() -> None:
    with pytest.raises(SourceError, match="`RMSProp` has no setting called `beta`"):
        Program.of_text(TEXT.format(optimizer="RMSProp(lr=0.1, beta=0.9)")).step("it")
