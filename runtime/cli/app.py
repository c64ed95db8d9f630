"""The command line as a whole: its commands come from the `*_commands` files, and mistakes in it are explained here.

What a command does is imported when it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from dlc.runtime.cli import graph_commands, program_commands, run_commands
from dlc.runtime.cli import weights as weights_commands
from dlc.runtime.cli.commands import OPTIONS, Work
from dlc.runtime.errors import UsageError

app = typer.Typer(
    name="dlc",
    help="Compile .net files to ONNX graphs of training and inference, and train them.",
    epilog="\b\nExample:\n  dlc check lenet.net\n  dlc train lenet.net -o runs/lenet --set lr=0.01\n\n"
    "dlc COMMAND --help says more of each. Exit codes: 0 done, 1 a mistake in the input, 2 in the command line, "
    "3 the run failed, 70 a mistake in dlc, 130 interrupted. "
    "With --debug (or DLC_DEBUG=1) an unexpected error shows its traceback.",
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings=OPTIONS,
)


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


for group in (program_commands.app, run_commands.app, graph_commands.app):
    app.add_typer(group, context_settings=OPTIONS)
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
