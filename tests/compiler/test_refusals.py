"""What an expression cannot be, and what each mistake is told: the code, the place and the first words."""

from __future__ import annotations

import pytest

from dlc.compiler.program import Program
from dlc.dsl.diagnostics import SourceError

NET = """net tiny {{
  input x: f32[B, 4]
  input b: f32[B]
  input n: i64[B]
  input p: f32[B, 3, H, W]
  y = {}
  return y
}}
"""
REFUSED: dict[str, tuple[int, str, str]] = {
    "x + true": (7, "E0302", "this is true, and f32 is wanted"),
    "x and n": (7, "E0302", "integers and floats do not mix"),
    "x and x": (7, "E0302", "`and` is for truth values"),
    "not n": (7, "E0302", "`not` is for truth values"),
    "-(x > 0)": (7, "E0302", "a truth value has no sign"),
    "x @ 3": (7, "E0302", "`@` multiplies tensors, and one of these is the number 3"),
    "3 @ 3": (7, "E0302", "`@` multiplies tensors, and these are numbers"),
    "x @ x": (7, "E0301", "these two cannot be multiplied as matrices"),
    "(x > 0) + (x > 1)": (7, "E0302", "truth values cannot be added"),
    "(x > 0) < (x > 1)": (7, "E0302", "truth values have no order"),
    'x + "a"': (7, "E0302", 'this is the text "a", and a tensor or number is wanted'),
    "x + none": (7, "E0302", "this is `none`, and a tensor or number is wanted"),
    "x + [1, [2]]": (7, "E0302", "the parts of a list of numbers differ in length"),
    "x + [[1, 2], [[1], [2]]]": (7, "E0302", "the parts of a list of numbers differ in length"),
    'x + [1, "a"]': (7, "E0302", 'the text "a" inside a list of numbers'),
    "1 / 0": (7, "E0303", "a division by zero"),
    "7 // 0": (7, "E0303", "a division by zero"),
    "x + 1 % 0": (11, "E0303", "a division by zero"),
    "2 ** 10000": (7, "E0310", "2 ** 10000 is too large"),
    "(0 - 8) ** 0.5": (7, "E0303", "a fractional power of a negative number"),
    "b -> transpose": (12, "E0301", "`transpose` needs two axes"),
    "x -> transpose(axes=[0, 0])": (22, "E0303", "an order of 2 axes is wanted"),
    "x -> split(3, axis=1)": (18, "E0301", "axis 1 of f32[B, 4] cannot be split into 3 equal parts"),
    "x -> split(0, axis=1)": (18, "E0303", "`n` of `split` wants an integer of 1 or more"),
    "x -> squeeze(axis=1)": (20, "E0301", "axis 1 of f32[B, 4] is 4, not 1"),
    "concat([x, n], axis=0)": (7, "E0301", "`concat` joins tensors of one kind"),
    "concat(3, axis=0)": (7, "E0302", "`concat` wants a list of one tensor or more"),
    "stack([x, b])": (7, "E0301", "`stack` joins tensors of one kind"),
    'p -> Conv(3, 3, pad="odd")': (23, "E0303", "`pad` of `Conv` wants an integer of 0 or more, one for each axis"),
    'p -> Conv(3, 3, stride=2, pad="same")': (12, "E0305", "`pad=same` with stride 2 needs a size that is known"),
    "p -> Conv(3, 3, stride=0)": (23, "E0303", "`stride` of `Conv` wants an integer of 1 or more"),
    "p -> Conv(3, 3, groups=2)": (12, "E0311", "groups must divide the channels that come in"),
    "len(3)": (7, "E0302", "`len` counts a list"),
    'x + range("a")[0]': (11, "E0306", "`range` wants integers that are known while compiling"),
    "[i for i in range(200000)]": (19, "E0310", "a range of more than 100,000 numbers"),
    "zip(3, [1])": (7, "E0302", "`zip` goes through lists"),
    "zip([1, 2], [1])": (7, "E0303", "`zip` of lists that differ in length"),
    "where(x, x, x)": (13, "E0302", "`where` chooses by truth values"),
    "x[:, 9]": (7, "E0303", "there is no index 9"),
    "x[:, 3:1]": (7, "E0303", "`3:1` selects nothing"),
    "x[3:1]": (7, "E0303", "`3:1` selects nothing"),
    "x[:, -2:-3]": (7, "E0303", "`-2:-3` selects nothing"),
    "x[:, 2:9]": (7, "E0303", "a slice of 9 places and more"),
    "x[:, -9:1]": (7, "E0303", "a slice of 9 places and more"),
    "x[:, 1:3:-1]": (7, "E0303", "`1:3:-1` selects nothing"),
    "x[9, 9, 9]": (7, "E0301", "3 indices for f32[B, 4]"),
    'x[:, "a"]': (7, "E0302", "an index wants an integer that is known while compiling"),
    "softmax(x, axis=5)": (18, "E0303", "there is no axis 5"),
    'mean(x, axis="a")': (15, "E0302", "`axis` of `mean` wants axes: integers or names of dimensions"),
    "x -> dropout(2.0)": (20, "E0303", "`rate` of `dropout` wants a number of 0 or more and below 1"),
    "x -> Linear(units=3, 4)": (28, "E0205", "an argument without a name after one with a name"),
    "concat(axis=0, [x, x])": (22, "E0205", "an argument without a name after one with a name"),
    "relu(x) -> Linear(3, bias=false, 4)": (40, "E0205", "an argument without a name after one with a name"),
    "Linear": (7, "E0302", "`y` would be the block `Linear` itself, which has no weights"),
    "x.nothing": (9, "E0208", "f32[B, 4] has no parts"),
    "uniform(-1)": (15, "E0303", "`a` of `uniform` wants a number above 0"),
    'einsum("ij,jk", x, x)': (7, "E0302", "`einsum` ends with its pattern"),
    'abs("a")': (7, "E0302", "`abs` wants a tensor"),
    "exp(n)": (7, "E0302", "`exp` wants floats"),
}


@pytest.mark.parametrize("expression", REFUSED)
def test_what_is_refused(expression: str) -> None:
    with pytest.raises(SourceError) as caught:
        Program.of_text(NET.format(expression)).check()
    column, code, message = REFUSED[expression]
    first = caught.value.diagnostics[0]
    span = first.primary.span
    assert (span.line, span.column, first.code) == (6, column, code), first
    assert first.message.startswith(message)


TAKEN = [
    "n % n", "n // 2", "x % 2.0", "x // 2.0", "not (x > 0)", "(x > 0) and (x > 1)", "(x > 0) or (x > 1)",
    "(x > 0) != (x > 1)", "x -> transpose", "x -> transpose(axes=[1, 0])", "split(x, 2, axis=1)[0]",
    "len([1, 2, 3]) + x", 'p -> Conv(3, 3, pad="same")', 'p -> Conv(3, 3, pad="valid")',
    "[x + i for i in range(1, 3)][0]", "x + [1, 2, 3, 4]", "x[:, :2] + [[1, 2]]",
    "x[:, 4:]", "x[:, 3:1:-1]", "x[:, :-4]", "x[0:0]",
]  # fmt: skip


@pytest.mark.parametrize("expression", TAKEN)
def test_what_is_taken(expression: str) -> None:
    assert not [each for each in Program.of_text(NET.format(expression)).check() if each.severity == "error"]


RUN = """data d {{
  train = breast_cancer()
  test = fold(train, 0, of=5)
  features: f32[30] = raw.features
  benign: f32[] = raw.label
  {data}
}}
net line {{
  input features: f32[B, 30]
  logit = features -> Linear(1)
  return logit
}}
train line on d {{
  loss = mean(square(logit - benign[:, none]))
  optimizer = SGD(lr=0.1)
  {run}
}}
"""
KEYS: dict[tuple[str, str], tuple[str, str]] = {
    ("run", "batch = 0"): ("E0303", "`batch` is an integer of 1 or more"),
    ("run", "epochs = 1.5"): ("E0303", "`epochs` is an integer of"),
    ("run", "batch = 4\n  batch = 5"): ("E0202", "`batch` is given twice"),
    ("run", "early_stop = 3"): ("E0302", "`early_stop` wants a patience"),
    ("run", "metrics { loss = 1 }"): ("E0602", "a metric cannot be called `loss`"),
    ("run", "metrics { m = features }"): ("E0301", "a metric is one number"),
    ("run", "group line.nothing { lr_scale = 0.1 }"): ("E0201", "nothing that owns weights is called `line.nothing`"),
    ("run", "group line { lr_scale = 0 - 1 }"): ("E0303", "`lr_scale` of a group is a number of 0 or more"),
    ("run", "group line { speed = 2 }"): ("E0207", "a group has no key `speed`"),
    ("run", "group { lr_scale = 0.1 }"): ("E0205", "a `group` says of which part"),
    ("data", "train = breast_cancer()"): ("E0202", "`train` is given twice"),
    ("data", "dev = fold(train, 5, of=5)"): ("E0303", "there is no fold 5 of 5"),
    ("data", "dev = fold(train, 0)"): ("E0205", "`fold` needs `of`"),
    ("data", "dev = holdout(train, 0.1, size=0.2)"): ("E0205", "`size` is given twice"),
    ("data", "dev = holdout(train, 0.1, 3)"): ("E0205", "too many arguments for `holdout`"),
    ("data", "dev = holdout(train, seed=1, 0.1)"): ("E0205", "an argument without a name after one with a name"),
    ("data", "dev = holdout(train)"): ("E0205", "`holdout` needs `size`"),
    ("data", "dev = holdout(train, 0)"): ("E0303", "`size` of `holdout` wants a share below 1 or a count of examples"),
    ("data", "dev = fold(train, 0, of=true)"): ("E0302", "`of` of `fold` wants an integer"),
    ("data", "dev = fold(train, 0, of=2, by=3)"): ("E0302", "`by` of `fold` wants the name of a record"),
    ("data", "dev = holdout(5)"): ("E0205", "`holdout` takes examples away from an earlier split"),
    ("data", "dev = holdout(dew, 5)"): ("E0201", "this data section has nothing called `dew`"),
    ("data", "dev = brest_cancer()"): ("E0602", "nothing reads data by the name `brest_cancer`"),
}


@pytest.mark.parametrize("case", KEYS, ids=str)
def test_what_a_run_and_its_data_refuse(case: tuple[str, str]) -> None:
    part, text = case
    with pytest.raises(SourceError) as caught:
        Program.of_text(RUN.format(**{"data": "", "run": "", part: text})).check()
    code, message = KEYS[case]
    first = caught.value.diagnostics[0]
    assert first.code == code and first.message.startswith(message), first
