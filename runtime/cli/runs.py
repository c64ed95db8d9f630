"""`dlc eval` and `dlc export`: what is done with a run that has been trained."""

from __future__ import annotations

from pathlib import Path

from dlc.runtime.cli.terminal import BOLD, Terminal, file_size, plain, plural
from dlc.runtime.errors import UsageError


def evaluate(
    folder: str, split: str, weights: str, device: str | None, threads: int | None, terminal: Terminal
) -> None:
    """Raises what `dlc.runtime.evaluate.evaluate` raises."""
    from dlc.runtime.evaluate import evaluate

    found = evaluate(
        run_folder(folder),
        split,
        weights,
        device=device or "auto",
        threads=threads or 0,
        report=True,
        note=terminal.note,
        progress=terminal.progress,
    )
    head = f"{found.split} ({plural(found.examples, 'example')}, {found.weights} weights)"
    terminal.say(terminal.paint(head, BOLD))
    terminal.table([(f"  {name}", f"{value:.6g}") for name, value in found.values.items()], right=[1])
    terminal.result(
        {
            "split": found.split,
            "weights": found.weights,
            "examples": found.examples,
            "values": plain(found.values),
            "sha256": found.sha256,
            "changed": found.changed,
            "times": found.times,
        }
    )


def export(folder: str, output: str, raw: bool, weights: str, terminal: Terminal) -> None:
    """Raises what `dlc.runtime.export.export` raises."""
    from dlc.runtime.export import export

    out = Path(output)
    if out.suffix.lower() != ".onnx":
        raise UsageError(f"expected the name of an .onnx file for -o, found {output}")
    found = export(run_folder(folder), out, raw, weights, note=terminal.note)
    terminal.say(f"{found.path}  {file_size(found.bytes)}  {found.weights} weights")
    rows = [("  takes", name, type) for name, type in found.inputs.items()]
    rows += [("  gives", name, type) for name, type in found.outputs.items()]
    terminal.table(rows)
    terminal.result(
        {
            "file": str(found.path),
            "bytes": found.bytes,
            "inputs": found.inputs,
            "outputs": found.outputs,
            "weights": found.weights,
            "prepared": found.prepared,
        }
    )


def run_folder(text: str) -> Path:
    """The folder of a run, where that can be seen at once. Raises UsageError."""
    path = Path(text)
    if path.is_file() and path.suffix.lower() == ".net":
        raise UsageError(
            f"expected the folder of a run, found the file {path}", f"dlc train {path} -o runs/{path.stem}"
        )
    return path
