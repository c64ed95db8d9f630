"""A small program with its data, and one trained run of it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dlc.compiler.program import Program

TINY = """
let lr = 0.02

data points {
  train = csv("train.csv")
  dev   = holdout(train, 0.25)
  test  = csv("test.csv")

  x: f32[4] = columns("a", "b", "c", "d") -> standardize
  label: i64[]
}

net tiny {
  input x: f32[B, 4]
  logits = x -> Linear(16) -> tanh -> dropout(0.2) -> Linear(3)
  return logits
}

train tiny on points {
  loss = cross_entropy(logits, label)
  metrics { acc = accuracy(logits, label) }
  optimizer = Adam(lr=lr)
  batch  = 16
  epochs = 3
}
"""


def write_points(folder: Path, name: str, n: int, seed: int) -> None:
    """Points of four coordinates in three classes, as a .csv."""
    rng = np.random.default_rng(seed)
    x = rng.normal([0, 3, 0, -1], size=(n, 4))
    label = (x[:, 0] + x[:, 1] > 3).astype(int) + (x[:, 2] > 0.2)
    rows = [",".join([*(f"{v:.4f}" for v in row), str(c)]) for row, c in zip(x, label, strict=True)]
    (folder / f"{name}.csv").write_text("\n".join(["a,b,c,d,label", *rows]) + "\n")


@pytest.fixture
def points() -> Callable[[Path, str, int, int], None]:
    """points(folder, name, n, seed) writes a .csv of such data."""
    return write_points


@pytest.fixture
def tiny(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Program]:
    """tiny(("old", "new"), ..., lr="0.1"): the program in tmp_path, with texts replaced, beside its data.

    96 points, of which 72 train: 4 steps an epoch.
    """
    # Prepared data of tests does not belong into the user's cache.
    monkeypatch.setenv("DLC_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    write_points(tmp_path, "train", 96, seed=1)
    write_points(tmp_path, "test", 37, seed=2)

    def make(*changes: tuple[str, str], **lets: str) -> Program:
        text = TINY
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "tiny.net").write_text(text)
        return Program.open(tmp_path / "tiny.net", lets)

    return make
