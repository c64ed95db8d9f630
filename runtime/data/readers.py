"""The readers by name. A reader is a function `(request, *settings) -> Records`:

    from dlc.runtime import reader

    @reader("pairs")
    def pairs(request, path, scale=1.0):
        table = numpy.loadtxt(request.file(path))
        return Records({"x": table[:, 0] * scale, "y": table[:, 1]}, source=path)

Its signature for `.net` stands in a prelude as a `fn` whose body is only fields; the parameters after `request` are the
same, in the same order.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from .errors import DataError, nearest
from .plan import DERIVED, Plan, SplitPlan
from .records import Records, Request, conform

Reader = Callable[..., Records]
R = TypeVar("R", bound=Reader)
_READERS: dict[str, Reader] = {}
_OURS = ("table", "archive", "idx", "folders", "packaged", "orl")


def reader(name: str) -> Callable[[R], R]:
    """Registers a reader under the name that `.net` files use. Raises ValueError if another function has the name."""

    def register(function: R) -> R:
        other = _READERS.get(name)
        if name in DERIVED or (other is not None and _origin(other) != _origin(function)):
            raise ValueError(f"there is already a reader called {name!r}")
        _READERS[name] = function
        return function

    return register


def _origin(function: Reader) -> tuple[str, str]:
    """The same for a function whose module is loaded again."""
    return function.__module__, getattr(function, "__qualname__", "")


def find(name: str) -> Reader:
    """The reader of that name. Raises DataError with the nearest spelling."""
    for module in _OURS:
        importlib.import_module(f"{__package__}.{module}")
    if name not in _READERS:
        raise DataError(f"no reader is called `{name}`; {nearest(name, [*_READERS, *DERIVED])}")
    return _READERS[name]


def read_split(split: SplitPlan, plan: Plan, request: Request) -> Records:
    """Runs the split's reader and checks what it gives against the plan's records. Raises DataError."""
    try:
        return _read_split(split, plan, request)
    except DataError as error:
        raise DataError(f"split `{split.name}`{split.at and f' ({split.at})'}: {error}") from error


def _read_split(split: SplitPlan, plan: Plan, request: Request) -> Records:
    function = find(split.reader)
    signature = inspect.signature(function)
    try:
        signature.bind(request, *split.args, **split.named)
    except TypeError as error:
        settings = [p.name if p.default is p.empty else f"{p.name}=..." for p in signature.parameters.values()][1:]
        called = f"{split.reader}({', '.join(settings)})"
        raise DataError(f"the reader is {called}: {error}") from error
    try:
        records: Any = function(request, *split.args, **split.named)
    except MemoryError as error:
        raise DataError("not enough memory to read it") from error
    except OSError as error:
        raise DataError(f"{error.filename or split.reader}: {error.strerror or error}") from error
    if not isinstance(records, Records):
        raise DataError(f"the reader `{split.reader}` gave {type(records).__name__}, not Records")
    return conform(records, plan)
