"""Running an ONNX model on inputs as people have them: pictures, arrays, numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dlc.runtime.checkpoint import Array
from dlc.runtime.session import silent


@dataclass(frozen=True)
class Prediction:
    """`outputs` by name, batch first; `text` says them to people, a line or a few for each."""

    outputs: dict[str, Array]
    text: str


def run_model(
    model: Path,
    inputs: Mapping[str, str],
    *,
    device: str = "cpu",
    threads: int = 0,
    note: Callable[[str], None] = silent,
) -> Prediction:
    """Run `model` on `inputs`, the texts of `--input NAME=TEXT`.

    A text is a file (.png, .jpg and other pictures, .npy, .npz, .csv) or numbers (`5`, `[1, 2.5]`). The batch's
    dimension is added where it is missing. Pictures become [channels, height, width] of an integer input, grey for one
    channel, resized to its size with a note. Raises InputError: an input that is missing or unknown, a file that
    cannot be read, a type or shape that does not fit.
    """
    raise NotImplementedError
