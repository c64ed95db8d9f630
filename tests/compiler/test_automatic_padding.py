"""Automatic padding at strides above 1 of axes whose sizes only a run tells."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import spatial
from onnx import helper
from onnx_models import model
from run_time import check

from dlc.compiler.build import Builder, op
from dlc.compiler.derivative import Underivable, derivative
from dlc.compiler.evaluate import evaluate
from dlc.compiler.graph import Graph
from dlc.compiler.importer import of_model
from dlc.compiler.passes import INFERENCE, run
from dlc.compiler.registry import IllTyped
from dlc.compiler.types import Type, symbol

try:
    import torch
except ImportError:
    torch = None  # type: ignore[assignment]

SIZES = ((7, 8), (6, 9), (1, 5), (8, 8))
MODES = ("SAME_UPPER", "SAME_LOWER")
CONVOLUTIONS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "of 3 by 3": ((4, 3, 3, 3), {"strides": [2, 2]}),
    "of strides that differ": ((4, 3, 2, 4), {"strides": [1, 3]}),
    "with gaps": ((4, 3, 2, 4), {"strides": [2, 3], "dilations": [2, 1]}),
    "of single elements": ((4, 3, 1, 1), {"strides": [2, 2]}),
    "in groups": ((3, 1, 3, 2), {"strides": [2, 2], "group": 3}),
}
POOLS: dict[str, dict[str, Any]] = {
    "of 3 by 3": {"kernel_shape": [3, 3], "strides": [2, 2]},
    "side by side": {"kernel_shape": [2, 2], "strides": [2, 2]},
    "of strides that differ": {"kernel_shape": [2, 4], "strides": [1, 3]},
    "rounded up, which changes nothing": {"kernel_shape": [3, 2], "strides": [2, 2], "ceil_mode": 1},
}


def draw(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def padding(extents: tuple[int, ...], spans: list[int], strides: list[int], mode: str) -> list[int]:
    """What TensorFlow's SAME is, as torch.nn.functional.pad wants it: the last axis first."""
    pads: list[int] = []
    for extent, span, stride in zip(extents, spans, strides, strict=True):
        total = max((-(-extent // stride) - 1) * stride + span - extent, 0)
        small, large = total // 2, total - total // 2
        pads = [*((small, large) if mode == "SAME_UPPER" else (large, small)), *pads]
    return pads


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_convolution(name: str, mode: str) -> None:
    shape, given = CONVOLUTIONS[name]
    gaps = given.get("dilations", [1, 1])
    types = {"x": ("float", ["N", 3, "H", "W"]), "w": ("float", list(shape))}
    proto = model([helper.make_node("Conv", ["x", "w"], ["y"], auto_pad=mode, **given)], types, ("y",))

    def peer(x: Any, w: Any) -> Any:
        spans = [(k - 1) * d + 1 for k, d in zip(shape[2:], gaps, strict=True)]
        padded = torch.nn.functional.pad(x, padding(x.shape[2:], spans, given["strides"], mode))
        kept = {"stride": given["strides"], "dilation": gaps, "groups": given.get("group", 1)}
        return torch.nn.functional.conv2d(padded, w, **kept)

    feeds = [{"x": draw(2, 3, *size), "w": draw(*shape)} for size in SIZES]
    check(proto, ["x", "w"], feeds, peer if torch else None, kernels="dilations" not in given)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool", "LpPool"])
def test_a_pool(kind: str, name: str, mode: str) -> None:
    given = POOLS[name]
    types = {"x": ("float", ["N", 3, "H", "W"])}
    proto = model([helper.make_node(kind, ["x"], ["y"], auto_pad=mode, **given)], types, ("y",))

    def peer(x: Any) -> Any:
        functional = torch.nn.functional
        kernel, strides = given["kernel_shape"], given["strides"]
        around = padding(x.shape[2:], kernel, strides, mode)
        padded = functional.pad(x, around, value=-np.inf if kind == "MaxPool" else 0.0)
        if kind == "MaxPool":
            return functional.max_pool2d(padded, kernel, strides)
        mean = functional.avg_pool2d(padded if kind == "AveragePool" else padded**2, kernel, strides)
        if kind == "LpPool":
            return (mean * float(np.prod(kernel))) ** 0.5
        return mean / functional.avg_pool2d(functional.pad(torch.ones_like(x), around), kernel, strides)

    check(proto, ["x"], [{"x": draw(2, 3, *size)} for size in SIZES], peer if torch else None)


@pytest.mark.parametrize("mode", MODES)
def test_a_mean_that_counts_its_padding(mode: str) -> None:
    given = {"kernel_shape": [3, 3], "strides": [2, 2], "count_include_pad": 1, "auto_pad": mode}
    types = {"x": ("float", ["N", "C", "H", "W"])}
    proto = model([helper.make_node("AveragePool", ["x"], ["y"], **given)], types, ("y",))
    check(proto, ["x"], [{"x": draw(2, 3, *size)} for size in SIZES])


def built(kind: str, shape: tuple[Any, ...], **given: Any) -> Graph:
    with Builder() as builder:
        x = builder.input("x", Type("f32", shape))
        more = (builder.constant(draw(4, 3, *given["kernel_shape"])),) if kind == "Conv" else ()
        return builder.graph("g", {"y": op[kind](x, *more, **given)})


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("kind", "more"),
    [("Conv", {}), ("MaxPool", {}), ("LpPool", {}), ("AveragePool", {}), ("AveragePool", {"count_include_pad": 1})],
)
def test_windows_with_gaps_are_emitted_with_their_padding(kind: str, more: dict[str, Any], mode: str) -> None:
    """The runtime forgets the gaps of automatic padding: its result is that of the meaning all the same."""
    given = {"kernel_shape": (3, 2), "strides": (2, 2), "dilations": (2, 1), "auto_pad": mode, **more}
    graph = built(kind, (symbol("N"), 3, symbol("H"), symbol("W")), **given)
    for size in ((7, 8), (6, 9), (8, 8)):
        x = {"x": draw(2, 3, *size)}
        meant = evaluate(built(kind, (2, 3, *size), **given), x)["y"]
        spatial.close(spatial.run(run(graph, INFERENCE), x)[0], meant, 1e-5)


def test_what_no_dimension_says_is_refused() -> None:
    """Windows shorter than their stride have padding along some sizes and gaps along others."""
    types = {"x": ("float", ["N", 3, "H", 8])}
    given = {"kernel_shape": [2, 2], "strides": [3, 3], "auto_pad": "SAME_UPPER"}
    loaded = of_model(model([helper.make_node("MaxPool", ["x"], ["y"], **given)], types, ("y",)))
    with pytest.raises(Underivable, match="auto_pad = SAME_UPPER at stride 3 needs a known size, not H"):
        derivative(loaded, "y", ["x"], cotangent=True)


def test_places_under_gaps_are_refused() -> None:
    given = {"kernel_shape": (3, 2), "strides": (2, 2), "dilations": (2, 1), "auto_pad": "SAME_UPPER"}
    with Builder() as builder:
        x = builder.input("x", Type("f32", (symbol("N"), 3, symbol("H"), 8)))
        graph = builder.graph("g", dict(zip("yi", op.MaxPool(x, outputs=2, **given), strict=True)))
    with pytest.raises(IllTyped, match="places under automatic padding with dilations need a known size"):
        run(graph, INFERENCE)
