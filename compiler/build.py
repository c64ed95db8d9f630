"""The builder: the only way to make a node. It infers types, interns, and keeps the span of the `.net` text.

Interning shares common subexpressions by construction: asking twice for the same operator on the same inputs with the
same attributes gives the same node. A node that was asked for at several places of the text keeps the first span and
lists the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, overload

import numpy as np

from dlc.compiler.dims import Polynomial, is_unnumbered, substitute, symbol
from dlc.compiler.graph import EMPTY, Attribute, Graph, Node, Operand, Value, showing, topological, unknown_in
from dlc.compiler.registry import Call, IllTyped, lookup
from dlc.compiler.types import Array, Type, numpy_dtype
from dlc.dsl.ast import Span

_CURRENT: ContextVar[Builder] = ContextVar("builder")
_LARGE = 1 << 20  # bytes of an array that is compared by identity


def current() -> Builder:
    """The builder that arithmetic on values builds in; raises LookupError outside `with builder:`."""
    return _CURRENT.get()


class Builder:
    """Makes the nodes of one graph. `with builder:` makes it the current one for operators on values.

    `working` is the element type of numbers for which nothing else says one. The builder of a body is made with the one
    `around` it, so that no unknown dimension has the name of another.
    """

    def __init__(
        self, names: Mapping[Value, str] | None = None, working: str = "f32", around: Builder | None = None
    ) -> None:
        self.working = working
        self._unknowns: _Unknowns = _Unknowns() if around is None else around._unknowns
        self.inputs: list[Value] = []
        self.names: dict[Value, str] = dict(names or {})
        self.merged: dict[Node, tuple[Span, ...]] = {}
        self._interned: dict[Any, Node] = {}
        self._span: Span | None = None
        self._tokens: list[Any] = []
        self.made: list[Node] = []

    def __enter__(self) -> Builder:
        self._tokens.append(_CURRENT.set(self))
        return self

    def __exit__(self, *_: object) -> None:
        _CURRENT.reset(self._tokens.pop())

    @contextmanager
    def at(self, span: Span | None) -> Iterator[None]:
        """Nodes made inside carry `span`; None keeps the one around."""
        before = self._span
        self._span = span or before
        try:
            yield
        finally:
            self._span = before

    @property
    def span(self) -> Span | None:
        """What nodes that are made now carry."""
        return self._span

    def unknown(self) -> Polynomial:
        """A dimension that depends on data: a name `?N` that no dimension of the graph has yet."""
        return self._unknowns.fresh()

    def pass_over(self, values: Iterable[Value]) -> None:
        """Give no unknown dimension a name that stands in the types of values from elsewhere."""
        self._unknowns.note(value.type for value in values)

    def input(self, name: str, type: Type) -> Value:
        """A new graph input."""
        self._unknowns.note((type,))
        value = Value(type)
        self.inputs.append(value)
        self.names[value] = name
        return value

    def constant(self, value: Array | float | bool | Sequence[Any], dtype: str | None = None) -> Value:
        """A constant, rounded once to `dtype` (without one: that of the array, i64 or f32 for Python numbers)."""
        if dtype is None:
            array = np.asarray(value)
            if not isinstance(value, np.ndarray) and array.dtype == np.float64:
                array = array.astype(np.float32)
        else:
            with np.errstate(over="ignore"):  # what is too large becomes infinite, as when computed
                array = np.asarray(value).astype(numpy_dtype(dtype))
        return self.add("Constant", (), {"value": array}).outputs[0]

    def add(
        self,
        op: str,
        inputs: Sequence[Value | None],
        attributes: Mapping[str, Attribute] = EMPTY,
        bodies: tuple[Graph, ...] = (),
        outputs: int = 1,
    ) -> Node:
        """The node that applies `op`: a new one, or the one made before. Raises IllTyped."""
        kept = {name: value for name, value in attributes.items() if value is not None}
        operands = tuple(inputs)
        while operands and operands[-1] is None:
            operands = operands[:-1]
        key = _key(op, operands, kept, bodies, outputs)
        found = self._interned.get(key)
        if found is None:
            types = tuple(lookup(op).infer(Call(op, operands, kept, bodies, outputs)))
            if len(types) < outputs:
                raise IllTyped(f"{op} gives {len(types)} outputs, and {outputs} are asked for")
            for type in types:
                _check_sizes(op, type)
            if "declared" in kept:
                self._unknowns.note(types)
            elif not op.startswith("dlc.") and (made := _made_unknown(operands, types)):
                sizes = {name: self.unknown() for name in made if is_unnumbered(name)}
                types = tuple(type.with_shape([substitute(dim, sizes) for dim in type.shape]) for type in types)
                kept["declared"] = types  # asked again, the rule would name new ones
            found = Node(op, operands, kept, bodies, types, self._span)
            self._interned[key] = found
            self.made.append(found)
        elif self._span is not None and self._span != found.span:
            others = self.merged.get(found, ())
            if self._span not in others:
                self.merged[found] = (*others, self._span)
        return found

    def adopt(self, node: Node) -> Node:
        """Intern a node of another graph as it is; returns the equal node that is here already, if there is one."""
        self._unknowns.adopt(node)
        key = _key(node.op, node.inputs, node.attributes, node.bodies, len(node.outputs))
        found = self._interned.setdefault(key, node)
        if found is not node and node.span is not None and node.span != found.span:
            self.merged[found] = tuple(dict.fromkeys((*self.merged.get(found, ()), node.span)))
        return found

    def graph(
        self,
        name: str,
        outputs: Mapping[str, Value],
        inputs: Sequence[Value] | None = None,
        sizes: Mapping[str, int] = EMPTY,
    ) -> Graph:
        """The graph of what `outputs` need. `inputs` default to all that were made, used or not."""
        taken = tuple(self.inputs if inputs is None else inputs)
        own = set(self._interned.values())  # a body reads values of the graph around it, and does not hold their nodes
        nodes = tuple(node for node in topological(outputs.values()) if node in own)
        if self._unknowns.some:
            nodes = tuple(node for node in with_makers(outputs.values(), self._interned.values()) if node in own)
        alive = set(taken)
        for node in nodes:
            alive.update(node.outputs)
        names = {value: label for value, label in self.names.items() if value in alive}
        merged = {node: self.merged[node] for node in nodes if node in self.merged}
        return Graph(name, taken, dict(outputs), nodes, names, merged, dict(sizes))


class _Unknowns:
    """Names for dimensions that depend on data, by number: a function of the graph, whatever was built before it."""

    def __init__(self) -> None:
        self._last = -1

    @property
    def some(self) -> bool:
        return self._last >= 0

    def fresh(self) -> Polynomial:
        self._last += 1
        return symbol(f"?{self._last}")

    def note(self, types: Iterable[Type]) -> None:
        """Pass over the names that stand in types."""
        self._pass(name for type in types for name in unknown_in([type.shape]))

    def adopt(self, node: Node) -> None:
        """Pass over the names that a node makes."""
        self._pass(unknowns(node))

    def _pass(self, names: Iterable[str]) -> None:
        self._last = max(self._last, *(int(name[1:]) for name in names if name[1:].isdigit()), -1)


def with_makers(outputs: Iterable[Value], known: Iterable[Node]) -> tuple[Node, ...]:
    """The nodes that `outputs` need, and those that show a size which a private operator among them names."""
    roots = dict.fromkeys(outputs)
    makers = {name: value for value in showing(known) for name in unknown_in([value.shape])}
    while True:
        nodes = topological(roots)
        shown = {name for value in showing(nodes) for name in unknown_in([value.shape])}
        named = dict.fromkeys(n for node in nodes if node.private for n in unknown_in(node.attributes.values()))
        missing = dict.fromkeys(makers[name] for name in named if name in makers and name not in shown)
        if not missing.keys() - roots.keys():
            return nodes
        roots = missing | roots


def unknowns(node: Node) -> Iterator[str]:
    """The names of the dimensions that depend on data and that a node makes, in its bodies too."""
    if "declared" in node.attributes:
        for value in node.outputs:
            yield from unknown_in([value.shape])
    waiting = list(node.bodies)
    while waiting:
        body = waiting.pop()
        for value in body.inputs:
            yield from unknown_in([value.shape])
        for inner in body.nodes:
            waiting.extend(inner.bodies)
            if "declared" in inner.attributes:
                for value in inner.outputs:
                    yield from unknown_in([value.shape])


def _made_unknown(inputs: Sequence[Value | None], types: Sequence[Type]) -> list[str]:
    """The dimensions of an operator's result that depend on data, if one of them is of no input."""
    found = dict.fromkeys(name for type in types for name in unknown_in([type.shape]))
    if not found:
        return []  # as nearly always
    known = {name for value in inputs if value is not None for name in unknown_in([value.shape])}
    return [name for name in found if name not in known]


def _check_sizes(op: str, type: Type) -> None:
    """Sizes are counts that fit 64 bits, and so does the count of elements; raises IllTyped."""
    elements = 1
    for dim in type.shape:
        if isinstance(dim, int):
            elements *= max(dim, 1)
            if dim < 0:
                raise IllTyped(f"{op} would give {type}: {dim} is no size")
        elif any(abs(coefficient) >= 2**63 for _, coefficient in dim.terms):
            raise IllTyped(f"{op} would give {type}: that is too large")
    if elements >= 2**63:
        raise IllTyped(f"{op} would give {type}: that is too large")


def _key(
    op: str, inputs: tuple[Value | None, ...], attributes: Mapping[str, Attribute], bodies: tuple[Graph, ...], n: int
) -> Any:
    return (
        op,
        tuple(map(id, inputs)),
        tuple((name, freeze(attributes[name])) for name in sorted(attributes)),
        tuple(map(id, bodies)),
        n,
    )


def freeze(value: Attribute) -> Any:
    """A hashable stand-in for an attribute: equal only when the attributes mean the same.

    A large array is equal to itself alone: to read all of it at every turn costs more than a second copy does.
    """
    if isinstance(value, np.ndarray):
        if value.dtype == object:  # strings: their bytes are addresses
            return ("str", value.shape, tuple(value.ravel().tolist()))
        if value.nbytes > _LARGE:
            return ("large", id(value))  # the node that holds it keeps it
        return (value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, float):
        return ("f", repr(value))  # tells 0.0 from -0.0, and equals itself when it is nan
    if isinstance(value, tuple | list):
        return ("t", *(freeze(item) for item in value))
    if isinstance(value, int | str | bytes | Polynomial | Type):
        return (type(value).__name__, value)
    return value


Visit = Callable[[Node, tuple[Value | None, ...]], "Value | Sequence[Value] | None"]


def rewrite(graph: Graph, visit: Visit) -> Graph:
    """The graph with each node replaced by what `visit(node, inputs)` builds; None keeps the node.

    Nodes come in topological order and `inputs` are the replaced ones. What `visit` builds takes the node's span, and
    a replaced value leaves its name to the one that takes its place. Where nothing changes, the same nodes are kept.
    """
    builder = Builder(graph.names)
    builder.merged.update(graph.merged)
    builder.pass_over(graph.inputs)
    for node in graph.nodes:
        builder.adopt(node)  # first, so that what `visit` tries out cannot make a second copy of a node further down
    replaced: dict[Value, Value] = {}
    with builder:
        for node in graph.nodes:
            inputs = tuple(replaced.get(value, value) if value is not None else None for value in node.inputs)
            with builder.at(node.span):
                result = visit(node, inputs)
                if result is None:
                    bodies = tuple(rebind(body, replaced) for body in node.bodies)
                    if inputs == node.inputs and bodies == node.bodies:
                        result = node.outputs
                    else:
                        result = builder.add(node.op, inputs, node.attributes, bodies, len(node.outputs)).outputs
            for old, new in zip(node.outputs, (result,) if isinstance(result, Value) else result, strict=True):
                if old is not new:
                    replaced[old] = new
                    if old in graph.names and new not in builder.names:
                        builder.names[new] = builder.names.pop(old)  # one name, one value: `old` may live on in `new`
    outputs = {name: replaced.get(value, value) for name, value in graph.outputs.items()}
    return builder.graph(graph.name, outputs, graph.inputs, graph.sizes)


def rebind(body: Graph, replaced: Mapping[Value, Value]) -> Graph:
    """A body whose captured values are replaced; the same body where none is."""
    if not any(value in replaced for value in body.captures()):
        return body
    own: dict[Value, Value] = dict(replaced)
    builder = Builder(body.names)
    for node in body.nodes:
        inputs = tuple(own.get(value, value) if value is not None else None for value in node.inputs)
        bodies = tuple(rebind(inner, own) for inner in node.bodies)
        with builder.at(node.span):
            new = builder.add(node.op, inputs, node.attributes, bodies, len(node.outputs))
        for old, fresh in zip(node.outputs, new.outputs, strict=True):
            own[old] = fresh
            if old in body.names:
                builder.names[fresh] = body.names[old]
    outputs = {name: own.get(value, value) for name, value in body.outputs.items()}
    return builder.graph(body.name, outputs, body.inputs, body.sizes)


class _Make:
    """Makes nodes of one operator in the current builder. Inputs may be numbers, arrays or None."""

    def __init__(self, op: str) -> None:
        self._op = op

    @overload
    def __call__(self, *inputs: Operand | Array | None, outputs: int, **attributes: Attribute) -> tuple[Value, ...]: ...
    @overload
    def __call__(self, *inputs: Operand | Array | None, **attributes: Attribute) -> Value: ...
    def __call__(self, *inputs: Any, outputs: int = 1, **attributes: Attribute) -> Any:
        """The node's value; with `outputs`, a tuple of so many. Raises IllTyped."""
        builder = current()
        like = next((value.dtype for value in inputs if isinstance(value, Value)), None)
        values = [
            value
            if value is None or isinstance(value, Value)
            else builder.constant(value, None if isinstance(value, np.ndarray) else like)
            for value in inputs
        ]
        made = builder.add(self._op, values, attributes, outputs=outputs).outputs
        return made[0] if outputs == 1 else made


class _Operators:
    """`op.Conv(x, w, strides=(1, 1))` makes a node; `op.TopK(x, k, outputs=2)` one with two outputs."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def __getattr__(self, name: str) -> _Make:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Make(self._prefix + name)

    def __getitem__(self, name: str) -> _Make:
        """The same, for an operator whose name is computed."""
        return _Make(self._prefix + name)


op = _Operators("")
private = _Operators("dlc.")


def ints(*values: int) -> Array:
    """An i64 vector, as the shape and axes inputs of ONNX operators want it."""
    return np.array(values, np.int64)


__all__ = ["Builder", "current", "freeze", "ints", "op", "private", "rebind", "rewrite", "unknowns", "with_makers"]
