"""`python -m bench.accuracy [NAME ...]`: what the specs reach on data that the training never saw.

- cancer:   logistic regression, accuracy over five stratified folds; nothing is chosen on a test fold (last weights).
- diabetes: linear regression, R2 on the same five folds as scikit-learn's least squares on the same features.
- digits:   LeNet-5 on 1,000 held-out digits, seeds 0, 1, 2; the weights are those that were best on the dev split.
- fashion:  LeNet-5 on Fashion-MNIST's official test split; needs the set's four files: `--fashion FOLDER`.
- faces:    40 people, five pictures of each to learn from and five to be tested on, seeds 0, 1, 2: EfficientNet-Lite0
            with a new head (backbone frozen, then its last stage unfrozen) beside a small net from scratch. Nothing is
            chosen on the test split (last weights).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

SPECS = Path(__file__).parent.parent / "specs"
FOLDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.accuracy", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("name", nargs="*", help=f"which: {', '.join(REPORTS)} (default: all that have their data)")
    parser.add_argument("--fashion", metavar="FOLDER", type=Path, help="where Fashion-MNIST's four idx files are")
    given = parser.parse_args()
    unknown = [name for name in given.name if name not in REPORTS]
    if unknown:
        parser.error(f"{unknown[0]} is not known; there are {', '.join(REPORTS)}")
    for name, report in REPORTS.items():
        if name in given.name or (not given.name and (name != "fashion" or given.fashion is not None)):
            report(given.fashion)


def trained(
    spec: str, run: str, split: str, weights: str, seed: int = 0, keep: Path | None = None, after: Path | None = None,
    **lets: str,
) -> dict[str, float]:  # fmt: skip
    """Train a spec in a fresh folder (that stays, if `keep` names one) and evaluate it on a split."""
    from dlc.compiler.program import Program
    from dlc.runtime.evaluate import evaluate
    from dlc.runtime.report.display import Display
    from dlc.runtime.train import Options, View, train

    with tempfile.TemporaryDirectory() as temporary:
        folder = keep or Path(temporary) / "run"
        quiet = View(display=partial(Display, quiet=True))
        train(Program.open(SPECS / spec, lets), run, folder, Options(seed=seed, after=after), quiet)
        return dict(evaluate(folder, split, weights).values)


def cancer(_: Path | None) -> None:
    found = [trained("logistic.net", "logistic", "test", "last", fold=str(fold))["acc"] for fold in range(FOLDS)]
    show("cancer: accuracy of five folds", found, f"mean {statistics.mean(found):.4f} (to reach: 0.965)")


def diabetes(_: Path | None) -> None:
    from sklearn.linear_model import LinearRegression
    from sklearn.metrics import r2_score

    from dlc.compiler.program import Program
    from dlc.runtime.data import read

    ours, peer = [], []
    for fold in range(FOLDS):
        ours.append(trained("linear.net", "linear", "test", "last", fold=str(fold))["r2"])
        program = Program.open(SPECS / "linear.net", {"fold": str(fold)})
        splits = read(program.prepare("patients").plan.json(), SPECS)
        train, test = (splits[name].arrays for name in ("train", "test"))
        model = LinearRegression().fit(np.float64(train["features"]), train["target"])
        peer.append(r2_score(test["target"], model.predict(np.float64(test["features"]))))
    show("diabetes: R2 of five folds", ours, f"mean {statistics.mean(ours):.4f}")
    verdict = f"mean {statistics.mean(peer):.4f} (to reach: at most 0.01 above ours)"
    show("  scikit-learn, same folds", peer, verdict)


def digits(_: Path | None) -> None:
    found = [trained("lenet.net", "lenet", "test", "best", seed)["acc"] for seed in range(3)]
    show("digits: LeNet-5, seeds 0, 1, 2", found, f"median {statistics.median(found):.4f} (to reach: 0.97)")


def fashion(folder: Path | None) -> None:
    if folder is None:
        raise SystemExit("fashion needs --fashion FOLDER")
    where = '"' + str(folder.resolve()) + '"'
    found = trained("fashion.net", "lenet", "test", "best", folder=where)["acc"]
    show("fashion: LeNet-5, official test split", [found], "(to reach: 0.895)")


def faces(_: Path | None) -> None:
    backbone = SPECS / "efficientnet_lite0.onnx"
    if not backbone.exists():
        script = SPECS.parent / "docs" / "efficientnet_lite0.py"
        subprocess.run([sys.executable, str(script), str(backbone)], check=True)
    settled, tuned, scratch = [], [], []
    for seed in range(3):
        with tempfile.TemporaryDirectory() as temporary:
            first = Path(temporary) / "settle"
            settled.append(trained("faces.net", "settle", "test", "last", seed, keep=first)["acc"])
            tuned.append(trained("faces.net", "tune", "test", "last", seed, after=first)["acc"])
        scratch.append(trained("faces.net", "scratch", "test", "last", seed)["acc"])
    show("faces: head on a frozen backbone", settled, f"median {statistics.median(settled):.4f}")
    show("faces: last stage unfrozen", tuned, f"median {statistics.median(tuned):.4f}")
    verdict = f"median {statistics.median(scratch):.4f} (each to be below the one fine-tuned)"
    show("faces: a small net from scratch", scratch, verdict)


def show(what: str, values: list[float], verdict: str) -> None:
    print(f"{what:<40}{'  '.join(f'{value:.4f}' for value in values)}   {verdict}", flush=True)


REPORTS: dict[str, Callable[[Path | None], None]] = {
    "cancer": cancer,
    "diabetes": diabetes,
    "digits": digits,
    "fashion": fashion,
    "faces": faces,
}

if __name__ == "__main__":
    main()
