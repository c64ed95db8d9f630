"""`dlc data`: counts, classes, numbers, licence and the picture."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from cli_cases import Dlc
from PIL import Image

from dlc.runtime.data.fetch import registry

PETS = """\
data pets {
  train = folder("pets")
  dev = holdout(train, 2, by="label")
  image: f32[3, 20, 30] = decode_image(raw.file) -> resize(20, 30)
  label: i64[]
}
"""
SHADES = {"ant": 40, "cat": 120, "dog": 250}


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    for number, (name, shade) in enumerate(SHADES.items()):
        for k in range(4 + number):
            path = tmp_path / "pets" / name / f"{k}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((9 + k, 8, 3), shade, np.uint8)).save(path)
    (tmp_path / "pets.net").write_text(PETS)
    return tmp_path / "pets.net"


def test_classes_are_counted_by_name(dlc: Dlc, pets: Path) -> None:
    done = dlc("data", pets)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    at = lines.index("label  class  train  dev")
    rows = [line.split() for line in lines[at + 1 : at + 4]]
    assert [row[:2] for row in rows] == [["0", "ant"], ["1", "cat"], ["2", "dog"]]
    assert [int(row[2]) + int(row[3]) for row in rows] == [4, 5, 6] and sum(int(row[3]) for row in rows) == 2
    told = dlc("data", pets, "--json").json
    tallies = {name: sum(each.values()) for name, each in told["classes"]["label"].items()}
    assert tallies == {"ant": 4, "cat": 5, "dog": 6}
    assert told["picture"] is None
    numbers = told["splits"]["train"]["fields"]["image"]
    assert numbers["min"] == pytest.approx(40 / 255, abs=1e-6) and numbers["max"] == pytest.approx(250 / 255, abs=1e-6)
    assert numbers["missing"] == 0 and 0.2 < numbers["std"] < 0.4


def test_names_that_would_drive_the_terminal_are_escaped(dlc: Dlc, tmp_path: Path) -> None:
    (tmp_path / "a.net").write_text('data d {\n  train = csv("a.csv")\n  x: f32[] = raw.x\n  k: i64[] = raw.k\n}\n')
    names = ["ca\x1b[31mt", '"big\ndog"', "l" * 90]
    (tmp_path / "a.csv").write_text("x,k\n" + "".join(f"{at},{name}\n" for at, name in enumerate(names)))
    done = dlc("data", tmp_path / "a.net")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    at = lines.index(f"k  {'class':63}  train")
    assert [line.split()[:3] for line in lines[at + 1 : at + 4]] == [
        ["0", "big\\ndog", "1"],
        ["1", "ca\\x1b[31mt", "1"],
        ["2", "l" * 60 + "...", "1"],
    ]
    assert [*dlc("data", tmp_path / "a.net", "--json").json["classes"]["k"]] == ["big\ndog", "ca\x1b[31mt", "l" * 90]


def test_a_contact_sheet_has_a_row_for_each_class(dlc: Dlc, pets: Path, tmp_path: Path) -> None:
    done = dlc("data", pets, "-o", tmp_path / "sheet.png")
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1] == f"picture: {tmp_path / 'sheet.png'}"
    sheet = np.asarray(Image.open(tmp_path / "sheet.png").convert("L"))
    # Down the middle of the first column: each row's pictures in their shade, in the order of classes.
    column = sheet[:, 30]
    starts = np.flatnonzero(np.diff(column, prepend=0))
    lengths = np.diff(starts, append=len(column))
    long = [int(column[at]) for at, length in zip(starts, lengths, strict=True) if length > 35]
    assert long == list(SHADES.values())  # 20 x 30 is shown twice as large


def test_the_default_place_is_the_cache(dlc: Dlc, pets: Path, tmp_path: Path) -> None:
    done = dlc("data", pets)
    path = tmp_path / "cache" / "sheets" / "pets.pets.png"
    assert done.out.splitlines()[-1] == f"picture: {path}" and path.is_file()


def test_histograms_of_columns(dlc: Dlc, tiny: Path, tmp_path: Path) -> None:
    (tiny.parent / "houses.csv").write_text("a,b,c,price\n0,1,2,10\n3,4,5,20\n6,7,8,60\n")
    done = dlc("data", tiny, "-o", tmp_path / "h.png")
    assert done.code == 0, done.err
    assert Image.open(tmp_path / "h.png").size == (1200, 220)  # four panels: a, b, c and price
    assert dlc("data", tiny, "-o", tmp_path / "again.png").code == 0
    assert (tmp_path / "h.png").read_bytes() == (tmp_path / "again.png").read_bytes()


def test_many_classes_and_large_pictures(tmp_path: Path) -> None:
    import io

    from dlc.runtime.data import Dataset, Split
    from dlc.runtime.data.sheet import sheet

    label = np.arange(200) % 50
    images = np.zeros((200, 1, 300, 20), np.uint8)
    data = Dataset({"train": Split("train", {"x": images, "label": label}, "")}, {}, "", {})
    content = sheet(data, {})
    assert content is not None
    width, height = Image.open(io.BytesIO(content)).size
    assert width >= 320 and height == 16 + 12 * (16 + 160 + 4) + 4  # 48 of 50 classes in 4 columns, pictures 160 high
    few = Dataset({"train": Split("train", {"x": images[:, :, :100], "label": label % 3}, "")}, {}, "", {})
    content = sheet(few, {})
    assert content is not None
    assert Image.open(io.BytesIO(content)).size == (320, 16 + 3 * (16 + 100 + 4) + 4)  # what fits stays in one column
    few.classes["label"] = ("big\ndog", "\x1b[31m", "cat")
    content = sheet(few, {})
    assert content is not None
    assert Image.open(io.BytesIO(content)).size == (320, 16 + 3 * (16 + 100 + 4) + 4)  # a name is a line
    nothing = Dataset({"train": Split("train", {"x": np.zeros((4, 2, 3, 4, 5))}, "")}, {}, "", {})
    assert sheet(nothing, {}) is None


@pytest.mark.parametrize(
    ("output", "code", "words"),
    [("sheet.jpg", 2, "ends in .png"), ("no/such/sheet.png", 2, "no folder no/such")],
)
def test_places_that_do_not_go(
    dlc: Dlc, pets: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, output: str, code: int, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = dlc("data", pets, "-o", output)
    assert done.code == code and words in done.err


def test_a_missing_folder_has_the_line(dlc: Dlc, pets: Path) -> None:
    pets.write_text(PETS.replace('folder("pets")', 'folder("pest")'))
    done = dlc("data", pets)
    assert done.code == 1
    assert "split `train` (pets.net:2)" in done.err and "did you mean `pets`?" in done.err


def test_statistics_leave_out_what_is_missing() -> None:
    from dlc.runtime.data.statistics import statistics

    values = np.random.default_rng(0).normal(5, 2, (9000, 3)).astype(np.float32)
    values[::9, 1] = np.nan
    found = statistics(values)
    assert found is not None
    there = values[~np.isnan(values)].astype(np.float64)
    assert found.missing == pytest.approx(1 / 27)
    assert (found.min, found.max) == (there.min(), there.max())
    assert found.mean == pytest.approx(there.mean()) and found.std == pytest.approx(there.std())
    assert statistics(np.full((2, 2), np.nan)) is None and statistics(np.zeros((0, 2))) is None


FIELDS = {"iris": 4, "wine": 13, "breast_cancer": 30, "diabetes": 10}


@pytest.mark.parametrize("name", [*FIELDS, "digits8x8"])
def test_source_and_licence_of_what_packages_carry(dlc: Dlc, tmp_path: Path, name: str) -> None:
    """scikit-learn's installed files stand in for the download: they are the pinned ones."""
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is an extra of the tests")
    chosen = registry()[name]
    home = tmp_path / "cache" / "packages" / f"scikit-learn-{chosen.distribution.version}"
    home.mkdir(parents=True)
    for member in chosen.members:
        base = Path(member).name
        shutil.copy(Path(datasets.__file__).parent / "data" / base, home / base)
    field = f"x: f32[{FIELDS[name]}] = raw.features" if name in FIELDS else "x: f32[8, 8] = raw.image"
    (tmp_path / "it.net").write_text(f"data it {{\n  train = {name}()\n  {field}\n}}\n")
    done = dlc("data", tmp_path / "it.net")
    assert done.code == 0, done.err
    assert f"from {chosen.source} (licence: {chosen.licence})" in done.out
