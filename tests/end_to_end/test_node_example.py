"""`docs/node/train.mjs` trains from what `dlc compile` writes: the same losses as the same steps run from Python."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from products_of import ROOT, Arrays, call, session

from dlc.compiler.emit import serialized
from dlc.compiler.manifest import KEY
from dlc.compiler.products import products
from dlc.compiler.program import Program
from dlc.runtime.data.fetch import fetch

EXAMPLE = ROOT / "docs" / "node"
STEPS = 60
NO_NETWORK = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ENETUNREACH", "ETIMEDOUT", "ERR_SOCKET_TIMEOUT")


def output(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def example() -> Path:
    """The example with what it needs installed, in a folder that stays for the next time. The package is 290 MB."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not here")
    version = output(node, "--version").strip()
    if int(version.removeprefix("v").split(".")[0]) < 18:
        pytest.skip(f"node is {version}; the example needs 18")
    folder = ROOT / "build" / "node"
    folder.mkdir(parents=True, exist_ok=True)
    for file in EXAMPLE.glob("*.*js*"):
        shutil.copy(file, folder)
    pinned = json.loads((folder / "package.json").read_text())["dependencies"]["onnxruntime-node"]
    installed = folder / "node_modules" / "onnxruntime-node" / "package.json"
    if not installed.is_file() or json.loads(installed.read_text())["version"] != pinned:
        command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=600)
        if done.returncode and any(code in done.stderr for code in NO_NETWORK):
            pytest.skip("npm finds no network to install onnxruntime-node from")
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `dlc compile specs/logistic.net` writes, and the records."""
    folder = tmp_path_factory.mktemp("compiled")
    for name, model in products(Program.open(ROOT / "specs" / "logistic.net")).items():
        (folder / name).write_bytes(serialized(model))
    shutil.copy(fetch("breast_cancer")[0], folder / "breast_cancer.csv")
    return folder


def manifest_of(session: Any) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads(session.get_modelmeta().custom_metadata_map[KEY])
    return manifest


def test_the_same_losses_and_accuracy_as_from_python(example: Path, files: Path) -> None:
    printed = output("node", "train.mjs", files, files / "breast_cancer.csv", str(STEPS), cwd=example).splitlines()
    assert [line.split()[0] for line in printed[:-1]] == [str(i) for i in range(STEPS)]
    losses = [float(line.split()[2]) for line in printed[:-1]]
    expected, right, held_out = _python_steps(files)
    np.testing.assert_allclose(losses, expected, rtol=1e-5, atol=1e-5)
    assert np.mean(losses[-10:]) < 0.5 * losses[0]
    found = re.fullmatch(r"held out: (\d+) of (\d+) right, accuracy ([\d.]+)", printed[-1])
    assert found is not None, printed[-1]
    assert (int(found[1]), int(found[2])) == (right, held_out) and float(found[3]) > 0.93


def _python_steps(files: Path) -> tuple[list[float], int, int]:
    """The losses of the same steps, and how many of the records held out come out right, of how many."""
    sessions = {path.stem: session(path.read_bytes()) for path in files.glob("*.onnx")}
    table = np.loadtxt(files / "breast_cancer.csv", delimiter=",", skiprows=1)
    held_out = np.arange(len(table)) % 5 == 0
    train, test = table[~held_out], table[held_out]
    raw = train[:, :-1].astype(np.float32).astype(np.float64)
    fitted = {"cancer.features.mean": raw.mean(0), "cancer.features.std": raw.std(0)}
    constants = {name: value.astype(np.float32) for name, value in fitted.items()}

    def prepared(rows: Arrays) -> Arrays:
        examples = [
            call(sessions["cancer.prepare"], {
                **constants, "raw.features": row[:-1].astype(np.float32), "raw.label": np.int64(row[-1]),
            })
            for row in rows
        ]  # fmt: skip
        return {name: np.stack([each[name] for each in examples]) for name in ("features", "benign")}

    manifest = manifest_of(sessions["logistic.step"])
    carried, size = manifest["carried"], manifest["x_settings"]["batch"]
    state = call(sessions["logistic.init"], {"seed": np.int64(0)})
    fields, losses = prepared(train), []
    for i in range(STEPS):
        rows = (i * size + np.arange(size)) % len(train)
        results = call(sessions["logistic.step"], state | {name: array[rows] for name, array in fields.items()})
        state = {name: results[each["output"]] for name, each in carried.items()}
        losses.append(float(results["loss"]))
    held = prepared(test)
    chance = call(sessions["logistic"], state | {"features": held["features"]})["chance"]
    return losses, int(((chance > 0.5) == (held["benign"] > 0.5)).sum()), len(test)


def test_the_manifest_is_read_from_every_file(example: Path, files: Path) -> None:
    program = "import { manifest } from './manifest.mjs'; console.log(JSON.stringify(manifest(process.argv[1])));"
    for path in files.glob("*.onnx"):
        found = output("node", "--input-type=module", "-e", program, path, cwd=example)
        assert json.loads(found) == manifest_of(session(path.read_bytes())), path.name


def test_a_file_without_a_manifest_is_refused(example: Path, tmp_path: Path) -> None:
    (tmp_path / "other.onnx").write_bytes(b"")
    program = "import { manifest } from './manifest.mjs'; manifest(process.argv[1]);"
    command = ["node", "--input-type=module", "-e", program, str(tmp_path / "other.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=example, timeout=60)
    assert done.returncode != 0 and "has no dlc.manifest" in done.stderr


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [([], 2, "usage: node train.mjs"), (["none", "train.mjs"], 1, "there is no file none/cancer.prepare.onnx")],
)
def test_a_wrong_command_line_is_told(example: Path, args: list[str], code: int, said: str) -> None:
    done = subprocess.run(["node", "train.mjs", *args], capture_output=True, text=True, cwd=example, timeout=60)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(said) and done.stderr.count("\n") == 1
