"""Pools, their gradients, LRN, and the operators that repeat or regroup pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import spatial

from dlc.compiler.build import Builder, op
from dlc.compiler.graph import Value
from dlc.compiler.registry import IllTyped
from dlc.compiler.types import Type, quotient, symbol

Array = np.ndarray[Any, Any]
B, H = symbol("B"), symbol("H")


@dataclass(frozen=True)
class Case:
    x: tuple[int, ...]
    attributes: dict[str, Any]

    def arrays(self, seed: int = 0) -> dict[str, Array]:
        """Distinct values, further apart than any finite difference steps."""
        rng = np.random.default_rng(seed)
        size = int(np.prod(self.x))
        return {"x": ((rng.permutation(size) - size / 2 + 0.25) / 64).astype(np.float32).reshape(self.x)}


def random_case(seed: int) -> Case:
    rng = np.random.default_rng(seed)
    rank = int(rng.choice([1, 2, 2, 3]))
    kernel = tuple(int(k) for k in rng.integers(1, 4, rank))
    dilations = tuple(int(d) for d in rng.integers(1, 3, rank))
    strides = tuple(int(s) for s in rng.integers(1, 4, rank))
    pads = tuple(int(rng.integers(0, k)) for k in kernel + kernel)
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
    extents = tuple(span + int(e) for span, e in zip(spans, rng.integers(0, 6, rank), strict=True))
    attributes = {"kernel_shape": kernel, "strides": strides, "pads": pads, "dilations": dilations}
    return Case((int(rng.integers(1, 4)), int(rng.integers(1, 4)), *extents), attributes)


SPECIAL = {
    "2x2": Case((2, 3, 8, 6), {"kernel_shape": (2, 2), "strides": (2, 2)}),
    "2x3": Case((2, 3, 8, 6), {"kernel_shape": (2, 3), "strides": (2, 3)}),
    "2x2 with a remainder": Case((2, 3, 7, 6), {"kernel_shape": (2, 2), "strides": (2, 2)}),
    "2x2 beyond the last": Case((2, 3, 7, 7), {"kernel_shape": (2, 2), "strides": (2, 2), "ceil_mode": 1}),
    "3x3 overlapping": Case((2, 3, 9, 9), {"kernel_shape": (3, 3), "strides": (2, 2)}),
    "3x3 overlapping beyond the last": Case((2, 3, 10, 8), {"kernel_shape": (3, 3), "strides": (2, 2), "ceil_mode": 1}),
    "3x3 padded beyond the last": Case(
        (2, 3, 10, 8), {"kernel_shape": (3, 3), "strides": (2, 2), "ceil_mode": 1, "pads": (1, 1, 1, 1)}
    ),
    "1x1 with gaps": Case((2, 3, 4, 5), {"kernel_shape": (1, 1), "strides": (2, 2), "ceil_mode": 1}),
    "2x2 with gaps": Case((2, 3, 9, 7), {"kernel_shape": (2, 2), "strides": (3, 3), "ceil_mode": 1}),
    "2x2 on wide images": Case((2, 3, 6, 28), {"kernel_shape": (2, 2), "strides": (2, 2)}),
    "3x2 on wide images": Case((1, 5, 9, 16), {"kernel_shape": (3, 2), "strides": (3, 2)}),
    "1 in rank 1": Case((2, 3, 8), {"kernel_shape": (2,), "strides": (2,)}),
    "2x2x2": Case((2, 3, 4, 4, 6), {"kernel_shape": (2, 2, 2), "strides": (2, 2, 2)}),
    "whole": Case((2, 3, 4, 5), {"kernel_shape": (4, 5)}),
    "same upper": Case((2, 3, 8, 7), {"kernel_shape": (3, 3), "strides": (2, 2), "auto_pad": "SAME_UPPER"}),
    "same lower": Case((2, 3, 8, 7), {"kernel_shape": (3, 2), "strides": (2, 2), "auto_pad": "SAME_LOWER"}),
    "same beyond the last": Case(
        (2, 3, 7, 5), {"kernel_shape": (1, 2), "strides": (2, 3), "auto_pad": "SAME_UPPER", "ceil_mode": 1}
    ),
    "valid": Case((2, 3, 8, 7), {"kernel_shape": (3, 2), "strides": (2, 2), "auto_pad": "VALID"}),
}
CASES = {**SPECIAL, **{f"random {seed}": random_case(seed) for seed in range(30)}}
KINDS = {
    "MaxPool": [{}, {"ceil_mode": 1}],
    "AveragePool": [{}, {"count_include_pad": 1}, {"ceil_mode": 1}, {"ceil_mode": 1, "count_include_pad": 1}],
    "LpPool": [{"p": 2}, {"p": 3}],
}


def pool(kind: str, case: Case, more: dict[str, Any]) -> Any:
    return lambda x: getattr(op, kind)(x, **{**case.attributes, **more})


EVERY = [
    pytest.param(kind, name, more, id=f"{kind} {name} {more or ''}")
    for kind, settings in KINDS.items()
    for more in settings
    for name in CASES
    if not ("same" in name and "ceil_mode" in more)
    and not (kind == "AveragePool" and "same" in name and CASES[name].attributes.get("dilations"))
]


@pytest.mark.parametrize(("kind", "name", "more"), EVERY)
def test_forward_is_onnx_runtimes(kind: str, name: str, more: dict[str, Any]) -> None:
    case = CASES[name]
    arrays = case.arrays()
    make = pool(kind, case, more)
    graph = spatial.build(make, spatial.types(arrays))
    (found,) = spatial.run(graph, arrays)
    assert graph.outputs["y0"].shape == found.shape
    spatial.same_when_lowered(make, arrays, spatial.types(arrays))


@pytest.mark.parametrize(("kind", "name", "more"), EVERY)
@pytest.mark.parametrize("symbolic", ["static", "batch", "all"])
def test_lowered_gradients(kind: str, name: str, more: dict[str, Any], symbolic: str) -> None:
    case = CASES[name]
    if symbolic == "all" and "same" in name:
        return  # the padding of these depends on sizes that are not known: see test_messages
    arrays = case.arrays()
    axes = {"static": (), "batch": (0,), "all": (0, *range(2, len(case.x)))}[symbolic]
    inputs = spatial.types(arrays, {"x": axes})
    make = pool(kind, case, more)
    static = spatial.build(make, spatial.types(arrays)).outputs["y0"].type.static_shape()
    arrays["g"] = np.random.default_rng(1).standard_normal(static).astype(np.float32)
    inputs["g"] = spatial.build(make, inputs).outputs["y0"].type

    def gradient(x: Value, g: Value) -> Value:
        y = make(x)
        return spatial.gradients(spatial.total(y * g), [x])[x]

    spatial.same_when_lowered(gradient, arrays, inputs)


@pytest.mark.parametrize(("kind", "name", "more"), EVERY[::5])
def test_gradients_by_differences(kind: str, name: str, more: dict[str, Any]) -> None:
    arrays = {key: array.astype(np.float64) for key, array in CASES[name].arrays().items()}
    rng = np.random.default_rng(2)
    make = pool(kind, CASES[name], more)
    spatial.by_differences(spatial.gradient_graph(make, spatial.types(arrays)), arrays, rng)
    spatial.by_differences(spatial.second_order_graph(make, spatial.types(arrays)), arrays, rng, 1e-6)


PEERS = [
    (name, more)
    for name, case in CASES.items()
    if len(case.x) == 4 and "auto_pad" not in case.attributes
    for more in ({}, {"ceil_mode": 1})
]


@pytest.mark.parametrize(("name", "more"), PEERS)
@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
def test_against_pytorch(kind: str, name: str, more: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch", reason="the peer is optional")
    attributes = {**CASES[name].attributes, **more}
    rank = 2
    pads = [
        min(p, k // 2) for p, k in zip(attributes.get("pads", (0,) * 4), attributes["kernel_shape"] * 2, strict=True)
    ]
    pads = pads[:rank] * 2  # PyTorch pads both sides alike, by half a window at most
    attributes = {**attributes, "pads": tuple(pads)}
    given = {
        "stride": attributes.get("strides", (1, 1)),
        "padding": pads[:2],
        "ceil_mode": bool(attributes.get("ceil_mode")),
    }
    if kind == "MaxPool":
        given["dilation"] = attributes.get("dilations", (1, 1))
        function = torch.nn.functional.max_pool2d
    else:
        attributes["dilations"] = (1, 1)
        attributes["count_include_pad"] = 1
        function = torch.nn.functional.avg_pool2d
    arrays = {key: array.astype(np.float64) for key, array in CASES[name].arrays().items()}
    x = torch.tensor(arrays["x"], requires_grad=True)
    y = function(x, attributes["kernel_shape"], **given)
    c = torch.randn(y.shape, dtype=torch.float64)
    (dx,) = torch.autograd.grad(y, x, c)
    graph = spatial.gradient_graph(pool(kind, Case(CASES[name].x, attributes), {}), spatial.types(arrays))
    found = spatial.evaluate(graph, {**arrays, "cotangent": c.numpy()})
    spatial.close(found["x"], dx.numpy(), 1e-12)


@pytest.mark.parametrize("name", ["2x2", "2x3", "3x3 overlapping", "2x2 with a remainder", "2x2x2", "random 1"])
def test_a_tie_gives_all_to_the_first(name: str) -> None:
    torch = pytest.importorskip("torch", reason="the peer is optional")
    case = CASES[name]
    x = np.random.default_rng(3).integers(0, 2, case.x).astype(np.float32)
    make = pool("MaxPool", case, {})
    static = spatial.build(make, spatial.types({"x": x})).outputs["y0"].type.static_shape()
    arrays = {"x": x, "g": np.random.default_rng(4).standard_normal(static).astype(np.float32)}

    def gradient(x: Value, g: Value) -> Value:
        return spatial.gradients(spatial.total(make(x) * g), [x])[x]

    spatial.same_when_lowered(gradient, arrays, spatial.types(arrays))
    if "random" in name:
        return  # padding that PyTorch does not have
    given = torch.tensor(x, requires_grad=True)
    function = getattr(torch.nn.functional, f"max_pool{len(case.x) - 2}d")
    y = function(given, case.attributes["kernel_shape"], case.attributes["strides"])
    (dx,) = torch.autograd.grad(y, given, torch.tensor(arrays["g"]))
    found = spatial.evaluate(spatial.build(gradient, spatial.types(arrays)), arrays)["y0"]
    spatial.close(found, dx.numpy(), 1e-6)


def operators(make: Any, shape: tuple[int, ...], sizes: dict[str, int]) -> set[str]:
    """What the gradient of a pool is lowered to."""
    inputs = {"x": Type("f32", (B, *shape))}
    graph = spatial.build(lambda x: spatial.gradients(spatial.total(make(x) * make(x)), [x])[x], inputs, sizes)
    return {node.op for node in spatial.lowered(graph).nodes}


def test_forms_are_chosen_as_measured() -> None:
    largest, average = (pool(kind, SPECIAL["2x2"], {}) for kind in ("MaxPool", "AveragePool"))
    assert "ScatterElements" not in operators(largest, (6, 28, 28), {"B": 64})
    assert "ScatterElements" in operators(largest, (64, 56, 56), {"B": 32})
    assert "ScatterElements" in operators(pool("MaxPool", SPECIAL["3x3 overlapping"], {}), (6, 9, 9), {"B": 1})
    assert {"Resize", "MatMul"} < operators(average, (6, 28, 28), {"B": 64})
    assert {"Resize", "AveragePool"} < operators(average, (16, 28, 28), {"B": 64})
    assert "ConvTranspose" in operators(average, (16, 27, 28), {"B": 64})


@pytest.mark.parametrize("kind", ["GlobalAveragePool", "GlobalMaxPool"])
@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 4, 5), (1, 2, 3, 2, 3)])
@pytest.mark.parametrize("symbolic", [False, True])
def test_global_pools(kind: str, shape: tuple[int, ...], symbolic: bool) -> None:
    arrays = Case(shape, {}).arrays()
    make = lambda x: getattr(op, kind)(x)  # noqa: E731
    axes = (0, *range(2, len(shape))) if symbolic else ()
    arrays["g"] = np.random.default_rng(5).standard_normal((*shape[:2], *(1,) * (len(shape) - 2))).astype(np.float32)
    inputs = spatial.types(arrays, {"x": axes, "g": (0,) if symbolic else ()})
    spatial.same_when_lowered(
        lambda x, g: (make(x), spatial.gradients(spatial.total(make(x) * g), [x])[x]), arrays, inputs
    )
    wide = {"x": arrays["x"].astype(np.float64)}
    rng = np.random.default_rng(6)
    spatial.by_differences(spatial.gradient_graph(make, spatial.types(wide)), wide, rng)
    spatial.by_differences(spatial.second_order_graph(make, spatial.types(wide)), wide, rng, 1e-6)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("shape", [(2, 6, 3, 4), (2, 4, 5), (1, 3, 2, 2, 2)])
def test_lrn(size: int, shape: tuple[int, ...]) -> None:
    def make(x: Value) -> Value:
        return op.LRN(x, size=size, alpha=0.3, beta=0.6, bias=1.5)  # type: ignore[no-any-return]

    rng = np.random.default_rng(7)
    arrays = {"x": rng.standard_normal(shape).astype(np.float32)}
    wide = {"x": arrays["x"].astype(np.float64)}
    spatial.by_differences(spatial.gradient_graph(make, spatial.types(wide)), wide, rng)
    spatial.by_differences(spatial.second_order_graph(make, spatial.types(wide)), wide, rng, 1e-6)
    arrays["g"] = rng.standard_normal(shape).astype(np.float32)
    inputs = spatial.types(arrays, {"x": (0,), "g": (0,)})
    spatial.same_when_lowered(
        lambda x, g: (make(x), spatial.gradients(spatial.total(make(x) * g), [x])[x]), arrays, inputs
    )


def test_lrn_against_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="the peer is optional")
    x = np.random.default_rng(8).standard_normal((2, 7, 3, 3))
    given = torch.tensor(x, requires_grad=True)
    y = torch.nn.functional.local_response_norm(given, 5, alpha=0.3, beta=0.6, k=1.5)
    c = torch.randn(y.shape, dtype=torch.float64)
    (dx,) = torch.autograd.grad(y, given, c)
    make = lambda x: op.LRN(x, size=5, alpha=0.3, beta=0.6, bias=1.5)  # noqa: E731
    found = spatial.evaluate(spatial.gradient_graph(make, spatial.types({"x": x})), {"x": x, "cotangent": c.numpy()})
    spatial.close(found["x"], dx.numpy(), 1e-12)


REGROUPED = {
    "SpaceToDepth": lambda x: op.SpaceToDepth(x, blocksize=2),
    "DepthToSpace": lambda x: op.DepthToSpace(x, blocksize=2),
    "DepthToSpace, CRD": lambda x: op.DepthToSpace(x, blocksize=2, mode="CRD"),
    "Resize": lambda x: op.Resize(
        x, None, np.array([1, 1, 2, 3], np.float32), mode="nearest", coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REGROUPED)
def test_regrouping(name: str) -> None:
    make = REGROUPED[name]
    rng = np.random.default_rng(9)
    arrays = {"x": rng.standard_normal((2, 8, 4, 6)).astype(np.float32)}
    spatial.same_when_lowered(make, arrays, spatial.types(arrays, {"x": (0,)}))
    wide = {"x": arrays["x"].astype(np.float64)}
    spatial.by_differences(spatial.gradient_graph(make, spatial.types(wide)), wide, rng)
    spatial.by_differences(spatial.second_order_graph(make, spatial.types(wide)), wide, rng, 1e-6)


def pooled(kind: str, shape: Any, **attributes: Any) -> Type:
    builder = Builder()
    with builder:
        found: Value = getattr(op, kind)(builder.input("x", Type("f32", shape)), **attributes)
    return found.type


def test_symbolic_sizes() -> None:
    assert pooled("MaxPool", (B, 3, H, 8), kernel_shape=(2, 2), strides=(2, 2)).shape == (B, 3, quotient(H, 2), 4)
    ceiling = pooled("MaxPool", (B, 3, H, 9), kernel_shape=(2, 2), strides=(2, 2), ceil_mode=1).shape
    assert ceiling == (B, 3, quotient(H + 1, 2), 5)


def test_maximum_and_its_place() -> None:
    x = np.random.default_rng(10).standard_normal((2, 3, 7, 6)).astype(np.float32)
    for attributes in (
        {"strides": (2, 2)},
        {"pads": (1, 0, 1, 1), "strides": (2, 1)},
        {"ceil_mode": 1, "strides": (2, 2)},
    ):
        make = lambda x, a=attributes: op.MaxPool(x, outputs=2, kernel_shape=(3, 2), **a)  # noqa: E731
        graph = spatial.build(make, spatial.types({"x": x}))
        for found, expected in zip(
            spatial.run(graph, {"x": x}), spatial.evaluate(graph, {"x": x}).values(), strict=True
        ):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("kind", "shape", "attributes", "message"),
    [
        ("MaxPool", (2, 3), {"kernel_shape": (2,)}, "MaxPool of f32[2, 3]: [N, C, spatial...] is expected"),
        ("MaxPool", (2, 3, 8, 8), {}, "MaxPool needs kernel_shape"),
        ("MaxPool", (2, 3, 8, 8), {"kernel_shape": (2,)}, "MaxPool: a kernel of [2] on 2 spatial axes"),
        (
            "AveragePool",
            (2, 3, 8, 1),
            {"kernel_shape": (2, 2)},
            "AveragePool: windows of [2, 2] do not fit into [8, 1]",
        ),
        (
            "AveragePool",
            (2, 3, 8, 8),
            {"kernel_shape": (2, 2), "count_include_pad": 2},
            "AveragePool: count_include_pad = 2: 0 or 1 is expected",
        ),
        ("LRN", (2, 3, 8), {"size": 0}, "LRN: size = 0: a number of channels, at least 1, is expected"),
        ("SpaceToDepth", (2, 3, 8, 5), {"blocksize": 2}, "SpaceToDepth of f32[2, 3, 8, 5]: 5 does not divide by 2"),
    ],
)
def test_messages(kind: str, shape: Any, attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(IllTyped) as caught:
        pooled(kind, shape, **attributes)
    assert str(caught.value) == message
