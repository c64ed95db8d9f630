"""Cases of the operators whose derivative is zero almost everywhere, away from their steps.

Alone, they pass nothing on. In a product the other path leads on: of x * Floor(x) the gradient is Floor(x).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from oracles import Array, Case, apart, draw

from dlc.compiler.build import op
from dlc.compiler.graph import Value
from dlc.compiler.registry import lookup

try:
    import torch
    import torch.nn.functional as F
except ImportError:
    torch = F = None  # type: ignore[assignment]

SHAPES: tuple[tuple[int, ...], ...] = ((), (0, 3), (4, 5))
WHOLE, HALVES = (-2.0, -1.0, 0.0, 1.0, 2.0), (-1.5, -0.5, 0.5, 1.5)


def cases() -> Iterator[Case]:
    yield from rounded()
    yield from largest()
    yield from quantized()
    yield from quantized_products()
    yield from drawn()
    yield from mel()


def rounded() -> Iterator[Case]:
    plain: dict[str, tuple[Callable[[Any], Any], tuple[float, ...]]] = {
        "Floor": (lambda x: torch.floor(x), WHOLE), "Ceil": (lambda x: torch.ceil(x), WHOLE),
        "Round": (lambda x: torch.round(x), HALVES), "Sign": (lambda x: torch.sign(x), (0.0,)),
    }  # fmt: skip
    for name, (peer, steps) in plain.items():
        for shape in SHAPES:
            yield Case(name, (draw(1, *shape, away=steps),), torch=peer)
        x, w = draw(2, 4, 5, away=steps), draw(3, 5)
        yield Case(name, (x,), torch=lambda x, f=peer: x * f(x), label="times-x",
                   build=lambda x, n=name: x * op[n](x))  # fmt: skip
        yield Case(name, (x, w), torch=lambda x, w, f=peer: w * f(x) * torch.sin(x) + f(w * 0 + 0.3), label="beside",
                   build=lambda x, w, n=name: w * op[n](x) * op.Sin(x) + op[n](w * 0 + 0.3))  # fmt: skip


def largest() -> Iterator[Case]:
    for axis in (-1, 0, 1):
        x = apart(4, 3, 4, 2)

        def peer(x: Any, axis: int = axis) -> Any:
            return F.one_hot(x.argmax(axis), x.shape[axis]).movedim(-1, axis).to(x.dtype)

        yield Case("Hardmax", (x,), {"axis": axis}, lambda x, f=peer: f(x) + 0 * x, label=f"axis{axis}")
        yield Case("Hardmax", (x,), {"axis": axis}, lambda x, f=peer: f(x) * x, label=f"axis{axis}-times-x",
                   build=lambda x, a=axis: op.Hardmax(x, axis=a) * x)  # fmt: skip


def between(seed: int, scale: Any, *shape: int, low: int = -3, high: int = 9) -> Array:
    """Multiples of a scale, each moved by at most 0.3 of it: away from where rounding steps."""
    rng = np.random.default_rng(seed)
    return np.asarray((rng.integers(low, high, shape) + rng.uniform(-0.3, 0.3, shape)) * scale)


def quantized() -> Iterator[Case]:
    one, many, blocks = np.array(0.25), draw(5, 4, low=0.2, high=0.4), draw(6, 3, 2, low=0.2, high=0.4)
    wide = {"one": one, "axis": many, "block": np.repeat(blocks, 2, 1)}
    for label, scale, given in (("one", one, {}), ("axis", many, {"axis": 1}), ("block", blocks, {"block_size": 2})):
        for zero in (None, np.full(scale.shape, 2, np.uint8)):

            def peer(x: Any, s: Any, z: Any, label: str = label) -> Any:
                spread = s.repeat_interleave(2, 1) if label == "block" else s
                shift = 0 if z is None else 2
                return (torch.clamp(torch.round(x / spread) + shift, 0, 255) - shift) * spread * x

            def build(x: Value, s: Value, z: Value | None, given: dict[str, int] = given) -> Any:
                return op.DequantizeLinear(op.QuantizeLinear(x, s, z, **given), s, z, **given) * x

            x = between(7, wide[label], 3, 4)  # some below 0: cut off without a zero point
            yield Case("QuantizeLinear", (x, scale, zero), {}, peer, build=build,
                       label=f"{label}{'' if zero is None else '-zero'}")  # fmt: skip


def bytes_of(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).integers(0, 9, shape).astype(np.uint8)


def quantized_products() -> Iterator[Case]:
    """Products of quantized numbers, by the scales: those of the inputs, and that of the result.

    The result counts thirds of whole products: a sixth of a step away from where rounding steps.
    """
    scales, zeros = (np.array(0.3), np.array(0.2), np.array(3 * 0.3 * 0.2)), np.array(3, np.uint8)

    def cased(name: str, a: Array, b: Array, product: Callable[[Array, Array], Array]) -> Case:
        exact = product(a.astype(float) - 3, b.astype(float) - 3)

        def build(s: Value, t: Value, u: Value) -> Any:
            whole = op[name](a, s, zeros, b, t, zeros, u, zeros)
            return op.DequantizeLinear(whole, u, zeros) * s * t

        def peer(s: Any, t: Any, u: Any) -> Any:
            whole = torch.clamp(torch.round(torch.tensor(exact) * (s * t / u)) + 3, 0, 255)
            return (whole - 3) * u * s * t

        return Case(name, scales, {}, peer, build=build, label="by-its-scales")

    yield cased("QLinearMatMul", bytes_of(8, 3, 4), bytes_of(9, 4, 2), lambda a, b: a @ b)
    yield cased("QLinearConv", bytes_of(10, 1, 2, 4, 4), bytes_of(11, 3, 2, 2, 2), lambda a, b: np.einsum(
        "nchwij,ocij->nohw", np.lib.stride_tricks.sliding_window_view(a, (2, 2), (2, 3)), b))  # fmt: skip


def drawn() -> Iterator[Case]:
    """What a seed draws stays the same while the probabilities move a little; PyTorch draws by the same numbers."""
    x = draw(12, 4, 5, low=0.1, high=0.9)
    ones = lookup("Bernoulli").evaluate(x, seed=3.0)  # type: ignore[misc]

    def peer(x: Any) -> Any:
        return torch.bernoulli(torch.tensor(ones, dtype=x.dtype) + 0 * x)  # of 0 and 1 it draws themselves

    yield Case("Bernoulli", (x,), {"seed": 3.0}, peer, label="alone")
    yield Case("Bernoulli", (x,), {}, lambda x: peer(x) * x, build=lambda x: op.Bernoulli(x, seed=3.0) * x,
               label="times-x")  # fmt: skip


def mel() -> Iterator[Case]:
    bins, length, rate = 5, 64, 8000

    def build(low: Value, high: Value) -> Any:
        edges = (op.Cast(low, to="f32"), op.Cast(high, to="f32"))
        counts = (np.array(bins), np.array(length), np.array(rate))
        return op.MelWeightMatrix(*counts, *edges, output_datatype="f64") * low + high

    def peer(low: Any, high: Any) -> Any:
        """The triangles over whole bins, written as functions of the bins: floor passes nothing on."""
        mels = [2595 * torch.log10(1 + hertz / 700) for hertz in (low, high)]
        steps = torch.arange(bins + 2) * (mels[1] - mels[0]) / (bins + 2) + mels[0]
        at = torch.floor((length + 1) * 700 * (10 ** (steps / 2595) - 1) / rate)
        j, (left, center, right) = torch.arange(length // 2 + 1)[:, None], (at[:-2], at[1:-1], at[2:])
        rising, falling = (j - left) / (center - left), (right - j) / (right - center)
        weights = torch.where((j >= left) & (j < center), rising, 0 * falling)
        return torch.where((j >= center) & (j < right), falling, weights) * low + high

    yield Case("MelWeightMatrix", (np.array(310.0), np.array(3730.0)), {}, peer, build=build, label="by-its-edges")
