"""Calls of everything that the library has, with arguments of every sort, those that fit their kind among them."""

from __future__ import annotations

import inspect
import random
from collections.abc import Sequence

from fuzz_judge import ROOT

from dlc.compiler.elaborate.entities import Builtin, Distribution
from dlc.compiler.elaborate.kinds import HIDDEN, KINDS
from dlc.compiler.elaborate.library import BUILTINS
from dlc.compiler.program import library
from dlc.dsl import ast

HERE = str(ROOT / "specs" / "calls.net")
TENSORS = ("x", "p", "q", "s", "i", "c", "m", "e", "x[:, none]", "sum(x)", "float(c)", "p[:, :, 0]")
NUMBERS = (
    "0", "1", "2", "3", "4", "7", "-1", "-2", "65_536", "2 ** 31", "10 ** 17", "0.5", "-0.5", "1.5", "0.0", "1e30",
    "B", "B + 1",
)  # fmt: skip
OTHERS = (
    "none", "true", "false", '""', '"same"', '"f32"', '"mean"', '"b c h w -> b (c h w)"', '"a b -> b a"', '"nothing"',
    "[]", "[0]", "[1, 2]", "[1, [2]]", "[none]", "[x, x]", "[x, i]", "[p]", "(x, x)", "[-1, 0]", "[B, 4]", '["a"]',
    "0..3", "mean", "relu", "he", "zeros", "normal(0.02)", "Linear", "Linear(3)", "training", "csv", "mse", "B // 2",
)  # fmt: skip
FITTING: dict[str, Sequence[str]] = {
    "int": NUMBERS, "float": ("0.5", "1", "-2.0"), "bool": ("true", "false"), "string": ('"f32"', '"edge"'),
    "count": ("1", "2", "3", "4"), "natural": ("0", "1", "2"), "counts": ("1", "2", "[1, 2]"),
    "naturals": ("0", "1", "[0, 1]"), "side": ("1", "5", "9"), "padding": ("0", "1", '"same"', '"valid"', "[0, 1]"),
    "positive": ("0.5", "2"), "amount": ("0", "0.5"), "share": ("0", "0.5", "1"), "fraction": ("0", "0.5"),
    "initializer": ("he", "zeros", "0.5", "normal(0.1)"), "reduction": ("mean", "sum", "none"), "tensor": TENSORS,
    "floats": ("x", "p", "q", "s", "e"), "integers": ("i", "c"), "mask": ("m", "m[:, 0]", "m[0, 0]"),
    "axis": ("-1", "0", "1", "2", "B"), "axes": ("-1", "0", "[0, 1]", "B"), "extent": ("0", "3", "B"),
    "folds": ("2", "5"), "record": ('"a"',), "portion": ("0.1", "3"), "character": ('","',), "picture": ('"a.png"',),
    "path": ('"a.csv"', '"b"'), "direction": ("lowest(dev.loss)", "highest(dev.acc)"),
    "numbers": ("[2, 5]", "[0.5, s]"), "extents": ("[B, 4]", "[2, 2]", "[4, B]", "[]"),
    "element": ('"f32"', '"i64"', '"bool"', '"bf16"'),
}  # fmt: skip
"""Arguments that are of each kind; a kind that is missing here fails a test."""

NET = """net n {{
  input x: f32[B, 4], p: f32[B, 3, 6, 6], q: f32[B, T, 4], i: i64[B], c: i64[B, T], e: f32[B, 0]
  s = mean(x)
  m = x > 0
  {}
}}
"""


def names() -> list[str]:
    """Everything of the library that can be called."""
    written = [name for name, each in library().main.scope.items() if isinstance(each, ast.Block | ast.Fn)]
    return [name for name, each in BUILTINS.items() if _call(each) is not None] + written


def _call(value: object) -> Builtin | None:
    if isinstance(value, Distribution):
        return value.call
    return value if isinstance(value, Builtin) else None


def parameters(name: str) -> list[tuple[str, str | None, bool]]:
    """The name, the kind (None: any) and whether it can be left out, of each parameter."""
    found = library().main.scope.get(name)
    if isinstance(found, ast.Block | ast.Fn):
        return [
            (each.name.text, each.type.name.text if each.type and each.type.name else None, each.default is not None)
            for each in found.params
        ]
    builtin = _call(BUILTINS[name])
    assert builtin is not None
    made = []
    for each in inspect.signature(builtin.call).parameters.values():
        if each.name not in HIDDEN and each.kind is not each.VAR_KEYWORD:
            word = str(each.annotation).partition(" | ")[0].lower()
            kind = {"str": "string", "any": None}.get(word, word)
            made.append((each.name, kind, each.default is not each.empty or each.kind is each.VAR_POSITIONAL))
    return made


def _argument(rng: random.Random, kind: str | None) -> str:
    if kind in KINDS and rng.random() < 0.75:
        return rng.choice(FITTING[kind])
    return rng.choice(rng.choice((TENSORS, TENSORS, NUMBERS, OTHERS)))


def call(rng: random.Random, name: str) -> str:
    """A call: its first arguments by position, the others by name, sometimes one too few or too many."""
    written, by_name = [], False
    takes = parameters(name)
    for parameter, kind, optional in takes:
        if (optional and rng.random() < 0.5) or rng.random() < 0.03:
            by_name = True
            continue
        value = _argument(rng, kind)
        by_name = by_name or rng.random() < 0.1
        written.append(f"{parameter}={value}" if by_name else value)
    if rng.random() < 0.05:
        written.append(rng.choice(("nothing=1", "x", "axis=0")))
    made = f"{name}({', '.join(written)})"
    if not name[0].isupper():
        return made
    if rng.random() < 0.9:
        return f"{rng.choice(TENSORS)} -> {made}"
    return f"{made}({_argument(rng, None)}, {_argument(rng, None)})"


def program(rng: random.Random, name: str, calls: int = 1) -> str:
    """A net that makes so many calls; the result of one is what it returns."""
    lines = [f"y{number} = {call(rng, name)}" for number in range(calls)]
    return NET.format("\n  ".join([*lines, "return x" if calls > 1 else "return y0"]))
