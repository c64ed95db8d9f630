"""How much memory a net takes to run and a run to train, by the liveness of tensors in the graphs after all passes.

What is counted are tensors: what a kernel needs for itself while it works (a convolution's columns) is not, nor what
the runtime keeps back between allocations. It is an estimate for the order in which the graph lists its nodes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from dlc.compiler.graph import Graph, Node, Value, topological
from dlc.compiler.passes import INFERENCE, TRAINING, run
from dlc.compiler.types import Dim, Type, substitute, symbols
from dlc.compiler.unit import Unit

WIDTH: Mapping[str, int] = {
    "bool": 1, "u8": 1, "i8": 1, "u16": 2, "i16": 2, "f16": 2, "bf16": 2, "u32": 4, "i32": 4, "f32": 4, "u64": 8,
    "i64": 8, "f64": 8, "c64": 8, "c128": 16, "str": 8,
}  # fmt: skip
"""The bytes of one element; of a text, of the pointer to it."""

ALIASES = frozenset(
    {"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "dlc.ReshapeTo", "dlc.Detach", "dlc.Point"}
)  # the result is the operand's memory, seen in another shape
IN_PLACE = frozenset({
    "Celu", "Clip", "Elu", "HardSigmoid", "LeakyRelu", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Tanh",
    "ThresholdedRelu",
})  # fmt: skip
"""Operators that write over an operand that nobody else reads: those of which it was seen in ONNX Runtime 1.31. Sums
and products do not, nor Exp, Sqrt and their like."""


class UnknownSize(ValueError):
    """A size is known only at run time; `names` are the dimensions that it depends on."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(sorted(set(names)))
        super().__init__(f"depends on {', '.join(self.names)}")


@dataclass(frozen=True, slots=True)
class Inference:
    """Bytes to run a net once with a batch of `batch`: weights and states, inputs and constants, and the most that
    tensors in between take at any one time, results included."""

    batch: int
    weights: int
    inputs: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.inputs + self.activations


@dataclass(frozen=True, slots=True)
class Training:
    """Bytes of a training step with the run's batch.

    `weights` are parameters, frozen ones too, and states. `optimizer` are its states. `copy` is the second set of all
    that moves, which a step writes while it reads the first. `gradients` are those of parameters that exist as
    tensors: one that is fused into its update does not. `kept` are the tensors of the forward pass that the backward
    pass reads. `working` is the most that tensors of the step take at any one time, gradients and kept ones included.
    """

    batch: int
    weights: int
    optimizer: int
    copy: int
    inputs: int
    gradients: int
    kept: int
    working: int

    @property
    def total(self) -> int:
        return self.weights + self.optimizer + self.copy + self.inputs + self.working


def size_of(type: Type, sizes: Mapping[str, int]) -> int:
    """The bytes of a tensor whose symbolic dimensions have these sizes. Raises UnknownSize."""
    total: Dim = WIDTH[type.dtype]
    for dim in type.shape:
        total = total * substitute(dim, sizes)
    if not isinstance(total, int):
        raise UnknownSize(symbols(total))
    return total


def inference(unit: Unit, batch: int = 1) -> Inference:
    """The memory of a net or `infer` section. Raises UnknownSize."""
    graph = run(unit.graph, INFERENCE, verify=False)
    sizes = {"B": batch}
    carried = sum(size_of(graph.input(each).type, sizes) for each in unit.carried)
    return Inference(batch, carried, _given(graph, sizes) - carried, peak(graph, sizes))


def training(unit: Unit) -> Training:
    """The memory of a run's step. Raises UnknownSize."""
    seen: dict[str, Graph] = {}
    graph = run(unit.graph, TRAINING, trace=lambda name, _, after: seen.update({name: after}), verify=False)
    sizes = {"B": graph.sizes.get("B", 1)}
    bytes = {name: size_of(graph.input(name).type, sizes) for name in unit.carried}
    roles = {name: role for name, (_, role) in unit.carried.items()}
    weights = sum(count for name, count in bytes.items() if roles[name] != "optimizer")
    optimizer = sum(count for name, count in bytes.items() if roles[name] == "optimizer")
    moving = {name: output for name, (output, _) in unit.carried.items() if output is not None}
    successors = {graph.outputs[output] for output in moving.values() if output in graph.outputs}
    return Training(
        batch=sizes["B"],
        weights=weights,
        optimizer=optimizer,
        copy=sum(bytes[name] for name in moving),
        inputs=_given(graph, sizes) - weights - optimizer,
        gradients=_gradients(seen["update"], unit, sizes),
        kept=kept(graph, [graph.outputs["loss"]], sizes),
        working=peak(graph, sizes, apart=successors),
    )


def _given(graph: Graph, sizes: Mapping[str, int]) -> int:
    """The bytes of a graph's inputs and constants, which live throughout."""
    constants = [node.output for node in graph.nodes if node.op == "Constant"]
    return sum(size_of(value.type, sizes) for value in (*graph.inputs, *constants))


def _gradients(updated: Graph, unit: Unit, sizes: Mapping[str, int]) -> int:
    """The gradients that are left as tensors when updates are fused: those that `finite` looks at, beside the loss."""
    shapes = {updated.input(name).type for name, (_, role) in unit.carried.items() if role == "parameter"}
    tested = {value for node in updated.nodes if node.op == "dlc.Finite" for value in node.operands()}
    tested.discard(updated.outputs["loss"])
    return sum(size_of(value.type, sizes) for value in tested if value.type in shapes)


# ---------------------------------------------------------------------------------------------------- liveness


def peak(graph: Graph, sizes: Mapping[str, int], *, apart: Collection[Value] = ()) -> int:
    """The most bytes that the tensors made by a graph's nodes take at any one time. Raises UnknownSize.

    Inputs, constants and the values `apart` have memory of their own and are not counted. A tensor lives from its
    node to the last that reads it, a result of the graph to the end. A body counts while its node runs.
    """
    store = storages(graph)
    outside = {store[value] for value in (*graph.inputs, *apart) if value in store}
    last: dict[Value, int] = {}
    for index, node in enumerate(graph.nodes):
        for value in node.operands():
            last[store.get(value, value)] = index
    for value in graph.outputs.values():
        last[store.get(value, value)] = len(graph.nodes)
    ends: dict[int, list[Value]] = {}
    for value, index in last.items():
        ends.setdefault(index, []).append(value)
    taken: dict[Value, int] = {}
    live = most = 0
    for index, node in enumerate(graph.nodes):
        dying = {value: taken[value] for value in ends.get(index, ()) if value in taken}
        for value in node.outputs:
            if store[value] is not value or value in outside or node.op == "Constant":
                continue
            taken[value] = size_of(value.type, sizes)
            over = _written_over(node, dying, taken[value]) if value not in apart else None
            if over is not None:
                live -= dying.pop(over)
                taken.pop(over)
            live += taken[value]
        most = max(most, live + sum(peak(body, sizes) for body in node.bodies))
        unread = [value for value in node.outputs if value in taken and value not in last]
        for value in (*dying, *unread):
            live -= taken.pop(value)
    return most


def kept(graph: Graph, forward: Iterable[Value], sizes: Mapping[str, int]) -> int:
    """The bytes of what the nodes leading to `forward` make and other nodes read. Raises UnknownSize."""
    store = storages(graph)
    before = set(topological(forward))
    read = {store.get(value, value) for node in graph.nodes if node not in before for value in node.operands()}
    made = (value for node in before if node.op != "Constant" for value in node.outputs)
    return sum(size_of(value.type, sizes) for value in made if value in read)


def storages(graph: Graph) -> dict[Value, Value]:
    """For every value of a graph the one whose memory it is: itself, unless an operator only looks at it anew."""
    store: dict[Value, Value] = {value: value for value in graph.inputs}
    for node in graph.nodes:
        first = node.inputs[0] if node.inputs else None
        if node.op in ALIASES and first is not None:
            store[node.outputs[0]] = store.get(first, first)
        for value in node.outputs:
            store.setdefault(value, value)
    return store


def _written_over(node: Node, dying: Mapping[Value, int], size: int) -> Value | None:
    """An operand read here for the last time whose memory the result can take."""
    if node.op not in IN_PLACE:
        return None
    return next((value for value in node.operands() if dying.get(value) == size), None)


__all__ = ["Inference", "Training", "UnknownSize", "inference", "kept", "peak", "size_of", "storages", "training"]
