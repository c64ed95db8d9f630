"""Facts about sizes that only a run tells: what they decide, and that a run in which they do not hold stops."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnxruntime
import pytest

from dlc.compiler.dims import quotient, solved, substitute, symbol
from dlc.compiler.emit import serialized
from dlc.compiler.products import unit_model
from dlc.compiler.program import Program
from dlc.dsl.diagnostics import SourceError

RNG = np.random.default_rng(0)
UNET = """net unet {
  input image: f32[B, 3, H, W]
  assert H % 4 == 0
  assert W % 4 == 0, "widths are multiples of four"
  wide = image -> Conv(4, 3, pad=1)
  half = wide -> Conv(6, 3, stride=2, pad=1) -> relu
  deep = half -> max_pool(2) -> Conv(8, 3, pad=1) -> relu
  up   = deep -> ConvTranspose(6, 2, stride=2)
  both = concat([up, half], axis=1) -> ConvTranspose(4, 2, stride=2)
  return both + wide -> Conv(1, 1)
}
"""


FACTS = re.compile(r"  assert .*\n")


def session(text: str, name: str) -> onnxruntime.InferenceSession:
    program = Program.of_text(text)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(serialized(unit_model(program, program.net(name))), options)


def run(opened: onnxruntime.InferenceSession, weights: dict[str, Any], **inputs: Any) -> Any:
    return opened.run(None, weights | inputs)[0]


def weights_of(opened: onnxruntime.InferenceSession) -> dict[str, Any]:
    known = [each for each in opened.get_inputs() if all(isinstance(size, int) for size in each.shape)]
    return {each.name: RNG.normal(size=each.shape).astype(np.float32) for each in known}


def told(text: str) -> tuple[str, str]:
    with pytest.raises(SourceError) as caught:
        Program.of_text(text).check()
    return caught.value.diagnostics[0].code, caught.value.diagnostics[0].primary.text


def test_a_net_that_halves_and_doubles() -> None:
    opened = session(UNET, "unet")
    fixed = session(FACTS.sub("", UNET).replace("H, W", "8, 12"), "unet")
    weights, image = weights_of(opened), RNG.normal(size=(2, 3, 8, 12)).astype(np.float32)
    np.testing.assert_allclose(run(opened, weights, image=image), run(fixed, weights, image=image), atol=1e-4)
    assert opened.get_inputs()[-1].shape == ["B", 3, "H", "W"]
    assert told(FACTS.sub("", UNET))[0] == "E0301"


@pytest.mark.parametrize(("size", "words"), [((9, 12), r"H % 4 == 0: unet\.image"), ((8, 10), "multiples of four")])
def test_a_run_in_which_it_does_not_hold_stops_at_its_name(size: tuple[int, int], words: str) -> None:
    opened = session(UNET, "unet")
    with pytest.raises(Exception, match=words):
        run(opened, weights_of(opened), image=np.zeros((1, 3, *size), np.float32))


def test_sizes_that_are_equal() -> None:
    text = "net it {\n  input x: f32[B, T], y: f32[B, S]\n  assert T == S\n  return x + y\n}\n"
    opened = session(text, "it")
    x, y = RNG.normal(size=(2, 2, 5)).astype(np.float32)
    np.testing.assert_array_equal(run(opened, {}, x=x, y=y), x + y)
    with pytest.raises(Exception, match="assert T == S"):
        run(opened, {}, x=x, y=y[:, :1])  # which would broadcast
    assert told(text.replace("  assert T == S\n", ""))[0] in ("E0301", "E0305")


def test_an_input_after_the_assertion_has_the_same_form() -> None:
    text = """net it {
  input x: f32[B, T]
  assert T % 2 == 0
  input y: f32[B, T]
  return rearrange(x * y, "b (t two) -> b t two", two=2)
}
"""
    opened = session(text, "it")
    x, y = RNG.normal(size=(2, 3, 6)).astype(np.float32)
    np.testing.assert_array_equal(run(opened, {}, x=x, y=y), (x * y).reshape(3, 3, 2))


def test_a_size_that_is_known_is_decided_while_compiling() -> None:
    text = UNET.replace("net unet", "block Unet") + "net n {\n  input x: f32[B, 3, 8, 12]\n  return x -> Unet\n}\n"
    assert Program.of_text(text).check() == ()
    assert told(text.replace("12]", "10]")) == ("E0311", "this is false")


@pytest.mark.parametrize("condition", [
    "H * W == 64", "2 * H == 3 * W", "not H == W", "H != 30", "H % 4 != 1", "H == 3 or W == 3", "size(x, 1) * H == 4",
])  # fmt: skip
def test_what_is_no_equation_for_a_size(condition: str) -> None:
    text = f"net it {{\n  input x: f32[B, H, W]\n  assert {condition}\n  return x\n}}\n"
    assert told(text) == ("E0306", "H is known only at run time")


@pytest.mark.parametrize("condition", ["H == 'a'", "H == H + 1", "not H == H", "H == 3 and 1 == 2", "1 == 2 or H != H"])
def test_what_is_false_whatever_a_run_tells(condition: str) -> None:
    text = f"net it {{\n  input x: f32[B, H, W]\n  assert {condition}\n  return x\n}}\n"
    assert told(text.replace("'", '"')) == ("E0311", "this is false")


@pytest.mark.parametrize("condition", ["H == H", "H + 1 != H", "1 == 1 or H == 3", "not (1 == 2 and H == 3)"])
def test_what_is_true_whatever_a_run_tells(condition: str) -> None:
    text = f"net it {{\n  input x: f32[B, H, W]\n  assert {condition}\n  return x\n}}\n"
    assert list(Program.of_text(text).net("it").graph.nodes) == []


@pytest.mark.parametrize(("facts", "good", "bad"), [
    (["H % 4 == 0 and W % 4 == 0"], (8, 4), (8, 6)),
    (["H % 4 == 0", "H % 8 == 0"], (8, 3), (12, 3)),
    (["H % 2 == 0", "(H // 2) % 2 == 0"], (4, 3), (6, 3)),
    (["2 * H == 64"], (32, 1), (31, 1)),
    (["size(x, 2) % 4 == 0"], (1, 4), (1, 5)),
    (["W == 2 * H"], (2, 4), (2, 5)),
    (["W == H"], (2, 2), (2, 1)),
    (["H % 3 == 1"], (4, 2), (5, 2)),
])  # fmt: skip
def test_facts_are_checked_at_run_time(facts: list[str], good: tuple[int, int], bad: tuple[int, int]) -> None:
    asserted = "\n".join(f"  assert {fact}" for fact in facts)
    opened = session(f"net it {{\n  input x: f32[B, H, W]\n{asserted}\n  return x -> flatten\n}}\n", "it")
    x = RNG.normal(size=(2, *good)).astype(np.float32)
    np.testing.assert_array_equal(run(opened, {}, x=x), x.reshape(2, -1))
    with pytest.raises(Exception, match="/assert"):
        run(opened, {}, x=np.zeros((2, *bad), np.float32))


def test_what_is_said_too_late_is_refused() -> None:
    text = "net it {\n  input x: f32[B, 1, H, W]\n  y = max_pool(x, 2)\n  assert H % 4 == 0\n  return y\n}\n"
    with pytest.raises(SourceError, match="comes before what is computed"):
        Program.of_text(text).check()


def test_blocks_that_halve_again_and_again() -> None:
    text = """block Down {
  input x: f32[B, C, H, W]
  assert H % 2 == 0
  assert W % 2 == 0
  return max_pool(x, 2)
}
net it {
  input x: f32[B, 1, H, W]
  assert H % 8 == 0
  y = x -> repeat 3 { Down }
  return upsample(y, 8)
}
"""
    opened = session(text, "it")
    assert run(opened, {}, x=np.zeros((1, 1, 16, 8), np.float32)).shape == (1, 1, 16, 8)
    assert opened.get_outputs()[0].shape[:2] == ["B", 1]
    for size, words in (((12, 8), "assert H % 8 == 0"), ((8, 12), r"assert W % 2 == 0: it\.repeat\[2\]\.down\.x")):
        with pytest.raises(Exception, match=words):
            run(opened, {}, x=np.zeros((1, 1, *size), np.float32))


def test_what_is_returned_has_the_sizes_outside_again() -> None:
    text = """block Half {
  input x: f32[B, D]
  assert B % 2 == 0
  return x -> Linear(D)
}
net it {
  input x: f32[B, 4]
  return x + (x -> Half)
}
"""
    graph = Program.of_text(text).net("it").graph
    assert [str(value.type) for value in graph.outputs.values()] == ["f32[B, 4]"]


def test_a_train_section_asserts_only_what_is_known() -> None:
    text = """data d {
  train = iris()
  features: f32[4] = raw.features
  label: i64[] = raw.label
}
net it {
  input features: f32[B, 4]
  assert B % 2 == 0
  logits = features -> Linear(3)
  return logits
}
train it on d {
  loss = cross_entropy(logits, label)
  optimizer = SGD(0.1)
  batch = 10
  epochs = 1
}
"""
    assert Program.of_text(text).check() == ()
    refused = text.replace("  batch = 10\n", "  assert B % 5 == 0\n  batch = 10\n")
    assert told(refused)[0] == "E0306"


def test_terms_of_dimensions_have_one_form() -> None:
    H, W = symbol("H"), symbol("W")
    assert quotient(quotient(H, 2), 2) == quotient(H, 4) == quotient(2 * H, 8) == quotient(2 * H + 1, 8)
    assert quotient(quotient(H, 2) + 1, 2) == quotient(H + 2, 4)
    assert quotient(quotient(H, 2) + W, 2) == quotient(H + 2 * W, 4)
    assert str(quotient(quotient(H, 2) + quotient(W, 2), 3)) == "(H//2 + W//2)//3"
    assert substitute(quotient(quotient(H, 3) + 2, 5), {"H": 31}) == (31 // 3 + 2) // 5


@pytest.mark.parametrize("seed", range(20))
def test_divisions_are_those_of_numbers(seed: int) -> None:
    random = np.random.default_rng(seed)

    def grown(depth: int) -> tuple[Any, Any]:
        """A dimension of H and W, and the same by Python's integers at a place."""
        if depth == 0:
            return [(symbol("H"), lambda h, w: h), (symbol("W"), lambda h, w: w)][random.integers(2)]
        (left, f), (right, g) = grown(depth - 1), grown(depth - 1)
        a, b, c, n = (int(each) for each in random.integers(1, 7, 4))
        return quotient(a * left + b * right + c, n), lambda h, w: (a * f(h, w) + b * g(h, w) + c) // n

    dim, exact = grown(3)
    for h, w in random.integers(0, 50, (20, 2)).tolist():
        assert substitute(dim, {"H": h, "W": w}) == exact(h, w)


def test_an_equation_is_solved_for_a_size_that_stands_alone() -> None:
    H, W = symbol("H"), symbol("W")
    assert solved(H - W) == ("W", H)
    assert solved(H - 4 * quotient(H, 4)) == ("H", 4 * quotient(H, 4))
    assert solved(3 - H) == solved(6 - 2 * H) == ("H", 3)
    assert solved(H - 2 * W) == ("H", 2 * W)
    assert solved(H * W - H) is None
    assert solved(2 * H - 3 * W) is None
