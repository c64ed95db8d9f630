"""The examples that borrow a model: whole and unchanged they check and have the known counts; smaller ones train."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper
from PIL import Image
from products_of import ROOT
from safetensors.numpy import load_file
from stand_ins import RESNET50, VGG19, stand_in

from dlc.compiler.program import Program
from dlc.runtime.cli import main

Arrays = Mapping[str, np.ndarray[Any, Any]]
EXAMPLES = ROOT / "tests" / "fixtures" / "examples"


def models(folder: Path, name: str, narrow: int = 1) -> onnx.ModelProto:
    """Writes an example's model where the example looks for it."""
    light, values, file = {
        "transfer": ("light_resnet50", RESNET50, "resnet50-v1-7.onnx"),
        "style": ("light_vgg19", VGG19, "vgg19-7.onnx"),
    }[name]
    model = stand_in(light, values, narrow)
    onnx.save(model, folder / file)
    return model


@pytest.fixture
def dlc(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    """What a command that succeeds prints with `--json`."""
    monkeypatch.setenv("DLC_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def run(*args: object) -> Any:
        capsys.readouterr()
        code = main([*map(str, args), "--json"])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return json.loads(captured.out)

    return run


@pytest.mark.parametrize(
    ("name", "net", "weights"),
    [
        # ResNet-50 without its last layer has 25,557,032 - 2,049,000 weights; the new head is 2,048 -> 37.
        ("transfer", "breeds", 23_508_032 + 2_048 * 37 + 37),
        ("style", "stylise", 3 * 512 * 512),
    ],
)
def test_whole_and_unchanged(name: str, net: str, weights: int, dlc: Callable[..., Any], tmp_path: Path) -> None:
    models(tmp_path, name)
    shutil.copy(EXAMPLES / f"{name}.net", tmp_path)
    found = dlc("check", f"{name}.net")
    assert found["diagnostics"] == [] and found["nets"][net]["weights"] == weights


def test_what_learns_in_each_phase_of_transfer(tmp_path: Path) -> None:
    models(tmp_path, "transfer", narrow=8)
    shutil.copy(EXAMPLES / "transfer.net", tmp_path)
    program = Program.open(tmp_path / "transfer.net")
    settle, tune = ({a: role for a, (_, role) in program.step(run).carried.items()} for run in ("settle", "tune"))
    trunk = [address for address in settle if address.startswith("trunk.")]
    assert len(trunk) == 53 * 5 and {settle[address] for address in trunk} == {"frozen"}  # 53 convolutions, each normed
    assert [tune[address] for address in trunk].count("parameter") == 53 * 3
    assert [tune[address] for address in trunk].count("state") == 53 * 2


def pets(folder: Path, classes: int) -> None:
    """Pictures of several sizes, each class of a colour."""
    rng = np.random.default_rng(1)
    for split, count in (("train", 3), ("dev", 1)):
        for label in range(classes):
            where = folder / "pets" / split / f"breed{label}"
            where.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (8, 9, 3))
                pixels[..., label % 3] = 250
                size = (260 + 10 * number, 300)
                Image.fromarray(pixels.astype(np.uint8)).resize(size).save(where / f"{number}.jpg")


def test_transfer_trains_in_both_phases(dlc: Callable[..., Any], tmp_path: Path) -> None:
    model = models(tmp_path, "transfer", narrow=8)
    pets(tmp_path, classes=3)
    text = (EXAMPLES / "transfer.net").read_text()
    for batch in ("batch  = 64", "batch  = 32"):
        assert batch in text
        text = text.replace(batch, "batch = 4")
    (tmp_path / "small.net").write_text(text)
    held = {f"trunk.{each.name}": numpy_helper.to_array(each) for each in model.graph.initializer}

    dlc("train", "small.net:settle", "--set", "classes=3", "--steps", 2, "-o", "settle")
    settled = load_file(tmp_path / "settle" / "last.safetensors")
    assert all(np.array_equal(settled[address], array) for address, array in held.items())
    dlc("export", "settle", "--raw", "--weights", "last", "-o", "raw.onnx")
    image = np.random.default_rng(2).normal(size=(1, 3, 224, 224)).astype(np.float32)
    [features] = run(model.SerializeToString(), image)
    [logits] = run((tmp_path / "raw.onnx").read_bytes(), image)
    expected = features.reshape(1, -1) @ settled["breeds.head.weight"] + settled["breeds.head.bias"]
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)

    dlc("train", "small.net:tune", "--set", "classes=3", "--after", "settle", "--steps", 1, "-o", "tune")
    tuned = load_file(tmp_path / "tune" / "last.safetensors")
    before = load_file(tmp_path / "settle" / "best.safetensors")
    moves = {address: float(np.abs(tuned[address] - before[address]).max()) for address in before}
    # The first step of Adam is lr * sign(gradient), and the decay adds lr * 0.01 * w; the trunk's lr is a tenth.
    assert moves["breeds.head.weight"] == pytest.approx(1e-4, rel=0.1)
    kernels = [address for address in held if held[address].ndim == 4]
    assert all(0 < moves[address] < 1.3e-5 for address in kernels)

    dlc("export", "tune", "-o", "breeds.onnx")
    answer = dlc("run", "breeds.onnx", "--input", "image=pets/dev/breed1/0.jpg")
    assert answer["outputs"]["logits"]["shape"] == [1, 3]


def run(model: bytes, image: np.ndarray[Any, Any]) -> list[Any]:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return list(session.run(None, {session.get_inputs()[0].name: image}))


def gram(features: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    rows = features[0].reshape(features.shape[1], -1).astype(np.float64)
    return rows @ rows.T / rows.size


def style_loss(model: onnx.ModelProto, content: np.ndarray[Any, Any], style: np.ndarray[Any, Any]) -> float:
    """The style term of a canvas that is the photograph, by ONNX Runtime and numpy."""
    wider = onnx.ModelProto()
    wider.CopyFrom(model)
    for axis in (2, 3):
        wider.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = content.shape[axis]
    del wider.graph.output[:], wider.graph.value_info[:]
    layers = [f"vgg0_relu{number}_fwd" for number in (0, 2, 4, 8, 12)]
    wider.graph.output.extend(onnx.ValueInfoProto(name=name) for name in layers)
    ours, theirs = run(wider.SerializeToString(), content), run(wider.SerializeToString(), style)
    return float(np.mean([np.square(gram(a) - gram(b)).mean() for a, b in zip(ours, theirs, strict=True)]))


def roughness(x: np.ndarray[Any, Any]) -> float:
    return float(np.square(np.diff(x, axis=2)).mean() + np.square(np.diff(x, axis=3)).mean())


def test_style_moves_the_canvas_from_the_photograph(dlc: Callable[..., Any], tmp_path: Path) -> None:
    model = models(tmp_path, "style")
    shutil.copy(EXAMPLES / "style.net", tmp_path)
    rng = np.random.default_rng(3)
    for name, size in (("tuebingen", (80, 64)), ("starry_night", (70, 90))):
        pixels = rng.integers(0, 256, (9, 8, 3)).astype(np.uint8)
        Image.fromarray(pixels).resize(size).save(tmp_path / f"{name}.jpg")
    dlc("compile", "style.net", "--set", "size=48", "-o", "files")
    dlc("train", "style.net", "--set", "size=48", "--steps", 4, "-o", "run")

    pictures = [np.asarray(Image.open(tmp_path / f"{name}.jpg")) for name in ("tuebingen", "starry_night")]
    feeds = {f"raw.{n}": p.transpose(2, 0, 1) for n, p in zip(("first", "second"), pictures, strict=True)}
    prepare = ort.InferenceSession(tmp_path / "files" / "photographs.prepare.onnx")
    content, style = (each[None] for each in prepare.run(["content", "style"], feeds))
    lines = [json.loads(line)["values"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    expected = style_loss(model, content, style)
    assert lines[0]["content_loss"] == 0 and lines[0]["style_loss"] == pytest.approx(expected, rel=1e-3)
    assert lines[0]["loss"] == pytest.approx(1e5 * expected + 10 * roughness(content), rel=1e-3)
    assert all(later["loss"] < earlier["loss"] for earlier, later in pairwise(lines))

    dlc("export", "run", "--raw", "--weights", "last", "-o", "canvas.onnx")
    [canvas] = run((tmp_path / "canvas.onnx").read_bytes(), content)
    moved = np.abs(canvas - content)
    assert 0.02 < moved.max() <= 4 * 0.02 * 1.01  # four steps of Adam's, of 0.02 at most
