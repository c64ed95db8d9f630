"""The parts of report.html by themselves: charts, pictures, confusion matrices."""

import base64
import io
import re
from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np
import pytest

from dlc.runtime.data import Split
from dlc.runtime.report import svg
from dlc.runtime.report.classes import LONGEST, NARROWEST, Classes, caption, confusion, rates
from dlc.runtime.report.pictures import diverging, is_picture, picture, tiles
from dlc.runtime.report.sample import Sample


def decoded(uri: str) -> np.ndarray:
    from PIL import Image

    assert uri.startswith("data:image/png;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def classes(true: list[int], said: list[int], n: int, names: Sequence[str] = ()) -> Classes:
    counts = np.zeros((n, n), np.int64)
    np.add.at(counts, (true, said), 1)
    size = len(true)
    return Classes(counts, np.full((size, n), 1 / n), np.array(said), np.array(true), np.zeros(size), names)


def test_precision_recall_and_f1() -> None:
    """Class 0: 2 of 3 found, 2 of 2 right. Class 1: 1 of 1 found, 1 of 2 right. Class 2 is never there nor said."""
    found = classes([0, 0, 0, 1], [0, 0, 1, 1], 3).rates()
    assert found[0] == pytest.approx((3, 1.0, 2 / 3, 0.8))
    assert found[1] == pytest.approx((1, 0.5, 1.0, 2 / 3))
    assert found[2][0] == 0 and all(np.isnan(found[2][1:]))
    assert "<td>-</td>" in rates(classes([0, 0, 0, 1], [0, 0, 1, 1], 3))


def test_a_class_that_is_never_said_counts_in_the_mean() -> None:
    """Recall 1 and 0, precision 1/2 and, of the class that is never said, 0."""
    mean = rates(classes([0, 1], [0, 0], 2)).partition("<tr class=mean>")[2]
    assert re.findall("<td>([0-9.]+)</td>", mean) == ["0.250", "0.500", "0.333"]


def test_scores_become_chances_and_losses() -> None:
    scores = np.array([[0.0, np.log(3.0)], [1000.0, 0.0]])
    split = Split("dev", {}, "")
    found = Classes.of(Sample(split, np.arange(2), "classes", "label", (), scores, np.array([0, 0])))
    np.testing.assert_allclose(found.chances, [[0.25, 0.75], [1, 0]])
    np.testing.assert_allclose(found.loss, [np.log(4), 0])
    assert found.said.tolist() == [1, 0] and found.accuracy == 0.5
    with pytest.raises(ValueError, match="a class outside 0 to 1"):
        Classes.of(Sample(split, np.arange(2), "classes", "label", (), scores, np.array([0, 2])))


def test_many_classes_are_a_picture_and_the_pairs_confused_most() -> None:
    said = [*range(50)] * 2
    said[3] = said[53] = 4
    text = confusion(classes([*range(50)] * 2, said, 50))
    assert "50 classes" in text and "<b>3</b> taken for <b>4</b>: 2 times" in text and "<table" not in text
    shown = decoded(re.findall('src="([^"]+)"', text)[0])
    assert shown.shape == (250, 250) and shown[2, 2] == 0 and shown[2, 7] == 255 and shown[17, 22] == 0


def test_classes_are_called_by_their_names() -> None:
    found = classes([0, 1, 1, 2], [0, 2, 2, 2], 4, ["ant", "bee", "cat"])
    matrix = confusion(found)
    assert re.findall("<th scope=(?:col|row)>(.*?)</th>", matrix) == ["ant", "bee", "cat", "3"] * 2
    assert 'title="2 of 2 (100.0%) of class bee said to be cat"' in matrix
    assert "<b>bee</b> taken for <b>cat</b>: 2 times" in matrix
    assert re.findall("<th scope=row>(.*?)</th>", rates(found)) == ["ant", "bee", "cat", "3", "mean"]
    assert caption(found, 1).startswith("<b>bee</b>, said <b>cat</b> ")


def test_the_pairs_of_many_classes_have_names() -> None:
    found = classes([*range(50), 3, 3], [*range(50), 4, 4], 50, [f"kind {each}" for each in range(50)])
    assert "<b>kind 3</b> taken for <b>kind 4</b>: 2 times" in confusion(found)


def test_names_are_escaped_and_long_ones_shortened() -> None:
    names = ["<i>\"&'", "line\nbreak \x1b[0m", "k" * LONGEST, "<" * (LONGEST + 1)]
    found = classes([0, 1, 2, 3], [1, 2, 3, 0], 4, names)
    short = f'<span title="{"&lt;" * (LONGEST + 1)}">{"&lt;" * (LONGEST - 1)}…</span>'
    rows = ["&lt;i&gt;&quot;&amp;&#x27;", r"line\nbreak \x1b[0m", "k" * LONGEST, short]
    assert re.findall("<th scope=row>(.*?)</th>", rates(found)) == [*rows, "mean"]
    matrix = confusion(found)
    assert re.findall("<th scope=row>(.*?)</th>", matrix) == rows
    heads = re.findall("<th scope=col>(.*?)</th>", matrix)
    assert heads[2] == f'<span title="{"k" * LONGEST}">{"k" * (NARROWEST - 1)}…</span>' and heads[0] == rows[0]
    assert 'of class &lt;i&gt;&quot;&amp;&#x27; said to be line\\nbreak' in matrix
    assert caption(found, 3).startswith(f"<b>{short}</b>, said <b>{rows[0]}</b> ")


def test_names_of_other_classes_are_not_taken() -> None:
    sample = Sample(Split("dev", {}, ""), np.arange(2), "binary", "k", (), np.zeros((2, 2)), np.array([0, 1]))
    assert Classes.of(sample, ["no", "yes"]).label(1) == "yes"
    assert Classes.of(sample, ["no"]).label(1) == "1"
    assert Classes.of(sample, ["no", "yes", "perhaps"]).label(1) == "1"


def test_pictures_are_recognised_by_their_shape() -> None:
    assert is_picture((1, 28, 28)) and is_picture((3, 8, 8))
    assert not is_picture((28, 28)) and not is_picture((2, 28, 28)) and not is_picture((1, 28, 2))


def test_a_large_picture_is_made_smaller() -> None:
    uri = picture(np.random.default_rng(0).random((3, 500, 250)), 0, 1)
    assert decoded(uri).shape == (80, 40, 3) and len(uri) < 20_000


def test_filters_are_blue_below_zero_and_red_above() -> None:
    blue, white, red = diverging(np.array([-1.0, 0.0, 1.0])).tolist()
    assert blue[2] > blue[0] and red[0] > red[2] and white == [250, 250, 250]
    uri, width, height = tiles(np.zeros((1, 1, 3, 3)))
    assert (height, width) == decoded(uri).shape[:2] == (5, 5)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (3, 47, [10, 20, 30, 40]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
        (0.0001, 0.0002, [0.0001, 0.00012, 0.00014, 0.00016, 0.00018, 0.0002]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, ticks: list[float]) -> None:
    assert svg.nice(low, high) == pytest.approx(ticks)


def test_labels_are_short() -> None:
    shown = [svg.number(value) for value in (0, 0.05, 1500, 2e6, 3e-5, -0.25, 1e12)]
    assert shown == ["0", "0.05", "1.5k", "2M", "3e-5", "-0.25", "1e12"]


def test_a_logarithmic_axis_puts_powers_of_ten_at_equal_distances() -> None:
    axis = svg.Axis.of([0.001, 1000.0], 0, 600, log=True)
    places = [axis.at(10.0**power) for power in (-2, 0, 2)]
    assert places[1] - places[0] == pytest.approx(places[2] - places[1], abs=0.2)
    assert set(axis.ticks) <= {10.0**power for power in range(-3, 4)} and len(axis.ticks) >= 3


def test_values_that_are_not_finite_are_gaps_with_a_cross() -> None:
    points = [(1.0, 1.0), (2.0, float("nan")), (3.0, 2.0), (4.0, 3.0)]
    chart = svg.line_chart("loss", [svg.Series("train", "train", points)])
    (path,) = re.findall(r' d="([^"]+)"', chart)
    assert (path.count("M"), path.count("L")) == (2, 1) and chart.count("&times;") == 1
    assert "nan" not in chart
    assert "no finite value" in svg.line_chart("loss", [svg.Series("train", "train", points[1:2])])


def test_a_single_value_and_a_constant_can_be_drawn() -> None:
    for points in ([(1.0, 0.0)], [(1.0, 5.0), (2.0, 5.0)], [(0.0, -3.0), (1.0, -3.0)]):
        for log in (False, points[0][1] > 0):
            chart = svg.line_chart("x", [svg.Series("a", "train", points)], log=log)
            ElementTree.fromstring(chart)


def test_long_lines_are_averaged_with_a_band() -> None:
    points = [(float(at), float(at % 7)) for at in range(5000)]
    chart = svg.line_chart("loss", [svg.Series("train", "train", points)])
    assert "<polygon" in chart and len(chart) < 20_000


def test_a_histogram_and_a_scatter() -> None:
    chart = svg.histogram("errors", [0.0, 1.0, 2.0], [3, 0], "x")
    assert chart.count("<rect") == 2 and "0 to 1: 3" in chart
    ElementTree.fromstring(chart)
    assert svg.scatter("s", [(0.0, 1.0), (2.0, 3.0)], "true", "said").count("<circle") == 2
