"""What the tests of the command line share: a small program, and what came of a command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).parents[2] / "fixtures"

TINY = """\
let lr = 0.1
let width = 4
let names = ["a", "b"]

data houses {
  train = csv("houses.csv")
  x: f32[3] = columns("a", "b", "c")
  price: f32[] = raw.price
}

net tiny {
  input x: f32[B, 3]
  guess = x -> Linear(width) -> tanh -> Linear(1) -> squeeze(-1)
  return guess
}

train tiny on houses {
  loss = mse(guess, price)
  optimizer = SGD(lr=lr)
  batch = 2
}
"""
SECOND = """
train tiny on houses as slow {
  loss = mse(guess, price)
  optimizer = SGD(lr=0.001)
}
"""


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Dlc = Callable[..., Done]


def process(*args: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "import sys; from dlc.runtime.cli import main; sys.exit(main())", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


def fail(error: BaseException) -> Callable[..., Any]:
    def failing(*_: object, **__: object) -> Any:
        raise error

    return failing
