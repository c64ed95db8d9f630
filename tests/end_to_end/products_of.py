"""What the end-to-end tests share: the specs compiled once in a process, run on ONNX Runtime, and made-up batches."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from dlc.compiler.build import Builder
from dlc.compiler.graph import Graph, Value
from dlc.compiler.manifest import Manifest, read
from dlc.compiler.products import products
from dlc.compiler.program import Program

ROOT = Path(__file__).resolve().parents[2]
SPECS = ("logistic", "linear", "mlp", "lenet")
Arrays = dict[str, Any]


class Files:
    """A program's files in memory; `files["lenet.step"]` is a session's function from feeds to outputs by name."""

    def __init__(self, program: Program) -> None:
        from dlc.compiler.emit import serialized

        self.program = program
        self.models = {name.removesuffix(".onnx"): m for name, m in products(program, split=True).items()}
        self.content = {name: serialized(model) for name, model in self.models.items()}
        self._sessions: dict[str, Any] = {}

    def manifest(self, name: str) -> Manifest:
        return read(self.models[name])

    def run(self, name: str, feeds: Mapping[str, Any]) -> Arrays:
        """The outputs of a file; of `feeds` it takes what it has inputs for."""
        if name not in self._sessions:
            self._sessions[name] = session(self.content[name])
        return call(self._sessions[name], feeds)

    def step(self, run: str, feeds: Mapping[str, Any]) -> tuple[Arrays, Arrays]:
        """One step: its outputs, and the feeds with each carried value replaced by its successor."""
        outputs = self.run(f"{run}.step", feeds)
        carried = self.manifest(f"{run}.step").carried
        after = {name: outputs[c.output] for name, c in carried.items() if c.output is not None}
        return outputs, {**feeds, **after}


def session(content: bytes) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # the tests run side by side
    options.log_severity_level = 3
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def call(session: Any, feeds: Mapping[str, Any]) -> Arrays:
    taken = {each.name: np.asarray(feeds[each.name]) for each in session.get_inputs()}
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(names, taken), strict=True))


@lru_cache
def spec(name: str, **lets: str) -> Program:
    return Program.open(ROOT / "specs" / f"{name}.net", lets=lets)


@lru_cache
def compiled(name: str, **lets: str) -> Files:
    return Files(spec(name, **lets))


def example(name: str) -> Program:
    return Program.open(ROOT / "tests" / "fixtures" / "examples" / f"{name}.net")


def batch(name: str, size: int, seed: int = 0) -> Arrays:
    """A made-up batch for a spec: normal features, pictures in 0 to 1, labels 0 to 9."""
    rng = np.random.default_rng(seed)
    match name:
        case "logistic":
            made = {"features": rng.normal(size=(size, 30)), "benign": rng.integers(0, 2, size)}
        case "linear":
            made = {"features": rng.normal(size=(size, 10)), "progress": rng.normal(1.5, 0.7, size)}
        case _:
            made = {"image": rng.random((size, 1, 28, 28))}
    fields: Arrays = {key: np.asarray(value, np.float32) for key, value in made.items()}
    return fields if "features" in fields else {**fields, "label": rng.integers(0, 10, size)}


SCALARS = {"step": np.int64(7), "seed": np.int64(3), "epoch": np.int64(0), "steps": np.int64(400),
           "steps_per_epoch": np.int64(20)}  # fmt: skip


def weights(name: str, seed: int = 0) -> Arrays:
    """Every carried value of a spec as `init` makes it, the weights moved a little so that no bias is zero."""
    rng = np.random.default_rng(seed)
    made = compiled(name).run(f"{name}.init", {"seed": np.int64(seed)})
    moved = compiled(name).program.gradients(name).weights
    return {
        key: np.asarray(value + 0.05 * rng.normal(size=value.shape), value.dtype) if key in moved else value
        for key, value in made.items()
    }


def part(graph: Graph, outputs: Mapping[str, Value]) -> Graph:
    """The graph of some of its values alone; it keeps all inputs, which say the sizes."""
    builder = Builder(graph.names)
    for node in graph.nodes:
        builder.adopt(node)
    return builder.graph(graph.name, outputs, graph.inputs, graph.sizes)


def widened(feeds: Mapping[str, Any]) -> Arrays:
    """Float arrays as float64, the others as they are."""
    arrays = {key: np.asarray(value) for key, value in feeds.items()}
    return {key: each.astype(np.float64) if each.dtype == np.float32 else each for key, each in arrays.items()}
