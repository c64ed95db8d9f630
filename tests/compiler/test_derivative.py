"""`dlc grad`: the gradient of any model, on ONNX Runtime, against differences and PyTorch; and what has none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from dlc.compiler.derivative import Underivable, derivative, differentiated, reach
from dlc.compiler.importer import of_model
from dlc.runtime.cli import main

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(3)
HELD = {"w1": RNG.normal(size=(4, 6)).astype(np.float32), "b1": RNG.normal(size=6).astype(np.float32),
        "w2": RNG.normal(size=(6, 3)).astype(np.float32)}  # fmt: skip


def model() -> onnx.ModelProto:
    """loss = mean over rows of -log_softmax(tanh(x w1 + b1) w2)[label]; `place` is where the largest logit is."""
    make = helper.make_node
    nodes = [
        make("Gemm", ["x", "w1", "b1"], ["h"]),
        make("Tanh", ["h"], ["t"]),
        make("MatMul", ["t", "w2"], ["logits"]),
        make("SoftmaxCrossEntropyLoss", ["logits", "label"], ["loss"]),
        make("ArgMax", ["logits"], ["place"], axis=1, keepdims=0),
        make("Mul", ["w2", "w2"], ["aside"]),
    ]
    floats, ints = TensorProto.FLOAT, TensorProto.INT64
    takes = [helper.make_tensor_value_info("x", floats, ["N", 4]), helper.make_tensor_value_info("label", ints, ["N"])]
    shapes = {"loss": (floats, []), "logits": (floats, ["N", 3]), "place": (ints, ["N"])}
    gives = [helper.make_tensor_value_info(name, dtype, shape) for name, (dtype, shape) in shapes.items()]
    held = [numpy_helper.from_array(array, name) for name, array in HELD.items()]
    graph = helper.make_graph(nodes, "classifier", takes, gives, held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def feeds(n: int = 5) -> dict[str, Array]:
    rng = np.random.default_rng(4)
    return {"x": rng.normal(size=(n, 4)).astype(np.float32), "label": rng.integers(0, 3, n)}


def run(made: onnx.ModelProto, given: dict[str, Array]) -> dict[str, Array]:
    onnx.checker.check_model(made)
    assert {each.domain for each in made.opset_import} == {""}
    session = ort.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(names, given), strict=True))


def gradients(of: str, *wrt: str, **options: bool) -> onnx.ModelProto:
    loaded = of_model(model(), asked=[*wrt, of])
    return differentiated(loaded, derivative(loaded, of, wrt, **options)[0])


def theirs(torch: Any, given: dict[str, Array]) -> tuple[Any, dict[str, Any]]:
    held = {name: torch.tensor(array.astype(np.float64), requires_grad=True) for name, array in HELD.items()}
    held["x"] = torch.tensor(given["x"].astype(np.float64), requires_grad=True)
    logits = torch.tanh(held["x"] @ held["w1"] + held["b1"]) @ held["w2"]
    return logits, held


@pytest.mark.parametrize("n", [1, 5])
def test_weights_and_inputs_against_pytorch(n: int) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle; the extra `peers` installs it")
    given = feeds(n)
    found = run(gradients("loss", "w1", "b1", "w2", "x"), given)
    logits, held = theirs(torch, given)
    torch.nn.functional.cross_entropy(logits, torch.tensor(given["label"])).backward()
    assert list(found) == ["loss", "logits", "place", "w1:grad", "b1:grad", "w2:grad", "x:grad"]
    for name, tensor in held.items():
        np.testing.assert_allclose(found[f"{name}:grad"], tensor.grad.numpy(), rtol=1e-4, atol=1e-6, err_msg=name)


def test_a_cotangent_against_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle; the extra `peers` installs it")
    given, cotangent = feeds(), np.random.default_rng(5).normal(size=(5, 3)).astype(np.float32)
    found = run(gradients("logits", "w1", "x", cotangent=True), {**given, "logits:cotangent": cotangent})
    logits, held = theirs(torch, given)
    logits.backward(torch.tensor(cotangent.astype(np.float64)))
    for name in ("w1", "x"):
        np.testing.assert_allclose(found[f"{name}:grad"], held[name].grad.numpy(), rtol=1e-4, atol=1e-6)


def test_second_order_against_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle; the extra `peers` installs it")
    given = feeds()
    vectors = {name: np.random.default_rng(6).normal(size=HELD[name].shape).astype(np.float32) for name in ("w1", "w2")}
    fed = {**given, **{f"{name}:vector": array for name, array in vectors.items()}}
    found = run(gradients("loss", "w1", "w2", second=True), fed)
    logits, held = theirs(torch, given)
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(given["label"]))
    first = torch.autograd.grad(loss, [held["w1"], held["w2"]], create_graph=True)
    total = sum((g * torch.tensor(v.astype(np.float64))).sum() for g, v in zip(first, vectors.values(), strict=True))
    for name, wanted in zip(vectors, torch.autograd.grad(total, [held["w1"], held["w2"]]), strict=True):
        np.testing.assert_allclose(found[f"{name}:hvp"], wanted.numpy(), rtol=1e-3, atol=1e-5, err_msg=name)


def test_a_weight_may_be_fed() -> None:
    """Plain gradient descent with nothing but the written file."""
    made, given = gradients("loss", "w1", "b1", "w2"), feeds()
    held = dict(HELD)
    assert run(made, {**given, **held})["loss"] == run(made, given)["loss"]
    losses = []
    for _ in range(20):
        found = run(made, {**given, **held})
        losses.append(float(found["loss"]))
        held = {name: array - 0.3 * found[f"{name}:grad"] for name, array in held.items()}
    assert losses[-1] < 0.5 * losses[0]


def test_an_inner_value() -> None:
    found = run(gradients("loss", "t"), feeds())
    assert found["t:grad"].shape == (5, 6) and found["t:grad"].any()


@pytest.mark.parametrize(
    ("of", "wrt", "words"),
    [
        ("los", ["w1"], "--of: the model has no value called los; did you mean loss?"),
        ("loss", ["w3"], "--wrt: the model has no value called w3"),
        ("loss", [], "nothing to differentiate by"),
        ("logits", ["w1"], r"logits is f32\[N, 3\], not one number: give its cotangent"),
        ("place", ["w1"], r"place is i64\[N\]: a gradient is of floats"),
        ("loss", ["label"], r"label is i64\[N\]: a gradient is of floats"),
    ],
)
def test_what_has_no_gradient(of: str, wrt: list[str], words: str) -> None:
    with pytest.raises(Underivable, match=words):
        derivative(of_model(model()), of, wrt)


def test_which_values_a_gradient_reaches() -> None:
    found = {each.name: each for each in reach(of_model(model()))}
    assert [name for name, each in found.items() if each.weight] == ["w1", "b1", "w2"]
    assert all(found[name].reached for name in ("x", "w1", "b1", "w2", "h", "t", "logits", "loss"))
    assert (found["label"].reached, found["label"].reason) == (False, "it is i64")
    assert found["place"].reason == "it is i64" and "aside" not in [n for n, each in found.items() if each.reached]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx.save(model(), tmp_path / "m.onnx")
    out = tmp_path / "g.onnx"
    assert (
        main(
            ["grad", str(tmp_path / "m.onnx"), "--of", "loss", "--wrt", "w1,b1", "--wrt", "x", "-o", str(out), "--json"]
        )
        == 0
    )
    told = json.loads(capsys.readouterr().out)
    assert told["weights"] == ["w1", "b1"] and told["outputs"]["x:grad"] == "f32[N, 4]"
    assert "w1:grad" in run(onnx.load(out), feeds())
    assert main(["grad", str(tmp_path / "m.onnx"), "--wrt", "w1", "-o", str(out)]) == 2  # which output?
    assert main(["grad", str(tmp_path / "m.onnx"), "--of", "loss", "--wrt", "w1", "-o", "g.txt"]) == 2
    nowhere = str(tmp_path / "missing" / "g.onnx")
    assert main(["grad", str(tmp_path / "m.onnx"), "--of", "loss", "--wrt", "w1", "-o", nowhere]) == 3
    assert main(["grad", str(tmp_path / "none.onnx"), "--of", "loss", "--wrt", "w1", "-o", str(out)]) == 1
    assert main(["grad", str(tmp_path / "m.onnx"), "--of", "loss", "--wrt", "nothing", "-o", str(out)]) == 1
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x07nonsense")
    assert main(["grad", str(tmp_path / "bad.onnx"), "--of", "loss", "--wrt", "w1", "-o", str(out)]) == 1
    assert "mistake in dlc" not in capsys.readouterr().err
