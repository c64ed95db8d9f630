"""The demo, as `make demo` runs it once the environment is there: on a copy of its files, from a path with a space."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_the_demo_trains_exports_and_reads_a_digit(tmp_path: Path) -> None:
    copy = tmp_path / "a clone"
    for folder in ("docs", "specs"):
        shutil.copytree(ROOT / folder, copy / folder)
    for _ in range(2):  # a second time over what the first one left
        done = subprocess.run(
            [sys.executable, str(copy / "docs" / "demo.py")], capture_output=True, text=True, cwd=tmp_path, timeout=900
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    accuracy = re.search(r"^\s*acc\s+([\d.]+)", done.stdout, re.MULTILINE)
    assert accuracy is not None and float(accuracy[1]) >= 0.96, done.stdout[-3000:]
    assert (copy / "demo" / "lenet.onnx").stat().st_size > 200_000
    assert (copy / "demo" / "seven.png").is_file() and (copy / "demo" / "run" / "curves.svg").is_file()
    made = [path.relative_to(copy).as_posix() for path in (copy / "demo").rglob("*") if path.is_file()]
    listed = re.findall(r"^  (demo/\S+) +[\d,]+ kB  ", done.stdout, re.MULTILINE)
    untold = [name for name in made if not any(name == each or name.startswith(f"{each}/") for each in listed)]
    assert untold == ["demo/run/lock"]
    assert "it is a 7 (chance" in done.stdout, "plain onnxruntime does not read the seven as one"
    assert "logits: 7 (" in done.stdout, "dlc run does not read the seven as one"
