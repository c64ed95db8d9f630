"""What a picture shows before it has positions: boxes, in groups, and what flows between them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

WIDE, NARROW = set("mwMW@%∂…"), set("iljtfrI.,:;'|![]() -")

KINDS: dict[str, frozenset[str]] = {
    "convolution": frozenset({"Conv", "ConvTranspose", "dlc.ConvInputGrad", "dlc.ConvWeightGrad", "ConvInteger"}),
    "recurrence": frozenset({"LSTM", "GRU", "RNN", "Scan", "Loop"}),
    "linear": frozenset({"MatMul", "Gemm", "Einsum", "MatMulInteger", "Attention"}),
    "embedding": frozenset({"Gather", "GatherElements", "GatherND"}),
    "normalization": frozenset(
        {
            "BatchNormalization",
            "LayerNormalization",
            "InstanceNormalization",
            "GroupNormalization",
            "RMSNormalization",
            "LRN",
            "LpNormalization",
            "MeanVarianceNormalization",
        }
    ),
    "pooling": frozenset(
        {
            "MaxPool",
            "AveragePool",
            "GlobalAveragePool",
            "GlobalMaxPool",
            "LpPool",
            "MaxRoiPool",
            "dlc.MaxPoolGrad",
            "dlc.AveragePoolGrad",
        }
    ),
    "activation": frozenset(
        {
            "Relu",
            "Tanh",
            "Sigmoid",
            "Softmax",
            "LogSoftmax",
            "Gelu",
            "Erf",
            "Elu",
            "Selu",
            "Celu",
            "LeakyRelu",
            "PRelu",
            "HardSigmoid",
            "HardSwish",
            "Mish",
            "Softplus",
            "Softsign",
            "ThresholdedRelu",
            "Swish",
        }
    ),
    "random": frozenset({"dlc.RandomBits", "RandomUniform", "RandomNormal", "Bernoulli", "Dropout"}),
    "shape": frozenset(
        {
            "Reshape",
            "Transpose",
            "Flatten",
            "Squeeze",
            "Unsqueeze",
            "Concat",
            "Split",
            "Slice",
            "Pad",
            "Expand",
            "Tile",
            "Shape",
            "Identity",
            "Cast",
            "dlc.ReshapeTo",
            "dlc.ExpandTo",
            "dlc.SumTo",
            "dlc.Size",
            "Resize",
            "DepthToSpace",
            "SpaceToDepth",
        }
    ),
}
"""The operators that give a box its kind, the first kind of which a box has one; any other is arithmetic."""

SILENT = KINDS["shape"] | {"Constant", "ConstantOfShape", "Range", "Where"}
"""Operators that a summary leaves out if there are others."""


@dataclass(slots=True)
class Box:
    """One box. `lines` are its texts, the first its name; `kind` its colour; `hover` what the pointer brings up.

    `group` is the innermost group that it lies in.
    """

    lines: tuple[str, ...]
    kind: str
    hover: str = ""
    group: Group | None = None


@dataclass(eq=False, slots=True)
class Group:
    """Boxes that belong together, drawn on a background; `parent` is the group around it."""

    label: str
    parent: Group | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Edge:
    """What flows from one box to another, by their numbers."""

    source: int
    target: int
    hover: str = ""


@dataclass(slots=True)
class Picture:
    """Boxes and edges under a title, with a line of numbers below it.

    A training step has beside each box what belongs to it: `gradients` holds the box of its gradient and `updates`
    that of its weights' update, `returns` the edges along which a gradient flows back, `reads` the boxes whose gradient
    reads what the forward pass made, `aside` what serves all updates.
    """

    title: str
    subtitle: str = ""
    boxes: list[Box] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    gradients: dict[int, Box] = field(default_factory=dict)
    updates: dict[int, Box] = field(default_factory=dict)
    returns: list[Edge] = field(default_factory=list)
    reads: dict[int, str] = field(default_factory=dict)
    aside: Box | None = None


def kind_of(operators: Iterable[str], label: str = "") -> str:
    """The kind of a box that consists of these operators; `label` says what a group of simple ones is."""
    found = set(operators)
    for word, kind in (("norm", "normalization"), ("_pool", "pooling"), ("random_", "random")):
        if word in label:
            return kind
    for kind, names in KINDS.items():
        if kind == "shape":
            break
        if not found.isdisjoint(names):
            return kind
    return "shape" if found <= SILENT else "arithmetic"


def summary(operators: Iterable[str], most: int = 3) -> str:
    """The names of operators for people: each once, the few that matter."""
    names = list(dict.fromkeys(operators))
    telling = [name for name in names if name not in SILENT] or [name for name in names if name != "Constant"]
    words = [name.removeprefix("dlc.") for name in telling or names]
    return ", ".join(words) if len(words) <= most else ", ".join([*words[: most - 1], "…", words[-1]])


def short_text(text: str, most: int = 30) -> str:
    """The text, its end replaced by an ellipsis where it is longer than `most` characters."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def text_width(text: str, size: float, bold: bool = False) -> float:
    """About how wide a text is in a sans-serif font of `size` pixels; rather too wide than too narrow."""
    units = sum(0.95 if c in WIDE else 0.38 if c in NARROW else 0.74 if c.isupper() else 0.63 for c in text)
    return units * size * (1.08 if bold else 1.0)
