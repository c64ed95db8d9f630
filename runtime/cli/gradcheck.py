"""`dlc gradcheck`: each weight's gradient against differences of the loss."""

from __future__ import annotations

from collections.abc import Sequence

from dlc.runtime.cli.objects import lets, open_program, run_of, target
from dlc.runtime.cli.terminal import RED, Terminal, plain, plural
from dlc.runtime.errors import RunError


def gradcheck(
    file: str, assignments: Sequence[str], examples: int, directions: int, seed: int, terminal: Terminal
) -> None:
    """Raises what `dlc.runtime.gradcheck.gradcheck` raises, and RunError if a gradient is wrong."""
    from dlc.runtime.gradcheck import TOLERANCE, gradcheck

    where = target(file)
    program = open_program(where, lets(assignments), terminal)
    name = run_of(program, where)
    found = gradcheck(
        program,
        name,
        examples=examples,
        directions=directions,
        seed=seed,
        note=terminal.note,
        progress=terminal.progress,
    )
    terminal.progress("weights", 1, 1)
    rows = []
    for each in found:
        error = f"{each.error:.1e}" if each.right else terminal.paint(f"{each.error:.1e} wrong", RED)
        shape = " x ".join(map(str, each.shape)) or "scalar"
        rows.append((each.address, shape, f"{each.norm:.4g}", f"{each.symbolic:.9g}", f"{each.numeric:.9g}", error))
    terminal.table(rows, right=(2, 3, 4, 5), head=("weight", "shape", "|gradient|", "symbolic", "numeric", "error"))
    wrong = [each.address for each in found if not each.right]
    terminal.result(
        {
            "run": name,
            "tolerance": TOLERANCE,
            "weights": [
                plain(
                    {
                        "address": each.address,
                        "shape": list(each.shape),
                        "norm": each.norm,
                        "symbolic": each.symbolic,
                        "numeric": each.numeric,
                        "error": each.error,
                        "right": each.right,
                    }
                )
                for each in found
            ],
        }
    )
    if wrong:
        several = f"{plural(len(wrong), 'gradient')} of {len(found)}"
        raise RunError(f"{several} differ from differences of the loss: {wrong[0]}")
    terminal.say(f"{plural(len(found), 'gradient')} as differences of the loss say, within {TOLERANCE:.0e} in float64")
