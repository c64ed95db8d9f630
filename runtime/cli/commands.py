"""How a command is declared: its arguments by its signature, its help by its docstring, its work returned."""

from __future__ import annotations

from collections.abc import Callable

import typer

from dlc.runtime.cli.terminal import Terminal

Work = Callable[[Terminal], object]
"""What a command has to do, once its arguments are understood. It may return the exit code."""

Command = Callable[[Callable[..., Work]], Callable[..., Work]]

OPTIONS = {"help_option_names": ["-h", "--help"]}


def commands(app: typer.Typer) -> Callable[..., Command]:
    """The decorator that makes a function a command of `app`; it is given examples, which end the command's help."""

    def command(*examples: str, name: str | None = None) -> Command:
        lines = "\b\n" + "\n".join(["Example:", *(f"  {line}" for line in examples)])
        return app.command(name, epilog=lines, context_settings=OPTIONS)

    return command
