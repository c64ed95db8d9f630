"""Compute at compile time what does not depend on any input."""

from __future__ import annotations

from collections.abc import Sequence

from dlc.compiler.build import current, rewrite
from dlc.compiler.graph import Graph, Node, Value
from dlc.compiler.passes.bodies import in_bodies

_RESHAPES = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"})
LIMIT = 1 << 20  # bytes: a larger result is folded only if it is no larger than what it is made of
# These differ from run to run, or say more than the tensor that they would become.
_KEPT = frozenset(
    {"Constant", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli",
     "dlc.RandomBits", "dlc.ExpandTo", "dlc.Gradient", "dlc.Detach", "dlc.Point"}
)  # fmt: skip


def fold(graph: Graph) -> Graph:
    """Replace nodes whose inputs are all constants by the constants they compute.

    `dlc.ExpandTo` stays: a stretched constant takes room and hides that it is a scalar. Arithmetic is that of the
    tensors' own element types, so that folding changes no bit of what an elementwise operator gives.
    """
    return rewrite(in_bodies(graph, fold), _visit)


def _visit(node: Node, inputs: tuple[Value | None, ...]) -> Sequence[Value] | None:
    if node.op in _KEPT or node.bodies or not node.outputs:
        return None
    if any(value is not None and value.constant is None for value in inputs):
        return None
    if not inputs and node.op.startswith("dlc."):
        return None
    if not all(output.type.is_static and output.dtype != "str" for output in node.outputs):
        return None
    made = sum(_bytes(output) for output in node.outputs)
    if made > max(LIMIT, sum(_bytes(value) for value in inputs if value is not None)):
        return None
    from dlc.compiler.evaluate import UNBOUNDED, evaluate_node

    if node.op in UNBOUNDED:
        return None
    try:
        arrays = evaluate_node(node, [None if value is None else value.constant for value in inputs])
    except NotImplementedError:  # nobody can say what it gives but the runtime
        return None
    except (ValueError, IndexError, ArithmeticError):
        return None  # constants that the operator does not take: the runtime says so, if it gets there
    except (KeyError, TypeError):
        if "declared" not in node.attributes:
            raise
        return None  # its type rule has refused the node, and onnx's inference has not: the runtime is to say why
    if any(array.shape != output.shape for array, output in zip(arrays, node.outputs, strict=True)):
        return None  # a model said another shape of it; whoever runs it will say so
    folded = [current().constant(array, output.dtype) for array, output in zip(arrays, node.outputs, strict=True)]
    if node.op in _RESHAPES and inputs[0] is not None:
        _pass_name(inputs[0], folded[0])
    return folded


def _pass_name(held: Value, folded: Value) -> None:
    """A weight keeps its name in its other shape: the bias of a convolution is still to be found by it."""
    names = current().names
    if held in names and folded not in names:
        names[folded] = names.pop(held)


def _bytes(value: Value) -> int:
    total = value.type.numpy.itemsize
    for dim in value.type.static_shape():
        total *= dim
    return total
