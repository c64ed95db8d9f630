"""What the command line writes to, and what it reads its arguments with."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_cases import TINY

from dlc.runtime.cli import main
from dlc.runtime.cli.objects import lets, target
from dlc.runtime.cli.terminal import Terminal, colored, columns, file_size, plain, short
from dlc.runtime.errors import InputError, UsageError


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_message_cannot_drive_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().failure("no class `ca\x1b[31mt\x07`\nbut\tdog", 1, "say \x9bm")
    assert capsys.readouterr().err == "error: no class `ca\\x1b[31mt\\x07`\nbut\tdog\n  help: say \\x9bm\n"
    Terminal(json=True).failure("no class `ca\x1b[31mt`", 1)
    assert json.loads(capsys.readouterr().out)["error"] == "no class `ca\x1b[31mt`"


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
