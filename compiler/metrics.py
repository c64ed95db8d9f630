"""Metrics over a whole split: sums and counts from each batch, and one small graph that makes the metrics of them.

Every outermost `mean` or `sum` over examples becomes a (total, count) or a total that the host adds over the split in
float64; the rest of each expression is evaluated once, on the totals. So partial batches weigh what they hold, and
`perplexity = exp(loss)` is `exp(total / count)`. There the size of the batch is a total too: the number of examples.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from dlc.compiler.build import Builder, op, private
from dlc.compiler.dims import Dim, Polynomial, product, quotient, symbol, symbols
from dlc.compiler.graph import Node, Value, topological
from dlc.compiler.mixing import BATCH, Mixture, drops_batch, has_batch, mixtures, with_bodies
from dlc.compiler.types import FLOATS, INTEGERS, Type


class NotAdditive(Exception):
    """What cannot be put together from batches; `node` is where. `how` is that of a Mixture, or `outermost` for a
    reduction that is neither a sum nor a mean, or `size` for one that batches do not tell of the split."""

    def __init__(self, node: Node, how: str) -> None:
        super().__init__(node.op)
        self.node = node
        self.how = how


@dataclass(frozen=True)
class Division:
    """How the scalars of a split come from batches.

    `outputs` are what one batch gives. `totals` maps each total to its count (None for a sum); the host adds both up.
    `constants` read no example; of them the host keeps the last. `mixture` is what mixes the examples of a batch all
    the same, so that the scalars change with its size: what a net does, or a comparison of examples with each other.
    """

    outputs: dict[str, Value]
    totals: dict[str, str | None]
    constants: tuple[str, ...]
    report: Builder
    results: dict[str, Value]
    mixture: Mixture | None


def divide(
    builder: Builder, scalars: Mapping[str, Value], of_nets: Iterable[Value] = (), padded: Collection[str] = ()
) -> Division:
    """Divide scalars that read a batch; new nodes go into `builder`, the current one. `of_nets` are results of nets,
    `padded` the names of dimensions that have another size in each batch. Raises NotAdditive."""
    division = _Division(builder, {BATCH, *padded})
    results = {name: division.result(value) for name, value in scalars.items()}
    mixture = _mixture(division.reduced, of_nets)
    return Division(division.outputs, division.totals, tuple(division.constants), division.report, results, mixture)


def _mixture(reduced: Iterable[Value], of_nets: Iterable[Value]) -> Mixture | None:
    """What mixes examples below the reductions over them, if that can be let pass; raises NotAdditive.

    A net that does it gives in use, too, what the batch makes of it. And a loss that compares the examples of a batch
    has no other meaning. What a loss or metric could as well say of the whole split is refused.
    """
    nets = set(with_bodies(topological(of_nets)))
    passing = None
    for each in mixtures(reduced):
        if each.how != "meet" and each.node not in nets:
            raise NotAdditive(each.node, each.how)
        passing = passing or each
    return passing


class _Division:
    def __init__(self, builder: Builder, varying: Collection[str]) -> None:
        self.builder = builder
        self.varying = varying  # the names of dimensions that have another size in each batch
        self.report = Builder()
        self.outputs: dict[str, Value] = {}
        self.totals: dict[str, str | None] = {}
        self.constants: list[str] = []
        self.reduced: list[Value] = []  # what the outermost reductions over examples read
        self._examples: Value | None = None
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
            elif each.op == "dlc.Size":
                self._done[each] = self._size(each)
            elif drops_batch(each):
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
        """Does the value depend on a tensor that has the batch's dimension, or on a size that varies with batches?"""
        waiting = [value]
        while waiting:
            each = waiting[-1]
            if each in self._reads:
                waiting.pop()
                continue
            if has_batch(each.type) or self._varies(each):
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

    def _varies(self, value: Value) -> bool:
        if value.node is None or value.op != "dlc.Size":
            return False
        return any(name in self.varying for name in symbols(value.node.attributes["dim"]))

    def _constant(self, value: Value) -> Value:
        literal = value.constant
        if literal is not None:
            with self.report:
                return self.report.constant(literal, _widest(value.dtype))
        name = f"constant{len(self.constants)}"
        self.constants.append(name)
        self.outputs[name] = value
        return self._input(name, value.type)

    def _input(self, name: str, type: Type) -> Value:
        """What the host feeds, which is f64, as a value of the report graph."""
        with self.report:
            value = self.report.input(name, type.with_dtype("f64"))
            wanted = _widest(type.dtype)
            return value if wanted == "f64" else op.Cast(value, to=wanted)

    def _size(self, value: Value) -> Value:
        """A size, of the split: the batch's is the number of examples there."""
        node = value.node
        assert node is not None
        total: Value | None = None
        for power, factor in self._powers(node).items():
            part = self._factor(factor)
            for _ in range(power):
                part = self._multiplied(part, self._count())
            with self.report:
                total = part if total is None else total + part
        assert total is not None
        return total

    def _powers(self, node: Node) -> dict[int, Dim]:
        """A size as a polynomial in the batch's: the factor of each power; raises NotAdditive if it is none."""
        found: dict[int, Dim] = {}
        for monomial, coefficient in node.attributes["dim"].terms:
            rest = Polynomial(((tuple(each for each in monomial if each[0] != BATCH), coefficient),))
            if any(name in self.varying for name in symbols(rest)):
                raise NotAdditive(node, "size")
            power = dict(monomial).get(BATCH, 0)
            found[power] = found.get(power, 0) + rest
        return found

    def _factor(self, dim: Dim) -> Value:
        if isinstance(dim, int):
            with self.report:
                return self.report.constant(dim, "i64")
        with self.builder:
            size: Value = private.Size(dim=dim)
        return self._constant(size)

    def _multiplied(self, a: Value, b: Value) -> Value:
        with self.report:
            return a * b

    def _count(self) -> Value:
        """How many examples the split has."""
        if self._examples is None:
            name = f"total{len(self.totals)}"
            self.totals[name] = None
            with self.builder:
                self.outputs[name] = private.Size(dim=symbol(BATCH))
            self._examples = self._input(name, Type("i64", ()))
        return self._examples

    def _total(self, value: Value) -> Value:
        node = value.node
        assert node is not None
        if node.op not in ("ReduceMean", "ReduceSum"):
            raise NotAdditive(node, "outermost")
        data = node.inputs[0]
        assert data is not None
        self.reduced.append(data)
        name = f"total{len(self.totals)}"
        with self.builder, self.builder.at(node.span):
            total = self.builder.add("ReduceSum", node.inputs, node.attributes).output
            self.outputs[name] = total
            if node.op == "ReduceSum":
                self.totals[name] = None
                return self._input(name, total.type)
            counted = quotient(product(data.shape), product(value.shape))
            self.totals[name] = count = f"count{len(self.totals)}"
            self.outputs[count] = private.Size(dim=counted)
        sum_ = self._input(name, total.type)
        with self.report:
            return sum_ / self.report.input(count, Type("f64", ()))

    def _copy(self, node: Node) -> Value:
        inputs = [self._done[value] if value is not None else None for value in node.inputs]
        attributes = dict(node.attributes)
        if node.op == "Cast":
            attributes["to"] = _widest(attributes["to"])
        with self.report:
            return self.report.add(node.op, inputs, attributes, node.bodies, len(node.outputs)).output


def _widest(dtype: str) -> str:
    """What the report graph computes in: nothing is lost there that a batch has."""
    return "f64" if dtype in FLOATS else "i64" if dtype in INTEGERS else dtype
