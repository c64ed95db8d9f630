"""Tensors and checkpoints come back bit for bit; a damaged file is told, a damaged newest checkpoint is passed over."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from dlc.runtime.checkpoint import Best, Checkpoint, Checkpoints, load_tensors, save_tensors
from dlc.runtime.errors import InputError

TYPES = [
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
]


def checkpoint(step: int, **changes: Any) -> Checkpoint:
    random = np.random.default_rng(step)
    tensors = {
        "lenet.conv.weight": random.standard_normal((6, 1, 5, 5), dtype=np.float32),
        "lenet.conv.bias": np.zeros(6, np.float32),
        "lenet.optimizer.t": np.array(step, np.int64),
    }
    plain = Checkpoint(step, step // 10, step % 10, tensors, seed=7, graph_hash="g", data_hash="d")
    return dataclasses.replace(plain, **changes)


# --- tensors ---


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("shape", [(), (1,), (0, 3), (2, 3)])
def test_types_and_shapes_are_kept(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 2, shape).astype(name)
    save_tensors(tmp_path / "a.safetensors", {"x": array}, {})
    loaded = load_tensors(tmp_path / "a.safetensors")[0]["x"]
    assert (loaded.dtype, loaded.shape, loaded.tobytes()) == (array.dtype, shape, array.tobytes())
    assert loaded.flags.writeable


def test_bfloat16(tmp_path: Path) -> None:
    array = np.array([1.5, -2.0, np.inf], ml_dtypes.bfloat16)
    save_tensors(tmp_path / "a.safetensors", {"x": array}, {})
    loaded = load_tensors(tmp_path / "a.safetensors")[0]["x"]
    assert loaded.dtype == array.dtype
    assert loaded.tobytes() == array.tobytes()


def test_views_and_foreign_byte_order_are_saved_by_value(tmp_path: Path) -> None:
    tensors = {
        "transposed": np.arange(6.0).reshape(2, 3).T,
        "big": np.arange(3, dtype=">f4"),
        "strided": np.arange(9)[::2],
    }
    save_tensors(tmp_path / "a.safetensors", tensors, {})
    loaded, _ = load_tensors(tmp_path / "a.safetensors")
    for name, array in tensors.items():
        np.testing.assert_array_equal(loaded[name], array)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [0.1, -0.0, 5e-324, 1e-45, math.inf, math.nan, 1 / 3, 16777217.0])
def test_a_scalar_float_comes_back_bit_for_bit(tmp_path: Path, dtype: Any, value: float) -> None:
    array = np.array(value, dtype)
    save_tensors(tmp_path / "a.safetensors", {"x": array}, {})
    assert load_tensors(tmp_path / "a.safetensors")[0]["x"].tobytes() == array.tobytes()


def test_equal_content_gives_equal_bytes_that_the_library_reads(tmp_path: Path) -> None:
    tensors = {"b": np.ones(3, np.float32), "a": np.arange(2), "c": np.array(True)}
    metadata = {str(i): str(i) for i in range(20)}
    save_tensors(tmp_path / "1", tensors, metadata)
    save_tensors(tmp_path / "2", dict(reversed(tensors.items())), dict(reversed(metadata.items())))
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    for name, array in safetensors.numpy.load_file(tmp_path / "1").items():
        np.testing.assert_array_equal(array, tensors[name])
    assert load_tensors(tmp_path / "1")[1] == metadata


def test_a_file_of_another_program_is_read(tmp_path: Path) -> None:
    safetensors.numpy.save_file({"x": np.ones(2)}, tmp_path / "a.safetensors", {"format": "np"})
    tensors, metadata = load_tensors(tmp_path / "a.safetensors")
    assert tensors["x"].tolist() == [1, 1]
    assert metadata == {"format": "np"}


def test_names_outside_ascii(tmp_path: Path) -> None:
    save_tensors(tmp_path / "a.safetensors", {"größe.β": np.ones(1)}, {"ü": '"\n'})
    tensors, metadata = load_tensors(tmp_path / "a.safetensors")
    assert list(tensors) == ["größe.β"]
    assert metadata == {"ü": '"\n'}


def test_a_type_that_has_no_code_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="w: a tensor of <U1 cannot be saved"):
        save_tensors(tmp_path / "a", {"w": np.array(["a"])}, {})
    assert list(tmp_path.iterdir()) == []


def good(path: Path) -> bytes:
    save_tensors(path, {"x": np.arange(100, dtype=np.float32), "y": np.ones(4)}, {"k": "v"})
    return path.read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda whole: b"", "empty file"),
        (lambda whole: whole[:-1], "truncated or damaged"),
        (lambda whole: whole[:60], "truncated or damaged"),
        (lambda whole: b"PK\x03\x04" + bytes(100), "expected a safetensors file, found something else"),
        (lambda whole: b"\x80\x04\x95" + bytes(3), "expected a safetensors file, found something else"),
        (lambda whole: whole[:-3] + b"\x00\x01\x02", "does not match the SHA-256"),
        (lambda whole: whole.replace(b'"k":"v"', b'"k":"w"'), "does not match the SHA-256"),
        (lambda whole: whole.replace(b'"x":', b'"z":'), "does not match the SHA-256"),
    ],
)
def test_a_bad_file_is_told(tmp_path: Path, content: Callable[[bytes], bytes], message: str) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content(good(path)))
    with pytest.raises(InputError, match=message) as caught:
        load_tensors(path)
    assert str(path) in caught.value.message


def test_every_flipped_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    checkpoint(1).save(path)
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(InputError):
            Checkpoint.load(path)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_tensors(tmp_path / "none")
    with pytest.raises(InputError, match="found a folder"):
        load_tensors(tmp_path)


# --- checkpoints ---


def test_a_checkpoint_comes_back_whole(tmp_path: Path) -> None:
    saved = checkpoint(
        12,
        best=Best(0.1 + 0.2, 9, "dev.loss"),
        patience={"waited": 2, "best": math.inf},
        schedule=[{"lr": 1e-3 / 3, "bad": 0}],
        versions={"dlc": "0.1.0", "threads": "2"},
    )
    Checkpoints(tmp_path).save(saved)
    loaded = Checkpoints(tmp_path).latest()
    assert loaded is not None
    for item in dataclasses.fields(Checkpoint):
        if item.name != "tensors":
            assert getattr(loaded, item.name) == getattr(saved, item.name)
    assert {n: (a.dtype, a.shape, a.tobytes()) for n, a in loaded.tensors.items()} == {
        n: (a.dtype, a.shape, a.tobytes()) for n, a in saved.tensors.items()
    }


@pytest.mark.parametrize("value", [0.1, 5e-324, -0.0, 1.7976931348623157e308, -math.inf])
def test_the_best_value_comes_back_bit_for_bit(tmp_path: Path, value: float) -> None:
    Checkpoints(tmp_path).save(checkpoint(1, best=Best(value, 1, "dev.acc")))
    loaded = Checkpoints(tmp_path).latest()
    assert loaded is not None
    assert loaded.best is not None
    assert loaded.best.value.hex() == value.hex()


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    assert store.latest() is None
    for step in (5, 10, 1_000_000_000, 2_000_000_000):
        store.save(checkpoint(step))
    assert store.steps() == [1_000_000_000, 2_000_000_000]


@pytest.mark.parametrize(
    "damage", [lambda whole: whole[: len(whole) // 2], lambda whole: b"", lambda whole: whole[:-1] + b"!"]
)
def test_a_damaged_newest_is_passed_over(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    notes: list[str] = []
    store = Checkpoints(tmp_path, notes.append)
    store.save(checkpoint(10))
    store.save(checkpoint(20))
    store.path(20).write_bytes(damage(store.path(20).read_bytes()))
    latest = store.latest()
    assert latest is not None
    assert latest.step == 10
    assert str(store.path(20)) in notes[0]
    assert "older checkpoint at step 10" in notes[1]
    store.save(checkpoint(15))
    assert store.steps() == [10, 15], "the damaged file does not take the place of a good one"


def test_all_damaged(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path, lambda note: None)
    for step in (1, 2):
        store.save(checkpoint(step))
        store.path(step).write_bytes(b"")
    with pytest.raises(InputError, match="none of the 2 checkpoints can be read"):
        store.latest()


def test_a_checkpoint_of_something_else(tmp_path: Path) -> None:
    save_tensors(tmp_path / "a", {}, {"dlc.format": "weights 1"})
    with pytest.raises(InputError, match=r"expected a checkpoint of dlc \(checkpoint 1\), found weights 1"):
        Checkpoint.load(tmp_path / "a")
    save_tensors(tmp_path / "a", {}, {})
    with pytest.raises(InputError, match="found no format of dlc"):
        Checkpoint.load(tmp_path / "a")


def test_weights_leave_optimizer_state_out(tmp_path: Path) -> None:
    roles = {"w": "parameter", "m": "state", "o": "optimizer", "f": "frozen", "mean": "fitted"}
    tensors = {name: np.array(1.0) for name in roles}
    path = Checkpoints(tmp_path).save_weights("best", tensors, roles, {"step": "4"})
    loaded, metadata = load_tensors(path)
    assert path == tmp_path / "best.safetensors"
    assert set(loaded) == {"w", "m", "f", "mean"}
    assert metadata["step"] == "4"
    assert json.loads(metadata["dlc.roles"]) == {name: roles[name] for name in loaded}


# --- going on ---


def signatures(of: Checkpoint) -> dict[str, Any]:
    return {name: (array.dtype, array.shape) for name, array in of.tensors.items()}


def test_the_same_run_goes_on_without_a_word() -> None:
    saved = checkpoint(1, versions={"dlc": "1"})
    assert saved.check_resumable(signatures(saved), "d", "g", {"dlc": "1"}, {}) == []


def test_what_may_differ_is_noted() -> None:
    saved = checkpoint(1, versions={"dlc": "1", "threads": "2"})
    notes = saved.check_resumable(signatures(saved), "d", "other", {"dlc": "1", "threads": "4"}, {})
    assert len(notes) == 2
    assert "graph changed" in notes[0]
    assert notes[1].startswith("threads was 2 and is 4")


def test_other_data_are_refused() -> None:
    before = {"train": [72, "a"], "dev": [24, "b"], "old": [3, "c"]}
    now = {"train": [71, "x"], "dev": [24, "y"], "new": [3, "c"]}
    with pytest.raises(InputError) as caught:
        checkpoint(1, splits=before).check_resumable(signatures(checkpoint(1)), "other", "g", {}, now)
    assert caught.value.message == (
        "the data changed since the checkpoint was written: the split `dev` has other values or another order in its "
        "24 examples; the split `new` is new; the split `old` is gone; the split `train` had 72 examples and has 71"
    )


def test_another_model_is_refused_by_name() -> None:
    carried = signatures(checkpoint(1))
    carried["lenet.conv2.bias"] = carried.pop("lenet.conv.bias")
    carried["lenet.conv.weight"] = (np.dtype("float32"), (6, 3, 5, 5))
    with pytest.raises(InputError) as caught:
        checkpoint(1).check_resumable(carried, "d", "g", {}, {})
    assert "lenet.conv2.bias: in the model, not in the checkpoint" in caught.value.message
    assert "lenet.conv.bias: in the checkpoint, not in the model" in caught.value.message
    assert "the model has float32[6, 3, 5, 5], the checkpoint float32[6, 1, 5, 5]" in caught.value.message


def test_many_differences_are_counted() -> None:
    carried = {f"w{i:02}": (np.dtype("float32"), ()) for i in range(20)}
    with pytest.raises(InputError, match="and 13 more"):
        checkpoint(1).check_resumable(carried, "d", "g", {}, {})
