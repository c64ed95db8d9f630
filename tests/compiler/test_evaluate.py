"""The interpreter against onnx's reference implementation and ONNX Runtime; private operators; random bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from operator_cases import cases, ints
from oracles import Array, Case, applied, draw

from dlc.compiler.build import Builder, op, private
from dlc.compiler.evaluate import _by_reference, evaluate, evaluate_node
from dlc.compiler.graph import Node
from dlc.compiler.numpy_ops import OPERATORS
from dlc.compiler.passes.lower import lower
from dlc.compiler.registry import IllTyped
from dlc.compiler.types import Type, symbol

B, T = symbol("B"), symbol("T")
PLAIN = [case for case in cases() if case.op in OPERATORS]
MODULUS = 2**31 - 1


@pytest.mark.parametrize("case", PLAIN, ids=lambda case: case.name)
def test_numpy_is_the_reference_implementation(case: Case) -> None:
    _, _, ys = applied(case)
    node = ys[0].node
    assert node is not None
    ours = evaluate_node(node, case.inputs)
    try:
        theirs = _by_reference(node, case.inputs)
    except (TypeError, ValueError) as error:
        pytest.skip(f"onnx's reference implementation cannot do this, ONNX Runtime below can: {error}")
    for mine, other in zip(ours, theirs, strict=False):
        assert mine.shape == other.shape and mine.dtype == other.dtype
        np.testing.assert_allclose(mine, other, rtol=2e-7, atol=1e-7)


def test_every_case_of_float32_runs_alike_on_onnx_runtime() -> None:
    """All the cases in one model, as float32: forward values of ONNX Runtime against the interpreter."""
    from dlc.compiler.emit import emit

    builder = Builder()
    feeds: dict[str, Array] = {}
    outputs: dict[str, Any] = {}
    for number, case in enumerate(PLAIN):
        if case.op == "Cast" or 0 in [dim for x in case.inputs if x is not None for dim in x.shape]:
            continue
        values = []
        for i, array in enumerate(case.inputs):
            if array is None:
                values.append(None)
            elif array.dtype == np.float64:
                name = f"x{number}_{i}"
                feeds[name] = np.asarray(array, np.float32)
                values.append(builder.input(name, Type("f32", array.shape)))
            else:
                values.append(builder.constant(array))
        outputs[f"y{number}"] = builder.add(case.op, values, case.attributes, outputs=case.outputs).output
    graph = builder.graph("all", outputs)
    wanted = evaluate(graph, feeds)
    found = run(emit(graph), feeds)
    for number, case in enumerate(PLAIN):
        name = f"y{number}"
        if name in wanted:
            np.testing.assert_allclose(found[name], wanted[name], rtol=2e-4, atol=2e-5, err_msg=case.name)


def run(model: Any, feeds: dict[str, Array]) -> dict[str, Array]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def test_float64_stays_float64_and_integers_divide_toward_zero() -> None:
    with Builder() as b:
        x, n = b.input("x", Type("f64", (3,))), b.input("n", Type("i64", (4,)))
        graph = b.graph("f", {"y": op.Mish(x) * 0.1, "q": op.Div(n, 3)})
    results = evaluate(graph, {"x": np.ones(3), "n": ints(7, -7, 1, -1)})
    assert results["y"].dtype == np.float64
    assert results["q"].tolist() == [2, -2, 0, 0]


def test_symbolic_dimensions_come_from_the_arrays() -> None:
    with Builder() as b:
        x, y = b.input("x", Type("f32", (B, 3))), b.input("y", Type("f32", (2 * B,)))
        outputs = {"n": private.Size(dim=B * 3), "flat": private.ReshapeTo(x, shape=(3 * B,)), "y": y}
        graph = b.graph("f", outputs)
    feeds = {"x": np.ones((4, 3), np.float32), "y": np.ones(8, np.float32)}
    results = evaluate(graph, feeds)
    assert results["n"] == 12 and results["flat"].shape == (12,)
    for name, wrong in (("x", np.ones((4, 2))), ("x", np.ones((4, 2), np.float32)), ("y", np.ones(7, np.float32))):
        with pytest.raises(ValueError, match=f"the input {name} is"):
            evaluate(graph, {**feeds, name: wrong})
    with pytest.raises(ValueError, match="no array is given for the input y"):
        evaluate(graph, {"x": feeds["x"]})


def test_shapes_that_a_model_computes_are_known() -> None:
    """Reshape(x, Concat(Shape(x)[0:1], [-1])) and its like are typed with symbolic dimensions."""
    with Builder() as b:
        x = b.input("x", Type("f32", (B, T, 4)))
        batch = op.Slice(op.Shape(x), ints(0), ints(1))
        flat = op.Reshape(x, op.Concat(batch, b.constant(ints(-1)), axis=0))
        twice = op.Mul(op.Gather(op.Shape(x), 1), 2)
        grid = op.Expand(b.constant(0.0, "f32"), op.Concat(batch, op.Unsqueeze(twice, ints(0)), axis=0))
        row = op.Range(0, op.Gather(op.Shape(x), 1), 1)
        outputs = {"flat": flat, "grid": grid, "row": row, "part": op.ConstantOfShape(batch)}
        graph = b.graph("f", outputs)
    assert [str(value.type) for value in graph.outputs.values()] == ["f32[B, 4*T]", "f32[B, 2*T]", "i64[T]", "f32[B]"]
    results = evaluate(graph, {"x": np.ones((2, 3, 4), np.float32)})
    assert [array.shape for array in results.values()] == [(2, 12), (2, 6), (3,), (2,)]


def test_a_body_sees_what_it_captures() -> None:
    with Builder() as b:
        x, start = b.input("x", Type("f64", (5, 2))), b.input("start", Type("f64", (2,)))
        scale = b.input("scale", Type("f64", ()))
    inner = Builder()
    with inner:
        state, row = inner.input("state", Type("f64", (2,))), inner.input("row", Type("f64", (2,)))
        after = state * scale + row
        body = inner.graph("body", {"state": after, "out": after + 1.0})
    types = (start.type, x.type)
    scan = Node("Scan", (start, x), {"num_scan_inputs": 1}, (body,), types, None)

    feeds = {x: draw(1, 5, 2), start: draw(2, 2), scale: np.array(0.5)}
    last, rows = evaluate_node(scan, [feeds[start], feeds[x]], {}, feeds)
    wanted = feeds[start]
    for t in range(5):
        wanted = wanted * 0.5 + feeds[x][t]
        np.testing.assert_allclose(rows[t], wanted + 1)
    np.testing.assert_allclose(last, wanted)


ILL_TYPED: list[tuple[str, Any, str]] = [
    ("Add", lambda x: x(B, 16) + x(B, 32), r"f32\[B, 16\] and f32\[B, 32\] do not broadcast"),
    ("Add", lambda x: x(B) + x(T), r"f32\[B\] and f32\[T\] do not broadcast"),
    ("Mul", lambda x: op.Mul(x(3), x(3, dtype="i64")), "the element types differ"),
    ("Exp", lambda x: op.Exp(x(3, dtype="i64")), r"Exp takes a float, not i64\[3\]"),
    ("And", lambda x: op.And(x(3), x(3)), r"And takes a bool, not f32\[3\]"),
    ("MatMul", lambda x: x(8, 16) @ x(32, 4), "16 columns against 32 rows"),
    ("MatMul", lambda x: x() @ x(3), "a scalar is no matrix"),
    ("MatMul", lambda x: x(2, 3, 4) @ x(3, 4, 5), "leading dimensions do not broadcast"),
    ("Gemm", lambda x: op.Gemm(x(8, 16), x(16, 4), x(5)), r"f32\[5\] does not stretch to f32\[8, 4\]"),
    ("Einsum", lambda x: op.Einsum(x(2, 3), x(4, 5), equation="ij,jk->ik"), "index j is 3 and 4"),
    ("Einsum", lambda x: op.Einsum(x(2, 2), equation="ij->ii"), "stands twice"),
    ("Einsum", lambda x: op.Einsum(x(2, 2), equation="ij->k"), "index k of the result is in no operand"),
    ("Reshape", lambda x: op.Reshape(x(B, 4), ints(-1, 3)), "do not divide by 3"),
    ("Reshape", lambda x: op.Reshape(x(6), ints(4)), "6 elements against 4"),
    ("Concat", lambda x: op.Concat(x(2, 3), x(3, 3), axis=1), "they differ beside it"),
    ("Split", lambda x: op.Split(x(5), ints(2, 2), outputs=2), "do not add up to 5"),
    ("Split", lambda x: op.Split(x(B), num_outputs=2, outputs=2), "B does not divide"),
    ("Squeeze", lambda x: op.Squeeze(x(B, 3), ints(1)), "axis 1 has size 3, not 1"),
    ("Transpose", lambda x: op.Transpose(x(2, 3), perm=(0, 0)), "not an order of its 2 axes"),
    ("Softmax", lambda x: op.Softmax(x(2, 3), axis=2), "Softmax along axis 2 of a tensor of rank 2"),
    ("ReduceSum", lambda x: op.ReduceSum(x(2), ints(1)), "axis 1 of a tensor of rank 1"),
    ("Gather", lambda x: op.Gather(x(3), ints(3)), "the place 3 is outside of it"),
    ("TopK", lambda x: op.TopK(x(3), ints(4), outputs=2), "TopK of 4 out of 3 elements"),
    ("NonZero", lambda x: op.NonZero(x()), "a scalar has no places"),
    ("Pad", lambda x: op.Pad(x(3), ints(1)), "2 known amounts are expected"),
    ("Clip", lambda x: op.Clip(x(3), x(1)), "takes bounds of type"),
    ("Cast", lambda x: op.Cast(x(3), to="float"), "Cast to float: no such element type"),
    ("Gradient", lambda x: private.Gradient(x(3), x(3)), "a loss is a float scalar"),
    ("SumTo", lambda x: private.SumTo(x(2, 3), shape=(2,)), "do not broadcast|does not stretch"),
    ("ReshapeTo", lambda x: private.ReshapeTo(x(B, 3), shape=(B, 4)), r"3\*B elements"),
    ("RandomBits", lambda x: private.RandomBits(x(), x(), site="s", shape=(3,)), "a seed and a step"),
]


@pytest.mark.parametrize("wrong", ILL_TYPED, ids=lambda wrong: wrong[0])
def test_type_rules_say_what_is_wrong(wrong: tuple[str, Any, str]) -> None:
    _, make, message = wrong
    with Builder() as b, pytest.raises(IllTyped, match=message):
        make(lambda *shape, dtype="f32": b.input(f"x{len(b.inputs)}", Type(dtype, shape)))


def bits(seed: int, step: int, site: str, *shape: int) -> Array:
    with Builder() as b:
        s, t = b.input("seed", Type("i64", ())), b.input("step", Type("i64", ()))
        graph = b.graph("bits", {"bits": private.RandomBits(s, t, site=site, shape=shape)})
    return evaluate(graph, {"seed": np.int64(seed), "step": np.int64(step)})["bits"]


def test_random_bits_are_frozen() -> None:
    """Known answers: a run that is resumed by a later version must go on with the same numbers."""
    assert bits(0, 0, "", 4).tolist() == KNOWN[0]
    assert bits(1, 0, "lenet.dropout", 4).tolist() == KNOWN[1]
    assert bits(-5, 123456789012, "lenet.dropout", 2, 2).reshape(-1).tolist() == KNOWN[2]


KNOWN = [
    [518077753, 1749279449, 1340006457, 849861324],
    [174438337, 1101659235, 13543172, 1492691648],
    [1259342744, 827372156, 1662463539, 1402959399],
]


def test_random_bits_are_the_same_on_onnx_runtime() -> None:
    from dlc.compiler.emit import emit

    with Builder() as b:
        x = b.input("x", Type("f32", (B, 7)))
        s, t = b.input("seed", Type("i64", ())), b.input("step", Type("i64", ()))
        outputs = {
            "fixed": private.RandomBits(s, t, site="a", shape=(5, 11)),
            "scalar": private.RandomBits(s, t, site="b", shape=()),
            "batch": private.RandomBits(s, t, site="c", shape=x.shape),
            "none": private.RandomBits(s, t, site="c", shape=(0, 3)),
        }
        graph = b.graph("bits", outputs)
    lowered = lower(graph)
    assert {node.op for node in lowered.nodes} <= {
        "Constant", "Mod", "Add", "Mul", "Split", "Range", "Reshape", "Shape", "Size", "Squeeze", "Concat", "Unsqueeze",
    }  # fmt: skip
    for seed, step in ((0, 0), (1, 2), (-7, 3), (2**40 + 3, 2**33), (MODULUS, MODULUS - 1)):
        feeds: dict[str, Any] = {"x": np.ones((6, 7), np.float32), "seed": np.array(seed), "step": np.array(step)}
        wanted, found = evaluate(graph, feeds), run(emit(lowered), feeds)
        for name in wanted:
            assert found[name].shape == wanted[name].shape and (found[name] == wanted[name]).all()


def uniform(seed: int, step: int, site: str, n: int) -> Array:
    return np.asarray((bits(seed, step, site, n) + 0.5) / 2**31)


@pytest.mark.parametrize("seed", range(4))
def test_random_bits_are_uniform(seed: int) -> None:
    """Moments, and chi-square over 256 classes of the high bits and of the low ones; limits at 5 deviations."""
    n = 1 << 18
    u = uniform(seed, 17, "net.dropout", n)
    assert u.min() > 0 and u.max() < 1
    for power in (1, 2, 3, 4):
        deviation = np.sqrt((1 / (2 * power + 1) - 1 / (power + 1) ** 2) / n)
        assert abs((u**power).mean() - 1 / (power + 1)) < 5 * deviation
    whole = bits(seed, 17, "net.dropout", n)
    for classes in (np.floor(u * 256).astype(int), whole % 256):
        counts = np.bincount(classes, minlength=256)
        chi_square = ((counts - n / 256) ** 2 / (n / 256)).sum()
        assert abs(chi_square - 255) < 5 * np.sqrt(2 * 255)


def test_random_bits_do_not_correlate() -> None:
    """Neighbours at several distances, sites, steps and seeds next to each other, also in the pairs' joint classes."""
    n = 1 << 17
    base = uniform(3, 5, "a", n)
    others = [np.roll(base, lag) for lag in (1, 2, 3, 16, 28, 1024)]
    others += [uniform(3, 5 + d, "a", n) for d in (1, 2, 3)] + [uniform(3 + d, 5, "a", n) for d in (1, 2, 3)]
    others += [uniform(3, 5, site, n) for site in ("b", "aa", "a[1]")] + [uniform(5, 3, "a", n)]
    others += [np.roll(other, lag) for other in others[6:] for lag in (1, -1)]
    for other in others:
        assert abs(np.corrcoef(base, other)[0, 1]) < 5 / np.sqrt(n)
        joint = np.bincount(np.floor(base * 16).astype(int) * 16 + np.floor(other * 16).astype(int), minlength=256)
        assert abs(((joint - n / 256) ** 2 / (n / 256)).sum() - 255) < 6 * np.sqrt(2 * 255)


def test_first_elements_over_steps_sites_and_seeds_are_uniform() -> None:
    """What a scalar drawn once a step looks like over many steps, and so for seeds and sites."""
    n = 2000
    series = [
        [int(bits(1, step, "a", 1)[0]) for step in range(n)],
        [int(bits(seed, 0, "a", 1)[0]) for seed in range(n)],
        [int(bits(1, 0, f"a[{i}]", 1)[0]) for i in range(n)],
    ]
    for values in series:
        u = (np.array(values) + 0.5) / 2**31
        assert abs(u.mean() - 0.5) < 5 * np.sqrt(1 / 12 / n)
        assert abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < 5 / np.sqrt(n)
        counts = np.bincount(np.floor(u * 16).astype(int), minlength=16)
        assert ((counts - n / 16) ** 2 / (n / 16)).sum() < 15 + 5 * np.sqrt(30)


def test_streams_do_not_overlap() -> None:
    """No run of one stream turns up in another, as it would if the keys were shared between sites."""
    n = 1 << 15
    streams = [bits(1, step, site, n) for step in (0, 1) for site in ("a", "b", "c")]
    pairs = np.concatenate([stream[:-1] * MODULUS + stream[1:] for stream in streams])
    assert len(np.unique(pairs)) == len(pairs)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_finite_finds_one_bad_number(bad: float) -> None:
    from dlc.compiler.emit import emit

    types = [Type("f32", (B, 3)), Type("f32", ()), Type("f16", (4,)), Type("f64", (2, 2))]
    with Builder() as b:
        xs = [b.input(f"x{i}", type) for i, type in enumerate(types)]
        graph = b.graph("finite", {"all": private.Finite(*xs), "first": private.Finite(xs[0])})
    model = emit(lower(graph))
    good = {f"x{i}": np.ones([2 if dim == B else dim for dim in t.shape], t.numpy) for i, t in enumerate(types)}
    good["x0"] *= 1e30
    assert run(model, good) == {"all": True, "first": True} == evaluate(graph, good)
    for name, array in good.items():
        spoilt = array.copy()
        spoilt.reshape(-1)[-1] = bad
        feeds = {**good, name: spoilt}
        wanted = {"all": False, "first": name != "x0"}
        assert run(model, feeds) == wanted == evaluate(graph, feeds)


def test_nothing_to_check_is_finite() -> None:
    with Builder() as b:
        graph = b.graph("finite", {"all": private.Finite()})
    assert evaluate(lower(graph), {})["all"]


def test_a_large_sum_over_axes_apart_goes_in_turns() -> None:
    with Builder() as b:
        x = b.input("x", Type("f64", (B, 16, 32, 64)))
        outputs = {"s": op.ReduceSum(x, ints(0, 2, 3), keepdims=0), "m": op.ReduceMean(x, ints(0, 2, 3))}
        graph = b.graph("sum", outputs, sizes={"B": 64})
    lowered = lower(graph)
    assert [node.op for node in lowered.nodes if node.op != "Constant"] == ["ReduceSum"] * 2 + ["ReduceMean"] * 2
    feeds = {"x": draw(1, 3, 16, 32, 64)}
    before, after = evaluate(graph, feeds), evaluate(lowered, feeds)
    np.testing.assert_allclose(after["s"], before["s"])
    np.testing.assert_allclose(after["m"], before["m"])
