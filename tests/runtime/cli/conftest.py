"""Fixtures of the command line's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_cases import SECOND, TINY, Dlc, Done

from dlc.runtime.cli import main


@pytest.fixture
def dlc(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Dlc:
    """Carries out a command line in this process, with a cache of its own."""
    monkeypatch.delenv("DLC_DEBUG", raising=False)
    monkeypatch.setenv("DLC_CACHE", str(tmp_path / "cache"))

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
