"""What is in the tree is in the wheel: an unlisted package works in an editable install, and the wheel lacks it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("dsl", "compiler", "runtime")


@pytest.fixture(scope="module")
def setuptools_table() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    return table


def source_files() -> list[PurePosixPath]:
    paths = (path for layer in LAYERS for path in (ROOT / layer).rglob("*") if path.is_file())
    relative = (PurePosixPath(path.relative_to(ROOT).as_posix()) for path in paths)
    return sorted(path for path in relative if "__pycache__" not in path.parts)


def package_of(path: PurePosixPath) -> str:
    return "dlc." + ".".join(path.parent.parts)


def test_every_package_is_listed(setuptools_table: dict[str, Any]) -> None:
    in_tree = {package_of(path) for path in source_files() if path.name == "__init__.py"}
    assert set(setuptools_table["packages"]) == in_tree


def test_every_python_file_is_in_a_package(setuptools_table: dict[str, Any]) -> None:
    stray = [str(path) for path in source_files() if package_of(path) not in setuptools_table["packages"]]
    assert stray == [], "their folders have no __init__.py"


def test_every_data_file_is_covered(setuptools_table: dict[str, Any]) -> None:
    patterns: dict[str, list[str]] = setuptools_table["package-data"]
    uncovered = [
        str(path)
        for path in source_files()
        if path.suffix != ".py" and not any(path.match(pattern) for pattern in patterns.get(package_of(path), []))
    ]
    assert uncovered == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: `build/` of the checkout may hold files of older builds, which would get in."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for layer in LAYERS:
        shutil.copytree(ROOT / layer, source / layer, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder / "dist"), str(source)]
    if new_setuptools():
        command.insert(-1, "--no-isolation")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = (folder / "dist").iterdir()
    return built


def new_setuptools() -> bool:
    """Whether the environment's own setuptools can build; otherwise `build` fetches one."""
    try:
        return int(version("setuptools").split(".")[0]) >= 77
    except PackageNotFoundError:
        return False


def test_the_wheel_holds_every_file(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if not name.split("/")[0].endswith(".dist-info")}
    assert inside == {f"dlc/{path}" for path in source_files()}


def test_the_installed_wheel_runs(wheel: Path, tmp_path: Path) -> None:
    """In a fresh environment that has the dependencies, but neither the checkout nor its editable install."""
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False, symlinks=os.name != "nt")
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    variables = {"base": str(environment), "platbase": str(environment)}
    site = Path(sysconfig.get_path("purelib", "venv", variables))
    # A path in a .pth file is only searched: the editable install's own .pth and finder are not run.
    dependencies = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "dependencies.pth").write_text("\n".join(sorted(dependencies)), encoding="utf-8")
    code = "import dlc.dsl, dlc.compiler, dlc.runtime.checkpoint, dlc.runtime.report.curves as m; print(m.__file__)"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run([str(python), "-c", code], cwd=tmp_path, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).resolve().is_relative_to(site.resolve())
