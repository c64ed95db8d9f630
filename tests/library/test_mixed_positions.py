"""Padded dimensions in functions that are no reductions by name: pools, statistics, unit vectors, the greatest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dlc.compiler.elaborate.entities import Builtin
from dlc.compiler.elaborate.kinds import signature
from dlc.compiler.elaborate.library import BUILTINS
from dlc.compiler.evaluate import evaluate
from dlc.compiler.passes import TRAINING, run
from dlc.compiler.program import Program
from dlc.dsl.diagnostics import Diagnostic, SourceError

NET = """net it {{
  input x: f32[B, 4, T], z: f32[B, 4, T, 6], n: i64[B]
  ragged T by n
  {body}
}}
"""
TRAIN = """data d {{
  train = npz("d.npz")
  x: f32[4, T] = raw.x
  t: f32[4, T] = raw.t
  n: i64[] = raw.n
}}
net it {{
  input x: f32[B, 4, T], n: i64[B]
  ragged T by n
  y = x -> {stage}
  return y
}}
train it on d {{
  loss = sum(y * t, mask=mask(T)[:, none, :])
  optimizer = SGD(lr=0.1)
  batch = 4
  epochs = 1
}}
"""
RNG = np.random.default_rng(0)
X, Z, N = RNG.normal(size=(3, 4, 5)), RNG.normal(size=(3, 4, 5, 6)), np.array([5, 2, 3])
REAL = (np.arange(5) < N[:, None])[:, None, :]
HELP = "`mask=mask(T)[:, none, :]`, or `mask=none` if padding should count"
MIXING = {
    "x -> global_avg_pool": "global_avg_pool",
    "x -> max_pool(2)": "max_pool",
    "x -> avg_pool(3, stride=1, pad=same)": "avg_pool",
    "x -> GroupNorm(2)": "GroupNorm",
    "l2_normalize(x)": "l2_normalize",
    "l2_normalize(x, axis=T)": "l2_normalize",
    "topk(x, 2)": "topk",
    "moments(x)": "moments",
    "mean(axis=2, x=x)": "mean",
    "x -> Pooled": "global_avg_pool",
}
POOLED = "block Pooled {\n  input x: f32[B, C, L]\n  return x -> global_avg_pool\n}\n"


def problem(text: str) -> Diagnostic:
    with pytest.raises(SourceError) as caught:
        Program.of_text(text).check()
    return caught.value.diagnostics[0]


def inference(body: str, weights: dict[str, Any], x: Any, z: Any, n: Any) -> Any:
    graph = Program.of_text(NET.format(body=f"return {body}")).net("it", working="f64").graph
    feeds = {**weights, "x": x, "z": z, "n": n}
    [result] = evaluate(graph, {name: feeds[name] for name in graph.input_names}).values()
    return result


def training(stage: str, x: Any) -> dict[str, Any]:
    graph = run(Program.of_text(TRAIN.format(stage=stage)).gradients("it", working="f64").graph, TRAINING,
                after="differentiate")  # fmt: skip
    part = "it.batch_norm."
    feeds = {part + "weight": np.ones(4) * 1.5, part + "bias": np.ones(4), part + "running_mean": np.zeros(4),
             part + "running_var": np.ones(4), "x": x, "t": np.cos(X), "n": N}  # fmt: skip
    return evaluate(graph, feeds)


@pytest.mark.parametrize("body", MIXING)
def test_what_mixes_padded_positions_has_to_say_what_it_means(body: str) -> None:
    found = problem(POOLED + NET.format(body=f"y = {body}\n  return x"))
    assert (found.code, found.message) == ("E0307", f"this {MIXING[body]} includes padding")
    assert (found.primary.text, found.help) == ("axis 2 is T", HELP)


def test_the_mask_has_the_rank_of_what_is_pooled() -> None:
    found = problem(NET.format(body="return z -> global_avg_pool"))
    assert found.help == "`mask=mask(T)[:, none, :, none]`, or `mask=none` if padding should count"


def test_what_a_pool_makes_of_a_padded_axis_is_padded() -> None:
    pooled = "x -> max_pool(2, mask=mask(T)[:, none, :]) -> max_pool(2)"
    assert problem(NET.format(body=f"return {pooled}")).code == "E0307"


def test_a_list_of_padded_tensors_is_padded() -> None:
    found = problem(NET.format(body="return mean([x, 2 * x])"))
    assert (found.code, found.message, found.primary.text) == ("E0307", "this mean includes padding", "axis 3 is T")
    assert Program.of_text(NET.format(body="return sum([x, 2 * x], axis=0)")).check() == ()


@pytest.mark.parametrize("body", [
    "x -> global_avg_pool(mask=none)", "x -> max_pool(2, mask=none)", "x -> avg_pool(2, mask=none)",
    "x -> GroupNorm(2, mask=none)", "l2_normalize(x, mask=none)", "topk(x, 2, mask=none)[0]",
    "moments(x, mask=none)[0]", "x -> BatchNorm(mask=none)",
])  # fmt: skip
def test_padding_counts_on_purpose(body: str) -> None:
    assert Program.of_text(NET.format(body=f"return {body}")).check() == ()


@pytest.mark.parametrize("body", [
    "z -> max_pool([1, 2])", "z -> avg_pool([1, 3], stride=[1, 3])", "l2_normalize(x, axis=1)",
    "topk(x, 2, axis=1)[0]", "moments(x, keep_axis=[0, 2])[0]", "x -> L2Norm", "x -> BatchNorm",
    'x -> rearrange("b c t -> b t c") -> LayerNorm', "z -> Conv(8, 3, pad=same)", "x[:, :, -1]",
])  # fmt: skip
def test_what_keeps_positions_apart_or_goes_by_place_says_nothing(body: str) -> None:
    """In inference BatchNorm goes by its running averages."""
    assert Program.of_text(NET.format(body=f"return {body}")).check() == ()


NORM = {"it.group_norm.weight": np.array([1.0, 2, 3, 4]), "it.group_norm.bias": np.array([0.5, 0, 1, 2])}
ALONE: dict[str, tuple[str, int]] = {
    "global": ("x -> global_avg_pool(mask=mask(T)[:, none, :])", 0),
    "max": ("x -> max_pool(2, mask=mask(T)[:, none, :])", 2),
    "max of one": ("x -> max_pool(1, mask=mask(T)[:, none, :])", 1),
    "avg": ("x -> avg_pool(2, mask=mask(T)[:, none, :])", 2),
    "groups": ("x -> GroupNorm(2, mask=mask(T)[:, none, :])", 1),
    "unit": ("l2_normalize(x, mask=mask(T)[:, none, :])", 1),
    "topk": ("topk(x, 2, mask=mask(T)[:, none, :])[0]", 0),
    "places": ("topk(x, 2, mask=mask(T)[:, none, :])[1]", 0),
    "mean": ("moments(x, keep_axis=0, mask=mask(T)[:, none, :])[0]", 0),
    "variance": ("moments(x, keep_axis=[0, 1], mask=mask(T)[:, none, :])[1]", 0),
    "planes": ("z -> global_avg_pool(mask=mask(T)[:, none, :, none])", 0),
}


@pytest.mark.parametrize("name", ALONE)
def test_each_row_is_what_it_is_without_padding(name: str) -> None:
    """Of results along T the first `length // step` belong to a row."""
    body, step = ALONE[name]
    spoilt = np.where(REAL, X, 1e3), np.where(REAL[..., None], Z, -1e3)
    together = inference(body, NORM, *spoilt, N)
    for row, length in enumerate(N):
        only = inference(body, NORM, X[row : row + 1, :, :length], Z[row : row + 1, :, :length], N[row : row + 1])
        found = together[row : row + 1, ..., : length // step] if step else together[row : row + 1]
        np.testing.assert_allclose(found, only, rtol=1e-9, err_msg=f"{length} real")


def test_a_window_holds_what_is_real_of_it() -> None:
    x = np.arange(1.0, 6).reshape(1, 1, 5).repeat(4, 1) * [[[-1.0]]]
    body = "x -> {}(2, stride=1, mask=mask(T)[:, none, :])"
    for pool, expected in (("max_pool", [-1, -2, -3, 0]), ("avg_pool", [-1.5, -2.5, -3, 0])):
        found = inference(body.format(pool), {}, x, Z[:1], np.array([3]))
        np.testing.assert_allclose(found[0, 0], expected, err_msg=pool)


def test_batch_norm_in_training_has_to_say_what_it_means() -> None:
    found = problem(TRAIN.format(stage="BatchNorm"))
    assert (found.code, found.message, found.help) == ("E0307", "this BatchNorm includes padding", HELP)
    assert found.primary.span.line == 10
    for said in ("mask(T)[:, none, :]", "none"):
        assert Program.of_text(TRAIN.format(stage=f"BatchNorm(mask={said})")).check() == ()


def test_the_statistics_of_a_batch_are_those_of_its_real_positions() -> None:
    found = training("BatchNorm(mask=mask(T)[:, none, :])", np.where(REAL, X, 1e3))
    rows = np.concatenate([X[row, :, :length] for row, length in enumerate(N)], axis=1)
    mean, variance, count = rows.mean(1), rows.var(1), rows.shape[1]
    normal = (X - mean[:, None]) / np.sqrt(variance + 1e-5)[:, None]
    np.testing.assert_allclose(found["loss"], ((1.5 * normal + 1) * np.cos(X) * REAL).sum(), rtol=1e-9)
    np.testing.assert_allclose(found["it.batch_norm.weight:grad"], (normal * np.cos(X) * REAL).sum((0, 2)), rtol=1e-8)
    np.testing.assert_allclose(found["it.batch_norm.running_mean:next"], 0.1 * mean, rtol=1e-9)
    unbiased = variance * count / (count - 1)
    np.testing.assert_allclose(found["it.batch_norm.running_var:next"], 0.9 + 0.1 * unbiased, rtol=1e-9)


APART = ("augment", "elementwise", "initializers", "lists", "masks", "padding", "pictures", "plateau", "positions",
         "random", "shape")  # fmt: skip
"""Files of the library whose functions keep positions apart, move them, or are about pictures and plain numbers."""
WITHOUT_MASK = {
    "convolve": "a kernel looks at neighbours by their place; one that looks back sees nothing that is padded",
    "convolve_transposed": "likewise",
    "einsum": "weights of a softmax are zero where it was masked",
    "rearrange": "moves positions",
    "lrn": "over channels",
    "layer_normalize": "over the last axis, of which a weight has the size",
    "per_channel": "keeps positions apart",
    "reshape_like": "moves positions",
    "take": "by place",
    "put": "by place",
    "only": "makes positions",
    "only_first": "makes positions",
    "l1": "of weights",
    "l2": "of weights",
}


def test_every_function_that_mixes_positions_has_a_mask_to_say() -> None:
    functions = [each for each in BUILTINS.values() if isinstance(each, Builtin)]
    for each in functions:
        assert (each.mixes is not None) == ("mask" in signature(each).known), each.name
    files = {each.name: each.call.__module__.split(".") for each in functions if each.mixes is None}
    assert {name for name, (*_, at, file) in files.items() if at == "library" and file not in APART} == {*WITHOUT_MASK}
