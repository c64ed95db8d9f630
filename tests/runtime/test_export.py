"""Export: one file with weights inside, and with `prepare` in front."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from dlc.compiler.emit import serialized
from dlc.compiler.manifest import read
from dlc.compiler.program import Program
from dlc.runtime.checkpoint import load_tensors, save_tensors
from dlc.runtime.data.errors import DataError
from dlc.runtime.errors import InputError, UsageError
from dlc.runtime.evaluate import evaluate
from dlc.runtime.export import export, nets_filled
from dlc.runtime.predict import run_model
from dlc.runtime.report.display import Display
from dlc.runtime.session import open_session
from dlc.runtime.train import Options, View, train

Make = Callable[..., Program]


def trained(program: Program, folder: Path) -> Path:
    view = View(lambda *args, **named: Display(*args, quiet=True, **named))
    train(program, next(iter(program.runs)), folder, Options(device="cpu"), view)
    return folder


@pytest.fixture
def folder(tiny: Make, tmp_path: Path) -> Path:
    return trained(tiny(), tmp_path / "run")


def accuracy(path: Path, x: Any, label: Any) -> float:
    logits = open_session(path).run(["logits"], {"x": x})[0]
    return float((logits.argmax(axis=1) == label).mean())


def test_an_exported_net_takes_records_as_they_are_read(folder: Path, tmp_path: Path) -> None:
    table = np.loadtxt(tmp_path / "test.csv", delimiter=",", skiprows=1).astype(np.float32)
    for weights in ("best", "last"):
        made = export(folder, tmp_path / f"{weights}.onnx", weights=weights)
        assert (made.inputs, made.outputs) == ({"x": "f32[B, 4]"}, {"logits": "f32[B, 3]"})
        assert made.prepared and made.bytes == made.path.stat().st_size
        onnx.checker.check_model(onnx.load(made.path), full_check=True)
        found = accuracy(made.path, table[:, :4], table[:, 4])
        assert found == pytest.approx(evaluate(folder, "test", weights, device="cpu").values["acc"])


def test_a_raw_export_takes_prepared_values(folder: Path, tmp_path: Path) -> None:
    table = np.loadtxt(tmp_path / "test.csv", delimiter=",", skiprows=1).astype(np.float32)
    weights, _ = load_tensors(folder / "best.safetensors")
    made = export(folder, tmp_path / "raw.onnx", raw=True)
    assert not made.prepared
    x = (table[:, :4] - weights["points.x.mean"]) / weights["points.x.std"]
    whole = export(folder, tmp_path / "whole.onnx")
    raw = open_session(made.path).run(None, {"x": x})[0]
    np.testing.assert_allclose(raw, open_session(whole.path).run(None, {"x": table[:, :4]})[0], rtol=1e-5, atol=1e-6)
    names = {each.name for each in onnx.load(made.path).graph.initializer}
    assert {"tiny.linear.weight", "tiny.linear2.bias"} <= names, "the weights keep their addresses"


def test_exporting_twice_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    one, other = (export(folder, tmp_path / name).path.read_bytes() for name in ("a.onnx", "b.onnx"))
    assert one == other


def test_a_net_of_another_file_is_exported(tiny: Make, tmp_path: Path) -> None:
    """What it says of its inputs is said in the words of its own file; it is shown as one's own nets are."""
    text = tiny().source.sources[str(tmp_path / "tiny.net")]
    net = text[text.index("net tiny") : text.index("train tiny")]
    (tmp_path / "nets.net").write_text("let width = 4\n" + net.replace("f32[B, 4]", "f32[B, width]"))
    (tmp_path / "run.net").write_text('use tiny from "nets.net"\n' + text.replace(net, ""))
    program = Program.open(tmp_path / "run.net")
    assert program.check() == ()
    made = export(trained(program, tmp_path / "other"), tmp_path / "other.onnx")
    own = export(trained(tiny(), tmp_path / "own"), tmp_path / "own.onnx")
    assert (made.inputs, made.outputs) == (own.inputs, own.outputs)
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    found, wanted = (open_session(each.path).run(["logits"], {"x": x})[0] for each in (made, own))
    np.testing.assert_array_equal(found, wanted)


def test_images_get_the_readers_type(tmp_path: Path, tiny: Make) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 6, 5), dtype=np.uint8)
    labels = (images.mean(axis=(1, 2)) > 127).astype(np.uint8)
    (tmp_path / "images").write_bytes(bytes([0, 0, 8, 3, 0, 0, 0, 40, 0, 0, 0, 6, 0, 0, 0, 5]) + images.tobytes())
    (tmp_path / "labels").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 40]) + labels.tobytes())
    (tmp_path / "pictures.net").write_text("""
data pictures {
  train = idx("images", "labels")
  image: f32[1, 6, 5] = raw.image / 255
  label: i64[] = raw.label
}
net small {
  input image: f32[B, 1, 6, 5]
  logits = image -> flatten -> Linear(2)
  return logits
}
train small on pictures {
  loss = cross_entropy(logits, label)
  optimizer = SGD(lr=0.1)
  batch = 8
  epochs = 1
}
""")
    tiny()  # for the cache of the tests
    folder = trained(Program.open(tmp_path / "pictures.net"), tmp_path / "run")
    made = export(folder, tmp_path / "small.onnx")
    assert made.inputs == {"image": "u8[B, 1, 6, 5]"}
    weights, _ = load_tensors(folder / "best.safetensors")
    flat = images.reshape(40, 30).astype(np.float32) / 255
    expected = flat @ weights["small.linear.weight"] + weights["small.linear.bias"]
    found = open_session(made.path).run(None, {"image": images[:, None]})[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


CLASSES = """
data pets {
  train = folder("pets")
  image: f32[3, 8, 8] = decode_image(raw.file) -> resize(8)
  kind: i64[] = raw.class
}
net small {
  input image: f32[B, 3, 8, 8]
  hidden = image -> flatten -> Linear(4) -> tanh
  logits = hidden -> Linear(3)
  RETURN
}
train small on pets {
  loss = LOSS
  optimizer = SGD(lr=0.1)
  batch = 2
  epochs = 1
}
"""


@pytest.mark.parametrize(
    ("returned", "loss", "named"),
    [
        ("return hidden, logits", "cross_entropy(logits, kind)", "logits"),
        ("return hidden, softmax(logits)", "cross_entropy(logits, kind) + 1e-3 * l2(small)", "output"),
        ("return logits", "mean(square(logits[:, 0] - float(kind)))", None),
        ("return hidden", "cross_entropy(logits, kind)", None),
    ],
)
def test_names_of_classes_travel_with_the_net(
    tmp_path: Path, tiny: Make, returned: str, loss: str, named: str | None
) -> None:
    """With the output that the loss compares with the field whose numbers have names, and with no other."""
    from PIL import Image

    tiny()  # for the cache of the tests
    for label, name in enumerate(("bee", "ant", "wasp")):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(2):
            pixels = np.full((9, 9, 3), 40 * label + number, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / name / f"{number}.png")
    (tmp_path / "pets.net").write_text(CLASSES.replace("RETURN", returned).replace("LOSS", loss))
    folder = trained(Program.open(tmp_path / "pets.net"), tmp_path / "run")
    for raw in (False, True):
        made = export(folder, tmp_path / "pets.onnx", raw)
        classes = read(onnx.load(made.path)).extensions.get("x_classes", {})
        assert classes == ({named: ["ant", "bee", "wasp"]} if named else {})
    if named:
        made = export(folder, tmp_path / "pets.onnx")
        found = run_model(made.path, {"image": str(tmp_path / "pets" / "bee" / "0.png")})
        best = ("ant", "bee", "wasp")[int(found.outputs[named].argmax())]
        assert f"{named}: {best} (" in found.text


def test_mistakes(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected a name that ends in \.onnx"):
        export(folder, tmp_path / "net.pb")
    with pytest.raises(UsageError, match="there is no folder"):
        export(folder, tmp_path / "no" / "net.onnx")
    weights, _ = load_tensors(folder / "best.safetensors")
    bias, std = "tiny.linear2.bias", "points.x.std"
    for changed, raw, said in (
        ({bias: None}, True, f"the weights lack {bias}"),
        ({bias: np.zeros(1, np.float32)}, True, f"{bias}: the net has float32[3], found float32[1]"),
        ({bias: np.zeros(3, np.float64)}, True, f"{bias}: the net has float32[3], found float64[3]"),
        ({std: None}, False, f"the saved constants lack `{std}`"),
        ({std: np.zeros(1, np.float32)}, False, f"the saved constant `{std}` is f32[1], but f32[4] is expected"),
    ):
        spoilt = {k: v for k, v in {**weights, **changed}.items() if v is not None}
        save_tensors(tmp_path / "spoilt.safetensors", spoilt, {})
        with pytest.raises((InputError, DataError), match=re.escape(said)):
            export(folder, tmp_path / "net.onnx", raw, str(tmp_path / "spoilt.safetensors"))
    for path in (folder / "model" / "source").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="the texts that the run was compiled from are gone"):
        export(folder, tmp_path / "net.onnx")
    assert not (tmp_path / "net.onnx").exists()


TWO = """
data points { train = csv("train.csv") x: f32[4] = columns("a", "b", "c", "d") label: i64[] = raw.label }
data plain { train = csv("train.csv") x: f32[4] = columns("a", "b", "c", "d") label: i64[] = raw.label }
net first { input x: f32[B, 4] logits = x -> Linear(3) return logits }
net second { input x: f32[B, 4] logits = x -> Linear(3) return logits }
train first on points { loss = cross_entropy(logits, label) optimizer = SGD(lr=0.1) batch = 8 epochs = 1 }
train first on plain as again { loss = cross_entropy(logits, label) optimizer = SGD(lr=0.1) batch = 8 epochs = 1 }
"""


def test_weights_of_a_file_are_put_into_their_nets(folder: Path, tiny: Make, tmp_path: Path) -> None:
    """As `dlc export` writes them; weights of other programs, which have no constants of the data, alone."""
    weights = folder / "best.safetensors"
    (model,) = nets_filled(tiny(), weights).values()
    export(folder, tmp_path / "run.onnx")
    assert serialized(model) == (tmp_path / "run.onnx").read_bytes()

    x = np.random.default_rng(3).standard_normal((5, 4)).astype(np.float32)
    export(folder, tmp_path / "raw.onnx", raw=True)
    ours, _ = load_tensors(weights)
    foreign = {name.removeprefix("tiny."): each.T for name, each in ours.items() if name.startswith("tiny.")}
    np.savez(tmp_path / "torch.npz", **foreign)
    notes: list[str] = []
    (model,) = nets_filled(tiny(), tmp_path / "torch.npz", raw=True, note=notes.append).values()
    expected = open_session(tmp_path / "raw.onnx").run(None, {"x": x})[0]
    np.testing.assert_array_equal(open_session(serialized(model)).run(None, {"x": x})[0], expected)
    assert "2 transposed" in notes[0]
    with pytest.raises(InputError, match=r"torch.npz: the saved constants lack `points\.x\.mean`") as caught:
        nets_filled(tiny(), tmp_path / "torch.npz")
    assert caught.value.help is not None and "--raw" in caught.value.help


def test_weights_of_a_file_with_several_nets(tiny: Make, tmp_path: Path) -> None:
    tiny()  # for its data
    (tmp_path / "two.net").write_text(TWO)
    program = Program.open(tmp_path / "two.net")
    tensors = {"first.linear.weight": np.ones((4, 3), np.float32), "first.linear.bias": np.zeros(3, np.float32)}
    save_tensors(tmp_path / "w.safetensors", tensors, {})
    assert set(nets_filled(program, tmp_path / "w.safetensors", ["again"])) == {"first.onnx"}
    with pytest.raises(UsageError, match="`first` learns from points, plain: which of them is to be in front"):
        nets_filled(program, tmp_path / "w.safetensors")
    assert set(nets_filled(program, tmp_path / "w.safetensors", raw=True)) == {"first.onnx"}
    for lost, said in (("first.linear.bias", "1 of the 2 weights of `first` are not in it"), ("", "no weight of")):
        kept = {name: each for name, each in tensors.items() if lost and name != lost}
        save_tensors(tmp_path / "w.safetensors", {**kept, "other": np.ones(1, np.float32)}, {})
        with pytest.raises(InputError, match=said):
            nets_filled(program, tmp_path / "w.safetensors", raw=True)
    (tmp_path / "none.net").write_text(TWO[: TWO.index("net first")])
    with pytest.raises(UsageError, match=r"none\.net has no net that could take the weights"):
        nets_filled(Program.open(tmp_path / "none.net"), tmp_path / "w.safetensors")
    tensors["first.linear.bias"][1] = np.nan
    save_tensors(tmp_path / "w.safetensors", tensors, {})
    with pytest.raises(InputError, match=r"first\.linear\.bias"):
        nets_filled(program, tmp_path / "w.safetensors", raw=True)
