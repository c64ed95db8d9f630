"""Gradients where axes, counts, bounds or shapes are inputs of the model: one file for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from onnx import helper
from onnx_models import model
from run_time import check

N = helper.make_node
RNG = np.random.default_rng(17)
X: dict[str, Any] = {"x": ("float", ["n", "m"])}


def draw(*shape: int) -> Any:
    return RNG.uniform(0.5, 2.0, shape).astype(np.float32)


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


def sliced(starts: Sequence[int], ends: Sequence[int], axes: Sequence[int], steps: Sequence[int], n: int = 5) -> Any:
    return {"x": draw(n, 4), "s": ints(*starts), "e": ints(*ends), "a": ints(*axes), "t": ints(*steps)}


def numpy_slice(x: Any, s: Any, e: Any, a: Any, t: Any) -> Any:
    """PyTorch has no steps below 0: the places that numpy takes are gathered."""
    import torch

    for start, end, axis, step in zip(s.tolist(), e.tolist(), a.tolist(), t.tolist(), strict=True):
        stop = None if step < 0 and end < -x.shape[axis] else end
        x = torch.index_select(
            x, axis, torch.arange(x.shape[axis])[list(range(*slice(start, stop, step).indices(x.shape[axis])))]
        )
    return x


def test_slice_by_bounds_axes_and_steps_that_are_fed() -> None:
    inputs = {**X, "s": ("int64", ["k"]), "e": ("int64", ["k"]), "a": ("int64", ["k"]), "t": ("int64", ["k"])}
    fed = [
        sliced([1], [4], [0], [1]), sliced([-3, 0], [9, 2], [0, 1], [1, 1]), sliced([4], [-99], [0], [-2]),
        sliced([0, 3], [5, 0], [-2, -1], [2, -1]), sliced([2], [2], [1], [1]),
    ]  # fmt: skip
    check(model([N("Slice", ["x", "s", "e", "a", "t"], ["y"])], inputs, ["y"]), ["x"], fed, numpy_slice)


def test_slice_with_step_1_sets_zeros_around() -> None:
    inputs = {**X, "s": ("int64", [2]), "e": ("int64", [2])}
    fed = [{"x": draw(n, 4), "s": ints(*s), "e": ints(*e)}
           for n, s, e in ((5, (1, 0), (4, 3)), (3, (-2, -9), (99, -1)), (4, (7, 1), (9, 2)))]  # fmt: skip
    proto = model([N("Slice", ["x", "s", "e"], ["y"])], inputs, ["y"])
    made = check(proto, ["x"], fed, lambda x, s, e: x[s[0] : e[0], s[1] : e[1]])
    assert "ScatterElements" not in {node.op_type for node in made.graph.node}


@pytest.mark.parametrize(("steps", "placed"), [((1, 1), False), ((2, 1), True)])
def test_slice_along_known_axes_by_known_steps(steps: tuple[int, int], placed: bool) -> None:
    constants = {"a": ints(0, 1), "t": ints(*steps)}
    inputs = {**X, "s": ("int64", [2]), "e": ("int64", [2])}
    fed = [{"x": draw(n, 4), "s": ints(1, 0), "e": ints(n, 3)} for n in (5, 4)]
    proto = model([N("Slice", ["x", "s", "e", "a", "t"], ["y"])], inputs, ["y"], constants=constants)
    made = check(proto, ["x"], fed, lambda x, s, e: x[s[0] : e[0] : steps[0], s[1] : e[1] : steps[1]])
    assert ("ScatterElements" in {node.op_type for node in made.graph.node}) == placed


def test_slice_that_may_run_off_a_symbolic_axis() -> None:
    constants = {"s": ints(2), "e": ints(6), "a": ints(0)}
    proto = model([N("Slice", ["x", "s", "e", "a"], ["y"])], X, ["y"], constants=constants)
    check(proto, ["x"], [{"x": draw(n, 2)} for n in (1, 3, 6, 9)], lambda x: x[2:6])


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
def test_pad_by_amounts_that_are_fed(mode: str) -> None:
    inputs = {**X, "p": ("int64", [4])}
    fed = [{"x": draw(n, 4), "p": ints(*p)} for n, p in ((5, (1, 0, 2, 3)), (3, (0, 2, 1, 0)), (4, (0, 0, 0, 0)))]
    if mode == "constant":
        fed.append({"x": draw(4, 4), "p": ints(-1, 1, 2, -2)})
    peer = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}[mode]

    def theirs(x: Any, p: Any) -> Any:
        import torch

        top, left, bottom, right = p.tolist()
        return torch.nn.functional.pad(x[None], (left, right, top, bottom), mode=peer)[0]

    check(model([N("Pad", ["x", "p"], ["y"], mode=mode)], inputs, ["y"]), ["x"], fed, theirs)


def test_pad_with_a_number_that_is_fed() -> None:
    inputs = {**X, "p": ("int64", [2]), "v": ("float", []), "a": ("int64", [1])}
    fed = [{"x": draw(2, 3), "p": ints(1, 2), "v": np.float32(0.7), "a": ints(axis)} for axis in (0, 1)]
    for each in fed:
        each["v"] = np.array(each["v"])

    def theirs(x: Any, p: Any, v: Any, a: Any) -> Any:
        import torch

        sides = [x.shape[0], x.shape[1]]
        parts = []
        for amount in p.tolist():
            sides[int(a)] = amount
            parts.append(v.expand(sides))
        return torch.cat([parts[0], x, parts[1]], int(a))

    check(model([N("Pad", ["x", "p", "v", "a"], ["y"])], inputs, ["y"]), ["x", "v"], fed, theirs)


def test_pad_with_a_known_number() -> None:
    inputs = {**X, "p": ("int64", [4])}
    fed = [{"x": draw(2, 3), "p": ints(*p)} for p in ((1, 0, 2, 3), (0, 2, 1, 0))]
    proto = model([N("Pad", ["x", "p", "v"], ["y"])], inputs, ["y"], constants={"v": np.array(1.5, np.float32)})

    def theirs(x: Any, p: Any) -> Any:
        import torch

        top, left, bottom, right = p.tolist()
        return torch.nn.functional.pad(x, (left, right, top, bottom), value=1.5)

    check(proto, ["x"], fed, theirs)


def test_tile_by_numbers_that_are_fed() -> None:
    fed = [{"x": draw(n, 3), "r": ints(*r)} for n, r in ((2, (3, 2)), (1, (1, 4)), (4, (2, 1)), (0, (2, 3)))]
    proto = model([N("Tile", ["x", "r"], ["y"])], {**X, "r": ("int64", [2])}, ["y"])
    check(proto, ["x"], fed, lambda x, r: x.tile(r.tolist()))


def test_split_into_sizes_that_are_fed() -> None:
    nodes = [N("Split", ["x", "s"], ["a", "b"], axis=1), N("Exp", ["a"], ["y"])]
    fed = [{"x": draw(2, 5), "s": ints(*s)} for s in ((2, 3), (4, 1), (0, 5))]
    check(model(nodes, {**X, "s": ("int64", [2])}, ["y"]), ["x"], fed, lambda x, s: x.split(s.tolist(), 1)[0].exp())


def test_split_into_parts_that_need_not_be_equal() -> None:
    nodes = [N("Split", ["x"], ["a", "b", "c"], axis=0, num_outputs=3), N("Mul", ["c", "c"], ["y"])]
    check(model(nodes, X, ["y"]), ["x"], [{"x": draw(n, 2)} for n in (3, 5, 7)],
          lambda x: x[2 * -(-x.shape[0] // 3) :] ** 2)  # fmt: skip


@pytest.mark.parametrize("shape", [(4, 3), (3, 2, 2), (12,)], ids=str)
def test_reshape_squeeze_unsqueeze(shape: tuple[int, ...]) -> None:
    nodes = [N("Unsqueeze", ["x", "a"], ["u"]), N("Squeeze", ["u", "a"], ["v"]), N("Reshape", ["v", "s"], ["y"])]
    inputs = {**X, "a": ("int64", [1]), "s": ("int64", [len(shape)])}
    fed = [{"x": draw(2, 6), "a": ints(axis), "s": ints(*order)} for axis, order in ((0, shape), (2, shape[::-1]))]
    check(model(nodes, inputs, ["y"]), ["x"], fed, lambda x, a, s: x.reshape(s.tolist()))


REDUCTIONS: dict[str, Any] = {
    "ReduceSum": lambda x, d, k: x.sum(d, k),
    "ReduceMean": lambda x, d, k: x.mean(d, k),
    "ReduceMax": lambda x, d, k: x.amax(d, k),
    "ReduceMin": lambda x, d, k: x.amin(d, k),
    "ReduceProd": None,
    "ReduceL1": lambda x, d, k: x.abs().sum(d, k),
    "ReduceL2": lambda x, d, k: (x * x).sum(d, k).sqrt(),
    "ReduceLogSum": lambda x, d, k: x.sum(d, k).log(),
    "ReduceLogSumExp": lambda x, d, k: x.exp().sum(d, k).log(),
    "ReduceSumSquare": lambda x, d, k: (x * x).sum(d, k),
}


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduction_over_axes_that_are_fed(name: str, keepdims: int) -> None:
    inputs = {"x": ("float", ["n", 3, "m"]), "a": ("int64", [2])}
    fed = [{"x": draw(n, 3, m), "a": ints(*a)} for n, m, a in ((2, 4, (0, 2)), (3, 2, (1, -1)), (1, 2, (0, 1)))]
    rule = REDUCTIONS[name]
    peer = None if rule is None else lambda x, a: rule(x, a.tolist(), bool(keepdims))
    check(model([N(name, ["x", "a"], ["y"], keepdims=keepdims)], inputs, ["y"]), ["x"], fed, peer)


@pytest.mark.parametrize("noop", [None, 1])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduction_over_as_many_axes_as_are_fed(name: str, noop: int | None) -> None:
    inputs = {**X, "a": ("int64", ["k"])}
    fed = [{"x": draw(3, 4), "a": ints(*a)} for a in ((0,), (1,), (0, 1), ())]
    proto = model([N(name, ["x", "a"], ["y"], noop_with_empty_axes=noop)], inputs, ["y"])

    def reduced(x: Any, a: Any) -> Any:
        if len(a) or not noop:
            return REDUCTIONS[name](x, a.tolist() or [0, 1], True)
        return REDUCTIONS[name](x[..., None], [2], False)  # reducing each element by itself: the square of one, say

    check(proto, ["x"], fed, reduced if REDUCTIONS[name] else None)


@pytest.mark.parametrize("name", ["ReduceSum", "ReduceMax"])
def test_reduction_of_no_elements(name: str) -> None:
    inputs = {"x": ("float", ["n", 3, "m"]), "a": ("int64", [1])}
    fed = [{"x": draw(2, 3, 0), "a": ints(axis)} for axis in (0, 1)]
    proto = model([N(name, ["x", "a"], ["y"], keepdims=0)], inputs, ["y"])
    check(proto, ["x"], fed, lambda x, a: (x.sum if name == "ReduceSum" else x.amax)(a.tolist(), False))


def test_running_sum_along_an_axis_that_is_fed() -> None:
    proto = model([N("CumSum", ["x", "a"], ["y"], reverse=1)], {**X, "a": ("int64", [])}, ["y"])
    fed = [{"x": draw(3, 4), "a": np.array(axis)} for axis in (0, 1, -2)]
    check(proto, ["x"], fed, lambda x, a: x.flip(int(a)).cumsum(int(a)).flip(int(a)))


def test_the_best_of_a_number_that_is_fed() -> None:
    proto = model([N("TopK", ["x", "k"], ["y", "i"], axis=1)], {**X, "k": ("int64", [1])}, ["y"])
    x = (RNG.permutation(12).reshape(3, 4) * 0.1 + 0.5).astype(np.float32)
    fed = [{"x": x, "k": ints(k)} for k in (1, 3, 4)]
    check(proto, ["x"], fed, lambda x, k: x.topk(int(k), 1)[0])


def test_one_hot_of_a_depth_that_is_fed() -> None:
    inputs = {"i": ("int64", ["n"]), "d": ("int64", []), "v": ("float", [2])}
    fed = [{"i": ints(*i), "d": np.array(d), "v": draw(2)} for i, d in (((0, 2), 3), ((4, 1, 1), 5))]

    def theirs(i: Any, d: Any, v: Any) -> Any:
        import torch

        unit = torch.nn.functional.one_hot(i, int(d)).to(v.dtype)
        return unit * v[1] + (1 - unit) * v[0]

    check(model([N("OneHot", ["i", "d", "v"], ["y"])], inputs, ["y"]), ["v"], fed, theirs)


def test_crop_and_pad_about_the_centre_to_a_shape_that_is_fed() -> None:
    inputs = {**X, "s": ("int64", [1])}
    fed = [{"x": draw(n, 3), "s": ints(s)} for n, s in ((5, 2), (2, 5), (4, 4), (4, 3))]

    def theirs(x: Any, s: Any) -> Any:
        import torch

        more = int(s) - x.shape[0]
        before = more // 2 if more > 0 else -(-more // 2)
        return torch.nn.functional.pad(x, (0, 0, before, more - before))

    check(model([N("CenterCropPad", ["x", "s"], ["y"], axes=[0])], inputs, ["y"]), ["x"], fed, theirs)


def test_crop_about_the_centre_of_axes_of_unknown_size() -> None:
    proto = model([N("CenterCropPad", ["x", "s"], ["y"])], X, ["y"], constants={"s": ints(3, 2)})
    check(proto, ["x"], [{"x": draw(n, m)} for n, m in ((3, 2), (5, 1), (1, 4))])
