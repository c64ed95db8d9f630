"""Ctrl-C and termination, asked for now and obeyed after the step."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

STOPPING = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or a termination signal ended the run after a whole step; everything is saved. Exit code 130."""

    exit_code = 130

    def __init__(self, message: str, help: str) -> None:
        super().__init__(message)
        self.message = message
        self.help = help


class StopRequest:
    """Inside `with`, the first SIGINT, SIGTERM or SIGHUP (the terminal was closed) only sets `asked`; the next one ends
    the process at once. A signal that was ignored stays so: `nohup` and shells' `&` ask for that.

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
        self.asked = True
        # The system's own handling ends a process even in the middle of a call into ONNX Runtime.
        for each in self._before:
            signal.signal(each, signal.SIG_DFL)
