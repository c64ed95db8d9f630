"""Slices of sizes that only a run tells: what they take is there, or the run stops and says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from library_cases import mistake

from dlc.compiler.emit import serialized
from dlc.compiler.evaluate import evaluate
from dlc.compiler.passes import TRAINING, run
from dlc.compiler.products import unit_model
from dlc.compiler.program import Program
from dlc.runtime.errors import RunError
from dlc.runtime.predict import run_model

NET = """net n {{ input x: f32[B, T, 3]
  return x{index} }}
"""


def written(folder: Path, index: str) -> Path:
    program = Program.of_text(NET.format(index=index))
    (folder / "n.onnx").write_bytes(serialized(unit_model(program, program.net("n"))))
    return folder / "n.onnx"


@pytest.mark.parametrize(
    ("index", "length", "needed"),
    [
        ("[:, 0:4]", 4, "T >= 4"), ("[:, -4:]", 4, "T >= 4"), ("[:, 1:4, 0]", 5, "T >= 4"), ("[:, -4:-1]", 4, "T >= 4"),
        ("[:, 3]", 4, "T >= 4"), ("[:, -4]", 4, "T >= 4"), ("[:, 3::-1]", 4, "T >= 4"),
        ("[0:2, 0:4]", 4, "B >= 2 and T >= 4"),
    ],
)  # fmt: skip
def test_a_slice_that_runs_off_the_end_stops_the_run(tmp_path: Path, index: str, length: int, needed: str) -> None:
    path = written(tmp_path, index)
    session = onnxruntime.InferenceSession(path)
    x = np.arange(2 * length * 3, dtype=np.float32).reshape(2, length, 3)
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], eval(f"x{index}"))
    np.save(tmp_path / "x.npy", x[:, :3])
    with pytest.raises(RunError) as caught:
        run_model(path, {"x": str(tmp_path / "x.npy")})
    assert f"the slice x{index} wants {needed}: it gives [" in str(caught.value)


@pytest.mark.parametrize(
    "index", ["[:, 1:]", "[:, :1]", "[:, -1]", "[:, 0]", "[:, ::-1]", "[..., 0:3]", "[:, :T]", "[:, 1:][:, 0]"]
)
def test_what_is_there_in_any_case_is_not_checked(index: str) -> None:
    program = Program.of_text(NET.format(index=index))
    assert b"slice" not in serialized(unit_model(program, program.net("n")))


def test_the_gradient_of_a_checked_slice() -> None:
    program = Program.of_text(
        """data d { train = npz("d.npz")   x: f32[T, 3] = raw.x }
net n { input x: f32[B, T, 3]   param p: f32[] = 1.0
  u = mean(square(x[:, 1:4, 0] * p))   return u }
train n on d { loss = u   optimizer = SGD(lr=1)   batch = 2 }"""
    )
    graph = run(program.gradients("n", working="f64").graph, TRAINING, after="differentiate")
    x = np.random.default_rng(0).normal(size=(2, 6, 3))
    feeds = {"x": x, "n.p": np.array(2.0), "seed": np.array(0), "step": np.array(0)}
    found = evaluate(graph, {name: feeds[name] for name in (graph.names[value] for value in graph.inputs)})
    np.testing.assert_allclose(found["n.p:grad"], 2 * 2.0 * np.mean(x[:, 1:4, 0] ** 2))


@pytest.mark.parametrize(
    ("index", "places"),
    [("[:, 0:4]", 4), ("[:, -4:]", 4), ("[:, :-5]", 5), ("[:, 2:9]", 9), ("[:, 5:]", 5)],
)
def test_a_known_size_that_is_smaller_is_told(index: str, places: int) -> None:
    found = mistake(f"x{index}", x=np.zeros((2, 3)))
    assert (found.code, found.message) == ("E0303", f"a slice of {places} places and more")
    assert found.primary.text == "axis 1 of f32[2, 3] has 3"
