"""The graph's text reads back to the identical graph, and bad text is refused with its line and column."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlc.compiler.build import Builder, freeze, op, private
from dlc.compiler.graph import Graph, Value
from dlc.compiler.registry import _OPERATORS, Operator, define, operators
from dlc.compiler.text import GraphTextError, constants, content_hash, difference, from_text, to_text
from dlc.compiler.types import Dim, Type, numpy_dtype, quotient, symbol
from dlc.dsl.ast import Span

B, H, T = symbol("B"), symbol("H"), symbol("T")


@pytest.fixture
def any_operator() -> Iterator[Operator]:
    """An operator that takes anything and gives as many scalars as it is asked for."""
    operators()
    yield define("test.Any", lambda call: [Type("f32", ())] * call.outputs)
    del _OPERATORS["test.Any"]


def same(first: Graph, second: Graph) -> None:
    """Structural identity, down to the Python types of attributes."""
    pairs: dict[Value, Value] = {}

    def match(x: Value | None, y: Value | None) -> None:
        assert (x is None) == (y is None)
        if x is not None:
            assert pairs[x] is y

    def graphs(a: Graph, b: Graph) -> None:
        assert (a.name, dict(a.sizes), list(a.outputs)) == (b.name, dict(b.sizes), list(b.outputs))
        assert [v.type for v in a.inputs] == [v.type for v in b.inputs]
        pairs.update(zip(a.inputs, b.inputs, strict=True))
        assert len(a.nodes) == len(b.nodes)
        for m, n in zip(a.nodes, b.nodes, strict=True):
            assert (m.op, m.span, a.merged.get(m, ())) == (n.op, n.span, b.merged.get(n, ()))
            assert len(m.inputs) == len(n.inputs) and len(m.bodies) == len(n.bodies)
            for x, y in zip(m.inputs, n.inputs, strict=True):
                match(x, y)
            assert set(m.attributes) == set(n.attributes)
            for key in m.attributes:
                identical(m.attributes[key], n.attributes[key])
            for inner, other in zip(m.bodies, n.bodies, strict=True):
                graphs(inner, other)
            assert [v.type for v in m.outputs] == [v.type for v in n.outputs]
            pairs.update(zip(m.outputs, n.outputs, strict=True))
        own = {*a.inputs, *(v for n in a.nodes for v in n.outputs)}
        assert {pairs[v]: name for v, name in a.names.items() if v in own} == dict(b.names)
        for name in a.outputs:
            match(a.outputs[name], b.outputs[name])

    graphs(first, second)


def identical(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    if isinstance(a, np.ndarray) and a.dtype == object:
        assert a.shape == b.shape and a.tolist() == b.tolist()
    elif isinstance(a, tuple):
        for x, y in zip(a, b, strict=True):
            identical(x, y)
    else:
        assert freeze(a) == freeze(b)


def roundtrip(graph: Graph) -> str:
    text = to_text(graph)
    again = from_text(text, constants(graph))
    same(graph, again)
    assert to_text(again) == text
    return text


def test_the_form() -> None:
    builder = Builder()
    with builder:
        x = builder.input("x", Type("f32", (B, 4)))
        w = builder.input("net.weight", Type("f32", (4, 3)))
        with builder.at(Span("a.net", 8, 8, 8, 20)):
            y = op.MatMul(x, w)
        with builder.at(Span("a.net", 9, 1, 9, 2)):
            z = y * 0.5
        with builder.at(Span("my nets/b:.net", 3, 1, 4, 2)):
            assert op.MatMul(x, w) is y
            private.SumTo(z, shape=(1, 3))
        s = private.SumTo(z, shape=(1, 3))
    builder.names[y] = "y"
    graph = builder.graph("net", {"output": y, "again": y, "net.sum": s, "x": x}, sizes={"B": 64})
    assert roundtrip(graph) == (
        'graph net(%x: f32[B, 4], %"net.weight": f32[4, 3]) {B = 64}\n'
        '%y: f32[B, 3] = MatMul(%x, %"net.weight") @ a.net:8:8-8:20, "my nets/b:.net":3:1-4:2\n'
        "%0: f32[] = Constant(0.5) @ a.net:9:1\n"
        "%1: f32[B, 3] = Mul(%y, %0) @ a.net:9:1\n"
        '%2: f32[1, 3] = dlc.SumTo(%1) {shape = [1, 3]} @ "my nets/b:.net":3:1-4:2\n'
        'return output = %y, again = %y, "net.sum" = %2, x = %x\n'
    )


def test_reading_by_hand() -> None:
    graph = from_text(
        "# a comment\n\ngraph g(  # inputs\n  %x: f32[B],\n  %y: f32[B]\n)\n"
        "%a = Add(%x, %y)   # its type is left out\n# another\n   %b: f32[B] = Neg(%a)\nreturn r = %b"
    )
    assert [node.op for node in graph.nodes] == ["Add", "Neg"]
    assert graph.outputs["r"].type == Type("f32", (B,))
    assert to_text(graph).startswith("graph g(%x: f32[B], %y: f32[B])\n%a: f32[B] = Add(%x, %y)\n")


def test_without_spans() -> None:
    text = "graph g(%x: f32[B])\n%0: f32[B] = Neg(%x) @ a.net:1:1\nreturn y = %0\n"
    assert to_text(from_text(text), spans=False) == text.replace(" @ a.net:1:1", "")


ATTRIBUTES: list[Any] = [
    0, -3, 2**70, True, False, 0.0, -0.0, 1.0, 1e300, 0.1, -2.5e-12, math.inf, -math.inf, math.nan,
    "", "text", 'a "quoted"\n%x # {é}\u2028\x00', "true", b"", b"\x00\xff\"", (), (1,), (1, 2.0, "s", (True,)),
    B, (B, 3, quotient(H + 1, 2)), Type("bool", (B, 2 * T)), Type("f32", ()),
    symbol("true"), symbol("inf"), symbol("_"), symbol("ceil"), symbol("batch size") * 2 + 1, symbol("a`]b"),
    symbol("a.b"), symbol("0"),
]  # fmt: skip


@pytest.mark.parametrize("value", ATTRIBUTES, ids=repr)
def test_attributes(value: Any, any_operator: Operator) -> None:
    builder = Builder()
    node = builder.add("test.Any", [], {"a": value, "strange name": (value, value)})
    roundtrip(builder.graph("g", {"y": node.output}))


ARRAYS = [
    np.array(v, numpy_dtype(dtype))
    for dtype, v in [
        ("f32", 0.1), ("f32", [[1.0, -0.0, 1e-45], [3.4e38, np.inf, np.nan]]), ("f64", [0.1, 1e-320, 1 / 3]),
        ("f16", [0.1, 65504.0, 6e-8]), ("bf16", [0.1, 3e38, -1.0]), ("i64", [2**63 - 1, -(2**63)]), ("i64", []),
        ("f32", np.zeros((2, 0, 3))), ("u64", 2**64 - 1), ("u8", [0, 255]), ("bool", [True, False]), ("i8", -128),
        ("c64", [1 + 2j]), ("str", ["", 'a"b', "sha256:x"]), ("i32", np.arange(17)), ("f32", np.arange(40.0)),
        ("i64", [[[1]]]),
    ]
]  # fmt: skip


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_arrays(array: Any, any_operator: Operator) -> None:
    builder = Builder()
    constant = builder.constant(array)
    node = builder.add("test.Any", [constant], {"value": array, "pair": (array, 1)})
    text = roundtrip(builder.graph("g", {"y": node.output, "c": constant}))
    assert (content_hash(array) in text) == (array.size > 16 or array.dtype == np.complex64)


def test_a_nan_with_a_payload_is_kept() -> None:
    array = np.array([0x7FC00001], np.uint32).view(np.float32)
    builder = Builder()
    text = roundtrip(builder.graph("g", {"y": builder.constant(array)}))
    assert "sha256:" in text


def test_views_and_byte_orders_hash_alike() -> None:
    array = np.arange(40, dtype=np.float32).reshape(5, 8)
    assert content_hash(array.T.copy().T) == content_hash(array)
    assert content_hash(array.astype(">f4")) == content_hash(array)
    assert content_hash(array.T) != content_hash(array)
    assert content_hash(array.view(np.int32)) != content_hash(array)


def test_names(any_operator: Operator) -> None:
    builder = Builder()
    x = builder.input('odd "name" %1~2', Type("f32", ()))
    y = builder.input("0", Type("f32", ()))
    a, b, c = builder.add("test.Any", [x, None, y], outputs=3).outputs
    d = builder.add("test.Any", [None, c]).output
    builder.names.update({a: "twice", b: "twice", d: "return"})
    text = roundtrip(builder.graph("a graph", {"out put": b, "d": d, "graph": a}, sizes={"batch size": 3}))
    assert "%twice~2" in text and "(_, %0)" in text


def test_bodies(any_operator: Operator) -> None:
    outer = Builder()
    x = outer.input("x", Type("f32", (B,)))
    with outer:
        captured = op.Neg(x)
    inner = Builder()
    with inner:
        item = inner.input("x", Type("f32", (B,)))
        product = item * captured
        half = product * 0.5
    inner.names[half] = "half"
    own = tuple(node for node in inner.graph("", {"h": half}).nodes if node is not captured.node)
    body = Graph("body", tuple(inner.inputs), {"h": half, "c": captured}, own, inner.names, {}, {"B": 2})
    nested = Graph("empty", (), {"x": x}, ())
    node = outer.add("test.Any", [x], {"n": 1}, (body, nested), 2)
    with outer:
        last = op.Relu(node.outputs[1])
    graph = outer.graph("g", {"y": node.outputs[0], "last": last})
    assert roundtrip(graph) == (
        "graph g(%x: f32[B])\n"
        "%0: f32[B] = Neg(%x)\n"
        "%1: f32[], %2: f32[] = test.Any(%x) {n = 1}\n"
        "  body body(%x~2: f32[B]) {B = 2}\n"
        "    %3: f32[B] = Mul(%x~2, %0)\n"
        "    %4: f32[] = Constant(0.5)\n"
        "    %half: f32[B] = Mul(%3, %4)\n"
        "    return h = %half, c = %0\n"
        "  body empty()\n"
        "    return x = %x\n"
        "%5: f32[] = Relu(%2)\n"
        "return y = %1, last = %5\n"
    )


def dims() -> st.SearchStrategy[Dim]:
    leaves: st.SearchStrategy[Dim] = st.one_of(st.sampled_from([B, H, T]), st.integers(-3, 5))
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.tuples(inner, inner).map(lambda p: p[0] + p[1]),
            st.tuples(inner, inner).map(lambda p: p[0] * p[1]),
            st.tuples(inner, st.integers(2, 4), st.booleans()).map(lambda p: quotient(*p)),
            st.tuples(inner, st.sampled_from([B, H * T, B + 1]), st.booleans()).map(lambda p: quotient(*p)),
        ),
        max_leaves=8,
    )


@settings(max_examples=300, deadline=None)
@given(dims())
def test_dimensions(dim: Dim) -> None:
    builder = Builder()
    x = builder.input("x", Type("f32", (dim, 1)))
    graph = builder.graph("g", {"x": x})
    assert from_text(to_text(graph)).inputs[0].shape == (dim, 1)


BY_HAND: dict[str, Dim] = {
    "-2*B + 3*B^2 - 1": -2 * B + 3 * B * B - 1,
    "(H + 1)//2": quotient(H + 1, 2),
    "4*((B + 1)//2)": 4 * quotient(B + 1, 2),
    "ceil(B, 3)": quotient(B, 3, True),
    "ceil(B + H, T)": quotient(B + H, T, True),
    "-B//2": -quotient(B, 2),
    "(-B)//2": quotient(-B, 2),
    "B//2//3": quotient(quotient(B, 2), 3),
    "(B//2)^2": quotient(B, 2) * quotient(B, 2),
    "B^2//3": quotient(B * B, 3),
    "2*B*T-1": 2 * B * T - 1,
    "(3)": 3,
    "2*3 - 7": -1,
    "((((B))))": B,
    "B//-2": quotient(B, -2),
}


@pytest.mark.parametrize("text", BY_HAND)
def test_dimensions_by_hand(text: str) -> None:
    graph = from_text(f"graph g(%x: f32[{text}, 1])\nreturn\n")
    assert graph.inputs[0].shape == (BY_HAND[text], 1)


BAD = {
    "": (1, 1, "expected `graph`, found the end of the text"),
    "graph g(%x: f32[B]\nreturn": (2, 1, "expected `)`, found `return`"),
    "graph g(%x f32[B])\nreturn": (1, 12, "expected `:`"),
    "graph g(%x: f23[B])\nreturn": (1, 13, "f23 is no element type"),
    "graph g(%x: f32[B +])\nreturn": (1, 13, "the type f32[B +]"),
    "graph g(%x: f32[1//0])\nreturn": (1, 1, "divided by 0"),
    "graph g(%x: f32[B^99])\nreturn": (1, 13, "at most 64"),
    "graph g(%x: f32[])\n%y: f32[] = Relu(%z)\nreturn": (2, 18, "%z is not defined before this line"),
    "graph g(%x: f32[])\n%y: f32[3] = Relu(%x)\nreturn": (2, 5, "Relu gives f32[]"),
    "graph g(%x: f32[])\n%x: f32[] = Relu(%x)\nreturn": (2, 1, "%x is defined twice"),
    "graph g(%x: f32[])\n%y: f32[] = Reul(%x)\nreturn": (2, 13, "Reul is not an operator"),
    "graph g(%x: f32[2], %y: f32[3])\n%z: f32[] = Add(%x, %y)\nreturn": (2, 13, "do not broadcast"),
    "graph g(%x: f32[])\n%y: f32[] = dlc.SumTo(%x)\nreturn": (2, 13, "dlc.SumTo with these"),
    "graph g(%x: f32[])\n%y: f32[], %z: f32[] = Relu(%x)\nreturn": (2, 24, "Relu gives 1 outputs, and 2 are asked for"),
    "graph g(%x: f32[])\n%y: f32[] = Relu(3)\nreturn": (2, 13, "must be values"),
    "graph g()\n%y: f32[2] = Constant(3.0)\nreturn": (2, 5, "has 2 elements, 1 are written"),
    "graph g()\n%y: i64[1] = Constant(3.0)\nreturn": (2, 5, "cannot be 3.0"),
    "graph g()\n%y: u8[1] = Constant(300)\nreturn": (2, 5, "300"),
    "graph g()\n%y: f32[B] = Constant(3.0)\nreturn": (2, 5, "must be integers"),
    "graph g()\n%y = Constant(3.0)\nreturn": (2, 6, "type of a constant must be written"),
    f"graph g()\n%y: f32[1] = Constant(sha256:{'0' * 64})\nreturn": (2, 5, "the sidecar has no array"),
    "graph g(%x: f32[])\nreturn a = %x, a = %x": (2, 20, "two outputs are called a"),
    'graph g(%x: f32[])\nreturn "a\\q" = %x': (2, 8, "a bad string"),
    "graph g(%x: f32[])\n%y: f32[] = Relu(%x) {a = ?}\nreturn": (2, 27, "found `?`"),
    f"graph g(%x: f32[]) {{B = {'9' * 5000}}}\nreturn": (1, 25, "5000 digits"),
    "graph g(%x: f32[])\nreturn y = %x\nreturn": (3, 1, "expected the end of the text"),
    "graph g(%x: f32[])\n%y: f32[] = Relu(%x) @ a.net:1\nreturn": (2, 24, "a place such as"),
}


@pytest.mark.parametrize("text", BAD, ids=lambda text: text[:60])
def test_bad_text(text: str) -> None:
    line, column, message = BAD[text]
    with pytest.raises(GraphTextError) as caught:
        from_text(text)
    assert message in str(caught.value)
    assert (caught.value.line, caught.value.column) == (line, column)


def test_a_body_is_not_seen_from_outside(any_operator: Operator) -> None:
    text = "graph g()\n%0: f32[] = test.Any()\n  body b()\n    %1: f32[] = test.Any()\n    return\n"
    assert len(from_text(text + "return y = %0").nodes[0].bodies) == 1
    with pytest.raises(GraphTextError, match="%1 is not defined"):
        from_text(text + "return y = %1")


def test_the_sidecar_is_checked() -> None:
    array = np.arange(40, dtype=np.float32)
    text = f"graph g()\n%y: f32[40] = Constant({content_hash(array)})\nreturn y = %y\n"
    assert to_text(from_text(text, {content_hash(array): array})) == text
    with pytest.raises(GraphTextError, match="other content"):
        from_text(text, {content_hash(array): array + 1})
    with pytest.raises(GraphTextError, match=r"is f32\[40\] in the sidecar, written is f32\[4, 10\]"):
        from_text(text.replace("[40]", "[4, 10]"), {content_hash(array): array})


def test_any_damage_is_a_graph_text_error() -> None:
    builder = Builder()
    with builder:
        x = builder.input("x", Type("f32", (quotient(H + 1, 2), 4)))
        y = private.SumTo(op.Gemm(x, builder.constant(np.ones((4, 2)), "f32"), alpha=0.5), shape=(1, 2))
    text = to_text(builder.graph("g", {"y": y}, sizes={"H": 3}))
    rng = np.random.default_rng(0)
    for _ in range(1500):
        at, length = int(rng.integers(len(text))), int(rng.integers(0, 4))
        damaged = text[:at] + str(rng.choice(["", "(", "]", "%", '"', "9", " ", "\n", "-", "x"])) + text[at + length :]
        try:
            graph = from_text(damaged)
        except GraphTextError as error:
            assert error.line >= 1 and error.column >= 1
        else:
            same(graph, from_text(to_text(graph), constants(graph)))


def test_a_difference_shows_only_what_changed() -> None:
    builder = Builder()
    with builder:
        x = builder.input("x", Type("f32", (B,)))
        middle = op.Neg(op.Neg(x))
        y = op.Tanh(middle)
        before = builder.graph("g", {"y": y})
        after = builder.graph("g", {"y": op.Tanh(op.Exp(x))})
        assert difference(before, before) == ""
        lines = difference(builder.graph("g", {"y": op.Neg(y)}), builder.graph("g", {"y": op.Exp(y)})).splitlines()
    assert [line for line in lines if line[0] in "+-"][2:] == [
        "-%3: f32[B] = Neg(%2)", "-return y = %3", "+%4: f32[B] = Exp(%2)", "+return y = %4"
    ]  # fmt: skip
    assert "-%0: f32[B] = Neg(%x)\n" in difference(before, after)


def test_a_graph_that_does_not_verify_prints() -> None:
    builder = Builder()
    with builder:
        x = builder.input("x", Type("f32", ()))
        y = op.Neg(x)
    assert y.node is not None
    graph = Graph("g", (), {"y": y}, (y.node,))
    assert "Neg(%?" in to_text(graph)


def test_twenty_thousand_lines() -> None:
    builder = Builder()
    with builder:
        x = builder.input("x", Type("f32", (B, quotient(H + 1, 2))))
        y = x
        for line in range(1, 20_001):
            with builder.at(Span("deep.net", line, 8, line, 20)):
                y = (op.Relu, op.Neg, op.Tanh)[line % 3](y)
    start = time.process_time()
    text = roundtrip(builder.graph("deep", {"y": y}))
    assert text.count("\n") == 20_002
    assert time.process_time() - start < 60  # far above what it takes; a quadratic reader takes minutes
