"""`dlc ops`: the operators of ONNX, their gradients and kernels."""

from __future__ import annotations

from collections.abc import Sequence

from dlc.dsl.diagnostics import nearest
from dlc.runtime.cli.terminal import Terminal, plural
from dlc.runtime.errors import InputError


def ops(names: Sequence[str], terminal: Terminal) -> None:
    """Raises InputError for a name that ONNX does not have."""
    from dlc.compiler.catalogue import catalogue

    every = {entry.name: entry for entry in catalogue()}
    for name in names:
        if name not in every:
            guess = nearest(name, every)
            raise InputError(f"ONNX has no operator {name}", f"did you mean {guess}?" if guess else None)
    shown = [every[name] for name in names] if names else list(every.values())
    rows = []
    for each in shown:
        gradient = each.gradient if each.gradient != "none" else f"none: {each.reason}"
        cpu = " ".join(each.cpu) or ("by its body" if each.body else "-")
        cuda = " ".join(each.cuda) or ("by its body" if each.body else "-")
        rows.append((each.name, gradient, cpu, cuda, ", ".join(each.tested) or "-"))
    terminal.table(rows, head=("operator", "gradient", "CPU", "CUDA", "tested against"))
    with_gradient = sum(each.gradient != "none" for each in shown)
    count = plural(len(shown), "operator")
    terminal.say(f"{count}, {with_gradient} with a gradient; types are those of opset 21's kernels")
    terminal.result([each.json() for each in shown])
