"""Train sections, 3 and 5.6 to 5.7: what learns and what stays, states, several losses, and how metrics add up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dlc.compiler.evaluate import evaluate
from dlc.compiler.passes import TRAINING, run
from dlc.compiler.program import Program
from dlc.dsl.diagnostics import Diagnostic, SourceError

DATA = """data d {
  train = npz("d.npz")
  x: f32[4] = raw.x
  y: f32[3] = raw.y
  k: i64[]  = raw.k
}
"""
NET = """net it {
  input x: f32[B, 4]
  low = x -> Linear(4, bias=false) as first -> BatchNorm as norm
  out = low -> tanh -> Linear(3, bias=false) as last
  return out
}
"""
RNG = np.random.default_rng(0)
FEEDS: dict[str, Any] = {"x": RNG.normal(size=(6, 4)), "y": RNG.normal(size=(6, 3)), "k": RNG.integers(0, 3, 6)}
WEIGHTS: dict[str, Any] = {
    "it.first.weight": RNG.normal(size=(4, 4)), "it.last.weight": RNG.normal(size=(4, 3)),
    "it.norm.weight": np.array([1.0, 2, 3, 4]), "it.norm.bias": np.zeros(4),
    "it.norm.running_mean": np.array([0.5, -1, 0, 2]), "it.norm.running_var": np.array([1.0, 2, 3, 4]),
}  # fmt: skip


def section(body: str, optimizer: str = "SGD(lr=1)") -> str:
    return f"train it on d {{\n  {body}\n  optimizer = {optimizer}\n  batch = 6\n  epochs = 1\n}}\n"


def problem(text: str) -> Diagnostic:
    with pytest.raises(SourceError) as caught:
        Program.of_text(text).check()
    return caught.value.diagnostics[0]


def warnings(text: str) -> list[str]:
    return [each.code for each in Program.of_text(text).check()]


def filled(graph: Any, given: dict[str, Any]) -> dict[str, Any]:
    every = {**FEEDS, **WEIGHTS, "seed": np.int64(0), "step": np.int64(0), "steps": np.int64(9), **given}
    return {name: np.asarray(every[name]) for name in graph.input_names}


def gradients(text: str, name: str = "it", **given: Any) -> dict[str, Any]:
    graph = run(Program.of_text(text).gradients(name, working="f64").graph, TRAINING, after="differentiate")
    return evaluate(graph, filled(graph, given))


def step(text: str, name: str = "it", **given: Any) -> dict[str, Any]:
    graph = run(Program.of_text(text).step(name, working="f64").graph, TRAINING)
    return evaluate(graph, filled(graph, given))


def metrics(text: str, batches: list[slice], name: str = "it") -> dict[str, Any]:
    """The loss and metrics over a split in batches, as the host adds them up."""
    unit, report = Program.of_text(text).evaluation(name)
    totals: dict[str, Any] = {}
    for rows in batches:
        part = {key: np.asarray(each[rows], each.dtype if each.dtype == int else np.float32)
                for key, each in FEEDS.items()}  # fmt: skip
        small = {key: each.astype(np.float32) for key, each in WEIGHTS.items()}
        outputs = evaluate(unit.graph, filled(unit.graph, {**small, **part}))
        for key, each in outputs.items():
            kept = key in unit.constants
            totals[key] = np.float64(each) if kept else totals.get(key, 0.0) + np.float64(each)
    graph = report.graph
    return {key: float(each) for key, each in evaluate(graph, {n: totals[n] for n in graph.input_names}).items()}


def forward(normed: bool, x: Any = FEEDS["x"]) -> Any:
    """The net in numpy: with the averages of inference, or with those of the batch."""
    low = x @ WEIGHTS["it.first.weight"]
    mean, var = (WEIGHTS["it.norm.running_mean"], WEIGHTS["it.norm.running_var"]) if normed else (
        low.mean(0), low.var(0))  # fmt: skip
    return np.tanh((low - mean) / np.sqrt(var + 1e-5) * WEIGHTS["it.norm.weight"]) @ WEIGHTS["it.last.weight"]


def test_frozen_is_what_it_will_be_in_production_and_constant() -> None:
    """Batch norm goes by its running averages and does not move them; gradients pass through to what comes before."""
    text = DATA + NET + section("freeze it.norm\n  loss = mse(out, y)")
    found = gradients(text)
    np.testing.assert_allclose(found["loss"], np.square(forward(True) - FEEDS["y"]).mean(), rtol=1e-10)
    assert sorted(name for name in found if name.endswith(":grad")) == [
        "it.first.weight:grad", "it.last.weight:grad",
    ]  # fmt: skip
    assert np.abs(found["it.first.weight:grad"]).max() > 1e-3
    carried = Program.of_text(text).step("it").carried
    assert {a: each for a, each in carried.items() if ".norm." in a} == {
        f"it.norm.{part}": (None, "frozen") for part in ("weight", "bias", "running_mean", "running_var")
    }
    free = gradients(DATA + NET + section("loss = mse(out, y)"))
    np.testing.assert_allclose(free["loss"], np.square(forward(False) - FEEDS["y"]).mean(), rtol=1e-10)
    assert "it.norm.running_mean:next" in free


def test_freezing_wants_what_owns_weights() -> None:
    assert (
        problem(DATA + NET + section("freeze it.nrom\n  loss = mse(out, y)")).primary.text == "did you mean `it.norm`?"
    )
    assert problem(DATA + NET + section("freeze it\n  loss = mse(out, y)")).code == "E0501"


def test_nothing_passes_a_detach() -> None:
    plain = gradients(DATA + NET + section("loss = mse(out, y)"))
    body = "loss = mse(out, y) + mean(square(detach(out) - y)) + mean(detach(low) * low)"
    found = gradients(DATA + NET + section(body))
    np.testing.assert_allclose(found["it.last.weight:grad"], plain["it.last.weight:grad"], rtol=1e-10)
    assert found["loss"] > plain["loss"]


def test_the_straight_through_trick() -> None:
    """`x + detach(f(x) - x)` has the value of f and the gradient of the identity."""
    body = "s = out + detach(round(out) - out)\n  loss = mean(s * y)"
    found, plain = gradients(DATA + NET + section(body)), gradients(DATA + NET + section("loss = mean(out * y)"))
    np.testing.assert_allclose(found["loss"], np.mean(np.round(forward(False)) * FEEDS["y"]), rtol=1e-10)
    np.testing.assert_allclose(found["it.first.weight:grad"], plain["it.first.weight:grad"], rtol=1e-10, atol=1e-14)


def test_what_cannot_learn_is_an_error_or_a_warning() -> None:
    assert problem(DATA + NET + section("loss = mean(float(argmax(out)))")).code == "E0501"
    assert problem(DATA + NET + section("loss = mse(detach(out), y)")).code == "E0501"
    assert problem(DATA + NET + section("loss = mean(square(y))")).code == "E0501"
    assert problem(DATA + NET + section("loss = mean(round(out))")).code == "E0501"
    cut = section("loss = mean(square(detach(low))) + l2(it.last)")
    assert warnings(DATA + NET + cut) == ["W0402"] * 3  # the first layer, and the gain and shift of the norm
    assert warnings(DATA + NET + section("loss = mse(out, y)")) == []


@pytest.mark.parametrize(
    ("norm", "batch", "codes"),
    [
        ("BatchNorm", 1, ["W0407"]),
        ("BatchNorm", 2, []),
        ("LayerNorm", 1, []),
        ("reshape([B, 2, 2, 1]) -> BatchNorm -> flatten", 1, []),
        ("reshape([B, 4, 1, 1]) -> BatchNorm -> flatten", 1, ["W0407"]),
        ("reshape([B, 4, 1, 1]) -> BatchNorm -> BatchNorm -> flatten", 1, ["W0407", "W0407"]),
        ("repeat 2 { BatchNorm }", 1, ["W0407"]),
        ("GroupNorm(2)", 1, []),
        ("GroupNorm(4)", 2, ["W0407"]),
    ],
)
def test_statistics_of_one_value_are_warned_of(norm: str, batch: int, codes: list[str]) -> None:
    net = NET.replace("BatchNorm as norm", norm)
    assert warnings(DATA + net + section("loss = mse(out, y)").replace("batch = 6", f"batch = {batch}")) == codes


def test_nothing_before_statistics_of_one_value_learns() -> None:
    """What the warning says: the gradient is 0."""
    one = {"x": FEEDS["x"][:1], "y": FEEDS["y"][:1]}
    found = gradients(DATA + NET + section("loss = mse(out, y)").replace("batch = 6", "batch = 1"), **one)
    assert not found["it.first.weight:grad"].any()
    assert found["it.norm.bias:grad"].any()


def test_what_is_frozen_or_fixed_by_the_net_has_the_statistics_that_it_has() -> None:
    one = section("loss = mse(out, y)").replace("batch = 6", "batch = 1")
    assert warnings(DATA + NET + one.replace("  loss", "  freeze it.norm\n  loss")) == []
    assert warnings(DATA + NET.replace("f32[B, 4]", "f32[1, 4]") + one) == ["W0407"]


def test_named_parts_of_a_loss_are_reported_and_weigh_as_written() -> None:
    net = NET.replace("  return out", "  param noise: f32[2] = zeros\n  return out")
    body = (
        "near = mse(out, y)\n  told = cross_entropy(out, k)\n"
        "  loss = exp(-noise[0]) * near + exp(-noise[1]) * told + sum(noise)"
    )
    text = DATA + net + section(body)
    noise = np.array([0.3, -0.2])
    found = step(text, **{"it.noise": noise})
    out = forward(False)
    logs = out - np.log(np.exp(out).sum(1, keepdims=True))
    first, second = np.square(out - FEEDS["y"]).mean(), -logs[np.arange(6), FEEDS["k"]].mean()
    np.testing.assert_allclose([found["near"], found["told"]], [first, second], rtol=1e-10)
    np.testing.assert_allclose(found["loss"], np.exp(-0.3) * first + np.exp(0.2) * second + 0.1, rtol=1e-10)
    slope = 1 - np.exp(-noise) * [first, second]
    np.testing.assert_allclose(found["it.noise:next"], noise - slope, rtol=1e-10)
    assert list(Program.of_text(text).step("it").reports) == ["loss", "near", "told"]


def test_a_value_that_nothing_uses_is_a_mistake() -> None:
    found = problem(DATA + NET + section("bacth = 3\n  loss = mse(out, y)"))
    assert (found.code, found.primary.text) == ("E0207", "did you mean `batch`?")


PENALTIES = {
    "l2(it)": lambda w: sum(np.square(w[a]).sum() for a in ("it.first.weight", "it.last.weight")),
    "l2(it.first)": lambda w: np.square(w["it.first.weight"]).sum(),
    "l1(it.last)": lambda w: np.abs(w["it.last.weight"]).sum(),
    "l2(it.norm.weight)": lambda w: np.square(w["it.norm.weight"]).sum(),
    "l2(it.first.weight)": lambda w: np.square(w["it.first.weight"]).sum(),
}


@pytest.mark.parametrize("call", PENALTIES)
def test_penalties_take_rank_two_and_more_of_a_part_and_any_one_weight(call: str) -> None:
    found = gradients(DATA + NET + section(f"loss = {call} + 0 * mse(out, y)"))
    np.testing.assert_allclose(found["loss"], PENALTIES[call](WEIGHTS), rtol=1e-10)


def test_parts_are_looked_up_by_their_addresses() -> None:
    """A value of a net's body, a parameter of an instance, an inner value of a net that the section applies."""
    body = (
        "twice = it(2 * x)\n"
        "  loss = mse(out, y) + mean(low) + mean(it.first.weight) + mean(it(3 * x).low) + mean(square(twice))"
    )
    found = gradients(DATA + NET + section(f"freeze it.norm\n  {body}"))
    low, lower = (
        (k * FEEDS["x"] @ WEIGHTS["it.first.weight"] - WEIGHTS["it.norm.running_mean"])
        / np.sqrt(WEIGHTS["it.norm.running_var"] + 1e-5) * WEIGHTS["it.norm.weight"]
        for k in (1, 3)
    )  # fmt: skip
    out = forward(True)
    expected = (
        np.square(out - FEEDS["y"]).mean() + low.mean() + WEIGHTS["it.first.weight"].mean() + lower.mean()
        + np.square(forward(True, 2 * FEEDS["x"])).mean()
    )  # fmt: skip
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-10)


def test_a_net_called_three_times_moves_its_averages_three_times() -> None:
    """In the order of the text, each from where the one before left them; the weights learn from all."""
    body = "a = it(x)\n  b = it(2 * x)\n  c = it(x + 1)\n  loss = mean(square(a + b - c))"
    wait = NET.replace("input x", "input other").replace("= x ->", "= other ->")
    found = step(DATA + wait + section(body))
    mean, var = WEIGHTS["it.norm.running_mean"], WEIGHTS["it.norm.running_var"]
    for x in (FEEDS["x"], 2 * FEEDS["x"], FEEDS["x"] + 1):
        low = x @ WEIGHTS["it.first.weight"]
        mean, var = 0.9 * mean + 0.1 * low.mean(0), 0.9 * var + 0.1 * low.var(0, ddof=1)
    np.testing.assert_allclose(found["it.norm.running_mean:next"], mean, rtol=1e-10)
    np.testing.assert_allclose(found["it.norm.running_var:next"], var, rtol=1e-10)


def test_a_state_of_one_s_own() -> None:
    """`next` takes effect in training alone, and each application reads what the one before left."""
    net = """block Count(by=1) {
  input x: f32[B, D]
  state seen: f32[] = 0.0
  state last: f32[D] = zeros
  next seen = seen + by, last = mean(x, axis=0)
  return x * 1 + 0 * seen if training else x + seen
}
net it {
  input x: f32[B, 4]
  count = Count(by=2)
  out = x -> count -> count -> Linear(3, bias=false) as last
  return out
}
"""
    text = DATA + net + section("loss = mse(out, y)")
    found = step(text, **{"it.count.seen": np.float64(5), "it.count.last": np.zeros(4)})
    assert found["it.count.seen:next"] == 9
    np.testing.assert_allclose(found["it.count.last:next"], FEEDS["x"].mean(0), rtol=1e-10)
    unit = Program.of_text(text).net("it", working="f64")
    assert list(unit.graph.outputs) == ["out"]
    result = evaluate(unit.graph, filled(unit.graph, {"it.count.seen": np.float64(5), "it.count.last": np.zeros(4)}))
    np.testing.assert_allclose(result["out"], (FEEDS["x"] + 10) @ WEIGHTS["it.last.weight"], rtol=1e-10)


def test_training_is_a_word_known_while_compiling() -> None:
    net = NET.replace("return out", "return out if training else out + 100")
    text = DATA + net
    unit = Program.of_text(text).net("it", working="f64")
    [result] = evaluate(unit.graph, filled(unit.graph, {})).values()
    np.testing.assert_allclose(result, forward(True) + 100, rtol=1e-10)


def test_gradients_are_cut_one_by_one_or_all_together() -> None:
    plain = gradients(DATA + NET + section("loss = 10 * mse(out, y)"))
    grads = {n.removesuffix(":grad"): g for n, g in plain.items() if n.endswith(":grad")}
    norm = np.sqrt(sum(np.square(g).sum() for g in grads.values()))
    assert norm > 1 and max(np.abs(g).max() for g in grads.values()) > 0.3
    by_norm = step(DATA + NET + section("loss = 10 * mse(out, y)\n  clip_norm = 1.0"))
    by_value = step(DATA + NET + section("loss = 10 * mse(out, y)\n  clip_value = 0.3"))
    for address, g in grads.items():
        np.testing.assert_allclose(by_norm[f"{address}:next"], WEIGHTS[address] - g / norm, rtol=1e-5, atol=1e-8)
        np.testing.assert_allclose(by_value[f"{address}:next"], WEIGHTS[address] - np.clip(g, -0.3, 0.3), rtol=1e-10)


BATCHES = [slice(0, 4), slice(4, 5), slice(5, 6)]
METRICS = {
    "mean(square(out))": lambda out: np.square(out).mean(),
    "sum(out[:, 0])": lambda out: out[:, 0].sum(),
    "exp(loss)": lambda out: np.exp(np.square(out - FEEDS["y"]).mean()),
    "sqrt(mean(square(out - y)))": lambda out: np.sqrt(np.square(out - FEEDS["y"]).mean()),
    "100 * mean(abs(out - y))": lambda out: 100 * np.abs(out - FEEDS["y"]).mean(),
    "accuracy(out, k)": lambda out: (out.argmax(1) == FEEDS["k"]).mean(),
    "mean(out) / mean(abs(y))": lambda out: out.mean() / np.abs(FEEDS["y"]).mean(),
    "1 - sum(square(out - y)) / sum(square(y))":
        lambda out: 1 - np.square(out - FEEDS["y"]).sum() / np.square(FEEDS["y"]).sum(),
    "mean(out) + l2(it.last)": lambda out: out.mean() + np.square(WEIGHTS["it.last.weight"]).sum(),
    "mean(sum(out, axis=0) ** 2)": lambda out: np.square(out.sum(0)).mean(),
    "mean(out[:, 0] > 0)": lambda out: (out[:, 0] > 0).mean(),
    "mean(max(out, axis=1))": lambda out: out.max(1).mean(),
    "mean(sum(out, axis=1), mask=k > 0)": lambda out: out.sum(1)[FEEDS["k"] > 0].mean(),
}  # fmt: skip


@pytest.mark.parametrize("expression", METRICS)
def test_metrics_over_a_split_are_those_of_all_its_examples(expression: str) -> None:
    """Sums and counts of the parts are added; the rest of an expression is computed once, of the totals."""
    found = metrics(DATA + NET + section(f"loss = mse(out, y)\n  metrics {{ it = {expression} }}"), BATCHES)
    assert found["it"] == pytest.approx(float(METRICS[expression](forward(True))), rel=2e-5, abs=1e-6)
    assert found["loss"] == pytest.approx(np.square(forward(True) - FEEDS["y"]).mean(), rel=2e-5)


@pytest.mark.parametrize("expression", ["max(out)", "logsumexp(out[:, 0])"])
def test_what_does_not_add_up_over_batches_is_refused(expression: str) -> None:
    found = problem(DATA + NET + section(f"loss = mse(out, y)\n  metrics {{ it = {expression} }}"))
    assert "batch" in found.message or "examples" in found.message, found


def test_runs_stand_in_their_order() -> None:
    two = section("loss = mse(out, y)").replace("on d", "on d as one") + section(
        "after = one\n  loss = mse(out, y)").replace("on d", "on d as two")  # fmt: skip
    assert warnings(DATA + NET + two) == []
    swapped = two.replace("as one", "as x").replace("as two", "as one").replace("as x", "as two")
    found = problem(DATA + NET + swapped.replace("after = one", "after = one"))
    assert found.code == "E0201" and "no earlier run is called `one`" in found.message
    twice = section("loss = mse(out, y)")
    assert problem(DATA + NET + twice + twice).code == "E0202"


def test_ordinals_that_are_pointed_at_are_warned_of() -> None:
    net = NET.replace(" as last", "")
    for line in ("freeze it.linear", 'load it.linear from "w.npz"', "group it.linear { lr_scale = 0.1 }"):
        assert "W0401" in warnings(DATA + net + section(f"{line}\n  loss = mse(out, y)")), line
        named = line.replace("it.linear", "it.last")
        assert warnings(DATA + NET + section(f"{named}\n  loss = mse(out, y)")) == [], line
