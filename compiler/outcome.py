"""What a run predicts of each example: the values that its loss or a metric compares with a field of the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dlc.compiler.elaborate import expressions, train
from dlc.compiler.elaborate.context import Elaborator, Mode
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.elaborate.run import Run
from dlc.compiler.graph import Node, Value, topological
from dlc.compiler.types import Type, symbol
from dlc.compiler.unit import Unit, elaborator, fail, kept, returned, run_graph, unit_of
from dlc.dsl import ast

if TYPE_CHECKING:
    from dlc.compiler.program import Program

Kind = Literal["classes", "binary", "numbers"]
PREDICTION, LEARNING_RATE = "prediction", "lr"
SAME = ("Cast", "Identity", "Squeeze", "Unsqueeze", "Reshape", "dlc.ReshapeTo")
"""What leaves an example's values as they are."""


@dataclass(frozen=True)
class Outcome:
    """`prediction` is the unit from weights and fields to the output `prediction`, to be compared with `target`.

    `classes`: scores [B, classes] (before softmax, as far as the loss is a cross-entropy) and a field i64[B].
    `binary`: logits [B] and a field of truth values. `numbers`: estimates and a float field, of one shape, [B] or [B,
    n]. All three are None where the loss is none of these. `inputs` are the fields that the net reads, `output` is
    what the net calls its scores of classes, or their softmax, if it returns them. `learning_rate` gives `lr` from the
    loop's scalars; a float if it is always the same.
    """

    kind: Kind | None
    prediction: Unit | None
    target: str | None
    inputs: tuple[str, ...]
    output: str | None
    learning_rate: Unit | float | None


@dataclass(frozen=True)
class _Found:
    kind: Kind
    prediction: Value
    field: Value


def outcome(p: Program, name: str) -> Outcome:
    """What a run predicts, known by the structure of its loss, else of its metrics. Raises SourceError."""
    e = elaborator(p, Mode())
    with e:
        run = train.elaborate(e, p.runs[name])
        fail(e)
        assert run.loss is not None
        fields = {value: field for field, value in run.fields.items()}
        found = next((each for root in (run.loss, *run.metrics.values()) for each in _search(root, fields)), None)
        rate = _learning_rate(p, e, run)
        if found is None:
            return Outcome(None, None, None, (), None, rate)
        outputs = {PREDICTION: found.prediction}
        graph = run_graph(e, name, outputs, run, roles=("parameter", "state"))
        # Weights that the prediction does not need are not asked for.
        read = graph.uses()
        graph = e.builder.graph(name, outputs, [value for value in graph.inputs if value in read])
        carried = {address: each for address, each in kept(e).items() if address in graph.input_names}
        output = _output(p, name, run, found)
    unit = unit_of(e, name, "net", graph, run, carried=carried)
    return Outcome(found.kind, unit, fields[found.field], unit.batch, output, rate)


def _search(root: Value, fields: Mapping[Value, str]) -> Iterator[_Found]:
    """Comparisons of what weights made with a field, those nearest to the root first."""
    nodes = topological([root])
    learnt: set[Value] = set()
    for node in nodes:
        if any(value in learnt or (value.node is None and value not in fields) for value in node.operands()):
            learnt.update(node.outputs)
    for node in reversed(nodes):
        found = _compared(node, fields)
        if found is not None and found.prediction in learnt and _fits(found):
            yield found


def _compared(node: Node, fields: Mapping[Value, str]) -> _Found | None:
    inputs = [value for value in node.inputs if value is not None]
    if node.op == "GatherElements":
        field = _field(inputs[1], fields)
        logs = inputs[0].node
        if field is not None and logs is not None and logs.op == "LogSoftmax" and logs.inputs[0] is not None:
            return _Found("classes", logs.inputs[0], field)
    if node.op in ("Equal", "Sub") and len(inputs) == 2:
        for mine, other in (inputs, reversed(inputs)):
            field = _field(other, fields)
            if field is None:
                continue
            if node.op == "Equal" and mine.node is not None and mine.node.op == "ArgMax":
                scores = mine.node.inputs[0]
                return _Found("classes", scores, field) if scores is not None else None
            if node.op == "Sub":
                return _Found("numbers", mine, field)
    if node.op == "Sub" and len(inputs) == 2:
        return _binary(inputs, fields)
    return None


def _binary(inputs: list[Value], fields: Mapping[Value, str]) -> _Found | None:
    """softplus(z) - z * y, in which y is a field."""
    left, right = inputs
    if left.op != "Softplus" or right.op != "Mul" or left.node is None or right.node is None:
        return None
    logit = left.node.inputs[0]
    factors = [value for value in right.node.inputs if value is not None]
    others = [value for value in factors if value is not logit]
    if logit is None or len(others) != 1:
        return None
    field = _field(others[0], fields)
    return _Found("binary", logit, field) if field is not None else None


def _field(value: Value, fields: Mapping[Value, str]) -> Value | None:
    """The field that a value is, but for its shape and type."""
    while value not in fields:
        if value.node is None or value.node.op not in SAME or value.node.inputs[0] is None:
            return None
        value = value.node.inputs[0]
    return value


def _fits(found: _Found) -> bool:
    """Is there one prediction for one target of each example?"""
    prediction, target = found.prediction.type, found.field.type
    batch = symbol("B")
    if prediction.shape[:1] != (batch,) or target.shape[:1] != (batch,) or not prediction.is_float:
        return False
    if found.kind == "classes":
        return target == Type("i64", (batch,)) and prediction.rank == 2 and isinstance(prediction.shape[1], int)
    if found.kind == "binary":
        return prediction.size == target.size == batch
    sizes = [each.shape[1:] for each in (prediction, target)]
    return target.is_float and sizes[0] == sizes[1] and target.rank <= 2


def _output(p: Program, name: str, run: Run, found: _Found) -> str | None:
    """What the net calls the scores of classes, or their softmax."""
    if found.kind != "classes" or run.result is None:
        return None
    for output, value in returned(p.nets[p.runs[name].net.text], run.result).items():
        node = value.node if isinstance(value, Value) else None
        if value is found.prediction or (
            node is not None and node.op in ("Softmax", "LogSoftmax") and node.inputs[0] is found.prediction
        ):
            return output
    return None


def _learning_rate(p: Program, e: Elaborator, run: Run) -> Unit | float | None:
    """The optimizer's setting `lr`, or its first, as the text says it."""
    call = run.optimizer.value if run.optimizer is not None else None
    while isinstance(call, ast.Group):
        call = call.inner
    if not isinstance(call, ast.Call) or run.frame is None:
        return None
    named = [each for each in call.args if each.name is not None and each.name.text == LEARNING_RATE]
    chosen = named or [each for each in call.args[:1] if each.name is None]
    if not chosen:
        return None
    try:
        value: Any = expressions.evaluate(e, chosen[0].value, run.frame)
    except Problem:
        return None
    if isinstance(value, Value) and value.type.is_float and not value.shape:
        graph = e.builder.graph(run.name, {LEARNING_RATE: value}, e.builder.inputs)
        read = graph.uses()
        graph = e.builder.graph(run.name, {LEARNING_RATE: value}, [each for each in graph.inputs if each in read])
        unit = unit_of(e, run.name, "net", graph, run, weights={})
        return unit if set(graph.input_names) == set(unit.scalars) else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


__all__ = ["LEARNING_RATE", "PREDICTION", "Outcome", "outcome"]
