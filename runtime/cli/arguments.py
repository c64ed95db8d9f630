"""The arguments and options that commands share, each spelled once."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

File = Annotated[str, typer.Argument(metavar="FILE.net", help="The file.", show_default=False)]
FileRun = Annotated[
    str,
    typer.Argument(
        metavar="FILE.net[:RUN]", help="The file, and which of its runs if it has several.", show_default=False
    ),
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Another value for a `let` of the file. May be repeated."),
]
Json = Annotated[bool, typer.Option("--json", help="Write one JSON value to standard output, for programs.")]
Folder = Annotated[str, typer.Argument(metavar="RUN_FOLDER", help="The folder of a run.", show_default=False)]
Weights = Annotated[str, typer.Option("--weights", metavar="best|last|FILE", help="Which weights.")]
LARGEST = 2**63 - 1
"""The largest number that a graph counts to."""

MOST_THREADS = 1024
"""More than any processor has; ONNX Runtime fails on very large numbers."""

Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        max=MOST_THREADS,
        metavar="N",
        help="Threads of one operator (as many as cores).",
        show_default=False,
    ),
]


class Beginning(StrEnum):
    digits = "digits"
    classifier = "classifier"
    regression = "regression"


class Detail(StrEnum):
    stages = "stages"
    operators = "operators"


class Stage(StrEnum):
    ast = "ast"
    graph = "graph"
    grad = "grad"
    opt = "opt"
    onnx = "onnx"


class Kind(StrEnum):
    step = "step"
    init = "init"
    eval = "eval"
    report = "report"
    net = "net"
    prepare = "prepare"
    fit = "fit"


class Device(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


Devices = Annotated[
    Device | None, typer.Option("--device", help="Where to compute; auto is CUDA where it works.", show_default=False)
]
