"""Gradients of the loss and what the optimizer makes of them."""

from __future__ import annotations

from dlc.compiler.build import op, private
from dlc.compiler.elaborate import accumulate, optimize
from dlc.compiler.elaborate.context import Elaborator, Parameter
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.elaborate.run import Run
from dlc.compiler.graph import Node, Value, topological
from dlc.compiler.registry import NoGradient, lookup
from dlc.compiler.types import Dim, product, substitute
from dlc.dsl import ast
from dlc.dsl.diagnostics import Label


def learn(e: Elaborator, run: Run) -> None:
    """Gradients and the optimizer; in initial mode the optimizer's states alone."""
    assert run.loss is not None and run.frame is not None
    if not e.mode.training or run.optimizer is None:
        return
    weights = [each for each in e.parameters.values() if each.role == "parameter" and not e.is_frozen(each.address)]
    learning = weights if e.mode.initial else _reached(e, run, weights)
    if not e.mode.initial:
        _warn_of_single_values(e, run)
    with e.builder.at(run.optimizer.span):
        for weight in learning:
            run.gradients[weight.address] = _gradient(e, run.loss, weight)
        gradients = accumulate.mean(e, run, run.gradients)
        clipped = gradients if e.mode.initial else _clipped(run, gradients)
        pairs = [(weight, clipped[weight.address]) for weight in learning]
        try:
            run.updated = optimize.update(e, run, pairs)
        except Problem as problem:
            e.report.add(problem, run.optimizer.value.span)
            return
        accumulate.now_and_then(e, run)


def _gradient(e: Elaborator, loss: Value, weight: Parameter) -> Value:
    """The gradient of the loss: to be made by differentiation, or given. Initial states depend on its type alone."""
    if e.mode.initial:
        return weight.value
    if e.mode.given:
        return e.builder.input(f"{weight.address}:grad", weight.type)
    gradient: Value = private.Gradient(loss, weight.value)
    return gradient


def _clipped(run: Run, gradients: dict[str, Value]) -> dict[str, Value]:
    """Each element cut to +-`clip_value`; then all scaled so that their common norm is at most `clip_norm` (Pascanu et
    al., 2013, algorithm 1; PyTorch's 1e-6)."""
    bound, limit = run.settings.get("clip_value"), run.settings.get("clip_norm")
    if bound is not None:
        gradients = {address: op.Clip(g, -bound, bound) for address, g in gradients.items()}
    if limit is None:
        return gradients
    squares = [op.ReduceSumSquare(g, keepdims=0) for g in gradients.values()]
    total = squares[0] if len(squares) == 1 else op.Sum(*squares)
    scale = op.Min(limit / (op.Sqrt(total) + 1e-6), 1.0)
    return {address: g * scale for address, g in gradients.items()}


def _reached(e: Elaborator, run: Run, weights: list[Parameter]) -> list[Parameter]:
    """The weights that the loss depends on differentiably; reports if there is none, and warns of those cut off."""
    assert run.loss is not None
    smooth, touched, blocking = differentiable(run.loss)
    found = [weight for weight in weights if weight.value in smooth]
    cut = [weight for weight in weights if weight.value in touched and weight.value not in smooth]
    at = run.loss_span
    assert at is not None
    where = tuple(Label(span, "every path to a weight stops here") for span in blocking if span is not None)[:1]
    if not found:
        count = f"{len(cut)} weights, differentiably on none of them" if cut else "no weight"
        e.report.add(Problem("E0501", "no weight can learn from this loss", f"depends on {count}", secondary=where), at)
    for weight in cut if found else ():
        problem = Problem("W0402", f"`{weight.address}` cannot learn from this loss", secondary=where)
        e.report.add(problem, weight.span, "warning")
    return found


def _warn_of_single_values(e: Elaborator, run: Run) -> None:
    """Warn where what is normalized is one value by itself: it is its own mean, and nothing of it comes through."""
    assert run.loss is not None
    batch = run.settings.get("batch", 32)
    found: dict[ast.Span, Node] = {}
    for node in topological([run.loss]):
        if node.op == "dlc.Moments" and node.span is not None and _averaged(node, batch) == 1:
            found.setdefault(node.span, node)
    for span, node in found.items():
        x = next(node.operands())
        batched = 0 not in node.attributes["axes"]
        problem = Problem(
            "W0407",
            "the mean and variance are those of one value",
            f"this is {x.type}" + (f", with `batch = {batch}`" if batched else ""),
            notes=("what comes out is the same whatever comes in, and nothing before it learns",),
            help="give the run a larger `batch`, or normalize each example by itself: `LayerNorm`" if batched else None,
        )
        e.report.add(problem, span, "warning")


def _averaged(moments: Node, batch: int) -> Dim:
    """How many values one mean is taken of."""
    shape = next(moments.operands()).shape
    over = [dim for axis, dim in enumerate(shape) if axis not in moments.attributes["axes"]]
    return substitute(product(over), {"B": batch})


def differentiable(loss: Value) -> tuple[set[Value], set[Value], list[ast.Span | None]]:
    """The values that `loss` depends on differentiably, those it depends on at all, and where gradients stop."""
    smooth: set[Value] = set()
    touched: set[Value] = set()
    blocking: list[ast.Span | None] = []
    waiting: list[tuple[Value, bool]] = [(loss, True)]
    while waiting:
        value, open_ = waiting.pop()
        if value in smooth or (not open_ and value in touched):
            continue
        touched.add(value)
        if open_:
            smooth.add(value)
        if value.node is None:
            continue
        rule = lookup(value.node.op).gradient
        passes = open_ and not isinstance(rule, NoGradient) and rule is not None
        if open_ and not passes:
            blocking.append(value.node.span)
        for each in value.node.operands():
            waiting.append((each, passes and each.type.is_float))
    return smooth, touched, blocking
