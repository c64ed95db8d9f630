"""Whether CUDA could run each node of a training step, proved without a GPU from the kernels that the wheel has."""

from __future__ import annotations

from typing import Any

import onnx
import pytest
from products_of import SPECS, spec

from dlc.compiler.kernels import has_kernel
from dlc.compiler.passes import run
from dlc.compiler.products import pipeline_of

FREE = {"Constant": "made into an initializer when the session opens"}


def has_cuda_kernel(op: str, types: dict[str, str], opset: int) -> bool:
    return has_kernel(op, types, opset, "CUDA")


def constraint_types(node: Any) -> dict[str, str]:
    """A node's element types by the name of the schema's type constraint."""
    schema = onnx.defs.get_schema(node.op, 21)
    found: dict[str, str] = {}
    for formal, actual in ((schema.inputs, node.inputs), (schema.outputs, node.outputs)):
        for i, value in enumerate(actual):
            if value is not None:
                found[formal[min(i, len(formal) - 1)].type_str] = value.dtype
    return found


@pytest.mark.parametrize("name", SPECS)
def test_cuda_has_a_kernel_for_every_node_of_a_step(name: str) -> None:
    for unit in (spec(name).step(name), spec(name).gradients(name), spec(name).application(name)):
        graph = run(unit.graph, pipeline_of(unit.kind))
        missing = [
            f"{node.op} {constraint_types(node)} at {node.span}"
            for node in graph.nodes
            if node.op not in FREE and not has_cuda_kernel(node.op, constraint_types(node), 21)
        ]
        assert not missing, "\n".join(missing)
        for node in graph.nodes:
            if node.op == "ConvTranspose":  # the CUDA provider gives asymmetric pads to the CPU
                pads = node.attributes.get("pads", ())
                assert pads[: len(pads) // 2] == pads[len(pads) // 2 :], node.span


def test_the_rule_of_kernels_is_the_exact_one() -> None:
    assert has_cuda_kernel("MaxPool", {"T": "f32"}, 21) and not has_cuda_kernel("MaxPool", {"T": "f32"}, 22)
    assert has_cuda_kernel("Elu", {"T": "f32"}, 21) and not has_cuda_kernel("Elu", {"T": "f32"}, 22)
    assert has_cuda_kernel("Add", {"T": "i64"}, 21) and not has_cuda_kernel("Add", {"T": "bool"}, 21)
    assert not has_cuda_kernel("Tan", {"T": "f32"}, 21) and not has_cuda_kernel("Mean", {"T": "f32"}, 21)
