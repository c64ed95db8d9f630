"""Weights that a model holds in Constant nodes; bounds, scales and single numbers that a gradient is asked by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import assert_same, model, ran
from run_time import check

from dlc.compiler.derivative import Underivable, derivative, differentiated, reach
from dlc.compiler.importer import BadModel, of_model
from dlc.runtime.cli import main

try:
    import torch
except ImportError:
    torch = None  # type: ignore[assignment]

N = helper.make_node
RNG = np.random.default_rng(7)
W, B = RNG.standard_normal((3, 4)).astype(np.float32), RNG.standard_normal(4).astype(np.float32)
LOSS = N("ReduceSum", ["y"], ["loss"], keepdims=0)


def constant(name: str, array: Any) -> onnx.NodeProto:
    return N("Constant", [], [name], value=numpy_helper.from_array(np.asarray(array), "held"))


def clipped(*, bounds: bool = False) -> onnx.ModelProto:
    """loss = sum(clip(x W + b, lo, hi)), with all that is fixed in Constant nodes; or with the bounds as inputs."""
    held = [constant("W", W), constant("b", B)]
    more = [constant("lo", np.float32(-0.5)), N("Constant", [], ["hi"], value_float=0.75)]
    nodes = [N("MatMul", ["x", "W"], ["h"]), N("Add", ["h", "b"], ["a"]), N("Clip", ["a", "lo", "hi"], ["y"]), LOSS]
    given = {"lo": ("float", []), "hi": ("float", [])} if bounds else {}
    return model([*held, *([] if bounds else more), *nodes], {"x": ("float", ["N", 3]), **given}, ("loss",))


def test_tensors_of_several_numbers_are_weights() -> None:
    imported = of_model(clipped())
    assert {name: array.shape for name, array in imported.weights.items()} == {"W": (3, 4), "b": (4,)}
    assert imported.graph.input_names == ("x", "W", "b")
    assert_same(clipped(), {"x": RNG.standard_normal((5, 3)).astype(np.float32)})


def test_what_is_asked_for_is_a_weight() -> None:
    imported = of_model(clipped(), asked=["lo", "hi", "W"])
    assert imported.graph.input_names == ("x", "W", "b", "lo", "hi")
    assert imported.weights["hi"] == np.float32(0.75) and imported.weights["lo"].shape == ()
    graph, weights = derivative(imported, "loss", ["W", "b", "lo", "hi", "x"])
    assert weights == ["W", "b", "lo", "hi"]
    x = RNG.standard_normal((5, 3)).astype(np.float32)
    made = differentiated(imported, graph)
    names = [info.name for info in made.graph.output]
    found = dict(zip(names, ran(made, {"x": x}), strict=True))
    a = x @ W + B
    inside = ((a >= -0.5) & (a <= 0.75)).astype(np.float32)
    np.testing.assert_allclose(found["W:grad"], x.T @ inside, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["b:grad"], inside.sum(0), rtol=1e-6)
    assert found["lo:grad"] == (a < -0.5).sum() and found["hi:grad"] == (a > 0.75).sum()


def test_bounds_that_are_fed_have_gradients() -> None:
    x = RNG.standard_normal((5, 3)).astype(np.float32)
    bounds = np.array([[-0.5, 0.75], [0.3, 0.4]], np.float32)
    fed = [{"x": x, "lo": pair[0, ...], "hi": pair[1, ...]} for pair in bounds]

    def peer(x: Any, lo: Any, hi: Any) -> Any:
        wide = [torch.from_numpy(each).to(x.dtype) for each in (W, B)]
        return torch.minimum(torch.maximum(x @ wide[0] + wide[1], lo), hi).sum()

    check(clipped(bounds=True), ["x", "lo", "hi"], fed, peer if torch else None, second=False)


def stretched(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    resized = N("Resize", ["x", "", "", "sizes"], ["y"], mode="linear")
    return model([*nodes, resized, LOSS], {"x": ("float", [1, 3, "H", "W"])}, ("loss",))


def computed() -> onnx.ModelProto:
    """The sizes of a Resize computed in floats, as exporters of old did."""
    return stretched(
        constant("twice", np.array([1, 1, 2, 2], np.float32)), N("Shape", ["x"], ["s"]), N("Cast", ["s"], ["f"], to=1),
        N("Mul", ["f", "twice"], ["t"]), N("Floor", ["t"], ["whole"]), N("Cast", ["whole"], ["sizes"], to=7),
    )  # fmt: skip


def test_what_sizes_are_computed_from_is_no_weight() -> None:
    assert not of_model(computed()).weights
    assert_same(computed(), {"x": RNG.standard_normal((1, 3, 4, 5)).astype(np.float32)})


def test_what_sizes_and_inputs_are_computed_from_is_a_weight() -> None:
    """Places that are computed of the input, too, are no size arithmetic: what stands before them may be trained."""
    nodes = [
        constant("W", W), N("MatMul", ["x", "W"], ["h"]), N("ArgMax", ["h"], ["at"], axis=1, keepdims=0),
        N("Slice", ["h", "at", "end", "zero"], ["y"]), LOSS,
    ]  # fmt: skip
    held = {"end": np.array([99]), "zero": np.array([0])}
    assert list(of_model(model(nodes, {"x": ("float", [1, 3])}, ("loss",), constants=held)).weights) == ["W"]


def test_a_scale_that_is_asked_for_is_told() -> None:
    nodes = [
        constant("scales", np.array([1, 1, 2, 2], np.float32)), N("Resize", ["x", "", "scales"], ["y"], mode="linear"),
        LOSS,
    ]  # fmt: skip
    loaded = of_model(model(nodes, {"x": ("float", [1, 3, 4, 4])}, ("loss",)), asked=["scales"])
    with pytest.raises(Underivable, match="Resize hands it no gradient"):
        derivative(loaded, "loss", ["scales"])


def test_what_is_computed_of_constants_has_a_gradient_and_integers_have_none() -> None:
    nodes = [
        constant("one", np.float32(1)), N("Exp", ["one"], ["e"]), constant("to", np.array([-1])),
        N("Reshape", ["x", "to"], ["r"]), N("Mul", ["r", "e"], ["y"]), LOSS,
    ]  # fmt: skip
    loaded = of_model(model(nodes, {"x": ("float", [2, 3])}, ("loss",)), asked=["e", "to"])
    x = RNG.standard_normal((2, 3)).astype(np.float32)
    made = differentiated(loaded, derivative(loaded, "loss", ["e"])[0])
    np.testing.assert_allclose(ran(made, {"x": x})[1], x.sum(), rtol=1e-5)
    with pytest.raises(Underivable, match=r"to is a constant of the model, i64\[1\], and a gradient is of floats"):
        derivative(loaded, "loss", ["to"])


@pytest.mark.parametrize("other", [constant("W", B), N("Exp", ["x"], ["W"])])
def test_a_name_that_is_given_twice_is_refused(other: onnx.NodeProto) -> None:
    twice = model([constant("W", W), other, N("MatMul", ["x", "W"], ["y"])], {"x": ("float", ["N", 3])}, ("y",))
    with pytest.raises(BadModel, match="the name 'W' is defined twice"):
        of_model(twice)


def test_a_constant_of_a_type_that_dlc_has_not_is_refused() -> None:
    strange = constant("W", W)
    strange.attribute[0].t.data_type = TensorProto.FLOAT8E4M3FN
    with pytest.raises(BadModel, match="the Constant 'W' is a tensor of FLOAT8E4M3FN"):
        of_model(model([strange, N("MatMul", ["x", "W"], ["y"])], {"x": ("float", ["N", 3])}, ("y",)))


def test_the_command_takes_bounds_by_their_names(tmp_path: Path) -> None:
    onnx.save(clipped(), tmp_path / "m.onnx")
    given = ["grad", str(tmp_path / "m.onnx"), "--wrt", "W,lo", "--wrt", "hi", "-o", str(tmp_path / "g.onnx")]
    assert main(given) == 0
    made = onnx.load(tmp_path / "g.onnx")
    assert {"W:grad", "lo:grad", "hi:grad"} <= {info.name for info in made.graph.output}
    assert {"W", "lo", "hi"} <= {tensor.name for tensor in made.graph.initializer}


def test_a_gradient_that_cannot_be_built_reaches_nothing_before_it() -> None:
    """Not by another path either: what is shown and what is given agree."""
    nodes = [
        N("Mul", ["x", "x"], ["q"]), N("MaxPool", ["q"], ["p"], kernel_shape=[2, 2], strides=[3, 3],
                                       auto_pad="SAME_UPPER"),
        N("ReduceSum", ["p"], ["a"], keepdims=0), N("ReduceSum", ["x"], ["b"], keepdims=0), N("Add", ["a", "b"], ["y"]),
        LOSS,
    ]  # fmt: skip
    proto = model(nodes, {"x": ("float", ["N", 2, "H", "W"])}, ("loss",))
    loaded = of_model(proto, asked=["q"])
    found = {each.name: each for each in reach(loaded)}
    assert [name for name, each in found.items() if each.reached] == ["p", "a", "b", "y", "loss"]
    assert found["x"].reason == found["q"].reason
    assert found["x"].reason == "MaxPool: auto_pad = SAME_UPPER at stride 3 needs a known size, not H"
    for name in ("x", "q"):
        with pytest.raises(Underivable, match="needs a known size, not H"):
            derivative(loaded, "loss", [name])
    asked = of_model(proto, asked=["p"])
    differentiated(asked, derivative(asked, "loss", ["p"])[0])
