"""Random graphs made of the registry's operators, valid by construction and smooth at the inputs they are made with.

Each value is computed while the graph is made, so that an operator is only put where its arguments lie in its domain
and away from its kinks, and what grows is tamed before it is used again. `grow` gives the same graph for the same seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dlc.compiler.build import Builder, current
from dlc.compiler.evaluate import evaluate_node
from dlc.compiler.graph import Graph, Node, Value
from dlc.compiler.registry import IllTyped
from dlc.compiler.types import Type

Array = np.ndarray[Any, Any]
MARGIN = 2e-3  # how far arguments keep away from a kink
LARGEST = 4.0  # beyond it a value is tamed
MOST = 4_000  # elements of a value
i64 = np.int64


class Unfit(Exception):
    """The operator that was drawn does not fit the values that there are; another is drawn."""


@dataclass
class Maker:
    """A graph in the making: `pool` holds the float values with what they are at the inputs drawn."""

    rng: np.random.Generator
    builder: Builder = field(default_factory=Builder)
    pool: list[Value] = field(default_factory=list)
    arrays: dict[Value, Array] = field(default_factory=dict)
    feeds: dict[str, Array] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    # Values.

    def input(self, shape: Sequence[int]) -> Value:
        name = f"x{len(self.feeds)}"
        array = self.rng.uniform(-1.5, 1.5, tuple(shape))
        value = self.builder.input(name, Type("f64", tuple(shape)))
        self.feeds[name], self.arrays[value] = array, array
        self.pool.append(value)
        return value

    def constant(self, array: Any) -> Value:
        value = self.builder.constant(np.asarray(array))
        self.arrays[value] = np.asarray(array)
        return value

    def numbers(self, *shape: int, low: float = -1.0, high: float = 1.0) -> Value:
        return self.constant(self.rng.uniform(low, high, shape))

    def add(self, op: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> list[Value]:
        """A node, computed at once. Raises IllTyped where the inputs do not fit."""
        values = [x if x is None or isinstance(x, Value) else self.constant(x) for x in inputs]
        node = self.builder.add(op, values, attributes, outputs=outputs)
        if node.output not in self.arrays:
            results = evaluate_node(node, [None if v is None else self.arrays[v] for v in node.inputs])
            self.arrays.update(zip(node.outputs, results, strict=True))
        self.used.add(op)
        return list(node.outputs)

    def one(self, op: str, *inputs: Any, **attributes: Any) -> Value:
        return self.add(op, *inputs, **attributes)[0]

    def at(self, value: Value) -> Array:
        return self.arrays[value]

    def size(self, value: Value) -> int:
        return int(self.at(value).size)

    # Drawing.

    def any(self, rank: int | None = None, least: int = 0, most: int = 9) -> Value:
        """A value of the pool, the newer the likelier."""
        fitting = [v for v in self.pool if (rank is None or v.type.rank == rank) and least <= v.type.rank <= most]
        if not fitting:
            raise Unfit
        at = len(fitting) - 1 - int(self.rng.exponential(2.0))
        return fitting[max(at, 0)]

    def image(self) -> Value:
        """A value of rank four, made of another one if there is none."""
        ready = [v for v in self.pool if v.type.rank == 4 and min(self.at(v).shape) >= 1]
        if ready and self.rng.random() < 0.7:
            return ready[int(self.rng.integers(len(ready)))]
        x = self.any()
        if self.size(x) < 4:
            raise Unfit
        flat = self.one("Reshape", x, np.array([-1]))
        wanted = (1, int(self.rng.choice([1, 2, 4])), int(self.rng.integers(3, 7)), int(self.rng.integers(3, 7)))
        count = int(np.prod(wanted))
        turns = -(-count // self.size(flat))
        long = self.one("Tile", flat, np.array([turns])) if turns > 1 else flat
        cut = self.one("Slice", long, np.array([0]), np.array([count]))
        return self.one("Reshape", cut, np.array(wanted))

    def axis(self, value: Value) -> int:
        rank = value.type.rank
        if rank == 0:
            raise Unfit
        return int(self.rng.integers(-rank, rank))

    def coin(self, chance: float = 0.5) -> bool:
        return bool(self.rng.random() < chance)

    def apart(self, value: Value, *kinks: float) -> Value:
        """The value itself, if no element is near a kink."""
        x = self.at(value)
        if any(np.abs(x - kink).min(initial=1.0) < MARGIN for kink in kinks):
            raise Unfit
        return value

    def untied(self, value: Value, axis: int | None = None) -> Value:
        """The value itself, if its elements (along an axis) differ."""
        x = np.sort(self.at(value).reshape(-1) if axis is None else np.moveaxis(self.at(value), axis, -1), axis=-1)
        if x.size and np.diff(x, axis=-1).min(initial=1.0) < MARGIN:
            raise Unfit
        return value

    def positive(self, value: Value) -> Value:
        return self.one("Add", self.one("Softplus", value), np.array(0.5))

    def bounded(self, value: Value, by: float = 0.9) -> Value:
        return self.one("Mul", self.one("Tanh", value), np.array(by))

    def partner(self, value: Value) -> Value:
        """Something that broadcasts with a value: itself, another of the pool, or numbers of a shape that fits."""
        fitting = [v for v in self.pool if _fits(self.at(v).shape, self.at(value).shape)]
        if fitting and self.coin(0.6):
            return fitting[int(self.rng.integers(len(fitting)))]
        shape = [1 if self.coin(0.3) else size for size in self.at(value).shape]
        return self.numbers(*shape[int(self.rng.integers(0, len(shape) + 1)) :])

    def keep(self, *values: Value) -> None:
        """Take results into the pool: floats only, tamed where they have grown."""
        for value in values:
            if value.dtype != "f64" or self.size(value) > MOST:
                continue
            x = self.at(value)
            if not np.isfinite(x).all():
                raise Unfit
            if x.size and np.abs(x).max() > LARGEST:
                value = self.one("Tanh", self.one("Mul", value, np.array(0.2)))
            self.pool.append(value)


def _fits(left: tuple[int, ...], right: tuple[int, ...]) -> bool:
    try:
        return int(np.prod(np.broadcast_shapes(left, right))) <= MOST
    except ValueError:
        return False


Recipe = Callable[[Maker], Any]


def grow(seed: int, recipes: Sequence[Recipe]) -> tuple[Maker, Graph]:
    """A graph of 3 to 25 choices among the recipes. Outputs: `loss`, a weighted sum of values that nothing reads and of
    some that others do read."""
    maker = Maker(np.random.default_rng(seed))
    with maker.builder:
        for _ in range(int(maker.rng.integers(1, 4))):
            rank = int(maker.rng.choice([0, 1, 2, 2, 3, 3, 4]))
            maker.input([int(maker.rng.choice([1, 2, 2, 3, 4, 5])) for _ in range(rank)])
        wanted, tried = int(maker.rng.integers(3, 26)), 0
        made = 0
        while made < wanted and tried < 200:
            tried += 1
            recipe = recipes[int(maker.rng.integers(len(recipes)))]
            before = len(maker.pool)
            try:
                recipe(maker)
            except (Unfit, IllTyped):  # windows that are larger than the picture, shapes that do not broadcast
                del maker.pool[before:]
                continue
            made += 1
        loss = _loss(maker)
        graph = maker.builder.graph(f"random{seed}", {"loss": loss})
    return maker, graph


def _loss(maker: Maker) -> Value:
    read = {value for node in maker.builder.made for value in node.operands()}
    ends = [v for v in maker.pool if v not in read] or maker.pool[-1:]
    ends += [v for v in maker.pool if v in read and maker.coin(0.2)]
    total: Value | None = None
    for value in dict.fromkeys(ends):
        weighted = maker.one("Mul", value, maker.numbers(*maker.at(value).shape))
        part = maker.one("ReduceSum", weighted, keepdims=0) if maker.at(value).ndim else weighted
        total = part if total is None else maker.one("Add", total, part)
    assert total is not None
    return total


def single(graph: Graph) -> Graph:
    """The graph in float32: constants rounded, casts and inputs of the other float."""
    builder = Builder()
    replaced: dict[Value, Value] = {}
    with builder:
        for value in graph.inputs:
            dtype = "f32" if value.dtype == "f64" else value.dtype
            replaced[value] = builder.input(graph.names[value], value.type.with_dtype(dtype))
        for node in graph.nodes:
            made = _single(node, replaced)
            replaced.update(zip(node.outputs, made.outputs, strict=True))
        return builder.graph(graph.name, {name: replaced[value] for name, value in graph.outputs.items()})


def _single(node: Node, replaced: dict[Value, Value]) -> Node:
    attributes: dict[str, Any] = {}
    for name, value in node.attributes.items():
        if isinstance(value, np.ndarray) and value.dtype == np.float64:
            value = value.astype(np.float32)
        attributes[name] = "f32" if isinstance(value, str) and value == "f64" else value
    inputs = [None if value is None else replaced[value] for value in node.inputs]
    return current().add(node.op, inputs, attributes, outputs=len(node.outputs))
