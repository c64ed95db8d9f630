"""Gradients by what a model computes: those of the model cut there, whatever passes would make of the value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx_models import model, ran
from test_node_gradients import double

from dlc.compiler.derivative import Underivable, derivative, differentiated, reach
from dlc.compiler.evaluate import evaluate
from dlc.compiler.importer import of_model
from dlc.compiler.passes.differentiate import differentiate
from dlc.runtime.cli import main

Array = np.ndarray[Any, Any]
N = helper.make_node
X = np.array([[1.0, 2.0, 5.0], [0.5, 3.0, 0.25]], np.float32)
HELD = {
    "zero": np.float32(0), "one": np.float32(1), "two": np.float32(2), "three": np.float32(3),
    "flat": np.array([-1]), "back": np.array([-1, 3]), "none": np.array([], np.int64),
}  # fmt: skip
SAME = np.arange(9, dtype=np.float32).reshape(3, 3)
# What gives h (and k) of x, and what gives y of h.
FORMS: dict[str, tuple[list[onnx.NodeProto], list[onnx.NodeProto]]] = {
    "two equal nodes": ([N("Relu", ["x"], ["h"]), N("Relu", ["x"], ["k"])], [N("Mul", ["h", "k"], ["y"])]),
    "a difference of equals": ([N("Exp", ["x"], ["h"]), N("Exp", ["x"], ["k"])], [N("Sub", ["h", "k"], ["y"])]),
    "sums of either order": (
        [N("Add", ["x", "two"], ["h"]), N("Add", ["two", "x"], ["k"])], [N("Mul", ["h", "k"], ["y"])],
    ),
    "products of equal weights": (
        [N("MatMul", ["x", "v"], ["h"]), N("MatMul", ["x", "w"], ["k"])], [N("Mul", ["h", "k"], ["y"])],
    ),
    "factors of one value": (
        [N("Mul", ["x", "two"], ["h"]), N("Mul", ["x", "three"], ["k"])], [N("Add", ["h", "k"], ["y"])],
    ),
    "a chain of factors": ([N("Mul", ["x", "two"], ["h"])], [N("Mul", ["h", "three"], ["y"])]),
    "a chain of terms": ([N("Add", ["x", "two"], ["h"])], [N("Add", ["h", "three"], ["y"])]),
    "a factor of one": ([N("Mul", ["x", "one"], ["h"])], [N("Mul", ["h", "x"], ["y"])]),
    "a term of zero": ([N("Add", ["x", "zero"], ["h"])], [N("Mul", ["h", "x"], ["y"])]),
    "the same": ([N("Identity", ["x"], ["h"])], [N("Mul", ["h", "x"], ["y"])]),
    "a cast to the same": ([N("Cast", ["x"], ["h"], to=1)], [N("Mul", ["h", "x"], ["y"])]),
    "a sum of one": ([N("Sum", ["x"], ["h"])], [N("Mul", ["h", "x"], ["y"])]),
    "a reshape to the same": ([N("Reshape", ["x", "back"], ["h"])], [N("Mul", ["h", "x"], ["y"])]),
    "a sum over no axes": (
        [N("ReduceSum", ["x", "none"], ["h"], noop_with_empty_axes=1)], [N("Mul", ["h", "x"], ["y"])],
    ),
    "signs": ([N("Neg", ["x"], ["h"])], [N("Neg", ["h"], ["k"]), N("Mul", ["k", "k"], ["y"])]),
    "a logarithm of powers": ([N("Exp", ["x"], ["h"])], [N("Log", ["h"], ["k"]), N("Mul", ["k", "k"], ["y"])]),
    "a root of squares": ([N("Mul", ["x", "x"], ["h"])], [N("Sqrt", ["h"], ["y"])]),
    "a logarithm of shares": ([N("Softmax", ["x"], ["h"])], [N("Log", ["h"], ["y"])]),
    "turned and back": (
        [N("Transpose", ["x"], ["h"], perm=[1, 0])],
        [N("Transpose", ["h"], ["k"], perm=[1, 0]), N("Mul", ["k", "k"], ["y"])],
    ),
    "another shape and back": (
        [N("Reshape", ["x", "flat"], ["h"])], [N("Reshape", ["h", "back"], ["k"]), N("Mul", ["k", "k"], ["y"])],
    ),
    "wider and back": ([N("Cast", ["x"], ["h"], to=11)], [N("Cast", ["h"], ["k"], to=1), N("Mul", ["k", "k"], ["y"])]),
    "constants alone": ([N("Exp", ["two"], ["h"])], [N("Mul", ["h", "x"], ["y"])]),
}  # fmt: skip


def proto(name: str) -> onnx.ModelProto:
    before, after = FORMS[name]
    held = {**HELD, "v": SAME, "w": SAME}
    used = {each for node in (*before, *after) for each in node.input}
    constants = {key: array for key, array in held.items() if key in used}
    return model([*before, *after], {"x": ("float", ["N", 3])}, ("y", "h"), constants=constants)


def by_differences(whole: onnx.ModelProto, h: Array, cotangent: Array) -> Array:
    """The gradient of sum(cotangent * y) by h, of the model in float64 that takes h instead of computing it."""
    cut = onnx.ModelProto()
    cut.CopyFrom(whole)
    nodes = [node for node in whole.graph.node if "h" not in node.output]
    del cut.graph.node[:], cut.graph.output[1:]
    cut.graph.node.extend(nodes)
    kind = 11 if h.dtype == np.float64 else 1
    cut.graph.input.append(helper.make_tensor_value_info("h", kind, h.shape))
    graph = double(of_model(cut).inlined())
    found = np.zeros(h.shape)
    for place in np.ndindex(*h.shape):
        sides = []
        for step in (1e-5, -1e-5):
            moved = h.astype(np.float64)
            moved[place] += step
            sides.append((evaluate(graph, {"x": X.astype(np.float64), "h": moved})["y"] * cotangent).sum())
        found[place] = (sides[0] - sides[1]) / 2e-5
    return found


@pytest.mark.parametrize("name", FORMS)
def test_the_gradient_is_that_of_the_model_cut_there(name: str) -> None:
    whole = proto(name)
    loaded = of_model(whole, asked=["h"])
    y, h = ran(whole, {"x": X})
    cotangent = np.random.default_rng(2).standard_normal(y.shape).astype(np.float32)
    made = differentiated(loaded, derivative(loaded, "y", ["h", "x"], cotangent=True)[0])
    results = dict(zip([each.name for each in made.graph.output], ran(made, {"x": X, "y:cotangent": cotangent}),
                       strict=True))  # fmt: skip
    np.testing.assert_allclose(results["y"], y, rtol=1e-6)
    np.testing.assert_allclose(results["h:grad"], by_differences(whole, h, cotangent), rtol=1e-4, atol=1e-4)
    plain = of_model(whole)
    without = differentiated(plain, derivative(plain, "y", ["x"], cotangent=True)[0])
    np.testing.assert_allclose(results["x:grad"], ran(without, {"x": X, "y:cotangent": cotangent})[-1], rtol=1e-5,
                               atol=1e-6)  # fmt: skip


def test_both_of_two_equal_nodes() -> None:
    whole = model([*FORMS["two equal nodes"][0], N("Mul", ["h", "k"], ["m"]), N("Mul", ["m", "k"], ["y"])],
                  {"x": ("float", ["N", 3])}, ("y",))  # fmt: skip
    loaded = of_model(whole, asked=["h", "k"])
    made = differentiated(loaded, derivative(loaded, "y", ["h", "k"], cotangent=True, second=True)[0])
    ones = np.ones_like(X)
    found = ran(made, {"x": X, "y:cotangent": ones, "h:vector": ones, "k:vector": 2 * ones})
    results = dict(zip([each.name for each in made.graph.output], found, strict=True))
    np.testing.assert_allclose(results["h:grad"], X**2, rtol=1e-6)
    np.testing.assert_allclose(results["k:grad"], 2 * X * X, rtol=1e-6)
    np.testing.assert_allclose(results["h:hvp"], 4 * X, rtol=1e-6)  # y = h k^2: d/dk 2 . 2k
    np.testing.assert_allclose(results["k:hvp"], 2 * X + 4 * X, rtol=1e-6)


def test_a_value_that_nobody_asked_for_is_told() -> None:
    loaded = of_model(proto("the same"))
    with pytest.raises(Underivable, match="h is computed inside the model: read the model with it among those `asked`"):
        derivative(of_model(proto("signs")), "y", ["h"], cotangent=True)
    assert {each.name for each in reach(loaded) if each.reached} == {"x", "h", "y"}  # though nothing computes h


def test_what_made_the_value_need_not_be_differentiable() -> None:
    """By the result of an operator that has no gradient here: nothing goes through it."""
    nodes = [N("CumProd", ["x", "axis"], ["h"]), N("Mul", ["h", "h"], ["y"])]
    whole = model(nodes, {"x": ("float", ["N", 3]), "axis": ("int64", [])}, ("y",), opsets={"": 26})
    loaded = of_model(whole, asked=["h"])
    graph = derivative(loaded, "y", ["h"], cotangent=True)[0]
    feeds = {"x": X, "axis": np.array(1), "y:cotangent": np.ones_like(X)}
    np.testing.assert_allclose(evaluate(differentiate(graph), feeds)["h:grad"], 2 * X.cumprod(1), rtol=1e-6)


def test_one_output_does_not_stand_in_the_way_of_another() -> None:
    nodes = [
        N("MaxPool", ["x"], ["p"], kernel_shape=[2, 2], strides=[3, 3], auto_pad="SAME_UPPER"),
        N("Mul", ["x", "x"], ["q"]),
    ]
    loaded = of_model(model(nodes, {"x": ("float", ["N", 2, "H", "W"])}, ("p", "q")))
    assert {each.name for each in reach(loaded) if each.reached} == {"x", "p", "q"}
    differentiated(loaded, derivative(loaded, "q", ["x"], cotangent=True)[0])
    with pytest.raises(Underivable, match="needs a known size"):
        derivative(loaded, "p", ["x"], cotangent=True)


def test_the_command(tmp_path: Path) -> None:
    onnx.save(proto("a logarithm of shares"), tmp_path / "m.onnx")
    out = tmp_path / "g.onnx"
    assert main(["grad", str(tmp_path / "m.onnx"), "--of", "y", "--cotangent", "--wrt", "h", "-o", str(out)]) == 0
    made = onnx.load(out)
    assert {node.op_type for node in made.graph.node} <= {"Softmax", "LogSoftmax", "Log", "Div", "Mul"}  # and no mark
    h = ran(proto("a logarithm of shares"), {"x": X})[1]
    np.testing.assert_allclose(ran(made, {"x": X, "y:cotangent": np.ones_like(X)})[-1], 1 / h, rtol=1e-5)


def test_shapes_of_weights_do_not_make_them_constants() -> None:
    """An embedding whose width is read off its table, in an initializer or a Constant node."""
    table = np.random.default_rng(1).standard_normal((7, 4)).astype(np.float32)
    nodes = [
        N("Gather", ["table", "ids"], ["g"]), N("Shape", ["table"], ["s"]), N("Gather", ["s", "last"], ["width"]),
        N("Concat", ["any", "width"], ["to"], axis=0), N("Reshape", ["g", "to"], ["y"]),
    ]  # fmt: skip
    held = {"last": np.array([1]), "any": np.array([-1])}
    first = model(nodes, {"ids": ("int64", ["N"])}, ("y",), constants={**held, "table": table})
    constant = N("Constant", [], ["table"], value=numpy_helper.from_array(table))
    second = model([constant, *nodes], {"ids": ("int64", ["N"])}, ("y",), constants=held)
    assert list(of_model(first).weights) == list(of_model(second).weights) == ["table"]


def test_what_a_function_reads_is_a_constant() -> None:
    body = [N("Resize", ["a", "", "by"], ["b"], mode="nearest")]
    function = helper.make_function("own", "Twice", ["a", "by"], ["b"], body, [helper.make_opsetid("", 21)])
    scales = N("Constant", [], ["scales"], value=numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32)))
    call = N("Twice", ["x", "scales"], ["y"], domain="own")
    whole = model([scales, call], {"x": ("float", [1, 2, 3, 4])}, ("y",), functions=[function], opsets={"own": 1})
    loaded = of_model(whole)
    assert not loaded.weights and loaded.graph.outputs["y"].shape == (1, 2, 6, 8)


def test_a_function_with_an_operator_s_name_reads_what_its_body_reads() -> None:
    """`Clip` of a domain of its own adds its second input: that is a weight, not a bound."""
    body = [N("Add", ["a", "b"], ["c"])]
    function = helper.make_function("own", "Clip", ["a", "b"], ["c"], body, [helper.make_opsetid("", 21)])
    call = N("Clip", ["x", "bias"], ["y"], domain="own")
    held = {"bias": np.ones(3, np.float32)}
    whole = model([call], {"x": ("float", ["N", 3])}, ("y",), constants=held, functions=[function], opsets={"own": 1})
    assert list(of_model(whole).weights) == ["bias"]
