"""The dlc side: the compiled step under ONNX Runtime, in the loop of `dlc train`: two sets of buffers, `finite` read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from dlc.runtime.session import open_session

from bench.works import BATCH, Array, Work, batches


def prepare(work: Work, folder: Path) -> None:
    """Compile, and write `step.onnx` and the initial values `start.npz` into a folder."""
    from dlc.compiler.products import products
    from dlc.compiler.program import Program

    program = Program.open(work.source)
    files = products(program)
    (run,) = program.runs
    (folder / "step.onnx").write_bytes(files[f"{run}.step.onnx"].SerializeToString(deterministic=True))
    init = open_session(files[f"{run}.init.onnx"].SerializeToString(), threads=1)
    feeds = {value.name: np.array(1, np.int64) for value in init.get_inputs()}
    values = init.run(None, feeds)
    start = dict(zip((value.name for value in init.get_outputs()), values, strict=True))
    np.savez(folder / "start.npz", **start)  # type: ignore[arg-type]


def stepper(work: Work, folder: Path, threads: int) -> Callable[[int], Array]:
    """A function that takes the number of a step, carries it out, and returns its loss as an array not yet read."""
    import onnxruntime as ort

    session = open_session(folder / "step.onnx", threads=threads, sizes={"B": BATCH})
    start = dict(np.load(folder / "start.npz"))
    fields = [{name: _value(array) for name, array in batch.items()} for batch in batches(work)]
    scalars = {v.name: np.zeros((), np.int64) for v in session.get_inputs() if v.name not in (start | fields[0])}
    loss, finite = np.zeros((), np.float32), np.zeros((), np.bool_)
    sets = [{name: _value(array.copy()) for name, array in start.items()} for _ in range(2)]
    bindings = []
    for now, then in (sets, sets[::-1]):
        binding = session.io_binding()
        for name, value in now.items():
            binding.bind_ortvalue_input(name, value)
        for name, array in scalars.items():
            binding.bind_ortvalue_input(name, _value(array))
        for output in session.get_outputs():
            name = output.name
            carried = name.removesuffix(":next")
            value = _value(loss if name == "loss" else finite) if carried not in then else then[carried]
            binding.bind_ortvalue_output(name, value)
        bindings.append(binding)
    options = ort.RunOptions()

    def step(number: int) -> Array:
        binding = bindings[number % 2]
        for name, value in fields[number % len(fields)].items():
            binding.bind_ortvalue_input(name, value)
        if "step" in scalars:
            scalars["step"][()] = number
        session.run_with_iobinding(binding, options)
        if not finite:
            raise FloatingPointError(f"{work.name}: not finite in step {number}")
        return loss

    return step


def _value(array: Array) -> Any:
    """A value that shares its memory with the array."""
    import onnxruntime as ort

    return ort.OrtValue.ortvalue_from_numpy(array)
