"""Convolutions of sizes that only a run tells: kernels, and batches of none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper
from onnx_models import model, ran
from run_time import check

from dlc.compiler.derivative import derivative, differentiated
from dlc.compiler.importer import of_model

try:
    import torch
except ImportError:
    torch = None  # type: ignore[assignment]

N = helper.make_node


def draw(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def test_a_transposed_convolution_by_a_kernel_of_any_size() -> None:
    """With more at the ends than a window reaches: what the kernel's gradient is cut to is known at run time alone."""
    node = N("ConvTranspose", ["x", "w"], ["y"], strides=[3, 2], output_padding=[1, 1])
    proto = model([node], {"x": ("float", ["N", 2, "H", "W"]), "w": ("float", [2, 3, "J", "K"])}, ("y",))

    def peer(x: Any, w: Any) -> Any:
        return torch.nn.functional.conv_transpose2d(x, w, stride=(3, 2), output_padding=(1, 1))

    fed = [{"x": draw(2, 2, 3, 4), "w": draw(2, 3, j, k)} for j, k in ((3, 3), (1, 2), (2, 4))]
    check(proto, ["x", "w"], fed, peer if torch else None)


@pytest.mark.parametrize(
    "given", [{"pads": [1, 1, 1, 1]}, {"pads": [1, 1, 1, 1], "strides": [2, 2]}, {"auto_pad": "SAME_UPPER"}, {},
              {"auto_pad": "SAME_LOWER", "strides": [2, 2]}],
    ids=str,
)  # fmt: skip
def test_of_no_pictures_a_kernel_has_a_gradient_of_zeros(given: dict[str, Any]) -> None:
    types = {"x": ("float", ["N", 4, "H", "W"]), "w": ("float", [4, 4, 3, 3])}
    loaded = of_model(model([N("Conv", ["x", "w"], ["y"], **given)], types, ("y",)))
    made = differentiated(loaded, derivative(loaded, "y", ["x", "w"], cotangent=True)[0])
    for n in (0, 2):
        x, w = draw(n, 4, 5, 6), draw(4, 4, 3, 3)
        shape = ran(model([N("Conv", ["x", "w"], ["y"], **given)], types, ("y",)), {"x": x, "w": w})[0].shape
        _, dx, dw = ran(made, {"x": x, "w": w, "y:cotangent": np.ones(shape, np.float32)})
        assert dx.shape == x.shape and dw.shape == w.shape and dw.any() == (n > 0)
