"""Operators on images and signals: their meaning in float64 is what ONNX Runtime computes, gradients too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import spatial
import spatial_cases
from oracles import Array, Case

from dlc.compiler.build import Builder, current, op, private
from dlc.compiler.evaluate import evaluate
from dlc.compiler.graph import Graph, Value
from dlc.compiler.passes.differentiate import differentiate
from dlc.compiler.registry import IllTyped, expanded
from dlc.compiler.types import Type, quotient, symbol

CASES = list(spatial_cases.cases())
B, H, W = symbol("B"), symbol("H"), symbol("W")


def by_name(case: Case) -> str:
    return case.name


def made(case: Case, dtype: Any, open_up: bool = False) -> tuple[Any, dict[str, Array]]:
    """What builds the case's first output of its free inputs, and arrays for them."""
    free = case.free()
    arrays = {f"x{i}": np.asarray(case.inputs[i], dtype) for i in free}

    def make(*values: Value) -> Value:
        given = iter(values)
        inputs: list[Any] = []
        for i, array in enumerate(case.inputs):
            fixed = None if array is None else array.astype(dtype) if array.dtype == np.float64 else array
            inputs.append(next(given) if i in free else None if fixed is None else current().constant(fixed))
        node = current().add(case.op, inputs, case.attributes, outputs=case.outputs)
        return (expanded(node) if open_up else node.outputs)[0]  # type: ignore[return-value]

    return make, arrays


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_the_runtime_agrees_with_the_meaning(case: Case) -> None:
    make, arrays = made(case, np.float32)
    graph = spatial.build(make, spatial.types(arrays))
    wide, feeds = made(case, np.float64)
    expected = evaluate(spatial.build(wide, spatial.types(feeds)), feeds)["y0"]
    (found,) = spatial.run(spatial.lowered(graph), arrays)
    longest = max(max(array.shape) for array in arrays.values())  # a place on an axis is a float32 number
    spatial.close(found, expected, 2e-5 + 5e-7 * longest)


@pytest.mark.parametrize("case", [case for case in CASES if case.op in ("RoiAlign", "STFT")], ids=by_name)
def test_parts_agree_with_the_meaning(case: Case) -> None:
    """Where the meaning is written apart from the expansion: in onnx's reference, whose attributes are float32."""
    make, feeds = made(case, np.float64)
    parts, _ = made(case, np.float64, open_up=True)
    one = evaluate(spatial.build(make, spatial.types(feeds)), feeds)["y0"]
    spatial.close(evaluate(spatial.build(parts, spatial.types(feeds)), feeds)["y0"], one, 2e-6)


def gradient_graph(make: Any, inputs: dict[str, Type]) -> Graph:
    """The gradients of sum(c * make(x)), with c an input, through expansions too."""
    with Builder() as builder:
        values = [builder.input(name, type) for name, type in inputs.items()]
        y = make(*values)
        loss = spatial.total(builder.input("cotangent", y.type) * y)
        found = {f"d{name}": private.Gradient(loss, x) for name, x in zip(inputs, values, strict=True)}
        return differentiate(builder.graph("g", found))


@pytest.mark.parametrize("case", CASES[::2], ids=by_name)
def test_the_runtime_agrees_with_the_gradient(case: Case) -> None:
    make, arrays = made(case, np.float32)
    wide, feeds = made(case, np.float64)
    graph = gradient_graph(wide, spatial.types(feeds))
    shape = graph.input("cotangent").type.static_shape()
    feeds["cotangent"] = np.random.default_rng(5).standard_normal(shape)
    expected = evaluate(graph, feeds)
    narrow = spatial.lowered(gradient_graph(make, spatial.types(arrays)))
    names = narrow.input_names
    results = spatial.run(narrow, {name: feeds[name].astype(np.float32) for name in names})
    for name, found in zip(narrow.outputs, results, strict=True):
        spatial.close(found, expected[name], 1e-4)


TRANSFORMATIONS = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric")


@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize(
    "options", [{}, {"antialias": 1}, {"exclude_outside": 1}, {"antialias": 1, "exclude_outside": 1}]
)
def test_resize_is_the_runtimes_own(transformation: str, mode: str, options: dict[str, int]) -> None:
    """Against its kernel, before anything is lowered."""
    if options and (mode == "nearest" or (mode == "linear" and "antialias" not in options)):
        options = {}  # the kernel refuses them
    nearest = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil") if mode == "nearest" else ("floor",)
    x = {"x": np.random.default_rng(1).standard_normal((2, 3, 5, 8)).astype(np.float32)}
    for scales in ((2, 3), (0.5, 0.6), (1.7, 0.35), (1, 2)):
        for rounding in nearest:
            given = {"mode": mode, "coordinate_transformation_mode": transformation, "nearest_mode": rounding}
            sized = np.array([1, 1, *scales], np.float32)
            make: Any = lambda x, sized=sized, given=given: op.Resize(x, None, sized, **given, **options)  # noqa: E731
            graph = spatial.build(make, spatial.types(x))
            (found,) = spatial.run(graph, x)
            spatial.close(found, evaluate(graph, x)["y0"], 2e-5)


def test_resize_with_unknown_sizes() -> None:
    def typed(shape: tuple[Any, ...], **inputs: Any) -> Type:
        with Builder() as builder:
            attributes = {name: inputs.pop(name) for name in ("axes", "mode") if name in inputs}
            x = builder.input("x", Type("f32", shape))
            value: Value = op.Resize(x, None, inputs.get("scales"), inputs.get("sizes"), **attributes)
        return value.type

    scales = np.array([1, 1, 2, 0.5], np.float32)
    assert typed((B, 3, H, W), scales=scales).shape == (B, 3, 2 * H, quotient(W, 2))
    assert typed((B, 3, H, 8), sizes=np.array([5, 6]), axes=(2, 3)).shape == (B, 3, 5, 6)
    with pytest.raises(IllTyped, match=r"by 0\.3\d* along an axis of unknown size H"):
        typed((B, 3, H, 8), scales=np.array([1, 1, 0.3, 1], np.float32))
    with pytest.raises(IllTyped, match="either scales or sizes"):
        typed((B, 3, H, 8))
    with pytest.raises(IllTyped, match="3 scales or sizes for 4 axes"):
        typed((B, 3, H, 8), sizes=np.array([1, 2, 3]))
    with pytest.raises(IllTyped, match="mode = lanczos"):
        typed((B, 3, H, 8), scales=scales, mode="lanczos")


def test_resizing_to_the_shape_of_another() -> None:
    """Sizes that a graph reads from another value, as networks with skips do."""

    def make(x: Value, y: Value) -> Value:
        doubled: Value = op.Resize(x, None, None, op.Shape(y))
        return doubled * y

    shapes = {"x": (B, 3, H, W), "y": (B, 3, 2 * H, 2 * W)}
    inputs = {name: Type("f64", shape) for name, shape in shapes.items()}
    rng = np.random.default_rng(2)
    arrays = {"x": rng.standard_normal((2, 3, 4, 5)), "y": rng.standard_normal((2, 3, 8, 10))}
    graph = spatial.gradient_graph(make, inputs)
    found = evaluate(graph, {**arrays, "cotangent": np.ones((2, 3, 8, 10))})
    spatial.close(found["x"], arrays["y"].reshape(2, 3, 4, 2, 5, 2).sum((3, 5)), 1e-12)


def test_a_gradient_reads_sizes_at_run_time() -> None:
    scales = np.array([1, 1, 2, 2], np.float32)
    make: Any = lambda x: op.Resize(x, None, scales, mode="linear")  # noqa: E731
    arrays = {"x": np.random.default_rng(2).standard_normal((2, 3, 4, 5)), "cotangent": np.ones((2, 3, 8, 10))}
    unknown = spatial.gradient_graph(make, {"x": Type("f64", (B, 3, H, W))})
    known = spatial.gradient_graph(make, {"x": Type("f64", (2, 3, 4, 5))})
    spatial.close(evaluate(unknown, arrays)["x"], evaluate(known, arrays)["x"], 1e-12)


def test_roi_align_with_samples_by_size() -> None:
    """As many samples as the largest region needs are computed: the same as the runtime's kernel gives."""
    x = {"x": np.random.default_rng(3).standard_normal((3, 2, 6, 7)).astype(np.float32)}
    images = np.array([2, 0, 1, 1, 2])
    make: Any = lambda x: op.RoiAlign(x, spatial_cases.ROIS.astype(x.type.numpy), images, output_height=2)  # noqa: E731
    graph = spatial.build(make, spatial.types(x))
    spatial.close(spatial.run(spatial.lowered(graph), x)[0], evaluate(graph, x)["y0"], 2e-5)
    arrays = {"x": x["x"].astype(np.float64), "cotangent": np.ones((5, 2, 2, 1))}
    found = evaluate(gradient_graph(make, {"x": Type("f64", (3, 2, 6, 7))}), arrays)
    assert found["dx"].any(axis=(1, 2, 3)).all()


# Samples at -1, at the height or width of the image, and just beyond; boxes without height, without width, or neither.
ENDS = [[-1.5, -1.5, -1.0, -1.0], [6.5, 5.5, 7.0, 6.0], [-1.6, -1.6, -1.0, -1.0], [6.6, 5.6, 7.0, 6.0]]
EMPTY = [[2.0, 1.0, 2.0, 4.0], [2.0, 1.0, 5.0, 1.0], [3.0, 3.0, 3.0, 3.0], [1.0, 1.0, 4.0, 5.0]]


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize(
    ("boxes", "given"),
    [
        (ENDS, {"sampling_ratio": 1, "coordinate_transformation_mode": "output_half_pixel"}),
        (EMPTY, {"sampling_ratio": 0, "coordinate_transformation_mode": "half_pixel", "output_height": 2}),
    ],
    ids=["ends", "empty"],
)
def test_roi_align_at_the_ends_and_of_nothing(boxes: list[list[float]], given: dict[str, Any], mode: str) -> None:
    """The runtime's kernel, and the parts that the gradient goes through."""
    x = {"x": np.random.default_rng(5).uniform(1, 2, (1, 2, 6, 7)).astype(np.float32)}

    def make(x: Any, parts: bool = False) -> Any:
        images = np.zeros(len(boxes), np.int64)
        node = op.RoiAlign(x, np.array(boxes, x.type.numpy), images, mode=mode, **given).node
        return expanded(node)[0] if parts else node.outputs[0]

    (kernel,) = spatial.run(spatial.lowered(spatial.build(make, spatial.types(x))), x)
    parts = spatial.build(lambda x: make(x, parts=True), spatial.types(x))
    spatial.close(spatial.run(spatial.lowered(parts), x)[0], kernel, 2e-5)
    assert kernel.any() and not kernel.all()


def test_the_places_of_maxima_in_either_order() -> None:
    for extents in ((9,), (6, 7), (4, 5, 6)):
        x = {"x": np.random.default_rng(4).standard_normal((2, 3, *extents)).astype(np.float32)}
        for given in ({}, {"strides": (2,) * len(extents), "pads": (1,) * 2 * len(extents), "ceil_mode": 1}):
            kernel = (3,) * len(extents)
            make: Any = lambda x, given=given, kernel=kernel: op.MaxPool(  # noqa: E731
                x, kernel_shape=kernel, storage_order=1, outputs=2, **given
            )
            graph = spatial.build(make, spatial.types(x))
            expected = evaluate(graph, x)
            values, places = spatial.run(graph, x)
            spatial.close(values, expected["y0"], 1e-6)
            assert (places == expected["y1"]).all()
            rng = np.random.default_rng(5)
            wide = {"x": Type("f64", (2, 3, *extents))}
            spatial.by_differences(spatial.gradient_graph(lambda x: make(x)[0], wide), x, rng)  # noqa: B023


@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool", "LpPool"])
@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("stride", [1, 2])
def test_automatic_padding_with_gaps(kind: str, auto_pad: str, stride: int) -> None:
    """The runtime leaves the gaps out of account: lowering writes the padding out."""
    x = {"x": np.random.default_rng(6).standard_normal((2, 3, 6, 7)).astype(np.float32)}
    given = {"kernel_shape": (2, 3), "dilations": (2, 1), "strides": (stride, stride), "auto_pad": auto_pad}
    spatial.same_when_lowered(lambda x: op[kind](x, **given), x, spatial.types(x))


REFUSED: dict[str, tuple[Any, str]] = {
    "a grid of other axes": (lambda x: op.GridSample(x, np.zeros((2, 3, 3, 3), np.float32)), "GridSample of"),
    "a mode": (lambda x: op.GridSample(x, np.zeros((2, 3, 3, 2), np.float32), mode="lanczos"), "mode = lanczos"),
    "a transform along parts": (lambda x: op.DFT(x, None, np.array(-1)), "DFT"),
    "offsets": (
        lambda x: op.DeformConv(x, np.zeros((4, 3, 2, 2), np.float32), np.zeros((2, 7, 4, 5), np.float32)),
        "offsets are",
    ),
    "blocks": (lambda x: op.Col2Im(op.Flatten(x), np.array([4, 4]), np.array([2, 2])), "Col2Im of"),
    "unpooled elsewhere": (lambda x: op.MaxUnpool(x, np.zeros((1,), np.int64), kernel_shape=(2, 2)), "MaxUnpool of"),
    "a region": (
        lambda x: op.RoiAlign(x, np.zeros((2, 5), np.float32), np.zeros(2, np.int64)),
        r"\[N, C, H, W\] and \[regions, 4\]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_said(name: str) -> None:
    make, message = REFUSED[name]
    with pytest.raises(IllTyped, match=message):
        spatial.build(make, {"x": Type("f32", (2, 3, 5, 6))})
