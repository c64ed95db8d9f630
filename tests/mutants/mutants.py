"""Make mistakes in every gradient rule and every pass, one at a time, and see that a test of the compiler fails.

    python tests/mutants/mutants.py [--only WORD,...] [--every] [--jobs 2] [--most 1000] [--signs N] [TESTS ...]

Each mistake ("mutant") is tried in a process of its own, forked after the tests were collected, with the tests that run
the changed line; the first that fails has caught it. A mutant that none of them catches is either listed, with a proof
that it changes nothing, in `equivalent.toml`, or the tests lack a case: then the exit code is 1. Of a pass, each
function gets one mistake of each kind; with `--every`, all of them. Needs `fork`: Linux or macOS.
"""

from __future__ import annotations

import argparse
import dis
import gc
import os
import pickle
import re
import signal
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from inspect import unwrap
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import pytest
from mutation import Mutant, functions, mutants, starts

FOLDER = Path(__file__).parent
TESTS = FOLDER.parent / "compiler"
PACKAGES = ("dlc.compiler.ops.", "dlc.compiler.passes")
BUILT = re.compile(r"\b(Value|State|Any)\b")
LEAST_SECONDS = 5.0
"""What a test is given at least; a mutant that makes a test run this long and 20 times longer than before is caught."""
DIED = "the process died"
Lines = dict[str, set[int]]
Wanted = tuple["Target", Mutant]


@dataclass(eq=False)
class Target:
    """A function that is to be changed, wherever it is referred to."""

    module: str
    name: str
    objects: list[FunctionType]
    cotangents: bool
    is_pass: bool

    @property
    def place(self) -> tuple[str, int]:
        code = self.objects[0].__code__
        return code.co_filename, code.co_firstlineno

    def mutants(self, every: bool = True) -> Iterator[Mutant]:
        source = Path(self.place[0]).read_text()
        kinds: set[str] = set()
        for mutant in mutants(self.module, self.name, source, self.place[1], self.cotangents):
            if every or not self.is_pass or mutant.kind not in kinds:
                kinds.add(mutant.kind)
                yield mutant

    def change(self, mutant: Mutant) -> None:
        """Put the mistake in the function's place, for the rest of this process."""
        code = mutant.code(self.place[0])
        for each in self.objects:
            each.__code__ = code


def targets() -> list[Target]:
    """The gradient rules, the functions that build values for them, and the functions of the passes."""
    import ast

    from dlc.compiler import passes  # noqa: F401
    from dlc.compiler.registry import Expansion, operators

    found: dict[tuple[str, int], list[FunctionType]] = {}
    for each in gc.get_objects():
        # `type`, not `isinstance`, which asks objects of other libraries for their class, and some warn.
        ours = type(each) is FunctionType and (each.__module__ or "").startswith(PACKAGES)
        if ours and each.__code__.co_filename.endswith(".py"):
            found.setdefault((each.__code__.co_filename, each.__code__.co_firstlineno), []).append(each)

    rules: dict[tuple[str, int], list[str]] = {}
    for name, record in operators().items():
        rule = unwrap(record.gradient.rule if isinstance(record.gradient, Expansion) else record.gradient)
        if isinstance(rule, FunctionType):
            rules.setdefault((rule.__code__.co_filename, rule.__code__.co_firstlineno), []).append(name)
    used = _used([found[place][0] for place in rules])

    result = []
    for file in sorted({file for file, _ in found}):
        for function in functions(ast.parse(Path(file).read_text())):
            objects = found.get((file, starts(function)))
            if objects is None:
                continue
            place, module = (file, starts(function)), objects[0].__module__.removeprefix("dlc.compiler.")
            is_pass, is_rule = module.startswith("passes"), place in rules
            if is_pass or is_rule or objects[0] in used:
                name = ", ".join(rules[place]) if is_rule else objects[0].__qualname__
                result.append(Target(module, name, objects, is_rule, is_pass))
    return result


def _used(rules: Sequence[FunctionType]) -> set[FunctionType]:
    """The functions of operators' files that build values for rules: called by their names or out of a table, by a rule
    or another such function, or as the methods of what it returns."""
    found: set[FunctionType] = set()
    rest = list(rules)
    while rest:
        function = rest.pop()
        for name in _names(function.__code__):
            named = function.__globals__.get(name)
            for called in named.values() if isinstance(named, dict) else (named,):
                if isinstance(called, FunctionType) and called.__module__.startswith(PACKAGES[0]):
                    new = {each for each in (called, *_methods_of_result(called)) if _builds(each)} - found
                    rest.extend(new)
                    found |= new
    return found


def _builds(function: FunctionType) -> bool:
    return BUILT.search(str(function.__annotations__.get("return"))) is not None


def _methods_of_result(function: FunctionType) -> list[FunctionType]:
    returned = function.__globals__.get(str(function.__annotations__.get("return")))
    if not isinstance(returned, type) or not returned.__module__.startswith(PACKAGES[0]):
        return []
    return [each for each in vars(returned).values() if isinstance(each, FunctionType)]


def _names(code: CodeType) -> set[str]:
    inner = (_names(const) for const in code.co_consts if isinstance(const, CodeType))
    return set(code.co_names).union(*inner)


@dataclass
class Ran:
    """What a test did before anything was changed: whether it passed, how long it took, the lines that it ran."""

    passed: bool
    seconds: float
    lines: Lines = field(default_factory=dict)


def forked(work: Callable[[], Any]) -> tuple[int, int]:
    """Start work in a process of its own; gives its id and where its result can be read."""
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        return child, reader
    os.close(reader)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    try:
        with os.fdopen(writer, "wb") as stream:
            pickle.dump(work(), stream)
    finally:
        os._exit(0)  # whatever was raised: all that follows is the parent's, and ends waiting for threads of the parent


def result_of(child: int, reader: int) -> Any:
    """What forked work gave; None if it died."""
    with os.fdopen(reader, "rb") as stream:
        content = stream.read()
    os.waitpid(child, 0)
    return pickle.loads(content) if content else None


def passes(item: pytest.Item) -> bool | None:
    """Whether a test passes; None if it is skipped."""
    from _pytest.runner import runtestprotocol

    reports = runtestprotocol(item, log=False, nextitem=None)
    if any(report.failed for report in reports):
        return False
    return None if any(report.skipped for report in reports) else True


def traced(item: pytest.Item, files: set[str]) -> Ran:
    """Run a test, and note the lines of some files that it runs."""
    lines: Lines = {}

    def enter(frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        if code.co_filename not in files:
            return None
        seen = lines.setdefault(code.co_filename, set())
        seen.add(frame.f_lineno)

        def line(frame: FrameType, event: str, argument: Any) -> Any:
            seen.add(frame.f_lineno)
            return line

        return line

    start = time.perf_counter()
    sys.settrace(enter)
    try:
        passed = passes(item) is True
    finally:
        sys.settrace(None)
    return Ran(passed, time.perf_counter() - start, lines)


class Slow(BaseException):
    """A test takes far longer than it did."""


def catches(target: Target, mutant: Mutant, chosen: Sequence[tuple[pytest.Item, float]]) -> tuple[str, str]:
    """`caught` and the test that failed, or `survived`."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Slow

    signal.signal(signal.SIGALRM, stop)
    target.change(mutant)
    for item, seconds in chosen:
        try:
            # Again and again: one that is raised where Python ignores exceptions, in a finalizer, stops nothing.
            signal.setitimer(signal.ITIMER_REAL, LEAST_SECONDS + 20 * seconds, LEAST_SECONDS)
            failed = passes(item) is False
            signal.setitimer(signal.ITIMER_REAL, 0)
        except Slow:
            return "caught", f"{item.nodeid} (does not end)"
        if failed:
            return "caught", item.nodeid
    return "survived", f"{len(chosen)} tests run it"


class Mutation:
    """The plugin: instead of running the collected tests once, it runs them on every mutant."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.results: list[tuple[Mutant, str, str]] = []

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        options = self.options
        words = options.only.split(",")
        chosen = [each for each in targets() if any(word in f"{each.module} {each.name}" for word in words)]
        wanted = [(target, mutant) for target in chosen for mutant in target.mutants(options.every)]
        if options.signs:
            wanted = self._signs(wanted, session)
        print(f"{len(wanted)} mutants of {len(chosen)} functions, {len(session.items)} tests", file=sys.__stderr__)
        baseline = self._baseline(session.items, chosen)
        running: dict[int, tuple[int, Mutant]] = {}
        for target, mutant in wanted:
            mutant.code(target.place[0])  # it must compile: a mutant that cannot start is not caught
            tests = self._tests(session.items, baseline, target, mutant)
            if not tests:
                self._record(mutant, "survived", "no test runs it")
                continue
            child, reader = forked(lambda target=target, mutant=mutant, tests=tests: catches(target, mutant, tests))
            running[reader] = child, mutant
            while len(running) >= options.jobs:
                self._finish(running)
        while running:
            self._finish(running)
        return True

    def _signs(self, wanted: Sequence[Wanted], session: pytest.Session) -> list[Wanted]:
        """Some wrong signs of cotangents, from all over the rules, with the tests of these rules' operators alone.

        Of rules that return in one place: a case of the operator must come there.
        """
        from dlc.compiler.registry import Expansion
        from dlc.compiler.registry import operators as records

        signs = [
            (target, mutant)
            for target, mutant in wanted
            if target.cotangents
            and mutant.kind == "sign"
            and mutant.after.startswith(("return -", "return (-"))
            and not isinstance(records()[target.name.split(", ")[0]].gradient, Expansion)
            and sum(each.opname == "RETURN_VALUE" for each in dis.get_instructions(target.objects[0].__code__)) == 1
        ]
        operators = {name.removeprefix("dlc."): name for target, _ in signs for name in target.name.split(", ")}
        cases: dict[str, list[pytest.Item]] = {}
        for item in session.items:
            operator = item.name.partition("[")[2].partition("-")[0]
            cases.setdefault(operators.get(operator, ""), []).append(item)
        signs = [(target, mutant) for target, mutant in signs if target.name in cases]
        chosen = [signs[i * len(signs) // self.options.signs] for i in range(self.options.signs)]
        names = {target.name for target, _ in chosen}
        session.items = [item for name in sorted(names) for item in cases[name]]
        return chosen

    def _finish(self, running: dict[int, tuple[int, Mutant]]) -> None:
        import select

        ready, _, _ = select.select(list(running), [], [])
        for reader in ready:
            child, mutant = running.pop(reader)
            self._record(mutant, *(result_of(child, reader) or ("caught", DIED)))

    def _record(self, mutant: Mutant, verdict: str, by: str) -> None:
        self.results.append((mutant, verdict, by))
        if verdict == "survived" or by == DIED or self.options.verbose:
            print(f"{verdict} ({by}): {mutant}", file=sys.__stderr__, flush=True)

    def _baseline(self, items: Sequence[pytest.Item], chosen: Sequence[Target]) -> list[Ran]:
        """Each test run once, in a process of its own so that this one stays as it is."""
        files = {target.place[0] for target in chosen}

        def part(number: int) -> list[Ran]:
            return [traced(item, files) for item in items[number :: self.options.jobs]]

        parts = [forked(lambda number=number: part(number)) for number in range(self.options.jobs)]
        results: list[Ran] = [Ran(False, 0.0)] * len(items)
        for number, (child, reader) in enumerate(parts):
            results[number :: self.options.jobs] = result_of(child, reader)
        failed = [item.nodeid for item, ran in zip(items, results, strict=True) if not ran.passed]
        print(f"{len(failed)} tests fail or are skipped and take no part: {failed[:5]}", file=sys.__stderr__)
        return results

    def _tests(
        self, items: Sequence[pytest.Item], baseline: Sequence[Ran], target: Target, mutant: Mutant
    ) -> list[tuple[pytest.Item, float]]:
        """The tests that run a mutant's lines, one of each function first; ahead is what runs most of the target."""
        lines = {line for _, _, line in target.objects[0].__code__.co_lines()}
        reached = [
            (item, ran.seconds, len(ran.lines[target.place[0]] & lines))
            for item, ran in zip(items, baseline, strict=True)
            if ran.passed and not ran.lines.get(target.place[0], set()).isdisjoint(mutant.lines)
        ]
        reached.sort(key=lambda each: (-each[2], each[1]))
        turns: Counter[Any] = Counter()
        order = []
        for item, seconds, _ in reached:
            function = getattr(item, "originalname", item.nodeid)
            turns[function] += 1
            order.append((turns[function], seconds, item))
        order.sort(key=lambda each: each[:2])
        return [(item, seconds) for _, seconds, item in order[: self.options.most]]


def equivalents() -> dict[tuple[str, str, str, str], str]:
    """The mutants that change nothing, with the proof of each."""
    entries = tomllib.loads((FOLDER / "equivalent.toml").read_text()).get("mutant", [])
    return {(each["module"], each["function"], each["before"], each["after"]): each["proof"] for each in entries}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="WORD,...", help="functions with one of these in their names")
    parser.add_argument("--every", action="store_true", help="all mistakes in passes, not one of each kind a function")
    parser.add_argument("--signs", type=int, metavar="N", help="only N wrong signs of cotangents, each in one rule")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--most", type=int, default=1000, help="tests to run for a mutant at most")
    parser.add_argument("--verbose", action="store_true", help="show caught mutants too")
    parser.add_argument("tests", nargs="*", default=[str(TESTS)])
    options = parser.parse_args(arguments)
    plugin = Mutation(options)
    code = pytest.main(
        ["-o", "addopts=", "-s", "-p", "no:cacheprovider", "-p", "no:terminal", *options.tests], plugins=[plugin]
    )
    if not plugin.results:
        print(f"no mutant was tried (pytest ended with {code})")
        return 2
    return summary(plugin.results)


def summary(results: Sequence[tuple[Mutant, str, str]]) -> int:
    known = equivalents()
    counts: Counter[tuple[str, str]] = Counter()
    left = []
    for mutant, verdict, by in results:
        if verdict == "survived" and mutant.key in known:
            verdict = "equivalent"
        elif verdict == "survived":
            left.append((mutant, by))
        elif mutant.key in known:
            print(f"listed as equivalent, but {by} catches it: {mutant}")
        counts[mutant.module, verdict] += 1
    verdicts = ("caught", "equivalent", "survived")
    print(f"{'':28}" + "".join(f"{verdict:>12}" for verdict in verdicts))
    for module in [*dict.fromkeys(module for module, _ in counts), "total"]:
        row = [
            sum(n for (name, each), n in counts.items() if each == verdict and module in (name, "total"))
            for verdict in verdicts
        ]
        print(f"{module:28}" + "".join(f"{number:12,}" for number in row))
    for mutant, by in left:
        print(f"\nsurvived ({by}): {mutant}")
    return int(bool(left))


if __name__ == "__main__":
    sys.exit(main())
