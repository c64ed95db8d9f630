"""Constants."""

from __future__ import annotations

from dlc.compiler.registry import Call, define, no_gradient
from dlc.compiler.types import Type, dtype_of


def _constant(call: Call) -> list[Type]:
    value = call.attributes["value"]
    return [Type(dtype_of(value), value.shape)]


define("Constant", _constant)
no_gradient("it reads nothing", "Constant")
