"""What the generators found once, each in the smallest program that showed it."""

from __future__ import annotations

import pytest
from fuzz_judge import ROOT, judge

HERE = str(ROOT / "specs" / "found.net")
RUN = """
train n on d {{ loss = mean(square(y - t)) optimizer = SGD(lr=0.1) batch = 2 epochs = 1 }}
data d {{ train = npz("a.npz") x: f32[{shape}] t: f32[{target}] }}
net n {{ input x: f32[B, {shape}] {body} return y }}
"""

PROGRAMS: dict[str, tuple[str, str | None]] = {
    "a weight with a batch's size": (
        "net n { input x: f32[B, 4] y = x -> sum(axis=-1) -> Linear(3) return y }", "E0305"
    ),
    "an initializer for no elements": (RUN.format(shape="0", target="1", body="y = x -> Linear(1, init=he)"), None),
    "two runs of leading dimensions": (
        "block L { input x: f32[..., D, ...] return x } net n { input x: f32[B, 4] y = x -> L return y }", "E0302"
    ),
    "the shape of a stretched scalar, after lowering": (
        RUN.format(
            shape="9, 7, 8", target="1",
            body="y = x -> Conv(2, 3, stride=2, pad=2) -> max_pool(3, stride=2) "
            "-> Conv(1, 2, stride=2, pad=1, dilation=2) -> flatten -> Linear(1)",
        ), None
    ),
}  # fmt: skip


@pytest.mark.parametrize("title", PROGRAMS)
def test_what_was_found(title: str) -> None:
    text, code = PROGRAMS[title]
    verdict = judge(text, HERE, compiling=True)
    assert verdict.codes[:1] == ((code,) if code else ())
