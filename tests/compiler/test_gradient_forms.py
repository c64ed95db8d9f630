"""Forms of gradients that give the same numbers and differ in cost: which is taken."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles import Array, draw

from dlc.compiler.build import Builder, op, private
from dlc.compiler.evaluate import evaluate
from dlc.compiler.graph import Graph
from dlc.compiler.passes.differentiate import differentiate
from dlc.compiler.types import Type, symbol


def resized(shape: tuple[int, ...], scales: tuple[float, ...], **attributes: Any) -> Graph:
    with Builder() as b:
        x = b.input("x", Type("f64", shape))
        y = op.Resize(x, None, b.constant(np.array(scales, np.float32)), **attributes)
        loss = op.ReduceSum(op.Sin(y), keepdims=0)
        return differentiate(b.graph("resized", {"dx": private.Gradient(loss, x)}))


def operators(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


@pytest.mark.parametrize(("extent", "dense"), [(256, True), (257, False)])
def test_a_map_is_a_product_up_to_so_many_elements_and_then_goes_by_its_weights(extent: int, dense: bool) -> None:
    made = operators(resized((1, 1, extent), (1, 1, 4), mode="linear"))
    assert ("MatMul" in made, "dlc.ScatterAdd" in made) == (dense, not dense)


def test_elements_repeated_in_an_image_are_added_up_by_a_pool() -> None:
    assert "AveragePool" in operators(resized((1, 2, 3, 4), (1, 1, 2, 3)))
    assert "AveragePool" not in operators(resized((1, 2, 3, 4), (1, 2, 2, 3)))


def test_what_keeps_its_unknown_size_is_not_cropped_by_places() -> None:
    with Builder() as b:
        x = b.input("x", Type("f64", (symbol("B"), 6)))
        y = op.CenterCropPad(x, b.constant(np.array([4])), axes=(1,))
        loss = op.ReduceSum(y * y, keepdims=0)
        made = operators(differentiate(b.graph("cropped", {"dx": private.Gradient(loss, x)})))
    assert "Gather" not in made and "dlc.ScatterAdd" not in made


def test_a_diagonal_takes_one_product_with_an_identity() -> None:
    with Builder() as b:
        x = b.input("x", Type("f64", (3, 4, 3)))
        y = op.Einsum(x, equation="iji->ij")
        graph = differentiate(b.graph("diagonal", {"dx": private.Gradient(op.ReduceSum(y * y, keepdims=0), x)}))
    assert max(len(node.inputs) for node in graph.nodes if node.op == "Einsum") == 2


@pytest.mark.parametrize("step", [1, 2])
def test_zeros_are_set_around_a_slice_and_only_between_what_lies_apart(step: int) -> None:
    with Builder() as b:
        x = b.input("x", Type("f64", (4, 9)))
        y = op.Slice(x, b.constant(np.array([2])), b.constant(np.array([7])), np.array([1]), np.array([step]))
        loss = op.ReduceSum(op.Sin(y), keepdims=0)
        graph = differentiate(b.graph("cut", {"dx": private.Gradient(loss, x)}))
    padded = [value.op for node in graph.nodes if node.op == "Pad" for value in node.inputs[:1] if value is not None]
    assert len(padded) == (1 if step == 1 else 3)
    assert ("dlc.ReshapeTo" in padded) == (step > 1)


@pytest.mark.parametrize("dtype", ["f16", "bf16", "f32"])
def test_the_largest_of_no_elements_is_0_in_every_element_type(dtype: str) -> None:
    given: Array = draw(1, 1, 2, 4, 4)
    with Builder() as b:
        x = b.input("x", Type(dtype, given.shape))
        boxes = b.constant(np.array([[0, 1, 1, 2, 2], [0, 9, 9, 9, 9.0]]), dtype)
        loss = op.ReduceSum(op.MaxRoiPool(x, boxes, pooled_shape=(1, 1)), keepdims=0)
        graph = differentiate(b.graph("pooled", {"loss": loss, "dx": private.Gradient(loss, x)}))
    found = evaluate(graph, {"x": given.astype(Type(dtype, ()).numpy)})
    assert graph.outputs["dx"].dtype == dtype and found["dx"].sum() == 2
    np.testing.assert_allclose(float(found["loss"]), given[0, :, 1:3, 1:3].max((1, 2)).sum(), rtol=2e-2)
