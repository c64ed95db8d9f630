"""The command line as a whole: its help, how each mistake is told, and with which code the process ends."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_cases import Dlc, fail, process

from dlc.compiler.program import Program
from dlc.runtime.cli.failures import CODES as EXIT_CODES
from dlc.runtime.errors import InputError, RunError

COMMANDS = (
    "check", "show", "ir", "compile", "train", "eval", "export", "run", "data", "explain", "new", "fmt", "ops", "grad",
    "gradcheck",
)  # fmt: skip
LATER = ("search", "lsp")


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
    description = done.out[: re.search(r"^(Arguments|Options):$", done.out, re.M).start()]  # type: ignore[union-attr]
    assert not re.search(r"\S {2,}\S", description), "the lines of a docstring all begin at one column"


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
        (["show", "{tiny}", "--gradient"], 2, "is for pictures(.|\n)*dlc show .*tiny.net --graph --gradient"),
        (["show", "{tiny}", "--detail", "operators", "-o", "a b.svg"], 2, "--graph --detail operators -o 'a b.svg'"),
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
        (["explain", "E9999"], 2, "no diagnostic has the code E9999"),
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


@pytest.mark.parametrize("args", [["ir"], ["compile", "-o", "build"]], ids=lambda args: args[0])
def test_a_file_without_sections(dlc: Dlc, tmp_path: Path, args: list[str]) -> None:
    (tmp_path / "empty.net").write_text("let width = 3\n")
    done = dlc(*args, tmp_path / "empty.net")
    assert (done.code, "has no run, net or data section" in done.err) == (2, True)


def test_a_run_folder_is_no_file(dlc: Dlc, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    done = dlc("check", tmp_path)
    assert done.code == 1
    assert f"dlc eval {tmp_path}" in done.err


def test_show_takes_models_too(dlc: Dlc, tmp_path: Path) -> None:
    (tmp_path / "seven.png").touch()
    for command, kinds in (("show", ".net or .onnx"), ("check", ".net")):
        assert f"expected a {kinds} file, found {tmp_path / 'seven.png'}" in dlc(command, tmp_path / "seven.png").err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_waited_for(dlc: Dlc, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.net")
    done = dlc("check", tmp_path / "pipe.net")
    assert (done.code, "expected a .net file" in done.err) == (1, True)


def test_a_name_that_is_no_text(dlc: Dlc, tmp_path: Path) -> None:
    done = dlc("check", f"{tmp_path}/\udcff.net", "--json")
    assert (done.code, done.json["exit"]) == (1, 1)
    assert process("check", f"{tmp_path}/\udcff.net").returncode == 1


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


def test_an_import_that_ctrl_c_ended_is_an_interrupt(dlc: Dlc, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted_import(*_: object) -> None:
        """What loading a module written in C makes of Ctrl-C."""
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise ImportError("import numpy failed")

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        monkeypatch.setattr(Program, "check", interrupted_import)
        done = dlc("check", tiny)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "and comes back"
    finally:
        signal.signal(signal.SIGINT, before)
    assert (done.code, done.err) == (130, "error: interrupted\n")
    monkeypatch.setattr(Program, "check", fail(ImportError("no module of that name")))
    assert dlc("check", tiny).code == 70


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


def unread(*args: object, stderr: bool = False) -> int:
    """The exit code of a command whose output nobody reads: its standard output, or that and its standard error."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-c", "import sys; from dlc.runtime.cli import main; sys.exit(main())", *map(str, args)]
    done = subprocess.run(command, stdout=writing, stderr=writing if stderr else subprocess.PIPE)
    os.close(writing)
    assert not done.stderr
    return done.returncode


def test_a_reader_that_has_seen_enough_is_no_failure(tiny: Path) -> None:
    assert unread("ir", tiny, "--stage", "ast") == 0


@pytest.mark.parametrize("flags", [[], ["--json"]], ids=["text", "json"])
def test_a_failure_that_nobody_reads_is_still_one(tmp_path: Path, flags: list[str]) -> None:
    (tmp_path / "bad.net").write_text("net n {")
    assert unread("check", tmp_path / "bad.net", *flags, stderr=True) == 1
    assert unread("chekc", *flags, stderr=True) == 2
