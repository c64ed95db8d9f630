"""Losses, metrics and penalties."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dlc.compiler.build import ints, op
from dlc.compiler.elaborate.context import Elaborator
from dlc.compiler.elaborate.entities import Builtin, Instance, describe
from dlc.compiler.elaborate.library.functions import floating, function, tensor_of
from dlc.compiler.elaborate.library.reductions import masked, mean, sum_
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


def reduction(reduce: Any) -> str | None:
    """What the setting `reduce` says: `mean`, `sum` or None; raises Problem."""
    if reduce is None:
        return None
    name = reduce.name if isinstance(reduce, Builtin) else reduce
    if name not in ("mean", "sum"):
        raise Problem("E0303", "`reduce` is `mean`, `sum` or `none`", f"this is {describe(reduce)}")
    return str(name)


@function("reduced")
def reduced(e: Elaborator, loss: Any, mask: Any = None, reduce: Any = "mean") -> Value:
    """A loss of each element as a scalar, or as it is (`none`): over what the mask chooses, the rest being 0.

    A mask that has fewer axes chooses whole rows: `[B, N]` for a loss `[B, N, 4]`.
    """
    value, how = tensor_of(loss, "reduced"), reduction(reduce)
    if mask is not None:
        mask = _of_rows(value, tensor_of(mask, "mask"))
    if how is None:
        return value if mask is None else masked(value, mask)[0]
    return mean(e, value, mask=mask) if how == "mean" else sum_(e, value, mask=mask)


def _of_rows(x: Value, mask: Value) -> Value:
    rank = mask.type.rank
    if not 0 < rank < x.type.rank or mask.shape != x.shape[:rank]:
        return mask
    if mask.shape == x.shape[x.type.rank - rank :]:
        message = f"a mask {mask.type} could be of the first or of the last axes of {x.type}"
        raise Problem("E0308", message, help="give it the loss's rank: `mask[:, none]`")
    return op.Unsqueeze(mask, ints(*range(rank, x.type.rank)))


@function("cross_entropy")
def cross_entropy(
    e: Elaborator, logits: Any, target: Any, mask: Any = None, smoothing: float = 0.0, reduce: Any = "mean"
) -> Value:
    """-log softmax(logits) at the target class; with smoothing s, (1 - s) of that and s of the mean over classes.

    `[..., classes]` and i64 `[...]`; `reduce` is `mean`, `sum` or `none`, for the loss of each row.
    Source: Szegedy et al. (2016), section 7, for the smoothing.
    """
    scores, classes = floating(logits, "cross_entropy"), tensor_of(target, "cross_entropy")
    logs: Value = op.LogSoftmax(scores, axis=scores.type.rank - 1)
    picked = _pick(logs, classes, "cross_entropy")
    if isinstance(smoothing, bool) or not isinstance(smoothing, int | float) or not 0 <= smoothing <= 1:
        raise Problem("E0303", "`smoothing` is between 0 and 1", f"this is {describe(smoothing)}")
    if smoothing:
        picked = picked * (1 - smoothing) + op.ReduceMean(logs, ints(-1), keepdims=1) * smoothing
    if reduction(reduce) != "mean" or mask is not None:
        return reduced(e, -op.Squeeze(picked, ints(-1)), mask, reduce)
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
