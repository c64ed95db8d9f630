"""The commands of those who train, and use what was trained."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from dlc.runtime.cli.arguments import LARGEST, Devices, Folder, Json, Sets, Threads, Weights
from dlc.runtime.cli.commands import Work, commands
from dlc.runtime.errors import UsageError

app = typer.Typer(rich_markup_mode=None)
command = commands(app)


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
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=LARGEST, metavar="N", help="Another seed than the file's.", show_default=False),
    ] = None,
    device: Devices = None,
    threads: Threads = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, max=LARGEST, metavar="N", help="End after so many epochs in all.", show_default=False),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, max=LARGEST, metavar="N", help="End after so many steps in all.", show_default=False),
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
        typer.Option("--watch-every", min=1, max=LARGEST, metavar="N", help="Watch every N steps.", show_default=False),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No display of the progress.")] = False,
    set: Sets = None,
    json: Json = False,
) -> Work:
    """Train a run, or go on with one that was interrupted.

    Ctrl-C ends it after a whole step, with everything saved; --resume goes on as if it had never stopped. A second one
    ends it at once.
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
            "-o",
            "--output",
            metavar="FILE.png",
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
