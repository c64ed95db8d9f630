"""Models of old opsets: ONNX Runtime, which reads each opset's own form, gives the same for what dlc makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper
from onnx_models import assert_same, model

from dlc.compiler.importer import Reason, Refused, of_model

Array = Any
RNG = np.random.default_rng(7)
X = RNG.normal(size=(2, 4, 6)).astype(np.float32)
IMAGE = RNG.normal(size=(2, 4, 6, 8)).astype(np.float32)


def _f(*values: float) -> Array:
    return np.array(values, np.float32)


def _i(*values: int) -> Array:
    return np.array(values, np.int64)


# operator, opset, attributes, input fed, constants, number of outputs
STATISTICS = [_f(1, 2, 3, 4), _f(4, 3, 2, 1), _f(0, 1, 0, 1), _f(1, 2, 3, 1)]  # scale, bias, mean, variance

FORMS: list[tuple[str, int, dict[str, Any], Array, list[Array], int]] = [
    *((name, opset, {"axis": axis}, X, [], 1)
      for name in ("Softmax", "LogSoftmax", "Hardmax") for opset in (7, 12) for axis in (0, 1, 2)),
    ("Softmax", 11, {}, X, [], 1),
    ("Softmax", 11, {"axis": -2}, X, [], 1),
    ("Softmax", 13, {}, X, [], 1),
    ("Clip", 7, {"min": -0.5, "max": 0.5}, X, [], 1),
    ("Clip", 10, {"min": 0.25}, X, [], 1),
    ("Clip", 10, {}, X, [], 1),
    ("Dropout", 7, {"ratio": 0.3}, X, [], 1),
    ("Dropout", 10, {}, X, [], 1),  # of the mask, opset 10 does not say what it holds when nothing is dropped
    ("BatchNormalization", 7, {"epsilon": 1e-3}, IMAGE, STATISTICS, 1),
    ("BatchNormalization", 9, {"momentum": 0.8}, IMAGE, STATISTICS, 1),
    ("Slice", 9, {"starts": [1, -3], "ends": [9, -1], "axes": [0, 2]}, X, [], 1),
    ("Slice", 7, {"starts": [0, 1], "ends": [1, 3]}, X, [], 1),
    ("Pad", 7, {"pads": [0, 1, 2, 0, 0, 3], "value": 1.5}, X, [], 1),
    ("Pad", 10, {"pads": [0, 1, 2, 0, 0, 3], "mode": "reflect"}, X, [], 1),
    ("Pad", 10, {"pads": [1, 1, 2, 0, 0, 3], "mode": "edge"}, X, [], 1),
    ("Upsample", 7, {"scales": [1.0, 1.0, 2.0, 3.0], "mode": "nearest"}, IMAGE, [], 1),
    ("Upsample", 7, {"scales": [1.0, 1.0, 2.0, 2.0], "mode": "linear"}, IMAGE, [], 1),
    ("Upsample", 9, {"mode": "nearest"}, IMAGE, [_f(1, 1, 2, 1.5)], 1),
    ("Resize", 10, {"mode": "nearest"}, IMAGE, [_f(1, 1, 2, 1.5)], 1),
    ("Resize", 10, {"mode": "nearest"}, IMAGE, [_f(1, 1, 0.5, 0.6)], 1),
    ("Resize", 10, {"mode": "linear"}, IMAGE, [_f(1, 1, 2, 1.5)], 1),
    ("Resize", 10, {"mode": "linear"}, IMAGE, [_f(1, 1, 0.5, 0.6)], 1),
    ("Resize", 11, {"mode": "linear"}, IMAGE, [_f(), _f(1, 1, 2, 1.5)], 1),
    ("Resize", 11, {"mode": "nearest"}, IMAGE, [_f(), _f(), _i(2, 4, 9, 5)], 1),
    ("Squeeze", 11, {"axes": [0]}, X[:1], [], 1),
    ("Squeeze", 7, {}, X[:1], [], 1),
    ("Unsqueeze", 11, {"axes": [0, -1]}, X, [], 1),
    ("ReduceSum", 11, {"axes": [1], "keepdims": 0}, X, [], 1),
    *((name, 17, {"axes": [0, 2]}, X, [], 1)
      for name in ("ReduceMax", "ReduceMin", "ReduceMean", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare",
                   "ReduceLogSumExp")),
    ("ReduceLogSum", 13, {"axes": [-1], "keepdims": 0}, np.abs(X), [], 1),
    ("ReduceMean", 7, {}, X, [], 1),
    ("Split", 11, {"axis": 1, "split": [1, 3]}, X, [], 2),
    ("Split", 7, {"axis": 2}, X, [], 3),
    ("Split", 13, {"axis": 2}, X, [], 3),
    ("TopK", 9, {"k": 2, "axis": 1}, X, [], 2),
    ("TopK", 10, {}, X, [_i(3)], 2),
    ("Scatter", 9, {"axis": 1}, X[:, :, 0], [_i(2, 0).reshape(2, 1), _f(5, 6).reshape(2, 1)], 1),
    ("Scatter", 10, {"axis": 1}, X[:, :, 0], [_i(2, 0).reshape(2, 1), _f(5, 6).reshape(2, 1)], 1),
    ("DFT", 17, {"axis": 1, "onesided": 1}, IMAGE[..., :1], [], 1),
    ("GridSample", 16, {"mode": "bilinear"}, IMAGE, [RNG.uniform(-1, 1, (2, 3, 3, 2)).astype(np.float32)], 1),
    ("GridSample", 16, {"mode": "bicubic", "align_corners": 1}, IMAGE,
     [RNG.uniform(-1, 1, (2, 3, 3, 2)).astype(np.float32)], 1),
    ("GroupNormalization", 18, {"num_groups": 2}, IMAGE, [_f(1, 2), _f(3, 4)], 1),
    ("RoiAlign", 10, {"output_height": 2, "output_width": 2}, IMAGE, [_f(0, 0, 4, 4).reshape(1, 4), _i(1)], 1),
    ("AveragePool", 7, {"kernel_shape": [2, 2], "pads": [1, 1, 0, 0], "count_include_pad": 1}, IMAGE, [], 1),
    ("MaxPool", 8, {"kernel_shape": [3, 3], "strides": [2, 2]}, IMAGE, [], 1),
    ("LpPool", 11, {"kernel_shape": [2, 2]}, IMAGE, [], 1),
    ("Gemm", 7, {"transB": 1}, X[0], [RNG.normal(size=(3, 6)).astype(np.float32), _f(1, 2, 3)], 1),
    ("PRelu", 7, {}, X, [_f(0.25)], 1),
    ("Cast", 9, {"to": 7}, X * 4, [], 1),
    ("Reshape", 7, {}, X, [_i(0, -1)], 1),
    ("Flatten", 9, {"axis": 2}, X, [], 1),
    ("ArgMax", 11, {"axis": 1, "keepdims": 0}, X, [], 1),
    ("LSTM", 7, {"hidden_size": 3}, X,
     [RNG.normal(size=(1, 12, 6)).astype(np.float32), RNG.normal(size=(1, 12, 3)).astype(np.float32)], 3),
    ("GRU", 7, {"hidden_size": 3, "linear_before_reset": 1}, X,
     [RNG.normal(size=(1, 9, 6)).astype(np.float32), RNG.normal(size=(1, 9, 3)).astype(np.float32)], 2),
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form[0]}-{form[1]}-{sorted(form[2])}")
def test_an_old_form_means_what_it_meant(form: Any) -> None:
    name, opset, attributes, x, constants, outputs = form
    names = [f"c{i}" for i in range(len(constants))]
    results = [f"y{i}" for i in range(outputs)]
    proto = model(
        [helper.make_node(name, ["x", *names], results, **attributes)],
        {"x": ("float", x.shape)},
        results,
        opset,
        dict(zip(names, constants, strict=True)),
    )
    imported = assert_same(proto, {"x": x})
    assert imported.opset == opset
    assert all(node.op not in ("Upsample", "Scatter") for node in imported.graph.nodes)


@pytest.mark.parametrize("opset", [1, 6, 999])
def test_opsets_outside_of_the_range_are_refused(opset: int) -> None:
    proto = model([helper.make_node("Relu", ["x"], ["y"])], {"x": ("float", [2])}, ["y"], opset)
    with pytest.raises(Refused, match=f"opset {opset}; dlc reads 7 to"):
        of_model(proto)


def test_forms_without_a_successor_are_refused() -> None:
    parameters = {name: np.ones(4, np.float32) for name in "abcd"}
    node = helper.make_node("BatchNormalization", ["x", *"abcd"], ["y"], spatial=0)
    with pytest.raises(Refused, match="spatial = 0") as refusal:
        of_model(model([node], {"x": ("float", IMAGE.shape)}, ["y"], 7, parameters))
    assert refusal.value.reason is Reason.OLD_FORM
