"""Gradients where rules branch: bounds, exponents that are constants, element types that differ, symbolic sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles import Array, Case, assert_gradients, draw, first_order, second_order

from dlc.compiler.build import Builder, op, private
from dlc.compiler.evaluate import evaluate
from dlc.compiler.graph import Value
from dlc.compiler.passes.differentiate import differentiate
from dlc.compiler.types import Type, symbol

AT = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
BOUNDS: list[tuple[float | None, float | None]] = [(-1, 1), (1, -1), (None, 1), (-1, None)]


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
def test_the_gradient_by_the_bounds_of_clip_is_as_in_pytorch(bounds: tuple[float | None, float | None]) -> None:
    """Also where an element lies on a bound: there it is the element's."""
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle; the extra `peers` installs it")
    arrays = [AT, *(None if bound is None else np.array(float(bound)) for bound in bounds)]
    case = Case("Clip", tuple(arrays))
    results = evaluate(first_order(case), case.feeds())
    given = [None if array is None else torch.tensor(array, requires_grad=True) for array in arrays]
    y = torch.clamp(*given)
    weights, squares = torch.tensor(draw(100, *AT.shape)), torch.tensor(draw(200, *AT.shape))
    (y * weights + 0.5 * y * y * squares).sum().backward()
    for i, tensor in enumerate(given):
        if tensor is not None:
            np.testing.assert_allclose(results[f"x{i}"], tensor.grad.numpy(), rtol=1e-12, err_msg=f"input {i}")


EXPONENTS: list[Array] = [np.array([2.0, 0.5, -1.0]), np.array([3, 1, 2]), np.array([[2.0], [3.0]])]


@pytest.mark.parametrize("exponent", EXPONENTS, ids=str)
def test_constant_exponents_for_each_element(exponent: Array) -> None:
    case = Case("Pow", (draw(3, 2, 3, low=0.5), exponent), fixed=(1,))
    assert_gradients(first_order(case), case.feeds())
    assert_gradients(second_order(case), case.feeds(), rtol=2e-5)


def test_the_constant_exponent_0_has_the_derivative_0_everywhere() -> None:
    case = Case("Pow", (np.array([0.0, 2.0, -1.0]), np.array(0.0)), fixed=(1,))
    assert evaluate(first_order(case), case.feeds())["x0"].tolist() == [0, 0, 0]


@pytest.mark.parametrize("exponent", [2.0, 3.0])
def test_squares_and_cubes_have_products_as_derivatives(exponent: float) -> None:
    case = Case("Pow", (draw(1, 3), np.array(exponent)), fixed=(1,))
    assert [node.op for node in first_order(case).nodes].count("Pow") == 1


def test_the_second_derivative_by_an_exponent_is_finite_where_the_base_is_0() -> None:
    case = Case("Pow", (np.array([0.0, 2.0]), np.array([3.0, 2.0])))
    for name, array in evaluate(second_order(case), case.feeds()).items():
        assert np.isfinite(array).all(), name


def test_an_exponent_of_another_element_type_has_a_gradient_of_that_type() -> None:
    with Builder() as b:
        x, k = b.input("x", Type("f64", (3,))), b.input("k", Type("f32", ()))
        loss = op.ReduceSum(op.Pow(x, k), keepdims=0)
        dx, dk = private.Gradient(loss, x), private.Gradient(loss, k)
        graph = differentiate(b.graph("power", {"dx": dx, "dk": dk}))
    at = np.array([0.5, 1.5, 2.0])
    found = evaluate(graph, {"x": at, "k": np.float32(2.0)})
    assert found["dk"].dtype == np.float32
    np.testing.assert_allclose(found["dx"], 2 * at, rtol=1e-6)
    np.testing.assert_allclose(found["dk"], (at**2 * np.log(at)).sum(), rtol=1e-6)


@pytest.mark.parametrize("kind", ["GlobalAveragePool", "GlobalMaxPool"])
def test_global_pools_of_pictures_of_any_size(kind: str) -> None:
    """The number of elements is known only at run time."""
    array = (np.random.default_rng(1).permutation(2 * 3 * 4 * 5).reshape(2, 3, 4, 5) - 60.25) * 0.1
    with Builder() as b:
        x = b.input("x0", Type("f64", (symbol("B"), 3, symbol("H"), symbol("W"))))
        weights = b.constant(draw(2, 3, 1, 1))
        pooled: Any = op[kind](x)
        loss = op.ReduceSum(weights * (pooled * pooled), keepdims=0)
        graph = differentiate(b.graph("pooled", {"loss": loss, "x0": private.Gradient(loss, x)}))
    assert_gradients(graph, {"x0": array})


@pytest.mark.parametrize("mode", ["reflect", "edge", "wrap"])
@pytest.mark.parametrize("pads", [(0, 2, 0, 0), (0, 0, 0, 2), (1, 0, 0, 1)], ids=str)
def test_padding_on_one_side_alone(mode: str, pads: tuple[int, ...]) -> None:
    case = Case("Pad", (draw(1, 4, 5), np.array(pads)), {"mode": mode})
    assert_gradients(first_order(case), case.feeds())


def test_a_pad_value_of_rank_1_has_a_gradient_of_rank_1() -> None:
    case = Case("Pad", (draw(1, 4, 5), np.array([1, 2, 0, 1]), np.array([0.7])))
    graph = first_order(case)
    assert graph.outputs["x2"].shape == (1,)
    assert_gradients(graph, case.feeds())


def test_axes_of_pads_in_another_order() -> None:
    case = Case("Pad", (draw(1, 4, 5, 3), np.array([1, 2, 3, 0]), None, np.array([2, 0])))
    graph = first_order(case)
    assert_gradients(graph, case.feeds())
    np.testing.assert_allclose(evaluate(graph, case.feeds())["x0"].shape, (4, 5, 3))


@pytest.mark.parametrize("bounds", [(-1.0, 1.0), (1.0, -1.0), (1.0, 1.0)], ids=str)
def test_one_of_clips_three_inputs_takes_each_cotangent(bounds: tuple[float, float]) -> None:
    """Also where the bounds meet."""
    with Builder() as b:
        values = [b.input(name, Type("f64", shape)) for name, shape in (("x", (5,)), ("low", ()), ("high", ()))]
        loss = op.ReduceSum(op.Clip(*values), keepdims=0)
        graph = differentiate(b.graph("clipped", {b.names[x]: private.Gradient(loss, x) for x in values}))
    found = evaluate(graph, {"x": AT, "low": np.array(bounds[0]), "high": np.array(bounds[1])})
    assert set(found["x"]) <= {0, 1}
    assert found["x"].sum() + found["low"] + found["high"] == len(AT)


@pytest.mark.parametrize("axes", [(), (1,), (0, 2)], ids=str)
@pytest.mark.parametrize("which", [0, 1])
def test_the_mean_alone_and_the_variance_alone(which: int, axes: tuple[int, ...]) -> None:
    with Builder() as b:
        x = b.input("x0", Type("f64", (3, 4, 5)))
        one: Value = b.add("dlc.Moments", [x], {"axes": axes}, outputs=2).outputs[which]
        loss = op.ReduceSum(op.Sin(one), keepdims=0)
        graph = differentiate(b.graph("moment", {"loss": loss, "x0": private.Gradient(loss, x)}))
    assert graph.outputs["x0"].shape == (3, 4, 5)
    assert_gradients(graph, {"x0": draw(1, 3, 4, 5)})


def test_a_diagonal_takes_one_identity_matrix() -> None:
    graph = first_order(Case("Einsum", (draw(1, 4, 4),), {"equation": "ii->i"}))
    assert [node.op for node in graph.nodes].count("Equal") == 1


def test_what_the_windows_of_a_transposed_convolution_reach_is_not_cut() -> None:
    graph = first_order(Case("ConvTranspose", (draw(1, 2, 3, 4), draw(2, 3, 2, 3)), {"strides": (2,)}))
    assert "Slice" not in {node.op for node in graph.nodes}


@pytest.mark.parametrize("left", [(3, 4), (4,)], ids=str)
@pytest.mark.parametrize("right", [(4, 5), (4,)], ids=str)
def test_the_gradients_of_a_product_are_two_products(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    """A vector is a matrix and comes back by a change of its shape alone: nothing is summed, and matrices stay."""
    with Builder() as b:
        x, y = b.input("x", Type("f64", left)), b.input("y", Type("f64", right))
        loss = op.ReduceSum(op.Sin(x @ y), keepdims=0)
        graph = differentiate(b.graph("product", {"x": private.Gradient(loss, x), "y": private.Gradient(loss, y)}))
    products = [node for node in graph.nodes if node.op == "Gemm"]
    assert len(products) == 2 and "dlc.SumTo" not in {node.op for node in graph.nodes}
    taken = {value.node.op for node in products for value in node.inputs if value is not None and value.node}
    assert ("dlc.ReshapeTo" in taken) == (len(left) == 1 or len(right) == 1)


def test_a_dequantized_value_of_another_type_has_a_gradient_of_the_scales() -> None:
    with Builder() as b:
        scale = b.input("scale", Type("f64", ()))
        y = op.DequantizeLinear(b.constant(np.array([2, -3, 7], np.int8)), scale, output_dtype="f32")
        loss = op.ReduceSum(y * y, keepdims=0)
        graph = differentiate(b.graph("dequantized", {"scale": private.Gradient(loss, scale)}))
    found = evaluate(graph, {"scale": np.array(0.5)})["scale"]
    assert y.dtype == "f32" and found.dtype == np.float64
    np.testing.assert_allclose(found, 2 * 0.5 * (4 + 9 + 49))


@pytest.mark.parametrize("order", [first_order, second_order])
@pytest.mark.parametrize("p", [2, 3])
def test_windows_of_zeros_have_gradients_of_0(p: int, order: Any) -> None:
    x = np.zeros((1, 1, 6))
    x[..., 3:] = 1.5, -2.0, 0.0
    case = Case("LpPool", (x,), {"kernel_shape": (2,), "strides": (2,), "p": p})
    found = evaluate(order(case), case.feeds())["x0"]
    assert np.isfinite(found).all() and not found[..., :2].any()


@pytest.mark.parametrize("kind", ["AveragePool", "LpPool"])
def test_pools_of_any_number_of_channels(kind: str) -> None:
    """No kernel can be made for each channel."""
    with Builder() as b:
        x = b.input("x0", Type("f64", (symbol("B"), symbol("C"), 5, 4)))
        pooled: Any = op[kind](x, kernel_shape=(3, 2), strides=(2, 1))
        loss = op.ReduceSum(pooled * op.Sin(pooled), keepdims=0)
        graph = differentiate(b.graph("pooled", {"loss": loss, "x0": private.Gradient(loss, x)}))
    assert graph.outputs["x0"].shape == x.shape
    assert_gradients(graph, {"x0": draw(3, 2, 3, 5, 4, low=0.5)})


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_scattered_cotangents_of_log_softmax(rows: int, axis: int) -> None:
    """Along its own axis and another, into some rows and all, and into what is not zeros: two, one after the other."""
    with Builder() as b:
        x, places = b.input("x0", Type("f64", (3, 4))), np.array([[1, 0, 2, 1], [0, 2, 2, 0], [1, 1, 0, 2]])[:rows]
        picked = op.GatherElements(op.LogSoftmax(op.LogSoftmax(x * x, axis=1) * 1.0, axis=1), places, axis=axis)
        again = op.GatherElements(op.LogSoftmax(op.LogSoftmax(x, axis=1), axis=1), places, axis=axis)
        loss = op.ReduceSum(op.Sin(picked), keepdims=0) + op.ReduceSum(op.Sin(again), keepdims=0)
        graph = differentiate(b.graph("scattered", {"loss": loss, "x0": private.Gradient(loss, x)}))
    assert_gradients(graph, {"x0": draw(4, 3, 4)})


@pytest.mark.parametrize("corners", [0, 1])
@pytest.mark.parametrize("extents", [(3, 4), (1, 2), (2, 1)], ids=str)
def test_grids_of_sizes_known_at_run_time_are_those_of_known_sizes(extents: tuple[int, int], corners: int) -> None:
    shape, found = (2, 3, *extents), []
    for dims in (shape, (symbol("B"), 3, symbol("H"), symbol("W"))):
        with Builder() as b:
            theta, x = b.input("theta", Type("f64", (dims[0], 2, 3))), b.input("x", Type("f64", dims))
            grid = op.AffineGrid(theta, op.Shape(x), align_corners=corners)
            loss = op.ReduceSum(op.Exp(grid) * 0.1, keepdims=0)
            graph = differentiate(b.graph("grid", {"loss": loss, "theta": private.Gradient(loss, theta)}))
        found.append(evaluate(graph, {"theta": draw(5, 2, 2, 3), "x": np.zeros(shape)}))
    np.testing.assert_allclose(found[1]["loss"], found[0]["loss"], rtol=1e-12)
    np.testing.assert_allclose(found[1]["theta"], found[0]["theta"], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("reduction", ["max", "min"])
def test_equal_extremes_of_a_scatter_share_the_cotangent(reduction: str) -> None:
    sign = 1.0 if reduction == "max" else -1.0
    with Builder() as b:
        x, updates = b.input("x", Type("f64", (2,))), b.input("u", Type("f64", (4,)))
        y = op.ScatterElements(x, np.array([0, 0, 0, 1]), updates, reduction=reduction)
        loss = op.ReduceSum(y * np.array([3.0, 1.0]), keepdims=0)
        graph = differentiate(b.graph("tied", {"x": private.Gradient(loss, x), "u": private.Gradient(loss, updates)}))
    found = evaluate(graph, {"x": sign * np.array([2.0, 1.0]), "u": sign * np.array([2.0, 1.0, 2.0, 0.0])})
    np.testing.assert_allclose(found["x"], [1, 1])
    np.testing.assert_allclose(found["u"], [1, 0, 1, 0])
