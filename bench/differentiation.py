"""`python -m bench.differentiation`: how long gradients take to derive, and that it grows with the nodes, no faster.

ResNet-50 is the one in onnx's wheel. A chain is x -> sin -> + x again and again; a grid is a chain of matrix products
in which every value is read twice, so that its gradient is a sum of thousands of products. Both take a gradient step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from dlc.compiler.build import Builder, op, private
from dlc.compiler.graph import Graph, Value
from dlc.compiler.passes import TRAINING, differentiate, run
from dlc.compiler.types import Type

SIZES = (1_000, 5_000, 20_000)


def main() -> None:
    print(f"{'graph':<24}{'nodes':>8}{'differentiate':>16}{'nodes after':>14}{'all passes':>14}")
    for name, graph in graphs():
        start = time.perf_counter()
        made = differentiate(graph)
        alone = time.perf_counter() - start
        start = time.perf_counter()
        run(graph, TRAINING)
        whole = time.perf_counter() - start
        print(f"{name:<24}{len(graph.nodes):>8,}{alone:>14.2f} s{len(made.nodes):>14,}{whole:>12.2f} s", flush=True)


def graphs() -> Iterator[tuple[str, Graph]]:
    """The graphs, each with gradients that wait to be derived."""
    yield "ResNet-50", resnet50()
    for size in SIZES:
        yield f"chain of {size:,}", grown(size, lambda y, x: op.Sin(y) + x, (3,))
    for size in SIZES:
        yield f"grid of {size:,}", grown(size, lambda y, x: op.Tanh(y @ x) + y, (4, 4))


def grown(size: int, turn: Callable[[Value, Value], Value], shape: tuple[int, ...]) -> Graph:
    """About so many nodes."""
    with Builder() as builder:
        x = builder.input("x", Type("f32", shape))
        y = x
        while len(builder.made) < size:
            y = turn(y, x)
        loss = op.ReduceSum(y, keepdims=0)
        return builder.graph("grown", {"loss": loss, "x:next": x - private.Gradient(loss, x) * 0.1})


def resnet50() -> Graph:
    """ResNet-50's output, its softmax included, by all its weights."""
    import numpy as np
    import onnx
    from onnx import numpy_helper

    from dlc.compiler.derivative import derivative, reach
    from dlc.compiler.importer import of_model

    proto = onnx.load(Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / "light_resnet50.onnx")
    shapes = {each.name: numpy_helper.to_array(each) for each in proto.graph.initializer}
    kept = []
    for node in proto.graph.node:  # the file makes its weights; here it holds them
        if node.op_type == "ConstantOfShape":
            array = np.full(shapes[node.input[0]].tolist(), 0.02, np.float32)
            proto.graph.initializer.append(numpy_helper.from_array(array, node.output[0]))
        else:
            kept.append(node)
    del proto.graph.node[:]
    proto.graph.node.extend(kept)
    model = of_model(proto)
    weights = [each.name for each in reach(model) if each.weight and each.reached]
    return derivative(model, next(iter(model.graph.outputs)), weights, cotangent=True)[0]


if __name__ == "__main__":
    main()
