"""`import`: a graph from elsewhere in a `.net` file: applied, cut, trained, frozen, and its mistakes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from dlc.compiler.products import unit_model
from dlc.compiler.program import Program
from dlc.dsl.diagnostics import Diagnostic, SourceError
from dlc.runtime.checkpoint import Checkpoints
from dlc.runtime.export import export
from dlc.runtime.gradcheck import gradcheck
from dlc.runtime.report.display import Display
from dlc.runtime.train import Options, View, train

TEXT = """import trunk from "trunk.onnx" { features = "pool1_fwd" }

data d {
  train = npz("d.npz")
  image: f32[1, 8, 8] = raw.image
  label: i64[] = raw.label
}

net n {
  input image: f32[B, 1, 8, 8]
  logits = trunk(image).features -> flatten -> Linear(3) as head
  return logits
}

train n on d {
  loss = cross_entropy(logits, label)
  optimizer = SGD(lr=0.1)
  batch = 4
  epochs = 1
}
"""


def trunk(batch: Any = "N", outputs: tuple[str, ...] = ("logits",)) -> onnx.ModelProto:
    """Convolution, batch normalization with statistics of its own, relu, pool; then a head."""
    rng = np.random.default_rng(0)
    make = helper.make_node
    nodes = [
        make("Conv", ["image", "conv.w", "conv.b"], ["c1"], pads=[1, 1, 1, 1]),
        make("BatchNormalization", ["c1", "bn.g", "bn.b", "bn.m", "bn.v"], ["b1"]),
        make("Mul", ["b1", "scale"], ["s1"]),
        make("Relu", ["s1"], ["r1"]),
        make("MaxPool", ["r1"], ["pool1_fwd"], kernel_shape=[2, 2], strides=[2, 2]),
        make("GlobalAveragePool", ["pool1_fwd"], ["g"]),
        make("Flatten", ["g"], ["f"]),
        make("Gemm", ["f", "fc.w", "fc.b"], ["logits"]),
        make("Softmax", ["logits"], ["p"]),
    ]
    shapes = {"conv.w": (4, 1, 3, 3), "conv.b": (4,), "bn.g": (4,), "bn.b": (4,), "bn.m": (4,), "fc.w": (4, 5),
              "fc.b": (5,), "scale": ()}  # fmt: skip
    held = [numpy_helper.from_array(np.asarray(rng.normal(size=s), np.float32), n) for n, s in shapes.items()]
    held.append(numpy_helper.from_array(np.full(4, 1.5, np.float32), "bn.v"))
    takes = [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 1, 8, 8])]
    gives = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, 5]) for name in outputs]
    graph = helper.make_graph(nodes, "trunk", takes, gives, held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DLC_CACHE", str(tmp_path / "cache"))
    onnx.save(trunk(), tmp_path / "trunk.onnx")
    rng = np.random.default_rng(1)
    images, labels = rng.normal(size=(12, 1, 8, 8)).astype(np.float32), rng.integers(0, 3, 12)
    np.savez(tmp_path / "d.npz", image=images, label=labels)
    return tmp_path


def program(folder: Path, *changes: tuple[str, str]) -> Program:
    text = TEXT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "n.net").write_text(text)
    return Program.open(folder / "n.net")


def found(folder: Path, *changes: tuple[str, str]) -> Diagnostic:
    with pytest.raises(SourceError) as caught:
        program(folder, *changes).check()
    [diagnostic] = caught.value.diagnostics
    return diagnostic


WHOLE = (' { features = "pool1_fwd" }', ""), ("trunk(image).features -> flatten", "trunk(image)")


@pytest.mark.parametrize("batch", ["N", 1])
@pytest.mark.parametrize(("value", "rest"), [("pool1_fwd", ".p1 -> flatten"), ("b1", ".p1 -> flatten"), ("p", ".p1")])
def test_values_are_those_of_the_model(folder: Path, batch: Any, value: str, rest: str) -> None:
    """For three pictures, also where the model was written for one: none of its nodes depends on that."""
    model = trunk(batch)
    onnx.save(model, folder / "trunk.onnx")
    ours = program(
        folder, ('{ features = "pool1_fwd" }', f'{{ p1 = "{value}" }}'),
        ("return logits", f"return trunk(image){rest}"), (".features", ".p1"),
        ("  logits = trunk(image).p1 -> flatten -> Linear(3) as head\n", ""),
        ("cross_entropy(logits, label)", "mean(square(trunk(image).p1))"),
    )  # fmt: skip
    unit = unit_model(ours, ours.net("n"))
    session = ort.InferenceSession(unit.SerializeToString(), providers=["CPUExecutionProvider"])
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    image = np.random.default_rng(2).normal(size=(3, 1, 8, 8)).astype(np.float32)
    feeds = {each.name: held.get(each.name.removeprefix("trunk."), image) for each in session.get_inputs()}
    [result] = session.run(None, feeds)
    model.graph.output.append(helper.make_tensor_value_info(value, TensorProto.FLOAT, None))
    theirs = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for row in range(3):
        wanted = theirs.run([value], {"image": image[row : row + 1]})[0].reshape(-1)
        np.testing.assert_allclose(result[row], wanted, rtol=1e-5, atol=1e-6)


def test_a_model_without_short_names_gives_its_outputs(folder: Path) -> None:
    assert set(program(folder, *WHOLE).net("n").weights) >= {"trunk.fc.w", "n.head.weight"}
    onnx.save(trunk(outputs=("logits", "p")), folder / "trunk.onnx")
    two = ("logits = trunk(image) -> Linear(3) as head", "a, b = trunk(image)\n  logits = a + b -> Linear(3) as head")
    assert program(folder, *WHOLE, two).check() == ()


def test_only_what_a_cut_needs_has_weights(folder: Path) -> None:
    unit = program(folder).step("n")
    roles = {address: role for address, (_, role) in unit.carried.items() if address.startswith("trunk.")}
    assert roles == {"trunk.conv.w": "parameter", "trunk.conv.b": "parameter", "trunk.bn.g": "parameter",
                     "trunk.bn.b": "parameter", "trunk.bn.m": "state", "trunk.bn.v": "state"}  # fmt: skip


def test_weights_may_be_held_by_nodes(folder: Path) -> None:
    """Some exporters write no initializers: the same tensors in Constant nodes are the same weights."""
    model = trunk()
    nodes = [helper.make_node("Constant", [], [held.name], value=held) for held in model.graph.initializer]
    before = program(folder).step("n")
    nodes.extend(model.graph.node)
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    onnx.save(model, folder / "trunk.onnx")
    held = program(folder)
    assert held.step("n").carried == before.carried
    assert all(each.right and each.norm > 1e-3 for each in gradcheck(held, "n"))


@pytest.mark.parametrize("held", [False, True], ids=["initializers", "constants"])
def test_a_run_keeps_the_files_of_tensors_too(folder: Path, held: bool) -> None:
    """The model may be gone when the run is exported, and with it the files that hold its tensors."""
    model = trunk()
    for k, tensor in enumerate(model.graph.initializer):
        data = tensor.raw_data
        (folder / f"tensor{k}.bin").write_bytes(data)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=f"tensor{k}.bin")
    if held:
        nodes = [helper.make_node("Constant", [], [each.name], value=each) for each in model.graph.initializer]
        nodes.extend(model.graph.node)
        del model.graph.node[:], model.graph.initializer[:]
        model.graph.node.extend(nodes)
    (folder / "trunk.onnx").write_bytes(model.SerializeToString())
    weights(folder, "run")
    for path in (folder / "trunk.onnx", *folder.glob("*.bin")):
        path.unlink()
    exported = export(folder / "run", folder / "n.onnx")
    session = ort.InferenceSession(exported.path, providers=["CPUExecutionProvider"])
    assert session.run(None, {"image": np.zeros((2, 1, 8, 8), np.float32)})[0].shape == (2, 3)


def test_a_graph_without_weights_cannot_be_frozen(folder: Path) -> None:
    bare = trunk()
    nodes = [helper.make_node("Relu", ["image"], ["pool1_fwd"]), helper.make_node("Flatten", ["pool1_fwd"], ["logits"])]
    del bare.graph.node[:], bare.graph.initializer[:]
    bare.graph.node.extend(nodes)
    onnx.save(bare, folder / "trunk.onnx")
    problem = found(folder, ("  loss =", "  freeze trunk\n  loss ="))
    assert (problem.code, problem.message) == ("E0201", "the graph `trunk` has no weights")


def test_gradients_go_through_it(folder: Path) -> None:
    checked = gradcheck(program(folder), "n")
    assert [each.address for each in checked][:4] == ["trunk.conv.w", "trunk.conv.b", "trunk.bn.g", "trunk.bn.b"]
    assert all(each.right and each.norm > 1e-3 for each in checked)


def weights(folder: Path, run: str, *changes: tuple[str, str]) -> dict[str, np.ndarray[Any, Any]]:
    view = View(lambda *args, **named: Display(*args, quiet=True, **named), lambda text: None)
    train(program(folder, *changes), "n", folder / run, Options(device="cpu"), view)
    checkpoint = Checkpoints(folder / run).latest()
    assert checkpoint is not None
    return checkpoint.tensors


def test_training_moves_its_weights_and_not_its_statistics(folder: Path) -> None:
    held = {f"trunk.{each.name}": numpy_helper.to_array(each) for each in trunk().graph.initializer}
    after = weights(folder, "run")
    moved = {name for name in after if name in held and not np.array_equal(after[name], held[name])}
    assert moved == {"trunk.conv.w", "trunk.conv.b", "trunk.bn.g", "trunk.bn.b"}


def test_frozen_it_stays_as_it_was(folder: Path) -> None:
    held = {f"trunk.{each.name}": numpy_helper.to_array(each) for each in trunk().graph.initializer}
    after = weights(folder, "run", ("  loss =", "  freeze trunk\n  loss ="))
    assert all(np.array_equal(after[name], held[name]) for name in after if name in held)


def test_a_group_slows_it_down(folder: Path) -> None:
    held = numpy_helper.to_array(next(each for each in trunk().graph.initializer if each.name == "conv.w"))
    steps = [
        np.abs(weights(folder, f"run{scale}", ("epochs = 1", "steps = 1"), ("  loss =", group + "  loss ="))[
            "trunk.conv.w"] - held).sum()
        for scale, group in enumerate(["", "  group trunk { lr_scale = 0.1 }\n"])
    ]  # fmt: skip
    assert steps[1] == pytest.approx(steps[0] * 0.1, rel=1e-3)


def test_a_run_holds_the_model_that_it_borrows(folder: Path) -> None:
    away = folder / "elsewhere"
    away.mkdir()
    shutil.move(folder / "trunk.onnx", away / "trunk.onnx")
    weights(folder, "run", ('"trunk.onnx"', '"elsewhere/trunk.onnx"'))
    shutil.rmtree(away)
    exported = export(folder / "run", folder / "n.onnx", False, "best", note=lambda text: None)
    session = ort.InferenceSession(exported.path, providers=["CPUExecutionProvider"])
    assert session.run(None, {"image": np.zeros((2, 1, 8, 8), np.float32)})[0].shape == (2, 3)


def test_a_value_that_is_not_there(folder: Path) -> None:
    problem = found(folder, ("pool1_fwd", "pool1_fw"))
    assert (problem.code, problem.primary.text) == ("E0702", 'did you mean "pool1_fwd"?')
    assert problem.message == '"trunk.onnx" has no value called "pool1_fw"'
    assert problem.help == "`dlc show trunk.onnx --values` lists them"


def test_a_file_that_is_not_there(folder: Path) -> None:
    problem = found(folder, ('"trunk.onnx"', '"trnk.onnx"'))
    assert (problem.code, problem.primary.text) == ("E0705", "did you mean `trunk.onnx`?")


def test_a_file_that_is_no_model(folder: Path) -> None:
    (folder / "trunk.onnx").write_bytes(trunk().SerializeToString()[:300])
    problem = found(folder)
    assert problem.code == "E0706" and "this is no ONNX model, or one that was cut off" in problem.primary.text


def test_inputs_that_do_not_fit(folder: Path) -> None:
    problem = found(folder, ("trunk(image)", "trunk(flatten(image))"))
    assert (problem.code, problem.message) == ("E0301", "`trunk` takes `image`, f32[N, 1, 8, 8]")
    problem = found(folder, ("trunk(image)", "trunk(image, image)"))
    assert problem.message == "`trunk` has 1 inputs and is given 2" and problem.notes[0] == "its inputs are `image`"
    problem = found(folder, ("trunk(image)", "trunk(picture=image)"))
    assert problem.message == "`trunk` has no further input `picture`"


BIGGER = ("f32[1, 8, 8] =", "f32[1, 12, 10] ="), ("f32[B, 1, 8, 8]", "f32[B, 1, 12, 10]")


@pytest.mark.parametrize("batch", ["N", 1])
def test_pictures_of_another_size_go_as_far_as_the_layers_take_them(folder: Path, batch: Any) -> None:
    """Convolutions and pools do not mind; what comes out is what the model gives that is written for that size."""
    model = trunk(batch)
    onnx.save(model, folder / "trunk.onnx")
    ours = program(folder, *BIGGER, ("-> flatten -> Linear(3) as head", "-> global_avg_pool"))
    assert "n.head.weight" not in ours.net("n").weights
    unit = unit_model(ours, ours.net("n"))
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    image = np.random.default_rng(2).normal(size=(3, 1, 12, 10)).astype(np.float32)
    session = ort.InferenceSession(unit.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {each.name: held.get(each.name.removeprefix("trunk."), image) for each in session.get_inputs()}
    [result] = session.run(None, feeds)
    for axis, size in enumerate((3, 1, 12, 10)):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = size
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("pool1_fwd", TensorProto.FLOAT, None))
    theirs = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(result, theirs.run(None, {"image": image})[0].mean((2, 3)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (12, 10)])
def test_pictures_of_another_size_do_not_pass_a_layer_that_reads_whole_ones(
    folder: Path, height: int, width: int
) -> None:
    """Where a reshape would make four examples of a picture twice as big, or where the sizes do not go together."""
    model = trunk(1)
    reshape = helper.make_node("Reshape", ["pool1_fwd", "target"], ["rows"])
    model.graph.node.extend([reshape, helper.make_node("Tanh", ["rows"], ["tanh"])])
    model.graph.initializer.append(numpy_helper.from_array(np.array([-1, 64]), "target"))
    onnx.save(model, folder / "trunk.onnx")
    cut = ('"pool1_fwd"', '"tanh"')
    assert program(folder, cut).net("n").weights["n.head.weight"].shape == (64, 3)
    sizes = [(old, new.replace("12, 10", f"{height}, {width}")) for old, new in BIGGER]
    problem = found(folder, cut, *sizes)
    assert (problem.code, problem.message) == ("E0301", "`trunk` takes `image`, f32[1, 1, 8, 8]")
    assert problem.primary.text == f"this is f32[B, 1, {height}, {width}]"


def test_a_borrowed_graph_is_frozen_before_the_line_that_uses_it(folder: Path) -> None:
    """As in style transfer: the section itself applies the graph, further down."""
    held = {f"trunk.{each.name}": numpy_helper.to_array(each) for each in trunk().graph.initializer}
    inside = ("trunk(image).features -> flatten", "image -> flatten")
    section = (
        "  loss = cross_entropy(logits, label)",
        "  freeze trunk\n  seen = trunk(image).features\n  loss = cross_entropy(logits, label) + mean(square(seen))",
    )
    ours = program(folder, inside, section)
    assert ours.check() == ()
    roles = {a: role for a, (_, role) in ours.step("n").carried.items() if a.startswith("trunk.")}
    assert set(roles.values()) == {"frozen"} and set(roles) == set(held) - {"trunk.fc.w", "trunk.fc.b", "trunk.scale"}
    slower = program(folder, inside, (section[0], section[1].replace("freeze trunk", "group trunk { lr_scale = 0.1 }")))
    assert slower.check() == ()
    assert {role for a, (_, role) in slower.step("n").carried.items() if a == "trunk.conv.w"} == {"parameter"}


def test_a_record_is_no_tensor(folder: Path) -> None:
    problem = found(folder, ("trunk(image).features", "trunk(image)"))
    assert problem.code == "E0302"
    problem = found(folder, ("trunk(image).features", "trunk(image).feature"))
    assert problem.primary.text == "did you mean `features`?"


def test_the_braces_hold_names_of_values(folder: Path) -> None:
    assert found(folder, ('features = "pool1_fwd"', "features = 3")).code == "E0206"
