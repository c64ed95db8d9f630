"""`python -m bench [WORK ...]`: training steps against PyTorch, and the command line's start, as a table.

Each side runs alone in a process of its own, the processes alternate, and a ratio is the median over pairs of
neighbours. Losses of the first steps are compared before anything is timed; if they differ, no ratio is given.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.works import BATCH, WORKS, Work

ROOT = Path(__file__).parent.parent
COMMANDS = {
    "dlc --help": (["--help"], 0.3),
    "dlc check specs/lenet.net": (["check", "specs/lenet.net"], 1.0),
    "dlc compile specs/lenet.net": (["compile", "specs/lenet.net", "-o", "{folder}"], 2.0),
}
TOLERANCE = 1e-4  # relative, of the losses


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("work", nargs="*", help=f"what to measure: {', '.join(WORKS)}, commands (default: all)")
    parser.add_argument("--pairs", type=int, default=7, help="pairs of processes for each work (default 7)")
    parser.add_argument("--seconds", type=float, default=1.5, help="time of each process (default 1.5)")
    parser.add_argument("--threads", type=int, default=2, help="threads of each side (default 2)")
    parser.add_argument("--peer", default="torch", help="torch (fused optimizer), torch:default or torch:foreach")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the results to a file, too")
    given = parser.parse_args()
    unknown = [name for name in given.work if name not in (*WORKS, "commands")]
    if unknown:
        parser.error(f"{unknown[0]} is not known; there are {', '.join(WORKS)} and commands")
    print(machine())
    results: dict[str, Any] = {"machine": machine(), "steps": {}, "commands": {}}
    chosen = [work for name, work in WORKS.items() if not given.work or name in given.work]
    if chosen:
        print(f"training step, batch {BATCH}, {given.threads} threads; medians of {given.pairs} pairs")
        print("left: each process by its median step; right: by its tenth percentile (other work on the machine)\n")
        print(f"{'work':<38}{'target':>6}" + 2 * f"{'PyTorch ms':>11}{'dlc ms':>9}{'ratio':>7}  {'(range)':<13}")
    for work in chosen:
        result = compare(work, given.pairs, given.seconds, given.threads, given.peer)
        results["steps"][work.name] = result
        print(row(work, result), flush=True)
    if not given.work or "commands" in given.work:
        print(f"\n{'command (whole process)':<38}{'target':>6}{'s':>11}  (range)")
        for title, (arguments, target) in COMMANDS.items():
            seconds = command(arguments, given.pairs)
            results["commands"][title] = {"seconds": seconds, "target": target}
            spread = f"{min(seconds):.2f}-{max(seconds):.2f}"
            print(f"{title:<38}{target:>6}{statistics.median(seconds):>11.2f}  ({spread})", flush=True)
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n")


def compare(work: Work, pairs: int, seconds: float, threads: int, peer: str) -> dict[str, Any]:
    """The milliseconds of both sides in each pair, and the ratios; `error` instead if a side fails or losses differ."""
    with tempfile.TemporaryDirectory() as folder:
        prepare = "import sys; from pathlib import Path; from bench import dlc_side, works\n"
        prepare += "dlc_side.prepare(works.WORKS[sys.argv[1]], Path(sys.argv[2]))"
        found = _run(["-c", prepare, work.name, folder])
        if found.returncode:
            return {"error": _last_line(found.stderr)}
        sides: dict[str, list[dict[str, Any]]] = {peer: [], "dlc": []}
        for _ in range(pairs):
            for side, measured in sides.items():
                found = _run(["-m", "bench.side", side, work.name, folder, str(threads), str(seconds)])
                if found.returncode:
                    return {"error": f"{side}: {_last_line(found.stderr)}"}
                measured.append(json.loads(found.stdout))
                if len(sides["dlc"]) == 1 and len(measured) == 1 and side == "dlc":
                    ours, theirs = measured[0]["losses"], sides[peer][0]["losses"]
                    if not np.allclose(ours, theirs, rtol=TOLERANCE, atol=0):
                        return {"error": f"losses differ: {ours} here, {theirs} in PyTorch"}
    result: dict[str, Any] = {"target": work.target}
    for kind in ("ms", "fast"):
        theirs, ours = ([each[kind] for each in sides[side]] for side in (peer, "dlc"))
        ratios = [a / b for a, b in zip(theirs, ours, strict=True)]
        result[kind] = {"torch": theirs, "dlc": ours, "ratios": ratios, "ratio": statistics.median(ratios)}
    return result


def row(work: Work, result: dict[str, Any]) -> str:
    """A line of the table."""
    if "error" in result:
        return f"{work.title:<38}{result['error']}"
    cells = []
    for kind in ("ms", "fast"):
        each = result[kind]
        theirs, ours = statistics.median(each["torch"]), statistics.median(each["dlc"])
        spread = f"({min(each['ratios']):.2f}-{max(each['ratios']):.2f})"
        cells.append(f"{theirs:>11.3f}{ours:>9.3f} {each['ratio']:>6.2f}  {spread:<13}")
    return f"{work.title:<38}{work.target:>6}{''.join(cells)}"


def command(arguments: list[str], times: int) -> list[float]:
    """The seconds that a process of `dlc` takes, `times` times after one to warm up."""
    taken = []
    with tempfile.TemporaryDirectory() as folder:
        words = [word.format(folder=folder) for word in arguments]
        for _ in range(times + 1):
            begin = time.perf_counter()
            found = _run(["-c", "import sys; from dlc.runtime.cli import main; sys.exit(main())", *words])
            taken.append(time.perf_counter() - begin)
            if found.returncode:
                raise SystemExit(f"dlc {' '.join(words)} fails: {_last_line(found.stderr)}")
    return taken[1:]


def machine() -> str:
    """What the numbers were measured on."""
    from importlib.metadata import version

    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        processor = platform.processor() or platform.machine()
    ort = next((f"{name} {version(name)}" for name in ("onnxruntime-gpu", "onnxruntime") if _installed(name)), "?")
    torch = f"torch {version('torch')}" if _installed("torch") else "no torch"
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{processor}, {os.cpu_count()} cores{load}; Python {platform.python_version()}, {ort}, {torch}"


def _installed(name: str) -> bool:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def _run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT)


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else "it says nothing"


if __name__ == "__main__":
    main()
