"""The documentation of the Python packages builds, without a warning, and has a page for every module."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("dsl", "compiler", "runtime")


def test_the_documentation_builds(tmp_path: Path) -> None:
    pytest.importorskip("pdoc", reason="pdoc writes the documentation; the extra `docs` installs it")
    command = [sys.executable, str(ROOT / "docs" / "api.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not done.stderr
    sources = [
        file.relative_to(ROOT).with_suffix("") for package in PACKAGES for file in ROOT.glob(f"{package}/**/*.py")
    ]
    modules = [file.parent if file.name == "__init__" else file for file in sources]
    pages = {file.relative_to(tmp_path / "dlc").with_suffix("") for file in tmp_path.glob("dlc/**/*.html")}
    assert len(modules) > 150
    assert {module for module in modules if module not in pages} == set()
    assert "operators, as a rule" in (tmp_path / "dlc" / "compiler" / "registry.html").read_text()
