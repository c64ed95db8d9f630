"""ONNX graphs of convolutional nets, run by PyTorch: the peer of imported models, which shares nothing with dlc."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx
import torch
import torch.nn.functional as F
from onnx import helper, numpy_helper

Attributes = Mapping[str, Any]
Tensor = torch.Tensor


def run(nodes: Sequence[onnx.NodeProto], values: dict[str, Tensor], wanted: str) -> Tensor:
    """The value called `wanted`, computed from those that are there. Raises KeyError for an operator without a peer."""
    for node in nodes:
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        inputs = [values[name] for name in node.input if name]
        values[node.output[0]] = PEERS[node.op_type](attributes, *inputs)
        if wanted in node.output:
            return values[wanted]
    raise KeyError(wanted)


def _pads(a: Attributes) -> list[int]:
    """For F.pad: last axis first, each from its beginning to its end."""
    pads = list(a.get("pads", [0, 0, 0, 0]))
    return [pads[1], pads[3], pads[0], pads[2]]


def _conv(a: Attributes, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    return F.conv2d(F.pad(x, _pads(a)), w, b, a.get("strides", 1), 0, a.get("dilations", 1), a.get("group", 1))


def _max_pool(a: Attributes, x: Tensor) -> Tensor:
    return F.max_pool2d(F.pad(x, _pads(a), value=float("-inf")), a["kernel_shape"], a.get("strides", 1))


def _average_pool(a: Attributes, x: Tensor) -> Tensor:
    def pooled(y: Tensor) -> Tensor:
        return F.avg_pool2d(F.pad(y, _pads(a)), a["kernel_shape"], a.get("strides", 1))

    return pooled(x) if a.get("count_include_pad") else pooled(x) / pooled(torch.ones_like(x))


def _batch_norm(a: Attributes, x: Tensor, g: Tensor, b: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    return F.batch_norm(x, mean, var, g, b, False, 0.0, a.get("epsilon", 1e-5))


def _gemm(a: Attributes, x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return F.linear(x.t() if a.get("transA") else x, w if a.get("transB") else w.t(), b)


def _unsqueeze(a: Attributes, x: Tensor) -> Tensor:
    for axis in sorted(a["axes"]):
        x = x.unsqueeze(axis)
    return x


def _lrn(a: Attributes, x: Tensor) -> Tensor:
    return F.local_response_norm(x, a["size"], a.get("alpha", 1e-4), a.get("beta", 0.75), a.get("bias", 1.0))


PEERS: dict[str, Callable[..., Tensor]] = {
    "Conv": _conv, "MaxPool": _max_pool, "AveragePool": _average_pool, "BatchNormalization": _batch_norm,
    "Gemm": _gemm, "Unsqueeze": _unsqueeze, "LRN": _lrn,
    "Relu": lambda a, x: F.relu(x), "Dropout": lambda a, x: x, "Mul": lambda a, x, y: x * y,
    "Add": lambda a, x, y: x + y, "Sum": lambda a, *xs: sum(xs[1:], xs[0]),
    "Concat": lambda a, *xs: torch.cat(xs, a["axis"]), "Reshape": lambda a, x, s: x.reshape(s.tolist()),
    "Transpose": lambda a, x: x.permute(a["perm"]), "GlobalAveragePool": lambda a, x: x.mean((2, 3), keepdim=True),
}  # fmt: skip


def tensors(model: onnx.ModelProto) -> dict[str, Tensor]:
    """The tensors that a model holds."""
    return {each.name: torch.tensor(numpy_helper.to_array(each)) for each in model.graph.initializer}
