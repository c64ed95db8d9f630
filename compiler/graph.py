"""The graph: typed values in single assignment, nodes in topological order.

Nodes and values compare by identity and are never changed once made, so graphs may share them: a pass that leaves a
part alone keeps its very nodes. Only `dlc.compiler.build.Builder` makes nodes; it infers their types and interns them.
Operators are ONNX's (`Conv`) or private (`dlc.SumTo`): the private ones are gone when the pass `lower` has run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from dlc.dsl.ast import Span

if TYPE_CHECKING:
    from dlc.compiler.types import Array, Shape, Type

Attribute = Any  # int | float | str | bytes | Type | a numpy array | a tuple of int, float, str or Dim
EMPTY: Mapping[str, Attribute] = MappingProxyType({})


class Value:
    """One tensor of a graph: a graph's input (`node` is None) or output `index` of a node."""

    __slots__ = ("index", "node", "type")

    def __init__(self, type: Type, node: Node | None = None, index: int = 0) -> None:
        self.type = type
        self.node = node
        self.index = index

    @property
    def shape(self) -> Shape:
        return self.type.shape

    @property
    def dtype(self) -> str:
        return self.type.dtype

    @property
    def op(self) -> str | None:
        """The operator that makes this value; None for a graph's input."""
        return self.node.op if self.node else None

    @property
    def constant(self) -> Array | None:
        """The value if it is a constant of the graph."""
        return self.node.attributes["value"] if self.node and self.node.op == "Constant" else None

    def __repr__(self) -> str:  # never descends into the graph
        return f"<{self.op or 'input'}: {self.type}>"

    # Arithmetic builds nodes in the current builder, so that gradient rules read like the mathematics.

    def __add__(self, other: Operand) -> Value:
        return _binary("Add", self, other)

    def __radd__(self, other: Operand) -> Value:
        return _binary("Add", other, self)

    def __sub__(self, other: Operand) -> Value:
        return _binary("Sub", self, other)

    def __rsub__(self, other: Operand) -> Value:
        return _binary("Sub", other, self)

    def __mul__(self, other: Operand) -> Value:
        return _binary("Mul", self, other)

    def __rmul__(self, other: Operand) -> Value:
        return _binary("Mul", other, self)

    def __truediv__(self, other: Operand) -> Value:
        return _binary("Div", self, other)

    def __rtruediv__(self, other: Operand) -> Value:
        return _binary("Div", other, self)

    def __pow__(self, other: Operand) -> Value:
        return _binary("Pow", self, other)

    def __mod__(self, other: Operand) -> Value:
        return _binary("Mod", self, other)

    def __matmul__(self, other: Value) -> Value:
        return _binary("MatMul", self, other)

    def __neg__(self) -> Value:
        from dlc.compiler.build import current

        return current().add("Neg", (self,)).output

    def __lt__(self, other: Operand) -> Value:
        return _binary("Less", self, other)

    def __gt__(self, other: Operand) -> Value:
        return _binary("Greater", self, other)

    def __le__(self, other: Operand) -> Value:
        return _binary("LessOrEqual", self, other)

    def __ge__(self, other: Operand) -> Value:
        return _binary("GreaterOrEqual", self, other)


Operand = Value | float


def _binary(name: str, left: Operand, right: Operand) -> Value:
    from dlc.compiler.build import current

    builder = current()
    like = left if isinstance(left, Value) else right
    assert isinstance(like, Value)
    a = left if isinstance(left, Value) else builder.constant(left, like.dtype)
    b = right if isinstance(right, Value) else builder.constant(right, like.dtype)
    return builder.add(name, (a, b)).outputs[0]


class Node:
    """One application of an operator. `inputs` holds None for an optional input that is missing."""

    __slots__ = ("attributes", "bodies", "inputs", "op", "outputs", "span")

    op: str
    inputs: tuple[Value | None, ...]
    attributes: Mapping[str, Attribute]
    bodies: tuple[Graph, ...]
    outputs: tuple[Value, ...]
    span: Span | None

    def __init__(
        self,
        op: str,
        inputs: tuple[Value | None, ...],
        attributes: Mapping[str, Attribute],
        bodies: tuple[Graph, ...],
        types: Iterable[Type],
        span: Span | None,
    ) -> None:
        self.op = op
        self.inputs = inputs
        self.attributes = attributes
        self.bodies = bodies
        self.outputs = tuple(Value(type, self, index) for index, type in enumerate(types))
        self.span = span

    @property
    def output(self) -> Value:
        """The first output."""
        return self.outputs[0]

    @property
    def private(self) -> bool:
        return self.op.startswith("dlc.")

    def operands(self) -> Iterator[Value]:
        """The values this node needs: its inputs that are there, and what its bodies capture from outside."""
        for value in self.inputs:
            if value is not None:
                yield value
        for body in self.bodies:
            yield from body.captures()

    def __repr__(self) -> str:  # never descends into the graph
        return f"<{self.op} -> {', '.join(str(value.type) for value in self.outputs)}>"


@dataclass(frozen=True, eq=False)
class Graph:
    """Inputs, nodes in topological order, and named outputs.

    `names` is a side table: the names that people gave to values, and those of the inputs. `merged` lists the further
    spans of a node that stands for several places of the text. `sizes` are the sizes that symbolic dimensions will
    mostly have (`B` is the run's batch): forms are chosen for them, and are right for every size.
    """

    name: str
    inputs: tuple[Value, ...]
    outputs: Mapping[str, Value]
    nodes: tuple[Node, ...]
    names: Mapping[Value, str] = field(default_factory=dict)
    merged: Mapping[Node, tuple[Span, ...]] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)

    def input(self, name: str) -> Value:
        """The input of that name; raises KeyError."""
        for value in self.inputs:
            if self.names[value] == name:
                return value
        raise KeyError(name)

    @property
    def input_names(self) -> tuple[str, ...]:
        return tuple(self.names[value] for value in self.inputs)

    def captures(self) -> tuple[Value, ...]:
        """For a body: the values of the graph around it that it uses, each once, in order of use."""
        own = set(self.inputs)
        for node in self.nodes:
            own.update(node.outputs)
        used = [value for node in self.nodes for value in node.operands()] + list(self.outputs.values())
        return tuple(dict.fromkeys(value for value in used if value not in own))

    def uses(self) -> dict[Value, int]:
        """How often each value is read, by nodes and as an output of the graph."""
        count: dict[Value, int] = {}
        for node in self.nodes:
            for value in node.operands():
                count[value] = count.get(value, 0) + 1
        for value in self.outputs.values():
            count[value] = count.get(value, 0) + 1
        return count

    def __repr__(self) -> str:
        return f"<graph {self.name}: {len(self.inputs)} inputs, {len(self.nodes)} nodes, {len(self.outputs)} outputs>"


def topological(outputs: Iterable[Value]) -> tuple[Node, ...]:
    """The nodes that `outputs` need, each after those it reads. Iterative: depth costs nothing."""
    order: dict[Node, None] = {}
    for output in outputs:
        stack: list[tuple[Node, Iterator[Value]]] = []
        if output.node is not None and output.node not in order:
            stack.append((output.node, output.node.operands()))
        while stack:
            node, operands = stack[-1]
            for value in operands:
                if value.node is not None and value.node not in order:
                    stack.append((value.node, value.node.operands()))
                    break
            else:
                stack.pop()
                order[node] = None
    return tuple(order)


def dims(graph: Graph) -> dict[str, tuple[Value, int]]:
    """Where each symbolic dimension can be read: the first value, and its axis, that has it as a bare name.

    Inputs come first; dimensions that depend on data are those of a node's result.
    """
    found: dict[str, tuple[Value, int]] = {}
    for value in graph.inputs:
        _bare_dims(value, found)
    for value in showing(graph.nodes):
        _bare_dims(value, found)
    return found


def showing(nodes: Iterable[Node]) -> Iterator[Value]:
    """The values, results of nodes in topological order, that show sizes which depend on data.

    A value that is made of what reads such a size does not show it: it was given it.
    """
    read: dict[Value, set[str]] = {}
    for node in nodes:
        names = set(unknown_in(node.attributes.values())) if node.private else set()
        for value in node.operands():
            names |= read.get(value, names)
        if names:
            read.update(dict.fromkeys(node.outputs, names))
        if "declared" in node.attributes:
            yield from (value for value in node.outputs if names.isdisjoint(unknown_in([value.shape])))


def unknown_in(attributes: Iterable[Attribute]) -> Iterator[str]:
    """The names of sizes that depend on data in dimensions, and in tuples of them."""
    from dlc.compiler.dims import Polynomial, is_unknown, symbols

    for attribute in attributes:
        for dim in attribute if isinstance(attribute, tuple) else (attribute,):
            if isinstance(dim, Polynomial):
                yield from filter(is_unknown, symbols(dim))


def _bare_dims(value: Value, found: dict[str, tuple[Value, int]]) -> None:
    from dlc.compiler.types import is_unknown, symbol

    for axis, dim in enumerate(value.shape):
        if not isinstance(dim, int):
            name = str(dim)
            if name not in found and (name.isidentifier() or is_unknown(name)) and dim == symbol(name):
                found[name] = value, axis
