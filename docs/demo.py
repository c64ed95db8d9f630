"""`make demo`: train LeNet-5 on real digits, evaluate it, export it, and run the export without dlc.

Every step is a command that a person can type; it is shown before it runs. All that is made lies in `demo/`.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUN, MODEL, SEVEN = Path("demo/run"), Path("demo/lenet.onnx"), Path("demo/seven.png")  # from ROOT, as all commands are
PLAIN = Path("docs/run_with_onnxruntime.py")
WHAT = {
    "demo/lenet.onnx": "the net with its weights and the preparation of pictures: u8[B, 1, 28, 28] in, logits out",
    "demo/seven.png": "a held-out digit",
    "demo/run/run.json": "what was asked, of which source, with which versions, and how it ended",
    "demo/run/metrics.jsonl": "loss and accuracy, a line for each step and each evaluation",
    "demo/run/curves.svg": "the same as curves: open it in a browser",
    "demo/run/report.html": "the run on one page: curves, confusion matrix, worst mistakes, first weights",
    "demo/run/best.safetensors": "the weights that were best on the dev split",
    "demo/run/last.safetensors": "the weights after the last step",
    "demo/run/checkpoints": "all that `dlc train --resume demo/run` needs to go on bit for bit",
    "demo/run/model/source": "the .net text that was trained",
    "demo/run/model/digits.prepare.onnx": "a record of the data -> a training example",
    "demo/run/model/lenet.init.onnx": "seed -> weights and optimizer state",
    "demo/run/model/lenet.step.onnx": "weights, optimizer state, a batch -> their successors, loss, metrics",
    "demo/run/model/lenet.eval.onnx": "weights, a batch -> sums and counts",
    "demo/run/model/lenet.report.onnx": "sums and counts over a split -> loss and metrics",
    "demo/run/model/lenet.onnx": "the net, its weights as inputs",
}


def main() -> None:
    began = time.monotonic()
    clean()
    say("Each line after a $ is a command as you would type it, once `. .venv/bin/activate` has put dlc on your path.")
    dlc("Are there mistakes? Shapes, names and gradients are checked; no data is opened.", "check", "specs/lenet.net")
    dlc("What is in the net?", "show", "specs/lenet.net")
    dlc(
        "Train it on 3,600 of 5,000 real MNIST digits; 400 choose the best weights, 1,000 are held out.",
        *("train", "specs/lenet.net", "-o", str(RUN)),
    )
    dlc("How good is it on the held-out digits?", "eval", str(RUN), "--on", "test")
    dlc("One file for production.", "export", str(RUN), "-o", str(MODEL))
    say(f"The first 7 among the held-out digits becomes {SEVEN}.")
    write_seven()
    say("No dlc from here on: this is the whole program, with onnxruntime, Pillow and numpy alone.")
    print(indented(PLAIN), flush=True)
    command(sys.executable, ["python", str(PLAIN), str(MODEL), str(SEVEN)])
    dlc("And the same with dlc.", "run", str(MODEL), "--input", f"image={SEVEN}")
    say(f"Done in {time.monotonic() - began:.0f} s. What each file is:")
    list_files()


def clean() -> None:
    """Remove what an earlier demo made, and nothing else."""
    from dlc.runtime.errors import RunError
    from dlc.runtime.lock import Lock

    run = ROOT / RUN
    if run.exists() and not (run / "lock").is_file():
        sys.exit(f"demo: {RUN} is not a run that an earlier demo made: move it away first")
    if run.exists():
        try:
            Lock(run / "lock").acquire()  # refused while another demo is at work in it
        except RunError as error:
            sys.exit(f"demo: {error}")
        shutil.rmtree(run)
    for path in (MODEL, SEVEN):
        (ROOT / path).unlink(missing_ok=True)


def write_seven() -> None:
    """The first 7 of the test split, as it is before any preparation: u8[28, 28]."""
    from PIL import Image

    from dlc.compiler.program import Program
    from dlc.runtime.data import read

    plan = Program.open(ROOT / "specs/lenet.net").prepare("digits").plan
    held_out = read(plan.json(), ROOT / "specs", splits=["test"])["test"].arrays
    image = held_out["image"][held_out["label"] == 7][0]
    Image.fromarray(image.reshape(28, 28)).save(ROOT / SEVEN)


def dlc(why: str, *words: str) -> None:
    say(why)
    command(Path(sysconfig.get_path("scripts")) / "dlc", ["dlc", *words])


def command(program: str | Path, words: list[str]) -> None:
    """Show a command and run it from the checkout's root; if it fails, so does the demo, with the same exit code."""
    print(f"\n$ {' '.join(words)}", flush=True)
    code = subprocess.run([program, *words[1:]], cwd=ROOT).returncode
    if code:
        sys.exit(code if code > 0 else 128 - code)


def say(text: str) -> None:
    print(f"\n# {text}", flush=True)


def indented(path: Path) -> str:
    """A program as it is, without its docstring."""
    code = (ROOT / path).read_text(encoding="utf-8").split('"""')[2].strip()
    return "\n" + "\n".join(f"    {line}".rstrip() for line in code.splitlines())


def list_files() -> None:
    made = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "demo").rglob("*") if path.is_file())
    for name, what in WHAT.items():
        found = [path for path in made if path == name or path.startswith(name + "/")]
        if not found:
            sys.exit(f"demo: {name} was not written")
        size = sum((ROOT / path).stat().st_size for path in found)
        print(f"  {name:<35}{max(round(size / 1000), 1):>6,} kB  {what}")


if __name__ == "__main__":
    # Ctrl-C reaches the command that runs, which saves and ends by itself; this program then ends with its code.
    signal.signal(signal.SIGINT, lambda *_: None)
    main()
