"""The one layout: what it looks like, that it changes no program and loses no comment, and that it is stable."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlc.dsl import formatter, layout
from dlc.dsl.diagnostics import SourceError
from dlc.dsl.formatter import format_text
from dlc.dsl.parser import parse
from dlc.dsl.tokens import comments, tokenize

ROOT = Path(__file__).parents[2]
FOLDERS = ("tests/fixtures/examples", "tests/fixtures/bad", "specs", "compiler/prelude", "runtime/templates")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.net"))


def parses(path: Path) -> bool:
    try:
        parse(path.read_text(encoding="utf-8"), "x")
    except SourceError:
        return False
    return True


WHOLE = [path for path in FILES if parses(path)]
TEXTS = [path.read_text(encoding="utf-8") for path in WHOLE]


def checked(text: str) -> str:
    """The text in its layout, after all that must hold of any."""
    result = format_text(text, "x")
    assert parse(result, "x") == parse(text, "x")
    assert format_text(result, "x") == result
    before, after = ([each.text for each in comments(part)] for part in (text, result))
    assert after == before
    assert all(line == line.rstrip() and "\t" not in line.split("#")[0] for line in result.split("\n"))
    assert "\n\n\n" not in result and not result.startswith("\n")
    assert result.endswith("\n") or result == ""
    return result


def test_there_is_something_to_format() -> None:
    assert len(WHOLE) > 40


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_file_keeps_its_program_and_comments(path: Path) -> None:
    result = checked(path.read_text(encoding="utf-8"))
    code = [line for line in result.split("\n") if "#" not in line]
    assert max(map(len, code), default=0) <= layout.WIDTH


SHOWN = sorted(
    path for folder in ("specs", "bench/nets", "runtime/templates") for path in (ROOT / folder).glob("*.net")
)


@pytest.mark.parametrize("path", SHOWN, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_what_the_repository_shows_is_formatted(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert format_text(text, path.name) == text, f"run `dlc fmt {path.relative_to(ROOT)}`"


SEPARATORS = ("\n", "\n\n\n", "\t", "  # c{}\n", "\n# c{}\n", "\n\n## c{}\n\n", " \n # a{}\n   #b{}\n", "\r\n")


@settings(max_examples=80, deadline=None)
@given(
    text=st.sampled_from(TEXTS),
    width=st.sampled_from((30, 60, 120)),
    density=st.integers(2, 80),
    choices=st.randoms(use_true_random=False),
)
def test_any_layout_becomes_a_stable_one(text: str, width: int, density: int, choices: object) -> None:
    """Line ends, empty lines and comments anywhere between tokens, and lines of any width."""
    pick = getattr(choices, "choice"), getattr(choices, "randrange")  # noqa: B009
    parts = []
    for at, token in enumerate(tokenize(text, "x")[0]):
        parts += [token.text, pick[0](SEPARATORS).format(at, at) if pick[1](density) == 0 else " "]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "WIDTH", width)
        checked("".join(parts))


@settings(max_examples=60, deadline=None)
@given(text=st.sampled_from(TEXTS), data=st.data())
def test_a_file_that_was_cut_is_refused_or_formatted(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, min(len(text), start + 400)))
    broken = text[:start] + text[stop:]
    try:
        parse(broken, "x")
    except SourceError as expected:
        with pytest.raises(SourceError) as caught:
            format_text(broken, "x")
        assert caught.value.diagnostics == expected.diagnostics
    else:
        checked(broken)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("# only a comment", "# only a comment\n"),
        ("let  x=1_000", "let x = 1_000\n"),
        ("fn f( x:f32[B,3] , k = 2 )=x+k*-3", "fn f(x: f32[B, 3], k=2) = x + k * -3\n"),
        ("fn f(x) = x[ :,1 : , ... , : : 2]", "fn f(x) = x[:, 1:, ..., ::2]\n"),
        ("fn f(x) = (x,)", "fn f(x) = (x,)\n"),
        ("fn f(x) = g([x, 1,],(x,x,),)", "fn f(x) = g([x, 1], (x, x))\n"),
        ("fn f(x) = not x and 0 .. 3==x", "fn f(x) = not x and 0..3 == x\n"),
        ("block A()=f as g", "block A() = f as g\n"),
        ("block A=f", "block A = f\n"),
        ('import t from "a.onnx"{}', 'import t from "a.onnx" { }\n'),
        ("data d{}", "data d { }\n"),
        ("net n { }\n# end", "net n { }\n# end\n"),
        ('use a,b from "x.net"\nlet c=1 in choice( 1,2 )', 'use a, b from "x.net"\n\nlet c = 1 in choice(1, 2)\n'),
        ("net n{freeze a.b[3].c}", "net n {\n  freeze a.b[3].c\n}\n"),
    ],
)
def test_spacing(text: str, expected: str) -> None:
    assert checked(text) == expected


def test_breaks_between_stages_are_the_authors() -> None:
    text = "net n {\n y = x -> f -> g\n  z = x\n-> f ->\n g -> h\n}"
    assert checked(text) == "net n {\n  y = x -> f -> g\n  z = x\n    -> f\n    -> g -> h\n}\n"


def test_a_pipeline_without_breaks_that_is_too_long_gets_them_all() -> None:
    stages = ["Linear(1000, init=normal(0.02))"] * 4
    text = f"net n {{ y = x -> {' -> '.join(stages)} }}"
    assert checked(text) == "net n {\n  y = x\n" + "".join(f"    -> {stage}\n" for stage in stages) + "}\n"


def test_a_line_that_is_too_long_breaks_at_its_outermost_brackets() -> None:
    short, long = "argument_of_some_length, " * 3, "argument_of_some_length, " * 7
    assert checked(f"net n {{ y = f({short}g(a, b), c, 1234567890, 1234567890) }}").count("\n") == 3
    lines = checked(f"net n {{ y = f({short}g(a, b), c, another, 1234567890, 123456) }}").split("\n")
    assert lines[1:4] == ["  y = f(", "    " + short + "g(a, b), c, another, 1234567890, 123456", "  )"]
    lines = checked(f"net n {{ y = f({long}g(a, b)) }}").split("\n")
    assert lines[1:3] == ["  y = f(", "    argument_of_some_length,"] and lines[9:11] == ["    g(a, b)", "  )"]


def test_bodies() -> None:
    text = "train n on d {\n\n\nmetrics {\n a = 1\n}\n\n\n\nsearch { a = 1 b = 2 } batch=3\n\n}"
    expected = "train n on d {\n  metrics { a = 1 }\n\n  search {\n    a = 1\n    b = 2\n  }\n  batch = 3\n}\n"
    assert checked(text) == expected


def test_empty_lines_between_declarations() -> None:
    """One, but between equations of one line and one kind as the author likes."""
    text = "let a = 1\nlet b = 2\n\n\nlet c = 3\nfn f(x) = x\nnet n { }\nnet m { }\nfn g(x) = x\nfn h(x) =\n  x"
    expected = (
        "let a = 1\nlet b = 2\n\nlet c = 3\n\nfn f(x) = x\n\nnet n { }\n\nnet m { }\n\nfn g(x) = x\n\nfn h(x) =\n  x\n"
    )
    assert checked(text) == expected


def test_comments() -> None:
    text = """\
# the file

## the net
net n {   # it
    # first
  y = x  # source
      # above the stage
    -> f   # stage

  # apart
  z = f(a,  # one
     b) # two
       # last
}  # closed
# end
"""
    expected = """\
# the file

## the net
net n {  # it
  # first
  y = x  # source
    # above the stage
    -> f  # stage

  # apart
  z = f(
    a,  # one
    b
  )  # two
  # last
}  # closed
# end
"""
    assert checked(text) == expected


def test_comments_at_the_ends_of_neighbouring_lines_are_aligned() -> None:
    text = "let a = 1 # one\nlet bcd = 1 # two\n\nlet e = 1 # three\n"
    assert checked(text) == "let a = 1    # one\nlet bcd = 1  # two\n\nlet e = 1  # three\n"


def test_a_comment_below_a_declaration_stays_there() -> None:
    assert checked("let a = 1\n# of a\n\nnet n { }") == "let a = 1\n# of a\n\nnet n { }\n"
    assert checked("let a = 1\n# of n\nnet n { }") == "let a = 1\n\n# of n\nnet n { }\n"


def test_long_and_deep_programs() -> None:
    long = "net n { input x y = x" + " -> relu" * 2000 + " return y }"
    assert checked(long).count("\n") == 2005
    deep = "let x = " + "(" * 60 + "1" + ")" * 60
    assert len(checked(deep).split("\n")) > 3
    assert len(checked("let x = " + " + ".join(["name"] * 3000)).split("\n")) == 3002


def test_a_change_of_the_program_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formatter, "layout", lambda items: "let x = 2\n")
    with pytest.raises(AssertionError, match="changed the program"):
        format_text("let x = 1", "x")
