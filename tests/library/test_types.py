"""Types, shapes and broadcasting, section 6: what goes together, and what is refused instead of guessed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dlc.compiler.evaluate import evaluate
from dlc.compiler.program import Program
from dlc.compiler.types import substitute, symbols
from dlc.dsl.diagnostics import Diagnostic, SourceError

RNG = np.random.default_rng(0)
KINDS: dict[str, Any] = {"f32": np.float64, "i64": np.int64, "i32": np.int32, "bool": np.bool_, "u8": np.uint8}


def net(inputs: str, body: str) -> str:
    return f"net it {{\n  input {inputs}\n  return {body}\n}}\n"


def found(inputs: str, body: str) -> tuple[str, str]:
    """The type of what the net gives, and its value's type in numpy."""
    graph = Program.of_text(net(inputs, body)).net("it", working="f64").graph
    feeds = {}
    for value, name in zip(graph.inputs, graph.input_names, strict=True):
        shape = [dim if isinstance(dim, int) else 3 for dim in value.shape]
        dtype = np.float64 if value.dtype == "f64" else KINDS[value.dtype]
        feeds[name] = RNG.integers(0, 2, shape).astype(dtype)
    [(name, result)] = evaluate(graph, feeds).items()
    type = graph.outputs[name].type
    sizes = dict.fromkeys((name for dim in type.shape for name in symbols(dim)), 3)
    assert result.shape == tuple(substitute(dim, sizes) for dim in type.shape)
    return str(type).replace("f64", "f32"), str(result.dtype)


def problem(text: str) -> Diagnostic:
    with pytest.raises(SourceError) as caught:
        Program.of_text(text).check()
    return caught.value.diagnostics[0]


BROADCASTS = {
    "[B, T, D] + [D]": ("f32[B, 2, 4]", "f32[4]", "f32[B, 2, 4]"),
    "[N, 1] - [1, N]": ("f32[5, 1]", "f32[1, 5]", "f32[5, 5]"),
    "YOLO's cells": ("f32[B, 10, 10, 5, 2]", "f32[10, 10, 1, 2]", "f32[B, 10, 10, 5, 2]"),
    "a scalar": ("f32[B, 4]", "f32[]", "f32[B, 4]"),
    "a scalar first": ("f32[]", "f32[B, 4]", "f32[B, 4]"),
    "same": ("f32[B, T]", "f32[B, T]", "f32[B, T]"),
    "a 1 that is written": ("f32[B, 1]", "f32[B, 4]", "f32[B, 4]"),
    "a smaller one that stretches": ("f32[B, 3, 4]", "f32[1, 4]", "f32[B, 3, 4]"),
    "B against a written 1": ("f32[B, T]", "f32[1, T]", "f32[B, T]"),
}
REFUSED = {
    "the silent square": ("f32[B, 1]", "f32[B]", "E0304"),
    "[B] * [B, T]": ("f32[B]", "f32[B, T]", "E0301"),
    "B is never T": ("f32[B]", "f32[T]", "E0301"),
    "nor does it stretch": ("f32[B, T]", "f32[B, S]", "E0301"),
    "numbers": ("f32[B, 3]", "f32[B, 4]", "E0301"),
    "B is not 1": ("f32[B, 4]", "f32[5, 4]", "E0301"),
    "the bigger shape never grows": ("f32[2, 1, 4]", "f32[3, 4]", "E0304"),
    "integers and floats": ("f32[B, 4]", "i64[B, 4]", "E0302"),
    "two kinds of integers": ("i32[B]", "i64[B]", "E0302"),
}


@pytest.mark.parametrize("name", BROADCASTS)
@pytest.mark.parametrize("sign", ["+", "*", "<"])
def test_what_goes_together(name: str, sign: str) -> None:
    left, right, result = BROADCASTS[name]
    wanted = result.replace("f32", "bool") if sign == "<" else result
    assert found(f"x: {left}, y: {right}", f"x {sign} y")[0] == wanted
    assert found(f"x: {left}, y: {right}", f"y {sign} x")[0] == wanted


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not(name: str) -> None:
    left, right, code = REFUSED[name]
    for a, b in (("x", "y"), ("y", "x")):
        assert problem(net(f"x: {left}, y: {right}", f"{a} - {b}")).code == code


def test_where_minimum_and_power_follow_the_same_rules() -> None:
    for body in ("where(x > 0, x, y)", "minimum(x, y)", "maximum(y, x)"):
        assert found("x: f32[B, 4], y: f32[4]", body)[0] == "f32[B, 4]"
        assert problem(net("x: f32[B, 1], y: f32[B]", body)).code in ("E0301", "E0304")


RESULTS = {
    "literals adapt": ("x: i64[B]", "x + 1", "i64[B]"),
    "literals adapt to floats": ("x: f32[B]", "x + 1", "f32[B]"),
    "comparisons": ("x: f32[B]", "x <= 2", "bool[B]"),
    "equality": ("x: i64[B]", "x == 2", "bool[B]"),
    "logic": ("x: f32[B]", "x > 0 and not (x > 1) or x == 5", "bool[B]"),
    "a quotient is a float": ("x: i64[B]", "x / 2", "f32[B]"),
    "floors": ("x: i64[B]", "x // 2", "i64[B]"),
    "remainders": ("x: i64[B]", "x % 2", "i64[B]"),
    "sums of truth values count": ("x: bool[B, 4]", "sum(x, axis=-1)", "f32[B]"),
    "so do means": ("x: bool[B, 4]", "mean(x, axis=-1)", "f32[B]"),
    "argmax": ("x: f32[B, 4]", "argmax(x)", "i64[B]"),
    "of a dimension's name": ("x: f32[B, T, 4]", "sum(x, axis=T)", "f32[B, 4]"),
    "dimensions are numbers": ("x: f32[B, T, 4]", "sum(x, axis=1) / T", "f32[B, 4]"),
    "slices": ("x: f32[B, 6]", "x[:, 1:5]", "f32[B, 4]"),
    "negative slices": ("x: f32[B, 6]", "x[:, :-1]", "f32[B, 5]"),
    "new axes": ("x: f32[B, 6]", "x[:, none, 0]", "f32[B, 1]"),
    "flatten multiplies": ("x: f32[B, 2, 3, 4]", "flatten(x)", "f32[B, 24]"),
    "concat adds": ("x: f32[B, T, 4]", "concat([x, x], axis=1)", "f32[B, 2*T, 4]"),
    "pools divide": ("x: f32[B, 3, 8, 6]", "max_pool(x, 2)", "f32[B, 3, 4, 3]"),
    "global pools": ("x: f32[B, 3, 8, 6]", "global_avg_pool(x)", "f32[B, 3]"),
    "split": ("x: f32[B, 6]", "split(x, 3)[1]", "f32[B, 2]"),
    "gather selects rows": ("x: f32[5, 4], i: i64[B, 2]", "gather(x, i % 5)", "f32[B, 2, 4]"),
    "gelu": ("x: f32[B]", "gelu(x)", "f32[B]"),
}  # fmt: skip


@pytest.mark.parametrize("name", RESULTS)
def test_types_of_results(name: str) -> None:
    inputs, body, type = RESULTS[name]
    shown, dtype = found(inputs, body)
    assert shown == type
    assert dtype == {"f32": "float64", "i64": "int64", "bool": "bool"}[type.split("[")[0]]


@pytest.mark.parametrize(("inputs", "body", "code"), [
    ("x: f32[B]", "x and x", "E0302"), ("x: f32[B]", "not x", "E0302"), ("x: i64[B]", "x + 0.5", "E0302"),
    ("x: i64[B]", "exp(x)", "E0302"), ("x: f32[B, 4]", "x[:, 7]", "E0303"), ("x: f32[B, 4]", "sum(x, axis=2)", "E0303"),
    ("x: f32[B, 4]", "sum(x, axis=D)", "E0201"), ("x: f32[B, T, T]", "sum(x, axis=T)", "E0303"),
    ("x: f99[B]", "x", "E0302"), ("x: f32[B, 2.5]", "x", "E0302"), ("x: f32[B, -3]", "x", "E0310"),
    ("x: f32[B, 4], y: f32[B, 3]", "mse(x, y)", "E0311"), ("x: f32[B, 1], y: f32[B]", "mse(x, y)", "E0311"),
])  # fmt: skip
def test_what_is_refused(inputs: str, body: str, code: str) -> None:
    assert problem(net(inputs, body)).code == code


def test_assertions_hold_while_compiling() -> None:
    text = 'net it {\n  input x: f32[B, 6]\n  assert size(x, 1) % 4 == 0, "four by four"\n  return x\n}\n'
    refused = problem(text)
    assert (refused.code, refused.message, refused.primary.text) == ("E0311", "four by four", "this is false")
    assert Program.of_text(text.replace("B, 6", "B, 8")).check() == ()


def test_an_assertion_about_a_size_that_is_not_known_is_not_called_false() -> None:
    refused = problem("net it {\n  input x: f32[B, 3, H, W]\n  assert H * H == 32\n  return x\n}\n")
    assert refused.code == "E0306" and refused.primary.text == "H is known only at run time"
    assert refused.help and "`H == W`" in refused.help


def test_sizes_that_are_equal_in_normal_form() -> None:
    assert found("x: f32[B, T, 4]", 'rearrange(x, "b t d -> (b t) d") + reshape(x, [T * B, 4])')[0] == "f32[B*T, 4]"
    assert found("x: f32[T, 4]", "concat([x, x, x], axis=0) + concat([concat([x, x], axis=0), x], axis=0)")[0] == (
        "f32[3*T, 4]"
    )
    assert problem(net("x: f32[T, 4], y: f32[S, 4]", "concat([x, x], axis=0) + concat([x, y], axis=0)")).code == "E0301"


def test_the_free_dimensions_of_a_net_are_those_of_the_data() -> None:
    text = """data d {
  train = npz("d.npz")
  x: f32[7, 4] = raw.x
  y: f32[] = raw.y
}
net it {
  input x: f32[B, T, D]
  out = mean(x, axis=1) -> Linear(1) -> squeeze(-1)
  return out
}
train it on d {
  loss = mse(out, y)
  optimizer = SGD(lr=1)
  batch = 2
  epochs = 1
}
"""
    fixed = text.replace("T, D]", "T, 4]")
    program = Program.of_text(fixed)
    assert program.check() == ()
    assert str(program.step("it").graph.input("x").type) == "f32[B, 7, 4]"
    assert program.step("it").weights["it.linear.weight"].shape == (4, 1)
    misfit = problem(fixed.replace("T, 4]", "T, 5]"))
    assert (misfit.code, misfit.message) == ("E0601", "`d.x` does not fit `it.x`")


def test_missing_leading_ones_are_added_to_a_record() -> None:
    text = "data d {\n  train = mnist_5k()\n  image: f32[1, 28, 28] = raw.image / 255\n  label: i64[]\n}\n"
    unit = Program.of_text(text).prepare("d")
    [shape] = [each.type for each in unit.graph.outputs.values() if each.type.rank]
    assert str(shape) == "f32[1, 28, 28]"
