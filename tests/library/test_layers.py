"""Layers of the library against PyTorch's modules in float64: forward, gradients, running averages, inference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from library_cases import Arrays, body_value, gradients, net, training_text
from products_of_library import ort_step

from dlc.compiler.evaluate import evaluate
from dlc.compiler.products import unit_model
from dlc.compiler.program import Program
from dlc.dsl.diagnostics import SourceError

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here; it comes with the extra `peers`")


@dataclass(frozen=True)
class Case:
    """`ours` is a stage; `names` maps PyTorch's parameters to ours below the stage's address `it.ADDRESS`."""

    ours: str
    theirs: Callable[[], Any]
    shape: tuple[int, ...]
    address: str
    names: Mapping[str, str] = field(default_factory=lambda: {"weight": "weight", "bias": "bias"})


def norm(kind: str, *args: Any, **settings: Any) -> Callable[[], Any]:
    return lambda: getattr(torch.nn, kind)(*args, **settings)


class Lengths(torch.nn.Module):  # type: ignore[misc]
    """What SSD calls L2Norm (Liu et al., 2016, section 3.3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(channels))

    def forward(self, x: Any) -> Any:
        gain = self.weight.reshape(-1, *[1] * (x.dim() - 2))
        return torch.nn.functional.normalize(x, dim=1) * gain


class Shift(torch.nn.Module):  # type: ignore[misc]
    """A number for each position of an axis, added."""

    def __init__(self, count: int, axis: int) -> None:
        super().__init__()
        self.bias, self.axis = torch.nn.Parameter(torch.zeros(count)), axis

    def forward(self, x: Any) -> Any:
        return torch.moveaxis(torch.moveaxis(x, self.axis, -1) + self.bias, -1, self.axis)


WEIGHT, BIAS = {"weight": "weight"}, {"bias": "bias"}
CASES = {
    "linear": Case("Linear(5)", norm("Linear", 4, 5), (6, 4), "linear"),
    "linear-rank4": Case("Linear(5)", norm("Linear", 4, 5), (2, 3, 2, 4), "linear"),
    "linear-bare": Case("Linear(5, bias=false)", norm("Linear", 4, 5, bias=False), (6, 4), "linear", WEIGHT),
    "bias": Case("Bias", lambda: Shift(4, -1), (2, 3, 4), "", BIAS),
    "bias-axis": Case("Bias(axis=1)", lambda: Shift(3, 1), (2, 3, 4, 2), "", BIAS),
    "conv": Case("Conv(5, 3)", norm("Conv2d", 4, 5, 3), (2, 4, 6, 7), "conv"),
    "conv-settings": Case(
        "Conv(6, 3, stride=2, pad=1, dilation=2, groups=2)",
        norm("Conv2d", 4, 6, 3, stride=2, padding=1, dilation=2, groups=2), (2, 4, 9, 8), "conv",
    ),
    "conv-depthwise": Case(
        "Conv(8, 3, groups=4, bias=false)", norm("Conv2d", 4, 8, 3, groups=4, bias=False), (2, 4, 6, 5), "conv", WEIGHT
    ),
    "conv-same": Case(
        'Conv(3, 4, pad="same", dilation=2)', norm("Conv2d", 2, 3, 4, padding="same", dilation=2), (2, 2, 8, 9), "conv"
    ),
    "conv-valid": Case('Conv(3, 4, pad="valid")', norm("Conv2d", 2, 3, 4, padding="valid"), (2, 2, 8, 9), "conv"),
    "l2": Case("L2Norm", lambda: Lengths(5), (2, 5, 3, 4), "l2_norm", WEIGHT),
    "l2-rank2": Case("L2Norm(20)", lambda: Lengths(5), (3, 5), "l2_norm", WEIGHT),
    "batch-rank2": Case("BatchNorm", norm("BatchNorm1d", 4), (6, 4), "batch_norm"),
    "batch-rank3": Case("BatchNorm", norm("BatchNorm1d", 4), (6, 4, 5), "batch_norm"),
    "batch-rank4": Case("BatchNorm", norm("BatchNorm2d", 4), (3, 4, 5, 2), "batch_norm"),
    "batch-settings": Case(
        "BatchNorm(momentum=0.4, eps=0.01)", norm("BatchNorm2d", 3, momentum=0.4, eps=0.01), (2, 3, 4, 4), "batch_norm"
    ),
    "layer": Case("LayerNorm", norm("LayerNorm", 6), (3, 4, 6), "layer_norm"),
    "layer-rank2": Case("LayerNorm(eps=0.1)", norm("LayerNorm", 6, eps=0.1), (5, 6), "layer_norm"),
    "group": Case("GroupNorm(2)", norm("GroupNorm", 2, 6), (3, 6, 4, 5), "group_norm"),
    "group-all": Case("GroupNorm(1)", norm("GroupNorm", 1, 6), (3, 6, 4), "group_norm"),
    "group-each": Case("GroupNorm(6, eps=1e-3)", norm("GroupNorm", 6, 6, eps=1e-3), (3, 6, 4, 2), "group_norm"),
    "prelu": Case("PReLU", norm("PReLU"), (3, 4, 5, 2), "p_relu", WEIGHT),
    "prelu-each": Case("PReLU(shared=false)", norm("PReLU", 4), (3, 4, 5, 2), "p_relu", WEIGHT),
    "prelu-rank2": Case("PReLU(shared=false)", norm("PReLU", 4), (3, 4), "p_relu", WEIGHT),
    "transposed": Case(
        "ConvTranspose(5, 3)", norm("ConvTranspose2d", 4, 5, 3), (2, 4, 5, 6), "conv_transpose",
    ),
    "transposed-settings": Case(
        "ConvTranspose(6, 3, stride=2, pad=1, extra=1, groups=2)",
        norm("ConvTranspose2d", 4, 6, 3, stride=2, padding=1, output_padding=1, groups=2), (2, 4, 5, 4),
        "conv_transpose",
    ),
    "transposed-dilated": Case(
        "ConvTranspose(2, 2, dilation=2, bias=false)", norm("ConvTranspose2d", 3, 2, 2, dilation=2, bias=False),
        (2, 3, 4, 4), "conv_transpose", WEIGHT,
    ),
}  # fmt: skip
BODY = """  param s: f32[{sizes}] = ones
  y = s * x + sin(s) -> {stage}
  return y"""


def prepared(case: Case) -> tuple[Any, Arrays, Any]:
    """PyTorch's module with random weights, the same weights by our addresses, and an input."""
    torch.manual_seed(3)
    module = case.theirs().double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(0.3, 1.5)
    x = np.random.default_rng(4).normal(0.5, 1.5, case.shape)
    return module, by_address(case, dict(module.named_parameters())), x


def by_address(case: Case, tensors: Mapping[str, Any]) -> Arrays:
    """PyTorch keeps the weights of `Linear`, which alone have rank two, as [out, in]. A `Bias` adds no level."""
    arrays = {ours: tensors[theirs].detach().numpy() for theirs, ours in case.names.items()}
    part = f"it.{case.address}." if case.address else "it."
    return {part + name: each.T if each.ndim == 2 else each for name, each in arrays.items()}


@pytest.mark.parametrize("name", CASES)
def test_forward_and_gradients_are_those_of_pytorch(name: str) -> None:
    case = CASES[name]
    module, weights, x = prepared(case)
    rng = np.random.default_rng(5)
    s = rng.uniform(0.5, 1.5, case.shape[1:])
    scale = torch.tensor(s, requires_grad=True)
    y = module(scale * torch.tensor(x) + torch.sin(scale))
    t = rng.normal(size=tuple(y.shape))
    loss = (y * torch.tensor(t) + torch.sin(y)).sum()
    loss.backward()
    body = BODY.format(sizes=", ".join(map(str, case.shape[1:])), stage=case.ours)
    state = {f"it.{case.address}.{a}": v for a, v in (("running_mean", np.zeros(case.shape[1])),
                                                      ("running_var", np.ones(case.shape[1])))}  # fmt: skip
    ours = gradients(body, "sum(y * t + sin(y))", {**weights, **state, "it.s": s}, x=x, t=t)
    np.testing.assert_allclose(ours["loss"], loss.item(), rtol=1e-10)
    grads = {name: p.grad for name, p in module.named_parameters()}
    for address, gradient in {**by_address(case, grads), "it.s": scale.grad.numpy()}.items():
        np.testing.assert_allclose(ours[f"{address}:grad"], gradient, rtol=1e-8, atol=1e-10, err_msg=address)


@pytest.mark.parametrize("name", CASES)
def test_inference_is_that_of_pytorch(name: str) -> None:
    case = CASES[name]
    module, weights, x = prepared(case)
    if name.startswith("batch"):
        with torch.no_grad():
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
        weights |= {f"it.batch_norm.{a}": getattr(module, a).numpy() for a in ("running_mean", "running_var")}
    expected = module.eval()(torch.tensor(x)).detach().numpy()
    text = net(f"  return x -> {case.ours}", {"x": x})
    graph = Program.of_text(text).net("it", working="f64").graph
    result = evaluate(graph, {**weights, "x": x})["output"]
    np.testing.assert_allclose(result, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", [(6, 4), (3, 4, 5, 2)])
def test_running_averages_follow_pytorch_over_several_steps(shape: tuple[int, ...]) -> None:
    """Biased in the batch, unbiased in the average; from the second step on with averages of their own."""
    module = (torch.nn.BatchNorm1d(4) if len(shape) == 2 else torch.nn.BatchNorm2d(4)).double()
    rng = np.random.default_rng(6)
    carried: Arrays = {
        "it.batch_norm.weight": np.ones(4), "it.batch_norm.bias": np.zeros(4),
        "it.batch_norm.running_mean": np.zeros(4), "it.batch_norm.running_var": np.ones(4),
    }  # fmt: skip
    for step in range(5):
        x = rng.normal(step, 1 + step, shape)
        module(torch.tensor(x))
        outputs = gradients("  y = x -> BatchNorm\n  return y", "mean(y)", carried, x=x)
        for part in ("running_mean", "running_var"):
            carried[f"it.batch_norm.{part}"] = outputs[f"it.batch_norm.{part}:next"]
            np.testing.assert_allclose(carried[f"it.batch_norm.{part}"], getattr(module, part).numpy(), rtol=1e-12)


def test_a_batch_norm_called_three_times_updates_three_times() -> None:
    module = torch.nn.BatchNorm1d(4).double()
    rng = np.random.default_rng(7)
    xs = {name: rng.normal(i, 1 + i, (5, 4)) for i, name in enumerate("abc")}
    for x in xs.values():
        module(torch.tensor(x))
    body = "  norm = BatchNorm()\n  y = norm(a) + norm(b) + norm(c)\n  return y"
    carried = {f"it.norm.{part}": getattr(module, part).detach().numpy() for part in ("weight", "bias")}
    carried |= {"it.norm.running_mean": np.zeros(4), "it.norm.running_var": np.ones(4)}
    outputs = gradients(body, "sum(y * y * a)", carried, **xs)
    for part in ("running_mean", "running_var"):
        np.testing.assert_allclose(outputs[f"it.norm.{part}:next"], getattr(module, part).numpy(), rtol=1e-12)


def test_a_large_mean_hides_nothing() -> None:
    """The variance is that of the differences from the mean: in float32, with a mean of 10,000 deviations."""
    x = np.random.default_rng(8).normal(1e4, 1, (64, 3, 4, 4)).astype(np.float32)
    t = np.random.default_rng(9).normal(size=x.shape).astype(np.float32)
    outputs = ort_step("  y = x -> BatchNorm\n  return y", "sum(y * t)", x=x, t=t)
    wide = torch.tensor(x, dtype=torch.float64)
    module = torch.nn.BatchNorm2d(3).double()
    (module(wide) * torch.tensor(t).double()).sum().backward()
    # SGD(lr=1) from a weight of 1 and a bias of 0
    moved = 1 - outputs["it.batch_norm.weight:next"]
    np.testing.assert_allclose(moved, module.weight.grad.numpy(), rtol=2e-3, atol=0.1)
    variance = module.running_var.numpy()
    np.testing.assert_allclose(outputs["it.batch_norm.running_var:next"], variance, rtol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_a_step_on_onnx_runtime_is_that_of_the_meaning(name: str) -> None:
    """Forward and backward pass as compiled, in float32, against the graph before lowering in float64."""
    case = CASES[name]
    _, weights, x = prepared(case)
    s = np.random.default_rng(5).uniform(0.5, 1.5, case.shape[1:])
    body = BODY.format(sizes=", ".join(map(str, case.shape[1:])), stage=case.ours)
    state = {f"it.{case.address}.{a}": v for a, v in (("running_mean", np.zeros(case.shape[1])),
                                                      ("running_var", np.ones(case.shape[1])))}  # fmt: skip
    given = {**weights, **state, "it.s": s}
    wide = gradients(body, "mean(sin(y))", given, x=x)
    small = {address: array.astype(np.float32) for address, array in given.items()}
    narrow = ort_step(body, "mean(sin(y))", small, x=x.astype(np.float32))
    np.testing.assert_allclose(narrow["loss"], wide["loss"], rtol=1e-4)
    for address in (*weights, "it.s"):
        expected = given[address] - wide[f"{address}:grad"]
        np.testing.assert_allclose(narrow[f"{address}:next"], expected, rtol=1e-4, atol=1e-5, err_msg=address)


def test_embedding() -> None:
    table, index = np.random.default_rng(1).normal(size=(7, 3)), np.array([[0, 6, 6], [2, 0, 6]])
    t = np.random.default_rng(2).normal(size=(2, 3, 3))
    ours = gradients(
        "  y = words -> Embedding(7, 3)\n  return y", "sum(y * y * t)", {"it.embedding.table": table}, words=index, t=t
    )
    weight = torch.tensor(table, requires_grad=True)
    y = torch.nn.functional.embedding(torch.tensor(index), weight)
    (y * y * torch.tensor(t)).sum().backward()
    assert weight.grad is not None
    np.testing.assert_allclose(ours["it.embedding.table:grad"], weight.grad.numpy(), rtol=1e-12)


def test_l2_norm_is_that_of_ssd() -> None:
    """Each place's channels over their length, times 20 at first: F.normalize(x, dim=1) * weight."""
    x = np.random.default_rng(3).normal(size=(2, 5, 3, 4))
    text = net("  return x -> L2Norm(20)", {"x": x})
    program = Program.of_text(text)
    result = evaluate(program.net("it", working="f64").graph, {"x": x, "it.l2_norm.weight": np.full(5, 20.0)})
    expected = torch.nn.functional.normalize(torch.tensor(x), dim=1).numpy() * 20
    np.testing.assert_allclose(result["output"], expected, rtol=1e-12)
    fields = training_text("  y = x -> L2Norm(20)\n  return y", "sum(y)", {"x": x})
    initial = evaluate(Program.of_text(fields).init("it").graph, {"seed": np.int64(0)})
    np.testing.assert_array_equal(initial["it.l2_norm.weight"], np.full(5, 20.0))


def test_groups_that_do_not_divide_are_refused() -> None:
    with pytest.raises(SourceError, match="groups must divide the channels"):
        body_value("  return x -> GroupNorm(4)", x=np.ones((2, 6, 3)))
    with pytest.raises(SourceError, match="groups must divide the channels that go out"):
        body_value("  return x -> ConvTranspose(5, 3, groups=2)", x=np.ones((2, 4, 3, 3)))
    with pytest.raises(SourceError, match="`extra` is less than the stride"):
        body_value("  return x -> ConvTranspose(5, 3, stride=2, extra=2)", x=np.ones((2, 4, 3, 3)))


def test_batch_norm_in_inference_is_one_operator() -> None:
    text = "net it {\n  input x: f32[B, 3, 8, 8]\n  return x -> BatchNorm\n}\n"
    program = Program.of_text(text)
    ops = [node.op_type for node in unit_model(program, program.net("it")).graph.node]
    assert ops.count("BatchNormalization") == 1 and len(ops) <= 4, ops
