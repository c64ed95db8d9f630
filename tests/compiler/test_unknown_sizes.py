"""Names of sizes that depend on data: a function of the model, whatever the process compiled before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import helper
from onnx_models import model

from dlc.compiler import passes
from dlc.compiler.build import Builder, op
from dlc.compiler.derivative import derivative, differentiated
from dlc.compiler.emit import emit, serialized
from dlc.compiler.importer import load, of_model
from dlc.compiler.passes import lower
from dlc.compiler.products import products
from dlc.compiler.program import Program
from dlc.compiler.text import constants, from_text, to_text
from dlc.compiler.types import Type, symbols
from dlc.dsl.diagnostics import SourceError

N = helper.make_node


def chosen() -> onnx.ModelProto:
    """The rows of x at the places of c, in the shape that t says."""
    nodes = [N("Compress", ["x", "c"], ["rows"], axis=0), N("Reshape", ["rows", "t"], ["r"]), N("Tanh", ["r"], ["y"])]
    inputs = {"x": ("float", [None, 3]), "c": ("bool", [None]), "t": ("int64", [2])}
    return model(nodes, inputs, ["y"])


def compiled() -> tuple[bytes, bytes, str]:
    loaded = of_model(chosen())
    plain = emit(passes.run(loaded.inlined(), passes.INFERENCE))
    grad = differentiated(loaded, derivative(loaded, "y", ["x"], cotangent=True)[0])
    return serialized(plain), serialized(grad), to_text(loaded.graph)


def test_the_same_model_gives_the_same_bytes() -> None:
    first = compiled()
    of_model(model([N("NonZero", ["x"], ["i"]), N("NonZero", ["i"], ["y"])], {"x": ("float", [None])}, ["y"]))
    assert compiled() == first


def test_names_are_counted_from_the_inputs_on() -> None:
    graph = of_model(chosen()).graph
    assert [str(value.type) for value in graph.inputs] == ["f32[?0, 3]", "bool[?1]", "i64[2]"]
    assert str(graph.outputs["y"].type) == "f32[?3, ?4]"
    text = to_text(graph)
    assert to_text(from_text(text, constants(graph))) == text


def test_a_pass_gives_no_name_that_is_taken() -> None:
    graph = of_model(chosen()).graph
    more = Builder()
    more.inputs.extend(graph.inputs)
    for node in graph.nodes:
        more.adopt(node)
    with more:
        made = op.NonZero(graph.outputs["y"])
    assert str(made.type) == "i64[2, ?5]"
    with Builder() as fresh:
        x = fresh.input("x", Type("f32", graph.inputs[0].shape))
        assert str(op.NonZero(x).type) == "i64[2, ?1]"


def test_a_body_and_the_graph_around_it_share_no_name() -> None:
    inner = helper.make_graph([N("NonZero", ["x"], ["i"])], "yes", [], [onnx.ValueInfoProto(name="i")])
    other = helper.make_graph([N("NonZero", ["z"], ["j"])], "no", [], [onnx.ValueInfoProto(name="j")])
    nodes = [N("Neg", ["x"], ["z"]), N("If", ["c"], ["k"], then_branch=inner, else_branch=other),
             N("NonZero", ["k"], ["y"])]  # fmt: skip
    graph = of_model(model(nodes, {"x": ("float", [3]), "c": ("bool", [])}, ["y"])).graph
    made = [node for node in graph.nodes if "declared" in node.attributes]
    inside = [each for node in graph.nodes for body in node.bodies for each in body.nodes]
    names = [set(symbols(node.output.shape[-1])) for node in (*made, *inside) if node.op in ("NonZero", "If")]
    assert len(names) == 4 and len(set.union(*names)) == 4
    lower(graph)


TEXT = """
import rows from "rows.onnx"

net n {
  input a: f32[B, 3], b: f32[B, 3]
  return RESULT
}
"""


def program(folder: Path, result: str) -> Program:
    onnx.save(model([N("NonZero", ["x"], ["i"]), N("Transpose", ["i"], ["y"])], {"x": ("float", ["N", 3])}, ["y"]),
              folder / "rows.onnx")  # fmt: skip
    (folder / "n.net").write_text(TEXT.replace("RESULT", result))
    return Program.open(folder / "n.net")


def test_a_borrowed_graph_has_other_sizes_at_each_application(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        program(tmp_path, "rows(a) + rows(b)").check()
    assert caught.value.diagnostics[0].code == "E0301"
    program(tmp_path, "rows(a)").check()


def test_a_program_that_borrows_gives_the_same_bytes_again(tmp_path: Path) -> None:
    def once() -> Any:
        return {name: serialized(made) for name, made in products(program(tmp_path, "rows(a)")).items()}

    first = once()
    load(tmp_path / "rows.onnx")
    assert once() == first
    assert any(b"?" in data for data in first.values())
