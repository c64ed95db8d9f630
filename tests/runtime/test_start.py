"""Where weights come from: an earlier run, a file, and the seed for the rest."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlc.compiler.program import Program
from dlc.runtime.checkpoint import Checkpoints, load_tensors, save_tensors
from dlc.runtime.errors import InputError, UsageError
from dlc.runtime.folder import RunFolder
from dlc.runtime.report.display import Display
from dlc.runtime.train import Options, Result, View, resume, train

Make = Callable[..., Program]
SECOND = """
train tiny on points as tune {
  after = tiny
  loss = cross_entropy(logits, label)
  metrics { acc = accuracy(logits, label) }
  optimizer = SGD(lr=lr)
  batch  = 16
  steps = 1
}
"""
END = "  batch  = 16\n  epochs = 3\n}\n"


def quiet(*args: Any, **named: Any) -> Display:
    return Display(*args, quiet=True, **named)


def run(program: Program, name: str, folder: Path, notes: list[str] | None = None, **options: Any) -> Result:
    said = [] if notes is None else notes
    return train(program, name, folder, Options(device="cpu", **options), View(quiet, said.append))


def begun(folder: Path) -> dict[str, Any]:
    """The values that a run of one step began with."""
    checkpoints = Checkpoints(folder)
    assert checkpoints.steps() == [0, 1]
    from dlc.runtime.checkpoint import Checkpoint

    return dict(Checkpoint.load(checkpoints.path(0)).tensors)


@pytest.fixture
def two(tiny: Make, tmp_path: Path) -> Program:
    """`tiny` and `tune`, which starts after it; `tiny` is trained in tmp_path/tiny."""
    program = tiny((END, END + SECOND))
    run(program, "tiny", tmp_path / "tiny")
    return program


# ------------------------------------------------------------------------------------------------------- after


def test_a_run_starts_from_the_best_weights_of_another(two: Program, tmp_path: Path) -> None:
    notes: list[str] = []
    run(two, "tune", tmp_path / "tune", notes, after=tmp_path / "tiny")
    best, _ = load_tensors(tmp_path / "tiny" / "best.safetensors")
    values = begun(tmp_path / "tune")
    weights = [name for name in values if not name.startswith("tune.optimizer")]
    assert len(weights) == 4
    for name in weights:
        assert values[name].tobytes() == best[name].tobytes(), name
    assert notes == [f"4 of 4 tensors come from {tmp_path / 'tiny' / 'best.safetensors'}"]
    assert RunFolder.open(tmp_path / "tune").settings["after"] == str(tmp_path / "tiny")


def test_without_it_the_command_to_type_is_told(two: Program, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="`tune` starts from the weights of `tiny`: say where") as caught:
        run(two, "tune", tmp_path / "tune")
    command = f"dlc train {tmp_path / 'tiny.net'}:tune -o {tmp_path / 'tune'} --after {tmp_path / 'tiny'}"
    assert caught.value.exit_code == 2 and caught.value.help == command
    with pytest.raises(UsageError) as caught:
        run(two, "tune", tmp_path / "elsewhere" / "tune")
    first, then = str(caught.value.help).splitlines()
    there = tmp_path / "elsewhere" / "tiny"
    assert first == f"dlc train {tmp_path / 'tiny.net'}:tiny -o {there}" and then.endswith(f"--after {there}")
    assert not (tmp_path / "tune").exists() and not (tmp_path / "elsewhere").exists()


def test_the_wrong_folder_is_refused(two: Program, tmp_path: Path) -> None:
    run(two, "tune", tmp_path / "tune", after=tmp_path / "tiny")
    with pytest.raises(UsageError, match=r"`tune` starts after `tiny`, and .*tune is a run of `tune`"):
        run(two, "tune", tmp_path / "again", after=tmp_path / "tune")
    with pytest.raises(UsageError, match="the run `tiny` does not start after another"):
        run(two, "tiny", tmp_path / "again", after=tmp_path / "tune")
    with pytest.raises(InputError, match=r"expected a run folder at .*nothing, found nothing"):
        run(two, "tune", tmp_path / "again", after=tmp_path / "nothing")
    (tmp_path / "tiny" / "best.safetensors").unlink()
    with pytest.raises(InputError, match="has no best weights yet"):
        run(two, "tune", tmp_path / "again", after=tmp_path / "tiny")
    assert not (tmp_path / "again").exists()


def test_new_parts_start_from_their_initializers(two: Program, tiny: Make, tmp_path: Path) -> None:
    wider = tiny((END, END + SECOND), ("Linear(3)", "Linear(3) as head"))
    notes: list[str] = []
    run(wider, "tune", tmp_path / "tune", notes, after=tmp_path / "tiny")
    assert notes[1] == "new here, from their initializers: tiny.head.bias, tiny.head.weight"
    assert np.std(begun(tmp_path / "tune")["tiny.head.weight"]) > 0


def test_weights_that_do_not_fit_are_listed(two: Program, tiny: Make, tmp_path: Path) -> None:
    wider = tiny((END, END + SECOND), ("Linear(16)", "Linear(20)"))
    with pytest.raises(InputError, match=r"tiny\.linear\.weight: here float32\[4, 20\], there float32\[4, 16\]"):
        run(wider, "tune", tmp_path / "tune", after=tmp_path / "tiny")
    other = tiny((END, END + SECOND), ("Linear(16)", "Linear(16) as a"), ("Linear(3)", "Linear(3) as b"))
    with pytest.raises(InputError, match=r"has no weight of this net: it has points\.x\.mean"):
        run(other, "tune", tmp_path / "tune", after=tmp_path / "tiny")


def test_constants_fitted_on_other_data_are_refused(
    two: Program, points: Callable[..., None], tmp_path: Path
) -> None:
    points(tmp_path, "train", 96, 8)
    with pytest.raises(InputError, match=r"points\.x\.mean, fitted on the training split, is not what it was in"):
        run(two, "tune", tmp_path / "tune", after=tmp_path / "tiny")


def test_frozen_weights_come_from_there_and_stay(tiny: Make, tmp_path: Path) -> None:
    second = SECOND.replace("after = tiny", "after = tiny\n  freeze tiny.trunk").replace("steps = 1", "steps = 6")
    program = tiny((END, END + second), ("Linear(16)", "Linear(16) as trunk"))
    run(program, "tiny", tmp_path / "tiny")
    run(program, "tune", tmp_path / "tune", after=tmp_path / "tiny")
    there, _ = load_tensors(tmp_path / "tiny" / "best.safetensors")
    here, _ = load_tensors(tmp_path / "tune" / "last.safetensors")
    assert here["tiny.trunk.weight"].tobytes() == there["tiny.trunk.weight"].tobytes()
    assert here["tiny.linear.weight"].tobytes() != there["tiny.linear.weight"].tobytes()


def test_it_goes_on_without_the_earlier_run(two: Program, tmp_path: Path) -> None:
    import shutil

    run(two, "tune", tmp_path / "whole", after=tmp_path / "tiny", steps=6)
    run(two, "tune", tmp_path / "parts", after=tmp_path / "tiny", steps=3)
    shutil.rmtree(tmp_path / "tiny")
    resume(tmp_path / "parts", Options(steps=6), View(quiet))
    a, b = (Checkpoints(tmp_path / name).latest() for name in ("whole", "parts"))
    assert a is not None and b is not None and a.step == b.step == 6
    assert all(a.tensors[name].tobytes() == b.tensors[name].tobytes() for name in a.tensors)


# -------------------------------------------------------------------------------------------------------- load


def loading(tiny: Make, file: str, part: str = "tiny.trunk") -> Program:
    return tiny(
        ("epochs = 3", f'steps = 1\n  load {part} from "{file}"'),
        ("Linear(16)", "Linear(16) as trunk"),
        ("Linear(3)", "Linear(3) as head"),
    )


def test_a_file_beside_the_program_is_loaded(tiny: Make, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(16, 4)).astype(np.float32), rng.normal(size=16).astype(np.float32)
    (tmp_path / "weights").mkdir()
    torch = {"trunk.weight": weight, "trunk.bias": bias, "fc.weight": np.ones((2, 2), np.float32)}
    save_tensors(tmp_path / "weights" / "net.safetensors", torch, {"format": "pt"})
    notes: list[str] = []
    run(loading(tiny, "weights/net.safetensors"), "tiny", tmp_path / "run", notes)
    values = begun(tmp_path / "run")
    assert np.array_equal(values["tiny.trunk.weight"], weight.T), "PyTorch has [out, in]"
    assert np.array_equal(values["tiny.trunk.bias"], bias)
    assert notes == [
        f"2 tensors of `tiny.trunk` come from {tmp_path / 'weights' / 'net.safetensors'}, 1 transposed",
        "not used of that file: fc.weight",
    ]


def test_an_npz_and_the_best_weights_of_a_run_are_loaded(tiny: Make, tmp_path: Path) -> None:
    np.savez(tmp_path / "net.npz", weight=np.full((4, 16), 0.5), bias=np.zeros(16))
    run(loading(tiny, "net.npz"), "tiny", tmp_path / "a")
    assert np.all(begun(tmp_path / "a")["tiny.trunk.weight"] == 0.5) and begun(tmp_path / "a")[
        "tiny.trunk.weight"
    ].dtype == np.float32
    run(loading(tiny, "a/best.safetensors", "tiny"), "tiny", tmp_path / "b")
    best, _ = load_tensors(tmp_path / "a" / "best.safetensors")
    values = begun(tmp_path / "b")
    assert all(values[f"tiny.{n}"].tobytes() == best[f"tiny.{n}"].tobytes() for n in ("trunk.weight", "head.bias"))


def test_mistakes_in_such_files_make_no_folder(tiny: Make, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(f"{tmp_path / 'gone.safetensors'}: no such file")):
        run(loading(tiny, "gone.safetensors"), "tiny", tmp_path / "run")
    nan = {"weight": np.full((4, 16), np.nan, np.float32), "bias": np.zeros(16, np.float32)}
    save_tensors(tmp_path / "nan.safetensors", nan, {})
    with pytest.raises(InputError, match=r"tiny\.trunk\.weight \(64 of 64 values are NaN or infinite\)"):
        run(loading(tiny, "nan.safetensors"), "tiny", tmp_path / "run")
    assert not (tmp_path / "run").exists()
