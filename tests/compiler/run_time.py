"""What the tests of sizes that only a run tells share: one model, one gradient file, many sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx_models import ran
from oracles import assert_gradients
from test_node_gradients import double

from dlc.compiler.build import Builder, op, private
from dlc.compiler.derivative import derivative, differentiated
from dlc.compiler.evaluate import evaluate
from dlc.compiler.graph import Graph, Value
from dlc.compiler.importer import of_model
from dlc.compiler.passes import differentiate

Array = np.ndarray[Any, Any]
Peer = Callable[..., Any]


def weighted(value: Value) -> Value:
    """A scalar that every element enters with a weight of its own, and squared, whatever the size is."""
    flat = op.Reshape(value, np.array([-1]))
    places = op.CumSum(flat * 0.0 + 1.0, np.array(0))
    return op.ReduceSum((flat + 0.5 * flat * flat) * op.Sin(places * 1.7), keepdims=0)


def gradients(proto: onnx.ModelProto, wrt: Sequence[str], *, second: bool = False) -> Graph:
    """In float64: a loss over all outputs, and its gradients; or those of what its gradients weigh together."""
    graph = double(of_model(proto).inlined())
    builder = Builder(graph.names)
    builder.inputs.extend(graph.inputs)
    for node in graph.nodes:
        builder.adopt(node)
    with builder:
        losses = [weighted(value) for value in graph.outputs.values() if value.dtype == "f64"]
        loss = losses[0] if len(losses) == 1 else op.Sum(*losses)
        if second:
            inner = [weighted(private.Gradient(loss, graph.input(name))) for name in wrt]
            loss = inner[0] if len(inner) == 1 else op.Sum(*inner)
        found = {name: private.Gradient(loss, graph.input(name)) for name in wrt}
        return differentiate(builder.graph(graph.name, {"loss": loss, **found}, graph.inputs))


def check(
    proto: onnx.ModelProto, wrt: Sequence[str], fed: Sequence[Mapping[str, Array]], peer: Peer | None = None,
    *, second: bool = True, kernels: bool = True,
) -> onnx.ModelProto:  # fmt: skip
    """One gradient graph against differences in float64 and, as one file on ONNX Runtime, against PyTorch, for each of
    several feeds. `peer` takes the inputs by name. Returns the file of `dlc grad`."""
    for graph in (gradients(proto, wrt), gradients(proto, wrt, second=True))[: 1 + second]:
        for feeds in fed:
            wide = {name: array.astype(np.float64) if array.dtype == np.float32 else array
                    for name, array in feeds.items()}  # fmt: skip
            _against_differences(graph, wide, wrt)
    loaded = of_model(proto)
    (of,) = [name for name, value in loaded.graph.outputs.items() if value.type.is_float][:1]
    made = differentiated(loaded, derivative(loaded, of, wrt, cotangent=True)[0])
    onnx.checker.check_model(made)
    if kernels:
        for feeds in fed:
            _on_the_runtime(made, of, wrt, feeds, proto, peer)
    return made


def _against_differences(graph: Graph, feeds: Mapping[str, Array], wrt: Sequence[str]) -> None:
    fixed = {name: array for name, array in feeds.items() if name not in wrt}
    assert_gradients(graph, {name: feeds[name] for name in wrt}, directions=2, fixed=fixed)


def _on_the_runtime(
    made: onnx.ModelProto, of: str, wrt: Sequence[str], feeds: Mapping[str, Array], proto: onnx.ModelProto,
    peer: Peer | None,
) -> None:  # fmt: skip
    expected = dict(zip([info.name for info in proto.graph.output], ran(proto, feeds), strict=True))
    cotangent = np.random.default_rng(5).normal(size=expected[of].shape).astype(np.float32)
    names = [info.name for info in made.graph.output]
    found = dict(zip(names, ran(made, {**feeds, f"{of}:cotangent": cotangent}), strict=True))
    np.testing.assert_allclose(found[of], expected[of], rtol=1e-4, atol=1e-5)
    for name in wrt:
        assert found[f"{name}:grad"].shape == feeds[name].shape
    if peer is None:
        return
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle; the extra `peers` installs it")
    tensors = {name: torch.tensor(array, requires_grad=name in wrt) for name, array in feeds.items()}
    (peer(**tensors) * torch.tensor(cotangent)).sum().backward()
    for name in wrt:
        theirs = tensors[name].grad
        wanted = np.zeros(feeds[name].shape) if theirs is None else theirs.numpy()
        np.testing.assert_allclose(found[f"{name}:grad"], wanted, rtol=1e-3, atol=1e-4, err_msg=name)


__all__ = ["check", "evaluate", "gradients"]
