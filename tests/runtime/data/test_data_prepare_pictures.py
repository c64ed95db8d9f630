"""Pictures from files to fields: resize is Pillow's and PyTorch's, crops are torchvision's, mistakes have places."""

import numpy as np
import pytest
from PIL import Image

from dlc.compiler.emit import serialized
from dlc.compiler.products import deployed, unit_model
from dlc.compiler.program import Program
from dlc.dsl.diagnostics import SourceError
from dlc.runtime.data import DataError, prepare

RNG = np.random.default_rng(3)
SIZES = [(40, 61), (61, 40), (200, 33), (37, 37), (16, 300), (10, 12), (257, 129)]


def picture(height: int, width: int) -> np.ndarray:
    """Smooth with noise, so that both a shift and a missing filter would show."""
    y, x = np.mgrid[:height, :width]
    base = np.stack([np.sin(x / 5) + np.cos(y / 7), np.cos(x / 3 - y / 9), np.sin((x + y) / 11)], -1)
    noisy = 128 + 40 * base + RNG.normal(0, 15, base.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


PICTURES = [picture(*size) for size in SIZES]


@pytest.fixture
def prepared(tmp_path):
    """prepared(fields): the split `train` of a folder with PICTURES, through the compiler; `prepared.all` the data."""
    for k, each in enumerate(PICTURES):
        path = tmp_path / "pets" / ("ant" if k % 2 else "cat") / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(each).save(path)

    def go(fields: str, reader: str = 'folder("pets")'):
        (tmp_path / "a.net").write_text(f"data pets {{\n  train = {reader}\n  {fields}\n}}\n")
        program = Program.open(tmp_path / "a.net", {})
        unit, fit = program.prepare("pets"), program.fit("pets")
        models = [serialized(unit_model(program, each)) if each is not None else None for each in (unit, fit)]
        assert unit.plan is not None
        go.all = prepare(unit.plan.json(), *models, tmp_path, cache=tmp_path / "cache")
        order = [int(p.stem) for p in sorted((tmp_path / "pets").glob("*/*.png"))]
        fields_of = go.all.split("train").fields
        there = order[: len(go.all.split("train"))]
        return {k: {name: array[i] for name, array in fields_of.items()} for i, k in enumerate(there)}

    return go


def torch_resized(each: np.ndarray, height: int, width: int) -> np.ndarray:
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle")
    x = torch.from_numpy(np.moveaxis(each, 2, 0)[None].astype(np.float32))
    return torch.nn.functional.interpolate(x, (height, width), mode="bilinear", antialias=True)[0].numpy() / 255


@pytest.mark.parametrize(("height", "width"), [(24, 24), (17, 50), (64, 9), (1, 1)])
def test_resize_is_bilinear_with_antialias(prepared, height, width):
    found = prepared(f"image: f32[3, {height}, {width}] = decode_image(raw.file) -> resize({height}, {width})")
    for k, each in enumerate(PICTURES):
        assert np.abs(found[k]["image"] - torch_resized(each, height, width)).max() < 1e-4, SIZES[k]
        pillow = np.asarray(Image.fromarray(each).resize((width, height), Image.Resampling.BILINEAR)) / 255
        # Pillow rounds to whole levels after the rows and again after the columns.
        assert np.abs(found[k]["image"] - np.moveaxis(pillow, 2, 0)).max() < 1.01 / 255, SIZES[k]


@pytest.mark.parametrize(("short", "crop"), [(16, 16), (16, 12), (23, 13), (40, 8)])
def test_resize_to_a_side_and_crop_is_torchvision_s(prepared, short, crop):
    """Resize(short), CenterCrop(crop) as torchvision 0.20 computes sizes and offsets.

    With an odd margin (23 to 14) two crops that each round can differ from one by a pixel.
    """
    found = prepared(
        f"image: f32[3, {crop}, {crop}] = decode_image(raw.file) -> resize({short}) -> center_crop({crop})"
    )
    for k, each in enumerate(PICTURES):
        height, width = each.shape[:2]
        scaled = (short, int(short * width / height)) if height <= width else (int(short * height / width), short)
        whole = torch_resized(each, *scaled)
        top, left = (round((side - crop) / 2) for side in scaled)
        wanted = whole[:, top : top + crop, left : left + crop]
        assert np.abs(found[k]["image"] - wanted).max() < 1e-4, SIZES[k]


def test_crops_and_kinds_of_pictures(prepared):
    found = prepared(
        "middle: u8[3, 9, 12] = raw.image -> center_crop(9, 12)\n"
        "  grey: f32[1, 8, 8] = decode_image(raw.file, channels=3) -> grayscale -> resize(8, 8)\n"
        "  flat: f32[6, 6] = raw.image / 255 -> resize(6) -> grayscale -> squeeze(0)\n"
        "  scaled: f32[3, 8, 8] = decode_image(raw.file) -> resize(8, 8) -> standardize\n"
        "  label: i64[] = raw.class"
    )
    for k, each in enumerate(PICTURES):
        top, left = (round((side - n) / 2) for side, n in zip(each.shape[:2], (9, 12), strict=True))
        assert np.array_equal(found[k]["middle"], np.moveaxis(each[top : top + 9, left : left + 12], 2, 0))
        grey = torch_resized(each, 8, 8) * np.array([0.299, 0.587, 0.114]).reshape(3, 1, 1)
        assert np.allclose(found[k]["grey"], grey.sum(0, keepdims=True), atol=1e-4)
        assert found[k]["label"] == k % 2 ^ 1
    every = np.stack([each["scaled"] for each in found.values()])
    assert np.allclose(every.mean((0, 2, 3)), 0, atol=1e-5) and np.allclose(every.std((0, 2, 3)), 1, atol=1e-5)
    assert prepared.all.fitted["pets.scaled.mean"].shape == (3, 1, 1)
    assert prepared.all.classes == {"label": ("ant", "cat")}


def test_a_picture_that_is_too_small_is_named(prepared, tmp_path):
    for size in (11, 13, 14, 20):
        with pytest.raises(DataError) as caught:
            prepared(f"image: f32[3, {size}, 2] = decode_image(raw.file) -> center_crop({size}, 2)")
        for word in ("split `train` (a.net:2)", "5.png", "`file` is u8[3, 10, 12]"):
            assert word in str(caught.value), str(caught.value)


def test_a_damaged_picture_is_named_with_the_line(prepared, tmp_path):
    (tmp_path / "pets" / "cat" / "2.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 40)
    with pytest.raises(DataError) as caught:
        prepared("image: f32[3, 4, 4] = decode_image(raw.file) -> resize(4, 4)")
    assert "split `train` (a.net:2): " in str(caught.value) and "2.png: " in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("image: f32[3, 8, 8] = raw.file -> center_crop(8)", ["this is a file", "decode_image(raw.file) ->"]),
        ("image: f32[3, 8, 8] = raw.file", ["not decoded", "decode_image(raw.file)"]),
        ("image: f32[3, 8, 8] = decode_image(raw.label)", ["`decode_image` wants a file"]),
        ("image: f32[3, 8, 8] = decode_image(raw.file, channels=2)", ["1, 3 or 4 channels"]),
        ("image: f32[3, 8, 8] = decode_image(raw.file)", ["E0602", "file_height"]),
        ("image: f32[3, 8, 8] = decode_image(raw.file) -> resize(0)", ["`height` of `resize` wants an integer from 1"]),
        ("image: f32[3, 8, 8] = decode_image(raw.file) -> resize(8) -> center_crop(9)", ["9 does not fit into 8"]),
        ("image: f32[3, 8, 8] = raw.image -> resize(8) -> grayscale", ["E0602", "made as f32[1, 8, 8]"]),
        ("label: i64[] = raw.lable", ["did you mean `label`?"]),
    ],
)
def test_mistakes_that_need_no_picture(tmp_path, fields, words):
    from dlc.dsl.diagnostics import render_all

    text = f'data pets {{\n  train = folder("no such folder")\n  {fields}\n}}\n'
    (tmp_path / "a.net").write_text(text)
    with pytest.raises(SourceError) as caught:
        Program.open(tmp_path / "a.net", {}).prepare("pets")
    shown = render_all(caught.value.diagnostics, {str(tmp_path / "a.net"): text}, False)
    for word in words:
        assert word in shown, shown


def test_pictures_of_one_size_are_resized_in_batches(tmp_path):
    """What `dlc export` puts in front of a net, for a reader whose pictures have one size."""
    import onnxruntime

    (tmp_path / "a.net").write_text(
        "data digits {\n  train = mnist_5k()\n  image: f32[1, 14, 9] = raw.image / 255 -> resize(20) -> "
        "center_crop(19, 20) -> resize(14, 9)\n  label: i64[]\n}\n"
        "net tiny {\n  input image: f32[B, 1, 14, 9]\n  twice = image * 2\n  return twice\n}\n"
    )
    images = RNG.integers(0, 256, (5, 28, 28), dtype=np.uint8)
    program = Program.open(tmp_path / "a.net", {})
    single = onnxruntime.InferenceSession(serialized(unit_model(program, program.prepare("digits"))))
    batched = onnxruntime.InferenceSession(serialized(deployed(program, "tiny", {}, "digits")))
    (found,) = batched.run(None, {"image": images})
    one_by_one = [single.run(["image"], {"raw.image": each, "raw.label": np.array(0)})[0] for each in images]
    assert np.allclose(found / 2, np.stack(one_by_one), atol=1e-6)


def test_what_is_exported_takes_pictures_as_they_are(prepared, tmp_path):
    import onnxruntime

    from dlc.runtime.data.pictures import decode

    fields = "image: f32[3, 12, 12] = decode_image(raw.file) -> resize(16) -> center_crop(12) -> normalize(0.4, 0.2)"
    found = prepared(fields)
    net = "net tiny {\n  input image: f32[B, 3, 12, 12]\n  twice = image * 2\n  return twice\n}\n"
    (tmp_path / "a.net").write_text((tmp_path / "a.net").read_text() + net)
    model = deployed(Program.open(tmp_path / "a.net", {}), "tiny", {}, "pets")
    session = onnxruntime.InferenceSession(serialized(model))
    for k, path in ((int(path.stem), path) for path in (tmp_path / "pets").glob("*/*.png")):
        (twice,) = session.run(None, {"image": np.stack([decode(path, 3)] * 2)})
        assert np.allclose(twice / 2, found[k]["image"], atol=1e-5)


def test_one_example_of_two_pictures(prepared, tmp_path):
    fields = (
        "content: f32[3, 16, 16] = resize(raw.first, 16)\n"
        "  style: f32[3, 16, 16] = decode_image(raw.second) -> resize(16)"
    )
    prepared(fields, 'one(image("pets/cat/0.png"), image("pets/ant/1.png"))')
    both = prepared.all.split("train").fields
    prepared("image: f32[3, 16, 16] = raw.image / 255 -> resize(16)", 'image("pets/cat/0.png")')
    assert np.array_equal(both["content"], prepared.all.split("train").fields["image"])
    prepared("image: f32[3, 16, 16] = raw.image / 255 -> resize(16)", 'image(path="pets/ant/1.png")')
    assert np.array_equal(both["style"], prepared.all.split("train").fields["image"])
    with pytest.raises(DataError, match=r"a\.net:2.*did you mean `0\.png`"):
        prepared(fields, 'one(image("pets/cat/0.pgn"), image("pets/ant/1.png"))')
