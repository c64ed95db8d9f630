"""The keys of train sections: what is read of them, and what is said of wrong ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dlc.compiler.evaluate import evaluate
from dlc.compiler.passes import TRAINING, run
from dlc.compiler.program import Program
from dlc.dsl.diagnostics import Diagnostic, SourceError

TEXT = """data rows {
  train = npz("rows.npz")
  dev = holdout(train, 0.1)
  x: f32[4] = raw.x
  y: f32[] = raw.y
}
net it {
  input x: f32[B, 4]
  guess = x -> Linear(3) as inner -> Linear(1) -> squeeze(-1)
  return guess
}
train it on rows as first {
  loss = mse(guess, y)
  optimizer = SGD(lr=0.1)
  batch = 4
}
train it on rows {
  loss = mse(guess, y)
  optimizer = SGD(lr=0.1)
  batch = 4
  metrics { error = mean(abs(guess - y)) }
KEYS
}
"""
LINE = TEXT[: TEXT.index("KEYS")].count("\n") + 1


def settings(keys: str) -> dict[str, Any]:
    return dict(Program.of_text(TEXT.replace("KEYS", keys)).step("it").settings)


def problems(keys: str, text: str = TEXT) -> list[Diagnostic]:
    try:
        return list(Program.of_text(text.replace("KEYS", keys)).check())
    except SourceError as error:
        return list(error.diagnostics)


def test_keys_are_read_with_their_types() -> None:
    keys = """  keep = highest(dev.error)
  early_stop = patience(lowest(dev.loss), 5)
  clip_norm = 2
  seed = 0
  epochs = 3
  after = first
"""
    assert settings(keys) == {
        "batch": 4,
        "keep": {"direction": "highest", "split": "dev", "metric": "error"},
        "early_stop": {"direction": "lowest", "split": "dev", "metric": "loss", "patience": 5},
        "clip_norm": 2.0,
        "seed": 0,
        "epochs": 3,
        "after": "first",
    }
    assert isinstance(settings(keys)["clip_norm"], float)


def test_the_keys_of_a_group_scale_what_it_learns_by() -> None:
    group = "  group it.inner { lr_scale = 0.5 }"
    steps = [Program.of_text(TEXT.replace("KEYS", keys)).step("it", working="f64").graph for keys in ("", group)]
    rng = np.random.default_rng(0)
    feeds: dict[str, Any] = {}
    for value in steps[0].inputs:
        shape = [4 if str(dim) == "B" else dim for dim in value.shape]
        feeds[steps[0].names[value]] = rng.normal(size=shape)
    plain, grouped = (evaluate(run(graph, TRAINING), feeds) for graph in steps)
    for name in ("it.inner.weight", "it.inner.bias", "it.linear.weight", "it.linear.bias"):
        scale = 0.5 if "inner" in name else 1.0
        moved, usual = (results[f"{name}:next"] - feeds[name] for results in (grouped, plain))
        assert abs(usual).max() > 1e-6
        np.testing.assert_allclose(moved, scale * usual, rtol=1e-9)


@pytest.mark.parametrize(("keys", "code", "words", "label"), [
    ("  batch = 5", "E0202", "`batch` is given twice", ""),
    ("  loss = mean(guess)", "E0202", "`loss` is given twice", ""),
    ("  optimizer = SGD(lr=1)", "E0202", "`optimizer` is given twice", ""),
    ("  after = frist", "E0201", "no earlier run is called `frist`", "did you mean `first`?"),
    ("  after = it", "E0201", "no earlier run is called `it`", ""),
    ("  after = 3", "E0302", "`after` is the name of a run", ""),
    ("  precision = 16", "E0302", "`precision` is one of f32, bf16, f16", ""),
    ("  precision = f61", "E0303", "there is no precision `f61`", "did you mean `f16`?"),
    ("  keep = dev.error", "E0302", "`keep` wants a direction", None),
    ("  early_stop = 3", "E0302", "`early_stop` wants a patience", None),
    ("  clip_norm = 0", "E0303", "`clip_norm` is a positive number", None),
    ("  clip_value = true", "E0303", "`clip_value` is a positive number", None),
    ("  seed = -1", "E0303", "`seed` is an integer of 0 or more", None),
    ("  steps = 0", "E0303", "`steps` is an integer of 1 or more", None),
    ("  epochs = 1.5", "E0303", "`epochs` is an integer of 1 or more", None),
    ("  group { lr_scale = 0.1 }", "E0205", "a `group` says of which part", ""),
    ("  group it.innr { lr_scale = 0.1 }", "E0201", "nothing that owns weights is called `it.innr`",
     "did you mean `it.inner`?"),
    ("  group it.inner { lr_scael = 0.1 }", "E0207", "a group has no key `lr_scael`", "did you mean `lr_scale`?"),
    ("  group it.inner { lr_scale = -1 }", "E0303", "`lr_scale` of a group is a number of 0 or more", None),
    ("  group it.inner { weight_decay = true }", "E0303", "`weight_decay` of a group is a number of 0 or more", None),
])  # fmt: skip
def test_wrong_keys(keys: str, code: str, words: str, label: str | None) -> None:
    found = problems(keys)
    assert [each.code for each in found] == [code], found
    assert words in found[0].message
    assert label is None or found[0].primary.text == label
    assert found[0].primary.span.line == LINE


@pytest.mark.parametrize(("metric", "code", "words"), [
    ("loss = mean(guess)", "E0602", "a metric cannot be called `loss`"),
    ("error = mean(guess)", "E0202", "`error` is given twice"),
    ("rows = guess", "E0301", "a metric is one number"),
    ("best = argmax(guess, axis=0)", "E0301", "a metric is one number"),
])  # fmt: skip
def test_wrong_metrics(metric: str, code: str, words: str) -> None:
    found = problems("", TEXT.replace("error = mean(abs(guess - y)) }", f"error = mean(abs(guess - y))\n  {metric} }}"))
    assert [each.code for each in found] == [code], found
    assert words in found[0].message


def test_a_loss_is_one_number() -> None:
    found = problems("", TEXT.replace("KEYS", "").replace("loss = mse(guess, y)", "loss = square(guess - y)", 1))
    assert (found[0].code, found[0].help) == ("E0301", "take its `mean`")
    assert "a loss is one number" in found[0].message and "f32[B]" in found[0].primary.text


def test_a_precision_that_is_not_computed_is_a_warning() -> None:
    [warning] = problems("  precision = bf16")
    assert (warning.code, warning.severity) == ("W0405", "warning")
    assert problems("  precision = f32") == []


def test_a_part_without_a_name_of_its_own_is_pointed_at_with_a_warning() -> None:
    [warning] = problems("  group it.linear { lr_scale = 0.1 }")
    assert (warning.code, warning.severity, warning.help) == ("W0401", "warning", "name it with `as`")
    assert problems("  group it.inner { lr_scale = 0.1 }") == []
