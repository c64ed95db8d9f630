"""Conv, ConvTranspose and the private gradients of convolutions."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spatial

from dlc.compiler.build import Builder, op, private
from dlc.compiler.emit import emit, serialized
from dlc.compiler.graph import Value
from dlc.compiler.registry import IllTyped
from dlc.compiler.types import Type, quotient, symbol

Array = np.ndarray[Any, Any]
B, H, W = symbol("B"), symbol("H"), symbol("W")


@dataclass(frozen=True)
class Case:
    x: tuple[int, ...]
    w: tuple[int, ...]
    attributes: dict[str, Any]

    def arrays(self, seed: int = 0) -> dict[str, Array]:
        rng = np.random.default_rng(seed)
        return {"x": normal(rng, self.x), "w": normal(rng, self.w)}


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


def random_case(seed: int) -> Case:
    """Any rank from 1 to 3, any of groups, depthwise, strides with a remainder, asymmetric pads and dilations."""
    rng = np.random.default_rng(seed)
    rank = int(rng.choice([1, 2, 2, 2, 3]))
    groups = int(rng.choice([1, 1, 2, 3]))
    depth, filters = int(rng.integers(1, 4)) if rng.random() < 0.7 else 1, int(rng.integers(1, 4))
    kernel = tuple(int(k) for k in rng.integers(1, 4, rank))
    dilations = tuple(int(d) for d in rng.integers(1, 3, rank))
    strides = tuple(int(s) for s in rng.integers(1, 4, rank))
    pads = tuple(int(p) for p in rng.integers(0, 3, 2 * rank))
    extents = tuple(
        max(1, d * (k - 1) + 1 + int(e)) for k, d, e in zip(kernel, dilations, rng.integers(0, 6, rank), strict=True)
    )
    attributes = {"group": groups, "strides": strides, "pads": pads, "dilations": dilations}
    return Case((int(rng.integers(1, 4)), depth * groups, *extents), (filters * groups, depth, *kernel), attributes)


SPECIAL = {
    "kernel covers the input": Case((3, 4, 5, 5), (7, 4, 5, 5), {}),
    "kernel covers the input, batch 1": Case((1, 4, 5, 5), (7, 4, 5, 5), {"strides": (2, 3)}),
    "kernel covers the padded input": Case((2, 2, 3, 3), (4, 2, 5, 5), {"pads": (1, 1, 1, 1)}),
    "kernel covers the input in groups": Case((2, 4, 3, 3), (6, 2, 3, 3), {"group": 2}),
    "kernel covers the input, rank 1": Case((2, 3, 4), (5, 3, 4), {}),
    "1x1": Case((2, 5, 4, 6), (3, 5, 1, 1), {}),
    "1x1, large": Case((3, 5, 20, 18), (3, 5, 1, 1), {}),
    "1x1, stride 2": Case((2, 5, 4, 7), (3, 5, 1, 1), {"strides": (2, 2)}),
    "1x1, padded": Case((2, 5, 4, 6), (3, 5, 1, 1), {"pads": (1, 0, 0, 2)}),
    "1x1, groups": Case((2, 6, 4, 6), (4, 3, 1, 1), {"group": 2}),
    "1x1 of 1x1": Case((2, 6, 1, 1), (4, 6, 1, 1), {}),
    "rank 3, 1x1x1": Case((2, 3, 2, 3, 4), (4, 3, 1, 1, 1), {}),
    "depthwise": Case((2, 4, 7, 7), (4, 1, 3, 3), {"group": 4, "pads": (1, 1, 1, 1)}),
    "depthwise, multiplied": Case((2, 3, 7, 8), (6, 1, 3, 2), {"group": 3, "strides": (2, 2)}),
    "LeNet-5, first": Case((64, 1, 28, 28), (6, 1, 5, 5), {"pads": (2, 2, 2, 2)}),
    "LeNet-5, second": Case((64, 6, 14, 14), (16, 6, 5, 5), {}),
    "blocks, asymmetric": Case((64, 1, 17, 17), (6, 1, 5, 5), {"pads": (2, 1, 1, 2)}),
    "blocks, stride 2 with a remainder": Case((64, 1, 20, 20), (2, 1, 5, 5), {"strides": (2, 2)}),
    "blocks, stride 3, more unused than padded": Case(
        (64, 1, 30, 30), (2, 1, 5, 5), {"strides": (3, 3), "pads": (1, 1, 0, 0)}
    ),
    "unused elements beyond the padding": Case((2, 3, 9, 9), (4, 3, 2, 2), {"strides": (4, 4), "pads": (1, 1, 0, 0)}),
}  # fmt: skip
CASES = {**SPECIAL, **{f"random {seed}": random_case(seed) for seed in range(60)}}
FEW = [name for name in CASES if "LeNet" not in name and "blocks" not in name]


def conv(case: Case) -> Any:
    return lambda x, w, b=None: op.Conv(x, w, b, **case.attributes)


def resolved(case: Case) -> dict[str, Any]:
    rank = len(case.x) - 2
    default = {"group": 1, "strides": (1,) * rank, "pads": (0,) * 2 * rank, "dilations": (1,) * rank}
    return {**default, **case.attributes}


@pytest.mark.parametrize("name", CASES)
def test_type_is_what_onnx_runtime_computes(name: str) -> None:
    case = CASES[name]
    arrays = case.arrays()
    graph = spatial.build(conv(case), spatial.types(arrays))
    (found,) = spatial.run(graph, arrays)
    assert graph.outputs["y0"].shape == found.shape


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("extent", [7, 8])
@pytest.mark.parametrize("kernel", [3, 4])
def test_automatic_padding(auto_pad: str, stride: int, extent: int, kernel: int) -> None:
    case = Case((2, 3, extent, 9), (4, 3, kernel, 3), {"auto_pad": auto_pad, "strides": (stride, stride)})
    arrays = case.arrays()
    graph = spatial.build(conv(case), spatial.types(arrays))
    (found,) = spatial.run(graph, arrays)
    assert graph.outputs["y0"].shape == found.shape
    spatial.same_when_lowered(conv(case), arrays, spatial.types(arrays))
    rng = np.random.default_rng(0)
    wide = spatial.types({name: array.astype(np.float64) for name, array in arrays.items()})
    spatial.by_differences(spatial.gradient_graph(conv(case), wide), arrays, rng)


@pytest.mark.parametrize("name", FEW)
def test_meaning_is_onnx_runtimes(name: str) -> None:
    case = CASES[name]
    arrays = case.arrays()
    arrays["b"] = normal(np.random.default_rng(1), case.w[:1])
    spatial.same_when_lowered(conv(case), arrays, spatial.types(arrays))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("symbolic", ["static", "batch", "all"])
def test_lowerings_of_the_gradients(name: str, symbolic: str) -> None:
    case = CASES[name]
    arrays = case.arrays()
    axes = {"static": (), "batch": (0,), "all": (0, *range(2, len(case.x)))}[symbolic]
    inputs = spatial.types(arrays, {"x": axes})
    y = spatial.build(conv(case), inputs).outputs["y0"].type
    static = spatial.build(conv(case), spatial.types(arrays)).outputs["y0"].type.static_shape()
    arrays["g"] = normal(np.random.default_rng(2), static)
    inputs["g"] = y

    def both(x: Value, w: Value, g: Value) -> tuple[Value, Value]:
        given = resolved(case)
        return private.ConvInputGrad(g, w, shape=x.shape, **given), private.ConvWeightGrad(x, g, shape=w.shape, **given)

    spatial.same_when_lowered(both, arrays, inputs)


@pytest.mark.parametrize("name", FEW)
def test_against_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch", reason="the peer is optional")
    case = CASES[name]
    given = resolved(case)
    rank = len(case.x) - 2
    arrays = {key: array.astype(np.float64) for key, array in case.arrays().items()}
    pads = given["pads"]
    around = [pads[side * rank + axis] for axis in reversed(range(rank)) for side in (0, 1)]
    x, w = (torch.tensor(arrays[key], requires_grad=True) for key in ("x", "w"))
    function = getattr(torch.nn.functional, f"conv{rank}d")
    y = function(
        torch.nn.functional.pad(x, around),
        w,
        stride=given["strides"],
        dilation=given["dilations"],
        groups=given["group"],
    )
    c = torch.randn(y.shape, dtype=torch.float64)
    dx, dw = torch.autograd.grad(y, (x, w), c)
    graph = spatial.gradient_graph(conv(case), spatial.types(arrays))
    found = spatial.evaluate(graph, {**arrays, "cotangent": c.numpy()})
    spatial.close(found["x"], dx.numpy(), 1e-12)
    spatial.close(found["w"], dw.numpy(), 1e-12)


@pytest.mark.parametrize("name", FEW[::3])
def test_gradients_by_differences(name: str) -> None:
    case = CASES[name]
    arrays = {key: array.astype(np.float64) for key, array in case.arrays().items()}
    arrays["b"] = np.random.default_rng(3).standard_normal(case.w[0])
    rng = np.random.default_rng(4)
    spatial.by_differences(spatial.gradient_graph(conv(case), spatial.types(arrays)), arrays, rng)
    spatial.by_differences(spatial.second_order_graph(conv(case), spatial.types(arrays)), arrays, rng, 1e-6)


TRANSPOSED = {
    "plain": Case((2, 3, 4, 5), (3, 4, 3, 3), {}),
    "stride 2, output padding": Case((2, 3, 4, 5), (3, 4, 3, 3), {"strides": (2, 3), "output_padding": (1, 2)}),
    "pads": Case((2, 3, 4, 5), (3, 4, 3, 2), {"strides": (2, 2), "pads": (1, 0, 1, 1)}),
    "asymmetric": Case((2, 3, 4, 5), (3, 4, 3, 3), {"strides": (2, 2), "pads": (1, 0, 0, 2), "output_padding": (1, 0)}),
    "groups": Case((2, 4, 4, 5), (4, 3, 3, 3), {"group": 2}),
    "depthwise": Case((2, 4, 4, 5), (4, 1, 2, 2), {"group": 4, "strides": (2, 2)}),
    "dilations": Case((2, 3, 4, 5), (3, 2, 2, 3), {"dilations": (2, 1)}),
    "rank 1": Case((2, 3, 6), (3, 2, 3), {"strides": (2,)}),
    "rank 3": Case((1, 2, 3, 3, 4), (2, 3, 2, 2, 2), {"strides": (2, 1, 2)}),
    "output padding as large as a stride": Case(
        (2, 3, 4, 5), (3, 2, 3, 3), {"strides": (1, 2), "dilations": (2, 3), "output_padding": (1, 2)}
    ),
    "output shape, odd": Case((2, 3, 4, 5), (3, 2, 3, 3), {"strides": (2, 2), "output_shape": (7, 10)}),
    "output shape beyond the windows": Case((2, 3, 4), (3, 2, 3), {"strides": (2,), "output_shape": (12,)}),
    "output_shape": Case((2, 3, 4, 5), (3, 4, 3, 3), {"strides": (2, 2), "output_shape": (8, 10)}),
    "same upper": Case((2, 3, 4, 5), (3, 4, 3, 3), {"strides": (2, 2), "auto_pad": "SAME_UPPER"}),
    "same lower": Case((2, 3, 4, 5), (3, 4, 3, 3), {"strides": (2, 2), "auto_pad": "SAME_LOWER"}),
}


def transpose(case: Case) -> Any:
    return lambda x, w, b=None: op.ConvTranspose(x, w, b, **case.attributes)


@pytest.mark.parametrize("name", TRANSPOSED)
def test_transposed(name: str) -> None:
    case = TRANSPOSED[name]
    arrays = case.arrays()
    arrays["b"] = normal(np.random.default_rng(1), (case.w[1] * case.attributes.get("group", 1),))
    graph = spatial.build(transpose(case), spatial.types(arrays))
    (found,) = spatial.run(spatial.lowered(graph), arrays)
    assert graph.outputs["y0"].shape == found.shape
    spatial.same_when_lowered(transpose(case), arrays, spatial.types(arrays))
    wide = {key: array.astype(np.float64) for key, array in arrays.items()}
    rng = np.random.default_rng(5)
    spatial.by_differences(spatial.gradient_graph(transpose(case), spatial.types(wide)), wide, rng)
    spatial.by_differences(spatial.second_order_graph(transpose(case), spatial.types(wide)), wide, rng, 1e-6)


def typed(x: Any, w: Any, **attributes: Any) -> Type:
    builder = Builder()
    with builder:
        found: Value = op.Conv(builder.input("x", Type("f32", x)), builder.input("w", Type("f32", w)), **attributes)
    return found.type


def test_symbolic_sizes() -> None:
    assert typed((B, 3, H, W), (6, 3, 3, 3), pads=(1, 1, 1, 1)).shape == (B, 6, H, W)
    assert typed((B, 3, H, W), (6, 3, 3, 3), pads=(1, 1, 1, 1), strides=(2, 2)).shape == (
        B, 6, quotient(H + 1, 2), quotient(W + 1, 2),
    )  # fmt: skip
    assert typed((B, 3, H, 8), (6, 3, 3, 3), auto_pad="SAME_UPPER", strides=(2, 2)).shape == (
        B,
        6,
        quotient(H, 2, True),
        4,
    )


def test_the_update_of_a_covering_kernel_is_one_product() -> None:
    case = SPECIAL["kernel covers the input"]
    graph = spatial.lowered(spatial.build(conv(case), spatial.types(case.arrays(), {"x": (0,)})))
    assert {node.op for node in graph.nodes} == {"Constant", "Reshape", "Gemm"}


@pytest.mark.parametrize("sizes", [{"B": 64}, {}])
def test_blocks_are_used_where_they_were_measured_to_help(sizes: dict[str, int]) -> None:
    def operators(case: Case) -> set[str]:
        inputs = spatial.types(case.arrays(), {"x": (0,)})
        inputs["g"] = spatial.build(conv(case), inputs).outputs["y0"].type
        make: Any = lambda x, w, g: private.ConvWeightGrad(x, g, shape=w.shape, **resolved(case))  # noqa: E731
        return {node.op for node in spatial.lowered(spatial.build(make, inputs, sizes)).nodes}

    assert "SpaceToDepth" in operators(SPECIAL["LeNet-5, first"])
    assert "SpaceToDepth" in operators(SPECIAL["LeNet-5, second"])
    for name in SPECIAL:
        assert "blocks" not in name or "SpaceToDepth" in operators(SPECIAL[name]), name
    assert "SpaceToDepth" not in operators(Case((32, 64, 56, 56), (64, 64, 3, 3), {"pads": (1, 1, 1, 1)}))


@pytest.mark.parametrize(
    ("x", "w", "attributes", "message"),
    [
        ((1, 3, 8, 8), (4, 6, 3, 3), {}, "Conv: the input has 3 channels, the weight wants 6"),
        ((1, 3, 8, 8), (4, 2, 3, 3), {"group": 2},
         "Conv: the input has 3 channels, the weight wants 2 in each of 2 groups"),
        ((1, 4, 8, 8), (3, 2, 3, 3), {"group": 2}, "Conv: 3 filters do not make 2 equal groups"),
        ((1, 3, 8, 8), (4, 3, 9, 3), {}, "Conv: windows of [9, 3] do not fit into [8, 8]"),
        ((1, 3, 8, 8), (4, 3, 11, 3), {"pads": (1, 0, 1, 0)},
         "Conv: windows of [11, 3] do not fit into [8, 8] padded by [1, 0, 1, 0]"),
        ((1, 3, 8, 8), (4, 3, 3, 3), {"strides": (1,)},
         "Conv: strides = [1] for 2 spatial axes: 2 numbers are expected"),
        ((1, 3, 8, 8), (4, 3, 3, 3), {"strides": (0, 1)}, "Conv: strides = [0, 1]: 1 is the least"),
        ((1, 3, 8, 8), (4, 3, 3, 3), {"kernel_shape": (5, 5)}, "Conv: kernel_shape = [5, 5], the weight's is [3, 3]"),
        ((1, 3, 8, 8), (4, 3, 3, 3), {"auto_pad": "SAME"},
         "Conv: auto_pad = SAME: NOTSET, VALID, SAME_UPPER or SAME_LOWER is expected"),
        ((3, 8), (4, 8), {},
         "Conv of f32[3, 8] with a weight f32[4, 8]: [N, C, spatial...] and [O, C, kernel...] are expected"),
    ],
)  # fmt: skip
def test_messages(x: Any, w: Any, attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(IllTyped) as caught:
        typed(x, w, **attributes)
    assert str(caught.value) == message


RUN = """
import sys
import numpy, onnxruntime
for path in sys.argv[1:]:
    session = onnxruntime.InferenceSession(path)
    feeds = {}
    for each in session.get_inputs():
        feeds[each.name] = numpy.zeros([size if isinstance(size, int) else 0 for size in each.shape], numpy.float32)
    [found] = session.run(None, feeds)
    assert found.size and not found.any(), path
"""


def test_without_images_the_gradient_of_the_weight_is_0(tmp_path: Path) -> None:
    """In a process of its own: ONNX Runtime's Conv of no channels never ends."""
    paths = []
    for number, case in enumerate(CASES.values()):
        arrays = case.arrays()
        inputs = spatial.types(arrays, {"x": (0,)})
        inputs["g"] = spatial.build(conv(case), inputs).outputs["y0"].type
        given = {"shape": case.w, **resolved(case)}
        graph = spatial.build(lambda x, w, g, given=given: private.ConvWeightGrad(x, g, **given), inputs)
        paths.append(tmp_path / f"{number}.onnx")
        paths[-1].write_bytes(serialized(emit(spatial.lowered(graph))))
    subprocess.run([sys.executable, "-c", RUN, *map(str, paths)], check=True, timeout=120)
