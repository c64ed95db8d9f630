"""A graph over one record made into one over a batch: every value that depends on a record gets `B` in front."""

from __future__ import annotations

from collections.abc import Mapping

from dlc.compiler.build import current, op, private
from dlc.compiler.graph import Graph, Node, Value
from dlc.compiler.registry import lookup
from dlc.compiler.types import Dim, symbol


class NotBatched(Exception):
    """An operator that has no batched form here; the record has to be taken alone."""


def batch(graph: Graph, given: Mapping[Value, Value]) -> dict[str, Value]:
    """The outputs of `graph` built in the current builder, over a batch.

    `given` maps each input of the graph to its stand-in: one with `B` in front for a record, one of the same type for
    a constant. Raises NotBatched.
    """
    done: dict[Value, Value] = dict(given)
    stretched = {value for value, stand_in in given.items() if stand_in.type.rank == value.type.rank + 1}
    for node in graph.nodes:
        operands = [value for value in node.inputs if value is not None]
        with current().at(node.span):
            if not any(value in stretched for value in operands):
                inputs = [done[value] if value is not None else None for value in node.inputs]
                made = current().add(node.op, inputs, node.attributes, node.bodies, len(node.outputs)).outputs
            else:
                made = (_batched(node, done, stretched),)
                stretched.update(node.outputs)
        done.update(zip(node.outputs, made, strict=True))
    return {name: _whole(value, done[value], value in stretched) for name, value in graph.outputs.items()}


def _whole(value: Value, made: Value, stretched: bool) -> Value:
    if stretched:
        return made
    return private.ExpandTo(made, shape=(symbol("B"), *value.shape))


def _batched(node: Node, done: Mapping[Value, Value], stretched: set[Value]) -> Value:
    x = node.inputs[0]
    B: Dim = symbol("B")
    if node.op == "dlc.ReshapeTo":
        assert x is not None
        return private.ReshapeTo(done[x], shape=(B, *node.attributes["shape"]))
    if node.op == "Transpose" and x is not None:
        return op.Transpose(done[x], perm=(0, *(axis + 1 for axis in node.attributes["perm"])))
    if _from_the_end(node, stretched):
        return current().add(node.op, [done[v] if v is not None else None for v in node.inputs], node.attributes).output
    unary = len(node.inputs) == 1 and x is not None and node.output.shape == x.shape and "axis" not in node.attributes
    if not (unary or lookup(node.op).broadcasts) or node.op == "MatMul" or len(node.outputs) > 1:
        raise NotBatched(node.op)
    rank = max(value.type.rank for value in node.inputs if value is not None)
    inputs: list[Value | None] = []
    for value in node.inputs:
        if value is None or value not in stretched or value.type.rank == rank:
            inputs.append(done[value] if value is not None else None)
        else:
            shape = (B, *[1] * (rank - value.type.rank), *value.shape)
            inputs.append(private.ReshapeTo(done[value], shape=shape))
    return current().add(node.op, inputs, node.attributes).output


def _from_the_end(node: Node, stretched: set[Value]) -> bool:
    """Does the operator count its axes from the end, so that it is the same with one more in front?"""
    first, *others = (value for value in node.inputs if value is not None)
    if node.op == "MatMul":
        rank = max(first.type.rank, others[0].type.rank)
        return rank > 1 and all(value.type.rank == rank for value in (first, *others) if value in stretched)
    if first not in stretched or any(value in stretched for value in others):
        return False
    if node.op == "Gather":
        return bool(node.attributes.get("axis", 0) < 0)
    axes = others[0].constant if node.op == "ReduceSum" and others else None
    return axes is not None and bool((axes < 0).all())
