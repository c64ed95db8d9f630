"""Dropout as ONNX has it: random in training mode, the identity otherwise.

Its random numbers are the runtime's own; dlc's models are made with dlc.RandomBits instead, which resume exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dlc.compiler.build import current, op, private
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.rules import expect
from dlc.compiler.registry import Call, IllTyped, define, evaluate, expansion, lower
from dlc.compiler.types import FLOATS, Array, Type


def _dropout(call: Call) -> list[Type]:
    x = expect(call, 0, FLOATS)
    if call.has(1) and (expect(call, 1, FLOATS).size != 1 or call.type(1).rank > 1):
        raise IllTyped(f"Dropout by the ratio {call.type(1)}: a float scalar is expected")
    if call.has(2) and (call.type(2).dtype != "bool" or call.type(2).size != 1):
        raise IllTyped(f"Dropout with training_mode {call.type(2)}: a bool scalar is expected")
    return [x, x.with_dtype("bool")][: call.outputs]


define("Dropout", _dropout)


@evaluate("Dropout")
def _(
    x: Array, ratio: Array | None = None, training: Array | None = None, *, seed: int | None = None, **_: Any
) -> list[Array]:
    rate = 0.5 if ratio is None else float(ratio.item())
    if training is None or not training.item() or rate == 0:
        return [x, np.ones(x.shape, bool)]
    kept = np.random.default_rng(seed).random(x.shape) >= rate
    return [np.where(kept, x / np.asarray(1 - rate, x.dtype), 0), kept]


def _resting(training: Value | None) -> bool:
    """Whether nothing is ever dropped."""
    return training is None or (training.constant is not None and not training.constant.item())


def _identity(x: Value) -> tuple[Value, Value]:
    return op.Identity(x), private.ExpandTo(np.ones((), bool), shape=x.shape)


@expansion("Dropout")
def _(node: Node, x: Value, ratio: Value | None, training: Value | None) -> Any:
    """x * mask / (1 - ratio) with the mask of a node that nothing flows through: one draw serves both directions."""
    if _resting(training):
        return _identity(x)[: len(node.outputs)]
    assert training is not None
    given = None if ratio is None else private.Detach(ratio)
    drawn = current().add("Dropout", (private.Detach(x), given, training), node.attributes, outputs=2)
    kept = drawn.outputs[1]
    rate: Value = current().constant(0.5, x.dtype) if given is None else private.ReshapeTo(given, shape=())
    rate = rate if rate.dtype == x.dtype else op.Cast(rate, to=x.dtype)
    scale = op.Where(private.ReshapeTo(training, shape=()), 1 / (1 - rate), np.ones((), x.type.numpy))
    return [x * (op.Cast(kept, to=x.dtype) * scale), kept][: len(node.outputs)]


@lower("Dropout")
def _(lowering: Any, node: Node, x: Value, ratio: Value | None = None, training: Value | None = None) -> Any:
    return _identity(x)[: len(node.outputs)] if _resting(training) else None
