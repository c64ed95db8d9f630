"""Files that use one another."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlc.dsl import ast
from dlc.dsl.diagnostics import SourceError, render_all
from dlc.dsl.modules import load, load_library, load_text

EXAMPLES = Path(__file__).parent.parent / "fixtures" / "examples"


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.net"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder / "main.net"


def problems(path: Path) -> list[tuple[str, str]]:
    with pytest.raises(SourceError) as caught:
        load(path)
    return [
        (each.code, str(each.primary.span).removeprefix(str(path.parent) + "/")) for each in caught.value.diagnostics
    ]


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.net")), ids=lambda path: path.stem)
def test_examples_load(path: Path) -> None:
    program = load(path)
    assert set(program.main.scope) == set(program.main.home)
    assert all(module.file in program.sources for module in program.modules.values())


def test_used_names_keep_their_own_module(tmp_path: Path) -> None:
    main = write(
        tmp_path,
        main='use Unit, width from "parts/unit.net"\nlet depth = 2\nnet n { y = Unit(width) }',
        parts__unit='use act from "../act.net"\nlet width = 8\nblock Unit(c) = Linear(c) -> act\n',
        act="fn act(x) = x",
    )
    program = load(main)
    assert set(program.main.scope) == {"Unit", "width", "depth", "n"}
    unit = program.main.home["Unit"]
    assert unit.file == str(tmp_path / "parts/unit.net")
    assert set(unit.scope) == {"act", "width", "Unit"}
    assert unit.home["act"].path == (tmp_path / "act.net").resolve()
    assert isinstance(program.main.scope["Unit"], ast.Block)
    assert len(program.modules) == 3


def test_names_that_are_not_there(tmp_path: Path) -> None:
    main = write(
        tmp_path,
        main='use Untt, n2, gone, act from "unit.net"',
        unit='use act from "act.net" block Unit = act net n { } infer n2 { } train n on d as gone { }',
        act="fn act(x) = x",
    )
    assert problems(main) == [
        ("E0701", "main.net:1:5"),
        ("E0704", "main.net:1:11"),
        ("E0704", "main.net:1:15"),
        ("E0704", "main.net:1:21"),
    ]


def test_a_misspelt_name_is_guessed(tmp_path: Path) -> None:
    main = write(tmp_path, main='use Untt from "unit.net"', unit="block Unit = relu")
    sources: dict[str, str] = {}
    with pytest.raises(SourceError) as caught:
        load(main, sources)
    assert "did you mean `Unit`?" in render_all(caught.value.diagnostics, sources)


def test_circles(tmp_path: Path) -> None:
    main = write(
        tmp_path,
        main='use a from "b.net" let m = 1',
        b='use c from "c.net" let a = 1',
        c='use a from "b.net" let c = 1',
    )
    with pytest.raises(SourceError) as caught:
        load(main)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "E0703"
    assert [Path(part).name for part in diagnostic.notes[0].split(" uses ")] == ["b.net", "c.net", "b.net"]
    assert problems(write(tmp_path, main='use x from "main.net" let x = 1')) == [("E0703", "main.net:1:12")]


def test_two_ways_to_one_file_are_no_circle(tmp_path: Path) -> None:
    main = write(
        tmp_path,
        main='use a from "a.net" use b from "b.net"',
        a='use c from "c.net" let a = c',
        b='use c from "c.net" let b = c',
        c="let c = 1",
    )
    program = load(main)
    assert (
        program.modules[(tmp_path / "a.net").resolve()].home["c"]
        is program.modules[(tmp_path / "b.net").resolve()].home["c"]
    )


def test_a_long_row_of_files(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"f{number}.net").write_text(f'use a{number + 1} from "f{number + 1}.net" let a{number} = 1')
    (tmp_path / "f300.net").write_text("let a300 = 1")
    assert len(load(tmp_path / "f0.net").modules) == 301


def test_names_given_twice(tmp_path: Path) -> None:
    main = write(
        tmp_path,
        main='use a, a, b from "a.net"\nlet b = 1\nfn b(x) = x\ntrain n on d { }\ntrain n on d { }',
        a="let a = 1 let b = 2",
    )
    assert sorted(problems(main)) == [
        ("E0202", "main.net:1:11"),
        ("E0202", "main.net:1:8"),
        ("E0202", "main.net:3:4"),
        ("E0202", "main.net:5:7"),
    ]


def test_files_that_are_missing_or_broken(tmp_path: Path) -> None:
    main = write(tmp_path, main='use a from "gone.net"\nuse b from "broken.net"', broken="let b = \nlet c = *")
    assert problems(main) == [("E0705", "main.net:1:12"), ("E0116", "broken.net:2:1"), ("E0113", "broken.net:2:9")]


def test_capitals() -> None:
    text = (
        'let A = 1 fn B(x) = x block c = relu net D { } data E { } infer F { } train D on E as G { } import H from "h"'
    )
    with pytest.raises(SourceError) as caught:
        load_text(text, "x.net")
    assert [each.code for each in caught.value.diagnostics] == ["E0204"] * 8
    load_text("let _a = 1 block _B = relu fn _(x) = x", "x.net")


def test_a_library_is_one_scope(tmp_path: Path) -> None:
    write(tmp_path, main="fn f(x) = g(x)", other="fn g(x) = x")
    program = load_library([tmp_path / "main.net", tmp_path / "other.net"])
    first, second = program.modules.values()
    assert first.scope is second.scope and set(first.scope) == {"f", "g"}
    assert first.home["g"] is second
    write(tmp_path, other="fn f(x) = x")
    with pytest.raises(SourceError):
        load_library([tmp_path / "main.net", tmp_path / "other.net"])
