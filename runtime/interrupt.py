"""Ctrl-C and termination, asked for now and obeyed after the step."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType

STOPPING = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))

SAME_SECONDS = 0.2
"""A program around this one may hand on what the terminal has sent to both: signals so close are one."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or a termination signal ended the run after a whole step; everything is saved. Exit code 130."""

    exit_code = 130

    def __init__(self, message: str, help: str) -> None:
        super().__init__(message)
        self.message = message
        self.help = help


class StopRequest:
    """Inside `with`, the first SIGINT, SIGTERM or SIGHUP (the terminal was closed) only sets `asked`; a later one
    ends the process at once. A signal that was ignored stays so: `nohup` and shells' `&` ask for that.

    Outside the main thread, where Python gives signals to nobody, it does nothing.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for each in STOPPING:
                if signal.getsignal(each) != signal.SIG_IGN:
                    self._before[each] = signal.signal(each, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)  # type: ignore[arg-type]

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            return
        self.asked = True
        time.sleep(SAME_SECONDS)
        # The system's own handling ends a process even in the middle of a call into ONNX Runtime.
        for each in self._before:
            signal.signal(each, signal.SIG_DFL)


class Remembered:
    """Inside `with`, Ctrl-C raises KeyboardInterrupt as ever, and is `seen` from then on: a module written in C that is
    just being loaded makes an ImportError of it, which need not say so.
    """

    def __init__(self) -> None:
        self.seen = False
        self._replaced = False

    def __enter__(self) -> Remembered:
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._remember)
            self._replaced = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._replaced:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.seen = True
        signal.default_int_handler(number, frame)
