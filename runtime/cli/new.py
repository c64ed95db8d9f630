"""`dlc new`: a complete small program to begin with."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

from dlc.dsl.tokens import tokenize
from dlc.runtime.atomic import write_atomically
from dlc.runtime.cli.terminal import Terminal
from dlc.runtime.errors import InputError, UsageError

KINDS = ("digits", "classifier", "regression")
PLACEHOLDER = "my_net"
SUFFIX = ".net"


def new(name: str, kind: str, terminal: Terminal) -> None:
    """Write NAME.net. Raises UsageError for a name that no net can have, InputError if the file is there already,
    RunError if it cannot be written."""
    path = Path(name)
    path = path if path.suffix == SUFFIX else path.with_name(path.name + SUFFIX) if path.name else path
    text = program(kind, path.stem)
    if not path.parent.is_dir():
        raise InputError(f"there is no folder {path.parent}", f"mkdir -p {path.parent}")
    try:
        write_atomically(path, [text.encode()], overwrite=False)
    except FileExistsError:
        raise InputError(f"{path} is there already, and nothing is overwritten", "choose another name") from None
    run = Path("runs") / path.stem
    commands = [f"dlc check {path}", f"dlc train {path} -o {run}", f"dlc eval {run}"]
    if kind != "digits":
        commands[1:1] = [f"dlc data {path}"]
        terminal.say(f"{path} is written: change it where it says CHANGE, then")
    else:
        terminal.say(f"{path} is written: next")
    for command in commands:
        terminal.say(f"  {command}")
    terminal.result({"file": str(path), "kind": kind, "next": commands})


def program(kind: str, net: str) -> str:
    """The program of a kind, for a net of that name. Raises UsageError for a name that no net can have."""
    text = resources.files("dlc.runtime.templates").joinpath(f"{kind}{SUFFIX}").read_text(encoding="utf-8")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", net):
        suggestion = re.sub(r"[^a-z0-9]+", "_", net.lower()).strip("_").lstrip("0123456789_")
        help = f"for example {suggestion}" if suggestion else "for example first_try"
        message = f"expected a name of small letters, digits and `_` for the net, found `{net}`"
        raise UsageError(message, help)
    taken = {token.text for token in tokenize(text, "")[0]} | {"step", "seed", "epoch", "steps", "loss", "finite"}
    if net in taken:
        raise UsageError(f"`{net}` already means something in the program", f"for example {net}_net")
    return re.sub(rf"\b{PLACEHOLDER}", net, text)
