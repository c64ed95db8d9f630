"""The live display of a run on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dlc.runtime.printable import printable

PLAIN_SECONDS = 10.0
RATE_SECONDS = 15.0


class Display:
    """Shows a run as it goes. Outputs go wrong silently: a closed pipe must not end a run that is otherwise well.

    `total_steps` is None if it is not known beforehand; `batch` (examples a step) turns steps a second into examples a
    second; `start_step` is the first step of a resumed run. `plain` writes lines without control characters, by
    default where the console is not a terminal; `quiet` shows notes only.
    """

    def __init__(
        self,
        run: str,
        total_steps: int | None,
        steps_per_epoch: int,
        console: Console | None = None,
        plain: bool | None = None,
        *,
        batch: int | None = None,
        start_step: int = 0,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run = printable(run)
        self._total = total_steps
        self._per_epoch = max(steps_per_epoch, 1)
        self._console = console or Console()
        terminal = self._console.is_terminal and not self._console.is_dumb_terminal
        self._plain = not terminal if plain is None else plain
        self._batch = batch
        self._quiet = quiet
        self._clock = clock
        self._done = start_step
        self._epoch = start_step // self._per_epoch
        self._values: Mapping[str, float] = {}
        self._best = ""
        self._samples: deque[tuple[float, int]] = deque()
        self._known_rate: float | None = None
        self._next_line = clock() + PLAIN_SECONDS
        self._live: Live | None = None
        self._draws_lines = self._plain and not quiet

    def __enter__(self) -> Display:
        if not self._plain and not self._quiet:
            self._live = Live(get_renderable=self._render, console=self._console, refresh_per_second=5)
            self._attempt(self._live.start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            live, self._live = self._live, None
            self._attempt(live.stop)

    def step(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Step number `step`, counted from 0, of `epoch` is done. Only stores; a timer, or the time, makes it seen."""
        self._done = step + 1
        self._epoch = epoch
        self._values = values
        if not self._samples:
            self._sample()
        if self._draws_lines and self._clock() >= self._next_line:
            self._print(self._line())

    def epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        """`epoch`, counted from 0, is done and gave `values` (`loss`, `dev.acc`, ...): a line that stays."""
        self._epoch = epoch
        if not self._quiet:
            parts = [self._run, self._epoch_text(), *_pairs(values), *([f"best {self._best}"] if self._best else [])]
            self._print("  ".join(parts))
        # The time spent on evaluation says nothing about the speed of steps. Replaced, not emptied: the refresh timer's
        # thread may be reading it.
        self._samples = deque()

    def best(self, metric: str, value: float, step: int) -> None:
        """`metric` has its best value so far, measured after `step` steps."""
        self._best = f"{printable(metric)} {_number(value)} (step {step})"

    def note(self, text: str) -> None:
        """A line for people, shown in quiet mode too."""
        self._print(printable(text, keep="\n"))

    def _print(self, line: str) -> None:
        self._next_line = self._clock() + PLAIN_SECONDS
        # No markup: a name or a path may hold brackets. A line of a file stays one; a terminal breaks it at spaces.
        self._attempt(lambda: self._console.print(Text(line), soft_wrap=self._plain, highlight=False))

    def _attempt(self, output: Callable[[], object]) -> None:
        try:
            output()
        except (OSError, SystemExit):
            # Rich turns a broken pipe into SystemExit. The log has every value, so the run goes on unseen.
            self._draws_lines, self._quiet, self._live = False, True, None
            self._console.quiet = True

    def _sample(self) -> None:
        """Notes the time and the step, and forgets what is too old to tell the present speed."""
        now, samples = self._clock(), self._samples
        if not samples or now > samples[-1][0]:
            samples.append((now, self._done))
        while len(samples) > 2 and now - samples[1][0] > RATE_SECONDS:
            samples.popleft()

    def _rate(self) -> float | None:
        """Steps a second, lately, or when last known; None if not known yet."""
        samples = self._samples
        if len(samples) >= 2:
            (before, first), (now, last) = samples[0], samples[-1]
            if last > first:
                self._known_rate = (last - first) / (now - before)
        return self._known_rate

    def _epoch_text(self) -> str:
        epochs = "" if self._total is None else f"/{math.ceil(self._total / self._per_epoch)}"
        return f"epoch {self._epoch + 1}{epochs}"

    def _step_text(self) -> str:
        return f"step {self._done}" + ("" if self._total is None else f"/{self._total}")

    def _speed(self) -> list[str]:
        if self._samples:
            self._sample()
        rate = self._rate()
        if rate is None:
            return []
        speed = f"{rate:,.3g} steps/s" if self._batch is None else f"{rate * self._batch:,.0f} examples/s"
        if self._total is None:
            return [speed]
        return [speed, f"ETA {_duration((self._total - self._done) / rate)}"]

    def _line(self) -> str:
        parts = [self._run, self._epoch_text(), self._step_text(), *_pairs(self._values), *self._speed()]
        return "  ".join([*parts, f"best {self._best}"] if self._best else parts)

    def _render(self) -> Group:
        """Drawn by the refresh timer's thread: reads what `step` stored last."""
        done = self._done
        within = done - self._epoch * self._per_epoch
        head = Table.grid(padding=(0, 2))
        bars: list[tuple[str, int, int]] = [(self._epoch_text(), within, self._per_epoch)]
        if self._total is not None:
            bars.append((self._step_text(), done, self._total))
        for label, part, whole in bars:
            part = min(max(part, 0), whole)
            bar = ProgressBar(whole, part, width=40, complete_style="cyan", finished_style="green")
            head.add_row(Text(label), bar, Text(f"{part / whole:4.0%}"))
        speed = self._speed() or ["starting"]
        lines: list[RenderableType] = [Text("  ".join([self._run, *speed]), style="bold"), head]
        if self._values:
            lines.append(Text("  ".join(_pairs(self._values))))
        if self._best:
            lines.append(Text(f"best {self._best}", style="green"))
        return Group(*lines)


def _pairs(values: Mapping[str, float]) -> list[str]:
    return [f"{printable(name)} {_number(value)}" for name, value in values.items()]


def _number(value: float) -> str:
    return f"{float(value):.4g}"


def _duration(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
