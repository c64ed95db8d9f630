"""Some mutants at each run of the tests; `make mutants` tries all of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import mutants
import mutation
import pytest

from dlc.compiler.passes import PASSES

FOLDER = Path(__file__).parent
SAMPLE = 12


@pytest.fixture(scope="module")
def found() -> dict[mutants.Target, list[mutation.Mutant]]:
    return {target: list(target.mutants(every=False)) for target in mutants.targets()}


def test_equivalent_mutants_are_still_there(found: dict[mutants.Target, list[mutation.Mutant]]) -> None:
    keys = {mutant.key for each in found.values() for mutant in each}
    gone = [key for key in mutants.equivalents() if key not in keys]
    assert not gone


def test_there_are_mutants_of_every_rule_and_every_pass(found: dict[mutants.Target, list[mutation.Mutant]]) -> None:
    assert sum(map(len, found.values())) > 1_000
    kinds = {mutant.kind for each in found.values() for mutant in each}
    assert kinds >= {"sign", "transpose", "axis", "constant", "un-broadcast", "comparison", "dropped term", "condition"}
    rules = [target for target in found if target.cotangents]
    assert len(rules) > 80
    assert {target.name for target in rules if not found[target]} == set()
    assert {target.module for target in found if target.is_pass} >= {
        f"passes.{transform.__name__}" for transform in PASSES if transform.__name__ != "dce"
    }


@pytest.mark.skipif(not hasattr(mutants.os, "fork"), reason="mutants run in forked processes")
def test_wrong_signs_are_caught() -> None:
    """The sign of a cotangent turned round in some rules: the operators' own cases see each."""
    command = [sys.executable, str(FOLDER / "mutants.py"), "--signs", str(SAMPLE), "--jobs", "1"]
    tests = FOLDER.parent / "compiler" / "test_gradients.py"
    done = subprocess.run([*command, f"{tests}::test_first_order"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].split() == ["total", str(SAMPLE), "0", "0"], done.stdout


SOURCE = '''
def rule(g, x, axis):
    """A docstring with 1 number."""
    if x > 1:
        return g * 2, -x
    return op.Transpose(g, perm=(1, 0)), op.Softmax(x, axis=axis)
'''
EXPECTED = {
    ("if x > 1:", "if not x > 1:", "condition"),
    ("if x > 1:", "if x >= 1:", "comparison"),
    ("if x > 1:", "if x > 2:", "constant"),
    ("return (g * 2, -x)", "return (g / 2, -x)", "factor"),
    ("return (g * 2, -x)", "return (g * 3, -x)", "constant"),
    ("return (g * 2, -x)", "return (g * 2, x)", "sign"),
    ("return (g * 2, -x)", "return (-(g * 2), -x)", "sign"),
    ("return (g * 2, -x)", "return (None, -x)", "dropped cotangent"),
    ("return (g * 2, -x)", "return (-x, g * 2)", "swapped cotangents"),
}
LAST = "return (op.Transpose(g, perm=(1, 0)), op.Softmax(x, axis=axis))"


def test_which_mistakes_are_made() -> None:
    found = list(mutation.mutants("m", "rule", SOURCE, 2, True))
    assert {(each.before, each.after, each.kind) for each in found} >= EXPECTED
    of_last = {each.after: each.kind for each in found if each.before == LAST}
    assert of_last["return (g, op.Softmax(x, axis=axis))"] == "transpose"
    assert of_last["return (op.Transpose(g, perm=(1, 0)), op.Softmax(x, axis=axis + 1))"] == "axis"
    assert not any("docstring" in each.before for each in found)
    for each in found:
        assert each.code("m.py").co_name == "rule"
    turned = next(each for each in found if each.after == "return (g * 2, x)")
    names: dict[str, object] = {}
    exec(compile(SOURCE, "m.py", "exec"), names)
    function = names["rule"]
    assert function(3, 5, 0) == (6, -5)  # type: ignore[operator]
    function.__code__ = turned.code("m.py")  # type: ignore[attr-defined]
    assert function(3, 5, 0) == (6, 5)  # type: ignore[operator]
