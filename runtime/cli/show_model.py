"""`dlc show MODEL.onnx`: what a model takes, gives and holds, and which of its values a gradient can reach."""

from __future__ import annotations

from collections import Counter
from math import prod
from pathlib import Path

from dlc.runtime.cli.grad import load
from dlc.runtime.cli.terminal import BOLD, Terminal, plural
from dlc.runtime.errors import UsageError

SHOWN = 20  # weights that are listed without being asked for all values


def show_model(model: str, values: bool, terminal: Terminal) -> None:
    """Inputs, outputs, operators and weights; with `values` every named value. Raises InputError and BadModel."""
    import onnx

    from dlc.compiler.derivative import reach

    loaded = load(model)
    graph = loaded.graph
    reached = reach(loaded)
    inputs = {name: str(graph.input(name).type) for name in graph.input_names if name not in loaded.weights}
    outputs = {name: str(value.type) for name, value in graph.outputs.items()}
    nodes = onnx.load(model, load_external_data=False).graph.node  # the graph that was read has sizes resolved
    operators = Counter(node.op_type for node in nodes if node.op_type != "Constant")
    elements = sum(prod(array.shape) for array in loaded.weights.values())
    terminal.say(
        terminal.paint(f"{model}: opset {loaded.opset}, {plural(sum(operators.values()), 'node')}, ", BOLD)
        + terminal.paint(f"{elements:,} weights in {plural(len(loaded.weights), 'tensor')}", BOLD)
    )
    terminal.table([("  takes", name, type) for name, type in inputs.items()])
    terminal.table([("  gives", name, type) for name, type in outputs.items()])
    terminal.say("  operators: " + ", ".join(f"{count} {name}" for name, count in operators.most_common()))
    listed = reached if values else [each for each in reached if each.weight][:SHOWN]
    rows = []
    for each in listed:
        kind = "weight" if each.weight else "input" if each.name in inputs else _in_onnx(each.value.op or "")
        rows.append((each.name, str(each.value.type), kind, "yes" if each.reached else f"no: {each.reason}"))
    if rows:
        terminal.say("")
        terminal.table(rows, head=("value", "type", "made by", "gradient"))
    if not values:
        more = f"{len(loaded.weights) - SHOWN} more weights, and " if len(loaded.weights) > SHOWN else ""
        terminal.say(f"{more}the inner values: dlc show {model} --values")
    terminal.result(
        {
            "file": model,
            "opset": loaded.opset,
            "inputs": inputs,
            "outputs": outputs,
            "operators": dict(operators.most_common()),
            "weights": elements,
            "values": [
                {
                    "name": each.name,
                    "type": str(each.value.type),
                    "weight": each.weight,
                    "gradient": each.reached,
                    "reason": each.reason,
                }
                for each in reached
            ],
        }
    )


def draw_model(model: str, output: str | None, terminal: Terminal) -> None:
    """Write the picture of a model's operators as SVG. Raises InputError, BadModel, UsageError and RunError."""
    from dlc.runtime.atomic import write_atomically
    from dlc.runtime.drawing.operators import graph_picture
    from dlc.runtime.drawing.svg import svg

    path = Path(output or f"{Path(model).stem}.svg")
    if path.suffix.lower() != ".svg":
        raise UsageError(f"expected the name of an .svg file for -o, found {path}")
    loaded = load(model)
    picture = graph_picture(loaded.graph, loaded.weights)
    write_atomically(path, [svg(picture).encode()])
    terminal.say(f"{path}: {len(picture.boxes)} boxes")
    terminal.result({"file": model, "kind": "model", "picture": str(path)})


def _in_onnx(op: str) -> str:
    """What ONNX calls an operator for which the reader takes one that holds its shape: `dlc.ReshapeTo` is Reshape."""
    return op.removeprefix("dlc.").removesuffix("To") if op.startswith("dlc.") else op
