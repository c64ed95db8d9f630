"""Mistakes that newcomers make, and warnings that are worth their line."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlc.compiler.program import Program
from dlc.dsl.diagnostics import Diagnostic, SourceError


def found(text: str) -> list[Diagnostic]:
    try:
        return list(Program.of_text(text).check())
    except SourceError as error:
        return list(error.diagnostics)


def test_a_small_name_for_a_block() -> None:
    text = "net n {\n  input x: f32[B, 3, 8, 8]\n  norm = BatchNorm\n  return norm(x)\n}\n"
    [problem] = found(text)
    assert (problem.code, problem.primary.span.line, problem.help) == ("E0302", 3, "`BatchNorm()`")


def test_a_small_setting_for_a_block() -> None:
    text = "block Two(f) {\n  input x\n  return f(x)\n}\nnet n {\n  input x: f32[B, 4]\n  return x -> Two(f=%s)\n}\n"
    [problem] = found(text % "Linear")
    assert (problem.code, problem.help) == ("E0302", "`Linear(...)`")
    assert found(text % "Linear(3)") == []


MIXED = {
    "x * k": "`float(k)`",
    "k - 0.5": "`float(k)`",
    "x + x + k": "`float(k)`",
    "k * k + x": "`float(k * k)`",
    "(k + 1) * x": "`float(k + 1)`",
    "0.5 * k[:, 0:2]": "`float(k[:, 0:2])`",
    "x > k": "`float(k)`",
    "sqrt(k)": "`float(k)`",
    "softmax(x=k)": "`float(k)`",
    "maximum(x, k + k)": "`float(k + k)`",
    "where(x > 0, x, k)": "`float(k)`",
    "where(x > 0, 0.5, k)": "`float(k)`",
    "clip(k, 0.5, 2)": "`float(k)`",
    "k -> sqrt": "`-> float` before `sqrt`",
    "k -> clip(0.5, 2)": "`-> float` before `clip`",
    f"sqrt(k{' + k' * 20})": "put `float(...)` around it",
}


@pytest.mark.parametrize(("value", "help"), MIXED.items(), ids=MIXED)
def test_integers_among_floats_are_named_as_they_are_written(value: str, help: str) -> None:
    [problem] = found(f"net n {{\n  input x: f32[B, 4], k: i64[B, 4]\n  y = {value}\n  return y\n}}\n")
    assert (problem.code, problem.help) == ("E0302", f"convert it first: {help}")


def test_what_the_library_converts_inside_is_not_named() -> None:
    """The text that mixes the two is the library's: the user has not written its names."""
    text = "net n {\n  input x: f32[B, 4], k: i64[B, 4]\n  y = warmup(x, 0.5, over=k)\n  return y\n}\n"
    [problem] = found(text)
    assert problem.help == "convert the integers with `float`"


def test_what_is_no_tensor_is_not_converted() -> None:
    text = "net n {\n  input x: f32[B, 4]\n  return x -> Linear(2)\n}\nfn f(a) = sqrt(n)\n"
    [problem] = found(text + "net m {\n  input x: f32[B, 4]\n  return f(x)\n}\n")
    assert (problem.message, problem.help) == ("`sqrt` wants a tensor", None)


PAIR = """net siamese {
  input left: f32[B, 16], right: %s
  a = left -> Linear(8) -> relu
  b = right -> Linear(%s) -> relu
  return sum(a, axis=-1) * sum(b, axis=-1)
}
"""


def test_a_pair_that_does_not_share() -> None:
    [warning] = found(PAIR % ("f32[B, 16]", 8))
    assert (warning.code, warning.severity, warning.primary.span.line) == ("W0403", "warning", 4)
    assert "`shared = Linear(8)`" in str(warning.help)


@pytest.mark.parametrize("other", [("f32[B, 16]", 9), ("f32[B, 12]", 8)])
def test_inputs_that_differ_are_no_pair(other: tuple[str, int]) -> None:
    assert found(PAIR % other) == []


def test_one_input_used_twice_is_no_pair() -> None:
    assert found(PAIR.replace("b = right", "b = left").replace(", right: %s", "") % 8) == []


RESIDUAL = """net n {
  input x: f32[B, 16, %s]
  y = x -> Conv(%s)
  return x + y
}
"""


@pytest.mark.parametrize(
    ("size", "conv", "note", "help"),
    [
        ("32, 32", "32, 3, stride=2, pad=1", "channels are 16 and 32, height and width are 32 and 16",
         "bring [B, 16, 32, 32] along: `-> Conv(32, 1, stride=2)` makes it [B, 32, 16, 16]"),
        ("33, 20", "16, 3, stride=2, pad=1", "height is 33 and 17, width is 20 and 10",
         "bring [B, 16, 33, 20] along: `-> Conv(16, 1, stride=2)` makes it [B, 16, 17, 10]"),
        ("8, 8", "24, 1", "channels are 16 and 24",
         "bring [B, 16, 8, 8] along: `-> Conv(24, 1)` makes it [B, 24, 8, 8]"),
        ("32, 32", "16, 3", "height and width are 32 and 30", None),
    ],
)  # fmt: skip
def test_a_sum_of_pictures_says_what_brings_one_along(size: str, conv: str, note: str, help: str | None) -> None:
    [problem] = found(RESIDUAL % (size, conv))
    assert problem.notes[0] == note and problem.help == help


def test_the_help_is_right(tmp_path: Path) -> None:
    text = "net n {\n  input x: f32[B, 16, 33, 20]\n  y = x -> Conv(16, 3, stride=2, pad=1)\n"
    assert found(text + "  z = x -> Conv(16, 1, stride=2)\n  return z + y\n}\n") == []


@pytest.mark.parametrize(
    ("stage", "code", "advice"),
    [
        ("Linear(3, bias=True)", "E0201", "did you mean `true`?"),
        ("Linear(3, bias=False)", "E0201", "did you mean `false`?"),
        ("Linear(3, bias=None)", "E0302", "`bias` of `Linear` wants `true` or `false`; did you mean `false`?"),
        ("Linear(4, 3)", "E0302", "only the number of units is given: `Linear(3)`"),
        ("Linear(3, bias=1)", "E0302", "wants `true` or `false`; this is the number 1; None"),
        ("Dense(3)", "E0201", "did you mean `Linear`?"),
        ("nn.Linear(3)", "E0201", "nothing here is called `nn`; ; the library's names stand alone: `Linear`"),
        ("torch.nn.Dense(3)", "E0201", "nothing here is called `torch`; ; the library's names stand alone: `Linear`"),
        ("nn.Linera(3)", "E0201", "the library's names stand alone: `Linear`"),
        ("Linear(out_features=3)", "E0203", "did you mean `units`?"),
    ],
)
def test_names_of_other_frameworks(stage: str, code: str, advice: str) -> None:
    [problem] = found(f"net n {{\n  input x: f32[B, 4]\n  return x -> {stage}\n}}\n")
    assert problem.code == code
    assert advice in f"{problem.message}; {problem.primary.text}; {problem.help}"


def test_a_part_of_a_net_may_have_a_name_of_other_frameworks() -> None:
    text = "block Two {\n  input x\n  half = x -> Linear(2)\n  return half\n}\n"
    assert not found(text + "net n {\n  input x: f32[B, 4]\n  nn = Two()\n  y = nn(x)\n  return y + nn.half\n}\n")


@pytest.mark.parametrize(("name", "meant"), [("float32", "f32"), ("int64", "i64"), ("long", "i64"), ("double", "f64")])
def test_element_types_of_other_frameworks(name: str, meant: str) -> None:
    [problem] = found(f"net n {{\n  input x: {name}[B, 4]\n  return x\n}}\n")
    assert (problem.code, problem.primary.text) == ("E0302", f"did you mean `{meant}`?")


RUN = """data d {
  train = csv("t.csv")
  x: f32[4] = columns("a", "b", "c", "d")
  y: f32[]
}
net n {
  input x: f32[B, 4]
  y1 = x -> Linear(1) -> squeeze(-1)
  return y1
}
train n on d {
  loss = mse(y1, y)
  optimizer = SGD(lr=0.1)
  epochs = 1
}
"""


@pytest.mark.parametrize(
    ("old", "new", "code", "advice"),
    [
        ("epochs = 1", "epochs = 1\n  batch_size = 2", "E0207", "did you mean `batch`?"),
        ("epochs = 1", "epochs = 1\n  lr = 0.1", "E0207", "the optimizer says it, `optimizer = SGD(lr=...)`"),
        ("epochs = 1", "epochs = 1\n  learning_rate = 0.1", "E0207", "the optimizer says it"),
        ("epochs = 1", "epoch = 1", "E0207", "did you mean `epochs`?"),
        ("optimizer =", "optim =", "E0207", "did you mean `optimizer`?"),
        ("SGD(lr", "SGD(learning_rate", "E0203", "did you mean `lr`?"),
        ("SGD(lr", "optim.SGD(lr", "E0201", "the library's names stand alone: `SGD`"),
        ("epochs = 1", "early_stop = patience(train.loss, 4)", "E0302", "this is `train.loss` alone: write `lowest("),
        ("epochs = 1", "keep = train.loss", "E0302", "this is `train.loss` alone: write `lowest(train.loss)`"),
        ("lr=0.1", "lr=plateau(0.1, lowest(train.loss))", "E0302", "the metric with its direction comes first"),
        ("lr=0.1", "lr=plateau(train.loss, 0.1)", "E0302", "write `lowest(train.loss)`"),
        ("  return y1\n", "", "E0206", "`return` is missing"),
    ],
)
def test_a_run_as_other_frameworks_write_it(old: str, new: str, code: str, advice: str) -> None:
    assert not found(RUN) and old in RUN
    [problem] = found(RUN.replace(old, new))
    assert problem.code == code
    assert advice in f"{problem.primary.text}; {problem.help}"


def test_an_if_statement_in_a_net() -> None:
    [problem] = found("net n {\n  input x: f32[B, 4]\n  if training { y = x }\n  return y\n}\n")
    assert (problem.code, problem.message, problem.primary.span.line) == ("E0118", "there is no `if` statement", 3)


def test_other_ranks_are_told_by_axis() -> None:
    [problem] = found("net n {\n  input x: f32[B, 4], y: f32[B, 5]\n  return x + y\n}\n")
    assert problem.notes[0] == "axis -1 is 4 and 5" and problem.help is None


def test_sizes_and_quotients_are_of_the_working_float() -> None:
    text = "net n {\n  input x: f32[B, N], k: i64[B]\n  return x * (1 / N) + (k / 2)[:, none]\n}\n"
    program = Program.of_text(text)
    from dlc.compiler.net_units import net

    assert {value.dtype for value in net(program, "n", "f64").graph.outputs.values()} == {"f64"}
