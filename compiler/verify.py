"""The verifier: what must hold of every graph, whatever pass made it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dlc.compiler.build import freeze
from dlc.compiler.graph import Graph, Node, Value
from dlc.compiler.registry import Call, IllTyped, lookup
from dlc.compiler.types import INTEGERS, Type

_SMALL = 64  # constants up to this many elements are compared by content, larger ones by identity


class Unsound(Exception):
    """A graph breaks a rule that every graph keeps; the message names the node or value and its line."""


def verify(graph: Graph, like: Graph | None = None, *, lowered: bool = False) -> None:
    """Check a graph and its bodies; raises Unsound.

    Every value is defined once and before its use, every recorded type is the one that the operator's own rule gives,
    names are unique, and every node but a constant has a span if any node (of `like`, where it is given) has one. With
    `like`, inputs and outputs have the same names, types and order as there. With `lowered`, no private operator is
    left.
    """
    if like is not None:
        _same_interface(graph, like)
    nodes = _nodes(graph if like is None else like)
    spanned = any(node.span is not None for node in nodes if node.op != "Constant")
    _Verifier(spanned, lowered).graph(graph, set(), set())


def _nodes(graph: Graph) -> Iterator[Node]:
    waiting = [graph]
    while waiting:
        for node in waiting.pop().nodes:
            yield node
            waiting.extend(node.bodies)


def _same_interface(graph: Graph, like: Graph) -> None:
    for kind, after, before in (
        ("inputs", _signature(graph, graph.inputs), _signature(like, like.inputs)),
        ("outputs", _types(graph.outputs), _types(like.outputs)),
    ):
        if after != before:
            lost = ", ".join(item for item in before if item not in after)
            new = ", ".join(item for item in after if item not in before)
            changes = "; ".join(
                text
                for text in (lost and f"lost {lost}", new and f"new {new}", not (lost or new) and "another order")
                if text
            )
            raise Unsound(f"the {kind} of the graph {graph.name} changed: {changes}")


def _signature(graph: Graph, values: tuple[Value, ...]) -> list[str]:
    return [f"{graph.names.get(value, '(unnamed)')}: {value.type}" for value in values]


def _types(outputs: Mapping[str, Value]) -> list[str]:
    return [f"{name}: {value.type}" for name, value in outputs.items()]


def _where(node: Node) -> str:
    return f"{node.op} at {node.span}" if node.span else node.op


class _Verifier:
    def __init__(self, spanned: bool, lowered: bool) -> None:
        self._spanned = spanned
        self._lowered = lowered
        self._inferred: dict[Any, tuple[Type, ...]] = {}

    def graph(self, graph: Graph, outside: set[Value], nodes_outside: set[Node]) -> None:
        """Check a graph or body; `outside` are the values that a body may capture. Recurs along nested bodies only."""
        own: set[Value] = set()
        nodes: set[Node] = set()
        for value in graph.inputs:
            if value.node is not None:
                raise Unsound(f"an input of the graph {graph.name} is the result of {_where(value.node)}")
            if value in own or value in outside:
                raise Unsound(f"the graph {graph.name} has the input {graph.names.get(value, value)} twice")
            own.add(value)
        for node in graph.nodes:
            if node in nodes or node in nodes_outside:
                raise Unsound(f"{_where(node)} stands twice in the graph {graph.name} or in the one around it")
            for index, read in enumerate(node.inputs):
                if read is not None and read not in own and read not in outside:
                    raise Unsound(f"{_where(node)} reads input {index + 1}, {read!r}, before it is defined")
            for body in node.bodies:
                self.graph(body, outside | own, nodes_outside | nodes)
            self._node(node)
            nodes.add(node)
            own.update(node.outputs)
        for name, value in graph.outputs.items():
            if not name:
                raise Unsound(f"an output of the graph {graph.name} has an empty name")
            if value not in own and value not in outside:
                raise Unsound(f"the output {name} of the graph {graph.name}, {value!r}, is not defined in it")
        self._names(graph, own)

    def _names(self, graph: Graph, own: set[Value]) -> None:
        named: dict[str, Value] = {}
        for value, name in graph.names.items():
            if value in own:
                if not name:
                    raise Unsound(f"{value!r} has an empty name")
                if named.setdefault(name, value) is not value:
                    raise Unsound(f"two values of the graph {graph.name} are called {name}")
        for value in graph.inputs:
            if value not in graph.names:
                raise Unsound(f"an input of the graph {graph.name}, {value.type}, has no name")

    def _node(self, node: Node) -> None:
        if self._lowered and node.private:
            raise Unsound(f"{_where(node)} is a private operator, which lowering must have removed")
        if self._spanned and node.span is None and node.op != "Constant":
            inputs = ", ".join("_" if value is None else str(value.type) for value in node.inputs)
            raise Unsound(f"{node.op}({inputs}) has lost the place in the text that it comes from")
        for index, value in enumerate(node.outputs):
            if value.node is not node or value.index != index:
                raise Unsound(f"output {index + 1} of {_where(node)} belongs to another node")
        recorded = tuple(value.type for value in node.outputs)
        inferred = self._infer(node)
        if recorded != inferred:
            raise Unsound(f"{_where(node)} is recorded to give {_listed(recorded)}, its rule gives {_listed(inferred)}")

    def _infer(self, node: Node) -> tuple[Type, ...]:
        key = None if node.bodies else _key(node)
        found = self._inferred.get(key) if key is not None else None
        if found is None:
            call = Call(node.op, node.inputs, node.attributes, node.bodies, len(node.outputs))
            try:
                found = tuple(lookup(node.op).infer(call))
            except IllTyped as error:
                raise Unsound(f"{_where(node)} is refused by its own rule: {error}") from error
            if key is not None:
                self._inferred[key] = found
        return found


def _key(node: Node) -> Any:
    """What the type of a node without bodies depends on."""
    if node.op == "Constant":
        return None  # its own value, used once: a key would cost more than the rule
    inputs: list[Any] = []
    for value in node.inputs:
        constant = value.constant if value is not None else None
        if value is None:
            inputs.append(None)
        elif constant is not None and constant.size <= _SMALL and constant.dtype != object:
            inputs.append(freeze(constant))
        elif constant is not None or (value.dtype in INTEGERS and value.type.rank < 2):
            inputs.append(id(value))  # a rule may look through integers that are computed, for shapes are such
        else:
            inputs.append(value.type)
    attributes = tuple((name, freeze(node.attributes[name])) for name in sorted(node.attributes))
    return node.op, tuple(inputs), attributes, len(node.outputs)


def _listed(types: tuple[Type, ...]) -> str:
    return ", ".join(map(str, types)) or "nothing"


__all__ = ["Unsound", "verify"]
