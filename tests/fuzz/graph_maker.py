"""Random graphs made of the registry's operators, valid by construction and smooth at the inputs they are made with.

Each value is computed while the graph is made, so that an operator is only put where its arguments lie in its domain
and away from its kinks, and what grows is tamed before it is used again. `grow` gives the same graph for the same seed.
A third of the graphs have a symbolic batch `B`, which `Maker.redrawn` feeds with other sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dlc.compiler.build import Builder, current
from dlc.compiler.evaluate import evaluate, evaluate_node
from dlc.compiler.graph import Graph, Node, Value
from dlc.compiler.registry import IllTyped
from dlc.compiler.types import Dim, Type, is_unknown, substitute, symbol, symbols

Array = np.ndarray[Any, Any]
MARGIN = 2e-3  # how far arguments keep away from a kink
LARGEST = 4.0  # beyond it a value is tamed
MOST = 4_000  # elements of a value
BATCHED, EMPTY = 0.35, 0.08  # how many graphs have a symbolic batch, and an input without elements
TURNS = 8  # draws of inputs of another size before it is given up for their kinks
B = symbol("B")
i64 = np.int64


class Unfit(Exception):
    """The operator that was drawn does not fit the values that there are; another is drawn."""


@dataclass
class Maker:
    """A graph in the making: `pool` holds the float values, `arrays` what every value is at the inputs drawn."""

    rng: np.random.Generator
    builder: Builder = field(default_factory=Builder)
    sizes: dict[str, int] = field(default_factory=dict)
    pool: list[Value] = field(default_factory=list)
    arrays: dict[Value, Array] = field(default_factory=dict)
    feeds: dict[str, Array] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    _draws: dict[str, tuple[Type, Callable[[Any, Any], Array]]] = field(default_factory=dict)
    _guards: list[tuple[Value, Callable[[Array], bool]]] = field(default_factory=list)

    # Values.

    def input(self, dims: Sequence[Dim], low: float = -1.5, high: float = 1.5) -> Value:
        return self.fed(Type("f64", tuple(dims)), lambda rng, shape: rng.uniform(low, high, shape))

    def fed(self, type: Type, draw: Callable[[Any, Any], Array]) -> Value:
        """A new input of the graph; `draw(rng, shape)` gives an array for it."""
        name = f"x{len(self.feeds)}"
        array = np.asarray(draw(self.rng, self.shape(type.shape)), type.numpy)
        value = self.builder.input(name, type)
        self.feeds[name], self.arrays[value], self._draws[name] = array, array, (type, draw)
        return value

    def constant(self, array: Any) -> Value:
        value = self.builder.constant(np.asarray(array))
        self.arrays[value] = np.asarray(array)
        return value

    def numbers(self, *dims: Dim, low: float = -1.0, high: float = 1.0) -> Value:
        """Numbers of a shape: a constant, or an input where a dimension is symbolic."""
        if not all(isinstance(dim, int) for dim in dims):
            return self.input(dims, low, high)
        return self.constant(self.rng.uniform(low, high, self.shape(dims)))

    def integers(self, low: int, high: int, *dims: Dim, dtype: str = "i64") -> Value:
        """Integers from `low` to `high` - 1: a constant, or an input where a dimension is symbolic, else sometimes."""
        type = Type(dtype, tuple(dims))
        if not type.is_static or self.coin(0.3):
            return self.fed(type, lambda rng, shape: rng.integers(low, high, shape))
        return self.constant(self.rng.integers(low, high, self.shape(dims)).astype(type.numpy))

    def add(self, op: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> list[Value]:
        """A node, computed at once. Raises IllTyped where the inputs do not fit."""
        values = [x if x is None or isinstance(x, Value) else self.constant(x) for x in inputs]
        node = self.builder.add(op, values, attributes, outputs=outputs)
        if node.output not in self.arrays:
            results = evaluate_node(node, [None if v is None else self.arrays[v] for v in node.inputs], self.sizes)
            self.arrays.update(zip(node.outputs, results, strict=True))
        self.used.add(op)
        return list(node.outputs)

    def one(self, op: str, *inputs: Any, **attributes: Any) -> Value:
        return self.add(op, *inputs, **attributes)[0]

    def at(self, value: Value) -> Array:
        return self.arrays[value]

    def size(self, value: Value) -> int:
        return int(self.at(value).size)

    def shape(self, dims: Sequence[Dim]) -> tuple[int, ...]:
        """Dimensions in the sizes that the graph is made with."""
        return _resolved(dims, self.sizes)

    def extent(self, value: Value, axis: int) -> int:
        """A dimension that must be a number, and not 0."""
        dim = value.shape[axis]
        if not isinstance(dim, int) or dim == 0:
            raise Unfit
        return dim

    def whole(self, value: Value) -> tuple[int, ...]:
        """A shape that must be numbers, and not 0."""
        return tuple(self.extent(value, axis) for axis in range(value.type.rank))

    # Drawing.

    def any(self, rank: int | None = None, least: int = 0, most: int = 9) -> Value:
        """A value of the pool, the newer the likelier."""
        fitting = [v for v in self.pool if (rank is None or v.type.rank == rank) and least <= v.type.rank <= most]
        if not fitting:
            raise Unfit
        at = len(fitting) - 1 - int(self.rng.exponential(2.0))
        return fitting[max(at, 0)]

    def pick(self, *items: Any) -> Any:
        return items[int(self.rng.integers(len(items)))]

    def cut(self, *shape: int) -> Value:
        """A value of that shape, made of the elements of another one; a symbolic first dimension stays in front."""
        x = self.any(least=1)
        kept = not isinstance(x.shape[0], int) and all(isinstance(dim, int) for dim in x.shape[1:])
        length = int(np.prod([self.extent(x, axis) for axis in range(kept, x.type.rank)]))
        flat = self.one("Reshape", x, np.array([0 if kept else 1, -1]))
        count = int(np.prod(shape[1:] if kept else shape))
        turns = -(-count // length)
        long = self.one("Tile", flat, np.array([1, turns])) if turns > 1 else flat
        taken = self.one("Slice", long, np.array([0]), np.array([count]), np.array([1]))
        return self.one("Reshape", taken, np.array([0, *shape[1:]] if kept else shape))

    def image(self) -> Value:
        """A value of rank four, made of another one if there is none; its first dimension may be symbolic."""
        ready = [v for v in self.pool if v.type.rank == 4 and all(isinstance(d, int) and d for d in v.shape[1:])]
        if ready and self.coin(0.7):
            return ready[int(self.rng.integers(len(ready)))]
        return self.cut(1, self.pick(1, 2, 4), int(self.rng.integers(3, 7)), int(self.rng.integers(3, 7)))

    def axis(self, value: Value) -> int:
        rank = value.type.rank
        if rank == 0:
            raise Unfit
        return int(self.rng.integers(-rank, rank))

    def coin(self, chance: float = 0.5) -> bool:
        return bool(self.rng.random() < chance)

    def holds(self, value: Value, check: Callable[[Array], bool]) -> Value:
        """The value itself, if that is so of its array; it must be so of the arrays of other sizes too."""
        if not check(self.at(value)):
            raise Unfit
        self._guards.append((value, check))
        return value

    def apart(self, value: Value, *kinks: float, margin: float = MARGIN) -> Value:
        """The value itself, if no element is near a kink."""
        return self.holds(value, lambda x: all(np.abs(x - kink).min(initial=1.0) >= margin for kink in kinks))

    def untied(self, value: Value, axis: int | None = None) -> Value:
        """The value itself, if its elements (along an axis) differ."""

        def check(x: Array) -> bool:
            ordered = np.sort(x.reshape(-1) if axis is None else np.moveaxis(x, axis, -1), axis=-1)
            return bool(not x.size or np.diff(ordered, axis=-1).min(initial=1.0) >= MARGIN)

        return self.holds(value, check)

    def positive(self, value: Value) -> Value:
        return self.one("Add", self.one("Softplus", value), np.array(0.5))

    def bounded(self, value: Value, by: float = 0.9) -> Value:
        return self.one("Mul", self.one("Tanh", value), np.array(by))

    def partner(self, value: Value) -> Value:
        """Something that broadcasts with a value: itself, another of the pool, or numbers of a shape that fits."""
        fitting = [v for v in self.pool if self._fits(v.shape, value.shape)]
        if fitting and self.coin(0.6):
            return fitting[int(self.rng.integers(len(fitting)))]
        dims = [1 if self.coin(0.3) else dim for dim in value.shape]
        return self.numbers(*dims[int(self.rng.integers(0, len(dims) + 1)) :])

    def _fits(self, left: Sequence[Dim], right: Sequence[Dim]) -> bool:
        pairs = zip(reversed(left), reversed(right), strict=False)
        if not all(a == b or a == 1 or b == 1 for a, b in pairs):
            return False
        return int(np.prod(np.broadcast_shapes(self.shape(left), self.shape(right)))) <= MOST

    def keep(self, *values: Value) -> None:
        """Take results into the pool: floats of a known shape only, tamed where they have grown."""
        for value in values:
            hidden = any(is_unknown(name) for dim in value.shape for name in symbols(dim))
            if value.dtype != "f64" or self.size(value) > MOST or hidden:
                continue
            x = self.at(value)
            if not np.isfinite(x).all():
                raise Unfit
            if x.size and np.abs(x).max() > LARGEST:
                value = self.one("Tanh", self.one("Mul", value, np.array(0.2)))
            self.pool.append(value)

    # Other sizes.

    def redrawn(self, rng: np.random.Generator, sizes: Mapping[str, int]) -> dict[str, Array] | None:
        """Inputs of other sizes at which no argument is near a kink; None where some turns find none."""
        guards = self.builder.graph("guards", {str(i): value for i, (value, _) in enumerate(self._guards)})
        for _ in range(TURNS):
            feeds = {}
            for name, (type, draw) in self._draws.items():
                feeds[name] = np.asarray(draw(rng, _resolved(type.shape, sizes)), type.numpy)
            arrays = evaluate(guards, feeds).values()
            if all(check(array) for (_, check), array in zip(self._guards, arrays, strict=True)):
                return feeds
        return None


def _resolved(dims: Sequence[Dim], sizes: Mapping[str, int]) -> tuple[int, ...]:
    known = [substitute(dim, sizes) for dim in dims]
    if not all(isinstance(dim, int) for dim in known):
        raise Unfit
    return tuple(known)


Recipe = Callable[[Maker], Any]
RECIPES: list[Recipe] = []


def recipe(function: Recipe) -> Recipe:
    """Enter a way of putting operators into a graph; `grow` draws among all of them."""
    RECIPES.append(function)
    return function


def grow(seed: int) -> tuple[Maker, Graph]:
    """A graph of 3 to 18 choices among the recipes.

    Outputs: `y0`, `y1`, ..., the values that nothing reads and some that others do, and `loss`, their weighted sum.
    """
    maker = Maker(np.random.default_rng(seed))
    batched = maker.coin(BATCHED)
    if batched:
        maker.sizes["B"] = int(maker.rng.integers(1, 5))
    with maker.builder:
        _inputs(maker, batched)
        wanted, made = int(maker.rng.integers(3, 19)), 0
        for _ in range(200):
            if made == wanted:
                break
            before = len(maker.pool)
            try:
                maker.pick(*RECIPES)(maker)
                made += 1
            except (Unfit, IllTyped):  # windows that are larger than the picture, shapes that do not broadcast
                del maker.pool[before:]
        ends = _ends(maker)
        loss = _loss(maker, ends)
        graph = maker.builder.graph(f"random{seed}", {"loss": loss, **{f"y{i}": v for i, v in enumerate(ends)}})
    return maker, graph


def _inputs(maker: Maker, batched: bool) -> None:
    empty = maker.coin(EMPTY)
    for _ in range(int(maker.rng.integers(1, 4))):
        dims: list[Dim] = [maker.pick(1, 2, 2, 3, 4, 5) for _ in range(maker.pick(0, 1, 2, 2, 3, 3, 4))]
        if dims and empty:
            dims[int(maker.rng.integers(len(dims)))] = 0
            empty = False
        elif dims and batched and maker.coin(0.8):
            dims[0] = B
        maker.pool.append(maker.input(dims))


def _ends(maker: Maker) -> list[Value]:
    read = {value for node in maker.builder.made for value in node.operands()}
    ends = [v for v in maker.pool if v not in read] or maker.pool[-1:]
    ends += [v for v in maker.pool if v in read and maker.coin(0.2)]
    return list(dict.fromkeys(ends))


def _loss(maker: Maker, ends: Sequence[Value]) -> Value:
    total: Value | None = None
    for value in ends:
        weighted = maker.one("Mul", value, maker.numbers(*value.shape))
        part = maker.one("ReduceSum", weighted, keepdims=0) if value.shape else weighted
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
        if name == "declared":
            value = tuple(each.with_dtype("f32") if each.dtype == "f64" else each for each in value)
        attributes[name] = "f32" if isinstance(value, str) and value == "f64" else value
    inputs = [None if value is None else replaced[value] for value in node.inputs]
    return current().add(node.op, inputs, attributes, outputs=len(node.outputs))
