"""Training steps of real architectures that were imported: from the same state, PyTorch's step and ours are the same.

The nine models lie in onnx's wheel, without their weights; they get seeded ones of He's scale. A `.net` file imports
each before its softmax, and a training section moves it by plain gradient descent on a random linear loss. The states
lie on PyTorch's way downhill. It computes in float64: in float32 single units of these nets come out on the other side
of a relu's kink, in PyTorch as here, though not in the same states. So in most states a step has to be as near to it as
1e-4, or as PyTorch's own float32 comes, times three, and in none a hundredth away. DLC_TORTURE runs all nine from ten
states each (seven minutes, 13 GB for VGG-19); without it two small ones take two steps.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx_models import weighted

from dlc.compiler.products import unit_model
from dlc.compiler.program import Program

torch = pytest.importorskip("torch", reason="PyTorch is the oracle; the extra `peers` installs it")
torch_models = pytest.importorskip("torch_models", reason="PyTorch is the oracle; the extra `peers` installs it")

Array = np.ndarray[Any, Any]
LIGHT = sorted((Path(onnx.__file__).parent / "backend" / "test" / "data" / "light").glob("*.onnx"))
LONG = bool(os.environ.get("DLC_TORTURE"))
SMALL = ("light_squeezenet", "light_shufflenet")
STATES = 10 if LONG else 2
TEXT = """import m from "model.onnx" {{ y = "{cut}" }}

data d {{
  train = npz("d.npz")
  image: f32[3, 224, 224] = raw.image
  target: {target} = raw.target
}}

net n {{
  input image: f32[1, 3, 224, 224]
  y = m(image).y
  return y
}}

train n on d {{
  loss = mean(y * target)
  optimizer = SGD(lr={lr})
  batch = 1
  steps = 1
}}
"""


def cut_of(model: onnx.ModelProto) -> str:
    """What the last softmax reads, or the output."""
    last = model.graph.node[-1]
    return str(last.input[0] if last.op_type == "Softmax" else last.output[0])


@pytest.mark.parametrize("path", LIGHT, ids=lambda path: path.stem)
def test_steps_are_those_of_pytorch(path: Path, tmp_path: Path) -> None:
    if not LONG and path.stem not in SMALL:
        pytest.skip("the larger models take minutes: DLC_TORTURE=1 runs them")
    ours, theirs = compare(path, tmp_path, STATES)
    assert np.median(ours) < max(1e-4, 3 * float(np.median(theirs)))
    assert max(ours) < 0.01


def compare(path: Path, folder: Path, states: int) -> tuple[list[float], list[float]]:
    """How far our steps, and PyTorch's gradients in float32, are from its own in float64: the length of the difference
    over all weights, as a share of the step's, in each state."""
    model = weighted(onnx.load(path))
    onnx.save(model, folder / "model.onnx")
    cut = cut_of(model)
    rng = np.random.default_rng(5)
    image = rng.normal(size=(1, 3, 224, 224)).astype(np.float32)
    statistics = {name for node in model.graph.node if node.op_type == "BatchNormalization" for name in node.input[3:]}
    held = {
        name: each.double() if each.is_floating_point() else each for name, each in torch_models.tensors(model).items()
    }
    learning = {
        name: each.requires_grad_()
        for name, each in held.items()
        if each.is_floating_point() and each.ndim and name not in statistics
    }
    data = next(each.name for each in model.graph.input if each.name not in held)

    def forward() -> Any:
        return torch_models.run(model.graph.node, {**held, data: torch.tensor(image).double()}, cut)

    shape = tuple(forward().shape)
    target = rng.normal(size=shape).astype(np.float32)
    (forward() * torch.tensor(target)).mean().backward()
    learning = {name: each for name, each in learning.items() if each.grad is not None}  # those before the cut
    # Small enough for nets without normalization: no element moves by more than a thousandth of the largest.
    kernels = [each for each in learning.values() if each.ndim > 1]
    lr = 1e-3 * min(float(each.detach().abs().max() / each.grad.abs().max()) for each in kernels)
    kind = f"f32[{', '.join(map(str, shape[1:]))}]"
    (folder / "n.net").write_text(TEXT.format(cut=cut, target=kind, lr=f"{lr:.6g}"))
    program = Program.open(folder / "n.net")
    step, gradients = (
        ort.InferenceSession(unit_model(program, unit).SerializeToString(), providers=["CPUExecutionProvider"])
        for unit in (program.step("n"), program.gradients("n"))
    )
    inputs = [each.name for each in step.get_inputs()]
    addresses = {f"m.{name}": name for name in held}
    assert {addresses[name] for name in inputs if name in addresses} >= set(learning)
    rate = float(f"{lr:.6g}")
    ours, theirs, first = list[float](), list[float](), 0.0
    for _ in range(states):
        before = {name: each.detach().numpy().copy() for name, each in learning.items()}
        feeds: dict[str, Array] = {"image": image, "target": target}
        for name in inputs:
            if name in addresses:
                array = held[addresses[name]].detach().numpy()
                feeds[name] = array.astype(np.float32) if array.dtype == np.float64 else array
        after = dict(zip(learning, step.run([f"m.{name}:next" for name in learning], feeds), strict=True))
        found = dict(zip(learning, gradients.run([f"m.{name}:grad" for name in learning], feeds), strict=True))
        for each in learning.values():
            each.grad = None
        (forward() * torch.tensor(target)).mean().backward()
        slopes = {name: each.grad.numpy() for name, each in learning.items()}
        moves = {name: before[name] - rate * slope for name, slope in slopes.items()}
        small = _small_slopes(model, held, set(learning), data, image, cut, target)
        off, other = (
            _length({name: each[name] - slope for name, slope in slopes.items()}) / _length(slopes)
            for each in (found, small)
        )
        ours.append(off)
        theirs.append(other)
        apart = _length({name: after[name] - move for name, move in moves.items()})
        stored = 2**-23 * _length(before)  # a weight is kept to 24 bits
        assert apart <= rate * max(1e-4, 3 * off, 3 * other) * _length(slopes) + stored
        first = first or _length(slopes)
        pace = rate * first / _length(slopes)  # a linear loss has no least value: steps of the rate would run away
        with torch.no_grad():
            for name, each in learning.items():
                each.copy_(torch.tensor(before[name] - pace * slopes[name]).float())  # a state that both can hold
    return ours, theirs


def _length(tensors: Mapping[str, Array]) -> float:
    return float(sum(float((each.astype(np.float64) ** 2).sum()) for each in tensors.values()) ** 0.5)


def _small_slopes(
    model: onnx.ModelProto, held: Mapping[str, Any], learning: set[str], data: str, image: Array, cut: str,
    target: Array,
) -> dict[str, Array]:  # fmt: skip
    """PyTorch's gradients of the same state in float32."""
    small = {
        name: each.detach().float().requires_grad_(name in learning) if each.is_floating_point() else each
        for name, each in held.items()
    }
    y = torch_models.run(model.graph.node, {**small, data: torch.tensor(image)}, cut)
    (y * torch.tensor(target)).mean().backward()
    return {name: small[name].grad.numpy() for name in learning}
