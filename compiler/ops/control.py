"""Control flow: If, Loop and Scan, whose bodies are graphs.

What a body gives must be typed as the operator's outputs are; where a shape changes from turn to turn, the node carries
the types that it was imported with.
"""

from __future__ import annotations

from dlc.compiler.graph import Graph
from dlc.compiler.registry import Call, IllTyped, define
from dlc.compiler.types import Dim, Type


def _if(call: Call) -> list[Type]:
    condition = call.type(0)
    if condition.dtype != "bool" or condition.size != 1:
        raise IllTyped(f"If takes one truth value, not {condition}")
    one, other = (_results(body) for body in call.bodies)
    if one != other:
        raise IllTyped(f"the branches of If give {_listed(one)} and {_listed(other)}")
    return one


define("If", _if)


def _loop(call: Call) -> list[Type]:
    (body,) = call.bodies
    start = [call.type(index) for index in range(2, len(call.inputs))]
    results = _results(body)[1:]
    carried, stacked = results[: len(start)], results[len(start) :]
    inner = [value.type for value in body.inputs[2:]]
    if not start == inner == carried:
        raise IllTyped(f"Loop starts with {_listed(start)}, its body maps {_listed(inner)} to {_listed(carried)}")
    turns = _turns(call, body) if stacked else 0
    return [*carried, *(type.with_shape((turns, *type.shape)) for type in stacked)]


def _turns(call: Call, body: Graph) -> Dim:
    from dlc.compiler.ops.extents import extents

    count, condition = (call.inputs[i] if i < len(call.inputs) else None for i in (0, 1))
    again = next(iter(body.outputs.values()))
    goes_on = again is body.inputs[1] or (again.constant is not None and bool(again.constant.all()))
    starts = condition is None or (condition.constant is not None and bool(condition.constant.all()))
    turns = extents(count)
    if turns is None or not goes_on or not starts:
        raise IllTyped("Loop: how often it turns depends on data, so the length of what it stacks is not known")
    return max(turns[0], 0) if isinstance(turns[0], int) else turns[0]


define("Loop", _loop)


def _scan(call: Call) -> list[Type]:
    (body,) = call.bodies
    scanned = call.attributes["num_scan_inputs"]
    carries = len(call.inputs) - scanned
    start = [call.type(index) for index in range(carries)]
    results = _results(body)
    axes = call.get("scan_input_axes", (0,) * scanned)
    length = {call.type(carries + i).shape[axis] for i, axis in enumerate(axes)}
    if len(length) != 1:
        raise IllTyped(f"Scan along axes of the sizes {', '.join(sorted(map(str, length)))}: one size is expected")
    inner, carried = [value.type for value in body.inputs[:carries]], results[:carries]
    if not start == inner == carried:
        raise IllTyped(f"Scan starts with {_listed(start)}, its body maps {_listed(inner)} to {_listed(carried)}")
    stacked = results[carries:]
    out_axes = call.get("scan_output_axes", (0,) * len(stacked))
    (turns,) = length
    joined = []
    for type, axis in zip(stacked, out_axes, strict=True):
        axis += type.rank + 1 if axis < 0 else 0
        joined.append(type.with_shape((*type.shape[:axis], turns, *type.shape[axis:])))
    return [*carried, *joined]


define("Scan", _scan)


def turn_types(call: Call) -> list[Type]:
    """The types of the slices that a Scan gives its body in one turn."""
    scanned = call.attributes["num_scan_inputs"]
    first = len(call.inputs) - scanned
    types = []
    for i, axis in enumerate(call.get("scan_input_axes", (0,) * scanned)):
        whole = call.type(first + i)
        if not -whole.rank <= axis < whole.rank:
            raise IllTyped(f"Scan along axis {axis} of {whole}")
        axis %= whole.rank
        types.append(whole.with_shape((*whole.shape[:axis], *whole.shape[axis + 1 :])))
    return types


def _results(body: Graph) -> list[Type]:
    return [value.type for value in body.outputs.values()]


def _listed(types: list[Type]) -> str:
    return ", ".join(map(str, types)) or "nothing"


__all__ = ["turn_types"]
