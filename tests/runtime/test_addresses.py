"""`dlc weights`: listing, and other addresses for what a file holds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlc.compiler.program import Program
from dlc.runtime.addresses import held, rename
from dlc.runtime.checkpoint import Checkpoints, load_tensors, save_tensors
from dlc.runtime.cli import main
from dlc.runtime.errors import InputError, RunError, UsageError
from dlc.runtime.folder import RunFolder
from dlc.runtime.report.display import Display
from dlc.runtime.train import Options, View, resume, train

Make = Callable[..., Program]
NAMED = (("Linear(16)", "Linear(16) as trunk"),)


def quiet(*args: Any, **named: Any) -> Display:
    return Display(*args, quiet=True, **named)


@pytest.fixture
def trained(tiny: Make, tmp_path: Path) -> Path:
    train(tiny(), "tiny", tmp_path / "run", Options(device="cpu", steps=3, checkpoint_steps=2), View(quiet))
    return tmp_path / "run"


def test_a_run_goes_on_under_other_addresses(tiny: Make, trained: Path, tmp_path: Path) -> None:
    train(tiny(), "tiny", tmp_path / "whole", Options(device="cpu", steps=6), View(quiet))
    count = rename(trained, {"tiny.linear": "tiny.trunk"})
    assert {path.name: n for path, n in count.items()} == {
        "best.safetensors": 2, "last.safetensors": 2, "step-000000002.safetensors": 6, "step-000000003.safetensors": 6,
    }  # fmt: skip
    names = set(load_tensors(trained / "best.safetensors")[0])
    assert {"tiny.trunk.weight", "tiny.trunk.bias", "tiny.linear2.weight", "points.x.mean"} <= names
    roles = {each.address: each.role for each in held(trained)[1]}
    assert roles["tiny.trunk.weight"] == "parameter" and roles["points.x.mean"] == "fitted"
    second = (("Linear(3)", "Linear(3) as linear2"),)
    resume(trained, Options(steps=6), View(quiet), program=tiny(*NAMED, *second))
    a, b = Checkpoints(trained).latest(), Checkpoints(tmp_path / "whole").latest()
    assert a is not None and b is not None
    assert a.tensors["tiny.optimizer.tiny.trunk.weight.m"].shape == (4, 16)
    assert a.tensors["tiny.linear2.bias"].shape == b.tensors["tiny.linear2.bias"].shape


def test_what_cannot_be_renamed(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no weight has the address tiny\.liner, or one below it") as caught:
        rename(trained, {"tiny.liner": "tiny.trunk"})
    assert caught.value.help == "did you mean tiny.linear?"
    before = (trained / "best.safetensors").read_bytes()
    with pytest.raises(InputError, match=r"would have two tensors called tiny\.linear2\.bias"):
        rename(trained, {"tiny.linear": "tiny.linear2"})
    assert (trained / "best.safetensors").read_bytes() == before
    with pytest.raises(UsageError, match=r"expected a \.safetensors file or the folder of a run"):
        rename(tmp_path / "x.npz", {"a": "b"})
    with RunFolder.resume(trained), pytest.raises(RunError, match="is being trained by process"):
        rename(trained, {"tiny.linear": "tiny.trunk"})


def test_a_prefix_ends_where_a_name_ends(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    tensors = {"a.b": np.ones(1), "a.bc": np.zeros(2), "a.b[0].w": np.ones((2, 3), np.float32)}
    save_tensors(path, tensors, {"format": "pt"})
    assert rename(path, {"a.b": "x"}) == {path: 2}
    found, metadata = load_tensors(path)
    assert set(found) == {"x", "a.bc", "x[0].w"} and metadata == {"format": "pt"}
    assert rename(path, {"x": "y", "a.bc": "x"}) == {path: 3}, "all at once"
    assert set(load_tensors(path)[0]) == {"y", "x", "y[0].w"}


def test_the_command(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "list", str(trained)]) == 0
    out = capsys.readouterr().out
    assert "tiny.linear.weight   float32[4, 16]  64  parameter" in out
    assert out.endswith("best.safetensors: 6 tensors, 139 numbers\n")
    assert main(["weights", "rename", str(trained), "tiny.linear=tiny.trunk"]) == 0
    assert f"dlc train FILE.net --resume {trained}" in capsys.readouterr().err
    assert main(["weights", "rename", str(trained), "tiny.linear"]) == 2
    assert "expected OLD=NEW" in capsys.readouterr().err
    assert main(["weights", "list", str(trained.parent / "nothing.safetensors")]) == 1
    assert main(["weights", "list", str(trained), "--weights", "worst"]) == 2


@pytest.mark.parametrize("command", [["list"], ["rename", "a=b"]])
def test_a_run_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    name, *pairs = command
    assert main(["weights", name, str(tmp_path / "nope"), *pairs]) == 1
    assert f"expected a run folder at {tmp_path / 'nope'}, found nothing" in capsys.readouterr().err
    (tmp_path / "plain").write_text("")
    assert main(["weights", name, str(tmp_path / "plain"), *pairs]) in (1, 2)
    assert "expected a .safetensors" in capsys.readouterr().err
