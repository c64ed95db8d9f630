"""The `train` section: a net wired to data, a loss, metrics, and the settings of the loop."""

from __future__ import annotations

from collections.abc import Mapping

from dlc.compiler.elaborate import bodies, data
from dlc.compiler.elaborate.context import Elaborator, Frame
from dlc.compiler.elaborate.entities import Binding, Instance, Place, Scope
from dlc.compiler.elaborate.keys import group_of, key_of, metric_names, metrics_of, part
from dlc.compiler.elaborate.learn import learn
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.elaborate.run import KEYS, Run
from dlc.compiler.elaborate.wiring import declared, wire, with_scalars
from dlc.compiler.graph import Value
from dlc.compiler.types import Dim, Type, symbol
from dlc.dsl import ast
from dlc.dsl.diagnostics import nearest

FOREIGN_KEYS = {"batch_size": "batch", "batchsize": "batch", "num_epochs": "epochs", "optim": "optimizer"}
FOREIGN_KEYS |= {"criterion": "loss", "max_steps": "steps", "clip": "clip_norm", "gradient_clipping": "clip_norm"}


def elaborate(e: Elaborator, section: ast.Train) -> Run:
    """Elaborate a train section in the elaborator's mode; problems are reported."""
    run = Run(section.run.text)
    module = e.program.main
    net = declared(e, module, section.net, ast.Net, "a net")
    source = declared(e, module, section.data, ast.Data, "data")
    if net is None or source is None:
        return run
    assert isinstance(net, ast.Net) and isinstance(source, ast.Data)
    instance = e.instance_of_net(net, module.home[section.net.text])
    given = data.fields(e, source, module.home[section.data.text])
    batch = _batch(net, given)
    for name, each in given.items():
        run.fields[name] = e.builder.input(name, each.type.with_shape((batch, *each.type.shape)))
    if e.mode.training and not e.mode.initial:
        run.fields = data.augment(e, source, module.home[section.data.text], run.fields)
    e.frozen = tuple(str(ref) for each in section.body if isinstance(each, ast.Freeze) for ref in each.refs)
    wire(e, section, net, instance, given, run)
    if e.report.failed:
        return run  # its names have no values: what the section says of them would be one mistake more for each
    frame = Frame(module, Scope(instance.inside), Instance(None, Place((run.name,)), section.span), Place((run.name,)))
    frame.dims = instance.dims
    run.frame = frame
    for name, value in run.fields.items():
        if frame.scope.find(name) is None:
            frame.scope.names[name] = Binding(value, given[name].span, used=True)
    with_scalars(e, frame.scope)
    _statements(e, section, frame, run)
    _check_used(e, frame, run)
    _check_given(e, section)
    _check_moves(e, section, run)
    if isinstance(batch, int) and not e.report.failed and run.settings.get("batch") != batch:
        text = f"`{section.net.text}` takes {batch} at a time"
        e.report.add(Problem("E0601", text, help=f"write `batch = {batch}`"), section.net.span)
    if run.loss is not None and not e.report.failed:
        learn(e, run)
    return run


def _batch(net: ast.Net, given: Mapping[str, data.Field]) -> Dim:
    """The first dimension of a batch: `B`, or the number that the net fixes in all the inputs that the data feeds."""
    items = [item for each in net.body if isinstance(each, ast.Input) for item in each.items]
    sizes = set()
    for item in items:
        if item.name.text in given and item.type is not None and item.type.dims:
            first = item.type.dims[0]
            sizes.add(first.value if isinstance(first, ast.Literal_) and isinstance(first.value, int) else None)
    fixed = sizes.pop() if len(sizes) == 1 else None
    return symbol("B") if fixed is None else fixed


def _statements(e: Elaborator, section: ast.Train, frame: Frame, run: Run) -> None:
    metrics = [each for each in section.body if isinstance(each, ast.Section) and each.name.text == "metrics"]
    e.metric_names = ("loss", *(name for each in metrics for name in metric_names(each)))
    # What points at parts comes last: a net that only a later statement applies has its weights by then.
    for statement in sorted(section.body, key=_points):
        try:
            match statement:
                case ast.Assign(names=(name,)) if name.text in KEYS:
                    key_of(e, name, statement, frame, run)
                case ast.Section(name=ast.Name(text="metrics")):
                    metrics_of(e, statement, frame, run)
                case ast.Section(name=ast.Name(text="group")):
                    group_of(e, statement, frame, run)
                case ast.Section(name=name):
                    guess = nearest(name.text, ("metrics", "group"))
                    help = f"did you mean `{guess}`?" if guess else ""
                    raise Problem("E0207", f"a `train` section has no part called `{name.text}`", help, span=name.span)
                case ast.Freeze():
                    for ref in statement.refs:
                        part(e, ref, "freeze")
                case ast.Load():
                    prefix = part(e, statement.ref, "load")
                    run.settings.setdefault("load", []).append({"part": prefix, "file": statement.path})
                case ast.Assign() | ast.Assert():
                    bodies.statement_of(e, statement, frame)
                    if frame.facts:
                        text = "an assertion in a `train` section is about what is known while compiling"
                        raise Problem("E0306", text, help="sizes that only a run tells are asserted in the net")
                case _:
                    raise Problem("E0206", "this statement does not belong into a `train` section")
        except Problem as problem:
            e.report.add(problem, statement.span)


def _points(statement: ast.Statement) -> bool:
    """Does a statement point at parts of nets by their addresses?"""
    if isinstance(statement, ast.Section):
        return statement.name.text == "group"
    return isinstance(statement, ast.Freeze | ast.Load)


def _check_given(e: Elaborator, section: ast.Train) -> None:
    """What every run needs; told only where nothing else is wrong, such as the spelling of a key."""
    for key in ("loss", "optimizer"):
        given = any(isinstance(each, ast.Assign) and each.names[0].text == key for each in section.body)
        if not given and not e.report.failed:
            e.report.add(Problem("E0205", f"this `train` section has no `{key}`"), section.net.span)


def _check_moves(e: Elaborator, section: ast.Train, run: Run) -> None:
    """Weights that move at every n-th step only move before a run of known length ends."""
    parts, steps = run.settings.get("accumulate", 1), run.settings.get("steps")
    if steps is None or parts <= steps:
        return
    text = f"`accumulate = {parts}`, and this run has `steps = {steps}`: its weights would never move"
    given = next(each for each in section.body if isinstance(each, ast.Assign) and each.names[0].text == "accumulate")
    e.report.add(Problem("E0303", text, help="give it more steps, or accumulate fewer"), given.value.span)


def _check_used(e: Elaborator, frame: Frame, run: Run) -> None:
    """A name that neither the loss nor a metric uses is a mistake; a used scalar is a part of the loss to be shown."""
    for name, binding in frame.scope.names.items():
        if name == "loss" or binding.span is None or name in run.fields:
            continue
        if not binding.used:
            guess = FOREIGN_KEYS.get(name) or nearest(name, KEYS)
            rate = name in ("lr", "learning_rate")
            problem = Problem(
                "E0207",
                f"nothing uses `{name}`",
                f"did you mean `{guess}`?" if guess and not rate else "",
                notes=("in a `train` section a name is either a key or part of the loss or a metric",),
                help="the optimizer says it, `optimizer = SGD(lr=...)`, or a `let` above" if rate else None,
            )
            e.report.add(problem, binding.span)
        elif isinstance(binding.value, Value) and binding.value.type == Type(e.mode.working, ()):
            run.parts[name] = binding.value
