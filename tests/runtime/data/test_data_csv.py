"""The reader of tables: good ones exactly, wrong ones with file, line, column and value."""

import gzip
import itertools
from pathlib import Path

import numpy as np
import pytest

X = {"x": {"dtype": "f32", "shape": []}}
BOTH = {"x": {"dtype": "f32", "shape": []}, "y": {"dtype": "i64", "shape": []}}


def test_columns_take_the_types_they_feed(tmp_path, load):
    (tmp_path / "a.csv").write_text("y,name,x\n1,anna,0.5\n9007199254740993,ben, 2e3 \n")
    records = load("csv", "a.csv", records=BOTH)
    assert records.arrays["x"].dtype == np.float32 and records.arrays["x"].tolist() == [0.5, 2000.0]
    assert records.arrays["y"].dtype == np.int64 and records.arrays["y"].tolist() == [1, 9007199254740993]


def test_columns_are_gathered_into_a_vector(tmp_path, plan):
    from dlc.runtime.data import read

    (tmp_path / "a.csv").write_text("a,b,c\n1,2,3\n4,5,6\n")
    made = plan("csv", "a.csv", records={"v": {"dtype": "f32", "shape": [2]}, "a": {"dtype": "i64", "shape": []}})
    made["columns"] = {"v": ["c", "a"]}
    records = read(made, tmp_path)["train"]
    assert records.arrays["v"].tolist() == [[3, 1], [6, 4]] and records.arrays["v"].dtype == np.float32
    assert records.arrays["a"].dtype == np.int64


def test_settings(tmp_path, load):
    (tmp_path / "a.txt").write_text("made by hand\n\n1;2\n\n3;4\n")
    named = {"header": False, "skip": 1, "delimiter": ";"}
    records = load("csv", "a.txt", records={"column1": {"dtype": "f64", "shape": []}}, **named)
    assert records.arrays["column1"].tolist() == [2, 4]
    assert records.where(1).endswith("a.txt, line 5")


def test_gzip_byte_order_mark_quotes_and_windows_lines(tmp_path, load):
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress('\ufeff"x","two\r\nlines"\r\n1,"a, b"\r\n2,c\r\n'.encode()))
    records = load("csv", "a.csv", records=X)
    assert records.arrays["x"].tolist() == [1, 2]
    assert records.where(1).endswith("line 4")


def test_bools(tmp_path, load):
    (tmp_path / "a.csv").write_text("x\nTrue\n0\nfalse\n")
    assert load("csv", "a.csv", records={"x": {"dtype": "bool", "shape": []}}).arrays["x"].tolist() == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["a.csv", "expected a header", "empty file"]),
        ("\n\n", ["a.csv", "empty file"]),
        ("x,y\n", ["a.csv", "below the header", "found none"]),
        ("x,y\n1,2\n3\n", ["a.csv, line 3", "1 value, ", "names 2"]),
        ("x,y\n1,2,3\n", ["a.csv, line 2", "3 values"]),
        ("x,y\n1,2\nmany,3\n", ["a.csv, line 3", "`x`", '"many"', "expected a number"]),
        ("x,y\n1,2\n,3\n", ["a.csv, line 3", "`x` is empty"]),
        ("x,y\nnan,2\n", ["a.csv, line 2", "`x`", '"nan"']),
        ("x,y\n1_000,2\n", ['"1_000"; expected a number without `_`']),
        ("x,y\n1e999,2\n", ['"1e999"; expected a number that is finite, at most 1.8e308']),
        ("x,y\n1e39,2\n", ["a.csv, line 2", "too large for f32"]),
        ("x,y\n1,2.5\n", ["a.csv, line 2", "`y` is 2.5", "whole number", "i64[]"]),
        ("x,y\n1,1e19\n", ["a.csv, line 2", "`y`", "outside"]),
        ("X,y\n1,2\n", ["no column `x`", "did you mean", "X, y"]),
        ("x,y,x\n1,2,3\n", ["2 columns are called `x`"]),
        ("1,2\n3,4\n", ["no column `x`", "header=false"]),
        ('x,y\n1,"2\n', ["line 2", "not a table"]),
        ("x;y\n1;2\n", ["no column `x`", 'delimiter=";"']),
        ("x\ty\n1\t2\n", ['delimiter="\\t"']),
        ("x,y\n1," + "9" * 5000 + "\n", ["a.csv, line 2", "`y` is", "..."]),
        ("x,y\n1," + "a" * 200000 + "\n", ["a.csv, line 2", "not a table"]),
        ("x,y\n1,0x10\n", ['`y` is "0x10"; expected a number in decimal digits']),
        ("x,y\n1,\0\n", ["a.csv, line 2", '"\\x00"; expected a number without control characters']),
        ("x,y\n1,inf\n", ['`y` is "inf"; expected a number that is finite']),
        ("x,y\n1,NaN\n", ['`y` is "NaN"; expected a number. Fill in missing values in the file']),
    ],
)
def test_wrong_tables(tmp_path, refused, text, words):
    (tmp_path / "a.csv").write_text(text)
    message = refused("csv", "a.csv", records=BOTH)
    assert message.startswith("split `train`") or "a.csv" in message
    for word in words:
        assert word in message, message


def test_bytes_that_are_not_text(tmp_path, refused):
    (tmp_path / "a.csv").write_bytes(b"x\n1\n\xff\n")
    assert "not UTF-8" in refused("csv", "a.csv", records=X)
    (tmp_path / "b.csv").write_bytes(b"\0" * 100)
    assert "b.csv" in refused("csv", "b.csv", records=X)


def test_broken_gzip(tmp_path, refused):
    whole = gzip.compress(b"x\n" + b"1\n" * 100_000)
    (tmp_path / "short.csv").write_bytes(whole[:-20])
    assert "cut short" in refused("csv", "short.csv", records=X)
    (tmp_path / "bad.csv").write_bytes(whole[:60] + b"\xff" * 20 + whole[80:])
    assert "damaged" in refused("csv", "bad.csv", records=X)


def test_paths(tmp_path, refused):
    (tmp_path / "train.csv").write_text("x\n1\n")
    assert "did you mean `train.csv`" in refused("csv", "trian.csv", records=X)
    assert "does not exist" in refused("csv", "nowhere/train.csv", records=X)
    assert "found a folder" in refused("csv", ".", records=X)
    assert "expected the path" in refused("csv", 3, records=X)
    assert "expected the path" in refused("csv", "a\0b", records=X)


@pytest.mark.parametrize(
    "named", [{"delimiter": ""}, {"delimiter": ",,"}, {"skip": -1}, {"skip": True}, {"header": 1}, {"heder": True}]
)
def test_wrong_settings(tmp_path, refused, named):
    (tmp_path / "a.csv").write_text("x\n1\n")
    message = refused("csv", "a.csv", records=X, **named)
    assert next(iter(named)) in message or "delimiter" in message


def test_an_unreadable_file(tmp_path: Path, refused):
    (tmp_path / "a.csv").symlink_to(tmp_path / "a.csv")
    assert "a.csv" in refused("csv", "a.csv", records=X)


def test_utf_16_is_named(tmp_path, refused):
    (tmp_path / "a.csv").write_bytes("x,y\n1,2\n".encode("utf-16"))
    message = refused("csv", "a.csv", records=X)
    assert "not UTF-8" in message and "UTF-16" in message


def test_utf_16_without_its_mark(tmp_path, refused):
    (tmp_path / "a.csv").write_bytes("x,y\n1,2\n".encode("utf-16-le"))
    message = refused("csv", "a.csv", records=X)
    assert "a.csv, line 1: holds NUL characters" in message and "UTF-16" in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x\nNA\n", '"NA"; expected a number. Fill in missing values in the file, or drop the lines'),
        ('x\n"1,5"\n', '"1,5"; expected a number without commas: 1.5 for 1,5, 1000 for 1,000'),
        ("3.5,cat\n1.5,dog\n", "The first line holds a number, 3.5: if the file has no header, say header=false"),
        ("x\n=1+1\n", '"=1+1"; expected a number'),
        ("x\n$0.2\n$3\n", '"$0.2"; expected a number alone, without $'),
        ("x\n7\n-1.7 %\n", '"-1.7 %"; expected a number alone, without %'),
        ("x|y\n1|2\n", 'delimiter="|"'),
        ('"x"\n"1"\n"2\n', "line 3: not a table"),
        ("# note\nx\n1\n", "no column `x`"),
        (",".join(f"x{k}" for k in range(50_000)) + "\n", "and 49980 more"),
    ],
)
def test_tables_as_other_programs_write_them(tmp_path, refused, text, words):
    (tmp_path / "a.csv").write_text(text)
    assert words in refused("csv", "a.csv", records=X)


def test_old_line_ends_and_spaces(tmp_path, load):
    (tmp_path / "a.csv").write_bytes(b" x ,y\r 1 ,2\r+3,4\r")
    assert load("csv", "a.csv", records=X).arrays["x"].tolist() == [1, 3]


def test_a_gzip_bomb_is_not_unpacked(tmp_path, refused, monkeypatch):
    from dlc.runtime.data import files

    monkeypatch.setattr(files, "LARGE", 1 << 20)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"x\n" + b"1\n" * (8 << 20)))
    assert "more than 200 times its size" in refused("csv", "a.csv", records=X)
    (tmp_path / "one.csv.gz").write_bytes(gzip.compress(b"x" * (8 << 20)))  # one line
    assert "more than 200 times its size" in refused("csv", "one.csv", records=X)


def test_spaces_after_the_delimiter(tmp_path, load):
    (tmp_path / "a.csv").write_text('"y", "x"\n1, "0.5"\n 2, 3\n')
    assert load("csv", "a.csv", records=BOTH).arrays["x"].tolist() == [0.5, 3.0]
    (tmp_path / "b.csv").write_text("y\tx\n1\t0.5\n")
    assert load("csv", "b.csv", records=BOTH, delimiter="\t").arrays["x"].tolist() == [0.5]


def test_words_that_feed_an_integer_are_classes(tmp_path, load):
    rows = "".join(f"{name},{k}\n" for k, name in enumerate(["rose", "tulip", " iris ", "tulip"]))
    (tmp_path / "a.csv").write_text("y,x\n" + rows)
    records = load("csv", "a.csv", records=BOTH)
    assert records.arrays["y"].tolist() == [1, 2, 0, 2] and records.arrays["y"].dtype == np.int64
    assert records.classes == {"y": ("iris", "rose", "tulip")}


def test_another_split_has_the_classes_of_the_training_split(tmp_path, plan):
    from dlc.runtime.data import read
    from dlc.runtime.data.errors import DataError

    (tmp_path / "a.csv").write_text("y\na\nb\nc\n")
    (tmp_path / "b.csv").write_text("y\nc\na\n")
    made = plan("csv", "a.csv", records={"y": {"dtype": "i64", "shape": []}})
    made["splits"].append({**made["splits"][0], "name": "test", "args": ["b.csv"]})
    assert read(made, tmp_path)["test"].arrays["y"].tolist() == [2, 0]
    (tmp_path / "b.csv").write_text("y\nc\nd\n")
    with pytest.raises(DataError, match="has the class `d`, which the training split"):
        read(made, tmp_path)


@pytest.mark.parametrize(
    ("training", "other", "said"),
    [
        ("a b c b", "0 2", r"numbers in .*b\.csv and the classes a, b, c in the training split \(.*a\.csv\); expected"),
        ("0 1 2 1", "a c", r"the classes a, c in .*b\.csv and numbers in the training split \(.*a\.csv\); expected"),
    ],
)
@pytest.mark.parametrize("first", ["train", "test"])
def test_one_split_has_names_of_classes_and_the_other_numbers(tmp_path, plan, training, other, said, first):
    from dlc.runtime.data import read
    from dlc.runtime.data.errors import DataError

    (tmp_path / "a.csv").write_text("\n".join(["y", *training.split()]) + "\n")
    (tmp_path / "b.csv").write_text("\n".join(["y", *other.split()]) + "\n")
    made = plan("csv", "a.csv", records={"y": {"dtype": "i64", "shape": []}})
    made["splits"].append({**made["splits"][0], "name": "test", "args": ["b.csv"]})
    made["splits"].sort(key=lambda split: split["name"] != first)
    with pytest.raises(DataError, match="split `test`: `y` holds " + said):
        read(made, tmp_path)


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["rose", "1"], 'column `y`: line 2 is a word, "rose", line 3 a number, "1": expected one kind'),
        (["rose", ""], "line 3: column `y` is empty; expected the name of a class. Fill in missing values in the file"),
        (["none", "inf"], 'line 2: column `y` is "none"; expected a number. Fill in missing values in the file'),
        (["none", "inf"], "drop the lines; if it is a class, call it otherwise"),
        ([f"name {k}" for k in range(21)], "column `y` holds 21 texts, all different; classes come more than once"),
    ],
)
def test_what_are_no_classes(tmp_path, refused, cells, words):
    (tmp_path / "a.csv").write_text("y,z\n" + "".join(f"{cell},0\n" for cell in cells))
    assert words in refused("csv", "a.csv", records={"y": {"dtype": "i64", "shape": []}})


@pytest.mark.parametrize(
    "names", [["18-25", "65+", "young"], ["<=50K", ">50K"], ["1st", "2nd"], ["3/4 time", "-", "9h"], ["e5", "infantry"]]
)
def test_whether_words_are_classes_does_not_go_by_the_order_of_lines(tmp_path, load, names):
    for order in itertools.permutations(names):
        (tmp_path / "a.csv").write_text("y,x\n" + "".join(f"{name},0\n" for name in order))
        records = load("csv", "a.csv", records=BOTH)
        assert records.classes == {"y": tuple(sorted(names))}
        assert [records.classes["y"][number] for number in records.arrays["y"]] == list(order)


@pytest.mark.parametrize("line", [2, 3, 4])
@pytest.mark.parametrize("cell", ["NA", "n/a", "nan", "NaN", "Null", "none", "?", " NA "])
def test_what_marks_a_missing_value_is_no_class(tmp_path, refused, cell, line):
    cells = ["rose", "tulip"]
    cells.insert(line - 2, cell)
    (tmp_path / "a.csv").write_text("y,x\n" + "".join(f"{each},0\n" for each in cells))
    message = refused("csv", "a.csv", records=BOTH)
    assert f'line {line}: column `y` is "{cell.lstrip()}"; expected the name of a class. Fill in missing' in message
    assert message.endswith("or drop the lines; if it is a class, call it otherwise")


@pytest.mark.parametrize("line", [2, 3])
@pytest.mark.parametrize(
    ("cell", "how"),
    [
        ("1_000", "without `_` between its digits"),
        ("0x1F", "in decimal digits"),
        ("-0b11", "in decimal digits"),
        ("INF", "that is finite"),
        ("-Infinity", "that is finite"),
        ("1e999", "that is finite"),
        ("1,5", "without commas"),
        ("-,5", "without commas"),
        ("1,234,567", "without commas"),
        ("1,234.5", "without commas"),
        ("1.234,5", "without commas"),
        ("1 000", "without separators of thousands"),
        ("1'000'000.5", "without separators of thousands"),
        ("3\0", "without control characters"),
        ("\x1b", "without control characters"),
        ("4\u200b", "without control characters"),
        ("ro\0se", "without control characters"),
    ],
)
def test_numbers_that_are_spoilt_are_no_classes(tmp_path, refused, cell, how, line):
    for others, told in (["rose", "tulip"], "if it is a class, call it otherwise"), (["5", "6"], how), ([], how):
        cells = [*others[: line - 2], cell, *others[line - 2 :]]
        (tmp_path / "a.csv").write_text("x,y\n" + "".join(f'0,"{each}"\n' for each in cells))
        message = refused("csv", "a.csv", records=BOTH)
        assert f"line {line if others else 2}: column `y` is" in message and message.isprintable()
        assert f"expected a number {how}" in message and told in message


@pytest.mark.parametrize(
    "name", ["1, 2", "1,2,3", "12.5 %", "1.2.3", "2020-01-02", "10.0.0.1", "1 2", "ca\x1b[31mt", "a_1"]
)
def test_what_only_looks_a_little_like_a_number_is_a_class(tmp_path, load, name):
    (tmp_path / "a.csv").write_text(f'x,y\n0,"{name}"\n')
    assert load("csv", "a.csv", records=BOTH).classes == {"y": (name,)}


def test_numbers_and_words_are_told_by_an_example_of_each(tmp_path, refused):
    for cells, told in (
        (["3", "NA", "cat", "dog", "1_0"], 'line 4 is a word, "cat", line 2 a number, "3"'),
        (["cat", "4", "3"], 'line 2 is a word, "cat", line 3 a number, "4"'),
    ):
        (tmp_path / "a.csv").write_text("x,y\n" + "".join(f"0,{cell}\n" for cell in cells))
        message = refused("csv", "a.csv", records=BOTH)
        assert f"a.csv: column `y`: {told}: expected one kind, numbers or the names of classes" in message


def test_words_that_feed_a_bool(tmp_path, load, refused):
    flag = {"x": {"dtype": "bool", "shape": []}}
    (tmp_path / "a.csv").write_text("x\nYes\nno\nT\nf\ny\nN\n1\n0\nTRUE\nfalse\n")
    assert load("csv", "a.csv", records=flag).arrays["x"].tolist() == [True, False] * 5
    (tmp_path / "a.csv").write_text("x\nyes\nmaybe\n")
    assert 'line 3: column `x` is "maybe"; expected true or false, yes or no, 1 or 0' in refused(
        "csv", "a.csv", records=flag
    )
    (tmp_path / "a.csv").write_text("x\nyes\nNA\n")
    assert '"NA"; expected true or false, yes or no, 1 or 0. Fill in missing' in refused("csv", "a.csv", records=flag)
    (tmp_path / "a.csv").write_text("x\nyes\nno\n")
    assert "read where they feed a bool: a field of type bool[]" in refused("csv", "a.csv", records=X)


def test_words_that_feed_a_float_are_told_what_they_may_be(tmp_path, refused):
    (tmp_path / "a.csv").write_text("x\nrose\ntulip\n")
    words = 'column `x` is "rose"; expected a number. Words are read as classes where they feed an integer'
    assert words in refused("csv", "a.csv", records=X)
