"""The fixtures of the passes: graph text before and after, and how they are run.

A fixture file belongs to the pass of its name. A case is a line `=== title`, the text before, a line `---`, the text
after. `python tests/compiler/passes/pass_cases.py` writes the texts after anew, to be read before they are kept.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime

from dlc.compiler.emit import emit
from dlc.compiler.graph import Graph
from dlc.compiler.passes import Pass, lower
from dlc.compiler.text import from_text, to_text
from dlc.compiler.types import substitute

FOLDER = Path(__file__).parent / "fixtures"
SIZES = {"B": 3, "T": 5}
Arrays = dict[str, np.ndarray[Any, Any]]


class Case(NamedTuple):
    transform: Pass
    title: str
    before: str
    after: str


def read() -> list[Case]:
    found = []
    for path in sorted(FOLDER.glob("*.txt")):
        module = importlib.import_module(f"dlc.compiler.passes.{path.stem}")
        for block in path.read_text().split("=== ")[1:]:
            title, _, text = block.partition("\n")
            before, _, after = text.partition("---\n")
            found.append(Case(getattr(module, path.stem), title, before, after))
    return found


def random_feeds(graph: Graph, sizes: Mapping[str, int] = SIZES, seed: int = 0) -> Arrays:
    """Positive floats away from 0 and small indices, so that every operator of the fixtures is defined."""
    random = np.random.default_rng(seed)
    feeds: Arrays = {}
    for value in graph.inputs:
        shape = tuple(int(str(substitute(dim, sizes))) for dim in value.shape)
        drawn = random.uniform(0.25, 1.5, shape) if value.type.is_float else random.integers(0, 2, shape)
        feeds[graph.names[value]] = np.asarray(drawn, value.type.numpy)
    return feeds


def on_runtime(graph: Graph, feeds: Arrays) -> Arrays:
    """The outputs on ONNX Runtime with its own optimizations off, of what lowering alone makes of a graph."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        emit(lower(graph)).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    wanted = {given.name for given in session.get_inputs()}
    results = session.run(list(graph.outputs), {name: array for name, array in feeds.items() if name in wanted})
    return dict(zip(graph.outputs, results, strict=True))


def promote() -> None:
    for path in sorted(FOLDER.glob("*.txt")):
        blocks = []
        for case in read():
            if case.transform.__name__ == path.stem:
                before = from_text(case.before)
                texts = to_text(before, spans=False).strip(), to_text(case.transform(before), spans=False).strip()
                blocks.append(f"=== {case.title}\n{texts[0]}\n---\n{texts[1]}\n")
        path.write_text("\n".join(blocks))


if __name__ == "__main__":
    promote()
