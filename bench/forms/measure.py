"""Times candidate forms of one computation, each alone in a process of its own, in alternation.

A form is a graph in onnx's text, or a function that makes PyTorch's callable. A form whose result differs from the
first one's by more than 1e-3 of its largest element is reported as wrong.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Feeds = Mapping[str, tuple[int, ...]]
THREADS = 2
HEADER = '<ir_version: 10, opset_import: ["" : 21]>\n'


def constant(name: str, value: np.ndarray[Any, Any]) -> str:
    """The lines that make a float constant of any shape."""
    floats = ",".join(str(float(v)) for v in value.reshape(-1))
    shape = ",".join(map(str, value.shape))
    return f"""{name}_flat = Constant<value_floats=[{floats}]>() {name}_shape = Constant<value_ints=[{shape}]>()
      {name} = Reshape({name}_flat, {name}_shape)"""


def arrays(feeds: Feeds) -> dict[str, np.ndarray[Any, Any]]:
    """Seeded normal inputs of the shapes in `feeds`."""
    generator = np.random.default_rng(0)
    return {name: generator.standard_normal(shape).astype(np.float32) for name, shape in feeds.items()}


def _session(text: str, inputs: Mapping[str, np.ndarray[Any, Any]]) -> tuple[Callable[[], Any], Callable[[], Any]]:
    import onnx.parser
    import onnxruntime as ort

    model = onnx.parser.parse_model(HEADER + text)
    options = ort.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for value in session.get_inputs():
        binding.bind_ortvalue_input(value.name, ort.OrtValue.ortvalue_from_numpy(inputs[value.name]))
    for value in session.get_outputs():
        binding.bind_output(value.name)
    return lambda: session.run_with_iobinding(binding), binding.copy_outputs_to_cpu


def _measure(form: Any, feeds: Feeds, seconds: float, queue: Any) -> None:
    inputs = arrays(feeds)
    if isinstance(form, str):
        run, result = _session(form, inputs)
    else:
        import torch

        torch.set_num_threads(THREADS)
        run = form({name: torch.from_numpy(value) for name, value in inputs.items()})

        def result() -> Any:
            return [value.detach().numpy() for value in run()]

    for _ in range(5):
        run()
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 10:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    queue.put((statistics.median(times) * 1e3, [np.asarray(value) for value in result()]))


def table(
    title: str, feeds: Feeds, forms: Mapping[str, Any], rounds: int = 3, seconds: float = 0.4
) -> dict[str, float]:
    """Print and return the median of `rounds` medians of each form, in milliseconds."""
    context = multiprocessing.get_context("fork")
    medians: dict[str, list[float]] = {name: [] for name in forms}
    expected: list[np.ndarray[Any, Any]] | None = None
    for _ in range(rounds):
        for name, form in forms.items():
            queue = context.Queue()
            process = context.Process(target=_measure, args=(form, feeds, seconds, queue))
            process.start()
            milliseconds, outputs = queue.get(timeout=120)
            process.join()
            medians[name].append(milliseconds)
            expected = expected or outputs
            for one, other in zip(outputs, expected, strict=True):
                error = np.abs(one.reshape(-1) - other.reshape(-1)).max() / np.abs(other).max()
                if error > 1e-3:
                    print(f"{title}: {name} is WRONG by {error:.2g}", file=sys.stderr)
    result = {name: statistics.median(values) for name, values in medians.items()}
    print(title)
    for name, value in result.items():
        print(f"  {name:34} {value:8.3f}   ({' '.join(f'{v:.3f}' for v in sorted(medians[name]))})", flush=True)
    return result
