"""What a name can stand for beside numbers and tensors: templates, instances, functions, initializers, records.

Compile-time values are Python's: int, float, bool, str, None, list and tuple; a symbolic dimension is a
`Polynomial`. A tensor is a `Value` of the graph under construction.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dlc.compiler.graph import Value
from dlc.compiler.types import Polynomial, Type
from dlc.dsl import ast

if TYPE_CHECKING:
    from dlc.dsl.modules import Module


Mixes = Callable[[Value, Mapping[str, Any]], Iterable[int]]


class Poison:
    """Stands for a value that could not be made; its mistake has been reported, and what uses it says nothing."""

    def __repr__(self) -> str:
        return "POISON"


POISON = Poison()


@dataclass(slots=True)
class Binding:
    """A name in a scope: its value, the instance that `as` named besides, and where it was given."""

    value: Any
    span: ast.Span | None
    instance: Instance | None = None
    made_by: ast.Span | None = None
    used: bool = False


class Scope:
    """Names of one body, in front of those around it."""

    def __init__(self, parent: Scope | None = None, kind: str = "body") -> None:
        self.parent = parent
        self.kind = kind
        self.names: dict[str, Binding] = {}

    def find(self, name: str) -> Binding | None:
        scope: Scope | None = self
        while scope is not None:
            binding = scope.names.get(name)
            if binding is not None:
                return binding
            scope = scope.parent
        return None

    def visible(self) -> Iterator[str]:
        """Every name that can be seen from here, nearest first."""
        scope: Scope | None = self
        while scope is not None:
            yield from scope.names
            scope = scope.parent


@dataclass(slots=True)
class Place:
    """A point in the tree of addresses; it numbers the unnamed parts below it."""

    path: tuple[str | int, ...]
    counts: dict[str, int] = field(default_factory=dict)

    def ordinal(self, kind: str) -> Place:
        """The next unnamed part of a kind: `conv`, then `conv2`, `conv3`."""
        number = self.counts[kind] = self.counts.get(kind, 0) + 1
        return Place((*self.path, kind if number == 1 else f"{kind}{number}"))

    def part(self, name: str | int) -> Place:
        return Place((*self.path, name))

    def __str__(self) -> str:
        return address(self.path)


def address(path: tuple[str | int, ...]) -> str:
    """`("net", "hidden", 0, "weight")` is `net.hidden[0].weight`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def snake(name: str) -> str:
    """A block's name as a part of an address: `ConvBN` is `conv_bn`, `MLPConv` is `mlp_conv`, `PReLU` is `p_relu`."""
    name = re.sub(r"([A-Z0-9]+)([A-Z][a-z])", r"\1_\2", name.replace("ReLU", "Relu"))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


@dataclass(frozen=True, slots=True)
class Template:
    """A `block`: every use in an instance of its own."""

    block: ast.Block
    module: Module

    @property
    def name(self) -> str:
        return self.block.name.text

    @property
    def single(self) -> bool:
        """Is the block only another block, so that it adds no level to addresses?"""
        body = self.block.body
        return isinstance(body, ast.Chain) and len(body.stages) == 1 and isinstance(body.stages[0].step, ast.Call)


@dataclass(eq=False)
class Instance:
    """One set of weights: an application of a template, a net, or a `repeat`/`for` that was given a name.

    `children` are the instances inside, by the textual occurrence that made them and the turns of the loops around it;
    applying the instance again finds the same ones. `places` number the unnamed parts in each loop's turn.
    """

    template: Template | None
    place: Place
    span: ast.Span
    settings: Scope | None = None
    net: ast.Net | None = None
    chain: tuple[Any, ...] | None = None  # (chain, turns, frame) of a repeat or for
    borrowed: Any = None  # the model of an `import`
    children: dict[Hashable, Any] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    inside: Scope | None = None
    dims: dict[str, Any] = field(default_factory=dict)
    text: str = ""

    @property
    def address(self) -> str:
        return str(self.place)

    def owns(self, name: str) -> bool:
        """Is `name` the address of this instance or of something in it?"""
        own = self.address
        return name == own or name.startswith((own + ".", own + "["))

    def __repr__(self) -> str:
        return f"<instance {self.address}>"


@dataclass(frozen=True, slots=True)
class Function:
    """A `fn` of a file."""

    fn: ast.Fn
    module: Module

    @property
    def name(self) -> str:
        return self.fn.name.text


@dataclass(frozen=True, slots=True)
class Reader:
    """A `fn` whose body is only fields: the signature of a host function that reads records."""

    fn: ast.Fn
    fields: Mapping[str, ast.TypeExpr]

    @property
    def open(self) -> bool:
        """Does it have any column by its name, of the type of the field that it feeds?"""
        return not self.fields


@dataclass(frozen=True, slots=True)
class Builtin:
    """A function of the library that is written in Python.

    `mixes` says of its first tensor and all its arguments along which axes one position reads others.
    """

    name: str
    call: Callable[..., Any]
    mixes: Mixes | None = None


@dataclass(frozen=True, slots=True)
class Distribution:
    """An initializer: `make(type, site)` builds a tensor of that type in the current builder.

    `zeros` and `ones` can be called with a shape, too.
    """

    name: str
    make: Callable[[Type, str], Value]
    call: Builtin | None = None


@dataclass(frozen=True, slots=True)
class Direction:
    """`highest(dev.acc)` or `lowest(dev.loss)`; `dev.loss` alone has no word yet."""

    word: str
    split: str
    metric: str


@dataclass(frozen=True, slots=True)
class PictureFile:
    """A file of a picture in a decoded record: what `decode_image` takes."""

    record: str


class Size(int):
    """The size of a dimension that is known, with the name it was asked for by: `axis=T`, `mask(T)`."""

    name: str

    def __new__(cls, size: int, name: str) -> Size:
        made = super().__new__(cls, size)
        made.name = name
        return made


@dataclass(frozen=True, slots=True)
class Stages:
    """What is applied stage by stage where no value is there yet: a chain, with the frame it was written in."""

    chain: ast.Chain
    frame: Any


def describe(value: Any) -> str:
    """What a value is, for messages."""
    match value:
        case Value():
            return str(value.type)
        case bool():
            return "true" if value else "false"
        case int() | float() | Polynomial():
            return f"the number {value}"
        case str():
            return f'the text "{value}"'
        case None:
            return "`none`"
        case list() | tuple() | range():
            return f"a {type(value).__name__} of {len(value)}"
        case PictureFile():
            return f"the file of a picture, `raw.{value.record}`"
        case Reader():
            return f"`{value.fn.name.text}`, which reads data"
        case Template():
            return f"the block `{value.name}`"
        case Instance():
            return f"`{value.address}`, an instance"
        case Function() | Builtin():
            return f"the function `{value.name}`"
        case Distribution():
            return f"the initializer `{value.name}`"
        case Direction(word=""):
            name = f"{value.split}.{value.metric}"
            better = f"`lowest({name})`" if value.metric == "loss" else f"`highest({name})` or `lowest({name})`"
            return f"`{name}` alone: write {better}"
        case Direction():
            return f"the direction `{value.word}({value.split}.{value.metric})`"
    return "something else"
