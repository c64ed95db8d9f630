"""Replace every `dlc.Gradient` by the nodes that compute it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from dlc.compiler.build import current, op, private, rewrite
from dlc.compiler.graph import Graph, Node, Value, topological
from dlc.compiler.ops.rules import as_shape
from dlc.compiler.registry import Call, Expansion, IllTyped, NoGradient, cotangents, expanded, lookup


class NotDifferentiable(IllTyped):
    """A loss depends on a parameter through an operator that has no gradient rule, nor a reason for having none."""

    def __init__(self, node: Node, why: str = "dlc has no rule for it") -> None:
        self.node, self.why = node, why
        where = f" at {node.span}" if node.span else ""
        super().__init__(f"a gradient is wanted through {node.op}{where}, and {why}")


def differentiate(graph: Graph) -> Graph:
    """Reverse accumulation, in one sweep for all the gradients of a loss. Raises NotDifferentiable.

    A loss may be made of gradients itself: those are replaced first. New nodes have the span of the node whose
    derivative they belong to. What is not reached from the loss has a gradient of zeros.

    >>> from dlc.compiler.build import Builder
    >>> from dlc.compiler.types import Type
    >>> with Builder() as builder:
    ...     x = builder.input("x", Type("f32", ()))
    ...     before = builder.graph("square", {"dx": private.Gradient(x * x, x)})
    >>> print(*(node.op for node in before.nodes), "becomes", *(node.op for node in differentiate(before).nodes))
    Mul dlc.Gradient becomes Constant Mul Add
    """
    while innermost := _innermost(graph):
        opened = _opened(graph, innermost)
        graph = _replace(graph, innermost) if opened is graph else opened
    return graph


def _opened(graph: Graph, wanted: Mapping[Value, Sequence[Value]]) -> Graph:
    """The graph in which the nodes are expanded through which a gradient goes by their expansion, and settled whose
    inputs need not fit; the same graph if there is none."""
    found: set[Node] = set()
    for loss, ws in wanted.items():
        nodes = topological([loss])
        active = _active(nodes, ws)
        crossed = (node for node in nodes if not active.isdisjoint(node.operands()))
        found.update(node for node in crossed if _opens(node) and not active.isdisjoint(node.outputs))

    def visit(node: Node, inputs: tuple[Value | None, ...]) -> Sequence[Value] | None:
        if node not in found:
            return None
        if _settles(node):
            return _settled(node, inputs)
        _check_rule_knows(node)
        if inputs != node.inputs:
            node = current().add(node.op, inputs, node.attributes, node.bodies, len(node.outputs))
        made = [value for value in expanded(node) if value is not None]
        if [value.type for value in made] != [value.type for value in node.outputs]:
            given, wanted = [str(value.type) for value in made], [str(value.type) for value in node.outputs]
            raise AssertionError(f"the expansion of {node.op} gives {given} for {wanted}")
        return made

    opened = rewrite(graph, visit) if found else graph
    return graph if opened.nodes == graph.nodes else opened


def _opens(node: Node) -> bool:
    return isinstance(lookup(node.op).gradient, Expansion) or _settles(node)


def _settles(node: Node) -> bool:
    return "declared" in node.attributes and lookup(node.op).settle is not None


def _settled(node: Node, inputs: Sequence[Value | None]) -> Sequence[Value] | None:
    """The node's values, of inputs that fit for certain; None where only a run tells how they fit."""
    attributes = {name: value for name, value in node.attributes.items() if name != "declared"}
    rule = lookup(node.op).settle
    assert rule is not None
    try:
        fitting = rule(Call(node.op, tuple(inputs), attributes, node.bodies, len(node.outputs)))
        made = current().add(node.op, fitting, attributes, node.bodies, len(node.outputs))
    except IllTyped:
        return None
    return [as_shape(new, old.shape) for new, old in zip(made.outputs, node.outputs, strict=True)]


def _innermost(graph: Graph) -> dict[Value, list[Value]]:
    """The losses in which no gradient stands, with what each is differentiated by."""
    above: set[Value] = set()  # values that a gradient leads to
    found: dict[Value, list[Value]] = {}
    for node in graph.nodes:
        if node.op == "dlc.Gradient":
            loss, w = _pair(node)
            if loss not in above:
                found.setdefault(loss, []).append(w)
            above.update(node.outputs)
        elif not above.isdisjoint(node.operands()):
            above.update(node.outputs)
    return found


def _replace(graph: Graph, wanted: Mapping[Value, Sequence[Value]]) -> Graph:
    done: dict[Value, dict[Value, Value]] = {}

    def visit(node: Node, inputs: tuple[Value | None, ...]) -> Value | None:
        if node.op != "dlc.Gradient":
            return None
        loss, w = _pair(node)
        if loss not in wanted:
            return None
        if loss not in done:
            done[loss] = gradients(loss, wanted[loss])
        return done[loss][w]

    return rewrite(graph, visit)


def _pair(node: Node) -> tuple[Value, Value]:
    loss, w = node.inputs
    assert loss is not None and w is not None
    return loss, w


def gradients(loss: Value, ws: Sequence[Value]) -> dict[Value, Value]:
    """The gradient of a scalar by each of `ws`, built in the current builder. Raises NotDifferentiable."""
    nodes = topological([loss])
    active = _active(nodes, ws)
    parts: dict[Value, list[Value]] = {}
    if loss in active:
        with current().at(loss.node.span if loss.node else None):
            parts[loss] = [current().constant(1.0, loss.dtype)]
    for node in reversed(nodes):
        if not any(output in parts for output in node.outputs) or active.isdisjoint(node.operands()):
            continue
        with current().at(node.span):
            gs = [_total(parts, output) for output in node.outputs]
            for value, cotangent in zip(_operands(node), _apply(node, gs), strict=False):
                if value in active and cotangent is not None:
                    parts.setdefault(value, []).append(_fitted(node, value, cotangent))
    return {w: _total(parts, w) or private.ExpandTo(np.zeros((), w.type.numpy), shape=w.shape) for w in ws}


def _active(nodes: Sequence[Node], ws: Sequence[Value]) -> set[Value]:
    """The values on a path from one of `ws` along which something can flow."""
    active = {w for w in ws if w.type.is_float}
    for node in nodes:
        if not active.isdisjoint(node.operands()) and not isinstance(lookup(node.op).gradient, NoGradient):
            active.update(output for output in node.outputs if output.type.is_float)
    return active


def _operands(node: Node) -> tuple[Value | None, ...]:
    """What a rule answers for: the inputs, missing ones too, then what the bodies capture."""
    return (*node.inputs, *(value for body in node.bodies for value in body.captures()))


def _apply(node: Node, gs: Sequence[Value | None]) -> Sequence[Value | None]:
    rule = lookup(node.op).gradient
    if isinstance(rule, NoGradient):
        return ()
    if rule is None:
        raise NotDifferentiable(node)
    _check_rule_knows(node)
    return cotangents(node, gs)


def reached(node: Node, outputs: Collection[Value]) -> Collection[Value]:
    """The floats among a node's operands that a gradient goes on to from some of its outputs.

    Builds in the current builder what a gradient would. Raises IllTyped for a node that no gradient can go through.
    """
    floats = {value for value in node.operands() if value.type.is_float}
    if _settles(node) and _settled(node, node.inputs) is not None:
        return floats
    if _opens(node) and not _settles(node):
        _check_rule_knows(node)
        expanded(node)
        return floats
    gs = [Value(value.type) if value in outputs else None for value in node.outputs]
    return {
        value
        for value, cotangent in zip(_operands(node), _apply(node, gs), strict=False)
        if value in floats and cotangent is not None
    }


def _check_rule_knows(node: Node) -> None:
    """A rule may read axes or shapes that an imported node computes: then its type rule, which reads them too, refuses.

    Raises NotDifferentiable.
    """
    if "declared" not in node.attributes or lookup(node.op).at_run:
        return
    known = {name: value for name, value in node.attributes.items() if name != "declared"}
    try:
        lookup(node.op).infer(Call(node.op, node.inputs, known, node.bodies, len(node.outputs)))
    except IllTyped as error:
        raise NotDifferentiable(node, f"dlc cannot tell its shape: {error}") from None


def _total(parts: dict[Value, list[Value]], value: Value) -> Value | None:
    """The sum of what reaches a value, in one addition; it stays the value's only part."""
    reached = parts.get(value)
    if not reached:
        return None
    if len(reached) > 1:
        with current().at(value.node.span if value.node else None):
            parts[value] = reached = [reached[0] + reached[1] if len(reached) == 2 else op.Sum(*reached)]
    return reached[0]


def _fitted(node: Node, value: Value, cotangent: Value) -> Value:
    """The cotangent in the shape of its value: a broadcast is undone here, for every rule."""
    if cotangent.type == value.type:
        return cotangent
    if "declared" in node.attributes and cotangent.dtype == value.dtype and cotangent.type.rank == value.type.rank:
        return as_shape(cotangent, value.shape)
    if not lookup(node.op).broadcasts or cotangent.dtype != value.dtype:
        raise AssertionError(f"the gradient rule of {node.op} gives {cotangent.type} for {value.type}")
    summed: Value = private.SumTo(cotangent, shape=value.shape)
    return summed


__all__ = ["NotDifferentiable", "differentiate", "gradients", "reached"]
