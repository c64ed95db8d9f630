"""A net whose inputs fix the batch: there the picture itself can be the weight that learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dlc.compiler.program import Program
from dlc.dsl.diagnostics import SourceError
from dlc.runtime.checkpoint import Checkpoints
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


def test_another_batch_is_refused() -> None:
    with pytest.raises(SourceError, match="`n` takes 1 at a time") as caught:
        Program.of_text(TEXT.replace("batch = 1", "batch = 2")).check()
    assert caught.value.diagnostics[0].help == "write `batch = 1`"
