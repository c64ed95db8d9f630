"""Nets with padded dimensions are trained: on data whose size a name stands for, and on data that says the size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlc.compiler.program import Program
from dlc.runtime.checkpoint import load_tensors
from dlc.runtime.compiled import Compiled
from dlc.runtime.data import DataError, Dataset, batches, prepare
from dlc.runtime.data.sheet import sheet
from dlc.runtime.evaluate import evaluate
from dlc.runtime.export import export
from dlc.runtime.report.display import Display
from dlc.runtime.session import open_session
from dlc.runtime.start import initialized
from dlc.runtime.train import Options, View, resume, train

BATCH, LR = 16, 0.5
TEXT = """
data d {
  train = npz("train.npz")
  dev = npz("dev.npz")
  words: i64[SIZE] = raw.words
  tag: i64[SIZE] = raw.tag
  length: i64[] = raw.length
}
net t {
  input words: i64[B, S], length: i64[B]
  ragged S by length
  h = words -> Embedding(20, 5)
  pooled = mean(h, axis=S, mask=mask(S)[:, :, none])
  logits = h + pooled[:, none, :] -> Linear(3)
  return logits
}
train t on d {
  loss = cross_entropy(logits, tag, mask=mask(S))
  metrics { acc = accuracy(logits, tag, mask=mask(S)) }
  optimizer = SGD(lr=0.5)
  batch = 16
  epochs = 2
}
"""
QUIET = View(lambda *args, **named: Display(*args, quiet=True, **named))


def write(path: Path, n: int, size: int, tags: int | None = None) -> None:
    rng = np.random.default_rng(n)
    words, length = rng.integers(0, 20, (n, size)), rng.integers(1, size + 1, n)
    np.savez(path, words=words, tag=(words % 3)[:, : tags or size], length=length)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    write(tmp_path / "train.npz", 64, 12)
    write(tmp_path / "dev.npz", 21, 9)
    return tmp_path


def program(folder: Path, size: str, *changes: tuple[str, str]) -> Program:
    text = TEXT.replace("SIZE", size)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file = folder / f"{size}.net"
    file.write_text(text)
    return Program.open(file)


NO_DEV = ('  dev = npz("dev.npz")\n', "")


def data_of(compiled: Compiled, split: str = "train") -> Dataset:
    return prepare(compiled.plan, compiled.file("d.prepare.onnx"), None, compiled.folder, splits=[split])


def forward(weights: dict[str, Any], words: Any, length: Any) -> tuple[Any, Any, Any]:
    """The real positions, what the last layer sees, and the probabilities."""
    real = np.arange(words.shape[1]) < length[:, None]
    h = weights["t.embedding.table"][words]
    pooled = (h * real[:, :, None]).sum(1) / length[:, None]
    seen = h + pooled[:, None]
    logits = seen @ weights["t.linear.weight"] + weights["t.linear.bias"]
    powers = np.exp(logits)
    return real, seen, powers / powers.sum(-1, keepdims=True)


def stepped(weights: dict[str, Any], words: Any, tag: Any, length: Any) -> dict[str, Any]:
    """The weights after a step of gradient descent on the real positions."""
    real, seen, likely = forward(weights, words, length)
    error = (likely - np.eye(3)[tag]) * real[:, :, None] / real.sum()
    back = error @ weights["t.linear.weight"].T
    embedded = back + real[:, :, None] * (back.sum(1) / length[:, None])[:, None]
    table = np.zeros((20, 5))
    np.add.at(table, words, embedded)
    gradients = {
        "t.embedding.table": table,
        "t.linear.weight": np.einsum("btd,btc->dc", seen, error),
        "t.linear.bias": error.sum((0, 1)),
    }
    return {name: weights[name] - LR * gradient for name, gradient in gradients.items()}


@pytest.mark.parametrize("size", ["T", "12"])
def test_a_step_is_the_one_of_numpy(made: Path, size: str) -> None:
    opened = program(made, size, NO_DEV)
    compiled = Compiled.of(opened, "t")
    dataset = data_of(compiled)
    first = {name: np.array(each) for name, each in next(batches(dataset.split("train"), BATCH, 0, 0)).items()}
    begin = initialized(compiled, dataset, 0, BATCH)
    train(opened, "t", made / "run", Options(device="cpu", steps=1), QUIET)
    found, _ = load_tensors(made / "run" / "last.safetensors")
    exact = {name: each.astype(np.float64) for name, each in begin.items() if each.dtype.kind == "f"}
    for name, expected in stepped(exact, first["words"], first["tag"], first["length"]).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-6, err_msg=name)


def test_a_split_of_another_length_is_evaluated(made: Path) -> None:
    opened = program(made, "T")
    result = train(opened, "t", made / "run", Options(device="cpu"), QUIET)
    assert result.values["train"]["loss"] < np.log(3)
    weights, _ = load_tensors(made / "run" / "last.safetensors")
    dev = np.load(made / "dev.npz")
    real, _, likely = forward(weights, dev["words"], dev["length"])
    right = -np.log(np.take_along_axis(likely, dev["tag"][:, :, None], -1))[:, :, 0]
    found = evaluate(made / "run", "dev", "last", device="cpu").values
    assert found["loss"] == pytest.approx(right[real].mean(), rel=1e-5)
    assert found["acc"] == pytest.approx((likely.argmax(-1) == dev["tag"])[real].mean(), rel=1e-6)


@pytest.mark.parametrize("size", ["T", "12"])
def test_going_on_is_bit_exact(made: Path, size: str) -> None:
    opened = program(made, size, NO_DEV)
    train(opened, "t", made / "whole", Options(device="cpu", steps=6), QUIET)
    train(opened, "t", made / "parts", Options(device="cpu", steps=3), QUIET)
    resume(made / "parts", Options(steps=6), QUIET)
    assert (made / "parts" / "last.safetensors").read_bytes() == (made / "whole" / "last.safetensors").read_bytes()


def test_an_exported_net_takes_any_length(made: Path) -> None:
    train(program(made, "T"), "t", made / "run", Options(device="cpu"), QUIET)
    path = export(made / "run", made / "t.onnx", weights="last").path
    weights, _ = load_tensors(made / "run" / "last.safetensors")
    words, length = np.arange(14).reshape(2, 7), np.array([7, 3])
    logits = open_session(path).run(["logits"], {"words": words, "length": length})[0]
    powers = np.exp(logits)
    np.testing.assert_allclose(powers / powers.sum(-1, keepdims=True), forward(weights, words, length)[2], rtol=1e-4)


def test_fields_with_one_name_have_one_size(made: Path) -> None:
    write(made / "dev.npz", 21, 9, tags=8)
    text = r"split `dev` .*: `tag` has 8 for T, and `words` has 9: expected one size, as both fields call it T"
    with pytest.raises(DataError, match=text):
        train(program(made, "T"), "t", made / "run", Options(device="cpu"), QUIET)
    assert not (made / "run").exists()


def test_two_padded_dimensions_have_sizes_of_their_own(made: Path) -> None:
    write(made / "train.npz", 64, 12, tags=10)
    opened = program(
        made, "T", NO_DEV, ("tag: i64[T]", "tag: i64[R]"),
        ("words: i64[B, S], l", "words: i64[B, S], tag: i64[B, R], l"),
        ("loss = cross_entropy(logits, tag, mask=mask(S))", "loss = mse(logits[:, 0, 0], float(tag[:, 0]))"),
        ("  metrics { acc = accuracy(logits, tag, mask=mask(S)) }\n", ""),
    )  # fmt: skip
    assert data_of(Compiled.of(opened, "t")).split("train").sizes == {"T": 12, "R": 10}
    train(opened, "t", made / "run", Options(device="cpu", steps=2), QUIET)


def test_splits_of_differing_lengths_are_drawn(made: Path) -> None:
    compiled = Compiled.of(program(made, "T"), "t")
    both = prepare(compiled.plan, compiled.file("d.prepare.onnx"), None, compiled.folder, splits=["train", "dev"])
    assert sheet(both, {})
