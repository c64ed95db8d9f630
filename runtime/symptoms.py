"""What ails a run, by the norms of its layers: vanishing and exploding gradients, dead ReLUs, steps that are too long.

The limits are rules of thumb. They are wide, so that a run that is well hears nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

TIMES = 3  # how often in a row something that may pass by itself has to be seen
VANISHED = 1e-7  # of the weights' size
FAR_BELOW = 1e-5  # of the layer that learns most
EXPLODED = 1e3  # times the weights' size
GROWN = 1e3  # times what it was, or what the first layer has
ACTIVE = 1e4
TOO_LONG = 1.0  # of the weights' size
DEAD = 0.95  # of what a relu gives; nets that are well may have nine zeros of ten
NAMED = 3  # layers that a warning names


@dataclass(frozen=True)
class Layer:
    """One look at a layer. The norms are those of all its weights together; `activation` and `zeros` are None where
    there is no such value."""

    name: str
    activation: float | None
    zeros: float | None
    gradient: float
    norm: float
    update: float

    @property
    def relative(self) -> float | None:
        """The gradient beside the weights' size; None where they are all zero."""
        return self.gradient / self.norm if self.norm else None

    @property
    def change(self) -> float | None:
        return self.update / self.norm if self.norm else None


def layers_of(values: Mapping[str, float]) -> list[Layer]:
    """The layers of a line of watch.jsonl, `{"net.conv:activation": ..., "net.conv.weight:gradient": ...}`, in the
    order of the forward pass."""
    own: dict[str, dict[str, float]] = {}
    for name, value in values.items():
        where, _, what = name.rpartition(":")
        if what in ("activation", "zeros"):
            own.setdefault(where, {})[what] = value
            continue
        squares = own.setdefault(where.rpartition(".")[0] or where, {})
        squares[what] = squares.get(what, 0.0) + value * value
    found = []
    for name, each in own.items():
        gradient, norm, update = (math.sqrt(each.get(what, 0.0)) for what in ("gradient", "norm", "update"))
        found.append(Layer(name, each.get("activation"), each.get("zeros"), gradient, norm, update))
    return found


@dataclass(frozen=True)
class Cause:
    """`told` of the worst layer says what was seen."""

    title: str
    help: str
    told: Callable[[Layer, Sequence[Layer]], str]


def _strongest(layers: Sequence[Layer]) -> Layer:
    return max(layers, key=lambda layer: layer.relative or 0.0)


def _vanishing(layer: Layer, layers: Sequence[Layer]) -> str:
    best = _strongest(layers)
    told = f"the gradient of `{layer.name}` is {layer.gradient:.1e}, {layer.relative or 0:.0e} of its weights' size"
    return told if best is layer else f"{told}; that of `{best.name}` is {best.relative or 0:.0e} of its own"


def _exploding(layer: Layer, layers: Sequence[Layer]) -> str:
    return f"the gradient of `{layer.name}` is {layer.gradient:.1e}, its weights {layer.norm:.1e}"


def _growing(layer: Layer, layers: Sequence[Layer]) -> str:
    first = next(each for each in layers if each.activation is not None)
    beside = "" if first is layer else f", that of `{first.name}` {first.activation:.1e}"
    return f"the output of `{layer.name}` is {layer.activation:.1e} (root mean square){beside}"


def _dead(layer: Layer, layers: Sequence[Layer]) -> str:
    return f"{layer.zeros:.0%} of what the relu after `{layer.name}` gives is zero, and passes no gradient on"


def _long(layer: Layer, layers: Sequence[Layer]) -> str:
    return f"each step changes `{layer.name}` by {layer.change or 0:.2g} times the size of its weights"


CAUSES = {
    "vanishing": Cause(
        "vanishing gradients",
        "relu instead of sigmoid or tanh, `init=he`, a BatchNorm after each layer, or fewer layers may help",
        _vanishing,
    ),
    "exploding": Cause(
        "exploding gradients",
        "`clip_norm = 1.0`, a smaller learning rate, `init=he` or a BatchNorm may help",
        _exploding,
    ),
    "growing": Cause(
        "exploding activations",
        "smaller first weights (`init=he` before relu, else `init=glorot`) or a BatchNorm after each layer may help",
        _growing,
    ),
    "dead": Cause(
        "dead units", "a smaller learning rate, `init=he`, biases that begin at 0, or leaky_relu may help", _dead
    ),
    "long": Cause("steps that are too long", "a smaller learning rate or `clip_norm` may help", _long),
}  # fmt: skip


class Symptoms:
    """Looks at the layers again and again, and tells each layer's trouble once for each cause."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], int] = {}
        self._told: set[tuple[str, str]] = set()
        self._first: dict[str, float] = {}
        self._most: dict[str, float] = {}
        self._gradients: dict[str, list[float]] = {}

    def see(self, layers: Sequence[Layer]) -> list[str]:
        """The warnings that are new after this look, one for each cause."""
        for layer in layers:
            self._first.setdefault(layer.name, layer.norm)
            self._most[layer.name] = max(self._most.get(layer.name, 0.0), layer.relative or 0.0)
        found: dict[str, list[Layer]] = {}
        for layer in layers:
            for cause, (here, times) in self._signs(layer, layers).items():
                key = (layer.name, cause)
                self._rows[key] = self._rows.get(key, 0) + 1 if here else 0
                if self._rows[key] >= times and key not in self._told:
                    self._told.add(key)
                    found.setdefault(cause, []).append(layer)
            if math.isfinite(layer.gradient):
                self._gradients.setdefault(layer.name, []).append(layer.gradient)
        return [_text(CAUSES[cause], troubled, layers) for cause, troubled in found.items()]

    def _signs(self, layer: Layer, layers: Sequence[Layer]) -> dict[str, tuple[bool, int]]:
        """Each cause: is it here now, and how often in a row must it be?"""
        return {
            "vanishing": (self._vanishing(layer, layers), TIMES),
            "exploding": (self._exploding(layer), 1),
            "growing": (_grows(layer, layers), 1),
            "dead": ((layer.zeros or 0.0) > DEAD, TIMES),
            "long": (self._first[layer.name] > 0 and (layer.change or 0.0) > TOO_LONG, TIMES),
        }

    def _vanishing(self, layer: Layer, layers: Sequence[Layer]) -> bool:
        share = layer.relative
        if share is None or any((each.zeros or 0.0) > DEAD for each in layers):
            return False  # behind dead units there is no gradient: the cause that is told
        best = _strongest(layers).relative or 0.0
        # Of a net that has learnt all there is, every gradient is small; then this one was larger before.
        always = share < VANISHED and self._most[layer.name] < 10 * VANISHED
        return always or share < FAR_BELOW * best

    def _exploding(self, layer: Layer) -> bool:
        if not math.isfinite(layer.gradient):
            return True
        share = layer.relative
        if share is None or not self._first[layer.name]:
            return False  # weights that begin at 0 are small beside any gradient
        before = self._gradients.get(layer.name, [])
        leaps = len(before) >= 5 and share > 1 and layer.gradient > GROWN * median(before) > 0
        return share > EXPLODED or leaps


def _grows(layer: Layer, layers: Sequence[Layer]) -> bool:
    """Hidden layers only: what the last one gives has the size of the data."""
    watched = [each for each in layers if each.activation is not None]
    if layer not in watched or (layer is watched[-1] and len(watched) > 1):
        return False
    size, first = layer.activation or 0.0, watched[0].activation or 0.0
    return not math.isfinite(size) or (size > ACTIVE and size > GROWN * first)


def _text(cause: Cause, troubled: Sequence[Layer], layers: Sequence[Layer]) -> str:
    names = [f"`{layer.name}`" for layer in troubled]
    more = len(names) - NAMED
    listed = ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
    return f"{cause.title} in {listed}: {cause.told(troubled[0], layers)}. {cause.help[0].upper()}{cause.help[1:]}."


__all__ = ["Layer", "Symptoms", "layers_of"]
