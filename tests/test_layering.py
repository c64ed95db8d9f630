"""Imports go one way, dsl <- compiler <- runtime, and heavy libraries are loaded where they are used."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = {"dsl": {"dsl"}, "compiler": {"dsl", "compiler"}, "runtime": {"dsl", "compiler", "runtime"}}
CONSTANT_FOLDING = "compiler/passes/fold.py"
PEERS = {"torch", "sklearn", "jax"}
HEAVY = {"onnx", "onnxruntime", "matplotlib"}
LIGHT_FILES = ("dsl/*", "compiler/types*.py", "compiler/graph*.py", "compiler/build*.py", "compiler/elaborate*.py")


@dataclass(frozen=True)
class Import:
    module: str
    line: int
    on_load: bool  # runs when the file is imported: not in a function, not for type checkers only


def imports(text: str, package: str) -> Iterator[Import]:
    """Every import of a file of `package` (dotted), relative ones resolved, `from x import y` as x.y."""
    waiting: list[tuple[ast.AST, bool]] = [(ast.parse(text), True)]
    while waiting:
        node, on_load = waiting.pop()
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, on_load)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            for alias in node.names:
                yield Import(".".join([*base, *filter(None, [node.module]), alias.name]), node.lineno, on_load)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            on_load = False
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting.extend((child, False) for child in node.body)
            waiting.extend((child, on_load) for child in node.orelse)
            continue
        waiting.extend((child, on_load) for child in ast.iter_child_nodes(node))


def violations(path: str, text: str) -> list[str]:
    """What the file at `path` (from the root) imports and must not, one line each."""
    layer = path.split("/")[0]
    package = "dlc." + path.rpartition("/")[0].replace("/", ".")
    found = []
    for item in imports(text, package):
        top, *rest = item.module.split(".")
        where = f"{path}:{item.line}: {item.module}"
        if top == "dlc" and (not rest or rest[0] not in LAYERS[layer]):
            found.append(f"{where}: {layer} may import {', '.join(sorted(LAYERS[layer]))} of dlc only")
        if top in PEERS:
            found.append(f"{where}: a peer is for tests and benchmarks")
        if top == "onnxruntime" and layer != "runtime" and path != CONSTANT_FOLDING:
            found.append(f"{where}: outside runtime only {CONSTANT_FOLDING} may")
        if top in HEAVY and item.on_load and any(fnmatch(path, pattern) for pattern in LIGHT_FILES):
            found.append(f"{where}: heavy, import it in the function that needs it")
    return found


FILES = sorted(path.relative_to(ROOT).as_posix() for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))


def test_there_are_files() -> None:
    assert {path.split("/")[0] for path in FILES} == set(LAYERS)


@pytest.mark.parametrize("path", FILES)
def test_imports_go_one_way(path: str) -> None:
    assert violations(path, (ROOT / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("dsl/a.py", "from dlc.compiler import graph"),
        ("dsl/a.py", "import dlc.runtime.cli"),
        ("dsl/a.py", "from dlc import compiler"),
        ("dsl/a.py", "from ..compiler import graph"),
        ("dsl/a.py", "import onnx.helper"),
        ("compiler/passes/a.py", "def f():\n    from ...runtime import session"),
        ("compiler/passes/a.py", "def f():\n    import onnxruntime"),
        ("compiler/a.py", "if TYPE_CHECKING:\n    from dlc.runtime.train import Loop"),
        ("compiler/graph.py", "class A:\n    import onnx"),
        ("compiler/elaborate_train.py", "try:\n    from matplotlib import cm\nexcept ImportError:\n    pass"),
        ("runtime/a.py", "def f():\n    import torch.nn"),
        ("runtime/data/a.py", "from sklearn.datasets import load_iris"),
    ],
)
def test_a_wrong_import_is_found(path: str, text: str) -> None:
    assert len(violations(path, text)) == 1


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("dsl/a.py", "from . import ast\nfrom dlc.dsl.ast import Span"),
        ("compiler/passes/fold.py", "import onnxruntime"),
        ("compiler/emit.py", "import onnx"),
        ("compiler/build.py", "def f():\n    import onnx"),
        ("compiler/graph.py", "if TYPE_CHECKING:\n    import onnx"),
        ("runtime/a.py", "from dlc.compiler.graph import Graph\nfrom .data import plan"),
    ],
)
def test_a_right_import_passes(path: str, text: str) -> None:
    assert violations(path, text) == []


def test_reports_load_nothing_heavy() -> None:
    modules = (
        "checkpoint, dlc.runtime.folder, dlc.runtime.report.display, dlc.runtime.report.log, dlc.runtime.report.curves"
    )
    code = f"import sys, dlc.runtime.{modules}; print(sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
