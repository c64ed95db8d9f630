"""What a failure says, and with which code the process ends."""

from __future__ import annotations

import traceback

from dlc.dsl.diagnostics import SourceError
from dlc.runtime.cli.streams import Unwritable, beside
from dlc.runtime.cli.terminal import Terminal, plural
from dlc.runtime.errors import CommandError

MISTAKE, USAGE, FAILED, OURS = 1, 2, 3, 70

CODES = {
    "dlc.runtime.data.errors.DataError": MISTAKE,
    "dlc.compiler.manifest.ManifestError": MISTAKE,
    "dlc.compiler.emit.EmitError": MISTAKE,
    "dlc.compiler.importing.errors.BadModel": MISTAKE,
    "dlc.compiler.passes.UnknownPass": USAGE,
    "dlc.compiler.passes.lower.UnknownDimension": MISTAKE,
    "dlc.compiler.registry.IllTyped": MISTAKE,
}
"""The exceptions besides CommandError whose message is for users, with their exit codes. By name: whoever raised one
has imported it, and nobody else has to."""


def report(error: Exception, terminal: Terminal) -> int:
    """Tell a failure and return the exit code."""
    if isinstance(error, SourceError):
        errors = [each for each in error.diagnostics if each.severity == "error"]
        terminal.failure(f"{plural(len(errors), 'mistake')} found", MISTAKE, diagnostics=error.diagnostics)
        return MISTAKE
    if isinstance(error, Unwritable):
        terminal.json = False  # what it says can only stand on standard error
    if isinstance(error, CommandError):
        terminal.failure(error.message, error.exit_code, error.help)
        return error.exit_code
    for base in type(error).__mro__:
        code = CODES.get(f"{base.__module__}.{base.__qualname__}")
        if code is not None:
            terminal.failure(str(error), code)
            return code
    if isinstance(error, OSError) and error.filename is not None:
        terminal.failure(f"{error.filename}: {(error.strerror or str(error)).lower()}", MISTAKE)
        return MISTAKE
    return _ours(error, terminal)


def _ours(error: Exception, terminal: Terminal) -> int:
    if terminal.debug:
        beside("".join(traceback.format_exception(error)), end="")
    kind = f"{type(error).__name__}: {error}".rstrip(": ").splitlines()[0]
    where = "" if terminal.debug else "; with --debug it says where it happened"
    help = f"please report it{_address()}, with the file and the command{where}"
    terminal.failure(f"this is a mistake in dlc, not in your file ({kind})", OURS, help)
    return OURS


def _address() -> str:
    """Where mistakes are reported: what the package's metadata says, if anything."""
    from importlib.metadata import PackageNotFoundError, metadata

    try:
        links = metadata("dlc").get_all("Project-URL") or []
    except PackageNotFoundError:
        return ""
    found = [link.partition(",")[2].strip() for link in links if link.lower().startswith("issues,")]
    return f" at {found[0]}" if found else ""
