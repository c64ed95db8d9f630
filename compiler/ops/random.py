"""Random bits from a counter: the same on every machine, and the same again when a run resumes.

Element i of a tensor starts from i + k0 and goes through rounds of x -> (x * x + k) mod (2^31 - 1), in 64-bit integer
arithmetic that every provider has. The keys k0 and k1..k3 come from (seed, step, site) by the same rounds on a vector
of four. With i + k0 below 2^30 no two elements have squares that meet in the first round.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from dlc.compiler.build import ints, op, private
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.rules import show
from dlc.compiler.registry import Call, IllTyped, define, evaluate, lower, no_gradient
from dlc.compiler.types import Array, Shape, Type, product

MODULUS = 2**31 - 1
LIMIT = 2**29  # of the number of elements, and of k0
ROUNDS = 3


def _random_bits(call: Call) -> list[Type]:
    shape: Shape = call.attributes["shape"]
    for index in (0, 1):
        if call.type(index) != Type("i64", ()):
            raise IllTyped(f"dlc.RandomBits takes a seed and a step of type i64[], not {call.type(index)}")
    size = product(shape)
    if isinstance(size, int) and size >= LIMIT:
        raise IllTyped(f"dlc.RandomBits of {show(shape)}: no more than {LIMIT} elements are drawn at once")
    return [Type("i64", shape)]


define("dlc.RandomBits", _random_bits)
no_gradient("it is random", "dlc.RandomBits")


def _salts(site: str) -> Array:
    """Three numbers below the modulus for each of the four keys, derived from the name of the site."""
    digest = hashlib.shake_128(site.encode()).digest(4 * 3 * (ROUNDS + 1))
    return np.frombuffer(digest, "<u4").astype(np.int64).reshape(3, ROUNDS + 1) % MODULUS


def _keys(seed: Any, step: Any, site: str, mod: Any) -> Any:
    """Keys of a site, for numpy arrays and graph values alike; at least two rounds follow the seed, and the step."""
    first, second, third = _salts(site)
    x = mod(mod(seed, MODULUS) + first * first % MODULUS, MODULUS)
    for salt in (second, mod(step, MODULUS), third, first, second):
        x = mod(x * x + salt, MODULUS)
    return x


@evaluate("dlc.RandomBits")
def _(seed: Array, step: Array, *, site: str, shape: tuple[int, ...]) -> Array:
    keys = _keys(seed, step, site, np.mod)
    x = np.arange(int(np.prod(shape, dtype=np.int64)), dtype=np.int64) + keys[0] % LIMIT
    for key in keys[1:]:
        x = (x * x + key) % MODULUS
    return np.reshape(x, shape)


@lower("dlc.RandomBits")
def _(lowering: Any, node: Node, seed: Value, step: Value) -> Any:
    """The rounds run over a flat vector; each key is a vector of one, which stretches over it."""
    shape: Shape = node.attributes["shape"]
    keys = _keys(_Integer(seed), _Integer(step), node.attributes["site"], _mod)
    start, *rest = (_Integer(part) for part in op.Split(keys.value, axis=0, num_outputs=ROUNDS + 1, outputs=ROUNDS + 1))
    x = _Integer(op.Range(0, private.Size(dim=product(shape)), 1)) + _mod(start, LIMIT)
    for key in rest:
        x = _mod(x * x + key, MODULUS)
    return private.ReshapeTo(x.value, shape=shape)


class _Integer:
    """A graph value whose arithmetic takes numpy integers too."""

    def __init__(self, value: Value) -> None:
        self.value = value

    def __add__(self, other: Any) -> _Integer:
        return _Integer(op.Add(self.value, _operand(other)))

    def __mul__(self, other: Any) -> _Integer:
        return _Integer(op.Mul(self.value, _operand(other)))


def _mod(x: _Integer, modulus: int) -> _Integer:
    return _Integer(op.Mod(x.value, ints(modulus)[0]))


def _operand(other: Any) -> Value | Array:
    return other.value if isinstance(other, _Integer) else np.asarray(other, np.int64)
