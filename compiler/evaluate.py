"""The meaning of a graph in numpy: slow, exact to the element types of the graph, and of use as an oracle.

Private operators have their meaning in their records; common ones of ONNX are in `numpy_ops`, the rest is left to
onnx's reference implementation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from dlc.compiler.graph import EMPTY, Attribute, Graph, Node, Value
from dlc.compiler.numpy_ops import OPERATORS
from dlc.compiler.registry import COMPILER_ATTRIBUTES, lookup
from dlc.compiler.types import ONNX_NUMBER, Array, Polynomial, Type, is_unknown, substitute, symbol, symbols

OPSET = 21
# What the reference does for these depends on their attributes without bound: they are not computed beforehand.
UNBOUNDED = frozenset({"TfIdfVectorizer"})


class Unmet(ValueError):
    """A size is not what the graph asserts. `label` is the assertion's, `shape` what was found."""

    def __init__(self, label: str, shape: Sequence[int]) -> None:
        super().__init__(f"{label}: the shape is {list(shape)}")
        self.label, self.shape = label, tuple(shape)


def evaluate(graph: Graph, feeds: Mapping[str, Any], sizes: Mapping[str, int] = EMPTY) -> dict[str, Array]:
    """The outputs of a graph for the arrays `feeds`, which name every input.

    Symbolic dimensions have the sizes that the arrays show; `sizes` says those that no input has by itself. Raises
    ValueError where the arrays do not fit the inputs, Unmet where an assertion does not hold, and AssertionError where
    an operator's value is not of the type that its rule inferred.
    """
    arrays: dict[Value, Array] = {}
    known: dict[str, int] = dict(sizes)
    for value in graph.inputs:
        name = graph.names[value]
        if name not in feeds:
            raise ValueError(f"no array is given for the input {name}: {value.type}")
        given = feeds[name]
        array = given if isinstance(given, np.ndarray | np.generic) else np.asarray(given, value.type.numpy)
        arrays[value] = np.asarray(array)
        _bind(name, value.type, arrays[value], known)
    _run(graph, arrays, known)
    return {name: arrays[value] for name, value in graph.outputs.items()}


def _bind(name: str, type: Type, array: Array, known: dict[str, int]) -> None:
    """Read the sizes of symbolic dimensions off an input's array; raises ValueError."""
    found = f"{array.dtype}{list(array.shape)}"
    if array.dtype != type.numpy or array.ndim != type.rank:
        raise ValueError(f"the input {name} is {type}, the array for it {found}")
    for dim, size in zip(type.shape, array.shape, strict=True):
        if isinstance(dim, Polynomial) and dim == symbol(str(dim)):
            known.setdefault(str(dim), size)
    for dim, size in zip(type.shape, array.shape, strict=True):
        wanted = substitute(dim, known)
        if isinstance(wanted, int) and wanted != size:
            raise ValueError(f"the input {name} is {type}, the array for it {found}: {dim} is {wanted}")


def _run(graph: Graph, arrays: dict[Value, Array], sizes: Mapping[str, int]) -> None:
    sizes = dict(sizes)
    for node in _in_turn(graph):
        inputs = [None if value is None else arrays[value] for value in node.inputs]
        _check(graph, node, inputs, sizes)
        results = evaluate_node(node, inputs, sizes, arrays)
        for value, result in zip(node.outputs, results, strict=True):
            _measure(value.type, result, sizes)
            shape = tuple(substitute(dim, sizes) for dim in value.shape)
            if result.dtype != value.type.numpy or result.shape != shape:
                raise AssertionError(f"{node.op} gives {result.dtype}{list(result.shape)}, its rule says {value.type}")
            arrays[value] = result


def _check(graph: Graph, node: Node, inputs: Sequence[Array | None], sizes: Mapping[str, int]) -> None:
    """A reshape `at_run` time asserts the shape that it gives; raises Unmet."""
    if node.op == "dlc.ReshapeTo" and node.attributes.get("at_run") and inputs[0] is not None:
        wanted = tuple(substitute(dim, sizes) for dim in node.output.shape)
        if all(isinstance(dim, int) for dim in wanted) and math.prod(wanted) != inputs[0].size:
            raise Unmet(graph.names.get(node.output, node.op), inputs[0].shape)


def _in_turn(graph: Graph) -> Sequence[Node]:
    """The nodes, those whose attributes have a size that depends on data after the node that shows it."""
    makers = [node for node in graph.nodes if "declared" in node.attributes]
    shown = {name for node in makers for value in node.outputs for name in _unknowns(value.shape)}
    if not shown:
        return graph.nodes
    done: dict[Node, None] = {}
    own, waiting = set(graph.nodes), list(graph.nodes)
    while waiting:
        later = []
        for node in waiting:
            wanted = set() if "declared" in node.attributes else set(_unknowns(tuple(node.attributes.values())))
            if wanted & shown or any(value.node in own and value.node not in done for value in node.operands()):
                later.append(node)
                continue
            done[node] = None
            if "declared" in node.attributes:
                shown.difference_update(name for value in node.outputs for name in _unknowns(value.shape))
        if len(later) == len(waiting):
            return [*done, *later]  # evaluating them says what is missing
        waiting = later
    return list(done)


def _unknowns(attribute: Attribute) -> Iterator[str]:
    if isinstance(attribute, tuple):
        for item in attribute:
            yield from _unknowns(item)
    elif isinstance(attribute, Polynomial):
        yield from filter(is_unknown, symbols(attribute))


def _measure(type: Type, array: Array, sizes: dict[str, int]) -> None:
    """Read off a result the sizes that depend on data; in a body they are others in each turn."""
    if array.ndim == type.rank:
        for dim, size in zip(type.shape, array.shape, strict=True):
            if not isinstance(dim, int) and is_unknown(str(dim)) and dim == symbol(str(dim)):
                sizes[str(dim)] = size


def evaluate_node(
    node: Node,
    inputs: Sequence[Array | None],
    sizes: Mapping[str, int] = EMPTY,
    around: Mapping[Value, Array] | None = None,
) -> list[Array]:
    """The outputs of one node for arrays as its inputs. `around` holds what its bodies capture.

    Raises NotImplementedError for an operator that neither dlc nor onnx's reference implementation can evaluate.
    """
    if node.op == "Constant":
        return [node.attributes["value"]]
    with np.errstate(all="ignore"):
        if node.op in _CONTROL:
            result: Any = _CONTROL[node.op](node, inputs, sizes, around or {})
        elif (function := lookup(node.op).evaluate or OPERATORS.get(node.op)) is not None:
            attributes = {
                name: _resolved(value, sizes)
                for name, value in node.attributes.items()
                if node.private or name not in COMPILER_ATTRIBUTES
            }
            result = function(*inputs, **attributes)
        else:
            try:
                result = _by_reference(node, inputs)
            except TypeError as error:  # what it raises for attributes that its function lacks, or of other kinds
                raise NotImplementedError(f"{node.op} has no evaluation in numpy: {error}") from None
    results = result if isinstance(result, list | tuple) else [result]
    return [np.asarray(array, output.type.numpy) for array, output in zip(results, node.outputs, strict=False)]


def _resolved(value: Attribute, sizes: Mapping[str, int]) -> Attribute:
    """An attribute with its symbolic dimensions replaced; raises ValueError for one of unknown size."""
    if isinstance(value, tuple):
        return tuple(_resolved(item, sizes) for item in value)
    if isinstance(value, Polynomial):
        size = substitute(value, sizes)
        if not isinstance(size, int):
            raise ValueError(f"the size of the dimension {value} is not known")
        return size
    return value


def _by_reference(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    from dlc.compiler.build import freeze

    attributes = {name: value for name, value in node.attributes.items() if name not in COMPILER_ATTRIBUTES}
    key = tuple((name, freeze(attributes[name])) for name in sorted(attributes))
    present = tuple(array is not None for array in inputs)
    run = _reference(node.op, _Attributes(key, attributes), present, len(node.outputs))
    return list(run(None, {f"i{i}": array for i, array in enumerate(inputs) if array is not None}))


class _Attributes:
    """Attributes that compare by what they mean."""

    def __init__(self, key: Any, attributes: Mapping[str, Attribute]) -> None:
        self.key = key
        self.attributes = attributes

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Attributes) and self.key == other.key


@lru_cache(maxsize=256)
def _reference(op: str, given: _Attributes, present: tuple[bool, ...], outputs: int) -> Callable[..., Any]:
    """A function of onnx's for one node; kept, because making one costs far more than running it."""
    from onnx import helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

    attributes = {name: _to_onnx(name, value, numpy_helper) for name, value in given.attributes.items()}
    names = [f"i{i}" if there else "" for i, there in enumerate(present)]
    results = [f"o{i}" for i in range(outputs)]
    node = helper.make_node(op, names, results, **attributes)
    free = [helper.make_empty_tensor_value_info(name) for name in (*filter(None, names), *results)]
    count = sum(present)
    graph = helper.make_graph([node], op, free[:count], free[count:])
    try:
        evaluator = ReferenceEvaluator(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)]))
    except Exception as error:
        raise NotImplementedError(f"{op} has no evaluation in numpy: {error}") from None
    return evaluator.run


_ELEMENT_TYPES = ("to", "dtype", "output_dtype", "output_datatype")  # the attributes that are element types


def _to_onnx(name: str, value: Attribute, numpy_helper: Any) -> Any:
    if isinstance(value, np.ndarray):
        return numpy_helper.from_array(value)
    return ONNX_NUMBER[value] if name in _ELEMENT_TYPES and isinstance(value, str) else value


def _body(body: Graph, inputs: Sequence[Array], sizes: Mapping[str, int], around: Mapping[Value, Array]) -> list[Array]:
    arrays = {**around, **dict(zip(body.inputs, inputs, strict=True))}
    sizes = dict(sizes)
    for value in body.inputs:
        _measure(value.type, arrays[value], sizes)
    _run(body, arrays, sizes)
    return [arrays[value] for value in body.outputs.values()]


def _if(node: Node, inputs: Sequence[Any], sizes: Mapping[str, int], around: Mapping[Value, Array]) -> list[Array]:
    return _body(node.bodies[0 if bool(inputs[0]) else 1], (), sizes, around)


def _loop(node: Node, inputs: Sequence[Any], sizes: Mapping[str, int], around: Mapping[Value, Array]) -> list[Array]:
    count, condition = (inputs[i] if i < len(inputs) else None for i in (0, 1))
    carries: list[Any] = list(inputs[2:])
    rows: list[list[Array]] = [[] for _ in range(len(node.outputs) - len(carries))]
    going = condition is None or bool(condition)
    turn = 0
    while going and (count is None or turn < int(count)):
        results = _body(node.bodies[0], [np.array(turn, np.int64), np.array(True), *carries], sizes, around)
        going, carries = bool(results[0]), results[1 : 1 + len(carries)]
        for row, result in zip(rows, results[1 + len(carries) :], strict=True):
            row.append(result)
        turn += 1
    stacked = []
    for row, value in zip(rows, node.outputs[len(carries) :], strict=True):
        shape = tuple(dim if isinstance(dim, int) else 0 for dim in value.shape)
        stacked.append(np.stack(row) if row else np.zeros((0, *shape[1:]), value.type.numpy))
    return [*carries, *stacked]


def _scan(node: Node, inputs: Sequence[Any], sizes: Mapping[str, int], around: Mapping[Value, Array]) -> list[Array]:
    scanned, attributes = node.attributes["num_scan_inputs"], node.attributes
    carries, sequences = list(inputs[: len(inputs) - scanned]), inputs[len(inputs) - scanned :]
    stacked = len(node.outputs) - len(carries)
    axes = attributes.get("scan_input_axes") or (0,) * scanned
    backward = attributes.get("scan_input_directions") or (0,) * scanned
    turns = [
        np.moveaxis(sequence, axis, 0)[:: -1 if back else 1]
        for sequence, axis, back in zip(sequences, axes, backward, strict=True)
    ]
    rows: list[list[Array]] = [[] for _ in range(stacked)]
    for turn in zip(*turns, strict=True):
        results = _body(node.bodies[0], [*carries, *turn], sizes, around)
        carries = results[: len(carries)]
        for row, result in zip(rows, results[len(carries) :], strict=True):
            row.append(result)
    axes = attributes.get("scan_output_axes") or (0,) * stacked
    reverse = attributes.get("scan_output_directions") or (0,) * stacked
    outputs = []
    for row, value, axis, back in zip(rows, node.outputs[len(carries) :], axes, reverse, strict=True):
        if row:
            outputs.append(np.stack(row[:: -1 if back else 1], axis))
        else:
            outputs.append(np.zeros(tuple(_resolved(value.shape, sizes)), value.type.numpy))
    return [*carries, *outputs]


_CONTROL: Mapping[str, Callable[..., list[Array]]] = {"If": _if, "Loop": _loop, "Scan": _scan}

__all__ = ["UNBOUNDED", "evaluate", "evaluate_node"]
