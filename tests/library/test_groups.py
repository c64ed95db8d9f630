"""Groups: parts of a net that learn by rules of their own, also where they overlap."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dlc.compiler.evaluate import evaluate
from dlc.compiler.passes import TRAINING, run
from dlc.compiler.program import Program
from dlc.dsl.diagnostics import Diagnostic, SourceError

TEXT = """block Decay(lr, weight_decay=0.1) {{
  input w, g
  state r = 1.0
  state t = 0.0
  r1 = r * (1 - weight_decay)
  next r = r1, t = t + 1
  return w - lr * r1 * g
}}
block Wrapped(lr, weight_decay=0.1) = Decay(lr, weight_decay=weight_decay)
block Started(lr) {{
  input w, g
  state rate = lr
  next rate = 0.5 * rate
  return w - rate * g
}}
data rows {{
  train = npz("rows.npz")
  x: f32[4] = raw.x
  y: f32[] = raw.y
}}
net line {{
  input x: f32[B, 4]
  guess = x -> Linear(3) as one -> Linear(1) as two -> squeeze(-1)
  return guess
}}
train line on rows {{
  loss = mse(guess, y)
  optimizer = {optimizer}
  batch = 4
{keys}
}}
"""
WEIGHTS = ("line.one.weight", "line.one.bias", "line.two.weight", "line.two.bias")
RNG = np.random.default_rng(0)
BATCH = {"x": RNG.normal(size=(4, 4)), "y": RNG.normal(size=4)}


def program(keys: str, optimizer: str = "SGD(lr=0.1)") -> Program:
    return Program.of_text(TEXT.format(keys=keys, optimizer=optimizer))


def states(keys: str, optimizer: str) -> list[str]:
    """Where the states of the optimizers are, in the order of the alphabet."""
    return sorted(set(program(keys, optimizer).step("line").carried) - {*WEIGHTS})


def rates(keys: str, optimizer: str = "SGD(lr=0.1)", steps: int = 1) -> dict[str, tuple[float, float]]:
    """By weight, the learning rate and the decay of the last of some steps: w' = (1 - rate * decay) w - rate * g.

    Every step has the same weights: what differs is what the optimizer has carried on.
    """
    made = program(keys, optimizer)
    graph = run(made.step("line", working="f64").graph, TRAINING)
    cut = run(made.gradients("line", working="f64").graph, TRAINING, after="differentiate")
    initial = evaluate(made.init("line").graph, {"seed": np.int64(3)})
    given: dict[str, Any] = {name: each.astype(np.float64) for name, each in initial.items()} | BATCH
    given["line.one.bias"] = np.array([1.0, 2, -1])
    found = evaluate(cut, {name: given[name] for name in cut.input_names})
    for _ in range(steps):
        results = evaluate(graph, {name: given[name] for name in graph.input_names})
        given |= {name.removesuffix(":next"): each for name, each in results.items() if ".optimizer" in name}
    return {name: _rates(given[name], found[f"{name}:grad"], results[f"{name}:next"]) for name in WEIGHTS}


def _rates(before: Any, gradient: Any, after: Any) -> tuple[float, float]:
    if before.size == 1:  # one number cannot tell the two apart
        return float(((before - after) / gradient).item()), 0.0
    terms = np.stack([gradient.ravel(), before.ravel()], axis=1)
    (rate, decayed), *_ = np.linalg.lstsq(terms, (before - after).ravel(), rcond=None)
    return float(rate), float(decayed / rate) if rate else 0.0


def problems(keys: str, optimizer: str = "SGD(lr=0.1)") -> list[Diagnostic]:
    try:
        return list(program(keys, optimizer).check())
    except SourceError as error:
        return list(error.diagnostics)


# ------------------------------------------------------------------------------------- overlapping groups


OUTER, INNER = "  group line.one {{ {} }}\n", "  group line.one.weight {{ {} }}\n"


@pytest.mark.parametrize(("keys", "weight", "bias"), [
    (OUTER.format("lr_scale = 0.5") + INNER.format("weight_decay = 0.3"), (0.05, 0.3), (0.05, 0)),
    (INNER.format("weight_decay = 0.3") + OUTER.format("lr_scale = 0.5"), (0.05, 0.3), (0.05, 0)),
    (OUTER.format("lr_scale = 0.5") + INNER.format("lr_scale = 0.2"), (0.02, 0), (0.05, 0)),
    (INNER.format("lr_scale = 0.2") + OUTER.format("lr_scale = 0.5"), (0.05, 0), (0.05, 0)),
    (OUTER.format("lr_scale = 0.5 weight_decay = 0.3") + INNER.format("optimizer = SGD(lr=1)"), (1, 0), (0.05, 0.3)),
    (OUTER.format("optimizer = SGD(lr=1, weight_decay=0.2)") + INNER.format("lr_scale = 0.5"), (0.5, 0.2), (1, 0.2)),
    (INNER.format("optimizer = SGD(lr=1)") + OUTER.format("lr_scale = 0.5"), (0.5, 0), (0.05, 0)),
    (INNER.format("lr_scale = 0.5") + OUTER.format("optimizer = SGD(lr=1)"), (1, 0), (1, 0)),
    (OUTER.format("optimizer = SGD(lr=1) lr_scale = 0.5"), (0.5, 0), (0.5, 0)),
])  # fmt: skip
def test_the_later_of_overlapping_groups_holds_for_each_setting(
    keys: str, weight: tuple[float, float], bias: tuple[float, float]
) -> None:
    """An optimizer says all its settings anew."""
    found = rates(keys)
    assert found["line.one.weight"] == pytest.approx(weight, abs=1e-9)
    assert found["line.one.bias"] == pytest.approx(bias, abs=1e-9)
    assert found["line.two.weight"] == pytest.approx((0.1, 0), abs=1e-9)


def test_a_setting_that_the_optimizer_of_a_weight_has_not_is_told_at_its_group() -> None:
    keys = OUTER.format("optimizer = Started(lr=1)") + INNER.format("weight_decay = 0.5")
    [found] = problems(keys)
    assert (found.code, found.primary.span.line) == ("E0203", TEXT[: TEXT.index("{keys}")].count("\n") + 2)
    assert "has no setting `weight_decay`, which this group changes" in found.message


# ---------------------------------------------------------------------------------- states that are shared


@pytest.mark.parametrize("steps", [1, 3])
def test_a_shared_state_goes_its_own_way_where_a_group_changes_what_it_reads(steps: int) -> None:
    found = rates("  group line.one { weight_decay = 0.5 }", "Decay(lr=0.1)", steps)
    for name in WEIGHTS:
        kept = 0.5 if "one" in name else 0.9
        assert found[name] == pytest.approx((0.1 * kept**steps, 0), abs=1e-9), name


@pytest.mark.parametrize(("keys", "optimizer", "where"), [
    ("", "Decay(lr=0.1)", ["r", "t"]),
    ("  group line.one { lr_scale = 0.5 }", "Decay(lr=0.1)", ["r", "t"]),
    ("  group line.one { weight_decay = 0.5 }", "Decay(lr=0.1)", ["line.one.r", "r", "t"]),
    ("  group line.one { weight_decay = 0.5 }", "Wrapped(lr=0.1)", ["line.one.r", "r", "t"]),
    ("  group line.one { lr_scale = 0.5 }", "Started(lr=0.1)", ["line.one.rate", "rate"]),
    (OUTER.format("weight_decay = 0.5") + INNER.format("lr_scale = 0.5"), "Decay(lr=0.1)", ["line.one.r", "r", "t"]),
    (OUTER.format("weight_decay = 0.5") + INNER.format("weight_decay = 0.2"), "Decay(lr=0.1)",
     ["line.one.r", "line.one.weight.r", "r", "t"]),
])  # fmt: skip
def test_one_value_for_each_set_of_settings(keys: str, optimizer: str, where: list[str]) -> None:
    assert states(keys, optimizer) == [f"line.optimizer.{each}" for each in where]


def test_adam_counts_once_whatever_groups_change() -> None:
    keys = "  group line.one { lr_scale = 0.5 weight_decay = 0.2 }\n  group line.two { lr_scale = 0.1 }"
    found = states(keys, "Adam(lr=0.1)")
    assert found == states("", "Adam(lr=0.1)") and found[-1] == "line.optimizer.t"


def test_the_optimizer_of_a_group_has_its_own_shared_states() -> None:
    own = OUTER.format("optimizer = Decay(lr=1) weight_decay = 0.5")
    assert states(own, "SGD(lr=0.1)") == ["line.optimizer2.r", "line.optimizer2.t"]
    inner = own + INNER.format("weight_decay = 0.2")
    assert states(inner, "SGD(lr=0.1)") == [f"line.optimizer2.{each}" for each in ("line.one.weight.r", "r", "t")]
    found = rates(inner, steps=2)
    assert found["line.one.weight"] == pytest.approx((0.8**2, 0), abs=1e-9)
    assert found["line.one.bias"] == pytest.approx((0.5**2, 0), abs=1e-9)


# ------------------------------------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(("keys", "message"), [
    (OUTER.format("lr_scale = 0.5") + OUTER.format("weight_decay = 0.1"), "`group line.one` is given twice"),
    (OUTER.format("lr_scale = 0.5 lr_scale = 0.2"), "`lr_scale` is given twice"),
    (OUTER.format("optimizer = SGD(lr=1) optimizer = SGD(lr=2)"), "`optimizer` is given twice"),
])  # fmt: skip
def test_a_group_and_its_keys_are_given_once(keys: str, message: str) -> None:
    [found] = problems(keys)
    assert (found.code, found.message) == ("E0202", message)


def test_a_group_of_frozen_weights_is_warned_of() -> None:
    [found] = problems("  freeze line.one\n" + OUTER.format("lr_scale = 0.5"))
    assert (found.code, found.severity) == ("W0402", "warning")
    assert found.message == "`group line.one` changes nothing: all its weights are frozen"
    assert problems("  freeze line.one.weight\n" + OUTER.format("lr_scale = 0.5")) == []
