"""External data: read from regular files inside the model's folder, mapped, and nothing else is ever opened."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from onnx_models import model, ran, through

from dlc.compiler.derivative import derivative, differentiated
from dlc.compiler.emit import EmitError
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


# Results that one file cannot hold.

LARGE = 23_500  # rows and columns of a matrix of 2.2 GB
TORTURE = pytest.mark.skipif("DLC_TORTURE" not in os.environ, reason="writes 6 GB: with DLC_TORTURE only")


def summed(path: Path, rows: Any, columns: int) -> Path:
    """loss = sum of tanh(x w), with `w` beside the model."""
    make = helper.make_node
    nodes = [make("MatMul", ["x", "w"], ["h"]), make("Tanh", ["h"], ["t"]),
             make("ReduceSum", ["t"], ["loss"], keepdims=0)]  # fmt: skip
    proto = model(nodes, {"x": ("float", ["n", columns])}, ["loss"])
    tensor = TensorProto(name="w", dims=[columns, columns], data_type=TensorProto.FLOAT)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w.bin")
    proto.graph.initializer.append(tensor)
    with open(path.with_name("w.bin"), "wb") as file:
        for part in rows:
            file.write(part.astype(np.float32).tobytes())
    path.write_bytes(proto.SerializeToString())
    return path


def gradient(path: Path, wrt: str, out: Path) -> None:
    from dlc.runtime.cli import main

    assert main(["grad", str(path), "--of", "loss", "--wrt", wrt, "-o", str(out)]) == 0


@pytest.mark.parametrize("wrt", ["x", "w"])
def test_what_one_file_cannot_hold_is_written_beside_it(
    wrt: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    w = np.random.default_rng(0).normal(size=(40, 40)).astype(np.float32)
    path = summed(tmp_path / "m.onnx", [w], 40)
    gradient(path, wrt, tmp_path / "whole.onnx")
    assert not (tmp_path / "whole.onnx.data").exists()
    monkeypatch.setattr("dlc.compiler.emit.LARGEST", 1000)
    gradient(path, wrt, tmp_path / "parted.onnx")
    assert (tmp_path / "parted.onnx").stat().st_size < 1000 and (tmp_path / "parted.onnx.data").stat().st_size == 8192
    x = np.random.default_rng(1).normal(size=(3, 40)).astype(np.float32)
    results = [ort.InferenceSession(tmp_path / name).run(None, {"x": x}) for name in ("whole.onnx", "parted.onnx")]
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(load(tmp_path / "parted.onnx").weights["w"], w)


def test_the_largest_result_without_a_file_beside_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlc.compiler.emit.LARGEST", 10)
    loaded = of_model(model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": ("float", [2, 4])}, ["y"],
                            constants={"w": W}))  # fmt: skip
    with pytest.raises(EmitError, match="one ONNX file holds 2 GB"):
        differentiated(loaded, derivative(loaded, "y", ["w"], cotangent=True)[0])


@TORTURE
@pytest.mark.parametrize("wrt", ["x", "w"])
def test_more_than_2_gb_are_read_and_written_without_copies(wrt: str, tmp_path: Path) -> None:
    """The process holds no second copy of 2.2 GB: what is mapped counts once. Its result runs."""
    rng = np.random.default_rng(0)
    parts = (rng.standard_normal((500, LARGE), dtype=np.float32) * 0.01 for _ in range(LARGE // 500))
    path = summed(tmp_path / "m.onnx", parts, LARGE)
    out = tmp_path / "g.onnx"
    program = (
        "import sys; from dlc.runtime.cli import main; main(sys.argv[1:]); print(open('/proc/self/status').read())"
    )
    command = [sys.executable, "-c", program, "grad", str(path), "--of", "loss", "--wrt", wrt, "-o", str(out)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    most = int(told.partition("VmHWM:")[2].split()[0]) << 10
    assert most < 1.3 * 4 * LARGE**2, f"{most / 1e9:.1f} GB"
    x = rng.normal(size=(1, LARGE)).astype(np.float32)
    session = ort.InferenceSession(out, providers=["CPUExecutionProvider"])
    w = np.memmap(tmp_path / "w.bin", np.float32, "r", shape=(LARGE, LARGE))
    slope = 1 - np.tanh(x @ w) ** 2
    wanted = slope @ w.T if wrt == "x" else x.T @ slope
    np.testing.assert_allclose(session.run([f"{wrt}:grad"], {"x": x})[0], wanted, rtol=1e-2, atol=1e-3)

