"""Batches out of prepared splits: shuffled for training, in file order for evaluation.

The order of an epoch is the stable argsort of n raw 64-bit words of PCG64 seeded with SeedSequence of four 32-bit
words: seed (mod 2^64, low word first) and epoch (likewise). NumPy guarantees the streams of SeedSequence and of
PCG64, not that of `Generator.permutation`; so the order is a function of (n, seed, epoch) on every platform and
version.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from .errors import DataError, count
from .prepare import Split
from .records import Array
from .splits import random_order, words_of


def order(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order of the n examples in an epoch: int64[n], a permutation, a function of (n, seed, epoch) alone."""
    return random_order(n, [*words_of(seed), *words_of(epoch)])


def steps_per_epoch(split: Split, batch: int) -> int:
    """The full batches of an epoch. Raises DataError if there is none."""
    if batch < 1:
        raise DataError(f"expected a batch of at least 1, found {batch}")
    if len(split) < batch:
        raise DataError(
            f"the split `{split.name}` has {count(len(split), 'example')}, less than one batch of {batch:,}; "
            "make the batch smaller"
        )
    return len(split) // batch


def batches(
    split: Split, batch: int, seed: int, epoch: int, start: int = 0, into: Mapping[str, Array] | None = None
) -> Iterator[dict[str, Array]]:
    """The full batches of one epoch from number `start` on; the last, partial one is dropped.

    Each batch maps a field to [batch, ...]. The arrays are **the same at every turn**: made once, or `into` (for
    instance the memory that a session is bound to), and filled in place, so a step copies its examples once and
    addresses never change. Use or copy a batch before asking for the next. Raises DataError if the split holds no
    full batch, or `into` does not fit.
    """
    steps = steps_per_epoch(split, batch)
    shapes = {name: (batch, *array.shape[1:]) for name, array in split.fields.items()}
    buffers = dict(into) if into is not None else {n: np.empty(shapes[n], split.fields[n].dtype) for n in shapes}
    for name, buffer in buffers.items():
        if name not in shapes or buffer.shape != shapes[name] or buffer.dtype != split.fields[name].dtype:
            raise DataError(f"the buffer for `{name}` does not fit a batch of {batch} of the split `{split.name}`")
    return _shuffled(split, batch, order(len(split), seed, epoch), range(start, steps), buffers)


def _shuffled(
    split: Split, batch: int, rows: NDArray[np.int64], steps: range, buffers: dict[str, Array]
) -> Iterator[dict[str, Array]]:
    # The method of a plain array: np.take, and a memory map's own type, take several times as long for small batches.
    takes = [(np.asarray(split.fields[name]).take, buffer) for name, buffer in buffers.items()]
    for chosen in rows[steps.start * batch : steps.stop * batch].reshape(-1, batch):
        for take, buffer in takes:
            # mode="raise" would gather into a temporary first; the indices are a permutation, so clipping changes none.
            take(chosen, 0, buffer, "clip")
        yield buffers


def sequential(split: Split, batch: int) -> Iterator[dict[str, Array]]:
    """All examples in file order, as views; the last batch may be smaller. Raises DataError if batch < 1."""
    if batch < 1:
        raise DataError(f"expected a batch of at least 1, found {batch}")
    return (
        {name: np.asarray(array[at : at + batch]) for name, array in split.fields.items()}
        for at in range(0, len(split), batch)
    )
