"""Assertions about sizes that only a run tells, in training, in what is exported, and in what people read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dlc.compiler.program import Program
from dlc.runtime.errors import RunError
from dlc.runtime.export import export
from dlc.runtime.predict import run_model
from dlc.runtime.report.display import Display
from dlc.runtime.train import Options, View, train

TEXT = """data d {
  train = npz("d.npz")
  dev = holdout(train, 4)
  image: f32[1, 8, 12] = raw.image
}
net halved {
  input image: f32[B, 1, H, W]
  assert H % 4 == 0 and W % 4 == 0, "sizes are multiples of 4"
  assert B % 2 == 0
  half = image -> Conv(3, 3, stride=2, pad=1) -> relu
  whole = half -> ConvTranspose(1, 2, stride=2)
  return whole
}
train halved on d {
  loss = mse(whole, image)
  optimizer = SGD(0.1)
  batch = 4
  epochs = 2
}
"""


def trained(folder: Path, text: str = TEXT) -> Path:
    np.savez(folder / "d.npz", image=np.random.default_rng(0).normal(size=(16, 1, 8, 12)).astype(np.float32))
    (folder / "halved.net").write_text(text)
    view = View(lambda *args, **named: Display(*args, quiet=True, **named))
    train(Program.open(folder / "halved.net"), "halved", folder / "run", Options(device="cpu"), view)
    return folder / "run"


def test_a_trained_net_is_exported_with_the_sizes_of_its_data(tmp_path: Path) -> None:
    folder = trained(tmp_path)
    image = tmp_path / "image.npy"
    np.save(image, np.random.default_rng(1).normal(size=(2, 1, 8, 12)).astype(np.float32))
    whole, raw = export(folder, tmp_path / "whole.onnx"), export(folder, tmp_path / "raw.onnx", raw=True)
    assert whole.inputs == {"image": "f32[B, 1, 8, 12]"} and raw.inputs == {"image": "f32[B, 1, H, W]"}
    found = [run_model(each.path, {"image": str(image)}).outputs["whole"] for each in (whole, raw)]
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


def test_a_run_says_which_assertion_does_not_hold(tmp_path: Path) -> None:
    raw = export(trained(tmp_path), tmp_path / "raw.onnx", raw=True)
    np.save(tmp_path / "odd.npy", np.zeros((2, 1, 6, 8), np.float32))
    words = r"the assertion H % 4 == 0 \(sizes are multiples of 4\) does not hold: halved.image is \[2, 1, 6, 8\]$"
    with pytest.raises(RunError, match=words):
        run_model(raw.path, {"image": str(tmp_path / "odd.npy")})


def test_training_says_which_assertion_does_not_hold(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"the assertion B % 2 == 0 does not hold: halved.image is \[3, 1, 8, 12\]"):
        trained(tmp_path, TEXT.replace("batch = 4", "batch = 3"))
