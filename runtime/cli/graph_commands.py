"""The commands of compiler people: operators, gradients, and what proves them."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from dlc.runtime.cli.arguments import LARGEST, FileRun, Json, Sets
from dlc.runtime.cli.commands import Work, commands

app = typer.Typer(rich_markup_mode=None)
command = commands(app)


@command("dlc gradcheck lenet.net", "dlc gradcheck specs/mlp.net --examples 8")
def gradcheck(
    file: FileRun,
    set: Sets = None,
    examples: Annotated[int, typer.Option(min=1, max=LARGEST, metavar="N", help="The size of the batch.")] = 4,
    directions: Annotated[
        int, typer.Option(min=1, max=LARGEST, metavar="N", help="Random directions for each weight.")
    ] = 3,
    seed: Annotated[
        int, typer.Option(min=0, max=LARGEST, metavar="N", help="Of the weights, the batch and the directions.")
    ] = 0,
    json: Json = False,
) -> Work:
    """Compare each weight's gradient with differences of the loss.

    Both are computed in float64, without ONNX Runtime, on real examples and the weights that a run begins with.
    """
    from dlc.runtime.cli.gradcheck import gradcheck

    return partial(gradcheck, file, set or [], examples, directions, seed)


@command(
    "dlc grad model.onnx --of loss --wrt fc.weight,fc.bias -o grad.onnx",
    "dlc grad model.onnx --of logits --cotangent --wrt image -o grad.onnx",
)
def grad(
    model: Annotated[str, typer.Argument(metavar="MODEL.onnx", help="The model.", show_default=False)],
    wrt: Annotated[
        list[str],
        typer.Option("--wrt", metavar="NAME,...", help="Weights, inputs or inner values to differentiate by."),
    ],
    output: Annotated[str, typer.Option("-o", "--output", metavar="FILE.onnx", help="The file to write.")],
    of: Annotated[
        str | None,
        typer.Option("--of", metavar="NAME", help="What to differentiate (the only output).", show_default=False),
    ] = None,
    cotangent: Annotated[
        bool, typer.Option("--cotangent", help="Of any shape: its cotangent is a further input, OF:cotangent.")
    ] = False,
    second: Annotated[
        bool, typer.Option("--second", help="Gradients of the gradients too: NAME:hvp, given NAME:vector.")
    ] = False,
    json: Json = False,
) -> Work:
    """Write the gradient graph of an ONNX model as an ONNX model.

    It gives what the model gives, and NAME:grad for each NAME. Weights that are named become inputs that need not be
    fed. It holds standard operators only, and runs wherever ONNX Runtime does.
    """
    from dlc.runtime.cli.grad import grad

    return partial(grad, model, of, wrt, output, cotangent, second)


@command("dlc ops", "dlc ops Conv Resize", "dlc ops --json")
def ops(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="OPERATOR", help="Only these.", show_default=False)
    ] = None,
    json: Json = False,
) -> Work:
    """List ONNX's operators: whether dlc differentiates them, and where ONNX Runtime runs them."""
    from dlc.runtime.cli.ops import ops

    return partial(ops, names or [])
