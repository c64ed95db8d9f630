"""The tables of the grammar and the folder they are kept in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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


def test_the_grammar_is_strictly_lalr() -> None:
    from importlib import resources

    import lark

    text = resources.files("dlc.dsl").joinpath("net.lark").read_text(encoding="utf-8")
    pytest.importorskip("interegular", reason="Lark's strict mode needs it")
    lark.Lark(text, parser="lalr", strict=True)
