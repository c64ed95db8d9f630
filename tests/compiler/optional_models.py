"""Models in which sequences go through bodies, functions and optional values, each with what PyTorch does instead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper
from oracles import draw
from sequence_models import ModelCase, Node, concat, construct, three

try:
    import torch
except ImportError:
    torch = None  # type: ignore[assignment]

TYPE = helper.make_tensor_type_proto(TensorProto.DOUBLE, None)


def cases() -> Iterator[ModelCase]:
    yield from mapped()
    yield from optional()
    yield from passed_on()


def body(nodes: Sequence[onnx.NodeProto], inputs: Sequence[str], outputs: Sequence[str]) -> onnx.GraphProto:
    def typed(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.DOUBLE, None)

    return helper.make_graph(list(nodes), "body", [typed(name) for name in inputs], [typed(name) for name in outputs])


def mapped() -> Iterator[ModelCase]:
    tanh = body([Node("Tanh", ["e"], ["t"]), Node("Mul", ["t", "e"], ["r"])], ["e"], ["r"])
    yield ModelCase(
        "SequenceMap",
        "one",
        [construct("a", "b", "c"), Node("SequenceMap", ["s"], ["m"], body=tanh), concat(0, of="m")],
        three(),
        lambda *xs: torch.cat([x.tanh() * x for x in xs]),
    )
    product = body([Node("Mul", ["e", "f"], ["r"])], ["e", "f"], ["r"])
    yield ModelCase(
        "SequenceMap",
        "two-sequences",
        [
            construct("a", "b"),
            construct("b", "c", to="t"),
            Node("SequenceMap", ["s", "t"], ["m"], body=product),
            concat(0, 1, of="m"),
        ],
        three(),
        lambda a, b, c: torch.stack([a * b, b * c]),
    )
    yield ModelCase(
        "SequenceMap",
        "and-a-tensor",
        [construct("a", "b"), Node("SequenceMap", ["s", "c"], ["m"], body=product), concat(-1, of="m")],
        three(),
        lambda a, b, c: torch.cat([a * c, b * c], -1),
    )
    captured = body([Node("Sin", ["e"], ["t"]), Node("Mul", ["t", "c"], ["r"])], ["e"], ["r"])
    yield ModelCase(
        "SequenceMap",
        "captured",
        [construct("a", "b"), Node("SequenceMap", ["s"], ["m"], body=captured), concat(0, of="m")],
        three(),
        lambda a, b, c: torch.cat([a.sin() * c, b.sin() * c]),
    )
    both = body([Node("Exp", ["e"], ["p"]), Node("Neg", ["e"], ["q"])], ["e"], ["p", "q"])
    yield ModelCase(
        "SequenceMap",
        "two-results",
        [
            construct("a", "b", "c"),
            Node("SequenceMap", ["s"], ["m", "n"], body=both),
            Node("ConcatFromSequence", ["m"], ["y"], axis=0),
            Node("ConcatFromSequence", ["n"], ["z"], axis=1),
        ],
        three(),
        lambda *xs: [torch.cat([x.exp() for x in xs]), torch.cat([-x for x in xs], 1)],
        outputs=("y", "z"),
    )


def optional() -> Iterator[ModelCase]:
    got = Node("OptionalGetElement", ["o"], ["e"])
    square = Node("Mul", ["e", "e"], ["y"])
    for op in ("Optional", "OptionalGetElement"):
        yield ModelCase(op, "tensor", [Node("Optional", ["a"], ["o"]), got, square], {"a": draw(1, 4)}, lambda a: a * a)
    yield ModelCase(
        "Optional",
        "sequence",
        [construct("a", "b", "c"), Node("Optional", ["s"], ["o"]), got, concat(0, of="e")],
        three(),
        lambda *xs: torch.cat(xs),
    )
    yield ModelCase(
        "OptionalGetElement",
        "plain",
        [Node("OptionalGetElement", ["a"], ["e"]), square],
        {"a": draw(1, 4)},
        lambda a: a * a,
    )
    branches = {
        "then_branch": body([Node("OptionalGetElement", ["o"], ["r"])], [], ["r"]),
        "else_branch": body([Node("Neg", ["b"], ["q"])], [], ["q"]),
    }
    asked = [Node("OptionalHasElement", ["o"], ["has"]), Node("If", ["has"], ["e"], **branches), square]
    yield ModelCase(
        "OptionalGetElement",
        "if-there-is-one",
        [Node("Optional", ["a"], ["o"]), *asked],
        three(),
        lambda a, b, c: a * a + 0 * (b + c),
    )
    branches = {
        "then_branch": body([Node("Neg", ["b"], ["r"])], [], ["r"]),
        "else_branch": body([Node("Exp", ["b"], ["q"])], [], ["q"]),
    }
    asked = [Node("OptionalHasElement", ["o"], ["has"]), Node("If", ["has"], ["e"], **branches), square]
    yield ModelCase(
        "Optional",
        "without-an-element",
        [Node("Optional", [], ["o"], type=TYPE), *asked],
        three(),
        lambda a, b, c: b.exp() ** 2 + 0 * (a + c),
    )


def passed_on() -> Iterator[ModelCase]:
    """Sequences through Identity, If and functions: they stay what they are."""
    yield ModelCase(
        "SequenceConstruct",
        "identity",
        [construct("a", "b", "c"), Node("Identity", ["s"], ["t"]), concat(0, of="t")],
        three(),
        lambda *xs: torch.cat(xs),
    )
    outputs = [helper.make_tensor_sequence_value_info("r", TensorProto.DOUBLE, None)]
    branches = {
        name: helper.make_graph([construct(*given, to="r")], name, [], outputs)
        for name, given in (("then_branch", ("a", "b")), ("else_branch", ("b", "c", "a")))
    }
    for truth in (True, False):
        yield ModelCase(
            "SequenceConstruct",
            f"if-{truth}",
            [Node("If", ["yes"], ["s"], **branches), concat(0)],
            three(),
            lambda a, b, c, truth=truth: torch.cat([a, b] if truth else [b, c, a]) + 0 * c.sum(),
            constants={"yes": np.array(truth)},
        )
    function = helper.make_function(
        "own",
        "Swapped",
        ["u"],
        ["v"],
        [
            Node("Constant", [], ["zero"], value_int=0),
            Node("Constant", [], ["one"], value_int=1),
            Node("SequenceAt", ["u", "zero"], ["p"]),
            Node("SequenceAt", ["u", "one"], ["q"]),
            Node("SequenceConstruct", ["q", "p"], ["v"]),
        ],
        [helper.make_opsetid("", 21)],
    )
    yield ModelCase(
        "SequenceConstruct",
        "function",
        [construct("a", "b"), Node("Swapped", ["s"], ["t"], domain="own"), concat(0, of="t")],
        {"a": draw(1, 2, 3), "b": draw(2, 2, 3)},
        lambda a, b: torch.cat([b, a]),
        functions=[function],
    )
