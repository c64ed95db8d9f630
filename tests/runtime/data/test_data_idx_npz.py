"""The readers of IDX files and NumPy archives: round trips, and files that lie."""

import gzip
import io
import struct
import zipfile

import numpy as np
import pytest

from dlc.runtime.data import DataError
from dlc.runtime.data.archive import load_npy

RECORDS = {"image": {"dtype": "u8", "shape": [1, 2, 3]}, "label": {"dtype": "i64", "shape": []}}
IMAGES = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
LABELS = np.array([3, 1, 2, 0], np.uint8)


def idx_bytes(array: np.ndarray, kind: int = 0x08) -> bytes:
    big = array.astype(array.dtype.newbyteorder(">"))
    return struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape) + big.tobytes()


def archive(path, **arrays) -> None:
    np.savez(path, **arrays)


def raw_npy(shape, descr="<f4", data=b"") -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue() + data


@pytest.mark.parametrize("zipped", [False, True])
def test_idx(tmp_path, load, zipped):
    for name, array in (("images", IMAGES), ("labels", LABELS)):
        data = idx_bytes(array)
        (tmp_path / (name + ".gz" * zipped)).write_bytes(gzip.compress(data) if zipped else data)
    records = load("idx", "images", "labels", records=RECORDS)
    assert records.arrays["image"].shape == (4, 1, 2, 3)  # the leading 1 was missing
    assert (records.arrays["image"][:, 0] == IMAGES).all()
    assert records.arrays["label"].dtype == np.int64 and records.arrays["label"].tolist() == [3, 1, 2, 0]


def test_idx_wide_types_are_big_endian(tmp_path, load):
    (tmp_path / "images").write_bytes(idx_bytes(np.array([[1.5, -2.0]], np.float32), 0x0D))
    (tmp_path / "labels").write_bytes(idx_bytes(np.array([-70000], np.int32), 0x0C))
    records = load("idx", images="images", labels="labels", records={
        "image": {"dtype": "f32", "shape": None}, "label": {"dtype": "i64", "shape": []}})  # fmt: skip
    assert records.arrays["image"].tolist() == [[1.5, -2.0]] and records.arrays["label"].tolist() == [-70000]


GOOD = idx_bytes(IMAGES)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", ["not an IDX file", "an empty file"]),
        (b"\x89PNG\r\n", ["not an IDX file", "89 50 4e 47"]),
        (b"\0\0\x07\x03" + GOOD[4:], ["not an IDX file"]),
        (b"\0\0\x08\x00", ["not an IDX file"]),
        (GOOD[:9], ["cut short", "3 dimensions"]),
        (GOOD[:-1], ["[4, 2, 3], 24 bytes", "only 23"]),
        (GOOD + b"\0", ["24 bytes", "more follow"]),
        (struct.pack(">HBB4I", 0, 8, 4, *[2**32 - 1] * 4), ["only 0 follow"]),
        (gzip.compress(struct.pack(">HBB3I", 0, 8, 3, *[2**32 - 1] * 3), mtime=0), ["only 0 follow"]),
        (gzip.compress(GOOD, mtime=0)[:-9], ["cut short"]),
        (idx_bytes(LABELS), ["expected pictures", "first argument"]),
        (idx_bytes(IMAGES[:3]), ["3 pictures", "4 labels"]),
        (idx_bytes(IMAGES.reshape(4, 3, 2)), ["`image` is u8[3, 2]", "u8[1, 2, 3] was declared"]),
        (idx_bytes(IMAGES[:0]), ["0 pictures"]),
    ],
)
def test_wrong_idx(tmp_path, refused, data, words):
    (tmp_path / "images").write_bytes(data)
    (tmp_path / "labels").write_bytes(idx_bytes(LABELS))
    message = refused("idx", "images", "labels", records=RECORDS)
    assert "images" in message
    for word in words:
        assert word in message, message


def test_idx_labels_that_are_pictures(tmp_path, refused):
    (tmp_path / "images").write_bytes(GOOD)
    assert "one label an example" in refused("idx", "images", "images", records=RECORDS)


def test_npz(tmp_path, load):
    archive(tmp_path / "a.npz", image=IMAGES, label=LABELS.astype(">i4"))
    records = load("npz", "a.npz", records=RECORDS)
    assert (records.arrays["image"][:, 0] == IMAGES).all()
    assert records.arrays["label"].dtype == np.dtype("int64") and records.arrays["label"].tolist() == [3, 1, 2, 0]


def test_npz_parts_in_both_spellings(tmp_path, load):
    archive(tmp_path / "a.npz", image_train=IMAGES, train_label=LABELS, label=LABELS[:1], image_test=IMAGES[:1])
    assert len(load("npz", "a.npz", "train", records=RECORDS)) == 4


def test_npz_compressed_and_fortran(tmp_path, load):
    np.savez_compressed(tmp_path / "a.npz", x=np.asfortranarray(np.arange(6.0).reshape(3, 2)))
    assert load("npz", "a.npz", records={"x": {"dtype": "f32", "shape": [2]}}).arrays["x"].tolist() == [
        [0, 1],
        [2, 3],
        [4, 5],
    ]


def test_wrong_npz(tmp_path, refused):
    path = tmp_path / "a.npz"
    path.write_bytes(b"")
    assert "not a whole .npz" in refused("npz", "a.npz", records=RECORDS)
    archive(path, image=IMAGES, label=LABELS)
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    assert "not a whole .npz" in refused("npz", "a.npz", records=RECORDS)
    path.write_bytes(whole.replace(IMAGES.tobytes(), IMAGES.tobytes()[::-1]))
    assert "Bad CRC" in refused("npz", "a.npz", records=RECORDS)
    archive(path, imgae=IMAGES, label=LABELS)
    assert "did you mean `imgae`" in refused("npz", "a.npz", records=RECORDS)
    assert "`test_image` or `image_test`" in refused("npz", "a.npz", "test", records=RECORDS)
    archive(path, image=IMAGES, label=LABELS[:3])
    message = refused("npz", "a.npz", records=RECORDS)
    assert "`image` has 4" in message and "`label` has 3" in message
    archive(path, image=IMAGES, label=np.array(["a", "b", "c", "d"]))
    assert "`label` holds <U1" in refused("npz", "a.npz", records=RECORDS)
    archive(path, image=IMAGES, label=np.uint8(3))
    assert "single number" in refused("npz", "a.npz", records=RECORDS)
    archive(path, image=IMAGES, label=np.array([1, 2, np.nan, 4]))
    assert "example 2" in (message := refused("npz", "a.npz", records=RECORDS)) and "nan" in message
    archive(path, image=IMAGES.astype(int) * 20, label=LABELS)
    message = refused("npz", "a.npz", records={"image": {"dtype": "u8", "shape": [2, 3]}})
    assert "example 2" in message and "`image` at [0, 1] is 260, outside 0 to 255" in message
    archive(path, image=IMAGES[:0])
    assert "expected examples" in refused("npz", "a.npz", records={"image": {"dtype": "u8", "shape": [2, 3]}})


class Trap:
    def __reduce__(self):
        return (exec, ("raise SystemExit('a pickle was loaded')",))


def test_npz_never_unpickles(tmp_path, refused):
    np.savez(tmp_path / "a.npz", x=np.array([Trap()], dtype=object))
    assert "pickled Python objects" in refused("npz", "a.npz", records={"x": {"dtype": "f32", "shape": []}})


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (raw_npy((2**40, 2**20)), "holds 0"),
        (raw_npy((4,), data=b"\0" * 15), "16 bytes, but holds 15"),
        (raw_npy((4,), data=b"\0" * 17), "holds 17"),
        (b"\x93NUMPY\x09\x00", "version"),
        (b"not numpy at all", "cannot be read"),
        (b"", "cannot be read"),
    ],
)
def test_npz_members_that_lie(tmp_path, refused, member, words):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as out:
        out.writestr("x.npy", member)
        out.writestr("../../climbs.npy", raw_npy((1,), data=b"\0" * 4))
    assert words in refused("npz", "a.npz", records={"x": {"dtype": "f32", "shape": []}})
    assert not (tmp_path.parent.parent / "climbs.npy").exists()


def header(text: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + 1) + text + b"\n"


def described(shape: str) -> bytes:
    return header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode())


SCALAR = {"x": {"dtype": "f32", "shape": []}}
FOUR = described("(1,)") + bytes(4)


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (header(b"(" * 9000), "expected the header of a NumPy array"),
        (header(b"-" * 9500 + b"1"), "expected the header of a NumPy array"),
        (header(b"x" * 60000), "expected the header of a NumPy array"),
        (header(b"{}"), "expected the header of a NumPy array"),
        (described("(True,)") + bytes(4), "announces the shape [True]"),
        (described("(-1, -1)") + bytes(4), "announces the shape [-1, -1]"),
        (described("(4611686018427387904, 0)"), "cannot be read"),
        (described(f"({'1, ' * 70})") + bytes(4), "cannot be read"),
    ],
)
@pytest.mark.parametrize("packed", [True, False])
def test_headers_that_make_numpy_stumble(tmp_path, refused, packed, member, words):
    """In an archive, and in a file of their own as `dlc run` takes it."""
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as out:
        out.writestr("x.npy", member)
    (tmp_path / "a.npy").write_bytes(member)
    if packed:
        assert words in refused("npz", "a.npz", records=SCALAR)
        return
    with pytest.raises(DataError) as caught:
        load_npy(tmp_path / "a.npy")
    assert words in str(caught.value) and str(caught.value).startswith(str(tmp_path / "a.npy"))


def test_two_arrays_of_one_name(tmp_path, refused):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as out, pytest.warns(UserWarning, match="Duplicate"):
        out.writestr("x.npy", FOUR)
        out.writestr("x.npy", FOUR)
    assert "holds 2 arrays called `x`" in refused("npz", "a.npz", records=SCALAR)


def test_archives_that_cannot_be_unpacked(tmp_path, refused):
    path = tmp_path / "a.npz"

    def changed(packing: int, *bytes_: tuple[int, int]) -> str:
        with zipfile.ZipFile(path, "w", packing) as out:
            out.writestr("x.npy", FOUR)
        data = bytearray(path.read_bytes())
        central = data.find(b"PK\x01\x02")
        for at, value in bytes_:
            data[at if at >= 0 else central - at] = value
        path.write_bytes(data)
        return refused("npz", "a.npz", records=SCALAR)

    assert "is encrypted" in changed(zipfile.ZIP_STORED, (6, 1), (-8, 1))
    assert "not supported" in changed(zipfile.ZIP_STORED, (8, 99), (-10, 99))
    assert "not a whole .npz" in changed(zipfile.ZIP_STORED, (4, 250), (-6, 250))  # a version to come
    for packing in (zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        assert "array `x` cannot be read" in changed(packing, *((at, 255) for at in range(50, 75)))


def test_values_that_are_no_numbers(tmp_path, refused):
    for array, words in (
        (np.ones(3, np.complex64), "holds complex64"),
        (np.array(["2020-01-01"], "M8[s]"), "holds datetime64[s]"),
        (np.zeros(2, [("a", "<f4")]), "but only numbers can be read"),
    ):
        archive(tmp_path / "a.npz", x=array)
        assert words in refused("npz", "a.npz", records=SCALAR)


@pytest.mark.parametrize("seed", range(4))
def test_damage_never_raises_anything_else(tmp_path, load, seed):
    rng = np.random.default_rng(seed)
    np.savez_compressed(tmp_path / "whole.npz", x=np.arange(50, dtype=np.float32))
    whole = (tmp_path / "whole.npz").read_bytes()
    outcomes = set()
    for _ in range(150):
        data = bytearray(whole)
        for at in rng.integers(0, len(data), rng.integers(1, 4)):
            data[at] = rng.integers(256)
        (tmp_path / "a.npz").write_bytes(data)
        try:
            outcomes.add(len(load("npz", "a.npz", records=SCALAR)))
        except DataError as error:
            assert "a.npz" in str(error)
            outcomes.add(0)
    assert outcomes == {0, 50}


def test_npy_instead_of_npz(tmp_path, refused):
    np.save(tmp_path / "a.npy", IMAGES)
    assert "not a whole .npz" in refused("npz", "a.npy", records=RECORDS)


def test_bombs_are_not_unpacked(tmp_path, refused, monkeypatch):
    from dlc.runtime.data import files

    monkeypatch.setattr(files, "LARGE", 1 << 20)
    n = 4 << 20
    np.savez_compressed(tmp_path / "a.npz", image=np.zeros((n, 2, 3), np.uint8), label=np.zeros(n, np.int64))
    assert "more than 200 times its size" in refused("npz", "a.npz", records=RECORDS)
    (tmp_path / "images").write_bytes(gzip.compress(idx_bytes(np.zeros((4 << 20, 2, 3), np.uint8))))
    (tmp_path / "labels").write_bytes(idx_bytes(LABELS))
    assert "more than 200 times its size" in refused("idx", "images", "labels", records=RECORDS)
