"""`dlc show` with memory, and `dlc show --graph`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dlc.runtime.cli import main

SPECS = Path(__file__).parents[2] / "specs"
EXAMPLES = Path(__file__).parents[1] / "fixtures" / "examples"


def dlc(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        sys.exit(main([str(each) for each in args]))
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out, err


def test_memory_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = dlc(capsys, "show", SPECS / "lenet.net", "--json")
    found = json.loads(out)
    (net,), (run,) = found["nets"], found["runs"]
    assert code == 0
    assert net["memory"]["weights"] == 61_706 * 4
    assert [each["bytes"] for each in net["lines"][:3]] == [28 * 28 * 4, 6 * 28 * 28 * 4, 6 * 28 * 28 * 4]
    assert run["name"] == "lenet"
    assert run["memory"]["batch"] == 64
    parts = ("weights", "optimizer", "copy", "inputs", "working")
    assert run["memory"]["total"] == sum(run["memory"][each] for each in parts)


def test_memory_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = dlc(capsys, "show", SPECS / "lenet.net")
    assert re.search(
        r"^memory for one example: 2\d\d kB \(weights 247 kB, activations at most [23]\d\.\d kB\)$", out, re.M
    )
    assert "memory to train lenet, batch 64: " in out


def test_sizes_of_run_time_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = dlc(capsys, "show", EXAMPLES / "transformer.net")
    assert "memory: depends on S" in out


def test_a_run_with_mistakes_does_not_hide_the_net(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "half.net"
    text = (SPECS / "lenet.net").read_text().replace('"digits.net"', f'"{SPECS / "digits.net"}"')
    file.write_text(text.replace("cross_entropy(logits", "cross_entropy(nothing"))
    code, out, _ = dlc(capsys, "show", file)
    assert code == 0
    assert "61,706 weights" in out
    assert "memory to train lenet: the run has mistakes" in out


@pytest.mark.parametrize(
    "more", [[], ["--gradient"], ["--detail", "operators"], ["--gradient", "--detail", "operators"]]
)
def test_graph(capsys: pytest.CaptureFixture[str], tmp_path: Path, more: list[str]) -> None:
    picture = tmp_path / "lenet.svg"
    code, out, err = dlc(capsys, "show", SPECS / "lenet.net", "--graph", "-o", picture, *more, "--json")
    assert (code, err) == (0, "")
    kind = "step" if "--gradient" in more else "net"
    assert json.loads(out) == {
        "file": str(SPECS / "lenet.net"), "kind": kind, "name": "lenet", "picture": str(picture),
    }  # fmt: skip
    text = picture.read_text()
    assert text.startswith("<svg ")
    assert ("∂ conv2" in text) == (more == ["--gradient"])


def test_the_name_is_that_of_the_net(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dlc(capsys, "show", SPECS / "lenet.net", "--graph")
    dlc(capsys, "show", SPECS / "lenet.net", "--graph", "--gradient")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["lenet.gradient.svg", "lenet.svg"]


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["{specs}/lenet.net", "--gradient"], 2, "expected --graph too"),
        (["{specs}/lenet.net", "-o", "x.svg"], 2, "-o is for pictures"),
        (["--source", "Linear", "--graph"], 2, "--source takes no file"),
        (["{specs}/lenet.net:lenat", "--graph"], 2, "lenet.net:lenet?"),
        (["{specs}/digits.net", "--graph"], 2, "has no net"),
        (["{examples}/vgg16.net", "--graph", "--gradient"], 2, "it needs a section `train"),
        (["{examples}/facenet.net", "--graph", "--gradient"], 2, "several runs: `facenet` and `siamese`"),
        (["{specs}/lenet.net", "--graph", "-o", "{specs}/nowhere/x.svg"], 3, "cannot write"),
    ],
)
def test_refusals(capsys: pytest.CaptureFixture[str], args: list[str], code: int, said: str) -> None:
    done, out, err = dlc(capsys, "show", *(each.format(specs=SPECS, examples=EXAMPLES) for each in args))
    assert (done, out) == (code, "")
    assert said in err


def test_several_nets_are_listed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "two.net"
    file.write_text(
        "".join(f"net {n} {{\n  input x: f32[B, 3]\n  return x -> Linear(2)\n}}\n" for n in ("one", "other"))
    )
    code, _, err = dlc(capsys, "show", file, "--graph")
    assert code == 2
    assert "several nets: `one` and `other`" in err


def test_tables_need_no_networkx() -> None:
    code = (
        "import sys; from dlc.runtime.cli import main; main(['show', sys.argv[1]]);"
        "print(sorted({'networkx', 'onnx', 'onnxruntime', 'matplotlib'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(SPECS / "lenet.net")], capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines()[-1] == "[]"
