"""The graph's own text: one line a node, which reads back to the identical graph.

    graph lenet(%x: f32[B, 4], %"lenet.weight": f32[4, 3]) {B = 64}
    %0: f32[B, 3] = MatMul(%x, %"lenet.weight") @ lenet.net:8:8-8:20
    %1: f32[] = Constant(0.5)
    %y: f32[B, 3] = Mul(%0, %1) @ lenet.net:9:5-9:12
    return output = %y

A named value is `%name` or `%"any.text"`, an unnamed one has a number; where two values have one name, the second is
`%name~2`. A missing input is `_`. Attributes keep their Python types: `3`, `3.0`, `true`, `"text"`, `b"bytes"`, tuples
`[1, 2]`, dimensions `(H + 1)//2`, types `f32[B, 3]`, arrays `f32[2] {1.0, 2.0}`. An array of more than 16 elements is
named by the hash of its content, `sha256:...`, and stands in a sidecar (`constants`). After `@` come the span of the
`.net` text (the end is left out if it is one character long) and those of merged nodes. Bodies follow their node,
indented; each ends with its `return`.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dlc.compiler.graph import Attribute, Graph, Node, Value
from dlc.compiler.types import Array, Dim, Polynomial, Type, dtype_of, substitute, symbol, symbols
from dlc.dsl.ast import Span

INLINE = 16  # arrays of more elements stand in the sidecar
_WIDTH = 120
_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BARE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_BARE_DIM = re.compile(rf"(?!(?:inf|nan|true|false|ceil|broadcast|_)\Z){_BARE_NAME.pattern}")
_BARE_FILE = re.compile(r"(?!_\Z)[A-Za-z0-9_./-]+")
_SURROGATE = re.compile("[\ud800-\udfff]")


class GraphTextError(ValueError):
    """Text that is no graph: what was expected, what was found, at a line and column counted from 1."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(f"line {line}, column {column}: {message}")
        self.message = message
        self.line = line
        self.column = column


def to_text(graph: Graph, *, spans: bool = True) -> str:
    """The graph as text, with the spans of its nodes unless `spans` is false."""
    return "".join(line + "\n" for line in _Writer(spans).graph(graph))


def from_text(text: str, sidecar: Mapping[str, Array] | None = None) -> Graph:
    """The graph of a text; types are inferred again, and those that are written must agree (they may be left out).

    `sidecar` holds the arrays that the text names by hash, as `constants` gives them. Raises GraphTextError.
    """
    from dlc.compiler.text_reader import read

    return read(text, sidecar or {})


def constants(graph: Graph) -> dict[str, Array]:
    """The arrays that the graph's text names by hash."""
    found: dict[str, Array] = {}
    waiting = [graph]
    while waiting:
        for node in waiting.pop().nodes:
            waiting.extend(node.bodies)
            for value in node.attributes.values():
                for array in _arrays(value):
                    if _elements(array) is None:
                        found.setdefault(content_hash(array), array)
    return found


def difference(before: Graph, after: Graph) -> str:
    """A unified difference of two graphs' texts. Values that both graphs hold have the same number on both sides."""
    writer = _Writer()
    old = list(writer.graph(before))
    new = list(_Writer(numbers=writer.numbers).graph(after))
    return "".join(line + "\n" for line in difflib.unified_diff(old, new, "before", "after", lineterm=""))


def content_hash(array: Array) -> str:
    """A name for an array by its element type, shape and content, the same in every process."""
    digest = hashlib.sha256(f"{dtype_of(array)}{list(array.shape)}\n".encode())
    if array.dtype == object:
        digest.update("\n".join(_literal(element) for element in array.ravel().tolist()).encode())
    else:
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(np.ascontiguousarray(little).reshape(-1).view(np.uint8).data)
    return f"sha256:{digest.hexdigest()}"


class _Writer:
    """Writes one graph and its bodies; `numbers` are those of unnamed values, kept from another text."""

    def __init__(self, spans: bool = True, numbers: Mapping[Value, int] | None = None) -> None:
        self.spans = spans
        self.numbers: dict[Value, int] = dict(numbers or {})
        self._next = max(self.numbers.values(), default=-1) + 1
        self._labels: dict[Value, str] = {}
        self._taken: dict[str, int] = {}

    def graph(self, graph: Graph) -> Iterator[str]:
        return self._block("graph", graph, "", "")

    def _block(self, keyword: str, graph: Graph, indent: str, inner: str) -> Iterator[str]:
        inputs = [f"{self._define(value, graph)}: {type_text(value.type)}" for value in graph.inputs]
        sizes = ", ".join(f"{_quoted(name, _BARE_NAME)} = {size}" for name, size in graph.sizes.items())
        yield from _fitted(
            f"{indent}{keyword} {_quoted(graph.name, _BARE_NAME)}(", inputs, ")" + (f" {{{sizes}}}" if sizes else "")
        )
        for node in graph.nodes:
            yield inner + self._node(node, graph)
            for body in node.bodies:
                yield from self._block("body", body, inner + "  ", inner + "    ")
        results = [f"{_quoted(name, _BARE)} = {self._use(value)}" for name, value in graph.outputs.items()]
        yield from _fitted(f"{inner}return" + (" " if results else ""), results, "")

    def _node(self, node: Node, graph: Graph) -> str:
        attributes = dict(node.attributes)
        inputs = [self._use(value) for value in node.inputs]
        if node.op == "Constant" and isinstance(attributes.get("value"), np.ndarray):
            inputs = [_content(attributes.pop("value"))]
        pairs = [f"{_quoted(name, _BARE)} = {_literal(attributes[name])}" for name in sorted(attributes)]
        targets = ", ".join(f"{self._define(value, graph)}: {type_text(value.type)}" for value in node.outputs)
        spans = [_span(span) for span in (node.span, *graph.merged.get(node, ()))] if self.spans else ["_"]
        return (
            f"{targets} = {node.op}({', '.join(inputs)})"
            + (f" {{{', '.join(pairs)}}}" if pairs else "")
            + (f" @ {', '.join(spans)}" if spans != ["_"] else "")
        )

    def _define(self, value: Value, graph: Graph) -> str:
        name = graph.names.get(value)
        base = f"%{self._number(value)}" if name is None else f"%{_quoted(name, _BARE)}"
        self._taken[base] = turn = self._taken.get(base, 0) + 1
        self._labels[value] = base if turn == 1 else f"{base}~{turn}"
        return self._labels[value]

    def _use(self, value: Value | None) -> str:
        if value is None:
            return "_"
        # A graph that does not verify may read what is defined nowhere: it prints, and does not read back.
        return self._labels.get(value) or f"%?{self._number(value)}"

    def _number(self, value: Value) -> int:
        if value not in self.numbers:
            self.numbers[value] = self._next
            self._next += 1
        return self.numbers[value]


def _fitted(head: str, items: Sequence[str], tail: str) -> Iterator[str]:
    """A list on one line, or one line an item where that is too long."""
    line = head + ", ".join(items) + tail
    if len(line) <= _WIDTH or len(items) < 2:
        yield line
        return
    inner = " " * (len(head) - len(head.lstrip()) + 4)
    yield head.rstrip()
    for item in items[:-1]:
        yield f"{inner}{item},"
    yield f"{inner}{items[-1]}{tail}"


def type_text(type: Type) -> str:
    """A type as its text, names of dimensions that are no identifiers in backquotes."""
    return f"{type.dtype}[{', '.join(map(_dim, type.shape))}]"


def _dim(dim: Dim) -> str:
    if isinstance(dim, int):
        return str(dim)
    odd = {name for name in symbols(dim) if not _BARE_DIM.fullmatch(name)}
    if odd:
        quoted: dict[str, Dim] = {name: symbol("`" + _string(name)[1:-1].replace("`", "\\u0060") + "`") for name in odd}
        dim = substitute(dim, quoted)
    return str(dim)


def _literal(value: Attribute) -> str:
    """An attribute, so that its Python type can be read off; raises TypeError for one that graphs do not have."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | Polynomial():
            return _dim(value)
        case float():
            return repr(float(value))
        case str():
            return _string(value)
        case bytes():
            return "b" + json.dumps(value.decode("latin-1"))
        case Type():
            return type_text(value)
        case np.ndarray():
            content = _content(value)
            return type_text(Type(dtype_of(value), value.shape)) + (
                f" {content}" if content.startswith("sha256:") else f" {{{content}}}"
            )
        case tuple() | list():
            return f"[{', '.join(map(_literal, value))}]"
    raise TypeError(f"{type(value).__name__} is no attribute of a graph")


def _content(array: Array) -> str:
    elements = _elements(array)
    return content_hash(array) if elements is None else ", ".join(elements)


def _elements(array: Array) -> list[str] | None:
    """The elements of a small array as text; None where the array is large, or the text would not be exact."""
    if array.size > INLINE:
        return None
    dtype = dtype_of(array)
    if dtype in ("c64", "c128"):
        return None
    if dtype in ("f32", "f16", "bf16", "f64"):
        result = [_float(element) for element in array.ravel()]
        again = np.array([float(text) for text in result], array.dtype).reshape(array.shape)
        return result if again.tobytes() == array.tobytes() else None  # a nan may carry a payload
    elements = array.ravel().tolist()
    if not all(isinstance(element, bool | int | str | bytes) for element in elements):
        return None
    return [_literal(element) for element in elements]


def _float(element: Any) -> str:
    """The shortest text that reads back to the element, through float64."""
    wide = float(element)
    short = str(element)  # numpy's: shortest for the element's own type
    if not re.fullmatch(r"-?\d+\.\d+(e[-+]?\d+)?|-?\d+e[-+]?\d+", short) or type(element)(float(short)) != element:
        return repr(wide)
    return short


def _arrays(value: Attribute) -> Iterator[Array]:
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _arrays(item)


def _span(span: Span | None) -> str:
    if span is None:
        return "_"
    start = f"{_quoted(span.file, _BARE_FILE)}:{span.line}:{span.column}"
    if (span.end_line, span.end_column) == (span.line, span.column + 1):
        return start
    return f"{start}-{span.end_line}:{span.end_column}"


def _quoted(text: str, bare: re.Pattern[str]) -> str:
    return text if bare.fullmatch(text) else _string(text)


def _string(text: str) -> str:
    """JSON, readable beyond ASCII; a lone surrogate is escaped, since it could not be written to a file."""
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False))


__all__ = ["GraphTextError", "constants", "content_hash", "difference", "from_text", "to_text", "type_text"]
