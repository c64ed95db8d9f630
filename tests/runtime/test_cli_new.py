"""`dlc new`: every program that it writes is complete, in the layout, and learns."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from dlc.compiler.program import Program
from dlc.dsl.formatter import format_text
from dlc.runtime.cli import main
from dlc.runtime.cli.new import KINDS, program
from dlc.runtime.errors import UsageError
from dlc.runtime.train import train

each_kind = pytest.mark.parametrize("kind", KINDS)


@each_kind
@pytest.mark.parametrize("name", ["a", "digits", "a_net_with_a_rather_long_name"])
def test_every_template_is_right(kind: str, name: str) -> None:
    text = program(kind, name)
    made = Program.of_text(text)
    assert made.check() == ()
    assert (list(made.nets), list(made.runs), list(made.datas)) == ([name], [name], [f"{name}_data"])
    assert "my_net" not in text
    assert format_text(text, "x") == text


@each_kind
def test_a_file_is_written_once(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", "first", "--kind", kind]) == 0
    assert Path("first.net").read_text() == program(kind, "first")
    assert "\n  dlc train first.net -o runs/first\n" in capsys.readouterr().out
    Path("first.net").write_text("mine")
    assert main(["new", "first.net"]) == 1
    assert "first.net is there already" in capsys.readouterr().err
    assert Path("first.net").read_text() == "mine"


@pytest.mark.parametrize("name", ["First", "a-b", "9", "", "é", "data", "accuracy", "step", "train", "B"])
def test_names_that_no_net_can_have(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", name]) == 2
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError):
        program("digits", name)


def test_a_folder_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", str(tmp_path / "none" / "first")]) == 1
    assert "mkdir" in capsys.readouterr().err
    assert main(["new", str(tmp_path / "first"), "--kind", "lstm"]) == 2


@pytest.mark.parametrize(("code", "reason"), [(errno.EACCES, "permission denied"), (errno.ENOSPC, "the disk is full")])
def test_a_file_that_cannot_be_written_is_not_begun(
    code: int, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    path = tmp_path / "first.net"
    monkeypatch.setattr(os, "fsync", refused)
    assert main(["new", str(path)]) == 3
    assert f"cannot write {path}: {reason}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert main(["new", str(path)]) == 0


def table(path: Path, last: str) -> float:
    """400 examples of four numbers; the last column follows from them. How far it is from its mean, on average."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 4))
    score = x @ np.array([1.0, -2.0, 0.5, 0.0])
    y = np.digitize(score, [-1.0, 1.0]) if last == "label" else score
    rows = [",".join(f"{each:.6g}" for each in (*row, value)) for row, value in zip(x, y, strict=True)]
    path.write_text("\n".join([f"a,b,c,d,{last}", *rows]) + "\n")
    return float(np.mean(np.abs(y - np.mean(y))))


def test_the_classifier_takes_the_words_that_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DLC_CACHE", str(tmp_path / "cache"))
    table(tmp_path / "table.csv", "label")
    head, *rows = (tmp_path / "table.csv").read_text().splitlines()
    named = [f"{row.rpartition(',')[0]},{['low', '18-25', '>50K'][int(row[-1])]}" for row in rows]
    (tmp_path / "table.csv").write_text("\n".join([head, *named]) + "\n")
    assert main(["new", str(tmp_path / "mine"), "--kind", "classifier"]) == 0
    assert "numbers only" not in (tmp_path / "mine.net").read_text()
    assert main(["data", str(tmp_path / "mine.net")]) == 0
    told = capsys.readouterr().out.splitlines()
    at = next(number for number, line in enumerate(told) if line.startswith("label  class"))
    assert [line.split()[:2] for line in told[at + 1 : at + 4]] == [["0", "18-25"], ["1", ">50K"], ["2", "low"]]


@pytest.mark.parametrize(
    ("kind", "last", "metric"), [("classifier", "label", "acc"), ("regression", "target", "error")]
)
def test_templates_for_tables_learn(
    kind: str, last: str, metric: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DLC_CACHE", str(tmp_path / "cache"))
    spread = table(tmp_path / "table.csv", last)
    assert main(["new", str(tmp_path / "mine"), "--kind", kind]) == 0
    result = train(Program.open(tmp_path / "mine.net"), "mine", tmp_path / "run")
    value = result.values["dev"][metric]
    assert value > 0.9 if metric == "acc" else value < spread / 5  # guessing the mean would err by `spread`
