"""Labels that are no classes of the net are refused before a step is taken, with their place; so are other classes."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from dlc.compiler.manifest import attach, read
from dlc.compiler.program import Program
from dlc.runtime.data import DataError
from dlc.runtime.evaluate import evaluate
from dlc.runtime.gradcheck import gradcheck
from dlc.runtime.report.display import Display
from dlc.runtime.train import Options, View, resume, train

Make = Callable[..., Program]
VIEW = View(lambda *args, **named: Display(*args, quiet=True, **named))
LOSS = r"`cross_entropy` \(tiny\.net:20:10\) has 3 classes: expected 0 to 2"


def run(program: Program, folder: Path, **options: int) -> None:
    train(program, "tiny", folder, Options(device="cpu", **options), VIEW)


def shift(file: Path, by: int) -> None:
    """Adds to each label of a .csv, which is in the last column."""
    head, *rows = file.read_text().splitlines()
    cells = [row.rsplit(",", 1) for row in rows]
    file.write_text("\n".join([head, *(f"{rest},{int(label) + by}" for rest, label in cells)]) + "\n")


@pytest.mark.parametrize(
    ("by", "found"), [(-1, "is -1, but " + LOSS), (1, "is 3, but " + LOSS + r".*begin at 1: `label = raw\.label - 1`")]
)
def test_labels_that_are_no_classes_train_nothing(tiny: Make, tmp_path: Path, by: int, found: str) -> None:
    program = tiny()
    shift(tmp_path / "train.csv", by)
    with pytest.raises(DataError, match=r"split `train` \(tiny\.net:5\): .*train\.csv, line \d+: `label` " + found):
        run(program, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(DataError, match=LOSS):
        gradcheck(program, "tiny")


def test_fewer_outputs_than_classes(tiny: Make, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"`label` is 2, but `cross_entropy` .* has 2 classes: expected 0 to 1"):
        run(tiny(("Linear(3)", "Linear(2)")), tmp_path / "run")


def test_a_split_that_is_evaluated_and_a_run_that_goes_on(tiny: Make, tmp_path: Path) -> None:
    run(tiny(), tmp_path / "run")
    shift(tmp_path / "test.csv", 1)
    with pytest.raises(DataError, match=r"split `test` \(tiny\.net:7\): .*`label` is 3, but " + LOSS):
        evaluate(tmp_path / "run", device="cpu")
    shift(tmp_path / "train.csv", -1)
    with pytest.raises(DataError, match=r"`label` is -1, but " + LOSS):
        resume(tmp_path / "run", Options(device="cpu", epochs=4), VIEW)


def test_a_run_from_before_it_knew_bounds(tiny: Make, tmp_path: Path) -> None:
    run(tiny(), tmp_path / "run")
    file = tmp_path / "run" / "model" / "tiny.eval.onnx"
    model = onnx.load(file)
    manifest = read(model)
    del manifest.extensions["x_bounds"]
    attach(model, manifest)
    onnx.save(model, file)
    assert evaluate(tmp_path / "run", device="cpu").examples == 37
    resume(tmp_path / "run", Options(device="cpu", epochs=4), VIEW)
