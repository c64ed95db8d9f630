"""onnx's own node tests: what ONNX Runtime computes of a model, it computes of what dlc makes of it.

Each case is a model, inputs, and the outputs that onnx expects. It is imported, goes through all passes, is emitted,
and runs on ONNX Runtime with all its optimizations off. `node_case_exclusions` lists the cases that are refused.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from node_case_exclusions import EXCLUDED
from onnx import TensorProto, numpy_helper

from dlc.compiler import passes
from dlc.compiler.emit import emit
from dlc.compiler.importer import Reason, Refused, of_model

PARTS = 16
LEAST = 1300  # cases that must survive, whatever versions of onnx and ONNX Runtime are installed
_REASONS: dict[str, Reason] = {name: reason for reason, names in EXCLUDED.items() for name in names}


@lru_cache(maxsize=1)
def cases() -> dict[str, Any]:
    """The cases that ONNX Runtime passes as they are, by name."""
    os.environ["ALLOW_RELEASED_ONNX_OPSET_ONLY"] = "0"  # opsets under development too
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the cases divide by zero on purpose
        collected = collect_testcases(None)
    onnxruntime.set_default_logger_severity(4)
    return {case.name: case for case in collected if _passes(case)}


def _passes(case: Any) -> bool:
    try:
        return not wrong(case, case.model, optimized=True)
    except Exception:  # whatever ONNX Runtime raises: it does not have the operator
        return False


def wrong(case: Any, model: onnx.ModelProto, *, optimized: bool) -> str:
    """What a model gives that the case does not expect; "" if all is as expected."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    for inputs, expected in case.data_sets:
        found = _run(session, dict(zip(names, inputs, strict=True)))
        if len(found) != len(expected):
            return f"{len(found)} outputs against {len(expected)}"
        for output, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
            if not _close(ours, theirs, case):
                return f"output {output + 1} differs"
    return ""


def _run(session: Any, feeds: dict[str, Any]) -> list[Any]:
    given = {name: _value(value) for name, value in feeds.items()}
    if not any(isinstance(value, onnxruntime.OrtValue) for value in given.values()):
        return list(session.run(None, given))
    values = {
        name: value if isinstance(value, onnxruntime.OrtValue) else onnxruntime.OrtValue.ortvalue_from_numpy(value)
        for name, value in given.items()
    }
    return [value.numpy() for value in session.run_with_ort_values(None, values)]


def _value(value: Any) -> Any:
    """What ONNX Runtime takes for a case's input: element types that numpy lacks go as their bits."""
    if isinstance(value, TensorProto):
        value = numpy_helper.to_array(value)
    if value is None or isinstance(value, list | tuple):
        return value
    array = np.asarray(value)
    if array.dtype.isbuiltin == 1:
        return array
    number = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    bits = array.view(np.uint16 if array.dtype.itemsize == 2 else np.uint8)
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, number)


def _close(ours: Any, theirs: Any, case: Any) -> bool:
    if isinstance(theirs, list | tuple):
        return len(ours) == len(theirs) and all(_close(a, b, case) for a, b in zip(ours, theirs, strict=True))
    if ours is None or theirs is None:
        return ours is theirs
    if isinstance(theirs, TensorProto):
        theirs = numpy_helper.to_array(theirs)
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    if theirs.dtype.isbuiltin != 1 and ours.dtype.itemsize == theirs.dtype.itemsize:
        ours = ours.view(theirs.dtype)  # element types that numpy lacks come as their bits
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return False
    if theirs.dtype == object:
        return bool((ours == theirs).all())
    wide = np.complex128 if theirs.dtype.kind == "c" else np.float64
    return np.allclose(ours.astype(wide), theirs.astype(wide), rtol=case.rtol, atol=case.atol, equal_nan=True)


def _part(names: Sequence[str], part: int) -> Sequence[str]:
    return sorted(names)[part::PARTS]


@pytest.mark.parametrize("part", range(PARTS))
def test_a_case_gives_the_same_after_all_passes(part: int) -> None:
    failed = []
    for name in _part([name for name in cases() if name not in _REASONS], part):
        case = cases()[name]
        try:
            graph = passes.run(of_model(case.model).inlined(), passes.INFERENCE)
            problem = wrong(case, emit(graph), optimized=False)
        except Exception as error:
            problem = f"{type(error).__name__}: {str(error)[:300]}"
        if problem:
            failed.append(f"{name}: {problem}")
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize("reason", EXCLUDED, ids=lambda reason: reason.name)
def test_an_excluded_case_is_refused_for_its_reason(reason: Reason) -> None:
    for name in sorted(EXCLUDED[reason]):
        assert name in cases(), f"{name} is excluded, but ONNX Runtime does not pass it"
        with pytest.raises(Refused) as refusal:
            of_model(cases()[name].model)
        assert refusal.value.reason is reason, f"{name}: {refusal.value}"


def test_at_least_1300_cases_survive() -> None:
    assert len(cases().keys() - _REASONS.keys()) >= LEAST
