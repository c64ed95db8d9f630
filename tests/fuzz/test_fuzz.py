"""A thousand programs: spoilt ones are refused in good words or accepted, generated ones train.

`DLC_FUZZ=10000` makes ten thousand. A program depends on its number, the fixtures and the library's names: a
failure can be made again as long as those stay.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import fuzz_nets
import fuzz_text
import fuzz_tree
import numpy as np
import onnxruntime as ort
import pytest
from fuzz_judge import PROGRAMS, ROOT, failure, finding, judge

from dlc.compiler.emit import serialized
from dlc.compiler.manifest import read
from dlc.compiler.products import products
from dlc.compiler.program import Program

CHUNK = 25
COMPILED = 8  # one of so many accepted programs is compiled too: that takes longer
TEXTS = TREES = range(0, PROGRAMS // 3, CHUNK)
NETS = range(0, PROGRAMS // 3, 5)  # generated nets take the better part of a second each

Spoilt = Callable[[random.Random], tuple[str, str]]


def all_well(spoilt: Spoilt, kind: str, numbers: range) -> None:
    found = []
    for number in numbers:
        text, file = spoilt(random.Random(f"{kind} {number}"))
        compiling = number % COMPILED == 0
        wrong = failure(text, file, compiling)
        if wrong is not None:
            found.append(f"program {number}: " + finding(text, file, wrong, compiling))
    assert not found, "\n\n".join(found)


@pytest.mark.parametrize("first", TEXTS)
def test_spoilt_texts_give_diagnostics(first: int) -> None:
    all_well(fuzz_text.spoilt, "text", range(first, first + CHUNK))


@pytest.mark.parametrize("first", TREES)
def test_spoilt_trees_give_diagnostics_or_compile(first: int) -> None:
    all_well(fuzz_tree.spoilt, "tree", range(first, first + CHUNK))


def test_spoilt_programs_are_neither_all_refused_nor_all_accepted() -> None:
    codes = [judge(*fuzz_tree.spoilt(random.Random(f"tree {number}"))).codes for number in range(80)]
    assert 5 < sum(not each for each in codes) < 75
    assert len({code for each in codes for code in each}) > 5


@pytest.mark.parametrize("first", NETS)
def test_generated_nets_train(first: int) -> None:
    for number in range(first, first + 5):
        made = fuzz_nets.generated(random.Random(f"nets {number}"))
        try:
            _trains(made, number, split=number % 10 == 0)
        except Exception as error:
            raise AssertionError(f"program {number}:\n{made.text}") from error


def _trains(made: fuzz_nets.Generated, number: int, split: bool) -> None:
    """The program is accepted, compiles, and takes a step of finite loss for its own batch and for one example."""
    program = Program.of_text(made.text, str(ROOT / "specs" / "made.net"))
    program.check()
    models = products(program, split=split)
    init, step = models[f"{made.run}.init.onnx"], models[f"{made.run}.step.onnx"]
    scalars = {"seed": 1, "step": 3, "epoch": 0, "steps": 50, "steps_per_epoch": 25}
    scalars = {name: np.int64(value) for name, value in scalars.items()}
    carried = _called(serialized(init), {**scalars, **made.made(made.batch, number)})
    manifest = read(step)
    session = _session(serialized(step))
    for size in dict.fromkeys((made.batch, 1)):
        outputs = _run(session, {**scalars, **carried, **made.made(size, number)})
        assert np.isfinite(outputs["loss"]), size
        assert outputs["finite"], size
        moved = 0
        for name, each in manifest.carried.items():
            if each.output is not None:
                before, after = carried[name], outputs[each.output]
                assert after.shape == before.shape and after.dtype == before.dtype, name
                assert np.isfinite(after).all(), name
                moved += not np.array_equal(before, after)
        assert moved or made.text.count("freeze")


def _session(content: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _run(session: ort.InferenceSession, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    given = {each.name: np.asarray(feeds[each.name]) for each in session.get_inputs()}
    return dict(zip([each.name for each in session.get_outputs()], session.run(None, given), strict=True))


def _called(content: bytes, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return _run(_session(content), feeds)
