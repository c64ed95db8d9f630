"""Kinds: what a setting or an argument takes, said by one word in `.net` text and in Python's signatures alike.

`block Linear(units: count)` and `def topk(x: Tensor, k: Count)` are checked by the same table, before the body runs.
In Python a kind is the name of a type, so that mypy knows it too; parameters that are `Any` check themselves.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

from dlc.compiler.elaborate.conversion import CONVERT
from dlc.compiler.elaborate.entities import Builtin, Direction, Distribution, describe
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value
from dlc.compiler.types import FLOATS, INTEGERS, Dim, Polynomial
from dlc.dsl import ast
from dlc.dsl.diagnostics import nearest

Tensor: TypeAlias = Value
Floats: TypeAlias = Value
Integers: TypeAlias = Value
Mask: TypeAlias = Value
Axis: TypeAlias = int | Polynomial
Axes: TypeAlias = int | Polynomial | list[Any] | tuple[Any, ...]
Extent: TypeAlias = Dim
Extents: TypeAlias = list[Dim] | tuple[Dim, ...]
Count: TypeAlias = int
Natural: TypeAlias = int
Counts: TypeAlias = int | list[int] | tuple[int, ...]
Naturals: TypeAlias = int | list[int] | tuple[int, ...]
Side: TypeAlias = int
Padding: TypeAlias = int | str | list[int] | tuple[int, ...]
Positive: TypeAlias = float
Amount: TypeAlias = float
Share: TypeAlias = float
Fraction: TypeAlias = float
Reduction: TypeAlias = Any
Element: TypeAlias = str

LARGEST = 2**31 - 1
"""The largest count: what the kernels that are run can hold."""


@dataclass(frozen=True, slots=True)
class Kind:
    """`wanted` in words; `sort` tells a value of another type, `within` one that is out of range.

    `graded` kinds are numbers that may be computed at run time as well where the language takes them, and are not
    looked into then: a learning rate by a schedule. Those that are `counted` have LARGEST as their end; `float`
    makes one that is `converted` of any tensor. `code` is told of a value of another type.
    """

    wanted: str
    sort: Callable[[Any], bool]
    within: Callable[[Any], bool] = lambda value: True
    graded: bool = False
    counted: bool = False
    converted: bool = False
    code: str = "E0302"
    help: str | None = None

    def check(self, subject: str, value: Any, span: ast.Span | None, computed: bool = False) -> None:
        """Raises Problem for a value that is not of this kind; `computed` lets a number of run time through."""
        if computed and self.graded and isinstance(value, Value) and (value.type.is_float or value.dtype in INTEGERS):
            return
        sort = self.sort(value)
        if sort and self.within(value):
            if self.counted and any(isinstance(each, int) and each > LARGEST for each in _each(value)):
                raise Problem("E0310", f"{subject} is {LARGEST:,} at most", f"this is {describe(value)}", span=span)
            return
        late = not sort and isinstance(value, Value | Polynomial) and (self.graded or self.counted)
        message = f"{subject} wants {self.wanted}" + (", known while compiling" if late else "")
        code = "E0303" if sort else "E0306" if late else self.code
        convert = value if self.converted and isinstance(value, Value) else None
        help = CONVERT if convert is not None else self.help
        raise Problem(code, message, self._found(value), span=span, help=help, convert=convert)

    def _found(self, value: Any) -> str:
        """The value in words; of a list of which some would fit, the first that does not."""
        for each in value if isinstance(value, list | tuple) and self.sort([]) else ():
            if not (self.sort([each]) and self.within([each])):
                return f"one is {describe(each)}"
        return f"this is {describe(value)}"


def _integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _scalar(value: Any) -> bool:
    return isinstance(value, Polynomial) or (isinstance(value, Value) and not value.shape)


def _dim(value: Any) -> bool:
    return _integer(value) or isinstance(value, Polynomial)


def _each(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _several(sort: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: all(sort(each) for each in _each(value))


def _least(least: int) -> Callable[[Any], bool]:
    return lambda value: all(each >= least for each in _each(value))


def _tensor(*dtypes: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, Value) and (not dtypes or value.dtype in dtypes)


def _sized(value: Any) -> bool:
    return not isinstance(value, int) or value >= 0


ELEMENTS = (*sorted(FLOATS), *sorted(INTEGERS), "bool")

KINDS: dict[str, Kind] = {
    "int": Kind("an integer", _dim),
    "float": Kind("a number", _number, graded=True),
    "bool": Kind("`true` or `false`", lambda value: isinstance(value, bool)),
    "string": Kind("a text", lambda value: isinstance(value, str)),
    "path": Kind(
        "the path of a file or folder", lambda value: isinstance(value, str), lambda value: bool(value.strip())
    ),
    "character": Kind(
        "one character, neither a quote nor a line end",
        lambda value: isinstance(value, str),
        lambda value: len(value) == 1 and value not in '"\r\n',
    ),
    "picture": Kind('a picture: `image("a.jpg")`', lambda value: isinstance(value, str)),
    "count": Kind("an integer of 1 or more", _integer, _least(1), counted=True),
    "natural": Kind("an integer of 0 or more", _integer, _least(0), counted=True),
    "record": Kind("the name of a record", lambda value: isinstance(value, str)),
    "folds": Kind("an integer of 2 or more", _integer, _least(2), counted=True),
    "portion": Kind(
        "a share below 1 or a count of examples",
        _number,
        lambda value: 0 < value < 1 if isinstance(value, float) else value >= 1,
    ),
    "counts": Kind("an integer of 1 or more, or one for each axis", _several(_integer), _least(1), counted=True),
    "naturals": Kind("an integer of 0 or more, or one for each axis", _several(_integer), _least(0), counted=True),
    "numbers": Kind(
        "a list of one number or more",
        lambda value: isinstance(value, list | tuple | range) and all(_number(each) or _scalar(each) for each in value),
        lambda value: len(value) > 0,
    ),
    "side": Kind("an integer from 1 to 65,535", _integer, lambda value: 1 <= value < 2**16),
    "padding": Kind(
        "an integer of 0 or more, one for each axis, `same` or `valid`",
        lambda value: isinstance(value, str) or _several(_integer)(value),
        lambda value: value in ("same", "valid") if isinstance(value, str) else _least(0)(value),
        counted=True,
    ),
    "positive": Kind("a number above 0", _number, lambda value: value > 0, graded=True),
    "amount": Kind("a number of 0 or more", _number, lambda value: value >= 0, graded=True),
    "share": Kind("a number from 0 to 1", _number, lambda value: 0 <= value <= 1, graded=True),
    "fraction": Kind("a number of 0 or more and below 1", _number, lambda value: 0 <= value < 1, graded=True),
    "initializer": Kind(
        "an initializer, a number or a tensor",
        lambda value: isinstance(value, Distribution | Value) or _number(value),
        help="such as `he`, `zeros`, `normal(0.02)` or `0.1`",
    ),
    "reduction": Kind(
        "`mean`, `sum` or `none`",
        lambda value: isinstance(value, Builtin | str | None),
        lambda value: value is None or getattr(value, "name", value) in ("mean", "sum"),
    ),
    "tensor": Kind("a tensor", _tensor()),
    "floats": Kind("floats", _tensor(*FLOATS), converted=True),
    "integers": Kind("integers, i64 or i32", _tensor("i64", "i32")),
    "mask": Kind("truth values", _tensor("bool"), code="E0308"),
    "direction": Kind(
        "a direction: `lowest(dev.loss)` or `highest(dev.acc)`",
        lambda value: isinstance(value, Direction) and bool(value.word),
        help="the metric with its direction comes first",
    ),
    "axis": Kind("an axis: an integer or the name of a dimension", _dim),
    "axes": Kind("axes: integers or names of dimensions", _several(_dim), lambda value: _each(value) != []),
    "extent": Kind("a dimension: an integer of 0 or more, or its name", _dim, _sized),
    "extents": Kind(
        "a list of dimensions: integers of 0 or more, or their names",
        lambda value: isinstance(value, list | tuple) and all(map(_dim, value)),
        lambda value: all(map(_sized, value)),
    ),
    "element": Kind(
        f"an element type as a text: {', '.join(ELEMENTS)}",
        lambda value: isinstance(value, str),
        lambda value: value in ELEMENTS,
    ),
}
HIDDEN = ("e", "frame", "written")
"""Parameters of a Python function that the elaborator gives: itself, the frame, the arguments as they are written."""

_PYTHON = {"str": "string"}
"""Where Python's name of a kind is another."""


def kind_of(type: ast.TypeExpr | None) -> Kind | None:
    """The kind that a type in `.net` text names; a type with dimensions is matched elsewhere. Raises Problem."""
    if type is None or type.name is None or type.dims is not None:
        return None
    name = type.name
    if name.text not in KINDS:
        guess = nearest(name.text, KINDS)
        label = f"did you mean `{guess}`?" if guess else ""
        raise Problem("E0302", f"there is no kind of value `{name.text}`", label, span=name.span)
    return KINDS[name.text]


def declared(what: str, setting: ast.Declared, value: Any, span: ast.Span) -> None:
    """A setting or parameter of `.net` text takes what its kind says, or `none` where that is its default.

    Raises Problem, also for a kind that there is not.
    """
    kind = kind_of(setting.type)
    if kind is None:
        return
    optional = isinstance(setting.default, ast.Literal_) and setting.default.value is None
    if value is not None or not optional:
        kind.check(f"`{setting.name.text}` of `{what}`", value, span, computed=True)


@dataclass(frozen=True, slots=True)
class Signature:
    """What a Python function of the library takes: `known` by position, `by_name`, and `hidden` from the elaborator.

    `defaults` are of what may be left out; `kinds` has each parameter's kind, whether `none` will do, and how a
    message calls it. `variadic` takes any number by position, `extra` any name.
    """

    known: tuple[str, ...]
    by_name: frozenset[str]
    hidden: tuple[str, ...]
    defaults: Mapping[str, Any]
    kinds: Mapping[str, tuple[Kind, bool, str]]
    variadic: bool
    extra: bool

    def check(self, given: Mapping[str, Any], places: Mapping[str, ast.Span]) -> None:
        """Raises Problem for an argument that is not of its parameter's kind, at its place."""
        for name, value in given.items():
            entry = self.kinds.get(name)
            if entry is not None and (value is not None or not entry[1]):
                kind, _, subject = entry
                kind.check(subject, value, places[name])


@cache
def signature(function: Builtin) -> Signature:
    """The signature of a function of the library, read once."""
    parameters = [each for name, each in inspect.signature(function.call).parameters.items()]
    taken = [each for each in parameters if each.name not in HIDDEN]
    known = tuple(each.name for each in taken if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD))
    kinds: dict[str, tuple[Kind, bool, str]] = {}
    for each in taken:
        word, _, rest = str(each.annotation).partition(" | ")
        if word != "Any" and each.name in known:
            # The tensor that comes first is what the function is of: its own name says nothing to users.
            alone = each.name == known[0] and word in ("Tensor", "Floats", "Integers")
            subject = f"`{function.name}`" if alone else f"`{each.name}` of `{function.name}`"
            kinds[each.name] = (KINDS[_PYTHON.get(word, word.lower())], rest == "None", subject)
    sorts = {each.kind for each in taken}
    return Signature(
        known,
        frozenset(each.name for each in taken if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)),
        tuple(each.name for each in parameters if each.name in HIDDEN),
        {each.name: each.default for each in taken if each.default is not each.empty},
        kinds,
        inspect.Parameter.VAR_POSITIONAL in sorts,
        inspect.Parameter.VAR_KEYWORD in sorts,
    )
