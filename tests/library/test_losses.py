"""Losses of the library against PyTorch's: values, gradients, reductions, masks; nothing is broadcast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from library_cases import gradients, mistake, value

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here; it comes with the extra `peers`")
F = torch.nn.functional

RNG = np.random.default_rng(0)
SCORES = RNG.normal(0, 3, (3, 4, 5))
CLASSES = RNG.integers(0, 5, (3, 4))
OTHERS = RNG.normal(0, 3, (3, 4, 5))
TARGETS = (RNG.random((3, 4, 5)) > 0.6).astype(np.float64)
SHARES = RNG.dirichlet(np.ones(5), (3, 4))
SHARES[0, 0] = [0, 0.5, 0.5, 0, 0]
SURE = np.array([[1e4, -1e4, 0, 60, -60]])


def sigmoid_focal(z: Any, y: Any, gamma: float = 2.0, alpha: float = 0.25) -> Any:
    """Lin et al. (2017), equation 5, by probabilities."""
    p = torch.sigmoid(z)
    likely = p * y + (1 - p) * (1 - y)
    return (alpha * y + (1 - alpha) * (1 - y)) * (1 - likely) ** gamma * -torch.log(likely)


def rows(x: Any) -> Any:
    """PyTorch has classes on the second axis."""
    return x.movedim(-1, 1)


CASES: dict[str, tuple[str, Any, Any, Callable[[Any, Any], Any]]] = {
    "mse": ("mse(x, y)", SCORES, OTHERS, lambda x, y: F.mse_loss(x, y, reduction="none")),
    "mae": ("mae(x, y)", SCORES, OTHERS, lambda x, y: F.l1_loss(x, y, reduction="none")),
    "smooth_l1": ("smooth_l1(x, y)", SCORES, OTHERS, lambda x, y: F.smooth_l1_loss(x, y, reduction="none")),
    "smooth_l1-beta": (
        "smooth_l1(x, y, beta=0.3)", SCORES, OTHERS, lambda x, y: F.smooth_l1_loss(x, y, reduction="none", beta=0.3)
    ),
    "binary": (
        "binary_cross_entropy(x, y)", SCORES, TARGETS,
        lambda x, y: F.binary_cross_entropy_with_logits(x, y, reduction="none"),
    ),
    "binary-smooth": (
        "binary_cross_entropy(x, y, smoothing=0.2)", SCORES, TARGETS,
        lambda x, y: F.binary_cross_entropy_with_logits(x, 0.8 * y + 0.1, reduction="none"),
    ),
    "kl": (
        "kl(x, y)", SCORES, SHARES,
        lambda x, y: F.kl_div(torch.log_softmax(x, -1), y, reduction="none").sum(-1),
    ),
    "focal": ("focal(x, y)", SCORES, TARGETS, sigmoid_focal),
    "focal-settings": (
        "focal(x, y, gamma=1.5, alpha=0.6)", SCORES, TARGETS, lambda x, y: sigmoid_focal(x, y, 1.5, 0.6)
    ),
    "cross_entropy": (
        "cross_entropy(x, y)", SCORES, CLASSES, lambda x, y: F.cross_entropy(rows(x), y, reduction="none")
    ),
    "cross_entropy-smooth": (
        "cross_entropy(x, y, smoothing=0.3)", SCORES, CLASSES,
        lambda x, y: F.cross_entropy(rows(x), y, reduction="none", label_smoothing=0.3),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_values_under_each_reduction(name: str) -> None:
    call, x, y, peer = CASES[name]
    each = peer(torch.tensor(x), torch.tensor(y)).numpy()
    mask = np.random.default_rng(2).random(each.shape) > 0.4
    inner = call.removesuffix(")")
    for setting, expected in {
        "": each.mean(), ", reduce=mean": each.mean(), ", reduce=sum": each.sum(), ", reduce=none": each,
        ", mask=m": each[mask].mean(), ", mask=m, reduce=sum": each[mask].sum(),
        ", mask=m, reduce=none": np.where(mask, each, 0),
    }.items():  # fmt: skip
        found = value(f"{inner}{setting})", x=x, y=y, m=mask)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12, err_msg=setting)


@pytest.mark.parametrize("name", CASES)
def test_gradients(name: str) -> None:
    call, x, y, peer = CASES[name]
    shift = torch.zeros(x.shape[1:], dtype=torch.float64, requires_grad=True)
    peer(torch.tensor(x) + shift, torch.tensor(y)).mean().backward()
    body = f"  param w: f32[{', '.join(map(str, x.shape[1:]))}] = zeros\n  z = x + w\n  return z"
    ours = gradients(body, call.replace("(x", "(z"), {"it.w": np.zeros(x.shape[1:])}, x=x, y=y)
    assert shift.grad is not None
    np.testing.assert_allclose(ours["it.w:grad"], shift.grad.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("call", ["binary_cross_entropy(x, y)", "focal(x, y)"])
def test_sure_logits_give_finite_losses_and_gradients(call: str) -> None:
    y = np.array([[1.0, 0, 1, 0, 1]])
    assert value(call, x=SURE, y=y) < 100
    wrong = value(call, x=SURE, y=1 - y)
    assert np.isfinite(wrong) and wrong > 100
    body = "  param w: f32[5] = zeros\n  z = x + w\n  return z"
    ours = gradients(body, call.replace("(x", "(z"), {"it.w": np.zeros(5)}, x=SURE, y=1 - y)
    assert np.all(np.isfinite(ours["it.w:grad"])) and np.abs(ours["it.w:grad"]).max() > 0.01


def test_truth_values_are_targets_of_a_binary_loss() -> None:
    for call in ("binary_cross_entropy(x, y)", "focal(x, y)"):
        assert value(call, x=SCORES, y=TARGETS > 0) == pytest.approx(float(value(call, x=SCORES, y=TARGETS)), rel=1e-12)


def test_log_probabilities_are_logits_of_kl() -> None:
    logs = np.log(RNG.dirichlet(np.ones(5), (3, 4)))
    expected = (SHARES * (np.log(np.where(SHARES > 0, SHARES, 1)) - logs)).sum(-1).mean()
    assert value("kl(x, y)", x=logs, y=SHARES) == pytest.approx(expected, rel=1e-10)
    assert value("kl(log(y), y)", y=RNG.dirichlet(np.ones(5), 3)) == pytest.approx(0, abs=1e-12)


def test_a_mask_of_rows_chooses_whole_rows() -> None:
    x, y, m = RNG.normal(size=(3, 7, 4)), RNG.normal(size=(3, 7, 4)), RNG.random((3, 7)) > 0.5
    assert value("mse(x, y, mask=m)", x=x, y=y, m=m) == pytest.approx(np.square(x - y)[m].mean())
    square, rows_ = RNG.normal(size=(4, 4)), np.array([True, False, True, True])
    assert mistake("mse(x, x, mask=m)", x=square, m=rows_).code == "E0308"


@pytest.mark.parametrize("call", ["mse(x, y)", "mae(x, y)", "smooth_l1(x, y)", "binary_cross_entropy(x, y)", "kl(x, y)",
                                  "focal(x, y)"])  # fmt: skip
@pytest.mark.parametrize("shape", [(3,), (1, 4), (3, 1)])
def test_nothing_is_broadcast(call: str, shape: tuple[int, ...]) -> None:
    found = mistake(call, x=np.ones((3, 4)), y=np.ones(shape))
    assert found.code == "E0311" and "differ in shape" in found.message


def test_classes_that_do_not_fit_are_refused() -> None:
    assert mistake("cross_entropy(x, y)", x=np.ones((3, 4)), y=np.ones((3, 4), np.int64)).code == "E0301"
    assert mistake("cross_entropy(x, y)", x=np.ones((3, 4)), y=np.ones(3)).code == "E0302"


def test_settings_that_make_no_sense_are_refused() -> None:
    x = np.ones((3, 4))
    assert "`mean`, `sum` or `none`" in mistake("mse(x, x, reduce=max)", x=x).message
    assert mistake("mse(x, x, mask=x)", x=x).code == "E0308"
    assert "`smoothing`" in mistake("cross_entropy(x, argmax(x), smoothing=1.5)", x=x).message
    assert "smoothing" in mistake("binary_cross_entropy(x, x, smoothing=-1)", x=x).message
    assert "`beta` of `smooth_l1` wants a number above 0" in mistake("smooth_l1(x, x, beta=0)", x=x).message
    assert mistake("mse(x, x, redcue=sum)", x=x).code == "E0203"


def test_accuracy_counts_the_rows_of_a_mask() -> None:
    x, y, m = RNG.normal(size=(3, 7, 5)), RNG.integers(0, 5, (3, 7)), RNG.random((3, 7)) > 0.3
    hits = x.argmax(-1) == y
    assert value("accuracy(x, y)", x=x, y=y) == pytest.approx(hits.mean())
    assert value("accuracy(x, y, mask=m)", x=x, y=y, m=m) == pytest.approx(hits[m].mean())
    best = np.argsort(-x, -1)[..., :2]
    assert value("accuracy(x, y, k=2)", x=x, y=y) == pytest.approx((best == y[..., None]).any(-1).mean())
