"""Trees as text: `tree` shows the structure, `source` gives `.net` text that parses to the same tree.

Neither recurses, so that both print whatever the parser accepts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from typing import Any

from dlc.dsl import ast
from dlc.dsl.tree import ESCAPES

INDENT, DEDENT = object(), object()
Piece = Any
"""What a line of text is made of: strings, trees still to be printed, INDENT and DEDENT."""

_LONG = 4  # a pipeline with more stages stands on several lines
_WRITTEN = str.maketrans({meant: f"\\{letter}" for letter, meant in ESCAPES.items()})


def tree(source: ast.Syntax) -> str:
    """The tree, one part a line, indented, each with its span."""
    lines: list[str] = []
    waiting: list[tuple[int, str, Any]] = [(0, "", source)]
    while waiting:
        depth, label, part = waiting.pop()
        start = "  " * depth + (f"{label}: " if label else "")
        if isinstance(part, ast.Name):
            lines.append(f"{start}{part.text}")
        elif isinstance(part, ast.Syntax):
            place = f"{part.span.line}:{part.span.column}-{part.span.end_line}:{part.span.end_column}"
            lines.append(f"{start}{type(part).__name__.rstrip('_')} {place}")
            below = [each for each in fields(part) if each.compare and each.name != "span"]
            waiting += [(depth + 1, each.name, getattr(part, each.name)) for each in reversed(below)]
        elif isinstance(part, tuple) and all(isinstance(each, ast.Name) for each in part):
            lines.append(f"{start}{' '.join(map(str, part)) or '()'}")
        elif isinstance(part, tuple) and any(isinstance(each, ast.Syntax) for each in part):
            lines.append(start.rstrip())
            waiting += [(depth + 1, "", each) for each in reversed(part)]
        else:
            lines.append(f"{start}{part!r}")
    return "\n".join(lines)


def source(part: ast.Syntax) -> str:
    """`.net` text for a tree, without comments; a whole file ends with a line end."""
    out: list[str] = []
    indent = 0
    waiting: list[Piece] = [part]
    while waiting:
        piece = waiting.pop()
        if piece is INDENT:
            indent += 1
        elif piece is DEDENT:
            indent -= 1
        elif piece == "\n":
            out.append("\n" + "  " * indent)
        elif isinstance(piece, str):
            out.append(piece)
        else:
            waiting.extend(reversed(_PRINTERS[type(piece)](piece)))
    text = "".join(out)
    return "\n".join(line.rstrip() for line in text.split("\n")) if isinstance(part, ast.Source) else text


def quoted(text: str) -> str:
    """A string as it is written in `.net`."""
    return f'"{text.translate(_WRITTEN)}"'


def _commas(parts: Iterable[Piece], after: str = ", ") -> list[Piece]:
    return [piece for part in parts for piece in (after, part)][1:]


def _body(statements: Sequence[ast.Statement]) -> list[Piece]:
    if not statements:
        return ["{ }"]
    return ["{", INDENT, *(piece for each in statements for piece in ("\n", each)), DEDENT, "\n", "}"]


def _after(text: str, part: Piece | None) -> list[Piece]:
    """An optional part and what stands before it."""
    return [] if part is None else [text, part]


def _flow(first: list[Piece], stages: Sequence[ast.Stage]) -> list[Piece]:
    if len(stages) <= _LONG:
        return first + [piece for stage in stages for piece in (" -> ", stage)]
    return [*first, INDENT, INDENT, *(piece for each in stages for piece in ("\n", "-> ", each)), DEDENT, DEDENT]


def _declared(part: ast.Declared | ast.Param | ast.State) -> list[Piece]:
    value = part.default if isinstance(part, ast.Declared) else part.init
    return [part.name, *_after(": ", part.type), *_after(" = ", value)]


def _literal(part: ast.Literal_) -> list[Piece]:
    value = part.value
    if isinstance(value, str):
        return [quoted(value)]
    if value is None:
        return ["none"]
    return [str(value).lower() if isinstance(value, bool) else repr(value)]


def _binary(part: ast.Binary) -> list[Piece]:
    pieces: list[Piece] = [part.operands[0]]
    for op, operand in zip(part.ops, part.operands[1:], strict=True):
        pieces += [".." if op.text == ".." else f" {op.text} ", operand]
    return pieces


def _scan(part: ast.Scan) -> list[Piece]:
    head = ["scan ", *_commas(part.names), " in ", *_commas(part.sources), *_after(" along ", part.along)]
    if part.carries:
        head += [" from ", *_commas(part.carries)]
    return [*head, *_after(" until ", part.until), " ", *_body(part.body)]


def _chain(part: ast.Chain) -> list[Piece]:
    return _flow([part.stages[0]], part.stages[1:])


def _block(part: ast.Block) -> list[Piece]:
    pieces: list[Piece] = ["block ", part.name]
    if part.params:
        pieces += ["(", *_commas(part.params), ")"]
    if part.returns:
        pieces += [" -> ", *_commas(part.returns)]
    return [*pieces, " = ", part.body] if isinstance(part.body, ast.Chain) else [*pieces, " ", *_body(part.body)]


def _fn(part: ast.Fn) -> list[Piece]:
    head = ["fn ", part.name, "(", *_commas(part.params), ")"]
    return [*head, " = ", part.body] if isinstance(part.body, ast.Expr) else [*head, " ", *_body(part.body)]


def _train(part: ast.Train) -> list[Piece]:
    return ["train ", part.net, " on ", part.data, *_after(" as ", part.alias), " ", *_body(part.body)]


def _file(part: ast.Source) -> list[Piece]:
    pieces: list[Piece] = [] if part.edition is None else [f"edition {part.edition}", "\n", "\n"]
    for before, each in zip((None, *part.declarations), part.declarations, strict=False):
        if before is not None and not (type(before) is type(each) and isinstance(each, ast.Let | ast.Use)):
            pieces.append("\n")
        pieces += [each, "\n"]
    return pieces


def _named(word: str) -> Callable[[Any], list[Piece]]:
    return lambda part: [f"{word} ", part.name, " ", *_body(part.body)]


def _values(word: str) -> Callable[[Any], list[Piece]]:
    return lambda part: [f"{word} ", *_commas(part.values)]


_PRINTERS: dict[type, Callable[[Any], list[Piece]]] = {
    ast.Name: lambda e: [e.text],
    ast.Ref: lambda e: [e.name],
    ast.Literal_: _literal,
    ast.Attr: lambda e: [e.target, ".", e.name],
    ast.Arg: lambda e: [e.name, "=", e.value] if e.name else [e.value],
    ast.Call: lambda e: [e.target, "(", *_commas(e.args), ")"],
    ast.Slice: lambda e: [*_after("", e.start), ":", *_after("", e.stop), *_after(":", e.step)],
    ast.Dots: lambda e: ["..."],
    ast.Item: lambda e: [e.target, "[", *_commas(e.index), "]"],
    ast.Unary: lambda e: ["not " if e.op == "not" else e.op, e.operand],
    ast.Binary: _binary,
    ast.IfElse: lambda e: [e.then, " if ", e.condition, " else ", e.otherwise],
    ast.Group: lambda e: ["(", e.inner, ")"],
    ast.Tuple: lambda e: ["(", *_commas(e.items), "," if len(e.items) == 1 else "", ")"],
    ast.List: lambda e: ["[", *_commas(e.items), "]"],
    ast.Each: lambda e: ["[", e.body, " for ", *_commas(e.names), " in ", e.source, "]"],
    ast.Bind: lambda e: [e.name, " = ", e.value],
    ast.Scan: _scan,
    ast.Stage: lambda e: [e.step, *_after(" as ", e.alias)],
    ast.Chain: _chain,
    ast.Pipeline: lambda e: _flow([e.source], e.stages),
    ast.Fan: lambda e: ["[", *_commas(e.branches), "]"],
    ast.Pick: lambda e: ["(", e.chain, *_after(" if ", e.condition), *_after(" else ", e.otherwise), ")"],
    ast.Repeat: lambda e: ["repeat ", e.count, " { ", e.chain, " }"],
    ast.For: lambda e: ["for ", *_commas(e.names), " in ", e.source, " { ", e.chain, " }"],
    ast.TypeExpr: lambda e: [*_after("", e.name), *([] if e.dims is None else ["[", *_commas(e.dims), "]"])],
    ast.Assign: lambda e: [*_commas(e.names), " = ", e.value],
    ast.Field: lambda e: [e.name, ": ", e.type, *_after(" = ", e.value)],
    ast.Reference: lambda e: [str(e)],
    ast.Section: lambda e: [e.name, *_after(" ", e.ref), " ", *_body(e.body)],
    ast.Declared: _declared,
    ast.Input: lambda e: ["input ", *_commas(e.items)],
    ast.Param: lambda e: ["param ", *_declared(e)],
    ast.State: lambda e: ["state ", *_declared(e)],
    ast.Next: lambda e: ["next ", *_commas(e.binds)],
    ast.Return: _values("return"),
    ast.Yield: _values("yield"),
    ast.Ragged: lambda e: ["ragged ", e.dim, " by ", e.length],
    ast.Freeze: lambda e: ["freeze ", *_commas(e.refs)],
    ast.Load: lambda e: ["load ", e.ref, " from ", quoted(e.path)],
    ast.Assert: lambda e: ["assert ", e.condition, *([] if e.message is None else [", ", quoted(e.message)])],
    ast.Use: lambda e: ["use ", *_commas(e.names), " from ", quoted(e.path)],
    ast.Import: lambda e: ["import ", e.name, " from ", quoted(e.path), *([" ", *_body(e.body)] if e.body else [])],
    ast.Let: lambda e: ["let ", e.name, *_after(": ", e.type), " = ", e.value, *_after(" in ", e.space)],
    ast.Fn: _fn,
    ast.Block: _block,
    ast.Net: _named("net"),
    ast.Infer: _named("infer"),
    ast.Data: _named("data"),
    ast.Search: _named("search"),
    ast.Train: _train,
    ast.Source: _file,
}
