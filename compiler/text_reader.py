"""Reads the graph's text (`ir.lark`): the parser gives flat records, from which nodes are built in their order."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dlc.compiler.build import Builder
from dlc.compiler.graph import Attribute, Graph, Node, Value
from dlc.compiler.registry import IllTyped
from dlc.compiler.text import GraphTextError, content_hash, type_text
from dlc.compiler.text_dims import Dimensions, at, integer, string
from dlc.compiler.types import FLOATS, ONNX_NUMBER, Array, Type, dtype_of, numpy_dtype
from dlc.dsl.ast import Span

if TYPE_CHECKING:
    from lark import Lark, Token

_SPAN = re.compile(r"(.*):(\d{1,9}):(\d{1,9})(?:-(\d{1,9}):(\d{1,9}))?")
_EXPECTED = {
    "VALUE": "a value such as %x", "NAME": "a name", "STRING": "a string", "TYPE": "a type such as f32[B, 3]",
    "_NL": "the end of the line", "INT": "an integer", "FLOAT": "a number", "SPAN": "a place such as a.net:8:8",
    "EQUAL": "`=`", "LPAR": "`(`", "RPAR": "`)`", "LBRACE": "`{`", "RBRACE": "`}`", "LSQB": "`[`", "RSQB": "`]`",
    "COMMA": "`,`", "COLON": "`:`", "AT": "`@`", "GRAPH": "`graph`", "BODY": "`body`", "RETURN": "`return`",
    "MISSING": "`_`", "$END": "the end of the text",
}  # fmt: skip


class _Statement(NamedTuple):
    targets: list[tuple[Token, Token | None]]
    op: Token
    arguments: list[Any]
    attributes: dict[str, Any]
    spans: list[Span | None]
    bodies: list[_Block]


class _Block(NamedTuple):
    name: str
    inputs: list[tuple[Token, Token]]
    sizes: dict[str, int]
    statements: list[_Statement]
    results: list[tuple[str, Token]]


class _Elements(NamedTuple):
    type: Token
    elements: list[Any]


class _Input(NamedTuple):
    value: Token
    type: Token


class _Sizes(dict[str, int]):
    pass


class _Actions(Dimensions):
    """What each rule of the grammar gives; called by the parser bottom up, so that nesting costs no stack."""

    def start(self, items: list[Any]) -> _Block:
        block: _Block = items[0]
        return block

    def block(self, items: list[Any]) -> _Block:
        sizes = next((item for item in items if isinstance(item, _Sizes)), _Sizes())
        inputs = [(item.value, item.type) for item in items if isinstance(item, _Input)]
        return _Block(items[0], inputs, sizes, [item for item in items if isinstance(item, _Statement)], items[-1])

    def input(self, items: list[Any]) -> _Input:
        return _Input(*items)

    def sizes(self, items: list[Any]) -> _Sizes:
        return _Sizes(items)

    def size(self, items: list[Any]) -> tuple[str, int]:
        return items[0], integer(items[1])

    def result(self, items: list[Any]) -> tuple[str, Token]:
        return items[0], items[1]

    def statement(self, items: list[Any]) -> _Statement:
        return _Statement(*items)

    def target(self, items: list[Any]) -> tuple[Token, Token | None]:
        return items[0], items[1] if len(items) > 1 else None

    def attributes(self, items: list[Any]) -> dict[str, Any]:
        return dict(items)

    def attribute(self, items: list[Any]) -> tuple[str, Any]:
        return items[0], items[1]

    def spans(self, items: list[Token]) -> list[Span | None]:
        return [None if item == "_" else _read_span(item) for item in items]

    def array(self, items: list[Any]) -> _Elements:
        return _Elements(items[0], items[1:])

    def sequence(self, items: list[Any]) -> tuple[Any, ...]:
        return tuple(items)

    def _same(self, items: list[Any]) -> list[Any]:
        return items

    targets = arguments = bodies = shape = results = _same

    def _first(self, items: list[Any]) -> Any:
        return items[0]

    dim = divided = _first

    def name(self, items: list[Token]) -> str:
        return string(items[0]) if items[0].startswith('"') else str(items[0])

    # Terminals whose text is not needed again, nor their place.

    def FLOAT(self, token: Token) -> float:
        return float(token)

    def BOOL(self, token: Token) -> bool:
        return str(token) == "true"

    def STRING(self, token: Token) -> Token:
        string(token)  # refuses a bad escape at its place
        return token

    def BYTES(self, token: Token) -> bytes:
        try:
            return string(token, token[1:]).encode("latin-1")
        except UnicodeEncodeError:
            raise at(token, "bytes were expected, found a character beyond \\u00ff") from None


def _read_span(token: Token) -> Span:
    found = _SPAN.fullmatch(token)
    assert found is not None  # the terminal SPAN says the same
    file, line, column, end_line, end_column = found.groups()
    if file.startswith('"'):
        file = string(token, file)
    return Span(file, int(line), int(column), int(end_line or line), int(end_column or int(column) + 1))


@lru_cache(maxsize=1)
def _parser() -> Lark:
    from lark import Lark

    actions: Any = _Actions()  # lark calls the method named like the rule; its own base class adds nothing to that
    grammar = Path(__file__).with_name("ir.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", start=["start", "shape"], transformer=actions, propagate_positions=False)


def _parse(text: str, start: str) -> Any:
    from lark.exceptions import UnexpectedCharacters, UnexpectedToken

    try:
        return _parser().parse(text, start=start)
    except UnexpectedToken as error:
        # `accepts` and not `expected`: the latter names what could only follow a reduction that fails.
        wanted = _expected(error.accepts or error.expected)
        found = "the end of the line" if error.token.type == "_NL" else f"`{error.token}`"
        if error.token.type == "$END":
            found = "the end of the text"
        raise GraphTextError(f"expected {wanted}, found {found}", error.line or 1, error.column or 1) from None
    except UnexpectedCharacters as error:
        wanted = _expected(error.allowed or ())
        raise GraphTextError(f"expected {wanted}, found `{error.char}`", error.line, error.column) from None


def _expected(names: Any) -> str:
    words = [_EXPECTED[name] for name in _EXPECTED if name in names]
    return ", ".join(words[:-1]) + (" or " if len(words) > 1 else "") + words[-1] if words else "something else"


def read(text: str, sidecar: Mapping[str, Array]) -> Graph:
    """The graph of `text`; see `text.from_text`."""
    try:
        return _Reader(sidecar).graph(_parse(text + "\n", "start"))
    except (RecursionError, ZeroDivisionError) as error:  # of dimensions: the only thing that nests in memory
        reason = "dimensions nested too deep" if isinstance(error, RecursionError) else str(error)
        raise GraphTextError(reason, 1, 1) from None


class _Reader:
    """Builds graphs from blocks. Each body has a builder of its own: it shares no node with the graph outside."""

    def __init__(self, sidecar: Mapping[str, Array]) -> None:
        self._sidecar = sidecar
        self._types: dict[str, Type] = {}
        self._scopes: list[dict[str, Value]] = []

    def graph(self, block: _Block) -> Graph:
        builder = Builder()
        own: dict[str, Value] = {}
        self._scopes.append(own)
        nodes: dict[Node, None] = {}
        inputs = []
        for label, written in block.inputs:
            value = Value(self._type(written))
            inputs.append(value)
            self._define(label, value, builder)
        for statement in block.statements:
            node = self._node(statement, builder)
            nodes.setdefault(node)
            if statement.spans[1:]:
                merged = (*builder.merged.get(node, ()), *(span for span in statement.spans[1:] if span))
                builder.merged[node] = tuple(dict.fromkeys(merged))
            for (label, target), value in zip(statement.targets, node.outputs, strict=True):
                if target is not None and self._type(target) != value.type:
                    found = type_text(value.type)
                    raise at(target, f"{label} is written as {target}, but {node.op} gives {found}")
                self._define(label, value, builder)
        outputs: dict[str, Value] = {}
        for name, label in block.results:
            if name in outputs:
                raise at(label, f"two outputs are called {name}")
            outputs[name] = self._use(label)
        self._scopes.pop()
        return Graph(block.name, tuple(inputs), outputs, tuple(nodes), builder.names, builder.merged, block.sizes)

    def _node(self, statement: _Statement, builder: Builder) -> Node:
        op = statement.op
        attributes = {name: self._attribute(value) for name, value in statement.attributes.items()}
        inputs: Sequence[Value | None] = ()
        if op == "Constant" and "value" not in attributes:
            attributes["value"] = self._constant(statement)
        else:
            inputs = [self._argument(argument, op) for argument in statement.arguments]
        bodies = tuple(self.graph(body) for body in statement.bodies)
        try:
            with builder.at(statement.spans[0] if statement.spans else None):
                node = builder.add(str(op), inputs, attributes, bodies, len(statement.targets))
        except IllTyped as error:
            raise at(op, str(error)) from error
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # Type rules trust the kinds of attributes, which are checked nowhere in a text.
            raise at(op, f"{op} with these inputs and attributes: {error!r}") from error
        if len(node.outputs) != len(statement.targets):
            raise at(op, f"{op} has {len(node.outputs)} outputs, {len(statement.targets)} are written")
        return node

    def _define(self, label: Token, value: Value, builder: Builder) -> None:
        if any(label in scope for scope in self._scopes):
            raise at(label, f"{label} is defined twice")
        self._scopes[-1][str(label)] = value
        base = label.rpartition("~")[0] if not label.endswith('"') and "~" in label else str(label)
        if base.startswith('%"'):
            builder.names.setdefault(value, string(label, base[1:]))
        elif not base[1:].isdigit():
            builder.names.setdefault(value, base[1:])

    def _use(self, label: Token) -> Value:
        for scope in reversed(self._scopes):
            if label in scope:
                return scope[label]
        raise at(label, f"{label} is not defined before this line")

    def _argument(self, argument: Any, op: Token) -> Value | None:
        kind = getattr(argument, "type", None)
        if kind == "MISSING":
            return None
        if kind != "VALUE":
            raise at(op, f"the inputs of {op} must be values such as %x, or `_`")
        return self._use(argument)

    def _constant(self, statement: _Statement) -> Array:
        written = statement.targets[0][1]
        if written is None:
            raise at(statement.op, "the type of a constant must be written")
        return self._array(written, statement.arguments)

    def _attribute(self, value: Any) -> Attribute:
        match value:
            case _Elements():
                return self._array(value.type, value.elements)
            case tuple():
                return tuple(self._attribute(item) for item in value)
        match getattr(value, "type", None):
            case "TYPE":
                return self._type(value)
            case "STRING":
                return string(value)
        return value

    def _type(self, token: Token) -> Type:
        found = self._types.get(token)
        if found is None:
            dtype, _, shape = token.partition("[")
            if dtype not in ONNX_NUMBER:
                raise at(token, f"{dtype} is no element type; they are {', '.join(ONNX_NUMBER)}")
            try:
                found = Type(dtype, tuple(_parse("[" + shape, "shape")))
            except GraphTextError as error:
                raise at(token, f"the type {token}: {error.message}") from None
            self._types[str(token)] = found
        return found

    def _array(self, written: Token, elements: Sequence[Any]) -> Array:
        type = self._type(written)
        if not type.is_static:
            raise at(written, f"{written}: the shape of a constant must be integers")
        shape = type.static_shape()
        first = elements[0] if elements else None
        if getattr(first, "type", None) == "SHA":
            array = self._sidecar.get(str(first))
            if array is None:
                raise at(written, f"the sidecar has no array {first}")
            if content_hash(array) != first:
                raise at(written, f"the sidecar's array {first} has other content")
            if (dtype_of(array), array.shape) != (type.dtype, shape):
                found = type_text(Type(dtype_of(array), array.shape))
                raise at(written, f"{first} is {found} in the sidecar, written is {written}")
            return array
        items = [self._attribute(element) for element in elements]
        allowed = _allowed(type.dtype)
        for item in items:
            if not allowed(item):
                raise at(written, f"an element of {written} cannot be {item!r}")
        if type.size != len(items):
            raise at(written, f"{written} has {type.size} elements, {len(items)} are written")
        try:
            return np.array(items, numpy_dtype(type.dtype)).reshape(shape)
        except (OverflowError, ValueError) as error:
            raise at(written, f"the elements of {written}: {error}") from None


def _allowed(dtype: str) -> Callable[[Any], bool]:
    """Whether a Python value may be an element; nothing is converted silently, except integers to floats."""
    if dtype == "bool":
        return lambda item: isinstance(item, bool)
    if dtype == "str":
        return lambda item: isinstance(item, str | bytes)
    if dtype in FLOATS:
        return lambda item: type(item) in (int, float)
    return lambda item: type(item) is int


__all__ = ["read"]
