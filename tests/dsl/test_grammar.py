"""The tables of the grammar and the folder they are kept in."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from importlib import resources
from pathlib import Path

import lark
import pytest

PROGRAM = "from dlc.dsl.parser import parse; assert len(parse('net n { y = x -> f }', 'x').declarations) == 1"


def run(**environment: str) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, env={**os.environ, **environment}, timeout=60)


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="the folder is named by XDG_CACHE_HOME only on Linux")
def test_tables_are_kept_and_a_broken_or_missing_folder_does_no_harm(tmp_path: Path) -> None:
    run(XDG_CACHE_HOME=str(tmp_path))
    (kept,) = (tmp_path / "dlc").iterdir()
    run(XDG_CACHE_HOME=str(tmp_path))
    for content in (b"", b"nonsense", kept.read_bytes()[:1000]):
        kept.write_bytes(content)
        run(XDG_CACHE_HOME=str(tmp_path))
    (tmp_path / "file").write_text("")
    run(XDG_CACHE_HOME=str(tmp_path / "file"))


def test_the_grammar_has_no_conflicts(caplog: pytest.LogCaptureFixture) -> None:
    """Lark raises on reduce/reduce conflicts, and settles shift/reduce ones silently but for its log."""
    text = resources.files("dlc.dsl").joinpath("net.lark").read_text(encoding="utf-8")
    ambiguous = 'start: e\ne: e "+" e | "a"\n'
    with caplog.at_level(logging.DEBUG, logger="lark"):
        lark.Lark(ambiguous, parser="lalr", debug=True)
        assert "conflict" in caplog.text.lower(), "this is how Lark tells"
        caplog.clear()
        lark.Lark(text, parser="lalr", debug=True)
    assert "conflict" not in caplog.text.lower()
