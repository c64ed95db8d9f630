"""One ONNX file of a trained net, weights inside, for use anywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dlc.runtime.session import silent


@dataclass(frozen=True)
class Exported:
    """What was written. `inputs` and `outputs` are texts, `{"image": "u8[B, 1, 28, 28]"}`; `prepared` says whether
    `prepare` is in front, so that the inputs are what the data's reader gives."""

    path: Path
    bytes: int
    inputs: dict[str, str]
    outputs: dict[str, str]
    weights: str
    prepared: bool


def export(
    folder: Path, out: Path, raw: bool = False, weights: str = "best", *, note: Callable[[str], None] = silent
) -> Exported:
    """Write the net of the run in `folder` to `out`, with its `best` or `last` weights or those of a file inside.

    Unless `raw`, the data's `prepare` is in front: the inputs keep the net's names and take what the reader gives.
    `note` is told where that is not possible and the net is written raw. Raises InputError, UsageError (`out` is no
    name of an ONNX file), EmitError.
    """
    raise NotImplementedError
