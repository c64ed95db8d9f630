"""Metrics over a whole split: sums and counts from each batch, and one small graph that makes the metrics of them.

Every outermost `mean` or `sum` over examples becomes a (total, count) or a total that the host adds over the split in
float64; the rest of each expression is evaluated once, on the totals. So partial batches weigh what they hold, and
`perplexity = exp(loss)` is `exp(total / count)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dlc.compiler.build import Builder, private
from dlc.compiler.graph import Node, Value
from dlc.compiler.types import Type, product, quotient, symbols

BATCH = "B"


class NotAdditive(Exception):
    """A reduction over examples that cannot be put together from batches; `node` is where."""

    def __init__(self, node: Node) -> None:
        super().__init__(node.op)
        self.node = node


@dataclass(frozen=True)
class Division:
    """How the scalars of a split come from batches.

    `outputs` are what one batch gives. `totals` maps each total to its count (None for a sum); the host adds both up.
    `constants` read no example; of them the host keeps the last.
    """

    outputs: dict[str, Value]
    totals: dict[str, str | None]
    constants: tuple[str, ...]
    report: Builder
    results: dict[str, Value]


def divide(builder: Builder, scalars: Mapping[str, Value]) -> Division:
    """Divide scalars that read a batch; new nodes go into `builder`, the current one. Raises NotAdditive."""
    division = _Division(builder)
    results = {name: division.result(value) for name, value in scalars.items()}
    return Division(division.outputs, division.totals, tuple(division.constants), division.report, results)


class _Division:
    def __init__(self, builder: Builder) -> None:
        self.builder = builder
        self.report = Builder()
        self.outputs: dict[str, Value] = {}
        self.totals: dict[str, str | None] = {}
        self.constants: list[str] = []
        self._done: dict[Value, Value] = {}
        self._reads: dict[Value, bool] = {}

    def result(self, value: Value) -> Value:
        """The value in the report graph. Iterative: an expression may be long."""
        waiting = [value]
        while waiting:
            each = waiting[-1]
            if each in self._done:
                waiting.pop()
                continue
            if not self.reads_batch(each):
                self._done[each] = self._constant(each)
            elif _drops_batch(each):
                self._done[each] = self._total(each)
            else:
                assert each.node is not None
                missing = [operand for operand in each.node.operands() if operand not in self._done]
                if missing:
                    waiting.extend(missing)
                    continue
                self._done[each] = self._copy(each.node)
            waiting.pop()
        return self._done[value]

    def reads_batch(self, value: Value) -> bool:
        """Does the value depend on a tensor that has the batch's dimension?"""
        waiting = [value]
        while waiting:
            each = waiting[-1]
            if each in self._reads:
                waiting.pop()
                continue
            if _has_batch(each.type):
                self._reads[each] = True
            elif each.node is None:
                self._reads[each] = False
            else:
                operands = list(each.node.operands())
                missing = [operand for operand in operands if operand not in self._reads]
                if missing:
                    waiting.extend(missing)
                    continue
                self._reads[each] = any(self._reads[operand] for operand in operands)
            waiting.pop()
        return self._reads[value]

    def _constant(self, value: Value) -> Value:
        literal = value.constant
        with self.report:
            if literal is not None:
                return self.report.constant(literal, "f64" if value.type.is_float else None)
            name = f"constant{len(self.constants)}"
            self.constants.append(name)
            self.outputs[name] = value
            return self.report.input(name, value.type.with_dtype("f64"))

    def _total(self, value: Value) -> Value:
        node = value.node
        assert node is not None
        if node.op not in ("ReduceMean", "ReduceSum"):
            raise NotAdditive(node)
        data = node.inputs[0]
        assert data is not None
        name = f"total{len(self.totals)}"
        with self.builder, self.builder.at(node.span):
            total = self.builder.add("ReduceSum", node.inputs, node.attributes).output
            self.outputs[name] = total
            if node.op == "ReduceSum":
                self.totals[name] = None
            else:
                counted = quotient(product(data.shape), product(value.shape))
                self.totals[name] = count = f"count{len(self.totals)}"
                self.outputs[count] = private.Size(dim=counted)
        with self.report:
            sum_ = self.report.input(name, total.type.with_dtype("f64"))
            if node.op == "ReduceSum":
                return sum_
            assert count is not None
            return sum_ / self.report.input(count, Type("f64", ()))

    def _copy(self, node: Node) -> Value:
        inputs = [self._done[value] if value is not None else None for value in node.inputs]
        attributes = dict(node.attributes)
        if node.op == "Cast" and attributes["to"] in ("f16", "f32"):
            attributes["to"] = "f64"
        with self.report:
            return self.report.add(node.op, inputs, attributes, node.bodies, len(node.outputs)).output


def _has_batch(type: Type) -> bool:
    return any(BATCH in symbols(dim) for dim in type.shape)


def _drops_batch(value: Value) -> bool:
    """Does the batch's dimension end here?"""
    if value.node is None or _has_batch(value.type):
        return False
    return any(_has_batch(operand.type) for operand in value.node.operands())
