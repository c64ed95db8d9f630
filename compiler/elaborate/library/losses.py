"""Losses, metrics and penalties."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dlc.compiler.build import ints, op
from dlc.compiler.elaborate.context import Elaborator
from dlc.compiler.elaborate.entities import Builtin, Instance, describe
from dlc.compiler.elaborate.kinds import Count, Floats, Mask, Reduction, Share, Tensor
from dlc.compiler.elaborate.library.functions import along, function
from dlc.compiler.elaborate.library.reductions import masked, mean, sum_
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value


def _check_classes(x: Value, index: Value, what: str) -> None:
    """Each class belongs to one row of scores, which are on the last axis; raises Problem."""
    if index.dtype != "i64":
        raise Problem("E0302", f"`{what}` wants classes as i64", f"these are {index.type}", argument="target")
    if not x.shape:
        raise Problem("E0301", f"`{what}` wants scores with the classes on their last axis", f"this is {x.type}")
    if x.shape[:-1] != index.shape:
        raise Problem(
            "E0301",
            f"`{what}`: scores and classes do not agree",
            f"{x.type} has the classes on its last axis, so i64[{', '.join(map(str, x.shape[:-1]))}] is wanted, "
            f"and this is {index.type}",
        )


def reduction(reduce: Reduction) -> str | None:
    """What the setting `reduce` says: `mean`, `sum` or None."""
    return reduce.name if isinstance(reduce, Builtin) else reduce


@function("reduced", along)
def reduced(e: Elaborator, loss: Tensor, mask: Mask | None = None, reduce: Reduction = "mean") -> Value:
    """A loss of each element as a scalar, or as it is (`none`): over what the mask chooses, the rest being 0.

    A mask that has fewer axes chooses whole rows: `[B, N]` for a loss `[B, N, 4]`.
    """
    how = reduction(reduce)
    if mask is not None:
        mask = _of_rows(loss, mask)
    if how is None:
        return loss if mask is None else masked(loss, mask)[0]
    return mean(e, loss, mask=mask) if how == "mean" else sum_(e, loss, mask=mask)


def _of_rows(x: Value, mask: Value) -> Value:
    rank = mask.type.rank
    if not 0 < rank < x.type.rank or mask.shape != x.shape[:rank]:
        return mask
    if mask.shape == x.shape[x.type.rank - rank :]:
        message = f"a mask {mask.type} could be of the first or of the last axes of {x.type}"
        raise Problem("E0308", message, help="give it the loss's rank: `mask[:, none]`", argument="mask")
    return op.Unsqueeze(mask, ints(*range(rank, x.type.rank)))


@function("cross_entropy", along)
def cross_entropy(
    e: Elaborator, logits: Floats, target: Tensor, mask: Mask | None = None, smoothing: Share = 0.0,
    reduce: Reduction = "mean",
) -> Value:  # fmt: skip
    """-log softmax(logits) at the target class; with smoothing s, (1 - s) of that and s of the mean over classes.

    `[..., classes]` and i64 `[...]`; `reduce` is `mean`, `sum` or `none`, for the loss of each row.
    Source: Szegedy et al. (2016), section 7, for the smoothing.
    """
    _check_classes(logits, target, "cross_entropy")
    # A loss of each row can be masked by whoever asked for it.
    e.looked_up("cross_entropy", target, logits.shape[-1], mask is not None or reduction(reduce) is None)
    logs: Value = op.LogSoftmax(logits, axis=logits.type.rank - 1)
    picked = op.GatherElements(logs, op.Unsqueeze(target, ints(-1)), axis=logits.type.rank - 1)
    if smoothing:
        picked = picked * (1 - smoothing) + op.ReduceMean(logs, ints(-1), keepdims=1) * smoothing
    if reduction(reduce) != "mean" or mask is not None:
        return reduced(e, -op.Squeeze(picked, ints(-1)), mask, reduce)
    return -op.ReduceMean(picked, keepdims=0)


@function("accuracy", along)
def accuracy(e: Elaborator, logits: Tensor, target: Tensor, k: Count = 1, mask: Mask | None = None) -> Value:
    """The share of examples whose class is among the k highest scores."""
    _check_classes(logits, target, "accuracy")
    if mask is None:
        e.looked_up("accuracy", target, logits.shape[-1])
    if k == 1:
        hit = op.Equal(op.ArgMax(logits, axis=logits.type.rank - 1, keepdims=0), target)
        return mean(e, hit, mask=mask)
    count = logits.shape[-1]
    if isinstance(count, int) and k > count:
        raise Problem("E0303", f"the {k} highest of {count} scores", f"this is {logits.type}", argument="k")
    _, best = op.TopK(logits, ints(k), axis=logits.type.rank - 1, outputs=2)
    hits = op.Cast(op.Equal(best, op.Unsqueeze(target, ints(-1))), to=e.mode.working)
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
