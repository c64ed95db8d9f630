"""Models built of the operators on sequences, in float64, each with what PyTorch does instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx_models import model
from oracles import Array, draw

try:
    import torch
except ImportError:
    torch = None  # type: ignore[assignment]

Node = helper.make_node


@dataclass(frozen=True)
class ModelCase:
    """A model that is a case of an operator. `inputs` are what it is differentiated by, in order; `torch` takes them as
    tensors and gives the outputs. `symbolic` names the dimensions of a size."""

    op: str
    label: str
    nodes: Sequence[onnx.NodeProto]
    inputs: Mapping[str, Array]
    torch: Callable[..., Any]
    outputs: Sequence[str] = ("y",)
    constants: Mapping[str, Array] = field(default_factory=dict)
    symbolic: Mapping[int, str] = field(default_factory=dict)
    functions: Sequence[onnx.FunctionProto] = ()

    @property
    def name(self) -> str:
        return f"{self.op}-{self.label}"

    def model(self) -> onnx.ModelProto:
        types = {
            name: ("double", [self.symbolic.get(size, size) for size in array.shape])
            for name, array in self.inputs.items()
        }
        opsets = {"own": 1} if self.functions else {}
        return model(self.nodes, types, self.outputs, constants=self.constants, functions=self.functions, opsets=opsets)


def scalar(value: int) -> Array:
    return np.array(value, np.int64)


def three() -> dict[str, Array]:
    return {"a": draw(1, 2, 3), "b": draw(2, 2, 3), "c": draw(3, 2, 3)}


def construct(*names: str, to: str = "s") -> onnx.NodeProto:
    return Node("SequenceConstruct", names, [to])


def concat(axis: int, new_axis: int = 0, of: str = "s") -> onnx.NodeProto:
    return Node("ConcatFromSequence", [of], ["y"], axis=axis, new_axis=new_axis)


def cases() -> Iterator[ModelCase]:
    yield from joined()
    yield from edited()
    yield from read()
    yield from split()


def joined() -> Iterator[ModelCase]:
    for axis in (0, 1, -1):
        yield ModelCase(
            "ConcatFromSequence",
            f"axis{axis}",
            [construct("a", "b", "c"), concat(axis)],
            three(),
            lambda *xs, axis=axis: torch.cat(xs, axis),
        )
    for axis in (0, 2, -1, -3):
        yield ModelCase(
            "ConcatFromSequence",
            f"new{axis}",
            [construct("a", "b", "c"), concat(axis, 1)],
            three(),
            lambda *xs, axis=axis: torch.stack(xs, axis),
        )
    uneven = {"a": draw(1, 2, 3), "b": draw(2, 2, 1)}
    yield ModelCase(
        "ConcatFromSequence", "uneven", [construct("a", "b"), concat(1)], uneven, lambda *xs: torch.cat(xs, 1)
    )
    yield ModelCase(
        "ConcatFromSequence",
        "symbolic",
        [construct("a", "b"), concat(-1)],
        {"a": draw(1, 4, 3), "b": draw(2, 4, 1)},
        lambda *xs: torch.cat(xs, 1),
        symbolic={4: "B"},
    )
    yield ModelCase(
        "SequenceConstruct",
        "twice",
        [construct("a", "b", "a"), concat(0)],
        dict(list(three().items())[:2]),
        lambda a, b: torch.cat([a, b, a]),
    )
    yield ModelCase("SequenceConstruct", "one", [construct("a"), concat(0, 1)], {"a": draw(1, 3)}, lambda a: a[None])


def edited() -> Iterator[ModelCase]:
    for at in (None, 0, 1, 2, -1, -2):
        place = [] if at is None else ["at"]
        nodes = [construct("a", "b"), Node("SequenceInsert", ["s", "c", *place], ["t"]), concat(0, of="t")]
        yield ModelCase(
            "SequenceInsert",
            f"at{at}",
            nodes,
            three(),
            lambda a, b, c, at=at: torch.cat(_put([a, b], c, at)),
            constants={} if at is None else {"at": scalar(at)},
        )
    grown = [
        Node("SequenceEmpty", [], ["s0"], dtype=TensorProto.DOUBLE),
        *(Node("SequenceInsert", [f"s{i}", name], [f"s{i + 1}"]) for i, name in enumerate("abc")),
        concat(1, 1, of="s3"),
    ]
    yield ModelCase("SequenceInsert", "grown", grown, three(), lambda *xs: torch.stack(xs, 1))
    for at in (None, 0, 2, -1, -3):
        place = [] if at is None else ["at"]
        nodes = [construct("a", "b", "c"), Node("SequenceErase", ["s", *place], ["t"]), concat(0, of="t")]
        yield ModelCase(
            "SequenceErase",
            f"at{at}",
            nodes,
            three(),
            lambda *xs, at=at: torch.cat(_without(xs, at)),
            constants={} if at is None else {"at": scalar(at)},
        )


def _put(xs: list[Any], x: Any, at: int | None) -> list[Any]:
    xs.insert(len(xs) if at is None else at, x)
    return xs


def _without(xs: Sequence[Any], at: int | None) -> list[Any]:
    return [x for i, x in enumerate(xs) if i != (-1 if at is None else at) % len(xs)]


def read() -> Iterator[ModelCase]:
    for at in (0, 2, -1, -3):
        nodes = [construct("a", "b", "c"), Node("SequenceAt", ["s", "at"], ["d"]), Node("Mul", ["d", "a"], ["y"])]
        yield ModelCase(
            "SequenceAt", str(at), nodes, three(), lambda *xs, at=at: xs[at] * xs[0], constants={"at": scalar(at)}
        )
    computed = [
        construct("a", "b", "c"),
        Node("SequenceLength", ["s"], ["n"]),
        Node("Sub", ["n", "two"], ["at"]),
        Node("SequenceAt", ["s", "at"], ["d"]),
        Node("Mul", ["d", "c"], ["y"]),
    ]
    yield ModelCase("SequenceAt", "computed", computed, three(), lambda a, b, c: b * c, constants={"two": scalar(2)})
    by_shape = [
        construct("a", "b", "c"),
        Node("Shape", ["a"], ["n"], start=0, end=1),
        Node("Squeeze", ["n"], ["at"]),
        Node("SequenceAt", ["s", "at"], ["d"]),
        Node("Mul", ["d", "d"], ["y"]),
    ]
    yield ModelCase("SequenceAt", "by-shape", by_shape, three(), lambda a, b, c: c * c + 0 * (a + b))
    swapped = [
        construct("a", "b"),
        Node("SequenceAt", ["s", "i"], ["p"]),
        Node("SequenceAt", ["s", "j"], ["q"]),
        Node("Div", ["q", "p"], ["y"]),
    ]
    yield ModelCase(
        "SequenceAt",
        "both",
        swapped,
        {"a": draw(1, 4, low=0.5), "b": draw(2, 4)},
        lambda a, b: b / a,
        constants={"i": scalar(0), "j": scalar(1)},
    )


def split() -> Iterator[ModelCase]:
    x = {"x": draw(1, 5, 3)}

    def picked(*at: int) -> list[onnx.NodeProto]:
        """The product of two parts (or a part by itself) as one output each."""
        first, second = f"i{at[0]}", f"i{at[1]}"
        return [
            Node("SequenceAt", ["s", first], ["p"]),
            Node("SequenceAt", ["s", second], ["q"]),
            Node("Mul", ["p", "q"], ["y"]),
        ]

    at = {f"i{i}": scalar(i) for i in range(-2, 5)}
    for keepdims in (0, 1):
        yield ModelCase(
            "SplitToSequence",
            f"ones-keep{keepdims}",
            [Node("SplitToSequence", ["x"], ["s"], axis=-1, keepdims=keepdims), *picked(0, 2)],
            x,
            lambda x, k=keepdims: _apart(x, 1, 1, k)[0] * _apart(x, 1, 1, k)[2],
            constants=at,
        )
    yield ModelCase(
        "SplitToSequence",
        "twos",
        [Node("SplitToSequence", ["x", "n"], ["s"], axis=0), *picked(0, 1)],
        x,
        lambda x: torch.split(x, 2)[0] * torch.split(x, 2)[1],
        constants={**at, "n": scalar(2)},
    )
    yield ModelCase(
        "SplitToSequence",
        "rest",
        [Node("SplitToSequence", ["x", "n"], ["s"]), *picked(-1, 2)],
        x,
        lambda x: torch.split(x, 2)[-1] * torch.split(x, 2)[2],
        constants={**at, "n": scalar(2)},
    )
    yield ModelCase(
        "SplitToSequence",
        "sizes",
        [Node("SplitToSequence", ["x", "n"], ["s"], axis=-2), *picked(1, 1)],
        x,
        lambda x: torch.split(x, [1, 4])[1] ** 2,
        constants={**at, "n": np.array([1, 4])},
    )
    yield ModelCase(
        "SplitToSequence",
        "computed",
        [
            Node("Shape", ["x"], ["n"], start=1),
            Node("Div", ["n", "n"], ["one"]),
            Node("Mul", ["one", "sizes"], ["m"]),
            Node("SplitToSequence", ["x", "m"], ["s"]),
            *picked(1, 1),
        ],
        x,
        lambda x: torch.split(x, [2, 3])[1] ** 2,
        constants={**at, "sizes": np.array([2, 3])},
    )
    yield ModelCase(
        "SplitToSequence",
        "and-back",
        [Node("SplitToSequence", ["x"], ["s"], axis=1, keepdims=0), concat(0, 1)],
        x,
        lambda x: x.T,
    )
    yield ModelCase(
        "SplitToSequence",
        "symbolic",
        [Node("SplitToSequence", ["x"], ["s"], axis=1, keepdims=0), *picked(0, 2)],
        x,
        lambda x: x[:, 0] * x[:, 2],
        constants=at,
        symbolic={5: "B"},
    )
    yield ModelCase(
        "SplitToSequence",
        "one",
        [Node("SplitToSequence", ["x", "n"], ["s"]), *picked(0, -1)],
        x,
        lambda x: x * x,
        constants={**at, "i-1": scalar(-1), "n": scalar(9)},
    )


def _apart(x: Any, size: int, axis: int, keepdims: int) -> Any:
    return torch.split(x, size, axis) if keepdims else torch.unbind(x, axis)
