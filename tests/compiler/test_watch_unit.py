"""The unit behind `--watch`, and what a run is known to predict: by the structure of its graph."""

import numpy as np
import pytest

from dlc.compiler.emit import serialized
from dlc.compiler.outcome import Outcome
from dlc.compiler.products import unit_model
from dlc.compiler.program import Program
from dlc.compiler.unit import Unit
from dlc.compiler.watch import owner
from dlc.runtime.session import open_session

TEXT = """
data points {
  train = csv("points.csv")
  x: f32[4] = columns("a", "b", "c", "d")
  label: i64[]
  height: f32[]
  pair: f32[2] = columns("p", "q")
  yes: bool[]
}
net n {
  input x: f32[B, 4]
NET
}
train n on points {
RUN
  optimizer = SGD(lr=0.1)
  batch  = 8
  epochs = 1
}
"""


def program(net: str, run: str) -> Program:
    return Program.of_text(TEXT.replace("NET", f"  {net}").replace("RUN", f"  {run}"))


def values(p: Program, unit: Unit, fed: dict[str, np.ndarray]) -> dict[str, float]:
    session = open_session(serialized(unit_model(p, unit)))
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, map(float, session.run(names, fed)), strict=True))


def test_the_norms_are_those_of_the_step() -> None:
    """A dense layer with a relu under the mean square, worked out by hand."""
    p = program("y = x -> Linear(1) -> relu -> squeeze(-1)\n  return y", "loss = mse(y, height)")
    rng = np.random.default_rng(0)
    x, height = rng.normal(size=(8, 4)).astype(np.float32), rng.normal(size=8).astype(np.float32)
    w, b = rng.normal(size=(4, 1)).astype(np.float32), np.array([0.3], np.float32)
    unit = p.watch("n")
    found = values(p, unit, {"x": x, "height": height, "n.linear.weight": w, "n.linear.bias": b})
    assert set(found) == set(unit.reports)
    before = x @ w + b
    after = np.maximum(before, 0)
    slope = 2 * (after[:, 0] - height) / 8 * (before[:, 0] > 0)
    gradient = x.T @ slope
    assert found["n.linear:activation"] == pytest.approx(np.sqrt(np.mean(before**2)), rel=1e-5)
    assert found["n.linear:zeros"] == pytest.approx(np.mean(after == 0))
    assert found["n.linear.weight:gradient"] == pytest.approx(np.linalg.norm(gradient), rel=1e-4)
    assert found["n.linear.weight:norm"] == pytest.approx(np.linalg.norm(w), rel=1e-5)
    assert found["n.linear.weight:update"] == pytest.approx(0.1 * np.linalg.norm(gradient), rel=1e-4)
    assert found["n.linear.bias:gradient"] == pytest.approx(abs(slope.sum()), rel=1e-4)
    assert found["n.linear.bias:norm"] == pytest.approx(0.3)


def test_it_reads_what_the_step_reads() -> None:
    net = "  y = x -> Linear(4) -> BatchNorm -> dropout(0.5) -> Linear(3)\n  return y"
    text = TEXT.replace("NET", net).replace("RUN", "  loss = cross_entropy(y, label)")
    p = Program.of_text(text.replace("SGD", "Adam"))
    watched, step = p.watch("n"), p.step("n")
    assert set(watched.graph.input_names) <= set(step.graph.input_names)
    assert {a: role for a, (_, role) in watched.carried.items()} == {
        a: role for a, (_, role) in step.carried.items() if a in watched.carried
    }
    assert all(output is None for output, _ in watched.carried.values()), "it must move nothing"
    assert set(watched.scalars) <= set(step.scalars)


def layers(net: str, run: str = "loss = cross_entropy(y, label) + 0.1 * l2(n)") -> dict[str, list[str]]:
    """What is watched of each layer but for its weights."""
    found: dict[str, list[str]] = {}
    for name in program(net, run).watch("n").reports:
        where, _, what = name.rpartition(":")
        if what in ("activation", "zeros"):
            found.setdefault(where, []).append(what)
    return found


def test_layers_are_owners_of_weights_in_the_order_of_the_net() -> None:
    """A penalty on weights is no layer; a relu is found behind a pool; a batch norm is a layer of its own."""
    net = """p = x -> reshape([B, 1, 2, 2]) -> Conv(6, 1) -> max_pool(2) -> relu -> flatten
  y = p -> Linear(5) -> BatchNorm -> relu -> Linear(3) as last
  return y"""
    assert layers(net) == {
        "n.conv": ["activation", "zeros"],
        "n.linear": ["activation"],
        "n.batch_norm": ["activation", "zeros"],
        "n.last": ["activation"],
    }


def test_weights_without_a_block_belong_to_the_net() -> None:
    net = "param w: f32[4, 3] = glorot\n  param s: f32[] = 1.0\n  y = relu(exp(s) * (x @ w))\n  return y"
    assert layers(net, "loss = cross_entropy(y, label)") == {"n": ["activation", "zeros"]}
    assert owner("n.conv.weight") == "n.conv"


def test_frozen_layers_are_not_watched() -> None:
    net = "y = x -> Linear(4) as first -> Linear(3) as last\n  return y"
    assert list(layers(net, "loss = cross_entropy(y, label)\n  freeze n.first")) == ["n.last"]


CLASSES = "y = x -> Linear(3)\n  return y"
ONE = "y = x -> Linear(1) -> squeeze(-1)\n  return y"
TWO = "y = x -> Linear(2)\n  return y"


@pytest.mark.parametrize(
    ("net", "run", "kind", "target"),
    [
        (CLASSES, "loss = cross_entropy(y, label)", "classes", "label"),
        (CLASSES, "loss = 2 * cross_entropy(y, label, smoothing=0.1) + 1e-3 * l2(n)", "classes", "label"),
        (CLASSES, "loss = mean(y * y)\n  metrics { acc = accuracy(y, label) }", "classes", "label"),
        (ONE, "loss = binary_cross_entropy(y, yes)", "binary", "yes"),
        (ONE, "loss = binary_cross_entropy(y, height)", "binary", "height"),
        (ONE, "loss = mse(y, height)", "numbers", "height"),
        (ONE, "loss = mae(y, height)", "numbers", "height"),
        (ONE, "loss = mean(square(height - y))", "numbers", "height"),
        (ONE, "loss = smooth_l1(y, height)", "numbers", "height"),
        (TWO, "loss = mse(y, pair)", "numbers", "pair"),
        (TWO, "loss = mean(y * y)", None, None),
        (TWO, "loss = mean(square(y - x[:, 0:2]))", None, None),
    ],
)
def test_what_is_predicted_is_known_by_the_loss(net: str, run: str, kind: str | None, target: str | None) -> None:
    found: Outcome = program(net, run).outcome("n")
    assert (found.kind, found.target) == (kind, target)
    assert found.learning_rate == 0.1
    if found.prediction is not None:
        assert found.prediction.batch == found.inputs == ("x",)
        assert set(found.prediction.carried) == {"n.linear.weight", "n.linear.bias"}


def test_the_prediction_is_the_net_without_its_dropout() -> None:
    p = program("y = x -> dropout(0.5) -> Linear(3)\n  return y", "loss = cross_entropy(y, label)")
    unit = p.outcome("n").prediction
    assert unit is not None
    session = open_session(serialized(unit_model(p, unit)))
    x, w, b = np.ones((2, 4), np.float32), np.arange(12, dtype=np.float32).reshape(4, 3), np.zeros(3, np.float32)
    (y,) = session.run(None, {"x": x, "n.linear.weight": w, "n.linear.bias": b})
    np.testing.assert_allclose(y, x @ w)


def test_the_learning_rate_is_known_as_an_expression() -> None:
    text = TEXT.replace("NET", f"  {CLASSES}").replace("RUN", "  loss = cross_entropy(y, label)")
    p = Program.of_text(text.replace("lr=0.1", "lr=cosine(step, 0.1, total=steps)"))
    unit = p.outcome("n").learning_rate
    assert isinstance(unit, Unit) and set(unit.scalars) == {"step", "steps"}
    session = open_session(serialized(unit_model(p, unit)))
    for step, wanted in ((0, 0.1), (50, 0.05), (100, 0.0)):
        (rate,) = session.run(None, {"step": np.array(step), "steps": np.array(100)})
        assert float(rate) == pytest.approx(wanted, abs=1e-6)
