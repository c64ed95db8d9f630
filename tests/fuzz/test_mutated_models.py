"""Spoilt models are read or refused: no crash, no other exception, no long wait, no file outside of their folder.

DLC_FUZZ=10000 makes 5,000 of them; there are 300 without it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import small_models
from onnx import TensorProto, helper

from dlc.compiler.emit import emit
from dlc.compiler.importer import BadModel, load, of_model
from dlc.compiler.passes import INFERENCE, run
from dlc.compiler.registry import IllTyped

COUNT = max(300, int(os.environ.get("DLC_FUZZ", "0")) // 2)
WORKER = Path(__file__).with_name("onnx_worker.py")
PARTS = 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder with data in it, and files outside that links lead to."""
    inside = tmp_path / "inside"
    (inside / "folder").mkdir(parents=True)
    (inside / "weights.bin").write_bytes(bytes(4096))
    outside = tmp_path / "outside.bin"
    outside.write_bytes(bytes(4096))
    (inside / "link.bin").symlink_to(outside)
    os.link(outside, inside / "hard.bin")
    return inside


@pytest.mark.parametrize("way", ["spoilt", "misled"])
@pytest.mark.parametrize("part", range(PARTS))
def test_spoilt_models(part: int, way: str, folder: Path) -> None:
    size = COUNT // PARTS
    first, last = part * size, (part + 1) * size
    outcomes: Counter[str] = Counter()
    wrong = []
    while first < last:
        done = subprocess.run(
            [sys.executable, str(WORKER), str(folder), str(first), str(last), way],
            capture_output=True,
            text=True,
            check=False,
        )
        lines = [line for line in done.stdout.splitlines() if line]
        for line in lines:
            seed, _, said = line.partition(" ")
            outcomes[said.partition(":")[0]] += 1
            if said.startswith("wrong"):
                wrong.append(f"{seed}: {said}")
        if done.returncode == 0:
            break
        assert lines, done.stderr[-2000:]
        crashed = int(lines[-1].partition(" ")[0])
        wrong.append(f"{crashed}: the process ended with {done.returncode}: {done.stderr.strip()[-200:]}")
        first = crashed + 1
    assert not wrong, "\n".join(wrong[:20])
    assert outcomes["read"] > size // 10 and outcomes["refused"] > size // 10, outcomes


def test_the_small_models_are_sound(tmp_path: Path) -> None:
    """They compile as they are: what is refused of them is refused for what was spoilt."""
    (tmp_path / small_models.DATA).write_bytes(bytes(4096))
    for proto in small_models.models():
        (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
        assert emit(run(load(tmp_path / "m.onnx").inlined(), INFERENCE)).graph.node


SHOWN: dict[str, list[onnx.NodeProto]] = {
    "Shape": [helper.make_node("Shape", ["w"], ["y"])],
    "Size": [helper.make_node("Size", ["w"], ["y"])],
    "an element of Shape": [helper.make_node("Shape", ["w"], ["s"]), helper.make_node("Gather", ["s", "k"], ["y"])],
}


@pytest.mark.parametrize("what", SHOWN)
def test_a_size_that_depends_on_data_is_all_that_is_asked_for(what: str) -> None:
    graph = helper.make_graph(
        [helper.make_node("NonZero", ["x"], ["w"]), *SHOWN[what]], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])], [onnx.ValueInfoProto(name="y")],
        [helper.make_tensor("k", TensorProto.INT64, [], [1])],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=8)
    made = emit(run(of_model(proto).inlined(), INFERENCE))
    assert "NonZero" in [node.op_type for node in made.graph.node]


@pytest.mark.parametrize("name", ["link.bin", "hard.bin", "folder"])
def test_what_is_refused_is_not_even_opened(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link or a device is told by its entry: opening some devices does something."""
    tensor = TensorProto(name="w", dims=[4], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=name)
    graph = helper.make_graph([helper.make_node("Neg", ["w"], ["y"])], "g", [], [onnx.ValueInfoProto(name="y")])
    graph.initializer.append(tensor)
    path = folder / "m.onnx"
    path.write_bytes(helper.make_model(graph, ir_version=8).SerializeToString())
    opened: list[Any] = []
    plain = os.open

    def opening(file: Any, *args: Any, **named: Any) -> int:
        opened.append(file)
        return plain(file, *args, **named)

    monkeypatch.setattr(os, "open", opening)
    with pytest.raises(BadModel, match="link"):
        load(path)
    assert not [each for each in opened if Path(each).name == name]


def _huge(name: str) -> onnx.ModelProto:
    """Sizes that nothing can hold, but a model may name."""
    if name == "Resize":
        node = helper.make_node("Resize", ["x", "", "", "s"], ["y"], mode="linear")
        held = onnx.numpy_helper.from_array(np.array([1, 1, 2**62]), "s")
        takes, tensors = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 3])], [held]
    else:
        node, tensors = helper.make_node("Attention", ["x", "k", "k"], ["y"], is_causal=1), []
        takes = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 2**40, 2]),
                 helper.make_tensor_value_info("k", TensorProto.FLOAT, [1, 1, 3, 2])]  # fmt: skip
    graph = helper.make_graph([node], "g", takes, [onnx.ValueInfoProto(name="y")], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)


@pytest.mark.parametrize("name", ["Resize", "Attention"])
def test_sizes_that_nothing_can_hold_make_no_constants(name: str) -> None:
    assert emit(run(of_model(_huge(name)).inlined(), INFERENCE)).ByteSize() < 1 << 20


def test_work_that_attributes_drive_is_left_to_the_runtime() -> None:
    """onnx's reference counts up to max_skip_count by itself."""
    node = helper.make_node(
        "TfIdfVectorizer", ["x"], ["y"], mode="TF", min_gram_length=2, max_gram_length=2, max_skip_count=2**40,
        ngram_counts=[0, 4], ngram_indexes=[0, 1], pool_int64s=[2, 3, 5, 4],
    )  # fmt: skip
    tensor = onnx.numpy_helper.from_array(np.array([1, 2, 3, 5, 4]), "x")
    graph = helper.make_graph([node], "g", [], [onnx.ValueInfoProto(name="y")], [tensor])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    assert [n.op_type for n in emit(run(of_model(proto).inlined(), INFERENCE)).graph.node] == ["TfIdfVectorizer"]


FOLDED: dict[str, tuple[onnx.NodeProto, dict[str, Any]]] = {
    "a reduction that nobody knows": (
        helper.make_node("ScatterElements", ["x", "i", "x"], ["y"], reduction="forward"),
        {"x": np.ones(2, np.float32), "i": np.array([1, 0])}),
    "more groups than channels": (
        helper.make_node("ConvInteger", ["x", "w"], ["y"], group=2**40),
        {"x": np.ones((1, 1, 3, 3), np.uint8), "w": np.ones((1, 1, 2, 2), np.uint8)}),
    "a precision that is no type": (
        helper.make_node("Attention", ["x", "x", "x"], ["y"], softmax_precision=-3),
        {"x": np.ones((1, 1, 2, 2), np.float32)}),
    "axes in two dimensions": (
        helper.make_node("ReduceSum", ["x", "a"], ["y"]),
        {"x": np.ones((2, 2), np.float32), "a": np.ones((2, 0), np.int64)}),
}  # fmt: skip


@pytest.mark.parametrize("what", FOLDED)
def test_what_only_onnx_takes_is_not_computed(what: str) -> None:
    """Constants that an operator's own rule refuses, and onnx's inference does not: read and left, or refused."""
    node, held = FOLDED[what]
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in held.items()]
    graph = helper.make_graph([node], "g", [], [onnx.ValueInfoProto(name="y")], tensors)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    try:
        made = emit(run(of_model(proto).inlined(), INFERENCE))
    except (BadModel, IllTyped):
        return
    assert node.op_type in [each.op_type for each in made.graph.node]


def test_names_that_are_no_text_are_told(tmp_path: Path) -> None:
    """Protobuf gives names that are not UTF-8 as bytes: of inputs, weights, constants, operators, graphs."""
    weight = onnx.numpy_helper.from_array(np.ones((3, 2), np.float32), "weight")
    nodes = [
        helper.make_node("Constant", [], ["held"], value=weight),
        helper.make_node("MatMul", ["input", "weight"], ["hidden"]),
        helper.make_node("MatMul", ["input", "held"], ["other"]),
        helper.make_node("Add", ["hidden", "other"], ["output"]),
    ]
    given = [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["B", 3])]
    made = [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["B", 2])]
    graph = helper.make_graph(nodes, "graph", given, made, [weight])
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    load(path)
    for name in (b"input", b"weight", b"held", b"hidden", b"MatMul", b"Constant", b"graph", b"output"):
        path.write_bytes(content.replace(name, b"\xf4\xff" + name[2:]))
        with pytest.raises(BadModel, match="is not UTF-8"):
            load(path)
