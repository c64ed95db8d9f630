"""The broken programs: each has its first message in `FIRST`, and a line for people in the file `EXPECTED`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from dlc.compiler.program import Program
from dlc.dsl.diagnostics import CODES, Diagnostic, SourceError, render

BAD = Path(__file__).parents[1] / "fixtures" / "bad"


@dataclass(frozen=True)
class Expected:
    """The first message: its place, the lines and columns of what it points at besides, and words that it says.
    `then` are code and line of the messages after it."""

    code: str
    line: int
    column: int
    besides: tuple[tuple[int, int], ...]
    words: tuple[str, ...]
    then: tuple[tuple[str, int], ...] = ()


FIRST = {
    "bracket": Expected("E0115", 4, 3, ((3, 18),), ("a bracket is not closed", "opened here")),
    "broadcast": Expected("E0304", 12, 22, ((8, 11),), ("`price`", "f32[B, 1]", "f32[B, B]", "squeeze(-1)")),
    "case": Expected("E0204", 1, 7, (), ("a block begins with a capital letter", "`Unit`"), (("E0204", 2),)),
    "end": Expected("E0116", 4, 11, ((1, 10),), ("the file ends inside a brace", "expected `}`")),
    "heads": Expected("E0309", 3, 40, ((8, 19),), ("512 cannot be split into 7 heads", "heads = 7 comes from here")),
    "keyword": Expected("E0108", 3, 3, (), ("`state` begins a statement and cannot be a name here", "`state_`")),
    "mask": Expected("E0308", 5, 7, (), ("bool[B, T]", "f32[B, T, 64]")),
    "next": Expected("E0201", 5, 10, (), ("`hh`", "did you mean `h`?")),
    "noname": Expected("E0112", 4, 3, (), ("a value needs a name or `return`", "nothing uses this one")),
    "pipe": Expected("E0110", 3, 38, (), ("a sum cannot begin inside a pipeline", "(x -> relu) + y")),
    "rebind": Expected("E0202", 4, 3, ((3, 3),), ("`h` already has a value", "call this one `h2`")),
    "retname": Expected("E0111", 4, 30, (), ("`as` cannot name a plain expression", "`probs = ...`")),
    "setting": Expected("E0203", 3, 33, (), ("`Conv` has no setting called `stirde`", "did you mean `stride`?")),
    "skip": Expected("E0301", 4, 15, ((2, 9), (3, 7)), ("cannot be added", "f32[B, 16, 32, 32]", "skip.net:8:")),
    "typo": Expected(
        "E0201", 12, 24, (), ("nothing here is called `logit`", "`logits`"), (("E0201", 12), ("E0207", 14))
    ),
    "wiring": Expected("E0601", 11, 15, ((3, 10), (7, 16)), ("`mnist.image` does not fit `tiny.image`",)),
}


def messages(name: str) -> list[Diagnostic]:
    with pytest.raises(SourceError) as caught:
        Program.open(BAD / f"{name}.net").check()
    return list(caught.value.diagnostics)


@pytest.mark.parametrize("name", FIRST)
def test_the_first_message(name: str) -> None:
    expected = FIRST[name]
    first, *others = messages(name)
    place = first.primary.span
    assert (first.code, place.line, place.column) == (expected.code, expected.line, expected.column)
    assert tuple((label.span.line, label.span.column) for label in first.secondary) == expected.besides
    path = BAD / f"{name}.net"
    shown = render(first, {str(path): path.read_text(encoding="utf-8")})
    for words in expected.words:
        assert words in shown
    assert tuple((each.code, each.primary.span.line) for each in others) == expected.then


def test_every_broken_program_has_its_line_and_its_first_message() -> None:
    """Where the file and the table say the same thing they agree: the line, and the code if the file says one."""
    programs = {path.stem for path in BAD.glob("*.net")}
    rows = [line.split(None, 2) for line in (BAD / "EXPECTED").read_text(encoding="utf-8").splitlines()[1:]]
    told = {name.removesuffix(".net"): (int(line), text) for name, line, text in rows}
    for where, known in {"the file tests/fixtures/bad/EXPECTED": set(told), f"FIRST in {__file__}": set(FIRST)}.items():
        assert not programs - known, f"{where} says nothing of {sorted(programs - known)}"
        assert not known - programs, f"{where} has what is no program there: {sorted(known - programs)}"
    for name, (line, text) in told.items():
        code = re.match(r"E\d{4}", text)
        expected = (FIRST[name].line, FIRST[name].code)
        assert (line, code[0] if code else expected[1]) == expected, f"EXPECTED and FIRST differ about {name}.net"
        assert FIRST[name].code in CODES, f"{FIRST[name].code}, the code of {name}.net, is not in CODES"
