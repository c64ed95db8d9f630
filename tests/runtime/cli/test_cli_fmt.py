"""`dlc fmt`: what it writes, what it leaves alone, and its exit codes."""

from __future__ import annotations

import io
import os
import stat
import sys
from pathlib import Path

import pytest
from cli_cases import Dlc

WILD = "let a=1 # one\nnet n{input x:f32[B,4] return x->Linear(2)}"
TIDY = "let a = 1  # one\n\nnet n {\n  input x: f32[B, 4]\n  return x -> Linear(2)\n}\n"


@pytest.fixture
def wild(tmp_path: Path) -> Path:
    path = tmp_path / "wild.net"
    path.write_text(WILD)
    return path


@pytest.fixture
def tidy(tmp_path: Path) -> Path:
    path = tmp_path / "tidy.net"
    path.write_text(TIDY)
    return path


def test_files_are_rewritten_in_place(dlc: Dlc, wild: Path, tidy: Path) -> None:
    wild.chmod(0o640)
    done = dlc("fmt", wild, tidy)
    assert (done.code, done.out) == (0, f"{wild}: formatted\n")
    assert wild.read_text() == tidy.read_text() == TIDY
    assert stat.S_IMODE(wild.stat().st_mode) == 0o640
    assert sorted(path.name for path in wild.parent.iterdir()) == ["tidy.net", "wild.net"]
    assert dlc("fmt", wild, tidy).out == "2 files already formatted\n"


def test_a_file_in_its_layout_is_not_touched(dlc: Dlc, tidy: Path) -> None:
    os.utime(tidy, (1, 1))
    assert dlc("fmt", tidy).code == 0
    assert tidy.stat().st_mtime == 1


def test_what_no_editor_shows_is_mended_too(dlc: Dlc, tmp_path: Path) -> None:
    path = tmp_path / "a.net"
    path.write_bytes(b"\xef\xbb\xbf" + TIDY.replace("\n", "\r\n").encode())
    assert dlc("fmt", path).code == 0
    assert path.read_bytes() == TIDY.encode()


def test_a_link_stays_a_link(dlc: Dlc, wild: Path) -> None:
    link = wild.with_name("link.net")
    link.symlink_to(wild)
    assert dlc("fmt", link).code == 0
    assert link.is_symlink() and wild.read_text() == TIDY


def test_check_writes_nothing(dlc: Dlc, wild: Path, tidy: Path) -> None:
    done = dlc("fmt", "--check", wild, tidy)
    assert (done.code, done.out) == (1, f"{wild}: not formatted\n")
    assert wild.read_text() == WILD
    verbose = dlc("fmt", "--check", "-v", wild).out
    assert "\n-let a=1 # one\n" in verbose and "\n+let a = 1  # one\n" in verbose
    assert dlc("fmt", "--check", tidy).code == 0


def test_json(dlc: Dlc, wild: Path, tidy: Path) -> None:
    done = dlc("fmt", "--check", "--json", wild, tidy)
    assert done.code == 1
    assert done.json["files"] == [str(wild), str(tidy)]
    (changed,) = done.json["changed"]
    assert changed["file"] == str(wild) and "+let a = 1  # one" in changed["diff"]


def test_a_file_with_a_mistake_is_left_and_the_others_are_done(dlc: Dlc, wild: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.net"
    broken.write_text("net  n {")
    done = dlc("fmt", broken, wild)
    assert done.code == 1
    assert "E0116" in done.err and f"{broken}:1:9" in done.err
    assert broken.read_text() == "net  n {"
    assert wild.read_text() == TIDY


def test_standard_input(dlc: Dlc, monkeypatch: pytest.MonkeyPatch) -> None:
    def given(text: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))

    given(WILD.encode())
    assert dlc("fmt", "-").out == TIDY
    given(WILD.encode())
    done = dlc("fmt", "-", "--check")
    assert (done.code, done.out) == (1, "")
    given(b"net n {")
    done = dlc("fmt", "-")
    assert done.code == 1 and done.out == "" and "<stdin>:1:8" in done.err
    given(b"\xff")
    assert "standard input is not UTF-8" in dlc("fmt", "-").err


def test_mistakes_in_the_command_line(dlc: Dlc, tidy: Path) -> None:
    assert dlc("fmt").code == 2
    assert dlc("fmt", "-", tidy).code == 2
    assert dlc("fmt", f"{tidy}:n").code == 2
    done = dlc("fmt", tidy.with_name("tyd.net"))
    assert done.code == 1 and "there is no file" in done.err
