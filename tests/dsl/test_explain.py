"""Every code has a page, and every page is right: its first program has the mistake, its second has none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from dlc.compiler.program import Program
from dlc.dsl.diagnostics import CODES, SourceError
from dlc.dsl.explain import FAMILIES, pages
from dlc.dsl.formatter import format_text
from dlc.dsl.parser import parse_file

ROOT = Path(__file__).parents[2]
WITHOUT_PROGRAM = {"E0106"}
RESERVED = {"E0702", "E0706"}
"""Of graphs in ONNX, which a page cannot hold; `tests/library/test_import.py` has their cases."""
SHOWN = sorted(set(CODES) - WITHOUT_PROGRAM - RESERVED)


def found(program: str, files: Mapping[str, str], folder: Path) -> list[str]:
    """The codes of everything that a check finds, warnings included."""
    for name, text in {**files, "main.net": program}.items():
        (folder / name).write_text(text, encoding="utf-8")
    try:
        return [each.code for each in Program.open(folder / "main.net").check()]
    except SourceError as error:
        return [each.code for each in error.diagnostics]


def sources() -> str:
    paths = (path for layer in ("dsl", "compiler", "runtime") for path in (ROOT / layer).rglob("*.py"))
    return "".join(path.read_text(encoding="utf-8") for path in paths if path.name != "diagnostics.py")


def test_every_code_has_a_page() -> None:
    missing = [code for code in CODES if code not in pages()]
    assert not missing, f"codes without a page in dsl/explain: {', '.join(missing)}"
    assert list(pages()) == list(CODES), "the pages stand in the order of CODES"
    assert {path.stem for path in (ROOT / "dsl" / "explain").glob("*.md")} == set(FAMILIES)


@pytest.mark.parametrize("code", SHOWN)
def test_the_failing_program_fails_so(code: str, tmp_path: Path) -> None:
    page = pages()[code]
    assert page.failing is not None
    assert set(found(page.failing, page.files, tmp_path)) == {code}


@pytest.mark.parametrize("code", SHOWN)
def test_the_mended_program_is_right(code: str, tmp_path: Path) -> None:
    page = pages()[code]
    assert page.mended is not None
    assert found(page.mended, page.files, tmp_path) == []


@pytest.mark.parametrize("code", [code for code in SHOWN if code > "E02"])
def test_programs_that_parse_are_in_the_layout(code: str) -> None:
    page = pages()[code]
    for text in (page.failing, page.mended, *page.files.values()):
        assert text is not None
        assert format_text(text, code) == text


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        parse_file(tmp_path / "none.net")
    assert [each.code for each in caught.value.diagnostics] == ["E0106"]


def test_codes_are_raised_and_raised_codes_are_listed() -> None:
    """A reserved code that something raises needs its programs tested, and a code that nothing raises has no place."""
    raised = set(re.findall(r'"([EW]\d{4})"', sources()))
    assert not raised - set(CODES), "what is raised is not in CODES"
    assert not set(CODES) - raised, "what is in CODES is raised nowhere"


@pytest.mark.parametrize("code", sorted(CODES))
def test_pages_are_short(code: str) -> None:
    page = pages()[code]
    prose = re.sub(r"```.*?```", "", page.text, flags=re.DOTALL)
    assert 60 < len(prose) < 700
    assert all(len(line) <= 120 for line in page.text.split("\n"))


def test_a_page_for_the_terminal() -> None:
    text = pages()["E0701"].plain()
    assert text.startswith("E0701: a file has no declaration of that name\n\nA `use` line asks")
    assert "\n    # parts.net\n    block Residual(n) {\n" in text
    assert "```" not in text and "\n\n\n" not in text
