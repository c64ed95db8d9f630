"""`dlc weights`: what a file of weights holds, and other addresses for them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from dlc.runtime.cli.terminal import Terminal, plural
from dlc.runtime.errors import UsageError

Where = Annotated[
    str, typer.Argument(metavar="RUN_FOLDER|FILE", help="A run, or a file of weights.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Write one JSON value to standard output, for programs.")]

app = typer.Typer(help="Look at weights, and give them other addresses.", rich_markup_mode=None)


@app.command("list", epilog="\b\nExample:\n  dlc weights list runs/lenet\n  dlc weights list vgg16.safetensors")
def list_(
    where: Where,
    weights: Annotated[str, typer.Option("--weights", metavar="best|last", help="Which weights of a run.")] = "best",
    json: Json = False,
) -> Any:
    """List the tensors of a run or of a .safetensors or .npz file: address, type, shape, role."""
    if weights not in ("best", "last"):
        raise UsageError(f"expected --weights best or last, found {weights}")
    return partial(_list, where, weights)


@app.command(epilog="\b\nExample:\n  dlc weights rename runs/lenet lenet.conv2=lenet.features.conv")
def rename(
    where: Where,
    pairs: Annotated[list[str], typer.Argument(metavar="OLD=NEW", help="Addresses of parts or weights.")],
    json: Json = False,
) -> Any:
    """Give the weights of a part that has been renamed their new addresses.

    In a run the checkpoints change with the weights; go on with the changed file by dlc train FILE.net --resume.
    """
    return partial(_rename, where, pairs)


def _list(where: str, weights: str, terminal: Terminal) -> None:
    from dlc.runtime.addresses import held

    file, found = held(Path(where), weights)
    rows = [(each.address, each.dtype + str(list(each.shape)), f"{each.size:,}", each.role or "") for each in found]
    terminal.table(rows, right=[2])
    terminal.say(f"{file}: {plural(len(found), 'tensor')}, {plural(sum(each.size for each in found), 'number')}")
    terminal.result({"file": str(file), "tensors": [vars(each) for each in found]})


def _rename(where: str, assignments: Sequence[str], terminal: Terminal) -> None:
    from dlc.runtime.addresses import rename

    pairs: dict[str, str] = {}
    for each in assignments:
        old, equals, new = (text.strip() for text in each.partition("="))
        if not equals or not old or not new or old in pairs:
            raise UsageError(f"expected OLD=NEW, each old address once, found {each}")
        pairs[old] = new
    found = rename(Path(where), pairs)
    terminal.table([(str(file), plural(count, "tensor")) for file, count in found.items()])
    if Path(where).is_dir():
        terminal.note(f"go on with the file that has these names: dlc train FILE.net --resume {where}")
    terminal.result({str(file): count for file, count in found.items()})


__all__ = ["app"]
