"""The functions of `augment` sections against numpy: what each may make of a picture, and that it makes all of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dlc.compiler.build import Builder
from dlc.compiler.elaborate.library.augment import color_jitter, random_crop, random_flip, random_resized_crop
from dlc.compiler.evaluate import evaluate
from dlc.compiler.graph import Value
from dlc.compiler.program import Program
from dlc.compiler.types import Type, symbol
from dlc.dsl.diagnostics import Diagnostic, SourceError

FUNCTIONS: dict[str, Any] = {
    "random_flip": random_flip, "random_crop": random_crop, "color_jitter": color_jitter,
    "random_resized_crop": random_resized_crop,
}  # fmt: skip
ROWS = 400
PICTURE = np.arange(2 * 3 * 4, dtype=np.float64).reshape(2, 3, 4) / 7 + 1
BATCH = np.repeat(PICTURE[None], ROWS, 0)


class Drawing:
    """What a function of an `augment` section asks of the elaborator: scalars that the loop feeds, and sites."""

    augmenting = True

    def __init__(self, builder: Builder) -> None:
        self.builder = builder
        self.scalars: dict[str, Value] = {}
        self.sites = 0

    def scalar(self, name: str) -> Value:
        if name not in self.scalars:
            self.scalars[name] = self.builder.input(name, Type("i64", ()))
        return self.scalars[name]

    def site(self) -> str:
        self.sites += 1
        return str(self.sites)


def augmented(name: str, *arguments: Any, step: int = 0, **settings: Any) -> Any:
    """What a function of the library makes of ROWS copies of one picture in one step."""
    with Builder(working="f64") as builder:
        x = builder.input("x", Type("f64", (symbol("B"), *PICTURE.shape)))
        y = FUNCTIONS[name](Drawing(builder), x, *arguments, **settings)
        graph = builder.graph(name, {"y": y})
    return evaluate(graph, {"x": BATCH, "seed": np.int64(3), "step": np.int64(step)})["y"]


@pytest.mark.parametrize(("chance", "least", "most"), [(0.5, 0.4, 0.6), (0.1, 0.04, 0.17), (0, 0, 0), (1, 1, 1)])
def test_some_pictures_are_mirrored(chance: float, least: float, most: float) -> None:
    y = augmented("random_flip", chance)
    mirrored = (y == PICTURE[:, :, ::-1]).all((1, 2, 3))
    assert (mirrored | (y == PICTURE).all((1, 2, 3))).all()
    assert least <= mirrored.mean() <= most


def test_half_are_mirrored_unless_something_else_is_said() -> None:
    assert (augmented("random_flip") == augmented("random_flip", 0.5)).all()


@pytest.mark.parametrize("name", ["random_flip", "random_crop", "color_jitter", "random_resized_crop"])
def test_each_step_draws_anew_and_can_be_repeated(name: str) -> None:
    arguments = {"random_flip": (), "random_crop": (2,), "color_jitter": (0.5,), "random_resized_crop": (2,)}[name]
    first = augmented(name, *arguments)
    assert (first == augmented(name, *arguments)).all()
    assert not (first == augmented(name, *arguments, step=1)).all()


@pytest.mark.parametrize(("size", "pad"), [(2, 0), (3, 0), (3, 1), (1, 0), (5, 1)])
def test_crops_lie_everywhere_and_only_where_they_fit(size: int, pad: int) -> None:
    y = augmented("random_crop", size, pad)
    assert y.shape == (ROWS, 2, size, size)
    whole = np.pad(PICTURE, ((0, 0), (pad, pad), (pad, pad)))
    places = [(i, j) for i in range(whole.shape[1] - size + 1) for j in range(whole.shape[2] - size + 1)]
    crops = [whole[:, i : i + size, j : j + size] for i, j in places]
    seen = [[bool((row == crop).all()) for crop in crops] for row in y]
    assert all(any(each) for each in seen)
    assert np.array(seen).any(0).all()


@pytest.mark.parametrize(
    ("size", "scale", "ratio", "least"),
    [(2, (0.08, 1), (3 / 4, 4 / 3), 30), (5, (0.3, 0.6), (0.5, 2), 20), (4, (1, 1), (4 / 3, 4 / 3), 1)],
)
def test_resized_crops_are_parts_resized_as_pytorch_does_it(
    size: int, scale: tuple[float, float], ratio: tuple[float, float], least: int
) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here; it comes with the extra `peers`")
    y = augmented("random_resized_crop", size, scale=scale, ratio=ratio)
    assert y.shape == (ROWS, 2, size, size)
    _, height, width = PICTURE.shape
    seen: set[tuple[int, int, int, int]] = set()
    found = np.zeros(ROWS, bool)
    for h in range(1, height + 1):
        for w in range(1, width + 1):
            for top in range(height - h + 1):
                for left in range(width - w + 1):
                    part = torch.tensor(PICTURE[None, :, top : top + h, left : left + w])
                    wanted = torch.nn.functional.interpolate(part, (size, size), mode="bilinear", antialias=True)
                    same = np.isclose(y, wanted.numpy(), rtol=1e-6).all((1, 2, 3))
                    found |= same
                    if same.any():
                        seen.add((h, w, top, left))
                        # Sides are rounded by half a pixel at most, and no longer than the picture.
                        most = (h + 0.5) * (w + 0.5) if h < height and w < width else np.inf
                        assert (h - 0.5) * (w - 0.5) <= scale[1] * height * width
                        assert scale[0] * height * width <= most
    assert found.all() and len(seen) >= least


def test_resized_crops_have_the_areas_and_proportions_that_are_asked_for() -> None:
    """Of a ramp: the first and the last row and column of a crop tell where it was."""
    ramp = np.stack(np.broadcast_arrays(np.arange(120.0)[:, None], np.arange(150.0)))
    with Builder(working="f64") as builder:
        x = builder.input("x", Type("f64", (symbol("B"), *ramp.shape)))
        y = random_resized_crop(Drawing(builder), x, 2)  # type: ignore[arg-type]
        graph = builder.graph("ramp", {"y": y})
    y = evaluate(graph, {"x": np.repeat(ramp[None], ROWS, 0), "seed": np.int64(3), "step": np.int64(0)})["y"]
    # A crop of h rows is halved: antialiased rows lie nearly h / 2 apart, less what a triangle loses at the ends.
    heights, widths = (y[:, 0, 1, 0] - y[:, 0, 0, 0]) * 2, (y[:, 1, 0, 1] - y[:, 1, 0, 0]) * 2
    whole = (ramp[0].max() + 1) * (ramp[1].max() + 1)
    factor = np.sqrt(heights.max() / 120 * widths.max() / 150)  # of a crop as large as the picture
    shares = heights * widths / factor**2 / whole
    assert 0.07 < shares.min() < 0.1 and 0.9 < shares.max() <= 1.02
    inner = (heights < 117 * factor) & (widths < 147 * factor)
    proportions = (widths / heights)[inner]
    assert 0.74 < proportions.min() < 0.78 and 1.28 < proportions.max() < 1.35
    assert abs(np.median(np.log(proportions))) < 0.06
    assert abs(np.median(shares) - 0.54) < 0.08


@pytest.mark.parametrize("strength", [0.0, 0.3, 0.9])
def test_brightness_and_contrast_have_a_factor_each(strength: float) -> None:
    """The mean is scaled by the brightness, the distances from it by the product of both."""
    y = augmented("color_jitter", strength)
    middle = PICTURE.mean()
    brightness = y.mean((1, 2, 3)) / middle
    spread = (y - y.mean((1, 2, 3), keepdims=True)) / (PICTURE - middle)
    contrast = spread[:, 0, 0, 0] / brightness
    np.testing.assert_allclose(spread, np.broadcast_to((brightness * contrast)[:, None, None, None], y.shape))
    for factor in (brightness, contrast):
        assert (abs(factor - 1) <= strength + 1e-12).all()
        reached, bounds = [factor.min(), factor.max()], [1 - strength, 1 + strength]
        np.testing.assert_allclose(reached, bounds, atol=0.03 * strength + 1e-12)
    if strength:
        assert abs(np.corrcoef(brightness, contrast)[0, 1]) < 0.2


TEXT = """data rows {
  train = npz("rows.npz")
  image: f32[2, 4, 4] = raw.image
  size: f32[]         = raw.size
  augment { image = image -> %s }
}
net it {
  input image: f32[B, 2, 4, 4]
  guess = image -> flatten -> Linear(1) -> squeeze(-1)
  return guess
}
train it on rows {
  loss = mse(guess, size)
  optimizer = SGD(lr=1)
  batch = 4
}
"""


def problems(text: str) -> list[Diagnostic]:
    try:
        return list(Program.of_text(text).check())
    except SourceError as error:
        return list(error.diagnostics)


@pytest.mark.parametrize("call", ["random_flip", "random_flip(0.2)", "random_crop(4, pad=1)", "color_jitter(0.1)",
                                  "random_resized_crop(4)", "random_resized_crop(4, scale=[0.5, 1], ratio=[1, 1])"])
def test_in_the_section_of_data_they_are_accepted(call: str) -> None:
    assert problems(TEXT % call) == []


@pytest.mark.parametrize(("call", "code", "words"), [
    ("random_flip(1.5)", "E0303", "`chance` of `random_flip` wants a number from 0 to 1"),
    ("random_flip(-0.1)", "E0303", "`chance` of `random_flip` wants a number from 0 to 1"),
    ("random_flip(true)", "E0302", "`chance` of `random_flip` wants a number from 0 to 1"),
    ("random_crop(0)", "E0303", "`size` of `random_crop` wants an integer of 1 or more"),
    ("random_crop(2.0)", "E0302", "`size` of `random_crop` wants an integer of 1 or more"),
    ("random_crop(4, pad=-1)", "E0303", "`pad` of `random_crop` wants an integer of 0 or more"),
    ("random_crop(5)", "E0301", "a crop of 5 does not fit into 4 x 4"),
    ("random_crop(7, pad=1)", "E0301", "a crop of 7 does not fit into 6 x 6"),
    ("random_crop(3)", "E0602", "`image` is f32[B, 2, 4, 4], and would become"),
    ("random_resized_crop(0)", "E0303", "`size` of `random_resized_crop` wants an integer from 1 to 65,535"),
    ("random_resized_crop(3)", "E0602", "`image` is f32[B, 2, 4, 4], and would become"),
    ("random_resized_crop(4, scale=0.5)", "E0303", "`scale` is a list of two numbers above 0 up to 1"),
    ("random_resized_crop(4, scale=[0.5, 2])", "E0303", "`scale` is a list of two numbers above 0 up to 1"),
    ("random_resized_crop(4, ratio=[2, 1])", "E0303", "`ratio` begins with the lesser number"),
    ("random_resized_crop(4, ratio=[0, 1])", "E0303", "`ratio` is a list of two numbers above 0"),
    ("color_jitter(1)", "E0303", "`strength` of `color_jitter` wants a number of 0 or more and below 1"),
    ("color_jitter(-0.5)", "E0303", "`strength` of `color_jitter` wants a number of 0 or more and below 1"),
])  # fmt: skip
def test_wrong_settings(call: str, code: str, words: str) -> None:
    problem = problems(TEXT % call)[0]
    assert (problem.code, problem.primary.span.line) == (code, 5)
    assert words in problem.message


def test_outside_the_section_and_of_what_is_no_picture() -> None:
    text = TEXT.replace("image -> flatten", "image -> random_flip -> flatten") % "random_flip"
    assert "`random_flip` belongs into the `augment` section of data" in problems(text)[0].message
    text = TEXT.replace("image = image -> %s", "size = size -> random_flip")
    assert "`random_flip` wants pictures `[B, C, H, W]` of one size" in problems(text)[0].message
