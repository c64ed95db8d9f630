"""Differentiation of graphs given as text: what is made, what it computes, and what is refused with which words."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from dlc.compiler.build import op
from dlc.compiler.graph import Graph, Node
from dlc.compiler.passes import differentiate
from dlc.compiler.passes.differentiate import NotDifferentiable
from dlc.compiler.registry import operators
from dlc.compiler.text import from_text, to_text
from dlc.compiler.verify import verify

SQUARE = """graph square(%x: f64[B])
%a: f64[B] = Mul(%x, %x)
%loss: f64[] = ReduceSum(%a) {keepdims = 0}
%g: f64[B] = dlc.Gradient(%loss, %x)
return loss = %loss, g = %g
"""
SQUARED = """graph square(%x: f64[B])
%a: f64[B] = Mul(%x, %x)
%loss: f64[] = ReduceSum(%a) {keepdims = 0}
%0: f64[] = Constant(1.0)
%1: f64[1] = dlc.ReshapeTo(%0) {shape = [1]}
%2: f64[B] = dlc.ExpandTo(%1) {shape = [B]}
%3: f64[B] = Mul(%2, %x)
%g: f64[B] = Add(%3, %3)
return loss = %loss, g = %g
"""
X = np.array([0.5, -1.5, 2.0])


def expected(graph: Graph, feeds: dict[str, Any], **gradients: Any) -> None:
    from dlc.compiler.evaluate import evaluate

    verify(differentiate(graph), like=graph)
    results = evaluate(differentiate(graph), feeds)
    for name, array in gradients.items():
        np.testing.assert_allclose(results[name], array, rtol=1e-12, err_msg=name)


def test_a_square() -> None:
    assert to_text(differentiate(from_text(SQUARE)), spans=False) == SQUARED
    expected(from_text(SQUARE), {"x": X}, g=2 * X)


def test_what_a_loss_does_not_reach_has_a_gradient_of_zeros_of_its_shape() -> None:
    text = SQUARE.replace("(%x: f64[B])", "(%x: f64[B], %w: f64[2, 3])").replace("f64[B] = dlc.Gradient(%loss, %x)",
                          "f64[2, 3] = dlc.Gradient(%loss, %w)")  # fmt: skip
    expected(from_text(text), {"x": X, "w": np.ones((2, 3))}, g=np.zeros((2, 3)))


def test_an_operator_is_expanded_only_where_a_gradient_goes_through_it() -> None:
    text = """graph g(%x: f64[B], %y: f64[B])
    %a: f64[B] = Swish(%x)
    %b: f64[B] = Swish(%y)
    %c: f64[B] = Mul(%a, %b)
    %loss: f64[] = ReduceSum(%c) {keepdims = 0}
    %g: f64[B] = dlc.Gradient(%loss, %x)
    return loss = %loss, g = %g
    """
    graph = from_text(text)
    assert [node.op for node in differentiate(graph).nodes].count("Swish") == 1
    sigmoid, y = 1 / (1 + np.exp(-X)), np.array([1.0, 2.0, 3.0])
    slope = sigmoid * (1 + X * (1 - sigmoid))
    expected(graph, {"x": X, "y": y}, g=slope * y / (1 + np.exp(-y)))


SPAN = " @ model.net:7:3-7:9"
BRANCH = """graph g(%x: f64[B], %y: f64[B], %c: bool[])
%z: f64[B] = If(%c) @ model.net:7:3-7:9
  body yes()
    %a: f64[B] = Exp(%y)
    return a = %a
  body no()
    return y = %y
%p: f64[B] = Mul(%x, %z)
%loss: f64[] = ReduceSum(%p) {keepdims = 0}
%g: f64[B] = dlc.Gradient(%loss, %WHICH)
return loss = %loss, g = %g
"""


def test_what_has_no_rule_may_stand_where_no_gradient_goes() -> None:
    y = np.array([1.0, 2.0, 3.0])
    text = BRANCH.replace("WHICH", "x").replace(SPAN, "")
    expected(from_text(text), {"x": X, "y": y, "c": np.array(True)}, g=np.exp(y))


@pytest.mark.parametrize(("span", "where"), [(SPAN, " at model.net:7:3"), ("", "")])
def test_what_a_body_captures_leads_to_its_operator(span: str, where: str) -> None:
    text = BRANCH.replace("WHICH", "y").replace(SPAN, span)
    with pytest.raises(NotDifferentiable) as caught:
        differentiate(from_text(text))
    assert caught.value.node.op == "If"
    message = str(caught.value)
    assert message.startswith(f"a gradient is wanted through If{where}") and message.endswith("no rule for it")
    assert (" at " in message) == bool(span)


def test_a_shape_that_an_imported_node_computes_need_not_be_known_where_the_rule_reads_none() -> None:
    text = """graph g(%x: f64[6], %s: i64[2])
    %k: i64[2] = Constant(2, 3)
    %a: f64[2, 3] = Reshape(%x, %k) {declared = [f64[2, 3]]}
    %b: f64[2, 3] = Exp(%a)
    %loss: f64[] = ReduceSum(%b) {keepdims = 0}
    %g: f64[6] = dlc.Gradient(%loss, %x)
    return g = %g
    """
    x = np.linspace(-1, 1, 6)
    expected(from_text(text), {"x": x, "s": np.array([2, 3])}, g=np.exp(x))
    fed = text.replace("Reshape(%x, %k)", "Reshape(%x, %s)")
    expected(from_text(fed), {"x": x, "s": np.array([2, 3])}, g=np.exp(x))
    text = """graph g(%x: f64[6], %a: i64[1])
    %b: f64[6] = CumProd(%x, %a) {declared = [f64[6]]}
    %c: f64[] = ReduceSum(%b) {keepdims = 0}
    %g: f64[6] = dlc.Gradient(%c, %x)
    return g = %g
    """
    with pytest.raises(NotDifferentiable, match="through CumProd, and dlc cannot tell its shape: "):
        differentiate(from_text(text))


def test_a_body_may_read_a_gradient() -> None:
    text = SQUARE.replace("(%x: f64[B])", "(%x: f64[B], %c: bool[])").replace("return loss = %loss, g = %g\n", """\
%h: f64[B] = If(%c)
  body yes()
    %n: f64[B] = Neg(%g)
    return n = %n
  body no()
    return g = %g
return h = %h
""")
    expected(from_text(text), {"x": X, "c": np.array(True)}, h=-2 * X)
    expected(from_text(text), {"x": X, "c": np.array(False)}, h=2 * X)


def test_the_gradient_of_a_gradient() -> None:
    text = SQUARE.replace("Mul(%x, %x)", "Exp(%x)").replace("return loss = %loss, g = %g\n", """\
%p: f64[B] = Mul(%g, %x)
%q: f64[] = ReduceSum(%p) {keepdims = 0}
%h: f64[B] = dlc.Gradient(%q, %x)
return h = %h
""")
    expected(from_text(text), {"x": X}, h=np.exp(X) * (1 + X))


def test_integers_and_what_has_no_derivative_end_the_path() -> None:
    text = """graph g(%x: f64[B, 3], %i: i64[B, 1])
    %s: f64[B, 3] = Sign(%x)
    %a: f64[B, 3] = Mul(%s, %x)
    %b: f64[B, 1] = GatherElements(%a, %i) {axis = 1}
    %loss: f64[] = ReduceSum(%b) {keepdims = 0}
    %g: f64[B, 3] = dlc.Gradient(%loss, %x)
    return loss = %loss, g = %g
    """
    x = np.array([[0.5, -1.5, 2.0], [-1.0, 3.0, -4.0]])
    i = np.array([[1], [2]])
    expected(from_text(text), {"x": x, "i": i}, g=[[0, -1, 0], [0, 0, -1]])


def test_broadcasting_is_undone() -> None:
    text = """graph g(%x: f64[B, 3], %y: f64[3], %s: f64[])
    %a: f64[B, 3] = Mul(%x, %y)
    %b: f64[B, 3] = Div(%a, %s)
    %e: f64[B, 3] = Tanh(%b)
    %loss: f64[] = ReduceSum(%e) {keepdims = 0}
    %gx: f64[B, 3] = dlc.Gradient(%loss, %x)
    %gy: f64[3] = dlc.Gradient(%loss, %y)
    %gs: f64[] = dlc.Gradient(%loss, %s)
    return loss = %loss, gx = %gx, gy = %gy, gs = %gs
    """
    x, y, s = np.array([[0.5, -0.2, 0.3], [0.1, 0.4, -0.6]]), np.array([1.0, 2.0, 0.5]), np.array(1.5)
    slope = 1 - np.tanh(x * y / s) ** 2
    feeds = {"x": x, "y": y, "s": s}
    gs = -(slope * x * y / s**2).sum()
    expected(from_text(text), feeds, gx=slope * y / s, gy=(slope * x / s).sum(0), gs=gs)


@pytest.mark.parametrize(("name", "wrong"), [
    ("Exp", lambda node, x: op.ReduceSum(x, keepdims=0)),
    ("Mul", lambda node, x: op.Cast(x, to="f32")),
])  # fmt: skip
def test_a_rule_that_gives_another_type_is_a_mistake_of_the_compiler(
    name: str, wrong: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an elementwise operator a broadcast is undone, of another nothing is, and no element type is changed."""
    module = importlib.import_module("dlc.compiler.passes.differentiate")
    original = module.cotangents

    def cotangents(node: Node, gs: Any) -> Any:
        return [wrong(node, node.inputs[0])] if node.op == name else original(node, gs)

    monkeypatch.setattr(module, "cotangents", cotangents)
    text = SQUARE.replace("Mul(%x, %x)", "Mul(%x, %x)" if name == "Mul" else "Exp(%x)")
    with pytest.raises(AssertionError, match=f"the gradient rule of {name} gives"):
        differentiate(from_text(text))


def test_an_expansion_of_another_type_is_a_mistake_of_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    from dlc.compiler.registry import Expansion

    monkeypatch.setattr(operators()["Swish"], "gradient", Expansion(lambda node, *_: op.ReduceSum(*node.inputs)))
    with pytest.raises(AssertionError, match="the expansion of Swish gives"):
        differentiate(from_text(SQUARE.replace("Mul(%x, %x)", "Swish(%x)")))
