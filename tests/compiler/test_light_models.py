"""Training steps of real architectures that were imported: from the same state, PyTorch's step and ours are the same.

The nine models lie in onnx's wheel, without their weights; they get seeded ones of He's scale. A `.net` file imports
each before its softmax, and a training section moves it by plain gradient descent on a random linear loss. The states
are those that PyTorch passes through. DLC_TORTURE runs all nine from ten states each (20 minutes); without it two small
ones take two steps.
"""

from __future__ import annotations

import os
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
    worst = compare(path, tmp_path, STATES)
    assert worst < 1e-4


def compare(path: Path, folder: Path, states: int) -> float:
    """The largest difference of an update from PyTorch's, as a share of the largest element of that update."""
    model = weighted(onnx.load(path))
    onnx.save(model, folder / "model.onnx")
    cut = cut_of(model)
    rng = np.random.default_rng(5)
    image = rng.normal(size=(1, 3, 224, 224)).astype(np.float32)
    statistics = {name for node in model.graph.node if node.op_type == "BatchNormalization" for name in node.input[3:]}
    held = torch_models.tensors(model)
    learning = {
        name: each.requires_grad_()
        for name, each in held.items()
        if each.is_floating_point() and each.ndim and name not in statistics
    }
    data = next(each.name for each in model.graph.input if each.name not in held)

    def forward() -> Any:
        return torch_models.run(model.graph.node, {**held, data: torch.tensor(image)}, cut)

    shape = tuple(forward().shape)
    target = rng.normal(size=shape).astype(np.float32)
    (forward() * torch.tensor(target)).mean().backward()
    learning = {name: each for name, each in learning.items() if each.grad is not None}  # those before the cut
    lr = 0.01 * float(np.median([float(each.detach().abs().max() / each.grad.abs().max()) for each in learning.values()]))
    kind = f"f32[{', '.join(map(str, shape[1:]))}]"
    (folder / "n.net").write_text(TEXT.format(cut=cut, target=kind, lr=f"{lr:.6g}"))
    program = Program.open(folder / "n.net")
    step = unit_model(program, program.step("n"))
    session = ort.InferenceSession(step.SerializeToString(), providers=["CPUExecutionProvider"])
    inputs = [each.name for each in session.get_inputs()]
    addresses = {f"m.{name}": name for name in held}
    assert {addresses[name] for name in inputs if name in addresses} >= set(learning)
    worst = 0.0
    for _ in range(states):
        before = {name: each.detach().numpy().copy() for name, each in learning.items()}
        feeds = {name: held[addresses[name]].detach().numpy() for name in inputs if name in addresses}
        outputs = [f"m.{name}:next" for name in learning]
        found = dict(zip(learning, session.run(outputs, {**feeds, "image": image, "target": target}), strict=True))
        for each in learning.values():
            each.grad = None
        (forward() * torch.tensor(target)).mean().backward()
        with torch.no_grad():
            for each in learning.values():
                each -= float(f"{lr:.6g}") * each.grad
        for name, each in learning.items():
            moved = each.detach().numpy() - before[name]
            rounding = 2**-23 * np.abs(before[name]).max()  # a weight is stored to 24 bits
            error = max(float(np.abs(found[name] - each.detach().numpy()).max()) - rounding, 0.0)
            worst = max(worst, error / float(np.abs(moved).max()))
    return worst
