"""The files that a program compiles to, as ONNX models: CONTRACTS in code.

`products(program)` makes them all; `unit_model` one; `deployed` a net with its weights inside and `prepare` in front.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from dlc.compiler.batched import NotBatched, batch
from dlc.compiler.build import Builder, private
from dlc.compiler.emit import emit
from dlc.compiler.graph import Graph, Value
from dlc.compiler.manifest import Carried, Field, Manifest, Scalar, Source
from dlc.compiler.passes import INFERENCE, TRAINING, Pipeline, run
from dlc.compiler.program import Program, Unit
from dlc.compiler.replay import again, resized
from dlc.compiler.types import Array, Dim, Polynomial, Type, symbol

if TYPE_CHECKING:
    from onnx import ModelProto

EDITION = 1
DEFAULTS = {"step": 0, "seed": 0, "epoch": 0, "steps": None, "steps_per_epoch": None}
"""What a scalar is if it is not fed; None: it must be."""
KINDS = {"net": "infer", "fit": "infer"}
"""The manifest's word for a unit's kind, where it is another."""


def compiler_version() -> str:
    """The version of dlc that is running."""
    try:
        return version("dlc")
    except PackageNotFoundError:
        return "unknown"


def pipeline_of(kind: str) -> Pipeline:
    """The passes for a kind of unit."""
    return TRAINING if kind in ("step", "grad") else INFERENCE


def manifest_of(program: Program, unit: Unit, graph: Graph, init_batch: tuple[str, ...] = ()) -> Manifest:
    """What a file's metadata says of it."""
    types = {name: graph.input(name).type for name in graph.input_names}
    said_of = {"x_settings": unit.settings, "x_bounds": unit.bounds}
    return Manifest(
        kind=KINDS.get(unit.kind, unit.kind),
        carried={name: Carried(output, role) for name, (output, role) in unit.carried.items()},
        batch={name: Field.of(types[name]) for name in unit.batch},
        scalars={name: _scalar(unit, name, types[name]) for name in unit.scalars},
        reports=unit.reports,
        init_batch=init_batch,
        totals=unit.totals,
        constants=unit.constants,
        source=Source(
            Path(program.source.main.file).name, program.sha256, program.let_values(), compiler_version(), EDITION
        ),
        data=unit.plan.json() if unit.plan is not None else None,
        extensions={key: dict(said) for key, said in said_of.items() if said},
    )


def _scalar(unit: Unit, name: str, type: Type) -> Scalar:
    schedule = unit.schedules.get(name)
    return Scalar(type.dtype, DEFAULTS[name] if schedule is None else schedule["value"], schedule)


def unit_model(
    program: Program, unit: Unit, *, init_batch: tuple[str, ...] = (), without: Collection[str] = ()
) -> ModelProto:
    """One unit as a model. Raises BrokenPass (a mistake of dlc's) and EmitError."""
    graph = run(unit.graph, pipeline_of(unit.kind), without=without)
    return emit(graph, manifest_of(program, unit, graph, init_batch), version=compiler_version())


def products(program: Program, *, runs: Collection[str] | None = None, split: bool = False) -> dict[str, ModelProto]:
    """Every file by its name: those of the named runs (all by default) and the data they use, and of every net.

    With `split`, `R.grad.onnx` and `R.apply.onnx` too. Raises SourceError.
    """
    made: dict[str, ModelProto] = {}
    chosen = [name for name in program.runs if runs is None or name in runs]
    for name in chosen:
        init = program.init(name)
        made[f"{name}.init.onnx"] = unit_model(program, init)
        made[f"{name}.step.onnx"] = unit_model(program, program.step(name), init_batch=init.batch)
        if split:
            made[f"{name}.grad.onnx"] = unit_model(program, program.gradients(name))
            made[f"{name}.apply.onnx"] = unit_model(program, program.application(name))
        evaluation, report = program.evaluation(name)
        made[f"{name}.eval.onnx"] = unit_model(program, evaluation)
        made[f"{name}.report.onnx"] = unit_model(program, report)
    for name in program.nets:
        made[f"{name}.onnx"] = unit_model(program, program.net(name))
    for name in program.infers:
        made[f"{name}.onnx"] = unit_model(program, program.inference(name))
    used = {program.runs[name].data.text for name in chosen}
    for name in program.datas:
        if runs is not None and name not in used:
            continue
        made[f"{name}.prepare.onnx"] = unit_model(program, program.prepare(name))
        fit = program.fit(name)
        if fit is not None:
            made[f"{name}.fit.onnx"] = unit_model(program, fit)
    return made


def deployed(program: Program, net: str, weights: Mapping[str, Array], data: str | None = None) -> ModelProto:
    """A net with its weights inside, and with the data's `prepare` in front if it is named.

    `weights` holds every parameter and state by address, and the fitted constants of `data`. An input that one record
    feeds alone keeps the net's name and takes the reader's element type, batch first. Raises KeyError for a missing
    weight and NotBatched where `prepare` cannot be batched.
    """
    unit = program.net(net)
    builder = Builder()
    with builder:
        given: dict[Value, Value] = {}
        for address in unit.carried:
            given[unit.graph.input(address)] = builder.constant(weights[address])
            builder.names[given[unit.graph.input(address)]] = address
        if data is not None:
            given |= _prepared(program.prepare(data), unit, weights, builder)
        sizes = _sizes(given)
        for name in unit.batch:
            value = unit.graph.input(name)
            if value not in given:
                given[value] = builder.input(name, resized(value.type, sizes))
        outputs = _copied(unit.graph, given, sizes, builder)
    graph = builder.graph(net, outputs)
    plain = Unit(net, "net", graph, batch=graph.input_names)
    return unit_model(program, plain)


def _sizes(given: Mapping[Value, Value]) -> dict[str, Dim]:
    """The sizes of the net's named dimensions, of those that its inputs have in what is given for them."""
    pairs = [pair for value, stand_in in given.items() for pair in zip(value.shape, stand_in.shape, strict=True)]
    return {str(dim): size for dim, size in pairs if isinstance(dim, Polynomial) and dim == symbol(str(dim))}


def _copied(graph: Graph, given: dict[Value, Value], sizes: Mapping[str, Dim], builder: Builder) -> dict[str, Value]:
    done = dict(given)
    for node in graph.nodes:
        with builder.at(node.span):
            made = again(builder, node, done, sizes)
        for old, new in zip(node.outputs, made.outputs, strict=True):
            done[old] = new
            if old in graph.names and new not in builder.names:
                builder.names[new] = graph.names[old]
    return {name: done[value] for name, value in graph.outputs.items()}


def _prepared(prepare: Unit, net: Unit, weights: Mapping[str, Array], builder: Builder) -> dict[Value, Value]:
    """Stand-ins for the net's inputs, made by a batched `prepare` of records that are inputs of the new graph."""
    graph = prepare.graph
    where = next((node.span for node in graph.nodes if node.span is not None), None)
    fields = [name for name in net.batch if name in graph.outputs]
    wanted = _restricted(graph, fields)
    given: dict[Value, Value] = {graph.input(a): builder.constant(weights[a]) for a in prepare.carried}
    for name in prepare.batch:
        record = graph.input(name)
        readers = [field for field in fields if record in _restricted(graph, [field]).uses()]
        if not readers:
            continue
        alone = len(readers) == 1 and len(_restricted(graph, readers).inputs) == 1
        field = graph.outputs[readers[0]].type if alone else None
        if field is not None and field.size == record.type.size:
            fed = builder.input(readers[0], record.type.with_shape((symbol("B"), *field.shape)))
            with builder.at(where):
                given[record] = private.ReshapeTo(fed, shape=(symbol("B"), *record.shape))
        else:
            label = readers[0] if alone else name
            given[record] = builder.input(label, record.type.with_shape((symbol("B"), *record.shape)))
    made = batch(wanted, given)
    return {net.graph.input(name): made[name] for name in fields}


def _restricted(graph: Graph, fields: list[str]) -> Graph:
    """The graph of some outputs alone; of the inputs, the records that they read."""
    builder = Builder(graph.names)
    for node in graph.nodes:
        builder.adopt(node)
    part = builder.graph(graph.name, {name: graph.outputs[name] for name in fields}, graph.inputs)
    read = part.uses()
    records = [value for value in graph.inputs if value in read and graph.names[value].startswith("raw.")]
    return builder.graph(graph.name, part.outputs, records)


__all__ = ["NotBatched", "deployed", "manifest_of", "pipeline_of", "products", "unit_model"]
