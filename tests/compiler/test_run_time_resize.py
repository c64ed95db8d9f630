"""Resize by sizes, scales and regions that only a run tells: the gradient file computes the map of each axis."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from onnx import helper
from onnx_models import model
from run_time import check, gradients

from dlc.compiler.evaluate import evaluate

N = helper.make_node
RNG = np.random.default_rng(23)
IMAGE: dict[str, Any] = {"x": ("float", ["n", 2, "h", "w"])}
WAYS = (
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_half_pixel_for_nn",
)  # fmt: skip


def draw(*shape: int) -> Any:
    return RNG.uniform(0.5, 2.0, shape).astype(np.float32)


def sized(n: int, h: int, w: int, *sizes: int) -> dict[str, Any]:
    return {"x": draw(n, 2, h, w), "s": np.array([n, 2, *sizes])}


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_to_sizes_that_are_fed(mode: str) -> None:
    inputs = {**IMAGE, "s": ("int64", [4])}
    proto = model([N("Resize", ["x", "", "", "s"], ["y"], mode=mode)], inputs, ["y"])
    fed = [sized(1, 3, 4, 7, 5), sized(2, 4, 5, 2, 10), sized(1, 2, 2, 2, 2)]

    def theirs(x: Any, s: Any) -> Any:
        import torch

        way = {"nearest": "nearest-exact", "linear": "bilinear", "cubic": "bicubic"}[mode]
        corners = {} if mode == "nearest" else {"align_corners": False}
        return torch.nn.functional.interpolate(x, size=s[2:].tolist(), mode=way, **corners)

    # At places in the middle between two elements PyTorch takes the upper one, ONNX's default the lower.
    check(proto, ["x"], fed, None if mode == "nearest" else theirs)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_with_a_filter_that_widens(mode: str) -> None:
    inputs = {**IMAGE, "s": ("int64", [4])}
    proto = model([N("Resize", ["x", "", "", "s"], ["y"], mode=mode, antialias=1, cubic_coeff_a=-0.5,
                     exclude_outside=1)], inputs, ["y"])  # fmt: skip

    def theirs(x: Any, s: Any) -> Any:
        import torch

        way = {"linear": "bilinear", "cubic": "bicubic"}[mode]
        return torch.nn.functional.interpolate(x, size=s[2:].tolist(), mode=way, align_corners=False, antialias=True)

    check(proto, ["x"], [sized(1, 7, 6, 3, 2), sized(1, 5, 9, 4, 3)], theirs)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_by_scales_that_are_fed(mode: str) -> None:
    inputs = {**IMAGE, "k": ("float", [4])}
    proto = model([N("Resize", ["x", "", "k"], ["y"], mode=mode)], inputs, ["y"])
    fed = [{"x": draw(2, 2, 4, 3), "k": np.array([1, 1, *k], np.float32)} for k in ((2, 1.5), (0.5, 1), (0.75, 2.4))]
    check(proto, ["x"], fed)


def test_by_a_scale_along_axes_of_unknown_size() -> None:
    constants = {"k": np.array([1, 1, 1.7, 0.6], np.float32)}
    proto = model([N("Resize", ["x", "", "k"], ["y"], mode="linear")], IMAGE, ["y"], constants=constants)
    check(proto, ["x"], [{"x": draw(1, 2, h, w)} for h, w in ((3, 4), (5, 7), (2, 2))])


def test_a_form_without_a_kernel_is_computed_by_its_maps() -> None:
    """Cubic of a rank that the runtime has no kernel for."""
    inputs: dict[str, Any] = {"x": ("float", ["n", "m"])}
    constants = {"k": np.array([1.5, 2], np.float32)}
    proto = model([N("Resize", ["x", "", "k"], ["y"], mode="cubic")], inputs, ["y"], constants=constants)
    for feeds in ({"x": draw(4, 3)}, {"x": draw(2, 5)}):
        graph = gradients(proto, ["x"])
        assert evaluate(graph, {"x": feeds["x"].astype(np.float64)})["x"].shape == feeds["x"].shape


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
def test_in_the_proportions_that_it_has(policy: str) -> None:
    inputs = {**IMAGE, "s": ("int64", [2])}
    node = N("Resize", ["x", "", "", "s"], ["y"], mode="linear", axes=[2, 3], keep_aspect_ratio_policy=policy)
    fed = [{"x": draw(1, 2, h, w), "s": np.array(s)} for h, w, s in ((3, 4, (7, 6)), (5, 2, (4, 4)))]
    check(model([node], inputs, ["y"]), ["x"], fed)


def test_a_region_that_is_fed() -> None:
    inputs = {**IMAGE, "r": ("float", [8]), "s": ("int64", [4])}
    node = N("Resize", ["x", "r", "", "s"], ["y"], mode="linear", coordinate_transformation_mode="tf_crop_and_resize",
             extrapolation_value=10.0)  # fmt: skip
    regions = ((0, 0, 0.2, 0.1, 1, 1, 0.9, 0.8), (0, 0, 0.4, -0.3, 1, 1, 1.2, 0.6))
    fed = [{**sized(1, 4, 5, 3, 4), "r": np.array(region, np.float32)} for region in regions]
    check(model([node], inputs, ["y"]), ["x"], fed, kernels=True)


@pytest.mark.parametrize(("mode", "way"), list(product(("nearest", "linear", "cubic"), WAYS)))
def test_the_maps_are_those_of_known_sizes(mode: str, way: str) -> None:
    """Each transformation, and each way of rounding: the same gradient as with the numbers in the model."""
    roundings = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil") if mode == "nearest" else ("floor",)
    for rounding, (h, w, sizes) in product(roundings, ((4, 3, (6, 5)), (5, 6, (2, 1)))):
        settings: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": way, "nearest_mode": rounding}
        node = N("Resize", ["x", "", "", "s"], ["y"], **settings)
        feeds = sized(1, h, w, *sizes)
        x = feeds["x"].astype(np.float64)
        run = gradients(model([node], {**IMAGE, "s": ("int64", [4])}, ["y"]), ["x"])
        fixed = {"x": ("float", [1, 2, h, w])}
        known = gradients(model([node], fixed, ["y"], constants={"s": feeds["s"]}), ["x"])
        expected = evaluate(known, {"x": x})["x"]
        np.testing.assert_allclose(evaluate(run, {"x": x, "s": feeds["s"]})["x"], expected, rtol=1e-9, atol=1e-12)


def test_upsample_by_scales_that_are_fed() -> None:
    inputs = {**IMAGE, "k": ("float", [4])}
    proto = model([N("Upsample", ["x", "k"], ["y"], mode="nearest")], inputs, ["y"], opset=9)
    fed = [{"x": draw(1, 2, 3, 2), "k": np.array([1, 1, *k], np.float32)} for k in ((2, 3), (1, 2))]
    check(proto, ["x"], fed, lambda x, k: x.repeat_interleave(int(k[2]), 2).repeat_interleave(int(k[3]), 3))
