"""The graphs of nets, `infer` sections and data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dlc.compiler.elaborate import bodies, data, instances
from dlc.compiler.elaborate.context import Frame, Mode
from dlc.compiler.elaborate.entities import POISON, Instance, Place, Scope
from dlc.compiler.elaborate.pairs import warn_of_pairs
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value
from dlc.compiler.unit import Unit, declared_inputs, elaborator, fail, kept, tensors, unit_of

if TYPE_CHECKING:
    from dlc.compiler.program import Program


def net(p: Program, name: str, working: str = "f32") -> Unit:
    """The inference graph of a net. Raises SourceError."""
    net = p.nets[name]
    home = p.source.main.home.get(name, p.source.main)
    e = elaborator(p, Mode(working=working))
    with e:
        instance = e.instance_of_net(net, home)
        inputs = declared_inputs(e, net, home)
        result: Any = POISON
        if inputs is not None:
            values = {key: value for key, value in inputs.items() if isinstance(value, Value)}
            outer = Frame(home, Scope(), instance, instance.place)
            try:
                result = instances.apply(e, instance, [], values, net.span, outer)
            except Problem as problem:
                e.report.add(problem, net.span)
        fail(e)
        warn_of_pairs(e, net)
        outputs = tensors(e, net, result)
        assert inputs is not None
        order = [each.value for each in e.parameters.values()] + list(inputs.values())
        graph = e.builder.graph(name, outputs, order)
    return unit_of(e, name, "net", graph, batch=tuple(inputs), carried=kept(e))


def inference(p: Program, name: str) -> Unit:
    """The graph of an `infer` section over the weights of nets. Raises SourceError."""
    section = p.infers[name]
    e = elaborator(p, Mode())
    with e:
        inputs = declared_inputs(e, section, p.source.main)
        result: Any = POISON
        if inputs is not None:
            owner = Instance(None, Place((name,)), section.span, text=name)
            frame = Frame(p.source.main, Scope(), owner, owner.place)
            result = bodies.run(e, section.body, frame, inputs, section.name.span)
        fail(e)
        outputs = tensors(e, section, result)
        assert inputs is not None
        read = e.builder.graph(name, outputs, []).uses()
        weights = [each.value for each in e.parameters.values() if each.value in read]
        graph = e.builder.graph(name, outputs, [*weights, *inputs.values()])
        carried = {address: role for address, role in kept(e).items() if e.parameters[address].value in weights}
    return unit_of(e, name, "net", graph, batch=tuple(inputs), carried=carried)


def data_units(p: Program, name: str) -> tuple[Unit, Unit | None]:
    section = p.datas[name]
    main = p.source.main
    home = main.home.get(name, main)
    e = elaborator(p, Mode())
    with e:
        outputs, plan = data.prepare(e, section, home)
        fail(e)
        fitting = e.records.fitting
        fitted = [value for value in e.builder.inputs if e.builder.names[value] in plan.fitted]
        records = [value for value in e.builder.inputs if value not in fitted]
        graph = e.builder.graph(name, outputs, [*fitted, *records])
        carried = {e.builder.names[value]: (None, "fitted") for value in fitted}
        batch = tuple(e.builder.names[value] for value in records)
        unit = unit_of(e, name, "prepare", graph, plan=plan, carried=carried, batch=batch)
        if not fitting:
            return unit, None
        read = e.builder.graph(name, fitting, records).uses()
        fit = e.builder.graph(name, fitting, [value for value in records if value in read])
        return unit, unit_of(e, name, "fit", fit, plan=plan, batch=fit.input_names)
