"""Weights of other programs: names, layouts, and what is told where they do not fit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlc.runtime.checkpoint import FORMAT, save_tensors
from dlc.runtime.errors import InputError
from dlc.runtime.pretrained import Loaded, load, read

F32 = np.dtype(np.float32)
WANTED = {
    "net.base.conv[0].weight": (F32, (8, 3, 3, 3)),
    "net.base.conv[0].bias": (F32, (8,)),
    "net.base.fc.weight": (F32, (6, 4)),
    "net.base.words.table": (F32, (10, 5)),
}
PT = {"format": "pt"}


def array(*shape: int) -> Any:
    return np.random.default_rng(len(shape) + sum(shape)).normal(size=shape).astype(np.float32)


def torch_tensors(front: str) -> dict[str, Any]:
    names = {"conv.0.weight": (8, 3, 3, 3), "conv.0.bias": (8,), "fc.weight": (4, 6), "words.weight": (10, 5)}
    return {front + name: array(*shape) for name, shape in names.items()}


def loaded(folder: Path, tensors: dict[str, Any], metadata: dict[str, str], wanted: Any = WANTED) -> Loaded:
    save_tensors(folder / "w.safetensors", tensors, metadata)
    return load(folder / "w.safetensors", "net.base", wanted)


@pytest.mark.parametrize("front", ["", "base.", "net.base."])
def test_names_with_and_without_the_prefix(tmp_path: Path, front: str) -> None:
    tensors = torch_tensors(front)
    found = loaded(tmp_path, tensors, PT)
    assert set(found.tensors) == set(WANTED) and found.unused == [] and found.guessed == []
    assert np.array_equal(found.tensors["net.base.conv[0].weight"], tensors[f"{front}conv.0.weight"]), "as it is"
    assert np.array_equal(found.tensors["net.base.fc.weight"], tensors[f"{front}fc.weight"].T)
    assert np.array_equal(found.tensors["net.base.words.table"], tensors[f"{front}words.weight"])
    assert found.transposed == ["net.base.fc.weight"]
    assert all(value.flags.c_contiguous for value in found.tensors.values())


SQUARE = {"net.base.fc.weight": (F32, (4, 4)), "net.base.out.weight": (F32, (4, 2))}


def test_a_square_weight_goes_by_the_rest_of_the_file(tmp_path: Path) -> None:
    square, out = array(4, 4), array(4, 2)
    here = {"fc.weight": square, "out.weight": out}
    there = {"fc.weight": square, "out.weight": np.ascontiguousarray(out.T)}
    key = "net.base.fc.weight"
    assert np.array_equal(loaded(tmp_path, there, {}, SQUARE).tensors[key], square.T), "the other was transposed"
    assert np.array_equal(loaded(tmp_path, here, PT, SQUARE).tensors[key], square), "the other was not"
    alone = {key: SQUARE[key]}
    assert np.array_equal(loaded(tmp_path, here, PT, alone).tensors[key], square.T), "PyTorch says so itself"
    assert np.array_equal(loaded(tmp_path, here, {}, alone).tensors[key], square)
    ours = loaded(tmp_path, here, {FORMAT: "weights 1", **PT}, alone)
    assert np.array_equal(ours.tensors[key], square) and ours.guessed == []
    assert loaded(tmp_path, here, PT, alone).guessed == [key]


def test_what_dlc_wrote_is_never_transposed(tmp_path: Path) -> None:
    wanted = {"net.base.fc.weight": (F32, (6, 4))}
    with pytest.raises(InputError, match=r"expected float32\[6, 4\], found float32\[4, 6\] under fc.weight"):
        loaded(tmp_path, {"fc.weight": array(4, 6)}, {FORMAT: "weights 1"}, wanted)


def test_floats_are_converted_and_other_types_are_not(tmp_path: Path) -> None:
    import ml_dtypes

    wanted = {"net.base.bias": (F32, (3,)), "net.base.scale": (F32, (3,))}
    half = {"bias": np.array([1, 2, 3], np.float64), "scale": np.array([1, 2, 3], ml_dtypes.bfloat16)}
    found = loaded(tmp_path, half, {}, wanted)
    assert all(value.dtype == F32 and value.tolist() == [1, 2, 3] for value in found.tensors.values())
    with pytest.raises(InputError, match=r"net\.base\.scale: expected float32\[3\], found int64\[3\] under scale"):
        loaded(tmp_path, {"bias": half["bias"], "scale": np.arange(3)}, {}, wanted)


def test_a_part_that_is_one_weight(tmp_path: Path) -> None:
    save_tensors(tmp_path / "w.safetensors", {"w": array(3)}, {})
    found = load(tmp_path / "w.safetensors", "net.w", {"net.w": (F32, (3,))})
    assert np.array_equal(found.tensors["net.w"], array(3))


def test_missing_weights_are_listed_with_the_nearest_names(tmp_path: Path) -> None:
    tensors = torch_tensors("")
    tensors["conv.0.wieght"] = tensors.pop("conv.0.weight")
    del tensors["words.weight"]
    with pytest.raises(InputError) as caught:
        loaded(tmp_path, tensors, PT)
    message = caught.value.message
    assert "2 of the 4 weights of `net.base` are not in it" in message
    assert "net.base.conv[0].weight  (nearest in the file: conv.0.wieght)" in message
    assert "\n  net.base.words.table\n" in message
    assert "found: net.base.conv[0].bias as conv.0.bias, net.base.fc.weight as fc.weight" in message
    assert caught.value.help is not None and "conv.0.bias, conv.0.wieght, fc.weight" in caught.value.help


def test_many_missing_weights_give_a_short_message(tmp_path: Path) -> None:
    wanted = {f"net.base.fc[{i}].weight": (F32, (2, 2)) for i in range(500)}
    tensors = {f"other.{i}.weight": array(2, 2) for i in range(500)}
    with pytest.raises(InputError, match="and 488 more") as caught:
        loaded(tmp_path, tensors, PT, wanted)
    assert len(caught.value.message.splitlines()) < 20


def test_two_names_that_are_one(tmp_path: Path) -> None:
    tensors = {"conv[0].weight": array(2), "conv.0.weight": array(2)}
    with pytest.raises(InputError, match=r"conv.*are the same name for dlc"):
        loaded(tmp_path, tensors, {})


@pytest.mark.parametrize("name", ["vgg.pt", "vgg.pth", "vgg.bin", "vgg.ckpt", "vgg.pkl"])
def test_a_pickle_is_refused_with_the_way_to_convert_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="a pickle can run any program") as caught:
        read(tmp_path / name)
    assert caught.value.help is not None
    assert f"torch.load('{name}', weights_only=True), 'vgg.safetensors'" in caught.value.help


def test_files_that_are_something_else(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is imported, not loaded") as caught:
        read(tmp_path / "resnet.onnx")
    assert caught.value.help == 'import trunk from "resnet.onnx"'
    with pytest.raises(InputError, match=r"expected a \.safetensors or \.npz file of weights, found \.h5"):
        read(tmp_path / "keras.h5")
    with pytest.raises(InputError, match=r"of weights, found a folder") as caught:
        read(tmp_path)
    assert caught.value.help is not None and "best.safetensors" in caught.value.help
    for name, content in (("a.npz", b"hello"), ("b.npz", b"PK\x03\x04 truncated"), ("c.npz", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=r"expected a \.npz file of arrays"):
            read(tmp_path / name)
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "gone.npz")
    np.save(tmp_path / "one.npy", array(2))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(InputError, match=r"expected a \.npz file of arrays"):
        read(tmp_path / "one.npz")
    np.savez(tmp_path / "pickled.npz", x=np.array([{}], dtype=object))
    with pytest.raises(InputError, match=r"expected a \.npz file of arrays"):
        read(tmp_path / "pickled.npz")
