"""Functions of the library: values against numpy, gradients against PyTorch, and what they say of mistakes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from library_cases import body_value, gradients, mistake, value

from dlc.compiler.program import Program
from dlc.dsl.diagnostics import SourceError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 4, 6))
IMAGE = RNG.normal(size=(2, 4, 3, 5))
EIGHT = RNG.normal(size=(2, 8, 3))
MASK = RNG.random((3, 4, 6)) > 0.4
MASK[:, :, 2] = True
PLACE = RNG.integers(0, 6, (3, 4))


def softmax(x: Any, axis: int = -1) -> Any:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def put(x: Any, at: int, new: Any, axis: int) -> Any:
    y = np.moveaxis(x.copy(), axis, 0)
    y[at] = new
    return np.moveaxis(y, 0, axis)


def sinusoid(length: int, width: int) -> Any:
    t, i = np.arange(length)[:, None], np.arange(width)
    angle = t / 10000 ** ((i // 2 * 2) / width)
    return np.where(i % 2 == 0, np.sin(angle), np.cos(angle))


VALUES: dict[str, tuple[str, dict[str, Any], Any]] = {
    "relu6": ("relu6(4 * x)", {"x": X}, np.clip(4 * X, 0, 6)),
    "hardsigmoid": ("hardsigmoid(4 * x)", {"x": X}, np.clip(4 * X / 6 + 0.5, 0, 1)),
    "hardswish": ("hardswish(4 * x)", {"x": X}, 4 * X * np.clip(4 * X / 6 + 0.5, 0, 1)),
    "silu": ("silu(x)", {"x": X}, X / (1 + np.exp(-X))),
    "prelu": ("prelu(x, s)", {"x": IMAGE, "s": np.arange(4) / 4}, np.where(
        IMAGE > 0, IMAGE, IMAGE * (np.arange(4) / 4).reshape(4, 1, 1))),
    "ceil": ("ceil(x)", {"x": X}, np.ceil(X)),
    "round": ("round(x)", {"x": X}, np.round(X)),
    "softmax": ("softmax(x)", {"x": X}, softmax(X)),
    "softmax-axis": ("softmax(x, axis=1)", {"x": X}, softmax(X, 1)),
    "softmax-mask": ("softmax(x, mask=m)", {"x": X, "m": MASK}, softmax(np.where(MASK, X, -np.inf))),
    "softmax-none": ("softmax(x, mask=x > 100)", {"x": X}, np.full(X.shape, 1 / 6)),
    "softmax-row": ("softmax(x, mask=m[none, none])", {"x": X, "m": MASK[0, 0]},
                    softmax(np.where(MASK[0, 0], X, -np.inf))),
    "softmax-causal": ("softmax(x[:, 0:4, 0:4], causal=true)", {"x": X},
                       softmax(np.where(np.tri(4, dtype=bool), X[:, :, :4], -np.inf))),
    "softmax-both": ("softmax(x[:, 0:4, 0:4], causal=true, mask=m)", {"x": X, "m": MASK[:, :, 2:]},
                     softmax(np.where(np.tri(4, dtype=bool) & MASK[:, :, 2:], X[:, :, :4], -np.inf))),
    "log_softmax": ("exp(log_softmax(x, mask=m))", {"x": X, "m": MASK}, softmax(np.where(MASK, X, -np.inf))),
    "sum-mask": ("sum(x, axis=1, mask=m)", {"x": X, "m": MASK}, (X * MASK).sum(1)),
    "mean-mask": ("mean(x, axis=-1, mask=m)", {"x": X, "m": MASK}, (X * MASK).sum(-1) / MASK.sum(-1)),
    "mean-rows": ("mean(x, mask=m[:, :, none])", {"x": X, "m": MASK[:, :, 0]}, X[MASK[:, :, 0]].mean()),
    "max-mask": ("max(x, axis=-1, mask=m)", {"x": X, "m": MASK}, np.where(MASK, X, -np.inf).max(-1)),
    "min-mask": ("min(x, axis=-1, mask=m, keep=true)", {"x": X, "m": MASK},
                 np.where(MASK, X, np.inf).min(-1)[..., None]),
    "argmax": ("argmax(x)", {"x": X}, X.argmax(-1)),
    "argmax-mask": ("argmax(x, axis=1, mask=m)", {"x": X, "m": MASK}, np.where(MASK, X, -np.inf).argmax(1)),
    "argmin": ("argmin(x, axis=0, keep=true)", {"x": X}, X.argmin(0)[None]),
    "logsumexp": ("logsumexp(x, axis=-1, mask=m)", {"x": X, "m": MASK}, np.log((np.exp(X) * MASK).sum(-1))),
    "all": ("all(m)", {"m": MASK}, MASK.all()),
    "all-axis": ("all(m, axis=1)", {"m": MASK}, MASK.all(1)),
    "any": ("any(m, axis=-1, keep=true)", {"m": ~MASK}, (~MASK).any(-1)[..., None]),
    "l2_normalize": ("l2_normalize(x)", {"x": X}, X / np.linalg.norm(X, axis=-1, keepdims=True)),
    "l2_normalize-axis": ("l2_normalize(x, axis=1)", {"x": X}, X / np.linalg.norm(X, axis=1, keepdims=True)),
    "l2_normalize-zero": ("l2_normalize(0 * x)", {"x": X}, np.zeros(X.shape)),
    "per_channel": ("per_channel(x, s, axis=-1)", {"x": X, "s": np.arange(6.0)}, X * np.arange(6)),
    "per_channel-all": (
        "per_channel(x, s, t, center=s)", {"x": IMAGE, "s": np.arange(4.0), "t": np.arange(4.0, 8)},
        (IMAGE - np.arange(4).reshape(4, 1, 1)) * np.arange(4).reshape(4, 1, 1) + np.arange(4, 8).reshape(4, 1, 1)),
    "one_hot": ("one_hot(i, 6)", {"i": PLACE}, np.eye(6)[PLACE]),
    "take": ("take(x, i)", {"x": X, "i": PLACE}, np.take_along_axis(X, PLACE[..., None], -1)[..., 0]),
    "take-axis": ("take(x, i, axis=1)", {"x": X, "i": PLACE[:, 0] % 4}, X[np.arange(3), PLACE[:, 0] % 4]),
    "put": ("put(x, i, new, axis=1)", {"x": X, "i": np.array(2), "new": X[:, 0]}, put(X, 2, X[:, 0], 1)),
    "put-number": ("put(x, 5, 0, axis=-1)", {"x": X}, put(X, 5, 0, -1)),
    "put-outside": ("put(x, 6, 0, axis=-1)", {"x": X}, X),
    "put-integers": ("put(i, 1, i[:, 0], axis=1)", {"i": PLACE}, put(PLACE, 1, PLACE[:, 0], 1)),
    "pad": ("pad(x, after=2)", {"x": X}, np.pad(X, ((0, 0), (0, 0), (0, 2)))),
    "pad-value": ("pad(x, before=1, after=2, axis=1, value=7)", {"x": X},
                  np.pad(X, ((0, 0), (1, 2), (0, 0)), constant_values=7)),
    "pad-integers": ("pad(i, before=2, value=9)", {"i": PLACE}, np.pad(PLACE, ((0, 0), (2, 0)), constant_values=9)),
    "pad-reflect": ("pad(x, before=2, after=3, axis=1, mode=\"reflect\")", {"x": X},
                    np.pad(X, ((0, 0), (2, 3), (0, 0)), mode="reflect")),
    "pad-edge": ("pad(x, before=2, mode=\"edge\")", {"x": X}, np.pad(X, ((0, 0), (0, 0), (2, 0)), mode="edge")),
    "tile": ("tile(x, 3, axis=0)", {"x": X}, np.tile(X, (3, 1, 1))),
    "tile-axis": ("tile(m, 2, axis=-1)", {"m": MASK}, np.tile(MASK, (1, 1, 2))),
    "upsample": ("upsample(x, 2)", {"x": IMAGE}, IMAGE.repeat(2, 2).repeat(2, 3)),
    "upsample-each": ("upsample(x, [1, 3])", {"x": IMAGE}, IMAGE.repeat(3, 3)),
    "stack": ("stack([x, 2 * x], axis=1)", {"x": X}, np.stack([X, 2 * X], 1)),
    "stack-last": ("stack([x, 2 * x], axis=-1)", {"x": X}, np.stack([X, 2 * X], -1)),
    "only": ("only(2, 4)", {}, np.array([-np.inf, -np.inf, 0, -np.inf])),
    "only_first": ("only_first(3)", {}, np.array([0, -np.inf, -np.inf])),
    "cells": ("cells(2, 3)", {}, np.stack([[[0, 1, 2], [0, 1, 2]], [[0, 0, 0], [1, 1, 1]]], -1)[:, :, None]),
    "corners": ("corners(x)", {"x": np.array([[4.0, 5, 2, 6]])}, np.array([[3.0, 2, 5, 8]])),
    "sinusoid": ("sinusoid(7, 8)", {}, sinusoid(7, 8)),
    "constant": ("constant([[1, 2], [3, 4.5]]) * x", {"x": X[:2, :2, 0]}, np.array([[1, 2], [3, 4.5]]) * X[:2, :2, 0]),
    "float": ("float(i) / 2", {"i": PLACE}, PLACE / 2),
    "size": ("x * maximum(size(x, 0), 2)", {"x": X}, X * 3),
    "rearrange-heads": ("rearrange(x, \"b t (h d) -> b h t d\", h=2)", {"x": X},
                        X.reshape(3, 4, 2, 3).transpose(0, 2, 1, 3)),
    "rearrange-join": ("rearrange(x, \"b t d -> b (d t)\")", {"x": X}, X.transpose(0, 2, 1).reshape(3, 24)),
    "rearrange-batch": ("rearrange(x, \"b t d -> (b t) d\")", {"x": X}, X.reshape(12, 6)),
    "rearrange-ones": ("rearrange(x, \"b t d -> b 1 t 1 d\")", {"x": X}, X[:, None, :, None]),
    "rearrange-drop": ("rearrange(x[:, 0:1], \"b 1 d -> d b\")", {"x": X}, X[:, 0].T),
    "rearrange-cells": ("rearrange(x, \"b (a k) h w -> b (h w a) k\", k=2)", {"x": IMAGE},
                        IMAGE.reshape(2, 2, 2, 3, 5).transpose(0, 3, 4, 1, 2).reshape(2, 30, 2)),
    "rearrange-three": ("rearrange(x, \"b (a c e) t -> (e b) a c t\", a=2, e=2)", {"x": EIGHT},
                        EIGHT.reshape(2, 2, 2, 2, 3).transpose(3, 0, 1, 2, 4).reshape(4, 2, 2, 3)),
    "rearrange-same": ("rearrange(x, \"a b c -> a b c\")", {"x": X}, X),
    "einsum-attention": ("einsum(x, y, \"b t d, b s d -> b t s\")", {"x": X, "y": X[:, :2] + 1},
                         np.einsum("btd,bsd->bts", X, X[:, :2] + 1)),
    "einsum-three": ("einsum(x, w, x, \"b t i, i j, b t j -> b t\")", {"x": X, "w": X[0, :, :].T @ X[0]},
                     np.einsum("bti,ij,btj->bt", X, X[0].T @ X[0], X)),
    "einsum-sum": ("einsum(x, \"batch time width -> time\")", {"x": X}, X.sum((0, 2))),
    "einsum-scalar": ("einsum(x, x, \"b t d, b t d -> \")", {"x": X}, np.square(X).sum()),
    "einsum-diagonal": ("einsum(x, \"r c i j i j -> r c i j\")", {"x": RNG.normal(size=(2, 3, 2, 4, 2, 4))}, None),
    "einsum-order": ("einsum(x, \"a b c -> c a b\")", {"x": X}, X.transpose(2, 0, 1)),
    "einsum-trace": ("einsum(x, \"b t t -> b\")", {"x": X[:, :, :4]}, np.trace(X[:, :, :4], axis1=1, axis2=2)),
}  # fmt: skip
_call, _feeds, _ = VALUES["einsum-diagonal"]
VALUES["einsum-diagonal"] = (_call, _feeds, np.einsum("rcijij->rcij", _feeds["x"]))


@pytest.mark.parametrize("name", VALUES)
def test_values(name: str) -> None:
    call, feeds, expected = VALUES[name]
    found = value(call, **feeds)
    assert found.shape == np.shape(expected)
    assert found.dtype.kind == np.asarray(expected).dtype.kind or name in ("cells", "only_first")
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_topk_gives_values_and_places() -> None:
    best, place = body_value("  best, place = topk(x, 2, axis=1)\n  return best, place", x=X)
    order = np.argsort(-X, 1)[:, :2]
    np.testing.assert_array_equal(place, order)
    np.testing.assert_array_equal(best, np.take_along_axis(X, order, 1))


def test_moments() -> None:
    mean, variance = body_value("  m, v, n = moments(x, keep_axis=1)\n  return m * n, v", x=IMAGE)
    np.testing.assert_allclose(mean, IMAGE.sum((0, 2, 3)))
    np.testing.assert_allclose(variance, IMAGE.var((0, 2, 3)))


def test_moments_keep_several_axes() -> None:
    mean, variance = body_value("  m, v, n = moments(x, keep_axis=[0, 1])\n  return m, v", x=IMAGE)
    np.testing.assert_allclose(mean, IMAGE.mean((2, 3)))
    np.testing.assert_allclose(variance, IMAGE.var((2, 3)))


def test_positions_of_a_length_that_is_known_at_run_time() -> None:
    text = "net it {\n  input x: f32[B, T, 6]\n  return x + sinusoid(T, 6)\n}\n"
    from dlc.compiler.evaluate import evaluate

    graph = Program.of_text(text).net("it", working="f64").graph
    for length in (1, 4, 9):
        x = np.zeros((2, length, 6))
        np.testing.assert_allclose(evaluate(graph, {"x": x})["output"][1], sinusoid(length, 6), atol=1e-12)


def test_causal_softmax_of_a_length_that_is_known_at_run_time() -> None:
    text = "net it {\n  input x: f32[B, T, T]\n  return softmax(x, causal=true)\n}\n"
    from dlc.compiler.evaluate import evaluate

    graph = Program.of_text(text).net("it", working="f64").graph
    for length in (1, 4):
        x = RNG.normal(size=(2, length, length))
        expected = softmax(np.where(np.tri(length, dtype=bool), x, -np.inf))
        np.testing.assert_allclose(evaluate(graph, {"x": x})["output"], expected, rtol=1e-12)


def test_patterns_with_sizes_known_at_run_time() -> None:
    from dlc.compiler.evaluate import evaluate

    text = """
net it {
  input x: f32[B, T, 6], y: f32[B, S, 6]
  q = rearrange(x, "b t (h d) -> b h t d", h=2)
  k = rearrange(y, "b s (h d) -> b h s d", d=3)
  return einsum(q, k, "b h t d, b h s d -> b h t s") -> rearrange("b h t s -> b (t h) s")
}
"""
    x, y = RNG.normal(size=(3, 5, 6)), RNG.normal(size=(3, 2, 6))
    found = evaluate(Program.of_text(text).net("it", working="f64").graph, {"x": x, "y": y})["output"]
    expected = np.einsum("bthd,bshd->bths", x.reshape(3, 5, 2, 3), y.reshape(3, 2, 2, 3)).reshape(3, 10, 2)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


TORCH: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "softmax-mask": ("softmax(z, mask=m)", lambda t, z: t.softmax(z.masked_fill(~t.tensor(MASK), -t.inf), -1)),
    "max-mask": ("max(z, axis=-1, mask=m)", lambda t, z: z.masked_fill(~t.tensor(MASK), -t.inf).amax(-1)),
    "logsumexp-mask": (
        "logsumexp(z, axis=-1, mask=m)", lambda t, z: z.masked_fill(~t.tensor(MASK), -t.inf).logsumexp(-1)
    ),
    "l2_normalize": ("l2_normalize(z, axis=1)", lambda t, z: t.nn.functional.normalize(z, dim=1)),
    "take": ("take(z, i)", lambda t, z: z.gather(-1, t.tensor(PLACE)[..., None])[..., 0]),
    "put": ("put(z, 2, 2 * z[:, :, 0], axis=-1)", lambda t, z: t.cat([z[..., :2], 2 * z[..., :1], z[..., 3:]], -1)),
    "topk": ("stack(topk(z, 3)[0:1])", lambda t, z: z.topk(3)[0][None]),
    "pad": ("pad(z, before=1, after=2, axis=1, mode=\"edge\")", lambda t, z: t.cat(
        [z[:, :1], z, z[:, -1:], z[:, -1:]], 1)),
    "tile": ("tile(z, 2, axis=1)", lambda t, z: z.tile(1, 2, 1)),
    "rearrange": ("rearrange(z, \"b t (h d) -> (h b) d t\", h=3)", lambda t, z: z.reshape(3, 4, 3, 2).permute(
        2, 0, 3, 1).reshape(9, 2, 4)),
    "einsum": ("einsum(z, z, \"b t d, b s d -> b t s\")", lambda t, z: t.einsum("btd,bsd->bts", z, z)),
    "einsum-diagonal": ("einsum(z[:, :, 0:4], \"b t t -> b t\")", lambda t, z: t.einsum("btt->bt", z[:, :, :4])),
    "corners": ("corners(z[:, :, 0:4])", lambda t, z: t.cat(
        [z[..., :2] - z[..., 2:4] / 2, z[..., :2] + z[..., 2:4] / 2], -1)),
    "moments": ("moments(z, keep_axis=[1])[1]", lambda t, z: z.var((0, 2), unbiased=False)),
    "hardswish": ("hardswish(3 * z)", lambda t, z: t.nn.functional.hardswish(3 * z)),
    "silu": ("silu(z)", lambda t, z: t.nn.functional.silu(z)),
    "hardsigmoid": ("hardsigmoid(3 * z)", lambda t, z: t.nn.functional.hardsigmoid(3 * z)),
    "relu6": ("relu6(5 * z)", lambda t, z: t.nn.functional.relu6(5 * z)),
}  # fmt: skip


@pytest.mark.parametrize("name", TORCH)
def test_gradients_are_those_of_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here; it comes with the extra `peers`")
    call, peer = TORCH[name]
    shift = torch.zeros(X.shape[1:], dtype=torch.float64, requires_grad=True)
    y = peer(torch, torch.tensor(X) + shift)
    (torch.sin(y) + y * y).sum().backward()
    body = f"  param w: f32[4, 6] = zeros\n  z = x + w\n  y = {call}\n  return y"
    ours = gradients(body, "sum(sin(y) + y * y)", {"it.w": np.zeros((4, 6))}, x=X, i=PLACE, m=MASK)
    assert shift.grad is not None
    rtol = 1e-6 if name == "hardsigmoid" else 1e-8  # its slope is an attribute, and those are float32
    np.testing.assert_allclose(ours["it.w:grad"], shift.grad.numpy(), rtol=rtol, atol=1e-10)


def test_upsample_has_a_gradient() -> None:
    body = "  param w: f32[4, 3, 5] = zeros\n  y = upsample(x + w, 2)\n  return y"
    ours = gradients(body, "sum(y * y)", {"it.w": np.zeros((4, 3, 5))}, x=IMAGE)
    np.testing.assert_allclose(ours["it.w:grad"], (8 * IMAGE).sum(0), rtol=1e-12)


MISTAKES = [
    ("softmax(x, causal=true)", "E0301", "as many queries as keys"),
    ("softmax(x, mask=x)", "E0308", "truth values"),
    ("softmax(x, mask=m[:, :, 0])", "E0308", "does not fit"),
    ("softmax(i)", "E0302", "wants floats"),
    ("max(x, axis=3)", "E0303", "no axis 3"),
    ("all(x)", "E0302", "truth values"),
    ("topk(x, 7)", "E0303", "7 greatest of 6"),
    ("topk(x, 0)", "E0303", "`k`"),
    ("take(x, i, axis=1)", "E0301", "i64[B]"),
    ("take(x, x)", "E0302", "integer"),
    ("put(x, 1, x, axis=1)", "E0301", "wants f32[B, 6]"),
    ("put(x, i, 0, axis=1)", "E0301", "one place"),
    ("pad(x, before=-1)", "E0303", "`before`"),
    ("pad(x, before=6, mode=\"reflect\")", "E0303", "cannot be mirrored"),
    ("pad(x, before=1, mode=\"mirror\")", "E0303", "constant, reflect or edge"),
    ("tile(x, 0)", "E0303", "`n` of `tile` wants an integer of 1 or more"),
    ("upsample(x[:, :, 0], 2)", "E0301", "spatial axis"),
    ("upsample(x, [2, 2])", "E0303", "2 numbers for 1 axes"),
    ("sinusoid(4, 7)", "E0303", "even"),
    ("corners(x)", "E0301", "width, height"),
    ("moments(x, keep_axis=[0, 1, 2])", "E0303", "axis to go over"),
    ("per_channel(x, x)", "E0301", "wants f32[4]"),
    ("prelu(x, x)", "E0301", "one slope"),
    ("float(\"a\")", "E0302", "a number or a tensor"),
    ("minimum(x, \"a\")", "E0302", "wanted"),
    ("maximum(1, none)", "E0302", "compares numbers"),
    ("rearrange(x, \"b t (h d) -> b h t d\", h=4)", "E0309", "6 cannot be split into 4 parts"),
    ("rearrange(x, \"b t (h d) -> b h t d\")", "E0309", "cannot both follow"),
    ("rearrange(x, \"b t (h d) -> b h t d\", h=2, d=2)", "E0309", "6 is not 4"),
    ("rearrange(x, \"b t (h d) -> b h t d\", n=2)", "E0309", "`n` is not an axis"),
    ("rearrange(x, \"b t -> t b\")", "E0309", "the pattern has 2 axes"),
    ("rearrange(x, \"b t d -> b t\")", "E0309", "`d` is missing"),
    ("rearrange(x, \"b t d -> b t d e\")", "E0309", "`e` is not an axis before"),
    ("rearrange(x, \"b t t -> b t\")", "E0309", "`t` stands twice"),
    ("rearrange(x, \"b t (d -> b t d\")", "E0309", "not closed"),
    ("rearrange(x, \"b t d\")", "E0309", "one `->`"),
    ("rearrange(x, \"b t 1 -> b t\")", "E0309", "6 is not 1"),
    ("rearrange(x, \"b * d -> b d\")", "E0309", "cannot stand here"),
    ("rearrange(x, 3)", "E0302", "ends with its pattern"),
    ("rearrange(x)", "E0205", "needs"),
    ("einsum(x, x, \"b t d, b d s -> b t s\")", "E0309", "`d` is 6 and 4"),
    ("einsum(x, \"b t d, b s d -> b t s\")", "E0309", "for 2 tensors"),
    ("einsum(x, x, \"b t, b s d -> b t s\")", "E0309", "2 axes for f32[B, 4, 6]"),
    ("einsum(x, \"b t d -> b e\")", "E0309", "`e` is not an axis before"),
    ("einsum(x, i, \"b t d, b t -> b\")", "E0302", "one element type"),
    ("einsum(x, \"b (t d) e -> b\")", "E0309", "cannot stand here"),
    ("einsum(x, x)", "E0302", "ends with its pattern"),
]


@pytest.mark.parametrize(("call", "code", "words"), MISTAKES, ids=lambda each: str(each))
def test_mistakes_are_explained(call: str, code: str, words: str) -> None:
    found = mistake(call, x=X, i=PLACE, m=MASK)
    assert found.code == code and words in f"{found.message} {found.primary.text}", found


def test_a_mistake_in_a_pattern_is_shown_in_the_string() -> None:
    text = """net it {
  input x: f32[B, 4, 6]
  return einsum(x, x, "b t d, b d s -> b t s")
}
"""
    with pytest.raises(SourceError) as caught:
        Program.of_text(text).net("it")
    span = caught.value.diagnostics[0].primary.span
    assert text.splitlines()[span.line - 1][span.column - 1 : span.end_column - 1] == "d"
    assert text.splitlines()[span.line - 1][: span.column - 1].endswith('"b t d, b ')


def test_a_pattern_says_where_its_number_comes_from() -> None:
    text = """block Attend(heads) {
  input x: f32[B, T, D]
  return x -> rearrange("b t (h d) -> b h t d", h=heads)
}
net it {
  input x: f32[B, T, 512]
  return x -> Attend(7)
}
"""
    with pytest.raises(SourceError) as caught:
        Program.of_text(text).net("it")
    found = caught.value.diagnostics[0]
    assert found.message == "512 cannot be split into 7 heads"
    assert found.primary.text == "D is 512, and h is 7"
    assert [(each.span.line, each.text) for each in found.secondary] == [(7, "heads = 7 comes from here")]
