"""What a net consists of, line by line, and the library's own text: the content of `dlc show`."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

from dlc.compiler import memory
from dlc.compiler.elaborate.context import Stage
from dlc.compiler.elaborate.entities import Builtin
from dlc.compiler.elaborate.kinds import HIDDEN
from dlc.compiler.graph import Node
from dlc.compiler.program import Program, Unit, library
from dlc.compiler.types import Dim, Type, substitute
from dlc.dsl import ast
from dlc.dsl.diagnostics import SourceError, nearest
from dlc.runtime.errors import InputError

ONE: Mapping[str, Dim] = {"B": 1}
OTHER = "other expressions"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a net: an input, a stage, a weight that no stage made, or the header of a group.

    `depth` counts the groups around it. `weights` are the elements of its own parameters and `multiply_adds` its own
    products for one example, None where there are none: those of a group are on the lines in it. A size that is known
    only at run time stands in `multiply_adds` as a polynomial. `weight` marks the line of a weight that no stage made.
    """

    depth: int
    label: str
    type: Type | None = None
    weights: int | None = None
    multiply_adds: Dim | None = None
    group: bool = False
    weight: bool = False

    @property
    def bytes(self) -> int | None:
        """What the result takes for one example; None where that is known only at run time, and for a weight."""
        if self.type is None or self.weight:
            return None
        try:
            return memory.size_of(self.type, {"B": 1})
        except memory.UnknownSize:
            return None

    def json(self) -> dict[str, Any]:
        """The line as JSON."""
        cost = self.multiply_adds
        return {
            "depth": self.depth,
            "label": self.label,
            "type": str(self.type) if self.type is not None else None,
            "bytes": self.bytes,
            "weights": self.weights or 0,
            "multiply_adds": cost if isinstance(cost, int) else str(cost) if cost is not None else 0,
            "group": self.group,
        }


@dataclass(frozen=True, slots=True)
class Shown:
    """A net with its lines; `weights` and `multiply_adds` are the sums over them."""

    name: str
    lines: tuple[Line, ...]
    weights: int
    multiply_adds: Dim
    memory: memory.Inference | str

    def json(self) -> dict[str, Any]:
        """The net as JSON."""
        cost = self.multiply_adds if isinstance(self.multiply_adds, int) else str(self.multiply_adds)
        lines = [each.json() for each in self.lines]
        return {
            "name": self.name, "weights": self.weights, "multiply_adds": cost, "memory": _bytes(self.memory),
            "lines": lines,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class ShownRun:
    """The memory that a run takes to train, or why it is not known."""

    name: str
    memory: memory.Training | str

    def json(self) -> dict[str, Any]:
        """The run as JSON."""
        return {"name": self.name, "memory": _bytes(self.memory)}


def _bytes(found: memory.Inference | memory.Training | str) -> dict[str, Any]:
    return {"unknown": found} if isinstance(found, str) else {**asdict(found), "total": found.total}


def weight_count(unit: Unit) -> int:
    """The elements of all parameters of a unit."""
    return sum(_elements(each) for each in unit.weights.values())


def shown(program: Program, name: str) -> Shown:
    """The lines of a net. Raises SourceError."""
    unit = program.net(name)
    inputs = [Line(0, each, unit.graph.input(each).type) for each in unit.batch]
    stages = list(_stage_lines(unit, _assigned(program.nets[name])))
    made = {address for each in unit.stages for address in each.owned}
    rest = [
        Line(0, relative(address, name), type, _elements(type), weight=True)
        for address, type in unit.weights.items()
        if address not in made
    ]
    total = multiply_adds(unit.graph.nodes)
    outside = total - _sum(each.multiply_adds for each in stages)
    if outside != 0:
        rest.append(Line(0, OTHER, multiply_adds=outside))
    needed: memory.Inference | str
    try:
        needed = memory.inference(unit)
    except memory.UnknownSize as error:
        needed = str(error)
    return Shown(name, (*inputs, *stages, *rest), weight_count(unit), total, needed)


def shown_run(program: Program, name: str) -> ShownRun:
    """The memory of a run; a run with mistakes has none, and no size that is known only at run time."""
    try:
        return ShownRun(name, memory.training(program.step(name)))
    except memory.UnknownSize as error:
        return ShownRun(name, str(error))
    except SourceError:
        return ShownRun(name, "the run has mistakes: `dlc check` says which")


def _stage_lines(unit: Unit, assigned: Mapping[ast.Span, str]) -> Iterator[Line]:
    """Blocks and functions of the file are groups of what they consist of; loops stand in the labels only."""
    own = _own(unit)
    groups: list[tuple[int, str]] = []  # where each ends, and the address that its lines leave out
    for index, stage in enumerate(unit.stages):
        while groups and groups[-1][0] <= index:
            groups.pop()
        around = groups[-1][1] if groups else unit.name
        following = unit.stages[index + 1] if stage.inner else None
        if stage.kind in ("loop", "choice"):
            continue
        if following is not None and following.label == stage.label and following.inner == stage.inner - 1:
            continue  # a block that is only another block
        label = _label(stage, around)
        if not groups and stage.span in assigned:
            label = f"{assigned[stage.span]} ({label})"
        weights = sum(_elements(unit.weights[each]) for each in own[index][0] if each in unit.weights) or None
        cost = multiply_adds(own[index][1])
        if following is None:
            yield Line(len(groups), label, stage.type, weights, cost if cost != 0 else None)
        else:
            yield Line(len(groups), label, None, weights, cost if cost != 0 else None, group=True)
            groups.append((index + 1 + stage.inner, stage.label if stage.kind == "block" else around))


def _own(unit: Unit) -> list[tuple[list[str], list[Node]]]:
    """For each stage the parameters and the nodes of the graph that belong to no stage within it."""
    used = set(unit.graph.nodes)
    weights: dict[str, int] = {}
    nodes: dict[Node, int] = {}
    for index, stage in enumerate(unit.stages):  # inner stages come later, and win
        weights.update(dict.fromkeys(stage.owned, index))
        nodes.update(dict.fromkeys((node for node in stage.nodes if node in used), index))
    own: list[tuple[list[str], list[Node]]] = [([], []) for _ in unit.stages]
    for address, index in weights.items():
        own[index][0].append(address)
    for node, index in nodes.items():
        own[index][1].append(node)
    return own


def _label(stage: Stage, around: str) -> str:
    if stage.kind == "block":
        return relative(stage.label, around)
    place = relative(stage.place, around)
    return stage.label if stage.place == around else f"{place} {stage.label}"


def relative(address: str, around: str) -> str:
    """An address without the beginning that it shares with the one around it."""
    if address.startswith(f"{around}."):
        return address[len(around) + 1 :]
    return address[len(around) :] if address.startswith(f"{around}[") else address


def _assigned(net: ast.Net) -> dict[ast.Span, str]:
    """The names that a net's body gives to what comes out of pipelines and calls, by the span of the last step."""
    found: dict[ast.Span, str] = {}
    for statement in net.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Pipeline | ast.Call):
            last = statement.value.stages[-1].step if isinstance(statement.value, ast.Pipeline) else statement.value
            found[last.span] = ", ".join(each.text for each in statement.names)
    return found


# ------------------------------------------------------------------------------------------- multiply-adds


def multiply_adds(nodes: Iterable[Node]) -> Dim:
    """The multiply-adds of convolutions and matrix products for one example (B = 1), bodies once for each turn."""
    total: Dim = 0
    waiting: list[tuple[Node, Dim]] = [(node, 1) for node in nodes]
    while waiting:
        node, turns = waiting.pop()
        total += _cost(node) * turns
        for body in node.bodies:
            inner = turns * _turns(node)
            waiting += [(each, inner) for each in body.nodes]
    return total


def _cost(node: Node) -> Dim:
    """For each element of the result: the length of the sum that it is."""
    operands = [value.type.shape if value is not None else () for value in node.inputs]
    result = node.output.type.shape if node.outputs else ()
    match node.op:
        case "MatMul":
            return _size(result) * _size(operands[0][-1:])
        case "Gemm":
            k = operands[0][0 if node.attributes.get("transA") else 1]
            return _size(result) * _size((k,))
        case "Conv":  # the weight is [out, in / groups, kernel...]
            return _size(result) * _size(operands[1][1:])
        case "ConvTranspose":  # the weight is [in, out / groups, kernel...]
            return _size(operands[0]) * _size(operands[1][1:])
        case "Einsum":
            return _einsum(str(node.attributes["equation"]), operands)
    return 0


def _einsum(equation: str, operands: Sequence[Sequence[Dim]]) -> Dim:
    """One product for each assignment of the indices; an ellipsis stands for the longest run of other axes."""
    if len(operands) < 2:
        return 0
    sizes: dict[str, Dim] = {}
    rest: Sequence[Dim] = ()
    for term, shape in zip(equation.replace(" ", "").partition("->")[0].split(","), operands, strict=True):
        before, dots, after = term.partition("...")
        sizes.update(zip(before, shape, strict=False))
        sizes.update(zip(reversed(after), reversed(shape), strict=False))
        others = shape[len(before) : len(shape) - len(after)] if dots else ()
        rest = max(rest, others, key=len)
    return _size((*sizes.values(), *rest))


def _turns(node: Node) -> Dim:
    """How often a node runs its body: the length of what a Scan goes through."""
    scanned = int(node.attributes.get("num_scan_inputs", 0)) if node.op == "Scan" else 0
    last = node.inputs[-1] if scanned and node.inputs else None
    return _size(last.type.shape[:1]) if last is not None else 1


def _size(shape: Iterable[Dim]) -> Dim:
    return prod((substitute(dim, ONE) for dim in shape), start=1)


def _sum(costs: Iterable[Dim | None]) -> Dim:
    total: Dim = 0
    for cost in costs:
        total += cost if cost is not None else 0
    return total


def _elements(type: Type) -> int:
    return prod(type.static_shape())


# ----------------------------------------------------------------------------------------- the library's text


def library_text(name: str) -> str:
    """The text of a block or function of the library, with the comment above it; of a primitive, which has none, what
    it takes and what it is. Raises InputError."""
    from dlc.compiler.elaborate import data  # noqa: F401 (adds the functions that only data sections have)
    from dlc.compiler.elaborate.library import BUILTINS

    module = library().main
    declaration = module.scope.get(name)
    if declaration is None:
        if name in BUILTINS:
            return _primitive(name, BUILTINS[name])
        guess = nearest(name, [*module.scope, *BUILTINS])
        raise InputError(f"the library has nothing called `{name}`", f"did you mean `{guess}`?" if guess else None)
    span = declaration.span
    lines = library().sources[span.file].splitlines()
    first = span.line - 1
    while first > 0 and lines[first - 1].startswith("##"):
        first -= 1
    return "\n".join(lines[first : span.end_line])


def _primitive(name: str, primitive: Any) -> str:
    """What a part of the library that is written in Python takes and is, in the form of its texts."""
    made = "# a primitive: it has no text in the language"
    if isinstance(primitive, float):
        return f"{name} = {primitive}\n{made}"
    call = primitive.call if isinstance(primitive, Builtin) else primitive.call and primitive.call.call
    meaning = inspect.getdoc(call or primitive.make) or ""
    taken = [each for each in inspect.signature(call).parameters.values() if each.name not in HIDDEN] if call else []
    head = f"{name}({', '.join(map(_parameter, taken))})" if call else name
    sentence = " ".join(meaning.partition("\n\n")[0].split())
    return f"## {sentence}\n{head}\n{made}"


def _parameter(of: inspect.Parameter) -> str:
    """As the language writes it; a parameter that checks itself has no kind."""
    kind = str(of.annotation).partition(" | ")[0]
    text = f"{'*' * (of.kind is of.VAR_POSITIONAL)}{of.name}" + (f": {kind.lower()}" if kind != "Any" else "")
    if of.default is of.empty:
        return text
    words = {None: "none", True: "true", False: "false"}
    plain = words.get(of.default) if of.default is None or isinstance(of.default, bool) else None
    return f"{text} = {plain or json.dumps(of.default)}"
