"""`docs/train_with_onnxruntime.py` trains from what `dlc compile` writes, in a process that cannot import dlc."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from products_of import ROOT, SCALARS, Arrays, call, session

from dlc.runtime.stepper import Stepper

SCRIPT = ROOT / "docs" / "train_with_onnxruntime.py"
GUARD = """
import runpy, sys
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("dlc", "onnx", "torch"):
            raise ImportError(f"{name} is not to be imported here")
sys.meta_path.insert(0, Refused())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def dataset(name: str) -> Arrays:
    """An easy problem: a plane through standardized features, or a bright square that stands where its label says."""
    rng = np.random.default_rng(12)
    if name == "logistic":
        features = rng.normal(size=(200, 30)).astype(np.float32)
        return {"features": features, "benign": (features @ rng.normal(size=30) > 0).astype(np.float32)}
    label = rng.integers(0, 10, 128)
    image = rng.random((128, 1, 28, 28), dtype=np.float32) * 0.2
    for picture, at in zip(image, label, strict=True):
        picture[0, 4 * (at // 5) + 8 : 4 * (at // 5) + 12, 4 * (at % 5) + 4 : 4 * (at % 5) + 8] = 1
    return {"image": image, "label": label}


def lines(output: str) -> list[dict[str, float]]:
    """Each printed line as numbers by name; its first word is the step."""
    words = [line.split() for line in output.splitlines()]
    assert [line[0] for line in words] == [str(i) for i in range(len(words))]
    return [{k: float(v) for k, v in zip(line[1::2], line[2::2], strict=True)} for line in words]


@pytest.mark.parametrize(("name", "steps", "fall"), [("logistic", 120, 0.6), ("lenet", 60, 0.7)])
def test_thirty_lines_train_without_dlc(name: str, steps: int, fall: float, tmp_path: Path) -> None:
    dlc = [sys.executable, "-c", "from dlc.runtime.cli import main; main()"]
    subprocess.run([*dlc, "compile", str(ROOT / "specs" / f"{name}.net"), "-o", str(tmp_path)], check=True)
    fields = dataset(name)
    np.savez(tmp_path / "fields.npz", **fields)
    command = [sys.executable, "-I", "-c", GUARD, str(SCRIPT), str(tmp_path), name, "fields.npz", str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    theirs = lines(done.stdout)
    assert len(theirs) == steps
    losses = [each["loss"] for each in theirs]
    assert np.mean(losses[-10:]) < fall * np.mean(losses[:10])
    assert np.mean([each["acc"] for each in theirs[-10:]]) > np.mean([each["acc"] for each in theirs[:10]])

    kept = np.load(tmp_path / f"{name}.weights.npz")
    ours = _own_steps(name, tmp_path, fields, steps)
    for key in ("loss", "acc"):
        shown = [[each[key] for each in run] for run in (theirs, ours[0])]
        np.testing.assert_allclose(*shown, rtol=1e-3, atol=1e-4)
    assert losses[:5] == pytest.approx([each["loss"] for each in ours[0][:5]], abs=2e-6)  # before rounding has grown
    assert set(kept) == set(ours[1])
    for address, value in ours[1].items():
        assert np.linalg.norm(kept[address] - value) <= 1e-3 * np.linalg.norm(value) + 1e-6, address


def _own_steps(name: str, folder: Path, fields: Arrays, steps: int) -> tuple[list[dict[str, float]], Arrays]:
    """The same batches through the step as `dlc train` runs it: what it reports, and the carried values at the end."""
    stepper = Stepper((folder / f"{name}.step.onnx").read_bytes(), batch=_batch(name), threads=1)
    initial = call(session((folder / f"{name}.init.onnx").read_bytes()), {"seed": np.int64(0)})
    stepper.load({address: initial[address] for address in stepper.manifest.carried})
    random = np.random.default_rng(0)
    reported = []
    count = len(next(iter(fields.values())))
    assert set(stepper.scalars) == set(SCALARS)
    stepper.scalars["steps"][...] = steps
    for i in range(steps):
        rows = random.choice(count, _batch(name), replace=False)
        for field, array in stepper.batch.items():
            array[...] = fields[field][rows]
        stepper.scalars["step"][...] = i
        assert stepper.step()
        reported.append({key: float(value) for key, value in stepper.reports.items()})
    return reported, stepper.tensors()


def _batch(name: str) -> int:
    return {"logistic": 32, "lenet": 64}[name]


def test_the_script_is_short_and_imports_numpy_and_onnxruntime_alone() -> None:
    text = SCRIPT.read_text()
    code = [line for line in text.split('"""')[2].splitlines() if line.strip()]
    assert len(code) <= 36
    imported = {line.split()[1].split(".")[0] for line in code if line.startswith(("import ", "from "))}
    assert imported == {"json", "pathlib", "sys", "numpy", "onnxruntime"}


@pytest.mark.parametrize(
    ("script", "args", "code", "said"),
    [
        ("train", [], 2, "usage: python train_with_onnxruntime.py FOLDER RUN FIELDS.npz STEPS\n"),
        ("train", ["build", "logistic", "fields.npz", "many"], 2, "usage: "),
        ("train", ["none", "logistic", "fields.npz", "3"], 1, "there is no file none/logistic.init.onnx\n"),
        ("run", [], 2, "usage: python run_with_onnxruntime.py MODEL.onnx PICTURE\n"),
        ("run", ["none.onnx", "seven.png"], 1, "there is no file none.onnx\n"),
    ],
)
def test_a_wrong_command_line_is_told(script: str, args: list[str], code: int, said: str, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "docs" / f"{script}_with_onnxruntime.py"), *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(said)
    assert "Traceback" not in done.stderr
