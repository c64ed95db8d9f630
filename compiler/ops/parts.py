"""The numpy meaning of an operator that is its expansion's: for those that onnx's reference evaluates in float32 only,
differently from the runtime, or not at all."""

from __future__ import annotations

from typing import Any

from dlc.compiler.registry import evaluate, expanded
from dlc.compiler.types import Array


def by_parts(*names: str) -> None:
    """Evaluate operators of one output by what they expand to."""
    for name in names:
        evaluate(name)(_meaning(name))


def _meaning(name: str) -> Any:
    def meaning(*inputs: Array | None, **attributes: Any) -> Array:
        from dlc.compiler.build import Builder
        from dlc.compiler.evaluate import evaluate as run

        with Builder() as builder:
            values = [None if array is None else builder.constant(array) for array in inputs]
            (made,) = expanded(builder.add(name, values, attributes))
            assert made is not None
            graph = builder.graph(name, {"y": made})
        return run(graph, {})["y"]

    return meaning


__all__ = ["by_parts"]
