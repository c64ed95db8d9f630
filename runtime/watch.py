"""`--watch`: the norms of a step's activations, gradients and updates, beside the training and without touching it.

A second model, with the step's inputs, is run on what a step is about to read. `watch.jsonl` holds what it gave, in the
form of metrics.jsonl: `{"step", "epoch", "split": "watch", "time", "values": {"net.conv.weight:gradient": ...}}`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from dlc.runtime.compiled import Compiled
from dlc.runtime.errors import CommandError
from dlc.runtime.folder import RunFolder
from dlc.runtime.report.log import MetricsLog, read_log
from dlc.runtime.session import CPU, Device, open_session
from dlc.runtime.stepper import Stepper
from dlc.runtime.symptoms import Layer, Symptoms, layers_of

FILE = "watch.jsonl"
EVERY = 50  # a look costs about as much as two steps: 4 %
SHORT = 20  # looks that a run of fewer steps still gets
ROWS = 40  # layers of the table at the end

Note = Callable[[str], None]


def interval(total: int) -> int:
    """The steps between two looks in a run of `total` steps."""
    return max(1, min(EVERY, total // SHORT))


def watch_model(compiled: Compiled, folder: RunFolder) -> Callable[[], bytes]:
    """Makes the model from the texts that the run was compiled from."""

    def made() -> bytes:
        from dlc.compiler.emit import serialized
        from dlc.compiler.products import unit_model

        program = compiled.program(folder.model)
        return serialized(unit_model(program, program.watch(compiled.run)))

    return made


class Watch:
    """Looks at a run every `every` steps. `model` makes the compiled model of `Program.watch`.

    A run does not end for want of a look: what goes wrong is told once, and there are no more looks. With
    `resume_step`, the looks of earlier steps stay in the log, and what was told of them is not told again.
    """

    def __init__(
        self, model: Callable[[], bytes], stepper: Stepper, folder: Path, every: int,
        device: Device = CPU, threads: int = 0, resume_step: int | None = None,
    ) -> None:  # fmt: skip
        self.every = every
        self._model = model
        self._stepper = stepper
        self._path = folder / FILE
        self._opening = device, threads, resume_step
        self._symptoms = Symptoms()
        self._layers: list[Layer] = []
        self._log: MetricsLog | None = None
        self._over = False

    def look(self, step: int, epoch: int, note: Note) -> None:
        """Watches step number `step`, which is about to be taken."""
        if self._over:
            return
        try:
            if self._log is None:
                self._open(note)
            assert self._log is not None
            inputs = self._stepper.inputs()
            found = self._session.run(self._names, {name: inputs[name] for name in self._reads})
            values = {name: float(value) for name, value in zip(self._names, found, strict=True)}
            self._log.write(step, epoch, "watch", values)
        except CommandError as error:
            self._stop(error.message, note)
            return
        except Exception as error:  # ONNX Runtime's exceptions have no other common base
            self._stop(str(error), note)
            return
        self._layers = layers_of(values)
        for warning in self._symptoms.see(self._layers):
            note(f"warning, step {step}: {warning}")

    def end(self, note: Note) -> None:
        """Closes the log and shows the last look as a table."""
        self._over = True
        if self._log is not None:
            self._log.close()
        if self._layers:
            note("\n".join(table(self._layers)))

    def _open(self, note: Note) -> None:
        device, threads, resume_step = self._opening
        self._session = open_session(self._model(), device, threads, spinning=False)
        self._names = [each.name for each in self._session.get_outputs()]
        self._reads = [each.name for each in self._session.get_inputs()]
        self._log = MetricsLog(self._path, resume_step, note)
        for record in read_log(self._path) if resume_step else ():
            self._symptoms.see(layers_of(record.values))

    def _stop(self, why: str, note: Note) -> None:
        self._over = True
        note(f"the layers cannot be watched: {why}")


def table(layers: Sequence[Layer]) -> list[str]:
    """The layers as lines of a table for people."""
    rows: list[tuple[str, ...]] = [("layer", "activation", "gradient", "weights", "update/weights", "zeros")]
    for layer in layers:
        change = "-" if layer.change is None else f"{layer.change:.1e}"
        zeros = "" if layer.zeros is None else f"{layer.zeros:.0%}"
        activation = "-" if layer.activation is None else f"{layer.activation:.3g}"
        rows.append((layer.name, activation, f"{layer.gradient:.2e}", f"{layer.norm:.3g}", change, zeros))
    if not any(row[-1] for row in rows[1:]):
        rows = [row[:-1] for row in rows]
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
    if len(lines) > ROWS + 1:
        lines[ROWS // 2 + 1 : -ROWS // 2] = [f"... and {len(lines) - 1 - ROWS} more"]
    return lines


__all__ = ["FILE", "Watch", "interval", "table", "watch_model"]
