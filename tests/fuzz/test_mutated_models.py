"""Spoilt models are read or refused: no crash, no other exception, no long wait, no file outside of their folder.

DLC_FUZZ=10000 makes 5,000 of them; there are 300 without it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

COUNT = max(300, int(os.environ.get("DLC_FUZZ", "0")) // 2)
WORKER = Path(__file__).with_name("onnx_worker.py")
PARTS = 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder with data in it, and files outside that links lead to."""
    inside = tmp_path / "inside"
    (inside / "folder").mkdir(parents=True)
    (inside / "weights.bin").write_bytes(bytes(4096))
    outside = tmp_path / "outside.bin"
    outside.write_bytes(bytes(4096))
    (inside / "link.bin").symlink_to(outside)
    os.link(outside, inside / "hard.bin")
    return inside


@pytest.mark.parametrize("part", range(PARTS))
def test_spoilt_models(part: int, folder: Path) -> None:
    size = COUNT // PARTS
    first, last = part * size, (part + 1) * size
    outcomes: Counter[str] = Counter()
    wrong = []
    while first < last:
        done = subprocess.run(
            [sys.executable, str(WORKER), str(folder), str(first), str(last)],
            capture_output=True,
            text=True,
            check=False,
        )
        lines = [line for line in done.stdout.splitlines() if line]
        for line in lines:
            seed, _, said = line.partition(" ")
            outcomes[said.partition(":")[0]] += 1
            if said.startswith("wrong"):
                wrong.append(f"{seed}: {said}")
        if done.returncode == 0:
            break
        assert lines, done.stderr[-2000:]
        crashed = int(lines[-1].partition(" ")[0])
        wrong.append(f"{crashed}: the process ended with {done.returncode}: {done.stderr.strip()[-200:]}")
        first = crashed + 1
    assert not wrong, "\n".join(wrong[:20])
    assert outcomes["read"] > size // 10 and outcomes["refused"] > size // 10, outcomes
