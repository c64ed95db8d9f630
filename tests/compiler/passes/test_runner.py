"""The runner: names, what is left out, where it stops, and what it says of a broken pass."""

from __future__ import annotations

import pytest

from dlc.compiler.build import op, rewrite
from dlc.compiler.graph import Graph
from dlc.compiler.passes import (
    INFERENCE,
    REQUIRED,
    TRAINING,
    BrokenPass,
    UnknownPass,
    dce,
    differentiate,
    fold,
    labels,
    lower,
    run,
    simplify,
)
from dlc.compiler.text import from_text, to_text

TEXT = """graph g(%x: f32[B])
%one: f32[] = Constant(1.0)
%a: f32[B] = Mul(%x, %one)
%b: f32[B] = dlc.Detach(%a)
%c: f32[B] = Exp(%b)
return y = %c
"""

TWICE = (simplify, fold, lower, simplify, lower, fold, dce)
"""A pipeline of this file's own: the product's change, and what the runner makes of names does not."""


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def test_names_come_from_functions_and_turns() -> None:
    assert labels((simplify, fold, simplify, simplify)) == ("simplify", "fold", "simplify.2", "simplify.3")


def test_pipelines_end_lowered_and_hold_what_is_required() -> None:
    assert frozenset({differentiate, lower}) == REQUIRED
    assert set(TRAINING) >= REQUIRED
    assert lower in INFERENCE and differentiate not in INFERENCE


@pytest.mark.parametrize(("after", "expected"), [
    ("simplify", ["dlc.Detach", "Exp"]),
    ("simplify.1", ["dlc.Detach", "Exp"]),
    ("lower", ["Exp"]),
])  # fmt: skip
def test_after_stops(after: str, expected: list[str]) -> None:
    assert ops(run(from_text(TEXT), TWICE, after=after)) == expected


def test_after_a_later_turn_runs_what_is_before_it() -> None:
    seen: list[str] = []
    run(from_text(TEXT), TWICE, after="simplify.2", trace=lambda name, *_: seen.append(name))
    assert seen == ["simplify", "fold", "lower", "simplify.2"]


def test_without_leaves_out_every_turn_or_the_one_named() -> None:
    seen: list[str] = []
    run(from_text(TEXT), TWICE, without=["simplify"], trace=lambda name, *_: seen.append(name))
    assert seen == ["fold", "lower", "lower.2", "fold.2", "dce"]
    seen.clear()
    run(from_text(TEXT), TWICE, without=["simplify.2"], trace=lambda name, *_: seen.append(name))
    assert seen == ["simplify", "fold", "lower", "lower.2", "fold.2", "dce"]


def test_trace_sees_the_graphs() -> None:
    graph = from_text(TEXT)
    seen: list[tuple[str, int, int]] = []
    run(graph, (simplify, lower), trace=lambda name, a, b: seen.append((name, len(a.nodes), len(b.nodes))))
    assert seen == [("simplify", 4, 2), ("lower", 2, 1)]


@pytest.mark.parametrize("name", ["lower", "differentiate", "lower.1"])
def test_required_passes_cannot_be_left_out(name: str) -> None:
    with pytest.raises(UnknownPass, match=r"cannot be left out; those that can are simplify, fold, dce$"):
        run(from_text(TEXT), (simplify, fold, differentiate, lower, dce), without=[name])


def test_unknown_names_are_answered_with_the_list() -> None:
    with pytest.raises(
        UnknownPass, match=r"there is no pass fuse here; the passes are simplify, fold, lower, simplify.2"
    ):
        run(from_text(TEXT), TWICE, without=["fuse"])
    with pytest.raises(UnknownPass, match=r"there is no pass simplify.9"):
        run(from_text(TEXT), TWICE, after="simplify.9")


def renamed(graph: Graph) -> Graph:
    """A pass that changes the interface."""
    return Graph(graph.name, graph.inputs, {"z": graph.outputs["y"]}, graph.nodes, graph.names)


def test_a_broken_pass_is_named_with_what_it_changed() -> None:
    with pytest.raises(BrokenPass) as caught:
        run(from_text(TEXT), (simplify, renamed))
    message = str(caught.value)
    assert message.startswith("the pass renamed broke the graph g: the outputs of the graph g changed")
    assert "-return y =" in message and "+return z =" in message


def test_what_simplify_says_with_private_operators_after_lowering_is_lowered_too() -> None:
    text = """graph g(%x: f32[B, 12])
    %s: i64[3] = Constant(0, 3, 4)
    %t: i64[3] = Constant(0, 4, 3)
    %a: f32[B, 3, 4] = Reshape(%x, %s)
    %b: f32[B, 4, 3] = Reshape(%a, %t)
    return y = %b
    """
    assert ops(run(from_text(text), INFERENCE, without=["simplify.1"])) == ["Constant", "Reshape"]


def test_private_operators_after_lowering_break() -> None:
    def unlowered(graph: Graph) -> Graph:
        from dlc.compiler.build import private

        return rewrite(graph, lambda node, inputs: private.Detach(op.Log(*inputs)) if node.op == "Exp" else None)

    with pytest.raises(BrokenPass, match=r"the pass unlowered broke"):
        run(from_text(TEXT), (lower, unlowered))
    run(from_text(TEXT), (lower, unlowered), verify=False)


def test_the_last_lowering_is_checked_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgets(graph: Graph) -> Graph:
        return graph

    monkeypatch.setattr("dlc.compiler.passes.lower", forgets)
    with pytest.raises(BrokenPass, match=r"the pass forgets broke the graph g: .*dlc.Detach"):
        run(from_text(TEXT), (simplify, forgets))


def test_what_changes_nothing_keeps_the_very_nodes() -> None:
    graph = run(from_text(TEXT), INFERENCE)
    for transform in (simplify, fold, dce, lower):
        assert transform(graph).nodes == graph.nodes
    assert to_text(run(graph, INFERENCE)) == to_text(graph)
