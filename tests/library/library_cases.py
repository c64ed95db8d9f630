"""What the tests of the library share: one expression as a net, and its value in float64."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from dlc.compiler.evaluate import evaluate
from dlc.compiler.graph import Graph
from dlc.compiler.passes import TRAINING, run
from dlc.compiler.program import Program
from dlc.dsl.diagnostics import Diagnostic, SourceError

NAMES = {"float64": "f32", "int64": "i64", "bool": "bool", "int32": "i32"}
Arrays = dict[str, Any]


def declared(feeds: Mapping[str, Any]) -> str:
    """`input` statements for arrays, every size written out but a first one called B where it is 3."""
    lines = []
    for name, array in feeds.items():
        sizes = ["B" if i == 0 and size == 3 else str(size) for i, size in enumerate(np.shape(array))]
        lines.append(f"  input {name}: {NAMES[str(np.asarray(array).dtype)]}[{', '.join(sizes)}]\n")
    return "".join(lines)


def net(body: str, feeds: Mapping[str, Any], before: str = "") -> str:
    return f"{before}\nnet it {{\n{declared(feeds)}{body}\n}}\n"


def value(expression: str, **feeds: Any) -> Any:
    """What `return EXPRESSION` gives for inputs, in float64; a tuple for several values."""
    return body_value(f"  return {expression}", **feeds)


def body_value(body: str, before: str = "", **feeds: Any) -> Any:
    text = net(body, feeds, before)
    graph = Program.of_text(text).net("it", working="f64").graph
    results = tuple(evaluate(graph, {name: np.asarray(array) for name, array in feeds.items()}).values())
    return results[0] if len(results) == 1 else results


def mistake(expression: str, **feeds: Any) -> Diagnostic:
    """The first diagnostic of a wrong expression."""
    try:
        Program.of_text(net(f"  return {expression}", feeds)).net("it")
    except SourceError as error:
        return error.diagnostics[0]
    raise AssertionError(f"{expression} is accepted")


TRAIN = """
data rows {{
  train = npz("rows.npz")
{fields}}}
train it on rows {{
  loss = {loss}
  optimizer = SGD(lr=1)
  batch = 4
}}
"""


@lru_cache
def _gradients(text: str) -> Graph:
    return run(Program.of_text(text).gradients("it", working="f64").graph, TRAINING, after="differentiate")


def training_text(body: str, loss: str, feeds: Mapping[str, Any]) -> str:
    inputs, fields = [], []
    for name, array in feeds.items():
        kind, sizes = NAMES[str(array.dtype)], ", ".join(map(str, array.shape[1:]))
        inputs.append(f"  input {name}: {kind}[B{', ' + sizes if sizes else ''}]\n")
        fields.append(f"  {name}: {kind}[{sizes}] = raw.{name}\n")
    return f"net it {{\n{''.join(inputs)}{body}\n}}\n" + TRAIN.format(fields="".join(fields), loss=loss)


def gradients(body: str, loss: str, carried: Mapping[str, Any], **feeds: Any) -> Arrays:
    """In training and float64: the loss, each gradient as `ADDRESS:grad`, the next value of each state `ADDRESS:next`.

    `feeds` are the net's inputs, all with the batch first. `loss` is an expression of the names of the body.
    """
    graph = _gradients(training_text(body, loss, feeds))
    given = {**carried, **feeds, "seed": np.int64(0), "step": np.int64(0)}
    return evaluate(graph, {name: np.asarray(given[name]) for name in (graph.names[v] for v in graph.inputs)})
