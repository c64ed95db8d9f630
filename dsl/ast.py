"""The syntax tree of a `.net` file: frozen dataclasses, each with the span of text it stands for.

Two trees are equal when they mean the same: spans do not take part in comparison. Pipelines, sums, products
and the like are held flat, so that a net of thousands of stages is a long tuple and not a deep tree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Literal


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a source file; lines and columns count from 1, `end_column` is one past the last character."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"

    @property
    def place(self) -> str:
        """`lenet.net:4:7`, for messages of a compiled file. Without folders: the same source gives the same bytes."""
        return f"{self.file.replace(chr(92), '/').rsplit('/', 1)[-1]}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Syntax:
    """What every part of the tree has."""

    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Name(Syntax):
    """An identifier as written, with its own span; declarations and statements hold these for what they name."""

    text: str

    def __str__(self) -> str:
        return self.text


# ------------------------------------------------------------------------------------------- expressions


class Expr(Syntax):
    """An expression: it has a value, at compile time or as a tensor."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Ref(Expr):
    """A name used as a value: `x`."""

    name: str


@dataclass(frozen=True, slots=True)
class Literal_(Expr):
    """A number, string, `true`, `false` or `none`."""

    value: int | float | str | bool | None

    def __eq__(self, other: object) -> bool:  # 1, 1.0 and true are different programs
        return isinstance(other, Literal_) and type(self.value) is type(other.value) and self.value == other.value

    def __hash__(self) -> int:
        return hash((type(self.value), self.value))


@dataclass(frozen=True, slots=True)
class Attr(Expr):
    """`target.name`; `name` has its own span, for messages that point at it."""

    target: Expr
    name: Name


@dataclass(frozen=True, slots=True)
class Arg(Syntax):
    """An argument, positional (`name` is None) or named."""

    name: Name | None
    value: Expr


@dataclass(frozen=True, slots=True)
class Call(Expr):
    """`target(args)`."""

    target: Expr
    args: tuple[Arg, ...]


@dataclass(frozen=True, slots=True)
class Slice(Syntax):
    """`start:stop:step` inside an index; each part may be missing."""

    start: Expr | None
    stop: Expr | None
    step: Expr | None


@dataclass(frozen=True, slots=True)
class Dots(Syntax):
    """`...` inside an index or a type."""


@dataclass(frozen=True, slots=True)
class Item(Expr):
    """`target[index]`."""

    target: Expr
    index: tuple[Expr | Slice | Dots, ...]


@dataclass(frozen=True, slots=True)
class Unary(Expr):
    """`-x`, `+x` or `not x`."""

    op: Literal["-", "+", "not"]
    operand: Expr


@dataclass(frozen=True, slots=True)
class Binary(Expr):
    """A flat run of operators of one precedence, associating to the left: `a + b - c` has two `ops`, three `operands`.

    `ops` are all of `+ -`, all of `* / // % @`, all `and`, all `or`, or one `**`, one comparison, one `..`.
    """

    ops: tuple[Name, ...]
    operands: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class IfElse(Expr):
    """`then if condition else otherwise`."""

    condition: Expr
    then: Expr
    otherwise: Expr


@dataclass(frozen=True, slots=True)
class Group(Expr):
    """`(inner)`: kept, because `as` and printing care about it."""

    inner: Expr


@dataclass(frozen=True, slots=True)
class Tuple(Expr):
    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class List(Expr):
    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Each(Expr):
    """`[body for names in source]`."""

    body: Expr
    names: tuple[Name, ...]
    source: Expr


@dataclass(frozen=True, slots=True)
class Bind(Syntax):
    """`name = value` in `next` and in a scan's `from`."""

    name: Name
    value: Expr


@dataclass(frozen=True, slots=True)
class Scan(Expr):
    names: tuple[Name, ...]
    sources: tuple[Expr, ...]
    along: Expr | None
    carries: tuple[Bind, ...]
    until: Expr | None
    body: tuple[Statement, ...]


# A pipeline and its stages -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stage(Syntax):
    """One step of a pipeline or chain, perhaps named with `as`."""

    step: Step
    alias: Name | None


@dataclass(frozen=True, slots=True)
class Chain(Syntax):
    """`stage -> stage` with no value yet."""

    stages: tuple[Stage, ...]


@dataclass(frozen=True, slots=True)
class Pipeline(Expr):
    """`source -> stage -> stage`."""

    source: Expr
    stages: tuple[Stage, ...]


@dataclass(frozen=True, slots=True)
class Fan(Syntax):
    """`[chain, chain]` after an arrow: each branch is given the same value."""

    branches: tuple[Chain, ...]


@dataclass(frozen=True, slots=True)
class Pick(Syntax):
    """`(chain if condition else chain)` after an arrow; without a condition it is a bracketed chain."""

    chain: Chain
    condition: Expr | None
    otherwise: Chain | None


@dataclass(frozen=True, slots=True)
class Repeat(Expr):
    """`repeat count { chain }`: new weights at every turn. As an expression it is an instance, not yet applied."""

    count: Expr
    chain: Chain


@dataclass(frozen=True, slots=True)
class For(Expr):
    """`for names in source { chain }`: new weights at every turn."""

    names: tuple[Name, ...]
    source: Expr
    chain: Chain


Step = Ref | Attr | Call | Item | Fan | Pick | Repeat | For

# ------------------------------------------------------------------------------------------------- types


@dataclass(frozen=True, slots=True)
class TypeExpr(Syntax):
    """`f32[B, 3]`: `name` is None in `[B, D]`, `dims` is None in `int`."""

    name: Name | None
    dims: tuple[Expr | Dots, ...] | None


# -------------------------------------------------------------------------------------------- statements


class Statement(Syntax):
    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Assign(Statement):
    names: tuple[Name, ...]
    value: Expr


@dataclass(frozen=True, slots=True)
class Field(Statement):
    """`name: type [= value]`."""

    name: Name
    type: TypeExpr
    value: Expr | None


@dataclass(frozen=True, slots=True)
class Reference(Syntax):
    """`trunk.stages[3].conv`: an address as written; `parts` are names and integers."""

    parts: tuple[str | int, ...]

    def __str__(self) -> str:
        text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.parts)
        return text.removeprefix(".")


@dataclass(frozen=True, slots=True)
class Section(Statement):
    """`metrics { }`, `group trunk { }`."""

    name: Name
    ref: Reference | None
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Declared(Syntax):
    """One name of an `input` statement, or one setting: `name[: type][= default]`."""

    name: Name
    type: TypeExpr | None
    default: Expr | None


@dataclass(frozen=True, slots=True)
class Input(Statement):
    items: tuple[Declared, ...]


@dataclass(frozen=True, slots=True)
class Param(Statement):
    name: Name
    type: TypeExpr | None
    init: Expr | None


@dataclass(frozen=True, slots=True)
class State(Statement):
    name: Name
    type: TypeExpr | None
    init: Expr


@dataclass(frozen=True, slots=True)
class Next(Statement):
    binds: tuple[Bind, ...]


@dataclass(frozen=True, slots=True)
class Return(Statement):
    values: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Yield(Statement):
    values: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Ragged(Statement):
    dim: Name
    length: Name


@dataclass(frozen=True, slots=True)
class Freeze(Statement):
    refs: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class Load(Statement):
    ref: Reference
    path: str
    path_span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Assert(Statement):
    condition: Expr
    message: str | None


# ------------------------------------------------------------------------------------------ declarations


class Declaration(Syntax):
    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Use(Declaration):
    names: tuple[Name, ...]
    path: str
    path_span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Import(Declaration):
    name: Name
    path: str
    path_span: Span = field(compare=False, repr=False)
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Let(Declaration):
    name: Name
    type: TypeExpr | None
    value: Expr
    space: Expr | None


@dataclass(frozen=True, slots=True)
class Fn(Declaration):
    """`body` is an expression (`fn f(x) = e`) or statements."""

    name: Name
    params: tuple[Declared, ...]
    body: Expr | tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Block(Declaration):
    """`body` is a chain (`block B(c) = chain`) or statements."""

    name: Name
    params: tuple[Declared, ...]
    returns: tuple[TypeExpr, ...]
    body: Chain | tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Net(Declaration):
    name: Name
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Infer(Declaration):
    name: Name
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Data(Declaration):
    name: Name
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Train(Declaration):
    net: Name
    data: Name
    alias: Name | None
    body: tuple[Statement, ...]

    @property
    def run(self) -> Name:
        """The run's name: after `as`, else the net's."""
        return self.alias or self.net


@dataclass(frozen=True, slots=True)
class Search(Declaration):
    name: Name
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Source(Syntax):
    """A whole file."""

    edition: int | None
    declarations: tuple[Declaration, ...]


_FIELDS: dict[type, tuple[str, ...]] = {}


def children(part: Syntax) -> Iterator[Syntax]:
    """The parts directly below `part`, in the order of the text."""
    kind = type(part)
    if kind not in _FIELDS:
        _FIELDS[kind] = tuple(each.name for each in fields(part))
    for name in _FIELDS[kind]:
        value = getattr(part, name)
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, Syntax):
                yield item


def walk(root: Syntax) -> Iterator[Syntax]:
    """`root` and every part of it, in the order of the text."""
    waiting = [root]
    while waiting:
        part = waiting.pop()
        yield part
        waiting.extend(reversed(list(children(part))))
