"""Malformed programs and what to say of them.

Each program is run once through the automaton; the state and token where it stops are the key of its message, at
whatever depth the same mistake is met again. Texts may use `{found}`, the token that cannot stand there, `{before}`,
the one before it, and `{what}`, the kind of expression that `{found}` would begin.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from dlc.dsl.automaton import Failure, drive
from dlc.dsl.tokens import end_token, tokenize


@dataclass(frozen=True)
class Mistake:
    code: str
    message: str
    label: str
    help: str | None
    programs: tuple[str, ...]


def _each(contexts: Iterable[str], **holes: Iterable[str]) -> tuple[str, ...]:
    """Every context with every filling of its holes, written `<name>`."""
    filled = list(contexts)
    for name, values in holes.items():
        filled = [context.replace(f"<{name}>", value) for context in filled for value in list(values)]
    return tuple(dict.fromkeys(filled))


_STAGES = ("f", "f(3)", "f()", "m.f", "m[0]", "f as r", "[f, g]", "(f)", "(f if a else g)", "repeat 2 { f }")
_OPERATORS = ("+", "*", "**", "==", "..")
_VALUES = ("a", "1", "f(x)", "a[0]", "m.a", "a + b", "a * b", '"s"', "[a]", "(a)", "(a, b)", "true")
_BODIES = ("net n { y = <x>", "fn f(x) = <x>", "fn f(x) = g(<x>", "let x = [<x>", "let x = (<x>", "let x = h[<x>")

MISTAKES: tuple[Mistake, ...] = (
    Mistake(
        "E0110",
        "{what} cannot begin inside a pipeline",
        "this `{found}` comes after a stage",
        "a pipeline swallows only stages; write `(x -> relu) {found} y`",
        _each(
            (
                "net n { y = x -> <stage> <op>",
                "fn f(x) = x -> <stage> <op>",
                "fn f(x) = g(x -> <stage> <op>",
                "fn f(x) = [x -> <stage> <op>",
                "fn f(x) = h[x -> <stage> <op>",
                "block B = <stage> <op>",
                "block B = [<stage> <op>",
                "block B = (<stage> <op>",
                "block B = repeat 2 { <stage> <op>",
            ),
            stage=_STAGES,
            op=_OPERATORS,
        ),
    ),
    Mistake(
        "E0110",
        "a condition cannot begin inside a pipeline",
        "this `{found}` comes after a stage",
        "a pipeline swallows only stages; write `(x -> relu) {found} y`",
        _each(
            ("fn f(x) = x -> <stage> <op>", "fn f(x) = g(x -> <stage> <op>", "fn f(x) = [x -> <stage> <op>"),
            stage=_STAGES,
            op=("and", "or"),
        ),
    ),
    Mistake(
        "E0110",
        "a choice cannot begin inside a pipeline",
        "this `if` comes after a stage",
        "to choose a stage, write `x -> (relu if training else identity)`",
        _each(
            (
                "fn f(x) = x -> <stage> if",
                "fn f(x) = g(x -> <stage> if",
                "block B = <stage> if",
            ),
            stage=_STAGES,
        ),
    ),
    Mistake(
        "E0112",
        "a value needs a name or `return`",
        "nothing uses this one",
        "write `y = {subject}...`, or `return {subject}...`",
        _each(("net n { h <next>",), next=("(", ".", "[", "->", "+", "*", "==", "**", "..", "@", "}", "3", '"s"')),
    ),
    Mistake(
        "E0112",
        "these names are given no value",
        "expected `=`",
        None,
        _each(("net n { a, b <next>",), next=("(", ".", "[", "->", "+", "*", "==", "}", "{", ":")),
    ),
    Mistake(
        "E0118",
        "comparisons cannot be chained",
        "a second comparison",
        "write `a < b and b < c`",
        _each(_BODIES, x=_each(("a < <v> <",), v=_VALUES)),
    ),
    Mistake(
        "E0118",
        "`=` cannot stand inside an expression",
        "this gives a name to a value",
        "to compare, write `==`",
        _each(
            ("net n { y = <v> =", "fn f(x) = <v> =", "let x = [<v> =", "let x = (<v> =", "fn f(x) = x if <v> ="),
            v=_VALUES,
        ),
    ),
    Mistake(
        "E0118",
        "no comma stands between statements",
        "this would end one",
        "leave it out; a tuple stands in brackets: `(a, b)`",
        (
            *_each(
                ("net n { y = <v> ,", "net n { y: f32[] = <v> ,", "net n { param w = <v> ,", "net n { state s = <v> ,"),
                v=(*_VALUES, "x -> f", "x -> f(3) as r", "x -> repeat 2 { f }"),
            ),
            *("net n { y: f32[] ,", "net n { param w: f32[2] ,", "net n { m { } ,"),
        ),
    ),
    Mistake(
        "E0118",
        "a `{word}` takes no settings",
        "this would begin them",
        "a `block` takes settings; a number that a whole file uses is a `let`",
        ("net n(", "data d(", "infer i(", "search s("),
    ),
    Mistake(
        "E0118",
        "the body of a `{word}` stands in braces",
        "expected `{{`",
        None,
        ("net n =", "data d =", "infer i =", "search s =", "train n on d =", "net n ->", "net n :", "data d :"),
    ),
    Mistake(
        "E0113",
        "the body of a `{word}` stands in braces",
        "expected `{{` before this",
        None,
        _each(
            ("net n <next>", "data d <next>", "infer i <next>", "search s <next>", "train n on d <next>"),
            next=("x", "input", "param", "state", "return", "freeze", "load"),
        ),
    ),
    Mistake(
        "E0113",
        "`{before}` needs a name",
        "expected a name before this",
        None,
        (
            *_each(
                ("<word> <next>",), word=("net", "data", "infer", "search", "train", "let", "fn", "block"), next="{(=:"
            ),
            *("import {", "net n { param :", "net n { param =", "net n { state :", "net n { input :"),
        ),
    ),
    Mistake(
        "E0113",
        "a run says which data it learns from",
        "expected `on` before this",
        "write `train NET on DATA {{ ... }}`",
        ("train n {", "train n as", "train n d", "train n with", "train n ("),
    ),
    Mistake(
        "E0113",
        "a function lists its arguments",
        "expected `(` before this",
        "write `fn f(x) = ...`",
        ("fn f =", "fn f {", "fn f ->", "fn f x"),
    ),
    Mistake(
        "E0113",
        "`use` says what it takes",
        "expected a name before this",
        'write `use name, Other from "file.net"`',
        ('use "x"', "use *", "use {"),
    ),
    Mistake(
        "E0113",
        "`from` is missing",
        "expected `from` and a file in double quotes",
        None,
        ('use A "x"', 'import a "x"', "import a =", "import a {", "use A in"),
    ),
    Mistake(
        "E0118",
        "`use` cannot rename",
        "expected `from`",
        "names travel as they are; `let`, `fn` and `block` can give another",
        ("use A as",),
    ),
    Mistake(
        "E0118",
        "after a block's `->` stand types",
        "this makes it a stage",
        "a chain stands after `=`: `block B(c) = Conv(c, 3) -> relu`",
        ("block B -> f(", "block B(c) -> f(", "block B -> f ->", "block B -> m."),
    ),
    Mistake(
        "E0118",
        "a block's `=` takes a chain of stages",
        "this is no stage",
        "a `fn` gives a value; stages are functions and blocks, such as `Linear(3) -> relu`",
        _each(("block B = <v>",), v=("3", '"s"', "-", "{", "1.5")),
    ),
    Mistake(
        "E0118",
        "a stage cannot be a plain value",
        "expected a function or a block",
        "after `->` stands what is to be done: `relu`, `Linear(10)`, `[f, g]`",
        _each(("fn f(x) = x -> <v>", "block B = f -> <v>"), v=("3", '"s"', "1.5")),
    ),
    Mistake(
        "E0113",
        "`{before}` needs a value",
        "expected a value before this",
        None,
        ("net n { return }", "net n { yield }", "net n { assert }", "fn f(x) = repeat {"),
    ),
)


def keyed(mistakes: Iterable[Mistake] = MISTAKES) -> Mapping[tuple[int, str], Mistake]:
    """The table: (state, terminal) to mistake. The first mistake with a key has it."""
    table: dict[tuple[int, str], Mistake] = {}
    for mistake in mistakes:
        for failure in failures(mistake):
            table.setdefault(failure.key, mistake)
    return table


def failures(mistake: Mistake) -> Iterator[Failure]:
    """Where each program of the mistake stops, which is at its last token; others show nothing and are left out."""
    for program in mistake.programs:
        tokens, _, _ = tokenize(program, "")
        outcome = drive(tokens, end_token(tokens, ""))
        if isinstance(outcome, Failure) and outcome.at == len(tokens) - 1:
            yield outcome
