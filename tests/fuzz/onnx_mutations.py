"""Models that are nearly right: what a careless exporter, a bad copy or an enemy makes of a good one.

`spoilt(model, rng)` changes a model in one or two places; `CHANGES` are the kinds of change. The last step may spoil
its bytes, so that it no longer parses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper

HUGE = (-1, 0, 2**31, 2**62, -(2**63))
LOCATIONS = (
    "../outside.bin", "/etc/hostname", "link.bin", "hard.bin", "folder/../../outside.bin", "C:\\outside.bin", "", ".",
    "weights.bin\0x", "nothing.bin", "weights.bin",
)  # fmt: skip
SIBLINGS = {
    1: ("Relu", "Tanh", "Exp", "Floor", "Shape", "Size", "Softmax", "Flatten", "Transpose", "NonZero", "ReduceSum"),
    2: ("Add", "Mul", "Div", "Pow", "MatMul", "Max", "Less", "Gather", "Reshape", "Expand", "Tile", "Squeeze", "Mod"),
    3: ("Where", "Gemm", "Conv", "Sum", "Clip", "Range", "ScatterND", "LayerNormalization", "Pad", "OneHot", "Slice"),
}  # by their number of inputs
Change = Callable[[onnx.ModelProto, np.random.Generator], None]


def pick(rng: np.random.Generator, items: Any) -> Any:
    """One of them; raises IndexError if there is none."""
    return items[int(rng.integers(len(items)))] if len(items) else [][0]


def places(model: onnx.ModelProto) -> list[Any]:
    """The lists of nodes: the graph's, those of its bodies, and the functions'."""
    found: list[Any] = [model.graph.node, *(each.node for each in model.functions)]
    for nodes in found:  # grows while it is walked
        found.extend(a.g.node for n in nodes for a in n.attribute if a.HasField("g"))
    return found


def some(model: onnx.ModelProto, rng: np.random.Generator) -> Any:
    """The nodes of the graph, or (half of the time, where there are any) of a body or a function."""
    inside = places(model)[1:]
    return pick(rng, inside) if inside and rng.random() < 0.5 else model.graph.node


def operator(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    names = [schema.name for schema in onnx.defs.get_all_schemas()]
    pick(rng, some(model, rng)).op_type = str(pick(rng, [*names, "Nothing", "", "\u00fc" * 40]))


def sibling(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """Another operator of as many inputs, without attributes: most often the model stays sound."""
    chosen = pick(rng, some(model, rng))
    del chosen.attribute[:]
    chosen.op_type = str(pick(rng, SIBLINGS.get(len(chosen.input), ())))


def slightly(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """A number of an attribute, or of a small integer constant, is a little different."""
    attributes = [a for each in some(model, rng) for a in each.attribute if a.type in (2, 7)]  # an int, ints
    whole = [each for each in model.graph.initializer if each.data_type == TensorProto.INT64 and each.raw_data]
    if whole and (not attributes or rng.random() < 0.4):
        chosen = pick(rng, whole)
        array = np.frombuffer(chosen.raw_data, np.int64).copy()
        array[int(rng.integers(array.size))] += int(pick(rng, (-2, -1, 1, 2)))
        chosen.raw_data = array.tobytes()
        return
    found = pick(rng, attributes)
    if found.type == AttributeProto.INT:
        found.i += int(pick(rng, (-2, -1, 1, 2)))
    else:
        found.ints[int(rng.integers(len(found.ints)))] += int(pick(rng, (-2, -1, 1, 2)))


def domain(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    pick(rng, some(model, rng)).domain = str(pick(rng, ["ai.onnx.ml", "com.microsoft", "no.such", "ai.onnx"]))


def drop(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    lists = (some(model, rng), model.graph.input, model.graph.output, model.graph.initializer, model.opset_import)
    chosen = pick(rng, [each for each in lists if len(each)])
    del chosen[int(rng.integers(len(chosen)))]


def double(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    lists = (some(model, rng), model.graph.input, model.graph.output, model.graph.initializer)
    chosen = pick(rng, [each for each in lists if len(each)])
    chosen.add().CopyFrom(pick(rng, list(chosen)[:-1] or list(chosen)))


def reorder(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    chosen = some(model, rng)
    copies = [onnx.NodeProto.FromString(each.SerializeToString()) for each in chosen]
    del chosen[:]
    chosen.extend(copies[int(at)] for at in rng.permutation(len(copies)))


def rename(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """A value is read or given under the name of another, or of none."""
    node = pick(rng, some(model, rng))
    names = [name for each in model.graph.node for name in (*each.input, *each.output)]
    side = pick(rng, [each for each in (node.input, node.output) if len(each)])
    side[int(rng.integers(len(side)))] = str(pick(rng, [*names, "", "nowhere"]))


def cycle(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """A node reads what it, or a later one, gives."""
    nodes = some(model, rng)
    node = pick(rng, nodes)
    node.input[int(rng.integers(len(node.input)))] = str(pick(rng, pick(rng, nodes).output))


def arity(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    node = pick(rng, some(model, rng))
    side = node.input if rng.random() < 0.5 else node.output
    if len(side) and rng.random() < 0.5:
        del side[int(rng.integers(len(side)))]
    else:
        side.extend([pick(rng, [*side, "more"])] * int(rng.integers(1, 4)))


def attribute(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """A number, a list or a type of an attribute is another; or the attribute is new, or gone."""
    node = pick(rng, some(model, rng))
    kind = int(rng.integers(5))
    if kind == 0 or not len(node.attribute):
        node.attribute.append(helper.make_attribute(str(pick(rng, ["axis", "axes", "pads", "to", "x"])), 99))
    elif kind == 1:
        del node.attribute[int(rng.integers(len(node.attribute)))]
    else:
        chosen = pick(rng, node.attribute)
        if kind == 2:
            chosen.type = int(rng.integers(0, 15))
        elif kind == 3:
            chosen.i = int(pick(rng, [*HUGE, 1, 7, -3]))
            chosen.ints.extend([int(pick(rng, [*HUGE, 1, 2]))] * int(rng.integers(0, 4)))
        else:
            del chosen.ints[:]
            chosen.f = float(pick(rng, [np.nan, np.inf, -1.0, 1e38]))
            chosen.s = bytes(rng.integers(0, 256, 5).astype(np.uint8))


def dimension(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    infos = [*model.graph.input, *model.graph.output, *model.graph.value_info]
    shape = pick(rng, [each for each in infos if each.type.HasField("tensor_type")]).type.tensor_type.shape
    kind = int(rng.integers(4))
    if kind == 0 or not len(shape.dim):
        shape.dim.add(dim_value=int(pick(rng, [*HUGE, 1, 3])))
    elif kind == 1:
        del shape.dim[int(rng.integers(len(shape.dim)))]
    elif kind == 2:
        pick(rng, shape.dim).dim_param = str(pick(rng, ["N", "", "a b", "?0", "1", "\0"]))
    else:
        pick(rng, shape.dim).dim_value = int(pick(rng, [*HUGE, 1, 5]))


def element(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    infos = [*model.graph.input, *model.graph.output]
    chosen = pick(rng, infos)
    if rng.random() < 0.2:
        chosen.ClearField("type")
    else:
        chosen.type.tensor_type.elem_type = int(rng.integers(0, 30))


def tensor(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """A tensor's dimensions, type or data do not belong together."""
    held = [*model.graph.initializer, *(a.t for n in model.graph.node for a in n.attribute if a.HasField("t"))]
    chosen = pick(rng, held)
    kind = int(rng.integers(4))
    if kind == 0:
        chosen.dims.append(int(pick(rng, [*HUGE, 2])))
    elif kind == 1 and len(chosen.dims):
        chosen.dims[int(rng.integers(len(chosen.dims)))] = int(pick(rng, [*HUGE, 3]))
    elif kind == 2:
        chosen.data_type = int(rng.integers(0, 30))
    else:
        chosen.raw_data = bytes(rng.integers(0, 256, int(rng.integers(0, 40))).astype(np.uint8))


def external(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """A tensor's data lies in a file, or is said to."""
    name = str(pick(rng, [each.name for each in model.graph.initializer]))
    chosen = next(each for each in model.graph.initializer if each.name == name)
    chosen.ClearField("raw_data")
    del chosen.external_data[:]
    chosen.data_location = TensorProto.EXTERNAL
    entries = {"location": str(pick(rng, LOCATIONS))}
    if rng.random() < 0.5:  # all else is right: only the place may be refused
        chosen.external_data.add(key="location", value=entries["location"])
        return
    if rng.random() < 0.6:
        entries["offset"] = str(pick(rng, ["0", "-4", "9999999999999", "x", "1"]))
    if rng.random() < 0.6:
        entries["length"] = str(pick(rng, ["0", "-1", "16", "9223372036854775807", "", "4"]))
    for key, value in entries.items():
        chosen.external_data.add(key=key, value=value)


def function(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """A function that calls itself, or others that double with each level."""
    levels = int(rng.integers(1, 40))
    for level in range(levels):
        name = f"F{level}"
        callee = "F0" if rng.random() < 0.05 else f"F{level + 1}" if level + 1 < levels else "Identity"
        where = "" if callee == "Identity" else "mine"
        nodes = [
            helper.make_node(callee, ["x"], ["a"], domain=where), helper.make_node(callee, ["a"], ["y"], domain=where)
        ]  # fmt: skip
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
        model.functions.append(helper.make_function("mine", name, ["x"], ["y"], nodes, opsets))
    model.opset_import.append(helper.make_opsetid("mine", 1))
    node = pick(rng, model.graph.node)
    model.graph.node.append(helper.make_node("F0", [pick(rng, list(node.output))], ["called"], domain="mine"))


def opset(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    pick(rng, model.opset_import).version = int(pick(rng, [0, 1, 6, 7, 9, 11, 13, 18, 21, 24, 99, -1]))


def body(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """The graph inside a node is another, or empty, or there where none belongs."""
    inner = [a for n in model.graph.node for a in n.attribute if a.type == AttributeProto.GRAPH]
    if not inner:
        made = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [], [])
        pick(rng, model.graph.node).attribute.append(helper.make_attribute("body", made))
        return
    chosen = pick(rng, inner).g
    lists = [each for each in (chosen.node, chosen.input, chosen.output) if len(each)]
    side = pick(rng, lists)
    if rng.random() < 0.5:
        del side[int(rng.integers(len(side)))]
    else:
        side.add().CopyFrom(pick(rng, list(side)[:-1] or list(side)))


CHANGES: tuple[Change, ...] = (
    operator, domain, drop, double, reorder, rename, cycle, arity, attribute, attribute, dimension, element, tensor,
    external, function, opset, body, sibling, sibling, sibling, slightly, slightly, slightly,
)  # fmt: skip


def spoilt(model: onnx.ModelProto, rng: np.random.Generator) -> bytes:
    """The bytes of the model after one or two changes; of every eighth, some bytes are others too."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for _ in range(int(rng.integers(1, 3))):
        try:
            pick(rng, CHANGES)(made, rng)
        except (IndexError, ValueError, TypeError, UnicodeError):
            continue  # there is nothing of the kind to change, or protobuf does not take it
    data = bytearray(made.SerializeToString())
    if rng.random() < 0.125 and data:
        for _ in range(int(rng.integers(1, 6))):
            data[int(rng.integers(len(data)))] = int(rng.integers(256))
    return bytes(data)
