"""`dlc ops`: every operator of ONNX is there, has a gradient or a reason, and what tested it is what the tests say."""

from __future__ import annotations

import json

import onnx
import pytest
import tested_operators

from dlc.compiler.catalogue import KINDS, Entry, catalogue
from dlc.compiler.kernels import element_types, has_kernel
from dlc.runtime.cli import main

ENTRIES = {entry.name: entry for entry in catalogue()}


def test_every_operator_of_onnx_is_there() -> None:
    names = {s.name for s in onnx.defs.get_all_schemas_with_history() if s.domain == ""}
    assert set(ENTRIES) == names and len(names) > 190


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=lambda entry: entry.name)
def test_it_has_a_gradient_or_a_reason(entry: Entry) -> None:
    assert entry.gradient in KINDS
    assert bool(entry.reason) == (entry.gradient in ("zero", "none"))


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=lambda entry: entry.name)
def test_a_gradient_is_tested(entry: Entry) -> None:
    assert entry.gradient == "none" or "differences" in entry.tested


def test_at_least_150_operators_have_a_gradient_that_passes_both_oracles() -> None:
    passed = [entry for entry in ENTRIES.values() if entry.gradient != "none" and len(entry.tested) == 2]
    assert len(passed) >= 150


def test_what_tested_them_is_written_down() -> None:
    """After a new case: python tests/compiler/tested_operators.py"""
    assert tested_operators.PATH.read_text(encoding="utf-8") == tested_operators.text()


def test_kernels() -> None:
    assert element_types("Conv", 21, "CPU") == ("f32",)
    assert element_types("Conv", 21, "CUDA") == ("f16", "f32", "f64")
    assert element_types("Swish", 21, "CPU") == ()  # it came later
    assert has_kernel("MatMul", {"T": "f64"}, 21, "CPU") and not has_kernel("Conv", {"T": "f64"}, 21, "CPU")
    with pytest.raises(KeyError):
        has_kernel("Conv", {}, 21, "TPU")


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ops", "Tanh", "ArgMax", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(each["name"], each["gradient"]) for each in found] == [("Tanh", "rule"), ("ArgMax", "none")]
    assert found[0]["tested"] == ["differences", "PyTorch"] and found[1]["reason"] == "its result is a position"
    assert main(["ops"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == len(ENTRIES) + 2 and shown[0].split() == [
        "operator",
        "gradient",
        "CPU",
        "CUDA",
        "tested",
        "against",
    ]
    assert main(["ops", "Tanhh"]) == 1
    assert "did you mean Tanh?" in capsys.readouterr().err
