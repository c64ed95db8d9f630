"""The state of one elaboration: the graph being built, the weights met so far, the mistakes found."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain, count, islice
from typing import Any

import numpy as np

from dlc.compiler.build import Builder, op
from dlc.compiler.dims import Atom
from dlc.compiler.elaborate.arithmetic import tensor
from dlc.compiler.elaborate.entities import POISON, Distribution, Instance, Place, Scope
from dlc.compiler.elaborate.problems import Problem, Report
from dlc.compiler.graph import Node, Value
from dlc.compiler.types import Dim, Type
from dlc.dsl import ast
from dlc.dsl.diagnostics import SourceError
from dlc.dsl.modules import Module, Program

EXPANSION_LIMIT = 200_000
"""How many items all lists and ranges of one elaboration may have together."""

WORK_LIMIT = 30_000
"""How many turns of `repeat` and `for` and applications of blocks and functions one elaboration may take."""

DEPTH_LIMIT = 700
"""How deep values may depend on one another through names and functions; Python's own limit lies beyond."""

RECURSION_LIMIT = 10_000


class Exhausted(SourceError):
    """A program that would take too long or nest too deeply to elaborate; nothing more is done with it."""


@dataclass(frozen=True, slots=True)
class Mode:
    """What is being built.

    `training`: dropout drops and states move on. `initial`: a parameter is its initial value and not an input, which
    gives the graph that makes the weights. `given`: gradients are inputs, `ADDRESS:grad`, for the half of a step that
    comes after them. `working` is the element type that `f32` stands for.
    """

    training: bool = False
    initial: bool = False
    given: bool = False
    working: str = "f32"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A weight or state: a carried value of the run, by its address."""

    address: str
    role: str  # parameter | state | optimizer
    value: Value
    span: ast.Span

    @property
    def type(self) -> Type:
        return self.value.type


@dataclass(slots=True)
class Frame:
    """Where a piece of text is being read: its names, its dimensions, and the instance that owns what it makes.

    `facts` are what was asserted of sizes that only a run tells; once something has been computed, `started`, it is too
    late for them.
    """

    module: Module
    scope: Scope
    owner: Instance
    place: Place
    turns: tuple[Any, ...] = ()
    dims: dict[str, tuple[Dim, ast.Span | None]] = field(default_factory=dict)
    facts: list[Fact] = field(default_factory=list)
    padded: dict[Dim, ast.Ragged] = field(default_factory=dict)
    started: bool = False

    @property
    def library(self) -> bool:
        return self.module.file.startswith("<")

    @property
    def pure(self) -> bool:
        """Is this in the body of a `fn`, which owns nothing?"""
        scope: Scope | None = self.scope
        while scope is not None and scope.kind != "function":
            scope = scope.parent
        return scope is not None

    def inner(self, kind: str = "inner") -> Frame:
        """The same place in the text's nesting, with a scope of its own."""
        return Frame(self.module, Scope(self.scope, kind), self.owner, self.place, self.turns, self.dims)


@dataclass(frozen=True, slots=True)
class Fact:
    """What an assertion says of a size that only a run tells: the `term` of dimensions, and what it is. `said` are the
    words for it."""

    term: Atom
    form: Dim
    said: str


@dataclass(frozen=True, slots=True)
class Lookup:
    """A use of integers as numbers of classes or rows, of which there are `count`, by the function of that name.

    What is `masked` may be left out of the result: there an integer may stand for no class.
    """

    function: str
    index: Value
    count: Dim
    masked: bool
    span: ast.Span


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage that was applied, or an instance in a call, for `dlc show`.

    `kind` is `block`, `function`, `loop`, `branches` or `choice`. `label` is the address of the instance, or else the
    text of the step; `place` the address of what it stands in, turns of loops included. `owned` are the weights and
    states that it made, `nodes` what it added to the builder. The `inner` stages that follow in the list lie in it.
    """

    kind: str
    label: str
    place: str
    type: Type | None
    owned: tuple[str, ...]
    nodes: tuple[Node, ...]
    inner: int
    span: ast.Span


@dataclass(frozen=True)
class Mark:
    """How much an elaboration had made of nodes, parameters and stages when something began."""

    nodes: int
    parameters: int
    stages: int


class Elaborator:
    """One graph in the making. Use as a context manager, so that its builder is the current one."""

    def __init__(
        self, program: Program, library: Module, mode: Mode, lets: Mapping[str, Any], report: Report | None = None
    ) -> None:
        self.program = program
        self.library = library
        self.mode = mode
        self.lets = lets
        self.report = report or Report()
        self.builder = Builder(working=mode.working)
        self.parameters: dict[str, Parameter] = {}
        self.moved: dict[str, Value] = {}
        self.frozen: tuple[str, ...] = ()
        self.unnamed: set[str] = set()
        self.nets: dict[tuple[str, str], Instance] = {}
        self.borrowed: dict[tuple[str, str], Instance] = {}
        self.entities: dict[tuple[str, str], Any] = {}
        self.scalars: dict[str, Value] = {}
        self.hosted: dict[str, tuple[ast.Span | None, dict[str, Any]]] = {}  # scalars that the host moves: who says how
        self.sites = 0
        self.expansions = 0
        self.work = 0
        self.depth = 0  # of values that wait for one another
        self.stages: list[Stage] = []
        self.results: list[Value] = []  # of all instances that were applied
        self.records: Any = None  # in a data section: what `raw` is
        self.optimizer: Any = None  # while an optimizer's block is applied: where its states belong
        self.augmenting = False
        self.ragged: dict[Dim, tuple[Value, ast.Span]] = {}  # padded dimensions: the true lengths, and who says so
        self.lengths: dict[tuple[int, str], Value] = {}  # of those whose size is known, by it and their names
        self.metric_names: tuple[str, ...] = ()
        self.lookups: list[Lookup] = []
        self._taken: set[str] = set()

    def __enter__(self) -> Elaborator:
        # Elaboration descends with the nesting of the text, which the parser bounds; Python's own bound is lower.
        sys.setrecursionlimit(max(sys.getrecursionlimit(), RECURSION_LIMIT))
        self.builder.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.builder.__exit__(*error)

    def expand(self, count: int, span: ast.Span) -> None:
        """Count the items of a list before they are made; raises Problem or Exhausted where there would be too many."""
        what = f"more than {EXPANSION_LIMIT:,} items of lists"
        self.expansions = self._counted(self.expansions, count, EXPANSION_LIMIT, what, span)

    def take(self, count: int, span: ast.Span, each: int = 1) -> None:
        """Count turns of a loop, or an application, before they are taken; raises Problem or Exhausted likewise.

        Each turn is known to take at least `each` more, which are not counted yet.
        """
        what = f"more than {WORK_LIMIT:,} turns of loops and uses of blocks and functions"
        if count * each > WORK_LIMIT:
            raise Problem("E0310", what, f"{count * each:,} here", span=span)
        self.work = self._counted(self.work, count, WORK_LIMIT, what, span)

    def _counted(self, before: int, count: int, limit: int, what: str, span: ast.Span) -> int:
        if count > limit:
            raise Problem("E0310", what, f"{count:,} here", span=span)
        if before + count > limit:
            raise self.exhausted(Problem("E0310", what, f"{count:,} more here"), span)
        return before + max(count, 0)

    def exhausted(self, problem: Problem, span: ast.Span) -> Exhausted:
        """The error that ends this elaboration: what was found so far, and `problem`."""
        self.report.add(problem, span)
        return Exhausted(*(each for each in self.report.diagnostics if each.severity == "error"))

    def site(self) -> str:
        """The site of one application that draws random numbers."""
        self.sites += 1
        return str(self.sites)

    def is_frozen(self, address: str) -> bool:
        """Is this the address of a frozen part, or of something in one?"""
        return any(address == each or address.startswith((each + ".", each + "[")) for each in self.frozen)

    def scalar(self, name: str) -> Value:
        """A scalar that the training loop feeds (`step`, `seed`, `epoch`, `steps`, `steps_per_epoch`), as i64[]."""
        if name not in self.scalars:
            self.scalars[name] = self.builder.input(name, Type("i64", ()))
            self._taken.add(name)
        return self.scalars[name]

    def number(self, name: str) -> Value:
        """The same as a number of the working type, for expressions."""
        value: Value = op.Cast(self.scalar(name), to=self.mode.working)
        return value

    def looked_up(self, function: str, index: Value, count: Dim, masked: bool = False) -> None:
        """Note that a function takes integers as numbers of classes or rows."""
        assert self.builder.span is not None
        self.lookups.append(Lookup(function, index, count, masked, self.builder.span))

    def mark(self) -> Mark:
        """Where a stage begins; `applied` is told it when the stage is done."""
        return Mark(len(self.builder.made), len(self.parameters), len(self.stages))

    def applied(self, since: Mark, kind: str, label: str, place: Place, result: Any, span: ast.Span) -> None:
        """List a stage, before those that were applied within it."""
        type = result.type if isinstance(result, Value) else None
        # From the end: there may be thousands before.
        new = islice(reversed(self.parameters), len(self.parameters) - since.parameters)
        owned, nodes = tuple(new)[::-1], tuple(self.builder.made[since.nodes :])
        inner = len(self.stages) - since.stages
        self.stages.insert(since.stages, Stage(kind, label, str(place), type, owned, nodes, inner, span))

    def label(self, value: Any, name: str) -> None:
        """Call a value by its address, if it has no name and the name is free."""
        if isinstance(value, Value) and value not in self.builder.names and name not in self._taken:
            self.builder.names[value] = name
            self._taken.add(name)

    def numbered(self, value: Value, name: str) -> None:
        """Call a value by a name, or where that is taken by the name with a number."""
        names = chain([name], (f"{name} ({turn})" for turn in count(2)))
        self.label(value, next(each for each in names if each not in self._taken))

    def parameter(self, address: str, type: Type, role: str, init: Any, span: ast.Span) -> Value:
        """The value of a weight or state: an input, or in initial mode what `init` makes.

        `init` is called without arguments and gives a distribution, a number or a tensor.
        """
        found = self.parameters.get(address)
        if found is not None:
            if found.type != type:
                raise Problem(
                    "E0301",
                    f"`{address}` is {found.type}, and would have to be {type} here",
                    "one set of weights, applied to inputs of another shape",
                    span=span,
                )
            return found.value if role == "optimizer" else self.moved.get(address, found.value)
        if not type.is_static:
            text = f"`{address}` would be {type}, a size that is known only at run time"
            raise Problem("E0305", text, "the shape of a weight or state is fixed", span=span)
        made = self._initial(address, type, init(), span) if self.mode.initial else None
        value = made if made is not None else self.builder.input(address, type)
        self._taken.add(address)
        self.parameters[address] = Parameter(address, role, value, span)
        return value

    def _initial(self, address: str, type: Type, init: Any, span: ast.Span) -> Value:
        if isinstance(init, Distribution):
            made = init.make(type, address)
        elif isinstance(init, Value):
            made = init
        elif isinstance(init, int | float) and not isinstance(init, bool):
            number = tensor(init, type.dtype, f"what `{address}` begins as")
            made = number
            if type.shape:
                made = op.ConstantOfShape(self.shape_of(type), value=np.array([init], type.numpy))
        else:
            raise Problem(
                "E0303", f"`{address}` cannot begin as that", "an initializer, a number or a tensor", span=span
            )
        if made.type != type:
            raise Problem("E0301", f"`{address}` is {type}, and would begin as {made.type}", span=span)
        return made

    def shape_of(self, type: Type) -> Value:
        """A static shape as the i64 vector that operators want; raises Problem for a symbolic one."""
        if not type.is_static:
            raise Problem("E0305", f"{type} has a size that is known only at run time", "a weight's shape is fixed")
        return self.builder.constant(list(type.static_shape()), "i64")

    def instance_of_net(self, net: ast.Net, module: Module) -> Instance:
        """The one instance of a net."""
        key = (module.file, net.name.text)
        if key not in self.nets:
            self.nets[key] = Instance(None, Place((net.name.text,)), net.span, net=net, text=net.name.text)
            self.nets[key].settings = Scope()
        return self.nets[key]


__all__ = ["EXPANSION_LIMIT", "POISON", "Elaborator", "Frame", "Mode", "Parameter", "Stage"]
