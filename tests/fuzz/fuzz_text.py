"""Programs spoilt as text: characters, tokens and lines deleted, inserted, doubled, exchanged."""

from __future__ import annotations

import random
import re

from fuzz_judge import ROOT

BASES = sorted((ROOT / "tests" / "fixtures" / "examples").rglob("*.net")) + sorted((ROOT / "specs").glob("*.net"))
TOKEN = re.compile(r"\s+|[A-Za-z_0-9.]+|->|\*\*|//|[=<>!]=|\"[^\"\n]*\"?|.", re.DOTALL)
WORDS = [
    "use",
    "import",
    "from",
    "let",
    "in",
    "fn",
    "block",
    "net",
    "infer",
    "data",
    "train",
    "on",
    "as",
    "search",
    "input",
    "param",
    "state",
    "next",
    "return",
    "yield",
    "ragged",
    "by",
    "freeze",
    "load",
    "assert",
    "if",
    "else",
    "or",
    "and",
    "not",
    "true",
    "false",
    "none",
    "repeat",
    "for",
    "scan",
    "along",
    "until",
    "edition",
    "B",
    "relu",
    "Linear",
    "Conv",
    "raw",
    "label",
    "loss",
    "optimizer",
    "metrics",
    "batch",
    "f32",
    "i64",
    "training",
    "step",
    "dev",
    "x",
]
SIGNS = [
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ".",
    ":",
    "=",
    "->",
    "+",
    "-",
    "*",
    "/",
    "//",
    "%",
    "@",
    "**",
    "==",
    "!=",
    "<",
    "..",
    "...",
    "#",
    '"',
    ";",
    "|",
    "!",
    "\\",
    "'",
    "`",
    "~",
    "$",
    "&",
    "^",
    "?",
]
STRANGE = (
    "\0", "\ufeff", "\r", "\t", "\u00e9", "\u03b1", "\u2192", "\u2212", "\u00a0", "\u202e", "\u0301", "\U0001f642",
    "\u4e2d\u6587", "\ud7ff", "\u2028", "\x1b[31m", "\x7f", "\x0b",
)  # fmt: skip
NUMBERS = (
    "0", "-1", "1", "9223372036854775807", "9223372036854775808", "999999999999999999", "1" + "0" * 40, "1e308",
    "1e309", "1e-400", "0.0", "1_000_000_000", "2 ** 9999", "1.5", "007", "1e5", "0x10", "3.", "1__0", "4096",
)  # fmt: skip


def spoilt(rng: random.Random) -> tuple[str, str]:
    """A text and the file that it pretends to be."""
    path = rng.choice(BASES)
    text = path.read_text(encoding="utf-8")
    if rng.random() < 0.5:
        text = _excerpt(rng, text)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        text = rng.choice((_characters, _tokens, _tokens, _lines, _brackets, _numbers))(rng, text)
    if rng.random() < 0.05:
        text = rng.choice((text.replace("\n", "\r\n"), "\ufeff" + text, text.replace("\n", ""), text * 2))
    return text, str(path.with_name("spoilt.net"))


def _excerpt(rng: random.Random, text: str) -> str:
    lines = text.split("\n")
    start = rng.randrange(len(lines))
    return "\n".join(lines[start : start + rng.randint(1, 40)])


def _changed(rng: random.Random, parts: list[str], new: tuple[str, ...] | list[str]) -> list[str]:
    at = rng.randrange(len(parts) + 1)
    here = min(at, len(parts) - 1)
    match rng.randrange(5):
        case 0:
            return parts[:here] + parts[here + rng.choice((1, 1, 2, 5)) :]
        case 1:
            return [*parts[:at], rng.choice(new), *parts[at:]]
        case 2:
            return (
                parts[: here + 1]
                + parts[here : here + rng.choice((1, 2, 4))] * rng.choice((1, 1, 3))
                + parts[here + 1 :]
            )
        case 3:
            there = rng.randrange(len(parts))
            parts = list(parts)
            parts[here], parts[there] = parts[there], parts[here]
            return parts
        case _:
            return [*parts[:here], rng.choice(new), *parts[here + 1 :]]


def _characters(rng: random.Random, text: str) -> str:
    letters = [chr(rng.randrange(32, 127)) for _ in range(4)]
    return "".join(_changed(rng, list(text) or [""], [*letters, rng.choice(STRANGE), rng.choice(SIGNS)]))


def _tokens(rng: random.Random, text: str) -> str:
    parts = TOKEN.findall(text) or [""]
    others = [rng.choice(parts) for _ in range(6)]
    return "".join(_changed(rng, parts, [*others, f" {rng.choice(WORDS)} ", rng.choice(SIGNS), rng.choice(NUMBERS)]))


def _lines(rng: random.Random, text: str) -> str:
    parts = text.split("\n")
    return "\n".join(_changed(rng, parts, [rng.choice(parts), rng.choice(WORDS), ""]))


def _brackets(rng: random.Random, text: str) -> str:
    places = [at for at, char in enumerate(text) if char in "()[]{}"]
    if not places:
        return text + rng.choice("([{}])") * rng.choice((1, 3, 300))
    at = rng.choice(places)
    return text[:at] + rng.choice(("", "(", ")", "[", "]", "{", "}", text[at] * 2, text[at] * 400)) + text[at + 1 :]


def _numbers(rng: random.Random, text: str) -> str:
    found = list(re.finditer(r"\b\d[\d_.e-]*", text))
    if not found:
        return text + " " + rng.choice(NUMBERS)
    number = rng.choice(found)
    return text[: number.start()] + rng.choice(NUMBERS) + text[number.end() :]
