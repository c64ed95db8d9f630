"""Functions: those of a model, and those that ONNX defines operators by. They are expanded where they are called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dlc.compiler.importing.errors import BadModel

if TYPE_CHECKING:
    from onnx import FunctionProto, GraphProto, ModelProto, NodeProto

MOST_NODES = 50_000  # that come out of functions: nobody wrote so many
DEEPEST = 100  # bodies in bodies, functions in functions
Key = tuple[str, str, str]  # domain, name, overload


def domain_of(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def key_of(node: NodeProto) -> Key:
    return domain_of(node.domain), node.op_type, node.overload


def functions_of(model: ModelProto) -> dict[Key, FunctionProto]:
    """A model's functions. Raises BadModel: one that calls itself, or more nodes than anyone can hold."""
    found = {(domain_of(each.domain), each.name, each.overload): each for each in model.functions}
    calls = {key: _counted(function.node, found) for key, function in found.items()}
    sizes: dict[Key, tuple[int, int]] = {}  # nodes when expanded, depth of calls
    for start in found:
        _measure(start, calls, sizes)
    outside = _counted(model.graph.node, found)
    inside = _expanded_size(outside, sizes)[0] - outside.get(None, 0)
    if inside > MOST_NODES:
        raise BadModel(f"the functions of the model expand to {inside} nodes; {MOST_NODES} is the most")
    return found


def _measure(start: Key, calls: Mapping[Key, Mapping[Key | None, int]], sizes: dict[Key, tuple[int, int]]) -> None:
    open_: dict[Key, Iterator[Key | None]] = {}
    stack = [start]
    while stack:
        key = stack[-1]
        if key in sizes:
            stack.pop()
            continue
        waiting = open_.setdefault(key, iter(calls[key]))
        inner = next((each for each in waiting if each is not None and each not in sizes), None)
        if inner is None:
            size, depth = _expanded_size(calls[key], sizes)
            if depth > DEEPEST:
                raise BadModel(f"the functions of the model call each other {depth} deep; {DEEPEST} is the most")
            sizes[stack.pop()] = size, depth
            del open_[key]
        elif inner in open_:
            raise BadModel(f"the function {inner[1]} of the model calls itself")
        else:
            stack.append(inner)


def _expanded_size(calls: Mapping[Key | None, int], sizes: Mapping[Key, tuple[int, int]]) -> tuple[int, int]:
    total, depth = 0, 0
    for key, times in calls.items():
        size, inner = sizes[key] if key is not None else (1, 0)
        total += size * times
        depth = max(depth, inner + 1)
    return total, depth


def _counted(nodes: Sequence[NodeProto], functions: Mapping[Key, FunctionProto]) -> dict[Key | None, int]:
    """How often each function is called, bodies included; None counts the nodes that are no calls."""
    found: dict[Key | None, int] = {}
    for node in every_node(nodes):
        key = key_of(node)
        called = key if key in functions else None
        found[called] = found.get(called, 0) + 1
    return found


def every_node(nodes: Sequence[NodeProto]) -> Iterator[NodeProto]:
    """The nodes and those of their bodies. Raises BadModel where bodies nest too deeply."""
    waiting: list[tuple[Sequence[NodeProto], int]] = [(nodes, 0)]
    while waiting:
        part, depth = waiting.pop()
        if depth > DEEPEST:
            raise BadModel(f"bodies in bodies, {depth} deep; {DEEPEST} is the most")
        for node in part:
            yield node
            waiting.extend((body.node, depth + 1) for body in bodies_of(node))


def bodies_of(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def defined_by(node: NodeProto, version: int, input_types: Sequence[bytes]) -> FunctionProto | None:
    """The body by which ONNX defines an operator at an opset; None for one that it only describes."""
    from onnx import FunctionProto, defs

    try:
        schema: Any = defs.get_schema(node.op_type, version, node.domain)
    except defs.SchemaError:
        return None
    text: bytes | None = None
    if schema.has_function:
        text = schema.get_function_with_opset_version(schema.since_version)
    elif schema.has_context_dependent_function:
        versions = [each for each in schema.context_dependent_function_opset_versions if each <= version]
        if versions:
            text = schema.get_context_dependent_function_with_opset_version(
                max(versions), node.SerializeToString(), list(input_types)
            )
    return FunctionProto.FromString(text) if text else None


__all__ = ["DEEPEST", "Key", "bodies_of", "defined_by", "domain_of", "every_node", "functions_of", "key_of"]
