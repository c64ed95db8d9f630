"""What settings, arguments, `let`s and keys take: a value out of range is told with what was wanted, in its place."""

from __future__ import annotations

import pytest

from dlc.compiler.dims import symbol
from dlc.compiler.elaborate.kinds import KINDS, LARGEST
from dlc.compiler.program import Program
from dlc.dsl.diagnostics import Diagnostic, SourceError

TEXT = """let k = 1
data d {{
  train = npz("a.npz")
  {data}
  x: f32[4]
  t: i64[]
}}
net n {{
  input x: f32[B, 4]
  y = x -> Linear(3)
  p = reshape(x, [B, 1, 2, 2])
  {body}
  return y
}}
train n on d {{
  loss = cross_entropy(y, t)
  optimizer = {optimizer}
  batch = 2
  epochs = 1
}}
"""


GIVEN = {
    "mse(n, x)": ("E0302", "`prediction` of `mse` wants a tensor", "this is `n`, an instance", "n"),
    "mse(x, 1)": ("E0302", "`target` of `mse` wants a tensor", "this is the number 1", "1"),
    "mse([x], x)": ("E0302", "`prediction` of `mse` wants a tensor", "this is a list of 1", "[x]"),
    "x -> focal(none)": ("E0302", "`target` of `focal` wants a tensor", "this is `none`", "none"),
    "mae(x, x, mask=n)": ("E0308", "`mask` of `mae` wants truth values", "this is `n`, an instance", "mask=n"),
    "step_decay(1, 0.1, at=[])": (
        "E0303", "`at` of `step_decay` wants a list of one number or more", "this is a list of 0", "at=[]"),
    'step_decay(1, 0.1, at=[1, "a"])': (
        "E0302", "`at` of `step_decay` wants a list of one number or more", 'one is the text "a"', 'at=[1, "a"]'),
    "step_decay(1, 0.1, at=5)": (
        "E0302", "`at` of `step_decay` wants a list of one number or more", "this is the number 5", "at=5"),
    "sum([])": ("E0302", "`sum` wants a list of one tensor or more", "this is a list of 0", "sum([])"),
    "mean([])": ("E0302", "`mean` wants a list of one tensor or more", "this is a list of 0", "mean([])"),
    "twice(n)": ("E0302", "`a` of `twice` wants a tensor", "this is `n`, an instance", "n"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "told"), GIVEN.items(), ids=GIVEN)
def test_what_does_not_fit_is_told_in_terms_of_what_was_called(call: str, told: tuple[str, str, str, str]) -> None:
    nets = "net n {\n  input x: f32[B, 4]\n  return x\n}\nnet m {\n  input x: f32[B, 4]\n"
    line = f"  y = {call}"
    text = f"{nets}{line}\n  return y\n}}\nfn twice(a: f32[...]) = 2 * a\n"
    with pytest.raises(SourceError) as caught:
        Program.of_text(text).check()
    [found] = caught.value.diagnostics
    span = found.primary.span
    shown = line[span.column - 1 : span.end_column - 1]
    assert (found.code, found.message, found.primary.text, shown) == told


@pytest.mark.parametrize("call", ["twice(3)", "twice(1.5)", "step_decay(s, 0.1, at=[2, s])", "step_decay(s, 0.1, 2)"])
def test_what_fits_a_parameter_with_a_type(call: str) -> None:
    text = f"net m {{\n  input x: f32[B, 4]\n  s = mean(x)\n  y = s * {call}\n  return y\n}}\n"
    Program.of_text(text + "fn twice(a: f32[...]) = 2 * a\n").check()


def problems(**parts: str) -> list[Diagnostic]:
    text = TEXT.format(**{"data": "", "body": "", "optimizer": "SGD(lr=0.1)", **parts})
    try:
        return [each for each in Program.of_text(text).check() if each.severity == "error"]
    except SourceError as error:
        return list(error.diagnostics)


WRONG = [
    ("body", "z = x -> Linear(0)", "0", "E0303", "`units` of `Linear` wants an integer of 1 or more"),
    ("body", "z = x -> Linear(2, bias=1)", "bias=1", "E0302", "`bias` of `Linear` wants `true` or `false`"),
    ("body", "z = x -> Linear(2, init=relu)", "init=relu", "E0302", "`init` of `Linear` wants an initializer"),
    ("body", "z = x -> Linear(B)", "B", "E0306", "`units` of `Linear` wants an integer of 1 or more, known while"),
    ("body", "z = Embedding(0, 8)", "0", "E0303", "`count` of `Embedding` wants an integer of 1 or more"),
    ("body", "z = p -> Conv(6, 0)", "0", "E0303", "`kernel` of `Conv` wants an integer of 1 or more"),
    ("body", "z = p -> Conv(6, 1, stride=[1, -1])", "stride=[1, -1]", "E0303", "`stride` of `Conv` wants an integer"),
    ("body", "z = p -> Conv(6, 1, pad=-1)", "pad=-1", "E0303", "`pad` of `Conv` wants an integer of 0 or more"),
    ("body", f"z = p -> Conv(6, 1, pad={LARGEST + 1})", f"pad={LARGEST + 1}", "E0310", "`pad` of `Conv` is 2,147,483"),
    ("body", "z = p -> max_pool(1, pad=1)", "pad=1", "E0303", "`pad` of `max_pool` is less than the window, 1"),
    ("body", "z = p -> lrn(2)", "2", "E0303", "`size` of `lrn` is odd"),
    ("body", 'z = p -> BatchNorm(momentum="a")', 'momentum="a"', "E0302", "`momentum` of `BatchNorm` wants a number"),
    ("body", "z = p -> BatchNorm(momentum=1.5)", "momentum=1.5", "E0303", "`momentum` of `BatchNorm` wants a number"),
    ("body", "z = x -> LayerNorm(eps=-1)", "eps=-1", "E0303", "`eps` of `LayerNorm` wants a number of 0 or more"),
    ("body", "z = x -> dropout(1)", "1", "E0303", "`rate` of `dropout` wants a number of 0 or more and below 1"),
    ("body", "z = one_hot(argmax(x), 0)", "0", "E0303", "`count` of `one_hot` wants an integer of 1 or more"),
    ("body", "z = one_hot(x, 2)", "x", "E0302", "`one_hot` wants integers"),
    ("body", "z = clip(x, 2, 1)", "1", "E0303", "nothing lies between 2 and 1"),
    ("body", 'z = cast(x, "f33")', '"f33"', "E0303", "`to` of `cast` wants an element type as a text"),
    ("body", "param w: f32[3] = 1e300", "param w: f32[3] = 1e300", "E0310", "does not fit f32"),
    ("body", "param w: i64[3] = 1", "param w: i64[3] = 1", "E0302", "`w` is trained, and floats alone can be"),
    ("optimizer", "SGD(lr=-0.1)", "lr=-0.1", "E0303", "`lr` of `SGD` wants a number of 0 or more"),
    ("optimizer", "SGD(lr=[0.1])", "lr=[0.1]", "E0302", "`lr` of `SGD` wants a number of 0 or more"),
    ("optimizer", "Adam(lr=1, b1=1.0)", "b1=1.0", "E0303", "`b1` of `Adam` wants a number of 0 or more and below 1"),
    ("optimizer", "Momentum(lr=1, beta=-1)", "beta=-1", "E0303", "`beta` of `Momentum` wants a number of 0 or more"),
    ("optimizer", "SGD(lr=cosine(step, -1))", "-1", "E0303", "`peak` of `cosine` wants a number of 0 or more"),
    ("data", "dev = holdout(train, 1.0)", "1.0", "E0303", "`size` of `holdout` wants a share below 1 or a count"),
    ("data", "dev = fold(train, 0, of=1)", "of=1", "E0303", "`of` of `fold` wants an integer of 2 or more"),
    ("data", 'dev = csv("a", skip=-1)', "skip=-1", "E0303", "`skip` of `csv` wants an integer of 0 or more"),
    ("data", 'dev = csv("a", delimiter="ab")', 'delimiter="ab"', "E0303", "`delimiter` of `csv` wants one character"),
]  # fmt: skip


@pytest.mark.parametrize(("part", "text", "at", "code", "words"), WRONG, ids=[text for _, text, *_ in WRONG])
def test_a_value_out_of_range_is_told_where_it_stands(part: str, text: str, at: str, code: str, words: str) -> None:
    found = problems(**{part: text})
    assert [each.code for each in found] == [code], found
    assert words in found[0].message
    span = found[0].primary.span
    line = TEXT.format(**{"data": "", "body": "", "optimizer": "SGD(lr=0.1)", part: text}).splitlines()[span.line - 1]
    assert line[span.column - 1 : span.end_column - 1] == at


@pytest.mark.parametrize("text", [
    "SGD(lr=0)", "SGD(lr=cosine(step, 0.4, warmup=10, total=steps))", "Adam(lr=warmup(step, 1, over=0), b1=0)",
    "SGD(lr=step_decay(step, 0.1, every=2 * steps_per_epoch))", "SGD(lr=0.1, weight_decay=1 / (step + 1))",
])  # fmt: skip
def test_a_number_may_be_computed_at_run_time_and_ends_belong_to_a_range(text: str) -> None:
    assert problems(optimizer=text) == []


def test_the_kind_of_a_let_and_of_ones_own_settings_is_checked() -> None:
    found = problems(body='z = x -> Own("a")') + problems(body="z = x -> Own(1)")
    assert [each.code for each in found] == ["E0201", "E0201"]
    own = "block Own(n: {}) = Linear(n)\nlet k{} = 1\nnet n {{ input x: f32[B, 4] y = x -> Own(0) return y * k }}"
    for kind, declared, code, words in (
        ("count", "", "E0303", "`n` of `Own` wants an integer of 1 or more"),
        ("conut", "", "E0302", "there is no kind of value `conut`"),
        ("int", ": string", "E0302", "`k` wants a text"),
    ):
        with pytest.raises(SourceError) as caught:
            Program.of_text(own.format(kind, declared)).check()
        told = [each for each in caught.value.diagnostics if each.code == code and words in each.message]
        assert told, caught.value.diagnostics


def test_set_keeps_to_the_kind_of_its_let() -> None:
    text = "let k: count = 2\nnet n { input x: f32[B, 4] y = x -> Linear(k) return y }"
    assert Program.of_text(text, lets={"k": "3"}).check() == ()
    with pytest.raises(SourceError, match="`k` wants an integer of 1 or more"):
        Program.of_text(text, lets={"k": "0"}).check()


@pytest.mark.parametrize("text", ["/data/faces", '"/data/faces"', "5"])
def test_a_text_is_set_with_and_without_quotes(text: str) -> None:
    program = Program.of_text('let folder = "here"\nlet lr = 0.1\n', lets={"folder": text})
    assert program.lets == {"folder": text.strip('"')}
    for refused in ({"folder": '"/data'}, {"lr": "fast"}):
        with pytest.raises(SourceError, match="is not a value"):
            Program.of_text('let folder = "here"\nlet lr = 0.1\n', lets=refused)


def test_none_is_taken_where_it_is_the_default() -> None:
    block = "block Own(n: count = {}) {{ input x return x }}\n"
    net = "net n { input x: f32[B, 4] y = x -> Own(none) return y }"
    assert Program.of_text(block.format("none") + net).check() == ()
    with pytest.raises(SourceError, match="`n` of `Own` wants"):
        Program.of_text(block.format("1") + net).check()


def test_kinds_say_what_they_want() -> None:
    assert all(kind.wanted and not kind.wanted.endswith(".") for kind in KINDS.values())


@pytest.mark.parametrize("path", ['""', '" "', "3"])
def test_a_path_is_not_empty(path: str) -> None:
    with pytest.raises(SourceError, match="`path` of `csv` wants the path of a file or folder"):
        Program.of_text(f"data d {{\n  train = csv({path})\n  x: f32[] = raw.x\n}}\n").check()


@pytest.mark.parametrize("word", ["same", "valid"])
def test_words_for_padding_need_no_quotes(word: str) -> None:
    text = """block Own(k, how) = Conv(k, 3, pad=how)
net n {{
  input x: f32[B, 2, 6, 6]
  return x -> Conv(3, 3, pad={0}) -> Own(2, {0}) -> max_pool(2, stride=1, pad={0})
}}
"""
    [bare] = Program.of_text(text.format(word)).net("n").graph.outputs.values()
    [quoted] = Program.of_text(text.format(f'"{word}"')).net("n").graph.outputs.values()
    assert bare.shape == quoted.shape == (symbol("B"), 2, *([6, 6] if word == "same" else [1, 1]))
