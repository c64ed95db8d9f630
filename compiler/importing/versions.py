"""Older forms of operators, rewritten to those of opset 21, one rule for each change of meaning.

Each rule says which version of the operator brought the change, and applies to nodes of models before it. Changes that
only widened element types, or added attributes whose defaults mean what was meant before, need none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlc.compiler.build import current, ints, op, private
from dlc.compiler.graph import Value
from dlc.compiler.importing.errors import BadModel, Reason, Refused
from dlc.compiler.types import product, quotient


@dataclass(slots=True)
class Application:
    """A node as it is read, its names resolved; rules change it."""

    op: str
    version: int  # the opset of the operator's definition that the model means
    inputs: list[Value | None]
    attributes: dict[str, Any]
    outputs: int

    def input(self, index: int) -> Value:
        """An input that must be there; raises BadModel."""
        value = self.inputs[index] if index < len(self.inputs) else None
        if value is None:
            raise BadModel(f"input {index + 1} is missing")
        return value

    def take(self, name: str, default: Any = None) -> Any:
        """An attribute, which the node then no longer has."""
        return self.attributes.pop(name, default)

    def place(self, index: int, value: Value | None) -> None:
        """Set an input that may not be there yet."""
        self.inputs.extend([None] * (index + 1 - len(self.inputs)))
        self.inputs[index] = value


Change = Callable[[Application], Sequence[Value] | None]
_CHANGES: dict[str, list[tuple[int, Change]]] = {}


def before(version: int, *names: str) -> Callable[[Change], Change]:
    """A rule for operators as they were before a version: it changes the node, or returns its outputs."""

    def record(rule: Change) -> Change:
        for name in names:
            _CHANGES.setdefault(name, []).append((version, rule))
            _CHANGES[name].sort(key=lambda change: change[0])
        return rule

    return record


def converted(a: Application) -> Sequence[Value] | None:
    """Bring a node to opset 21's form; its outputs where it was replaced by other nodes. Raises BadModel."""
    done: set[int] = set()
    while True:  # a rule may change the operator's name
        step = next(
            (
                (version, rule)
                for version, rule in _CHANGES.get(a.op, ())
                if a.version < version and id(rule) not in done
            ),
            None,
        )
        if step is None:
            return None
        done.add(id(step[1]))
        made = step[1](a)
        if made is not None:
            return made


def _vector(values: Sequence[int] | None) -> Value | None:
    return None if values is None else current().constant(ints(*values))


def _scalar(value: float, like: Value) -> Value:
    return current().constant(np.asarray(value), like.dtype)


@before(13, "Softmax", "LogSoftmax", "Hardmax")
def _(a: Application) -> Sequence[Value] | None:
    """Before, all axes from `axis` on were one."""
    x = a.input(0)
    rank = x.type.rank
    axis = a.take("axis", 1)
    axis += rank if axis < 0 else 0
    if axis == rank - 1:
        a.attributes["axis"] = -1
        return None
    flat = private.ReshapeTo(x, shape=(product(x.shape[:axis]), product(x.shape[axis:])))
    return [private.ReshapeTo(op[a.op](flat, axis=-1), shape=x.shape)]


@before(11, "Clip")
def _(a: Application) -> None:
    x = a.input(0)
    for index, name in ((1, "min"), (2, "max")):
        bound = a.take(name)
        if bound is not None:
            a.place(index, _scalar(bound, x))


@before(12, "Dropout")
def _(a: Application) -> Sequence[Value] | None:
    """Before, it dropped nothing outside of training tools."""
    ratio = a.take("ratio", 0.5)
    if a.outputs > 1 and a.version < 10:  # the mask was of the input's element type
        x = a.input(0)
        return [x, private.ExpandTo(np.ones((), x.type.numpy), shape=x.shape)]
    a.place(1, current().constant(ratio, "f32"))
    return None


@before(14, "BatchNormalization")
def _(a: Application) -> None:
    if a.take("spatial", 1) == 0:
        raise Refused(Reason.OLD_FORM, "BatchNormalization with spatial = 0, which opset 9 dropped")
    if a.outputs > 1:
        raise Refused(Reason.OLD_FORM, "BatchNormalization with outputs for training, whose form opset 14 changed")


@before(10, "Slice")
def _(a: Application) -> None:
    for index, name in ((1, "starts"), (2, "ends"), (3, "axes")):
        a.place(index, _vector(a.take(name)))


@before(11, "Pad")
def _(a: Application) -> None:
    a.place(1, _vector(a.take("pads")))
    a.place(2, _scalar(a.take("value", 0.0), a.input(0)))


@before(9, "Upsample")
def _(a: Application) -> None:
    a.place(1, current().constant(np.array(a.take("scales"), np.float32)))


@before(22, "Upsample")
def _(a: Application) -> None:
    """Opset 10 replaced it by Resize."""
    a.op = "Resize"
    _as_resize(a)
    if a.attributes.get("mode", "nearest") == "nearest":
        a.attributes["nearest_mode"] = "floor"


def _as_resize(a: Application) -> None:
    a.inputs = [a.inputs[0], None, a.input(1)]
    a.attributes["coordinate_transformation_mode"] = "asymmetric"
    a.version = 11


@before(11, "Resize")
def _(a: Application) -> None:
    """Where it shrank, the nearest place was rounded up; where it grew, down."""
    scales = a.input(1).constant
    _as_resize(a)
    if a.attributes.get("mode", "nearest") == "nearest":
        a.attributes["nearest_mode"] = "ceil" if scales is not None and bool((scales < 1).any()) else "floor"


@before(22, "Resize")
def _(a: Application) -> None:
    """An empty tensor stood for a missing one, and exporters go on with that."""
    for index in range(1, len(a.inputs)):
        value = a.inputs[index]
        if value is not None and value.type.size == 0:
            a.inputs[index] = None


def _axes_as_input(a: Application) -> None:
    a.place(1, _vector(a.take("axes")))


before(13, "Squeeze", "Unsqueeze", "ReduceSum")(_axes_as_input)
before(
    18, "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSumSquare",
)(_axes_as_input)  # fmt: skip


@before(13, "Split")
def _(a: Application) -> None:
    a.place(1, _vector(a.take("split")))


@before(18, "Split")
def _(a: Application) -> None:
    if len(a.inputs) < 2 or a.inputs[1] is None:
        a.attributes["num_outputs"] = a.outputs


@before(10, "TopK")
def _(a: Application) -> None:
    a.place(1, _vector((a.take("k"),)))


@before(11, "Scatter")
def _(a: Application) -> None:
    a.op = "ScatterElements"


before(99, "Scatter")(lambda a: setattr(a, "op", "ScatterElements"))


@before(20, "DFT")
def _(a: Application) -> None:
    a.place(2, current().constant(np.array(a.take("axis", 1), np.int64)))


@before(20, "GridSample")
def _(a: Application) -> None:
    mode = a.take("mode", "bilinear")
    a.attributes["mode"] = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)


@before(21, "GroupNormalization")
def _(a: Application) -> None:
    """Scale and bias were those of a group, and are now those of a channel."""
    channels, groups = a.input(0).shape[1], a.attributes["num_groups"]
    for index in (1, 2):
        each = private.ReshapeTo(a.input(index), shape=(groups, 1))
        wide = private.ExpandTo(each, shape=(groups, quotient(channels, groups)))
        a.inputs[index] = private.ReshapeTo(wide, shape=(channels,))


@before(16, "RoiAlign")
def _(a: Application) -> None:
    a.attributes["coordinate_transformation_mode"] = "output_half_pixel"


@before(99, "Resize")
def _(a: Application) -> None:
    """Axes from the front: of negative ones ONNX Runtime 1.31 takes the sizes as they stand, whatever the policy."""
    axes, rank = a.attributes.get("axes"), a.input(0).type.rank
    if axes is not None and all(-rank <= axis < rank for axis in axes):
        a.attributes["axes"] = tuple(axis % rank for axis in axes)


@before(99, "Range")
def _(a: Application) -> None:
    """ONNX Runtime takes vectors of one element for scalars, and ONNX's own function bodies rely on that."""
    for index, value in enumerate(a.inputs):
        if value is not None and value.shape == (1,):
            a.inputs[index] = _reshaped(value, ())


@before(99, "Squeeze", "Unsqueeze")
def _(a: Application) -> None:
    """A lone axis may be a scalar, for the same reason."""
    if len(a.inputs) > 1 and a.inputs[1] is not None and a.inputs[1].shape == ():
        a.inputs[1] = _reshaped(a.inputs[1], (1,))


def _reshaped(value: Value, shape: tuple[int, ...]) -> Value:
    array = value.constant
    made: Value = private.ReshapeTo(value, shape=shape) if array is None else current().constant(array.reshape(shape))
    return made


@before(9, "Scan")
def _(a: Application) -> None:
    raise Refused(Reason.OLD_FORM, "Scan of opset 8, which had a batch axis of its own; opset 9 dropped it")


__all__ = ["Application", "before", "converted"]
