"""The command line: what each command prints, how each mistake is told, and with which code the process ends."""

from __future__ import annotations

import importlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlc.compiler.program import Program
from dlc.dsl.diagnostics import CODES
from dlc.runtime.cli import main
from dlc.runtime.cli.failures import CODES as EXIT_CODES
from dlc.runtime.cli.objects import lets, target
from dlc.runtime.cli.terminal import Terminal, colored, columns, file_size, plain, short
from dlc.runtime.errors import InputError, RunError, UsageError
from dlc.runtime.folder import RunFolder

FIXTURES = Path(__file__).parents[1] / "fixtures"
COMMANDS = ("check", "show", "ir", "compile", "train", "eval", "export", "run", "data", "explain")
LATER = ("new", "fmt", "search", "ops", "grad", "gradcheck", "weights", "lsp")

TINY = """\
let lr = 0.1
let width = 4
let names = ["a", "b"]

data houses {
  train = csv("houses.csv")
  x: f32[3] = columns("a", "b", "c")
  price: f32[] = raw.price
}

net tiny {
  input x: f32[B, 3]
  guess = x -> Linear(width) -> tanh -> Linear(1) -> squeeze(-1)
  return guess
}

train tiny on houses {
  loss = mse(guess, price)
  optimizer = SGD(lr=lr)
  batch = 2
}
"""
SECOND = """
train tiny on houses as slow {
  loss = mse(guess, price)
  optimizer = SGD(lr=0.001)
}
"""


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Dlc = Callable[..., Done]


@pytest.fixture
def dlc(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Dlc:
    monkeypatch.delenv("DLC_DEBUG", raising=False)

    def run(*args: object) -> Done:
        capsys.readouterr()
        code = main([str(each) for each in args])
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return run


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.net"
    path.write_text(TINY)
    return path


@pytest.fixture
def two_runs(tmp_path: Path) -> Path:
    path = tmp_path / "two.net"
    path.write_text(TINY + SECOND)
    return path


def process(*args: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "import sys; from dlc.runtime.cli import main; sys.exit(main())", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


# --------------------------------------------------------------------------------------------------------- help


def test_help_lists_what_there_is(dlc: Dlc) -> None:
    done = dlc("--help")
    assert done.code == 0
    for name in COMMANDS:
        assert re.search(rf"^  {name} ", done.out, re.M), name
    for name in LATER:
        assert not re.search(rf"^  {name} ", done.out, re.M), name
    assert dlc() == done == dlc("-h")


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_with_an_example(dlc: Dlc, name: str) -> None:
    done = dlc(name, "--help")
    assert done.code == 0
    assert f"Example:\n    dlc {name}" in done.out
    assert "--json" in done.out


def test_the_examples_of_help_are_understood(dlc: Dlc, monkeypatch: pytest.MonkeyPatch) -> None:
    from dlc.runtime.cli.app import parse

    for name in COMMANDS:
        examples = re.findall(r"^    dlc (.*)$", dlc(name, "--help").out, re.M)
        assert examples
        for line in examples:
            assert parse(line.split()) is not None, line


def test_version(dlc: Dlc) -> None:
    assert re.fullmatch(r"dlc \d+\.\d+\.\d+\S*\n", dlc("--version").out)


# ------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["chekc"], 2, "'check'"),
        (["check"], 2, "FILE.net"),
        (["check", "{tiny}", "--jsno"], 2, "did you mean --json?"),
        (["check", "{tiny}", "more"], 2, "more"),
        (["check", "{tiny}", "--set"], 2, "--set"),
        (["check", "{tiny}", "--set", "lr"], 2, "expected --set name=value, found --set lr"),
        (["check", "{tiny}", "--set", "lr=1", "--set", "lr=2"], 2, "--set gives `lr` twice"),
        (["check", "{tiny}", "--set", "lrr=1"], 1, "did you mean `lr`?"),
        (["check", "{tiny}", "--set", "width=wide"], 1, "nothing here is called `wide`|`wide` is not a value"),
        (["check", "{tiny}", "--set", "width=0.5"], 1, "`width` is an integer in the file"),
        (["check", "{folder}/tinny.net"], 1, "no file .*tinny.net(.|\n)*did you mean .*tiny.net"),
        (["check", "{folder}"], 1, "expected a .net file, found the folder"),
        (["check", "{folder}/tiny.onnx"], 1, "no file"),
        (["show", "{tiny}:"], 2, "expected a name after the colon"),
        (["show", "{tiny}:tinny"], 2, "no net called `tinny`(.|\n)*tiny.net:tiny?"),
        (["show"], 2, "expected a file"),
        (["show", "--source", "Lienar"], 1, "did you mean `Linear`?"),
        (["show", "--source", "tanh"], 1, "`tanh` is a primitive"),
        (["show", "{tiny}", "--source", "Linear"], 2, "--source takes no file"),
        (["ir", "{tiny}", "--stage", "grpah"], 2, "'grpah' is not one of"),
        (["ir", "{tiny}", "--after", "simplfy"], 2, "the passes are simplify"),
        (["ir", "{tiny}", "--without", "lower"], 2, "cannot be left out"),
        (["ir", "{tiny}", "--kind", "net", "--stage", "grad"], 2, "has no gradients"),
        (["ir", "{tiny}", "--stage", "ast", "--trace"], 2, "no pass has run"),
        (["ir", "{tiny}", "--stage", "graph", "--after", "fold"], 2, "not a stage between passes"),
        (["ir", "{tiny}:tiny", "--stage", "ast"], 2, "whole file"),
        (["ir", "{tiny}", "--kind", "fit"], 2, "nothing of `houses` is fitted"),
        (["ir", "{two}"], 2, "several runs: `tiny` and `slow`"),
        (["compile", "{tiny}"], 2, "-o"),
        (["compile", "{tiny}:slow", "-o", "{folder}/build"], 2, "no run called `slow`"),
        (["compile", "{two}", "--run", "slwo", "-o", "{folder}/build"], 2, "did you mean slow?"),
        (["compile", "{tiny}", "-o", "{tiny}"], 2, "expected a folder for -o, found the file"),
        (["compile", "{tiny}", "-o", "{tiny}/build"], 3, "cannot create"),
        (["train", "{tiny}"], 2, "expected -o"),
        (["train", "-o", "runs/a"], 2, "expected a file"),
        (["train", "{two}", "-o", "{folder}/run"], 2, "several runs: `tiny` and `slow`"),
        (["train", "{tiny}:tinny", "-o", "{folder}/run"], 2, "did you mean .*tiny.net:tiny?"),
        (["train", "--resume", "{folder}", "-o", "{folder}/run"], 2, "--resume names the folder"),
        (["train", "--resume", "{folder}"], 1, "not a run folder"),
        (["train", "--resume", "{folder}/none"], 1, "expected a run folder"),
        (["train", "{tiny}", "-o", "{folder}/run", "--device", "tpu"], 2, "'tpu' is not one of"),
        (["train", "{tiny}", "-o", "{folder}/run", "--threads", "0"], 2, "--threads"),
        (["train", "{tiny}", "-o", "{folder}/run", "--seed", "-1"], 2, "--seed"),
        (["eval", "{tiny}"], 2, "expected the folder of a run, found the file"),
        (["export", "{folder}", "-o", "{folder}/out.pb"], 2, "expected the name of an .onnx file"),
        (["run", "{folder}/none.onnx"], 1, "expected an ONNX file, found nothing"),
        (["run", "{folder}"], 1, "expected an ONNX file, found the folder"),
        (["run", "{tiny}"], 2, "expected an ONNX file"),
        (["data", "{tiny}:hosues"], 2, "did you mean .*tiny.net:houses?"),
        (["data", "{tiny}"], 1, "houses.csv: no such file"),
        (["explain", "E9999"], 1, "no diagnostic has the code E9999"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_mistakes_are_told(
    dlc: Dlc, tiny: Path, two_runs: Path, args: list[str], code: int, said: str, as_json: bool
) -> None:
    places = {"tiny": tiny, "two": two_runs, "folder": tiny.parent}
    done = dlc(*(each.format(**places) for each in args), *(["--json"] if as_json else []))
    assert done.code == code
    if not as_json:
        assert done.out == ""
        assert re.search(said.replace("?", r"\?"), done.err), done.err
        assert "Traceback" not in done.err
        return
    assert done.err == ""
    told = done.json
    assert told["exit"] == code
    messages = [told["error"], told["help"] or ""]
    messages += [text for each in told["diagnostics"] for text in (each["message"], each["primary"]["text"])]
    assert re.search(said.replace("?", r"\?"), "\n".join(messages)), told


def test_a_wrong_set_shows_what_was_written(dlc: Dlc, tiny: Path) -> None:
    done = dlc("check", tiny, "--set", "lr=0.5", "--set", "width=0.5")
    assert "--> --set:1:7" in done.err
    assert "1 | width=0.5" in done.err
    assert "let width = 4" in done.err


def test_a_run_folder_is_no_file(dlc: Dlc, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    done = dlc("check", tmp_path)
    assert done.code == 1
    assert f"dlc eval {tmp_path}" in done.err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_waited_for(dlc: Dlc, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.net")
    done = dlc("check", tmp_path / "pipe.net")
    assert (done.code, "expected a .net file" in done.err) == (1, True)


def test_a_name_that_is_no_text(dlc: Dlc, tmp_path: Path) -> None:
    done = dlc("check", f"{tmp_path}/\udcff.net", "--json")
    assert (done.code, done.json["exit"]) == (1, 1)
    assert process("check", f"{tmp_path}/\udcff.net").returncode == 1


def fail(error: BaseException) -> Callable[..., Any]:
    def failing(*_: object, **__: object) -> Any:
        raise error

    return failing


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError("no weight", "look"), 1, "error: no weight\n  help: look\n"),
        (RunError("disk full"), 3, "error: disk full\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (PermissionError(13, "Permission denied", "a.net"), 1, "error: a.net: permission denied\n"),
    ],
)
def test_failures_have_their_codes(
    dlc: Dlc, tiny: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    monkeypatch.setattr(Program, "check", fail(error))
    done = dlc("check", tiny)
    assert (done.code, done.err) == (code, said)


def test_an_unexpected_error_is_ours(dlc: Dlc, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Program, "check", fail(ZeroDivisionError("by zero")))
    done = dlc("check", tiny)
    assert done.code == 70
    assert "this is a mistake in dlc, not in your file (ZeroDivisionError: by zero)" in done.err
    assert "please report it" in done.err
    assert "Traceback" not in done.err
    assert "Traceback" in dlc("check", tiny, "--debug").err
    monkeypatch.setenv("DLC_DEBUG", "1")
    assert "Traceback" in dlc("check", tiny).err
    assert dlc("check", tiny, "--json").json["exit"] == 70


def test_the_exceptions_with_codes_exist() -> None:
    for name, code in EXIT_CODES.items():
        module, _, kind = name.rpartition(".")
        assert issubclass(getattr(importlib.import_module(module), kind), Exception)
        assert code in (1, 2, 3)


def test_a_reader_that_has_seen_enough_is_no_failure(tiny: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    code = "import sys; from dlc.runtime.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "ir", str(tiny), "--stage", "ast"],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


# -------------------------------------------------------------------------------------------------------- check


PENDING = {
    "heads.net": "`rearrange` is not there yet, and that is what is said",
    "mask.net": "`ragged` and `mask` are not there yet, and that is what is said",
    "next.net": "`scan` is not elaborated yet, and no net uses the block",
}


def expected() -> list[Any]:
    """File, line and code of the first message for each broken program."""
    cases = []
    for line in (FIXTURES / "bad" / "EXPECTED").read_text().splitlines():
        if line.startswith("#"):
            continue
        name, number, text = line.split(None, 2)
        code = re.match(r"E\d{4}", text)
        marks = [pytest.mark.xfail(reason=PENDING[name], strict=True)] if name in PENDING else []
        cases.append(pytest.param(name, int(number), code[0] if code else None, marks=marks, id=name))
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


def test_every_broken_program_is_expected() -> None:
    assert {case.id for case in expected()} == {path.name for path in (FIXTURES / "bad").glob("*.net")}


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
    assert dlc("show", tiny).out.splitlines() == [
        "tiny                              21 weights  16 multiply-adds",
        "  x                    f32[B, 3]",
        "  linear               f32[B, 4]  16          12",
        "  tanh                 f32[B, 4]",
        "  linear2              f32[B, 1]   5           4",
        "  guess (squeeze(-1))  f32[B]",
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


def test_a_shared_part_is_counted_once_and_worked_twice(dlc: Dlc, tmp_path: Path) -> None:
    file = tmp_path / "twin.net"
    file.write_text(
        "block Tower(n) {\n  input x: f32[B, D]\n  param scale: f32[n] = ones\n  return (x -> Linear(n)) * scale\n}\n"
        "net twin {\n  input left: f32[B, 3]\n  input right: f32[B, 3]\n  tower = Tower(4)\n"
        "  a = left -> tower\n  b = right -> tower\n  return a - b\n}\n"
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


def test_source(dlc: Dlc) -> None:
    done = dlc("show", "--source", "Linear")
    assert done.out.startswith("## Weights are [in, out]")
    assert "block Linear(units: int" in done.out
    assert done.out.rstrip().endswith("}")
    assert dlc("show", "--source", "Linear", "--json").json["text"] == done.out.rstrip("\n")


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


def test_compile_gives_the_same_bytes_in_any_process(tiny: Path, tmp_path: Path) -> None:
    for seed in ("1", "2"):
        done = process("compile", tiny, "-o", tmp_path / seed, "--set", "width=7", PYTHONHASHSEED=seed)
        assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (tmp_path / "1").iterdir())
    assert names
    for name in names:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes(), name


def test_compile_one_run(dlc: Dlc, two_runs: Path, tmp_path: Path) -> None:
    assert dlc("compile", f"{two_runs}:slow", "-o", tmp_path / "a").code == 0
    steps = [path.name for path in (tmp_path / "a").glob("*.step.onnx")]
    assert steps == ["slow.step.onnx"]
    assert dlc("compile", two_runs, "-o", tmp_path / "b", "--split").code == 0
    assert {"slow.grad.onnx", "tiny.apply.onnx"} <= {path.name for path in (tmp_path / "b").iterdir()}


def test_a_mistake_leaves_the_folder_alone(dlc: Dlc, tmp_path: Path) -> None:
    assert dlc("compile", FIXTURES / "bad" / "typo.net", "-o", tmp_path / "build").code == 1
    assert not (tmp_path / "build").exists()


# ------------------------------------------------------------------------------------------------- runs and data


def test_train_is_given_what_was_asked_for(
    dlc: Dlc, two_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dlc.runtime import train as module
    from dlc.runtime.checkpoint import Best

    seen: dict[str, Any] = {}

    def train(program: Program, run: str, folder: Path, options: Any, view: Any) -> Any:
        seen.update(lets=program.let_values(), run=run, folder=folder, options=options)
        return module.Result(folder, 12, 3, Best(0.25, 8, "dev.loss"), {"train": {"loss": float("nan")}}, 1.5)

    monkeypatch.setattr(module, "train", train)
    args = ("--set", "lr=0.5", "--seed", 3, "--device", "cpu", "--threads", 2)
    done = dlc("train", f"{two_runs}:slow", "-o", tmp_path / "run", *args)
    assert done.code == 0
    assert done.out == f"best dev.loss 0.25 at step 8\n{tmp_path / 'run'}: 12 steps in 1.5 s\n"
    assert (seen["run"], seen["folder"], seen["lets"]["lr"]) == ("slow", tmp_path / "run", 0.5)
    assert (seen["options"].seed, seen["options"].device, seen["options"].threads) == (3, "cpu", 2)
    told = dlc("train", f"{two_runs}:slow", "-o", tmp_path / "run", "--json").json
    assert told["best"] == {"metric": "dev.loss", "value": 0.25, "step": 8}
    assert told["values"] == {"train": {"loss": "nan"}}


def test_resume_keeps_what_was_set(dlc: Dlc, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dlc.runtime import train as module

    seen: list[Any] = []

    def resume(folder: Path, options: Any, view: Any, program: Program | None) -> Any:
        seen.append(program.lets if program is not None else None)
        return module.Result(folder, 12, 3, None)

    monkeypatch.setattr(module, "resume", resume)
    source = {"file": str(tiny), "sha256": Program.open(tiny).sha256, "lets": {"width": "8", "lr": "0.5"}}
    run = tmp_path / "run"
    with RunFolder.create(run, {"source": source}):
        pass
    assert dlc("train", "--resume", run).code == 0
    assert dlc("train", "--resume", run, "--set", "lr=0.25").err == ""
    assert dlc("train", tiny, "--resume", run, "--set", "width=9").code == 0
    assert seen == [None, {"width": 8, "lr": 0.25}, {"width": 9}]
    tiny.write_text(TINY + SECOND)
    assert "has changed since the run was begun" in dlc("train", "--resume", run, "--set", "lr=1").err
    tiny.unlink()
    done = dlc("train", "--resume", run, "--set", "lr=1")
    assert (done.code, "is not there any more" in done.err) == (2, True)


def test_an_interrupted_run_says_how_to_go_on(dlc: Dlc, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dlc.runtime import train as module

    monkeypatch.setattr(module, "train", fail(module.Interrupted("interrupted after step 7", "dlc train --resume a")))
    done = dlc("train", tiny, "-o", tiny.parent / "run")
    assert done.code == 130
    assert done.err == "error: interrupted after step 7\n  help: dlc train --resume a\n"


def test_data(dlc: Dlc, tiny: Path) -> None:
    (tiny.parent / "houses.csv").write_text("a,b,c,price\n0,1,2,10\n3,4,5,20\n6,7,8,60\n")
    done = dlc("data", tiny)
    assert done.code == 0, done.err
    assert done.out.splitlines()[-2:] == [
        "train         3  x      f32[3]    0     4    8",
        "                 price  f32[]    10    30   60",
    ]
    told = dlc("data", tiny, "--json").json
    assert told["splits"]["train"]["examples"] == 3
    assert told["splits"]["train"]["fields"]["price"] == {"min": 10, "mean": 30, "max": 60}
    assert told["fields"] == {"x": "f32[3]", "price": "f32[]"}


def test_from_a_file_to_a_prediction(dlc: Dlc, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny.parent
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    rows = [f"{i % 3},{i % 5},{i % 2},{i % 3 - i % 5}" for i in range(40)]
    (folder / "houses.csv").write_text("\n".join(["a,b,c,price", *rows]) + "\n")
    tiny.write_text(TINY.replace('csv("houses.csv")', 'csv("houses.csv")\n  test = holdout(train, 0.25)')
                    .replace("batch = 2", "batch = 5\n  epochs = 2"))  # fmt: skip
    run, model = folder / "runs" / "tiny", folder / "tiny.onnx"
    done = dlc("train", tiny, "-o", run, "--device", "cpu", "--seed", 1, "--quiet")
    assert done.code == 0, done.err
    assert f"{run}: 12 steps" in done.out
    again = dlc("train", tiny, "-o", run)
    assert (again.code, f"dlc train --resume {run}" in again.err) == (2, True)
    resumed = dlc("train", "--resume", run, "--json")
    assert (resumed.code, resumed.json["step"]) == (0, 12)
    evaluated = dlc("eval", run, "--json")
    assert (evaluated.code, evaluated.json["examples"]) == (0, 10)
    assert dlc("eval", run, "--on", "tset").code == 1
    assert dlc("export", run, "-o", model, "--raw").code == 0
    given = ("--input", "x=[[1, 2, 0], [0, 1, 1]]")
    predicted = dlc("run", model, *given, "--json")
    assert predicted.json["outputs"]["guess"]["shape"] == [2], predicted.out
    assert dlc("run", model, *given, "--output", folder / "out.npz").code == 0
    with np.load(folder / "out.npz") as kept:
        assert kept["guess"].tolist() == predicted.json["outputs"]["guess"]["values"]
    assert dlc("run", model, "--input", "y=1").code == 1
    assert dlc("run", model, "--input", "x").code == 2


# ------------------------------------------------------------------------------------------------------ explain


def test_explain(dlc: Dlc) -> None:
    assert dlc("explain", "e0304").out == f"E0304: {CODES['E0304']}\n"
    assert dlc("explain", "E0304", "--json").json == {"code": "E0304", "title": CODES["E0304"]}
    assert dlc("explain", "--json").json == CODES
    assert dlc("explain").out.count("\n") == len(CODES)


# -------------------------------------------------------------------------------------------------------- pieces


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_on_terminals_only(monkeypatch: pytest.MonkeyPatch, tiny: Path) -> None:
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    assert colored(FakeTerminal())
    assert not colored(io.StringIO())
    err = FakeTerminal()
    monkeypatch.setattr(sys, "stderr", err)
    assert main(["check", str(tiny), "--set", "nothing=1"]) == 1
    assert "\033[" in err.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colored(FakeTerminal())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not colored(FakeTerminal())


def test_progress_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    err = FakeTerminal()
    monkeypatch.setattr(sys, "stderr", err)
    Terminal().progress("preparing train", 5, 1000)
    assert "preparing train: 5 of 1,000" in err.getvalue()
    Terminal().progress("preparing train", 1000, 1000)
    assert err.getvalue().endswith("\r\033[K")


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (1000, "1 k"), (417_348, "417 k"), (999_600, "1 M"), (15_470_264_320, "15.5 G")],
)
def test_short_numbers(number: int, text: str) -> None:
    assert short(number) == text


def test_sizes_and_columns() -> None:
    assert [file_size(size) for size in (0, 999, 2512)] == ["0 B", "999 B", "2.51 kB"]
    assert columns([("a", "10", "x"), ("bbb", "2", "")], right=[1]) == ["a    10  x", "bbb   2"]


def test_plain_values_are_json() -> None:
    import numpy as np

    value = {"a": np.float32(0.5), 1: [np.arange(2), float("inf")], "path": Path("x"), "none": None, "yes": True}
    assert json.dumps(plain(value), default=str, allow_nan=False) == (
        '{"a": 0.5, "1": [[0, 1], "inf"], "path": "x", "none": null, "yes": true}'
    )


def test_targets(tiny: Path) -> None:
    assert (target(str(tiny)).name, target(f"{tiny}:tiny").name) == (None, "tiny")
    odd = tiny.with_name("a:b.net")
    odd.write_text(TINY)
    assert (target(str(odd)).path, target(f"{odd}:tiny").name) == (odd, "tiny")
    with pytest.raises(InputError, match=r"expected a \.net file"):
        (tiny.parent / "a.txt").write_text("")
        target(str(tiny.parent / "a.txt"))


def test_lets() -> None:
    assert lets(["a=1", "b = [1, 2]", 'c="x=y"']) == {"a": "1", "b": "[1, 2]", "c": '"x=y"'}
    for wrong in ("a", "=1", "a=", " = "):
        with pytest.raises(UsageError, match="name=value"):
            lets([wrong])
