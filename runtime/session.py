"""Sessions of ONNX Runtime: which device there is, and a model opened on it without a word on the terminal."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dlc.runtime.errors import InputError, RunError, UsageError

if TYPE_CHECKING:
    import onnxruntime  # type: ignore[import-untyped]

Note = Callable[[str], None]
SILENT = 4  # of ONNX Runtime's severities: fatal errors only; what fails raises, and is told once, by us
DEVICES = ("auto", "cpu", "cuda")


def silent(*_: object) -> None:
    """The default of callbacks that tell people something."""


@dataclass(frozen=True)
class Device:
    """Where models run. `name` is as on the command line, `provider` as ONNX Runtime calls it."""

    name: Literal["cpu", "cuda"]
    provider: str


CPU = Device("cpu", "CPUExecutionProvider")
CUDA = Device("cuda", "CUDAExecutionProvider")


def device(name: str = "auto", note: Note = silent) -> Device:
    """The device of that name: "cpu", "cuda", or "auto", which is CUDA where it works.

    `note` gets one line where "auto" takes the CPU, with the reason if there is an NVIDIA device. Raises InputError if
    "cuda" is asked for and does not work, UsageError for another name.
    """
    if name not in DEVICES:
        raise UsageError(f"no device is called `{name}`", f"the devices are {', '.join(DEVICES)}")
    if name == "cpu":
        return CPU
    problem = _cuda_problem()
    if problem is None:
        return CUDA
    if name == "cuda":
        help = "install NVIDIA's driver, CUDA and cuDNN as ONNX Runtime wants them, or train with --device cpu"
        raise InputError(f"CUDA cannot be used: {problem}", help)
    # A machine without an NVIDIA device expects nothing else than the CPU; one with it deserves to know why.
    note(f"running on the CPU: there is an NVIDIA device, but {problem}" if _nvidia_device() else "running on the CPU")
    return CPU


def _nvidia_device() -> bool:
    return Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi") is not None


def _cuda_problem() -> str | None:
    """Why CUDA cannot be used; None if it can. Found out by opening a session, as nothing else is sure."""
    ort = runtime()
    if CUDA.provider not in ort.get_available_providers():
        return f"this build of ONNX Runtime ({ort.__version__}) has no CUDA provider"
    # The provider's libraries may come as Python packages, which only this finds.
    preload = getattr(ort, "preload_dlls", None)
    if preload is not None:
        _quietly(preload)
    try:
        session = ort.InferenceSession(_tiny_model(), _options(1, None, False), providers=[CUDA.provider])
    except Exception as error:  # ONNX Runtime's exceptions have no other common base
        return _first_line(error)
    if CUDA.provider in session.get_providers():
        return None
    return "the CUDA or cuDNN libraries that it needs are missing, or no device answers"


def _quietly(function: Callable[[], Any]) -> None:
    """Calls `function`, which prints a line for each library that it does not find."""
    import contextlib
    import io

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        function()


def _tiny_model() -> bytes:
    """A model that hands a float on, as bytes: onnx itself takes longer to import than the whole question."""
    # IR version 10; opset 21; graph "g" with node Identity(x) -> y and both as float[1].
    value = b"\x12\x0a\x0a\x08\x08\x01\x12\x04\x0a\x02\x08\x01"
    node = b"\x0a\x01x\x12\x01y\x22\x08Identity"
    x, y = b"\x0a\x01x" + value, b"\x0a\x01y" + value
    parts = (b"\x0a" + _sized(node), b"\x12\x01g", b"\x5a" + _sized(x), b"\x62" + _sized(y))
    return b"\x08\x0a" + b"\x3a" + _sized(b"".join(parts)) + b"\x42\x04\x0a\x00\x10\x15"


def _sized(message: bytes) -> bytes:
    return bytes([len(message)]) + message


def open_session(
    model: bytes | Path,
    device: Device = CPU,
    threads: int = 0,
    sizes: Mapping[str, int] | None = None,
    *,
    spinning: bool = True,
) -> onnxruntime.InferenceSession:
    """A session for a model, all graph optimizations on, the same results at every run.

    `threads` 0 leaves their number to ONNX Runtime. `sizes` fixes dimensions by name (`{"B": 64}`), so that the
    arithmetic of shapes folds away. Without `spinning` idle threads sleep at once: for every session beside the one
    that trains, whose threads they would disturb. On CUDA, products are computed in full float32 (no TF32). Raises
    InputError if ONNX Runtime refuses the model, RunError if the device cannot be used after all.
    """
    ort = runtime()
    options = _options(threads, sizes, spinning)
    what = model if isinstance(model, Path) else "the model"
    if isinstance(model, Path) and not model.is_file():
        raise InputError(f"{model}: no such file")
    providers: list[Any] = [CPU.provider]
    if device.name == "cuda":
        providers.insert(0, (CUDA.provider, {"use_tf32": "0"}))
    try:
        session = ort.InferenceSession(str(model) if isinstance(model, Path) else model, options, providers=providers)
    except Exception as error:  # as above
        raise InputError(f"{what}: ONNX Runtime {ort.__version__} refuses it: {_first_line(error)}") from error
    if device.provider not in session.get_providers():
        raise RunError(f"the device {device.name} cannot be used any more", "train with --device cpu")
    return session


def _options(threads: int, sizes: Mapping[str, int] | None, spinning: bool) -> Any:
    ort = runtime()
    options = ort.SessionOptions()
    options.log_severity_level = SILENT
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.use_deterministic_compute = True
    options.intra_op_num_threads = threads
    if not spinning:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    for name, size in (sizes or {}).items():
        options.add_free_dimension_override_by_name(name, size)
    return options


def runtime() -> Any:
    """The package onnxruntime. Whatever needs it takes it from here, or has a session already."""
    # It would keep a device's number and a log of its use in the user's cache, and say aloud where it cannot; it reads
    # this while it is loaded.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    # The logger of everything outside a session, such as the loading of a provider.
    onnxruntime.set_default_logger_severity(SILENT)
    return onnxruntime


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def reason(error: Exception) -> str:
    """Why ONNX Runtime could not run a model; of an assertion in it that does not hold, which, and the sizes."""
    text = str(error)
    label = re.search(r"Name:'/((?:assert|slice) .+)/Reshape'", text)
    shape = re.search(r"Input shape:\{([-\d,]*)\}", text)
    return text if label is None or shape is None else unmet(label[1], shape[1].split(","))


def unmet(label: str, shape: Sequence[Any]) -> str:
    """The words for an assertion that does not hold, by the label of its node and the shape that came there."""
    sizes = f"[{', '.join(map(str, shape))}]"
    asserted = re.fullmatch(r"assert (.+): (.+)", label)
    if asserted is not None:
        return f"the assertion {asserted[1]} does not hold: {asserted[2]} is {sizes}"
    return f"the {re.sub(r' [(][0-9]+[)]$', '', label)}: it gives {sizes}"


def versions(device: Device, threads: int) -> dict[str, str]:
    """What the bits of a result depend on: dlc, onnxruntime, provider, processor, threads."""
    from dlc.compiler.products import compiler_version

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "dlc": compiler_version(),
        "onnxruntime": str(runtime().__version__),
        "provider": device.provider,
        "processor": _processor(),
        "threads": str(threads) if threads else f"default of {cores} cores",
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
