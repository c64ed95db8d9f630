"""Padded dimensions, section 5.9: `ragged` makes a mask, and every reduction over padding has to say what it means."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dlc.compiler.evaluate import evaluate
from dlc.compiler.passes import TRAINING, run
from dlc.compiler.program import Program
from dlc.dsl.diagnostics import Diagnostic, SourceError

NET = """net it {{
  input x: f32[B, T, 4], n: i64[B]
  ragged T by n
  {body}
}}
"""
TRAIN = """data d {{
  train = npz("d.npz")
  x: f32[T, 4] = raw.x
  y: i64[T] = raw.y
  z: f32[T] = raw.z
  n: i64[] = raw.n
}}
net it {{
  input x: f32[B, T, 4], n: i64[B]
  ragged T by n
  logits = x -> Linear(5)
  return logits
}}
train it on d {{
  loss = {loss}
  metrics {{ it = {metric} }}
  optimizer = SGD(lr=0.1)
  batch = 4
  epochs = 1
}}
"""
RNG = np.random.default_rng(0)
X, N = RNG.normal(size=(3, 5, 4)), np.array([5, 2, 3])
REAL = np.arange(5) < N[:, None]
MASK = REAL[:, :, None] & np.ones(4, bool)


def value(body: str) -> Any:
    graph = Program.of_text(NET.format(body=f"return {body}")).net("it", working="f64").graph
    [result] = evaluate(graph, {"x": X, "n": N}).values()
    return result


def problem(text: str) -> Diagnostic:
    with pytest.raises(SourceError) as caught:
        Program.of_text(text).check()
    return caught.value.diagnostics[0]


SAID: dict[str, tuple[str, Any]] = {
    "mask": ("mask(T)", REAL),
    "mean": ("mean(x, axis=1, mask=mask(T)[:, :, none])", (X * MASK).sum(1) / N[:, None]),
    "on purpose": ("mean(x, axis=1, mask=none)", X.mean(1)),
    "by name": ("sum(x, axis=T, mask=mask(T)[:, :, none])", (X * MASK).sum(1)),
    "whole": ("sum(x, mask=mask(T)[:, :, none])", (X * MASK).sum()),
    "another axis": ("mean(x, axis=-1)", X.mean(-1)),
    "max": ("max(x, axis=1, mask=mask(T)[:, :, none])", np.where(MASK, X, -np.inf).max(1)),
    "argmax": ("argmax(x, axis=1, mask=mask(T)[:, :, none])", np.where(MASK, X, -np.inf).argmax(1)),
    "softmax": ("softmax(x, axis=1, mask=mask(T)[:, :, none])",
                np.where(MASK, np.exp(X), 0) / np.where(MASK, np.exp(X), 0).sum(1, keepdims=True)),
    "logsumexp": ("logsumexp(x, axis=1, mask=mask(T)[:, :, none])", np.log(np.where(MASK, np.exp(X), 0).sum(1))),
    "all": ("all(x > -0.5, axis=1, mask=mask(T)[:, :, none])", ((X > -0.5) | ~MASK).all(1)),
    "any": ("any(x > 1, axis=1, mask=mask(T)[:, :, none])", ((X > 1) & MASK).any(1)),
    "chain": ("x -> relu -> mean(axis=1, mask=mask(T)[:, :, none])", (np.maximum(X, 0) * MASK).sum(1) / N[:, None]),
}  # fmt: skip


@pytest.mark.parametrize("name", SAID)
def test_what_is_said_is_computed(name: str) -> None:
    body, expected = SAID[name]
    np.testing.assert_allclose(value(body), expected, rtol=1e-12)


@pytest.mark.parametrize(
    "body",
    ["mean(x, axis=1)", "mean(x)", "sum(x, axis=T)", "max(x, axis=1)", "min(x, axis=1)", "argmax(x, axis=1)",
     "argmin(x, axis=1)", "softmax(x, axis=1)", "log_softmax(x, axis=1)", "logsumexp(x, axis=1)",
     "all(x > 0, axis=1)", "any(x > 0)", "x -> relu -> mean(axis=1)", "mse(x, 2 * x)"],
)  # fmt: skip
def test_a_reduction_over_padding_has_to_say_what_it_means(body: str) -> None:
    found = problem(NET.format(body=f"return {body}"))
    assert (found.code, found.primary.text) == ("E0307", "axis 1 is T")
    assert found.help == "`mask=mask(T)[:, :, none]`, or `mask=none` if padding should count"


MADE_OF_IT = {
    "sum(x[:, 1:], axis=1)": "axis 1 is T - 1",
    "max(x[:, ::2], axis=1)": "axis 1 is",
    "mean(concat([x, x], axis=1), axis=1)": "axis 1 is 2*T",
    "softmax(concat([x, x[:, 1:]], axis=1), axis=1)": "axis 1 is 2*T - 1",
    'rearrange(x, "b t d -> (b t) d") -> mean(axis=0)': "axis 0 is B*T",
    'rearrange(x, "b t d -> b (t d)") -> sum(axis=1)': "axis 1 is 4*T",
}


@pytest.mark.parametrize("body", MADE_OF_IT)
def test_what_is_made_of_a_padded_dimension_is_padded(body: str) -> None:
    found = problem(NET.format(body=f"return {body}"))
    assert found.code == "E0307" and found.primary.text.startswith(MADE_OF_IT[body])
    assert found.help == (
        "a mask made of `mask(T)` by what made this axis, for example the same slice, "
        "or `mask=none` if padding should count"
    )
    assert Program.of_text(NET.format(body=f"return {body[:-1]}, mask=none)")).check() == ()


SAID_SO: dict[str, tuple[str, Any]] = {
    "slice": ("sum(x[:, 1:], axis=1, mask=mask(T)[:, 1:, none])", (X * MASK)[:, 1:].sum(1)),
    "stride": ("sum(x[:, ::2], axis=1, mask=mask(T)[:, ::2, none])", (X * MASK)[:, ::2].sum(1)),
    "twice": ("m = concat([mask(T), mask(T)], axis=1)\n  "
              "return sum(concat([x, x], axis=1), axis=1, mask=m[:, :, none])",
              2 * (X * MASK).sum(1)),
    "rows": ('m = rearrange(mask(T), "b t -> (b t)")\n  '
             'return rearrange(x, "b t d -> (b t) d") -> mean(axis=0, mask=m[:, none])', X[REAL].mean(0)),
    "last": ("rearrange(x, \"b t d -> b d t\") -> sum(axis=2, mask=mask(T)[:, none, :])", (X * MASK).sum(1)),
}  # fmt: skip


@pytest.mark.parametrize("name", SAID_SO)
def test_a_mask_is_made_as_the_tensor_was(name: str) -> None:
    body, expected = SAID_SO[name]
    text = NET.format(body=body if "return" in body else f"return {body}")
    [found] = evaluate(Program.of_text(text).net("it", working="f64").graph, {"x": X, "n": N}).values()
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_help_masks_the_axis_that_is_reduced() -> None:
    found = problem(NET.format(body='return rearrange(x, "b t d -> b d t") -> sum(axis=2)'))
    assert found.help == "`mask=mask(T)[:, none, :]`, or `mask=none` if padding should count"


KNOWN = """block Pool {{
  input x: f32[B, N, D]
  return mean(x, axis=N, mask=mask(N)[:, :, none])
}}
net it {{
  input x: f32[B, T, 4], n: i64[B], m: i64[B]
  ragged T by n
  {body}
}}
net whole {{
  input x: f32[B, 5, 4], n: i64[B], m: i64[B]
  y = it(x, n, m)
  return y
}}
"""
POOLED = (X * MASK).sum(1) / N[:, None]


@pytest.mark.parametrize("body", ["mean(x, axis=T, mask=mask(T)[:, :, none])", "x -> Pool"])
def test_a_padded_dimension_of_known_size_has_its_mask(body: str) -> None:
    graph = Program.of_text(KNOWN.format(body=f"return {body}")).net("whole", working="f64").graph
    [found] = evaluate(graph, {"x": X, "n": N, "m": N[::-1]}).values()
    np.testing.assert_allclose(found, POOLED, rtol=1e-12)


def test_padded_dimensions_of_one_known_size_are_told_apart_by_their_names() -> None:
    two = KNOWN.format(body="ragged S by m\n  return {body}")
    two = two.replace("x: f32[B, T, 4], n", "x: f32[B, T, 4], z: f32[B, S], n")
    two = two.replace("y = it(x, n, m)", "y = it(x, x[:, :, 0], n, m)")
    graph = Program.of_text(two.replace("{body}", "sum(z, axis=S, mask=mask(S))")).net("whole", working="f64").graph
    [found] = evaluate(graph, {"x": X, "n": N, "m": N[::-1]}).values()
    np.testing.assert_allclose(found, (X[:, :, 0] * (np.arange(5) < N[::-1][:, None])).sum(1), rtol=1e-12)
    lost = problem(two.replace("{body}", "x -> Pool"))
    assert lost.code == "E0305" and "make the mask where they have these names" in lost.notes[1]


def test_one_dimension_has_one_length() -> None:
    text = KNOWN.format(body="ragged S by m\n  return sum(z, axis=S, mask=mask(S))").replace("5, 4", "R, 4")
    text = text.replace("x: f32[B, T, 4], n", "x: f32[B, T, 4], z: f32[B, S], n")
    found = problem(text.replace("y = it(x, n, m)", "y = it(x, x[:, :, 0], n, m)"))
    assert (found.code, found.primary.text) == ("E0305", "both are R")
    assert found.message == "`T` and `S` are one dimension here, with two lengths"


def test_the_batch_is_no_dimension_of_a_field() -> None:
    found = problem(TRAIN.format(loss="mse(logits, logits)", metric="loss").replace("y: i64[T]", "y: i64[B]"))
    assert found.code == "E0602" and found.message.startswith("a field has no dimension `B`")


LOSSES = {
    "cross_entropy(logits, y)": "cross_entropy",
    "mse(logits[:, :, 0], z)": "mse",
    "mae(logits[:, :, 0], z)": "mae",
    "smooth_l1(logits[:, :, 0], z, beta=2)": "smooth_l1",
    "binary_cross_entropy(logits[:, :, 0], z, reduce=sum)": "binary_cross_entropy",
    "focal(logits[:, :, 0], z)": "focal",
    "kl(logits, softmax(logits))": "kl",
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_over_padding_has_to_say_what_it_means(loss: str) -> None:
    name = LOSSES[loss]
    found = problem(TRAIN.format(loss=loss, metric="mean(logits[:, 0])"))
    assert (found.code, found.message) == ("E0307", f"this {name} includes padding")
    assert found.help == "`mask=mask(T)`, or `mask=none` if padding should count"
    for said in ("mask=mask(T)", "mask=none"):
        assert Program.of_text(TRAIN.format(loss=f"{loss[:-1]}, {said})", metric="mean(logits[:, 0])")).check() == ()
    each = f"{loss[:-1].replace(', reduce=sum', '')}, reduce=none) -> mean(mask=mask(T))"
    assert Program.of_text(TRAIN.format(loss=each, metric="mean(logits[:, 0])")).check() == ()


def test_a_metric_over_padding_has_to_say_what_it_means() -> None:
    loss = "cross_entropy(logits, y, mask=mask(T))"
    assert problem(TRAIN.format(loss=loss, metric="accuracy(logits, y)")).code == "E0307"
    assert Program.of_text(TRAIN.format(loss=loss, metric="accuracy(logits, y, mask=mask(T))")).check() == ()


def test_padding_is_not_learnt_from() -> None:
    text = TRAIN.format(loss="cross_entropy(logits, y, mask=mask(T))", metric="accuracy(logits, y, mask=mask(T))")
    graph = run(Program.of_text(text).gradients("it", working="f64").graph, TRAINING, after="differentiate")
    feeds = {
        "x": X, "n": N, "y": RNG.integers(0, 5, (3, 5)), "it.linear.weight": RNG.normal(size=(4, 5)),
        "it.linear.bias": np.zeros(5),
    }  # fmt: skip
    found = evaluate(graph, feeds)
    spoilt = np.where(MASK, X, 1e3)
    other = evaluate(graph, {**feeds, "x": spoilt, "y": np.where(REAL, feeds["y"], 4 - feeds["y"])})
    for name in ("loss", "it.linear.weight:grad", "it.linear.bias:grad"):
        np.testing.assert_allclose(other[name], found[name], rtol=1e-12)


def test_partial_batches_weigh_the_positions_that_they_hold() -> None:
    """Sums and counts over a split in two batches of different lengths are those of all its real positions."""
    text = TRAIN.format(loss="cross_entropy(logits, y, mask=mask(T))", metric="accuracy(logits, y, mask=mask(T))")
    unit, report = Program.of_text(text).evaluation("it")
    weights = {"it.linear.weight": RNG.normal(size=(4, 5)).astype(np.float32), "it.linear.bias": np.ones(5, np.float32)}
    totals: dict[str, Any] = {}
    losses, hits = [], []
    for rows, lengths in ((3, [5, 2, 3]), (2, [1, 4])):
        size = max(lengths)
        x, y = RNG.normal(size=(rows, size, 4)).astype(np.float32), RNG.integers(0, 5, (rows, size))
        n = np.array(lengths)
        feeds = {**weights, "x": x, "y": y, "n": n, "z": np.zeros((rows, size), np.float32)}
        outputs = evaluate(unit.graph, {name: feeds[name] for name in unit.graph.input_names})
        totals = {name: totals.get(name, 0) + np.float64(each) for name, each in outputs.items()}
        logits = x @ weights["it.linear.weight"] + 1
        logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        for row in range(rows):
            for at in range(lengths[row]):
                losses.append(-logs[row, at, y[row, at]])
                hits.append(logits[row, at].argmax() == y[row, at])
    found = evaluate(report.graph, {name: np.float64(totals[name]) for name in report.graph.input_names})
    assert found["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert found["it"] == pytest.approx(np.mean(hits), rel=1e-6)


@pytest.mark.parametrize(("line", "code"), [
    ("ragged Q by n", "E0305"), ("ragged T by x", "E0302"), ("ragged T by nowhere", "E0201"),
])  # fmt: skip
def test_wrong_declarations(line: str, code: str) -> None:
    assert problem(NET.format(body="return x").replace("ragged T by n", line)).code == code


def test_a_mask_is_that_of_a_padded_dimension() -> None:
    found = problem(NET.format(body="return mask(T)").replace("  ragged T by n\n", ""))
    assert found.code == "E0305" and "`ragged T by length` says it" in found.notes[0]


@pytest.mark.parametrize("size", ["T", "B * T", "size(z, 1)"])
def test_a_padded_size_of_a_batch_does_not_tell_that_of_the_split(size: str) -> None:
    loss = "cross_entropy(logits, y, mask=mask(T))"
    found = problem(TRAIN.format(loss=loss, metric=f"sum(z, mask=mask(T)) / ({size})"))
    assert found.code == "E0303" and "does not tell that of the split" in found.primary.text
    assert "`sum(mask(T), mask=none)`" in str(found.help)
    real = TRAIN.format(loss=loss, metric="sum(z, mask=mask(T)) / sum(mask(T), mask=none)")
    assert Program.of_text(real).check() == ()
