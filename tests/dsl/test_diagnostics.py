"""The exact text of diagnostics, and one for each broken declaration."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dlc.dsl.ast import Span
from dlc.dsl.diagnostics import CODES, Diagnostic, Label, SourceError, nearest, render, render_all, to_json
from dlc.dsl.modules import load
from dlc.dsl.parser import parse
from dlc.dsl.syntax_errors import MISTAKES, Mistake, failures

BAD = Path(__file__).parent.parent / "fixtures" / "bad"

TEXTS = {
    "pipe": """\
error[E0110]: a sum cannot begin inside a pipeline
 --> pipe.net:3:38
  |
3 |   y = x -> Conv(c, 3, pad=1) -> relu + x
  |                                      ^ this `+` comes after a stage
  |
  = help: a pipeline swallows only stages; write `(x -> relu) + y`""",
    "bracket": """\
error[E0115]: a bracket is not closed
 --> bracket.net:4:3
  |
3 |   h = x -> Linear(32 -> relu
  |                  - opened here
4 |   y = h -> Linear(10)
  |   ^ this cannot stand inside the open bracket
  |""",
    "end": """\
error[E0116]: the file ends inside a brace
 --> end.net:4:11
  |
1 | net tiny {
  |          - opened here
  ...
4 |   return h
  |           ^ expected `}`
  |""",
    "keyword": """\
error[E0108]: `state` begins a statement and cannot be a name here
 --> keyword.net:3:3
  |
3 |   state = obs -> Linear(32) -> relu
  |   ^^^^^ a reserved word
  |
  = help: call it `situation`, or `state_`""",
    "noname": """\
error[E0112]: a value needs a name or `return`
 --> noname.net:4:3
  |
4 |   softmax(h, axis=-1)
  |   ^^^^^^^ nothing uses this one
  |
  = help: write `y = softmax(...`, or `return softmax(...`""",
    "retname": """\
error[E0111]: `as` cannot name a plain expression
 --> retname.net:4:30
  |
4 |   return softmax(h, axis=-1) as probs
  |                              ^^ only a stage of a pipeline is named this way
  |
  = help: give the value its name first: `probs = ...`, then `return probs`""",
    "case": """\
error[E0204]: a block begins with a capital letter
 --> case.net:1:7
  |
1 | block unit(c) = Conv(c, 3) -> relu
  |       ^^^^ call it `Unit`
  |
  = note: capitals own weights: every use of it makes new weights

error[E0204]: a net begins with a small letter
 --> case.net:2:5
  |
2 | net Tiny {
  |     ^^^^ call it `tiny`
  |
  = note: capitals own weights: its name makes no new weights""",
}


@pytest.mark.parametrize("name", TEXTS)
def test_exact_text(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BAD)
    sources: dict[str, str] = {}
    with pytest.raises(SourceError) as caught:
        load(Path(f"{name}.net"), sources)
    assert render_all(caught.value.diagnostics, sources) == TEXTS[name]


@pytest.mark.parametrize("name", sorted(path.stem for path in BAD.glob("*.net") if path.stem not in TEXTS))
def test_programs_that_are_wrong_only_in_meaning_load(name: str) -> None:
    try:
        load(BAD / f"{name}.net")
    except SourceError as error:
        pytest.fail(f"{name}.net cannot be read, so `TEXTS` needs its exact text:\n{error}")


def problems(text: str) -> list[tuple[str, int, int]]:
    with pytest.raises(SourceError) as caught:
        parse(text, "x.net")
    return [(d.code, d.primary.span.line, d.primary.span.column) for d in caught.value.diagnostics]


def test_one_error_for_each_broken_declaration() -> None:
    text = """\
net a {
  y = x -> relu + x
  z = * 3
}
let fine = 3
block B(c d) = relu
fn f(x) = x if 3
data d {
  train = csv("a"
}
net last {
  input x: f32[B]
"""
    assert [(code, line) for code, line, _ in problems(text)] == [
        ("E0110", 2),
        ("E0113", 6),
        ("E0116", 8),
        ("E0115", 10),
        ("E0116", 12),
    ]


def test_a_brace_left_open_does_not_swallow_the_next_declaration() -> None:
    assert problems("net a {\n  y = 3\n\nnet b {\n  z = 3 +\n}\n") == [("E0115", 4, 1), ("E0113", 6, 1)]


def test_a_brace_left_open_before_a_header_without_one() -> None:
    """The word at the margin tells that the body above was not closed; further in, that it stands in a wrong place."""
    assert problems("net a {\n  y = 3\n\nnet g\n  return x\n}\n") == [("E0115", 4, 1)]
    assert problems("net a {\n  y = 3\n  net g\n  return x\n}\n") == [("E0114", 3, 3)]


def test_a_misspelt_declaration_after_a_broken_one_has_its_own_error() -> None:
    text = "net a {\n  retrun x\n}\ntrian a on d {\n  loss = 3\n}\nnet g\n  return x\n}\n"
    text += "def f(x): return x\nlet a = (3\n"
    assert problems(text) == [("E0101", 2, 3), ("E0114", 4, 1), ("E0113", 8, 3), ("E0114", 10, 1), ("E0116", 11, 11)]


def test_a_bracket_left_open_inside_a_closed_brace_does_not_hide_the_next_declaration() -> None:
    text = "net f {\n  input x: f32[B, 4\n  return x\n}\nnet g\n  return x\n}\n"
    assert problems(text) == [("E0115", 3, 3), ("E0113", 6, 3)]


def test_a_stray_brace_does_not_cut_the_rest_of_its_body() -> None:
    assert problems("net a {\n  y = f(x) }\n  group z { }\n}\n") == [("E0114", 3, 3)]


@pytest.mark.parametrize(
    ("text", "repaired"),
    [
        ('data d { train: csv("a") }', 'data d { train = csv("a") }'),
        ("train n on d { batch: 16 }", "train n on d { batch = 16 }"),
        ("net n { inptu x: f32[B] return x }", "net n { input x: f32[B] return x }"),
        ("net n { input x: f32[B] retrun 3 }", "net n { input x: f32[B] return 3 }"),
    ],
)
def test_a_repair_that_is_certain(text: str, repaired: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse(text, "x.net")
    (edit,) = (diagnostic.edit for diagnostic in caught.value.diagnostics)
    assert edit is not None
    assert text[: edit.span.column - 1] + edit.replacement + text[edit.span.end_column - 1 :] == repaired
    parse(repaired, "x.net")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "most.net").write_text("#" * (2**20 - 1) + "\n")
    load(tmp_path / "most.net")
    (tmp_path / "large.net").write_text("# one more\n" * 2_000_000)
    with pytest.raises(SourceError, match=r"`.*large.net` is larger than 1 MB: too large for a `.net` file"):
        load(tmp_path / "large.net")


def test_lexical_and_syntax_errors_come_together() -> None:
    assert problems("let a = 'x'\nlet b = 3 +\nlet c = $\n") == [("E0102", 1, 9), ("E0116", 3, 1), ("E0102", 3, 9)]


def test_no_flood() -> None:
    assert len(problems("$ " * 1000)) == 20


@pytest.mark.parametrize(
    ("text", "code", "column", "words"),
    [
        ("net n { x = f(a b) }", "E0113", 17, "a comma is missing"),
        ("net n { x += 3 }", "E0118", 11, "there is no `+=`"),
        ("net n { input x f32[B] }", "E0113", 17, "`:` is missing"),
        ("net n { loss == f(x) }", "E0118", 14, "`==` compares; a value gets its name by `=`"),
        ("net n { a.b == c }", "E0112", 9, "a value needs a name"),
        ("net n { let a = 3 }", "E0114", 9, "`let` cannot stand inside a body"),
        ("net n { y = a = b }", "E0118", 15, "`=` cannot stand inside"),
        ("fn f(a) = 0 < a < 1", "E0118", 17, "cannot be chained"),
        ("net n { y = x -> }", "E0113", 18, "a stage is missing after `->`"),
        ("net n { y = x -> 3 }", "E0118", 18, "a stage cannot be a plain value"),
        ("net n { y = x -> relu and z }", "E0110", 23, "a condition cannot begin inside a pipeline"),
        ("net n { y = x -> relu if a else b }", "E0110", 23, "a choice cannot begin"),
        ("net n { y = x -> f(1) * z }", "E0110", 23, "a product cannot begin"),
        ("net n(x) { }", "E0118", 6, "a `net` takes no settings"),
        ("net n { return }", "E0113", 16, "`return` needs a value"),
        ("net n { } }", "E0117", 11, "closes nothing"),
        ("net n { x = [1, 2) }", "E0117", 18, "closes nothing"),
        ("x = 3", "E0114", 1, "does not begin a declaration"),
        ("blok B = relu", "E0114", 1, "does not begin a declaration"),
        ("fn f = 3", "E0113", 6, "lists its arguments"),
        ('use A as B from "x"', "E0118", 7, "cannot rename"),
        ("train n { }", "E0113", 9, "which data"),
        ("fn f(a) = a if a", "E0116", 17, "the file ends too early"),
        ("fn f(a) = [a if a, 3]", "E0113", 18, "an `if` needs its `else`"),
        ('let x = "abc', "E0103", 9, "a string is not closed"),
        (r'let x = "a\q"', "E0109", 11, "no escape"),
        ("let x = 1;", "E0102", 10, "is not part of the language"),
        ("train n on d { batch = 16, epochs = 3 }", "E0118", 26, "no comma stands between statements"),
        ("net n { y = x -> f, z = y }", "E0118", 19, "no comma stands between statements"),
        ("net n { y = x -> relu -> return y }", "E0113", 26, "a stage is missing after `->`"),
        ("net n { y = x + return y }", "E0113", 17, "a value is missing after `+`"),
        ("net n { y = x + return 3 }", "E0113", 17, "a value is missing after `+`"),
        ("net n { y = return f(x) }", "E0113", 13, "a value is missing after `=`"),
        ("net n { y = x. return y }", "E0113", 16, "a name is missing after `.`"),
        ("net n { y = x -> ragged T by l }", "E0113", 18, "a stage is missing after `->`"),
        ("net n { y = x +\nz = y }", "E0113", 1, "a value is missing after `+`"),
        ("net n { y = x ->\nz: f32 = y }", "E0113", 1, "a stage is missing after `->`"),
        ("net n { y = x + next -> 3 }", "E0118", 25, "a stage cannot be a plain value"),
        ("net n { y = x return y z }", "E0112", 24, "a value needs a name"),
        ('data d { train: csv("a") }', "E0118", 15, "`train` is given a value with `=`"),
        ("train n on d { optimizer: SGD(0.1) }", "E0118", 25, "`optimizer` is given a value with `=`"),
        ("train n on d { loss: a + b }", "E0118", 20, "`loss` is given a value with `=`"),
        ("train n on d { lr: -1 }", "E0118", 18, "`lr` is given a value with `=`"),
        ("let a: 3", "E0118", 6, "`a` is given a value with `=`"),
        ("net n { input x: f32(B, 3) return x }", "E0118", 21, "stand in square brackets"),
        ("block B -> f(3) = relu", "E0118", 13, "after a block's `->` stand types"),
        ("net n { y = x[a: b c] }", "E0113", 20, "a comma is missing"),
        ("net n { retrun f(x) }", "E0101", 9, "`retrun` does not begin a statement"),
        ("net n { output y }", "E0101", 9, "`output` does not begin a statement"),
        ("net n { foo bar: f32 }", "E0101", 9, "`foo` does not begin a statement"),
        ("net n { group a = 3 }", "E0101", 17, "`=` cannot stand here"),
        ("net n { h 3 }", "E0112", 9, "a value needs a name"),
        ("net n input x: f32 }", "E0113", 7, "the body of a `net` stands in braces"),
        ("train n on d loss = 3 }", "E0113", 14, "the body of a `train` stands in braces"),
    ],
)
def test_messages(text: str, code: str, column: int, words: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse(text, "x.net")
    (diagnostic,) = caught.value.diagnostics
    assert words in diagnostic.message
    assert (diagnostic.code, diagnostic.primary.span.column) == (code, column)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.message)
def test_every_malformed_example_is_malformed_at_its_end(mistake: Mistake) -> None:
    assert len(list(failures(mistake))) == len(mistake.programs)
    for program in mistake.programs:
        with pytest.raises(SourceError) as caught:
            parse(program, "x.net")
        text = render(caught.value.diagnostics[0], {"x.net": program})
        assert not re.search(r"\{\w+\}|\{\{", text.replace(program, "")), "a hole was not filled"


def test_every_code_of_the_table_has_a_title() -> None:
    assert {mistake.code for mistake in MISTAKES} <= set(CODES)


def at(line: int, column: int, end: int, file: str = "a.net", end_line: int | None = None) -> Span:
    return Span(file, line, column, end_line or line, end)


def test_labels_on_one_line_and_in_other_files() -> None:
    sources = {"a.net": "one two\n\nthree\n4\n5\nsix", "b.net": "other\n"}
    diagnostic = Diagnostic(
        "E0301",
        "message",
        Label(at(1, 5, 8), "right"),
        (
            Label(at(1, 1, 4), "left"),
            Label(at(3, 1, 6), ""),
            Label(at(6, 4, 4), "end"),
            Label(at(1, 1, 6, "b.net"), "b"),
        ),
        ("first\nsecond",),
        "help",
    )
    assert (
        render(diagnostic, sources)
        == """\
error[E0301]: message
 --> a.net:1:5
  |
1 | one two
  | --- ^^^ right
  | |
  | left
2 |
3 | three
  | -----
  ...
6 | six
  |    - end
  |
 ::: b.net:1:1
  |
1 | other
  | ----- b
  |
  = note: first
          second
  = help: help"""
    )


def test_overlapping_labels_have_rows_of_their_own() -> None:
    text = render(
        Diagnostic("E0301", "m", Label(at(1, 1, 8), "all"), (Label(at(1, 5, 8), "part"),)), {"a.net": "one two"}
    )
    assert text.splitlines()[3:] == ["1 | one two", "  | ^^^^^^^ all", "  |     --- part", "  |"]


def test_tabs_and_wide_characters_keep_marks_below_their_text() -> None:
    text = render(Diagnostic("E0301", "m", Label(at(1, 7, 8), "x"), ()), {"a.net": '\t"日本"\ty'})
    assert text.splitlines()[3:5] == ['1 |     "日本"    y', "  |               ^ x"]


def test_control_characters_are_not_printed() -> None:
    assert "\x1b" not in render(Diagnostic("E0301", "m", Label(at(1, 1, 2), "")), {"a.net": "\x1b[31m"})


def test_a_long_line_is_cut_around_its_mark() -> None:
    lines = render(
        Diagnostic("E0301", "m", Label(at(1, 50_001, 50_002), "x")), {"a.net": "a" * 50_000 + "b" * 50_000}
    ).split("\n")
    assert len(lines[3]) < 200
    assert lines[3][lines[4].index("^")] == "b" and lines[3][lines[4].index("^") - 1] == "a"


def test_a_span_over_lines_is_marked_to_the_end_of_its_first() -> None:
    text = render(Diagnostic("E0301", "m", Label(at(1, 5, 2, end_line=2), "x")), {"a.net": "one two\nthree"})
    assert text.splitlines()[4] == "  |     ^^^ x"


def test_a_place_without_source() -> None:
    assert render(Diagnostic("E0106", "there is no file `q`", Label(at(1, 1, 1, "q"), "")), {}) == (
        "error[E0106]: there is no file `q`\n --> q:1:1\n  |"
    )


def test_color_only_adds_escapes() -> None:
    diagnostic = Diagnostic("W0403", "m", Label(at(1, 1, 2), "x"), (Label(at(1, 3, 4), "y"),), ("n",), "h", "warning")
    colored = render(diagnostic, {"a.net": "a b"}, color=True)
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == render(diagnostic, {"a.net": "a b"})
    assert render(diagnostic, {"a.net": "a b"}).startswith("warning[W0403]: m")


def test_json() -> None:
    import json

    diagnostic = Diagnostic("E0301", "m", Label(at(1, 1, 2), "x"), (Label(at(1, 3, 4), "y"),), ("n",), "h")
    plain = to_json(diagnostic)
    assert json.loads(json.dumps(plain)) == plain
    assert plain["primary"]["span"] == {"file": "a.net", "line": 1, "column": 1, "end_line": 1, "end_column": 2}


@pytest.mark.parametrize(
    ("word", "candidates", "found"),
    [
        ("stirde", ["stride", "pad"], "stride"),
        ("logit", ["logits", "x"], "logits"),
        ("haed", ["head", "hand"], "head"),
        ("bacth", ["batch", "epochs"], "batch"),
        ("hh", ["h", "c"], "h"),
        ("linear", ["Linear", "lines"], "Linear"),
        ("x", ["y", "z"], None),
        ("momentum", ["epochs", "batch"], None),
        ("vgg0_relu9_fw", ["vgg0_relu9_fwd", "vgg0_relu8_fwd"], "vgg0_relu9_fwd"),
    ],
)
def test_nearest(word: str, candidates: list[str], found: str | None) -> None:
    assert nearest(word, candidates) == found
