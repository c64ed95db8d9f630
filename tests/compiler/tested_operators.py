"""What the gradient of each operator is compared with in these tests, written to `compiler/tested.json`.

`python tests/compiler/tested_operators.py` writes it anew; `test_catalogue.py` holds it to what the cases say.
"""

from __future__ import annotations

import json
from pathlib import Path

PATH = Path(__file__).parents[2] / "compiler" / "tested.json"


SPATIAL = ("AveragePool", "Conv", "ConvTranspose", "GlobalAveragePool", "GlobalMaxPool", "LRN", "MaxPool")
"""Those of test_convolution.py and test_pooling.py, whose cases are of another form: both oracles."""


def tested() -> dict[str, list[str]]:
    """The oracles by operator: float64 differences where it has a case, PyTorch where one of its cases has a peer."""
    from test_gradients import CASES
    from test_normalization import CASES as NORMALIZATION
    from test_sequences import CASES as SEQUENCES

    found: dict[str, set[str]] = {name: {"differences", "PyTorch"} for name in SPATIAL}
    found |= {case.op: {"differences", "PyTorch"} for case in SEQUENCES}
    for case in (*CASES, *NORMALIZATION):
        oracles = found.setdefault(case.op, set())
        oracles.add("differences")
        if case.torch is not None:
            oracles.add("PyTorch")
    return {name: sorted(found[name], key=str.lower) for name in sorted(found) if not name.startswith("dlc.")}


def text() -> str:
    rows = [f"  {json.dumps(name)}: {json.dumps(oracles)}" for name, oracles in tested().items()]
    return "{\n" + ",\n".join(rows) + "\n}\n"


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
