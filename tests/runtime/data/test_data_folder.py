"""The readers of folders of pictures: classes by names, what is passed over, and what is refused."""

import os

import numpy as np
import pytest
from PIL import Image

from dlc.runtime.data import DataError, read

RECORDS = {"file": {"dtype": "u8", "shape": [1, "h", "w"]}, "label": {"dtype": "i64", "shape": []}}


def paint(path, shade=0, size=(3, 2)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, shade, np.uint8)).save(path)


def plan(*splits, records=RECORDS):
    return {
        "splits": [{"name": n, "reader": r, "named": {"path": p}, "at": f"pets.net:{k + 2}"}
                   for k, (n, r, p) in enumerate(splits)],
        "records": records,
        "pictures": ["file"],
    }  # fmt: skip


@pytest.fixture
def pets(tmp_path):
    for k, name in enumerate(("b.png", "a.JPG", "deep/er/c.bmp")):
        paint(tmp_path / "pets" / "cat" / name, 10 * k)
    paint(tmp_path / "pets" / "Ant" / "x.png", 90)
    paint(tmp_path / "pets" / "dog" / "x.png", 70, (9, 4))
    return tmp_path


def load(folder, *splits, said=None, **settings):
    made = plan(*(splits or [("train", "folder", "pets")]))
    return read(made, folder, say=([] if said is None else said).append, **settings)


def message(folder, *splits):
    with pytest.raises(DataError) as caught:
        load(folder, *splits)
    return str(caught.value)


def test_a_subfolder_is_a_class(pets):
    train = load(pets)["train"]
    assert train.classes["label"] == ("Ant", "cat", "dog")
    assert train.arrays["label"].tolist() == [0, 1, 1, 1, 2]
    assert [train.where(i).removeprefix(f"{pets}/pets/") for i in range(5)] == [
        "Ant/x.png", "cat/a.JPG", "cat/b.png", "cat/deep/er/c.bmp", "dog/x.png",
    ]  # fmt: skip
    assert train.arrays["file"][4].shape == (1, 9, 4) and (train.arrays["file"][4] == 70).all()


def test_other_files_are_passed_over_and_counted(pets):
    others = ["readme.txt", "cat/Thumbs.db", "cat/.hidden.png", ".git/x.png", "loose.png", "__MACOSX/cat/x.png"]
    for name in (f"pets/{each}" for each in others):
        (pets / name).parent.mkdir(exist_ok=True, parents=True)
        (pets / name).write_bytes(b"x")
    said = []
    assert len(load(pets, said=said)["train"]) == 5
    assert len(said) == 1 and "4 files passed over" in said[0] and ".hidden.png" in said[0]


def test_one_class_is_told(pets):
    said = []
    paint(pets / "one" / "only" / "a.png")
    load(pets, ("train", "folder", "one"), said=said)
    assert "only one class, `only`" in said[0]


def test_folders_that_do_not_go(pets):
    assert "did you mean `pets`" in message(pets, ("train", "folder", "pest"))
    assert "pets.net:2" in message(pets, ("train", "folder", "pest"))
    assert "expected a folder, found a file" in message(pets, ("train", "folder", "pets/dog/x.png"))
    assert "does not exist either" in message(pets, ("train", "folder", "no/such"))
    (pets / "empty").mkdir()
    assert "one subfolder a class, found none (0 pictures" in message(pets, ("train", "folder", "empty"))
    assert "found none (1 picture " in message(pets, ("train", "folder", "pets/dog"))
    (pets / "pets" / "emu").mkdir()
    text = message(pets)
    assert str(pets / "pets" / "emu") in text and "holds no pictures" in text


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_and_links_to_nothing(pets):
    """Reading a pipe would wait for ever."""
    os.mkfifo(pets / "pets" / "dog" / "pipe.png")
    assert "pipe.png: expected a picture file, found something else, a pipe or a device" in message(pets)
    (pets / "pets" / "dog" / "pipe.png").unlink()
    (pets / "pets" / "dog" / "link.png").symlink_to(pets / "gone.png")
    assert "link.png: expected a picture file, found a link to nothing" in message(pets)
    (pets / "gone.png").write_bytes((pets / "pets" / "dog" / "x.png").read_bytes())
    assert load(pets)["train"].arrays["label"].tolist() == [0, 1, 1, 1, 2, 2]  # a link to a picture is one


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root and Windows read every folder")
def test_a_folder_that_may_not_be_read(pets):
    (pets / "pets" / "cat" / "deep").chmod(0)
    try:
        assert "Permission denied" in message(pets)
    finally:
        (pets / "pets" / "cat" / "deep").chmod(0o700)


def test_a_split_that_lacks_a_class_has_the_training_numbers(pets):
    paint(pets / "dev" / "dog" / "y.png", 33)
    both = ("train", "folder", "pets"), ("dev", "folder", "dev")
    dev = load(pets, *both)["dev"]
    assert dev.arrays["label"].tolist() == [2] and dev.classes["label"] == ("Ant", "cat", "dog")
    alone = load(pets, *both, splits=["dev"])
    assert alone["dev"].arrays["label"].tolist() == [2] and list(alone) == ["dev"]


def test_a_training_split_that_is_taken_from_another_numbers_classes_too(pets):
    paint(pets / "dev" / "dog" / "y.png", 33)
    made = plan(("all", "folder", "pets"), ("dev", "folder", "dev"))
    made["splits"].insert(1, {"name": "train", "reader": "holdout", "of": "all", "size": 3, "by": None, "seed": 0})
    assert read(made, pets, splits=["dev"])["dev"].arrays["label"].tolist() == [2]


def test_a_class_that_training_has_not(pets):
    paint(pets / "dev" / "cta" / "y.png")
    text = message(pets, ("train", "folder", "pets"), ("dev", "folder", "dev"))
    assert "split `dev`" in text and "`cta`" in text and "did you mean `cat`?" in text


def test_the_hash_is_of_what_the_files_hold(pets):
    before = load(pets)["train"].sha256
    assert load(pets)["train"].sha256 == before
    paint(pets / "pets" / "dog" / "x.png", 71, (9, 4))
    assert load(pets)["train"].sha256 != before


def test_stratified_by_a_picture(pets):
    made = plan(("train", "folder", "pets"))
    made["splits"].append({"name": "dev", "reader": "holdout", "of": "train", "size": 1, "by": "file", "seed": 0})
    with pytest.raises(DataError, match="needs one value an example, found pictures"):
        read(made, pets)


def test_one_picture(pets):
    found = read(plan(("train", "image", "pets/dog/x.png"), records={"file": RECORDS["file"]}), pets)
    assert found["train"].arrays["file"][0].shape == (1, 9, 4)


def test_a_table_that_names_files(pets):
    (pets / "a.csv").write_text("file,label\npets/dog/x.png,1\n pets/Ant/x.png ,0\n")
    train = load(pets, ("train", "csv", "a.csv"))["train"]
    assert [int(train.arrays["file"][k].max()) for k in (0, 1)] == [70, 90]
    assert train.where(1).endswith("a.csv, line 3")
    (pets / "a.csv").write_text("file,label\npets/dog/x.png,1\npets/dog/gone.png,0\n")
    text = message(pets, ("train", "csv", "a.csv"))
    assert 'a.csv, line 3: column `file` is "pets/dog/gone.png"' in text


def drawn(folder, reader, names, seed=0):
    records = dict.fromkeys(names[:-1], RECORDS["file"]) | {names[-1]: RECORDS["label"]}
    made = plan(("train", reader, "pets"), records=records) | {"pictures": names[:-1]}
    made["splits"][0]["named"]["seed"] = seed
    return read(made, folder)["train"]


def test_triplets(pets):
    paint(pets / "pets" / "dog" / "y.png", 71)
    found = drawn(pets, "triplet_folder", ["anchor", "positive", "negative", "label"])
    sides = [found.arrays[name].files for name in ("anchor", "positive", "negative")]
    assert found.arrays["label"].tolist() == [1, 1, 1, 2, 2]  # the ant is alone
    for anchor, positive, negative in zip(*sides, strict=True):
        assert positive != anchor and positive.relative_to(pets).parts[1] == anchor.relative_to(pets).parts[1]
        assert negative.relative_to(pets).parts[1] != anchor.relative_to(pets).parts[1]
    again = drawn(pets, "triplet_folder", ["anchor", "positive", "negative", "label"])
    assert again.arrays["negative"].files == sides[2]
    seen = {drawn(pets, "triplet_folder", ["anchor", "positive", "negative", "label"], s).arrays["negative"].files
            for s in range(8)}  # fmt: skip
    assert len(seen) > 3
    assert {each.name for files in seen for each in files} >= {"x.png", "y.png", "b.png", "a.JPG", "c.bmp"}
    assert found.where(0).count(".") >= 3 and "cat" in found.where(0)


def test_pairs(pets):
    found = drawn(pets, "pair_folder", ["left", "right", "same"])
    sides = zip(found.arrays["left"].files, found.arrays["right"].files, found.arrays["same"], strict=True)
    for left, right, same in sides:
        assert left != right
        assert (left.relative_to(pets).parts[1] == right.relative_to(pets).parts[1]) == bool(same)
    assert found.arrays["same"].tolist() == [0, 1, 0, 1, 0, 1, 0, 0]  # ant, three cats, dog


def test_one_class_has_no_triplets(pets):
    paint(pets / "pets2" / "only" / "a.png")
    with pytest.raises(DataError, match="expected two classes or more"):
        read({**plan(("train", "triplet_folder", "pets2")), "pictures": []}, pets)
