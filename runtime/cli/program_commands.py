"""The commands of those who write `.net` files."""

from __future__ import annotations

import shlex
from functools import partial
from typing import Annotated

import typer

from dlc.runtime.cli.arguments import Beginning, Detail, File, FileRun, Json, Kind, Sets, Stage
from dlc.runtime.cli.commands import Work, commands
from dlc.runtime.errors import UsageError

app = typer.Typer(rich_markup_mode=None)
command = commands(app)


@command("dlc new lenet", "dlc new prices --kind regression")
def new(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="The name of the net; NAME.net is written.", show_default=False),
    ],
    kind: Annotated[
        Beginning, typer.Option(help="Handwritten digits, or a table of your own: classes or numbers.")
    ] = Beginning.digits,
    json: Json = False,
) -> Work:
    """Write a small complete program to begin with.

    The one for digits trains as it is. Those for tables say what to change. No file is ever overwritten.
    """
    from dlc.runtime.cli.new import new

    return partial(new, name, kind.value)


@command("dlc fmt lenet.net vgg16.net", "dlc fmt --check lenet.net -v", "dlc fmt -")
def fmt(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE.net", help="The files; - is standard input, to standard output.", show_default=False
        ),
    ],
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 if a file would change.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what changes.")] = False,
    json: Json = False,
) -> Work:
    """Rewrite files in the one layout of the language.

    Line breaks between the stages of a pipeline and all comments stay. A file with a syntax error is left as it is.
    """
    from dlc.runtime.cli.fmt import fmt

    return partial(fmt, files, check, verbose)


@command("dlc check lenet.net", "dlc check lenet.net --set width=64 --json")
def check(file: File, set: Sets = None, json: Json = False) -> Work:
    """Look for mistakes in a file without running it.

    Everything is checked: names, settings, shapes, gradients, and whether the data fits the net. No data file is
    opened.
    """
    from dlc.runtime.cli.check import check

    return partial(check, file, set or [])


@command(
    "dlc show vgg16.net",
    "dlc show facenet.net:facenet",
    "dlc show lenet.net --graph -o lenet.svg",
    "dlc show lenet.net --graph --gradient",
    "dlc show --source Adam",
    "dlc show resnet50.onnx --values",
)
def show(
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE.net[:NET]|MODEL.onnx", help="The file, and which of its nets (all).", show_default=False
        ),
    ] = None,
    values: Annotated[
        bool, typer.Option("--values", help="Of a model: all its values, and which of them a gradient reaches.")
    ] = False,
    graph: Annotated[bool, typer.Option("--graph", help="Draw the net instead, as an SVG picture.")] = False,
    gradient: Annotated[
        bool, typer.Option("--gradient", help="With --graph: the training step of a run, gradients and updates.")
    ] = False,
    detail: Annotated[
        Detail | None,
        typer.Option(help="With --graph: a box for each stage, or for each operator.", show_default=False),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="FILE.svg", help="With --graph: the file to write (NAME.svg).",
                     show_default=False),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--source", metavar="NAME", help="Print the text of a block or function of the library instead."),
    ] = None,
    set: Sets = None,
    json: Json = False,
) -> Work:  # fmt: skip
    """Show the stages of a net: shapes, weights, multiply-adds, memory; or draw it.

    Multiply-adds and activations are those of one example. State, such as the running averages of a batch norm, is not
    counted as weights. Memory is that of tensors alive at one time; what kernels need while they work comes on top.
    Of a model in ONNX: what it takes, gives and holds.
    """
    from dlc.runtime.cli.show import Drawing, draw, show, show_source

    drawing = [["--gradient"]] if gradient else []
    drawing += [["--detail", detail.value]] if detail is not None else []
    drawing += [["-o", output]] if output is not None else []
    if drawing and not graph:
        words = ["dlc", "show", file or "FILE.net", "--graph", *(word for flag in drawing for word in flag)]
        raise UsageError(f"{drawing[0][0]} is for pictures: expected --graph too", shlex.join(words))
    if source is not None:
        if file is not None or graph:
            raise UsageError("--source takes no file", f"dlc show --source {source}")
        return partial(show_source, source)
    if file is None:
        raise UsageError("expected a file, or --source NAME", "for example dlc show lenet.net")
    if file.lower().endswith(".onnx"):
        from dlc.runtime.cli.show_model import draw_model, show_model

        if gradient or detail is not None:
            help = f"dlc grad {file} writes the gradient graph of a model"
            raise UsageError(f"{drawing[0][0]} is for .net files", help)
        return partial(draw_model, file, output) if graph else partial(show_model, file, values)
    if values:
        raise UsageError("--values is for ONNX models", f"dlc show {file}")
    if graph:
        return partial(draw, file, set or [], Drawing(gradient, detail is Detail.operators, output))
    return partial(show, file, set or [])


@command(
    "dlc ir lenet.net --stage ast",
    "dlc ir lenet.net --kind net --stage onnx",
    "dlc ir lenet.net:lenet --after differentiate",
    "dlc ir lenet.net --without fold --trace",
)
def ir(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE.net[:NAME]", help="The file, and which run, net or data section.", show_default=False
        ),
    ],
    stage: Annotated[
        Stage,
        typer.Option(help="Syntax tree, graph as written, after differentiation, after all passes, or ONNX."),
    ] = Stage.opt,
    kind: Annotated[
        Kind | None,
        typer.Option(help="Which graph: of a run (step, init, eval, report), a net, or data (prepare, fit). Without it "
                     "step, or where the name is not of a run, net or prepare.", show_default=False),
    ] = None,
    after: Annotated[str | None, typer.Option(metavar="PASS", help="Stop after this pass.")] = None,
    without: Annotated[list[str] | None, typer.Option(metavar="PASS", help="Leave a pass out. May repeat.")] = None,
    trace: Annotated[bool, typer.Option("--trace", help="Show what each pass changes, on standard error.")] = False,
    set: Sets = None,
    json: Json = False,
) -> Work:  # fmt: skip
    """Print a graph as text, at any stage of compilation."""
    from dlc.runtime.cli.ir import Asked, ir

    asked = Asked(stage.value, kind.value if kind is not None else None, after, tuple(without or ()), trace)
    return partial(ir, file, set or [], asked)


@command("dlc compile lenet.net -o build", "dlc compile facenet.net:siamese -o build --split --set width=64")
def compile(
    file: FileRun,
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="DIR", help="Where the files go.", show_default=False)
    ],
    run: Annotated[
        list[str] | None,
        typer.Option("--run", metavar="RUN", help="Only this run, and the data it uses. May be repeated."),
    ] = None,
    split: Annotated[
        bool, typer.Option("--split", help="Write each step also as RUN.grad.onnx and RUN.apply.onnx.")
    ] = False,
    weights: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Put these weights into their nets, which take records then."),
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="With --weights: nets alone, without the preparation of records in front.")
    ] = False,
    set: Sets = None,
    json: Json = False,
) -> Work:
    """Write the ONNX files of a file's runs, nets and data.

    For each run those are init, step, eval and report; one for each net, and prepare for each data section. The same
    source gives the same bytes. No data file is opened.
    """
    from dlc.runtime.cli.compile import compile

    return partial(compile, file, set or [], output, run or [], split, weights, raw)


@command("dlc explain E0304", "dlc explain")
def explain(
    code: Annotated[
        str | None, typer.Argument(metavar="CODE", help="The code; without it all.", show_default=False)
    ] = None,
    json: Json = False,
) -> Work:
    """Say what the code of a diagnostic stands for."""
    from dlc.runtime.cli.explain import explain

    return partial(explain, code)
