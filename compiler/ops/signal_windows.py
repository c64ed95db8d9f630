"""Window functions of signal processing, and the weights that take a spectrum to the mel scale."""

from __future__ import annotations

import numpy as np

from dlc.compiler.ops.element_types import element_type
from dlc.compiler.ops.extents import extents
from dlc.compiler.ops.rules import NUMBERS, expect
from dlc.compiler.registry import Call, IllTyped, define, evaluate, no_gradient, zero_gradient
from dlc.compiler.types import Array, Dim, Type, quotient, unknown

INDEX = frozenset({"i32", "i64"})


def _count(call: Call, index: int) -> Dim:
    """A size that an integer scalar says: a fresh dimension where data decides it."""
    found = expect(call, index, INDEX)
    if found.shape not in ((), (1,)):
        raise IllTyped(f"{call.op}: input {index + 1} is one number, not {found}")
    dims = extents(call.inputs[index])
    if dims is not None and isinstance(dims[0], int) and dims[0] < 0:
        raise IllTyped(f"{call.op}: {dims[0]} is no size")
    return unknown() if dims is None else dims[0]


def _output(call: Call) -> str:
    dtype = element_type(call, "output_datatype", "f32")
    if dtype not in NUMBERS:
        raise IllTyped(f"{call.op} gives numbers, not {dtype}")
    return dtype


def _window(call: Call) -> list[Type]:
    return [Type(_output(call), (_count(call, 0),))]


def _cosines(name: str, *weights: float) -> None:
    """A window sum_k (-1)^k weights[k] cos(2 pi k i / N), with N the size, less 1 if it is not periodic."""
    define(name, _window)
    no_gradient("its input is an integer", name)

    @evaluate(name)
    def _(size: Array, *, periodic: int = 1, output_datatype: str | int = "f32") -> Array:
        n = int(size.item())
        turn = 2 * np.pi * np.arange(n) / max(n if periodic else n - 1, 1)
        terms = [(-1) ** k * weight * np.cos(k * turn) for k, weight in enumerate(weights)]
        return np.asarray(np.sum(terms, axis=0))


_cosines("HannWindow", 0.5, 0.5)
_cosines("HammingWindow", 25 / 46, 21 / 46)
_cosines("BlackmanWindow", 0.42, 0.5, 0.08)


def _mel(call: Call) -> list[Type]:
    bins, length = _count(call, 0), _count(call, 1)
    expect(call, 2, INDEX)
    for index in (3, 4):
        if call.type(index) not in (Type("f32", ()), Type("f32", (1,))):
            raise IllTyped(f"MelWeightMatrix: its edges are f32[], not {call.type(index)}")
    return [Type(_output(call), (quotient(length, 2) + 1, bins))]


define("MelWeightMatrix", _mel)
zero_gradient("its edges are rounded to whole bins: flat between its steps", "MelWeightMatrix")
