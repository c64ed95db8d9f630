"""The loss and the metrics of a whole split, against NumPy."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlc.compiler.program import Program
from dlc.runtime.atomic import write_json
from dlc.runtime.checkpoint import load_tensors, save_tensors
from dlc.runtime.data import DataError
from dlc.runtime.errors import InputError
from dlc.runtime.evaluate import evaluate
from dlc.runtime.folder import RunFolder
from dlc.runtime.report.display import Display
from dlc.runtime.train import Options, View, train

Make = Callable[..., Program]


@pytest.fixture
def folder(tiny: Make, tmp_path: Path) -> Path:
    view = View(lambda *args, **named: Display(*args, quiet=True, **named))
    train(tiny(), "tiny", tmp_path / "run", Options(device="cpu"), view)
    return tmp_path / "run"


def by_hand(weights: dict[str, Any], table: np.ndarray[Any, Any]) -> dict[str, float]:
    x = (table[:, :4] - weights["points.x.mean"]) / weights["points.x.std"]
    label = table[:, 4].astype(int)
    hidden = np.tanh(x @ weights["tiny.linear.weight"] + weights["tiny.linear.bias"])
    logits = hidden @ weights["tiny.linear2.weight"] + weights["tiny.linear2.bias"]
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(label)), label]
    return {"loss": float(losses.mean()), "acc": float((logits.argmax(axis=1) == label).mean())}


def test_every_example_counts_the_same(folder: Path, tmp_path: Path) -> None:
    """37 examples in batches of 16: the last holds 5."""
    table = np.loadtxt(tmp_path / "test.csv", delimiter=",", skiprows=1)
    for weights in ("best", "last"):
        found = evaluate(folder, "test", weights, device="cpu")
        assert (found.examples, found.weights, found.split) == (37, weights, "test")
        expected = by_hand(load_tensors(folder / f"{weights}.safetensors")[0], table)
        assert found.values == pytest.approx(expected, rel=1e-5)


def test_the_size_of_the_batch_is_that_of_the_split(tiny: Make, tmp_path: Path) -> None:
    """A quarter of 96 points is `dev`: a batch of 16, and one of 8."""
    metrics = "metrics { n = float(B)\n    mean = sum(cross_entropy(logits, label, reduce=none)) / size(label, 0) }"
    program = tiny(("metrics { acc = accuracy(logits, label) }", metrics))
    view = View(lambda *args, **named: Display(*args, quiet=True, **named))
    train(program, "tiny", tmp_path / "sized", Options(device="cpu"), view)
    for split, count in (("train", 72), ("dev", 24), ("test", 37)):
        found = evaluate(tmp_path / "sized", split, device="cpu").values
        assert found["n"] == count
        assert found["mean"] == pytest.approx(found["loss"], rel=1e-5)


def test_weights_of_a_file(folder: Path, tmp_path: Path) -> None:
    weights, _ = load_tensors(folder / "last.safetensors")
    changed = {name: np.zeros_like(array) if name.startswith("tiny.") else array for name, array in weights.items()}
    save_tensors(tmp_path / "zero.safetensors", changed, {})
    found = evaluate(folder, "train", str(tmp_path / "zero.safetensors"), device="cpu")
    assert found.values["loss"] == pytest.approx(np.log(3), rel=1e-6)
    save_tensors(tmp_path / "short.safetensors", {k: v for k, v in weights.items() if "linear2" not in k}, {})
    with pytest.raises(InputError, match=r"the weights lack tiny\.linear2\.bias"):
        evaluate(folder, "train", str(tmp_path / "short.safetensors"), device="cpu")
    wide = weights | {"tiny.linear.weight": np.zeros((4, 17), np.float32)}
    save_tensors(tmp_path / "wide.safetensors", wide, {})
    with pytest.raises(InputError, match=r"tiny\.linear\.weight: the net has float32\[4, 16\], found float32\[4, 17\]"):
        evaluate(folder, "train", str(tmp_path / "wide.safetensors"), device="cpu")


def test_test_is_counted(folder: Path) -> None:
    notes: list[str] = []
    assert evaluate(folder, "dev", device="cpu", note=notes.append).times is None
    assert evaluate(folder, "test", device="cpu", note=notes.append).times == 1
    assert notes == []
    assert evaluate(folder, "test", device="cpu", note=notes.append).times == 2
    assert notes == ["this run has been evaluated on the test split 2 times: choose on dev, report test once"]
    assert RunFolder.open(folder).run["test_evaluations"] == 2
    assert RunFolder.open(folder).run["status"] == "finished"


def test_data_that_changed_is_told_and_evaluated(folder: Path, tmp_path: Path) -> None:
    """The split dev is held out of train.csv; test.csv is read for the first time when it is evaluated."""
    before = evaluate(folder, "dev", device="cpu")
    first = evaluate(folder, "test", device="cpu")
    assert (before.changed, first.changed) == (None, None)
    for name in ("train", "test"):
        lines = (tmp_path / f"{name}.csv").read_text().splitlines()
        (tmp_path / f"{name}.csv").write_text("\n".join([lines[0], *lines[3:]]) + "\n")
    notes: list[str] = []
    after = evaluate(folder, "dev", device="cpu", note=notes.append)
    assert after.examples == 24 and after.sha256 != before.sha256
    assert after.changed == "the split `dev` has other values or another order in its 24 examples"
    assert notes == [f"warning, the data changed since the run was trained: {after.changed} ({tmp_path / 'train.csv'})"]
    notes.clear()
    again = evaluate(folder, "test", device="cpu", note=notes.append)
    assert again.changed == "the split `test` had 37 examples and has 35"
    assert notes[0] == (
        f"warning, the data changed since the run was first evaluated on it: {again.changed} ({tmp_path / 'test.csv'})"
    )
    run = RunFolder.open(folder).run
    assert run["evaluated"]["test"]["changed"] == again.changed
    assert run["evaluated"]["test"]["sha256"] == again.sha256
    assert run["splits"]["test"] == [37, first.sha256], "what it is compared with is the first"


def test_a_run_of_before_the_splits_were_recorded(folder: Path) -> None:
    content = dict(RunFolder.open(folder).run)
    del content["splits"]
    write_json(folder / "run.json", content)
    assert evaluate(folder, "dev", device="cpu").changed is None


def test_mistakes(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no split `tset`; did you mean `test`"):
        evaluate(folder, "tset", device="cpu")
    (tmp_path / "test.csv").unlink()
    with pytest.raises(DataError, match=r"test\.csv: no such file"):
        evaluate(folder, "test", device="cpu")
    assert "test_evaluations" not in RunFolder.open(folder).run, "what failed is not counted"
    (folder / "best.safetensors").unlink()
    with pytest.raises(InputError, match="has no best weights yet"):
        evaluate(folder, "dev", device="cpu")
    (folder / "model" / "tiny.eval.onnx").unlink()
    with pytest.raises(InputError, match=r"no compiled file tiny\.eval\.onnx"):
        evaluate(folder, "dev", "last", device="cpu")
    with pytest.raises(InputError, match="expected a run folder"):
        evaluate(tmp_path / "nothing", device="cpu")
