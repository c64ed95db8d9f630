"""Losses, metrics and penalties."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dlc.compiler.build import ints, op
from dlc.compiler.elaborate.context import Elaborator
from dlc.compiler.elaborate.entities import Instance, describe
from dlc.compiler.elaborate.library.functions import floating, function, tensor_of
from dlc.compiler.elaborate.library.reductions import mean
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value


def _pick(x: Value, index: Value, what: str) -> Value:
    """The entry of the last axis that `index` names, that axis kept as 1; raises Problem unless the rest agrees."""
    if index.dtype != "i64":
        raise Problem("E0302", f"`{what}` wants classes as i64", f"these are {index.type}")
    if x.shape[:-1] != index.shape:
        raise Problem(
            "E0301",
            f"`{what}`: scores and classes do not agree",
            f"{x.type} has the classes on its last axis, so i64[{', '.join(map(str, x.shape[:-1]))}] is wanted, "
            f"and this is {index.type}",
        )
    return op.GatherElements(x, op.Unsqueeze(index, ints(-1)), axis=x.type.rank - 1)


@function("cross_entropy")
def cross_entropy(
    e: Elaborator, logits: Any, target: Any, mask: Any = None, smoothing: float = 0.0, reduce: Any = "mean"
) -> Value:
    """-log softmax(logits) at the target class; with smoothing s, (1 - s) of that and s of the mean over classes.

    Source: Szegedy et al. (2016), section 7, for the smoothing.
    """
    scores, classes = floating(logits, "cross_entropy"), tensor_of(target, "cross_entropy")
    logs: Value = op.LogSoftmax(scores, axis=scores.type.rank - 1)
    picked = _pick(logs, classes, "cross_entropy")
    if smoothing:
        picked = picked * (1 - smoothing) + op.ReduceMean(logs, ints(-1), keepdims=1) * smoothing
    if reduce is None or mask is not None:
        rows: Value = -op.Squeeze(picked, ints(-1))
        return rows if reduce is None else mean(e, rows, mask=mask)
    return -op.ReduceMean(picked, keepdims=0)


@function("accuracy")
def accuracy(e: Elaborator, logits: Any, target: Any, k: int = 1, mask: Any = None) -> Value:
    """The share of examples whose class is among the k highest scores."""
    scores, classes = tensor_of(logits, "accuracy"), tensor_of(target, "accuracy")
    if scores.shape[:-1] != classes.shape:
        _pick(scores, classes, "accuracy")
    if k == 1:
        hit = op.Equal(op.ArgMax(scores, axis=scores.type.rank - 1, keepdims=0), classes)
        return mean(e, hit, mask=mask)
    _, best = op.TopK(scores, ints(k), axis=scores.type.rank - 1, outputs=2)
    hits = op.Cast(op.Equal(best, op.Unsqueeze(classes, ints(-1))), to=e.mode.working)
    return mean(e, op.ReduceSum(hits, ints(-1), keepdims=0), mask=mask)


def _norm(e: Elaborator, part: Any, what: str, measure: Callable[[Value], Value]) -> Value:
    """A measure of one parameter, or the sum over a part's parameters of rank two and more; raises Problem."""
    if isinstance(part, Value):
        return measure(part)
    if not isinstance(part, Instance):
        raise Problem("E0302", f"`{what}` wants a part of a net, or one parameter", f"this is {describe(part)}")
    weights = [
        each.value
        for name, each in e.parameters.items()
        if part.owns(name) and each.role == "parameter" and each.type.rank >= 2
    ]
    if not weights:
        raise Problem("E0303", f"`{part.address}` has no weights of rank two or more", f"`{what}` would be 0")
    total = measure(weights[0])
    for weight in weights[1:]:
        total = total + measure(weight)
    return total


@function("l2")
def l2(e: Elaborator, part: Any) -> Value:
    """The sum of squares."""
    return _norm(e, part, "l2", lambda w: op.ReduceSumSquare(w, keepdims=0))


@function("l1")
def l1(e: Elaborator, part: Any) -> Value:
    """The sum of absolute values."""
    return _norm(e, part, "l1", lambda w: op.ReduceSum(op.Abs(w), keepdims=0))
