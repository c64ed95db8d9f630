"""Running a model on pictures, files and numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, external_data_helper, helper, load, numpy_helper, save
from PIL import Image

from dlc.compiler.manifest import Carried, Field, Manifest, attach
from dlc.runtime.data.pictures import decode
from dlc.runtime.errors import InputError
from dlc.runtime.predict import Wanted, fitted, run_model, told

KINDS = {"u8": TensorProto.UINT8, "f32": TensorProto.FLOAT, "i64": TensorProto.INT64}


@pytest.fixture
def echo(tmp_path: Path) -> Any:
    """echo(image=("u8", ["B", 1, 4, 4])): a model that gives each input back as NAME_out."""

    def make(**inputs: tuple[str, list[int | str]]) -> Path:
        ins = [helper.make_tensor_value_info(name, KINDS[k], shape) for name, (k, shape) in inputs.items()]
        outs = [helper.make_tensor_value_info(f"{name}_out", KINDS[k], s) for name, (k, s) in inputs.items()]
        nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in inputs]
        graph = helper.make_graph(nodes, "g", ins, outs)
        path = tmp_path / "echo.onnx"
        save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
        return path

    return make


def given(model: Path, **inputs: str) -> Any:
    return run_model(model, inputs).outputs[f"{next(iter(inputs))}_out"]


def picture(path: Path, mode: str = "L", size: tuple[int, int] = (4, 4), **options: Any) -> Any:
    rng = np.random.default_rng(0)
    depth = len(Image.new(mode, (1, 1)).getbands())
    pixels = rng.integers(0, 256, (size[1], size[0], depth) if depth > 1 else (size[1], size[0]), dtype=np.uint8)
    Image.fromarray(pixels, mode if depth > 1 else None).save(path, **options)
    return pixels


def test_pictures_become_channels_height_width(echo: Any, tmp_path: Path) -> None:
    grey = picture(tmp_path / "grey.png")
    color = picture(tmp_path / "color.png", "RGB", (5, 3))
    assert given(echo(image=("u8", ["B", 1, 4, 4])), image=str(tmp_path / "grey.png")).tolist() == [[grey.tolist()]]
    found = given(echo(image=("u8", ["B", 3, 3, 5])), image=str(tmp_path / "color.png"))
    assert np.array_equal(found, np.moveaxis(color, 2, 0)[None])
    found = given(echo(image=("u8", ["B", 3, "H", "W"])), image=str(tmp_path / "color.png"))
    assert found.shape == (1, 3, 3, 5)
    assert given(echo(image=("u8", [4, 4])), image=str(tmp_path / "grey.png")).tolist() == grey.tolist()
    found = given(echo(image=("u8", ["B", 1, 3, 5])), image=str(tmp_path / "color.png"))
    assert np.array_equal(found[0, 0], np.asarray(Image.fromarray(color).convert("L")))
    found = given(echo(image=("u8", ["B", 3, 4, 4])), image=str(tmp_path / "grey.png"))
    assert np.array_equal(found[0], np.stack([grey] * 3))


def test_a_picture_of_another_size_is_resized_with_a_note(echo: Any, tmp_path: Path) -> None:
    picture(tmp_path / "large.png", size=(9, 8))
    notes: list[str] = []
    path = str(tmp_path / "large.png")
    found = run_model(echo(image=("u8", ["B", 1, 4, 4])), {"image": path}, note=notes.append).outputs["image_out"]
    assert found.shape == (1, 1, 4, 4)
    assert notes == [f"{path}: 9x8 is resized to 4x4 for `image`"]


def test_a_picture_stands_the_way_it_was_taken(echo: Any, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    pixels = picture(tmp_path / "turned.png", size=(5, 3), exif=exif)
    found = given(echo(image=("u8", ["B", 1, 5, 3])), image=str(tmp_path / "turned.png"))
    assert np.array_equal(found[0, 0], np.rot90(pixels, -1))


@pytest.mark.parametrize("kind", ["deep", "cmyk", "palette", "opaque", "animation", "renamed"])
def test_pictures_are_decoded_as_in_training(echo: Any, tmp_path: Path, kind: str) -> None:
    """16 bits, other colours, opacity: what `run` sees is what the reader of folders saw."""
    rng = np.random.default_rng(1)
    colors = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    path = tmp_path / {"cmyk": "a.jpg", "animation": "a.gif", "renamed": "a.jpg"}.get(kind, "a.png")
    if kind == "deep":
        Image.fromarray(rng.integers(0, 65536, (4, 4), dtype=np.uint16)).save(path)
    elif kind == "animation":
        colors.save(path, save_all=True, append_images=[colors.rotate(90)])
    elif kind == "renamed":
        colors.save(path, format="PNG")
    else:
        colors.convert({"cmyk": "CMYK", "palette": "P", "opaque": "RGBA"}[kind]).save(path)
    for channels in (1, 3, 4):
        found = given(echo(image=("u8", ["B", channels, 4, 4])), image=str(path))
        assert np.array_equal(found[0], decode(path, channels)), channels
    found = given(echo(image=("u8", ["B", "C", "H", "W"])), image=str(path))
    assert np.array_equal(found[0], decode(path, None))


def test_a_picture_that_is_too_large_is_refused(echo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "bomb.png", size=(40, 40))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(InputError, match=r"bomb\.png: announces more than 0 million pixels"):
        given(echo(image=("u8", ["B", 1, 4, 4])), image=str(tmp_path / "bomb.png"))


def test_pictures_that_do_not_go(echo: Any, tmp_path: Path) -> None:
    picture(tmp_path / "grey.png")
    path = str(tmp_path / "grey.png")
    with pytest.raises(InputError, match="`image` is f32 and takes no picture") as caught:
        given(echo(image=("f32", ["B", 1, 4, 4])), image=path)
    assert caught.value.help is not None and "without --raw" in caught.value.help
    with pytest.raises(InputError, match=r"takes no picture: an example of it is \[2, 4, 4\]"):
        given(echo(image=("u8", ["B", 2, 4, 4])), image=path)
    (tmp_path / "fake.png").write_bytes(b"no picture")
    with pytest.raises(
        InputError, match=r"fake\.png: expected a picture \(jpeg, png, .*\), found a file that begins 6e 6f"
    ):
        given(echo(image=("u8", ["B", 1, 4, 4])), image=str(tmp_path / "fake.png"))


def test_numbers_arrays_and_tables(echo: Any, tmp_path: Path) -> None:
    model = echo(x=("f32", ["B", 3]))
    rows = np.arange(6, dtype=np.float64).reshape(2, 3)
    np.save(tmp_path / "x.npy", rows)
    np.savez(tmp_path / "one.npz", rows)
    np.savez(tmp_path / "two.npz", x=rows, y=rows + 1)
    (tmp_path / "x.csv").write_text("a,b,c\n0,1,2\n3,4,5\n")
    (tmp_path / "plain.csv").write_text("0,1,2\n3,4,5\n")
    for name in ("x.npy", "one.npz", "two.npz", "x.csv", "plain.csv"):
        found = given(model, x=str(tmp_path / name))
        assert found.dtype == np.float32 and np.array_equal(found, rows), name
    assert given(model, x="[1, 2.5, -3]").tolist() == [[1, 2.5, -3]]
    assert given(model, x="[[1, 2, 3], [4, 5, 6]]").tolist() == [[1, 2, 3], [4, 5, 6]]
    assert given(echo(n=("i64", ["B"])), n="5").tolist() == [5]
    assert given(echo(n=("i64", [])), n="5").tolist() == 5
    (tmp_path / "column.csv").write_text("7\n8\n")
    assert given(echo(n=("i64", ["B"])), n=str(tmp_path / "column.csv")).tolist() == [7, 8]


def test_batches_and_leading_ones() -> None:
    wanted = Wanted("image", np.dtype(np.uint8), ("B", 1, 4, 5))
    for shape, expected in (
        ((4, 5), (1, 1, 4, 5)), ((1, 4, 5), (1, 1, 4, 5)), ((7, 1, 4, 5), (7, 1, 4, 5)), ((7, 4, 5), (7, 1, 4, 5)),
    ):  # fmt: skip
        assert fitted(np.zeros(shape, np.uint8), wanted, "it").shape == expected
    for shape in ((5, 4), (5,), (), (2, 3, 4, 5), (1, 1, 1, 4, 5)):
        with pytest.raises(InputError, match=r"`image` is u8\[B, 1, 4, 5\], and it has the shape"):
            fitted(np.zeros(shape, np.uint8), wanted, "it")


def test_nothing_is_rounded_or_cut() -> None:
    wanted = Wanted("n", np.dtype(np.uint8), ("B",))
    assert fitted(np.array([3.0, 255.0]), wanted, "it").dtype == np.uint8
    for bad in (256, -1, 0.5, np.nan):
        with pytest.raises(InputError, match=f"`n` is u8\\[B\\], and it holds {bad}, which is no u8"):
            fitted(np.array([1, bad]), wanted, "it")
    with pytest.raises(InputError, match=r"expected u8\[B\], found <U1 in it"):
        fitted(np.array(["a"]), wanted, "it")


def test_inputs_that_cannot_be_read(echo: Any, tmp_path: Path) -> None:
    model = echo(x=("f32", ["B", 3]))
    np.savez(tmp_path / "two.npz", y=1, z=2)
    (tmp_path / "ragged.csv").write_text("1,2,3\n4,5\n")
    (tmp_path / "words.csv").write_text("a,b,c\nd,e,f\n")
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY")
    (tmp_path / "x.txt").write_text("1 2 3")
    np.save(tmp_path / "pickled.npy", np.array([{}], object), allow_pickle=True)
    for text, message in (
        ("gone.npy", "neither a file nor numbers"),
        (str(tmp_path / "two.npz"), "has no array `x`"),
        (str(tmp_path / "ragged.csv"), "rows of equally many numbers"),
        (str(tmp_path / "words.csv"), r"words\.csv: cannot be read"),
        (str(tmp_path / "broken.npy"), r"broken\.npy: cannot be read"),
        (str(tmp_path / "pickled.npy"), r"pickled\.npy: cannot be read"),
        (str(tmp_path / "x.txt"), "expected a picture"),
        ("[1, [2]]", "expected numbers in rows of equal length"),
        ('{"a": 1}', "expected numbers in rows of equal length"),
        ('"text"', "expected numbers in rows of equal length"),
        ("[1, 2]", r"`x` is f32\[B, 3\], and \[1, 2\] has the shape \[2\]"),
    ):
        with pytest.raises(InputError, match=message):
            given(model, x=text)
    for text in ("[nan, 1, 2]", "-inf"):
        with pytest.raises(InputError, match="what is not finite is written NaN, Infinity, -Infinity"):
            given(model, x=text)
    assert np.isnan(given(model, x="[NaN, 1, 2]")).any()
    with pytest.raises(InputError, match="has no input `y`; there are: x"):
        run_model(model, {"y": "1"})
    with pytest.raises(InputError, match=r"the input `x`, f32\[B, 3\], is not given"):
        run_model(model, {})


def test_models_that_are_refused(echo: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.onnx: no such file"):
        run_model(tmp_path / "gone.onnx", {})
    (tmp_path / "bad.onnx").write_bytes(b"\xff\xff\xff")
    with pytest.raises(InputError, match=r"bad\.onnx is no ONNX file"):
        run_model(tmp_path / "bad.onnx", {})
    outside = load(echo(x=("f32", [4])))
    outside.graph.initializer.append(numpy_helper.from_array(np.ones(4, np.float32), "w"))
    external_data_helper.set_external_data(outside.graph.initializer[0], "../secret")
    outside.graph.initializer[0].ClearField("raw_data")
    (tmp_path / "outside.onnx").write_bytes(outside.SerializeToString())
    with pytest.raises(InputError, match=r"outside\.onnx keeps w in another file"):
        run_model(tmp_path / "outside.onnx", {"x": "[1, 2, 3, 4]"})
    bare = load(echo(w=("f32", [4]), x=("f32", ["B"])))
    manifest = Manifest(kind="infer", carried={"w": Carried(None, "parameter")}, batch={"x": Field("f32", ("B",))})
    attach(bare, manifest)
    (tmp_path / "bare.onnx").write_bytes(bare.SerializeToString())
    with pytest.raises(InputError, match=r"takes its weights \(w, \.\.\.\) as inputs") as caught:
        run_model(tmp_path / "bare.onnx", {"x": "[1]"})
    assert caught.value.help is not None and "dlc export" in caught.value.help


def test_what_is_told() -> None:
    pets, numbers = ("ant", "bee", "cat"), ("0", "1")
    assert told("logits", np.array([[0, 5, 1]], np.float32), pets) == [
        "logits: bee (97.6%), then cat (1.8%), ant (0.7%)", "percentages by softmax",
    ]  # fmt: skip
    assert told("chance", np.array([[0.25, 0.75]], np.float32), numbers) == ["chance: 1 (75.0%), then 0 (25.0%)"]
    lines = told("logits", np.zeros((12, 2), np.float32), numbers)
    assert lines[0] == "logits[0]: 0 (50.0%), then 1 (50.0%)" and lines[-2:] == ["and 2 more", "percentages by softmax"]
    assert told("sizes", np.array([[5.1, 3.5]], np.float32)) == ["sizes f32[1, 2]: [[5.1, 3.5]]"]
    assert told("n", np.array([3])) == ["n i64[1]: [3]"]
    assert told("y", np.array([[1.5]], np.float32)) == ["y f32[1, 1]: [[1.5]]"]
    assert "nan" in told("logits", np.array([[np.nan, 1]], np.float32), numbers)[0]


@pytest.mark.parametrize(
    ("said", "known"),
    [
        ({"scores": ["ant", "bee"]}, {"scores": ("ant", "bee")}),
        ({"scores": ["ant"]}, {}), ({"scores": [1, 2]}, {}), ({"scores": ["a\x1b[2J", "b"]}, {}),
        ({"scores": "ab"}, {}), ({"other": ["a", "b"]}, {}),
        (["ant", "bee"], {}), (None, {}),
    ],
)  # fmt: skip
def test_names_of_classes_are_believed_where_they_fit(echo: Any, said: Any, known: Any) -> None:
    model = load(echo(scores=("f32", ["B", 2])))
    model.graph.output[0].name = model.graph.node[0].output[0] = "scores"
    model.graph.input[0].name = model.graph.node[0].input[0] = "x"
    extensions = {"x_classes": said} if said is not None else {}
    attach(model, Manifest(kind="net", batch={"x": Field("f32", ("B", 2))}, extensions=extensions))
    path = echo(scores=("f32", ["B", 2])).with_name("named.onnx")
    save(model, path)
    found = run_model(path, {"x": "[3, 0]"})
    assert found.classes == known
    assert found.text.startswith("scores: ant (95.3%), then bee (4.7%)" if known else "scores f32[1, 2]: [[3., 0.]]")
