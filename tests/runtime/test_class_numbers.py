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


def rename(file: Path, *names: str) -> None:
    """Gives names to the labels of a .csv."""
    head, *rows = file.read_text().splitlines()
    cells = [row.rsplit(",", 1) for row in rows]
    file.write_text("\n".join([head, *(f"{rest},{names[int(label)]}" for rest, label in cells)]) + "\n")


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


def test_classes_that_the_run_knows_by_other_names(tiny: Make, tmp_path: Path, points: Callable[..., None]) -> None:
    """Sorted, the other names have other numbers; the split that is evaluated is numbered by the training split's."""
    rename(tmp_path / "train.csv", "cat", "dog", "frog")
    rename(tmp_path / "test.csv", "cat", "dog", "frog")
    run(tiny(), tmp_path / "run")
    before = evaluate(tmp_path / "run", "test", device="cpu").values
    for file in ("train.csv", "test.csv"):
        (tmp_path / file).write_text((tmp_path / file).read_text().replace("cat", "zcat"))
    said = r"test\.csv: `label` held the classes cat, dog, frog when .*, and holds the classes dog, frog, zcat now; "
    with pytest.raises(DataError, match=r"split `test` \(tiny\.net:7\): .*" + said):
        evaluate(tmp_path / "run", "test", device="cpu")
    for file, n, seed in (("train", 96, 1), ("test", 37, 2)):
        points(tmp_path, file, n, seed)
    with pytest.raises(DataError, match=r"`label` held the classes cat, dog, frog when .*, and holds numbers now"):
        evaluate(tmp_path / "run", "test", device="cpu")
    rename(tmp_path / "train.csv", "cat", "dog", "frog")
    rename(tmp_path / "test.csv", "cat", "dog", "frog")
    assert evaluate(tmp_path / "run", "test", device="cpu").values == before


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("cat", "dog", "wolf"), "has the class `wolf`, which the training split"),
        (("0", "1", "2"), r"`label` holds numbers in .*test\.csv and the classes cat, dog, frog"),
    ],
)
def test_classes_of_the_test_split_are_looked_at_first(
    tiny: Make, tmp_path: Path, names: tuple[str, ...], said: str
) -> None:
    rename(tmp_path / "train.csv", "cat", "dog", "frog")
    rename(tmp_path / "test.csv", *names)
    with pytest.raises(DataError, match="split `test`: .*" + said):
        run(tiny(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_test_split_that_cannot_be_read_yet_does_not_keep_from_training(tiny: Make, tmp_path: Path) -> None:
    rename(tmp_path / "train.csv", "cat", "dog", "frog")
    (tmp_path / "test.csv").unlink()
    run(tiny(), tmp_path / "run")
    with pytest.raises(DataError, match=r"test\.csv: no such file"):
        evaluate(tmp_path / "run", device="cpu")
