"""The registry of readers, their signatures in the prelude, and readers that users write."""

import inspect
import re
from importlib.resources import files

import numpy as np
import pytest
from lark import Lark, Token, Tree

from dlc.runtime.data import DataError, Records, read, reader
from dlc.runtime.data.readers import find

GRAMMAR = (files("dlc.dsl") / "net.lark").read_text("utf-8")
PRELUDE = (files("dlc.compiler.prelude") / "host.net").read_text("utf-8")
SIGNATURES = {
    str(fn.children[0]): fn
    for fn in Lark(GRAMMAR, parser="lalr", maybe_placeholders=True).parse(PRELUDE).find_data("fn")
}


def constant(tree: Tree) -> object:
    if tree.data in ("true", "false"):
        return tree.data == "true"
    if tree.data == "none":
        return None
    token = tree.children[0]
    assert isinstance(token, Token)
    return int(token) if tree.data == "int" else str(token)[1:-1]


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures_are_those_of_the_functions(name):
    declared = {str(p.children[0]): p.children[2] for p in SIGNATURES[name].find_data("param")}
    python = list(inspect.signature(find(name)).parameters.values())[1:]
    assert list(declared) == [p.name for p in python]
    for parameter in python:
        default = declared[parameter.name]
        assert (default is None) == (parameter.default is parameter.empty)
        if default is not None:
            assert constant(default) == parameter.default


@pytest.mark.parametrize("name", SIGNATURES)
def test_bodies_are_fields_only(name):
    (body,) = SIGNATURES[name].find_data("body")
    assert all(isinstance(s, Tree) and s.data == "field" and s.children[2] is None for s in body.children)


def test_every_signature_is_documented():
    assert len(re.findall(r"^##.*\nfn ", PRELUDE, re.M)) == len(SIGNATURES) == 15


def test_an_unknown_reader():
    with pytest.raises(DataError, match=r"did you mean `csv`.*holdout"):
        find("cvs")


def test_names_are_given_once():
    with pytest.raises(ValueError, match="already"):
        reader("csv")(lambda request: None)
    with pytest.raises(ValueError, match="already"):
        reader("holdout")(lambda request: None)


@pytest.fixture
def mine():
    """mine(f) registers f as the reader `mine` and reads a plan of it."""
    from dlc.runtime.data import readers

    def go(function, *args, **named):
        reader("mine")(function)
        plan = {
            "splits": [{"name": "train", "reader": "mine", "args": list(args), "named": named}],
            "records": {"x": {"dtype": "f32", "shape": [2]}},
        }
        return read(plan, ".")["train"]

    yield go
    readers._READERS.pop("mine", None)


def test_a_reader_of_the_users(mine):
    def ours(request, n, scale=1.0):
        assert dict(request.wanted) == {"x": "f32"}
        return Records({"x": np.ones((n, 2), np.int16) * scale}, source="made", licence="CC0")

    found = mine(ours, 3, scale=2.0)
    assert found.arrays["x"].dtype == np.float32 and found.arrays["x"].tolist() == [[2, 2]] * 3
    assert found.licence == "CC0" and "made" in found.where(1)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: None, "gave NoneType, not Records"),
        (lambda: Records({}, "s"), "nothing was read"),
        (lambda: Records({"x": [1.0]}, "s"), "expected `x` to be an array"),
        (lambda: Records({"y": np.ones(2)}, "s"), "no record `x`"),
        (lambda: Records({"x": np.ones((3, 5))}, "s"), r"x` is f64\[5\], but f32\[2\] was declared"),
        (lambda: Records({"x": np.ones((0, 2))}, "s"), "found none"),
        (lambda: Records({"x": np.array([["a", "b"]])}, "s"), "only numbers"),
        (lambda: (_ for _ in ()).throw(MemoryError()), "not enough memory"),
        (lambda: np.fromfile("/no/such/file"), "/no/such/file: No such file"),
    ],
)
def test_readers_that_give_something_else(mine, made, words):
    with pytest.raises(DataError, match=words):
        mine(lambda request: made())


def test_arguments_that_do_not_fit(mine):
    with pytest.raises(DataError, match=r"mine\(path, skip=\.\.\.\)"):
        mine(lambda request, path, skip=0: None, pth="a")


def test_one_column_for_two_types(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n3,2.5\n4,1\n")
    plan = {
        "splits": [{"name": "train", "reader": "csv", "args": ["a.csv"]}],
        "records": {"a": {"dtype": "i64", "shape": []}, "v": {"dtype": "f32", "shape": [2]}},
        "columns": {"v": ["b", "a"]},
    }
    arrays = read(plan, tmp_path)["train"].arrays
    assert arrays["a"].tolist() == [3, 4] and arrays["a"].dtype == np.int64
    assert arrays["v"].tolist() == [[2.5, 3], [1, 4]] and arrays["v"].dtype == np.float32


def test_a_split_is_read_once_and_looked_at_beforehand_only_where_it_has_files_of_its_own(tmp_path, monkeypatch):
    from dlc.runtime.data import readers
    from dlc.runtime.data.plan import parse_plan
    from dlc.runtime.data.splits import foresee

    asked = []

    def counted(request, name):
        asked.append((name, sorted(request.wanted)))
        return Records({"y": np.array([0, 1, 1]), "x": np.ones(3)}, name, classes={"y": ("a", "b")})

    monkeypatch.setitem(readers._READERS, "counted", counted)
    own = [{"name": name, "reader": "counted", "args": [name]} for name in ("test", "train")]
    derived = {"name": "dev", "reader": "holdout", "of": "train", "size": 1}
    records = {"y": {"dtype": "i64", "shape": []}, "x": {"dtype": "f32", "shape": []}}
    plan = parse_plan({"splits": [*own, derived], "records": records})
    training = read(plan, tmp_path)["train"]
    assert asked == [("test", ["x", "y"]), ("train", ["x", "y"])]
    asked.clear()
    foresee(plan, tmp_path, training, ["dev", "test"])
    assert asked == [("test", ["y"])], "its columns of classes alone"
