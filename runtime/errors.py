"""What a command can fail with. The command line prints message and help, never a traceback."""

from __future__ import annotations

from typing import ClassVar


class CommandError(Exception):
    """A failure with a message for people, one plain sentence or a few lines, and optionally `help`: what to do."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, help: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.help = help

    def __str__(self) -> str:
        return self.message if self.help is None else f"{self.message}\n  help: {self.help}"


class InputError(CommandError):
    """A mistake in the input other than `.net` text: data, weights, manifest, model or run folder."""

    exit_code = 1


class UsageError(CommandError):
    """The command was asked for in a way that cannot be carried out."""

    exit_code = 2


class RunError(CommandError):
    """The run failed: a value that is not finite, the disk, or the lock on the run folder."""

    exit_code = 3
