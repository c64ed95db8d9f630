"""What `dlc show --values` says a gradient reaches is what `dlc grad` gives, for sizes given and left open."""

from __future__ import annotations

from collections import defaultdict

import onnx
import pytest
from test_node_cases import cases
from test_node_gradients import wanted

from dlc.compiler.derivative import Underivable, derivative, differentiated, reach
from dlc.compiler.importer import Refused, of_model

EACH = 2  # cases of an operator


def few() -> list[str]:
    """Some cases of every operator: node by node, not the expanded forms."""
    of: dict[str, list[str]] = defaultdict(list)
    for name in wanted():
        if "_expanded" not in name:
            of[cases()[name].model.graph.node[-1].op_type].append(name)
    return [name for names in of.values() for name in names[:EACH]]


def opened(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model for any size of what it takes: each dimension above 1 has a name."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for info in made.graph.input:
        for place, dim in enumerate(info.type.tensor_type.shape.dim):
            if dim.dim_value != 1:
                dim.dim_param = f"{info.name}_{place}"
    for info in (*made.graph.output, *made.graph.value_info):
        info.type.tensor_type.ClearField("shape")
    return made


def has_gradient(model: onnx.ModelProto, name: str, outputs: list[str]) -> bool:
    found = []
    asked = of_model(model, asked=[name])
    for of in outputs:
        try:
            differentiated(asked, derivative(asked, of, [name], cotangent=True)[0])
        except Underivable:
            found.append(False)
        else:
            found.append(True)
    return any(found)


@pytest.mark.parametrize("form", ["given", "open"])
@pytest.mark.parametrize("name", few())
def test_what_is_said_is_what_is_given(name: str, form: str) -> None:
    model = cases()[name].model
    if form == "open":
        model = opened(model)
    try:
        loaded = of_model(model)
    except Refused:
        assert form == "open"  # what depends on a size may have no type without it
        return
    outputs = [of for of, value in loaded.graph.outputs.items() if value.type.is_float]
    for each in reach(loaded):
        if each.value.type.is_float and outputs:
            assert has_gradient(model, each.name, outputs) == each.reached, (each.name, each.reason)
