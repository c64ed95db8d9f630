"""External data: read from regular files inside the model's folder, mapped, and nothing else is ever opened."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_models import model, ran, through

from dlc.compiler.importer import BadModel, load, of_model

W = np.arange(12, dtype=np.float32).reshape(4, 3)


def written(folder: Path, *, data: bytes | None = None, dtype: int = TensorProto.FLOAT, **entries: Any) -> Path:
    """A model whose weight `w` is external, and its data in `w.bin`."""
    proto = model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": ("float", ["n", 4])}, ["y"])
    tensor = TensorProto(name="w", dims=W.shape, data_type=dtype, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": "w.bin", **entries}.items():
        if value is not None:
            tensor.external_data.add(key=key, value=str(value))
    proto.graph.initializer.append(tensor)
    folder.mkdir(exist_ok=True)
    (folder / "w.bin").write_bytes(W.tobytes() if data is None else data)
    path = folder / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def test_external_data_is_mapped_and_used(tmp_path: Path) -> None:
    path = written(tmp_path, data=b"\0" * 64 + W.tobytes() + b"rest", offset=64, length=48)
    imported = load(path)
    assert isinstance(imported.weights["w"].base, np.ndarray | np.memmap) and not imported.weights["w"].flags.writeable
    np.testing.assert_array_equal(imported.weights["w"], W)
    x = np.ones((2, 4), np.float32)
    np.testing.assert_allclose(ran(through(imported), {"x": x})[0], x @ W)


def test_external_data_in_a_folder_below(tmp_path: Path) -> None:
    path = written(tmp_path, location="parts/w.bin")
    (tmp_path / "parts").mkdir()
    (tmp_path / "w.bin").rename(tmp_path / "parts" / "w.bin")
    np.testing.assert_array_equal(load(path).weights["w"], W)


def test_bfloat16(tmp_path: Path) -> None:
    import ml_dtypes

    path = written(tmp_path, data=W.astype(ml_dtypes.bfloat16).tobytes(), dtype=TensorProto.BFLOAT16)
    proto = onnx.load(path, load_external_data=False)
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.BFLOAT16
    found = of_model(proto, tmp_path).weights["w"]
    assert found.dtype == ml_dtypes.bfloat16 and (found.astype(np.float32) == W).all()


REFUSED = {
    "a path that climbs out": ({"location": "../w.bin"}, "a path inside the model's folder is expected"),
    "an absolute path": ({"location": "/etc/hostname"}, "a path inside the model's folder is expected"),
    "a drive": ({"location": "C:w.bin"}, "a path inside the model's folder is expected"),
    "no path": ({"location": ""}, "a path inside the model's folder is expected"),
    "the folder itself": ({"location": "."}, "is a link or no regular file"),
    "a file that is not there": ({"location": "v.bin"}, "cannot be read: No such file"),
    "an offset that is no number": ({"offset": "-4"}, "the offset of its external data is '-4'"),
    "an offset of many digits": ({"offset": "9" * 5000}, "the offset of its external data is '9999"),
    "an offset past the end": ({"offset": 8}, "ends at byte 56 of 'w.bin', which has 48"),
    "a length that is not the tensor's": ({"length": 44}, r"[4, 3] of f32 takes 48 bytes, its external data 44"),
    "too few bytes": ({"data": b"1234"}, "ends at byte 48 of 'w.bin', which has 4"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_external_data_that_is_refused(tmp_path: Path, what: str) -> None:
    entries, message = REFUSED[what]
    with pytest.raises(BadModel) as error:
        load(written(tmp_path, **entries))
    assert message in str(error.value) and "the initializer 'w'" in str(error.value)


def _symbolic(inside: Path, outside: Path) -> None:
    (inside / "w.bin").unlink()
    (inside / "w.bin").symlink_to(outside / "w.bin")


def _hard(inside: Path, outside: Path) -> None:
    (inside / "w.bin").unlink()
    os.link(outside / "w.bin", inside / "w.bin")


def _folder(inside: Path, outside: Path) -> None:
    (inside / "parts").symlink_to(outside)


@pytest.mark.parametrize(
    ("link", "location"), [(_symbolic, "w.bin"), (_hard, "w.bin"), (_folder, "parts/w.bin")],
    ids=["symbolic", "hard", "folder"],
)  # fmt: skip
def test_links_out_of_the_folder_are_refused(tmp_path: Path, link: Any, location: str) -> None:
    outside = tmp_path / "outside"
    written(outside)
    path = written(tmp_path / "inside", location=location)
    link(path.parent, outside)
    with pytest.raises(BadModel, match="link"):
        load(path)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    path = written(tmp_path, location="pipe")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadModel, match="no regular file"):
        load(path)


def test_a_model_without_a_folder_has_no_external_data(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match="given without a folder"):
        of_model(onnx.load(written(tmp_path), load_external_data=False))


def test_more_than_2_gb_are_mapped_not_read(tmp_path: Path) -> None:
    """A sparse file of 3 GB: nothing of it is read, and the import takes no memory for it."""
    rows = 3 * 2**28
    proto = model([helper.make_node("Gather", ["w", "i"], ["y"])], {"i": ("int64", ["n"])}, ["y"])
    tensor = TensorProto(name="w", dims=[rows], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="w.bin")
    proto.graph.initializer.append(tensor)
    with open(tmp_path / "w.bin", "wb") as file:
        file.truncate(4 * rows)
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    imported = load(tmp_path / "m.onnx")
    assert imported.weights["w"].nbytes > 2**31 and imported.graph.outputs["y"].dtype == "f32"
