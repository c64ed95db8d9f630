"""Training a run: `train` begins it, `resume` goes on with it, bit for bit as if it had never stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from dlc.compiler.program import Program
from dlc.runtime import session
from dlc.runtime.checkpoint import Best, Checkpoint, Checkpoints
from dlc.runtime.compiled import Compiled
from dlc.runtime.data import Dataset, place, prepare, steps_per_epoch
from dlc.runtime.diagnose import by_gradients
from dlc.runtime.errors import InputError, RunError
from dlc.runtime.evaluate import Evaluator, check_whole
from dlc.runtime.folder import RunFolder, refuse_occupied
from dlc.runtime.interrupt import Interrupted
from dlc.runtime.loop import Identity, Loop, Schedule
from dlc.runtime.patience import Patience
from dlc.runtime.report.display import Display
from dlc.runtime.session import Device, silent
from dlc.runtime.start import earlier, initial
from dlc.runtime.stepper import Stepper
from dlc.runtime.watch import Watch, interval, watch_model


@dataclass(frozen=True)
class Options:
    """How a run is to be carried out; None leaves a thing as the last time, the file, or ONNX Runtime has it.

    `epochs` and `steps` are ends: the run stops at whichever comes first, and one that is given here replaces both of
    the file's. `threads` 0 is ONNX Runtime's default. A checkpoint is written at the end of epochs (of those shorter
    than a second not each) and at least every `checkpoint_seconds` (60 if the file says nothing either), and exactly
    every `checkpoint_steps` if given. `after` is the folder of the run that the file says to start from. `watch` looks
    at the norms of the layers every so many steps; 0 leaves the number to the length of the run, None does not look.
    With `report`, report.html is written however the run ends.
    """

    device: str | None = None
    threads: int | None = None
    seed: int | None = None
    epochs: int | None = None
    steps: int | None = None
    checkpoint_seconds: float | None = None
    checkpoint_steps: int | None = None
    after: Path | None = None
    watch: int | None = None
    report: bool = False


@dataclass(frozen=True)
class View:
    """What people see. `display` makes the live display: it is called as `display(run, total_steps, steps_per_epoch,
    batch=..., start_step=...)`. `note` gets lines for people while there is no display (data, device); `progress` gets
    (what, done, total) while data is prepared."""

    display: Callable[..., Display] = Display
    note: Callable[[str], None] = silent
    progress: Callable[[str, int, int], None] = silent


@dataclass(frozen=True)
class Result:
    """How a run ended. `values` are those of its last epoch, `{"train": {"loss": ...}, "dev": {"loss": ..., "acc":
    ...}}`; `best` is None only if no value was ever finite. `seconds` are those of this process, 0 if there was nothing
    left to do; `reason` says in a few words why the run ended."""

    folder: Path
    step: int
    epochs: int
    best: Best | None
    values: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    seconds: float = 0.0
    reason: str = ""


CHECKPOINT_SECONDS = 60.0
DEFAULT = Options()
UNSEEN = View()


def train(program: Program, run: str, folder: Path, options: Options = DEFAULT, view: View = UNSEEN) -> Result:
    """Compile the run, make its folder and train. `run` is one of `program.runs`.

    Raises SourceError (the file), DataError (the data), UsageError (the folder holds something), InputError, RunError
    (a value that is not finite, the disk, the lock) and Interrupted. The folder is made only once the program is
    compiled, the data is read and every weight has its first value.
    """
    start = time.monotonic()
    refuse_occupied(folder)
    compiled = Compiled.of(program, run)
    after = earlier(compiled, options.after, folder)
    asked = _asked(compiled, options, {})
    if after is not None:
        asked["after"] = str(after.resolve())
    device = session.device(asked["device"], view.note)
    dataset = _data(compiled, view)
    asked["versions"] = session.versions(device, asked["threads"])
    stepper = _stepper(compiled, device, asked, dataset)
    schedule = _schedule(compiled, asked, options, dataset, stepper, view)
    stepper.load(initial(compiled, stepper, dataset, schedule.seed, schedule.batch, after, view.note))
    with RunFolder.create(folder, asked, lambda made: compiled.write(made.model, program)) as made:
        made.record_data(dataset.classes, dataset.content)
        loop = _loop(made, compiled, stepper, device, asked, dataset, schedule, None, options)
        report = _report(made, compiled, dataset, device, options, view)
        return _run(loop, compiled, schedule, made, view, start, report)


def resume(folder: Path, options: Options = DEFAULT, view: View = UNSEEN, program: Program | None = None) -> Result:
    """Go on with the run in `folder` from its last checkpoint; one that has saved nothing yet begins at step 0.

    With `program` (the same file with other `let`s, or edited) the run is compiled anew and goes on with that, as long
    as its weights, seed and batch are the same; what changed is recorded and told. A run that has reached its end
    returns at once, with a note. Raises what `train` raises, and InputError if the checkpoint does not fit model or
    data, or none is left.
    """
    start = time.monotonic()
    with RunFolder.resume(folder) as opened:
        before = opened.settings
        compiled = Compiled.load(opened.model, before)
        if program is not None:
            compiled = Compiled.of(program, compiled.run)
        asked = _asked(compiled, options, before)
        device = session.device(asked["device"], view.note)
        dataset = _data(compiled, view)
        asked["versions"] = session.versions(device, asked["threads"])
        stepper = _stepper(compiled, device, asked, dataset)
        schedule = _schedule(compiled, asked, options, dataset, stepper, view)
        checkpoint = Checkpoints(opened.path, view.note).latest()
        if checkpoint is None:
            _begins_again(opened, compiled, view)
            after = Path(asked["after"]) if asked.get("after") else None
            stepper.load(initial(compiled, stepper, dataset, schedule.seed, schedule.batch, after, view.note))
        else:
            _kept("seed", checkpoint.seed, schedule.seed)
            _kept("batch", before.get("batch", schedule.batch), schedule.batch)
            for note in checkpoint.check_resumable(
                stepper.signature, dataset.data_hash, compiled.graph_hash, asked["versions"], dataset.content
            ):
                view.note(note)
            stepper.load(checkpoint.tensors)
        if checkpoint is not None and (reason := _ended(checkpoint, schedule, view)):
            opened.conclude(reason)
            return Result(folder, checkpoint.step, checkpoint.epoch, checkpoint.best, reason=reason)
        if program is not None:
            opened.replace_model(partial(compiled.write, program=program))
        for name, (old, new) in opened.record_resume(checkpoint.step if checkpoint else 0, asked).items():
            view.note(f"{name} was {old} and is {new}")
        opened.record_data(dataset.classes, dataset.content)
        loop = _loop(opened, compiled, stepper, device, asked, dataset, schedule, checkpoint, options)
        report = _report(opened, compiled, dataset, device, options, view)
        return _run(loop, compiled, schedule, opened, view, start, report)


def _kept(name: str, old: int, new: int) -> None:
    """What says which examples a step sees stays: with another batch a step would lie elsewhere in its epoch, and
    examples would come again or be passed over. Raises InputError."""
    if old != new:
        raise InputError(
            f"the run's {name} is {old}, and {new} is asked for",
            f"a run keeps its {name}; start a new one with another -o",
        )


Report = Callable[[str, Loop], None]
"""Writes report.html, given how the run ended, and the loop."""


def _run(
    loop: Loop, compiled: Compiled, schedule: Schedule, folder: RunFolder, view: View, start: float, report: Report
) -> Result:
    try:
        with view.display(
            compiled.run, schedule.total, schedule.per_epoch, batch=schedule.batch, start_step=loop.done
        ) as display:
            try:
                loop.run(display)
            finally:
                if loop.watch is not None:
                    loop.watch.end(display.note)
    except (Interrupted, RunError) as error:
        report(error.message, loop)
        raise
    folder.conclude(loop.reason)
    report(f"finished: {loop.reason}", loop)
    epochs = loop.done // schedule.per_epoch
    return Result(folder.path, loop.done, epochs, loop.best, loop.values, time.monotonic() - start, loop.reason)


def _report(
    folder: RunFolder, compiled: Compiled, dataset: Dataset, device: Device, options: Options, view: View
) -> Report:
    def report(ended: str, loop: Loop) -> None:
        if options.report:
            from dlc.runtime.report.html import write_report

            known = partial(write_report, folder, compiled, ended, dataset=dataset, device=device, note=view.note)
            known(best=loop.best, steps=loop.done)

    return report


def _begins_again(folder: RunFolder, compiled: Compiled, view: View) -> None:
    """Says that the run begins at step 0. Raises InputError if it had a checkpoint: its weights would be lost."""
    if not folder.saved:
        view.note("no checkpoint of this run was written yet: it begins at step 0")
        return
    kept = next((path for path in (folder.best, folder.last) if path.exists()), None)
    help = "start a new run with another -o"
    if kept is not None:
        help += f"; to begin with the weights of this one, say in it `load {compiled.net} from \"{kept.resolve()}\"`"
    raise InputError(
        f"{folder.checkpoints}: expected a checkpoint to go on from, found none; the run has made some, and to begin "
        "at step 0 would overwrite its weights and metrics",
        help,
    )


def _ended(checkpoint: Checkpoint, schedule: Schedule, view: View) -> str:
    """Why there is nothing to go on with; empty if there is."""
    if checkpoint.step >= schedule.total:
        view.note(f"the run has reached its end, step {checkpoint.step}; give more --epochs or --steps to go on")
        return f"all {checkpoint.step} steps are done"
    patience = Patience.of(schedule.early_stop, checkpoint.patience)
    if patience is None or not patience.over:
        return ""
    view.note(f"the run has stopped early: {patience.reason}; to go on, give `early_stop` more patience in the file")
    return patience.reason


def _asked(compiled: Compiled, options: Options, before: Mapping[str, Any]) -> dict[str, Any]:
    """What is asked for, as `run.json` records it: by the options, else as before, else by the file."""
    file = compiled.settings

    def of(name: str, option: Any, default: Any) -> Any:
        return option if option is not None else before.get(name, default)

    written = {"epochs": file.get("epochs"), "steps": file.get("steps")}
    ends = written
    if options.epochs is not None or options.steps is not None:
        ends = {"epochs": options.epochs, "steps": options.steps}
    elif before.get("written") == written:
        # An end given the last time holds until the file itself says another.
        ends = {name: before.get(name) for name in written}
    return {
        "run": compiled.run,
        "net": compiled.net,
        "data": compiled.data,
        "source": dict(compiled.origin),
        "seed": of("seed", options.seed, file.get("seed", 0)),
        "device": of("device", options.device, "auto"),
        "threads": of("threads", options.threads, 0),
        "batch": file.get("batch", 32),
        "after": before.get("after"),
        **ends,
        "written": written,
    }


def _data(compiled: Compiled, view: View) -> Dataset:
    """The training split and, if there is one, the dev split. Raises DataError, and InputError for a dev split that the
    net cannot be evaluated on."""
    names = compiled.split_names
    read = [name for name in ("train", "dev") if name in names]
    dataset = prepare(
        compiled.plan,
        compiled.file(f"{compiled.data}.prepare.onnx"),
        compiled.files.get(f"{compiled.data}.fit.onnx"),
        compiled.folder,
        splits=read,
        bounds=compiled.bounds,
        later=[name for name in names if name not in read],
        say=view.note,
        progress=view.progress,
    )
    if "dev" in dataset.splits:
        check_whole(compiled, dataset.split("dev"))
    return dataset


def _schedule(
    compiled: Compiled, asked: Mapping[str, Any], options: Options, dataset: Dataset, stepper: Stepper, view: View
) -> Schedule:
    """How long the run goes on and what it keeps. Raises InputError, and DataError for too few examples."""
    per_epoch = steps_per_epoch(dataset.split("train"), asked["batch"])
    ends = [asked["epochs"] * per_epoch] if asked["epochs"] else []
    ends += [asked["steps"]] if asked["steps"] else []
    if not ends:
        raise InputError(
            f"the run `{compiled.run}` does not say when it ends",
            f"write `epochs = 10` (or `steps = ...`) into `train {compiled.run}`, or give --epochs",
        )
    _accumulates(compiled, min(ends), view)
    keep = compiled.settings.get("keep")
    if keep is None:
        keep = {"direction": "lowest", "split": "dev" if "dev" in dataset.splits else "train", "metric": "loss"}
        if keep["split"] == "train":
            view.note("there is no dev split: the weights of the epoch with the lowest training loss are the best")
    early_stop = compiled.settings.get("early_stop")
    plateaus = [
        ("plateau", scalar.schedule) for scalar in stepper.manifest.scalars.values() if scalar.schedule is not None
    ]
    for key, looks in (("keep", keep), ("early_stop", early_stop), *plateaus):
        if looks is not None and looks["split"] not in dataset.splits:
            missing = f"the data `{compiled.data}` has no such split"
            told = "choose on dev, report test once" if looks["split"] == "test" else missing
            help = "for example `dev = holdout(train, 0.1)`, above or below the other splits"
            raise InputError(f"`{key}` looks at the split {looks['split']}: {told}", help)
    seconds = options.checkpoint_seconds
    if seconds is None:
        seconds = float(compiled.settings.get("checkpoint", CHECKPOINT_SECONDS))
    every = options.checkpoint_steps
    return Schedule(asked["seed"], asked["batch"], min(ends), per_epoch, keep, seconds, every, early_stop)


def _accumulates(compiled: Compiled, total: int, view: View) -> None:
    """Raises InputError for a run that ends before its weights move once; a note says which steps move none."""
    parts = compiled.settings.get("accumulate", 1)
    if parts > total:
        text = f"`accumulate = {parts}`, and `{compiled.run}` has {total} steps: its weights would never move"
        raise InputError(text, "give it more --epochs or --steps, or accumulate fewer steps")
    if total % parts:
        view.note(f"the last {total % parts} of {total} steps move no weights: `accumulate = {parts}`")


def _stepper(compiled: Compiled, device: Device, asked: Mapping[str, Any], dataset: Dataset) -> Stepper:
    model, sizes = compiled.file(f"{compiled.run}.step.onnx"), dataset.split("train").sizes
    return Stepper(model, device, asked["batch"], asked["threads"], sizes=sizes)


def _loop(
    folder: RunFolder, compiled: Compiled, stepper: Stepper, device: Device, asked: Mapping[str, Any], dataset: Dataset,
    schedule: Schedule, checkpoint: Checkpoint | None, options: Options = DEFAULT,
) -> Loop:  # fmt: skip
    evaluator = None
    if "dev" in dataset.splits:
        files = compiled.file(f"{compiled.run}.eval.onnx"), compiled.file(f"{compiled.run}.report.onnx")
        evaluator = Evaluator(*files, device, asked["threads"])
    origin = partial(place, compiled.plan, compiled.folder, "train")
    identity = Identity(compiled.graph_hash, asked["versions"], str(compiled.origin.get("sha256", "")), origin)
    diagnose = by_gradients(lambda: compiled.program(folder.model), compiled.run)
    begin = checkpoint is None and ("after" in compiled.settings or "load" in compiled.settings)
    watch = None
    if options.watch is not None:
        every, reached = options.watch or interval(schedule.total), checkpoint.step if checkpoint is not None else None
        watch = Watch(watch_model(compiled, folder), stepper, folder.path, every, device, asked["threads"], reached)
    return Loop(folder, stepper, evaluator, dataset, schedule, identity, diagnose, checkpoint, begin, watch)


__all__ = ["Interrupted", "Options", "Result", "View", "resume", "train"]
