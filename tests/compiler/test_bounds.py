"""Which fields of a run are numbers of classes or rows, and of how many."""

from typing import Any

import pytest

from dlc.compiler.manifest import from_json
from dlc.compiler.products import manifest_of
from dlc.compiler.program import Program

TEXT = """data d {
  train = npz("train.npz")
  x: f32[4] = raw.x
  k: i64[] = raw.k
  small: u8[] = raw.small
  real: f32[] = raw.real
  known: bool[] = raw.known
  words: i64[5] = raw.words
  length: i64[] = raw.length
}
net n {
  input x: f32[B, 4], words: i64[B, T], small: u8[B], length: i64[B]
NET
  logits = x -> Linear(3)
  return logits
}
train n on d {
RUN
  optimizer = SGD(lr=0.1)
  batch  = 8
  epochs = 1
}
"""
NO_LOSS = "loss = l2(n)"


def bounds(run: str, net: str = "") -> dict[str, Any]:
    p = Program.of_text(TEXT.replace("NET", f"  {net}").replace("RUN", f"  {run}"))
    unit = p.evaluation("n")[0]
    manifest = from_json(manifest_of(p, unit, unit.graph).to_json())
    found: dict[str, Any] = manifest.extensions.get("x_bounds", {})
    return found


def test_the_place_is_that_of_the_use_without_folders() -> None:
    """So that the same text gives the same bytes wherever it lies."""
    text = TEXT.replace("NET", "").replace("RUN", "  loss = 2 * cross_entropy(logits, k)")
    found = Program.of_text(text, file="/some/where/n.net").evaluation("n")[0].bounds
    assert found == {"k": {"low": 0, "count": 3, "function": "cross_entropy", "at": "n.net:18:14"}}


@pytest.mark.parametrize(
    ("run", "low", "count", "function"),
    [
        ("loss = cross_entropy(logits, k)", 0, 3, "cross_entropy"),
        ("loss = cross_entropy(logits, k, smoothing=0.1, reduce=sum)", 0, 3, "cross_entropy"),
        ('loss = cross_entropy(logits, cast(small, "i64"))', 0, 3, "cross_entropy"),
        ("loss = cross_entropy(logits[:, none, :], k[:, none])", 0, 3, "cross_entropy"),
        (f"{NO_LOSS}\n  metrics {{ acc = accuracy(logits, k, k=2) }}", 0, 3, "accuracy"),
        ("loss = mse(logits, one_hot(k, 3))", 0, 3, "one_hot"),
        ("loss = sum(gather(logits, k))", 0, None, None),
        # A mask may leave out what is no class, but not what is not there.
        ("loss = cross_entropy(logits, k, mask=known)", -3, 3, "cross_entropy"),
        ("loss = mean(cross_entropy(logits, k, reduce=none), mask=known)", -3, 3, "cross_entropy"),
        # The least that any use asks for.
        ("loss = cross_entropy(logits, k) + mean(one_hot(k, 7))", 0, 3, "cross_entropy"),
        ("loss = mean(one_hot(k, 2)) + cross_entropy(logits, k)", 0, 2, "one_hot"),
    ],
)
def test_uses(run: str, low: int, count: int | None, function: str | None) -> None:
    found = bounds(run)
    if count is None:
        assert found == {}, "a count that only a run tells"
    else:
        (bound,) = found.values()
        assert (bound["low"], bound["count"], bound["function"]) == (low, count, function)


@pytest.mark.parametrize(
    "run",
    [
        "loss = cross_entropy(logits, k - 1)",
        "loss = cross_entropy(logits, where(k >= 0, k, 0))",
        'loss = cross_entropy(logits, cast(real, "i64"))',
        'loss = cross_entropy(logits, cast(cast(k, "bool"), "i64"))',
        "loss = mse(logits[:, 0], real)",
        "loss = binary_cross_entropy(logits[:, 0], known)",
        f"{NO_LOSS}\n  metrics {{ acc = accuracy(logits, k, mask=known) }}",
    ],
)
def test_what_is_no_field_by_itself_or_no_number_of_a_class(run: str) -> None:
    assert bounds(run) == {}


def test_a_table_has_rows() -> None:
    found = bounds(
        "loss = cross_entropy(logits, k)",
        'e = words -> Embedding(20, 4)\n  f = small -> cast("i64") -> Embedding(9, 2)',
    )
    assert {name: (each["low"], each["count"], each["function"]) for name, each in found.items()} == {
        "k": (0, 3, "cross_entropy"),
        "words": (0, 20, "gather"),
        "small": (0, 9, "gather"),
    }
    assert found["words"]["at"].endswith(":13:16")


def test_padding_is_no_row_but_must_be_there() -> None:
    found = bounds("loss = cross_entropy(logits, k)", "ragged T by length\n  e = words -> Embedding(20, 4)")
    assert (found["words"]["low"], found["k"]["low"]) == (-20, 0)
