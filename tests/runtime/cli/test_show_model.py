"""`dlc show MODEL.onnx`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from cli_cases import Dlc
from onnx import TensorProto, helper, numpy_helper


@pytest.fixture
def model(tmp_path: Path) -> Path:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Floor", ["v"], ["steps"]),
        helper.make_node("Mul", ["h", "steps"], ["y"]),
    ]
    held = [numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in (("w", (3, 2)), ("v", (2,)))]
    takes = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])]
    gives = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])]
    graph = helper.make_graph(nodes, "small", takes, gives, held)
    path = tmp_path / "small.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_what_it_takes_gives_and_holds(dlc: Dlc, model: Path) -> None:
    shown = dlc("show", model).out
    assert "opset 17, 3 nodes, 8 weights in 2 tensors" in shown
    assert "takes  x  f32[N, 3]" in shown and "gives  y  f32[N, 2]" in shown
    assert "\nsteps " not in shown and f"dlc show {model} --values" in shown


def test_operators_are_those_of_the_file(dlc: Dlc, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["size"]),
        helper.make_node("Reshape", ["v", "size"], ["r"]),
        helper.make_node("Expand", ["r", "size"], ["e"]),
        helper.make_node("Mul", ["x", "e"], ["y"]),
    ]
    held = [numpy_helper.from_array(np.ones((2, 3), np.float32), "v")]
    takes, gives = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [3, 2]) for name in "xy")
    graph = helper.make_graph(nodes, "small", [takes], [gives], held)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "s.onnx")
    shown = dlc("show", tmp_path / "s.onnx", "--values").out
    assert "4 nodes" in shown and "operators: 1 Shape, 1 Reshape, 1 Expand, 1 Mul" in shown and "dlc." not in shown


def test_its_values_and_what_a_gradient_reaches(dlc: Dlc, model: Path) -> None:
    shown = dlc("show", model, "--values").out
    assert "v      f32[2]     weight   no: Floor: it is flat between its steps" in shown
    assert "h      f32[N, 2]  MatMul   yes" in shown
    found = json.loads(dlc("show", model, "--json").out)
    assert {each["name"]: each["gradient"] for each in found["values"]} == {
        "x": True, "w": True, "v": False, "h": True, "steps": True, "y": True
    }  # fmt: skip


def test_its_picture(dlc: Dlc, model: Path, tmp_path: Path) -> None:
    done = dlc("show", model, "--graph", "-o", tmp_path / "small.svg")
    assert done.code == 0 and "<svg" in (tmp_path / "small.svg").read_text()
    assert dlc("show", model, "--graph", "-o", tmp_path / "small.png").code == 2


def test_mistakes(dlc: Dlc, model: Path, tmp_path: Path, tiny: Path) -> None:
    assert dlc("show", tmp_path / "none.onnx").code == 1
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x07nonsense")
    assert dlc("show", tmp_path / "bad.onnx").code == 1
    assert "--values is for ONNX models" in dlc("show", tiny, "--values").err
    assert "writes the gradient graph of a model" in dlc("show", model, "--graph", "--gradient").err


@pytest.mark.parametrize(("kind", "help"), [(TensorProto.UINT8, "--raw"), (TensorProto.INT64, "--values")])
def test_a_gradient_by_integers_says_what_helps(dlc: Dlc, tmp_path: Path, kind: int, help: str) -> None:
    nodes = [
        helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0),
    ]
    takes = [helper.make_tensor_value_info("image", kind, ["N", 3])]
    gives = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [])]
    graph = helper.make_graph(nodes, "small", takes, gives)
    model = tmp_path / "small.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), model)
    done = dlc("grad", model, "--wrt", "image", "-o", tmp_path / "grad.onnx")
    assert (done.code, "a gradient is of floats" in done.err) == (1, True)
    assert help in done.err.splitlines()[1]
