"""ONNX's losses of classification, by class indices."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlc.compiler.build import ints, op, private
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.composition import composed
from dlc.compiler.ops.rules import expect, reduce_sum, where
from dlc.compiler.registry import Call, IllTyped, define
from dlc.compiler.types import FLOATS, Type

_INDEX = frozenset({"i32", "i64"})
_REDUCTIONS = ("none", "sum", "mean")


def _loss(call: Call) -> list[Type]:
    x, target = expect(call, 0, FLOATS), expect(call, 1, _INDEX)
    if x.rank < 2 or target.shape != (x.shape[0], *x.shape[2:]):
        raise IllTyped(f"{call.op} of {x} by {target}: [N, C, ...] and [N, ...] are expected")
    if call.has(2) and call.type(2) != x.with_shape(x.shape[1:2]):
        raise IllTyped(f"{call.op} of {x} weighted by {call.type(2)}: {x.with_shape(x.shape[1:2])} is expected")
    reduction = call.get("reduction", "mean")
    if reduction not in _REDUCTIONS:
        raise IllTyped(f'{call.op}: reduction = "{reduction}": one of {", ".join(_REDUCTIONS)} is expected')
    found = [x.with_shape(target.shape if reduction == "none" else ()), x]
    return found[: call.outputs if call.op == "SoftmaxCrossEntropyLoss" else 1]


define("NegativeLogLikelihoodLoss", _loss)
define("SoftmaxCrossEntropyLoss", _loss)


@composed("NegativeLogLikelihoodLoss")
def _(
    node: Node, x: Value, target: Value, weight: Value | None,
    *, reduction: str = "mean", ignore_index: int | None = None,
) -> Any:  # fmt: skip
    return _picked(x, target, weight, reduction, ignore_index)


@composed("SoftmaxCrossEntropyLoss", outputs=2)
def _(
    node: Node, x: Value, target: Value, weight: Value | None,
    *, reduction: str = "mean", ignore_index: int | None = None,
) -> Any:  # fmt: skip
    log_probability = op.LogSoftmax(x, axis=1)
    return _picked(log_probability, target, weight, reduction, ignore_index), log_probability


def _picked(x: Value, target: Value, weight: Value | None, reduction: str, ignore: int | None) -> Value:
    """-x at the target, times the target's weight; the mean is by the sum of the weights. What is ignored has none,
    and may be no class at all."""
    ignored = None if ignore is None else op.Equal(target, np.asarray(ignore, target.type.numpy))
    if ignored is not None:
        target = where(ignored, 0, target)
    loss: Value = -op.Squeeze(op.GatherElements(x, op.Unsqueeze(target, ints(1)), axis=1), ints(1))
    weights = op.Gather(weight, target, axis=0) if weight is not None else None
    if ignored is not None:
        loss = where(ignored, 0.0, loss)
        one: Any = private.ExpandTo(np.ones((), x.type.numpy), shape=target.shape) if weights is None else weights
        weights = where(ignored, 0.0, one)
    if weight is not None and weights is not None:
        loss = loss * weights
    every = range(loss.type.rank)
    if reduction == "none":
        return loss
    if reduction == "sum":
        return reduce_sum(loss, *every, keepdims=False)
    if weights is None:
        mean: Value = op.ReduceMean(loss, keepdims=0)
        return mean
    return reduce_sum(loss, *every, keepdims=False) / reduce_sum(weights, *every, keepdims=False)
