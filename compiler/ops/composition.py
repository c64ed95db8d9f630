"""Operators that are defined by what they are made of: one rule gives their values, their gradients and their form."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from dlc.compiler.build import Builder, op
from dlc.compiler.graph import Node, Value
from dlc.compiler.registry import COMPILER_ATTRIBUTES, Rule, evaluate, expanded, expansion, lower
from dlc.compiler.types import Array, Type, dtype_of

_NARROW = ("f16", "bf16")


def composed(name: str, *, outputs: int = 1, kernels: Iterable[str] = ()) -> Callable[[Rule], Rule]:
    """Record what an operator of up to so many outputs is made of.

    The rule is an expansion that gives all the outputs, wanted or not. The operator is evaluated by it, and lowered to
    it, but for the element types of its first output that ONNX Runtime's CPU provider has `kernels` for.
    """
    kept = frozenset(kernels)

    def record(rule: Rule) -> Rule:
        @wraps(rule)
        def wanted(node: Node, *inputs: Any, **attributes: Any) -> list[Value]:
            made = rule(node, *inputs, **attributes)
            return list(made)[: len(node.outputs)] if isinstance(made, tuple) else [made]

        expansion(name)(wanted)
        evaluate(name)(meaning(name, outputs))

        @lower(name)
        def _(lowering: Any, node: Node, *inputs: Value | None) -> Any:
            return None if node.output.dtype in kept else expanded(node)

        return rule

    return record


def meaning(name: str, outputs: int) -> Callable[..., list[Array]]:
    """The values of an operator for arrays, by its expansion."""

    def evaluated(*inputs: Array | None, **attributes: Any) -> list[Array]:
        from dlc.compiler.evaluate import evaluate as evaluate_graph

        builder = Builder()
        given = {f"x{i}": array for i, array in enumerate(inputs) if array is not None}
        values = [
            None if array is None else builder.input(f"x{i}", Type(dtype_of(array), array.shape))
            for i, array in enumerate(inputs)
        ]
        kept = {key: value for key, value in attributes.items() if key not in COMPILER_ATTRIBUTES}
        with builder:
            made = expanded(builder.add(name, values, kept, outputs=outputs))
        results = {str(i): value for i, value in enumerate(made) if value is not None}
        return list(evaluate_graph(builder.graph(name, results), given).values())

    return evaluated


def wide(x: Value) -> Value:
    """f16 and bf16 as f32, for statistics; other floats as they are."""
    value: Value = op.Cast(x, to="f32") if x.dtype in _NARROW else x
    return value


def as_type(x: Value, dtype: str) -> Value:
    value: Value = x if x.dtype == dtype else op.Cast(x, to=dtype)
    return value
