"""The host half of `data`: reads files as a compiled plan says, splits, prepares, caches, batches."""

from __future__ import annotations

from .batches import batches, order, sequential, steps_per_epoch
from .errors import DataError
from .prepare import Dataset, Split, prepare
from .readers import reader
from .records import Records, Request
from .splits import place, read

__all__ = [
    "DataError", "Dataset", "Records", "Request", "Split",
    "batches", "order", "place", "prepare", "read", "reader", "sequential", "steps_per_epoch",
]  # fmt: skip
