"""What a run's best weights predict of the examples that its report is about."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dlc.compiler.outcome import PREDICTION, Kind, Outcome
from dlc.compiler.program import Program
from dlc.runtime.checkpoint import Array
from dlc.runtime.data import Split
from dlc.runtime.errors import InputError
from dlc.runtime.session import CPU, Device, open_session

MOST = 5000  # examples
SECONDS = 20.0
BLOCK = 64


@dataclass(frozen=True)
class Sample:
    """Examples `rows` of a split, with `prediction` [n, ...] and `target` [n, ...] for each. Scores of classes are
    [n, classes] for binary outcomes too."""

    split: Split
    rows: Array
    kind: Kind
    field: str
    inputs: tuple[str, ...]
    prediction: Array
    target: Array

    @property
    def extent(self) -> str:
        """What the sample is of, for people."""
        n, total = len(self.rows), len(self.split)
        share = f"{n:,} of the {total:,}" if n < total else f"{total:,}"
        return f"{share} examples of {self.split.name}"

    def example(self, at: int) -> dict[str, Array]:
        """The net's inputs of the example at this place of the sample."""
        return {name: np.asarray(self.split.fields[name][self.rows[at]]) for name in self.inputs}


def take(
    program: Program, outcome: Outcome, split: Split, weights: Mapping[str, Array], device: Device = CPU
) -> Sample:
    """Predicts for up to 5,000 examples, chosen at random but always the same, or as many as 20 seconds are enough for.

    Raises InputError for weights or data that do not fit the program.
    """
    from dlc.compiler.emit import serialized
    from dlc.compiler.products import unit_model

    assert outcome.kind is not None and outcome.prediction is not None and outcome.target is not None
    unit = outcome.prediction
    missing = [name for name in unit.carried if name not in weights]
    missing += [name for name in (*unit.batch, outcome.target) if name not in split.fields]
    if missing or unit.scalars:
        raise InputError(f"there is no {(missing or unit.scalars)[0]} to predict with")
    session = open_session(serialized(unit_model(program, unit)), device, spinning=False)
    rows = np.random.default_rng(0).permutation(len(split))[:MOST]
    constant = {name: weights[name] for name in unit.carried}
    found: list[Array] = []
    begin = time.monotonic()
    for at in range(0, len(rows), BLOCK):
        chosen = rows[at : at + BLOCK]
        batch = {name: np.ascontiguousarray(split.fields[name][chosen]) for name in unit.batch}
        found.append(session.run([PREDICTION], {**constant, **batch})[0])
        if time.monotonic() > begin + SECONDS:
            break
    prediction = np.concatenate(found).astype(np.float64)
    rows = rows[: len(prediction)]
    order = np.argsort(rows)
    rows, prediction = rows[order], prediction[order]
    target = np.asarray(split.fields[outcome.target][rows])
    if outcome.kind == "binary":
        logit = prediction.reshape(-1)
        prediction = np.stack([np.zeros_like(logit), logit], axis=1)
        target = (target.reshape(-1) > 0.5).astype(np.int64)
    inputs = tuple(name for name in outcome.inputs if name != outcome.target)
    return Sample(split, rows, outcome.kind, outcome.target, inputs, prediction, target)


__all__ = ["Sample", "take"]
