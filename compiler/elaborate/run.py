"""What a train section says, in one place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dlc.compiler.elaborate.context import Frame
from dlc.compiler.graph import Value
from dlc.dsl import ast

KEYS = (
    "loss", "metrics", "optimizer", "group", "freeze", "load", "clip_norm", "clip_value", "accumulate", "precision",
    "seed", "batch", "epochs", "steps", "early_stop", "keep", "checkpoint", "after",
)  # fmt: skip


@dataclass(frozen=True)
class Group:
    """A part of the net that learns by rules of its own; None: as the rest does.

    Where groups overlap, what the later one in the text says of a setting holds. An optimizer says all its settings: it
    stands in place of what earlier groups said, and its own group and later ones change it.
    """

    prefix: str
    lr_scale: float | None
    weight_decay: float | None
    optimizer: ast.Expr | None
    span: ast.Span

    @property
    def changed(self) -> dict[str, float]:
        """The settings of the optimizer that it changes: `lr` by a factor, the others to a value."""
        settings = {"lr": self.lr_scale, "weight_decay": self.weight_decay}
        return {name: value for name, value in settings.items() if value is not None}


def holds(part: str, address: str) -> bool:
    """Is this the address of that part, or of something in it?"""
    return address == part or address.startswith((part + ".", part + "["))


@dataclass
class Run:
    """What a train section says, elaborated in one mode."""

    name: str
    loss: Value | None = None
    parts: dict[str, Value] = field(default_factory=dict)
    metrics: dict[str, Value] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    optimizer: ast.Assign | None = None
    groups: list[Group] = field(default_factory=list)
    fields: dict[str, Value] = field(default_factory=dict)
    updated: dict[str, Value] = field(default_factory=dict)
    gradients: dict[str, Value] = field(default_factory=dict)
    frame: Frame | None = None
    result: Any = None
    """What the net returns for the fields that feed it; None for a net that waits to be called."""
    loss_span: ast.Span | None = None
