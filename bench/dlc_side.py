"""The dlc side: the compiled step under ONNX Runtime, by the Stepper of `dlc train`, which reads `finite` each step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.works import BATCH, Array, Work, batches
from dlc.runtime.session import open_session


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
    np.savez(folder / "start.npz", **start)


def stepper(work: Work, folder: Path, threads: int) -> Callable[[int], Array]:
    """A function that takes the number of a step, carries it out, and returns its loss as an array not yet read.

    A batch is copied to where the step reads it, as `dlc train` does; PyTorch gets its batches as they lie.
    """
    from dlc.runtime.stepper import Stepper

    compiled = Stepper(folder / "step.onnx", batch=BATCH, threads=threads)
    compiled.load(dict(np.load(folder / "start.npz")))
    fields = [[(compiled.batch[name], array) for name, array in batch.items()] for batch in batches(work)]
    number_of_step, loss = compiled.scalars["step"], compiled.reports["loss"]

    def step(number: int) -> Array:
        for place, array in fields[number % len(fields)]:
            np.copyto(place, array)
        number_of_step[...] = number
        if not compiled.step():
            raise FloatingPointError(f"{work.name}: not finite in step {number}")
        return loss

    return step
