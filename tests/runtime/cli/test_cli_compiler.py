"""The commands that need the compiler only: check, show, ir, compile, explain."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_cases import FIXTURES, Dlc, process

from dlc.dsl.diagnostics import CODES

# -------------------------------------------------------------------------------------------------------- check


def expected() -> list[Any]:
    """File, line and code of the first message for each broken program."""
    cases = []
    for line in (FIXTURES / "bad" / "EXPECTED").read_text().splitlines():
        if line.startswith("#"):
            continue
        name, number, text = line.split(None, 2)
        code = re.match(r"E\d{4}", text)
        cases.append(pytest.param(name, int(number), code[0] if code else None, id=name))
    return cases


@pytest.mark.parametrize(("name", "line", "code"), expected())
def test_broken_programs(dlc: Dlc, name: str, line: int, code: str | None) -> None:
    done = dlc("check", FIXTURES / "bad" / name, "--json")
    assert done.code == 1
    first = done.json["diagnostics"][0]
    assert (first["primary"]["span"]["line"], first["code"]) == (line, code or first["code"])
    shown = dlc("check", FIXTURES / "bad" / name)
    assert f"error[{first['code']}]: {first['message']}\n" in shown.err
    assert f"{name}:{line}:" in shown.err


def test_all_mistakes_at_once(dlc: Dlc) -> None:
    found = dlc("check", FIXTURES / "bad" / "typo.net", "--json").json["diagnostics"]
    assert [(each["code"], each["primary"]["span"]["line"]) for each in found] == [
        ("E0201", 12), ("E0201", 12), ("E0207", 14),
    ]  # fmt: skip


def test_check(dlc: Dlc, tiny: Path) -> None:
    done = dlc("check", tiny)
    assert (done.code, done.out, done.err) == (0, f"{tiny}: no mistakes (1 net, 1 run, 21 weights)\n", "")
    assert dlc("check", tiny, "--set", "width=8", "--json").json == {
        "file": str(tiny),
        "nets": {"tiny": {"weights": 41}},
        "runs": ["tiny"],
        "data": ["houses"],
        "diagnostics": [],
    }


@pytest.mark.parametrize(
    "args", [["check"], ["check", "--set", "nothing=1"], ["show"], ["ir", "--stage", "graph"], ["ir", "--stage", "ast"]]
)
def test_what_needs_no_onnx_does_not_load_it(tiny: Path, args: list[str]) -> None:
    code = (
        "import sys; from dlc.runtime.cli import main; main(sys.argv[1:]);"
        "print(sorted({'onnx', 'onnxruntime', 'matplotlib', 'rich', 'PIL'} & set(sys.modules)), file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, args[0], str(tiny), *args[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


def test_help_loads_no_numpy() -> None:
    code = "import sys; from dlc.runtime.cli import main; main(['--help']); print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


# --------------------------------------------------------------------------------------------------------- show


def test_show(dlc: Dlc, tiny: Path) -> None:
    lines = dlc("show", tiny).out.splitlines()
    assert lines[7].startswith("memory to train tiny, batch 2: ")
    assert lines[:7] == [
        "tiny                              activations  21 weights  16 multiply-adds",
        "  x                    f32[B, 3]         12 B",
        "  linear               f32[B, 4]         16 B  16          12",
        "  tanh                 f32[B, 4]         16 B",
        "  linear2              f32[B, 1]          4 B   5           4",
        "  guess (squeeze(-1))  f32[B]             4 B",
        "memory for one example: 124 B (weights 84 B, activations at most 20 B)",  # with the input and the axis -1
    ]


@pytest.mark.parametrize(
    ("name", "weights", "cost"),
    [("lenet", 61_706, 416_520), ("vgg16", 138_357_544, 15_470_264_320), ("mlp", 335_114, 334_336), ("logistic", 7, 6)],
)
def test_the_lines_sum_up(dlc: Dlc, name: str, weights: int, cost: int) -> None:
    done = dlc("show", FIXTURES / "examples" / f"{name}.net", "--json")
    assert done.code == 0
    (net,) = done.json["nets"]
    assert (net["weights"], net["multiply_adds"]) == (weights, cost)
    assert sum(each["weights"] for each in net["lines"]) == weights
    assert sum(each["multiply_adds"] for each in net["lines"]) == cost


def test_groups_and_turns(dlc: Dlc) -> None:
    lines = dlc("show", FIXTURES / "examples" / "vgg16.net", "--json").json["nets"][0]["lines"]
    shown = [(each["depth"], each["label"], each["group"]) for each in lines]
    assert shown[:4] == [
        (0, "image", False),
        (0, "features", True),
        (1, "for[0].repeat[0].conv", False),
        (1, "for[0].repeat[0] relu", False),
    ]
    assert (1, "for[4] max_pool(2)", False) in shown
    assert (0, "repeat[1].linear", False) in shown
    assert shown[-1] == (0, "logits (linear)", False)


@pytest.mark.parametrize(
    "uses",
    ["  a = left -> tower\n  b = right -> tower\n", "  a = tower(left)\n  b = tower(right)\n"],
    ids=["pipelines", "calls"],
)
def test_a_shared_part_is_counted_once_and_worked_twice(dlc: Dlc, tmp_path: Path, uses: str) -> None:
    file = tmp_path / "twin.net"
    file.write_text(
        "block Tower(n) {\n  input x: f32[B, D]\n  param scale: f32[n] = ones\n  return (x -> Linear(n)) * scale\n}\n"
        "net twin {\n  input left: f32[B, 3]\n  input right: f32[B, 3]\n  tower = Tower(4)\n"
        f"{uses}  return a - b\n}}\n"
    )
    (net,) = dlc("show", file, "--json").json["nets"]
    assert (net["weights"], net["multiply_adds"]) == (20, 24)
    assert [(each["label"], each["weights"], each["multiply_adds"]) for each in net["lines"]] == [
        ("left", 0, 0),
        ("right", 0, 0),
        ("a (tower)", 4, 0),
        ("linear", 16, 12),
        ("b (tower)", 0, 0),
        ("linear", 0, 12),
    ]


def test_each_call_of_a_layer_has_a_line(dlc: Dlc, tmp_path: Path) -> None:
    file = tmp_path / "twice.net"
    file.write_text(
        "net twice {\n  input a: f32[B, 1, 8, 8], b: f32[B, 1, 8, 8]\n"
        "  tower = Conv(1, 3)\n  y = tower(tower(a))\n  return y, tower(b)\n}\n"
    )
    (net,) = dlc("show", file, "--json").json["nets"]
    lines = [(each["depth"], each["label"], each["weights"], each["multiply_adds"]) for each in net["lines"]]
    assert lines[2:] == [(0, "tower", 10, 324), (0, "y (tower)", 0, 144), (0, "tower", 0, 324)]


def test_source(dlc: Dlc) -> None:
    done = dlc("show", "--source", "Linear")
    assert done.out.startswith("## Weights are [in, out]")
    assert "block Linear(units: count" in done.out
    assert done.out.rstrip().endswith("}")
    assert dlc("show", "--source", "Linear", "--json").json["text"] == done.out.rstrip("\n")


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("plateau", "plateau(metric: direction, value: positive, factor: positive = 0.1, patience: natural = 10, "),
        ("patience", "patience(metric: direction, epochs: count)"),
        ("lowest", "lowest(metric)"),
        ("highest", "highest(metric)"),
        ("tanh", "tanh(x)"),
        ("zip", "zip(*lists)"),
        ("max", "max(x, axis: axes = none, mask: mask = none, keep: bool = false)"),
        ("he", "he"),
        ("ones", "ones(shape: extents)"),
        ("columns", "columns(*names)"),
        ("npz", 'fn npz(path: path, part: string = "")'),
    ],
)
def test_source_of_a_primitive(dlc: Dlc, name: str, head: str) -> None:
    done = dlc("show", "--source", name)
    sentence, line, *_ = done.out.splitlines()
    assert done.code == 0 and sentence.startswith("## ") and line.startswith(head)


def test_every_primitive_says_what_it_is() -> None:
    from dlc.compiler.elaborate.library import BUILTINS
    from dlc.runtime.show import library_text

    for name in set(BUILTINS) - {"pi"}:
        sentence, head, made = library_text(name).splitlines()
        assert sentence[-1] in ".?" and len(sentence) > 8, name
        assert head.startswith(name) and made == "# a primitive: it has no text in the language"
    assert library_text("pi").startswith("pi = 3.14159")


# ----------------------------------------------------------------------------------------------------------- ir


def test_ir_stages(dlc: Dlc, tiny: Path) -> None:
    from onnx.parser import parse_model

    from dlc.compiler.text import from_text

    tree = dlc("ir", tiny, "--stage", "ast").out
    assert tree.startswith("Source 1:1-")
    written, differentiated, optimized = (dlc("ir", tiny, "--stage", each).out for each in ("graph", "grad", "opt"))
    for text in (written, differentiated, optimized):
        assert from_text(text).name == "tiny"
    assert "dlc.Gradient(" in written
    assert "dlc.Gradient(" not in differentiated
    assert " = dlc." not in optimized
    assert dlc("ir", tiny).out == optimized
    assert dlc("ir", tiny, "--after", "differentiate").out == differentiated
    model = parse_model(dlc("ir", tiny, "--kind", "net", "--stage", "onnx").out)
    assert [each.name for each in model.graph.output] == ["guess"]


@pytest.mark.parametrize("kind", ["step", "init", "eval", "report", "net", "prepare"])
def test_ir_kinds(dlc: Dlc, tiny: Path, kind: str) -> None:
    for stage in ("graph", "opt", "onnx"):
        done = dlc("ir", tiny, "--kind", kind, "--stage", stage, "--json")
        assert done.code == 0, done.out
        assert done.json["text"]


def test_ir_of_a_name(dlc: Dlc, two_runs: Path) -> None:
    assert "mean" not in dlc("ir", f"{two_runs}:slow", "--stage", "graph").err
    assert '%"raw.price"' in dlc("ir", f"{two_runs}:houses", "--stage", "graph").out
    assert dlc("ir", f"{two_runs}:tiny", "--kind", "net").code == 0


def test_ir_passes(dlc: Dlc, tiny: Path) -> None:
    done = dlc("ir", tiny, "--trace", "--without", "fold")
    assert re.search(r"^simplify: ", done.err, re.M)
    assert re.search(r"^lower: \d+ -> \d+ nodes", done.err, re.M)
    assert not re.search(r"^fold", done.err, re.M)
    assert done.out.startswith("graph tiny(")


# ------------------------------------------------------------------------------------------------------ compile


def test_compile(dlc: Dlc, tiny: Path, tmp_path: Path) -> None:
    done = dlc("compile", tiny, "-o", tmp_path / "build")
    assert done.code == 0
    files = sorted(path.name for path in (tmp_path / "build").iterdir())
    assert files == sorted(
        ["houses.prepare.onnx", "tiny.eval.onnx", "tiny.init.onnx", "tiny.onnx", "tiny.report.onnx", "tiny.step.onnx"]
    )
    assert re.search(r"tiny\.step\.onnx +\S+ k?B  4 carried, x, price -> 4 carried, loss, finite$", done.out, re.M)
    assert re.search(r"tiny\.init\.onnx +\S+ k?B  seed -> 4 carried$", done.out, re.M)
    assert re.search(r"/tiny\.onnx +\S+ k?B  4 carried, x -> guess$", done.out, re.M)
    told = dlc("compile", tiny, "-o", tmp_path / "again", "--json").json
    for each in told["files"]:
        content = (tmp_path / "build" / each["file"]).read_bytes()
        assert (len(content), content) == (each["bytes"], (tmp_path / "again" / each["file"]).read_bytes())


def test_compile_gives_the_same_bytes_in_any_process_and_folder(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    copied = shutil.copy(tiny, tmp_path / "elsewhere")
    for seed, file in (("1", tiny), ("2", copied)):
        done = process("compile", file, "-o", tmp_path / seed, "--set", "width=7", PYTHONHASHSEED=seed)
        assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (tmp_path / "1").iterdir())
    assert names
    for name in names:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes(), name


def test_compile_with_weights_inside(dlc: Dlc, tiny: Path, tmp_path: Path) -> None:
    shapes = {"linear.weight": (4, 3), "linear.bias": (4,), "linear2.weight": (1, 4), "linear2.bias": (1,)}
    weights = tmp_path / "torch.npz"
    np.savez(weights, **{name: np.ones(shape, np.float32) for name, shape in shapes.items()})
    done = dlc("compile", tiny, "-o", tmp_path / "build", "--weights", weights)
    assert done.code == 0 and "4 tensors of `tiny` come from" in done.err
    assert re.search(r"/tiny\.onnx +\S+ k?B  x -> guess$", done.out, re.M)
    done = dlc("compile", tiny, "-o", tmp_path / "wider", "--weights", weights, "--set", "width=5")
    assert done.code == 1 and "expected float32[3, 5], found float32[4, 3]" in done.err
    assert dlc("compile", tiny, "-o", tmp_path / "wider", "--weights", tmp_path / "none.npz").code == 1
    done = dlc("compile", tiny, "-o", tmp_path / "wider", "--raw")
    assert done.code == 2 and "it goes with --weights" in done.err
    assert not (tmp_path / "wider").exists()


def test_compile_one_run(dlc: Dlc, two_runs: Path, tmp_path: Path) -> None:
    assert dlc("compile", f"{two_runs}:slow", "-o", tmp_path / "a").code == 0
    steps = [path.name for path in (tmp_path / "a").glob("*.step.onnx")]
    assert steps == ["slow.step.onnx"]
    assert dlc("compile", two_runs, "-o", tmp_path / "b", "--split").code == 0
    assert {"slow.grad.onnx", "tiny.apply.onnx"} <= {path.name for path in (tmp_path / "b").iterdir()}


def test_a_mistake_leaves_the_folder_alone(dlc: Dlc, tmp_path: Path) -> None:
    assert dlc("compile", FIXTURES / "bad" / "typo.net", "-o", tmp_path / "build").code == 1
    assert not (tmp_path / "build").exists()


# ------------------------------------------------------------------------------------------------------ explain


def test_explain(dlc: Dlc) -> None:
    page = dlc("explain", "e0304").out
    assert page.startswith(f"E0304: {CODES['E0304']}\n\n") and "    net tiny {\n" in page and "```" not in page
    whole = dlc("explain", "E0304", "--json").json
    assert whole["code"] == "E0304" and whole["title"] == CODES["E0304"]
    assert whole["failing"] != whole["mended"] and whole["failing"] in whole["text"]
    assert dlc("explain", "--json").json == CODES
    assert dlc("explain").out.count("\n") == len(CODES)
