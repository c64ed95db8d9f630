"""Runs `dlc` under faults, many times, in forks of one process that has imported everything.

    python forge.py FOLDER CASES

FOLDER holds tiny.net and its data; CASES is JSON, a list of lists of faults `[kind, at]`: the first happens to
`dlc train`, the others to `dlc train --resume` after it, and at the end a `--resume` without a fault has to finish.
Writes a line of JSON for each case: the exit codes and errors, and what is wrong with the end.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import traceback
from pathlib import Path
from typing import Any

import faults
import onnx  # noqa: F401 (here, so that a fork need not: the same of the next two)
import onnxruntime  # noqa: F401

from dlc.compiler import products  # noqa: F401
from dlc.compiler.program import library
from dlc.runtime import cli, loop
from dlc.runtime.atomic import write_atomically
from dlc.runtime.checkpoint import Checkpoint, Checkpoints
from dlc.runtime.errors import InputError
from dlc.runtime.folder import RunFolder
from dlc.runtime.report.log import read_log

Fault = tuple[str, int]
NONE: Fault = (faults.COUNT, 0)


def dlc(args: list[str], run: Path, fault: Fault) -> tuple[int, str, list[str]]:
    """Exit code (negative: signal), standard error and, where there was no fault, what was done to files."""
    err, seen = run.with_suffix(".err"), run.with_suffix(".seen")
    child = os.fork()
    if child == 0:
        code = 99
        try:
            for target, number in (("/dev/null", 1), (str(err), 2)):
                os.dup2(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            loop.EPOCH_SECONDS = 0.0  # each epoch gets its checkpoint, however short
            loop.draw_curves = lambda records, path, *_: write_atomically(path, [b"<svg/>"])  # half of the time
            injected = faults.install(run, *fault)
            code = cli.main(args)
            if fault == NONE:
                seen.write_text("\n".join(injected.seen))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    done = seen.read_text().splitlines() if fault == NONE and seen.exists() else []
    return os.waitstatus_to_exitcode(status), err.read_text(), done


def begun(folder: Path, run: Path, fault: Fault) -> tuple[int, str, list[str]]:
    """Begins the run, or goes on with it if a fault left one that has begun."""
    if (run / "run.json").exists():
        return dlc(["train", "--resume", str(run)], run, fault)
    return dlc(["train", str(folder / "tiny.net"), "-o", str(run), "--device", "cpu"], run, fault)


def outcome(run: Path) -> dict[str, Any]:
    """All that two equal runs have in common."""
    last = Checkpoints(run).latest()
    assert last is not None
    return {
        "tensors": {name: array.tobytes().hex() for name, array in last.tensors.items()},
        "state": [last.step, str(last.best), last.patience, last.schedule],
        "best": (run / "best.safetensors").read_bytes().hex(),
        "last": (run / "last.safetensors").read_bytes().hex(),
        "log": [[r.step, r.epoch, r.split, dict(r.values)] for r in read_log(run / "metrics.jsonl")],
        "ended": [RunFolder.open(run).run[key] for key in ("status", "reason")],
    }


def case(folder: Path, number: int, injected: list[Fault], wanted: dict[str, Any]) -> dict[str, Any]:
    run = folder / f"case{number}" / "run"
    run.parent.mkdir()
    codes, told, wrong = [], [], []
    for fault in injected:
        good = Checkpoints(run).steps()
        code, err, _ = begun(folder, run, fault)
        codes.append(code)
        told.append(err[-2000:])
        wrong += _left_over(run, good, fault)
    code, err, _ = begun(folder, run, NONE)
    if code != 0:
        wrong.append(f"the run could not be ended: exit {code}: {err[-2000:]}")
    else:
        found = outcome(run)
        wrong += [f"{key} differs" for key in wanted if found[key] != wanted[key]]
        wrong += [f"{path} is left" for path in run.rglob("*.tmp")]
    shutil.rmtree(run.parent)
    return {"faults": injected, "codes": codes, "errors": told, "wrong": wrong}


def _left_over(run: Path, good: list[int], fault: Fault) -> list[str]:
    """What is wrong with the folder after a fault: every checkpoint that is there can be read, and none is lost."""
    steps = Checkpoints(run).steps()
    wrong = []
    if good and (not steps or steps[-1] < good[-1]):
        wrong.append(f"checkpoints {good} were there, {steps} are")
    for step in steps:
        try:
            Checkpoint.load(Checkpoints(run).path(step))
        except InputError as error:
            wrong.append(str(error))
    return wrong


def main() -> None:
    library()
    folder = Path(sys.argv[1])
    cases: list[list[Fault]] | int = json.loads(sys.argv[2])
    whole = folder / "whole" / "run"
    whole.parent.mkdir(exist_ok=True)
    shutil.rmtree(whole, ignore_errors=True)
    code, err, seen = begun(folder, whole, NONE)
    print(json.dumps({"code": code, "err": err, "seen": seen}), flush=True)
    wanted = outcome(whole)
    for number, injected in enumerate(cases):
        print(json.dumps(case(folder, number, [(kind, at) for kind, at in injected], wanted)), flush=True)


if __name__ == "__main__":
    main()
