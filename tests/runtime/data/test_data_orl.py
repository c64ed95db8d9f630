"""The ORL faces: repaired exactly where the package's copy was taken for text."""

import io
from pathlib import Path

import numpy as np
import pytest

from dlc.runtime.data import DataError
from dlc.runtime.data.fetch import expanded, registry
from dlc.runtime.data.orl import read_faces

HEADER = b"P5\n92 112\n255\n"


def smooth(seed: int) -> np.ndarray:
    y, x = np.mgrid[:112, :92]
    return (seed % 7 + x // 3 + y // 4).astype(np.uint8)


def as_text(data: bytes) -> bytes:
    """What a checkout that takes a picture for text makes of it: a line end that is one already stays."""
    return data.replace(b"\r\n", b"\0mark").replace(b"\n", b"\r\n").replace(b"\0mark", b"\r\n")


def test_damaged_pictures_are_repaired():
    pictures = [smooth(k) for k in range(400)]
    pictures[5][50, 40:42] = 13, 10  # a line end that was in the picture before
    files = [HEADER + each.tobytes() for each in pictures]
    assert all(b"\n" in each[len(HEADER) :] for each in files)
    files = [as_text(each) if k % 3 == 2 else each for k, each in enumerate(files)]
    found = read_faces(Path("faces"), io.BytesIO(b"".join(files)))
    for k in range(400):
        assert np.array_equal(found[k], pictures[k]), k


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + HEADER, lambda data: b""])
def test_other_files_are_refused(change):
    files = b"".join(HEADER + np.zeros((112, 92), np.uint8).tobytes() for _ in range(400))
    with pytest.raises(DataError, match="expected 400 PGM pictures of 92 x 112"):
        read_faces(Path("faces"), io.BytesIO(change(files)))


def test_the_members_are_named_and_nothing_else():
    (member,) = registry()["orl_faces"].members
    names = expanded(member)
    assert len(names) == 400 == len(set(names))
    assert names[0].endswith("ORL_faces/s1/1.pgm") and names[-1].endswith("ORL_faces/s40/10.pgm")
    assert names[10].endswith("s2/1.pgm") and not any("target" in each for each in names)
