"""Operators that index, move, quantize and draw, lowered and emitted, on ONNX Runtime in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import indexing_cases
import movement_cases
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from oracles import Array, Case

from dlc.compiler.build import Builder, ints, op, private
from dlc.compiler.emit import emit
from dlc.compiler.evaluate import evaluate
from dlc.compiler.graph import Graph, Value
from dlc.compiler.passes.differentiate import differentiate
from dlc.compiler.passes.lower import lower
from dlc.compiler.types import Dim, Type, dtype_of, symbol

# The order of what is not sorted is nowhere defined.
CASES = [case for case in (*indexing_cases.cases(), *movement_cases.cases()) if case.attributes.get("sorted", 1)]


def run(graph: Graph, feeds: dict[str, Any]) -> dict[str, Array]:
    """The graph lowered, as a model that passes onnx's full check, on the CPU."""
    model = emit(lower(graph))
    onnx.checker.check_model(model, full_check=True)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(graph.outputs, session.run(None, feeds), strict=True))


def single(case: Case) -> tuple[Graph, dict[str, Array]]:
    """The case's float outputs, and the gradients of their squares, in float32."""
    feeds: dict[str, Array] = {}
    values: list[Value | None] = []
    with Builder() as builder:
        for i, array in enumerate(case.inputs):
            if array is None:
                values.append(None)
                continue
            array = array.astype(np.float32) if array.dtype == np.float64 else array
            if i in case.free():
                feeds[f"x{i}"] = array
                shape: list[Dim] = [symbol(case.symbolic[d]) if d in case.symbolic else d for d in array.shape]
                values.append(builder.input(f"x{i}", Type(dtype_of(array), tuple(shape))))
            else:
                values.append(builder.constant(array))
        attributes = {n: "f32" if v == "f64" else v for n, v in case.attributes.items()}
        ys = builder.add(case.op, values, attributes, outputs=case.outputs).outputs
        squares = [op.ReduceSum(y * y, keepdims=0) for y in ys if y.dtype == "f32"]
        loss = op.Sum(*squares)
        outputs = {f"y{i}": y for i, y in enumerate(ys)}
        outputs |= {f"dx{i}": private.Gradient(loss, x) for i in case.free() if (x := values[i]) is not None}
    return differentiate(builder.graph(case.op, outputs)), feeds


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_on_onnx_runtime(case: Case) -> None:
    graph, feeds = single(case)
    found = run(graph, feeds)
    for name, wanted in evaluate(graph, feeds).items():
        scale = 1 + float(np.abs(wanted).max(initial=0))
        np.testing.assert_allclose(found[name], wanted, rtol=1e-4, atol=1e-5 * scale, err_msg=name)


def made(build: Callable[..., Any], **given: Array) -> Graph:
    """A graph whose inputs have the types of arrays; `build` gives one output or several."""
    with Builder() as builder:
        inputs = [builder.input(name, Type(dtype_of(x), x.shape)) for name, x in given.items()]
        result = build(*inputs)
    results = result if isinstance(result, tuple) else (result,)
    return builder.graph("g", {f"y{i}": y for i, y in enumerate(results)})


rng = np.random.default_rng(0)
BYTES = rng.integers(0, 255, (2, 3, 6, 6), np.uint8)
SIGNED = rng.integers(-128, 127, (4, 3, 3, 3), np.int8)
X = rng.normal(size=(3, 4)).astype(np.float32)
SCALE, ZERO = np.float32(0.1), np.uint8(7)
INTEGERS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    **{
        name: (lambda a, b, name=name: op[name](a, b), {"a": SIGNED, "b": SIGNED[:, :, ::-1].copy()})
        for name in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")
    },
    "BitwiseNot": (lambda a: op.BitwiseNot(a), {"a": BYTES}),
    "BitCast": (lambda a: op.BitCast(a, to="i8"), {"a": BYTES}),
    "Hardmax": (lambda x: op.Hardmax(x, axis=0), {"x": X}),
    "ArgMax last": (lambda x: op.ArgMax(x, axis=1, select_last_index=1), {"x": np.round(X)}),
    "ArgMin": (lambda x: op.ArgMin(x, axis=-1, keepdims=0), {"x": X}),
    "NonZero": (lambda x: op.NonZero(x), {"x": np.round(X)}),
    "Unique": (lambda x: op.Unique(x, outputs=4), {"x": np.round(X)}),
    "Unique unsorted": (lambda x: op.Unique(x, outputs=4, axis=1, sorted=0), {"x": np.round(X[:1])}),
    "Compress": (lambda x, c: op.Compress(x, c, axis=1), {"x": X, "c": np.array([True, False, True, True])}),
    "EyeLike": (lambda x: op.EyeLike(x, k=1, dtype="i64"), {"x": X}),
    "MatMulInteger": (lambda a, b, z: op.MatMulInteger(a, b, z), {
        "a": BYTES[0, 0], "b": SIGNED[0, :, 0, :1].repeat(2, 0), "z": np.full((), 3, np.uint8)}),
    "ConvInteger": (lambda x, w: op.ConvInteger(x, w, pads=(1, 1, 1, 1), strides=(2, 2)), {
        "x": BYTES, "w": BYTES[:, :, :3, :3]}),
    "QLinearMatMul": (lambda a, b, s, z: op.QLinearMatMul(a, s, z, b, s, z, s * 90.0, z), {
        "a": BYTES[0, 0], "b": BYTES[0, 1], "s": np.full((), SCALE), "z": np.full((), ZERO)}),
    "QLinearConv": (lambda x, w, s, z: op.QLinearConv(x, s, z, w, s, z, s * 90.0, z, pads=(1, 1, 1, 1)), {
        "x": BYTES, "w": BYTES[:, :, :3, :3], "s": np.full((), SCALE), "z": np.full((), ZERO)}),
    "QuantizeLinear": (lambda x, s, z: op.QuantizeLinear(x, s, z), {
        "x": X, "s": np.full((), SCALE), "z": np.full((), ZERO)}),
    "QuantizeLinear axis": (lambda x, s: op.QuantizeLinear(x, s, axis=0, output_dtype="i8"), {
        "x": X, "s": np.array([0.1, 0.2, 0.3], np.float32)}),
    "QuantizeLinear blocks": (lambda x, s: op.QuantizeLinear(x, s, axis=1, block_size=2, output_dtype="i16"), {
        "x": X, "s": np.abs(X[:, :2]) + np.float32(0.1)}),
    "DynamicQuantizeLinear": (lambda x: op.DynamicQuantizeLinear(x, outputs=3), {"x": X}),
    "HannWindow": (lambda: op.HannWindow(np.array(10)), {}),
    "HannWindow dynamic": (lambda n: op.HannWindow(n), {"n": np.array(7)}),
    "HammingWindow": (lambda: op.HammingWindow(np.array(10), periodic=0), {}),
    "BlackmanWindow": (lambda: op.BlackmanWindow(np.array(9), output_datatype="f64"), {}),
    "MelWeightMatrix": (lambda lo: op.MelWeightMatrix(
        np.array(8), np.array(64), np.array(8000), lo, np.array(4000, np.float32)),
        {"lo": np.full((), 20, np.float32)}),
    "Range": (lambda a, b, c: op.Range(a, b, c), {
        "a": np.full((), 1, np.float32), "b": np.full((), 3, np.float32), "c": np.full((), 0.3, np.float32)}),
    "TopK by data": (lambda x, k: op.TopK(x, k, outputs=2), {"x": X, "k": ints(2)}),
    "Einsum integers": (lambda a: op.Einsum(a, equation="...ij->...ji"), {"a": SIGNED.astype(np.int32)}),
}  # fmt: skip


@pytest.mark.parametrize("name", INTEGERS)
def test_without_gradients(name: str) -> None:
    build, feeds = INTEGERS[name]
    graph = made(build, **feeds)
    found = run(graph, feeds)
    for output, wanted in evaluate(graph, feeds).items():
        assert found[output].dtype == wanted.dtype
        np.testing.assert_allclose(found[output], wanted, rtol=1e-5, atol=1e-6, err_msg=output)


SMALL = np.array([[1, 2, 3, 1], [3, 1, 2, 2], [2, 2, 1, 3]])
PLACES = np.array([[0], [2], [2]])
# Where a CPU kernel lacks an element type, lowering goes around it.
KERNELS: dict[str, tuple[Callable[[Value], Any], str]] = {
    **{
        f"ScatterND {r}": (lambda x, r=r: op.ScatterND(x, PLACES, x, reduction=r), "f16 f64 i8 i32 i64 u8")
        for r in ("add", "mul", "max", "min")
    },
    "OneHot": (lambda x: op.OneHot(ints(1, -1, 7), np.array(3), op.Squeeze(
        op.Slice(x, ints(0, 0), ints(1, 2)), ints(0))), "f16 f64 i8 i32 i64 u8"),
    "Hardmax": (lambda x: op.Hardmax(x, axis=0), "f16 f64"),
    "Trilu": (lambda x: op.Trilu(x, np.array(1), upper=0), "f16 f64 i8 i16 i32 u8 u64"),
    "EyeLike": (lambda x: op.EyeLike(x, k=-1), "f16 f64 i8 i32 u8"),
    "EyeLike bool": (lambda x: op.EyeLike(x, dtype="bool"), "f16 f32 i8"),
    "Einsum": (lambda x: op.Einsum(x, x, equation="ij,ik->jk"), "f16 f64 i8 i32 i64 u8"),
    "CumProd": (lambda x: op.CumProd(x, np.array(1), exclusive=1, reverse=1), "f16 f64 i8 i32 i64 u8"),
    "Det": (lambda x: op.Det(op.Slice(x, ints(0), ints(3), ints(1))), "f16 f32 f64"),
    "Gather gradient": (lambda x: private.ScatterAdd(x, ints(1, 1, 0), axis=0, shape=(2, 4)), "f16 f32 f64 i32"),
    "QuantizeLinear": (lambda x: op.QuantizeLinear(x, op.Cast(np.array(0.5), to=x.dtype)), "f16 f64"),
    "DynamicQuantizeLinear": (lambda x: op.DynamicQuantizeLinear(x - op.Cast(np.array(1.75), to=x.dtype), outputs=3)[0],
                              "f32 f64"),
    "DynamicQuantizeLinear zero": (lambda x: op.DynamicQuantizeLinear(
        x - op.Cast(np.array(1.75), to=x.dtype), outputs=3)[2], "f32 f64"),
    "DynamicQuantizeLinear below 0": (lambda x: op.DynamicQuantizeLinear(op.Neg(x), outputs=3)[2], "f32 f64"),
    "TensorScatter": (lambda x: op.TensorScatter(op.Unsqueeze(x, ints(2)), op.Unsqueeze(
        op.Slice(x, ints(0), ints(2), ints(1)), ints(2)), ints(1, 0, 3), mode="circular"), "f16 f64 i8 u8"),
}  # fmt: skip


@pytest.mark.parametrize("name,dtype", [(name, dtype) for name in KERNELS for dtype in KERNELS[name][1].split()])
def test_element_types(name: str, dtype: str) -> None:
    x = SMALL.astype(Type(dtype, ()).numpy)
    graph = made(KERNELS[name][0], x=x)
    found, wanted = run(graph, {"x": x})["y0"], evaluate(graph, {"x": x})["y0"]
    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(found.astype(float), wanted.astype(float), rtol=1e-2 if dtype == "f16" else 1e-6)


@pytest.mark.parametrize("name", ["RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike"])
def test_random_numbers_have_their_type_and_bounds(name: str) -> None:
    x = np.zeros((200, 50), np.float32)
    bounds = {"mean": 3.0, "scale": 0.5} if "Normal" in name else {"low": 2.0, "high": 4.0}
    if name.endswith("Like"):
        graph = made(lambda x: op[name](x, seed=1.0, **bounds), x=x)
    else:
        graph = made(lambda: op[name](shape=(200, 50), seed=1.0, **bounds))
    assert str(graph.outputs["y0"].type) == "f32[200, 50]"
    y = run(graph, {"x": x} if graph.inputs else {})["y0"]
    assert abs(y.mean() - 3) < 0.05 and y.std() > 0.4
    assert "Normal" in name or (y.min() >= 2 and y.max() <= 4)


def test_draws() -> None:
    x = np.tile(np.array([0.0, 1.0, 0.25, 0.75], np.float32), (500, 1))
    graph = made(lambda x: (op.Bernoulli(x, seed=1.0), op.Multinomial(op.Log(x), sample_size=7, dtype="i64")), x=x)
    drawn, places = run(graph, {"x": x}).values()
    assert drawn[:, 0].max() == 0 and drawn[:, 1].min() == 1 and 0.15 < drawn[:, 2].mean() < 0.35
    assert places.shape == (500, 7) and set(np.unique(places)) == {1, 2, 3}


def gradients_by_data(build: Callable[..., Value], by: str, **given: Array) -> tuple[Graph, dict[str, Array]]:
    with Builder() as builder:
        values = {name: builder.input(name, Type(dtype_of(x), x.shape)) for name, x in given.items()}
        y = build(**values)
        loss = op.ReduceSum(y * y * y, keepdims=0)
        first = private.Gradient(loss, values[by])
        second = private.Gradient(op.ReduceSum(first * first, keepdims=0), values[by])
    return differentiate(builder.graph("g", {"first": first, "second": second})), given


def test_compress_by_data() -> None:
    """How many rows are kept is known at run time only; d/dx sum x^3 = 3x^2, d/dx sum (3x^2)^2 = 36x^3."""
    keep = np.array([True, False, True])
    graph, feeds = gradients_by_data(lambda x, c: op.Compress(x, c, axis=0), "x", x=X, c=keep)
    kept = X * keep[:, None]
    for found in (run(graph, feeds), evaluate(graph, feeds)):
        np.testing.assert_allclose(found["first"], 3 * kept**2, rtol=1e-5)
        np.testing.assert_allclose(found["second"], 36 * kept**3, rtol=1e-5)


@pytest.mark.parametrize("outputs", [1, 4])
def test_unique_by_data(outputs: int) -> None:
    """Duplicates belong to their first occurrence."""
    x = np.array([2.0, -1.0, 2.0, 0.5, -1.0, 3.0], np.float32)
    once = np.array([1, 1, 0, 1, 0, 1], np.float32)

    def build(x: Value) -> Value:
        y = op.Unique(x, outputs=outputs)
        return y if isinstance(y, Value) else y[0]

    graph, feeds = gradients_by_data(build, "x", x=x)
    for found in (run(graph, feeds), evaluate(graph, feeds)):
        np.testing.assert_allclose(found["first"], 3 * x**2 * once, rtol=1e-5)
        np.testing.assert_allclose(found["second"], 36 * x**3 * once, rtol=1e-5)


@pytest.mark.parametrize("by", ["start", "delta"])
def test_range_by_data(by: str) -> None:
    start, delta = np.full((), 1.5, np.float32), np.full((), -0.4, np.float32)
    graph, feeds = gradients_by_data(
        lambda start, limit, delta: op.Range(start, limit, delta), by,
        start=start, limit=np.full((), -1, np.float32), delta=delta,
    )  # fmt: skip
    steps = np.arange(7.0)
    y, slope = 1.5 - 0.4 * steps, np.ones(7) if by == "start" else steps
    first, change = (3 * y**2 * slope).sum(), (6 * y * slope**2).sum()
    for found in (run(graph, feeds), evaluate(graph, feeds)):
        np.testing.assert_allclose(found["first"], first, rtol=1e-5)
        np.testing.assert_allclose(found["second"], 2 * first * change, rtol=1e-5)


def test_boxes() -> None:
    boxes = np.array([[[0, 0, 1, 1], [0, 0.1, 1, 1.1], [0, 3, 1, 4]]], np.float32)
    scores = np.array([[[0.9, 0.8, 0.7]]], np.float32)
    graph = made(lambda b, s: op.NonMaxSuppression(b, s, ints(3), np.full((1,), 0.5, np.float32)), b=boxes, s=scores)
    assert run(graph, {"b": boxes, "s": scores})["y0"].tolist() == [[0, 0, 0], [0, 0, 2]]


def test_scatter_nd_that_reduces_is_not_emitted() -> None:
    """Its kernel races where places coincide; two thousand additions to one place show it."""
    places = np.zeros((20000, 1), np.int64)
    graph = made(lambda x, u: op.ScatterND(x, places, u, reduction="add"), x=np.zeros(3, np.float32),
                 u=np.ones(20000, np.float32))  # fmt: skip
    assert "ScatterND" not in {node.op for node in lower(graph).nodes}
    assert run(graph, {"x": np.zeros(3, np.float32), "u": np.ones(20000, np.float32)})["y0"].tolist() == [20000, 0, 0]


DTYPES = ["f16", "f32", "f64", "i8", "u8", "i16", "u16", "i32", "i64", "u32", "u64", "bool"]


@pytest.mark.parametrize("to", [*DTYPES, "bf16"])
@pytest.mark.parametrize("source", DTYPES)
def test_casts(source: str, to: str) -> None:
    """From every type to every type: the same on ONNX Runtime as in numpy."""
    x = np.array([0, 1, 2, 3, 100], Type(source, ()).numpy)
    graph = made(lambda x: op.Cast(op.Cast(x, to=to), to="f32"), x=x)
    assert run(graph, {"x": x})["y0"].tolist() == evaluate(graph, {"x": x})["y0"].tolist()


@pytest.mark.parametrize("short", ["f16", "bf16"])
def test_gradients_pass_casts_between_floats(short: str) -> None:
    with Builder() as builder:
        x, n = builder.input("x", Type("f32", (3,))), builder.input("n", Type("f32", (3,)))
        y = op.Cast(op.Cast(x, to=short), to="f32") + op.Cast(op.Cast(n, to="i32"), to="f32")
        loss = op.ReduceSum(y * y, keepdims=0)
        outputs = {"dx": private.Gradient(loss, x), "dn": private.Gradient(loss, n)}
    graph = differentiate(builder.graph("g", outputs))
    at = {"x": np.array([1, 2, 3], np.float32), "n": np.zeros(3, np.float32)}
    assert evaluate(graph, at)["dx"].tolist() == [2, 4, 6] and evaluate(graph, at)["dn"].tolist() == [0, 0, 0]
