"""`dlc ops`: the operators of ONNX, their gradients and kernels."""

from __future__ import annotations

from collections.abc import Sequence

from dlc.dsl.diagnostics import nearest
from dlc.runtime.cli.terminal import Terminal, plural
from dlc.runtime.errors import InputError


def ops(names: Sequence[str], terminal: Terminal) -> None:
    """Raises InputError for a name that ONNX does not have."""
    from dlc.compiler.catalogue import KINDS, catalogue

    every = {entry.name: entry for entry in catalogue()}
    for name in names:
        if name not in every:
            guess = nearest(name, every)
            raise InputError(f"ONNX has no operator {name}", f"did you mean {guess}?" if guess else None)
    shown = [every[name] for name in names] if names else list(every.values())
    rows = []
    for each in shown:
        gradient = f"{each.gradient}: {each.reason}" if each.reason else each.gradient
        cpu = " ".join(each.cpu) or ("by its body" if each.body else "-")
        cuda = " ".join(each.cuda) or ("by its body" if each.body else "-")
        rows.append((each.name, gradient, cpu, cuda, ", ".join(each.tested) or "-"))
    terminal.table(rows, head=("operator", "gradient", "CPU", "CUDA", "tested against"))
    counts = ", ".join(f"{sum(each.gradient == kind for each in shown)} {kind}" for kind in KINDS)
    terminal.say(f"{plural(len(shown), 'operator')}: {counts}; types are those of opset 21's kernels")
    terminal.result([each.json() for each in shown])
