"""Parsing: the examples, layout freedom, flatness, limits, and text that must never give a traceback."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlc.dsl import ast, printer
from dlc.dsl.diagnostics import SourceError, render_all, to_json
from dlc.dsl.parser import parse, parse_expression, parse_file
from dlc.dsl.tokens import comments, tokenize

FIXTURES = Path(__file__).parent.parent / "fixtures"
EXAMPLES = sorted((FIXTURES / "examples").rglob("*.net"))
TEXTS = [path.read_text(encoding="utf-8") for path in EXAMPLES]

each_example = pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)


def failing(text: str) -> SourceError:
    with pytest.raises(SourceError) as caught:
        parse(text, "x.net")
    return caught.value


def codes(text: str) -> list[tuple[str, int]]:
    return [(each.code, each.primary.span.line) for each in failing(text).diagnostics]


def value(text: str) -> ast.Expr:
    return parse_expression(text, "x")


def test_there_are_all_examples() -> None:
    assert len(EXAMPLES) == 26


@each_example
def test_layout_means_nothing(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tokens, _, wrong = tokenize(text, "x")
    assert not wrong
    assert parse(" ".join(token.text for token in tokens), "x") == parse(text, "x")
    assert parse(text.replace("\n", "\r\n"), "x") == parse(text, "x")


@each_example
def test_printed_source_parses_to_the_same_tree(path: Path) -> None:
    tree = parse_file(path)
    text = printer.source(tree)
    again = parse(text, "x")
    assert again == tree
    assert printer.source(again) == text


@each_example
def test_spans_are_those_of_the_text(path: Path) -> None:
    """Names stand where their spans say, and every part lies within the part around it."""
    lines = path.read_text(encoding="utf-8").split("\n")
    waiting: list[ast.Syntax] = list(ast.children(parse_file(path)))
    seen = 0
    while waiting:
        part = waiting.pop()
        seen += 1
        span = part.span
        if isinstance(part, ast.Name):
            assert lines[span.line - 1][span.column - 1 : span.end_column - 1] == part.text
        for child in ast.children(part):
            assert (span.line, span.column) <= (child.span.line, child.span.column)
            assert (child.span.end_line, child.span.end_column) <= (span.end_line, span.end_column)
            waiting.append(child)
    assert seen > 20


def test_runs_of_operators_are_flat() -> None:
    tree = value("a + b - c * d / e")
    assert isinstance(tree, ast.Binary)
    assert [str(op) for op in tree.ops] == ["+", "-"]
    product = tree.operands[2]
    assert isinstance(product, ast.Binary) and [str(op) for op in product.ops] == ["*", "/"]
    assert tree.ops[1].span.column == 7
    assert printer.tree(value("a and b and c or d")).splitlines()[0] == "Binary 1:1-1:19"


@pytest.mark.parametrize(
    ("text", "grouped"),
    [
        ("-a ** 2", "-(a ** 2)"),
        ("a ** b ** c", "a ** (b ** c)"),
        ("a + b * c", "a + (b * c)"),
        ("not a == b", "not (a == b)"),
        ("a or b and c", "a or (b and c)"),
        ("a if b else c if d else e", "a if b else (c if d else e)"),
        ("a + b -> f", "(a + b) -> f"),
        ("0..n + 1", "0..(n + 1)"),
    ],
)
def test_precedence(text: str, grouped: str) -> None:
    def bare(part: str) -> str:
        return re.sub(r" \d+:\d+-\d+:\d+", "", part)

    inner = bare(printer.tree(value(text)))
    assert "Group" not in inner
    without = [line.strip() for line in bare(printer.tree(value(grouped))).splitlines()]
    at = next(index for index, line in enumerate(without) if line.endswith("Group"))
    label = without[at].removesuffix("Group")
    without[at : at + 2] = [label + without[at + 1].removeprefix("inner: ")]
    assert [line.strip() for line in inner.splitlines()] == without


def test_literals() -> None:
    assert value("1_000") == ast.Literal_(1000, span=value("1").span)
    assert value("1e-3") == ast.Literal_(0.001, span=value("1").span)
    assert value(r'"a\n\"\\"') == ast.Literal_('a\n"\\', span=value("1").span)
    assert value("1") != value("1.0")
    assert value("true") != value("1")


def test_keywords_are_names_where_a_name_stands() -> None:
    tree = parse("data d { train = csv(data) test = from_ } fn f(on) = on + data", "x")
    assert [type(each) for each in tree.declarations] == [ast.Data, ast.Fn]


def test_a_keyword_that_only_lookahead_promises_is_a_name() -> None:
    """After a field's value LALR lookahead holds `train`, since a declaration may follow an expression elsewhere."""
    (data,) = parse("data d { x: f32[] = raw.x train = csv(1) data = 3 }", "x").declarations
    assert isinstance(data, ast.Data)
    assert [type(each) for each in data.body] == [ast.Field, ast.Assign, ast.Assign]


def test_long_programs_stay_flat() -> None:
    net = parse("net n { input x y = x" + " -> relu" * 2000 + " return y }", "x").declarations[0]
    assert isinstance(net, ast.Net)
    assign = net.body[1]
    assert isinstance(assign, ast.Assign) and isinstance(assign.value, ast.Pipeline)
    assert len(assign.value.stages) == 2000
    total = value(" + ".join(["x"] * 10_000))
    assert isinstance(total, ast.Binary) and len(total.operands) == 10_000
    assert printer.source(total).count("+") == 9_999


def test_comments_are_kept_with_their_places() -> None:
    first, second = comments("## What it is\nlet x = 1  # one\n")
    assert (first.text, first.doc, first.own_line) == ("## What it is", True, True)
    assert (second.text, second.doc, second.own_line, second.span.column) == ("# one", False, False, 12)


@pytest.mark.parametrize("text", ["", "1 +", "1 let y = 2", "1 in choice(1)", "(" * 1000, "'a'", "9" * 30])
def test_what_is_not_one_expression(text: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse_expression(text, "--set x")
    assert render_all(caught.value.diagnostics, {"--set x": text})


def test_an_empty_file_is_a_program() -> None:
    assert parse("", "x").declarations == ()
    assert parse("# nothing\n", "x").declarations == ()


def test_editions() -> None:
    assert parse("edition 1 let x = 1", "x").edition == 1
    assert codes("\nedition 2") == [("E0107", 2)]


@pytest.mark.parametrize(
    "text",
    [
        "(" * 100_000,
        "let x = " + "[" * 100_000 + "]" * 100_000,
        "net n " + "{" * 100_000,
        "let x = " + "-" * 100_000 + "1",
        "let x = " + "not " * 100_000 + "a",
        "let x = " + "2 ** " * 50_000 + "2",
        "let x = " + "a if b else " * 50_000 + "c",
        "let x = a" + ".b" * 50_000,
        "let x = a" + "(1)" * 50_000,
        "let x = a" + "[0]" * 50_000,
        "block B = " + "repeat 2 { " * 50_000 + "f" + " }" * 50_000,
    ],
    ids=["(", "[", "{", "-", "not", "**", "if", ".", "call", "index", "repeat"],
)
def test_deep_nesting_is_refused_before_parsing(text: str) -> None:
    start = time.process_time()  # not the clock's: the machine may be busy with something else
    assert "E0105" in [code for code, _ in codes(text)]
    assert time.process_time() - start < 10, "linear work: a second or so on a slow machine"


OPENINGS = ["(", "[", "-", "not ", "a + (", "a or b and c < d .. e + f * -(", "f(g["]
OPENINGS += ["f -> [", "f -> (", "f -> repeat 2 {"]


@pytest.mark.parametrize("opening", OPENINGS)
def test_what_is_not_refused_can_be_walked(opening: str) -> None:
    """The deepest text of a kind that parses also compares and prints."""
    closing = {"(": ")", "[": "]", "{": "}"}
    for depth in range(201, 10, -1):
        ending = "".join(closing.get(letter, "") for letter in reversed(opening)) * depth
        text = ("block X = " if "->" in opening else "let x = ") + opening * depth + "a" + ending
        try:
            tree = parse(text, "x")
        except SourceError as error:
            assert error.diagnostics[0].code == "E0105"
        else:
            assert parse(printer.source(tree), "x") == tree
            return
    pytest.fail("even 11 levels are refused")


def test_a_hundred_brackets_are_fine() -> None:
    parse("let x = " + "(" * 190 + "1" + ")" * 190, "x")


@pytest.mark.parametrize("number", ["9" * 19, "9" * 5000, "1e999", "9" * 400 + ".0"])
def test_numbers_have_limits(number: str) -> None:
    assert codes(f"let x = {number}") == [("E0104", 1)]


def test_the_largest_number() -> None:
    assert value("9" * 18) == ast.Literal_(10**18 - 1, span=value("1").span)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.net").write_bytes(b"let x = 1\n# caf\xe9\n")
    (tmp_path / "nul.net").write_bytes(b"let x = 1\nlet \x00y = 2\n")
    for name, words, line in [
        ("missing.net", "there is no file", 1),
        (".", "is a folder", 1),
        ("latin.net", "is not UTF-8 text", 2),
        ("nul.net", "is not a text file", 2),
        ("a" * 5000, "cannot be read", 1),
        ("a\0b", "cannot be read", 1),
    ]:
        with pytest.raises(SourceError) as caught:
            parse_file(tmp_path / name, name)
        (diagnostic,) = caught.value.diagnostics
        assert diagnostic.code == "E0106" and words in diagnostic.message
        assert diagnostic.primary.span.line == line


def test_a_byte_order_mark_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "bom.net").write_bytes(b"\xef\xbb\xbflet x = 1\n")
    assert parse_file(tmp_path / "bom.net").declarations[0].span.column == 1


PIECES = ["->", "{", "}", "(", ")", "[", "]", ",", "=", ":", "as", "if", "else", "net", "for", "in", '"', "#", "\n"]
PIECES += ["..", "**", "@", "1e400", "9" * 20, ";", "'", "é", "\t", "\0", "\u3000", "let x = 1", "repeat", "next", "\\"]


@settings(max_examples=200, deadline=None)
@given(
    text=st.sampled_from(TEXTS),
    changes=st.lists(
        st.tuples(st.integers(0, 10_000), st.integers(0, 40), st.sampled_from(["", *PIECES])), min_size=1, max_size=4
    ),
)
def test_mutated_programs_parse_or_give_diagnostics(text: str, changes: list[tuple[int, int, str]]) -> None:
    for place, length, piece in changes:
        at = place % (len(text) + 1)
        text = text[:at] + piece + text[at + length :]
    try:
        tree = parse(text, "x.net")
    except SourceError as error:
        assert error.diagnostics
        assert render_all(error.diagnostics, {"x.net": text})
        for each in error.diagnostics:
            assert to_json(each)["primary"]["span"]["line"] <= text.count("\n") + 1
    else:
        assert parse(printer.source(tree), "x") == tree


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([*PIECES, "x", "3", "B", "f", "+", ".", "block", "return", "state"]), max_size=30))
def test_random_tokens_parse_or_give_diagnostics(pieces: list[str]) -> None:
    text = " ".join(pieces)
    try:
        parse(text, "x.net")
    except SourceError as error:
        assert render_all(error.diagnostics, {"x.net": text})
