"""What is watched of a training step: the sizes of activations, gradients, weights and updates, layer by layer.

A layer is whatever owns weights, by its address: `lenet.conv` owns `lenet.conv.weight` and `lenet.conv.bias`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from dlc.compiler.build import op
from dlc.compiler.elaborate import train
from dlc.compiler.elaborate.context import Mode
from dlc.compiler.graph import Node, Value, topological
from dlc.compiler.types import symbols
from dlc.compiler.unit import Unit, elaborator, fail, run_graph, unit_of

if TYPE_CHECKING:
    from dlc.compiler.program import Program

BATCH = "B"
ACTIVATION, ZEROS, GRADIENT, NORM, UPDATE = "activation", "zeros", "gradient", "norm", "update"
PLAIN = ("MaxPool", "AveragePool", "dlc.ReshapeTo", "Identity")
"""What may stand between a layer and its ReLU."""


def watch(p: Program, name: str) -> Unit:
    """The step of a run, with norms instead of successors. Raises SourceError.

    Inputs are the step's. Of each layer whose weights learn there are `LAYER:activation`, the root mean square of its
    output (where it is used last, if it is used several times), and `LAYER:zeros`, the share of zeros after the ReLU
    that follows it, if one does. Of each weight: `ADDRESS:gradient`, `ADDRESS:norm` and `ADDRESS:update`, the
    Euclidean norms of the loss's gradient (before clipping), of the weight, and of what this step adds to it.
    """
    e = elaborator(p, Mode(training=True))
    with e:
        run = train.elaborate(e, p.runs[name])
        fail(e)
        assert run.loss is not None
        outputs: dict[str, Value] = {}
        weights = {e.parameters[address].value: owner(address) for address in run.gradients}
        nodes = topological([run.loss])
        with e.builder.at(p.runs[name].net.span):
            for layer, value in layers(nodes, weights).items():
                outputs[f"{layer}:{ACTIVATION}"] = op.Sqrt(op.ReduceMean(value * value, keepdims=0))
                after = _relu_after(nodes, value)
                if after is not None:
                    zero = op.Equal(after, e.builder.constant(0.0, after.dtype))
                    outputs[f"{layer}:{ZEROS}"] = op.ReduceMean(op.Cast(zero, to=after.dtype), keepdims=0)
            for address, gradient in run.gradients.items():
                weight = e.parameters[address].value
                outputs[f"{address}:{GRADIENT}"] = _norm(gradient)
                outputs[f"{address}:{NORM}"] = _norm(weight)
                if address in run.updated:
                    outputs[f"{address}:{UPDATE}"] = _norm(run.updated[address] - weight)
        graph = run_graph(e, name, outputs, run)
        carried = {each: (None, e.parameters[each].role) for each in graph.input_names if each in e.parameters}
    return unit_of(e, name, "grad", graph, run, carried=carried, reports=tuple(outputs))


def owner(address: str) -> str:
    """The layer that a weight belongs to."""
    return address.rpartition(".")[0] or address


def layers(nodes: Iterable[Node], weights: dict[Value, str]) -> dict[str, Value]:
    """The output of each layer, in the order of the forward pass: the last value in which a weight of the layer, or
    what is made of its weights alone, meets the batch."""
    owned = dict(weights)
    found: dict[str, Value] = {}
    for node in nodes:
        operands = [value for value in node.operands() if value.constant is None]
        owners = {owned[value] for value in operands if value in owned}
        if _has_batch(node.output):
            for layer in owners:
                found.pop(layer, None)
                if node.output.type.is_float:
                    found[layer] = node.output
        elif len(owners) == 1 and (node.output.shape or not node.op.startswith("Reduce")):
            # A penalty on weights is no layer, though it may meet the loss of each example.
            owned |= dict.fromkeys(node.outputs, owners.pop())
    return found


def _relu_after(nodes: Iterable[Node], value: Value) -> Value | None:
    """What the ReLU makes of a layer's output, if one follows."""
    for node in nodes:
        if node.inputs and node.inputs[0] is value:
            if node.op == "Relu":
                return node.output
            if node.op in PLAIN:
                value = node.output
    return None


def _has_batch(value: Value) -> bool:
    return any(BATCH in symbols(dim) for dim in value.shape)


def _norm(value: Value) -> Value:
    square: Value = op.ReduceSumSquare(value, keepdims=0) if value.shape else value * value
    root: Value = op.Sqrt(square)
    return root


__all__ = ["ACTIVATION", "GRADIENT", "NORM", "UPDATE", "ZEROS", "layers", "owner", "watch"]
