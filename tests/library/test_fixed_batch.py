"""A net whose inputs fix the batch: there the picture itself can be the weight that learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dlc.compiler.program import Program
from dlc.dsl.diagnostics import SourceError
from dlc.runtime.checkpoint import Checkpoints
from dlc.runtime.errors import InputError
from dlc.runtime.evaluate import evaluate
from dlc.runtime.report.display import Display
from dlc.runtime.train import Options, View, train

TEXT = """data d {
  train = npz("d.npz")
  image: f32[1, 4, 4] = raw.image
}

net n {
  input image: f32[1, 1, 4, 4]
  param canvas: f32[1, 1, 4, 4] = image
  return canvas
}

train n on d {
  loss = mse(n.canvas, 2 * image)
  optimizer = SGD(lr=2.0)
  batch = 1
  steps = 20
}
"""


def test_the_canvas_begins_as_the_picture_and_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLC_CACHE", str(tmp_path / "cache"))
    image = np.random.default_rng(0).normal(size=(1, 1, 4, 4)).astype(np.float32)
    np.savez(tmp_path / "d.npz", image=image)
    (tmp_path / "n.net").write_text(TEXT)
    program = Program.open(tmp_path / "n.net")
    assert str(program.step("n").graph.input("image").type) == "f32[1, 1, 4, 4]"
    view = View(lambda *args, **named: Display(*args, quiet=True, **named), lambda text: None)
    train(program, "n", tmp_path / "run", Options(device="cpu"), view)
    checkpoint = Checkpoints(tmp_path / "run").latest()
    assert checkpoint is not None
    # Each step goes a quarter of the way from the picture to twice the picture: 2/16 of 2 (canvas - 2 image).
    np.testing.assert_allclose(checkpoint.tensors["n.canvas"], image * (2 - 0.75**20), rtol=1e-4)


PAIRS = """data d {
  train = csv("d.csv")
  x: f32[2] = columns("a", "b")
  y: f32[] = raw.y
}

net n {
  input x: f32[4, 2]
  out = x -> Linear(1) -> squeeze(-1)
  return out
}

train n on d {
  loss = mse(out, y)
  optimizer = SGD(lr=0.1)
  batch = 4
  epochs = 2
}
"""


@pytest.mark.parametrize("examples", [4, 8, 10])
def test_only_a_split_of_one_batch_is_evaluated(
    examples: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several batches the metrics would be those of the last."""
    monkeypatch.setenv("DLC_CACHE", str(tmp_path / "cache"))
    rows = np.random.default_rng(0).normal(size=(examples, 3))
    np.savetxt(tmp_path / "d.csv", rows, delimiter=",", header="a,b,y", comments="")
    (tmp_path / "n.net").write_text(PAIRS)
    (tmp_path / "dev.net").write_text(PAIRS.replace("  x:", '  dev = csv("d.csv")\n  x:', 1))
    view = View(lambda *args, **named: Display(*args, quiet=True, **named), lambda text: None)
    options = Options(device="cpu")
    train(Program.open(tmp_path / "n.net"), "n", tmp_path / "run", options, view)
    if examples == 4:
        train(Program.open(tmp_path / "dev.net"), "n", tmp_path / "with-dev", options, view)
        out = evaluate(tmp_path / "run", "train", device="cpu")
        assert out.values["loss"] == pytest.approx(evaluate(tmp_path / "with-dev", "dev", device="cpu").values["loss"])
        return
    said = f"`n` takes 4 examples at a time, and the split {{}} has {examples}"
    with pytest.raises(InputError, match=said.format("train")) as caught:
        evaluate(tmp_path / "run", "train", device="cpu")
    assert caught.value.help is not None and "write `B` instead of 4" in caught.value.help
    with pytest.raises(InputError, match=said.format("dev")):
        train(Program.open(tmp_path / "dev.net"), "n", tmp_path / "with-dev", options, view)
    assert not (tmp_path / "with-dev").exists()


def test_another_batch_is_refused() -> None:
    with pytest.raises(SourceError, match="`n` takes 1 at a time") as caught:
        Program.of_text(TEXT.replace("batch = 1", "batch = 2")).check()
    assert caught.value.diagnostics[0].help == "write `batch = 1`"
