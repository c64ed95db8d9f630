"""Stand-ins for the models that the examples borrow: the same architectures with the same names of values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
RESNET50 = {"resnetv17_pool1_fwd": ("AveragePool", 0)}
VGG19 = {f"vgg0_relu{number}_fwd": ("Relu", number) for number in (0, 2, 4, 8, 9, 12)}


def stand_in(light: str, values: Mapping[str, tuple[str, int]], narrow: int = 1) -> onnx.ModelProto:
    """One of the models in onnx's wheel up to the last of `values`, which say how outputs are to be called: by
    operator, and which one of its kind. Weights are seeded and of He's scale; gains are near 1, the variances of
    normalizations 30, so that residual sums do not grow. `narrow` divides the widths of all layers.
    """
    model = onnx.load(LIGHT / f"{light}.onnx")
    graph = model.graph
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    sizes = {name: array.shape for name, array in held.items()}
    sizes |= {n.output[0]: tuple(held[n.input[0]]) for n in graph.node if n.op_type == "ConstantOfShape"}
    layers = [node for node in graph.node if node.op_type != "ConstantOfShape"]
    renamed = {_output(layers, *place): name for name, place in values.items()}
    last = max(at for at, node in enumerate(layers) if node.output[0] in renamed)
    layers = layers[: last + 1]
    rng = np.random.default_rng(11)
    variances = {node.input[4] for node in layers if node.op_type == "BatchNormalization"}
    read = [name for node in layers for name in node.input if name in sizes]
    del graph.initializer[:], graph.node[:]
    for name in dict.fromkeys(read):
        out, *rest = map(int, sizes[name])
        shape = (out // narrow, *(size if at or size == 3 else size // narrow for at, size in enumerate(rest)))
        array = _drawn(rng, shape) if name not in variances else np.full(shape, 30, np.float32)
        graph.initializer.append(numpy_helper.from_array(array, name))
    for node in layers:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    graph.node.extend(layers)
    pictures = [each for each in graph.input if each.name.endswith("data_0")]
    del graph.input[:], graph.output[:]
    graph.input.extend(pictures)
    graph.output.append(onnx.ValueInfoProto(name=layers[-1].output[0]))
    model.ir_version = 8  # before version 4 weights had to be inputs, too
    return onnx.shape_inference.infer_shapes(model)


def _output(layers: list[onnx.NodeProto], operator: str, number: int) -> str:
    return str([node for node in layers if node.op_type == operator][number].output[0])


def _drawn(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    if len(shape) == 1:
        return rng.uniform(0.8, 1.2, shape).astype(np.float32)
    return rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / np.prod(shape[1:])))
