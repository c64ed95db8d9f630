"""Examples of the literature that need layers of the library: how many weights their nets have."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from dlc.compiler.program import Program

EXAMPLES = Path(__file__).resolve().parents[1] / "fixtures" / "examples"


@pytest.mark.parametrize(
    ("file", "net", "expected"),
    [
        ("resnet", "resnet50", 25_557_032),  # He et al., 2015; torchvision's resnet50
        ("inception", "googlenet", 13_378_280),  # Szegedy et al., 2014, both heads
        ("facenet", "facenet", 23_770_304),  # a ResNet-50 with 128 outputs, called three times in one loss
        ("multitask", "profile", 14_996_037),
        ("skipgram", "skipgram", 30_000_000),  # 2 * 50,000 * 300
        ("glove", "glove", 80_800_000),  # 2 * 400,000 * 101
    ],
)
def test_nets_have_the_published_number_of_weights(file: str, net: str, expected: int) -> None:
    unit = Program.open(EXAMPLES / f"{file}.net").net(net)
    assert sum(math.prod(type.static_shape()) for type in unit.weights.values()) == expected


def test_batch_norms_have_addresses_like_pytorch() -> None:
    unit = Program.open(EXAMPLES / "resnet.net").net("resnet50")
    stem = [address for address in unit.carried if address.startswith("resnet50.features.conv_bn.")]
    assert stem == [f"resnet50.features.conv_bn.{part}" for part in (
        "conv.weight", "batch_norm.weight", "batch_norm.bias", "batch_norm.running_mean", "batch_norm.running_var",
    )]  # fmt: skip
    roles = {role for address, (_, role) in unit.carried.items() if "running" in address}
    assert roles == {"state"}


@pytest.mark.parametrize(
    ("name", "warned"),
    [("lenet", []), ("logistic", []), ("mlp", []), ("alexnet", []), ("vgg16", []), ("nin", []), ("inception", []),
     ("facenet", []), ("multitask", []), ("prelude", []), ("resnet", ["W0405"])],
)  # fmt: skip
def test_whole_programs_have_no_mistakes(name: str, warned: list[str]) -> None:
    """Those that read tables, pictures and IDX; transfer and style, which borrow a model, are tested end to end."""
    assert [each.code for each in Program.open(EXAMPLES / f"{name}.net").check()] == warned
