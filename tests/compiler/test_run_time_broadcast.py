"""Gradients through sizes that broadcast at run time: two different names, of which either may turn out to be 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from onnx import helper
from onnx_models import model
from run_time import check

from dlc.compiler.importer import of_model

N = helper.make_node
RNG = np.random.default_rng(11)
Sizes = tuple[tuple[int, ...], ...]


def draw(shape: Sequence[int]) -> Any:
    return RNG.uniform(0.5, 2.0, tuple(shape)).astype(np.float32)


def feeds(names: str, cases: Sequence[Sizes]) -> list[dict[str, Any]]:
    return [{name: draw(shape) for name, shape in zip(names, shapes, strict=True)} for shapes in cases]


# [n] with [m]: either is 1, both are equal, both are 1.
TWO: list[Sizes] = [((4,), (1,)), ((1,), (4,)), ((3,), (3,)), ((1,), (1,))]
BINARY: dict[str, Any] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": lambda a, b: a / b,
    "Pow": lambda a, b: a**b,
}


@pytest.mark.parametrize("name", BINARY)
def test_two_vectors(name: str) -> None:
    proto = model([N(name, ["a", "b"], ["y"])], {"a": ("float", ["n"]), "b": ("float", ["m"])}, ["y"])
    assert str(of_model(proto).graph.outputs["y"].type) == "f32[broadcast(m, n)]"
    check(proto, ["a", "b"], feeds("ab", TWO), BINARY[name])


@pytest.mark.parametrize("name", ["Max", "Min", "Sum", "Mean"])
def test_operators_of_many(name: str) -> None:
    inputs = {"a": ("float", ["n", 2]), "b": ("float", ["m", 1]), "c": ("float", ["k"])}
    proto = model([N(name, ["a", "b", "c"], ["y"])], inputs, ["y"])
    sizes: list[Sizes] = [((3, 2), (1, 1), (2,)), ((1, 2), (3, 1), (1,)), ((3, 2), (3, 1), (2,))]
    peers: dict[str, Any] = {
        "Max": lambda a, b, c: a.maximum(b).maximum(c),
        "Min": lambda a, b, c: a.minimum(b).minimum(c),
        "Sum": lambda a, b, c: a + b + c,
        "Mean": lambda a, b, c: (a + b + c) / 3,
    }
    check(proto, ["a", "b", "c"], feeds("abc", sizes), peers[name])


def test_ranks_that_differ() -> None:
    inputs = {"a": ("float", ["n", "p"]), "b": ("float", ["k", "m", "q"])}
    proto = model([N("Mul", ["a", "b"], ["y"])], inputs, ["y"])
    sizes: list[Sizes] = [((2, 3), (4, 2, 3)), ((1, 3), (4, 2, 1)), ((2, 1), (1, 1, 3)), ((1, 1), (2, 3, 4))]
    check(proto, ["a", "b"], feeds("ab", sizes), lambda a, b: a * b)


def test_a_size_that_is_a_number_or_1() -> None:
    proto = model([N("Mul", ["a", "b"], ["y"])], {"a": ("float", ["n", 2]), "b": ("float", [3, 2])}, ["y"])
    assert str(of_model(proto).graph.outputs["y"].type) == "f32[3, 2]"
    sizes: list[Sizes] = [((1, 2), (3, 2)), ((3, 2), (3, 2))]
    check(proto, ["a", "b"], feeds("ab", sizes), lambda a, b: a * b)


def test_what_was_stretched_meets_what_it_was_made_of() -> None:
    """(a + b) * b - a: the sizes of a sum are those of its terms, and a third joins them."""
    nodes = [N("Add", ["a", "b"], ["s"]), N("Mul", ["s", "b"], ["t"]), N("Sub", ["t", "a"], ["u"]),
             N("Mul", ["u", "c"], ["y"])]  # fmt: skip
    proto = model(nodes, {"a": ("float", ["n"]), "b": ("float", ["m"]), "c": ("float", ["k"])}, ["y"])
    assert str(of_model(proto).graph.outputs["y"].type) == "f32[broadcast(k, m, n)]"
    sizes: list[Sizes] = [((4,), (1,), (1,)), ((1,), (4,), (4,)), ((1,), (1,), (3,)), ((2,), (2,), (2,))]
    check(proto, ["a", "b", "c"], feeds("abc", sizes), lambda a, b, c: ((a + b) * b - a) * c)


def test_where() -> None:
    inputs = {"a": ("float", ["n", 3]), "b": ("float", ["m", 1]), "c": ("bool", ["k", 3])}
    proto = model([N("Where", ["c", "a", "b"], ["y"])], inputs, ["y"])
    fed = feeds("ab", [((4, 3), (1, 1)), ((1, 3), (4, 1)), ((4, 3), (4, 1)), ((1, 3), (1, 1))])
    for each, k in zip(fed, (4, 1, 4, 5), strict=True):
        each["c"] = RNG.random((k, 3)) < 0.5
    check(proto, ["a", "b"], fed, lambda a, b, c: a.where(c, b))


def test_expand_to_the_shape_of_another() -> None:
    nodes = [N("Shape", ["b"], ["s"]), N("Expand", ["a", "s"], ["y"])]
    proto = model(nodes, {"a": ("float", ["n", 3]), "b": ("float", ["k", "m", 1])}, ["y"])
    sizes: list[Sizes] = [((1, 3), (2, 4, 1)), ((4, 3), (2, 1, 1)), ((4, 3), (1, 4, 1))]
    check(proto, ["a"], feeds("ab", sizes), lambda a, b: a + 0 * b)


def test_expand_to_a_shape_that_is_fed() -> None:
    proto = model([N("Expand", ["a", "s"], ["y"])], {"a": ("float", ["n", 3]), "s": ("int64", [3])}, ["y"])
    fed = [{"a": draw((n, 3)), "s": np.array(s)} for n, s in ((1, [2, 4, 3]), (4, [2, 1, 1]), (1, [1, 1, 3]))]
    check(proto, ["a"], fed, lambda a, s: a.expand([max(x, y) for x, y in zip([1, *a.shape], s.tolist(), strict=True)]))


@pytest.mark.parametrize(
    ("a", "b", "sizes"),
    [
        (["n", 2, 3], ["m", 3, 2], [((4, 2, 3), (1, 3, 2)), ((1, 2, 3), (4, 3, 2)), ((4, 2, 3), (4, 3, 2))]),
        (["n", "p", 3], ["m", 1, 3, 2], [((2, 5, 3), (4, 1, 3, 2)), ((1, 5, 3), (1, 1, 3, 2))]),
        (["n", "k"], ["m", 2], [((4, 3), (3, 2)), ((1, 5), (5, 2))]),
        (["n", "k"], [3, 2], [((4, 3), (3, 2)), ((1, 3), (3, 2))]),
        (["k"], ["n", "m", 2], [((3,), (4, 3, 2)), ((2,), (1, 2, 2))]),
    ],
)
def test_matmul(a: list[Any], b: list[Any], sizes: list[Sizes]) -> None:
    """Batches that broadcast at run time, and an inner size that has two names."""
    proto = model([N("MatMul", ["a", "b"], ["y"])], {"a": ("float", a), "b": ("float", b)}, ["y"])
    check(proto, ["a", "b"], feeds("ab", sizes), lambda a, b: a @ b)


@pytest.mark.parametrize("c", [["k"], ["k", 1], ["k", "l"], [2], [1, "k"]], ids=str)
@pytest.mark.parametrize("turned", [0, 1])
def test_gemm(c: list[Any], turned: int) -> None:
    shape = ["r", "n"] if turned else ["n", 3]
    proto = model(
        [N("Gemm", ["a", "b", "c"], ["y"], transA=turned, alpha=0.5, beta=2.0)],
        {"a": ("float", shape), "b": ("float", [3, 2]), "c": ("float", c)},
        ["y"],
    )
    rows = (4, 1) if c == ["k", 1] or c == ["k", "l"] else (2, 1)
    sizes: list[Sizes] = []
    for k in rows:
        n = 4
        third = tuple({"k": k, "l": 2}.get(dim, dim) for dim in c)
        sizes.append(((3, n) if turned else (n, 3), (3, 2), third))
    check(proto, ["a", "b", "c"], feeds("abc", sizes), lambda a, b, c: 0.5 * (a.T if turned else a) @ b + 2 * c)


def test_prelu() -> None:
    proto = model([N("PRelu", ["a", "b"], ["y"])], {"a": ("float", ["n", 3]), "b": ("float", ["k"])}, ["y"])
    fed = feeds("ab", [((4, 3), (3,)), ((4, 3), (1,))])
    for each in fed:
        each["a"] -= 1.3
    check(proto, ["a", "b"], fed, lambda a, b: a.where(a > 0, a * b))


def test_a_bias_that_only_a_run_gives_its_size() -> None:
    """A layer whose result depends on data in one size, plus a row: the usual case after a Reshape by exporters."""
    nodes = [N("Reshape", ["x", "s"], ["r"]), N("Add", ["r", "b"], ["t"]), N("Tanh", ["t"], ["y"])]
    inputs = {"x": ("float", ["n", 6]), "s": ("int64", [3]), "b": ("float", ["k"])}
    fed = [
        {"x": draw((n, 6)), "s": np.array(s), "b": draw((k,))}
        for n, s, k in ((2, [4, 3, 1], 5), (2, [2, 2, 3], 3), (1, [1, 6, 1], 1))
    ]
    check(model(nodes, inputs, ["y"]), ["x", "b"], fed, lambda x, s, b: (x.reshape(s.tolist()) + b).tanh())
