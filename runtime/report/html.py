"""report.html: a run on one page that needs nothing else, no network and no scripts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from dlc.compiler.outcome import Outcome
from dlc.compiler.program import Program
from dlc.dsl.diagnostics import SourceError
from dlc.runtime.addresses import roles_of
from dlc.runtime.atomic import write_atomically
from dlc.runtime.checkpoint import Array, Best, Checkpoints, load_tensors
from dlc.runtime.compiled import Compiled
from dlc.runtime.data import Dataset, prepare
from dlc.runtime.data.plan import Plan, parse_plan
from dlc.runtime.errors import CommandError
from dlc.runtime.folder import RunFolder
from dlc.runtime.report.classes import Classes, confusion, rates
from dlc.runtime.report.curves import LEARNING_RATE, LOG_RANGE, panels_of
from dlc.runtime.report.filters import filters
from dlc.runtime.report.layers import layers
from dlc.runtime.report.log import Record, read_log
from dlc.runtime.report.mistakes import of_classes
from dlc.runtime.report.numbers import regression
from dlc.runtime.report.pictures import is_picture
from dlc.runtime.report.sample import Sample, take
from dlc.runtime.report.svg import Series, line_chart
from dlc.runtime.session import CPU, Device, open_session, silent
from dlc.runtime.stepper import SCALARS
from dlc.runtime.watch import FILE as WATCH

NAME = "report.html"
SOURCE_LIMIT = 100_000  # characters of source text
RATE_POINTS = 300
SPLITS = ("train", "dev", "test")

Note = Callable[[str], None]


@dataclass
class Facts:
    """What a report is made of. `outcome` and `sample` are None where nothing can be predicted; `trouble` gets a line
    for each part that is left out."""

    folder: RunFolder
    compiled: Compiled
    ended: str
    best: Best | None
    steps: int
    records: Sequence[Record]
    plan: Plan
    program: Program | None = None
    weights: Mapping[str, Array] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    outcome: Outcome | None = None
    sample: Sample | None = None
    trouble: list[str] = field(default_factory=list)


def write_report(
    folder: RunFolder, compiled: Compiled, ended: str, *, best: Best | None = None, steps: int = 0,
    dataset: Dataset | None = None, device: Device = CPU, note: Note = silent,
) -> None:  # fmt: skip
    """Writes report.html into the run's folder. Raises nothing: what cannot be said is left out with a note.

    `ended` says in a few words how the run ended, `dataset` saves reading the data again. Predictions are looked at on
    dev, or on train where there is no dev split; never on test.
    """
    try:
        plan = parse_plan(compiled.plan)
        facts = Facts(folder, compiled, ended, best, steps, read_log(folder.metrics, missing_ok=True), plan)
        _attempt(facts, "the program", lambda: _compile(facts))
        _attempt(facts, "the weights", lambda: _load(facts))
        if facts.program is not None and facts.weights:
            _attempt(facts, "the predictions", lambda: _predict(facts, dataset, device, note))
        write_atomically(folder.path / NAME, [page(facts).encode()])
        for trouble in facts.trouble:
            note(f"{NAME}: {trouble}")
    except Exception as error:  # a run is worth more than its report, whatever is wrong with that
        note(f"{NAME} cannot be made: {_told(error)}")


def refresh_report(folder: RunFolder, compiled: Compiled, device: Device = CPU, note: Note = silent) -> None:
    """Writes report.html of a run again, for what has become known since. Raises nothing."""
    best, steps = None, 0
    try:
        opened = RunFolder.open(folder.path)
        checkpoint = Checkpoints(folder.path, silent).latest()
        if checkpoint is not None:
            best, steps = checkpoint.best, checkpoint.step
    except CommandError as error:
        note(f"{NAME} cannot be made: {error.message}")
        return
    content = opened.run
    ended = str(content.get("error") or f"{content.get('status')}: {content.get('reason', '')}".rstrip(": "))
    write_report(opened, compiled, ended, best=best, steps=steps, device=device, note=note)


def _attempt(facts: Facts, what: str, work: Callable[[], Any]) -> Any:
    """The result, or None where there is none, which is then told."""
    try:
        return work()
    except Exception as error:  # as above
        facts.trouble.append(f"{what} cannot be shown: {_told(error)}")
        return None


def _told(error: Exception) -> str:
    if isinstance(error, CommandError):
        return error.message
    if isinstance(error, SourceError):
        return error.diagnostics[0].message
    return str(error) or type(error).__name__


def _compile(facts: Facts) -> None:
    facts.program = facts.compiled.program(facts.folder.model)
    facts.outcome = facts.program.outcome(facts.compiled.run)


def _load(facts: Facts) -> None:
    path = facts.folder.best if facts.folder.best.exists() else facts.folder.last
    if path.exists():
        facts.weights, facts.metadata = load_tensors(path)


def _predict(facts: Facts, dataset: Dataset | None, device: Device, note: Note) -> None:
    program, outcome, compiled = facts.program, facts.outcome, facts.compiled
    if program is None or outcome is None or outcome.kind is None:
        return
    name = "dev" if "dev" in compiled.split_names else "train"
    if dataset is None:
        model, fit = compiled.file(f"{compiled.data}.prepare.onnx"), compiled.files.get(f"{compiled.data}.fit.onnx")
        fitted = {address: facts.weights[address] for address in facts.plan.fitted}
        dataset = prepare(facts.plan, model, fit, compiled.folder, splits=[name], fitted=fitted, say=note)
    facts.sample = take(program, outcome, dataset.split(name), facts.weights, device)


def page(facts: Facts) -> str:
    """The whole page."""
    name, run = facts.compiled.run, facts.folder.run
    parts = [
        ("Result", lambda: _result(facts)),
        ("Curves", lambda: _curves(facts)),
        *_predictions(facts),
        ("First weights", lambda: _filters(facts)),
        ("Layers", lambda: layers(facts.folder.path / WATCH)),
        ("What was run", lambda: _source(facts)),
    ]
    sections = []
    for title, make in parts:
        content = _attempt(facts, title.lower(), make)
        if content:
            sections.append(f"<section><h2>{title}</h2>{content}</section>")
    if facts.trouble:
        lines = "".join(f"<li>{escape(line)}</li>" for line in facts.trouble)
        sections.append(f"<section><h2>Left out</h2><ul>{lines}</ul></section>")
    css = files("dlc.runtime.templates").joinpath("report.css").read_text()
    where = facts.folder.path.name
    title = name if where == name else f"{name} in {where}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{css}</style></head>\n<body><header><h1>{escape(title)}</h1>"
        f'<p class="status">{escape(facts.ended)}; begun {_moment(run.get("started"))}, '
        f"this page written {_moment(datetime.now(UTC).isoformat())}</p></header>\n"
        + "\n".join([*sections, "</body></html>\n"])
    )


def _moment(text: Any) -> str:
    try:
        return datetime.fromisoformat(str(text)).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return "at an unknown time"


def _result(facts: Facts) -> str:
    figures: list[tuple[str, str]] = []
    if facts.best is not None:
        figures.append((f"best {facts.best.metric}, step {facts.best.step:,}", f"{facts.best.value:.4g}"))
    step = facts.best.step if facts.best is not None else None
    for split in ("dev", "train"):
        of_split = [record for record in facts.records if record.split == split]
        chosen = next((each for each in of_split if each.step == step), None) if split == "dev" else None
        at = chosen or (of_split[-1] if of_split else None)
        if at is not None:
            when = "best weights" if chosen is not None else f"step {at.step:,}"
            told_already = facts.best.metric if facts.best is not None and chosen is not None else ""
            for name, value in at.values.items():
                if f"{split}.{name}" != told_already:
                    figures.append((f"{split} {name}, {when}", f"{value:.4g}"))
    evaluated = facts.folder.run.get("evaluated") or {}
    for split, found in evaluated.items():
        for name, value in found["values"].items():
            figures.append((f"{split} {name}, {found['weights']} weights", f"{float(value):.4g}"))
    tiles = "".join(f"<div><b>{value}</b><span>{escape(label)}</span></div>" for label, value in figures)
    told = ""
    if "test" in facts.compiled.split_names and "test" not in evaluated:
        command = f"<code>dlc eval {escape(str(facts.folder.path))}</code>"
        told = f"<p class=faint>The test split has not been looked at: {command}</p>"
    return f'<div class="figures">{tiles}</div>{told}{_settings(facts)}' if figures else _settings(facts)


def _settings(facts: Facts) -> str:
    asked = facts.folder.settings
    seconds = [record.time for record in facts.records]
    rows: list[tuple[str, str]] = [("steps", f"{facts.steps:,}")] if facts.steps else []
    if len(seconds) > 1:
        # From the first line to the last: pauses between an interruption and a resume are in it.
        rows.append(("from first to last", _duration(seconds[-1] - seconds[0])))
    rows += [(name, str(asked[name])) for name in ("epochs", "batch", "seed") if asked.get(name) is not None]
    lets = (asked.get("source") or {}).get("lets") or {}
    rows += [("set", ", ".join(f"{name} = {value}" for name, value in lets.items()))] if lets else []
    versions = asked.get("versions") or {}
    told = ("dlc", "onnxruntime", "provider", "processor", "threads")
    rows += [(name, str(versions[name])) for name in told if name in versions]
    resumed = facts.folder.run.get("resumed") or []
    rows += [("resumed", ", ".join(f"at step {each['step']:,}" for each in resumed))] if resumed else []
    return "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows) + "</dl>"


def _duration(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours} h {minute} min" if hours else f"{minute} min {second} s" if minute else f"{seconds:.1f} s"


def _curves(facts: Facts) -> str:
    mark = float(facts.best.step) if facts.best is not None else None
    charts = []
    panels = panels_of(facts.records)
    for name, splits in panels.items():
        if name == LEARNING_RATE:
            charts.append(line_chart("learning rate", [Series("lr", "other", p, True) for p in splits.values()]))
            continue
        series = [Series(split, split if split in SPLITS else "other", points) for split, points in splits.items()]
        finite = [value for points in splits.values() for _, value in points if np.isfinite(value)]
        log = name == "loss" and bool(finite) and min(finite) > 0 and max(finite) > LOG_RANGE * min(finite)
        charts.append(line_chart(f"{name} (logarithmic)" if log else name, series, log, mark))
    if LEARNING_RATE not in panels:
        rate = _attempt(facts, "the learning rate", lambda: _rate(facts))
        if rate:
            charts.append(rate)
    return f'<div class="charts">{"".join(charts)}</div>' if charts else ""


def _rate(facts: Facts) -> str:
    """The learning rate over the steps of the run, as the file's expression gives it."""
    unit = facts.outcome.learning_rate if facts.outcome is not None else None
    if unit is None or isinstance(unit, float) or facts.program is None or not facts.records:
        return ""
    from dlc.compiler.emit import serialized
    from dlc.compiler.products import unit_model

    # The last line of an epoch is of its last step.
    per_epoch = max(record.step for record in facts.records if record.epoch == facts.records[0].epoch)
    settings = facts.folder.settings
    ends = [settings["epochs"] * per_epoch] if settings.get("epochs") else []
    ends += [settings["steps"]] if settings.get("steps") else []
    total = min(ends, default=facts.records[-1].step)
    last = facts.records[-1].step
    session = open_session(serialized(unit_model(facts.program, unit)), threads=1, spinning=False)
    wanted = [each.name for each in session.get_inputs()]
    if not {*wanted} <= {*SCALARS}:
        return ""  # moved by the host: what the loop logs of it is drawn
    points = []
    for step in sorted({round(at * (last - 1) / (RATE_POINTS - 1)) for at in range(RATE_POINTS)}):
        fed = {"step": step, "epoch": step // per_epoch, "steps": total, "steps_per_epoch": per_epoch, "seed": 0}
        value = session.run(None, {name: np.asarray(fed[name], np.int64) for name in wanted})[0]
        points.append((float(step), float(value)))
    return line_chart("learning rate", [Series("lr", "other", points, True)])


def _predictions(facts: Facts) -> list[tuple[str, Callable[[], str]]]:
    sample = facts.sample
    if sample is None:
        return []
    where = f"{sample.extent}, {'best' if facts.folder.best.exists() else 'last'} weights"
    flattering = "; the training examples, for want of a dev split: new ones will fare worse"
    flattering = flattering if sample.split.name == "train" else ""
    told = f"<p class=faint>On {escape(where)}{flattering}.</p>"
    if sample.kind == "numbers":
        made = _attempt(facts, "the errors", lambda: regression(sample, facts.plan))
        if made is None:
            return []
        return [("Predicted and true", lambda: told + made[0]), ("Worst errors", lambda: made[1])]
    names = facts.folder.classes.get(sample.field, [])
    classes: Classes | None = _attempt(facts, "the classes", lambda: Classes.of(sample, names))
    if classes is None:
        return []
    title = f"<p>Classes are the values of <code>{escape(sample.field)}</code>. {classes.accuracy:.2%} are right.</p>"
    both = f'<div class="beside"><div>{confusion(classes)}</div><div>{rates(classes)}</div></div>'
    return [
        ("Confusion matrix", lambda: told + title + both),
        ("Worst mistakes", lambda: of_classes(sample, classes, facts.plan)),
    ]


def _filters(facts: Facts) -> str:
    types = {name: each.shape for name, each in facts.plan.fields.items() if each.shape is not None}
    shapes = [shape for shape in types.values() if None not in shape]
    pictures = [tuple(size for size in shape if size is not None) for shape in shapes]
    roles = roles_of(facts.metadata)
    if facts.program is None:
        return ""
    known = facts.outcome.prediction if facts.outcome is not None else None
    net = known or facts.program.net(facts.compiled.net)
    order = [a for a in net.carried if a in facts.weights and roles.get(a, "parameter") in ("parameter", "frozen")]
    return filters(facts.weights, order, [shape for shape in pictures if is_picture(shape)])


def _source(facts: Facts) -> str:
    if facts.program is None:
        return ""
    parts = []
    left = SOURCE_LIMIT
    for at, module in enumerate(facts.program.source.modules.values()):
        text = facts.program.source.sources[module.file]
        cut = "" if len(text) <= left else "\n... (cut)"
        opened = " open" if at == 0 and len(text) < 6000 else ""
        parts.append(
            f"<details{opened}><summary><code>{escape(Path(module.file).name)}</code></summary>"
            f"<pre>{escape(text[:left] + cut)}</pre></details>"
        )
        left = max(0, left - len(text))
    return "".join(parts)


__all__ = ["NAME", "refresh_report", "write_report"]
