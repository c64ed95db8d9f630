"""What the command line takes: the commands, their options and help. What a command does is imported when it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any

import typer

from dlc.runtime.cli import graph_commands
from dlc.runtime.cli import weights as weights_commands
from dlc.runtime.cli.arguments import (
    Beginning,
    Detail,
    Devices,
    File,
    FileRun,
    Folder,
    Json,
    Kind,
    Sets,
    Stage,
    Threads,
    Weights,
)
from dlc.runtime.cli.terminal import Terminal
from dlc.runtime.errors import UsageError

Work = Callable[[Terminal], object]
"""What a command has to do, once its arguments are understood. It may return the exit code."""

OPTIONS = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="dlc",
    help="Compile .net files to ONNX graphs of training and inference, and train them.",
    epilog="\b\nExample:\n  dlc check lenet.net\n  dlc train lenet.net -o runs/lenet --set lr=0.01\n\n"
    "dlc COMMAND --help says more of each. Exit codes: 0 done, 1 a mistake in the input, 2 in the command line, "
    "3 the run failed, 130 interrupted. With --debug (or DLC_DEBUG=1) an unexpected error shows its traceback.",
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings=OPTIONS,
)


def example(*lines: str) -> str:
    """The end of a command's help."""
    return "\b\n" + "\n".join(["Example:", *(f"  {line}" for line in lines)])


def command(*examples: str, name: str | None = None) -> Callable[[Callable[..., Work]], Callable[..., Work]]:
    return app.command(name, epilog=example(*examples), context_settings=OPTIONS)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"dlc {version('dlc')}")
        raise typer.Exit


@app.callback()
def _dlc(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


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
            metavar="FILE.net...", help="The files; - is standard input, to standard output.", show_default=False
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
    "dlc show --source LSTM",
)
def show(
    file: Annotated[
        str | None,
        typer.Argument(metavar="FILE.net[:NET]", help="The file, and which of its nets (all).", show_default=False),
    ] = None,
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
    """
    from dlc.runtime.cli.show import Drawing, draw, show, show_source

    drawing = [name for name, given in (("--gradient", gradient), ("--detail", detail), ("-o", output)) if given]
    if drawing and not graph:
        raise UsageError(f"{drawing[0]} is for pictures: expected --graph too", "dlc show lenet.net --graph")
    if source is not None:
        if file is not None or graph:
            raise UsageError("--source takes no file", f"dlc show --source {source}")
        return partial(show_source, source)
    if file is None:
        raise UsageError("expected a file, or --source NAME", "for example dlc show lenet.net")
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
    set: Sets = None,
    json: Json = False,
) -> Work:
    """Write the ONNX files of a file's runs, nets and data.

    For each run those are init, step, eval and report; one for each net, and prepare for each data section.
        The same source gives the same bytes. No data file is opened.
    """
    from dlc.runtime.cli.compile import compile

    return partial(compile, file, set or [], output, run or [], split)


@command(
    "dlc train lenet.net -o runs/lenet --set lr=0.01",
    "dlc train transfer.net:tune -o runs/tune --after runs/settle",
    "dlc train --resume runs/lenet",
)
def train(
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE.net[:RUN]", help="The file, and which of its runs if it has several.", show_default=False
        ),
    ] = None,
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="DIR", help="The folder of the new run.", show_default=False)
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="DIR", help="Go on with the run in this folder.", show_default=False),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Another seed than the file's.", show_default=False)] = None,
    device: Devices = None,
    threads: Threads = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="End after so many epochs in all.", show_default=False)
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="End after so many steps in all.", show_default=False)
    ] = None,
    after: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Where the run is that the file says to start after.", show_default=False),
    ] = None,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Log the norms of activations and gradients; warn where they vanish or explode."),
    ] = False,
    watch_every: Annotated[
        int | None,
        typer.Option("--watch-every", min=1, metavar="N", help="Watch every N steps.", show_default=False),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No display of the progress.")] = False,
    set: Sets = None,
    json: Json = False,
) -> Work:
    """Train a run, or go on with one that was interrupted.

    Ctrl-C ends it after a whole step, with everything saved; --resume goes on as if it had never stopped.
    With --resume, --set gives a `let` another value from here on; a file reads the program anew. --epochs and --steps
    replace both of the file's; the run ends at whichever comes first.
    """
    from dlc.runtime.cli.train import How, train
    from dlc.runtime.cli.train import resume as go_on

    looks = watch_every if watch_every is not None else 0 if watch else None
    how = How(seed, device.value if device is not None else None, threads, quiet, epochs, steps, looks)
    if resume is not None:
        if output is not None:
            raise UsageError(
                "--resume names the folder of the run; -o would name another", f"dlc train --resume {resume}"
            )
        if after is not None:
            raise UsageError("--after is for a new run: this one has begun", f"dlc train --resume {resume}")
        return partial(go_on, resume, file, set or [], how)
    if file is None:
        raise UsageError(
            "expected a file, or --resume and the folder of a run", "for example dlc train lenet.net -o runs/lenet"
        )
    if output is None:
        raise UsageError("expected -o and the folder of the new run", f"for example dlc train {file} -o runs/first")
    return partial(train, file, set or [], output, after, how)


@command("dlc eval runs/lenet", "dlc eval runs/lenet --on dev --weights last", name="eval")
def evaluate(
    folder: Folder,
    on: Annotated[str, typer.Option("--on", metavar="SPLIT", help="The split of the run's data.")] = "test",
    weights: Weights = "best",
    device: Devices = None,
    threads: Threads = None,
    json: Json = False,
) -> Work:
    """Evaluate a trained run: its loss and metrics over a whole split.

    Choose between runs on dev, and look at test once: how often that was done is kept with the run.
    """
    from dlc.runtime.cli.runs import evaluate

    return partial(evaluate, folder, on, weights, device.value if device is not None else None, threads)


@command("dlc export runs/lenet -o lenet.onnx", "dlc export runs/lenet -o lenet.onnx --raw")
def export(
    folder: Folder,
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="FILE.onnx", help="The file to write.", show_default=False)
    ],
    raw: Annotated[
        bool, typer.Option("--raw", help="The net alone, without the preparation of records in front.")
    ] = False,
    weights: Weights = "best",
    json: Json = False,
) -> Work:
    """Write a trained net as one ONNX file, weights inside."""
    from dlc.runtime.cli.runs import export

    return partial(export, folder, output, raw, weights)


@command("dlc run lenet.onnx --input image=seven.png", "dlc run lenet.onnx --input image=digits.npy --output out.npz")
def run(
    model: Annotated[str, typer.Argument(metavar="MODEL.onnx", help="The model.", show_default=False)],
    input: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            "-i",
            metavar="NAME=TEXT",
            help="A picture, a .npy, .npz or .csv file, or numbers. Once for each input.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o", "--output", metavar="FILE.npz", help="Keep the outputs as a NumPy archive.", show_default=False
        ),
    ] = None,
    device: Devices = None,
    threads: Threads = None,
    json: Json = False,
) -> Work:
    """Run an ONNX model on inputs from files and show what it gives."""
    from dlc.runtime.cli.run import run

    return partial(run, model, input or [], output, device.value if device is not None else None, threads)


@command("dlc data lenet.net", "dlc data lenet.net:digits -o digits.png", "dlc data lenet.net:digits --json")
def data(
    file: Annotated[
        str,
        typer.Argument(metavar="FILE.net[:DATA]", help="The file, and which of its data sections.", show_default=False),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "-o", "--output", metavar="FILE.png",
            help="Where the picture goes. Without it: FILE.DATA.png in the folder sheets of the user's cache.",
            show_default=False,
        ),
    ] = None,
    set: Sets = None,
    json: Json = False,
) -> Work:
    """Fetch and prepare data, and show what is in it.

    That is its splits, fields and their numbers, the examples of each class, its source and licence. A picture is
        written, too: of pictures a contact sheet of each class as prepared, of numbers a histogram of each column (with
        --json only if -o asks for it). What is fetched and prepared is kept in the user's cache (DLC_CACHE, or
        ~/.cache/dlc), and checked at each use.
    """
    from dlc.runtime.cli.data import data

    return partial(data, file, set or [], output)


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


app.add_typer(graph_commands.app, context_settings=OPTIONS)
app.add_typer(weights_commands.app, name="weights", context_settings=OPTIONS)


def parse(args: Sequence[str]) -> Work | None:
    """The work that a command line asks for; None where help or the version was shown. Raises UsageError."""
    group: Any = typer.main.get_command(app)
    wrong: Any = typer.BadParameter.__mro__[1]  # the class of all mistakes in a command line
    try:
        work = group.main(list(args), prog_name="dlc", standalone_mode=False)
    except wrong as error:
        raise _usage(error, group) from None
    except typer.Abort:
        raise KeyboardInterrupt from None
    if isinstance(work, int) and work:  # typer's way to say that Ctrl-C was pressed
        raise KeyboardInterrupt
    return work if callable(work) else None


def _usage(error: Any, group: Any) -> UsageError:
    """A mistake in the command line, with the nearest spelling of a word that is not known."""
    from dlc.dsl.diagnostics import nearest

    context = error.ctx
    path = context.command_path if context is not None else "dlc"
    help = f"`{path} --help` says what it takes"
    option = getattr(error, "option_name", None)
    if option is not None and type(error).__name__ == "NoSuchOption":
        known = [name for each in context.command.params for name in each.opts] if context is not None else []
        guess = nearest(option, known)
        return UsageError(f"`{path}` has no option {option}", f"did you mean {guess}?" if guess else help)
    return UsageError(error.format_message().replace("Value error, ", "").rstrip("."), help)
