"""report.html: that it stands alone, and says what is so."""

import base64
import io
import itertools
import json
import os
import re
import signal
from collections.abc import Callable, Mapping
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlc.compiler.program import Program
from dlc.runtime.errors import RunError
from dlc.runtime.evaluate import evaluate
from dlc.runtime.folder import RunFolder
from dlc.runtime.report.display import Display
from dlc.runtime.train import Interrupted, Options, View, resume, train

Make = Callable[..., Program]
VOID = {"meta", "img", "br", "link", "input", "hr"}
NO_DEV = ("  dev   = holdout(train, 0.25)\n", "")


class Page(HTMLParser):
    """What an HTML page holds; raises AssertionError where its elements are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.titles: list[str] = []
        self.text = ""
        self.images: list[str] = []
        self.cells: list[str] = []
        self.elements: dict[str, int] = {}
        self.feed(text)
        self.close()
        assert self.open == [], f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] = self.elements.get(tag, 0) + 1
        if tag not in VOID:
            self.open.append(tag)
        if tag == "img":
            self.images.append(dict(attrs)["src"] or "")
        if tag == "td":
            self.cells.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] = self.elements.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> inside {self.open}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.text += data
        if self.open and self.open[-1] == "h2":
            self.titles.append(data)
        if self.open and self.open[-1] == "td":
            self.cells[-1] += data


def page_of(folder: Path) -> tuple[Page, str]:
    text = (folder / "report.html").read_text()
    for outside in ("http://", "https://", "<script", "<link", "@import", "url("):
        assert outside not in text, "it has to stand alone"
    assert len(text) < 2_000_000
    return Page(text), text


def run(program: Program, folder: Path, name: str = "tiny", notes: list[str] | None = None, **options: Any) -> Page:
    said = [] if notes is None else notes
    view = View(lambda *args, **named: Display(*args, quiet=True, **named), said.append)
    train(program, name, folder, Options(device="cpu", report=True, **options), view)
    return page_of(folder)[0]


def decoded(uri: str) -> np.ndarray:
    from PIL import Image

    assert uri.startswith("data:image/png;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_a_classifier(tiny: Make, tmp_path: Path) -> None:
    notes: list[str] = []
    page = run(tiny(lr="0.01"), tmp_path / "run", notes=notes, epochs=6, seed=3)
    assert notes == []
    assert page.titles == ["Result", "Curves", "Confusion matrix", "Worst mistakes", "What was run"]
    assert "tiny in run" in page.text and "finished: all 24 steps are done" in page.text
    assert "cross_entropy(logits, label)" in page.text, "the source"
    assert "lr = 0.01" in page.text, "what was set"
    found = evaluate(tmp_path / "run", "dev", device="cpu")
    assert f"{found.values['acc']:.2%} are right" in page.text
    assert f"{found.values['loss']:.4g}" in page.text
    assert "On 24 examples of dev, best weights." in page.text
    assert "The test split has not been looked at" in page.text


def test_classes_have_their_names(tiny: Make, tmp_path: Path) -> None:
    program = tiny()
    names = ["2 & a half", "<script>one</script>", "a name that is longer than a cell is wide"]
    for split in ("train", "test"):
        head, *rows = (tmp_path / f"{split}.csv").read_text().splitlines()
        named = [f"{row.rpartition(',')[0]},{names[int(row[-1])]}" for row in rows]
        (tmp_path / f"{split}.csv").write_text("\n".join([head, *named]) + "\n")
    page = run(program, tmp_path / "run", epochs=2)
    text = page_of(tmp_path / "run")[1]
    shown = [escape(names[0]), escape(names[1]), f'<span title="{names[2]}">{names[2][:27]}…</span>']
    assert re.findall("<th scope=row>(.*?)</th>", text)[:7] == [*shown, *shown, "mean"], "confusion matrix and rates"
    mistakes = re.findall("<b>(.*?)</b>, said <b>(.*?)</b>", text)
    assert mistakes and {*itertools.chain(*mistakes)} <= {*shown}
    assert "script" not in page.elements


def test_without_report_there_is_none(tiny: Make, tmp_path: Path) -> None:
    view = View(lambda *args, **named: Display(*args, quiet=True, **named))
    train(tiny(), "tiny", tmp_path / "run", Options(device="cpu", steps=1), view)
    assert not (tmp_path / "run" / "report.html").exists()


def test_the_confusion_matrix_counts_every_example_of_dev(tiny: Make, tmp_path: Path) -> None:
    page = run(tiny(), tmp_path / "run", epochs=2)
    # 3 by 3 cells, row by row; the cell of a class with itself is a hit.
    counts = [int(cell) if cell.isdigit() else 0 for cell in page.cells[:9]]
    assert sum(counts) == 24
    found = evaluate(tmp_path / "run", "dev", device="cpu")
    assert sum(counts[::4]) / 24 == pytest.approx(found.values["acc"])


def test_it_never_looks_at_test_by_itself(tiny: Make, tmp_path: Path) -> None:
    program = tiny()
    (tmp_path / "test.csv").unlink()
    page = run(program, tmp_path / "run")
    assert "test acc" not in page.text


def test_an_evaluation_on_test_is_put_in(tiny: Make, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(tiny(), folder)
    before = (folder / "report.html").read_bytes()
    evaluate(folder, "dev", device="cpu", report=True)
    assert (folder / "report.html").read_bytes() == before
    found = evaluate(folder, device="cpu", report=True)
    page, text = page_of(folder)
    assert f"<b>{found.values['acc']:.4g}</b><span>test acc, best weights" in text
    assert "has not been looked at" not in page.text
    assert "finished: all 12 steps are done" in page.text and "Confusion matrix" in page.titles
    assert "best dev.loss" in page.text


def test_an_interrupted_run_has_one_and_resuming_writes_it_again(tiny: Make, tmp_path: Path) -> None:
    class Interrupting(Display):
        def step(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
            super().step(step, epoch, values)
            if step == 5:
                os.kill(os.getpid(), signal.SIGINT)

    folder = tmp_path / "run"
    with pytest.raises(Interrupted):
        view = View(lambda *args, **named: Interrupting(*args, quiet=True, **named))
        train(tiny(), "tiny", folder, Options(device="cpu", report=True), view)
    assert "stopped after step 6 of 12" in page_of(folder)[0].text
    resume(folder, Options(report=True), View(lambda *args, **named: Display(*args, quiet=True, **named)))
    page = page_of(folder)[0]
    assert "finished: all 12 steps are done" in page.text and "at step 6" in page.text


def test_a_run_that_fails_has_one(tiny: Make, tmp_path: Path) -> None:
    exploding = tiny(
        ("loss = cross_entropy(logits, label)", "loss = mean(exp(logits * logits)) + 0 * cross_entropy(logits, label)"),
        ("Adam(lr=lr)", "SGD(lr=lr)"),
        lr="2.0",
    )
    with pytest.raises(RunError):
        run(exploding, tmp_path / "run", epochs=50)
    assert "is not finite" in page_of(tmp_path / "run")[0].text


def test_what_goes_wrong_with_it_is_a_note(tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("by nought")

    notes: list[str] = []
    monkeypatch.setattr("dlc.runtime.report.html.take", broken)
    page = run(tiny(), tmp_path / "a", notes=notes)
    assert notes == ["report.html: the predictions cannot be shown: by nought"]
    assert page.titles == ["Result", "Curves", "What was run", "Left out"]
    notes.clear()
    monkeypatch.setattr("dlc.runtime.report.html.page", broken)
    view = View(lambda *args, **named: Display(*args, quiet=True, **named), notes.append)
    result = train(tiny(), "tiny", tmp_path / "b", Options(device="cpu", report=True), view)
    assert result.step == 12 and RunFolder.open(tmp_path / "b").run["status"] == "finished"
    assert notes == ["report.html cannot be made: by nought"]


def test_names_cannot_become_elements(tiny: Make, tmp_path: Path) -> None:
    text = ("batch  = 16", "batch  = 16  # <b>bold</b> & <script>alert(1)</script>")
    page = run(tiny(text), tmp_path / "<i>&'\"")
    assert "tiny in <i>&'\"" in page.text and "<script>alert(1)</script>" in page.text
    assert "script" not in page.elements and "i" not in page.elements


def test_without_dev_the_training_examples_are_shown_and_that_is_said(tiny: Make, tmp_path: Path) -> None:
    page = run(tiny(NO_DEV), tmp_path / "run")
    assert "On 96 examples of train, best weights; the training examples, for want of a dev split" in page.text


def test_a_large_split_is_sampled_and_that_is_said(tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlc.runtime.report.sample.MOST", 10)
    page = run(tiny(NO_DEV), tmp_path / "run")
    assert "On 10 of the 96 examples of train" in page.text
    assert sum(int(cell) for cell in page.cells[:9] if cell.isdigit()) == 10


REGRESSION = (
    ("label: i64[]", "height: f32[] = raw.a"),
    (" -> dropout(0.2)", ""),
    ("-> Linear(3)", "-> Linear(1) -> squeeze(-1)"),
    ("cross_entropy(logits, label)", "mse(logits, height)"),
    ("  metrics { acc = accuracy(logits, label) }\n", ""),
)


def test_a_regression(tiny: Make, tmp_path: Path) -> None:
    page = run(tiny(*REGRESSION), tmp_path / "run", epochs=5)
    assert page.titles == ["Result", "Curves", "Predicted and true", "Worst errors", "What was run"]
    found = evaluate(tmp_path / "run", "dev", device="cpu")
    assert f"Root mean square error {np.sqrt(found.values['loss']):.4g}" in page.text
    assert page.elements["circle"] >= 24, "a point for each example"
    assert page.elements["rect"] == 6, "a bar for four examples"


def test_two_classes(tiny: Make, tmp_path: Path) -> None:
    two = (
        ("label: i64[]", "high: f32[] = float(raw.b > 3)"),
        ("-> Linear(3)", "-> Linear(1) -> squeeze(-1)"),
        ("cross_entropy(logits, label)", "binary_cross_entropy(logits, high)"),
        ("accuracy(logits, label)", "mean((logits > 0) == (high > 0.5))"),
    )
    page = run(tiny(*two), tmp_path / "run", epochs=8)
    found = evaluate(tmp_path / "run", "dev", device="cpu")
    assert f"Classes are the values of high. {found.values['acc']:.2%} are right." in page.text
    assert sum(int(cell) for cell in page.cells[:4] if cell.isdigit()) == 24


def test_a_loss_of_another_kind_has_the_rest(tiny: Make, tmp_path: Path) -> None:
    other = (
        ("cross_entropy(logits, label)", "mean(square(logits)) + 0 * mean(float(label))"),
        ("metrics { acc = accuracy(logits, label) }", "metrics { size = mean(abs(logits)) }"),
    )
    notes: list[str] = []
    page = run(tiny(*other), tmp_path / "run", notes=notes)
    assert page.titles == ["Result", "Curves", "What was run"] and notes == []


PICTURES = """
data shots {
  train = npz("shots.npz")
  dev   = holdout(train, 0.5, by=label)
  image: f32[CHANNELS, 12, 12] = raw.image / 255
  label: i64[]
}
net n {
  input image: f32[B, CHANNELS, 12, 12]
  logits = image -> NET -> Linear(2)
  return logits
}
train n on shots {
  loss = cross_entropy(logits, label)
  optimizer = SGD(lr=0.0)
  batch = 8
  epochs = 1
}
"""


def shots(folder: Path, channels: int, net: str, monkeypatch: pytest.MonkeyPatch) -> Program:
    monkeypatch.setenv("DLC_CACHE", str(folder / "cache"))
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, size=(40, channels, 12, 12), dtype=np.uint8)
    image[:, :, 0, 0], image[:, :, 0, 1] = 0, 255
    np.savez(folder / "shots.npz", image=image, label=np.arange(40) % 2)
    (folder / "n.net").write_text(PICTURES.replace("CHANNELS", str(channels)).replace("NET", net))
    return Program.open(folder / "n.net")


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_and_filters(channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = shots(tmp_path, channels, "Conv(6, 3) -> relu -> flatten", monkeypatch)
    page = run(program, tmp_path / "run", "n")
    assert page.titles == ["Result", "Curves", "Confusion matrix", "Worst mistakes", "First weights", "What was run"]
    *mistakes, filters = page.images
    known = np.load(tmp_path / "shots.npz")["image"]
    wrong = int(re.findall(r"(\d+) of 20 are wrong", page.text)[0])
    assert len(mistakes) == wrong > 0
    for uri in mistakes:
        shown = decoded(uri)
        assert shown.shape == ((12, 12) if channels == 1 else (12, 12, 3))
        as_read = shown[None] if channels == 1 else np.moveaxis(shown, 2, 0)
        assert (known == as_read[None]).all(axis=(1, 2, 3)).any(), "one of the pictures, as it was"
    assert decoded(filters).shape == (9, 17, 4), "two rows of four filters of 3 by 3, with lines between"
    assert "n.conv.weight: 6 filters of 3 by 3" in page.text


def test_the_weights_of_a_dense_layer_on_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = run(shots(tmp_path, 1, "flatten -> Linear(100)", monkeypatch), tmp_path / "run", "n")
    assert "n.linear.weight: the first 64 of 100 units" in page.text
    assert decoded(page.images[-1]).shape == (6 * 13 + 1, 12 * 13 + 1, 4)


def test_a_watched_run_shows_its_layers(tiny: Make, tmp_path: Path) -> None:
    deep = ("Linear(16) -> tanh -> dropout(0.2) -> Linear(3)", "repeat 10 { Linear(16) -> sigmoid } -> Linear(3)")
    page = run(tiny(deep, ("Adam(lr=lr)", "SGD(lr=lr)")), tmp_path / "run", watch=1)
    assert "Layers" in page.titles and "Step 2: vanishing gradients in tiny.repeat[0].linear" in page.text
    page = run(tiny(), tmp_path / "well", watch=1)
    assert "Nothing vanishes, explodes or is dead." in page.text


def test_the_learning_rate_is_drawn_where_it_is_an_expression(tiny: Make, tmp_path: Path) -> None:
    assert "learning rate" not in run(tiny(), tmp_path / "a").text
    program = tiny(("Adam(lr=lr)", "Adam(lr=cosine(step, lr, total=steps))"))
    assert "learning rate" in run(program, tmp_path / "b").text


def test_run_json_stays_json(tiny: Make, tmp_path: Path) -> None:
    run(tiny(), tmp_path / "run")
    evaluate(tmp_path / "run", device="cpu", report=True)
    recorded = json.loads((tmp_path / "run" / "run.json").read_text())
    assert set(recorded["evaluated"]["test"]["values"]) == {"loss", "acc"}
