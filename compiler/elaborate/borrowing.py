"""`import trunk from "trunk.onnx" { features = "inner/value" }`: a graph from elsewhere, with its weights.

It is one instance. Applying it replays its nodes in the graph under construction, on the inputs that it is given, so
that the batch can be of any size where the model allows it. Its float tensors of rank one and more are weights with
the addresses `trunk.NAME`, but for the running statistics of a batch normalization: those are state, and stay, for the
graph is the one of inference wherever it is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlc.compiler.build import unknowns
from dlc.compiler.elaborate.entities import POISON, Instance, Place
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Graph, Node, Value, topological
from dlc.compiler.registry import IllTyped
from dlc.compiler.replay import again
from dlc.compiler.types import Array, Dim, Polynomial, Type
from dlc.dsl import ast
from dlc.dsl.diagnostics import nearest
from dlc.dsl.modules import Module

if TYPE_CHECKING:
    from dlc.compiler.elaborate.context import Elaborator
    from dlc.compiler.importer import Imported

STATISTICS = {"BatchNormalization": (3, 4)}
"""Inputs that are averages of what a net has seen: no gradient moves them."""


@dataclass(frozen=True)
class Borrowed:
    """A model, and the values of it that are wanted: by the short names of the text, or else its outputs."""

    path: Path
    model: Imported
    wanted: Mapping[str, Value]
    named: bool

    def constant(self, name: str) -> bool:
        """Is this tensor of the model a number rather than a weight?"""
        return self.model.weights[name].ndim == 0


def instance_of(e: Elaborator, declaration: ast.Import, home: Module) -> Instance:
    """The one instance of an `import`; raises Problem if the file or one of the values is not there."""
    name = declaration.name.text
    key = (home.file, name)
    if key not in e.borrowed:
        path = home.path.parent / declaration.path
        borrowed = Borrowed(path, _read(path, declaration), {}, bool(declaration.body))
        wanted = _wanted(borrowed.model, declaration)
        made = Instance(None, Place((name,)), declaration.span, text=name)
        made.borrowed = Borrowed(path, borrowed.model, wanted, borrowed.named)
        e.borrowed[key] = made
    return e.borrowed[key]


def _read(path: Path, declaration: ast.Import) -> Imported:
    from dlc.compiler.importer import BadModel

    try:
        status = path.stat()
    except OSError:
        beside = [each.name for each in path.parent.glob("*.onnx")] if path.parent.is_dir() else []
        guess = nearest(path.name, beside)
        label = f"did you mean `{guess}`?" if guess else ""
        raise Problem("E0705", f"there is no file {path}", label, span=declaration.path_span) from None
    try:
        return _load(path.resolve(), status.st_mtime_ns, status.st_size)
    except BadModel as error:
        raise Problem("E0706", "this graph cannot be borrowed", str(error), span=declaration.path_span) from None


@lru_cache(maxsize=4)
def _load(path: Path, _changed: int, _size: int) -> Imported:
    from dlc.compiler.importer import load

    return load(path)


def _wanted(model: Imported, declaration: ast.Import) -> dict[str, Value]:
    if not declaration.body:
        return dict(model.graph.outputs)
    wanted: dict[str, Value] = {}
    known = {**model.values, **model.graph.outputs}
    for statement in declaration.body:
        text = statement.value if isinstance(statement, ast.Assign) and len(statement.names) == 1 else None
        if not isinstance(text, ast.Literal_) or not isinstance(text.value, str):
            raise Problem("E0206", 'the braces of an `import` name values: `features = "pool5"`', span=statement.span)
        assert isinstance(statement, ast.Assign)
        short = statement.names[0]
        if short.text in wanted:
            raise Problem("E0202", f"`{short.text}` is given twice", span=short.span)
        if text.value not in known:
            guess = nearest(text.value, known)
            label = f'did you mean "{guess}"?' if guess else ""
            help = f"`dlc show {declaration.path} --values` lists them"
            message = f'"{declaration.path}" has no value called "{text.value}"'
            raise Problem("E0702", message, label, span=text.span, help=help)
        wanted[short.text] = known[text.value]
    return wanted


def apply(e: Elaborator, instance: Instance, values: Sequence[Any], named: Mapping[str, Any], span: ast.Span) -> Any:
    """The wanted values for these inputs: a record by short name, or the model's output, or a tuple of its outputs.

    Raises Problem for inputs that the model does not take.
    """
    borrowed: Borrowed = instance.borrowed
    graph = borrowed.model.graph
    inputs = [name for name in graph.input_names if name not in borrowed.model.weights]
    given = _given(instance, inputs, values, named, span)
    if any(value is POISON for value in given.values()):
        return POISON
    replaced, sizes, misfit = _fed(e, instance, {name: given[name] for name in inputs}, span)
    nodes = topological(borrowed.wanted.values())
    weights = {graph.input(name): name for name in borrowed.model.weights}
    statistics = {
        node.inputs[index] for node in nodes for index in STATISTICS.get(node.op, ()) if index < len(node.inputs)
    }
    read = dict.fromkeys(value for node in nodes for value in node.operands() if value in weights)
    for value in dict.fromkeys((*read, *(value for value in borrowed.wanted.values() if value in weights))):
        replaced[value] = _weight(e, instance, weights[value], "state" if value in statistics else "parameter")
    own = (name for node in nodes for name in unknowns(node) if name not in sizes)
    sizes |= {name: e.builder.unknown() for name in dict.fromkeys(own)}  # another application has others
    try:
        _replay(e, instance, nodes, graph, replaced, sizes, span)
    except Problem as problem:
        raise misfit or problem from None
    results = {name: replaced.get(value, value) for name, value in borrowed.wanted.items()}
    if misfit is not None and _folded(replaced, graph.input(inputs[0]), borrowed.wanted.values()):
        raise misfit
    if borrowed.named:
        return results
    return next(iter(results.values())) if len(results) == 1 else tuple(results.values())


def _given(
    instance: Instance, inputs: list[str], values: Sequence[Any], named: Mapping[str, Any], span: ast.Span
) -> dict[str, Any]:
    takes = f"its inputs are {', '.join(f'`{name}`' for name in inputs)}"
    if len(values) > len(inputs):
        text = f"`{instance.text}` has {len(inputs)} inputs and is given {len(values)}"
        raise Problem("E0205", text, span=span, notes=(takes,))
    given = dict(zip(inputs, values, strict=False))
    for name, value in named.items():
        if name not in inputs or name in given:
            raise Problem("E0205", f"`{instance.text}` has no further input `{name}`", span=span, notes=(takes,))
        given[name] = value
    missing = [name for name in inputs if name not in given]
    if missing:
        raise Problem("E0205", f"`{instance.text}` needs its input `{missing[0]}`", span=span, notes=(takes,))
    return given


def _fed(
    e: Elaborator, instance: Instance, given: Mapping[str, Any], span: ast.Span
) -> tuple[dict[Value, Value], dict[str, Dim], Problem | None]:
    """The model's inputs replaced by values, the sizes that it names, and how a value differs from what it fixes.

    A fixed size may be another where all the nodes take it, such as the height and width of pictures before a layer
    that reads whole ones: whether they do is seen when they are replayed. So may a batch of 1.
    """
    graph = instance.borrowed.model.graph
    replaced: dict[Value, Value] = {}
    sizes: dict[str, Dim] = {}
    misfit: Problem | None = None
    for name, value in given.items():
        declared = graph.input(name).type
        wanted = declared.with_dtype(_working(e, declared.dtype))
        found = value.type if isinstance(value, Value) else "no tensor"
        refused = Problem("E0301", f"`{instance.text}` takes `{name}`, {wanted}", f"this is {found}", span=span)
        if not isinstance(value, Value) or value.dtype != wanted.dtype or value.type.rank != wanted.rank:
            raise refused
        for axis, (size, actual) in enumerate(zip(wanted.shape, value.shape, strict=True)):
            if isinstance(size, Polynomial):
                bound = sizes.setdefault(str(size), actual)
                if bound != actual:
                    raise Problem("E0301", refused.message, f"{size} is {bound} and {actual}", span=span)
            elif axis == 0 and size not in (1, actual):
                raise refused
            elif axis > 0 and size != actual:
                misfit = refused
        replaced[graph.input(name)] = value
    return replaced, sizes, misfit


def _folded(replaced: Mapping[Value, Value], first: Value, wanted: Iterable[Value]) -> bool:
    """Has a reshape made more examples of a bigger picture? A batch goes through a model as it came."""
    if not first.shape:
        return False
    batch, given = first.shape[0], replaced[first].shape[0]
    through = [replaced[value].shape for value in wanted if value in replaced and value.shape[:1] == (batch,)]
    return any(shape[:1] not in ((given,), (batch,)) for shape in through)


def _working(e: Elaborator, dtype: str) -> str:
    return e.mode.working if dtype == "f32" else dtype


def _weight(e: Elaborator, instance: Instance, name: str, role: str) -> Value:
    array: Array = instance.borrowed.model.weights[name]
    dtype = _working(e, str(instance.borrowed.model.graph.input(name).dtype))
    if instance.borrowed.constant(name):
        return e.builder.constant(array, dtype)
    instance.parameters.setdefault(name, f"{instance.address}.{name}")
    type = Type(dtype, tuple(array.shape))
    return e.parameter(instance.parameters[name], type, role, lambda: e.builder.constant(array, dtype), instance.span)


def _replay(
    e: Elaborator, instance: Instance, nodes: Sequence[Node], graph: Graph, replaced: dict[Value, Value],
    sizes: Mapping[str, Dim], span: ast.Span,
) -> None:  # fmt: skip
    for node in nodes:
        try:
            made = again(e.builder, node, replaced, sizes, e.mode.working)
        except IllTyped as error:
            name = graph.names.get(node.output)
            where = f'{node.op}, which gives "{name}"' if name else f"a {node.op}"
            text = f"`{instance.text}` cannot be applied to these: {where}"
            raise Problem("E0301", text, str(error), span=span) from None
        for old, new in zip(node.outputs, made.outputs, strict=True):
            replaced[old] = new
            if old in graph.names:
                e.label(new, f"{instance.address}.{graph.names[old]}")


def files_of(module: Module) -> list[Path]:
    """The models that a file imports, and the files in which they keep their tensors."""
    from onnx import load_model

    from dlc.compiler.importing.tensors import external_files

    found: list[Path] = []
    for declaration in module.source.declarations:
        if isinstance(declaration, ast.Import):
            path = module.path.parent / declaration.path
            _read(path, declaration)  # has looked at what they say of their places
            apart = external_files(load_model(path, load_external_data=False))
            found += [path, *(path.parent / each for each in apart)]
    return found


__all__ = ["Borrowed", "apply", "files_of", "instance_of"]
