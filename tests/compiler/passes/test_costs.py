"""What rules and passes ask: numbers, positive scalars, likely sizes, and what a graph costs."""

from __future__ import annotations

import pytest

from dlc.compiler.build import Builder, current, op, private
from dlc.compiler.graph import Node, Value
from dlc.compiler.passes.cost import NODE, cost
from dlc.compiler.passes.match import UNKNOWN_SIZE, Sole, Table, constant, elements, number, rule
from dlc.compiler.passes.scalars import is_positive
from dlc.compiler.passes.simplify import by_rules, simplify
from dlc.compiler.text import from_text
from dlc.compiler.types import Type, symbol


def test_constants_and_what_only_names_elements_anew_are_free() -> None:
    text = """graph g(%x: f32[B, 6]) {B = 10}
    %c: f32[] = Constant(2.0)
    %a: f32[B, 6] = Mul(%x, %c)
    %b: f32[B, 3, 2] = dlc.ReshapeTo(%a) {shape = [B, 3, 2]}
    %axes: i64[1] = Constant(1)
    %d: f32[B, 2] = ReduceSum(%b, %axes) {keepdims = 0}
    return d = %d
    """
    assert cost(from_text(text)) == 2 * NODE + 60 + 20


def test_sizes_that_nothing_says() -> None:
    assert elements(Type("f32", (symbol("B"), 3)), {}) == 3 * UNKNOWN_SIZE
    assert elements(Type("f32", (symbol("B"), 3)), {"B": 7}) == 21


def test_a_rule_is_given_what_it_names() -> None:
    table: Table = {}
    seen: list[tuple[bool, object]] = []

    @rule("Exp", "Log", table=table)
    def asks(node: Node, x: Value, *, sole: Sole, sizes: object) -> None:
        seen.append((sole(x), sizes))

    @rule("Exp", table=table)
    def asks_nothing(node: Node, x: Value) -> Value:
        return op.Tanh(x)

    assert {name: len(rules) for name, rules in table.items()} == {"Exp": 2, "Log": 1}
    graph = from_text("graph g(%x: f32[B]) {B = 9}\n%a: f32[B] = Exp(%x)\nreturn y = %a\n")
    assert [node.op for node in by_rules(graph, table).nodes] == ["Tanh"]
    assert seen == [(True, {"B": 9})]


def test_constants_that_the_element_type_cannot_hold() -> None:
    with Builder() as builder:
        x = builder.input("x", Type("f32", ()))
        assert constant(1e-60, x) is None and constant(1e60, x) is None
        made = [constant(each, x) for each in (0.0, -2.5)]
        assert [number(value) for value in made] == [0.0, -2.5]


def roots(depth: int) -> Value:
    value = op.Exp(current().input("x", Type("f32", ())))
    for _ in range(depth):
        value = op.Sqrt(value)
    return value


@pytest.mark.parametrize(("depth", "known"), [(0, True), (19, True), (20, False), (5_000, False)])
def test_positive_scalars_are_followed_some_way(depth: int, known: bool) -> None:
    with Builder():
        assert is_positive(roots(depth)) is known


def test_which_scalars_are_positive() -> None:
    with Builder() as builder:
        t, e = builder.input("t", Type("f32", ())), op.Exp(builder.input("u", Type("f32", ())))
        half, minus, zero, one, two = (builder.constant(each) for each in (0.5, -1.0, 0.0, 1.0, 2.0))
        size = private.Size(dim=symbol("B"))
        positive = [half, e, e * half, e / two, e + one, op.Max(e, one), e**t, one - half**t, size]
        others = [minus, zero, t, e - half, e * t, two - half**t, one - two**t, one - one**t, one - t, t**two, -e]
        assert [is_positive(value) for value in positive] == [True] * len(positive)
        assert [is_positive(value) for value in others] == [False] * len(others)


def test_a_sum_of_many_products_is_written_in_one_turn() -> None:
    """Each product that took a turn over the graph of its own made the passes quadratic, and the turns are bounded."""
    with Builder() as builder:
        x = builder.input("x", Type("f32", (4, 4)))
        factors = [builder.input(f"w{i}", Type("f32", (4, 4))) for i in range(300)]
        graph = builder.graph("g", {"y": op.Sum(x, *(factor @ x for factor in factors), op.Tanh(x))})
    assert [node.op for node in simplify(graph).nodes] == ["Tanh", "Add", *["Gemm"] * 300]
