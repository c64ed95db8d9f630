"""One side of a measurement, in a process of its own: `python -m bench.side SIDE WORK FOLDER THREADS SECONDS`.

Prints JSON: the losses of the first steps, and of the milliseconds that a step takes the median (`ms`) and the tenth
percentile (`fast`): what a step takes when nothing else wants the cores.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

from bench import dlc_side, torch_side
from bench.works import WORKS

CHECKED = 5  # steps whose losses are compared
WARM_UP = 0.5  # seconds
FEWEST = 20  # steps that are timed


def main(side: str, name: str, folder: Path, threads: int, seconds: float) -> dict[str, object]:
    """The measurement of one side; `side` may be `torch:foreach` or `torch:default` for PyTorch's other optimizers."""
    work = WORKS[name]
    if side == "dlc":
        step = dlc_side.stepper(work, folder, threads)
    else:
        step = torch_side.stepper(work, folder, threads, side.partition(":")[2] or "fused")
    losses = [float(step(number)) for number in range(CHECKED)]
    number = CHECKED
    times: list[float] = []
    clock = time.perf_counter
    begin = clock()
    while (now := clock()) - begin < WARM_UP + seconds or len(times) < FEWEST:
        step(number)
        number += 1
        if now - begin > WARM_UP:
            times.append(clock() - now)
    fast = statistics.quantiles(times, n=10)[0]
    return {"losses": losses, "ms": statistics.median(times) * 1e3, "fast": fast * 1e3, "steps": len(times)}


if __name__ == "__main__":
    side, name, folder, threads, seconds = sys.argv[1:]
    print(json.dumps(main(side, name, Path(folder), int(threads), float(seconds))))
