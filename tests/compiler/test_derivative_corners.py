"""Gradients of small models on ONNX Runtime where types mix, elements are zero, sizes stretch, axes are negative."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from dlc.compiler.derivative import derivative, differentiated
from dlc.compiler.importer import of_model

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(5)
FLOAT, DOUBLE = TensorProto.FLOAT, TensorProto.DOUBLE
NODES: dict[str, tuple[int, dict[str, Any], dict[str, tuple[int | str, ...]]]] = {
    "Attention": (23, {}, {
        "q": ("B", 4, "S", 8), "k": ("B", 2, "S", 8), "v": ("B", 2, "S", 8), "": (), "pk": ("B", 2, "P", 8),
        "pv": ("B", 2, "P", 8),
    }),
    "ConvTranspose": (21, {"group": 2, "dilations": [2, 2], "strides": [2, 2]}, {
        "x": ("B", 4, "H", "W"), "w": (4, 3, 3, 3),
    }),
    "AveragePool": (21, {
        "kernel_shape": [3, 2], "strides": [3, 3], "ceil_mode": 1, "dilations": [2, 1], "pads": [1, 1, 1, 1],
    }, {"x": ("B", "C", "H", "W")}),
}  # fmt: skip
SIZES = {"B": 2, "C": 3, "S": 3, "P": 2, "H": 7, "W": 8}
PRODUCTS = [[0.0, 1, 2], [0, 0, 2], [0, 0, 0], [1, 3, 2]]


def model(
    nodes: Sequence[Any], takes: Sequence[Any], held: dict[str, Array], of: int = FLOAT, opset: int = 21
) -> onnx.ModelProto:
    inputs = [helper.make_tensor_value_info(*each) for each in takes]
    outputs = [helper.make_tensor_value_info("y", of, None)]
    kept = [numpy_helper.from_array(array, name) for name, array in held.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, kept)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def run(made: onnx.ModelProto, feeds: dict[str, Array], full: bool = True) -> dict[str, Array]:
    onnx.checker.check_model(made, full_check=full)
    session = ort.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip([each.name for each in session.get_outputs()], session.run(None, feeds), strict=True))


def gradients(
    source: onnx.ModelProto, wrt: Sequence[str], feeds: dict[str, Array], **options: bool
) -> dict[str, Array]:
    loaded = of_model(source)
    return run(differentiated(loaded, derivative(loaded, "y", wrt, **options)[0]), feeds)


PRODUCT_NODES = {
    "ReduceProd": [helper.make_node("ReduceProd", ["x"], ["y"], keepdims=0)],
    "ScatterElements": [
        helper.make_node("Split", ["x", "parts"], ["data", "updates"]),
        helper.make_node("ScatterElements", ["data", "places", "updates"], ["row"], reduction="mul"),
        helper.make_node("ReduceSum", ["row"], ["y"], keepdims=0),
    ],
}


@pytest.mark.parametrize("name", PRODUCT_NODES)
@pytest.mark.parametrize("x", PRODUCTS)
def test_the_second_derivative_of_a_product_at_zeros(name: str, x: list[float]) -> None:
    held = {"parts": np.array([1, 2]), "places": np.array([0, 0])} if name == "ScatterElements" else {}
    source = model(PRODUCT_NODES[name], [("x", DOUBLE, [3])], held, DOUBLE)
    given, v = np.array(x, np.float64), RNG.normal(size=3)
    found = gradients(source, ["x"], {"x": given, "x:vector": v}, second=True)

    def without(*left: int) -> float:
        return float(np.prod([each for at, each in enumerate(x) if at not in left]))

    np.testing.assert_allclose(found["x:grad"], [without(i) for i in range(3)])
    hessian = [[0.0 if i == j else without(i, j) for j in range(3)] for i in range(3)]
    np.testing.assert_allclose(found["x:hvp"], np.array(hessian) @ v, atol=1e-12)


def test_second_derivatives_across_element_types() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["d"], to=DOUBLE),
        helper.make_node("MatMul", ["d", "w"], ["m"]),
        helper.make_node("Mul", ["m", "m"], ["s"]),
        helper.make_node("ReduceSum", ["s"], ["k"], keepdims=0),
        helper.make_node("Cast", ["k"], ["y"], to=FLOAT),
    ]
    x, w = RNG.normal(size=(2, 4)).astype(np.float32), RNG.normal(size=(4, 3))
    v, u = RNG.normal(size=(2, 4)).astype(np.float32), RNG.normal(size=(4, 3))
    source = model(nodes, [("x", FLOAT, ["B", 4])], {"w": w})
    found = gradients(source, ["x", "w"], {"x": x, "x:vector": v, "w:vector": u}, second=True)
    moved = v @ w + x @ u  # the change of m; y is the sum of its squares
    np.testing.assert_allclose(found["x:hvp"], 2 * (moved @ w.T + x @ w @ u.T), rtol=1e-5)
    np.testing.assert_allclose(found["w:hvp"], 2 * (v.T @ (x @ w) + x.T @ moved), rtol=1e-5)
    assert found["x:hvp"].dtype == np.float32 and found["w:hvp"].dtype == np.float64


@pytest.mark.parametrize("dtype", [FLOAT, DOUBLE])
@pytest.mark.parametrize(("axis", "scale", "shift"), [
    (-1, (5,), (5,)), (-1, (5,), (1, 5)), (1, (1,), ()), (1, (4, 1), (4, 5)), (-1, (1, 4, 5), None),
])  # fmt: skip
def test_layer_normalization(dtype: int, axis: int, scale: tuple[int, ...], shift: tuple[int, ...] | None) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle; the extra `peers` installs it")
    kind = np.float32 if dtype == FLOAT else np.float64
    x, g = RNG.normal(size=(3, 4, 5)).astype(kind), RNG.normal(size=(3, 4, 5)).astype(kind)
    held = {"s": RNG.normal(size=scale).astype(kind)}
    if shift is not None:
        held["b"] = RNG.normal(size=shift).astype(kind)
    node = helper.make_node("LayerNormalization", ["x", *held], ["y"], axis=axis)
    source = model([node], [("x", dtype, ["B", 4, 5])], held, dtype)
    found = gradients(source, ["x", *held], {"x": x, "y:cotangent": g}, cotangent=True)
    leaves = {
        name: torch.tensor(each.astype(np.float64), requires_grad=True) for name, each in {"x": x, **held}.items()
    }
    normal = torch.layer_norm(leaves["x"], (5,) if axis == -1 else (4, 5))
    y = normal * leaves["s"] + leaves.get("b", 0.0)
    y.backward(torch.tensor(g.astype(np.float64)))
    tolerance = 1e-4 if dtype == FLOAT else 1e-10
    np.testing.assert_allclose(found["y"], y.detach().numpy(), atol=tolerance)
    for name, leaf in leaves.items():
        np.testing.assert_allclose(found[f"{name}:grad"], leaf.grad.numpy(), atol=tolerance, err_msg=name)


@pytest.mark.parametrize("sizes", [["B", 2, "H", "W"], [1, 2, 9, 8]])
@pytest.mark.parametrize("policy", ["stretch", "not_larger", "not_smaller"])
def test_resize_by_negative_axes(sizes: list[int | str], policy: str) -> None:
    x, found = RNG.normal(size=(1, 2, 9, 8)).astype(np.float32), []
    for axes in ([2, 3], [-2, -1]):
        node = helper.make_node(
            "Resize", ["x", "", "", "sizes"], ["y"], mode="linear", keep_aspect_ratio_policy=policy, axes=axes
        )
        source = model([node], [("x", FLOAT, sizes)], {"sizes": np.array([4, 5])})
        shape = {"stretch": (4, 5), "not_larger": (4, 4), "not_smaller": (6, 5)}[policy]
        g = np.cos(np.arange(2 * shape[0] * shape[1], dtype=np.float32)).reshape(1, 2, *shape)
        found.append(gradients(source, ["x"], {"x": x, "y:cotangent": g}, cotangent=True))
    assert found[0]["y"].shape == g.shape
    for name in ("y", "x:grad"):
        np.testing.assert_array_equal(found[0][name], found[1][name])


@pytest.mark.parametrize("name", NODES)
def test_many_sizes_that_only_a_run_tells(name: str) -> None:
    """Known and unknown sizes give the same gradients: that of the former is proved elsewhere."""
    opset, attributes, takes = NODES[name]
    outputs = ["y", "present_key", "present_value"] if name == "Attention" else ["y"]
    known = {each: tuple(SIZES.get(str(size), size) for size in shape) for each, shape in takes.items() if each}
    feeds = {each: RNG.normal(size=shape).astype(np.float32) for each, shape in known.items()}
    found = []
    for shapes in (takes, known):
        node = helper.make_node(name, list(takes), outputs, **attributes)
        source = model([node], [(each, FLOAT, shape) for each, shape in shapes.items() if each], {}, opset=opset)
        loaded = of_model(source)
        made = differentiated(loaded, derivative(loaded, "y", list(known), cotangent=True)[0])
        if not found:
            y = ort.InferenceSession(source.SerializeToString()).run(["y"], feeds)[0]
            feeds["y:cotangent"] = RNG.normal(size=y.shape).astype(np.float32)
        # onnx counts a window of AveragePool that begins in the padding, and ONNX Runtime does not.
        found.append(run(made, feeds, full=name != "AveragePool"))
    for each in known:
        np.testing.assert_allclose(found[0][f"{each}:grad"], found[1][f"{each}:grad"], atol=1e-5, err_msg=each)
