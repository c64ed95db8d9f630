"""Parse to tree: one method for each rule of `net.lark`, called by the parser as it reduces, so nothing recurses.

Children are tokens (all of them are kept), trees, or None for an optional part left out. Left-recursive runs (`a + b +
c`, `x -> f -> g`) are gathered in a `_Run` and become one flat node when the rule around them takes them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from dlc.dsl import ast
from dlc.dsl.ast import Name, Span

Parts = list[Any]
"""Children of a rule."""

ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}
"""What may stand after a backslash in a string, and its meaning."""


class _Run:
    """A run that may still grow: `parts` are operators and operands, or the stages of a pipeline after its source."""

    __slots__ = ("kind", "parts")

    def __init__(self, kind: str, parts: Parts) -> None:
        self.kind = kind
        self.parts = parts

    def finish(self) -> ast.Expr:
        span = _span(self.parts)
        if self.kind == "->":
            return ast.Pipeline(self.parts[0], tuple(self.parts[1:]), span=span)
        return ast.Binary(tuple(map(_name, self.parts[1::2])), tuple(self.parts[0::2]), span=span)


class _Many:
    """Several trees and the text from the first to the last, brackets included."""

    __slots__ = ("items", "span")

    def __init__(self, items: Sequence[Any], span: Span) -> None:
        self.items = tuple(items)
        self.span = span


def _join(first: Span, last: Span) -> Span:
    return Span(first.file, first.line, first.column, last.end_line, last.end_column)


def _span(parts: Sequence[Any]) -> Span:
    first = next(part for part in parts if part is not None)
    last = next(part for part in reversed(parts) if part is not None)
    return _join(first.span, last.span)


def _name(token: Any) -> Name:
    return Name(token.text, span=token.span)


def _text(token: Any) -> str:
    """The value of a string token."""
    inner: str = token.text[1:-1]
    return inner if "\\" not in inner else re.sub(r"\\(.)", lambda found: ESCAPES[found[1]], inner)


def _items(many: _Many | None) -> tuple[Any, ...]:
    return many.items if many else ()


def _done(children: Parts) -> Parts:
    return [child.finish() if type(child) is _Run else child for child in children]


def _trees(children: Parts) -> Parts:
    """Children without punctuation."""
    return [child for child in children if isinstance(child, ast.Syntax)]


def _names(children: Parts) -> list[Name]:
    return [_name(child) for child in children if child is not None and getattr(child, "type", None) == "NAME"]


Rule = Callable[["TreeBuilder", Parts], Any]


def _rule(method: Callable[[Any, Parts, Span], Any]) -> Rule:
    """A rule that takes finished children and the span of them all."""

    @wraps(method)
    def call(self: TreeBuilder, children: Parts) -> Any:
        children = _done(children)
        return method(self, children, _span(children))

    return call


def _run(kind: str | None) -> Rule:
    """A rule `run OP operand`; kind None takes the operator's terminal for it."""

    def call(self: TreeBuilder, children: Parts) -> _Run:
        left, *rest = children
        ours = kind or rest[0].type
        rest = _done(rest)
        if ours == "->":
            rest = rest[1:]
        if type(left) is _Run and left.kind == ours:
            left.parts += rest
            return left
        return _Run(ours, [*_done([left]), *rest])

    return call


def _many(pick: Callable[[Parts], Sequence[Any]]) -> Rule:
    return _rule(lambda self, c, span: _Many(pick(c), span))


class TreeBuilder:
    """The actions of the grammar. Methods bear the names of rules."""

    def start(self, c: Parts) -> ast.Source:
        span = _span(c) if any(child is not None for child in c) else Span("", 1, 1, 1, 1)
        edition = int(c[0].items[0].text.replace("_", "")) if isinstance(c[0], _Many) else None
        return ast.Source(edition, tuple(_trees(c)), span=span)

    edition = _many(lambda c: [c[1]])

    # Declarations

    @_rule
    def use(self, c: Parts, span: Span) -> ast.Use:
        return ast.Use(c[1].items, _text(c[3]), c[3].span, span=span)

    @_rule
    def import_(self, c: Parts, span: Span) -> ast.Import:
        return ast.Import(_name(c[1]), _text(c[3]), c[3].span, _items(c[4]), span=span)

    @_rule
    def let(self, c: Parts, span: Span) -> ast.Let:
        return ast.Let(_name(c[1]), c[3], c[5], c[7], span=span)

    @_rule
    def fn(self, c: Parts, span: Span) -> ast.Fn:
        return ast.Fn(_name(c[1]), c[2].items, c[-1].items if isinstance(c[-1], _Many) else c[-1], span=span)

    @_rule
    def block(self, c: Parts, span: Span) -> ast.Block:
        body = c[-1].items if isinstance(c[-1], _Many) else c[-1]
        return ast.Block(_name(c[1]), _items(c[2]), _items(c[4]), body, span=span)

    @_rule
    def net(self, c: Parts, span: Span) -> ast.Net:
        return ast.Net(_name(c[1]), c[2].items, span=span)

    @_rule
    def infer(self, c: Parts, span: Span) -> ast.Infer:
        return ast.Infer(_name(c[1]), c[2].items, span=span)

    @_rule
    def data(self, c: Parts, span: Span) -> ast.Data:
        return ast.Data(_name(c[1]), c[2].items, span=span)

    @_rule
    def search(self, c: Parts, span: Span) -> ast.Search:
        return ast.Search(_name(c[1]), c[2].items, span=span)

    @_rule
    def train(self, c: Parts, span: Span) -> ast.Train:
        return ast.Train(_name(c[1]), _name(c[3]), _name(c[5]) if c[5] else None, c[6].items, span=span)

    params = _many(_trees)

    @_rule
    def param(self, c: Parts, span: Span) -> ast.Declared:
        return ast.Declared(_name(c[0]), c[2], c[4], span=span)

    in_item = param

    # Statements

    body = _many(_trees)

    @_rule
    def assign(self, c: Parts, span: Span) -> ast.Assign:
        return ast.Assign(c[0].items, c[2], span=span)

    @_rule
    def field(self, c: Parts, span: Span) -> ast.Field:
        return ast.Field(_name(c[0]), c[2], c[4], span=span)

    @_rule
    def section(self, c: Parts, span: Span) -> ast.Section:
        return ast.Section(_name(c[0]), c[1], c[2].items, span=span)

    @_rule
    def input(self, c: Parts, span: Span) -> ast.Input:
        return ast.Input(tuple(_trees(c)), span=span)

    @_rule
    def param_(self, c: Parts, span: Span) -> ast.Param:
        return ast.Param(_name(c[1]), c[3], c[5], span=span)

    @_rule
    def state(self, c: Parts, span: Span) -> ast.State:
        return ast.State(_name(c[1]), c[3], c[5], span=span)

    @_rule
    def next(self, c: Parts, span: Span) -> ast.Next:
        return ast.Next(tuple(_trees(c)), span=span)

    @_rule
    def bind(self, c: Parts, span: Span) -> ast.Bind:
        return ast.Bind(_name(c[0]), c[2], span=span)

    @_rule
    def return_(self, c: Parts, span: Span) -> ast.Return:
        return ast.Return(c[1].items, span=span)

    @_rule
    def yield_(self, c: Parts, span: Span) -> ast.Yield:
        return ast.Yield(c[1].items, span=span)

    @_rule
    def ragged(self, c: Parts, span: Span) -> ast.Ragged:
        return ast.Ragged(_name(c[1]), _name(c[3]), span=span)

    @_rule
    def freeze(self, c: Parts, span: Span) -> ast.Freeze:
        return ast.Freeze(tuple(_trees(c)), span=span)

    @_rule
    def load(self, c: Parts, span: Span) -> ast.Load:
        return ast.Load(c[1], _text(c[3]), c[3].span, span=span)

    @_rule
    def assert_(self, c: Parts, span: Span) -> ast.Assert:
        return ast.Assert(c[1], _text(c[3]) if c[3] else None, span=span)

    # Pipelines

    pipe = _run("->")

    @_rule
    def chain(self, c: Parts, span: Span) -> ast.Chain:
        return ast.Chain(tuple(_trees(c)), span=span)

    @_rule
    def stage(self, c: Parts, span: Span) -> ast.Stage:
        return ast.Stage(c[0], _name(c[2]) if c[2] else None, span=span)

    @_rule
    def fan(self, c: Parts, span: Span) -> ast.Fan:
        return ast.Fan(tuple(_trees(c)), span=span)

    @_rule
    def pick(self, c: Parts, span: Span) -> ast.Pick:
        return ast.Pick(c[1], c[3], c[5], span=span)

    @_rule
    def repeat(self, c: Parts, span: Span) -> ast.Repeat:
        return ast.Repeat(c[1], c[3], span=span)

    @_rule
    def for_(self, c: Parts, span: Span) -> ast.For:
        return ast.For(c[1].items, c[3], c[5], span=span)

    @_rule
    def scan(self, c: Parts, span: Span) -> ast.Scan:
        words = {child.type: at for at, child in enumerate(c) if getattr(child, "type", None) in ("ALONG", "UNTIL")}
        along = c[words["ALONG"] + 1] if "ALONG" in words else None
        until = c[words["UNTIL"] + 1] if "UNTIL" in words else None
        carries = tuple(child for child in c if isinstance(child, ast.Bind))
        return ast.Scan(c[1].items, c[3].items, along, carries, until, c[-1].items, span=span)

    # Operators

    @_rule
    def if_else(self, c: Parts, span: Span) -> ast.IfElse:
        return ast.IfElse(c[2], c[0], c[4], span=span)

    or_ = _run("or")
    and_ = _run("and")
    binary = _run(None)

    @_rule
    def compare(self, c: Parts, span: Span) -> ast.Binary:
        return ast.Binary((_name(c[1]),), (c[0], c[2]), span=span)

    range = compare
    power = compare

    @_rule
    def unary(self, c: Parts, span: Span) -> ast.Unary:
        return ast.Unary(c[0].text, c[1], span=span)

    not_ = unary

    # Operands

    def name(self, c: Parts) -> ast.Ref:
        return ast.Ref(c[0].text, span=c[0].span)

    @_rule
    def attr(self, c: Parts, span: Span) -> ast.Attr:
        return ast.Attr(c[0], _name(c[2]), span=span)

    @_rule
    def call(self, c: Parts, span: Span) -> ast.Call:
        return ast.Call(c[0], _items(c[2]), span=span)

    @_rule
    def item(self, c: Parts, span: Span) -> ast.Item:
        return ast.Item(c[0], c[2].items, span=span)

    @_rule
    def args(self, c: Parts, span: Span) -> _Many:
        return _Many(
            [each if isinstance(each, ast.Arg) else ast.Arg(None, each, span=each.span) for each in _trees(c)], span
        )

    @_rule
    def named(self, c: Parts, span: Span) -> ast.Arg:
        return ast.Arg(_name(c[0]), c[2], span=span)

    index = _many(_trees)

    @_rule
    def slice(self, c: Parts, span: Span) -> ast.Slice:
        return ast.Slice(c[0], c[2], c[4], span=span)

    def dots(self, c: Parts) -> ast.Dots:
        return ast.Dots(span=c[0].span)

    def int(self, c: Parts) -> ast.Literal_:
        return ast.Literal_(int(c[0].text.replace("_", "")), span=c[0].span)

    def float(self, c: Parts) -> ast.Literal_:
        return ast.Literal_(float(c[0].text.replace("_", "")), span=c[0].span)

    def string(self, c: Parts) -> ast.Literal_:
        return ast.Literal_(_text(c[0]), span=c[0].span)

    def true(self, c: Parts) -> ast.Literal_:
        return ast.Literal_(True, span=c[0].span)

    def false(self, c: Parts) -> ast.Literal_:
        return ast.Literal_(False, span=c[0].span)

    def none(self, c: Parts) -> ast.Literal_:
        return ast.Literal_(None, span=c[0].span)

    @_rule
    def group(self, c: Parts, span: Span) -> ast.Group:
        return ast.Group(c[1], span=span)

    @_rule
    def tuple(self, c: Parts, span: Span) -> ast.Tuple:
        return ast.Tuple(tuple(_trees(c)), span=span)

    @_rule
    def list(self, c: Parts, span: Span) -> ast.List:
        return ast.List(tuple(_trees(c)), span=span)

    @_rule
    def each(self, c: Parts, span: Span) -> ast.Each:
        return ast.Each(c[1], c[3].items, c[5], span=span)

    # Lists and types

    exprs = _many(_trees)
    names = _many(_names)
    types = _many(_trees)
    dims = _many(_trees)

    @_rule
    def ref(self, c: Parts, span: Span) -> ast.Reference:
        parts = [int(each.text) if each.type == "INT" else each.text for each in c if each.type in ("NAME", "INT")]
        return ast.Reference(tuple(parts), span=span)

    @_rule
    def type(self, c: Parts, span: Span) -> ast.TypeExpr:
        if isinstance(c[0], _Many):
            return ast.TypeExpr(None, c[0].items, span=span)
        return ast.TypeExpr(_name(c[0]), c[1].items if c[1] else None, span=span)
