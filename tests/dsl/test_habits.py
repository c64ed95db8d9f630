"""Habits from other languages: what is told instead of where the parser stopped."""

from __future__ import annotations

import pytest

from dlc.dsl.diagnostics import SourceError
from dlc.dsl.parser import parse


@pytest.mark.parametrize(
    ("text", "message", "place", "advice"),
    [
        ("net n { y = x => relu }", "there is no arrow `=>`", (1, 15, 17), "write `->`"),
        ("block B => relu", "there is no arrow `=>`", (1, 9, 11), "write `=`"),
        ("fn f(x) => x", "there is no arrow `=>`", (1, 9, 11), "write `=`"),
        ("width: 64\nnet n { }", "`width` does not begin", (1, 1, 6), "write `let width = 64`"),
        ("width = 64\nnet n { }", "`width` does not begin", (1, 1, 6), "write `let width = 64`"),
        ("width = 2 * 3", "`width` does not begin", (1, 1, 6), "write `let width = ...`"),
        ("width: int = 64", "`width` does not begin", (1, 1, 6), "write `let width: ...`"),
        ("// a net\nnet n { }", "`//` begins no comment", (1, 1, 3), "comments begin with `#`"),
        ("net n {\n y = x\n // as it is\n return y }", "`//` begins no comment", (3, 2, 4), "begin with `#`"),
        ("net n {\n y = x // as it is\n}", "`it` does not begin a statement", (2, 14, 16), "begin with `#`"),
        ("/* a net */\nnet n { }", "`/*` begins no comment", (1, 1, 3), "comments begin with `#`"),
        ("net n { y = x /* it */ return y }", "`/*` begins no comment", (1, 15, 17), "comments begin with `#`"),
        ('net n {\n """it"""\n return x }', '`"""` begins no comment', (2, 2, 5), "comments begin with `#`"),
        ('"""\na net\n"""\nnet n { }', "three quotes begin no comment", (1, 1, 4), "comments begin with `#`"),
        ('"""\nit isn\'t\n"""\nnet n { }', "three quotes begin no comment", (1, 1, 4), "comments begin with `#`"),
        ("// it isn't\nnet n { }", "`//` begins no comment", (1, 1, 3), "comments begin with `#`"),
        ("net n {\n y = x\n // isn't `one`!\n return y }", "`//` begins no comment", (3, 2, 4), "begin with `#`"),
        ("net n {\n y = x -> relu\n if x > 3 { return y }\n}", "there is no `if`", (3, 2, 4), "`y = a if c else b`"),
        ("net n {\n if x > 3:\n return y }", "there is no `if`", (2, 2, 4), "`y = a if c else b`"),
        ("net n {\n y = x -> relu\n if z else w }", "a choice cannot begin", (3, 2, 4), "`y = a if c else b`"),
        ("net n { print(y) }", "there is no `print`", (1, 9, 14), "`metrics { name = ... }`"),
        ("net my-net { }\ntrain my-net on d { }", "a name has no `-`: `my-net`", (1, 5, 11), "write `my_net`"),
        ("train n on my-own-data { }", "a name has no `-`: `my-own-data`", (1, 12, 23), "write `my_own_data`"),
        ("net n { h-1 = x }", "a name has no `-`: `h-1`", (1, 9, 12), "write `h_1`"),
        ("import torch\nnet n { }", "`import torch` imports no graph", (1, 1, 13), "leave it out"),
        ("import torch.nn as nn\nnet n { }", "`import torch` imports no graph", (1, 1, 22), "leave it out"),
        ("from torch import nn\nnet n { }", "`from torch` imports no graph", (1, 1, 21), "leave it out"),
    ],
)  # fmt: skip
def test_what_is_written_instead(text: str, message: str, place: tuple[int, int, int], advice: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse(text, "x.net")
    (found,) = caught.value.diagnostics
    span = found.primary.span
    assert found.message.startswith(message)
    assert (span.line, span.column, span.end_column) == place
    assert advice in f"{found.primary.text}; {found.help}"


@pytest.mark.parametrize("text", ["net n { y = a - b + }", "net n { y = x -> relu - z }", "net n { a - b }"])
def test_a_difference_is_no_name(text: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse(text, "x.net")
    assert "a name has no" not in str(caught.value)


def test_what_follows_a_comment_of_another_language_is_looked_at() -> None:
    with pytest.raises(SourceError) as caught:
        parse('"""\nit isn\'t\n"""\n// isn\'t\nlet a = \'b\'\n"""', "x.net")
    assert [(each.code, each.primary.span.line) for each in caught.value.diagnostics] == [
        ("E0103", 1),
        ("E0118", 4),
        ("E0102", 5),
        ("E0103", 6),
    ]


def test_a_graph_without_its_file_is_no_habit() -> None:
    with pytest.raises(SourceError) as caught:
        parse('import trunk "trunk.onnx"', "x.net")
    assert [each.code for each in caught.value.diagnostics] == ["E0113"]
