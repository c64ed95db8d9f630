"""How values flow, who owns weights, what loops make, which names are seen: sections 3, 5.2 to 5.4 of the language."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from library_cases import body_value, gradients, mistake, value

from dlc.compiler.evaluate import evaluate
from dlc.compiler.program import Program
from dlc.dsl.diagnostics import Diagnostic, SourceError

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(3, 4)), RNG.normal(size=(3, 4))


def problem(text: str) -> Diagnostic:
    """The first mistake of a program."""
    with pytest.raises(SourceError) as caught:
        Program.of_text(text).check()
    return caught.value.diagnostics[0]


def addresses(text: str, net: str = "it") -> list[str]:
    return list(Program.of_text(text).net(net).weights)


def output(text: str, net: str = "it", **feeds: Any) -> Any:
    """The net's one output; weights that are not given are 1, and so that they differ, times 2, 3, ..."""
    unit = Program.of_text(text).net(net, working="f64")
    given = {address: np.full(type.static_shape(), 1.0 + at) for at, (address, type) in enumerate(unit.weights.items())}
    [result] = evaluate(unit.graph, {**given, **feeds}).values()
    return result


ARROWS: dict[str, tuple[str, Any]] = {
    "call": ("x -> relu", np.maximum(X, 0)),
    "first argument": ("x -> clip(-0.5, 0.5)", np.clip(X, -0.5, 0.5)),
    "named": ("x -> softmax(axis=0)", np.exp(X) / np.exp(X).sum(0)),
    "loosest": ("x + y -> relu", np.maximum(X + Y, 0)),
    "grouped": ("(x -> relu) + y", np.maximum(X, 0) + Y),
    "chain": ("x -> relu -> exp -> log", np.maximum(X, 0)),
    "as": ("(x -> exp as e -> log) * 0 + e", np.exp(X)),
    "fan out": ("x -> [relu, exp -> log, identity] -> concat(axis=1)", np.concatenate([np.maximum(X, 0), X, X], 1)),
    "list": ("[x, y] -> concat(axis=0)", np.concatenate([X, Y], 0)),
    "conditional": ("x if 2 > 1 else y", X),
    "stage by condition": ("x -> (relu if false else exp)", np.exp(X)),
    "repeat": ("x -> repeat 3 { square }", X**8),
    "repeat nothing": ("x -> repeat 0 { square }", X),
    "for": ("x -> for a in [1, 2, 3] { clip(-1 / a, 1 / a) }", np.clip(X, -1 / 3, 1 / 3)),
    "for pairs": ("x -> for n, a in [(1, 0.5), (2, 2.0)] { repeat n { square } -> clip(0, a) }",
                  np.clip(np.clip(X**2, 0, 0.5) ** 4, 0, 2)),
    "comprehension": ("[x ** n for n in [1, 2, 3]] -> concat(axis=1)", np.concatenate([X, X**2, X**3], 1)),
    "zip": ("[a * w for a, w in zip([x, y], [2, 3])] -> stack(axis=0)", np.stack([2 * X, 3 * Y])),
    "range": ("x * sum([n for n in range(4)])", 6 * X),
    "mean of numbers": ("x * mean([1, 2, 6])", 3 * X),
    "extremes": ("x * (max([1, 4]) - min([1, 4]))", 3 * X),
    "len": ("x * len([1, 2, 3])", 3 * X),
    "power": ("-x ** 2", -(X**2)),
    "index": ("[x, y][1]", Y),
}  # fmt: skip


@pytest.mark.parametrize("name", ARROWS)
def test_arrows_and_loops(name: str) -> None:
    expression, expected = ARROWS[name]
    # Both are read, so that both are inputs.
    np.testing.assert_allclose(value(f"({expression}) + 0 * sum(y) + 0 * sum(x)", x=X, y=Y), expected, rtol=1e-12)


@pytest.mark.parametrize("sign", ["+", "-", "*", "/", "@", "<"])
def test_a_pipeline_swallows_only_stages(sign: str) -> None:
    assert mistake(f"x -> relu {sign} x", x=X).code == "E0110"


def test_functions_are_inlined_and_own_nothing() -> None:
    text = """
fn scaled(x, by=2) = x * by
fn both(a, b) {
  s = scaled(a)
  t = b -> scaled(by=3)
  return s + t
}
net it {
  input x: f32[B, 4], y: f32[B, 4]
  return both(x, y) - scaled(x)
}
"""
    assert addresses(text) == []
    np.testing.assert_allclose(output(text, x=X, y=Y), 3 * Y, rtol=1e-12)


@pytest.mark.parametrize("fn", [
    "fn f(x, layer=none) = x -> Linear(3)",
    "fn f(x, layer=none) = x -> repeat 2 { Linear(4) -> relu }",
    "fn f(x, layer=none) {\n  a = Linear(3)\n  return a(x)\n}",
    "fn f(x, layer=none) {\n  param w: f32[4] = ones\n  return x * w\n}",
    "fn f(x, layer=none) {\n  state s: f32[4] = ones\n  return x * s\n}",
])  # fmt: skip
def test_a_function_makes_no_weights_but_takes_who_owns_some(fn: str) -> None:
    net = "\nnet it {\n  input x: f32[B, 4]\n  return f(x)\n}\n"
    found = problem(fn + net)
    assert found.code == "E0204" and "a `fn` owns nothing" in found.message
    given = "fn f(x, layer) = x -> layer -> layer" + net.replace("f(x)", "f(x, Linear(4))")
    assert addresses(given) == ["it.linear.weight", "it.linear.bias"]


def test_a_capital_makes_new_weights_and_a_small_letter_never() -> None:
    text = """
net it {
  input x: f32[B, 4]
  enc = Linear(4)
  return x -> enc -> enc -> Linear(4) -> Linear(4, bias=false) as last
}
"""
    assert addresses(text) == [
        "it.enc.weight", "it.enc.bias", "it.linear.weight", "it.linear.bias", "it.last.weight",
    ]  # fmt: skip
    y = X
    for w, b in ((1, 2), (1, 2), (3, 4), (5, 0)):
        y = y @ np.full((4, 4), w) + b
    np.testing.assert_allclose(output(text, x=X), y, rtol=1e-12)


def test_a_net_is_one_instance_wherever_it_is_called() -> None:
    text = """
net half {
  input x: f32[B, 4]
  return x -> Linear(4)
}
net it {
  input x: f32[B, 4], y: f32[B, 4]
  return half(x) * half(y)
}
"""
    assert addresses(text) == ["half.linear.weight", "half.linear.bias"]
    np.testing.assert_allclose(
        output(text, x=X, y=Y), (X.sum(1, keepdims=True) + 2) * (Y.sum(1, keepdims=True) + 2) * np.ones(4)
    )


def test_loops_make_new_weights_every_time_round() -> None:
    text = """
net it {
  input x: f32[B, 4]
  return x -> repeat 2 { Linear(4, bias=false) } -> for n in [5, 6] { Linear(n, bias=false) } as tail
    -> [Linear(2, bias=false), Linear(2, bias=false)] -> concat(axis=-1)
}
"""
    assert addresses(text) == [
        "it.repeat[0].linear.weight", "it.repeat[1].linear.weight", "it.tail[0].linear.weight",
        "it.tail[1].linear.weight", "it.linear.weight", "it.linear2.weight",
    ]  # fmt: skip
    several = text.replace("repeat 2", "repeat 1 { tanh } -> repeat 2").replace(" as tail", "")
    assert addresses(several)[:3] == [
        "it.repeat2[0].linear.weight", "it.repeat2[1].linear.weight", "it.for[0].linear.weight",
    ]  # fmt: skip


def test_comprehensions_make_new_weights_too() -> None:
    text = "net it {\n  input x: f32[B, 4]\n  return [x -> Linear(3, bias=false) for n in range(3)] -> concat\n}\n"
    names = addresses(text)
    assert len(names) == 3 and len(set(names)) == 3
    np.testing.assert_allclose(output(text, x=X), X.sum(1, keepdims=True) * np.repeat([1, 2, 3], 3))


SETTINGS = """
block Layer(units, Norm=LayerNorm, f=none, memory=none) {
  input x
  h = x -> Linear(units, bias=false) -> Norm
  g = f(h) if f != none else h
  return g * memory if memory != none else g
}
net it {
  input x: f32[B, 4], y: f32[B, 4]
  shared = Linear(4, bias=false)
  return x -> USE
}
"""


def test_settings_are_values_templates_instances_and_tensors() -> None:
    def names(use: str) -> list[str]:
        return [name.removeprefix("it.") for name in addresses(SETTINGS.replace("USE", use))]

    norm = ["layer.linear.weight", "layer.layer_norm.weight", "layer.layer_norm.bias"]
    assert names("Layer(4)") == norm
    assert names("Layer(4, Norm=L2Norm)") == ["layer.linear.weight", "layer.l2_norm.weight"]
    assert names("Layer(4, f=shared) -> Layer(4, f=shared)") == [
        *norm, "shared.weight", *(name.replace("layer.", "layer2.", 1) for name in norm),
    ]  # fmt: skip
    assert names("repeat 2 { Layer(4, memory=y) }") == [f"repeat[{n}].{name}" for n in (0, 1) for name in norm]


def test_a_tensor_setting_is_captured() -> None:
    text = """
block Gate(memory) {
  input x: f32[B, D]
  return x * memory
}
net it {
  input x: f32[B, 4], y: f32[B, 4]
  return x -> repeat 2 { Gate(memory=y) }
}
"""
    np.testing.assert_allclose(output(text, x=X, y=Y), X * Y * Y, rtol=1e-12)


@pytest.mark.parametrize(("call", "code"), [
    ("Layer(4, Nrom=L2Norm)", "E0203"), ("Layer", "E0205"), ("Layer(4, 4, 4, 4, 4)", "E0205"),
    ("Layer(4, units=4)", "E0205"), ("layer(4)", "E0201"), ("Layer(4, f=Linear)", "E0302"),
])  # fmt: skip
def test_settings_that_are_wrong(call: str, code: str) -> None:
    assert problem(SETTINGS.replace("USE", call)).code == code


def test_a_name_is_given_once_in_a_body() -> None:
    assert problem("net it {\n  input x: f32[B, 4]\n  h = x -> relu\n  h = h -> relu\n  return h\n}\n").code == "E0202"
    assert problem("net it {\n  input x: f32[B, 4]\n  x = x -> relu\n  return x\n}\n").code == "E0202"
    assert problem("net it {\n  input x: f32[B, 4]\n  y = x -> relu as y\n  return y\n}\n").code == "E0202"


def test_what_may_be_shadowed() -> None:
    """The library's names by anyone; names of the file by settings, parameters and comprehension variables alone."""
    found = body_value(
        "  mean = x * 2\n  relu = mean + 1\n  return relu + sum([n * a for n in [1, 2]]) + block_like(1)",
        "let a = 10\nlet n = 100\nfn block_like(a) = a\n",
        x=X,
    )
    np.testing.assert_allclose(found, 2 * X + 1 + 30 + 1, rtol=1e-12)
    assert problem("let a = 3\nnet it {\n  input x: f32[B, 4]\n  a = x * 2\n  return a\n}\n").code == "E0202"
    assert problem("let a = 3\nfn a(x) = x\nnet it {\n  input x: f32[B, 4]\n  return x\n}\n").code == "E0202"


def test_inner_bodies_see_outer_names() -> None:
    text = """
let width = 3
net it {
  input x: f32[B, D]
  double = 2 * x
  return x -> repeat 1 { Linear(width, bias=false) } -> square -> sum(axis=-1) -> sqrt
}
"""
    assert problem(text.replace("double = 2 * x\n", "").replace("[B, D]", "[B, nothing]")).code == "E0201"
    assert Program.of_text(text.replace("B, D", "B, 4")).net("it").weights["it.repeat[0].linear.weight"].shape == (4, 3)


def test_dimensions_are_bound_by_an_input_and_are_numbers() -> None:
    text = """
net it {
  input x: f32[B, T, D], y: f32[B, D]
  return sum(x, axis=1) / T + y * D
}
"""
    x = RNG.normal(size=(3, 5, 4))
    np.testing.assert_allclose(output(text, x=x, y=Y), x.mean(1) + 4 * Y, rtol=1e-12)
    asked = text.replace("y: f32[B, D]", "y: f32[B, T]").replace("y * D", "y[:, 0:1] * D")
    assert (
        Program.of_text(asked).net("it").graph.input("y").type.shape[1]
        == Program.of_text(asked).net("it").graph.input("x").type.shape[1]
    )


@pytest.mark.parametrize(("declared", "given", "code"), [
    ("f32[B, 4]", "f32[B, 5]", "E0301"), ("f32[B, D, D]", "f32[B, 3, 4]", "E0301"), ("f32[B, 4]", "i64[B, 4]", "E0301"),
    ("f32[B, 4]", "f32[B, 4, 1]", "E0301"), ("[B, 4]", "i64[B, 4]", None), ("f32[..., D]", "f32[B, 2, 3, 4]", None),
    ("f32[B, 2 * D, D]", "f32[B, 8, 4]", None), ("f32[B, D, D + 1]", "f32[B, 4, 5]", None),
    ("f32[B, D, D + 1]", "f32[B, 4, 6]", "E0301"),
])  # fmt: skip
def test_inputs_of_blocks_check_their_types(declared: str, given: str, code: str | None) -> None:
    text = f"""
block Take {{
  input x: {declared}
  return x
}}
net it {{
  input x: {given}
  return x -> Take
}}
"""
    if code is None:
        assert (
            Program.of_text(text).net("it").graph.outputs["output"].type
            == Program.of_text(text).net("it").graph.input("x").type
        )
    else:
        assert problem(text).code == code


def test_an_expression_may_stand_before_the_name_that_it_reads() -> None:
    text = "net it {\n  input x: f32[2 * D + 1, D]\n  return sum(x) * D\n}\n"
    np.testing.assert_allclose(output(text, x=np.ones((9, 4))), 9 * 4 * 4)
    assert problem(text.replace("2 * D + 1, D", "2 * E, D")).code == "E0201"


def test_a_part_is_called_by_the_setting_that_it_was_passed_through() -> None:
    text = """
block Layer(f) {
  input x: f32[B, D]
  return f(x)
}
net it {
  input x: f32[B, 4]
  return x -> Layer(Linear(4)) -> Layer(f=Linear(4, bias=false)) as second
}
"""
    assert addresses(text) == ["it.layer.f.weight", "it.layer.f.bias", "it.second.f.weight"]


def test_a_tied_embedding_is_one_weight_that_learns_from_both_uses() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here; it comes with the extra `peers`")
    table, words = RNG.normal(size=(7, 4)), RNG.integers(0, 7, (3, 5))
    body = (
        "  embed = Embedding(7, 4)\n  h = words -> embed -> mean(axis=1)\n"
        "  y = h @ transpose(embed.table)\n  return y"
    )
    ours = gradients(body, "mean(square(y))", {"it.embed.table": table}, words=words)
    assert [name for name in ours if name.endswith(":grad")] == ["it.embed.table:grad"]
    weight = torch.tensor(table, requires_grad=True)
    (weight[torch.tensor(words)].mean(1) @ weight.T).square().mean().backward()
    np.testing.assert_allclose(ours["it.embed.table:grad"], weight.grad.numpy(), rtol=1e-10)
