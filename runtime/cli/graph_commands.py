"""The commands of compiler people: operators, gradients, and what proves them."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import typer

from dlc.runtime.cli.arguments import FileRun, Json, Sets

app = typer.Typer(rich_markup_mode=None)


@app.command(epilog="\b\nExample:\n  dlc gradcheck lenet.net\n  dlc gradcheck specs/mlp.net --examples 8")
def gradcheck(
    file: FileRun,
    set: Sets = None,
    examples: Annotated[int, typer.Option(min=1, metavar="N", help="The size of the batch.")] = 4,
    directions: Annotated[int, typer.Option(min=1, metavar="N", help="Random directions for each weight.")] = 3,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of the weights, the batch and the directions.")] = 0,
    json: Json = False,
) -> Any:
    """Compare each weight's gradient with differences of the loss.

    Both are computed in float64, without ONNX Runtime, on real examples and the weights that a run begins with.
    """
    from dlc.runtime.cli.gradcheck import gradcheck

    return partial(gradcheck, file, set or [], examples, directions, seed)
