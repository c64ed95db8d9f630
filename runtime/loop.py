"""The loop over epochs and steps: what happens between two steps, and what is saved when."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from dlc.runtime.checkpoint import Array, Best, Checkpoint, Checkpoints
from dlc.runtime.data import Dataset, Split, batches, order
from dlc.runtime.diagnose import Diagnose, first_row, not_finite
from dlc.runtime.errors import CommandError, RunError
from dlc.runtime.evaluate import Evaluator
from dlc.runtime.folder import RunFolder
from dlc.runtime.interrupt import Interrupted, StopRequest
from dlc.runtime.patience import Patience, improves
from dlc.runtime.plateau import Plateau
from dlc.runtime.report.curves import draw_curves
from dlc.runtime.report.display import Display
from dlc.runtime.report.log import MetricsLog, read_log
from dlc.runtime.stepper import Stepper
from dlc.runtime.watch import Watch

LOG_LINES = 1000  # about as many lines of training values as a whole run writes
EPOCH_SECONDS = 1.0  # epochs shorter than this do not all get a checkpoint
CURVES_SECONDS = 30.0


@dataclass(frozen=True)
class Schedule:
    """The numbers of a run: `total` steps in epochs of `per_epoch`; `keep` is how the best weights are chosen,
    {"direction", "split", "metric"}; `early_stop` is the same with "patience", if the run may stop early. A checkpoint
    is due after `seconds`, and after every `every` steps if given."""

    seed: int
    batch: int
    total: int
    per_epoch: int
    keep: Mapping[str, str]
    seconds: float = 60.0
    every: int | None = None
    early_stop: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Identity:
    """What a checkpoint records of the run besides its state; `place` says where a training example comes from."""

    graph_hash: str
    versions: Mapping[str, str]
    source: str
    place: Callable[[int], str]


class Mean:
    """Running sums of the reports, in float64. Bit for bit the same when taken up again from `json`."""

    def __init__(self, size: int, saved: Any = None) -> None:
        self.sums = np.zeros(size, np.float64)
        self.count = 0
        if saved is not None:
            self.sums[:], self.count = saved["sums"], saved["count"]

    def json(self) -> dict[str, Any]:
        return {"sums": self.sums.tolist(), "count": self.count}

    def take(self, other: Mean) -> None:
        """Adds what `other` holds and empties it."""
        self.sums += other.sums
        self.count += other.count
        other.clear()

    def clear(self) -> None:
        self.sums[:] = 0
        self.count = 0

    def of(self, names: tuple[str, ...]) -> dict[str, float]:
        return {name: float(value) / self.count for name, value in zip(names, self.sums, strict=True)}


class Loop:
    """Steps, evaluations and savings of one run, from a checkpoint or from the values that `stepper` holds.

    `evaluator` is None if there is no dev split. With `begin` the state that the run begins with is saved first: it
    comes from elsewhere than the seed, which may be gone when the run goes on. `watch`, if any, looks at layers before
    a step. `reason` says why the run ended.
    """

    def __init__(
        self, folder: RunFolder, stepper: Stepper, evaluator: Evaluator | None, dataset: Dataset, schedule: Schedule,
        identity: Identity, diagnose: Diagnose, checkpoint: Checkpoint | None = None, begin: bool = False,
        watch: Watch | None = None,
    ) -> None:  # fmt: skip
        self._folder = folder
        self._stepper = stepper
        self._evaluator = evaluator
        self._dataset = dataset
        self._schedule = schedule
        self._identity = identity
        self._diagnose = diagnose
        self._begin = begin
        self.watch = watch
        self._names = stepper.manifest.reports
        self.done = checkpoint.step if checkpoint else 0
        self.best = checkpoint.best if checkpoint else None
        self.values: dict[str, dict[str, float]] = {}
        self.reason = ""
        self._patience = Patience.of(schedule.early_stop, checkpoint.patience if checkpoint else None)
        saved = (checkpoint.schedule if checkpoint else None) or {}
        self._window = Mean(len(self._names), saved.get("window"))
        self._epoch = Mean(len(self._names), saved.get("epoch"))
        known = saved.get("plateaus", {})
        self._plateaus = [
            Plateau.of(name, scalar.schedule, known.get(name))
            for name, scalar in stepper.manifest.scalars.items()
            if scalar.schedule is not None
        ]
        self._better: dict[str, Array] | None = None
        self._not_best = False
        self._saved_at = time.monotonic()
        self._drawn_at = time.monotonic()

    def run(self, display: Display) -> None:
        """Runs to the end. Raises Interrupted, RunError (not finite, disk), DataError; what can be saved is saved."""
        schedule, folder = self._schedule, self._folder
        self._checkpoints = Checkpoints(folder.path, display.note)
        self._display = display
        if self.best is not None:
            display.best(self.best.metric, self.best.value, self.best.step)
        scalars = {"seed": schedule.seed, "steps": schedule.total, "steps_per_epoch": schedule.per_epoch}
        for name, value in scalars.items():
            self._stepper.scalars[name][...] = value
        self._follow_plateaus()
        with MetricsLog(folder.metrics, self.done or None, display.note) as self._log, StopRequest() as stop:
            if self._begin:
                self._save(last=False)
            over = False
            while not over:
                self._steps(self._dataset.split("train"), stop)
                ended = self.done % schedule.per_epoch == 0
                if ended or self.done == schedule.total:
                    self._end_epoch((self.done - 1) // schedule.per_epoch)
                over = self._over()
                if over or stop.asked or self._checkpoint_due(ended):
                    self._save(last=ended or stop.asked or over)
                if stop.asked and not over:
                    self._draw()
                    help = f"go on with `dlc train --resume {folder.path}`"
                    raise Interrupted(f"stopped after step {self.done} of {schedule.total}; everything is saved", help)
        self._draw()

    def _over(self) -> bool:
        """Has the run come to its end? Says why in `reason`."""
        if self.done == self._schedule.total:
            self.reason = f"all {self.done} steps are done"
        elif self._patience is not None and self._patience.over:
            self.reason = self._patience.reason
            self._display.note(f"stopped early after epoch {self.done // self._schedule.per_epoch}: {self.reason}")
        return self.reason != ""

    def _steps(self, split: Split, stop: StopRequest) -> None:
        """Steps until the epoch or the run ends, a stop is asked for, or a checkpoint is due: the hot loop."""
        schedule, stepper, display = self._schedule, self._stepper, self._display
        epoch, position = divmod(self.done, schedule.per_epoch)
        number, values = stepper.scalars["step"], stepper.values
        reports = cast(Mapping[str, float], stepper.reports)  # arrays of rank 0, so what is shown is always the latest
        stepper.scalars["epoch"][...] = epoch
        window, sums = self._window, self._window.sums
        log_every = max(1, min(schedule.per_epoch, schedule.total // LOG_LINES))
        due = self._saved_at + schedule.seconds
        every = schedule.every or schedule.total
        clock = time.monotonic
        done = self.done
        watch, watch_every = self.watch, self.watch.every if self.watch is not None else 1
        for _ in batches(split, schedule.batch, schedule.seed, epoch, position, into=stepper.batch):
            number[...] = done
            if watch is not None and done % watch_every == 0:
                watch.look(done, epoch, display.note)
            if not stepper.step():
                self._fail(epoch)
            sums += values
            window.count += 1
            display.step(done, epoch, reports)
            done += 1
            self.done = done
            if done % log_every == 0:
                self._log_window(epoch)
            if stop.asked or done == schedule.total or done % every == 0 or clock() >= due:
                return

    def _log_window(self, epoch: int) -> None:
        if self._window.count:
            self._log.write(self.done, epoch, "train", self._window.of(self._names))
            self._epoch.take(self._window)

    def _end_epoch(self, epoch: int) -> None:
        """Values of the epoch, and of the dev split; the best weights are kept."""
        self._log_window(epoch)
        self.values = {"train": self._epoch.of(self._names) | {each.name: each.value for each in self._plateaus}}
        shown = dict(self.values["train"])
        tensors = self._stepper.tensors()
        if self._evaluator is not None:
            fed = {name: array[()] for name, array in self._stepper.scalars.items()}
            dev = self._evaluator(tensors, self._dataset.split("dev"), self._schedule.batch, fed)
            self._log.write(self.done, epoch, "dev", dev)
            self.values["dev"] = dev
            shown |= {f"dev.{name}": value for name, value in dev.items()}
        self._compare(tensors)
        self._display.epoch(epoch, shown)
        if self.done % self._schedule.per_epoch == 0:
            self._epoch.clear()
            if self._patience is not None:
                self._patience.see(self.values[self._patience.split][self._patience.metric], self.done)
            self._watch_plateaus(epoch)
        if time.monotonic() >= self._drawn_at + CURVES_SECONDS:
            self._draw()

    def _watch_plateaus(self, epoch: int) -> None:
        """Moves the schedules that follow a metric, at the end of a whole epoch."""
        for each in self._plateaus:
            changed = each.see(self.values[each.split][each.metric])
            if changed:
                self._display.note(f"after epoch {epoch + 1}, {changed}")
        self._follow_plateaus()

    def _follow_plateaus(self) -> None:
        for each in self._plateaus:
            self._stepper.scalars[each.name][...] = each.value

    def _compare(self, tensors: dict[str, Array]) -> None:
        keep = self._schedule.keep
        value = self.values[keep["split"]][keep["metric"]]
        if improves(keep["direction"], value, self.best.value if self.best is not None else None):
            self.best = Best(value, self.done, f"{keep['split']}.{keep['metric']}")
            self._better = tensors
            self._display.best(self.best.metric, value, self.done)
        elif not np.isfinite(value) and not self._not_best:
            self._not_best = True
            told = f"{keep['split']}.{keep['metric']} is {value} after step {self.done}"
            self._display.note(f"warning, {told}: weights are not kept as the best while it is not finite")

    def _checkpoint_due(self, epoch_ended: bool) -> bool:
        since = time.monotonic() - self._saved_at
        every = self._schedule.every
        forced = every is not None and self.done % every == 0
        return forced or since >= (
            min(EPOCH_SECONDS, self._schedule.seconds) if epoch_ended else self._schedule.seconds
        )

    def _save(self, last: bool) -> None:
        """The weights first: a checkpoint stands for all that is saved with it."""
        tensors = self._stepper.tensors()
        broken = not_finite(tensors)
        if broken:
            # An update fused into a product can overflow without any gradient that does; nothing good is overwritten.
            self._save_best()
            when = f"after step {self.done - 1}" if self.done else "before the first step"
            raise RunError(f"{when}, {broken[0]}; it is not saved", self._advice())
        schedule = self._schedule
        self._save_best()
        if last:
            self._save_weights("last", tensors, self.done)
        epoch, position = divmod(self.done, schedule.per_epoch)
        self._checkpoints.save(
            Checkpoint(
                step=self.done,
                epoch=epoch,
                position=position,
                tensors=tensors,
                seed=schedule.seed,
                graph_hash=self._identity.graph_hash,
                data_hash=self._dataset.data_hash,
                best=self.best,
                patience=self._patience.json() if self._patience is not None else None,
                schedule={
                    "window": self._window.json(),
                    "epoch": self._epoch.json(),
                    "plateaus": {each.name: each.json() for each in self._plateaus},
                },
                versions=self._identity.versions,
                splits=self._dataset.content,
            )
        )
        self._folder.record_saved()
        self._saved_at = time.monotonic()

    def _save_best(self) -> None:
        if self._better is not None:
            assert self.best is not None
            self._save_weights("best", self._better, self.best.step)
            self._better = None

    def _save_weights(self, name: str, tensors: Mapping[str, Array], step: int) -> None:
        fitted = self._dataset.fitted
        roles = self._stepper.roles | dict.fromkeys(fitted, "fitted")
        metadata = {"dlc.source": self._identity.source, "dlc.step": str(step)}
        self._checkpoints.save_weights(name, {**tensors, **fitted}, roles, metadata)

    def _fail(self, epoch: int) -> None:
        """Step `self.done` was not finite: says of what, and saves the state before it. Raises RunError."""
        inputs = self._stepper.inputs()
        if self.watch is not None and self.done % self.watch.every != 0:
            self.watch.look(self.done, epoch, self._display.note)  # what the layers had just before is worth knowing
        carried = {name: inputs[name] for name in self._stepper.signature}
        broken = not_finite(carried)
        where = f"step {self.done} (epoch {epoch + 1})"
        if broken:
            self._save_best()
            raise RunError(f"{where} began with values that are not finite: {broken[0]}", self._advice())
        self._save(last=True)  # first, for to find the culprit takes a while
        for name in self._stepper.batch:
            for phrase in not_finite({name: inputs[name]}):
                raise RunError(
                    f"the batch of {where} is not finite: {phrase}; {self._example(first_row(inputs[name]))}",
                    "the state before it is saved: `clip` the field as it is prepared and go on with "
                    f"`dlc train FILE.net --resume {self._folder.path}`, or correct the data and begin again",
                )
        reported = {name: float(value) for name, value in self._stepper.reports.items()}
        culprit = next((f"{name} is {value}" for name, value in reported.items() if not np.isfinite(value)), None)
        try:
            culprit = self._diagnose(inputs) or culprit
        except Exception as error:  # ONNX Runtime's exceptions have no other common base
            self._display.note(f"the gradients cannot be looked at one by one: {error}")
        told = f": {culprit}" if culprit else ""
        loss = f"; loss = {reported['loss']:.4g}" if "loss" in reported else ""
        raise RunError(f"{where} is not finite{told}{loss}", f"the state before it is saved; {self._advice()}")

    def _example(self, row: int) -> str:
        """Where the example in `row` of the next batch comes from."""
        schedule, split = self._schedule, self._dataset.split("train")
        epoch, position = divmod(self.done, schedule.per_epoch)
        return self._identity.place(int(order(len(split), schedule.seed, epoch)[position * schedule.batch + row]))

    def _advice(self) -> str:
        good = self._checkpoints.steps()
        resume = f"go on with `dlc train --resume {self._folder.path}`, which begins at step {good[-1]}" if good else ""
        change = "a smaller learning rate or `clip_norm` may help"
        return f"{change}; {resume}" if resume else change

    def _draw(self) -> None:
        """Draws the curves; a run does not end for want of a picture."""
        try:
            records = read_log(self._folder.metrics)
            if records:
                draw_curves(records, self._folder.curves, self._folder.path.name, self.best.step if self.best else None)
        except CommandError as error:
            self._display.note(f"the curves cannot be drawn: {error.message}")
        self._drawn_at = time.monotonic()
