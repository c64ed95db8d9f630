"""What a compiler may do with a program: accept it and compile it, or refuse it in words that point at the text."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dlc.compiler.products import products
from dlc.compiler.program import Program, library
from dlc.dsl.ast import Span
from dlc.dsl.diagnostics import CODES, Diagnostic, SourceError, render_all, to_json

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = int(os.environ.get("DLC_FUZZ", "1000"))
"""How many programs the generators make together; `DLC_FUZZ=10000` for a long run."""

SLOWEST = 5.0
"""Seconds of processor time that one check may take on an idle machine."""

ORDINARY = ROOT / "specs" / "lenet.net"
CHECKS = 135
"""The checks of an ordinary program that an idle machine does in that time."""


@dataclass(frozen=True)
class Verdict:
    """`codes` of the errors (none: accepted), the seconds that the check took, and whether it was compiled too."""

    codes: tuple[str, ...]
    seconds: float
    compiled: bool


def judge(text: str, file: str, compiling: bool = False) -> Verdict:
    """Check a program, and compile it if it is accepted and `compiling`.

    Raises AssertionError for a diagnostic that is not fit to be shown, and lets any exception but SourceError through.
    """
    start = time.process_time()
    try:
        program = Program.of_text(text, file)
        warnings = program.check()
    except SourceError as error:
        seconds = time.process_time() - start
        assert error.diagnostics, "an error without diagnostics"
        assert any(each.severity == "error" for each in error.diagnostics), "an error that has warnings only"
        presentable(error.diagnostics, text, file)
        return Verdict(tuple(each.code for each in error.diagnostics), seconds, False)
    seconds = time.process_time() - start
    presentable(warnings, text, file)
    assert all(each.severity == "warning" for each in warnings)
    if compiling:
        products(program, split=True)
    return Verdict((), seconds, compiling)


def presentable(diagnostics: tuple[Diagnostic, ...], text: str, file: str) -> None:
    """Every diagnostic has a known code, words, and places that exist; all of them can be rendered."""
    sources = {**library().sources, file: text}
    for each in diagnostics:
        assert each.code in CODES, f"no such code: {each.code}"
        assert each.message.strip(), f"{each.code} says nothing"
        assert not each.primary.span.file.startswith("<"), f"{each.code} points into the library: {each}"
        for span in (each.primary.span, *(label.span for label in each.secondary)):
            if span.file not in sources:
                sources[span.file] = Path(span.file).read_bytes().decode("utf-8-sig")
            inside(span, sources[span.file], each)
    plain = render_all(diagnostics, sources)
    assert all(each.code in plain for each in diagnostics)
    assert len(plain) < 500_000 + 4 * len(text), f"{len(plain)} characters of diagnostics"
    assert "\x1b" in render_all(diagnostics, sources, color=True) or not diagnostics
    assert all(to_json(each)["code"] == each.code for each in diagnostics)


def inside(span: Span, text: str, of: Diagnostic) -> None:
    """The span lies in the text; just after the end of a line is still in it."""
    lines = text.split("\n")
    assert 1 <= span.line <= span.end_line <= len(lines), f"{of.code}: {span} is outside of {len(lines)} lines"
    assert 1 <= span.column <= len(lines[span.line - 1]) + 1, f"{of.code}: {span} is outside of its line"
    assert 1 <= span.end_column <= len(lines[span.end_line - 1]) + 1, f"{of.code}: {span} ends outside of its line"
    assert (span.line, span.column) <= (span.end_line, span.end_column), f"{of.code}: {span} ends before it begins"


def failure(text: str, file: str, compiling: bool = False) -> str | None:
    """What is wrong with how the compiler took a program: the kind of exception and where it was raised; None if all
    is well."""
    try:
        verdict = judge(text, file, compiling)
    except Exception as error:  # whatever it is, it is the finding
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        assert trace is not None
        place = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_frame.f_code.co_name}"
        return f"{type(error).__name__} in {place}: {str(error)[:300]}"
    return f"slow: {verdict.seconds:.1f} s" if slow(text, file, verdict.seconds) else None


def slow(text: str, file: str, seconds: float) -> bool:
    """Does a check take longer than SLOWEST would be on an idle machine? On a busy one, or another, an ordinary program
    takes longer, too: above that time the check is made again and compared with checks of that."""
    if seconds <= SLOWEST:
        return False
    ordinary = ORDINARY.read_text()
    usual = statistics.median(judge(ordinary, str(ORDINARY)).seconds for _ in range(21))
    return min(seconds, judge(text, file).seconds) > max(SLOWEST, CHECKS * usual)


def minimized(text: str, still: Callable[[str], bool], rounds: int = 400) -> str:
    """A smaller text for which `still` holds: blocks of lines, then words, are left out as long as it does."""
    for join in ("\n", " "):
        parts = text.split(join)
        size = max(len(parts) // 2, 1)
        while rounds and len(parts) > 1:
            at, before = 0, len(parts)
            while at < len(parts) and rounds:
                rounds -= 1
                shorter = parts[:at] + parts[at + size :]
                if shorter and still(join.join(shorter)):
                    parts = shorter
                else:
                    at += size
            if size == 1 and len(parts) == before:
                break
            size = max(size // 2, 1)
        text = join.join(parts)
    return text


def finding(text: str, file: str, found: str, compiling: bool) -> str:
    """The report of a failure, with the smallest program that still shows it."""
    kind = found.split(":")[0]
    small = minimized(text, lambda shorter: (failure(shorter, file, compiling) or "").split(":")[0] == kind)
    return f"{found}\n{'-' * 60}\n{small}\n{'-' * 60}"
