"""Nodes whose attributes have the right types and the wrong values, and inputs of other ranks and sizes.

onnx's shape inference is C++ that trusts what it reads: a list that is too short, an axis that is out of range or a
number that overflows has ended the process that asked it. `misled(model, rng)` makes such models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, defs, helper, numpy_helper

NUMBERS = (
    0,
    1,
    -1,
    2,
    -2,
    3,
    -3,
    4,
    5,
    7,
    10,
    100,
    1000,
    2**31 - 1,
    2**31,
    -(2**31),
    2**40,
    2**62,
    2**63 - 1,
    -(2**63),
)
LENGTHS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 40)
FLOATS = (0.0, -1.0, 0.5, 1.0, 2.0, 1e-30, 1e38, float("nan"), float("inf"), float("-inf"))
TEXTS = (
    b"", b"NOTSET", b"VALID", b"SAME_UPPER", b"SAME_LOWER", b"nearest", b"linear", b"cubic", b"sum", b"mean", b"none",
    b"constant", b"reflect", b"forward", b"bidirectional", b"reverse", b"CRD", b"DCR", b"Tanh", b"\xff\xfe", b"a,b->",
    b"ij,jk->ik", b"...,->", b"ii->", b"->", b"ab->abc", b"not_larger", b"tf_crop_and_resize", b"max", b"default",
)  # fmt: skip
SIZES = (0, 1, 2, 3, 5, 8, 2**31, 2**62, 2**63 - 1, -1)
KINDS = {"INT": AttributeProto.INT, "INTS": AttributeProto.INTS, "FLOAT": AttributeProto.FLOAT,
         "FLOATS": AttributeProto.FLOATS, "STRING": AttributeProto.STRING, "STRINGS": AttributeProto.STRINGS,
         "TENSOR": AttributeProto.TENSOR}  # fmt: skip


def one(rng: np.random.Generator, items: Sequence[Any]) -> Any:
    return items[int(rng.integers(len(items)))]


def misled(model: onnx.ModelProto, rng: np.random.Generator) -> bytes:
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for _ in range(int(rng.integers(1, 4))):
        one(rng, (_attribute, _attribute, _attribute, _shape, _held))(made, rng)
    for info in made.graph.output:
        if rng.random() < 0.8:
            info.ClearField("type")
    return bytes(made.SerializeToString())


def _attribute(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    node = one(rng, model.graph.node)
    version = next((each.version for each in model.opset_import if each.domain == node.domain), 21)
    try:
        schema = defs.get_schema(node.op_type, version, node.domain)
    except defs.SchemaError:
        return
    known = [(name, str(each.type).rpartition(".")[2]) for name, each in sorted(schema.attributes.items())]
    known = [(name, kind) for name, kind in known if kind in KINDS]
    if not known:
        return
    name, kind = one(rng, known)
    found = next((each for each in node.attribute if each.name == name), None)
    if found is None:
        found = node.attribute.add(name=name, type=KINDS[kind])
    elif kind.endswith("S") and rng.random() < 0.5:
        _alter(found, kind, rng)
        return
    elif rng.random() < 0.1:
        node.attribute.remove(found)
        return
    _fill(found, kind, rng)


def _fill(found: Any, kind: str, rng: np.random.Generator) -> None:
    if kind == "INT":
        found.i = one(rng, NUMBERS)
    elif kind == "FLOAT":
        found.f = one(rng, FLOATS)
    elif kind == "STRING":
        found.s = one(rng, TEXTS)
    elif kind == "TENSOR":
        found.t.CopyFrom(numpy_helper.from_array(_array(rng)))
    else:
        field, items = {"INTS": ("ints", NUMBERS), "FLOATS": ("floats", FLOATS), "STRINGS": ("strings", TEXTS)}[kind]
        values = getattr(found, field)
        del values[:]
        small = rng.random() < 0.5
        values.extend(one(rng, items[:8] if small else items) for _ in range(one(rng, LENGTHS)))


def _alter(found: Any, kind: str, rng: np.random.Generator) -> None:
    """A list as it was, with one element more, less, or another."""
    field, items = {"INTS": ("ints", NUMBERS), "FLOATS": ("floats", FLOATS), "STRINGS": ("strings", TEXTS)}[kind]
    values = getattr(found, field)
    way = int(rng.integers(3))
    if way == 0 or not len(values):
        values.append(one(rng, items))
    elif way == 1:
        del values[int(rng.integers(len(values)))]
    else:
        values[int(rng.integers(len(values)))] = one(rng, items)


def _array(rng: np.random.Generator) -> Any:
    shape = [int(one(rng, (0, 1, 2, 3))) for _ in range(int(rng.integers(0, 4)))]
    return rng.integers(-3, 4, shape).astype(one(rng, (np.float32, np.int64, np.int32, np.bool_, np.float64)))


def _shape(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """An input of another rank or other sizes."""
    infos = [each for each in model.graph.input if each.type.HasField("tensor_type")]
    if not infos:
        return
    shape = one(rng, infos).type.tensor_type.shape
    way = int(rng.integers(4))
    if way == 0:
        shape.dim.insert(
            int(rng.integers(len(shape.dim) + 1)),
            helper.make_tensor_value_info("", 1, [1]).type.tensor_type.shape.dim[0],
        )
    elif way == 1 and len(shape.dim):
        del shape.dim[int(rng.integers(len(shape.dim)))]
    elif way == 2 and len(shape.dim):
        dim = one(rng, shape.dim)
        dim.Clear()
        if rng.random() < 0.5:
            dim.dim_param = "s"
    elif len(shape.dim):
        one(rng, shape.dim).dim_value = one(rng, SIZES)


def _held(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """An input, or what the model holds for it, is a tensor of numbers that nobody expects."""
    names = [info.name for info in model.graph.input]
    if not names:
        return
    name = one(rng, names)
    for tensor in [each for each in model.graph.initializer if each.name == name]:
        model.graph.initializer.remove(tensor)
    kind = next(info.type.tensor_type.elem_type for info in model.graph.input if info.name == name)
    numbers = np.array([one(rng, NUMBERS) for _ in range(one(rng, LENGTHS))], np.int64)
    if kind == onnx.TensorProto.INT64:
        model.graph.initializer.append(numpy_helper.from_array(numbers, name))
    elif kind == onnx.TensorProto.FLOAT:
        floats = np.array([one(rng, FLOATS) for _ in range(one(rng, LENGTHS))], np.float32)
        model.graph.initializer.append(numpy_helper.from_array(floats, name))
