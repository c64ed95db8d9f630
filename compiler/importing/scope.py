"""What names mean while a model is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from dlc.compiler.graph import Value
from dlc.compiler.importing.errors import BadModel, Reason, Refused
from dlc.compiler.ops.schema import OPSET, Partial

if TYPE_CHECKING:
    from onnx import AttributeProto


@dataclass(frozen=True, slots=True)
class TensorSequence:
    """A sequence: tensors of one element type, their number known. It stands beside the graph, never in it."""

    dtype: str
    elements: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class OptionalValue:
    """An optional value, of which is known whether it has an element."""

    element: Value | TensorSequence | None


Held = TensorSequence | OptionalValue
Found = Value | Held


@dataclass(slots=True)
class Scope:
    """What names mean: in a graph, in a body (which sees the graph around it), or in a function (which does not).

    `values` are tensors, `held` what is resolved while reading: no name is in both.
    """

    opsets: Mapping[str, int]
    values: dict[str, Value | None] = field(default_factory=dict)
    around: Scope | None = None
    hints: Mapping[str, Partial] = field(default_factory=dict)
    attributes: Mapping[str, AttributeProto] | None = None  # of the call, in a function
    depth: int = 0
    held: dict[str, Held] = field(default_factory=dict)

    def find(self, name: str) -> Value | None:
        """The tensor of a name; raises BadModel for one that nothing has defined yet, Refused for one that is none."""
        found = self.anything(name)
        if isinstance(found, Held):
            refuse(found, f"it reads {name!r}")
        return found

    def anything(self, name: str) -> Found | None:
        """The tensor, sequence or optional value of a name; raises BadModel for one that nothing has defined yet."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.values:
                return scope.values[name]
            if name in scope.held:
                return scope.held[name]
            scope = scope.around
        raise BadModel(f"it reads {name!r}, which is not defined before it")

    def bind(self, name: str, value: Found | None) -> None:
        """Give a name its meaning in this scope."""
        if isinstance(value, Held):
            self.held[name] = value
        else:
            self.values[name] = value

    @property
    def version(self) -> int:
        return self.opsets.get("", OPSET)


def refuse(found: Held, where: str) -> NoReturn:
    """Raise Refused: a sequence or an optional value stands where only tensors can."""
    reason = Reason.SEQUENCE if isinstance(found, TensorSequence) else Reason.OPTIONAL
    kind = "a sequence" if isinstance(found, TensorSequence) else "an optional value"
    raise Refused(reason, f"{where}, {kind}; dlc resolves those while it reads a model, and has tensors only here")


__all__ = ["Found", "Held", "OptionalValue", "Scope", "TensorSequence", "refuse"]
