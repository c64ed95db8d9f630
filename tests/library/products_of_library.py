"""One training step of a small net on ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
from library_cases import Arrays, training_text

from dlc.compiler.emit import serialized
from dlc.compiler.evaluate import evaluate
from dlc.compiler.products import unit_model
from dlc.compiler.program import Program


def ort_step(body: str, loss: str, carried: Arrays | None = None, **feeds: Any) -> Arrays:
    """The outputs of a step with SGD(lr=1) in float32; what `carried` does not give is as initialized with seed 0."""
    import onnxruntime as ort

    kinds = {name: each.astype(np.float64) if each.dtype == np.float32 else each for name, each in feeds.items()}
    program = Program.of_text(training_text(body, loss, kinds))
    initial = evaluate(program.init("it").graph, {"seed": np.int64(0)})
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    model = serialized(unit_model(program, program.step("it")))
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    given = {**initial, **(carried or {}), **feeds, "seed": np.int64(0), "step": np.int64(0)}
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(names, {i.name: given[i.name] for i in session.get_inputs()}), strict=True))
