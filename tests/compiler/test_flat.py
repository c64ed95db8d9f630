"""Operators whose derivative is zero: a path that leads on beside them is right, and what hangs on them alone is told.

Their gradients stand among the cases of test_gradients.py.
"""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper
from onnx_models import model, ran

from dlc.compiler.derivative import Underivable, derivative, differentiated, reach
from dlc.compiler.importer import of_model
from dlc.compiler.program import Program
from dlc.compiler.registry import NoGradient, ZeroGradient, operators
from dlc.dsl.diagnostics import SourceError

LINE = """data points {{
  train = csv("points.csv")
  x: f32[2] = columns("x1", "x2")
  t: f32[]  = raw.t
}}
net line {{
  input x: f32[B, 2]
  param w: f32[2] = zeros
  param v: f32[2] = zeros
  y = {}
  return y
}}
train line on points {{
  loss = mse(y, t)
  optimizer = SGD(lr=0.1)
  batch  = 4
  epochs = 1
}}
"""


def test_a_zero_derivative_is_no_missing_one() -> None:
    """Positions, truth values and integers have none; an operator that gives floats of floats has zero."""
    flat = {name for name, record in operators().items() if isinstance(record.gradient, ZeroGradient)}
    assert {"Floor", "Ceil", "Round", "Sign", "Hardmax", "QuantizeLinear", "Bernoulli"} <= flat
    for name in ("ArgMax", "NonZero", "IsNaN", "Less", "MatMulInteger", "Multinomial", "EyeLike", "dlc.Detach"):
        record = operators()[name].gradient
        assert isinstance(record, NoGradient) and not isinstance(record, ZeroGradient), name


@pytest.mark.parametrize("flat", ["round(x @ w)", "floor(x @ w)", "round(x @ w) + floor(x @ v)"])
def test_a_loss_that_reaches_weights_through_steps_alone_is_a_mistake(flat: str) -> None:
    with pytest.raises(SourceError) as caught:
        Program.of_text(LINE.format(flat)).check()
    first = caught.value.diagnostics[0]
    assert first.code == "E0501" and first.message == "no weight can learn from this loss"
    assert [label.text for label in first.secondary] == ["every path to a weight stops here"]


def test_a_weight_reached_through_steps_alone_is_warned_of() -> None:
    found = Program.of_text(LINE.format("round(x @ w) + x @ v")).check()
    assert [(each.code, each.message) for each in found] == [("W0402", "`line.w` cannot learn from this loss")]


@pytest.mark.parametrize("mixed", ["x @ w * floor(x @ v + x @ w) + x @ v", "(x @ w + x @ v) * round(x @ w)"])
def test_a_weight_with_a_path_beside_the_steps_learns(mixed: str) -> None:
    assert not Program.of_text(LINE.format(mixed)).check()


def test_the_gradient_of_a_model() -> None:
    """y = x x Floor(x) z: the gradient by x is 2 x Floor(x) z, its derivative along v is 2 Floor(x) z v."""
    nodes = [
        helper.make_node("Floor", ["x"], ["f"]),
        helper.make_node("Mul", ["x", "x"], ["q"]),
        helper.make_node("Mul", ["q", "f"], ["p"]),
        helper.make_node("Mul", ["p", "z"], ["y"]),
        helper.make_node("Ceil", ["x"], ["c"]),
    ]
    loaded = of_model(model(nodes, {"x": ("float", [3]), "z": ("float", [3])}, ["y", "c"]))
    made = differentiated(loaded, derivative(loaded, "y", ["x"], cotangent=True, second=True)[0])
    x, z, v = (np.array(each, np.float32) for each in ([-1.3, 0.4, 2.6], [1.0, 2.0, -0.5], [0.3, -1.0, 2.0]))
    given = {"x": x, "z": z, "y:cotangent": np.ones(3, np.float32), "x:vector": v}
    found = dict(zip((each.name for each in made.graph.output), ran(made, given), strict=True))
    np.testing.assert_allclose(found["x:grad"], 2 * x * np.floor(x) * z, rtol=1e-6)
    np.testing.assert_allclose(found["x:hvp"], 2 * np.floor(x) * z * v, rtol=1e-6)
    with pytest.raises(Underivable, match="c does not depend on x differentiably: Ceil: it is flat between its steps"):
        derivative(loaded, "c", ["x"], cotangent=True)
    assert {each.name: each.reached for each in reach(loaded)}["x"]
