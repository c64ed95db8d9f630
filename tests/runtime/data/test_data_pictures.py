"""Decoding picture files: every kind in the channels that are wanted, and files that lie, named in the message."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from dlc.runtime.data import DataError
from dlc.runtime.data.pictures import Pictures, decode

RNG = np.random.default_rng(0)
COLOR = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)


def luma(picture: np.ndarray) -> np.ndarray:
    return picture @ np.array([0.299, 0.587, 0.114])


@pytest.mark.parametrize("suffix", ["png", "bmp", "webp", "ppm", "gif", "jpg"])
def test_formats(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    smooth = np.linspace(0, 200, 35).reshape(5, 7, 1).repeat(3, 2).astype(np.uint8)
    Image.fromarray(smooth).save(path, **({"lossless": True} if suffix == "webp" else {}))
    found = decode(path, 3)
    assert found.dtype == np.uint8 and found.shape == (3, 5, 7) and found.flags.c_contiguous
    off = 6 if suffix == "jpg" else 0
    assert np.abs(found.astype(int) - np.moveaxis(smooth, 2, 0)).max() <= off


def test_channels(tmp_path):
    Image.fromarray(COLOR).save(tmp_path / "c.png")
    Image.fromarray(GREY).save(tmp_path / "g.pgm")
    assert np.array_equal(decode(tmp_path / "c.png", None), np.moveaxis(COLOR, 2, 0))
    assert np.array_equal(decode(tmp_path / "g.pgm", None), GREY[None])
    assert np.abs(decode(tmp_path / "c.png", 1)[0] - luma(COLOR)).max() <= 1
    assert np.array_equal(decode(tmp_path / "g.pgm", 3), np.stack([GREY] * 3))
    four = decode(tmp_path / "c.png", 4)
    assert four.shape == (4, 5, 7) and (four[3] == 255).all()


def test_opacity_palettes_and_two_values(tmp_path):
    alpha = np.dstack([COLOR, np.full((5, 7), 90, np.uint8)])
    Image.fromarray(alpha).save(tmp_path / "a.png")
    assert np.array_equal(decode(tmp_path / "a.png", 3), np.moveaxis(COLOR, 2, 0))
    Image.fromarray(np.dstack([GREY, GREY])).save(tmp_path / "la.png")
    assert np.array_equal(decode(tmp_path / "la.png", None), GREY[None])
    palette = Image.fromarray(GREY % 4).convert("P")
    palette.putpalette([9, 8, 7, 250, 0, 0, 0, 250, 0, 0, 0, 250])
    palette.save(tmp_path / "p.png", transparency=bytes([0, 255, 255, 255]))
    table = np.array([[9, 8, 7], [250, 0, 0], [0, 250, 0], [0, 0, 250]], np.uint8)
    assert np.array_equal(decode(tmp_path / "p.png", None), np.moveaxis(table[GREY % 4], 2, 0))
    Image.fromarray(GREY > 127).save(tmp_path / "b.png")
    assert np.array_equal(decode(tmp_path / "b.png", None)[0], np.where(GREY > 127, 255, 0))


@pytest.mark.parametrize("suffix", ["png", "pgm"])
def test_sixteen_bits_are_rounded_to_eight(tmp_path, suffix):
    deep = np.array([[0, 128, 129, 257, 32768, 65407, 65535]], np.uint16)
    if suffix == "png":
        Image.fromarray(deep).save(tmp_path / "a.png")
    else:
        (tmp_path / "a.pgm").write_bytes(b"P5 7 1 65535\n" + deep.astype(">u2").tobytes())
    assert decode(tmp_path / f"a.{suffix}", None).tolist() == [[[0, 0, 1, 1, 128, 255, 255]]]


def test_the_first_of_an_animation_and_the_way_it_was_taken(tmp_path):
    frames = [Image.fromarray(np.full((4, 4), 80 * k, np.uint8)) for k in range(3)]
    frames[1].save(tmp_path / "a.gif", save_all=True, append_images=frames[2:])
    assert (decode(tmp_path / "a.gif", 1) == 80).all()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(GREY).save(tmp_path / "t.png", exif=exif)
    assert np.array_equal(decode(tmp_path / "t.png", 1)[0], np.rot90(GREY, -1))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, data: bytes = b"", more: bytes = b"") -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)) + more
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def gif(width: int, height: int) -> bytes:
    """One block of pixels on a screen of that size."""
    screen = b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + b"\0\0\0\xff\xff\xff"
    return screen + b"," + struct.pack("<HHHH", 0, 0, width, height) + b"\0\x02\x02\x44\x01\0;"


@pytest.mark.parametrize("turn", range(1, 9))
def test_each_way_that_a_camera_was_held(tmp_path, turn):
    """By EXIF's tag Orientation: 1 and 2, 3 and 4, ... are mirrored, 5 to 8 lie on their side."""
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(GREY).save(tmp_path / "t.png", exif=exif)
    upright = [
        GREY, GREY[:, ::-1], GREY[::-1, ::-1], GREY[::-1], GREY.T, np.rot90(GREY, -1), GREY[::-1, ::-1].T,
        np.rot90(GREY),
    ]  # fmt: skip
    assert np.array_equal(decode(tmp_path / "t.png", 1)[0], upright[turn - 1])


def encoded(form: str) -> bytes:
    out = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(out, form)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", ["expected a picture (jpeg, png", "an empty file"]),
        (b"<html>not found", ["expected a picture", "begins 3c 68 74 6d"]),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", ["expected a picture", "begins 25 21 50 53"]),
        (png(30000, 30000), ["more than 89 million pixels", "refused"]),
        (png(10000, 10000), ["more than 89 million pixels", "refused"]),
        (gif(65535, 65535), ["more than 89 million pixels", "refused"]),
        (png(1, 1, b"\0a", chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(100 << 20)))), ["too large"]),
        (png(1, 1, b"\0a", chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(100 << 20)))), ["too large"]),
        (png(0, 4), ["expected a picture"]),
        (b"P5 -3 4 255\n" + b"x" * 12, ["expected a picture"]),
        (b"P5 99999999999 9 255\n", ["not a picture that can be read"]),
        (png(64, 64), ["not a picture that can be read"]),
        (b"\x89PNG\r\n\x1a\n", ["picture"]),
        (encoded("PNG")[:2000], ["not a picture that can be read"]),
        (encoded("JPEG")[:1500], ["not a picture that can be read", "truncated"]),
        (encoded("BMP")[:1500], ["not a picture that can be read"]),
        (encoded("GIF")[:1500], ["not a picture that can be read"]),
        (encoded("WEBP")[:1500], ["picture"]),
        (b"P5 7 5 255\n" + b"x" * 34, ["not a picture that can be read"]),
        (b"P5 7 5 99999\n", ["picture"]),
    ],
)
def test_files_that_are_no_pictures(tmp_path, data, words):
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        decode(path, 3)
    for word in [str(path), *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "PPM"])
def test_damage_never_raises_anything_else(tmp_path, form):
    whole, path = encoded(form), tmp_path / "a"
    outcomes = set()
    for _ in range(60):
        data = bytearray(whole)
        for at in RNG.integers(0, min(len(data), 400), 4):
            data[at] = RNG.integers(256)
        path.write_bytes(data)
        try:
            outcomes.add(decode(path, 3).shape[0])
        except DataError as error:
            assert str(path) in str(error)
            outcomes.add(0)
    assert 0 in outcomes


def test_a_column_of_pictures(tmp_path):
    for k, shade in enumerate((10, 20, 30)):
        Image.fromarray(np.full((2 + k, 3), shade, np.uint8)).save(tmp_path / f"{k}.png")
    column = Pictures(tuple(tmp_path / f"{k}.png" for k in range(3)), 1)
    assert len(column) == 3 and column[2].shape == (1, 4, 3)
    assert [int(each.max()) for each in column[np.array([2, 0])]] == [30, 10]
    (tmp_path / "1.png").unlink()
    with pytest.raises(DataError, match=r"1\.png"):
        column[1]
