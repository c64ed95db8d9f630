"""The loss and the metrics of a whole split."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dlc.compiler.types import numpy_dtype
from dlc.runtime import session
from dlc.runtime.atomic import write_json
from dlc.runtime.checkpoint import Array, Checkpoints, Signature, data_differences, load_tensors
from dlc.runtime.compiled import Compiled
from dlc.runtime.data import Dataset, Split, prepare, sequential
from dlc.runtime.data.errors import count
from dlc.runtime.data.plan import parse_plan
from dlc.runtime.errors import InputError, RunError
from dlc.runtime.folder import RunFolder
from dlc.runtime.session import CPU, Device, open_session, reason, silent
from dlc.runtime.stepper import manifest_of, signature

TEST = "test"
TIMES = "test_evaluations"


@dataclass(frozen=True)
class Evaluation:
    """`values` are the loss and the metrics by name. `times` is how often this run has been evaluated on the test
    split, this time included; None for other splits. `sha256` is the hash of the decoded records; `changed` says how
    they differ from those that the run was trained with (of test: first evaluated on), None if they do not."""

    split: str
    weights: str
    examples: int
    values: Mapping[str, float]
    sha256: str
    changed: str | None = None
    times: int | None = None


class Evaluator:
    """The models `eval` and `report` of a run on a device.

    `eval` gives sums and counts of a batch of any size; they are added in float64 over the split, and `report` makes
    the loss and the metrics of them once. So every example counts the same, whatever batch it is in.
    """

    def __init__(self, evaluation: bytes, report: bytes, device: Device = CPU, threads: int = 0) -> None:
        self._device = device
        self._session = open_session(evaluation, device, threads, spinning=False)
        self._report = open_session(report, threads=1, spinning=False)
        self.manifest = manifest_of(self._session, "the evaluation")
        self._signature = {
            each.name: signature(each) for each in self._session.get_inputs() if each.name in self.manifest.carried
        }
        self._outputs = [each.name for each in self._session.get_outputs()]

    def __call__(
        self, tensors: Mapping[str, Array], split: Split, batch: int, scalars: Mapping[str, Any] = {}
    ) -> dict[str, float]:
        """The loss and the metrics of `split` by name. `scalars` (the step, ...) are fed where the model reads them.

        Raises InputError if a weight or a field is missing or does not fit, RunError if ONNX Runtime fails.
        """
        binding = self._session.io_binding()
        kept = self._bind(binding, tensors, scalars)
        for name in self.manifest.batch:
            if name not in split.fields:
                raise InputError(f"the evaluation reads the field `{name}`, which the data does not have")
        sums: dict[str, Any] = {}
        for fields in sequential(split, batch):
            for name in self.manifest.batch:
                binding.bind_cpu_input(name, np.asarray(fields[name], order="C"))
            for name in self._outputs:
                binding.bind_output(name, "cpu")
            try:
                self._session.run_with_iobinding(binding)
            except Exception as error:  # ONNX Runtime's exceptions have no other common base
                raise RunError(f"ONNX Runtime cannot evaluate the split {split.name}: {reason(error)}") from error
            for name, value in zip(self._outputs, binding.copy_outputs_to_cpu(), strict=True):
                exact = np.asarray(value, np.float64)
                sums[name] = exact if name in self.manifest.constants else sums.get(name, 0.0) + exact
        del kept
        fed = {each.name: np.asarray(sums[each.name]) for each in self._report.get_inputs()}
        names = [each.name for each in self._report.get_outputs()]
        return {name: float(value) for name, value in zip(names, self._report.run(names, fed), strict=True)}

    def _bind(self, binding: Any, tensors: Mapping[str, Array], scalars: Mapping[str, Any]) -> list[Any]:
        """Binds weights and scalars; returns what must live as long as the binding is used."""
        from onnxruntime import OrtValue  # type: ignore[import-untyped]

        kept = []
        for name in self.manifest.carried:
            array = np.asarray(weight_of(tensors, name, self._signature[name]), order="C")
            value = OrtValue.ortvalue_from_numpy(array, self._device.name, 0)
            binding.bind_ortvalue_input(name, value)
            kept.append(value)
        for name, scalar in self.manifest.scalars.items():
            array = np.asarray(scalars.get(name, scalar.default or 0), numpy_dtype(scalar.dtype))
            binding.bind_cpu_input(name, array)
            kept.append(array)
        return kept


def weight_of(tensors: Mapping[str, Array], name: str, signature: Signature) -> Array:
    """The weight of that address. Raises InputError where it is missing or of another type or shape than the net's."""
    if name not in tensors:
        help = "`dlc weights rename` moves the weights of parts that were renamed"
        raise InputError(f"the weights lack {name}, which the net has", help)
    array, (dtype, shape) = tensors[name], signature
    if (array.dtype, array.shape) != (dtype, shape):
        found = f"{array.dtype}{list(array.shape)}"
        raise InputError(f"{name}: the net has {dtype}{list(shape)}, found {found} among the weights")
    return array


def check_whole(compiled: Compiled, split: Split) -> None:
    """Raises InputError where the net takes a fixed number of examples, and the split has another: batches of a fixed
    size do not say how the loss and the metrics of them make those of the split."""
    fixed = compiled.fixed_batch
    if fixed is not None and len(split) != fixed:
        taken = f"`{compiled.net}` takes {count(fixed, 'example')} at a time"
        raise InputError(
            f"{taken}, and the split {split.name} has {len(split):,}",
            f"write `B` instead of {fixed} for the batch in the inputs of `{compiled.net}`; else only a split of that "
            "many examples can be evaluated",
        )


def evaluate(
    folder: Path,
    split: str = TEST,
    weights: str = "best",
    *,
    device: str = "auto",
    threads: int = 0,
    report: bool = False,
    note: Callable[[str], None] = silent,
    progress: Callable[[str, int, int], None] = silent,
) -> Evaluation:
    """Evaluate the run in `folder` on a split of its data, with its `best` or `last` weights or those of a file.

    Every example counts the same: a partial batch weighs what it holds. Data that changed since the run was trained is
    told through `note`. An evaluation on the test split is recorded in `run.json` and told if it is not the first; with
    `report`, report.html is written again and shows it. Raises InputError, DataError (no such split; data that is gone,
    or whose classes are others).
    """
    opened = RunFolder.open(folder)
    compiled = Compiled.load(opened.model, opened.settings)
    tensors, name = load_weights(opened, weights)
    plan = parse_plan(compiled.plan)
    plan.split(split)
    dataset = prepare(
        plan,
        compiled.file(f"{compiled.data}.prepare.onnx"),
        compiled.files.get(f"{compiled.data}.fit.onnx"),
        compiled.folder,
        splits=[split],
        fitted={address: tensors[address] for address in plan.fitted if address in tensors},
        bounds=compiled.bounds,
        known=opened.classes,
        say=note,
        progress=progress,
    )
    made = dataset.split(split)
    check_whole(compiled, made)
    changed = _changed(opened, dataset, split, note)
    used = session.device(device, note)
    evaluator = Evaluator(
        compiled.file(f"{compiled.run}.eval.onnx"),
        compiled.file(f"{compiled.run}.report.onnx"),
        used,
        threads,
    )
    values = evaluator(tensors, made, int(compiled.settings.get("batch", 32)))
    found = Evaluation(split, name, len(made), values, made.sha256, changed)
    if split == TEST:
        found = replace(found, times=_record_test(opened, found, note))
    if report and split == TEST:
        from dlc.runtime.report.html import refresh_report

        refresh_report(opened, compiled, used, note)
    return found


def _changed(folder: RunFolder, dataset: Dataset, split: str, note: Callable[[str], None]) -> str | None:
    """How the split differs from the one that the run knows, which is told; None if it does not, or knows none."""
    known, now = folder.splits.get(split), dataset.content[split]
    if known is None or known == now:
        return None
    changed = data_differences({split: known}, {split: now})
    since = "first evaluated on it" if split == TEST else "trained"
    note(f"warning, the data changed since the run was {since}: {changed} ({', '.join(dataset.origins)})")
    return changed


def load_weights(folder: RunFolder, weights: str) -> tuple[dict[str, Array], str]:
    """The weights `best` or `last` of a run, or those of a file, and their name for people. Raises InputError."""
    named = {"best": folder.best, "last": folder.last}
    path = named.get(weights, Path(weights))
    if weights in named and not path.exists():
        help = "it has not finished its first epoch; the weights of a run are saved then"
        if folder.last.exists():
            why = "what it chooses them by was never finite"
            if not _ended_an_epoch(folder):
                why = "it has not finished its first epoch, after which it chooses them"
            help = f"{why}; --weights last takes its last ones"
        raise InputError(f"the run in {folder.path} has no {weights} weights yet", help)
    return load_tensors(path)[0], weights


def _ended_an_epoch(folder: RunFolder) -> bool:
    """A run that is stopped within its first epoch has its last weights, too. One that is done may have been shorter
    than an epoch: its end counts as that of one."""
    if folder.run.get("status") == "finished":
        return True
    checkpoint = None
    with contextlib.suppress(InputError):  # the weights are what was asked for
        checkpoint = Checkpoints(folder.path, silent).latest()
    return checkpoint is None or checkpoint.epoch > 0


def _record_test(folder: RunFolder, found: Evaluation, note: Callable[[str], None]) -> int:
    """Counts evaluations on the test split: each choice made by looking at it makes the next one worth less."""
    content = dict(folder.run)
    times = int(content.get(TIMES, 0)) + 1
    content[TIMES] = times
    values = {name: _json(each) for name, each in found.values.items()}
    told = {"weights": found.weights, "values": values, "sha256": found.sha256, "changed": found.changed}
    content["evaluated"] = {TEST: told}
    content["splits"] = {TEST: [found.examples, found.sha256], **folder.splits}
    try:
        write_json(folder.path / "run.json", content)
    except RunError as error:
        note(f"this evaluation is not recorded: {error.message}")
        return times
    if times > 1:
        note(f"this run has been evaluated on the test split {times} times: choose on dev, report test once")
    return times


def _json(value: float) -> float | str:
    """A number as JSON can hold it."""
    return value if np.isfinite(value) else str(value)
