"""How each part of a `.net` file is laid out: one rule for each kind of syntax."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dlc.dsl import ast
from dlc.dsl.layout import CLOSE, DEDENT, HARD, SPACE, Indent, Line, Mark, Open

Piece = Any
"""The text of a token, a tree still to be taken apart, an item of the layout, one of the three below, a list of pieces,
or a function from the text to pieces, which is called when all before it is written."""

ANY, ENDING = Mark("any"), Mark("ending")
"""The next token whatever it is; comments that stand before a closing bracket."""


@dataclass(frozen=True, slots=True)
class Separator:
    """Where a statement begins, or a body ends (`last`). `declaration` tells those of the file: may it stand close to
    the one before?"""

    first: bool = False
    last: bool = False
    declaration: bool | None = None


class Text(Protocol):
    """What rules ask about the text."""

    def peek(self) -> str: ...
    def begins_line(self, part: ast.Syntax) -> bool: ...
    def after_break(self, stage: ast.Stage) -> bool: ...


Rule = Callable[[Any, Text], list[Piece]]

GROUP = Open()
TIGHT, WIDE = Line(""), Line(" ")


def pieces(part: ast.Syntax, text: Text) -> list[Piece]:
    """What the part is made of, in the order of the text."""
    return _RULES[type(part)](part, text)


# ----------------------------------------------------------------------------------------------- in common


def _commas(parts: Sequence[Piece], after: Piece = WIDE) -> list[Piece]:
    return [piece for part in parts for piece in (",", after, part)][2:]


def _filled(parts: Sequence[Piece]) -> list[Piece]:
    """As many on a line as there is room for."""
    rest = [piece for part in parts[1:] for piece in (",", GROUP, WIDE, part, CLOSE)]
    return [parts[0], *rest]


def _enclosed(
    opener: str, inner: Sequence[Piece], closer: str, space: Piece = TIGHT, broken: bool = False
) -> list[Piece]:
    """`inner` between brackets, indented below them if it does not fit."""
    return [Open(broken), opener, Indent(), space, *inner, ENDING, DEDENT, space, closer, CLOSE]


def _bracket(opener: str, parts: Sequence[Piece], closer: str) -> list[Piece]:
    """A list in brackets: on one line, else on one line of its own, else each part on its line."""
    if not parts:
        return [GROUP, opener, Indent(), ENDING, DEDENT, TIGHT, closer, CLOSE]
    if len(parts) > 4 and all(isinstance(part, ast.Literal_ | ast.Unary) for part in parts):
        return _enclosed(opener, _filled(parts), closer)
    return _enclosed(opener, [GROUP, *_commas(parts), CLOSE], closer)


def _broken(first: Sequence[Piece], rest: Sequence[Piece], columns: int = 2) -> list[Piece]:
    """`rest` holds `Line`s, which end lines together if it does not fit."""
    return [GROUP, *first, Indent(columns), *rest, DEDENT, CLOSE]


def _after(word: str, part: Piece | None) -> list[Piece]:
    return [] if part is None else [SPACE, word, SPACE, part]


def _series(word: str, parts: Sequence[Piece]) -> list[Piece]:
    """A statement of a word and a list."""
    return [word, SPACE, *_broken(parts[:1], [piece for part in parts[1:] for piece in (",", WIDE, part)])]


def _body(statements: Sequence[ast.Statement]) -> list[Piece]:
    if not statements:
        return [GROUP, "{", Indent(), Separator(first=True, last=True), DEDENT, WIDE, "}", CLOSE]
    inner = [piece for at, each in enumerate(statements) for piece in (Separator(first=at == 0), each)]
    return ["{", Indent(always=True), *inner, Separator(last=True), DEDENT, HARD, "}"]


def _section(statements: Sequence[ast.Statement]) -> list[Piece]:
    """A body inside a body: a single statement stands on one line with it if it fits."""
    if len(statements) != 1 or isinstance(statements[0], ast.Section):
        return _body(statements)
    return _enclosed("{", [statements[0]], "}", WIDE)


# ----------------------------------------------------------------------------------------------- pipelines


def _flow(first: Sequence[Piece], stages: Sequence[ast.Stage], text: Text, columns: int = 2) -> list[Piece]:
    """The author's breaks between stages are kept; where there is none, all stages stand on one line or none do."""
    breaks = [text.after_break(stage) for stage in stages]
    if not any(breaks):
        return _broken(first, [piece for stage in stages for piece in (WIDE, "->", SPACE, stage)], columns)
    result = [*first, Indent(columns, always=True)]
    for stage, ends in zip(stages, breaks, strict=True):
        result += [HARD, "->", SPACE, stage] if ends else [GROUP, WIDE, "->", SPACE, stage, CLOSE]
    return [*result, DEDENT]


def _chain(chain: ast.Chain, text: Text, columns: int = 0) -> list[Piece]:
    return _flow([chain.stages[0]], chain.stages[1:], text, columns)


def _equation(value: ast.Expr | ast.Chain, text: Text) -> list[Piece]:
    """`= value` of a declaration, with the author's break after the `=`."""
    stages: tuple[ast.Stage, ...] = ()
    inner: list[Piece] = [value]
    if isinstance(value, ast.Chain):
        stages, inner = value.stages[1:], _chain(value, text)
    elif isinstance(value, ast.Pipeline):
        stages, inner = value.stages, _flow([value.source], value.stages, text, 0)
    broken = text.begins_line(value) or any(map(text.after_break, stages))
    return [SPACE, Open(broken), "=", Indent(), WIDE, *inner, DEDENT, CLOSE]


def _fan(part: ast.Fan, text: Text) -> list[Piece]:
    """One branch a line if the author began a line with any of them."""
    inner = _commas([_chain(each, text, 2) for each in part.branches])
    return _enclosed("[", inner, "]", broken=any(map(text.begins_line, part.branches)))


def _pick(part: ast.Pick, text: Text) -> list[Piece]:
    inner = _chain(part.chain, text, 2)
    if part.condition is not None and part.otherwise is not None:
        otherwise = _chain(part.otherwise, text, 2)
        inner = _broken(inner, [WIDE, "if", SPACE, part.condition, WIDE, "else", SPACE, *otherwise])
    return _enclosed("(", inner, ")")


def _turns(chain: ast.Chain, text: Text) -> list[Piece]:
    return _enclosed("{", _chain(chain, text), "}", WIDE, text.begins_line(chain))


def _for(part: ast.For, text: Text) -> list[Piece]:
    names = _commas(part.names, SPACE)
    return ["for", SPACE, *names, SPACE, "in", SPACE, part.source, SPACE, *_turns(part.chain, text)]


def _scan(part: ast.Scan, text: Text) -> list[Piece]:
    first = ["scan", SPACE, *_commas(part.names, SPACE), SPACE, "in", SPACE, *_commas(part.sources, SPACE)]
    rest: list[Piece] = []
    if part.along is not None:
        rest += [WIDE, "along", SPACE, part.along]
    if part.carries:
        rest += [WIDE, "from", SPACE, GROUP, Indent(len("from ")), *_commas(part.carries), DEDENT, CLOSE]
    if part.until is not None:
        rest += [WIDE, "until", SPACE, part.until]
    return [GROUP, *first, Indent(4), *rest, DEDENT, CLOSE, SPACE, *_body(part.body)]


# --------------------------------------------------------------------------------------------- expressions


def _call(part: ast.Call, text: Text) -> list[Piece]:
    """The brackets of a list that is the only argument are enough to break."""
    only = part.args[0] if len(part.args) == 1 else None
    if only is not None and only.name is None and isinstance(only.value, ast.List | ast.Each):
        return [part.target, "(", only, ")"]
    return [part.target, *_bracket("(", part.args, ")")]


def _binary(part: ast.Binary, text: Text) -> list[Piece]:
    rest: list[Piece] = []
    for op, operand in zip(part.ops, part.operands[1:], strict=True):
        rest += ["..", operand] if op.text == ".." else [WIDE, op.text, SPACE, operand]
    return _broken([part.operands[0]], rest)


def _if_else(part: ast.IfElse, text: Text) -> list[Piece]:
    return _broken([part.then], [WIDE, "if", SPACE, part.condition, WIDE, "else", SPACE, part.otherwise])


def _each(part: ast.Each, text: Text) -> list[Piece]:
    names = _commas(part.names, SPACE)
    return _enclosed("[", [part.body, WIDE, "for", SPACE, *names, SPACE, "in", SPACE, part.source], "]")


def _slice(part: ast.Slice, text: Text) -> list[Piece]:
    present = [[] if each is None else [each] for each in (part.start, part.stop, part.step)]
    return [*present[0], ":", *present[1], *([":", *present[2]] if present[2] else [])]


def _tuple(part: ast.Tuple, text: Text) -> list[Piece]:
    return _enclosed("(", [*part.items, ","], ")") if len(part.items) == 1 else _bracket("(", part.items, ")")


def _reference(part: ast.Reference, text: Text) -> list[Piece]:
    result: list[Piece] = []
    for each in part.parts:
        result += ["[", ANY, "]"] if isinstance(each, int) else [".", ANY] if result else [ANY]
    return result


# ------------------------------------------------------------------------------ statements and declarations


def _declared(part: ast.Declared | ast.Param | ast.State, text: Text) -> list[Piece]:
    value = part.default if isinstance(part, ast.Declared) else part.init
    return [part.name, *_typed(part.type), *_after("=", value)]


def _typed(type: ast.TypeExpr | None) -> list[Piece]:
    return [] if type is None else [":", SPACE, type]


def _settings(parts: Sequence[ast.Declared]) -> Piece:
    """In their brackets, which a block without settings may leave out; one without a type is written `stride=1`."""

    def setting(part: ast.Declared) -> list[Piece]:
        untyped = part.type is None and part.default is not None
        return [part.name, "=", part.default] if untyped else [part]

    return lambda text: _bracket("(", [setting(part) for part in parts], ")") if text.peek() == "(" else []


def _block(part: ast.Block, text: Text) -> list[Piece]:
    returns = [SPACE, "->", SPACE, *_commas(part.returns, SPACE)] if part.returns else []
    return ["block", SPACE, part.name, _settings(part.params), *returns, *_content(part.body, text)]


def _content(body: ast.Expr | ast.Chain | tuple[ast.Statement, ...], text: Text) -> list[Piece]:
    return [SPACE, *_body(body)] if isinstance(body, tuple) else _equation(body, text)


def _import(part: ast.Import, text: Text) -> list[Piece]:
    body = [SPACE, *_section(part.body)]
    return ["import", SPACE, part.name, SPACE, "from", SPACE, ANY, lambda text: body if text.peek() == "{" else []]


def _let(part: ast.Let, text: Text) -> list[Piece]:
    return ["let", SPACE, part.name, *_typed(part.type), *_equation(part.value, text), *_after("in", part.space)]


def _train(part: ast.Train, text: Text) -> list[Piece]:
    head = ["train", SPACE, part.net, SPACE, "on", SPACE, part.data, *_after("as", part.alias)]
    return [*head, SPACE, *_body(part.body)]


def _file(part: ast.Source, text: Text) -> list[Piece]:
    edition = [] if part.edition is None else [Separator(declaration=False), "edition", SPACE, ANY]
    result: list[Piece] = edition
    before: ast.Declaration | None = None
    for each in part.declarations:
        result += [Separator(declaration=_equal(before, each)), each]
        before = each
    return [*result, Separator(first=not result, last=True)]


def _equal(before: ast.Declaration | None, after: ast.Declaration) -> bool:
    return type(before) is type(after) and not isinstance(getattr(after, "body", None), tuple)


def _named(word: str) -> Rule:
    return lambda part, text: [word, SPACE, part.name, SPACE, *_body(part.body)]


def _token(part: Any, text: Text) -> list[Piece]:
    return [ANY]


_RULES: dict[type, Rule] = {
    ast.Name: _token,
    ast.Ref: _token,
    ast.Literal_: _token,
    ast.Dots: _token,
    ast.Attr: lambda e, _: [e.target, ".", e.name],
    ast.Arg: lambda e, _: [e.name, "=", e.value] if e.name else [e.value],
    ast.Call: _call,
    ast.Slice: _slice,
    ast.Item: lambda e, _: [e.target, *_bracket("[", e.index, "]")],
    ast.Unary: lambda e, _: [e.op, *([SPACE] if e.op == "not" else []), e.operand],
    ast.Binary: _binary,
    ast.IfElse: _if_else,
    ast.Group: lambda e, _: _enclosed("(", [e.inner], ")"),
    ast.Tuple: _tuple,
    ast.List: lambda e, _: _bracket("[", e.items, "]"),
    ast.Each: _each,
    ast.Bind: lambda e, _: [e.name, *_after("=", e.value)],
    ast.Scan: _scan,
    ast.Stage: lambda e, _: [e.step, *_after("as", e.alias)],
    ast.Pipeline: lambda e, text: _flow([e.source], e.stages, text),
    ast.Fan: _fan,
    ast.Pick: _pick,
    ast.Repeat: lambda e, text: ["repeat", SPACE, e.count, SPACE, *_turns(e.chain, text)],
    ast.For: _for,
    ast.TypeExpr: lambda e, _: [e.name or [], [] if e.dims is None else _bracket("[", e.dims, "]")],
    ast.Assign: lambda e, _: [*_commas(e.names, SPACE), *_after("=", e.value)],
    ast.Field: lambda e, _: [e.name, *_typed(e.type), *_after("=", e.value)],
    ast.Reference: _reference,
    ast.Section: lambda e, _: [e.name, *([SPACE, e.ref] if e.ref else []), SPACE, *_section(e.body)],
    ast.Declared: _declared,
    ast.Input: lambda e, _: _series("input", e.items),
    ast.Param: lambda e, text: ["param", SPACE, *_declared(e, text)],
    ast.State: lambda e, text: ["state", SPACE, *_declared(e, text)],
    ast.Next: lambda e, _: _series("next", e.binds),
    ast.Return: lambda e, _: _series("return", e.values),
    ast.Yield: lambda e, _: _series("yield", e.values),
    ast.Ragged: lambda e, _: ["ragged", SPACE, e.dim, *_after("by", e.length)],
    ast.Freeze: lambda e, _: _series("freeze", e.refs),
    ast.Load: lambda e, _: ["load", SPACE, e.ref, *_after("from", ANY)],
    ast.Assert: lambda e, _: ["assert", SPACE, e.condition, *([] if e.message is None else [",", SPACE, ANY])],
    ast.Use: lambda e, _: [*_series("use", e.names), *_after("from", ANY)],
    ast.Import: _import,
    ast.Let: _let,
    ast.Fn: lambda e, text: ["fn", SPACE, e.name, _settings(e.params), *_content(e.body, text)],
    ast.Block: _block,
    ast.Net: _named("net"),
    ast.Infer: _named("infer"),
    ast.Data: _named("data"),
    ast.Search: _named("search"),
    ast.Train: _train,
    ast.Source: _file,
}
