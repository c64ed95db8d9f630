"""The gradient graph of any ONNX model: the content of `dlc grad`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dlc.compiler.beside import Beside
from dlc.compiler.build import Builder, op, private
from dlc.compiler.graph import Graph, Node, Value, topological
from dlc.compiler.importer import Imported
from dlc.compiler.passes.differentiate import NotDifferentiable, reached
from dlc.compiler.registry import IllTyped, NoGradient, lookup
from dlc.dsl.diagnostics import nearest

if TYPE_CHECKING:
    from onnx import ModelProto

COTANGENT, GRADIENT, VECTOR, PRODUCT = ":cotangent", ":grad", ":vector", ":hvp"


class Underivable(ValueError):
    """A gradient that was asked for and does not exist; the message says of what, and why."""


@dataclass(frozen=True)
class Reach:
    """Whether a gradient of the model's float outputs reaches a value; `reason` says what is in the way."""

    name: str
    value: Value
    weight: bool
    reached: bool
    reason: str


def derivative(
    model: Imported, of: str, wrt: Sequence[str], *, cotangent: bool = False, second: bool = False
) -> tuple[Graph, list[str]]:
    """The model's graph with the gradient of the value `of` by each of `wrt` as the outputs `NAME:grad`.

    Without `cotangent`, `of` has to be one number. With it `of` may have any shape, and the cotangent is a further
    input, `OF:cotangent`. With `second`, each of `wrt` has an input `NAME:vector` of its type, and the output
    `NAME:hvp` is the gradient by NAME of the sum of all gradients times their vectors (a product of the Hessian and a
    vector). The weights named in `wrt` are inputs; the others are constants. Values that the model computes can stand
    in `wrt` if they were among those asked for when it was read.

    Returns the graph, not yet differentiated, and the weights that became inputs. Raises Underivable.
    """
    weights = [name for name in dict.fromkeys((*wrt, of)) if name in model.weights]
    graph = model.inlined(keep=weights)
    known = _named(graph)
    constants = (node.output for node in graph.nodes if node.op == "Constant")
    held = {graph.names[value]: value for value in constants if value in graph.names}
    target = _value(known, held, of, "--of")
    wanted = [(name, _value(known, held, name, "--wrt")) for name in dict.fromkeys(wrt)]
    if not wanted:
        raise Underivable("nothing to differentiate by: name weights or inputs with --wrt")
    for name, value in ((of, target), *wanted):
        if not value.type.is_float:
            raise Underivable(f"{name} is {value.type}: a gradient is of floats, by floats")
    for name, value in wanted:
        if value.op not in (None, "dlc.Point"):
            raise Underivable(f"{name} is computed inside the model: read the model with it among those `asked` for")
    if target.shape and not cotangent:
        raise Underivable(f"{of} is {target.type}, not one number: give its cotangent (--cotangent), or name a loss")
    _smooth_from(target, wanted, of)
    builder = Builder(graph.names)
    builder.inputs.extend(graph.inputs)
    for node in graph.nodes:
        builder.adopt(node)
    outputs = dict(graph.outputs)
    outputs.setdefault(of, target)
    with builder:
        loss = target
        if cotangent:
            product = target * builder.input(of + COTANGENT, target.type)
            loss = op.ReduceSum(product, keepdims=0) if product.shape else product
        gradients = {name: private.Gradient(loss, value) for name, value in wanted}
        outputs |= {name + GRADIENT: value for name, value in gradients.items()}
        if second:
            parts = []
            kinds = {value.dtype for value in gradients.values()}
            widest = kinds.pop() if len(kinds) == 1 else "f64" if "f64" in kinds else "f32"
            for name, value in gradients.items():
                product = value * builder.input(name + VECTOR, value.type)
                part = op.ReduceSum(product, keepdims=0) if product.shape else product
                parts.append(part if part.dtype == widest else op.Cast(part, to=widest))
            total = parts[0] if len(parts) == 1 else op.Sum(*parts)
            outputs |= {name + PRODUCT: private.Gradient(total, value) for name, value in wanted}
    return builder.graph(graph.name, outputs), weights


def differentiated(model: Imported, graph: Graph, beside: Beside | None = None) -> ModelProto:
    """The graph of `derivative` as a model: differentiated, optimized, lowered. Its weights that are inputs have the
    model's values as initializers, so that they need not be fed.

    If all that takes more than 2 GB, its tensors go into the file `beside`. Raises what the passes raise, and EmitError
    where there is no such file.
    """
    from dlc.compiler.emit import LARGEST, EmitError, constant_bytes, emit, tensor
    from dlc.compiler.passes import TRAINING, run

    lowered = run(graph, TRAINING)
    held = {name: model.weights[name] for name in graph.input_names if name in model.weights}
    size = constant_bytes(lowered) + sum(array.nbytes for array in held.values())
    if size <= LARGEST:
        beside = None
    elif beside is None:
        raise EmitError(f"the tensors of {graph.name} take {size / 1e9:.1f} GB; one ONNX file holds 2 GB")
    made = emit(lowered, beside=beside)
    made.graph.initializer.extend(tensor(name, array, beside) for name, array in held.items())
    return made


def reach(model: Imported) -> list[Reach]:
    """For the model's inputs, weights and inner values: whether a gradient of one of its float outputs reaches them."""
    graph = model.graph
    outputs = [value for value in graph.outputs.values() if value.type.is_float]
    smooth, blocked = _smooth(outputs)
    if len(outputs) > 1 and blocked:  # what cannot be built for one output does not stand in the way of another
        smooth = set().union(*(_smooth([output])[0] for output in outputs))
    used = {value for node in topological(graph.outputs.values()) for value in node.operands()}
    used.update(graph.outputs.values())
    found = []
    named = {graph.names[value]: value for value in graph.inputs}
    named |= {name: value for name, value in model.values.items() if value.op != "Constant"}
    for name, value in {**named, **graph.outputs}.items():
        if value in smooth:
            reason = ""
        elif not value.type.is_float:
            reason = f"it is {value.dtype}"
        elif value not in used:
            reason = "no output depends on it"
        elif value in blocked:
            reason = blocked[value]
        else:
            reason = "no float output depends on it"
        found.append(Reach(name, value, name in model.weights, value in smooth, reason))
    return found


def _named(graph: Graph) -> dict[str, Value]:
    """Every value with a name: inputs first, then in the order of the nodes."""
    named = {graph.names[value]: value for value in graph.inputs}
    for node in graph.nodes:
        for value in node.outputs:
            if value in graph.names and node.op != "Constant":
                named.setdefault(graph.names[value], value)
    return named | {name: value for name, value in graph.outputs.items() if name not in named}


def _value(known: Mapping[str, Value], held: Mapping[str, Value], name: str, flag: str) -> Value:
    if name not in known and name in held:
        type = held[name].type
        why = "computed of constants alone" if type.is_float else "and a gradient is of floats, by floats"
        raise Underivable(f"{flag}: {name} is a constant of the model, {type}, {why}")
    if name not in known:
        guess = nearest(name, known)
        hint = f"; did you mean {guess}?" if guess else ""
        raise Underivable(f"{flag}: the model has no value called {name}{hint}")
    return known[name]


def _smooth(outputs: Sequence[Value]) -> tuple[set[Value], dict[Value, str]]:
    """The values that `outputs` depend on differentiably, and why not for those that they depend on otherwise.

    Where a gradient cannot be built it is refused, and with it that of all that is differentiable up to there, whatever
    other paths lead to it.
    """
    smooth: set[Value] = set(outputs)
    blocked: dict[Value, str] = {}
    refused: dict[Value, str] = {}
    with Builder():  # for what is built to see whether it can be
        for node in reversed(topological(outputs)):
            through, reason = _through(node, smooth)
            refusal = reason if through and reason else _first(refused, node.outputs)
            behind = reason or _first(blocked, node.outputs)
            for value in node.operands():
                if value in through:
                    smooth.add(value)
                    if refusal:
                        refused.setdefault(value, refusal)
                else:
                    own = f"{node.op} hands it no gradient" if value.type.is_float else f"it is {value.dtype}"
                    blocked.setdefault(value, behind or own)
    return smooth - refused.keys(), {**blocked, **refused}


def _through(node: Node, smooth: Collection[Value]) -> tuple[Collection[Value], str]:
    """The operands that a gradient goes on to from those outputs of a node that are `smooth`, and what is in the way of
    the others; or, with a reason, of them."""
    rule, live = lookup(node.op).gradient, [value for value in node.outputs if value in smooth]
    if not live:
        return (), ""
    if isinstance(rule, NoGradient):
        return (), f"{node.op}: {rule.reason}"
    try:
        return reached(node, live), ""
    except NotDifferentiable as error:
        reason = f"{node.op}: {error.why}"
    except IllTyped as error:
        reason = str(error)
    return {value for value in node.operands() if value.type.is_float}, reason


def _first(reasons: Mapping[Value, str], values: Sequence[Value]) -> str:
    return next((reasons[value] for value in values if value in reasons), "")


def _smooth_from(target: Value, wanted: Sequence[tuple[str, Value]], of: str) -> None:
    smooth, blocked = _smooth([target])
    for name, value in wanted:
        if value not in smooth:
            raise Underivable(f"{of} does not depend on {name} differentiably: {blocked.get(value, 'not at all')}")


__all__ = ["Reach", "Underivable", "derivative", "differentiated", "reach"]
