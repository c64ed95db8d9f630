"""Every rule of the verifier: a sound graph passes, and each way of breaking it is named."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from dlc.compiler.build import Builder
from dlc.compiler.graph import Graph, Node, Value
from dlc.compiler.registry import _OPERATORS, define, operators
from dlc.compiler.text import from_text
from dlc.compiler.types import Type
from dlc.compiler.verify import Unsound, verify

TEXT = """
graph g(%x: f32[B, 3], %w: f32[3, 4])
%0: f32[B, 4] = MatMul(%x, %w) @ a.net:1:1
%h: f32[B, 4] = Relu(%0) @ a.net:2:1
%1: f32[] = Constant(0.5)
%2: f32[B, 4] = Mul(%h, %1) @ a.net:3:1
return y = %2, h = %h
"""


def sound() -> Graph:
    return from_text(TEXT)


def test_sound() -> None:
    verify(sound(), sound())
    verify(sound(), lowered=True)


def wrong_type(graph: Graph) -> Graph:
    graph.nodes[1].outputs[0].type = Type("f32", (3,))
    return graph


def wrong_input(graph: Graph) -> Graph:
    graph.nodes[3].inputs[0].type = Type("bool", (2,))  # type: ignore[union-attr]
    return graph


def without_names(graph: Graph) -> Graph:
    return dataclasses.replace(graph, names={})


def twice_named(graph: Graph) -> Graph:
    return dataclasses.replace(graph, names={**graph.names, graph.nodes[0].output: "h"})


def named_nothing(graph: Graph) -> Graph:
    return dataclasses.replace(graph, names={**graph.names, graph.nodes[0].output: ""})


def spanless(graph: Graph) -> Graph:
    graph.nodes[1].span = None
    return graph


def foreign_output(graph: Graph) -> Graph:
    graph.nodes[1].outputs = (Value(graph.nodes[1].output.type),)
    return graph


def reordered(graph: Graph) -> Graph:
    return dataclasses.replace(graph, nodes=graph.nodes[::-1])


def doubled(graph: Graph) -> Graph:
    return dataclasses.replace(graph, nodes=(*graph.nodes, graph.nodes[0]))


def without_node(graph: Graph) -> Graph:
    return dataclasses.replace(graph, nodes=graph.nodes[:3])


def foreign_input(graph: Graph) -> Graph:
    return dataclasses.replace(graph, inputs=(*graph.inputs, graph.nodes[0].output))


def input_twice(graph: Graph) -> Graph:
    return dataclasses.replace(graph, inputs=(*graph.inputs, graph.inputs[0]))


def unnamed_output(graph: Graph) -> Graph:
    return dataclasses.replace(graph, outputs={"": graph.inputs[0]})


def unknown(graph: Graph) -> Graph:
    graph.nodes[1].op = "Reul"
    return graph


BROKEN: dict[Callable[[Graph], Graph], str] = {
    wrong_type: r"Relu at a.net:2:1 is recorded to give f32\[3\], its rule gives f32\[B, 4\]",
    wrong_input: r"Relu at a.net:2:1 is recorded to give bool\[2\], its rule gives f32\[B, 4\]",
    without_names: r"an input of the graph g, f32\[B, 3\], has no name",
    twice_named: "two values of the graph g are called h",
    named_nothing: "has an empty name",
    spanless: r"Relu\(f32\[B, 4\]\) has lost the place",
    foreign_output: "output 1 of Relu at a.net:2:1 belongs to another node",
    reordered: "Mul at a.net:3:1 reads input 1, <Relu: .*>, before it is defined",
    doubled: "MatMul at a.net:1:1 stands twice",
    without_node: "the output y of the graph g, <Mul: .*>, is not defined in it",
    foreign_input: "an input of the graph g is the result of MatMul",
    input_twice: "has the input x twice",
    unnamed_output: "an output of the graph g has an empty name",
    unknown: "Reul at a.net:2:1 is refused by its own rule: Reul is not an operator",
}


@pytest.mark.parametrize("damage", BROKEN, ids=lambda damage: damage.__name__)
def test_broken(damage: Callable[[Graph], Graph]) -> None:
    with pytest.raises(Unsound, match=BROKEN[damage]):
        verify(damage(sound()))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("%w: f32[3, 4]", "%v: f32[3, 4]", r"the inputs .* changed: lost w: f32\[3, 4\]; new v: f32\[3, 4\]"),
        ("%x: f32[B, 3], %w: f32[3, 4]", "%w: f32[3, 4], %x: f32[B, 3]", "inputs .* changed: another order"),
        ("y = %2, h", "z = %2, h", "outputs .* changed: lost y"),
        ("y = %2, h = %h", "h = %h, y = %2", "outputs .* changed: another order"),
        ("return y = %2", "return y = %w", r"lost y: f32\[B, 4\]; new y: f32\[3, 4\]"),
        ("f32[B, 3]", "f32[N, 3]", r"new x: f32\[N, 3\]"),
    ],
)
def test_the_interface(old: str, new: str, message: str) -> None:
    other = TEXT.replace(old, new).replace("%0: f32[B, 4]", "%0").replace("%h: f32[B, 4]", "%h")
    changed = from_text(other.replace("%2: f32[B, 4]", "%2").replace("%v)", "%v)").replace("%w) @", new_weight(new)))
    verify(changed)
    with pytest.raises(Unsound, match=message):
        verify(changed, sound())


def new_weight(new: str) -> str:
    return "%v) @" if "%v" in new else "%w) @"


def test_spans_may_be_missing_everywhere() -> None:
    bare = from_text("\n".join(line.split(" @")[0] for line in TEXT.splitlines()))
    verify(bare)
    verify(bare, bare)
    with pytest.raises(Unsound, match="has lost the place"):
        verify(bare, sound())


def test_lowered() -> None:
    graph = from_text("graph g(%x: f32[B, 3])\n%0: f32[1, 3] = dlc.SumTo(%x) {shape = [1, 3]}\nreturn y = %0")
    verify(graph)
    with pytest.raises(Unsound, match=r"dlc\.SumTo is a private operator"):
        verify(graph, lowered=True)


def test_bodies() -> None:
    operators()
    define("test.Call", lambda call: [next(iter(body.outputs.values())).type for body in call.bodies])
    try:
        text = (
            "graph g(%x: f32[B])\n%0: f32[B] = Neg(%x)\n%1: f32[B] = test.Call(%x)\n"
            "  body b(%x~2: f32[])\n    %2: f32[B] = Add(%x~2, %0)\n    return r = %2\nreturn y = %1\n"
        )
        verify(from_text(text))
        graph = from_text(text)
        body: Graph = graph.nodes[1].bodies[0]
        body.nodes[0].outputs[0].type = Type("f32", ())
        with pytest.raises(Unsound, match=r"Add is recorded to give f32\[\]"):
            verify(graph)
        early = dataclasses.replace(from_text(text), nodes=from_text(text).nodes)
        early = dataclasses.replace(early, nodes=(early.nodes[1], early.nodes[0]))
        with pytest.raises(Unsound, match="before it is defined"):
            verify(early)
        graph = from_text(text)
        node = graph.nodes[1]
        node.bodies = (dataclasses.replace(node.bodies[0], nodes=(graph.nodes[0], *node.bodies[0].nodes)),)
        with pytest.raises(Unsound, match="stands twice in the graph b or in the one around it"):
            verify(graph)
    finally:
        del _OPERATORS["test.Call"]


def test_a_rule_that_looks_through_its_inputs_is_asked_each_time() -> None:
    """Integers that are computed may carry shapes, so equal types of inputs do not make equal results."""
    operators()
    define("test.Length", lambda call: [Type("f32", (call.inputs[0].node.inputs[0].shape[0],))])  # type: ignore[union-attr]
    try:
        builder = Builder()
        outputs = {}
        for n in (3, 4):
            x = builder.input(f"x{n}", Type("i64", (n,)))
            copied = builder.add("ReduceSum", [x], {"keepdims": 0}).output
            outputs[f"y{n}"] = builder.add("test.Length", [copied]).output
        graph = builder.graph("g", outputs)
        assert [str(value.type) for value in graph.outputs.values()] == ["f32[3]", "f32[4]"]
        verify(graph)
    finally:
        del _OPERATORS["test.Length"]


def test_twenty_thousand_nodes() -> None:
    builder = Builder()
    value = builder.input("x", Type("f32", (2, 3)))
    for index in range(20_000):
        value = builder.add(("Relu", "Neg", "Tanh")[index % 3], [value]).output
    verify(builder.graph("deep", {"y": value}))


def test_a_node_of_another_graph() -> None:
    graph, other = sound(), sound()
    stranger = Node("Neg", (other.inputs[0],), {}, (), [other.inputs[0].type], graph.nodes[0].span)
    with pytest.raises(Unsound, match=r"Neg at a.net:1:1 reads input 1, <input: .*>, before it is defined"):
        verify(dataclasses.replace(graph, nodes=(*graph.nodes, stranger)))
