"""Facts about sizes that only a run tells: what they decide, and that a run in which they do not hold stops."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnxruntime
import pytest

from dlc.compiler.dims import quotient, solved, symbol
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


@pytest.mark.parametrize(("size", "words"), [((9, 12), "assert H % 4 == 0: image"), ((8, 10), "multiples of four")])
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


@pytest.mark.parametrize("condition", ["H * W == 64", "2 * H == 3 * W", "H == W and W == 3", 'H == "a"'])
def test_what_is_no_equation_for_a_size(condition: str) -> None:
    text = f"net it {{\n  input x: f32[B, H, W]\n  assert {condition}\n  return x\n}}\n"
    assert told(text) == ("E0306", "H is known only at run time")


def test_an_equation_is_solved_for_a_size_that_stands_alone() -> None:
    H, W = symbol("H"), symbol("W")
    assert solved(H - W) == {"W": H}
    assert solved(H - 4 * quotient(H, 4)) == {"H": 4 * quotient(H, 4)}
    assert solved(3 - H) == {"H": 3}
    assert solved(H - 2 * W) == {"H": 2 * W}
    assert solved(H * W - H) is None
    assert solved(2 * H - 6) is None
