"""Losses and metrics of a whole split are those that numpy makes of all its rows at once, whatever the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dlc.compiler.evaluate import evaluate
from dlc.compiler.passes import TRAINING, run
from dlc.compiler.program import Program
from dlc.compiler.unit import Unit
from dlc.dsl.diagnostics import Diagnostic, SourceError

TEXT = """data d {
  train = npz("d.npz")
  x: f32[4] = raw.x
  t: f32[2] = raw.t
  k: i64[]  = raw.k
}
BEFORE
net it {
  input x: f32[B, 4]
  BODY
  return y
}
train it on d {
  LOSS
  metrics { it = METRIC }
  optimizer = SGD(lr=0.1)
  batch = 8
  epochs = 1
}
"""
ROWS = 23
BATCHES = (1, 4, 8, 22, 23, 50)
RNG = np.random.default_rng(5)
W = RNG.normal(size=(4, 2)).astype(np.float32)
X, T, K = RNG.normal(size=(ROWS, 4)), RNG.normal(size=(ROWS, 2)) + 1, RNG.integers(0, 3, ROWS)
Y = X @ W
FIELDS: dict[str, Any] = {"x": X.astype(np.float32), "t": T.astype(np.float32), "k": K}
MSE = "loss = mse(y, t)"
LINEAR = "y = x -> Linear(2, bias=false)"


def program(metric: str = "loss", loss: str = MSE, body: str = LINEAR, before: str = "") -> Program:
    text = TEXT.replace("METRIC", metric).replace("LOSS", loss).replace("BODY", body).replace("BEFORE", before)
    return Program.of_text(text)


def over_split(units: tuple[Unit, Unit], batch: int) -> dict[str, float]:
    """The loss and metrics of the split in batches, as a host adds them up: the last batch holds what is left."""
    unit, report = units
    sums: dict[str, Any] = {}
    for start in range(0, ROWS, batch):
        fed = {name: each[start : start + batch] for name, each in FIELDS.items()} | {"it.linear.weight": W}
        for name, each in evaluate(unit.graph, {name: fed[name] for name in unit.graph.input_names}).items():
            exact = np.float64(each)
            sums[name] = exact if name in unit.constants else sums.get(name, 0.0) + exact
    made = evaluate(report.graph, {name: np.asarray(sums[name]) for name in report.graph.input_names})
    return {name: float(each) for name, each in made.items()}


def r2() -> float:
    return float(1 - np.square(Y - T).mean() / np.square(T - T.mean()).mean())


METRICS: dict[str, Callable[[], Any]] = {
    "float(B)": lambda: 23,
    "float(size(t, 0))": lambda: 23,
    "sum(square(y - t)) / B": lambda: np.square(Y - T).sum() / ROWS,
    "sum(square(y - t)) / size(t, 0)": lambda: np.square(Y - T).sum() / ROWS,
    "sum(square(y - t)) / (2 * B)": lambda: np.square(Y - T).sum() / 46,
    "sum(square(y - t)) / size(reshape(t, [2 * B]), 0)": lambda: np.square(Y - T).mean(),
    "sum(y) / float(3 * B * B - 2 * B + 1)": lambda: Y.sum() / (3 * 23**2 - 2 * 23 + 1),
    "sqrt(sum(square(y - t)) / (B - 1))": lambda: np.sqrt(np.square(Y - T).sum() / 22),
    "mean(y) + 1 / B": lambda: Y.mean() + 1 / 23,
    "mean(sum(y, axis=0) / B)": lambda: Y.mean(),
    "B * l2(it)": lambda: 23 * np.square(W).sum(),
    "float(maximum(sum(k), B))": lambda: max(K.sum(), 23),
    "float(sum(k) // 4)": lambda: K.sum() // 4,
    "sum(y) / float(maximum(sum(k), 1))": lambda: Y.sum() / K.sum(),
    "mean(square(t)) - square(mean(t))": lambda: T.var(),
    "1 - mean(square(y - t)) / (mean(square(t)) - square(mean(t)))": r2,
    "sum(mean(square(t), axis=0) - square(mean(t, axis=0)))": lambda: T.var(0).sum(),
}


@pytest.mark.parametrize("metric", METRICS)
def test_a_metric_is_that_of_all_rows_at_once(metric: str) -> None:
    units = program(metric).evaluation("it")
    for batch in BATCHES:
        found = over_split(units, batch)
        assert found["it"] == pytest.approx(float(METRICS[metric]()), rel=2e-5), batch
        assert found["loss"] == pytest.approx(np.square(Y - T).mean(), rel=2e-5), batch


def test_a_loss_is_that_of_all_rows_and_a_step_that_of_its_batch() -> None:
    made = program(loss="n = float(B)\n  loss = sum(square(y - t)) / n")
    units = made.evaluation("it")
    for batch in BATCHES:
        assert over_split(units, batch)["loss"] == pytest.approx(np.square(Y - T).sum() / ROWS, rel=2e-5), batch
    graph = run(made.step("it").graph, TRAINING)
    fed = {name: each[:7] for name, each in FIELDS.items()} | {"it.linear.weight": W}
    found = evaluate(graph, {name: fed.get(name, np.int64(0)) for name in graph.input_names})
    assert found["loss"] == pytest.approx(np.square(Y[:7] - T[:7]).sum() / 7, rel=2e-5)


def refused(made: Program) -> Diagnostic:
    with pytest.raises(SourceError) as caught:
        made.check()
    [found] = caught.value.diagnostics
    return found


def place(found: Diagnostic, text: str) -> str:
    """The text that a diagnostic points at."""
    where = found.primary.span
    return text.splitlines()[where.line - 1][where.column - 1 : where.end_column - 1]


NESTED = {
    "mean(square(t - mean(t)))": "mean(t)",
    "1 - mean(square(y - t)) / mean(square(t - mean(t, axis=0)))": "mean(t, axis=0)",
    "mean(t / max(t))": "max(t)",
    "sum(y - t[0])": "t[0]",
    "mean(y @ (transpose(t) @ y))": "transpose(t) @ y",
    "mean(y / B)": "y / B",
    "mean(y * (2 / size(t, 0)))": "y * (2 / size(t, 0))",
    "mean(where(k < B, 1.0, 0.0))": "k < B",
}


@pytest.mark.parametrize("metric", NESTED)
def test_what_mixes_examples_inside_a_reduction_is_refused_where_it_stands(metric: str) -> None:
    line = f"  metrics {{ it = {metric} }}"
    found = refused(program(metric))
    assert found.code == "E0303" and "batch" in found.message and "inside a reduction" in found.primary.text
    assert place(found, "\n" * (found.primary.span.line - 1) + line) == NESTED[metric]
    assert refused(program(loss=f"loss = mse(y, t) + 0.1 * {metric}")).code == "E0303"


def test_the_help_says_what_to_write_instead() -> None:
    assert "`mean(square(t)) - square(mean(t))`" in str(refused(program("mean(square(t - mean(t)))")).help)
    assert "`sum(x) / B`" in str(refused(program("mean(y / B)")).help)
    assert "variance" not in str(refused(program("sum(y - t[0])")).help)


def test_a_reduction_is_outermost_in_one_metric_and_nested_in_another() -> None:
    assert refused(program("mean(t) + mean(square(t - mean(t)))")).code == "E0303"


def test_a_function_of_the_text_is_refused_where_it_mixes() -> None:
    before = "fn spread(a: f32[...]) {\n  return mean(square(a - mean(a)))\n}"
    found = refused(program("spread(t)", before=before))
    assert (found.code, found.primary.span.line) == ("E0303", 8)


def test_sizes_that_batches_do_not_tell_are_refused() -> None:
    found = refused(program("float(B // 2)"))
    assert (found.code, found.primary.text) == ("E0303", "B//2 of the batches does not tell that of the split")


MIXING = {
    "mean": "y = (x - mean(x, axis=0)) -> Linear(2, bias=false)",
    "size": "y = (x * (1.0 / B)) -> Linear(2, bias=false)",
    "softmax": "y = softmax(x, axis=0) -> Linear(2, bias=false)",
    "pairs": "y = softmax(x @ transpose(x)) @ x -> Linear(2, bias=false)",
}


@pytest.mark.parametrize("how", MIXING)
def test_a_net_that_mixes_examples_in_use_is_warned_of(how: str) -> None:
    [warning] = program(body=MIXING[how]).check()
    assert (warning.code, warning.severity, warning.primary.span.line) == ("W0406", "warning", 10)


def test_a_loss_that_compares_the_examples_of_a_batch_is_warned_of() -> None:
    [warning] = program(loss="loss = cross_entropy(y @ transpose(t), argmax(y @ transpose(y)))").check()
    assert (warning.code, warning.primary.span.line) == ("W0406", 14)


@pytest.mark.parametrize("metric", ["mean(y[1:] - y[:-1])", "sum(abs(t[:-2] * 2))"])
def test_neighbours_in_a_batch_are_warned_of(metric: str) -> None:
    [warning] = program(metric).check()
    assert (warning.code, warning.primary.span.line) == ("W0406", 15)


def test_what_keeps_examples_apart_is_not_warned_of() -> None:
    body = "z = x -> BatchNorm -> LayerNorm\n  y = softmax(z, axis=1) -> Linear(2, bias=false)"
    assert program("accuracy(y, k)", body=body).check() == ()
    assert program('mean(rearrange(y, "b c -> (b c)")) + mean(concat([y, t], axis=0))').check() == ()
