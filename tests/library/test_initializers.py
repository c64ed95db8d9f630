"""What weights begin as: shapes, moments, orthogonality."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dlc.compiler.evaluate import evaluate
from dlc.compiler.program import Program
from dlc.dsl.diagnostics import SourceError

TEXT = """
data rows {{
  train = npz("rows.npz")
  x: f32[2] = raw.x
}}
net it {{
  input x: f32[B, 2]
  param w: f32[{shape}] = {init}
  y = mean(x) * mean(w)
  return y
}}
train it on rows {{
  loss = y
  optimizer = SGD(lr=1)
  batch = 4
}}
"""


def initial(init: str, *shape: int, seed: int = 0) -> Any:
    text = TEXT.format(shape=", ".join(map(str, shape)), init=init)
    return evaluate(Program.of_text(text).init("it").graph, {"seed": np.int64(seed)})["it.w"]


@pytest.mark.parametrize(
    "shape", [(8, 8), (64, 64), (5, 40), (40, 5), (1, 7), (12, 3, 3, 3), (64, 4, 3, 3), (300, 256)]
)
def test_orthogonal(shape: tuple[int, ...]) -> None:
    """The fewer of rows and columns, of the first axis against the others, have length 1 and are at right angles."""
    for seed in range(3):
        w = initial("orthogonal", *shape, seed=seed).astype(np.float64)
        assert w.shape == shape
        flat = w.reshape(shape[0], -1)
        gram = flat @ flat.T if flat.shape[0] <= flat.shape[1] else flat.T @ flat
        np.testing.assert_allclose(gram, np.eye(len(gram)), atol=2e-5)


def test_orthogonal_matrices_differ_and_have_no_direction() -> None:
    first, second = initial("orthogonal", 64, 64), initial("orthogonal", 64, 64, seed=1)
    assert np.abs(first - second).max() > 0.1
    assert abs(first.mean()) < 0.01 and np.square(first).mean() == pytest.approx(1 / 64, rel=1e-4)
    assert np.percentile(np.abs(first) * 8, 95) == pytest.approx(1.96, abs=0.15)  # elements are near to normal


def test_uniform_normal_and_numbers() -> None:
    u, n = initial("uniform(0.3)", 200, 200), initial("normal(0.02)", 200, 200)
    assert np.abs(u).max() == pytest.approx(0.3, rel=1e-3) and u.std() == pytest.approx(0.3 / np.sqrt(3), rel=0.01)
    assert n.std() == pytest.approx(0.02, rel=0.02) and abs(n.mean()) < 5e-4
    np.testing.assert_array_equal(initial("0.25", 3, 4), np.full((3, 4), 0.25, np.float32))
    np.testing.assert_array_equal(initial("constant([1, 2.5])", 2), np.array([1, 2.5], np.float32))
    np.testing.assert_array_equal(initial("ones", 3), np.ones(3, np.float32))


@pytest.mark.parametrize(
    ("shape", "inputs", "outputs"),
    [((300, 200), 300, 200), ((64, 32, 3, 3), 32 * 9, 64 * 9), ((40, 50, 25), 50 * 25, 40 * 25)],
)
def test_glorot_and_he_are_scaled_by_their_fans(shape: tuple[int, ...], inputs: int, outputs: int) -> None:
    """Rank 2 is [in, out], higher ranks are [out, in, kernel...]; glorot is uniform and he is normal."""
    for seed in range(2):
        g, h = (initial(init, *shape, seed=seed).astype(np.float64) for init in ("glorot", "he"))
        limit, deviation = np.sqrt(6 / (inputs + outputs)), np.sqrt(2 / inputs)
        assert limit * 0.999 < np.abs(g).max() <= limit
        for array, spread in ((g, limit / np.sqrt(3)), (h, deviation)):
            assert array.std() == pytest.approx(spread, rel=0.015)
            assert abs(array.mean()) < 4 * spread / np.sqrt(array.size)
        assert np.square(g / limit).std() == pytest.approx(np.sqrt(4 / 45), rel=0.02)  # fourth moments: flat,
        assert np.mean((h / deviation) ** 4) == pytest.approx(3, rel=0.1)  # and that of the normal


def test_each_weight_and_each_seed_draws_its_own_numbers() -> None:
    first = initial("he", 60, 60)
    np.testing.assert_array_equal(first, initial("he", 60, 60))
    assert abs(np.corrcoef(first.ravel(), initial("he", 60, 60, seed=1).ravel())[0, 1]) < 0.06
    text = TEXT.replace("mean(w)", "mean(w) * mean(v)").replace("  y =", "  param v: f32[60, 60] = he\n  y =")
    init = Program.of_text(text.format(shape="60, 60", init="he")).init("it")
    both = evaluate(init.graph, {"seed": np.int64(0)})
    np.testing.assert_array_equal(both["it.w"], first)
    assert abs(np.corrcoef(both["it.w"].ravel(), both["it.v"].ravel())[0, 1]) < 0.06


def test_a_weight_may_begin_as_the_first_batch() -> None:
    text = TEXT.replace("batch = 4", "batch = 1").replace("[B, 2]", "[1, 2]")
    init = Program.of_text(text.format(shape="1, 2", init="2 * x")).init("it")
    x = np.array([[3, -1]], np.float32)
    np.testing.assert_array_equal(evaluate(init.graph, {"seed": np.int64(0), "x": x})["it.w"], 2 * x)


@pytest.mark.parametrize("init", ["orthogonal", "glorot", "he"])
def test_a_vector_has_no_fans(init: str) -> None:
    with pytest.raises(SourceError, match="two axes or more"):
        initial(init, 5)
