"""Devices and sessions."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from dlc.runtime import session
from dlc.runtime.errors import InputError, UsageError
from dlc.runtime.session import CPU, CUDA, device, open_session


def model(op: str = "Relu", size: int | str = "B") -> bytes:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [size]) for name in "xy")
    graph = helper.make_graph([helper.make_node(op, ["x"], ["y"])], "g", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10).SerializeToString()


def test_the_probing_model_is_sound() -> None:
    probe = onnx.load_model_from_string(session._tiny_model())
    onnx.checker.check_model(probe, full_check=True)
    opened = open_session(session._tiny_model())
    assert opened.run(None, {"x": np.full(1, 2.5, np.float32)})[0].tolist() == [2.5]


def test_devices_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device("cpu") == CPU
    with pytest.raises(UsageError, match="no device is called `gpu`") as caught:
        device("gpu")
    assert caught.value.help == "the devices are auto, cpu, cuda"
    monkeypatch.setattr(session, "_cuda_problem", lambda: None)
    assert device("auto") == device("cuda") == CUDA


def test_auto_says_once_that_it_takes_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_cuda_problem", lambda: "it is broken")
    monkeypatch.setattr(session, "_nvidia_device", lambda: True)
    notes: list[str] = []
    assert device("auto", notes.append) == CPU
    assert notes == ["running on the CPU: there is an NVIDIA device, but it is broken"]
    monkeypatch.setattr(session, "_nvidia_device", lambda: False)
    assert device("auto", notes.append) == CPU
    assert notes[1:] == ["running on the CPU"]


def test_cuda_that_does_not_work_is_refused_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_cuda_problem", lambda: "it is broken")
    with pytest.raises(InputError, match="CUDA cannot be used: it is broken") as caught:
        device("cuda")
    assert caught.value.help is not None and "--device cpu" in caught.value.help


def test_a_build_without_the_provider_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert "has no CUDA provider" in (session._cuda_problem() or "")


def test_looking_for_cuda_prints_nothing() -> None:
    """ONNX Runtime writes to the file descriptors themselves, in whichever process asks first."""
    code = """
from dlc.runtime.errors import InputError
from dlc.runtime.session import device, open_session
try:
    open_session(b"no model", device("auto"))
except InputError:
    print("refused")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("refused\n", "")


def test_sizes_fix_dimensions() -> None:
    assert open_session(model()).get_inputs()[0].shape == ["B"]
    assert open_session(model(), sizes={"B": 64}).get_inputs()[0].shape == [64]


def test_options(tmp_path: Path) -> None:
    opened = open_session(model(), threads=3, spinning=False).get_session_options()
    assert opened.intra_op_num_threads == 3
    assert opened.use_deterministic_compute
    assert opened.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    path = tmp_path / "m.onnx"
    path.write_bytes(model())
    assert open_session(path).run(None, {"x": np.array([-1, 1], np.float32)})[0].tolist() == [0, 1]


def test_models_that_cannot_be_opened(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"gone\.onnx: no such file"):
        open_session(tmp_path / "gone.onnx")
    with pytest.raises(InputError, match=r"ONNX Runtime .* refuses it"):
        open_session(b"this is no model")
    with pytest.raises(InputError, match=r"refuses it.*Nonsense"):
        open_session(model("Nonsense"))
    assert capfd.readouterr() == ("", "")


def test_versions_say_what_the_bits_depend_on() -> None:
    found = session.versions(CPU, 3)
    assert set(found) == {"dlc", "onnxruntime", "provider", "processor", "threads"}
    assert found["threads"] == "3" and found["provider"] == "CPUExecutionProvider"
    assert session.versions(CPU, 0)["threads"].startswith("default of ")


@pytest.mark.parametrize(("said", "kept"), [(None, False), ("0", True)])
def test_nothing_is_kept_of_its_use(said: str | None, kept: bool, tmp_path: Path) -> None:
    code = "from dlc.runtime.data.graph import Graph; from dlc.runtime.session import _tiny_model as tiny; "
    code += "Graph.load(tiny(), 'tiny')"
    environment = {**os.environ, "HOME": str(tmp_path)}
    for name in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"):
        environment.pop(name, None)
    if said is not None:
        environment["ORT_DISABLE_TELEMETRY"] = said
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    if kept and not any(tmp_path.iterdir()):
        pytest.skip("this build of ONNX Runtime keeps nothing anyway")
    assert any(tmp_path.iterdir()) == kept
